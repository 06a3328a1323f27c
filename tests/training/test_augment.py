"""Flips and shifts carry boxes along; tokens know how much of them is attack."""

from __future__ import annotations

import numpy as np
import torch

from faceshield.training.augment import colour_jitter, flip_and_shift, largest_box, to_float, token_coverage


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
