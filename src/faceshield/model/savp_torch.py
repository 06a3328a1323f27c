"""SAVP of a batch (paper §4.1) on the pictures' device: the same descriptors as `savp`, in torch.

On a GPU every step runs there. On a CPU the pictures go through the numpy code in parallel, one per thread: measured faster
than torch's own operations (benchmarks/savp.py), and bit-identical by construction.
Use: `second = savp_batch(torch.from_numpy(pictures).cuda())`.
B = pictures, H, W = their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .savp import (
    AXES,
    AXIS_WEIGHT,
    CORNERS,
    DIAGONAL_WEIGHT,
    NO_ENERGY,
    Channel,
    LbpMethod,
    cell_index,
    check_channels,
    check_hog,
    code_table,
    gradient_tables,
    line_glyphs,
    savp,
)


def savp_batch(
    rgb: Tensor,
    *,
    channels: Sequence[Channel] = ("lbp", "gray", "hog"),
    lbp_method: LbpMethod = "default",
    hog_orientations: int = 8,
    hog_cell: int = 8,
    hog_block: int | None = None,
) -> Tensor:
    """The second stream's pictures, see `savp.savp` for the options.

    Args:
        rgb: (B, H, W, 3) uint8 RGB, all of one size.

    Returns:
        (B, H, W, 3) uint8 on the same device. LBP and gray equal `savp`'s exactly; on a GPU, single pixels of the HOG and PLGF
        pictures may differ by one level, because sums are computed in another order.

    Raises:
        ValueError: not (B, H, W, 3) uint8, or an unknown channel or method.
    """
    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != torch.uint8:
        raise ValueError(f"pictures {rgb.dtype} {tuple(rgb.shape)} — expected uint8 (B, H, W, 3) RGB — stack them")
    hog: dict[str, Any] = {"hog_orientations": hog_orientations, "hog_cell": hog_cell, "hog_block": hog_block}
    if rgb.device.type == "cpu":
        one = partial(savp, channels=channels, lbp_method=lbp_method, **hog)
        with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
            made = list(pool.map(one, rgb.numpy()))
        return torch.from_numpy(np.stack(made)) if made else torch.empty_like(rgb)
    return savp_tensor(rgb, channels, lbp_method, **hog)


def savp_tensor(
    rgb: Tensor,
    channels: Sequence[Channel],
    lbp_method: LbpMethod,
    hog_orientations: int,
    hog_cell: int,
    hog_block: int | None = None,
) -> Tensor:
    """`savp_batch` with torch operations only, on any device."""
    check_channels(channels)
    weighted = (rgb.to(torch.int32) * torch.tensor([19595, 38470, 7471], device=rgb.device, dtype=torch.int32)).sum(-1)
    level = (weighted + 32768 >> 16).to(torch.uint8)
    made: dict[str, Tensor] = {"gray": level}
    for place, name in enumerate(("red", "green", "blue")):
        made[name] = rgb[..., place]
    if "lbp" in channels:
        made["lbp"] = _lbp(level, lbp_method)
    if "hog" in channels:
        made["hog"] = _hog_picture(level, hog_orientations, hog_cell, hog_block)
    if "plgf" in channels:
        made["plgf"] = _plgf(level)
    return torch.stack([made[name] for name in channels], dim=-1)


def _around(padded: Tensor, row: int, column: int) -> Tensor:
    """(B, H + 2, W + 2) -> the neighbour at (row, column) of every pixel, (B, H, W)."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]


def _lbp(level: Tensor, method: LbpMethod) -> Tensor:
    padded = functional.pad(level, (1, 1, 1, 1)).float()  # the sums below are exact in float32
    axes, corners = ([_around(padded, *step) for step in steps] for steps in (AXES, CORNERS))
    centre, code = padded[:, 1:-1, 1:-1], torch.zeros_like(level)
    limit = (2 * AXIS_WEIGHT + DIAGONAL_WEIGHT) * centre
    for index, corner in enumerate(corners):
        diagonal = AXIS_WEIGHT * (axes[index] + axes[(index + 1) % 4]) + DIAGONAL_WEIGHT * corner
        code += (axes[index] >= centre).to(torch.uint8) << 2 * index
        code += (diagonal >= limit).to(torch.uint8) << 2 * index + 1
    return code if method == "default" else torch.from_numpy(code_table(method)).to(code.device)[code.long()]


def _hog_picture(level: Tensor, orientations: int, cell: int, block: int | None) -> Tensor:
    check_hog(orientations, cell, block)
    batch, height, width = level.shape
    rows, columns = height // cell, width // cell
    picture = torch.zeros(level.shape, device=level.device)
    if rows and columns:
        signed = level.to(torch.int32)
        down, right = torch.zeros_like(signed), torch.zeros_like(signed)
        if height > 2:
            down[:, 1:-1] = signed[:, 2:] - signed[:, :-2]
        if width > 2:
            right[:, :, 1:-1] = signed[:, :, 2:] - signed[:, :, :-2]
        index = ((down + 255) * 511 + right + 255)[:, : rows * cell, : columns * cell].long()
        bins, magnitudes = (torch.from_numpy(table).to(level.device) for table in gradient_tables(orientations))
        first = torch.from_numpy(cell_index(rows, columns, orientations, cell)).to(level.device)
        count = rows * columns * orientations
        slots = bins[index] + first + torch.arange(batch, device=level.device).view(-1, 1, 1) * count
        # Integers, so that the order in which a GPU adds them does not matter.
        sums = torch.zeros(batch * count, dtype=torch.long, device=level.device)
        sums.scatter_add_(0, slots.flatten(), (magnitudes * 2**20).round().long()[index].flatten())
        histograms = (sums.double() * 2**-20).view(batch, rows, columns, orientations)
        if block is not None:
            histograms = histograms * _block_factors(histograms / cell**2, block).unsqueeze(-1)
        glyphs = histograms.float() @ torch.from_numpy(line_glyphs(orientations, cell)).to(level.device)
        drawn = glyphs.view(batch, rows, columns, cell, cell).transpose(2, 3)
        picture[:, : rows * cell, : columns * cell] = drawn.reshape(batch, rows * cell, columns * cell)
    brightest = picture.amax((1, 2), keepdim=True)
    return torch.where(brightest > 0, picture * (255.0 / brightest) + 0.5, 0.0).to(torch.uint8)


def _block_factors(histograms: Tensor, block: int) -> Tensor:
    """(B, rows, columns, orientations) -> (B, rows, columns), see `savp.block_factors`."""
    window = histograms.new_ones(1, 1, *(min(block, side) for side in histograms.shape[1:3]))
    energy = functional.conv2d((histograms**2).sum(-1).unsqueeze(1), window)
    total, count = (
        functional.conv_transpose2d(of_block, window)  # for each cell, the sum over the blocks that contain it
        for of_block in ((energy + NO_ENERGY**2).rsqrt(), torch.ones_like(energy))
    )
    return (total / count).squeeze(1)


def _plgf(level: Tensor) -> Tensor:
    padded = functional.pad((level.float() + 1).unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)

    def pull(step: tuple[int, int], slanted: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
        far = sum(_around(padded, *to) - _around(padded, -to[0], -to[1]) for to in slanted)
        return _around(padded, *step) - _around(padded, -step[0], -step[1]) + 0.5**1.5 * far

    length = torch.hypot(pull((0, 1), ((-1, 1), (1, 1))), pull((1, 0), ((1, -1), (1, 1))))
    return (torch.atan(length / padded[:, 1:-1, 1:-1]) * (255 / (torch.pi / 2))).round().to(torch.uint8)
