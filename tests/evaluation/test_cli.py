from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faceshield.cli import app
from faceshield.evaluation import choose_threshold
from faceshield.model import checkpoint_hash
from faceshield.provenance import file_sha256, write_run
from faceshield.recipes.threshold import ThresholdConfig, store_threshold
from faceshield.records import Prediction, Truth, read_jsonl, write_jsonl


def write_predictions(path: Path, *, prefix: str, flip: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(40):
        attack = index % 2 == 1
        score = (0.2 if attack else 0.7) + index / 400
        rows.append(
            Prediction(
                id=f"{prefix}{index}:coarse",
                sample_id=f"{prefix}{index}",
                image=f"{prefix}{index}.png",
                task="coarse",
                question="?",
                answer="…",
                bonafide_score=1 - score if flip else score,
                status="parsed",
                is_attack=attack,
                truth=Truth(
                    is_attack=attack,
                    presentation_type="Print" if attack else "Bonafide",
                    subject=str(index // 4),
                    meta={"source": "photo" if index < 10 else "drawn"},
                ),
            )
        )
    write_jsonl(path, rows)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_score_at_a_threshold_of_a_development_set(tmp_path: Path) -> None:
    test = write_predictions(tmp_path / "test" / "predictions.jsonl", prefix="t")
    dev = write_predictions(tmp_path / "dev" / "predictions.jsonl", prefix="d")
    out = tmp_path / "test" / "metrics.json"
    options = ["--threshold-from", dev, "--criterion", "eer", "--by", "source", "--repeats", 20]
    result = run("score", test, "--out", out, *options)
    assert result.exit_code == 0, result.output
    metrics = json.loads(out.read_text())
    assert metrics["threshold"]["source"]["dataset"] == str(dev)
    assert 0.295 < metrics["threshold"]["value"] < 0.7
    assert metrics["overall"]["coarse"]["by_score"]["acc"]["value"] == 1.0
    assert set(metrics["by"]["groups"]) == {"drawn", "photo"}
    assert str(out) in result.output.splitlines()[-1]
    inputs = json.loads((out.parent / "run.json").read_text())["inputs"]
    assert [entry["path"] for entry in inputs] == [str(test), str(dev)]
    first = out.read_bytes()
    run("score", test, "--out", out, *options)
    assert out.read_bytes() == first


@pytest.mark.parametrize("other", [{"weights": "bbbb"}, {"weights": "aaaa", "face": "detect"}])
def test_a_threshold_of_another_model_or_use_is_refused(other: dict[str, str], tmp_path: Path) -> None:
    test = write_predictions(tmp_path / "test.jsonl", prefix="t")
    dev = write_predictions(tmp_path / "dev" / "dev.jsonl", prefix="d")
    options = ["--threshold-from", dev, "--criterion", "eer", "--out", tmp_path / "metrics.json", "--repeats", 0]
    for file in (test, dev):
        write_run(file, config={"options": {"weights": "aaaa"}}, seed=None, inputs=[])
    assert run("score", test, *options).exit_code == 0
    (tmp_path / "metrics.json").unlink()
    write_run(dev, config={"options": other}, seed=None, inputs=[])
    assert "were made with" in str(run("score", test, *options).exception)
    assert not (tmp_path / "metrics.json").exists()


def test_scores_of_before_a_calibration_have_no_threshold_of_after_it(tmp_path: Path) -> None:
    model, test = tmp_path / "model", write_predictions(tmp_path / "test.jsonl", prefix="t")
    model.mkdir()
    (model / "config.json").write_text("{}")
    told = {"threshold": 0.3, "threshold_source": {"dataset": "dev"}, "calibration": {"scale": 0.5, "offset": 0.0}}
    (model / "faceshield.json").write_text(json.dumps(told))
    made = {"weights": checkpoint_hash(model), "pvtm": "off"}
    for options, fits in ((made, False), ({**made, "score_map": "0.5, 0.0"}, True)):
        write_run(test, config={"options": options}, seed=None, inputs=[])
        result = run("score", test, "--model", model, "--out", tmp_path / "m.json", "--repeats", 0)
        assert (result.exit_code == 0) is fits
        assert fits or "made with score_map 'none', the threshold of" in str(result.exception)


def test_whole_pictures_are_whole_pictures_whoever_says_so(tmp_path: Path) -> None:
    test, dev = (write_predictions(tmp_path / name / "p.jsonl", prefix=name[0]) for name in ("test", "dev"))
    write_run(test, config={"options": {"weights": "aaaa"}}, seed=None, inputs=[])
    write_run(dev, config={"options": {"weights": "aaaa", "face": "whole"}}, seed=None, inputs=[])
    options = ["--threshold-from", dev, "--criterion", "eer", "--out", tmp_path / "metrics.json", "--repeats", 0]
    assert run("score", test, *options).exit_code == 0


def test_scores_upside_down_fail(tmp_path: Path) -> None:
    test = write_predictions(tmp_path / "test.jsonl", prefix="t", flip=True)
    dev = write_predictions(tmp_path / "dev.jsonl", prefix="d")
    out = tmp_path / "metrics.json"
    run("score", test, "--out", out, "--threshold-from", dev, "--criterion", "bpcer5", "--repeats", 0)
    coarse = json.loads(out.read_text())["overall"]["coarse"]
    assert coarse["by_score"]["acc"]["value"] == 0.0 and coarse["ranking"]["auc"]["value"] == 0.0
    assert coarse["by_answer"]["acc"]["value"] == 1.0


def test_a_threshold_is_never_taken_for_granted(tmp_path: Path) -> None:
    test = write_predictions(tmp_path / "test.jsonl", prefix="t")
    for wrong in (
        [],
        ["--answer", "--model", "tiny"],
        ["--threshold-from", test],
        ["--answer", "--criterion", "eer"],
    ):
        result = run("score", test, "--out", tmp_path / "m.json", *wrong)
        assert isinstance(result.exception, ValueError) and "expected" in str(result.exception)
    result = run("score", test, "--threshold-from", test, "--criterion", "eer", "--out", tmp_path / "m.json")
    assert "measures nothing" in str(result.exception)
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(("looks", "fits"), [("0.75, 2.0 mirrored", True), ("0.5", False), (None, True)])
def test_a_models_threshold_is_for_the_looks_that_it_was_chosen_with(looks: str | None, fits: bool, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    source = {"dataset": "dev", "criterion": "bpcer5", "face": "detect", "looks": "0.75, 2.0 mirrored"}
    (model / "faceshield.json").write_text(json.dumps({"threshold": 0.3, "threshold_source": source}))
    test = write_predictions(tmp_path / "test.jsonl", prefix="t")
    options = {"face": "whole"} if looks is None else {"face": "detect", "looks": looks}
    write_run(test, config={"stage": "predict", "options": options}, seed=None, inputs=[])
    result = run("score", test, "--model", model, "--out", tmp_path / "metrics.json", "--repeats", 0)
    assert (result.exit_code == 0) is fits, result.output
    write_run(test, config={"stage": "predict", "options": {**options, "weights": "0123"}}, seed=None, inputs=[])
    other = run("score", test, "--model", model, "--out", tmp_path / "other.json", "--repeats", 0)
    assert "is of another model, or of other weights" in str(other.exception)
    assert fits or (isinstance(result.exception, ValueError) and "is for '0.75, 2.0 mirrored'" in str(result.exception))
    assert (tmp_path / "metrics.json").exists() is fits


def test_answers_alone_need_no_threshold_and_tables_show_it(tmp_path: Path) -> None:
    test = write_predictions(tmp_path / "test.jsonl", prefix="t")
    out = tmp_path / "mine" / "metrics.json"
    assert run("score", test, "--out", out, "--answer", "--repeats", 20).exit_code == 0
    assert json.loads(out.read_text())["threshold"] is None
    result = run("table", out, f"other={out}", "--markdown", "--out", tmp_path / "table.md")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    assert "| mine | answer | 100.00 [" in text and "| other | answer | 100.00 [" in text
    assert "same" not in text
    again = tmp_path / "again.json"
    again.write_bytes(out.read_bytes())
    several = run("table", f"mine={out}", f"mine={again}")
    assert several.exit_code == 0 and "100.00 ± 0.00" in several.output, several.output
    once = run("table", f"mine={out}", f"mine={again}", f"mine={out.parent / '..' / 'mine' / out.name}")
    assert "twice as 'mine' — expected a file of another training" in str(once.exception)
    mixed = [run("table", *given) for given in ((out, f"mine={out}"), (f"mine={out}", out))]
    assert all(isinstance(result.exception, ValueError) for result in mixed), "whichever comes first"
    twice = run("table", out, out)
    assert isinstance(twice.exception, ValueError) and "NAME=FILE" in str(twice.exception)
    (tmp_path / "broken.json").write_text("{\n,")
    broken = run("table", tmp_path / "broken.json")
    assert "broken.json: " in str(broken.exception) and "line 2" in str(broken.exception)
    for content in ("[]", '{"overall": 1}', '{"overall": {"coarse": {}}}'):
        (tmp_path / "broken.json").write_text(content)
        assert "no 'overall' of a score" in str(run("table", tmp_path / "broken.json").exception), content


def test_a_real_model_is_predicted_and_scored(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    options = ["--model", checkpoint, "--tasks", "coarse,fine", "--batch-size", 2]
    result = run("predict", samples_jsonl, "--out", out, "--limit", 2, *options)
    assert result.exit_code == 0, result.output
    result = run("predict", samples_jsonl, "--out", out, "--limit", 3, *options)
    assert result.exit_code == 0 and "2 answers written (4 kept" in result.stdout
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"].split(":")[-1] for row in rows] == ["coarse", "fine"] * 3
    assert all(0 <= row["bonafide_score"] <= 1 and len(row["type_scores"]) == 12 for row in rows)
    metrics = out.parent / "metrics.json"
    result = run("score", out, "--model", checkpoint, "--out", metrics, "--repeats", 10)
    assert result.exit_code == 0, result.output
    source = json.loads(metrics.read_text())["overall"]["coarse"]["by_score"]["threshold"]["source"]
    assert source == {"model": str(checkpoint), "dataset": "drawn", "n": 24, "criterion": "min-HTER"}


def test_the_threshold_of_a_file_is_that_of_its_scores(tmp_path: Path) -> None:
    dev = write_predictions(tmp_path / "dev.jsonl", prefix="d")
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    chosen = choose_threshold(
        [row["bonafide_score"] for row in rows],
        [row["truth"]["is_attack"] for row in rows],
        "eer",
        dataset="x",
    )
    test = write_predictions(tmp_path / "test.jsonl", prefix="t")
    run(
        "score",
        test,
        "--threshold-from",
        dev,
        "--criterion",
        "eer",
        "--out",
        tmp_path / "m.json",
        "--repeats",
        0,
    )
    assert json.loads((tmp_path / "m.json").read_text())["threshold"]["value"] == chosen.value


def test_a_models_threshold_is_not_measured_on_what_chose_it_and_other_looks_are_named(tmp_path: Path) -> None:
    model, test = tmp_path / "model", write_predictions(tmp_path / "test.jsonl", prefix="t")
    dev = write_predictions(tmp_path / "dev" / "dev.jsonl", prefix="d")
    model.mkdir()
    (model / "config.json").write_text("{}")
    for file in (test, dev):
        write_run(file, config={"options": {"weights": checkpoint_hash(model), "face": "detect"}}, seed=None, inputs=[])
    (model / "faceshield.json").write_text("{}")
    store_threshold(ThresholdConfig(predictions=[dev], out=model))
    given = ["--model", model, "--out", tmp_path / "m.json", "--repeats", 0]
    assert "was chosen on it" in str(run("score", dev, *given).exception)
    shown = run("score", test, *given).output
    assert "face detect" in shown and "scored_otherwise" not in shown and file_sha256(dev) not in shown
    write_run(test, config={"options": {"weights": checkpoint_hash(model), "face": "whole"}}, seed=None, inputs=[])
    assert "scored_otherwise faces looked at as 'whole'" in run("score", test, *given).output


def test_a_threshold_of_hand_made_rows_is_of_no_question(tmp_path: Path) -> None:
    model, dev = tmp_path / "model", write_predictions(tmp_path / "dev.jsonl", prefix="d")
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "faceshield.json").write_text("{}")
    write_jsonl(dev, [row.model_copy(update={"question": ""}) for row in read_jsonl(dev, Prediction)])
    store_threshold(ThresholdConfig(predictions=[dev], out=model))
    told = json.loads((model / "faceshield.json").read_text())
    assert told["threshold"] and "coarse" not in told["questions"], "an empty question would fit no version"


def test_a_list_of_scores_becomes_predictions_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "scores.csv" in block)
    monkeypatch.chdir(tmp_path)
    for name in ("dev", "test"):
        Path("scores.csv").write_text(
            "image,score,is_attack,type,person\n"
            + "".join(f"{name}{n}.png,{n / 4},{int(n < 2)},{'Print' if n < 2 else 'Bonafide'},{name}-{n}\n" for n in range(4))
        )
        exec(code, {})
        Path("test.jsonl").rename(f"{name}-scores.jsonl")
    given = ["--threshold-from", "dev-scores.jsonl", "--criterion", "eer", "--out", "m.json", "--repeats", 0]
    shown = run("score", "test-scores.jsonl", *given).output
    assert "100.00" in shown and "unverified nothing says how" in shown and "No attack has a type" not in shown
