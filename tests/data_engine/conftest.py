"""Dialogues of the toy samples, written by the grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceshield.data_engine.generate import GenerateConfig, generate


@pytest.fixture
def dialogues_jsonl(samples_jsonl: Path) -> Path:
    """Two dialogues of every task about two samples of every type, in rich words, beside the samples."""
    out = samples_jsonl.parent / "dialogues.jsonl"
    generate(samples_jsonl, out, GenerateConfig(per_task=2), seed=0)
    return out
