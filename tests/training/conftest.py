"""A toy checkpoint of the real classes (64 px, 2 x 16 tokens) and dialogues about the shared pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from faceshield.data_engine import TASK_NAMES, generate_dialogues
from faceshield.model import build_tiny, save, train_tokenizer
from faceshield.records import Dialogue, Sample, write_jsonl

TOY: dict[str, Any] = {
    "vision_config": {
        "image_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "stem": "residual",
        "stem_channels": [8, 8, 16, 32],
        "stem_blocks": [0, 0, 1, 1],
    },
    "prompt_config": {
        "hidden_size": 32,
        "projection_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "text_config": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    },
}


@pytest.fixture(scope="session")
def split_samples(drawn: list[tuple[Sample, bytes]]) -> list[Sample]:
    """The shared samples, every third of split dev, the others of split train."""
    return [row.model_copy(update={"split": "train" if i % 3 else "dev"}) for i, (row, _) in enumerate(drawn)]


@pytest.fixture(scope="session")
def dialogue_rows(split_samples: list[Sample]) -> list[Dialogue]:
    """One dialogue of every task and a caption a sample."""
    return list(generate_dialogues(split_samples, tasks=TASK_NAMES, seed=0))


@pytest.fixture(scope="session")
def made_toy(dialogue_rows: list[Dialogue], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder with random weights, made once; nobody may write into it."""
    texts = [turn.value for row in dialogue_rows for turn in row.conversations]
    model, processor = build_tiny(train_tokenizer(texts, vocab_size=320), seed=0, **TOY)
    return save(model.eval(), processor, tmp_path_factory.mktemp("checkpoint") / "toy")


@pytest.fixture
def splits_jsonl(samples_jsonl: Path, split_samples: list[Sample]) -> Path:
    """The shared samples in their splits, beside their pictures."""
    write_jsonl(samples_jsonl, split_samples)
    return samples_jsonl


@pytest.fixture
def dialogues_jsonl(splits_jsonl: Path, dialogue_rows: list[Dialogue]) -> Path:
    """`dialogue_rows`, beside the samples."""
    path = splits_jsonl.with_name("dialogues.jsonl")
    write_jsonl(path, dialogue_rows)
    return path


@pytest.fixture
def toy_folder(tmp_path: Path, made_toy: Path) -> Path:
    """A checkpoint folder of a test's own with random weights."""
    return Path(shutil.copytree(made_toy, tmp_path / "toy"))
