"""Flexible masks: silicone and latex over face, scalp and neck, waxy, evenly coloured, folded, with seams at the openings;
hoods of printed fabric, rubber creatures, thin skins through which the face shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.makeup import wrinkles
from faceshield.simulate.attacks.surface import (
    Frame,
    Plane,
    ambient_light,
    exposure,
    portrait_texture,
    relief,
    shade,
    skin_colour,
)
from faceshield.simulate.portrait import CANVAS, LUMA, Attacked, FloatImage, Mask, Points, Scene, smooth_noise

VARIANTS: tuple[str, ...] = (
    "flexible-mask/smooth", "flexible-mask/old-man", "flexible-mask/hooded", "flexible-mask/bearded", "flexible-mask/latex",
    "flexible-mask/printed-fabric", "flexible-mask/alien", "flexible-mask/clear-skin",
)  # fmt: skip
WAXY, EVEN, SEAMS, MOUTH_SEAM = "smooth waxy skin", "too even skin", "seams at the eyes", "a mouth seam"
FOLDS, NECK, SCALP, EDGE = "rubber folds", "a mask edge below", "a rubber scalp", "a soft mask edge"
HAIR, ODD, SHEEN = "glued hair", "an odd rubber colour", "a dull rubber sheen"
CUES: tuple[str, ...] = (WAXY, SEAMS, EVEN, NECK, FOLDS, HAIR, MOUTH_SEAM, SHEEN, SCALP, EDGE, ODD)

_FLESH = ((0.88, 0.68, 0.57), (0.8, 0.58, 0.45), (0.93, 0.78, 0.69), (0.55, 0.37, 0.27), (0.36, 0.24, 0.18), (0.75, 0.6, 0.5))
_ODD = ((0.45, 0.6, 0.35), (0.55, 0.55, 0.6), (0.8, 0.45, 0.3), (0.4, 0.45, 0.65), (0.85, 0.83, 0.75), (0.5, 0.2, 0.2))
_BEINGS = ((0.45, 0.55, 0.42), (0.55, 0.57, 0.6), (0.35, 0.5, 0.55), (0.5, 0.42, 0.55), (0.62, 0.58, 0.42), (0.3, 0.42, 0.25),
           (0.7, 0.66, 0.6), (0.55, 0.3, 0.25))  # fmt: skip
_LENSES = ((0.02, 0.02, 0.025), (0.02, 0.02, 0.025), (0.03, 0.04, 0.08), (0.25, 0.02, 0.03), (0.5, 0.42, 0.05))
_CLOTH = ((0.08, 0.08, 0.09), (0.85, 0.66, 0.55), (0.62, 0.45, 0.35), (0.9, 0.89, 0.87), (0.3, 0.2, 0.15), (0.2, 0.25, 0.4))
_SKINS = ((0.88, 0.76, 0.64), (0.88, 0.83, 0.76), (0.9, 0.9, 0.9), (0.86, 0.76, 0.56), (0.92, 0.8, 0.78), (0.8, 0.86, 0.9))
_HAIR = ((0.08, 0.06, 0.05), (0.3, 0.2, 0.12), (0.65, 0.62, 0.58), (0.85, 0.84, 0.82))


def _region(scene: Scene, frame: Frame, hooded: bool, neck: bool, rng: np.random.Generator) -> Mask:
    """Area that the flexible mask covers, before its openings are cut."""
    pieces: list[Points] = [paint.rounded(frame.outline(rng.uniform(1.02, 1.12), rng.uniform(1.0, 1.2)))]
    if hooded:
        top = rng.uniform(1.5, 1.8)
        turn = np.linspace(np.pi, 2 * np.pi, 24)
        wide = rng.uniform(1.22, 1.36)
        skull = np.stack([wide * np.cos(turn), -0.1 + top * np.sin(turn)], axis=1)
        pieces.append(frame.px(np.vstack([skull, [(1.15, 0.9), (0.7, 1.6), (-0.7, 1.6), (-1.15, 0.9)]])))
        pieces += [frame.px(paint.ellipse((s * 1.2, 0.3), (0.17, 0), (0, 0.36))) for s in (-1, 1)]
    mask = paint.shapes(pieces)
    if neck:
        low = rng.uniform(2.25, 2.7)
        wave = np.linspace(-0.74, 0.74, 14)
        hem = np.stack([wave[::-1], low + 0.28 * np.cos(wave * 1.9) + rng.normal(0, 0.03, 14)], axis=1)
        throat = paint.shapes([frame.px(np.vstack([[(-0.7, 1.1), (0.7, 1.1)], hem]))])
        # Without a matte the neck's width is unknown: stay narrow.
        person = scene.matte if scene.matte.mean() < 0.97 else (np.abs(frame.uv[..., 0]) < 0.68).astype(np.float32)
        mask = np.maximum(mask, throat * person)
    return mask


def _hair(frame: Frame, surface: FloatImage, rng: np.random.Generator, level: float, *, beard: bool) -> FloatImage:
    """Adds single hairs punched into the rubber: brows, and a beard if asked for."""
    roots = [np.stack([s * rng.uniform(0.2, 0.85, 70), rng.normal(-0.33, 0.035, 70)], axis=1) for s in (-1, 1)]
    if beard:
        chin = np.stack([rng.uniform(-0.9, 0.9, 420), rng.uniform(0.8, 1.9, 420)], axis=1)
        keep = (np.abs(chin[:, 0]) > 0.5) | (chin[:, 1] > 1.34) | (np.abs(chin[:, 1] - 0.88) < 0.07)
        roots.append(chin[keep & (np.abs(chin[:, 0]) < 1.05 - 0.35 * (chin[:, 1] - 0.8))])
    rows = np.vstack(roots)
    ends = rows + np.stack([0.05 * np.sign(rows[:, 0]), np.where(rows[:, 1] > 0, 0.14, -0.03)], axis=1)
    ends += rng.normal(0, 0.025, ends.shape)
    lines = list(np.stack([frame.px(rows), frame.px(ends)], axis=1))
    hairs = paint.strokes(lines, max(0.7, 0.018 * frame.span))
    mask = np.maximum(hairs, paint.blur(hairs, 0.04 * frame.span) * rng.uniform(0.8, 1.5)).clip(0, 1)
    return paint.over(surface, paint.colour(rng, _HAIR, 0.02) * np.float32(level), mask * 0.85)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts on a flexible mask.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds the whole mask, neck and scalp included.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant)
    frame = Frame(scene.landmarks)
    if name in _MADE:
        image, solid, cues = _MADE[name](scene, frame, rng)
        return moulded.attacked(image, solid, cues, name, scene)
    old, latex = name.endswith("old-man"), name.endswith("latex")
    hooded = name.endswith("hooded") or (latex and paint.chance(rng, 0.5))
    neck = paint.chance(rng, 0.75)
    solid = _region(scene, frame, hooded, neck, rng)
    eyes = [moulded.almond(frame, s, rng.uniform(0.2, 0.25), rng.uniform(0.075, 0.12)) for s in (-1, 1)]
    mouth_open = paint.chance(rng, 0.5)
    slit = frame.px(paint.ellipse((0, 1.12), (rng.uniform(0.28, 0.4), 0), (0, rng.uniform(0.03, 0.09)), 1.6))
    openings = [*eyes, *([slit] if mouth_open else [])]
    gap = paint.shapes(openings)
    mask = solid * (1 - gap)

    height = relief(frame, rng, strength=rng.uniform(1.0, 1.5), spread=0.35)
    share = 1.0 if old else rng.uniform(0.5, 0.9) if latex else rng.uniform(0.0, 0.35)
    lines = wrinkles(frame, rng, share, 0.05) + (wrinkles(frame, rng, 0.6, 0.09) if old or latex else [])
    if neck:  # the neck is too wide and hangs in ring-shaped folds
        for v in rng.uniform(1.9, 2.4, int(rng.integers(1, 4))):
            lines.append(paint.curve(frame.px(np.array([(-0.6, v), (0, v + rng.uniform(0, 0.15)), (0.6, v)]))))
    depth = rng.uniform(0.1, 0.2) if old or latex else rng.uniform(0.05, 0.11)
    height = height + moulded.grooves(frame, lines, rng.uniform(0.06, 0.1), depth)
    sag = smooth_noise(rng, cells=int(rng.integers(7, 13)))[..., 0]
    height = height + sag * np.float32(rng.uniform(0.008, 0.02) * frame.span)

    level = moulded.exposure(scene, frame)
    if latex:
        tone = paint.colour(rng, _ODD, 0.05)
    else:
        own = skin_colour(scene, frame) / np.float32(max(level, 0.3))
        tone = (paint.colour(rng, _FLESH, 0.03) * 0.75 + own * 0.25).clip(0, 1).astype(np.float32)
    albedo = tone * moulded.mottle(rng, rng.uniform(0.015, 0.06))
    # Painted from inside: lips and cheeks are slightly redder.
    lips = tone * np.array([0.85, 0.55, 0.55], np.float32)
    albedo = moulded.painted_lips(frame, albedo, lips, 0.06 * frame.span, rng.uniform(0.4, 0.95))
    spots = [frame.px(paint.ellipse((s * 0.6, 0.55), (0.3, 0), (0, 0.22))) for s in (-1, 1)]
    blush = paint.blur(paint.shapes(spots), 0.15 * frame.span) * rng.uniform(0, 0.5)
    albedo = paint.over(albedo, tone * np.array([1.02, 0.78, 0.76], np.float32), blush)
    finish = moulded.Finish(
        gloss=rng.uniform(0.08, 0.3), shininess=rng.uniform(5, 14), ambient=rng.uniform(0.35, 0.55), wrap=0.45, speckle=0.006
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    # Subsurface scattering: shaded parts turn warm instead of grey.
    shade = (1 - (surface @ LUMA / max(float(tone @ LUMA) * level, 0.05))).clip(0, 0.6)
    surface = surface * (1 + shade[..., None] * np.array([0.28, -0.02, -0.1], np.float32))
    cues = [WAXY, SEAMS, ODD if latex else EVEN]
    bearded = name.endswith("bearded")
    if bearded or paint.chance(rng, 0.5):
        surface = _hair(frame, surface.astype(np.float32), rng, level, beard=bearded)
        cues.append(HAIR)
    else:
        dark = tone * np.array([0.4, 0.33, 0.3], np.float32)
        surface = (
            moulded.painted_brows(frame, surface.astype(np.float32), rng, 0.09)
            if latex
            else _soft_brows(frame, surface, dark * level)
        )

    image = paint.cast_shadow(scene.image, solid, scene.light_xy, 0.05 * frame.span, rng.uniform(0.35, 0.6))
    behind = moulded.deepen(scene.image, scene, frame, gap, rng.uniform(0.3, 0.6))
    image = paint.over(image, behind, gap)
    image = paint.over(image, surface.astype(np.float32), mask)
    loops = _loops(openings)
    if not mouth_open:
        loops.append(paint.curve(frame.px(np.array([(-0.36, 1.12), (0, 1.13), (0.36, 1.12)]))))
    image = _edged(image, frame, loops, mask, solid, level, rng)
    cues += [*([MOUTH_SEAM] if mouth_open else []), *([FOLDS] if len(lines) >= 5 else []), NECK if neck else EDGE]
    cues += [*([SCALP] if hooded else []), *([SHEEN] if finish.gloss > 0.2 else [])]
    return moulded.attacked(image, solid, cues, name, scene)


def _loops(openings: list[Points]) -> list[Points]:
    return [np.vstack([hole, hole[:1]]) for hole in openings]


def _edged(
    image: FloatImage, frame: Frame, loops: list[Points], mask: Mask, solid: Mask, level: float, rng: np.random.Generator
) -> FloatImage:
    """Adds the step where an opening is cut, dark with a bright lip below it, and the outer edge."""
    seam = paint.blur(paint.strokes(loops, max(1.3, rng.uniform(0.03, 0.05) * frame.span)), 0.4)
    image = image * (1 - rng.uniform(0.4, 0.75) * seam[..., None])
    lip = paint.shifted(seam, 0, max(1, round(0.035 * frame.span))) * mask
    image = image + (lip * rng.uniform(0.06, 0.16) * level)[..., None]
    rim = (solid - paint.shifted(solid, 0, -1)).clip(0, 1)
    return (image * (1 - rng.uniform(0.2, 0.5) * rim[..., None])).astype(np.float32)


def _soft_brows(frame: Frame, surface: FloatImage, tone: moulded.Colour) -> FloatImage:
    lines = [paint.curve(frame.px(np.array([(s * 0.2, -0.3), (s * 0.52, -0.4), (s * 0.88, -0.27)]))) for s in (-1, 1)]
    mask = paint.blur(paint.strokes(lines, 0.11 * frame.span, taper=True), 0.02 * frame.span + 0.4)
    return paint.over(surface.astype(np.float32), tone, mask * 0.6)


def _tension(frame: Frame, rng: np.random.Generator, count: int, depth: float) -> Plane:
    """Height in pixels of the folds of a stretched skin, which run outwards from nose, mouth, chin and brow."""
    lines = []
    anchors = ((0.0, 0.6), (0.0, 1.75), (0.0, -0.4), (0.0, 1.1))
    for _ in range(count):
        x, y = anchors[int(rng.integers(len(anchors)))]
        turn, near, far = rng.normal(0.1, 0.45), rng.uniform(0.2, 0.5), rng.uniform(0.8, 1.5)
        way = np.array([float(rng.choice([-1, 1])) * np.cos(turn), np.sin(turn)])
        sag = np.array([0, rng.normal(0, 0.08)])
        line = (x, y) + np.stack([way * near, way * (near + far) / 2 + sag, way * far])
        lines.append(paint.curve(frame.px(line)))
    return moulded.grooves(frame, lines, rng.uniform(0.05, 0.1), depth)


def _printed_fabric(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A hood of stretch fabric with a photographed face on it: the photograph's light is printed, the real relief flattened."""
    neck, open_eyes = paint.chance(rng, 0.8), paint.chance(rng, 0.55)
    solid = _region(scene, frame, True, neck, rng)
    openings = moulded.holes(frame, rng, low=0.7, high=1.1) if open_eyes else []
    gap = paint.shapes(openings)
    mask = solid * (1 - gap)

    size, off = rng.uniform(0.92, 1.2, 2) * (1.0, 1.05), rng.normal(0, 0.09, 2)
    picture = portrait_texture(scene, frame, mirror=paint.chance(rng, 0.5), scale=size, shift=off, within=solid)
    picture = paint.printed(
        picture * np.float32(rng.uniform(0.7, 1.2) * (1 + rng.normal(0, 0.07, 3))), rng, white=rng.uniform(0.8, 0.95)
    )
    cloth = paint.colour(rng, _CLOTH, 0.04)
    middle = frame.px(np.asarray(off) + paint.ellipse((0, 0.35), (1.05 * size[0], 0), (0, 1.5 * size[1]), 2.3))
    shown = paint.blur(paint.shapes([middle]), rng.uniform(0.02, 0.2) * frame.span)
    albedo = paint.over(np.broadcast_to(cloth, picture.shape), picture, shown)

    # Where the fabric is stretched, its white ground shows through the ink.
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    pulled = np.exp(-((u / 0.3) ** 2) - ((v - 0.55) / 0.4) ** 2) + 0.6 * np.exp(-((u / 0.5) ** 2) - ((v - 1.7) / 0.3) ** 2)
    albedo = albedo + (0.9 - albedo) * (pulled * np.float32(rng.uniform(0.05, 0.3)))[..., None]
    pitch = rng.uniform(0.035, 0.07)
    rows, wales = np.sin(v * np.float32(2 * np.pi / pitch)), np.sin((u + 0.1 * v * u) * np.float32(2 * np.pi / pitch / 0.8))
    weave = 1 + np.float32(rng.uniform(0.02, 0.08)) * rows * wales + np.float32(rng.uniform(0, 0.03)) * rows

    height = relief(frame, rng, strength=rng.uniform(0.3, 0.65), spread=0.2)
    height = height + _tension(frame, rng, int(rng.integers(6, 16)), rng.uniform(0.03, 0.09))
    seams = [[(s * 1.02, -1.3), (s * 1.12, 0.2), (s * 0.8, 1.7)] for s in (-1, 1)] if paint.chance(rng, 0.4) else []
    seams += [[(0, -1.9), (0, -1.0), (0, -0.75)]] if paint.chance(rng, 0.3) else []
    height = height + moulded.grooves(frame, [paint.curve(frame.px(np.array(seam))) for seam in seams], 0.04, 0.12)
    light, _ = shade(height.astype(np.float32), scene.light_xy, ambient=rng.uniform(0.45, 0.6), wrap=0.3)
    level = exposure(scene, frame)
    surface = albedo * (light * weave * np.sqrt(ambient_light(scene, frame, shaded=True)) * np.float32(0.92 * level))[..., None]

    image = paint.cast_shadow(scene.image, solid, scene.light_xy, 0.05 * frame.span, rng.uniform(0.3, 0.5))
    image = paint.over(image, moulded.deepen(scene.image, scene, frame, gap, rng.uniform(0.3, 0.7)), gap)
    image = paint.over(image, surface.astype(np.float32), mask)
    image = _edged(image, frame, _loops(openings), mask, solid, level, rng)
    hems = paint.strokes(_loops(openings), max(1.5, rng.uniform(0.05, 0.09) * frame.span)) * mask
    image = paint.over(image, cloth * np.float32(0.8 * level), hems * rng.uniform(0.3, 0.9))
    return image, solid, [EVEN, *([SEAMS] if open_eyes else []), NECK if neck else EDGE]


def _skull(frame: Frame, wide: float, top: float, chin: float, rng: np.random.Generator) -> Mask:
    """Silhouette of a creature's head: swollen above, narrow below, sometimes with pointed ears."""
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    narrow = 1 - rng.uniform(0.3, 0.62) * np.sin(turn).clip(0) ** rng.uniform(0.7, 1.3)
    bulge = 1 + rng.uniform(0, 0.12) * np.cos(2 * int(rng.integers(1, 4)) * turn)
    rows = np.stack([wide * np.cos(turn) * narrow * bulge, np.where(np.sin(turn) > 0, chin, top - 0.1) * np.sin(turn)], axis=1)
    pieces = [frame.px(rows)]
    if paint.chance(rng, 0.4):
        y, tip, lift = rng.uniform(-0.2, 0.4), wide + rng.uniform(0.35, 0.8), rng.uniform(0.2, 0.7)
        ear = np.array([(wide * 0.75, y + 0.45), (tip, y - lift), (wide * 0.85, y - 0.4)])
        pieces += [paint.rounded(frame.px(ear * (s, 1)), 1) for s in (-1, 1)]
    return paint.shapes(pieces)


def _creature(frame: Frame, wide: float, top: float, chin: float, eyes: list[Points], rng: np.random.Generator) -> Plane:
    """Height in pixels of a creature's head without its folds: dome, sockets, brow, cheeks, a flat nose, sometimes warts."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    dome = 0.8 * np.sqrt((1 - (u / wide) ** 2 - ((v + 0.1) / np.where(v > -0.1, chin + 0.15, top)) ** 2).clip(0.02))
    sockets = rng.uniform(0.05, 0.18) * paint.blur(paint.shapes(eyes), 0.1 * frame.span)
    nose = rng.uniform(0.02, 0.22) * np.exp(-((u / 0.16) ** 2) - ((v - 0.55) / 0.3) ** 2)
    brow = rng.uniform(0.0, 0.25) * np.exp(-(((v + rng.uniform(0.3, 0.5)) / 0.13) ** 2) - ((np.abs(u) - 0.55) / 0.6) ** 2)
    cheeks = rng.uniform(0.0, 0.18) * np.exp(-(((np.abs(u) - 0.65) / 0.25) ** 2) - ((v - 0.75) / 0.25) ** 2)
    height = dome - sockets + nose + brow + cheeks + rng.uniform(0.01, 0.03) * smooth_noise(rng, cells=10)[..., 0]
    if paint.chance(rng, 0.4):
        spots = rng.uniform((-wide, -top, 0.02), (wide, 1.6, 0.07), (40, 3))
        warts = paint.shapes([frame.px(paint.ellipse((x, y), (size, 0), (0, size), count=12)) for x, y, size in spots])
        height = height + rng.uniform(0.02, 0.06) * paint.blur(warts, 0.02 * frame.span + 0.3)
    return (height * frame.span).astype(np.float32)


def _alien(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A creature of thick rubber: an oversized skull, glassy dark or coloured eyes, hardly any nose, folds."""
    wide, top, chin = rng.uniform(1.45, 2.0), rng.uniform(1.9, 2.6), rng.uniform(1.75, 2.15)
    neck = paint.chance(rng, 0.7)
    solid = _skull(frame, wide, top, chin, rng)
    if neck:
        solid = np.maximum(solid, _region(scene, frame, False, True, rng) * (frame.uv[..., 1] > 0.6))
    long, high, tilt, at = rng.uniform(0.27, 0.5), rng.uniform(0.15, 0.34), rng.uniform(-0.32, 0.08), rng.uniform(0.5, 0.64)
    axes = np.array([(long, tilt * long * 2), (-tilt * high, high)])
    eyes = [frame.px(paint.ellipse((s * at, 0.02), axes[0] * (s, 1), axes[1] * (s, 1), 1.8)) for s in (-1, 1)]
    glass = paint.shapes(eyes)

    lines = wrinkles(frame, rng, rng.uniform(0.3, 0.8), 0.08)
    for y in (*rng.uniform(-top * 0.8, -0.5, int(rng.integers(0, 6))), *rng.uniform(1.8, 2.4, 2 if neck else 0)):
        half = 0.5 * wide if y < 0 else 0.6
        lines.append(paint.curve(frame.px(np.array([(-half, y), (rng.normal(0, 0.2), y - rng.uniform(-0.1, 0.2)), (half, y)]))))
    mouth, corners = rng.uniform(0.15, 0.5), 1.15 + rng.normal(0, 0.06, 2)
    slit = paint.curve(frame.px(np.array([(-mouth, corners[0]), (0, 1.12), (mouth, corners[1])])))
    height = _creature(frame, wide, top, chin, eyes, rng)
    height = height + moulded.grooves(frame, [*lines, slit], rng.uniform(0.06, 0.11), rng.uniform(0.1, 0.22))

    tone = paint.colour(rng, _BEINGS, 0.05)
    cells = int(np.clip(2 * CANVAS / frame.span, 4, 40))
    veins = paint.blur((np.abs(smooth_noise(rng, cells=cells)[..., 0]) < 0.05) * np.float32(1), 0.02 * frame.span + 0.4)
    albedo = tone * moulded.mottle(rng, rng.uniform(0.05, 0.18)) * (1 - rng.uniform(0, 0.2) * veins[..., None])
    dark = paint.blur(glass, 0.14 * frame.span) * rng.uniform(0.2, 0.7)
    albedo = paint.over(albedo.astype(np.float32), tone * np.float32(0.35), dark)
    nostrils = [frame.px(paint.ellipse((s * rng.uniform(0.05, 0.1), 0.72), (0.03, 0), (0, 0.05))) for s in (-1, 1)]
    albedo = paint.over(albedo, tone * np.float32(0.15), paint.blur(paint.shapes(nostrils), 0.4))
    gloss = rng.uniform(0.1, 0.45)
    rubber = moulded.Finish(gloss=gloss, shininess=rng.uniform(6, 20), ambient=rng.uniform(0.3, 0.5), wrap=0.35)
    surface, _ = moulded.render(scene, frame, albedo, height, rubber, rng)
    wet = moulded.Finish(gloss=rng.uniform(0.5, 1.0), shininess=rng.uniform(20, 60), hard=0.5, speckle=0.0)
    balls = paint.blur(glass, 0.45 * high * frame.span) * np.float32(1.2 * high * frame.span)
    lens, _ = moulded.render(scene, frame, paint.colour(rng, _LENSES, 0.01), balls, wet, rng)
    if paint.chance(rng, 0.25):  # slit pupils
        pupils = [frame.px(paint.ellipse((s * at, 0.02), (0.05, 0), (0, high * 0.8))) for s in (-1, 1)]
        lens = paint.over(lens, np.array([0.02, 0.02, 0.02], np.float32), paint.shapes(pupils))
    image = paint.cast_shadow(scene.image, solid, scene.light_xy, 0.08 * frame.span, rng.uniform(0.35, 0.6))
    image = paint.over(paint.over(image, surface, solid), lens, glass)
    image = _edged(image, frame, [*_loops(eyes), slit], solid * (1 - glass), solid, exposure(scene, frame), rng)
    cues = [ODD, SEAMS, SCALP, *([FOLDS] if len(lines) >= 4 else []), MOUTH_SEAM, NECK if neck else EDGE]
    return image, solid, [*cues, *([SHEEN] if gloss > 0.2 else [])]


def _clear_skin(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """Thin latex or silicone pulled over the face: the face shows through it, pale, blurred and flattened."""
    hooded, neck = paint.chance(rng, 0.6), paint.chance(rng, 0.6)
    solid = _region(scene, frame, hooded, neck, rng)
    openings = moulded.holes(frame, rng, low=0.8, high=1.3)
    mouth_open = paint.chance(rng, 0.6)
    if mouth_open:
        openings.append(frame.px(paint.ellipse((0, 1.12), (rng.uniform(0.26, 0.42), 0), (0, rng.uniform(0.05, 0.14)), 1.8)))
    gap = paint.shapes(openings)
    mask = solid * (1 - gap)
    level = exposure(scene, frame)

    height = relief(frame, rng, strength=rng.uniform(0.5, 0.9), spread=0.2)
    creases = int(rng.integers(5, 16))
    height = height + _tension(frame, rng, creases, rng.uniform(0.03, 0.09))
    cells = int(np.clip(2 * CANVAS / frame.span, 4, 30))
    height = height + smooth_noise(rng, cells=cells)[..., 0] * np.float32(0.012 * frame.span)
    finish = moulded.Finish(
        gloss=rng.uniform(0.08, 0.4), shininess=rng.uniform(8, 40), hard=rng.uniform(0, 0.4), ambient=0.55, wrap=0.5
    )
    skin = paint.colour(rng, _SKINS, 0.03)
    sheet, shine = moulded.render(scene, frame, skin, height.astype(np.float32), finish, rng)
    seen = paint.blur_image(scene.image, rng.uniform(0.02, 0.05) * frame.span + 0.3)
    veil = np.float32(rng.uniform(0.3, 0.65)) + 0.12 * smooth_noise(rng, cells=6)[..., 0]
    through = seen * (0.5 + 0.5 * skin / skin.max())
    surface = through + (sheet - through) * veil[..., None] + (shine * (1 - veil))[..., None]
    image = paint.cast_shadow(scene.image, solid, scene.light_xy, 0.03 * frame.span, rng.uniform(0.15, 0.35))
    image = paint.over(image, moulded.deepen(scene.image, scene, frame, gap, rng.uniform(0.1, 0.3)), gap)
    image = paint.over(image, surface.astype(np.float32), mask)
    image = _edged(image, frame, _loops(openings), mask, solid, level, rng)
    roll = paint.strokes(_loops(openings), max(1.3, 0.05 * frame.span)) * mask
    image = paint.over(image, sheet * np.float32(0.9), roll * rng.uniform(0.3, 0.7))
    cues = [WAXY, SEAMS, *([FOLDS] if creases >= 8 else []), *([MOUTH_SEAM] if mouth_open else [])]
    return image, solid, [*cues, *([SCALP] if hooded else []), NECK if neck else EDGE, *([SHEEN] if finish.gloss > 0.2 else [])]


_MADE: dict[str, Callable[[Scene, Frame, np.random.Generator], moulded.Made]] = {
    "flexible-mask/printed-fabric": _printed_fabric,
    "flexible-mask/alien": _alien,
    "flexible-mask/clear-skin": _clear_skin,
}
