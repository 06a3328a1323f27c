"""What a `--model` is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from faceshield.baselines import load_model
from faceshield.baselines.looking import Looking
from faceshield.cli import app
from faceshield.evaluation import predict
from faceshield.model import load, save
from faceshield.model.reading import Words
from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Prediction, read_jsonl
from faceshield.taxonomy import ATTACK_TYPES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_our_own_model_is_the_default_kind(checkpoint: Path) -> None:
    found = load_model(checkpoint, pvtm="paper")
    assert isinstance(found, FaceShieldPredictor) and found.settings["pvtm"] == "paper"
    assert load_model(checkpoint, pvtm="paper", pvtm_seed=2).settings["pvtm_seed"] == "2"
    assert load_model(checkpoint).settings["pvtm"] == "off"


def test_a_model_trained_anew_under_the_same_name_is_another(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "mine"))
    before = load_model(folder).settings
    told = json.loads((folder / "faceshield.json").read_text())
    (folder / "faceshield.json").write_text(json.dumps({**told, "threshold": 0.123}))
    assert load_model(folder).settings == before, "a threshold changes no answer"
    own = load(folder)
    with torch.no_grad():
        next(own.model.lm_head.parameters()).add_(1e-3)
    save(own.model, own.processor, folder, own.info)
    assert load_model(folder).settings != before


def test_our_own_model_is_told_the_types_where_it_was_not_taught_the_tasks(
    checkpoint: Path, samples_jsonl: Path, tmp_path: Path
) -> None:
    """As Bunny is in the paper's tables: assembled, it is of our class, and its row is a zero-shot one."""
    asker = load_model(checkpoint, prompt="zero-shot")
    assert isinstance(asker.ask_many([np.zeros((64, 64, 3), np.uint8)], asker.question("reasoning"))[0], str)  # it fits
    asker.shield.ask_many = lambda images, question: [Words(f"Replay. {len(question)}") for _ in images]
    predict(samples_jsonl, asker, tmp_path / "p.jsonl", tasks=["coarse", "fine"], limit=1, options=asker.settings)
    coarse, fine = read_jsonl(tmp_path / "p.jsonl", Prediction)
    assert all(name in coarse.question and name in fine.question for name in ATTACK_TYPES)
    assert coarse.bonafide_score is None and fine.presentation_type == "Replay"
    assert asker.settings["prompt"] == "zero-shot" and asker.settings["weights"]
    with pytest.raises(ValueError, match="expected 'zero-shot' or 'plain'"):
        load_model(checkpoint, prompt="kindly")


def test_a_name_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected 'tiny', a folder or a hub id"):
        load_model(tmp_path / "nothing")
    (tmp_path / "baseline.json").write_text(json.dumps({"name": "of another version"}))
    with pytest.raises(ValueError, match="'of another version' — expected one of"):
        load_model(tmp_path)


def test_a_system_that_looks_for_the_face_first(
    checkpoint: Path, face_photo: np.ndarray, blank: np.ndarray, tmp_path: Path
) -> None:
    found, shield = load_model(checkpoint, face="detect"), FaceShieldPredictor.from_pretrained(checkpoint, threshold=0.5)
    assert found.settings == {**shield.settings, "face": "detect", "looks": "0.75"}
    report = shield.classify(face_photo)
    assert report.face is not None and found.score(face_photo) == (report.bonafide_score, report.type_scores)
    with pytest.raises(ValueError, match="no face was found"):
        found.score(blank)

    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(face_photo).save(folder / "a.png")
    Image.fromarray(blank).save(folder / "b.png")
    out = tmp_path / "rows.jsonl"
    done = run("predict", folder, "--model", checkpoint, "--face", "detect", "--out", out)
    assert done.exit_code == 2 and "2 failed" in done.output
    rows = read_jsonl(out, Prediction)
    assert [(row.image.endswith("a.png"), row.task, row.status) for row in rows] == [
        (True, "coarse", "parsed"), (True, "fine", "parsed"), (False, "coarse", "error"), (False, "fine", "error"),
    ]  # fmt: skip
    assert rows[0].bonafide_score == pytest.approx(report.bonafide_score) and "no face was found" in str(rows[2].error)
    asked = run("predict", folder, "--model", checkpoint, "--face", "detect", "--out", out, "--tasks", "reasoning")
    assert asked.exit_code != 0 and "only scores" in str(asked.exception) + asked.output


def test_words_alone_cannot_look_for_a_face() -> None:
    class Talks:
        settings: ClassVar[dict[str, str]] = {}

        def ask(self, image: object, prompt: str) -> str:
            return "bona fide"

    with pytest.raises(ValueError, match="face='detect' of a Talks — expected a system that scores"):
        Looking(Talks(), "detect")
