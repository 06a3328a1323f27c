"""Parts of a head that replaces a person's: silhouette, neck, hair, wig, and the background where the person was."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from faceshield.simulate import paint
from faceshield.simulate.attacks.surface import Frame, Plane, skin_colour
from faceshield.simulate.portrait import CANVAS, FloatImage, Mask, Scene, smooth_noise

HEAD, UNIFORM, PAINTED, BLANK = "a mannequin head", "uniform plastic skin", "painted eyes", "moulded blank eyes"
WIG, STIFF, GLOSS, PLASTER = "a wig", "stiff moulded hair", "glossy highlights", "matt plaster skin"
BALD, LIPS, FOAM, SEAM, BUST = "a bald smooth head", "painted lips", "white foam skin", "a mould seam", "a plastic neck"

FLESH = ((0.88, 0.7, 0.58), (0.93, 0.8, 0.7), (0.8, 0.6, 0.47), (0.6, 0.42, 0.32), (0.4, 0.27, 0.2))
_COARSE = 8
"""Side in canvas pixels of the cells on which the background behind the person is estimated."""
_HAIR = (
    (0.07, 0.05, 0.05),
    (0.3, 0.18, 0.1),
    (0.7, 0.55, 0.3),
    (0.6, 0.15, 0.1),
    (0.75, 0.74, 0.72),
    (0.85, 0.3, 0.6),
    (0.2, 0.3, 0.65),
)


def bare_head(frame: Frame, rng: np.random.Generator) -> Mask:
    """Silhouette of a bare head with ears."""
    top, wide = rng.uniform(1.6, 1.85), rng.uniform(1.14, 1.28)
    turn = np.linspace(np.pi, 2 * np.pi, 24)
    round_off = np.abs(np.sin(turn)) ** 0.85
    skull = np.stack([wide * np.cos(turn), -0.05 - (top - 0.05) * round_off], axis=1)
    jaw = np.array(
        [
            (wide * 0.99, 0.5),
            (wide * 0.9, 1.05),
            (0.72, 1.5),
            (0.34, 1.82),
            (-0.34, 1.82),
            (-0.72, 1.5),
            (-wide * 0.9, 1.05),
            (-wide * 0.99, 0.5),
        ]
    )
    ears = [frame.px(paint.ellipse((s * (wide + 0.02), 0.3), (0.15, 0), (s * 0.05, 0.33))) for s in (-1, 1)]
    return paint.shapes([paint.rounded(frame.px(np.vstack([skull, jaw])), 1), *ears])


def neck_of(scene: Scene, frame: Frame, rng: np.random.Generator, bust: bool) -> Mask:
    """Neck of the same material: down into the collar, or onto a moulded bust."""
    if bust:
        shape = [
            (-0.68, 1.1),
            (0.68, 1.1),
            (0.72, 2.3),
            (1.3, 2.75),
            (2.6, 3.2),
            (2.8, 6.0),
            (-2.8, 6.0),
            (-2.6, 3.2),
            (-1.3, 2.75),
            (-0.72, 2.3),
        ]
        return paint.shapes([paint.rounded(frame.px(np.asarray(shape)), 2)])
    low = rng.uniform(2.3, 2.9)
    plain = paint.shapes(
        [
            paint.rounded(
                frame.px(np.array([(-0.68, 1.1), (0.68, 1.1), (0.72, low), (0.3, low + 0.2), (-0.3, low + 0.2), (-0.72, low)])),
                1,
            )
        ]
    )
    # A collar lies over the neck: below the chin, leave out what is clearly not skin.
    skin = skin_colour(scene, frame)
    off = np.abs(scene.image - skin).sum(axis=2) / max(float(skin.sum()), 0.2)
    bare = paint.blur(((0.75 - off) * 5).clip(0, 1), 1.0)
    return plain * np.maximum(bare, (frame.uv[..., 1] < 1.95).astype(np.float32))


def without_person(scene: Scene, frame: Frame, head: Mask) -> tuple[FloatImage, Mask]:
    """The scene with a blurred continuation of the background in place of the hair around the head, and where that is."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    near = ((u / 2.1) ** 2 + ((v + 0.15) / 2.4) ** 2 < 1) & (v < 2.1)
    matted = scene.matte.mean() < 0.97
    hair = scene.matte * near if matted else near.astype(np.float32)
    # The background's own colours, spread inwards from the surroundings; shoulders do not count as background.
    person = np.maximum(paint.blur(hair, 3.0), scene.matte if matted else 0.0)
    known = ((person < 0.05) & (v < 1.9)).astype(np.float32)
    if known.mean() < 0.02:
        return scene.image, np.zeros_like(head)
    cells = CANVAS // _COARSE
    weighted = np.dstack([scene.image * known[..., None], known]).reshape(cells, _COARSE, cells, _COARSE, 4).mean(axis=(1, 3))
    spread = sum(
        trust * gaussian_filter(weighted, (radius, radius, 0)) for radius, trust in ((1.0, 1.0), (4.0, 1e-2), (14.0, 1e-4))
    )
    filled = spread[..., :3] / np.maximum(spread[..., 3:], 1e-9)
    picture = Image.fromarray((filled.clip(0, 1) * 255).astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    gone = paint.blur((20 * hair).clip(0, 1) * (1 - head), 1.2)  # all of it: faint ends of hair would be left as a ring
    image = paint.over(scene.image, np.asarray(picture, np.float32) / 255.0, gone)
    return image, gone if matted else np.zeros_like(gone)  # a photograph's own background is lit as the person is


def own_hair(scene: Scene, frame: Frame) -> Mask:
    """Where the person's hair covers the head: unlike skin in colour, above the brows or beside the face."""
    skin = skin_colour(scene, frame)
    off = np.abs(scene.image - skin).sum(axis=2) / max(float(skin.sum()), 0.2)
    unlike = ((off - 0.3) * 5).clip(0, 1)
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    above = ((-0.42 - v) * 8).clip(0, 1)
    beside = ((np.abs(u) - 0.98) * 10).clip(0, 1)
    return paint.blur(unlike * np.maximum(above, beside), 0.8)


def wig_on(frame: Frame, rng: np.random.Generator) -> Mask:
    long = rng.uniform(0.0, 2.8)
    cap = frame.px(paint.ellipse((0, -0.3), (rng.uniform(1.32, 1.55), 0), (0, rng.uniform(1.6, 1.9)), 2.2))
    sides = [
        frame.px(np.array([(s * 0.85, -0.6), (s * 1.5, -0.5), (s * 1.5, long * 0.6), (s * 1.3, long), (s * 0.95, long)]))
        for s in (-1, 1)
    ]
    sides = [paint.rounded(side, 2) for side in sides]
    top = rng.uniform(-1.0, -0.45)
    part = rng.uniform(-0.5, 0.5)
    face = np.array(
        [
            (-0.98, 0.2),
            (-0.9, -0.35),
            (part - 0.4, top + 0.08),
            (part, top - 0.12),
            (part + 0.4, top + 0.08),
            (0.9, -0.35),
            (0.98, 0.2),
            (0.95, 1.1),
            (0.5, 2.2),
            (-0.5, 2.2),
            (-0.95, 1.1),
        ]
    )
    if paint.chance(rng, 0.35):  # a straight fringe
        face[1:6, 1] = rng.uniform(-0.45, -0.35)
    return paint.shapes([cap, *sides], [paint.rounded(frame.px(face), 1)])


def strands(scene: Scene, frame: Frame, rng: np.random.Generator, level: float) -> FloatImage:
    """Synthetic hair: even strands of one colour with a band of shine across."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    flow = u / (1 + 0.35 * np.abs(v + 0.2)) + 0.06 * smooth_noise(rng, cells=7)[..., 0]
    comb = rng.normal(0, 1, 260).astype(np.float32)
    comb = np.convolve(comb, [0.25, 0.5, 0.25], mode="same")
    lane = ((flow + 2.5) * 48).clip(0, 258).astype(np.int32)
    curl = np.sin(v * rng.uniform(6, 14) + 3 * flow) * rng.uniform(0.0, 0.3) if paint.chance(rng, 0.5) else np.zeros_like(v)
    shade = 0.75 + 0.2 * comb[lane] + 0.2 * curl
    band = np.exp(-(((v + 1.0 + 0.25 * u * u) / 0.22) ** 2)) * (0.5 + 0.5 * comb[lane]).clip(0, 1) * rng.uniform(0.1, 0.4)
    side = 1 + 0.25 * scene.light_xy[0] * u.clip(-1.4, 1.4) / 1.4
    tone = paint.colour(rng, _HAIR, 0.02)
    return ((tone * (shade * side)[..., None].clip(0.25, 1.6) + band[..., None]) * level).astype(np.float32)


def moulded_hair(frame: Frame, rng: np.random.Generator) -> tuple[Mask, Plane]:
    """Hair carved into the material: its mask, and the height of its grooves in pixels."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    line = -0.75 - rng.uniform(0.0, 0.25) + 0.55 * np.abs(u) ** 2
    where = ((line - v) * 12).clip(0, 1)
    swirl = np.sin(v * rng.uniform(10, 20) + u * rng.uniform(-18, 18) + 3 * smooth_noise(rng, cells=6)[..., 0])
    return where.astype(np.float32), (where * (0.08 + 0.045 * swirl) * frame.span).astype(np.float32)


def ears_of(frame: Frame) -> list[np.ndarray]:
    return [frame.px(paint.ellipse((s * 1.13, 0.3), (0.14, 0), (s * 0.04, 0.3))) for s in (-1, 1)]


def under_chin(surface: FloatImage, scene: Scene, frame: Frame, head: Mask, neck: Mask, rng: np.random.Generator) -> FloatImage:
    """Adds the shadow under the chin, which plaster shows as people do."""
    chin = paint.blur(head, 0.04 * frame.span)
    below = paint.shifted(chin, -scene.light_xy[0] * 0.1 * frame.span, 0.28 * frame.span) * neck * (1 - chin)
    return surface * (1 - rng.uniform(0.3, 0.55) * below[..., None])


def dressed(scene: Scene, frame: Frame, surface: FloatImage, neck: Mask, hair: Mask) -> tuple[FloatImage, Mask]:
    """Face and neck of `surface` among the person's own `hair` and clothes; and the mask of the head."""
    face = paint.shapes([paint.rounded(frame.outline(1.04)), *ears_of(frame)])
    shown = np.maximum(face, neck * (1 - face)) * (1 - hair)
    image = paint.over(scene.image, surface, shown)
    matted = scene.matte.mean() < 0.97
    crown = paint.shapes([frame.px(paint.ellipse((0, -0.1), (1.45 if matted else 1.2, 0), (0, 1.75 if matted else 1.55)))])
    return image, np.maximum(face, crown * (scene.matte > 0.5))


def wigged(image: FloatImage, frame: Frame, made: Mask, wig: Mask, strands: FloatImage) -> FloatImage:
    """The picture with a wig on the head, including the wig's shadow."""
    image = paint.over(image, image * np.float32(0.55), paint.blur(wig, 0.07 * frame.span) * made * (1 - wig))
    return paint.over(image, strands, paint.blur(wig, 0.7))
