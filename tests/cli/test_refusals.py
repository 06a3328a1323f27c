"""What verbs refuse before they work: nothing to work on, and options that contradict."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.records import write_jsonl


@pytest.fixture
def dialogues(samples_jsonl: Path, tmp_path: Path) -> Path:
    return generate(samples_jsonl, tmp_path / "dialogues.jsonl", GenerateConfig(), seed=0).out


@pytest.mark.parametrize("verb", ["predict", "filter", "augment", "retake"])
def test_an_empty_input(verb: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "none.jsonl", [])
    result = CliRunner().invoke(app, [verb, str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out.jsonl")])
    assert isinstance(result.exception, ValueError) and "expected at least one" in str(result.exception)
    assert not (tmp_path / "out.jsonl").exists()


def test_a_threshold_of_a_similarity_that_nobody_measures(dialogues: Path, tmp_path: Path) -> None:
    given = ["filter", str(dialogues), "--out", str(tmp_path / "out.jsonl"), "--similarity-threshold", "0.3"]
    assert "expected --similarity-model too" in str(CliRunner().invoke(app, given).exception)


def test_an_endpoint_that_is_no_address(samples_jsonl: Path, tmp_path: Path) -> None:
    given = ["predict", str(samples_jsonl), "--out", str(tmp_path / "p.jsonl"), "--endpoint", "notaurl", "--model", "m"]
    assert "expected http://" in str(CliRunner().invoke(app, given).exception)


@pytest.mark.parametrize("name", ["f.rejects.jsonl", "f.jsonl"])
def test_reviewing_into_what_is_reviewed(name: str, dialogues: Path, tmp_path: Path) -> None:
    source = tmp_path / name
    source.write_bytes(dialogues.read_bytes())
    result = CliRunner().invoke(app, ["review", str(source), "--out", str(tmp_path / "f.jsonl"), "--no-page"])
    assert "read too and would be overwritten" in str(result.exception) and source.read_bytes() == dialogues.read_bytes()


def test_an_archive_that_has_changed_goes_on_with_renew(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    lines = samples_jsonl.read_text().splitlines(keepends=True)
    out = tmp_path / "p.jsonl"
    given = ["predict", str(samples_jsonl), "--out", str(out), "--model", str(checkpoint), "--tasks", "coarse"]
    assert CliRunner().invoke(app, given).exit_code == 0
    samples_jsonl.write_text("".join(lines[1:]))
    assert "renew them (--renew)" in str(CliRunner().invoke(app, given).exception)
    result = CliRunner().invoke(app, [*given, "--renew"])
    assert result.exit_code == 0 and len(out.read_text().splitlines()) == len(lines) - 1, result.output
