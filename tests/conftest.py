"""Fixtures that every part shares: a small data set of drawn pictures, at least one of each type; a toy predictor."""

from __future__ import annotations

import os

# One thread: two torch threads beside any other process are slower than one. Before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from faceshield.records import Sample, write_jsonl
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES

if TYPE_CHECKING:
    from faceshield.predictor import FaceShieldPredictor

SampleFactory = Callable[..., Sample]


@pytest.fixture(scope="session")
def toy_sizes() -> dict[str, dict[str, Any]]:
    """The real classes at toy size: 64-pixel pictures, 16 tokens a stream, 48 wide."""
    return {
        "vision_config": {
            "image_size": 64,
            "hidden_size": 48,
            "intermediate_size": 64,
            "stem": "residual",
            "stem_channels": [8, 16, 24, 48],
            "stem_blocks": [0, 1, 1, 1],
            "num_hidden_layers": 3,
        },
        "prompt_config": {
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_attention_heads": 3,
            "num_hidden_layers": 1,
        },
        "text_config": {
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_attention_heads": 3,
            "num_hidden_layers": 2,
        },
    }


def draw_face(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """A head, two eyes and a mouth on noise; (H, W, 3) uint8 RGB."""
    width, height = size_wh
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = (x - width / 2) / (width / 2), (y - height / 2) / (height / 2)
    picture = rng.uniform(40, 200, 3) + rng.normal(0, 12, (height, width, 3))
    picture[(x / 0.55) ** 2 + (y / 0.8) ** 2 < 1] = rng.uniform(90, 230, 3)
    for eye in (-0.22, 0.22):
        picture[((x - eye) / 0.1) ** 2 + ((y + 0.15) / 0.06) ** 2 < 1] = 30
    picture[(x / 0.22) ** 2 + ((y - 0.4) / 0.07) ** 2 < 1] = (150, 60, 60)
    return picture.clip(0, 255).astype(np.uint8)


def _sample(kind: str = BONAFIDE, /, **changes: Any) -> Sample:
    is_attack = kind != BONAFIDE
    values: dict[str, Any] = {
        "id": f"s-{kind.lower().replace(' ', '-')}",
        "image": "images/face.png",
        "dataset": "drawn",
        "is_attack": is_attack,
        "presentation_type": kind,
        "original_label": kind,
        "subject": "somebody",
        "split": "test",
        "size_wh": (64, 80),
        "boxes": [(8.0, 10.0, 40.0, 60.0)] if is_attack else [],
        "meta": {
            "cues": ["a paper edge"] if is_attack else [],
            "scene": ["a face before a grey wall", "a beard"],
        },
    }
    return Sample(**{**values, **changes})


@pytest.fixture
def make_sample() -> SampleFactory:
    """Builds a valid `Sample` of a type; keyword arguments replace fields. No picture is written."""
    return _sample


@pytest.fixture(scope="session")
def drawn() -> list[tuple[Sample, bytes]]:
    """Two samples of every type and their 64x80 pictures as PNG files; drawn once, laid where a test wants them."""
    rng = np.random.default_rng(0)
    rows = []
    for index, name in enumerate(PRESENTATION_TYPES * 2):
        picture = draw_face(rng, (64, 80))
        if name != BONAFIDE:
            picture[10:60, 8:40] //= 2
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        row = _sample(name, id=f"s{index:03d}", image=f"images/{index:03d}.png", subject=f"p{index % 5}")
        rows.append((row, file.getvalue()))
    return rows


@pytest.fixture
def samples(tmp_path: Path, drawn: list[tuple[Sample, bytes]]) -> list[Sample]:
    """Two samples of every type, 64x80 pictures lying under `tmp_path / "data" / "images"`."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    for row, file in drawn:
        (tmp_path / "data" / row.image).write_bytes(file)
    return [row.model_copy(deep=True) for row, _ in drawn]


@pytest.fixture
def samples_jsonl(tmp_path: Path, samples: list[Sample]) -> Path:
    """`samples` as a file beside its pictures."""
    path = tmp_path / "data" / "samples.jsonl"
    write_jsonl(path, samples)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, toy_sizes: dict[str, dict[str, Any]]) -> Path:
    """A saved toy checkpoint with a threshold, random weights."""
    import torch

    from faceshield.model import CheckpointInfo, build_tiny, save, train_tokenizer
    from faceshield.tasks import QUESTIONS, TASKS

    texts = [text for task in TASKS.values() for text in (*task.questions, *task.templates.values())]
    tokenizer = train_tokenizer([*texts, "The attack is at [12, 34, 567, 890]."], vocab_size=400)
    model, processor = build_tiny(tokenizer, seed=1, **toy_sizes)
    with torch.no_grad():  # random weights would talk until they are stopped; so each answer ends, after a length of its own
        model.lm_head.weight[processor.tokenizer.eos_token_id] *= 2
    info = CheckpointInfo(
        threshold=0.5,
        threshold_source={"dataset": "drawn", "n": 24, "criterion": "min-HTER"},
        questions=QUESTIONS,
        extra={"crop_side": 80},
    )
    return save(model, processor, tmp_path_factory.mktemp("checkpoint") / "toy", info)


class OnceEach:
    """The built-in detector, which searches each picture once: the search is most of what a look at the toy model costs."""

    def __init__(self) -> None:
        from faceshield.face import BuiltInDetector

        self.detector = BuiltInDetector()
        self.found: dict[object, list[Any]] = {}

    def detect(self, rgb: np.ndarray) -> list[Any]:
        key = rgb.shape, hashlib.sha256(rgb.tobytes()).digest()
        if key not in self.found:
            self.found[key] = self.detector.detect(rgb)
        return list(self.found[key])


@pytest.fixture(scope="session")
def make_shield(checkpoint: Path) -> Callable[..., FaceShieldPredictor]:
    """Loads the toy predictor; keyword arguments are `from_pretrained`'s."""
    detector = OnceEach()

    def make(**options: object) -> FaceShieldPredictor:
        from faceshield.predictor import FaceShieldPredictor

        return FaceShieldPredictor.from_pretrained(checkpoint, device="cpu", **{"detector": detector, **options})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def shield(make_shield: Callable[..., FaceShieldPredictor]) -> FaceShieldPredictor:
    return make_shield()


@pytest.fixture(scope="session")
def face_photo() -> np.ndarray:
    """The astronaut, (512, 512, 3) uint8 RGB; her face is about (175, 70) to (270, 165)."""
    from skimage.data import astronaut

    photo: np.ndarray = astronaut()
    photo.setflags(write=False)
    return photo


@pytest.fixture(scope="session")
def blank() -> np.ndarray:
    """A grey wall, (120, 160, 3)."""
    wall = np.full((120, 160, 3), 128, np.uint8)
    wall.setflags(write=False)
    return wall
