"""The threshold chosen on development predictions goes into the checkpoint with its origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceshield.evaluation.threshold import choose_threshold
from faceshield.model import read_info
from faceshield.records import Prediction, write_jsonl
from faceshield.training.threshold import ThresholdConfig, store_threshold


def prediction(index: int, score: float, is_attack: bool, task: str = "coarse") -> Prediction:
    return Prediction(
        id=f"{index}:{task}", sample_id=str(index), image="a.png", task=task, question="?", status="parsed",
        bonafide_score=score, truth={"is_attack": is_attack},
    )  # fmt: skip


def test_it_is_stored_with_its_origin(tmp_path: Path) -> None:
    rows = [prediction(i, 0.8 + i / 100, False) for i in range(10)]
    rows += [prediction(20 + i, 0.1 + i / 100, True) for i in range(10)]
    rows += [prediction(50, 0.0, False, task="fine")]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    (tmp_path / "model").mkdir()
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "model", dataset="toy dev")
    value = store_threshold(config, choose_threshold)
    assert 0.19 < value < 0.8
    info = read_info(tmp_path / "model")
    assert info.threshold == value
    assert info.threshold_source["dataset"] == "toy dev" and info.threshold_source["n"] == 20


def test_a_misspelt_checkpoint_is_told_and_no_folder_is_made(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.9, False), prediction(1, 0.1, True)])
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "modle")
    with pytest.raises(FileNotFoundError, match="modle: no such folder"):
        store_threshold(config, choose_threshold)
    assert not (tmp_path / "modle").exists()


def test_nothing_to_choose_on(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.5, True, task="fine")])
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path)
    with pytest.raises(ValueError, match="no coarse row"):
        store_threshold(config, choose_threshold)


def test_a_criterion_that_only_refusing_everything_meets_is_an_error(tmp_path: Path) -> None:
    """Stored as 1.0, the threshold would let the attacks that score 1.0 in, against its own evidence."""
    rows = [prediction(i, 1.0, is_attack=i < 5) for i in range(10)]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    (tmp_path / "model").mkdir()
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "model", criterion="apcer1")
    with pytest.raises(ValueError, match="only by refusing every picture"):
        store_threshold(config, choose_threshold)
    assert read_info(tmp_path / "model").threshold is None
