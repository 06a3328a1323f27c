"""Drawing on the canvas: crisp shapes, strokes, contact shadows, printed colours, paper grain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

from faceshield.simulate.portrait import CANVAS, LUMA, FloatImage, Mask, Points, smooth_noise

_FINE = 3
"""Shapes are drawn this many times larger and averaged down."""


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (CANVAS * _FINE, CANVAS * _FINE), 0)
    return picture, ImageDraw.Draw(picture)


def _fine(points: ArrayLike) -> list[tuple[float, float]]:
    scaled = (np.asarray(points, dtype=np.float64) + 0.5) * _FINE - 0.5
    return [(float(x), float(y)) for x, y in scaled]


def _mask(picture: Image.Image) -> Mask:
    return np.asarray(picture.reduce(_FINE), dtype=np.float32) / 255.0


def shapes(polygons: Iterable[ArrayLike], holes: Iterable[ArrayLike] = ()) -> Mask:
    """Mask of filled closed polygons (pixels), less that of `holes`."""
    picture, draw = _canvas()
    for polygon in polygons:
        draw.polygon(_fine(polygon), fill=255)
    for polygon in holes:
        draw.polygon(_fine(polygon), fill=0)
    return _mask(picture)


def strokes(lines: Iterable[ArrayLike], width: float | Sequence[float], *, taper: bool = False) -> Mask:
    """Mask of open lines (pixels), with one width or one for each, in pixels; `taper`: thin at both ends, like a brush."""
    picture, draw = _canvas()
    rows = list(lines)
    widths = [float(width)] * len(rows) if isinstance(width, (int, float)) else [float(w) for w in width]
    for row, thick in zip(rows, widths, strict=True):
        points = np.asarray(row, dtype=np.float64)
        if not taper:
            draw.line(_fine(points), fill=255, width=max(1, round(thick * _FINE)), joint="curve")
            continue
        # Dense enough that the edge of a thick stroke shows no beads.
        length = float(np.hypot(*np.diff(points, axis=0).T).sum())
        count = int(np.clip(length / max(thick, 0.7) * 6, 8, 140))
        dense = resample(points, count)
        radii = np.sin(np.linspace(0.12, np.pi - 0.12, count)) * thick / 2 * _FINE
        for (x, y), radius in zip(_fine(dense), radii.clip(0.6), strict=True):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _mask(picture)


def resample(points: ArrayLike, count: int, *, closed: bool = False) -> Points:
    """`count` evenly spaced points along a line."""
    rows = np.asarray(points, dtype=np.float64)
    if closed:
        rows = np.vstack([rows, rows[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(rows, axis=0).T))])
    at = np.linspace(0, along[-1], count, endpoint=not closed)
    return np.stack([np.interp(at, along, rows[:, 0]), np.interp(at, along, rows[:, 1])], axis=1).astype(np.float32)


def rounded(points: ArrayLike, times: int = 2) -> Points:
    """A closed polygon with its corners cut off `times` times."""
    rows = np.asarray(points, dtype=np.float32)
    for _ in range(times):
        ahead = np.roll(rows, -1, axis=0)
        rows = np.stack([0.75 * rows + 0.25 * ahead, 0.25 * rows + 0.75 * ahead], axis=1).reshape(-1, 2)
    return rows


def curve(points: ArrayLike, count: int = 24) -> Points:
    """A smooth open line through few points (a quadratic for three, corner cutting for more)."""
    rows = np.asarray(points, dtype=np.float32)
    for _ in range(3):
        middle = np.stack([0.75 * rows[:-1] + 0.25 * rows[1:], 0.25 * rows[:-1] + 0.75 * rows[1:]], axis=1).reshape(-1, 2)
        rows = np.vstack([rows[:1], middle, rows[-1:]])
    return resample(rows, count)


def hand_cut(points: ArrayLike, rng: np.random.Generator, amount: float, cuts: int = 40) -> Points:
    """A closed outline as scissors leave it: straight cuts that miss the line by about `amount` pixels."""
    rows = resample(points, cuts, closed=True)
    return rows + rng.normal(0, amount, rows.shape).astype(np.float32)


def ellipse(centre: ArrayLike, axis_x: ArrayLike, axis_y: ArrayLike, power: float = 2.0, count: int = 40) -> Points:
    """Closed (super-)ellipse about `centre` with the half axes given as vectors."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power)
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power)
    rows = np.asarray(centre) + np.outer(x, np.asarray(axis_x)) + np.outer(y, np.asarray(axis_y))
    return rows.astype(np.float32)


def _reach(mask: Mask, margin: int) -> tuple[slice, slice] | None:
    """Rows and columns where `mask` is not 0, with a margin; None where it is 0 everywhere."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )


def blur(mask: Mask, radius: float) -> Mask:
    """Gaussian blur of a mask in 0..1."""
    at = _reach(mask, int(3 * radius) + 2)
    if radius < 0.2 or at is None:
        return mask
    part = Image.fromarray((mask[at].clip(0, 1) * 255).astype(np.uint8))
    # A wide blur has no detail: compute it on fewer pixels.
    fewer = 4 if radius > 10 else 2 if radius > 4 else 1
    small = part.reduce(fewer).filter(ImageFilter.GaussianBlur(radius / fewer))
    out = np.zeros_like(mask)
    out[at] = np.asarray(small.resize(part.size, Image.Resampling.BILINEAR) if fewer > 1 else small, np.float32) / 255.0
    return out


def over(base: FloatImage, tone: NDArray[np.float32], mask: Mask) -> FloatImage:
    """`tone`, a colour (3,) or a picture, over `base` where `mask` says so; like `blend`, but computed only there."""
    at = _reach(mask, 0)
    if at is None:
        return base
    out = np.array(base, dtype=np.float32)
    part = out[at]
    source = tone if tone.ndim == 1 else tone[at]
    part += (source - part) * mask[at][..., None].astype(np.float32)
    return out


def blur_image(image: FloatImage, radius: float) -> FloatImage:
    """Gaussian blur of a picture in 0..1."""
    picture = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, dtype=np.float32) / 255.0


def shifted(mask: Mask, dx: float, dy: float) -> Mask:
    """`mask` moved by whole pixels; what comes in from outside is 0."""
    x, y = round(dx), round(dy)
    out = np.zeros_like(mask)
    height, width = mask.shape
    out[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)] = mask[
        max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)
    ]
    return out


def cast_shadow(
    image: FloatImage, mask: Mask, light_xy: tuple[float, float], distance: float, strength: float = 0.5
) -> FloatImage:
    """`image` darkened by the shadow of an object `mask` that lies `distance` pixels above it."""
    fallen = shifted(mask, -light_xy[0] * distance, -light_xy[1] * distance + 0.35 * distance)
    shadow = blur(np.maximum(fallen, mask), 0.5 + 0.55 * distance)
    return (image * (1 - strength * shadow)[..., None]).astype(np.float32)


def printed(image: FloatImage, rng: np.random.Generator, *, grey: bool = False, white: float = 0.95) -> FloatImage:
    """A picture as ink on paper can show it: fewer colours, lifted blacks, a colour cast and some grain."""
    luma = (image @ LUMA)[..., None]
    colour = 0.0 if grey else rng.uniform(0.45, 1.0)
    toned = (luma + (image - luma) * np.float32(colour)).clip(0, 1) ** np.float32(rng.uniform(0.75, 1.25))
    cast = np.ones(3) if grey else 1 + rng.normal(0, 0.05, 3)
    black = rng.uniform(0.06, 0.24)
    ink = (black + (white - black) * toned) * cast.astype(np.float32)
    ink += rng.normal(0, 1, (CANVAS, CANVAS, 1)).astype(np.float32) * np.float32(rng.uniform(0.005, 0.025))
    if rng.random() < 0.3:  # streaks of the print head
        ink *= 1 + np.repeat(rng.normal(0, 0.03, (CANVAS // 3 + 1, 1, 1)), 3, axis=0)[:CANVAS].astype(np.float32)
    return ink.astype(np.float32)


def paper_grain(rng: np.random.Generator, amount: float = 0.02) -> NDArray[np.float32]:
    """(CANVAS, CANVAS) factor about 1: fibres and unevenness of paper."""
    fine = rng.standard_normal((CANVAS // 2, CANVAS // 2), dtype=np.float32).repeat(2, axis=0).repeat(2, axis=1)
    return (1 + amount * (0.6 * fine + 1.5 * smooth_noise(rng, cells=14)[..., 0])).astype(np.float32)


def colour(
    rng: np.random.Generator, choices: Sequence[tuple[float, float, float]], spread: float = 0.05
) -> NDArray[np.float32]:
    """One of `choices`, slightly varied, (3,) in 0.02..1."""
    base = np.asarray(choices[int(rng.integers(len(choices)))], dtype=np.float32)
    return (base + rng.normal(0, spread, 3).astype(np.float32)).clip(0.02, 1.0)


def pick(rng: np.random.Generator, names: Sequence[str], given: str | None, weights: Sequence[float] | None = None) -> str:
    """`given`, or a random one of `names`.

    Raises:
        ValueError: `given` is not in `names`.
    """
    if given is None:
        share = None if weights is None else np.asarray(weights) / sum(weights)
        return names[int(rng.choice(len(names), p=share))]
    if given not in names:
        raise ValueError(f"unknown variant {given!r} — expected one of {', '.join(names)}")
    return given


def chance(rng: np.random.Generator, share: float) -> bool:
    """True with probability `share`; always consumes one draw."""
    return bool(rng.random() < share)


def unique(cues: Iterable[str]) -> tuple[str, ...]:
    """Cues in order, each once, at most 8."""
    return tuple(dict.fromkeys(cues))[:8]
