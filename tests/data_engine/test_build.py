"""The whole engine from one recipe: its dialogues, the wait for a review, the reuse of finished steps, and the card."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from PIL import Image
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.data_engine.build import BuildConfig, ReviewOutstanding, build
from faceshield.data_engine.report import ReportConfig, distinct, report
from faceshield.provenance import write_run
from faceshield.records import Dialogue, read_jsonl
from faceshield.tasks import TASKS

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "data"


def recipe(samples: Path, out: Path, name: str = "sft45k", *more: str) -> BuildConfig:
    return BuildConfig.load(CONFIGS / f"{name}.yaml", [f"samples={samples}", f"out={out}", *more])


@pytest.mark.parametrize(("name", "count"), [("sft45k", 90), ("pre10k", 30)])
def test_a_recipe_makes_its_count_without_any_network(name, count, samples_jsonl: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    built = build(recipe(samples_jsonl, tmp_path / "out", name, "generate.count=30"))
    assert abs(built.numbers["dialogues"] - count) <= 0.1 * count and built.numbers["contradicting"] == 0
    rows = read_jsonl(built.dialogues, Dialogue)
    assert len(rows) == built.numbers["dialogues"]
    tasks = {row.task for row in rows}
    assert tasks == (set(TASKS) if name == "sft45k" else {"caption"})
    card = DatasetCard.load(built.card)
    assert card.data.pretty_name.startswith("FaceShield-") and "distinct-4" in card.text
    assert not list((tmp_path / "out").glob("*.jpg")), "pictures only if asked"
    reused = build(recipe(samples_jsonl, tmp_path / "out", name, "generate.count=30"))
    assert all(result.reused for result in reused.steps.values())


def test_tiny_is_what_generate_writes(samples_jsonl: Path, tmp_path: Path) -> None:
    built = build(recipe(samples_jsonl, tmp_path / "out", "tiny"))
    rows = read_jsonl(built.dialogues, Dialogue)
    assert len(rows) == 5 * 24
    for row in rows:
        if row.task in TASKS:
            assert row.conversations[0].value.removeprefix("<image>\n") in TASKS[row.task].questions


def test_a_review_is_waited_for(samples_jsonl: Path, tmp_path: Path) -> None:
    config = recipe(samples_jsonl, tmp_path / "out", "sft45k", "generate.count=30", "review=true")
    with pytest.raises(ReviewOutstanding, match=r"faceshield review .*filtered.jsonl --out .*reviewed.jsonl"):
        build(config)
    kept = (tmp_path / "out" / "filtered.jsonl").read_text().splitlines(keepends=True)[:10]
    (tmp_path / "out" / "reviewed.jsonl").write_text("".join(kept))
    assert build(config).numbers["dialogues"] == 30


def test_a_review_of_other_dialogues_or_of_a_part_is_none(samples_jsonl: Path, tmp_path: Path) -> None:
    config = recipe(samples_jsonl, tmp_path / "out", "sft45k", "generate.count=30", "review=true")
    with pytest.raises(ReviewOutstanding, match="is not there"):
        build(config)
    filtered, reviewed = tmp_path / "out/filtered.jsonl", tmp_path / "out/reviewed.jsonl"
    reviewed.write_bytes(filtered.read_bytes())
    counts = reviewed.with_suffix(".review.json")
    write_run(reviewed, config={}, seed=0, inputs=[filtered])
    counts.write_text('{"open": 39}')
    with pytest.raises(ReviewOutstanding, match=r"39 dialogues are still to be decided .* faceshield review"):
        build(config)
    counts.write_text('{"open": 0}')
    write_run(reviewed, config={}, seed=0, inputs=[samples_jsonl])
    with pytest.raises(ReviewOutstanding, match="reviews other dialogues than"):
        build(config)
    write_run(reviewed, config={}, seed=0, inputs=[filtered])
    assert build(config).steps


def test_the_verbs_one_after_the_other_make_the_same_file(samples_jsonl: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    chosen = (f"samples={samples_jsonl}", f"out={tmp_path / 'a'}", "generate.count=30")
    text = run("build-dataset", CONFIGS / "sft45k.yaml", *chosen)
    assert "contradict their label or box: 0" in text and "question wordings" in text
    b = tmp_path / "b"
    run("generate", samples_jsonl, "--out", b / "g.jsonl", "--count", 30, "--wording", "rich")
    run("filter", b / "g.jsonl", "--out", b / "f.jsonl")
    run("augment", b / "f.jsonl", "--out", b / "d.jsonl")
    assert (b / "d.jsonl").read_bytes() == (tmp_path / "a" / "dialogues.jsonl").read_bytes()
    assert "card of" in run("report", b / "d.jsonl", "--pictures", 3)
    with Image.open(b / "README.sheet.jpg") as sheet:
        assert sheet.size == (3 * 224, 224)
    run_json = json.loads((b / "run.json").read_text())
    assert {"d.jsonl", "f.jsonl", "g.jsonl"} == {run_json["output"], *run_json["earlier"]}


def test_a_report_counts(dialogues_jsonl: Path) -> None:
    for taken in ("README.md", dialogues_jsonl.name):
        other = dialogues_jsonl.parent / taken
        if not other.exists():
            other.write_text("MY PROJECT")
        before = other.read_bytes()
        with pytest.raises(ValueError, match="not written by `faceshield report`|overwritten"):
            report(dialogues_jsonl, other)
        assert other.read_bytes() == before
    beside = dialogues_jsonl.parent
    (beside / "rejects.jsonl").write_text('{"path": "a.png", "reason": "no face"}\n' * 2)  # as `prepare` writes it
    (beside / "f.rejects.jsonl").write_text('{"id": "a", "filter": "judge", "reason": "no"}\n')
    for _ in range(2):  # our own card may be overwritten
        numbers = report(dialogues_jsonl, dialogues_jsonl.parent / "card.md", ReportConfig(examples=1))
    assert numbers["dialogues"] == 192 and numbers["pictures"] == 24
    assert numbers["rejects"] == {"f": {"judge": 1}, "prepare": {"no face": 2}}
    assert numbers["types by task"]["Print"] == dict.fromkeys(TASKS, 4)
    assert sum(numbers["words"]["reasoning"]["lengths"]) == 48
    assert json.loads((dialogues_jsonl.parent / "card.json").read_text())["counts"] == numbers["counts"]
    empty = dialogues_jsonl.parent / "empty.jsonl"
    empty.write_text("")
    with pytest.raises(ValueError, match="no dialogues"):
        report(empty, empty.with_suffix(".md"))


@pytest.mark.parametrize(
    ("texts", "size", "share"),
    [
        (["a b c d"], 4, 1.0),
        (["a b a b"], 2, 2 / 3),
        (["a b c", "a b c"], 1, 0.5),
        (["a"], 4, 0.0),
        ([], 4, 0.0),
    ],
)
def test_distinct(texts, size, share) -> None:
    assert distinct(texts, size) == pytest.approx(share)
