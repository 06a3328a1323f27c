"""Spoof-aware vision perception (paper §4.1, Eq. 3-5): a picture's local descriptors as a second picture.

`savp(rgb)` stacks [LBP, Gray, HOG picture] in a few milliseconds at 384x384. The descriptors are identical to
scikit-image's `local_binary_pattern` and `hog(visualize=True)` (tests/model/test_savp.py).
Use: `second_stream = savp(np.asarray(image.convert("RGB")))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

LbpMethod = Literal["default", "uniform", "nri_uniform", "ror"]
Channel = Literal["lbp", "gray", "hog", "plgf", "red", "green", "blue"]
Picture = NDArray[np.uint8]

NO_ENERGY = 1e-5  # as in scikit-image
# Neighbours counter-clockwise from the right-hand one, as (down, right): those on the axes, and the corner after each.
AXES = ((0, 1), (-1, 0), (0, -1), (1, 0))
CORNERS = ((-1, 1), (-1, -1), (1, -1), (1, 1))
# A diagonal neighbour at radius 1 lies off the grid, at 0.70711 pixels (five decimals, as scikit-image rounds);
# bilinear interpolation between the centre c, its neighbours h and v on the axes and the corner d is >= c exactly if
# 29289 * (h + v - 2c) + 70711 * (d - c) >= 0. These are the smallest integers whose ratio decides all differences of 8-bit
# levels as that one does (no fraction with a denominator up to 2 * 255 lies between the two ratios).
AXIS_WEIGHT, DIAGONAL_WEIGHT = 239, 577


def gray(rgb: Picture) -> Picture:
    """(H, W, 3) uint8 RGB -> (H, W) uint8, Eq. 4 (.299 R + .587 G + .114 B), rounded to the nearest level.

    Pillow's "L" computes exactly this with 16 fractional bits.
    """
    return np.asarray(Image.fromarray(rgb).convert("L"))


def lbp(gray: Picture, method: LbpMethod = "default") -> Picture:
    """Local binary pattern of the 8 neighbours at radius 1 (Eq. 3), (H, W) uint8 -> (H, W) uint8.

    Bit i is 1 where neighbour i is at least the centre; neighbours run counter-clockwise from the right-hand one, and pixels
    beyond the border are 0, both as in scikit-image.

    Args:
        gray: (H, W) uint8.
        method: `default` = the code of Eq. 3, 0-255; `uniform` = the number of ones if the ring changes at most twice, else 9,
            stretched to 0-255; `nri_uniform` = the same with rotations distinguished, 59 codes, stretched; `ror` = the smallest
            of the code's rotations.

    Raises:
        ValueError: Unknown `method`.
    """
    table = code_table(method)
    height, width = gray.shape
    # Flattened with a border of zeros, a neighbour is a shift, so every step runs over contiguous memory.
    row, count = width + 2, height * (width + 2)
    line = np.zeros(count + 2 * row + 2, np.uint8)
    line[1 + row : 1 + row + count].reshape(height, row)[:, :width] = gray
    axis, diagonal = (np.multiply(line, weight, dtype=np.int32) for weight in (AXIS_WEIGHT, DIAGONAL_WEIGHT))

    def at(values: NDArray[Any], down: int, right: int) -> NDArray[Any]:
        start = (1 + down) * row + 1 + right
        return values[start : start + count]

    limit = np.multiply(at(line, 0, 0), 2 * AXIS_WEIGHT + DIAGONAL_WEIGHT, dtype=np.int32)
    code, sums = np.zeros(count, np.uint8), np.empty(count, np.int32)
    truth = np.empty(count, np.bool_)
    bit = truth.view(np.uint8)
    for index in range(4):
        step, following, corner = AXES[index], AXES[(index + 1) % 4], CORNERS[index]
        np.greater_equal(at(line, *step), at(line, 0, 0), out=truth)
        bit <<= np.uint8(2 * index)
        code |= bit
        np.add(at(axis, *step), at(axis, *following), out=sums)
        sums += at(diagonal, *corner)
        np.greater_equal(sums, limit, out=truth)
        bit <<= np.uint8(2 * index + 1)
        code |= bit
    inside = code.reshape(height, row)[:, :width]
    return np.ascontiguousarray(inside) if method == "default" else table[inside]


@lru_cache(maxsize=4)
def code_table(method: str) -> Picture:
    """256 entries: Eq. 3's code -> the displayed code of `method`."""
    if method not in get_args(LbpMethod):
        raise ValueError(f"LBP method {method!r} — expected one of {get_args(LbpMethod)} — choose one of them")
    codes = np.arange(256)
    if method == "default":
        return codes.astype(np.uint8)
    if method == "ror":
        return np.min([(codes >> s | codes << (8 - s)) & 255 for s in range(8)], axis=0).astype(np.uint8)
    bits = codes[:, None] >> np.arange(8) & 1
    changes, ones = (bits != np.roll(bits, 1, axis=1)).sum(1), bits.sum(1)
    if method == "uniform":
        return np.round(np.where(changes <= 2, ones, 9) * (255 / 9)).astype(np.uint8)
    # scikit-image's index of the rotation, from where the run of ones starts.
    start = np.where(bits[:, 0] == 1, ones - bits.argmin(1), 8 - bits.argmax(1))
    numbered = np.where(ones == 0, 0, np.where(ones == 8, 57, 1 + 8 * (ones - 1) + start))
    return np.round(np.where(changes <= 2, numbered, 58) * 255 / 58).astype(np.uint8)


def hog_picture(gray: Picture, orientations: int = 8, cell: int = 8, block: int | None = None) -> Picture:
    """Histogram of oriented gradients, drawn: in each cell one line per direction, as bright as its bin's value.

    Args:
        gray: (H, W) uint8.
        orientations: Number of directions in half a turn.
        cell: Side of a cell in pixels, at least 4; rows and columns beyond the last full cell stay 0.
        block: Side in cells of the blocks whose gradient energy normalises a cell, see `block_factors`; None = not normalised.

    Returns:
        (H, W) uint8, stretched so that the brightest pixel is 255; all 0 if there is no gradient.
    """
    check_hog(orientations, cell, block)
    picture = np.zeros(gray.shape, np.uint8)
    histograms = hog_histograms(gray, orientations, cell)
    rows, columns = histograms.shape[:2]
    if block is not None:
        histograms = histograms * block_factors(histograms / cell**2, block)[..., None]
    glyphs = histograms.astype(np.float32) @ line_glyphs(orientations, cell)
    # Paper is silent: how HOG becomes a channel; we draw and stretch it, as in the authors' figure. The text mentions blocks
    # (§4.1), the figure shows none.
    brightest = float(glyphs.max(initial=0.0))
    if brightest > 0:
        glyphs *= 255.0 / brightest
        glyphs += 0.5
        drawn = glyphs.astype(np.uint8).reshape(rows, columns, cell, cell).transpose(0, 2, 1, 3)
        picture[: rows * cell, : columns * cell] = drawn.reshape(rows * cell, columns * cell)
    return picture


def hog_histograms(gray: Picture, orientations: int = 8, cell: int = 8) -> NDArray[np.float64]:
    """Sum of gradient magnitudes by direction in each cell, (H // cell, W // cell, orientations), not normalised."""
    check_hog(orientations, cell)
    rows, columns = gray.shape[0] // cell, gray.shape[1] // cell
    index = _gradient_index(gray)[: rows * cell, : columns * cell].astype(np.intp)
    bins, magnitudes = gradient_tables(orientations)
    slots = bins.take(index)
    slots += cell_index(rows, columns, orientations, cell)
    weights = magnitudes.take(index)
    sums: NDArray[Any] = np.bincount(slots.ravel(), weights=weights.ravel(), minlength=rows * columns * orientations)
    return sums.reshape(rows, columns, orientations)


def block_factors(histograms: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """(rows, columns): for each cell, the mean of 1 / gradient energy (L2) over the overlapping blocks that contain it.

    Args:
        histograms: (rows, columns, orientations) of mean magnitudes.
        block: Side of a block in cells, limited to the picture's.
    """
    rows, columns = histograms.shape[:2]
    if min(rows, columns) == 0:
        return np.ones((rows, columns))
    high, wide = min(block, rows), min(block, columns)
    energy = sliding_window_view((histograms**2).sum(-1), (high, wide)).sum((-1, -2))
    around = ((high - 1,) * 2, (wide - 1,) * 2)
    total, count = (
        sliding_window_view(np.pad(of_block, around), (high, wide)).sum((-1, -2))
        for of_block in (1 / np.sqrt(energy + NO_ENERGY**2), np.ones_like(energy))
    )
    return np.asarray(total / count)


def _gradient_index(gray: Picture) -> NDArray[np.int32]:
    """(H, W) index into `gradient_tables` of each pixel's (vertical, horizontal) central difference, which is 0 at borders."""
    levels = gray.astype(np.int16)
    index = np.full(gray.shape, 255 * 511 + 255, np.int32)
    if gray.shape[0] > 2:
        index[1:-1] += np.multiply(levels[2:] - levels[:-2], 511, dtype=np.int32)
    if gray.shape[1] > 2:
        index[:, 1:-1] += levels[:, 2:] - levels[:, :-2]
    return index


@lru_cache(maxsize=4)
def gradient_tables(orientations: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Direction bin and magnitude of every possible gradient, so that no arctangent is computed per pixel."""
    vertical, horizontal = np.mgrid[-255:256, -255:256].astype(np.float64)
    degrees = np.rad2deg(np.arctan2(vertical, horizontal)) % 180
    bins = np.minimum(degrees // (180.0 / orientations), orientations - 1).astype(np.intp)
    return bins.ravel(), np.hypot(vertical, horizontal).ravel()


@lru_cache(maxsize=16)
def cell_index(rows: int, columns: int, orientations: int, cell: int) -> NDArray[np.intp]:
    """(rows*cell, columns*cell): the first histogram slot of each pixel's cell."""
    first = np.arange(rows * columns, dtype=np.intp).reshape(rows, columns) * orientations
    return first.repeat(cell, 0).repeat(cell, 1)


@lru_cache(maxsize=4)
def line_glyphs(orientations: int, cell: int) -> NDArray[np.float32]:
    """(orientations, cell*cell): for each direction, the pixels of a line through the centre, along the edge."""
    glyphs = np.zeros((orientations, cell, cell), np.float32)
    centre, radius = cell // 2, cell // 2 - 1
    for direction in range(orientations):
        angle = np.pi * (direction + 0.5) / orientations
        down, right = radius * np.cos(angle), radius * np.sin(angle)
        start = int(centre - down), int(centre + right)
        end = int(centre + down), int(centre - right)
        for row, column in _line(*start, *end):
            glyphs[direction, row, column] = 1.0
    return glyphs.reshape(orientations, -1)


def _line(row: int, column: int, last_row: int, last_column: int) -> list[tuple[int, int]]:
    """Bresenham's line, both ends included."""
    rows, columns = abs(last_row - row), abs(last_column - column)
    steep = rows > columns
    long, short = (rows, columns) if steep else (columns, rows)
    row_step, column_step = (1 if last_row > row else -1), (1 if last_column > column else -1)
    error = 2 * short - long
    points = []
    for _ in range(long):
        points.append((row, column))
        while error >= 0:
            row, column = (row, column + column_step) if steep else (row + row_step, column)
            error -= 2 * long
        row, column = (row + row_step, column) if steep else (row, column + column_step)
        error += 2 * short
    points.append((last_row, last_column))
    return points


def plgf(gray: Picture) -> Picture:
    """Pattern of local gravitational force over the 8 neighbours, (H, W) uint8 -> (H, W) uint8, 0..pi/2 as 0-255.

    The arctangent of the magnitude of the neighbours' pull, each weighted by 1 / squared distance and relative to the centre's
    level; levels count from 1. From M2A2E (Yu et al., 2024), the paper's source of its descriptors.
    """
    level = np.pad(gray.astype(np.float32) + 1, 1, mode="edge")
    height, width = gray.shape

    def at(row: int, column: int) -> NDArray[np.float32]:
        return level[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    slanted = np.float32(0.5**1.5)  # cos 45 degrees over a squared distance of 2
    right = at(0, 1) - at(0, -1) + slanted * (at(-1, 1) + at(1, 1) - at(-1, -1) - at(1, -1))
    down = at(1, 0) - at(-1, 0) + slanted * (at(1, -1) + at(1, 1) - at(-1, -1) - at(-1, 1))
    angle = np.arctan(np.hypot(right, down) / at(0, 0))
    return np.round(angle * (255 / (np.pi / 2))).astype(np.uint8)


def check_hog(orientations: int, cell: int, block: int | None = None) -> None:
    if block is not None and block < 1:
        raise ValueError(f"HOG block {block} — expected at least one cell, or none — use 2")
    if orientations < 1 or cell < 4:
        raise ValueError(f"HOG orientations {orientations}, cell {cell} — expected at least 1 and 4 — use larger numbers")


def check_channels(channels: Sequence[str]) -> None:
    unknown = [name for name in channels if name not in get_args(Channel)]
    if unknown or len(channels) != 3:
        raise ValueError(f"SAVP channels {tuple(channels)} — expected three of {get_args(Channel)} — correct the names")


def savp(
    rgb: Picture,
    *,
    channels: Sequence[Channel] = ("lbp", "gray", "hog"),
    lbp_method: LbpMethod = "default",
    hog_orientations: int = 8,
    hog_cell: int = 8,
    hog_block: int | None = None,
) -> Picture:
    """The second stream's picture, Concat[LBP, Gray, HOG] of Eq. 5.

    Args:
        rgb: (H, W, 3) uint8 RGB, the face crop before padding and resizing.
        channels: Three names in order. Ablations: `("gray",) * 3`, `("red", "green", "blue")` for RGB twice,
            `("gray", "hog", "plgf")`, M2A2E's best.
        lbp_method: See `lbp`.
        hog_orientations: See `hog_picture`.
        hog_cell: See `hog_picture`.
        hog_block: See `hog_picture`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: Not an (H, W, 3) uint8 array, an unknown channel or LBP method, or an invalid HOG option.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"picture {rgb.dtype} {rgb.shape} — expected uint8 (H, W, 3) RGB — use .convert('RGB')")
    check_channels(channels)
    # Paper is silent: which picture the descriptors are computed on; here the crop itself, before resampling.
    level = gray(rgb)
    made: dict[str, Picture] = {"gray": level}
    result = np.empty(rgb.shape, np.uint8)
    for place, name in enumerate(channels):
        if name not in made:
            if name == "lbp":
                made[name] = lbp(level, lbp_method)
            elif name == "hog":
                made[name] = hog_picture(level, hog_orientations, hog_cell, hog_block)
            elif name == "plgf":
                made[name] = plgf(level)
            else:
                made[name] = rgb[..., ("red", "green", "blue").index(name)]
        result[..., place] = made[name]
    return result
