"""Frames of a recording become one row: what many tables of video sets report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.evaluation.development import check_made_alike
from faceshield.evaluation.recordings import per_recording
from faceshield.provenance import write_run
from faceshield.records import Prediction, Truth, write_jsonl

Frame = Callable[..., Prediction]


@pytest.fixture
def frame() -> Frame:
    def made(name: str, score: float | None, *, video: str | None = None, attack: bool = False, **changes: Any) -> Prediction:
        kind = "Print" if attack else "Bonafide"
        told = {"task": "coarse", "status": "parsed" if score is not None else "error", "answer": "words", "is_attack": attack}
        truth = Truth(is_attack=attack, presentation_type=kind, dataset="set", subject=video, video=video)
        values = {**told, "error": None if score is not None else "no face", **changes}
        return Prediction(
            id=f"{name}:{values['task']}", sample_id=name, image=f"{name}.png", question="?", bonafide_score=score, truth=truth,
            **values,
        )  # fmt: skip

    return made


def test_frames_are_averaged_and_pictures_stay(frame: Frame) -> None:
    rows = [
        frame("a", 0.9, video="v"), frame("b", 0.5, video="v"), frame("c", None, video="v"), frame("d", 0.2, attack=True),
        frame("e", 0.4, attack=True), frame("f", None, video="w"),
    ]  # fmt: skip
    found = per_recording(rows)
    assert [(row.sample_id, row.bonafide_score, row.status) for row in found] == [
        ("a", pytest.approx(0.7), "parsed"), ("d", 0.2, "parsed"), ("e", 0.4, "parsed"), ("f", None, "error"),
    ]  # fmt: skip
    assert all(row.answer is None and row.is_attack is None for row in found), "words are nobody's"
    assert found[3].error == "no face"


def test_the_type_is_the_likeliest_by_the_mean(frame: Frame) -> None:
    shares = [{"Print": 0.6, "Replay": 0.4}, {"Print": 0.1, "Replay": 0.9}]
    rows = [frame(str(n), 0.1, video="v", attack=True, task="fine", type_scores=one) for n, one in enumerate(shares)]
    (found,) = per_recording(rows)
    assert found.presentation_type == "Replay" and found.type_scores == {"Print": pytest.approx(0.35), "Replay": 0.65}


def test_types_in_words_have_no_mean(frame: Frame) -> None:
    rows = [frame(str(n), 0.1, video="v", attack=True, task=task) for n in range(2) for task in ("coarse", "fine")]
    assert [row.task for row in per_recording(rows)] == ["coarse"], "nothing to average is no error"


def test_the_order_of_frames_changes_nothing(frame: Frame) -> None:
    rows = [frame(str(n), 0.1 * n, video=f"v{n % 2}") for n in range(6)]
    assert per_recording(rows[::-1]) == per_recording(rows)


def test_frames_that_two_models_judged_have_no_mean(frame: Frame) -> None:
    kinds = ({"Print": 0.6, "Replay": 0.4}, {"Print": 0.6, "Tattoo": 0.4})
    rows = [frame(str(n), 0.1, video="v", attack=True, task="fine", type_scores=one) for n, one in enumerate(kinds)]
    with pytest.raises(ValueError, match="scores of different types"):
        per_recording(rows)


def test_a_recording_of_two_kinds_is_refused(frame: Frame) -> None:
    with pytest.raises(ValueError, match="recording 'v' of 'set' is Bonafide and Print"):
        per_recording([frame("a", 0.5, video="v"), frame("b", 0.5, video="v", attack=True)])


@pytest.mark.parametrize("faceless", [False, True], ids=["", "frames without a face"])
def test_the_verb(frame: Frame, tmp_path: Path, faceless: bool) -> None:
    """One wrong frame of three is an error of a picture and none of its recording; nor is one on which no face was found."""
    for name in ("dev", "test"):
        rows = []
        for number in range(6):
            attack = number % 2 == 0
            for place, score in enumerate((0.1, 0.2, 0.9) if attack else (0.9, 0.8, 0.15)):
                rows.append(frame(f"{name}{number}{place}", score, video=f"{name}-v{number}", attack=attack))
            if faceless:
                rows.append(frame(f"{name}{number}-none", None, video=f"{name}-v{number}", attack=attack))
        write_jsonl(tmp_path / f"{name}.jsonl", rows)

    def scored(*options: str) -> dict[str, Any]:
        out = tmp_path / "metrics.json"
        given = ["score", str(tmp_path / "test.jsonl"), "--threshold-from", str(tmp_path / "dev.jsonl"), "--criterion", "eer"]
        result = CliRunner().invoke(app, [*given, "--repeats", "0", "--out", str(out), *options], catch_exceptions=False)
        assert result.exit_code == 0
        return json.loads(out.read_text())

    recordings = scored("--per", "recording")
    if faceless:
        assert recordings["overall"]["coarse"]["by_score"]["hter"]["value"] == 0
        return
    frames = scored()
    assert frames["overall"]["coarse"]["n_attack"] == 9 and recordings["overall"]["coarse"]["n_attack"] == 3
    assert frames["overall"]["coarse"]["by_score"]["hter"]["value"] > 0
    assert recordings["overall"]["coarse"]["by_score"]["hter"]["value"] == 0
    assert "per recording" in json.dumps(recordings["threshold"])
    for options, message in ((["--answer"], "words cannot"), (["--model", "tiny"], "is for one picture")):
        refused = CliRunner().invoke(app, ["score", str(tmp_path / "test.jsonl"), *options, "--per", "recording"])
        assert isinstance(refused.exception, ValueError) and message in str(refused.exception)


def test_who_is_in_both_sets_stands_beside_the_threshold(frame: Frame, tmp_path: Path) -> None:
    """Other frames of a recording in the development set: some protocols divide so, and nobody must overlook it."""
    for name in ("dev", "test"):
        rows = [frame(f"{name}{n}", 0.9 - 0.8 * (n % 2), video=f"v{n}", attack=n % 2 == 1) for n in range(4)]
        own = [frame(f"{name}-own{n}", 0.9 - 0.8 * n, video=f"{name}-{n}", attack=n == 1) for n in range(2)]
        write_jsonl(tmp_path / f"{name}.jsonl", [*rows, *own])
    out = tmp_path / "metrics.json"
    given = ["score", str(tmp_path / "test.jsonl"), "--threshold-from", str(tmp_path / "dev.jsonl"), "--criterion", "eer"]
    result = CliRunner().invoke(app, [*given, "--out", str(out)], catch_exceptions=False)
    source = json.loads(out.read_text())["threshold"]["source"]
    assert (source["people_also_tested"], source["recordings_also_tested"]) == (4, 4)
    assert "recordings_also_tested 4" in result.output


def test_predictions_that_nothing_is_known_of_are_called_so(frame: Frame, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "p.jsonl", [frame(f"{n}", 0.9 - 0.8 * (n % 2), attack=n % 2 == 1) for n in range(4)])
    given = ["score", str(tmp_path / "p.jsonl"), "--model", "tiny", "--out", str(tmp_path / "m.json")]
    result = CliRunner().invoke(app, given, catch_exceptions=False)
    assert "unverified no run.json says that these predictions are this model's" in result.output


def test_what_texts_are_compared_with_decides_no_score(frame: Frame, tmp_path: Path) -> None:
    for name, options in (("dev", {"weights": "w"}), ("test", {"weights": "w", "references": ["h"]})):
        file = tmp_path / f"{name}.jsonl"
        write_jsonl(file, [frame(f"{name}{n}", 0.9 - 0.8 * n, attack=n == 1) for n in range(2)])
        write_run(file, config={"stage": "predict", "options": options}, seed=0, inputs=[])
    assert check_made_alike(tmp_path / "dev.jsonl", tmp_path / "test.jsonl") == {}


@pytest.mark.parametrize(
    ("dev", "test", "found"),
    [
        ({"system": "a"}, {"system": "a"}, "alike"),
        ({"system": "a"}, {"system": "b"}, "refused"),
        ({"system": "a", "options": {"prompt": "plain"}}, {"system": "b", "options": {"prompt": "plain"}}, "refused"),
        ({"system": "a", "options": {"weights": "w"}}, {"system": "b", "options": {"weights": "w"}}, "alike"),
        ({"system": "a", "options": {"weights": "w"}}, {"system": "a", "options": {"weights": "v"}}, "refused"),
        ({"system": "a", "options": {"weights": "w"}}, {"system": "a"}, "unverified"),
        ({"system": "a"}, None, "unverified"),
        (None, None, "unverified"),
    ],
)
def test_a_threshold_of_one_system_is_not_anothers(
    frame: Frame, tmp_path: Path, dev: dict[str, Any] | None, test: dict[str, Any] | None, found: str
) -> None:
    for name, config in (("dev", dev), ("test", test)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "p.jsonl"
        write_jsonl(file, [frame(f"{name}{n}", 0.9 - 0.8 * n, attack=n == 1) for n in range(2)])
        if config is not None:
            write_run(file, config=config, seed=0, inputs=[])
    files = (tmp_path / "dev" / "p.jsonl", tmp_path / "test" / "p.jsonl")
    if found == "refused":
        with pytest.raises(ValueError, match="expected the same model, used alike"):
            check_made_alike(*files)
    else:
        assert bool(check_made_alike(*files)) == (found == "unverified")
