"""Flips and shifts carry boxes along; tokens know how much of them is attack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage.data import astronaut

from faceshield.model import load
from faceshield.training.augment import colour_jitter, flip_and_shift, largest_box, to_float, token_coverage
from faceshield.training.pictures import cached_pixels

BOXES = np.zeros((0, 4), np.float32)


def marked(side: int, box: tuple[int, int, int, int]) -> np.ndarray:
    picture = np.zeros((1, 2, side, side, 3), np.uint8)
    x0, y0, x1, y1 = box
    picture[:, :, y0:y1, x0:x1] = 255
    return picture


def test_boxes_follow_the_pixels() -> None:
    side, box = 32, (8, 10, 20, 16)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        boxes = [np.array([box], np.float32) / side]
        pixels, moved = flip_and_shift(marked(side, box), boxes, 4, rng)
        rows, columns = np.nonzero(pixels[0, 0, :, :, 0])
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / side
        np.testing.assert_allclose(moved[0][0], found, atol=1e-6)
        assert (pixels[0, 0] == pixels[0, 1]).all()


def test_a_box_that_leaves_the_square_is_dropped() -> None:
    boxes = [np.array([[0.0, 0.0, 0.02, 0.02]], np.float32)]
    counts = set()
    for seed in range(20):
        _, moved = flip_and_shift(marked(64, (0, 0, 1, 1)), boxes, 8, np.random.default_rng(seed))
        assert all((picture >= 0).all() and (picture <= 1).all() for picture in moved)
        counts.add(len(moved[0]))
    assert counts == {0, 1}


def test_coverage_is_the_share_of_each_cell() -> None:
    coverage = token_coverage([np.array([[0.0, 0.0, 0.5, 0.25]], np.float32), np.zeros((0, 4), np.float32)], 2)
    np.testing.assert_allclose(coverage, [[0.5, 0, 0, 0], [0, 0, 0, 0]])
    two = np.array([[0, 0, 0.25, 0.5], [0, 0, 0.5, 0.5]], np.float32)
    np.testing.assert_allclose(token_coverage([two], 2), [[1, 0, 0, 0]])


def test_largest_box() -> None:
    pair = np.array([[0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1]], np.float32)
    box, there = largest_box([pair, np.zeros((0, 4), np.float32)])
    np.testing.assert_allclose(box, [[0.5, 0.5, 1, 1], [0, 0, 0, 0]])
    assert there.tolist() == [True, False]


def test_bytes_become_the_processors_floats_and_jitter_stays_in_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    values = to_float(pixels)
    expected = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(values, expected)
    jittered = colour_jitter(values, 0.3, np.random.default_rng(1))
    assert jittered.min() >= -1 and jittered.max() <= 1 and not torch.equal(jittered, values)
    assert colour_jitter(values, 0.0, np.random.default_rng(1)) is values


@pytest.mark.parametrize("size_wh", [(80, 80), (60, 80)])
def test_a_mirrored_picture_has_the_descriptors_of_its_mirror_image(
    toy_folder: Path, tmp_path: Path, size_wh: tuple[int, int]
) -> None:
    """Not the mirror image of its descriptors, which inference never sees: patterns number a pixel's neighbours."""
    processor, path = load(toy_folder).processor, tmp_path / "face.png"
    assert processor.image_size == 64, "the picture is resized, as the shipped model's are"
    Image.fromarray(astronaut()).resize(size_wh).save(path)
    pixels, mirrored = (cached_pixels([path], processor, tmp_path, mirrored=told) for told in (False, True))
    assert mirrored.shape == (1, 1, 64, 64, 3)
    wanted = np.stack(processor.square_pixels(ImageOps.mirror(Image.open(path))))
    found = set()
    for seed in range(8):
        seen, _ = flip_and_shift(pixels, [BOXES], 0, np.random.default_rng(seed), mirrored[:, 0])
        found.add(seen.tobytes())
    assert found == {pixels.tobytes(), wanted.tobytes()}
    lbp, gray, _ = np.moveaxis(pixels[0, 1, :, ::-1].astype(int) - wanted[1], -1, 0)
    assert (lbp != 0).mean() > 0.5 and not gray.any()


def test_a_box_at_the_border_stays_there_where_the_border_is_repeated() -> None:
    side = 32
    for box in ((0, 0, 12, 9), (20, 23, 32, 32), (0, 5, 32, 20), (0, 0, 32, 32)):
        for seed in range(12):
            boxes = [np.array([box], np.float32) / side]
            pixels, moved = flip_and_shift(marked(side, box), boxes, 4, np.random.default_rng(seed))
            rows, columns = np.nonzero(pixels[0, 0, :, :, 0])
            found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / side
            np.testing.assert_allclose(moved[0][0], found, atol=1e-6)


class Drawn:
    """In the place of a random generator: what it draws for one value a picture, and for one a channel."""

    def __init__(self, one: float, channels: tuple[float, float, float]) -> None:
        self.values = {1: np.full((1, 1, 1, 1), one), 3: np.reshape(channels, (1, 3, 1, 1))}

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
        return np.clip(self.values[size[1]], low, high)


def test_white_balance_is_a_gain_from_black() -> None:
    """As light of another colour is: it leaves black as it is, and moves mid-grey."""
    levels = torch.linspace(-1, 1, 5).expand(1, 3, 1, 5)
    balanced: Any = Drawn(0.0, (0.1, 0.0, -0.1))
    light = (colour_jitter(levels, 0.3, balanced) + 1) / 2
    wanted = torch.tensor([1.1, 1.0, 0.9])[:, None] * torch.tensor([0, 0.25, 0.5, 0.75, 1.0])
    torch.testing.assert_close(light[0, :, 0], wanted.clamp(max=1))
    brighter: Any = Drawn(0.2, (0.0, 0.0, 0.0))
    torch.testing.assert_close(colour_jitter(levels, 0.3, brighter), (1.2 * levels + 0.2).clamp(-1, 1))
