"""A toy checkpoint of the real classes (64 px, 2 x 16 tokens) and dialogues about the shared pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faceshield.data_engine import TASK_NAMES, generate_dialogues
from faceshield.model import build_tiny, save, train_tokenizer
from faceshield.records import Dialogue, Sample, read_jsonl, write_jsonl

TOY: dict[str, Any] = {
    "vision_config": {
        "image_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
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


@pytest.fixture
def splits_jsonl(samples: list[Sample], samples_jsonl: Path) -> Path:
    """The shared samples, every third of split dev, the others of split train."""
    rows = [row.model_copy(update={"split": "train" if i % 3 else "dev"}) for i, row in enumerate(samples)]
    write_jsonl(samples_jsonl, rows)
    return samples_jsonl


@pytest.fixture
def dialogues_jsonl(splits_jsonl: Path) -> Path:
    """One dialogue of every task and a caption a sample, beside the samples."""
    path = splits_jsonl.with_name("dialogues.jsonl")
    write_jsonl(path, generate_dialogues(read_jsonl(splits_jsonl, Sample), tasks=TASK_NAMES, seed=0))
    return path


@pytest.fixture
def toy_folder(tmp_path: Path, dialogues_jsonl: Path) -> Path:
    """A checkpoint folder with random weights."""
    texts = [turn.value for row in read_jsonl(dialogues_jsonl, Dialogue) for turn in row.conversations]
    model, processor = build_tiny(train_tokenizer(texts, vocab_size=320), seed=0, **TOY)
    return save(model.eval(), processor, tmp_path / "toy")
