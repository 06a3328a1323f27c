"""Rigid masks: glossy one-coloured plastic, clear plastic, halloween shells, painted resin faces, half masks."""

from __future__ import annotations

import numpy as np

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.surface import Frame, Plane, exposure, portrait_texture, relief
from faceshield.simulate.portrait import CANVAS, Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box, smooth_noise

VARIANTS: tuple[str, ...] = (
    "rigid-mask/plastic", "rigid-mask/transparent", "rigid-mask/halloween", "rigid-mask/resin", "rigid-mask/half",
)  # fmt: skip
HARD, GLOSS, CLEAR, FOG = "hard plastic skin", "glossy highlights", "a clear plastic mask", "a milky shine"
HOLES, RIM, STRAP, PAINTED = "deep eye holes", "a stiff mask edge", "a mask strap", "a painted mask face"
RESIN, HALF, SKULL, MOUTH = "a hard printed face", "a half face mask", "a skull face", "a mouth slit"
COLOUR, BREATH = "one even mask colour", "small breathing holes"
CUES: tuple[str, ...] = (
    RIM, HOLES, GLOSS, HARD, MOUTH, STRAP, PAINTED, RESIN, CLEAR, FOG, COLOUR, HALF, BREATH, SKULL,
)  # fmt: skip

_PLASTIC = (
    (0.95, 0.95, 0.94),
    (0.95, 0.95, 0.94),
    (0.06, 0.06, 0.07),
    (0.85, 0.68, 0.57),
    (0.8, 0.1, 0.1),
    (0.85, 0.7, 0.25),
    (0.55, 0.58, 0.62),
    (0.3, 0.55, 0.3),
)
_FLESH = ((0.85, 0.67, 0.56), (0.75, 0.55, 0.43), (0.92, 0.78, 0.69), (0.5, 0.34, 0.25))
_BLACK = np.float32([0.03, 0.03, 0.035])


def _edge(frame: Frame, rng: np.random.Generator, half: bool) -> Points:
    if not half:
        return paint.rounded(frame.outline(rng.uniform(0.98, 1.12), rng.uniform(0.85, 1.15)))
    if paint.chance(rng, 0.6):  # upper half, cut out round the nose
        top, low = rng.uniform(-1.1, -0.65), rng.uniform(0.55, 0.9)
        side = np.array([(-1.08, -0.3), (-0.8, top), (0, top - 0.08), (0.8, top), (1.08, -0.3), (1.02, low - 0.15),
                         (0.55, low), (0.26, low - 0.1), (0, 0.82), (-0.26, low - 0.1), (-0.55, low),
                         (-1.02, low - 0.15)])  # fmt: skip
        return paint.rounded(frame.px(side), 2)
    lower = np.array([(-1.05, 0.4), (-0.4, 0.15), (-0.12, -0.05), (0.12, -0.05), (0.4, 0.15), (1.05, 0.4), (0.95, 1.15),
                      (0.6, 1.65), (0, 1.92), (-0.6, 1.65), (-0.95, 1.15)])  # fmt: skip
    return paint.rounded(frame.px(lower), 2)


def _openings(frame: Frame, rng: np.random.Generator, mouth: float) -> tuple[list[Points], list[str]]:
    cut, cues = moulded.holes(frame, rng), [HOLES]
    if paint.chance(rng, mouth):
        cut.append(frame.px(paint.ellipse((0, 1.12), (rng.uniform(0.2, 0.42), 0), (0, rng.uniform(0.025, 0.1)), 2.2)))
        cues.append(MOUTH)
    if paint.chance(rng, 0.35):
        cut += [frame.px(paint.ellipse((s * 0.09, 0.74), (0.05, 0), (0, 0.035))) for s in (-1, 1)]
    return cut, cues


def _halloween(frame: Frame, rng: np.random.Generator) -> tuple[FloatImage, list[str]]:
    """Paint of a shop-bought character: skull, clown, ice-hockey shell or beast."""
    kind = int(rng.integers(4))
    base = paint.colour(
        rng, ((0.93, 0.92, 0.86), (0.95, 0.95, 0.95), (0.9, 0.88, 0.82), (0.35, 0.55, 0.3))[kind : kind + 1], 0.03
    )
    albedo = np.broadcast_to(base, (CANVAS, CANVAS, 3)).astype(np.float32)
    if kind == 0:
        sockets = [frame.px(paint.ellipse((s * 0.5, 0.05), (0.36, s * 0.05), (0, 0.32), 2.4)) for s in (-1, 1)]
        nose = [frame.px(np.array([(0, 0.35), (s * 0.17, 0.72), (s * 0.03, 0.66)])) for s in (-1, 1)]
        cheeks = [frame.px(np.array([(s * 1.05, 0.55), (s * 0.55, 0.75), (s * 0.65, 1.25), (s * 0.95, 1.1)])) for s in (-1, 1)]
        albedo = paint.over(albedo, _BLACK, paint.blur(paint.shapes([*sockets, *nose, *cheeks]), 0.05 * frame.span) * 0.93)
        rows = [frame.px(np.array([(-0.55, 1.12), (0.55, 1.12)]))]
        rows += [frame.px(np.array([(x, 0.95), (x, 1.3)])) for x in np.linspace(-0.5, 0.5, 9)]
        return paint.over(albedo, _BLACK, paint.strokes(rows, 0.035 * frame.span)), [SKULL, PAINTED]
    if kind == 1:
        tone = paint.colour(rng, ((0.85, 0.08, 0.1), (0.15, 0.25, 0.8), (0.1, 0.55, 0.25)))
        diamonds = [frame.px(np.array([(s * 0.5, -0.6), (s * 0.66, 0), (s * 0.5, 0.6), (s * 0.34, 0)])) for s in (-1, 1)]
        albedo = paint.over(albedo, tone, paint.shapes(diamonds))
        red = np.float32([0.85, 0.06, 0.06])
        grin = paint.curve(frame.px(np.array([(-0.75, 0.95), (-0.3, 1.35), (0.3, 1.35), (0.75, 0.95)])))
        albedo = paint.over(albedo, red, paint.strokes([grin], 0.24 * frame.span, taper=True))
        nose = frame.px(paint.ellipse((0, 0.6), (0.24, 0), (0, 0.22)))
        return paint.over(albedo, red, paint.shapes([nose])), [PAINTED]
    if kind == 2:
        dots = [
            paint.ellipse((x, y), (0.045, 0), (0, 0.045), count=10)
            for x in np.linspace(-0.75, 0.75, 6)
            for y in (-0.75, -0.5, 0.85, 1.15, 1.45)
            if abs(x) < 0.8 - 0.25 * max(0, y - 0.8)
        ]
        albedo = paint.over(albedo, _BLACK, paint.shapes([frame.px(dot) for dot in dots]))
        chevrons = [frame.px(np.array([(-0.12, -1.0), (0.12, -1.0), (0, -0.45)]))]
        chevrons += [frame.px(np.array([(s * 0.95, 0.45), (s * 0.55, 0.7), (s * 0.95, 0.8)])) for s in (-1, 1)]
        return paint.over(albedo, np.float32([0.7, 0.08, 0.08]), paint.shapes(chevrons)), [PAINTED, BREATH]
    albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.18, 0.3))
    stripes = [
        paint.curve(frame.px(np.array([(s * 1.0, y), (s * 0.7, y + 0.12), (s * 0.42, y + 0.05)])))
        for s in (-1, 1)
        for y in (0.4, 0.65, 0.9)
    ]
    albedo = paint.over(albedo, _BLACK, paint.strokes(stripes, 0.1 * frame.span, taper=True))
    return moulded.painted_lips(frame, albedo, np.float32([0.45, 0.05, 0.06])), [PAINTED]


def _albedo(name: str, scene: Scene, frame: Frame, mask: Mask, rng: np.random.Generator) -> tuple[FloatImage, list[str]]:
    if name.endswith("halloween"):
        return _halloween(frame, rng)
    if name.endswith("resin"):
        tone = paint.colour(rng, _FLESH, 0.03)
        texture = portrait_texture(
            scene,
            frame,
            mirror=paint.chance(rng, 0.6),
            scale=rng.uniform(0.95, 1.1, 2),
            shift=rng.normal(0, 0.03, 2),
            within=mask,
        )
        texture = paint.blur_image(texture, rng.uniform(0.015, 0.04) * frame.span)
        inside = texture[mask > 0.5]
        mean = inside.mean(axis=0) if len(inside) else np.float32([0.5, 0.5, 0.5])
        # Colour printed into the material: the photograph's detail about the resin's own tone.
        detail = (texture / np.maximum(mean, 0.05)).clip(0.15, 1.5) ** np.float32(rng.uniform(0.6, 1.0))
        return (tone * detail).astype(np.float32), [RESIN]
    if name.endswith("half") and paint.chance(rng, 0.3):
        return np.broadcast_to(paint.colour(rng, _FLESH, 0.03), (CANVAS, CANVAS, 3)).astype(np.float32), [COLOUR]
    base = np.broadcast_to(paint.colour(rng, _PLASTIC, 0.03), (CANVAS, CANVAS, 3)).astype(np.float32)
    if not name.endswith("half") and paint.chance(rng, 0.45):
        base = moulded.painted_brows(frame, base, rng, rng.uniform(0.05, 0.12))
        base = moulded.painted_lips(
            frame, base, paint.colour(rng, ((0.75, 0.12, 0.15), (0.6, 0.3, 0.3), (0.1, 0.08, 0.08)), 0.03)
        )
        return base, [PAINTED]
    return base, [COLOUR]


def _clear(scene: Scene, frame: Frame, height: Plane, rng: np.random.Generator) -> FloatImage:
    """The face through clear plastic: milky, a little soft, with hard highlights and reflections of the room."""
    finish = moulded.Finish(gloss=rng.uniform(0.75, 1.2), shininess=rng.uniform(20, 60), hard=0.6, ambient=0.5, speckle=0.0)
    milk = paint.colour(rng, ((0.85, 0.9, 0.95), (0.9, 0.9, 0.9), (0.9, 0.86, 0.8)), 0.02)
    sheet, _ = moulded.render(scene, frame, milk, height, finish, rng)
    fog = rng.uniform(0.12, 0.32)
    across = smooth_noise(rng, cells=int(rng.integers(5, 9)))[..., 0]
    slope = np.abs(np.gradient(height, axis=1)) + np.abs(np.gradient(height, axis=0))
    # Steep walls send light of the room to the eye: the shape of the shell shows as bright bands.
    bands = (1 - np.exp(-1.2 * slope)) * rng.uniform(0.15, 0.4) + ((across - 0.45) * 5).clip(0, 1) * rng.uniform(0.15, 0.5)
    level = exposure(scene, frame)
    seen = paint.blur_image(scene.image, rng.uniform(0.3, 0.9))
    return (seen * (1 - fog) + sheet * fog + (sheet - milk * level).clip(0, 1) * 0.8 + bands[..., None] * 0.5 * level).astype(
        np.float32
    )


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts a hard mask on.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds the mask, the strap not counted.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 3, 2, 3, 1))
    frame = Frame(scene.landmarks)
    clear, half = name.endswith("transparent"), name.endswith("half")
    edge = _edge(frame, rng, half)
    solid = paint.shapes([edge])
    openings, cues = _openings(frame, rng, 0.1 if half else 0.6)
    if clear and paint.chance(rng, 0.6):
        openings, cues = [], []
    gap = paint.shapes(openings) * solid
    mask = solid * (1 - gap)
    height = relief(frame, rng, strength=rng.uniform(0.8, 1.35), spread=0.3)
    # The rim stands off the face and turns back to it.
    height = height + paint.blur(solid, 0.07 * frame.span) * np.float32(0.25 * frame.span)
    level = exposure(scene, frame)
    strap = paint.chance(rng, 0.35)
    image = paint.cast_shadow(
        scene.image, solid, scene.light_xy, frame.span * rng.uniform(0.05, 0.13), 0.3 if clear else rng.uniform(0.4, 0.7)
    )
    if strap:
        image = _strap(image, frame, level, rng)
    if clear:
        surface = _clear(scene, frame, height, rng)
        cues = [CLEAR, GLOSS, FOG, *cues]
    else:
        albedo, named = _albedo(name, scene, frame, mask, rng)
        matt = paint.chance(rng, 0.2)
        finish = moulded.Finish(
            gloss=rng.uniform(0.08, 0.2) if matt else rng.uniform(0.35, 0.9),
            shininess=rng.uniform(8, 14) if matt else rng.uniform(15, 70),
            hard=0.0 if matt else rng.uniform(0.0, 0.8),
            ambient=rng.uniform(0.3, 0.5),
        )
        surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
        cues = [HARD, *named, *([] if matt else [GLOSS]), *cues, *([HALF] if half else [])]
        behind = moulded.deepen(image, scene, frame, gap, rng.uniform(0.55, 0.95))
        image = paint.over(image, behind, gap)
    image = paint.over(image, surface, mask)
    thick = max(1, round(rng.uniform(0.02, 0.04) * frame.span))
    inner = (gap - paint.shifted(gap, 0, -thick)).clip(0, 1)  # the lower wall of a hole catches light
    image = image + (inner * 0.25 * level)[..., None]
    loop = paint.strokes([np.vstack([edge, edge[:2]])], max(1.2, rng.uniform(0.02, 0.05) * frame.span))
    lit = (solid - paint.shifted(solid, round(-3 * scene.light_xy[0]), 2)).clip(0, 1)
    image = image * (1 - rng.uniform(0.1, 0.35) * loop[..., None]) + (loop * lit * rng.uniform(0.2, 0.6) * level)[..., None]
    cues = [*cues, RIM, *([STRAP] if strap else [])]
    box = bounding_box(solid)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)


def _strap(image: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    v = rng.uniform(-0.35, 0.0)
    bands = [frame.px(np.array([(s * 0.95, v + 0.05), (s * 1.45, v - 0.12)])) for s in (-1, 1)]
    mask = paint.strokes(bands, rng.uniform(0.05, 0.13) * frame.span)
    tone = paint.colour(rng, ((0.06, 0.06, 0.06), (0.92, 0.92, 0.9), (0.5, 0.5, 0.52)), 0.02) * np.float32(level)
    return paint.over(image, tone, mask)
