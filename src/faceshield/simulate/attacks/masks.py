"""Masks over the whole face: cut and folded paper, hard plastic or resin, soft silicone.

    attacked = apply_rigid(scene, rng)
"""

from __future__ import annotations

import numpy as np

from faceshield.simulate.attacks.paint import (
    blur, cast_shadow, chance, colour, ellipse, hand_cut, paper_grain, pick, printed, shapes, strokes, unique,
)  # fmt: skip
from faceshield.simulate.attacks.surface import (
    Frame, ambient_light, exposure, portrait_texture, relief, shade, skin_colour,
)  # fmt: skip
from faceshield.simulate.portrait import Attacked, FloatImage, Mask, Scene, blend, bounding_box, smooth_noise

PAPER_VARIANTS = ("paper-mask/photo", "paper-mask/folded", "paper-mask/grey")
RIGID_VARIANTS = ("rigid-mask/resin", "rigid-mask/transparent", "rigid-mask/white-plastic", "rigid-mask/painted")
FLEXIBLE_VARIANTS = ("flexible-mask/silicone", "flexible-mask/old-man", "flexible-mask/bald-cap")
VARIANTS = PAPER_VARIANTS + RIGID_VARIANTS + FLEXIBLE_VARIANTS
CUES = (
    "a printed paper face", "cut eye holes", "folded paper", "a cut paper edge", "an elastic string", "hard plastic skin",
    "glossy highlights", "a clear plastic mask", "a mask edge", "soft rubber skin", "seams at the eyes", "rubber folds",
)  # fmt: skip


def _eye_holes(frame: Frame, size: float) -> list[np.ndarray]:
    return [frame.px(ellipse((side * 0.5, 0.02), (0.24 * size, 0), (0, 0.13 * size))) for side in (-1, 1)]


def _openings(frame: Frame, rng: np.random.Generator, mouth: float) -> list[np.ndarray]:
    holes = _eye_holes(frame, rng.uniform(0.9, 1.5))
    if chance(rng, mouth):
        holes.append(frame.px(ellipse((0, 1.12), (rng.uniform(0.2, 0.42), 0), (0, rng.uniform(0.04, 0.12)))))
    return holes


def _worn(scene: Scene, frame: Frame, surface: FloatImage, mask: Mask, rng: np.random.Generator, gap: float) -> FloatImage:
    image = cast_shadow(scene.image, mask, scene.light_xy, frame.span * gap, rng.uniform(0.35, 0.65))
    return blend(image, surface.astype(np.float32), mask)


def _done(scene: Scene, image: FloatImage, mask: Mask, cues: list[str], name: str) -> Attacked:
    box = bounding_box(mask)
    return Attacked(image.clip(0, 1).astype(np.float32), (box,) if box else (), unique(cues), name, scene.landmarks)


def apply_paper(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """A printed face, cut out, with eye holes or printed eyes, folded along the nose, now and then on a string."""
    name = pick(rng, PAPER_VARIANTS, variant)
    frame = Frame(scene.landmarks)
    edge = hand_cut(frame.outline(rng.uniform(1.0, 1.16), rng.uniform(0.85, 1.15)), rng, 0.02 * frame.span, int(rng.integers(14, 40)))
    holes = _openings(frame, rng, 0.2) if chance(rng, 0.65) else []
    mask = shapes([edge], holes)
    texture = portrait_texture(scene, frame, mirror=chance(rng, 0.4), scale=rng.uniform(0.92, 1.12, 2), shift=rng.normal(0, 0.05, 2))
    ink = printed(texture, rng, grey=name.endswith("grey"))
    uv = frame.uv
    facets = rng.uniform(0.1, 0.4) * np.abs(uv[..., 0]) * np.sign(uv[..., 0]) * (1 if scene.light_xy[0] > 0 else -1)
    cues = ["a printed paper face", "a cut paper edge"]
    if name.endswith("folded"):
        for _ in range(int(rng.integers(2, 6))):
            angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.8, 1.4)
            side = uv[..., 0] * np.cos(angle) + (uv[..., 1] - offset) * np.sin(angle)
            facets = facets + rng.uniform(0.05, 0.22) * np.tanh(side * 12)
        cues.append("folded paper")
    lamp = exposure(scene, frame)
    light = lamp * (1 + facets.clip(-0.45, 0.45)) * ambient_light(scene, frame) ** 0.5 * paper_grain(rng, 0.012)
    surface = ink * light[..., None]
    image = _worn(scene, frame, surface, mask, rng, rng.uniform(0.04, 0.14))
    loops = [np.vstack([edge, edge[:1]]), *(np.vstack([h, h[:1]]) for h in holes)]
    image = blend(image, np.full(3, lamp, np.float32), strokes(loops, max(0.8, frame.span * 0.02)) * np.float32(rng.uniform(0.4, 0.9)))
    if holes:
        cues.append("cut eye holes")
    if chance(rng, 0.35):
        strings = [frame.px([(s * 0.95, 0.1), (s * 1.5, -0.1)]) for s in (-1, 1)]
        image = blend(image, colour(rng, [(0.9, 0.9, 0.9), (0.1, 0.1, 0.1)]) * lamp, strokes(strings, max(1.0, frame.span * 0.02)))
        cues.append("an elastic string")
    return _done(scene, image, mask, cues, name)


def apply_rigid(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """A hard shell: printed resin, white or painted plastic, or clear plastic with its highlights."""
    name = pick(rng, RIGID_VARIANTS, variant)
    frame = Frame(scene.landmarks)
    edge = frame.outline(rng.uniform(0.98, 1.12), rng.uniform(0.85, 1.1))
    clear = name.endswith("transparent")
    holes = [] if clear and chance(rng, 0.4) else _openings(frame, rng, 0.5)
    mask = shapes([edge], holes)
    height = relief(frame, rng, strength=rng.uniform(0.7, 1.2))
    diffuse, specular = shade(height, scene.light_xy, ambient=rng.uniform(0.35, 0.6), shininess=rng.uniform(15, 60))
    wide = blur(specular, frame.span * 0.03)[..., None]
    lamp = exposure(scene, frame)
    cues = ["a mask edge", "glossy highlights"]
    light = (lamp * diffuse * ambient_light(scene, frame) ** 0.5)[..., None]
    if clear:
        tint = colour(rng, [(0.85, 0.9, 0.95), (0.9, 0.85, 0.8)], 0.03)
        rim = (strokes([np.vstack([edge, edge[:1]])], frame.span * 0.06))[..., None]
        surface = scene.image * 0.72 + 0.16 * tint * light + wide * rng.uniform(0.6, 1.0) + rim * 0.2
        streak = np.clip(smooth_noise(rng, cells=7) - 0.35, 0, 1) * rng.uniform(0.3, 0.8)
        surface = surface + streak * lamp
        cues.append("a clear plastic mask")
    else:
        if name.endswith("resin"):
            texture = portrait_texture(scene, frame, scale=rng.uniform(0.95, 1.1, 2), shift=rng.normal(0, 0.03, 2))
            soft = np.stack([blur(texture[..., i], frame.span * 0.05) for i in range(3)], axis=-1)
            base = 0.55 * soft + 0.45 * colour(rng, [(0.75, 0.6, 0.5), (0.8, 0.65, 0.55)])
        elif name.endswith("painted"):
            base = colour(rng, [(0.8, 0.6, 0.45), (0.3, 0.6, 0.3), (0.75, 0.2, 0.2), (0.85, 0.75, 0.3)], 0.1)
            base = _features(frame, np.broadcast_to(base, (*diffuse.shape, 3)).astype(np.float32), rng)
        else:
            base = colour(rng, [(0.92, 0.92, 0.9), (0.85, 0.83, 0.78), (0.95, 0.9, 0.85)], 0.03)
        surface = base * light + wide * rng.uniform(0.25, 0.8)
        cues.append("hard plastic skin")
    if holes:
        cues.append("cut eye holes")
    image = _worn(scene, frame, surface, mask, rng, rng.uniform(0.06, 0.14))
    if holes and not clear:  # the eyes lie deep behind the shell
        deep = blur(shapes(holes), frame.span * 0.03) * (1 - mask)
        image = image * (1 - rng.uniform(0.3, 0.7) * deep[..., None])
    return _done(scene, image, mask, cues, name)


def _features(frame: Frame, base: FloatImage, rng: np.random.Generator) -> FloatImage:
    brows = strokes([frame.part("left_brow"), frame.part("right_brow")], frame.span * rng.uniform(0.06, 0.16))
    lips = shapes([frame.part("mouth")])
    base = blend(base, colour(rng, [(0.1, 0.08, 0.06), (0.3, 0.15, 0.1)]), brows)
    return blend(base, colour(rng, [(0.7, 0.15, 0.2), (0.5, 0.2, 0.25)]), lips)


def apply_flexible(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Silicone: waxy skin of one colour over face and neck, folds, seams where it opens for eyes and mouth."""
    name = pick(rng, FLEXIBLE_VARIANTS, variant)
    frame = Frame(scene.landmarks)
    bald = name.endswith("bald-cap")
    edge = frame.outline(rng.uniform(1.12, 1.3), rng.uniform(1.35, 1.6) if bald else rng.uniform(1.05, 1.25))
    holes = _eye_holes(frame, rng.uniform(0.85, 1.1))
    if chance(rng, 0.6):
        holes.append(frame.px(ellipse((0, 1.12), (rng.uniform(0.3, 0.4), 0), (0, rng.uniform(0.04, 0.09)))))
    mask = shapes([edge], holes)
    strength = rng.uniform(1.0, 1.6)
    height = relief(frame, rng, strength=strength, spread=0.35)
    folds = smooth_noise(rng, cells=int(rng.integers(8, 16)))[..., 0]
    uv = frame.uv
    wrinkle = rng.uniform(0.01, 0.05) if not name.endswith("old-man") else rng.uniform(0.05, 0.1)
    wave = np.sin(uv[..., 1] * rng.uniform(22, 34) + folds * 5) * ((-uv[..., 1] - 0.3).clip(0, 1) + 0.5 * (np.abs(uv[..., 0]) - 0.55).clip(0, 0.5))
    height = height + ((0.25 * wrinkle * folds + 0.35 * wrinkle * wave) * frame.span * 2).astype(np.float32)
    diffuse, specular = shade(height, scene.light_xy, ambient=rng.uniform(0.4, 0.6), wrap=0.5, shininess=rng.uniform(8, 20))
    tone = 0.5 * skin_colour(scene, frame) / max(exposure(scene, frame), 0.3) + 0.5 * colour(
        rng, [(0.85, 0.65, 0.55), (0.75, 0.55, 0.42), (0.5, 0.34, 0.25), (0.9, 0.75, 0.66)]
    )
    blotch = 1 + 0.05 * smooth_noise(rng, cells=5, channels=3)
    lamp = exposure(scene, frame)
    surface = tone * blotch * (lamp * diffuse * ambient_light(scene, frame) ** 0.6)[..., None]
    surface = surface + blur(specular, frame.span * 0.06)[..., None] * rng.uniform(0.12, 0.4) * lamp
    surface = _soft_features(frame, surface.astype(np.float32), rng)
    image = _worn(scene, frame, surface, mask, rng, 0.03)
    loops = [np.vstack([h, h[:1]]) for h in holes]
    seam = strokes(loops, frame.span * rng.uniform(0.03, 0.06))
    image = image * (1 - rng.uniform(0.35, 0.7) * seam[..., None])
    cues = ["soft rubber skin", "seams at the eyes", *(["rubber folds"] if wrinkle > 0.045 else []), "a mask edge"]
    return _done(scene, image, mask, cues, name)


def _soft_features(frame: Frame, surface: FloatImage, rng: np.random.Generator) -> FloatImage:
    brows = blur(strokes([frame.part("left_brow"), frame.part("right_brow")], frame.span * 0.09), frame.span * 0.02)
    lips = blur(shapes([frame.part("mouth")]), frame.span * 0.02)
    surface = blend(surface, surface * np.float32(rng.uniform(0.4, 0.9)), brows)
    return blend(surface, surface * np.asarray([0.95, 0.7, 0.7], np.float32), lips * np.float32(rng.uniform(0.3, 1.0)))
