"""Light augmentation of processed squares: flips and shifts by indexing, colour by arithmetic; boxes follow.

The simulator already randomises the effects of a camera; here only the framing and the colours vary.
B = batch, K = streams, S = side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def flip_and_shift(
    pixels: NDArray[np.uint8],
    boxes: Sequence[NDArray[np.float32]],
    max_shift: int,
    rng: np.random.Generator,
    mirrored: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
    """Mirrors each picture with probability 1/2 and shifts it by up to `max_shift` pixels, repeating the edge.

    Args:
        pixels: (B, K, S, S, 3) bytes.
        boxes: per picture (k, 4) xyxy in 0..1 of the square; a side at its border stays there where the border is repeated.
        max_shift: largest shift along each axis, in pixels.
        rng: source of the randomness.
        mirrored: (B, S, S, 3) bytes: the second streams of the pictures' mirror images, mirrored back, see
            `pictures.cached_pixels`; pictures that are mirrored get these. None = there is no second stream.

    Returns:
        New pixels, and the boxes clipped to the square; a box that left the square is dropped.
    """
    side = pixels.shape[2]
    out = np.empty_like(pixels)
    moved = []
    line = np.arange(side)
    for index in range(len(pixels)):
        shift_x, shift_y = rng.integers(-max_shift, max_shift + 1, size=2)
        rows = np.clip(line + shift_y, 0, side - 1)
        columns = np.clip(line + shift_x, 0, side - 1)
        streams, box = pixels[index], boxes[index]
        shifted = box - np.array([shift_x, shift_y] * 2, dtype=np.float32) / side
        box = np.where((box <= 0) | (box >= 1), box, shifted)  # where the border moves inwards, it is repeated
        if rng.random() < 0.5:
            columns = columns[::-1]
            if mirrored is not None:
                streams = np.stack([streams[0], mirrored[index]])
            box = np.stack([1 - box[:, 2], box[:, 1], 1 - box[:, 0], box[:, 3]], axis=1)
        out[index] = streams[:, rows[:, None], columns[None, :]]
        box = np.clip(box, 0, 1).astype(np.float32)
        moved.append(box[(box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])])
    return out, moved


def to_float(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(N, S, S, 3) bytes -> (N, 3, S, S) float32 in -1..1 on `device`, channels last in memory."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def colour_jitter(pictures: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Changes contrast, brightness and white balance, independently for each picture.

    Args:
        pictures: (N, 3, S, S) in -1..1.
        strength: 0..1, the largest change of contrast, about mid-grey, and of brightness; a third of it for the white balance,
            a gain of each channel from black; 0 = no change.
        rng: source of the randomness.
    """
    if strength <= 0:
        return pictures
    count = len(pictures)

    def draw(channels: int, scale: float) -> Tensor:
        drawn = torch.from_numpy(rng.uniform(-scale, scale, (count, channels, 1, 1)).astype(np.float32))
        return drawn.to(pictures.device)

    contrast, balance, brightness = draw(1, strength), draw(3, strength / 3), draw(1, strength)
    balanced = (pictures + 1) * (1 + balance) - 1
    return balanced.mul_(1 + contrast).add_(brightness).clamp_(-1, 1)


def token_coverage(boxes: Sequence[NDArray[np.float32]], grid: int) -> NDArray[np.float32]:
    """(B, grid * grid) share 0..1 of each token's cell that lies inside an attack box, in row-major order.

    Where several boxes overlap a cell, the largest share counts.
    """
    edges = np.arange(grid, dtype=np.float32) / grid
    out = np.zeros((len(boxes), grid, grid), dtype=np.float32)
    for index, picture in enumerate(boxes):
        for x0, y0, x1, y1 in picture:
            across = np.clip(np.minimum(edges + 1 / grid, x1) - np.maximum(edges, x0), 0, None) * grid
            down = np.clip(np.minimum(edges + 1 / grid, y1) - np.maximum(edges, y0), 0, None) * grid
            out[index] = np.maximum(out[index], down[:, None] * across[None, :])
    return out.reshape(len(boxes), grid * grid)


def largest_box(boxes: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(B, 4) the largest box of each picture, zeros where there is none, and (B,) whether there is one."""
    out = np.zeros((len(boxes), 4), dtype=np.float32)
    for index, picture in enumerate(boxes):
        if len(picture):
            area = (picture[:, 2] - picture[:, 0]) * (picture[:, 3] - picture[:, 1])
            out[index] = picture[int(area.argmax())]
    return out, np.array([len(picture) > 0 for picture in boxes], dtype=bool)
