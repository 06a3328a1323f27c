"""Pictures are changed as a camera would change them, boxes follow, and networks are shown what inference would show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage.data import astronaut

from faceshield.images import to_side
from faceshield.model import load
from faceshield.training.augment import augmented, colour_levels, largest_box, to_float, token_coverage
from faceshield.training.pictures import square_boxes

NO_BOXES = np.zeros((0, 4), np.float32)


def marked(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A black picture with a white box, and the box in 0..1 of the padded square."""
    width, height = size_wh
    picture = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = box
    picture[y0:y1, x0:x1] = 255
    return picture, in_square([box], size_wh)


def in_square(boxes: list[tuple[int, int, int, int]], size_wh: tuple[int, int]) -> np.ndarray:
    side = max(size_wh)
    return (np.array(boxes, np.float32) + [(side - size_wh[0]) // 2, (side - size_wh[1]) // 2] * 2) / side


def white(picture: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(picture[:, :, 0])
    height, width = picture.shape[:2]
    return in_square([(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)], (width, height))


@pytest.mark.parametrize("size_wh", [(32, 32), (32, 48), (50, 32)])
@pytest.mark.parametrize("box", [(8, 10, 20, 16), (0, 0, 12, 9), (20, 23, 32, 32), (0, 5, 32, 20), (0, 0, 32, 32)])
def test_boxes_follow_the_pixels(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    """Those at the picture's border stay there where the border is repeated, also if the square is padded beyond it."""
    seen = set()
    for seed in range(12):
        picture, boxes = marked(size_wh, box)
        out, moved = augmented(picture, boxes, 4.4, 0.0, np.random.default_rng(seed))
        np.testing.assert_allclose(moved, white(out), atol=1e-6)
        assert out.shape == picture.shape
        seen.add(moved.tobytes())
    assert len(seen) > 1 or box == (0, 0, *size_wh)


@pytest.mark.parametrize("size_wh", [(333, 500), (500, 333), (201, 300), (437, 612)])
def test_what_fills_a_picture_fills_it_once_it_was_resized_and_moved(size_wh: tuple[int, int]) -> None:
    picture = to_side(np.full((*size_wh[::-1], 3), 255, np.uint8), 224)
    boxes = square_boxes([(0, 0, *size_wh)], size_wh)
    for seed in range(8):
        out, moved = augmented(picture, boxes, 6, 0.0, np.random.default_rng(seed))
        np.testing.assert_allclose(moved, white(out), atol=1e-6)


def test_a_box_that_leaves_the_picture_is_dropped() -> None:
    counts = set()
    for seed in range(20):
        picture, boxes = marked((64, 64), (1, 1, 3, 3))
        _, moved = augmented(picture, boxes, 8, 0.0, np.random.default_rng(seed))
        assert (moved >= 0).all() and (moved <= 1).all() and moved.shape[1] == 4
        counts.add(len(moved))
    assert counts == {0, 1}


def test_shifts_reach_as_far_as_told_and_no_further() -> None:
    found = set()
    for seed in range(300):
        picture, boxes = marked((32, 32), (15, 15, 16, 16))
        out, _ = augmented(picture, boxes, 2, 0.0, np.random.default_rng(seed))
        found |= {(int(x), int(y)) for y, x in np.argwhere(out[:, :, 0])}
    assert {y for _, y in found} == set(range(13, 18)) and {x for x, _ in found} == set(range(13, 19))


@pytest.mark.parametrize("size_wh", [(80, 80), (60, 80)])
def test_a_mirrored_picture_is_mirrored_before_it_is_described(toy_folder: Path, size_wh: tuple[int, int]) -> None:
    """Its descriptors are not the mirror image of the picture's, for patterns number a pixel's neighbours."""
    processor = load(toy_folder).processor
    assert processor.image_size == 64, "the picture is resized, as the shipped model's are"
    picture = np.asarray(Image.fromarray(astronaut()).resize(size_wh))
    mirror = np.asarray(ImageOps.mirror(Image.fromarray(picture)))
    found = {augmented(picture, NO_BOXES, 0, 0.0, np.random.default_rng(seed))[0].tobytes() for seed in range(8)}
    assert found == {picture.tobytes(), mirror.tobytes()}
    of_mirror, mirrored = processor.square_pixels(mirror)[1], processor.square_pixels(picture)[1][:, ::-1]
    lbp, gray, _ = np.moveaxis(of_mirror.astype(int) - mirrored, -1, 0)
    assert (lbp != 0).mean() > 0.5 and not gray.any()


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


def test_bytes_become_the_processors_floats() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    expected = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(to_float(pixels), expected)


def test_colours_change_as_told() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    same, _ = augmented(picture, NO_BOXES, 0, 0.0, np.random.default_rng(3))
    other, _ = augmented(picture, NO_BOXES, 0, 0.3, np.random.default_rng(3))
    levels = colour_levels(0.3, after(np.random.default_rng(3)))
    assert levels.shape == (3, 256) and (np.diff(levels.astype(int), axis=1) >= 0).all()
    assert all((other[..., channel] == levels[channel][same[..., channel]]).all() for channel in range(3))


def after(rng: np.random.Generator) -> np.random.Generator:
    """The generator as it is once a picture was shifted and mirrored."""
    rng.uniform(-1, 1, size=2)
    rng.random()
    return rng


class Drawn:
    """In the place of a random generator: what it draws for the whole picture, and for its channels."""

    def __init__(self, contrast: float, brightness: float, balance: tuple[float, float, float]) -> None:
        self.values = [np.array([contrast, brightness]), np.reshape(balance, (3, 1))]

    def uniform(self, low: float, high: float, size: Any) -> np.ndarray:
        return np.clip(self.values.pop(0), low, high)


def test_white_balance_is_a_gain_from_black() -> None:
    """As light of another colour is: it leaves black as it is, and moves mid-grey."""
    balanced: Any = Drawn(0, 0, (0.1, 0.0, -0.1))
    wanted = np.array([1.1, 1.0, 0.9])[:, None] * np.arange(256)
    np.testing.assert_allclose(colour_levels(0.3, balanced), wanted.clip(max=255), atol=0.51)
    brighter: Any = Drawn(0.2, 0.1, (0, 0, 0))
    levels = 1.2 * (np.arange(256) / 127.5 - 1) + 0.1
    np.testing.assert_allclose(colour_levels(0.3, brighter)[0], (levels.clip(-1, 1) + 1) * 127.5, atol=0.51)
