"""A trained baseline behind `faceshield predict`: scores and types, one threshold route for all models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from faceshield.baselines import load_model
from faceshield.baselines.base import load_baseline
from faceshield.baselines.stage import BaselineConfig, train_baseline
from faceshield.cli import app
from faceshield.face import BuiltInDetector, crop_box
from faceshield.model import FaceShieldProcessor, load
from faceshield.model.checkpoint import read_info
from faceshield.records import Prediction, Sample, read_jsonl, write_jsonl
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.augment import to_float
from faceshield.training.pictures import RgbSquares, cached_pictures, load_pictures

Make = Callable[..., BaselineConfig]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_predict_threshold_and_score(stage_config: Make, domains_jsonl: Path, tmp_path: Path) -> None:
    config = stage_config("resnet")
    train_baseline(config)
    rows = read_jsonl(domains_jsonl, Sample)
    for name, part in (("dev", rows[:12]), ("test", rows[12:])):
        write_jsonl(tmp_path / "data" / f"{name}.jsonl", part)
        done = run("predict", tmp_path / f"data/{name}.jsonl", "--model", config.out, "--out", tmp_path / f"{name}/rows.jsonl")
        assert done.exit_code == 0, done.output
    found = read_jsonl(tmp_path / "test/rows.jsonl", Prediction)
    assert len(found) == 24 and {row.task for row in found} == {"coarse", "fine"}
    for row in found:
        assert row.type_scores is not None and set(row.type_scores) == set(PRESENTATION_TYPES)
        assert row.type_scores["Bonafide"] == row.bonafide_score and row.answer is None
        if row.task == "fine":
            assert row.presentation_type == max(row.type_scores, key=row.type_scores.__getitem__)
    done = run("train", "threshold", f"out={config.out}", f"predictions=[{tmp_path / 'dev/rows.jsonl'}]", "dataset=dev")
    assert done.exit_code == 0, done.output
    assert read_info(config.out).threshold_source["dataset"] == "dev"
    options = ["--model", config.out, "--out", tmp_path / "metrics.json", "--repeats", 10]
    done = run("score", tmp_path / "test/rows.jsonl", *options)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "metrics.json").read_text())["threshold"]["source"]["dataset"] == "dev"
    # The same training once more gives the same weights, so what was chosen for them stays.
    train_baseline(config)
    assert read_info(config.out).threshold_source["dataset"] == "dev"


def test_calibrate_on_ones_own_photographs(stage_config: Make, face_photo: np.ndarray, tmp_path: Path) -> None:
    config, face_photo = stage_config("resnet", pictures=8), face_photo[:240, 100:340]
    train_baseline(config)
    for number in range(3):
        photo = tmp_path / f"photos/real/p{number}/photo.png"
        photo.parent.mkdir(parents=True)
        Image.fromarray(np.roll(face_photo, 5 * number, axis=0)).save(photo)
    done = run("calibrate", tmp_path / "photos", "--model", config.out, "--out", tmp_path / "own", "--criterion", "bpcer50")
    assert done.exit_code == 0, done.output
    info = read_info(tmp_path / "own")
    assert info.threshold is not None and read_info(config.out).threshold is None
    assert info.threshold_source["n_bonafide_not_judged"] == info.threshold_source["n_attack_not_judged"] == 0
    found = read_jsonl(tmp_path / "own.calibration/predictions.jsonl", Prediction)
    x0, y0, x1, y1 = crop_box(BuiltInDetector().detect(face_photo)[0].box, (240, 240))
    wanted = load_model(tmp_path / "own").score_many([face_photo[y0:y1, x0:x1]])[0][0]
    assert found[0].bonafide_score == pytest.approx(wanted, abs=1e-6), "the face was cut out first"


def test_its_pictures_are_those_it_was_trained_on(stage_config: Make, domains_jsonl: Path) -> None:
    config = stage_config("resnet")
    train_baseline(config)
    pictures = load_pictures([domains_jsonl], PRESENTATION_TYPES)
    crops = cached_pictures(pictures.paths, config.out.parent / "cache", largest=128)
    squares = np.stack([RgbSquares(64).square_pixels(crops[row])[0] for row in range(3)])
    with torch.no_grad():
        wanted = load_baseline(config.out).probabilities(to_float(squares))
    from faceshield.images import open_picture

    found = load_model(config.out).score_many([open_picture(path).rgb for path in pictures.paths[:3]])
    assert [row[0] for row in found] == pytest.approx(wanted[:, 0].tolist(), abs=1e-6)


def test_the_squares_are_our_processors(checkpoint: Path, face_photo: np.ndarray) -> None:
    processor: FaceShieldProcessor = load(checkpoint).processor
    tall = face_photo[:, 100:300]
    ours, _ = processor.square_pixels(tall)
    assert (RgbSquares(processor.image_size).square_pixels(tall)[0] == ours).all()


def test_what_it_cannot_answer_is_refused(stage_config: Make, domains_jsonl: Path, tmp_path: Path) -> None:
    config = stage_config("resnet", labels="coarse", pictures=8)
    train_baseline(config)
    out = tmp_path / "rows.jsonl"
    refused = run("predict", domains_jsonl, "--model", config.out, "--out", out, "--tasks", "coarse,fine")
    assert refused.exit_code != 0 and "tells only bona fide from attack" in str(refused.exception) + refused.output
    refused = run("predict", domains_jsonl, "--model", config.out, "--out", out, "--tasks", "reasoning")
    assert refused.exit_code != 0 and "only scores" in str(refused.exception) + refused.output
    assert not out.exists()
    assert run("predict", domains_jsonl, "--model", config.out, "--out", out, "--limit", 2).exit_code == 0
    assert [row.type_scores for row in read_jsonl(out, Prediction)] == [None, None]
    with pytest.raises(ValueError, match="pvtm for .*: a trained baseline has no such option"):
        load_model(config.out, pvtm="paper")


def test_a_broken_folder_is_named(stage_config: Make) -> None:
    config = stage_config("resnet", pictures=8)
    train_baseline(config)
    weights = config.out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        load_model(config.out)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match="expected the weights beside"):
        load_model(config.out)
