"""What people wear or hold in front of their face, bona fide or not: a health mask, a hand, a headset.

A front is drawn with the scene and laid over it last: over a bona fide face, over whatever is worn or painted on, and before
the first capture of a print or a replay, so that it does not reveal the class.

    front = draw_front(image, points, rng)        # None for most people
    image = front.over(image)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from faceshield.simulate.limbs import Limb, paint_limb
from faceshield.simulate.portrait import CANVAS, LANDMARKS, LUMA, OUTLINE, FloatImage, Front, Mask, Points, fill_polygon

HEALTH_MASK, HAND, HEADSET = "a health mask", "a hand at the face", "a headset"
_RATES = {HEALTH_MASK: 0.05, HAND: 0.04, HEADSET: 0.025}
_Y, _X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)


def draw_front(
    image: FloatImage, points: Points, light_xy: tuple[float, float], rng: np.random.Generator, share: float = 1.0
) -> Front | None:
    """Draws one of the three or, for most people, nothing.

    Args:
        image: (CANVAS, CANVAS, 3); the front takes its light and skin colour.
        points: (79, 2) landmarks.
        share: factor on the usual rates.
    """
    drawn = rng.random() / share
    for phrase, rate in _RATES.items():
        if drawn < rate:
            return _FRONTS[phrase](image, points, light_xy, rng)
        drawn -= rate
    return None


def _light_of(image: FloatImage, points: Points) -> tuple[Mask, float]:
    """How light falls on the face: a smooth field with mean 1 over it, and the brightness of white there."""
    face = fill_polygon(points[OUTLINE]) > 0.5
    grey = image @ LUMA
    if not face.any():
        return np.ones_like(grey), 0.8
    soft = Image.fromarray((grey.clip(0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(16))
    field = np.asarray(soft, np.float32) / 255.0
    level = float(np.clip(1.15 * np.quantile(grey[face], 0.95), 0.3, 1.0))
    return (field / max(float(field[face].mean()), 0.05)).clip(0.5, 1.5), level


def _health_mask(image: FloatImage, points: Points, light_xy: tuple[float, float], rng: np.random.Generator) -> Front:
    """Surgical (three pleats), moulded (a seam down the middle) or cloth, with ear loops."""
    jaw, nose = points[LANDMARKS["jaw"]], points[LANDMARKS["nose"]]
    ears = points[[12, 24]]  # at the height of the nose, right and left
    bridge = (nose[2] + nose[8]) / 2 + (nose[1] - nose[3]) * rng.uniform(-0.4, 0.5)
    chin, middle = jaw[4], jaw.mean(axis=0)
    down = (chin - bridge) / max(float(np.hypot(*(chin - bridge))), 1.0)
    span = float(np.hypot(*(jaw[0] - jaw[8])))
    corners = [ear + (bridge - ear) * rng.uniform(0.08, 0.16) + down * 0.05 * span for ear in ears]
    cheeks = [0.5 * corner + 0.5 * bridge - down * rng.uniform(-0.01, 0.03) * span for corner in corners]
    sides = [jaw[place] + (middle - jaw[place]) * 0.04 for place in (1, 7)]
    below = [point + down * rng.uniform(0.01, 0.05) * span for point in jaw[2:7]]
    outline = np.array([bridge, cheeks[0], corners[0], sides[0], *below, sides[1], corners[1], cheeks[1]], np.float32)
    mask = fill_polygon(outline)
    kind = rng.choice(["surgical", "moulded", "cloth"], p=[0.55, 0.2, 0.25])
    pale = np.array(
        [[0.62, 0.80, 0.90], [0.93, 0.94, 0.95], [0.93, 0.94, 0.95], [0.10, 0.10, 0.11], [0.90, 0.72, 0.76]], np.float32
    )
    tone = rng.uniform(0.08, 0.85, 3).astype(np.float32) if kind == "cloth" else pale[int(rng.integers(len(pale)))]
    light, level = _light_of(image, points)
    along = ((_X - bridge[0]) * down[0] + (_Y - bridge[1]) * down[1]) / span
    across = ((_X - middle[0]) * down[1] - (_Y - middle[1]) * down[0]) / span
    shade = light * (1.02 - 0.9 * across**2)
    if kind == "surgical":
        for place in (0.24, 0.40, 0.56):
            fold = (along - place - 0.25 * across**2) / 0.022
            shade = shade * (1 - 0.16 * np.exp(-(fold**2)) + 0.07 * np.exp(-((fold - 1.8) ** 2)))
    elif kind == "moulded":
        shade = shade * (1 - 0.25 * np.exp(-((across / 0.015) ** 2))) * (1 + 0.25 * np.sign(across) * light_xy[0])
    else:
        weave = np.sin(_X * rng.uniform(0.5, 1.2)) * np.sin(_Y * rng.uniform(0.5, 1.2))
        shade = shade * (1 + rng.uniform(0.0, 0.12) * weave)
    inner = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2.5)), np.float32) / 255
    shade = shade * (0.72 + 0.28 * ((inner - 0.5) * 2.4).clip(0, 1))  # the hem
    loops = Image.new("L", (2 * CANVAS, 2 * CANVAS), 0)
    pen, width = ImageDraw.Draw(loops), max(2, round(span / 34))
    for start, ear in zip((*corners, *sides), (*points[[11, 25]], *ears), strict=True):
        pen.line([tuple(float(v) * 2 for v in start), tuple(float(v) * 2 for v in ear)], fill=255, width=width)
    loop = np.asarray(loops.reduce(2), np.float32) / 255.0
    cloth = (tone * level * shade[..., None]).clip(0, 1)
    keep = (1 - np.maximum(mask, loop))[..., None] * np.ones(3, np.float32)
    add = cloth * mask[..., None] + (0.9 * level * loop * (1 - mask))[..., None]
    return Front(HEALTH_MASK, keep.astype(np.float32), add.astype(np.float32))


def _hand(image: FloatImage, points: Points, light_xy: tuple[float, float], rng: np.random.Generator) -> Front:
    """The person's cheek or chin rests on their own hand; the forearm comes from below."""
    jaw, nose = points[LANDMARKS["jaw"]], points[LANDMARKS["nose"]]
    span = float(np.hypot(*(jaw[0] - jaw[8])))
    side = 1 if rng.random() < 0.5 else -1  # the viewer's right or left
    at = (jaw[int(rng.integers(0, 3))] if side > 0 else jaw[8 - int(rng.integers(0, 3))]).astype(np.float64)
    skin = _skin(image, points)
    radius = span * rng.uniform(0.065, 0.085)
    palm = at + np.array([side * 0.02, 0.22]) * span
    wrist = palm + np.array([side * rng.uniform(0.05, 0.4), 0.5]) * span
    elbow = wrist + np.array([side * rng.uniform(-0.2, 0.5), 1.6]) * span
    sleeve = tuple(float(v) for v in rng.uniform(0.05, 0.75, 3)) if rng.random() < 0.6 else skin
    up = np.array([nose[5, 0] - at[0], -abs(nose[5, 1] - at[1]) - 0.3 * span])
    up /= max(float(np.hypot(*up)), 1e-6)
    fan = np.array([-up[1], up[0]])
    limbs = [
        Limb(_xy(wrist), _xy(elbow), radius * 2.0, radius * 2.6, sleeve),
        Limb(_xy(palm), _xy(wrist), radius * 2.4, radius * 1.9, skin),
    ]
    count, length = int(rng.integers(2, 5)), rng.uniform(0.25, 0.5) * span
    for finger in range(count):
        root = palm + fan * (finger - (count - 1) / 2) * radius * 1.7
        lean = up + fan * (finger - (count - 1) / 2) * rng.uniform(0.02, 0.2)
        tip = root + lean * length * (1 - 0.12 * abs(finger - (count - 1) / 2))
        limbs.append(Limb(_xy(root), _xy(tip), radius, radius * 0.8, skin, nail=bool(rng.random() < 0.4)))
    exposure = rng.uniform(0.9, 1.05)

    def paint(canvas: FloatImage) -> FloatImage:
        for limb in limbs:
            paint_limb(canvas, limb, light_xy, exposure)
        return canvas

    return _laid_by(paint, HAND)


def _headset(image: FloatImage, points: Points, light_xy: tuple[float, float], rng: np.random.Generator) -> Front:
    """A band over the hair, a cup on each ear and, half the time, a microphone at the mouth."""
    outline = points[OUTLINE]
    left, right = outline[:, 0].min(), outline[:, 0].max()
    top, span = outline[:, 1].min(), float(right - left)
    ears = (points[24] + points[12])[1] / 2 - 0.02 * span
    light, level = _light_of(image, points)
    tone = np.float32(rng.choice([0.05, 0.1, 0.85])) * np.ones(3, np.float32)
    layer = Image.new("L", (2 * CANVAS, 2 * CANVAS), 0)
    pen, wide = ImageDraw.Draw(layer), max(2, round(span * rng.uniform(0.05, 0.1) * 2))
    over = top - rng.uniform(0.22, 0.34) * span
    around = (left - 0.07 * span, over, right + 0.07 * span, 2 * ears - over)
    pen.arc([2 * float(value) for value in around], 180, 360, fill=255, width=wide)
    for x in (left - 0.05 * span, right + 0.05 * span):
        half = np.array([rng.uniform(0.07, 0.1), rng.uniform(0.16, 0.24)]) * span
        pen.ellipse([2 * (x - half[0]), 2 * (ears - half[1]), 2 * (x + half[0]), 2 * (ears + half[1])], fill=255)
    if rng.random() < 0.5:
        mouth = points[LANDMARKS["mouth"]]
        corner, start = (mouth[0], left) if rng.random() < 0.5 else (mouth[6], right)
        end = corner + np.array([0.0, 0.08 * span])
        pen.line([2 * start, 2 * ears, 2 * float(end[0]), 2 * float(end[1])], fill=255, width=max(2, wide // 4))
        pen.ellipse([*(2 * end - 0.07 * span), *(2 * end + 0.07 * span)], fill=255)
    mask = np.asarray(layer.reduce(2), np.float32) / 255.0
    raised = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2)), np.float32) / 255
    slope = -np.gradient(raised, axis=0) * light_xy[1] - np.gradient(raised, axis=1) * light_xy[0]  # brighter towards it
    colour = tone * level * light[..., None] * (1 + 2.5 * slope[..., None]) + np.float32(0.12) * slope.clip(0)[..., None]
    add = (colour.clip(0, 1) * mask[..., None]).astype(np.float32)
    return Front(HEADSET, np.repeat(1 - mask[..., None], 3, axis=2).astype(np.float32), add)


def _skin(image: FloatImage, points: Points) -> tuple[float, float, float]:
    """Median colour of the cheeks."""
    eyes, jaw = points[LANDMARKS["pupils"]], points[LANDMARKS["jaw"]]
    found: list[NDArray[np.float32]] = []
    for eye, corner in zip(eyes, (jaw[8], jaw[0]), strict=True):
        x, y = 0.55 * eye + 0.45 * corner
        if 4 <= x < CANVAS - 4 and 4 <= y < CANVAS - 4:
            found.append(np.median(image[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].reshape(-1, 3), axis=0))
    tone = np.max(found, axis=0) if found else np.array([0.7, 0.52, 0.42], np.float32)
    red, green, blue = (float(value) for value in (tone * np.array([1.02, 0.97, 0.96], np.float32)).clip(0.05, 1))
    return red, green, blue


def _laid_by(paint: Callable[[FloatImage], FloatImage], phrase: str) -> Front:
    """A front from a painter: painting on black shows what it adds to a picture, painting on white what it keeps of it."""
    add = paint(np.zeros((CANVAS, CANVAS, 3), np.float32))
    return Front(phrase, paint(np.ones((CANVAS, CANVAS, 3), np.float32)) - add, add)


def _xy(point: NDArray[np.float64]) -> tuple[float, float]:
    return float(point[0]), float(point[1])


_FRONTS = {HEALTH_MASK: _health_mask, HAND: _hand, HEADSET: _headset}
