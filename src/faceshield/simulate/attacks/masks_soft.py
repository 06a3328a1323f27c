"""Flexible masks: silicone and latex over face, scalp and neck; waxy, evenly coloured, folded, with seams at the openings."""

from __future__ import annotations

import numpy as np

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.makeup import wrinkles
from faceshield.simulate.attacks.surface import Frame, relief, skin_colour
from faceshield.simulate.portrait import Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box, smooth_noise

VARIANTS: tuple[str, ...] = (
    "flexible-mask/smooth", "flexible-mask/old-man", "flexible-mask/hooded", "flexible-mask/bearded", "flexible-mask/latex",
)  # fmt: skip
WAXY, EVEN, SEAMS, MOUTH_SEAM = "smooth waxy skin", "too even skin", "seams at the eyes", "a mouth seam"
FOLDS, NECK, SCALP, EDGE = "rubber folds", "a mask edge below", "a rubber scalp", "a soft mask edge"
HAIR, ODD, SHEEN = "glued hair", "an odd rubber colour", "a dull rubber sheen"
CUES: tuple[str, ...] = (WAXY, SEAMS, EVEN, NECK, FOLDS, HAIR, MOUTH_SEAM, SHEEN, SCALP, EDGE, ODD)

_FLESH = ((0.88, 0.68, 0.57), (0.8, 0.58, 0.45), (0.93, 0.78, 0.69), (0.55, 0.37, 0.27), (0.36, 0.24, 0.18), (0.75, 0.6, 0.5))
_ODD = ((0.45, 0.6, 0.35), (0.55, 0.55, 0.6), (0.8, 0.45, 0.3), (0.4, 0.45, 0.65), (0.85, 0.83, 0.75), (0.5, 0.2, 0.2))
_HAIR = ((0.08, 0.06, 0.05), (0.3, 0.2, 0.12), (0.65, 0.62, 0.58), (0.85, 0.84, 0.82))


def _region(scene: Scene, frame: Frame, hooded: bool, neck: bool, rng: np.random.Generator) -> Mask:
    """Where the rubber is, its openings not yet cut."""
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
        # Without a matte the neck's own width is unknown: stay narrow.
        person = scene.matte if scene.matte.mean() < 0.97 else (np.abs(frame.uv[..., 0]) < 0.68).astype(np.float32)
        mask = np.maximum(mask, throat * person)
    return mask


def _hair(frame: Frame, surface: FloatImage, rng: np.random.Generator, level: float, *, beard: bool) -> FloatImage:
    """Single hairs punched into the rubber: brows, and a beard if asked for."""
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
    """Puts a soft mask on.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds all rubber, neck and scalp included.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant)
    frame = Frame(scene.landmarks)
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
    if neck:  # the skin of the neck is too wide and hangs in rings
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
    # Painted from inside: lips, lids and cheeks a little redder.
    lips = tone * np.float32([0.85, 0.55, 0.55])
    albedo = moulded.painted_lips(frame, albedo, lips, 0.06 * frame.span, rng.uniform(0.4, 0.95))
    spots = [frame.px(paint.ellipse((s * 0.6, 0.55), (0.3, 0), (0, 0.22))) for s in (-1, 1)]
    blush = paint.blur(paint.shapes(spots), 0.15 * frame.span) * rng.uniform(0, 0.5)
    albedo = paint.over(albedo, tone * np.float32([1.02, 0.78, 0.76]), blush)
    finish = moulded.Finish(
        gloss=rng.uniform(0.08, 0.3), shininess=rng.uniform(5, 14), ambient=rng.uniform(0.35, 0.55), wrap=0.45, speckle=0.006
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    # Light that goes through: the shade is never grey but warm.
    shade = (1 - (surface @ paint.LUMA / max(float(tone @ paint.LUMA) * level, 0.05))).clip(0, 0.6)
    surface = surface * (1 + shade[..., None] * np.float32([0.28, -0.02, -0.1]))
    cues = [WAXY, SEAMS, ODD if latex else EVEN]
    bearded = name.endswith("bearded")
    if bearded or paint.chance(rng, 0.5):
        surface = _hair(frame, surface.astype(np.float32), rng, level, beard=bearded)
        cues.append(HAIR)
    else:
        dark = tone * np.float32([0.4, 0.33, 0.3])
        surface = (
            moulded.painted_brows(frame, surface.astype(np.float32), rng, 0.09)
            if latex
            else _soft_brows(frame, surface, dark * level)
        )

    image = paint.cast_shadow(scene.image, solid, scene.light_xy, 0.05 * frame.span, rng.uniform(0.35, 0.6))
    behind = moulded.deepen(scene.image, scene, frame, gap, rng.uniform(0.3, 0.6))
    image = paint.over(image, behind, gap)
    image = paint.over(image, surface.astype(np.float32), mask)
    loops = [np.vstack([hole, hole[:1]]) for hole in openings]
    if not mouth_open:
        loops.append(paint.curve(frame.px(np.array([(-0.36, 1.12), (0, 1.13), (0.36, 1.12)]))))
    seam = paint.blur(paint.strokes(loops, max(1.3, rng.uniform(0.03, 0.05) * frame.span)), 0.4)
    image = image * (1 - rng.uniform(0.4, 0.75) * seam[..., None])
    lip = paint.shifted(seam, 0, max(1, round(0.035 * frame.span))) * mask
    image = image + (lip * rng.uniform(0.06, 0.16) * level)[..., None]
    rim = (solid - paint.shifted(solid, 0, -1)).clip(0, 1)
    image = image * (1 - rng.uniform(0.2, 0.5) * rim[..., None])
    cues += [*([MOUTH_SEAM] if mouth_open else []), *([FOLDS] if len(lines) >= 5 else []), NECK if neck else EDGE]
    cues += [*([SCALP] if hooded else []), *([SHEEN] if finish.gloss > 0.2 else [])]
    box = bounding_box(solid)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)


def _soft_brows(frame: Frame, surface: FloatImage, tone: moulded.Colour) -> FloatImage:
    lines = [paint.curve(frame.px(np.array([(s * 0.2, -0.3), (s * 0.52, -0.4), (s * 0.88, -0.27)]))) for s in (-1, 1)]
    mask = paint.blur(paint.strokes(lines, 0.11 * frame.span, taper=True), 0.02 * frame.span + 0.4)
    return paint.over(surface.astype(np.float32), tone, mask * 0.6)
