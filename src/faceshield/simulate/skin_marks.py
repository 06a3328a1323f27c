"""Marks of many bona fide faces that are no attack: moles, spots, a scar, a plaster, strands of hair across the forehead.

They are drawn with the scene, hence on attacked faces too: a small dark thing on a cheek does not reveal the class.

    image = draw_marks(image, points, rng)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate import paint
from faceshield.simulate.portrait import LANDMARKS, OUTLINE, FloatImage, Mask, Points, blend, fill_polygon


class _Skin:
    """A face's skin, without eyes and mouth, and the measures by which marks are drawn on it.

    Attributes:
        span: distance between the pupils in pixels, at least 8; sizes are fractions of it.
        places: (N, 2) pixels x, y of the skin.
        tone: (3,) its median colour, as lit.
    """

    def __init__(self, image: FloatImage, points: Points) -> None:
        self.points = points
        left, right = points[LANDMARKS["pupils"]]
        self.span = float(max(np.hypot(*(right - left)), 8.0))
        bare = fill_polygon(points[OUTLINE])
        for part in ("left_eye", "right_eye", "mouth"):
            bare = bare * (1 - fill_polygon(points[LANDMARKS[part]]))
        seen = bare > 0.9
        self.places = np.argwhere(seen)[:, ::-1].astype(np.float64)
        self.tone = np.median(image[seen], axis=0) if seen.any() else np.zeros(3, np.float32)

    def somewhere(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return self.places[int(rng.integers(len(self.places)))]


def _dots(skin: _Skin, rng: np.random.Generator, count: int, radius: tuple[float, float], blur: float) -> Mask:
    dots = []
    for _ in range(count):
        at, (wide, high) = skin.somewhere(rng), rng.uniform(*radius) * skin.span * rng.uniform(0.8, 1.25, 2)
        dots.append(paint.ellipse(at, (wide, 0), (0, high)))
    return paint.blur(paint.shapes(dots), blur)


def _line(points: NDArray[np.float64], width: float, blur: float) -> Mask:
    return paint.blur(paint.strokes([points], width), blur)


def _moles(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    brown = skin.tone * np.array([0.5, 0.38, 0.33], np.float32) * np.float32(rng.uniform(0.5, 1.2))
    mask = _dots(skin, rng, int(rng.integers(1, 7)), (0.012, 0.05), rng.uniform(0.2, 0.6))
    return blend(image, brown, mask * rng.uniform(0.6, 0.95))


def _spots(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    red = skin.tone * np.array([1.0, 0.62, 0.6], np.float32) * np.float32(rng.uniform(0.8, 1.05))
    mask = _dots(skin, rng, int(rng.integers(4, 30)), (0.012, 0.04), rng.uniform(0.3, 0.9))
    return blend(image, red, mask * rng.uniform(0.3, 0.8))


def _patch(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    """A birthmark, an age spot or a flush: large, soft and faint."""
    factor = np.array([[1.0, 0.68, 0.68], [0.72, 0.62, 0.55], [1.05, 0.85, 0.82]], np.float32)[int(rng.integers(3))]
    mask = _dots(skin, rng, int(rng.integers(1, 4)), (0.1, 0.3), rng.uniform(0.04, 0.12) * skin.span)
    return (image * (1 + (factor - 1) * (mask * rng.uniform(0.3, 0.9))[..., None])).astype(np.float32)


def _scar(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    start, turn, length = skin.somewhere(rng), rng.uniform(0, 2 * np.pi), rng.uniform(0.12, 0.4) * skin.span
    t = np.linspace(0, 1, 8)[:, None]
    along, beside = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    line = start + length * (t * along + rng.uniform(-0.2, 0.2) * t * (1 - t) * beside)
    tone = (skin.tone * np.array([1.08, 0.95, 0.95], np.float32) * np.float32(rng.choice([0.75, 1.2]))).clip(0, 1)
    return blend(image, tone, _line(line, rng.uniform(0.015, 0.035) * skin.span, 0.3) * rng.uniform(0.4, 0.9))


def _plaster(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    at, turn = skin.somewhere(rng), rng.uniform(0, np.pi)
    along = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(0.1, 0.2) * skin.span
    tone = np.array([0.87, 0.69, 0.56], np.float32) if rng.random() < 0.7 else np.array([0.95, 0.94, 0.92], np.float32)
    light = float(skin.tone.max()) * rng.uniform(0.95, 1.25)
    return blend(image, (tone * np.float32(light)).clip(0, 1), _line(np.stack([at - along, at + along]), 0.12 * skin.span, 0.4))


def _strands(image: FloatImage, skin: _Skin, rng: np.random.Generator) -> FloatImage:
    """Loose hair from the hairline over the forehead, a cheek or an eye."""
    hairline = skin.points[LANDMARKS["hairline"]].astype(np.float64)
    down = skin.points[LANDMARKS["jaw"]][4] - hairline[5]
    tone = np.array([[0.05, 0.04, 0.04], [0.16, 0.1, 0.07], [0.42, 0.3, 0.18], [0.6, 0.58, 0.56]], np.float32)[
        int(rng.integers(4))
    ]
    root, sway = hairline[int(rng.integers(len(hairline)))], rng.uniform(-0.35, 0.35)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(rng.integers(2, 10))):
        own = root + rng.normal(0, 0.12, 2) * skin.span
        reach, bow = rng.uniform(0.2, 0.6), sway + rng.normal(0, 0.1)
        side = np.array([-down[1], down[0]])
        line = own + t * down * reach + side * (bow * t + rng.normal(0, 0.15) * t * (1 - t)) * reach
        image = blend(image, tone, _line(line, rng.uniform(0.008, 0.03) * skin.span, 0.25) * rng.uniform(0.5, 0.95))
    return image


_KINDS: tuple[Callable[[FloatImage, _Skin, np.random.Generator], FloatImage], ...] = (
    _moles, _moles, _spots, _patch, _scar, _plaster, _strands, _strands,
)  # fmt: skip
"""In equal shares; what is listed twice is twice as common."""


def draw_marks(image: FloatImage, points: Points, rng: np.random.Generator) -> FloatImage:
    """Draws one kind of mark, sometimes two, on a face; nothing if no skin is in view.

    Args:
        image: (CANVAS, CANVAS, 3) float32 RGB in 0..1, whose light the marks take.
        points: (79, 2) landmarks.
    """
    skin = _Skin(image, points)
    if not len(skin.places):
        return image
    for place in rng.permutation(len(_KINDS))[: 1 + int(rng.random() < 0.3)]:
        image = _KINDS[place](image, skin, rng)
    return image
