"""Paper masks: a cut-out photograph (colour, grey or crumpled), a papercraft face, a card with a drawn face, a bag over the
head, a larger face on a stick, papier-mache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import Delaunay

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.surface import Frame, Plane, ambient_light, exposure, portrait_texture, relief, shade
from faceshield.simulate.limbs import SKINS, Limb, paint_limb
from faceshield.simulate.portrait import (
    CANVAS,
    Attacked,
    Box,
    FloatImage,
    Mask,
    Points,
    Scene,
    blend,
    box_around,
    smooth_noise,
)

VARIANTS: tuple[str, ...] = (
    "paper-mask/photo", "paper-mask/grey", "paper-mask/crumpled", "paper-mask/papercraft", "paper-mask/card",
    "paper-mask/bag", "paper-mask/fan", "paper-mask/papier-mache",
)  # fmt: skip
PRINTED, EDGE, HOLES, FOLDS = "a printed paper face", "a cut paper edge", "cut eye holes", "paper folds"
CRUMPLED, FACETS, CARD, STRING = "crumpled paper", "flat paper facets", "plain paper skin", "an elastic string"
DRAWN, GREY, FLAT, TAPE = "a drawn face", "a grey paper print", "flat printed skin", "tape on the paper"
CUES: tuple[str, ...] = (EDGE, PRINTED, FLAT, HOLES, STRING, FOLDS, CARD, FACETS, DRAWN, GREY, TAPE, CRUMPLED)

_CARDS = ((0.95, 0.94, 0.91), (0.95, 0.94, 0.91), (0.78, 0.62, 0.45), (0.9, 0.82, 0.6), (0.85, 0.65, 0.55), (0.7, 0.8, 0.9))
_BAGS = ((0.66, 0.49, 0.33), (0.6, 0.44, 0.3), (0.72, 0.56, 0.4), (0.93, 0.92, 0.9), (0.88, 0.87, 0.84), (0.95, 0.95, 0.93),
         (0.62, 0.5, 0.38), (0.75, 0.3, 0.28), (0.3, 0.45, 0.6), (0.85, 0.75, 0.4))  # fmt: skip
_COATS = ((0.93, 0.92, 0.88), (0.85, 0.66, 0.54), (0.75, 0.2, 0.16), (0.85, 0.7, 0.2), (0.3, 0.45, 0.65), (0.35, 0.5, 0.3))
_STICKS = ((0.78, 0.62, 0.43), (0.86, 0.74, 0.56), (0.1, 0.1, 0.1), (0.92, 0.92, 0.92))
_KNOTS = (
    (0, -1.2), (-0.55, -1.1), (0.55, -1.1), (-0.95, -0.6), (0.95, -0.6), (0, -0.55), (-0.45, -0.5), (0.45, -0.5),
    (-0.8, -0.2), (0.8, -0.2), (-0.22, -0.22), (0.22, -0.22), (0, -0.12), (-0.26, 0.07), (0.26, 0.07), (-0.75, 0.1),
    (0.75, 0.1),
    (-1.1, 0.2), (1.1, 0.2), (-0.55, 0.42), (0.55, 0.42), (0, 0.68), (-0.2, 0.66), (0.2, 0.66), (-1.0, 0.9), (1.0, 0.9),
    (-0.4, 1.1), (0.4, 1.1), (0, 0.93), (0, 1.3), (-0.68, 1.5), (0.68, 1.5), (-0.3, 1.62), (0.3, 1.62), (0, 1.86),
)  # fmt: skip


@lru_cache(maxsize=1)
def _triangles() -> NDArray[np.int32]:
    return Delaunay(np.asarray(_KNOTS)).simplices.astype(np.int32)


def _facets(frame: Frame, height: Plane, light_xy: tuple[float, float], rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Light on a papercraft face, one value per facet, about 1; and the creases between the facets, 0..1."""
    knots = np.asarray(_KNOTS) + rng.normal(0, 0.03, (len(_KNOTS), 2))
    xy = frame.px(knots)
    at = xy.clip(0, CANVAS - 1).astype(int)
    z = height[at[:, 1], at[:, 0]] * 1.15 + rng.normal(0, 0.03 * frame.span, len(at))
    light = np.array([light_xy[0], light_xy[1], 0.9])
    light /= np.linalg.norm(light)
    tones, creases = Image.new("L", (CANVAS * 2, CANVAS * 2), 110), Image.new("L", (CANVAS * 2, CANVAS * 2), 0)
    tone_pen, crease_pen = ImageDraw.Draw(tones), ImageDraw.Draw(creases)
    points = np.column_stack([xy, z])
    for corners in _triangles():
        a, b, c = points[corners]
        normal = np.cross(b - a, c - a)
        normal = normal / max(float(np.linalg.norm(normal)), 1e-6) * np.sign(normal[2] or 1)
        value = 0.4 + 0.6 * max(float(normal @ light), 0.0) / light[2]
        outline = [(float(x) * 2, float(y) * 2) for x, y in xy[corners]]
        tone_pen.polygon(outline, fill=int(np.clip(value * 110, 20, 200)))
        crease_pen.line([*outline, outline[0]], fill=255, width=2)
    return (
        np.asarray(tones.reduce(2), np.float32) / 110.0,
        np.asarray(creases.reduce(2), np.float32) / 255.0,
    )


def _sheet(frame: Frame, rng: np.random.Generator, folds: int, crumples: int) -> Plane:
    """Height in pixels of a paper bent around the face, often folded along the nose, with random folds and creases."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    height = -rng.uniform(0.12, 0.3) * u * u
    if paint.chance(rng, 0.6):
        nose = ((v + 0.1) / 0.6).clip(0, 1) * ((0.85 - v) / 0.2).clip(0, 1)
        height = height + rng.uniform(0.06, 0.16) * nose * np.exp(-((u / 0.16) ** 2))
    for size, count in ((rng.uniform(0.08, 0.2), folds), (rng.uniform(0.07, 0.15), crumples)):
        for _ in range(count):
            angle = rng.uniform(0, np.pi)
            offset = rng.uniform(-0.9, 0.9)
            side = u * np.float32(np.cos(angle)) + (v - np.float32(0.3)) * np.float32(np.sin(angle)) - np.float32(offset)
            height = height + np.float32(rng.choice([-1, 1]) * size) * np.abs(side)
    return (height * np.float32(frame.span)).astype(np.float32)


def _outline(frame: Frame, rng: np.random.Generator) -> Points:
    edge = frame.outline(rng.uniform(0.98, 1.14), rng.uniform(0.82, 1.15))
    if paint.chance(rng, 0.15):  # an oval, regardless of the face's shape
        edge = frame.px(paint.ellipse((0, 0.3), (rng.uniform(1.1, 1.3), 0), (0, rng.uniform(1.5, 1.8)), 2.3))
    cuts = int(rng.choice([14, 22, 50]))
    return paint.hand_cut(edge, rng, rng.uniform(0.005, 0.025) * frame.span, cuts)


def _marker_face(frame: Frame, albedo: FloatImage, rng: np.random.Generator, open_eyes: bool) -> FloatImage:
    """Adds a face drawn with a felt pen; its eyes are left out if `open_eyes`."""
    if not open_eyes:
        albedo = moulded.painted_eyes(frame, albedo, rng)
    albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.06, 0.14))
    tone = paint.colour(rng, ((0.75, 0.15, 0.15), (0.1, 0.1, 0.12), (0.8, 0.4, 0.4)), 0.03)
    albedo = moulded.painted_lips(frame, albedo, tone, 0.3)
    nose = paint.curve(frame.px(np.array([(-0.06, 0.1), (-0.16, 0.6), (-0.02, 0.68), (0.14, 0.62)])))
    ink = np.array([0.08, 0.08, 0.1], np.float32)
    return (albedo + (ink - albedo) * paint.strokes([nose], max(1.3, 0.035 * frame.span))[..., None]).astype(np.float32)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts on a paper mask.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds the mask without its string.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 2, 2, 3, 2, 3, 2, 2))
    frame = Frame(scene.landmarks)
    if name in _MADE:
        image, mask, cues = _MADE[name](scene, frame, rng)
        return moulded.attacked(image, mask, cues, name, scene)
    folded, card = name.endswith("papercraft"), name.endswith("card")
    open_eyes = paint.chance(rng, 0.65)
    openings = moulded.holes(frame, rng) if open_eyes else []
    if openings and paint.chance(rng, 0.25):
        openings.append(frame.px(paint.ellipse((0, 1.12), (rng.uniform(0.2, 0.4), 0), (0, rng.uniform(0.05, 0.12)))))
    edge = frame.px(np.asarray(_KNOTS)[[0, 2, 4, 18, 25, 31, 33, 34, 32, 30, 24, 17, 3, 1]]) if folded else _outline(frame, rng)
    mask = paint.shapes([edge], openings)
    cues = [EDGE, *([HOLES] if open_eyes else [])]

    level = exposure(scene, frame)
    if folded:
        light, creases = _facets(frame, relief(frame, rng, strength=1.2), scene.light_xy, rng)
        cues.append(FACETS)
    else:
        crumpled = name.endswith("crumpled")
        folds = int(rng.integers(1, 4)) if paint.chance(rng, 0.5) else 0
        height = _sheet(frame, rng, folds, int(rng.integers(5, 10)) if crumpled else 0)
        light, _ = shade(height, scene.light_xy, ambient=rng.uniform(0.35, 0.55))
        creases = np.zeros_like(light)
        cues += [*([CRUMPLED] if crumpled else []), *([FOLDS] if folds else [])]
    if card or (folded and paint.chance(rng, 0.45)):
        albedo = np.broadcast_to(paint.colour(rng, _CARDS, 0.03), (CANVAS, CANVAS, 3)).astype(np.float32)
        cues.append(CARD)
        if card or paint.chance(rng, 0.6):
            albedo = _marker_face(frame, albedo, rng, open_eyes)
            cues.append(DRAWN)
    else:
        grey = name.endswith("grey") or paint.chance(rng, 0.1)
        mirror, scale = paint.chance(rng, 0.5), rng.uniform(0.9, 1.15, 2)
        picture = portrait_texture(scene, frame, mirror=mirror, scale=scale, shift=rng.normal(0, 0.05, 2), within=mask)
        if paint.chance(rng, 0.5):  # somebody else's complexion
            picture = (picture * np.float32(rng.uniform(0.6, 1.3) * (1 + rng.normal(0, 0.07, 3)))).clip(0, 1)
        albedo = paint.printed(picture, rng, grey=grey)
        cues = [PRINTED, FLAT, *cues, *([GREY] if grey else [])]
    light = light * np.sqrt(ambient_light(scene, frame, shaded=True)) * np.float32(level)
    light = light * paint.paper_grain(rng, rng.uniform(0.008, 0.02))
    surface = albedo * light[..., None]
    worn = creases * np.float32(rng.uniform(0.1, 0.5))
    surface = surface + (np.array([0.93, 0.92, 0.9], np.float32) * np.float32(level) - surface) * worn[..., None]

    image = paint.cast_shadow(scene.image, mask, scene.light_xy, frame.span * rng.uniform(0.05, 0.16), rng.uniform(0.35, 0.7))
    if paint.chance(rng, 0.4):
        image = _string(image, frame, level, rng)
        cues.append(STRING)
    image = _laid(image, surface, mask, np.array([0.97, 0.96, 0.94], np.float32) * np.float32(level), rng.uniform(0.3, 0.9))
    if paint.chance(rng, 0.15):
        image, strips = _tape(image, edge, frame.span, level, rng)
        return replace(moulded.attacked(image, mask, [*cues, TAPE], name, scene), marks={TAPE: strips})
    return moulded.attacked(image, mask, cues, name, scene)


def _laid(image: FloatImage, surface: FloatImage, mask: Mask, rim: moulded.Colour, strength: float) -> FloatImage:
    """The picture with a sheet on it; the cut edges, seen end on, show the colour `rim` of the sheet's core."""
    image = image + (surface - image) * mask[..., None]
    lit_rim = (mask - paint.shifted(mask, 1, 1)).clip(0, 1) + (mask - paint.shifted(mask, -1, -1)).clip(0, 1)
    return image + (rim - image) * (lit_rim * strength).clip(0, 1)[..., None]


def _string(image: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    lines = [paint.curve(frame.px(np.array([(s * 0.98, 0.15), (s * 1.2, 0.02), (s * 1.42, -0.12)]))) for s in (-1, 1)]
    tone = paint.colour(rng, ((0.9, 0.9, 0.9), (0.08, 0.08, 0.08), (0.7, 0.1, 0.1)), 0.03) * np.float32(level)
    mask = paint.strokes(lines, max(1.2, rng.uniform(0.025, 0.05) * frame.span))
    return (image + (tone - image) * mask[..., None]).astype(np.float32)


def _tape(
    image: FloatImage, edge: Points, span: float, level: float, rng: np.random.Generator
) -> tuple[FloatImage, tuple[Box, ...]]:
    """The picture with three strips of tape over the mask's edge, and the strips' boxes."""
    pieces = []
    for middle in edge[rng.choice(len(edge), 3, replace=False)]:
        angle = rng.uniform(0, np.pi)
        x = np.array([np.cos(angle), np.sin(angle)]) * span * rng.uniform(0.15, 0.25)
        y = np.array([-np.sin(angle), np.cos(angle)]) * span * 0.09
        pieces.append(np.stack([middle - x - y, middle + x - y, middle + x + y, middle - x + y]))
    tone = np.array([0.9, 0.87, 0.75], np.float32) * np.float32(level)
    taped = image + (tone - image) * (paint.shapes(pieces) * rng.uniform(0.5, 0.85))[..., None]
    return taped.astype(np.float32), tuple(map(box_around, pieces))


def _squeezed(frame: Frame, rng: np.random.Generator, steep: float, dents: int) -> Plane:
    """Height in pixels of crumpled paper: `dents` short sharp dents on soft unevenness, both scaled by the slope `steep`."""
    cells = int(np.clip(round(1.5 * CANVAS / frame.span), 3, 60))
    height = np.abs(smooth_noise(rng, cells=cells)[..., 0]) * np.float32(0.35 * steep)
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    for _ in range(dents):
        turn = rng.uniform(0, np.pi)
        x, y = u - np.float32(rng.uniform(-1.6, 1.6)), v - np.float32(rng.uniform(-1.8, 2.4))
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        across, along = x * cos + y * sin, y * cos - x * sin
        deep = np.float32(rng.uniform(0.05, 0.3)) - np.abs(across) - np.float32(rng.uniform(0.15, 0.5)) * np.abs(along)
        height = height + deep.clip(0) * np.float32(rng.choice([-1, 1]) * rng.uniform(0.5, 1.3) * steep)
    return (height * np.float32(frame.span)).astype(np.float32)


def _cut_face(frame: Frame, rng: np.random.Generator) -> list[Points]:
    """Outlines of eyes, and often a mouth, cut by hand into something that covers the face."""
    cut = [paint.hand_cut(hole, rng, 0.02 * frame.span, 14) for hole in moulded.holes(frame, rng, low=0.8, high=1.6)]
    if paint.chance(rng, 0.6):
        mouth = paint.ellipse((0, 1.12), (rng.uniform(0.2, 0.5), 0), (0, rng.uniform(0.05, 0.16)), rng.uniform(1.6, 6))
        cut.append(paint.hand_cut(frame.px(mouth), rng, 0.015 * frame.span, 16))
    return cut


def _bag(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A paper bag over the head: a softened box, sometimes creased from lying flat, open below."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    wide, top, low = rng.uniform(1.4, 1.75), -rng.uniform(1.8, 2.3), rng.uniform(2.0, 2.9)
    hem = np.linspace(1, -1, 23) * wide * rng.uniform(0.9, 1.1)
    teeth = 0.05 * (np.arange(23) % 2) if paint.chance(rng, 0.4) else rng.normal(0, 0.015, 23)
    hang = low + teeth - rng.uniform(-0.15, 0.15) * hem**2
    ear, waist = rng.uniform(0.02, 0.18), wide * rng.uniform(0.92, 1.06)
    corners = [(-waist, 0.5), (-wide, top + ear), (-wide + ear, top), (wide - ear, top), (wide, top + ear), (waist, 0.5)]
    edge = frame.px(np.vstack([np.asarray(corners) + rng.normal(0, 0.04, (6, 2)), np.stack([hem, hang], axis=1)]))
    open_eyes = paint.chance(rng, 0.7)
    openings = _cut_face(frame, rng) if open_eyes else []
    solid, gap = paint.shapes([edge]), paint.shapes(openings)
    mask = solid * (1 - gap)

    lean, front = rng.uniform(-0.35, 0.35), wide * rng.uniform(0.62, 0.9)
    height = -rng.uniform(0.5, 1.6) * (np.abs(u - lean) - front).clip(0)
    height = height - rng.uniform(0.3, 1.0) * (top + ear + 0.15 - v).clip(0)
    height = height + rng.uniform(0.1, 0.35) * np.exp(-((u / 0.8) ** 2) - ((v - 0.4) / 1.0) ** 2)
    folds = rng.uniform(top + 0.4, low - 0.2, int(rng.integers(0, 4)))
    for fold in folds:
        height = height - rng.uniform(0.08, 0.2) * np.float32(rng.choice([-1, 1])) * np.abs(v - np.float32(fold))
    worn = rng.uniform(0.05, 0.4)
    height = height * np.float32(frame.span) + _squeezed(frame, rng, worn, int(12 + 60 * worn))
    light, _ = shade(height.astype(np.float32), scene.light_xy, ambient=rng.uniform(0.35, 0.5))

    tone = paint.colour(rng, _BAGS, 0.03)
    ribs = 1 + np.float32(rng.uniform(0, 0.03)) * np.sin(u * np.float32(rng.uniform(30, 60)))
    albedo = (tone * (ribs * (1 + 0.05 * smooth_noise(rng, cells=5)[..., 0]))[..., None]).astype(np.float32)
    drawn = not open_eyes or paint.chance(rng, 0.3)
    if drawn:
        albedo = _marker_face(frame, albedo, rng, open_eyes)
    level = np.float32(exposure(scene, frame))
    light = light * np.sqrt(ambient_light(scene, frame, shaded=True)) * paint.paper_grain(rng, rng.uniform(0.01, 0.025)) * level
    image = paint.cast_shadow(scene.image, solid, scene.light_xy, frame.span * rng.uniform(0.08, 0.2), rng.uniform(0.35, 0.6))
    image = paint.over(image, moulded.deepen(image, scene, frame, gap, rng.uniform(0.6, 0.95)), gap)
    image = _laid(image, albedo * light[..., None], mask, tone * level * np.float32(1.1), rng.uniform(0.2, 0.7))
    cues = [CARD, EDGE, *([HOLES] if open_eyes else []), *([DRAWN] if drawn else []), *([FOLDS] if len(folds) else [])]
    return image, solid, [*cues, *([CRUMPLED] if worn > 0.18 else [])]


def _held_up(frame: Frame, rng: np.random.Generator) -> Frame:
    """Frame of a face held in front of this one: larger, rolled, turned about its stick, slightly off centre."""
    size, roll = rng.uniform(1.15, 1.65), rng.normal(0, 0.1)
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]) * size * (rng.uniform(0.85, 1.0), 1.0)
    middle = frame.px((0.0, 0.4))
    shift = rng.normal(0, 0.1, 2) * frame.span
    return Frame(((frame.landmarks - middle) @ turn.T + middle + shift).astype(np.float32))


def _die_cut(scene: Scene, held: Frame, mirror: bool) -> tuple[FloatImage, Mask]:
    """The photograph in its held-up pose, and the mask of its head: hair included as far as the matte shows it, no neck."""
    egg = paint.shapes([held.outline(1.02), held.px(paint.ellipse((0, -0.15), (1.5, 0), (0, 1.8)))])
    near = paint.blur(egg, 0.12 * held.span) + (egg > 0)
    picture = portrait_texture(scene, held, mirror=mirror, within=near)
    cut_out = replace(scene.portrait, image=np.repeat(scene.portrait.matte[..., None], 3, axis=2))
    matte = portrait_texture(replace(scene, portrait=cut_out), held, mirror=mirror, within=near)[..., 0]
    return picture, paint.blur(np.maximum(paint.shapes([held.outline()]), egg * matte), 0.03 * held.span)


def _stick(image: FloatImage, scene: Scene, held: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    """The picture with a stick down from the chin, and often the fist that holds it."""
    foot = rng.normal(0, 0.25)
    line = held.px(np.array([(foot * 0.15, 1.2), (foot, 4.5)])).astype(np.float64)
    wide = rng.uniform(0.08, 0.2) * held.span
    tone = paint.colour(rng, _STICKS, 0.03) * np.float32(level)
    body = paint.strokes([line], wide)
    image = paint.over(paint.cast_shadow(image, body, scene.light_xy, 0.1 * held.span, 0.35), tone, body)
    side = np.array([np.sign(scene.light_xy[0]) or 1, 0], np.float32) * wide * 0.3
    image = paint.over(image, tone * np.float32(0.55), paint.strokes([line - side], wide * 0.4) * np.float32(0.6))
    if paint.chance(rng, 0.7):
        share, radius, hand = rng.uniform(0.25, 0.6), rng.uniform(0.13, 0.17) * held.span, float(rng.choice([-1, 1]))
        x, y = line[0] + share * (line[1] - line[0])
        skin, image = SKINS[int(rng.integers(len(SKINS)))], np.array(image, np.float32)
        wrist, away = (x + hand * 2.6 * radius, y + 3.5 * radius), (x + hand * 9 * radius, y + 16 * radius)
        paint_limb(image, Limb(wrist, away, radius * 1.9, radius * 2.4, skin), scene.light_xy, level)
        paint_limb(image, Limb((x + hand * radius, y), wrist, radius * 2.6, radius * 1.9, skin), scene.light_xy, level)
        for step in range(4):
            down = y + (1.6 * step - 2.4) * radius
            knuckle, tip = (x + hand * 2.0 * radius, down), (x - hand * (1.5 - 0.2 * step) * radius, down)
            paint_limb(image, Limb(knuckle, tip, radius, radius * 0.85, skin), scene.light_xy, level)
    return image


def _fan(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A face printed larger than life on stiff card, cut out around the hair and held up on a stick."""
    held, mirror = _held_up(frame, rng), paint.chance(rng, 0.5)
    picture, head = _die_cut(scene, held, mirror)
    border = rng.uniform(0.03, 0.12) if paint.chance(rng, 0.65) else 0.0
    mask = ((paint.blur(head, (border + 0.02) * held.span) - (0.15 if border else 0.43)) * 7).clip(0, 1)
    open_eyes = paint.chance(rng, 0.3)
    gap = paint.shapes(moulded.holes(held, rng, low=0.45, high=0.9) if open_eyes else [])
    if paint.chance(rng, 0.6):  # somebody else's complexion
        picture = (picture * np.float32(rng.uniform(0.55, 1.35) * (1 + rng.normal(0, 0.08, 3)))).clip(0, 1)
    grey = paint.chance(rng, 0.12)
    white = np.array([0.95, 0.95, 0.94], np.float32)
    albedo = blend(np.broadcast_to(white, picture.shape), paint.printed(picture, rng, grey=grey), (head * 1.6 - 0.3).clip(0, 1))

    u, v = held.uv[..., 0], held.uv[..., 1]
    bow = (-rng.uniform(0.0, 0.2) * u * u + rng.normal(0, 0.15) * u + rng.normal(0, 0.1) * v) * held.span
    light, shine = shade(bow.astype(np.float32), scene.light_xy, ambient=rng.uniform(0.4, 0.55), shininess=rng.uniform(12, 40))
    level = exposure(scene, frame)
    surface = (albedo * (light * np.sqrt(ambient_light(scene, frame, shaded=True)))[..., None]) * np.float32(level)
    surface = surface + (shine * np.float32(rng.uniform(0, 0.3) * level))[..., None]
    image = _stick(scene.image, scene, held, level, rng)
    image = paint.cast_shadow(image, mask, scene.light_xy, frame.span * rng.uniform(0.12, 0.45), rng.uniform(0.3, 0.6))
    image = paint.over(image, moulded.deepen(scene.image, scene, held, gap, rng.uniform(0.4, 0.8)), gap * mask)
    image = _laid(image, surface, mask * (1 - gap), white * np.float32(level), rng.uniform(0.1, 0.6))
    return image, mask, [PRINTED, FLAT, EDGE, *([HOLES] if open_eyes else []), *([GREY] if grey else [])]


def _strips(frame: Frame, rng: np.random.Generator, printed: bool) -> tuple[FloatImage, Plane]:
    """Torn strips pasted across each other: their paper and print, and their height in pixels."""
    count = int(rng.integers(80, 130))
    order = Image.new("L", (CANVAS, CANVAS), 0)
    pen, turns = ImageDraw.Draw(order), rng.uniform(0, np.pi, count)
    lengths, widths = rng.uniform(0.35, 0.8, count), rng.uniform(0.1, 0.22, count)
    for i, turn in enumerate(turns):
        middle = np.array([rng.uniform(-1.3, 1.3), rng.uniform(-1.6, 2.2)])
        along, across = np.array([np.cos(turn), np.sin(turn)]) * lengths[i], np.array([-np.sin(turn), np.cos(turn)]) * widths[i]
        ends = middle + np.array([1, 1, -1, -1])[:, None] * along + np.array([1, -1, -1, 1])[:, None] * across
        pen.polygon([(float(x), float(y)) for x, y in frame.px(ends + rng.normal(0, 0.04, (4, 2)))], fill=i)
    which = np.asarray(order)
    cos, sin = np.cos(turns).astype(np.float32)[which], np.sin(turns).astype(np.float32)[which]
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    sizes = rng.choice([0.055, 0.07, 0.09, 0.25], count, p=[0.3, 0.35, 0.25, 0.1]).astype(np.float32)[
        which
    ]  # the last: headlines
    row, column = (v * cos - u * sin) / sizes + 40, (u * cos + v * sin) / (sizes * 0.55) + 200
    letters = (rng.random((97, 509)) * (rng.random((97, 509)) < 0.85)).astype(np.float32)
    ink = letters[row.astype(np.int32) % 97, column.astype(np.int32) % 509] * (np.mod(row, 1) < 0.6)
    ink = ink * (rng.random(count) < (0.85 if printed else 0.0)).astype(np.float32)[which]
    sheets = np.array([0.84, 0.82, 0.76], np.float32) * (1 + rng.normal(0, 0.05, (count, 1)) + rng.normal(0, 0.02, (count, 3)))
    albedo = sheets.astype(np.float32)[which] * (1 - np.float32(rng.uniform(0.4, 0.85)) * ink[..., None])
    lift = rng.uniform(0, 1, count).astype(np.float32)[which]
    return paint.blur_image(albedo, 0.5), paint.blur(lift, 0.7) * np.float32(0.035 * frame.span)


def _papier_mache(scene: Scene, frame: Frame, rng: np.random.Generator) -> moulded.Made:
    """A face of pasted newspaper, cast over a mould; left raw, or painted so that the strips show mostly as relief."""
    edge = paint.hand_cut(
        frame.outline(rng.uniform(1.04, 1.2), rng.uniform(0.85, 1.1)), rng, rng.uniform(0.01, 0.035) * frame.span, 45
    )
    solid = paint.shapes([paint.rounded(edge, 1)])
    gap = paint.shapes(_cut_face(frame, rng))
    raw, printed, wrinkled = paint.chance(rng, 0.6), paint.chance(rng, 0.85), rng.uniform(0.04, 0.2)
    albedo, steps = _strips(frame, rng, printed)
    height = relief(frame, rng, strength=rng.uniform(0.7, 1.2), spread=0.35) + steps * np.float32(rng.uniform(0.8, 2.0))
    height = height + _squeezed(frame, rng, wrinkled, 12)
    height = height + paint.blur(solid, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    cues = [EDGE, HOLES, *([CRUMPLED] if wrinkled > 0.1 else []), (GREY if printed else CARD) if raw else DRAWN]
    if not raw:
        coat = paint.colour(rng, _COATS, 0.04)
        thin = np.float32(rng.uniform(0.8, 0.97)) + 0.12 * smooth_noise(rng, cells=9)[..., 0]
        albedo = _marker_face(frame, paint.over(albedo, coat, thin.clip(0, 1)), rng, True)
    finish = moulded.Finish(
        gloss=rng.uniform(0.0, 0.12), shininess=rng.uniform(6, 14), ambient=rng.uniform(0.35, 0.5), speckle=0.012
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    image = paint.cast_shadow(scene.image, solid, scene.light_xy, frame.span * rng.uniform(0.06, 0.15), rng.uniform(0.4, 0.7))
    image = paint.over(image, moulded.deepen(image, scene, frame, gap, rng.uniform(0.6, 0.95)), gap)
    rim = np.array([0.84, 0.81, 0.74], np.float32) * np.float32(exposure(scene, frame))
    return _laid(image, surface, solid * (1 - gap), rim, rng.uniform(0.3, 0.8)), solid, cues


_MADE: dict[str, Callable[[Scene, Frame, np.random.Generator], moulded.Made]] = {
    "paper-mask/bag": _bag,
    "paper-mask/fan": _fan,
    "paper-mask/papier-mache": _papier_mache,
}
