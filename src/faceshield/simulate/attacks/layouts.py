"""What surrounds the picture on a printed sheet: the text of a page, an identity card, the frame of instant film.

around = page(width, height, white, rng)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faceshield.simulate.paint import chance
from faceshield.simulate.portrait import FloatImage

Margins = tuple[int, int, int, int]


@dataclass(frozen=True)
class Around:
    """A whole sheet, with room for the picture.

    Attributes:
        margins: left, top, right and bottom margin around the picture, in sheet pixels.
        picture: (h, w, 3), the whole sheet; the part under the picture itself is not visible.
        bordered: whether the picture has a white frame.
    """

    margins: Margins
    picture: FloatImage
    bordered: bool = False


Layout = Callable[[int, int, FloatImage, np.random.Generator], Around]
"""Takes the picture's width and height on the sheet, the paper's white (3,), and the random generator."""


def _sheet(width: int, height: int, margins: Margins, tone: NDArray[np.floating]) -> FloatImage:
    left, top, right, bottom = margins
    return np.broadcast_to(tone, (top + height + bottom, left + width + right, 3)).astype(np.float32)


def _set_in_type(
    sheet: FloatImage, area: tuple[float, float, float, float], line: float, ink: NDArray[np.floating], rng: np.random.Generator
) -> FloatImage:
    """Lines of illegible text in an area x0, y0, x1, y1 of a sheet; `line` is the line spacing in pixels."""
    layer = Image.new("L", (sheet.shape[1], sheet.shape[0]), 0)
    pen = ImageDraw.Draw(layer)
    x0, y0, x1, y1 = area
    for y in np.arange(y0, y1 - line / 2, line):
        x, end = x0, x1 if chance(rng, 0.85) else x0 + (x1 - x0) * rng.uniform(0.3, 0.8)
        while x < end:
            letters = int(rng.integers(2, 10))
            for _ in range(letters):  # one stem per letter, with or without ascender and descender
                rise, fall = line * rng.choice([0.0, 0.0, 0.22]), line * rng.choice([0.0, 0.0, 0.0, 0.18])
                wide = 0.2 * line
                if x + wide < end:
                    pen.rectangle([x, y + 0.3 * line - rise, x + wide, y + 0.7 * line + fall], fill=int(rng.integers(120, 255)))
                x += 0.3 * line
            x += 0.3 * line
    mask = np.asarray(layer, np.float32)[..., None] / 255.0
    return (sheet + (np.asarray(ink, np.float32) - sheet) * mask).astype(np.float32)


def page(width: int, height: int, white: FloatImage, rng: np.random.Generator) -> Around:
    """A magazine page: text below the picture, often a column beside it, sometimes a headline or a tinted page."""
    beside = chance(rng, 0.6)
    gutter = max(2, round(0.05 * width))
    column = round(width * rng.uniform(0.4, 0.9)) if beside else 0
    foot = round(height * rng.uniform(0.2, 0.5))
    head = round(height * rng.uniform(0.1, 0.3)) if chance(rng, 0.5) else gutter
    on_left = chance(rng, 0.5)
    left, right = (gutter + column, gutter) if on_left else (gutter, gutter + column)
    margins = (left, head, right, foot)
    field = white * rng.uniform(0.6, 1.0, 3) if chance(rng, 0.3) else white
    sheet = _sheet(width, height, margins, field)
    line, ink = width * rng.uniform(0.035, 0.06), np.full(3, rng.uniform(0.05, 0.25))
    if head > gutter:
        tone = rng.uniform(0.0, 0.8, 3) if chance(rng, 0.5) else ink
        sheet = _set_in_type(sheet, (gutter, 0.1 * head, sheet.shape[1] - gutter, head), 0.8 * head, tone, rng)
    if column:
        x = gutter / 2 if on_left else left + width + gutter / 2
        sheet = _set_in_type(sheet, (x, head, x + column, sheet.shape[0] - gutter), line, ink, rng)
    sheet = _set_in_type(sheet, (left, head + height + gutter, left + width, sheet.shape[0] - gutter), line, ink, rng)
    return Around(margins, sheet)


def instant(width: int, height: int, white: FloatImage, rng: np.random.Generator) -> Around:
    """Instant film: a white frame, about three times as wide below, sometimes with handwriting there."""
    side = max(3, round(width * rng.uniform(0.06, 0.1)))
    margins = (side, side, side, round(side * rng.uniform(2.6, 4.0)))
    sheet = _sheet(width, height, margins, white)
    if chance(rng, 0.3):
        y = side + height + 0.3 * margins[3]
        pen = np.array([0.1, 0.12, 0.3]) * rng.uniform(0.3, 1.5)
        sheet = _set_in_type(
            sheet, (2 * side, y, side + width * rng.uniform(0.4, 0.9), y + 0.5 * margins[3]), 0.45 * margins[3], pen, rng
        )
    return Around(margins, sheet, bordered=True)


def card(width: int, height: int, white: FloatImage, rng: np.random.Generator) -> Around:
    """An identity card, a badge or a passport page: a tinted background of fine waves, a title band, lines of data."""
    margin = max(2, round(0.08 * width))
    upright = chance(rng, 0.35)
    band = round(height * rng.uniform(0.15, 0.35))
    data = round(width * rng.uniform(1.0, 1.6))
    if upright:
        margins = (round(0.35 * width), band + margin, round(0.35 * width), round(height * rng.uniform(0.4, 0.7)))
    else:
        margins = (margin, band + margin, data, round(height * rng.uniform(0.1, 0.3)))
    left, top, right, bottom = margins
    tint = white * (1 - rng.uniform(0.0, 0.25, 3))
    sheet = _sheet(width, height, margins, tint)
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32)
    period, sway = np.float32(width * rng.uniform(0.03, 0.08)), np.float32(width * rng.uniform(0.02, 0.15))
    wave = np.cos(2 * np.pi / period * (rows + sway * np.sin(columns / np.float32(width * rng.uniform(0.1, 0.4)))))
    sheet -= (0.06 * (wave > 0.6))[..., None] * rng.uniform(0.2, 1.0, 3).astype(np.float32)
    title = np.float32(rng.uniform(0.05, 0.9, 3))
    sheet[:band] = title
    contrast = np.full(3, 0.95 if title.mean() < 0.5 else 0.1)
    sheet = _set_in_type(sheet, (margin, 0.2 * band, 0.8 * sheet.shape[1], 0.8 * band), 0.6 * band, contrast, rng)
    ink, line = np.full(3, rng.uniform(0.05, 0.25)), height * rng.uniform(0.08, 0.14)
    if upright:
        area = (0.6 * left, top + height + margin, sheet.shape[1] - 0.6 * right, sheet.shape[0] - margin)
    else:
        area = (left + width + margin, top, sheet.shape[1] - margin, top + height)
    sheet = _set_in_type(sheet, area, line, ink, rng)
    return Around(margins, sheet.clip(0, 1))
