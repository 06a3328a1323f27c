"""Samples of two domains at toy size, and a stage's settings that fit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceshield.baselines.stage import BaselineConfig
from faceshield.records import Sample, write_jsonl

TINY_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "layer_type": "basic"}
MODELS: dict[str, dict[str, Any]] = {
    "resnet": {"backbone": TINY_RESNET},
    "patchnet": {"backbone": TINY_RESNET, "patch_size": 32},
    "iadg": {"backbone": TINY_RESNET, "width": 8, "memory": 8, "base_styles": 2},
    "cdcn": {"width": 4},
}
"""The methods that start from nothing, and their toy settings."""


@pytest.fixture
def domains_jsonl(samples: list[Sample], samples_jsonl: Path) -> Path:
    """The shared samples: every fifth of split dev, the others of split train; two data sets."""
    rows = []
    for index, row in enumerate(samples):
        split = "dev" if index % 5 == 0 and index else "train"
        rows.append(row.model_copy(update={"split": split, "dataset": f"domain-{index % 2}"}))
    write_jsonl(samples_jsonl, rows)
    return samples_jsonl


@pytest.fixture
def stage_config(domains_jsonl: Path, tmp_path: Path) -> Callable[..., BaselineConfig]:
    """Settings of a run of four steps of 8 pictures that saves after every step; keyword arguments replace values."""

    def make(baseline: str, out: str = "out", **changes: Any) -> BaselineConfig:
        values: dict[str, Any] = {
            "baseline": baseline, "data": domains_jsonl, "out": tmp_path / out, "cache": tmp_path / "cache", "image_size": 64,
            "model": MODELS.get(baseline, {}), "pictures": 32, "batch_size": 8, "max_shift": 2, "eval_every": 16,
            "save_minutes": 1e-6, "log_every": 1,
        }  # fmt: skip
        return BaselineConfig.of(**{**values, **changes})

    return make
