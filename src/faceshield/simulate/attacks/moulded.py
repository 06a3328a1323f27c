"""Artificial faces: painted features and materials that masks and mannequins share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate import paint
from faceshield.simulate.attacks.surface import Frame, Plane, ambient_light, exposure, lit_as_the_person, shade
from faceshield.simulate.portrait import Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box, smooth_noise

Colour = NDArray[np.float32]
Made = tuple[FloatImage, Mask, list[str]]
"""A picture with the attack in it, the attack's mask, and its cues."""
IRIS = ((0.2, 0.4, 0.7), (0.3, 0.18, 0.1), (0.2, 0.42, 0.25), (0.12, 0.1, 0.1), (0.45, 0.5, 0.55))


def attacked(image: FloatImage, region: Mask, cues: list[str], name: str, scene: Scene, gone: Mask | None = None) -> Attacked:
    """Last step of every mask and head renderer: one box around what was added, or none if nothing of it is in view.

    Args:
        region: (CANVAS, CANVAS), where the attack is. gone: where the background has taken the person's place.
    """
    image = image.clip(0, 1).astype(np.float32)
    person = lit_as_the_person(scene, image)
    person = np.maximum(person if gone is None else person * (1 - gone), region)
    box = bounding_box(region)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(image, boxes, paint.unique(cues), name, scene.landmarks, person=person)


@dataclass(frozen=True)
class Finish:
    """How a material reflects light.

    Attributes:
        gloss: strength of the highlight, 0 to about 1.2. shininess: its narrowness.
        hard: share of the highlight that has a sharp border, as on plastic.
        ambient, wrap: light in the shade, and how far light wraps around the form (silicone, wax).
        speckle: fine unevenness of the colour.
    """

    gloss: float
    shininess: float
    hard: float = 0.0
    ambient: float = 0.45
    wrap: float = 0.1
    speckle: float = 0.008


def render(
    scene: Scene, frame: Frame, albedo: FloatImage | Colour, height: Plane, finish: Finish, rng: np.random.Generator
) -> tuple[FloatImage, Plane]:
    """Colour of an artificial surface in the scene's light, (CANVAS, CANVAS, 3), and its highlight, (CANVAS, CANVAS)."""
    diffuse, specular = shade(height, scene.light_xy, ambient=finish.ambient, wrap=finish.wrap, shininess=finish.shininess)
    level = exposure(scene, frame)
    light = diffuse * ambient_light(scene, frame, shaded=True) * np.float32(0.93 * level)
    if finish.speckle:
        light = light * (1 + finish.speckle * rng.standard_normal(light.shape, dtype=np.float32))
    sharp = ((specular - 0.72) * 9).clip(0, 1)
    highlight = ((1 - finish.hard) * specular + finish.hard * sharp) * np.float32(finish.gloss * level)
    return (albedo * light[..., None] + highlight[..., None]).astype(np.float32), highlight.astype(np.float32, copy=False)


def almond(frame: Frame, side: float, width: float, height: float, tilt: float = 0.0) -> Points:
    """Outline of an eye opening in pixels; `width` and `height` are half sizes in face units."""
    t = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    x, y = np.cos(t), np.sin(t) * (0.55 + 0.45 * np.abs(np.sin(t)))
    return frame.px(np.stack([side * 0.5 + width * x, 0.02 + height * y + side * tilt * x], axis=1))


def holes(frame: Frame, rng: np.random.Generator, *, low: float = 0.8, high: float = 1.4) -> list[Points]:
    """Outlines of two eye openings in pixels, elliptical or almond-shaped; `low` and `high` bound their size factor."""
    size, wide = rng.uniform(low, high), rng.uniform(0.9, 1.15)
    if paint.chance(rng, 0.4):
        axes = (0.22 * size * wide, 0), (0, rng.uniform(0.12, 0.19) * size)
        return [frame.px(paint.ellipse((side * 0.5, 0.02), *axes)) for side in (-1, 1)]
    tilt = rng.normal(0, 0.03)
    return [almond(frame, side, 0.25 * size * wide, 0.13 * size, tilt) for side in (-1, 1)]


def painted_eyes(frame: Frame, albedo: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Eyes as painted on mannequins: flat white, an even iris, a hard lid line, often a white dot."""
    wide, high = rng.uniform(0.2, 0.27), rng.uniform(0.09, 0.14)
    eyes = [almond(frame, side, wide, high) for side in (-1, 1)]
    opening = paint.shapes(eyes)
    gaze = rng.uniform(-0.05, 0.05)
    white = np.array([0.93, 0.92, 0.89], np.float32)
    out = paint.over(albedo, white, opening)
    size = rng.uniform(0.1, 0.13)
    iris = [frame.px(paint.ellipse((side * 0.5 + gaze, 0.01), (size, 0), (0, size))) for side in (-1, 1)]
    pupil = [frame.px(paint.ellipse((side * 0.5 + gaze, 0.01), (size * 0.45, 0), (0, size * 0.45))) for side in (-1, 1)]
    spot = [frame.px(paint.ellipse((side * 0.5 + gaze + 0.04, -0.04), (0.025, 0), (0, 0.025))) for side in (-1, 1)]
    out = paint.over(out, paint.colour(rng, IRIS), paint.shapes(iris) * opening)
    out = paint.over(out, np.array([0.03, 0.03, 0.03], np.float32), paint.shapes(pupil) * opening)
    if paint.chance(rng, 0.6):
        out = paint.over(out, np.ones(3, np.float32), paint.shapes(spot) * opening)
    line = paint.colour(rng, ((0.1, 0.06, 0.05), (0.25, 0.14, 0.08), (0.05, 0.05, 0.06)), 0.01)
    upper = [np.vstack([eye[18:], eye[:1]]) for eye in eyes]
    out = paint.over(out, line, paint.strokes(upper, max(1.2, rng.uniform(0.03, 0.06) * frame.span)))
    if paint.chance(rng, 0.35):  # a painted lid
        lids = paint.shapes([almond(frame, side, wide * 1.15, high * 1.9) for side in (-1, 1)])
        above = lids * (1 - opening) * (frame.uv[..., 1] < 0.02)
        out = paint.over(out, paint.colour(rng, ((0.35, 0.5, 0.7), (0.55, 0.35, 0.3), (0.4, 0.3, 0.5))), above * 0.6)
    return out


def painted_brows(frame: Frame, albedo: FloatImage, rng: np.random.Generator, thick: float) -> FloatImage:
    """Two even arcs with soft or hard edges; `thick` in face units."""
    arch, at = rng.uniform(0.05, 0.18), rng.uniform(-0.34, -0.26)
    lines = [paint.curve(frame.px(np.array([(s * 0.2, at), (s * 0.52, at - arch), (s * 0.9, at + 0.06)]))) for s in (-1, 1)]
    mask = paint.blur(paint.strokes(lines, thick * frame.span, taper=True), rng.uniform(0.2, 0.9))
    return paint.over(albedo, paint.colour(rng, ((0.1, 0.06, 0.04), (0.35, 0.22, 0.12), (0.5, 0.4, 0.3)), 0.02), mask * 0.9)


def painted_lips(frame: Frame, albedo: FloatImage, tone: Colour, soft: float = 0.6, strength: float = 0.9) -> FloatImage:
    """Lips of one colour, with a line between them."""
    lips = frame.px(np.array([
        (-0.36, 1.12), (-0.2, 1.03), (-0.08, 0.98), (0, 1.0), (0.08, 0.98), (0.2, 1.03), (0.36, 1.12), (0.2, 1.23), (0, 1.27),
        (-0.2, 1.23),
    ]))  # fmt: skip
    out = paint.over(albedo, tone, paint.blur(paint.shapes([lips]), soft) * strength)
    line = paint.curve(frame.px(np.array([(-0.35, 1.12), (-0.12, 1.10), (0, 1.12), (0.12, 1.10), (0.35, 1.12)])))
    return paint.over(out, tone * np.float32(0.35), paint.blur(paint.strokes([line], 0.03 * frame.span), 0.4) * 0.8)


def deepen(image: FloatImage, scene: Scene, frame: Frame, openings: Mask, depth: float) -> FloatImage:
    """Darkens what lies behind openings, because the shell around them blocks the light."""
    fallen = paint.shifted(
        openings, -scene.light_xy[0] * 0.05 * frame.span, (0.04 + 0.05 * max(-scene.light_xy[1], 0)) * frame.span
    )
    lit = paint.blur(np.minimum(openings, fallen), 0.02 * frame.span + 0.4)
    return (image * (1 - openings * (depth * (1 - 0.6 * lit)))[..., None]).astype(np.float32)


def grooves(frame: Frame, lines: list[Points], width: float, depth: float) -> Plane:
    """Height in pixels of folds along `lines`: a furrow with a swelling on both sides; `width` and `depth` in face units."""
    if not lines:
        return np.zeros(frame.uv.shape[:2], np.float32)
    furrow = paint.blur(paint.strokes(lines, max(1.0, width * frame.span), taper=True), 0.4 * width * frame.span + 0.4)
    swell = paint.blur(furrow, 1.6 * width * frame.span + 0.6)
    return ((1.3 * swell - furrow) * np.float32(depth * frame.span)).astype(np.float32)


def mottle(rng: np.random.Generator, amount: float) -> FloatImage:
    """Broad unevenness of a painted or cast skin, as a factor per channel about 1."""
    return (1 + amount * smooth_noise(rng, cells=int(rng.integers(4, 9)), channels=3)).astype(np.float32)
