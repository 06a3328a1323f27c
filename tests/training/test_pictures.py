"""Pictures are decoded once, with the processor's own bytes, and faults are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceshield.datasets.media import open_upright
from faceshield.images import open_picture
from faceshield.predictor import FaceShieldPredictor
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.pictures import (
    PictureError,
    cached_pictures,
    load_pictures,
    open_rgb,
    square_boxes,
)
from faceshield.training.vision_cache import LivePictures


def test_boxes_of_a_tall_picture_move_to_the_square() -> None:
    np.testing.assert_allclose(square_boxes([(0, 0, 50, 100)], (50, 100)), [[0.25, 0, 0.75, 1]])
    assert square_boxes([], (50, 100)).shape == (0, 4)


def test_load_pictures(splits_jsonl: Path) -> None:
    pictures = load_pictures([splits_jsonl], PRESENTATION_TYPES)
    assert len(pictures) == 24
    assert sorted([*pictures.of_split("train"), *pictures.of_split("dev")]) == list(range(24))
    assert (pictures.types == np.array([*range(12), *range(12)])).all()
    assert [len(boxes) for boxes in pictures.boxes][:2] == [0, 1]
    with pytest.raises(ValueError, match="no picture of split 'test', only of dev, train"):
        pictures.of_split("test")


def test_the_cache_holds_pictures_of_every_size_and_is_found_again(splits_jsonl: Path, tmp_path: Path) -> None:
    paths = load_pictures([splits_jsonl], PRESENTATION_TYPES).paths
    sizes = [(40, 90), (90, 40), (33, 33)]
    for path, size_wh in zip(paths, sizes, strict=False):
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size_wh[::-1], 3), dtype=np.uint8)).save(path)
    calls: list[tuple[int, int]] = []
    for _ in range(2):
        crops = cached_pictures(paths, tmp_path / "cache", threads=2, progress=lambda *done: calls.append(done))
        assert len(crops) == 24 and calls == [(24, 24)]
        assert all(np.array_equal(crops[row], open_rgb(path)) for row, path in enumerate(paths))
    with pytest.raises(ValueError, match="read-only"):
        crops[0][:] = 0
    # Larger ones are reduced, others stay as they are; a side that is told is for all.
    assert [cached_pictures(paths, tmp_path, largest=60)[row].shape[:2] for row in range(3)] == [(60, 27), (27, 60), (33, 33)]
    assert [max(cached_pictures(paths, tmp_path, side=50, largest=40)[row].shape) for row in range(3)] == [50] * 3


def test_two_runs_may_build_one_cache_at_a_time(splits_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = load_pictures([splits_jsonl], PRESENTATION_TYPES).paths

    def another(*_: int) -> None:
        monkeypatch.setattr(os, "getpid", lambda: 1)
        cached_pictures(paths, tmp_path / "cache")

    assert len(cached_pictures(paths, tmp_path / "cache", progress=another)) == 24
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".npy", ".rgb"]


@pytest.mark.parametrize("kind", ["16-bit", "transparent"])
def test_a_model_learns_on_the_pixels_that_it_is_shown_in_use(kind: str, tmp_path: Path) -> None:
    path, levels = tmp_path / "picture.png", np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    if kind == "16-bit":
        Image.fromarray(levels * 16).save(path)
    else:
        Image.fromarray(np.dstack([levels.astype(np.uint8)] * 4)).save(path)
    seen = open_picture(path).rgb
    assert np.array_equal(np.asarray(open_rgb(path)), seen)
    assert np.array_equal(open_upright(path), seen)


def test_of_a_large_picture_too(toy_folder: Path, tmp_path: Path) -> None:
    """Patterns are of single pixels: made of a picture at another scale in training, they are others."""
    rng, path = np.random.default_rng(0), tmp_path / "large.png"
    Image.fromarray(rng.integers(0, 256, (500, 400, 3), dtype=np.uint8)).save(path)
    shield = FaceShieldPredictor.from_pretrained(toy_folder, threshold=0.5)
    crop_side = shield.crop_side
    for side in (None, crop_side, 300):
        learnt = LivePictures([path], shield.processor, side).squares(0)
        shield.crop_side = side
        seen = shield.processor.square_pixels(shield._resized(open_picture(path).rgb))
        assert all(np.array_equal(*pair) for pair in zip(learnt, seen, strict=True))
    size = shield.processor.image_size
    small = open_rgb(path).resize((round(400 * 2 * size / 500), 2 * size), Image.Resampling.BICUBIC)
    shield.processor.use_savp = True
    assert np.array_equal(shield.processor.square_pixels(small)[1], shield.processor.square_pixels(open_rgb(path))[1])


def test_unreadable_pictures_are_all_named(splits_jsonl: Path, tmp_path: Path) -> None:
    paths = load_pictures([splits_jsonl], PRESENTATION_TYPES).paths
    for path in paths[3:5]:
        path.write_bytes(b"no picture")
    with pytest.raises(PictureError) as caught:
        cached_pictures(paths, tmp_path / "cache")
    assert all(str(path) in str(caught.value) for path in paths[3:5])
    assert list((tmp_path / "cache").iterdir()) == []
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match="expected a picture"):
        cached_pictures(paths, tmp_path / "cache")
