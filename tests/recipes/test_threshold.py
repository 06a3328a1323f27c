"""The threshold chosen on development predictions goes into the checkpoint with its origin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.evaluation.development import judged
from faceshield.looks import how_looked
from faceshield.model import checkpoint_hash, read_info
from faceshield.model.checkpoint import INFO_FILE
from faceshield.provenance import write_run
from faceshield.recipes.threshold import ThresholdConfig, store_threshold
from faceshield.records import Prediction, write_jsonl


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
    value = store_threshold(config).value
    assert 0.19 < value < 0.8
    info = read_info(tmp_path / "model")
    assert info.threshold == value
    assert info.threshold_source["dataset"] == "toy dev" and info.threshold_source["n"] == 20


@pytest.mark.parametrize("surroundings", [False, True])
def test_how_faces_were_looked_at_is_kept_with_it(tmp_path: Path, surroundings: bool) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.9, False), prediction(1, 0.1, True)])
    model = tmp_path / "model"
    model.mkdir()
    (model / "faceshield.json").write_text(json.dumps({"extra": {"surroundings": surroundings}}))
    given = ["train", "threshold", f"predictions=[{tmp_path / 'dev.jsonl'}]", f"out={model}"]
    for options in ({"pvtm": "off", **how_looked("detect", surroundings)}, {"pvtm": "off"}):
        write_run(tmp_path / "dev.jsonl", config={"stage": "predict", "options": options}, seed=None, inputs=[])
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0, result.exception
        source = read_info(model).threshold_source
        assert {name: source[name] for name in ("face", "looks") if name in source} == {
            name: value for name, value in options.items() if name != "pvtm"
        }
    write_jsonl(tmp_path / "more.jsonl", [prediction(2, 0.8, False)])
    write_run(tmp_path / "more.jsonl", config={"options": how_looked("detect", surroundings)}, seed=None, inputs=[])
    both = ThresholdConfig(predictions=[tmp_path / "dev.jsonl", tmp_path / "more.jsonl"], out=model)
    with pytest.raises(ValueError, match="dev.jsonl and .*more.jsonl were made with .*expected the same model, used alike"):
        store_threshold(both)


def test_predictions_that_do_not_say_how_they_were_made_are_not_mixed_with_others(tmp_path: Path) -> None:
    """In whatever order they are given."""
    files = [tmp_path / name / "dev.jsonl" for name in "abc"]
    for number, file in enumerate(files):
        file.parent.mkdir()
        write_jsonl(file, [prediction(number, 0.9, False), prediction(number + 10, 0.1, True)])
    (tmp_path / "model").mkdir()
    for file, weights in zip(files[1:], ("1111", "2222"), strict=True):
        write_run(file, config={"options": {"weights": weights}}, seed=None, inputs=[])
    for order in (files, files[::-1], [files[1], files[0]]):
        with pytest.raises(ValueError, match="a/dev.jsonl: no run.json says how it was made"):
            store_threshold(ThresholdConfig(predictions=order, out=tmp_path / "model"))
    with pytest.raises(ValueError, match="were made with weights '1111' and '2222'"):
        store_threshold(ThresholdConfig(predictions=files[1:], out=tmp_path / "model"))


def test_another_models_predictions_give_no_threshold(tmp_path: Path) -> None:
    dev, model = tmp_path / "dev.jsonl", tmp_path / "model"
    write_jsonl(dev, [prediction(0, 0.9, False), prediction(1, 0.1, True)])
    model.mkdir()
    (model / "config.json").write_text("{}")
    config = ThresholdConfig(predictions=[dev], out=model)
    write_run(dev, config={"options": {"weights": "0123456789abcdef"}}, seed=None, inputs=[])
    with pytest.raises(ValueError, match="of another model, or of other weights, than .*model"):
        store_threshold(config)
    assert not (model / "faceshield.json").exists()
    write_run(dev, config={"options": {"weights": checkpoint_hash(model)}}, seed=None, inputs=[])
    assert 0.1 < store_threshold(config).value < 0.9
    assert 0.1 < store_threshold(config).value < 0.9  # the threshold is no part of the weights


def test_a_misspelt_checkpoint_is_told_and_no_folder_is_made(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.9, False), prediction(1, 0.1, True)])
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "modle")
    with pytest.raises(FileNotFoundError, match="modle: no such folder"):
        store_threshold(config)
    assert not (tmp_path / "modle").exists()


def test_nothing_to_choose_on(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.5, True, task="fine")])
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path)
    with pytest.raises(ValueError, match="no coarse row"):
        store_threshold(config)


@pytest.mark.parametrize(
    ("criterion", "scores", "likest"),
    [
        ("apcer1", [1.0] * 10, "0, which has the highest score and is an attack"),
        ("apcer1", [0.2, 0.2, 0.2, 0.2, 0.93, 0.9, 0.9, 0.9, 0.9, 0.9], "4, which has the highest score and is an attack"),
        ("bpcer100", [0.5] * 10, "0, which"),
    ],
)
def test_a_criterion_that_only_refusing_everything_meets_is_an_error(
    criterion: str, scores: list[float], likest: str, tmp_path: Path
) -> None:
    """A single attack that is filed wrongly would otherwise store a threshold that lets nobody in."""
    rows = [prediction(i, score, is_attack=i < 5) for i, score in enumerate(scores)]
    write_jsonl(tmp_path / "dev.jsonl", rows)
    (tmp_path / "model").mkdir()
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "model", criterion=criterion)
    with pytest.raises(ValueError, match=f"only by refusing every picture, also {likest}"):
        store_threshold(config)
    assert read_info(tmp_path / "model").threshold is None


def overconfident(name: str, folder: Path, seed: int) -> Path:
    """Predictions whose true log-odds are half of those stated, less one."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 4, 4000)
    attack = rng.random(4000) > 1 / (1 + np.exp(-(0.5 * odds - 1)))
    rows = [prediction(i, 1 / (1 + np.exp(-x)), bool(a)) for i, (x, a) in enumerate(zip(odds, attack, strict=True))]
    write_jsonl(folder / name, rows)
    return folder / name


def test_calibrated_scores_are_probabilities_and_the_threshold_decides_as_before(tmp_path: Path) -> None:
    dev = overconfident("dev.jsonl", tmp_path, 0)
    plain, fitted = tmp_path / "plain", tmp_path / "fitted"
    for folder in (plain, fitted):
        folder.mkdir()
    before = store_threshold(ThresholdConfig(predictions=dev, out=plain)).value
    config = ThresholdConfig(predictions=dev, out=fitted, calibrate=True)
    value = store_threshold(config).value
    info = read_info(fitted)
    scale, offset = info.score_map
    assert scale == pytest.approx(0.5, abs=0.05) and offset == pytest.approx(-1, abs=0.15)
    assert value == pytest.approx(1 / (1 + np.exp(-(scale * np.log(before / (1 - before)) + offset))), abs=1e-3)
    assert info.threshold_source["apcer"] == read_info(plain).threshold_source["apcer"]
    store_threshold(config)
    assert read_info(fitted) == info, "the same call again changes nothing"
    store_threshold(ThresholdConfig(predictions=dev, out=fitted))
    assert read_info(fitted).threshold == value, "the rows of the fit are known to be older than it"


def of_weights(predictions: Path, folder: Path, **options: str) -> Path:
    """Predictions that say which weights made them, and with which calibration."""
    told = {"weights": checkpoint_hash(folder), **options}
    write_run(predictions, config={"stage": "predict", "options": told}, seed=None, inputs=[])
    return predictions


def test_a_second_calibration_is_of_the_scores_that_it_is_given(tmp_path: Path) -> None:
    """Those of the first calibration, or, whatever files they are in, of the model as it was before it."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    for name in "abcd":
        (tmp_path / name).mkdir()
    first = of_weights(overconfident("a/dev.jsonl", tmp_path, 0), model)
    store_threshold(ThresholdConfig(predictions=first, out=model, calibrate=True))
    before = read_info(model).score_map
    raw = of_weights(overconfident("b/dev.jsonl", tmp_path, 1), model)
    value = store_threshold(ThresholdConfig(predictions=raw, out=model)).value
    scores = [(row.bonafide_score or 0.0, row.truth.is_attack) for row in judged([raw])[0]]
    odds = np.array([np.log(score / (1 - score)) for score, _ in scores])
    attacks = np.array([attack for _, attack in scores])
    passed = 1 / (1 + np.exp(-(before[0] * odds + before[1]))) >= value
    source = read_info(model).threshold_source
    assert passed[attacks].mean() == pytest.approx(source["apcer"], abs=2e-3)
    assert 1 - passed[~attacks].mean() == pytest.approx(source["bpcer"], abs=2e-3)
    store_threshold(ThresholdConfig(predictions=raw, out=model, calibrate=True))
    before = read_info(model).score_map
    assert before == pytest.approx((0.5, -1), abs=0.15), "fitted on scores before any calibration"
    mapped = of_weights(overconfident("c/dev.jsonl", tmp_path, 2), model, score_map="{}, {}".format(*before))
    store_threshold(ThresholdConfig(predictions=mapped, out=model, calibrate=True))
    after = read_info(model).score_map
    assert after[0] == pytest.approx(before[0] * 0.5, abs=0.03)
    assert after[1] == pytest.approx(before[1] * 0.5 - 1, abs=0.15)
    with pytest.raises(ValueError, match="made with the calibration .* expected the same, or none"):
        store_threshold(ThresholdConfig(predictions=mapped, out=model))
    with pytest.raises(ValueError, match="were made with score_map"):
        store_threshold(ThresholdConfig(predictions=[raw, mapped], out=model))
    silent = overconfident("d/dev.jsonl", tmp_path, 3)
    with pytest.raises(ValueError, match="nothing says whether they were made before or after the calibration"):
        store_threshold(ThresholdConfig(predictions=silent, out=model))


def test_pictures_without_a_score_are_left_out_only_where_it_is_said(tmp_path: Path) -> None:
    rows = [prediction(i, 0.1 if i < 5 else 0.9, is_attack=i < 5) for i in range(10)]
    failed = rows[0].model_copy(update={"id": "lost:coarse", "sample_id": "lost", "bonafide_score": None, "error": "no face"})
    write_jsonl(tmp_path / "dev.jsonl", [*rows, failed])
    (tmp_path / "model").mkdir()
    config = ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=tmp_path / "model")
    with pytest.raises(ValueError, match=r"1 of 11 pictures got no score \(no face\)"):
        store_threshold(config)
    with pytest.raises(ValueError, match=r"1 of 11 pictures got no score \(no face\).* by the same command$"):
        judged([tmp_path / "dev.jsonl"])
    write_jsonl(tmp_path / "none.jsonl", [failed])
    with pytest.raises(ValueError, match=r"1 of 1 pictures got no score \(no face\)"):
        judged([tmp_path / "none.jsonl"], unjudged=True)
    assert read_info(tmp_path / "model").threshold is None
    store_threshold(config.model_copy(update={"unjudged": True}))
    source = read_info(tmp_path / "model").threshold_source
    assert source["n"] == 10 and (source["n_bonafide_not_judged"], source["n_attack_not_judged"]) == (0, 1)


def test_a_threshold_is_stored_with_its_question_and_how_was_looked(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", [prediction(0, 0.9, False), prediction(1, 0.1, True)])
    model = tmp_path / "model"
    model.mkdir()
    (model / INFO_FILE).write_text(json.dumps({"questions": {"coarse": "Another?", "fine": "Which?"}}))
    options = {"pvtm": "off", "keep_tokens": 0.5}
    write_run(tmp_path / "dev.jsonl", config={"stage": "predict", "options": options}, seed=None, inputs=[])
    store_threshold(ThresholdConfig(predictions=tmp_path / "dev.jsonl", out=model))
    info = read_info(model)
    assert info.questions == {"coarse": "?", "fine": "Which?"}, "the one that the scores answer"
    assert {name: info.threshold_source.get(name) for name in options} == options
