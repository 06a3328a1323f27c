"""`faceshield train` finds its stage in the config or by name and says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.recipes.train import tower_texts
from faceshield.tasks import TASKS
from faceshield.taxonomy import PRESENTATION_TYPES


def test_an_unknown_stage_names_the_near_one(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("stage: pretrian\n")
    result = CliRunner().invoke(app, ["train", str(path)])
    assert isinstance(result.exception, ValueError) and "did you mean 'pretrain'?" in str(result.exception)


def test_an_unknown_key_names_the_near_one(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("stage: sft\ninit: tiny\ndialogues: [a.jsonl]\nout: b\nlora_rr: 4\n")
    result = CliRunner().invoke(app, ["train", str(path)])
    assert "did you mean 'lora_r'?" in str(result.exception)


def test_a_stage_by_name(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "lm"
    given = [f"init={toy_folder}", f"dialogues=[{dialogues_jsonl}]", f"out={out}", "steps=2", "batch_size=2"]
    result = CliRunner().invoke(app, ["train", "foundation-lm", *given, "block=16", "held_out=0.1", "threads=1"])
    assert result.exception is None, result.exception
    assert result.output.strip().endswith(f"checkpoint: {out}")


def test_the_towers_texts_cover_types_verdicts_and_questions() -> None:
    texts = tower_texts()
    assert texts.types == PRESENTATION_TYPES
    assert texts.questions == tuple(task.question for task in TASKS.values())
    assert any(len(types) == 11 for _, types in texts.captions)


@pytest.mark.parametrize("missing", ["nowhere.yaml"])
def test_a_missing_config(missing: str) -> None:
    result = CliRunner().invoke(app, ["train", missing])
    assert isinstance(result.exception, FileNotFoundError)
