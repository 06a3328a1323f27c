"""Light augmentation of training pictures: mirrored, shifted, in other colours; boxes follow.

It changes the picture itself, before descriptors, padding and resizing, so that a network is shown in training what it would be
shown of such a picture in use: the patterns of a mirror image are not mirrored patterns, and the cells of gradients stay where
they are when a face moves. The simulator already randomises the effects of a camera.
B = batch, S = side of the processed square.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VERSION = 2
"""Of how pictures are changed; a run begun with another is not continued. 1: squares and descriptors were changed."""
_AT_BORDER = 0.75  # pixels


def augmented(
    picture: NDArray[np.uint8], boxes: NDArray[np.float32], shift: float, jitter: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mirrors a picture with probability 1/2, shifts it, repeating the edge, and changes its colours.

    Args:
        picture: (H, W, 3) uint8 RGB.
        boxes: (k, 4) xyxy in 0..1 of the square to which the picture is padded, centred; a side at the picture's border stays
            there where the border is repeated.
        shift: largest shift along each axis, in pixels of the picture.
        jitter: see `colour_levels`.
        rng: source of the randomness.

    Returns:
        A new picture, and the boxes clipped to it; a box that left it is dropped.
    """
    height, width = picture.shape[:2]
    side = max(height, width)
    offset = np.array([(side - width) // 2, (side - height) // 2] * 2, dtype=np.float32)
    limits = np.array([width, height] * 2, dtype=np.float32)
    shift_x, shift_y = np.round(rng.uniform(-shift, shift, size=2)).astype(int)
    rows = np.clip(np.arange(height) + shift_y, 0, height - 1)
    columns = np.clip(np.arange(width) + shift_x, 0, width - 1)
    box = boxes * side - offset
    # Boxes are of the picture before it was resized to whole pixels: at the border is what is nearly there.
    box = np.where(box < _AT_BORDER, 0, np.where(box > limits - _AT_BORDER, limits, box))
    at_border = (box == 0) | (box == limits)
    box = np.where(at_border, box, box - np.array([shift_x, shift_y] * 2, dtype=np.float32))
    if rng.random() < 0.5:
        columns = columns[::-1]
        box = np.stack([width - box[:, 2], box[:, 1], width - box[:, 0], box[:, 3]], axis=1)
    box = np.clip(box, 0, limits)
    box = box[(box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])]
    out = picture.take(rows, axis=0).take(columns, axis=1)
    if jitter > 0:
        levels = colour_levels(jitter, rng)
        out = np.stack([levels[channel].take(out[..., channel]) for channel in range(3)], axis=-1)
    return out, ((box + offset) / side).astype(np.float32)


def colour_levels(strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(3, 256) what each level of each channel becomes under another contrast, brightness and white balance.

    Args:
        strength: 0..1, the largest change of contrast, about mid-grey, and of brightness, as shares of half the range; a third
            of it for the white balance, a gain of each channel from black.
        rng: source of the randomness.
    """
    contrast, brightness = rng.uniform(-strength, strength, 2)
    balance = rng.uniform(-strength / 3, strength / 3, (3, 1))
    balanced = np.arange(256) * (1 + balance) / 127.5 - 1
    changed = balanced * (1 + contrast) + brightness
    return np.round((changed.clip(-1, 1) + 1) * 127.5).astype(np.uint8)  # type: ignore[no-any-return]


def to_float(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """(N, S, S, 3) bytes -> (N, 3, S, S) float32 in -1..1 on `device`, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


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
