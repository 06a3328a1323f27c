"""`faceshield generate` end to end, and how the command line reports errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from faceshield.cli import VERBS, app, main
from faceshield.records import Dialogue, image_path, read_jsonl, write_jsonl


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["faceshield", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_dialogues_find_their_pictures_from_another_folder(samples_jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "dialogues.jsonl"
    result = run("generate", samples_jsonl, "--out", out, "--tasks", "coarse,fine", "--tasks", "caption", "--seed", 3)
    assert result.exit_code == 0, result.output
    rows = read_jsonl(out, Dialogue)
    assert len(rows) == 24 * 3 and {row.task for row in rows} == {"coarse", "fine", "caption"}
    assert all(image_path(row, out).is_file() for row in rows)
    assert result.stdout.splitlines()[-1] == f"72 dialogues of 24 samples: {out}"
    provenance = json.loads((out.parent / "run.json").read_text())
    assert provenance["seed"] == 3 and provenance["config"]["tasks"] == ["coarse", "fine", "caption"]


def test_the_same_seed_writes_the_same_bytes(samples_jsonl: Path, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        assert run("generate", samples_jsonl, "--out", tmp_path / f"{name}.jsonl", "--per-task", 2).exit_code == 0
        written.append((tmp_path / f"{name}.jsonl").read_bytes())
    assert written[0] == written[1]


def test_what_would_teach_one_answer_alone_is_written_where_it_is_asked_for(tmp_path: Path, make_sample) -> None:
    """Of a set without boxes every localization dialogue is of a bona fide picture: there is no attack region."""
    samples, out = tmp_path / "samples.jsonl", tmp_path / "dialogues.jsonl"
    write_jsonl(samples, [make_sample("Bonafide"), make_sample("Print", boxes=[]), make_sample("Replay", boxes=[])])
    result = run("generate", samples, "--out", out)
    assert result.exit_code == 0 and "not written: localization (most attacks have no boxes)" in result.stderr
    assert {row.task for row in read_jsonl(out, Dialogue)} == {"coarse", "fine", "reasoning"}
    assert run("generate", samples, "--out", out).exit_code == 0, "the same tasks, so that it goes on with what is there"
    asked = run("generate", samples, "--out", tmp_path / "asked.jsonl", "--tasks", "localization")
    assert asked.exit_code == 0 and "not written" not in asked.stderr
    assert [row.meta["sample_id"] for row in read_jsonl(tmp_path / "asked.jsonl", Dialogue)] == ["s-bonafide"]


def test_rejects_are_counted_and_written(tmp_path: Path, make_sample) -> None:
    samples = tmp_path / "samples.jsonl"
    out = tmp_path / "dialogues.jsonl"
    rejects = tmp_path / "dialogues.rejects.jsonl"
    write_jsonl(samples, [make_sample("Print", boxes=[])])
    result = run("generate", samples, "--out", out)
    assert result.exit_code == 0
    assert f"1 left out: {rejects}" in result.stderr
    assert json.loads(rejects.read_text())["id"] == "s-print:localization"
    write_jsonl(samples, [make_sample("Print")])
    assert run("generate", samples, "--out", out).exit_code == 0
    assert not rejects.exists()


def test_errors_are_one_clear_line(samples_jsonl: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    error = fails(monkeypatch, capsys, "generate", tmp_path / "none.jsonl")
    assert error.startswith(
        f"faceshield: {tmp_path / 'none.jsonl'}: No such file or directory — expected one that can be opened"
    )
    error = fails(monkeypatch, capsys, "generate", samples_jsonl, "--tasks", "coars")
    assert error.startswith("faceshield: unknown task 'coars'") and "did you mean 'coarse'" in error
    samples_jsonl.write_text("nothing\n")
    assert f"{samples_jsonl}:1: " in fails(monkeypatch, capsys, "generate", samples_jsonl)
    samples_jsonl.write_text("")
    assert "no samples" in fails(monkeypatch, capsys, "generate", samples_jsonl)
    assert "Traceback" not in error


def test_what_is_not_yaml_and_a_missing_extra_are_one_line_too(tmp_path: Path, monkeypatch, capsys) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("stage: [sft\n")
    assert f"faceshield: {config}:2: not YAML" in fails(monkeypatch, capsys, "train", config)
    for verb, first in (("finetune", tmp_path), ("train", "sft")):
        assert "override 'epochs=[' — its value is not YAML" in fails(monkeypatch, capsys, verb, first, "epochs=[")

    def export(**_: object) -> None:
        raise ModuleNotFoundError('onnx not installed — expected for ONNX — pip install "faceshield[onnx]"')

    monkeypatch.setattr("faceshield.cli.app", export)
    error = fails(monkeypatch, capsys, "export")
    assert error == 'faceshield: onnx not installed — expected for ONNX — pip install "faceshield[onnx]"\n'


def test_an_empty_or_broken_input_writes_nothing(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    samples.write_text("{}\n")
    assert run("generate", samples, "--out", tmp_path / "out.jsonl").exit_code != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.jsonl"]


def test_tracebacks_can_be_asked_for(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESHIELD_TRACEBACK", "1")
    monkeypatch.setattr(sys, "argv", ["faceshield", "generate", str(tmp_path / "none.jsonl")])
    with pytest.raises(FileNotFoundError):
        main()


def test_help_lists_every_verb_and_version_prints() -> None:
    text = run("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in text, verb
    assert run("--version").stdout.startswith("faceshield 0.")
