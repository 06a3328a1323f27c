"""Rigid masks: one-coloured or painted plastic, clear plastic, Halloween masks, printed resin faces, half masks, carved wood,
ice-hockey goalie masks, 3D-printed faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.surface import Frame, Plane, exposure, portrait_texture, relief
from faceshield.simulate.portrait import CANVAS, LUMA, Attacked, FloatImage, Mask, Points, Scene, smooth_noise

VARIANTS: tuple[str, ...] = (
    "rigid-mask/plastic", "rigid-mask/transparent", "rigid-mask/halloween", "rigid-mask/resin", "rigid-mask/half",
    "rigid-mask/wooden", "rigid-mask/hockey", "rigid-mask/printed-3d",
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
_WOODS = ((0.72, 0.52, 0.33), (0.55, 0.36, 0.21), (0.36, 0.22, 0.13), (0.8, 0.66, 0.47), (0.6, 0.3, 0.17), (0.25, 0.17, 0.12))
_PIGMENTS = ((0.7, 0.12, 0.1), (0.93, 0.9, 0.84), (0.1, 0.09, 0.08), (0.15, 0.35, 0.5), (0.75, 0.58, 0.2), (0.2, 0.4, 0.28))
_SHELLS = ((0.93, 0.92, 0.88), (0.9, 0.88, 0.8), (0.95, 0.95, 0.95), (0.82, 0.78, 0.68), (0.12, 0.12, 0.13), (0.75, 0.1, 0.12),
           (0.12, 0.25, 0.55), (0.85, 0.65, 0.12))  # fmt: skip
_FILAMENTS = ((0.92, 0.92, 0.9), (0.6, 0.61, 0.63), (0.12, 0.12, 0.13), (0.2, 0.4, 0.75), (0.85, 0.4, 0.12), (0.75, 0.15, 0.15),
              (0.3, 0.6, 0.3), (0.82, 0.68, 0.55), (0.78, 0.62, 0.25))  # fmt: skip
_FLESH = ((0.85, 0.67, 0.56), (0.75, 0.55, 0.43), (0.92, 0.78, 0.69), (0.5, 0.34, 0.25))
_BLACK = np.array([0.03, 0.03, 0.035], np.float32)


def _edge(frame: Frame, rng: np.random.Generator, half: bool) -> Points:
    if not half:
        return paint.rounded(frame.outline(rng.uniform(0.98, 1.12), rng.uniform(0.85, 1.15)))
    if paint.chance(rng, 0.6):  # upper half, cut out around the nose
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
    """Paint of a shop-bought character: skull, clown, ice-hockey mask or beast."""
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
        red = np.array([0.85, 0.06, 0.06], np.float32)
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
        return paint.over(albedo, np.array([0.7, 0.08, 0.08], np.float32), paint.shapes(chevrons)), [PAINTED, BREATH]
    albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.18, 0.3))
    stripes = [
        paint.curve(frame.px(np.array([(s * 1.0, y), (s * 0.7, y + 0.12), (s * 0.42, y + 0.05)])))
        for s in (-1, 1)
        for y in (0.4, 0.65, 0.9)
    ]
    albedo = paint.over(albedo, _BLACK, paint.strokes(stripes, 0.1 * frame.span, taper=True))
    return moulded.painted_lips(frame, albedo, np.array([0.45, 0.05, 0.06], np.float32)), [PAINTED]


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
        mean = inside.mean(axis=0) if len(inside) else np.array([0.5, 0.5, 0.5], np.float32)
        # Colour printed into the material: the photograph's detail modulates the resin's own tone.
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
    """The face seen through clear plastic: milky, slightly soft, with hard highlights and reflections of the room."""
    finish = moulded.Finish(gloss=rng.uniform(0.75, 1.2), shininess=rng.uniform(20, 60), hard=0.6, ambient=0.5, speckle=0.0)
    milk = paint.colour(rng, ((0.85, 0.9, 0.95), (0.9, 0.9, 0.9), (0.9, 0.86, 0.8)), 0.02)
    sheet, _ = moulded.render(scene, frame, milk, height, finish, rng)
    fog = rng.uniform(0.12, 0.32)
    across = smooth_noise(rng, cells=int(rng.integers(5, 9)))[..., 0]
    slope = np.abs(np.gradient(height, axis=1)) + np.abs(np.gradient(height, axis=0))
    # Steep walls reflect the room's light towards the viewer: the shape of the shell shows as bright bands.
    bands = (1 - np.exp(-1.2 * slope)) * rng.uniform(0.15, 0.4) + ((across - 0.45) * 5).clip(0, 1) * rng.uniform(0.15, 0.5)
    level = exposure(scene, frame)
    seen = paint.blur_image(scene.image, rng.uniform(0.3, 0.9))
    return (seen * (1 - fog) + sheet * fog + (sheet - milk * level).clip(0, 1) * 0.8 + bands[..., None] * 0.5 * level).astype(
        np.float32
    )


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts on a rigid mask.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds the mask without its strap.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 3, 2, 3, 1, 2, 2, 2))
    frame = Frame(scene.landmarks)
    if name in _MADE:
        image, solid, cues = _MADE[name](scene, frame, rng)
        return moulded.attacked(image, solid, cues, name, scene)
    clear, half = name.endswith("transparent"), name.endswith("half")
    edge = _edge(frame, rng, half)
    solid = paint.shapes([edge])
    openings, cues = _openings(frame, rng, 0.1 if half else 0.6)
    if clear and paint.chance(rng, 0.6):
        openings, cues = [], []
    gap = paint.shapes(openings) * solid
    mask = solid * (1 - gap)
    height = relief(frame, rng, strength=rng.uniform(0.8, 1.35), spread=0.3)
    # The rim stands off the face and curves back towards it.
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
    image = _rimmed(paint.over(image, surface, mask), scene, frame, edge, solid, gap, level, rng)
    cues = [*cues, RIM, *([STRAP] if strap else [])]
    return moulded.attacked(image, solid, cues, name, scene)


def _rimmed(
    image: FloatImage, scene: Scene, frame: Frame, edge: Points, solid: Mask, gap: Mask, level: float, rng: np.random.Generator
) -> FloatImage:
    """Adds the shell's thickness: light on the walls of its openings and along its edge."""
    thick = max(1, round(rng.uniform(0.02, 0.04) * frame.span))
    inner = (gap - paint.shifted(gap, 0, -thick)).clip(0, 1)
    image = image + (inner * 0.25 * level)[..., None]
    loop = paint.strokes([np.vstack([edge, edge[:2]])], max(1.2, rng.uniform(0.02, 0.05) * frame.span))
    lit = (solid - paint.shifted(solid, round(-3 * scene.light_xy[0]), 2)).clip(0, 1)
    return image * (1 - rng.uniform(0.1, 0.35) * loop[..., None]) + (loop * lit * rng.uniform(0.2, 0.6) * level)[..., None]


def _strap(image: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    v = rng.uniform(-0.35, 0.0)
    bands = [frame.px(np.array([(s * 0.95, v + 0.05), (s * 1.45, v - 0.12)])) for s in (-1, 1)]
    mask = paint.strokes(bands, rng.uniform(0.05, 0.13) * frame.span)
    tone = paint.colour(rng, ((0.06, 0.06, 0.06), (0.92, 0.92, 0.9), (0.5, 0.5, 0.52)), 0.02) * np.float32(level)
    return paint.over(image, tone, mask)


def _worn(
    scene: Scene, frame: Frame, surface: FloatImage, edge: Points, gap: Mask, strap: bool, rng: np.random.Generator
) -> tuple[FloatImage, Mask]:
    """The picture with a shell worn over the face (shadow, dark openings, rim, a strap if asked for), and its mask."""
    solid, level = paint.shapes([edge]), exposure(scene, frame)
    gap = gap * solid
    image = paint.cast_shadow(scene.image, solid, scene.light_xy, frame.span * rng.uniform(0.05, 0.14), rng.uniform(0.4, 0.7))
    if strap:
        image = _strap(image, frame, level, rng)
    image = paint.over(image, moulded.deepen(image, scene, frame, gap, rng.uniform(0.6, 0.97)), gap)
    image = paint.over(image, surface, solid * (1 - gap))
    return _rimmed(image, scene, frame, edge, solid, gap, level, rng), solid


def _grain(frame: Frame, height: Plane, rng: np.random.Generator) -> Plane:
    """Darkness of the wood, 0..1: a trunk's growth rings, cut by the carved surface, and fine fibres along the grain."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    wander = 0.25 * smooth_noise(rng, cells=4)[..., 0]
    x = u - np.float32(rng.uniform(-1.2, 1.2)) + wander + np.float32(rng.normal(0, 0.12)) * v
    z = height / np.float32(frame.span) + np.float32(rng.uniform(0.2, 2.0))
    rings = np.sqrt(x * x + z * z) * np.float32(rng.uniform(5, 13)) + 0.3 * smooth_noise(rng, cells=9)[..., 0]
    late = np.mod(rings, 1) ** np.float32(rng.uniform(1.5, 4))
    fibres = rng.standard_normal((12, CANVAS), dtype=np.float32)
    lane = ((x + 4) * 60).astype(np.int32) % CANVAS
    return (0.75 * late + 0.12 * fibres[(v * 2).astype(np.int32) % 12, lane] + 0.15).clip(0, 1)


def _wooden(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A carved face: rings that follow the relief, furrows and gouge marks, oiled or varnished, often with rubbed-in paint."""
    edge = _edge(frame, rng, False)
    if paint.chance(rng, 0.4):  # a plank-like oval, longer than the face
        edge = frame.px(paint.ellipse((0, 0.25), (rng.uniform(1.05, 1.25), 0), (0, rng.uniform(1.6, 2.0)), rng.uniform(2, 2.6)))
    openings, cues = _openings(frame, rng, 0.65)
    gap = paint.shapes(openings)
    height = relief(frame, rng, strength=rng.uniform(1.1, 1.8), spread=0.35)
    height = height + paint.blur(paint.shapes([edge]), 0.06 * frame.span) * np.float32(0.25 * frame.span)
    lines = []
    for y in rng.uniform(-1.0, -0.5, int(rng.integers(0, 4))):
        lines.append(paint.curve(frame.px(np.array([(-0.7, y + 0.05), (0, y - rng.uniform(-0.1, 0.2)), (0.7, y + 0.05)]))))
    reach = rng.uniform(0.9, 1.5)
    for s in (-1, 1):
        lines.append(paint.curve(frame.px(np.array([(s * 0.22, 0.6), (s * 0.5, 0.85), (s * 0.52, reach)]))))
        lines.append(paint.curve(frame.px(np.array([(s * 0.15, -0.2), (s * 0.5, -0.32), (s * 0.95, -0.12)]))))
        lines += [
            paint.curve(frame.px(np.array([(s * 0.65, y), (s * 0.8, y + 0.1), (s * 0.98, y + 0.08)])))
            for y in np.linspace(0.35, 1.0, int(rng.integers(0, 6)))
        ]
    grooves = moulded.grooves(frame, lines, rng.uniform(0.05, 0.1), rng.uniform(0.15, 0.35))
    cells = int(np.clip(rng.uniform(2.5, 5) * CANVAS / frame.span, 5, 72))
    gouged = np.abs(smooth_noise(rng, cells=cells)[..., 0]) * np.float32(rng.uniform(0.0, 0.05) * frame.span)
    height = (height + grooves + gouged).astype(np.float32)

    tone = paint.colour(rng, _WOODS, 0.03)
    grain = _grain(frame, height, rng) * np.float32(rng.uniform(0.25, 0.6))
    albedo = (tone * (1.1 - grain[..., None] * np.array([0.8, 1.0, 1.15], np.float32))).astype(np.float32)
    painted = paint.chance(rng, 0.5)
    if painted:
        coat, lips = (paint.colour(rng, _PIGMENTS, 0.04) for _ in range(2))
        rubbed = (0.9 - 0.9 * grain + 0.25 * smooth_noise(rng, cells=12)[..., 0]).clip(0, 1)
        albedo = paint.over(albedo, coat, rubbed * paint.chance(rng, 0.5) * np.float32(rng.uniform(0.5, 0.95)))
        albedo = moulded.painted_lips(frame, albedo, lips, 0.6, rng.uniform(0.6, 0.9))
        albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.06, 0.16))
    grime = (-grooves / np.float32(0.1 * frame.span)).clip(0, 1) * np.float32(rng.uniform(0.3, 0.8))
    albedo = albedo * (1 - paint.blur(grime, 0.5))[..., None]
    varnish = paint.chance(rng, 0.55)
    finish = moulded.Finish(
        gloss=rng.uniform(0.2, 0.6) if varnish else rng.uniform(0.0, 0.1),
        shininess=rng.uniform(15, 45) if varnish else 8,
        ambient=rng.uniform(0.3, 0.45),
        speckle=0.012,
    )
    surface, _ = moulded.render(scene, frame, albedo.astype(np.float32), height, finish, rng)
    strap = paint.chance(rng, 0.3)
    image, solid = _worn(scene, frame, surface, edge, gap, strap, rng)
    return (
        image,
        solid,
        [*cues, RIM, *([PAINTED] if painted else []), *([GLOSS] if varnish else []), *([STRAP] if strap else [])],
    )


def _goalie_holes(rng: np.random.Generator) -> list[Points]:
    """Outlines of the round breathing holes, drilled in rows and small clusters, in face coordinates."""
    size, across = rng.uniform(0.03, 0.06), int(rng.integers(3, 6))
    rows = [(x, y) for y in np.arange(0.75, 1.75, rng.uniform(0.17, 0.26)) for x in np.linspace(0.12, 0.8, across)]
    if paint.chance(rng, 0.6):
        rows += [(x, y) for y in (-0.55, -0.8, -1.05)[: int(rng.integers(1, 4))] for x in np.linspace(0.15, 0.75, across)]
    if paint.chance(rng, 0.6):
        rows += [(0.88, y) for y in (0.25, 0.45)] + [(0.72, 0.4)]
    inside = [(x, y) for x, y in rows if x < 0.95 - 0.4 * max(0.0, y - 0.9) and x < 0.95 - 0.5 * max(0.0, -y - 0.6)]
    return [paint.ellipse((s * x, y), (size, 0), (0, size), count=14) for x, y in inside for s in (-1, 1)]


def _harness(image: FloatImage, scene: Scene, solid: Mask, frame: Frame, wide: float, rng: np.random.Generator) -> FloatImage:
    """The picture with straps of leather or elastic, riveted to the shell's edge, around the head."""
    ends = [
        ((s * (wide - 0.1), y), (s * (wide + 0.4), y - 0.12)) for s in (-1, 1) for y in (-0.25, 0.6)[: int(rng.integers(1, 3))]
    ]
    ends += [((0.0, -1.22), (rng.normal(0, 0.05), -1.9))] if paint.chance(rng, 0.7) else []
    tone = paint.colour(rng, ((0.06, 0.06, 0.06), (0.3, 0.17, 0.1), (0.55, 0.4, 0.27), (0.85, 0.84, 0.8)), 0.03)
    bands = paint.strokes([frame.px(np.array(end)) for end in ends], rng.uniform(0.1, 0.19) * frame.span)
    bands, level = bands * np.maximum(scene.matte, solid), np.float32(exposure(scene, frame))
    image = paint.over(image * (1 - 0.4 * paint.blur(bands, 0.04 * frame.span))[..., None], tone * level, bands)
    rivets = [frame.px(paint.ellipse(near, (0.045, 0), (0, 0.045), count=12)) for near, _ in ends]
    return paint.over(image, np.array([0.72, 0.7, 0.64], np.float32) * level, paint.shapes(rivets))


def _goalie_paint(frame: Frame, rng: np.random.Generator) -> tuple[FloatImage, bool]:
    """The shell's colour with a team's wedges or bars, scuffs and dirt; and whether wedges or bars are painted."""
    tone = paint.colour(rng, _SHELLS[:4] if paint.chance(rng, 0.6) else _SHELLS, 0.025)
    albedo = np.broadcast_to(tone, (CANVAS, CANVAS, 3)).astype(np.float32)
    painted = paint.chance(rng, 0.6)
    if painted:
        team = paint.colour(
            rng, ((0.7, 0.08, 0.08), (0.1, 0.2, 0.5), (0.08, 0.08, 0.08), (0.85, 0.6, 0.1), (0.1, 0.4, 0.25)), 0.04
        )
        low, drop = rng.uniform(-0.7, -0.3), rng.uniform(0.12, 0.35)
        marks = [np.array([(-drop, -1.4), (drop, -1.4), (0, low)])]
        marks += [np.array([(s * 1.2, 0.35), (s * 0.5, 0.55 + drop), (s * 1.2, 0.5 + 2 * drop)]) for s in (-1, 1)]
        if paint.chance(rng, 0.3):
            marks = [np.array([(-1.3, y), (1.3, y), (1.3, y + 0.3), (-1.3, y + 0.3)]) for y in (-1.2, 1.35)]
        albedo = paint.over(albedo, team, paint.shapes([frame.px(mark) for mark in marks]))
    wear = rng.uniform(0, 1)
    scuffs = []
    for x, y, turn, far in zip(*rng.uniform((-1, -1.2, 0, 0.03), (1, 1.7, np.pi, 0.25), (int(30 * wear), 4)).T, strict=True):
        scuffs.append(frame.px(np.array([(x, y), (x + far * np.cos(turn), y + far * np.sin(turn))])))
    dirt = (smooth_noise(rng, cells=9)[..., 0] - 0.15).clip(0, 1) * np.float32(0.6 * wear)
    albedo = paint.over(
        albedo,
        np.array([0.3, 0.25, 0.2], np.float32),
        np.maximum(dirt, 0.5 * paint.strokes(scuffs, max(0.8, 0.015 * frame.span))),
    )
    return albedo, painted


def _hockey(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A goalie's moulded mask: drilled all over, strapped around the head, scuffed, often with a team's colours."""
    wide, long = rng.uniform(1.05, 1.2), rng.uniform(1.6, 1.85)
    half = np.array([(0, -1.35), (0.55, -1.28), (0.95, -0.95), (wide, -0.3), (wide * 0.98, 0.35), (wide * 0.86, 0.95),
                     (0.6, 1.5), (0.3, long), (0, long + 0.03)])  # fmt: skip
    edge = paint.rounded(frame.px(np.vstack([half, half[-2:0:-1] * (-1, 1)])), 2)
    tilt, power = rng.normal(0.02, 0.05), rng.uniform(1.8, 3.0)
    axes = rng.uniform(0.24, 0.32), rng.uniform(0.13, 0.2)
    eyes = [frame.px(paint.ellipse((s * 0.5, 0.02), (axes[0], s * tilt), (0, axes[1]), power)) for s in (-1, 1)]
    vents = [frame.px(hole) for hole in _goalie_holes(rng)]
    mouth = [frame.px(paint.ellipse((0, 1.1), (0.3, 0), (0, 0.05), 3))] if paint.chance(rng, 0.25) else []
    gap = paint.shapes([*eyes, *vents, *mouth])
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    dome = np.sqrt((1 - (u / (wide + 0.2)) ** 2 - ((v - 0.2) / 1.95) ** 2).clip(0.02)) * np.float32(rng.uniform(0.7, 1.0))
    nose = rng.uniform(0.1, 0.28) * np.exp(-((u / 0.17) ** 2)) * ((v + 0.2) / 0.75).clip(0, 1) * ((0.85 - v) / 0.15).clip(0, 1)
    ridge = rng.uniform(0.0, 0.12) * np.exp(-(((v + 0.28 - 0.1 * u * u) / 0.1) ** 2)) + rng.uniform(0, 0.08) * np.exp(
        -((u / 0.1) ** 2)
    ) * (v < -0.3)
    bowls = paint.blur(paint.shapes(eyes), 0.09 * frame.span) * np.float32(-0.1)
    lips = -0.05 * np.exp(-(((v - 1.12) / 0.05) ** 2)) * np.exp(-((u / 0.35) ** 2))
    height = ((dome + nose + ridge + bowls + lips) * frame.span).astype(np.float32)
    height = height + paint.blur(paint.shapes([edge]), 0.06 * frame.span) * np.float32(0.25 * frame.span)

    albedo, painted = _goalie_paint(frame, rng)
    finish = moulded.Finish(
        gloss=rng.uniform(0.25, 0.75), shininess=rng.uniform(12, 50), hard=rng.uniform(0, 0.6), ambient=rng.uniform(0.35, 0.5)
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    image, solid = _worn(scene, frame, surface, edge, gap, False, rng)
    image = _harness(image, scene, solid, frame, wide, rng)
    return (
        image,
        solid,
        [HARD, RIM, BREATH, HOLES, STRAP, *([PAINTED] if painted else [COLOUR]), GLOSS, *([MOUTH] if mouth else [])],
    )


def _printed_3d(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """The person's own face, 3D-printed in visible fine layers: one-coloured filament, or powder with washed-out colours."""
    edge = _edge(frame, rng, False)
    gap = paint.shapes(moulded.holes(frame, rng)) if (open_eyes := paint.chance(rng, 0.5)) else np.zeros_like(scene.matte)
    solid = paint.shapes([edge])
    texture = portrait_texture(scene, frame, mirror=paint.chance(rng, 0.3), within=solid)
    height = relief(frame, rng, strength=rng.uniform(0.9, 1.25), spread=0.12)
    height = height + paint.blur(solid, 0.06 * frame.span) * np.float32(0.2 * frame.span)
    # A 3D scan mistakes brows, lids and stubble for relief.
    luma = paint.blur_image(texture, 0.02 * frame.span + 0.3) @ LUMA
    height = height + (luma - paint.blur(luma, 0.2 * frame.span)) * np.float32(rng.uniform(0.1, 0.3) * frame.span)
    v = frame.uv[..., 1]
    upright, pitch = paint.chance(rng, 0.5), rng.uniform(0.025, 0.06)
    level = v + np.float32(rng.normal(0, 0.1)) * frame.uv[..., 0] if upright else height / np.float32(frame.span)
    phase = level * np.float32(2 * np.pi / pitch)
    slope = np.hypot(*np.gradient(phase))
    layers = np.sin(phase) * ((2.6 - slope) / 1.2).clip(0, 1)  # layers too fine for the picture to resolve vanish

    powder = paint.chance(rng, 0.4)
    if powder:
        detail = paint.blur_image(texture, rng.uniform(0.01, 0.03) * frame.span + 0.2)
        dull = (detail @ LUMA)[..., None]
        albedo = (dull + (detail - dull) * np.float32(rng.uniform(0.4, 0.75))) * np.float32(rng.uniform(0.45, 0.7))
        albedo = albedo + np.float32(rng.uniform(0.2, 0.34)) * np.array([1.0, 0.98, 0.95], np.float32)
        finish = moulded.Finish(gloss=0.03, shininess=6, ambient=rng.uniform(0.4, 0.55), speckle=rng.uniform(0.015, 0.035))
    else:
        tone = paint.colour(rng, _FILAMENTS, 0.03)
        albedo = np.broadcast_to(tone, (CANVAS, CANVAS, 3)).astype(np.float32)
        silk = rng.uniform(0.1, 0.6)
        finish = moulded.Finish(gloss=silk, shininess=rng.uniform(8, 25), ambient=rng.uniform(0.3, 0.45), speckle=0.004)
    ridged = height + layers * np.float32(rng.uniform(0.08, 0.22) * (0.5 if powder else 1.0))
    surface, _ = moulded.render(scene, frame, albedo.astype(np.float32), ridged.astype(np.float32), finish, rng)
    surface = surface * (1 + np.float32(rng.uniform(0.02, 0.07)) * layers[..., None])
    strap = paint.chance(rng, 0.3)
    image, solid = _worn(scene, frame, surface.astype(np.float32), edge, gap, strap, rng)
    return (
        image,
        solid,
        [
            RESIN,
            RIM,
            *([] if powder else [COLOUR]),
            *([HOLES] if open_eyes else []),
            *([GLOSS] if finish.gloss > 0.3 else []),
            *([STRAP] if strap else []),
        ],
    )


_MADE: dict[str, Callable[[Scene, Frame, np.random.Generator], moulded.Made]] = {
    "rigid-mask/wooden": _wooden,
    "rigid-mask/hockey": _hockey,
    "rigid-mask/printed-3d": _printed_3d,
}
