"""Paper masks: a cut-out photograph, a crumpled one, a folded papercraft face, a card with a drawn face."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import Delaunay

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.surface import Frame, Plane, ambient_light, exposure, portrait_texture, relief, shade
from faceshield.simulate.portrait import CANVAS, Attacked, Box, FloatImage, Points, Scene, bounding_box

VARIANTS: tuple[str, ...] = (
    "paper-mask/photo", "paper-mask/grey", "paper-mask/crumpled", "paper-mask/papercraft", "paper-mask/card",
)  # fmt: skip
PRINTED, EDGE, HOLES, FOLDS = "a printed paper face", "a cut paper edge", "cut eye holes", "paper folds"
CRUMPLED, FACETS, CARD, STRING = "crumpled paper", "flat paper facets", "plain paper skin", "an elastic string"
DRAWN, GREY, FLAT, TAPE = "a drawn face", "a grey paper print", "flat printed skin", "tape on the paper"
CUES: tuple[str, ...] = (EDGE, PRINTED, FLAT, HOLES, STRING, FOLDS, CARD, FACETS, DRAWN, GREY, TAPE, CRUMPLED)

_CARDS = ((0.95, 0.94, 0.91), (0.95, 0.94, 0.91), (0.78, 0.62, 0.45), (0.9, 0.82, 0.6), (0.85, 0.65, 0.55), (0.7, 0.8, 0.9))
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
    """Light on a papercraft face, one value a facet, about 1; and the creases between the facets, 0..1."""
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
    """Height of a paper bent round the face, in pixels, folded along the nose and creased here and there."""
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
    if paint.chance(rng, 0.15):  # an oval, whatever the face's shape
        edge = frame.px(paint.ellipse((0, 0.3), (rng.uniform(1.1, 1.3), 0), (0, rng.uniform(1.5, 1.8)), 2.3))
    cuts = int(rng.choice([14, 22, 50]))
    return paint.hand_cut(edge, rng, rng.uniform(0.005, 0.025) * frame.span, cuts)


def _marker_face(frame: Frame, albedo: FloatImage, rng: np.random.Generator, open_eyes: bool) -> FloatImage:
    """A face drawn with a felt pen."""
    if not open_eyes:
        albedo = moulded.painted_eyes(frame, albedo, rng)
    albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.06, 0.14))
    tone = paint.colour(rng, ((0.75, 0.15, 0.15), (0.1, 0.1, 0.12), (0.8, 0.4, 0.4)), 0.03)
    albedo = moulded.painted_lips(frame, albedo, tone, 0.3)
    nose = paint.curve(frame.px(np.array([(-0.06, 0.1), (-0.16, 0.6), (-0.02, 0.68), (0.14, 0.62)])))
    ink = np.float32([0.08, 0.08, 0.1])
    return (albedo + (ink - albedo) * paint.strokes([nose], max(1.3, 0.035 * frame.span))[..., None]).astype(np.float32)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts a paper mask on.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the mask; the box holds the mask, the string not counted.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 2, 2, 3, 2))
    frame = Frame(scene.landmarks)
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
    light = light * np.sqrt(ambient_light(scene, frame)) * paint.paper_grain(rng, rng.uniform(0.008, 0.02)) * np.float32(level)
    surface = albedo * light[..., None]
    worn = creases * np.float32(rng.uniform(0.1, 0.5))
    surface = surface + (np.float32([0.93, 0.92, 0.9]) * np.float32(level) - surface) * worn[..., None]

    image = paint.cast_shadow(scene.image, mask, scene.light_xy, frame.span * rng.uniform(0.05, 0.16), rng.uniform(0.35, 0.7))
    if paint.chance(rng, 0.4):
        image = _string(image, frame, level, rng)
        cues.append(STRING)
    image = image + (surface - image) * mask[..., None]
    lit_rim = (mask - paint.shifted(mask, 1, 1)).clip(0, 1) + (mask - paint.shifted(mask, -1, -1)).clip(0, 1)
    image = (
        image
        + (np.float32([0.97, 0.96, 0.94]) * np.float32(level) - image) * (lit_rim * rng.uniform(0.3, 0.9)).clip(0, 1)[..., None]
    )
    if paint.chance(rng, 0.15):
        image = _tape(image, edge, frame.span, level, rng)
        cues.append(TAPE)
    box = bounding_box(mask)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)


def _string(image: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    lines = [paint.curve(frame.px(np.array([(s * 0.98, 0.15), (s * 1.2, 0.02), (s * 1.42, -0.12)]))) for s in (-1, 1)]
    tone = paint.colour(rng, ((0.9, 0.9, 0.9), (0.08, 0.08, 0.08), (0.7, 0.1, 0.1)), 0.03) * np.float32(level)
    mask = paint.strokes(lines, max(1.2, rng.uniform(0.025, 0.05) * frame.span))
    return (image + (tone - image) * mask[..., None]).astype(np.float32)


def _tape(image: FloatImage, edge: Points, span: float, level: float, rng: np.random.Generator) -> FloatImage:
    pieces = []
    for middle in edge[rng.choice(len(edge), 3, replace=False)]:
        angle = rng.uniform(0, np.pi)
        x = np.array([np.cos(angle), np.sin(angle)]) * span * rng.uniform(0.15, 0.25)
        y = np.array([-np.sin(angle), np.cos(angle)]) * span * 0.09
        pieces.append(np.stack([middle - x - y, middle + x - y, middle + x + y, middle - x + y]))
    tone = np.float32([0.9, 0.87, 0.75]) * np.float32(level)
    return (image + (tone - image) * (paint.shapes(pieces) * rng.uniform(0.5, 0.85))[..., None]).astype(np.float32)
