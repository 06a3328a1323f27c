"""A predictor of the real classes at toy size with random weights, and the one real face we may show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from faceshield.model import CheckpointInfo, build_tiny, save, train_tokenizer
from faceshield.predictor import FaceShieldPredictor
from faceshield.tasks import TASKS


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, toy_sizes: dict[str, dict[str, Any]]) -> Path:
    """A saved toy checkpoint with a threshold."""
    texts = [text for task in TASKS.values() for text in (*task.questions, *task.templates.values())]
    tokenizer = train_tokenizer([*texts, "The attack is at [12, 34, 567, 890]."], vocab_size=400)
    model, processor = build_tiny(tokenizer, seed=1, **toy_sizes)
    info = CheckpointInfo(
        threshold=0.5,
        threshold_source={"dataset": "drawn", "n": 24, "criterion": "min-HTER"},
        questions={name: task.question for name, task in TASKS.items()},
        extra={"crop_side": 80},
    )
    return save(model, processor, tmp_path_factory.mktemp("checkpoint") / "toy", info)


@pytest.fixture(scope="session")
def make_shield(checkpoint: Path) -> Callable[..., FaceShieldPredictor]:
    """Loads the toy predictor; keyword arguments are `from_pretrained`'s."""

    def make(**options: object) -> FaceShieldPredictor:
        return FaceShieldPredictor.from_pretrained(checkpoint, device="cpu", **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def shield(make_shield: Callable[..., FaceShieldPredictor]) -> FaceShieldPredictor:
    return make_shield()


@pytest.fixture(scope="session")
def face_photo() -> NDArray[np.uint8]:
    """The astronaut, (512, 512, 3) uint8 RGB; her face is about (175, 70) to (270, 165)."""
    photo: NDArray[np.uint8] = astronaut()
    photo.setflags(write=False)
    return photo


@pytest.fixture
def blank() -> NDArray[np.uint8]:
    """A grey wall, (120, 160, 3)."""
    return np.full((120, 160, 3), 128, np.uint8)
