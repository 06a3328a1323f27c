"""Dialogues of the toy samples, written by the grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.records import Sample, write_jsonl


@pytest.fixture(scope="session")
def written(drawn: list[tuple[Sample, bytes]], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `generate` writes for the shared samples; it does not read the pictures themselves."""
    folder = tmp_path_factory.mktemp("dialogues")
    write_jsonl(folder / "samples.jsonl", [row for row, _ in drawn])
    generate(folder / "samples.jsonl", folder / "dialogues.jsonl", GenerateConfig(per_task=2), seed=0)
    return (folder / "dialogues.jsonl").read_bytes()


@pytest.fixture
def dialogues_jsonl(samples_jsonl: Path, written: bytes) -> Path:
    """Two dialogues per task for each sample (two samples per type), in the rich grammar, next to the samples."""
    path = samples_jsonl.with_name("dialogues.jsonl")
    path.write_bytes(written)
    return path
