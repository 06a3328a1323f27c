"""Repeats and sweeps at toy size: folders, seeds, going on, what is collected, and what the table makes of it."""

from __future__ import annotations

import json
import statistics
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from faceshield.cli import app
from faceshield.config import write_override
from faceshield.data_engine import TASK_NAMES, generate_dialogues
from faceshield.evaluation import score
from faceshield.evaluation.repeats import collected, mean_std
from faceshield.evaluation.table import _threshold, percent, table
from faceshield.model import read_info
from faceshield.provenance import begun
from faceshield.recipes.sweep import Run, SweepConfig, _last_loss, _metrics, _train, plan, run_sweep
from faceshield.records import Sample, write_jsonl
from faceshield.training.settings import StageConfig
from faceshield.training.watch import LOG_FILE

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
SMALL = {"max_steps": 1, "batch_size": 2, "threads": 1, "lora_r": 4, "lora_alpha": 8, "report_to": [], "log_every": 1}


@pytest.fixture(autouse=True)
def few_words_and_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model says and how wide the intervals are is looked at elsewhere."""
    monkeypatch.setattr("faceshield.predictor.FaceShieldPredictor._answer_tokens", 2)
    monkeypatch.setattr("faceshield.recipes.measure.score", partial(score, repeats=20))


@pytest.fixture
def sets(samples: list[Sample], samples_jsonl: Path) -> dict[str, Path]:
    """Dialogues of the shared samples, and the first and the second sample of every type as dev and test set."""
    files = {name: samples_jsonl.with_name(f"{name}.jsonl") for name in ("dialogues", "dev", "test")}
    write_jsonl(
        files["dialogues"],
        generate_dialogues([row.model_copy(update={"split": "train"}) for row in samples], tasks=TASK_NAMES, seed=0),
    )
    write_jsonl(files["dev"], samples[:12])
    write_jsonl(files["test"], samples[12:])
    return files


def sweep(sets: dict[str, Path], checkpoint: Path, out: Path, **changes: Any) -> SweepConfig:
    stages = {"one": {"stage": "pretrain", "dialogues": [str(sets["dialogues"])]}}
    stages["two"] = {**stages["one"], "stage": "sft", "pack": True}
    values: dict[str, Any] = {
        "init": str(checkpoint), "out": out, "stages": stages, "settings": {**SMALL, "cache_features": True},
        "grid": {"model.pvtm_mask_ratio": [0.3]}, "variants": {"bare": {"model.use_savp": False}},
    }  # fmt: skip
    return SweepConfig(**{**values, **changes})


def test_the_plan(tmp_path: Path) -> None:
    config = SweepConfig(
        init="towers/seed-{seed}", out=tmp_path,
        stages={name: {"stage": stage, "dialogues": ["d.jsonl"]} for name, stage in (("one", "pretrain"), ("two", "sft"))},
        grid={"model.pvtm_mask_ratio": [0, 0.1], "model.use_savp": [True]},
        variants={"HOG": {"processor.savp_channels": ["hog"] * 3}},
        settings={"learning_rate": 1e-5}, repeat=2, seed=3, only=["HOG", "pvtm_mask_ratio=0.1,use_savp=true"],
    )  # fmt: skip
    runs = list(plan(config))
    assert [(run.variant, run.seed) for run in runs] == [
        ("pvtm_mask_ratio=0.1,use_savp=true", 3), ("pvtm_mask_ratio=0.1,use_savp=true", 4), ("HOG", 3), ("HOG", 4),
    ]  # fmt: skip
    one, two = runs[3].stages.values()
    assert [run.stages["one"].init for run in runs[:2]] == ["towers/seed-3", "towers/seed-4"]
    assert one.out == tmp_path / "HOG/seed-4/one" and two.init == str(one.out) and runs[3].checkpoint == two.out
    assert (one.seed, one.learning_rate, one.cache) == (4, 1e-5, tmp_path / "cache")
    assert one.processor == {"savp_channels": ["hog"] * 3} and runs[0].stages["two"].model["pvtm_mask_ratio"] == 0.1


def test_a_training_too_short_for_a_log_has_no_loss(tmp_path: Path) -> None:
    assert _last_loss(tmp_path) is None


def test_overrides_read_back() -> None:
    assert (
        write_override("a", 1e-5) == "a=1.0e-05"
        and write_override("a", True) == "a=true"
        and write_override("a", None) == "a=null"
    )
    assert write_override("a", Path("b c")) == "a=b c" and write_override("a", ["x", 1]) == "a=[x, 1]"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"only": ["nobody"]}, "only 'nobody'"),
        ({"variants": {"a/b": {}}}, "name 'a/b'"),
        ({"dev": "dev.jsonl"}, "dev without test"),
        ({"stages": {}}, "at least 1"),
        ({"grid": {"seed": [1, 2]}}, "seed set in a stage or a variant"),
        ({"variants": {"a": {"init": "tiny"}, "b": {"init": "other"}}}, "init set in a stage or a variant"),
        ({"settings": {"seed": 7}}, "seed set in a stage or a variant"),
        ({"stages": {"one": {"stage": "sft", "out": "y"}}}, "out set in a stage or a variant"),
    ],
)
def test_what_is_no_sweep(changes: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {"init": "tiny", "out": "x", "stages": {"one": {"stage": "sft"}}, **changes}
    with pytest.raises(ValueError, match=said):
        SweepConfig(**values)


@pytest.mark.slow
def test_a_sweep_goes_on_and_its_table_has_every_variant(sets: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        if row["event"] == "run" and row["number"] == 2:
            raise Stop

    config = sweep(sets, checkpoint, tmp_path / "out", test=sets["test"], dev=sets["dev"], tasks=("coarse", "fine"))
    with pytest.raises(Stop):
        run_sweep(config, report=stop)
    assert not (config.out / "results.json").exists()
    trained: list[Any] = []
    results = run_sweep(config, report=trained.append)
    steps = [row["step"] for row in trained if row["event"] == "step"]
    assert steps == [1, 1] and results.failed == 0  # the second run's two stages alone
    assert set(results.variants) == {"pvtm_mask_ratio=0.3", "bare"}
    assert read_info(config.out / "bare/seed-0/two").threshold is not None
    text = (config.out / "results.md").read_text()
    assert all(f"| {name} | score" in text for name in results.variants)
    told = json.loads((config.out / "results.json").read_text())
    assert {row["variant"] for row in told["runs"]} == set(results.variants) and told["loss"]["bare"]["std"] is None
    assert json.loads((config.out / "run.json").read_text())["config"]["grid"] == config.grid

    other = sweep(sets, checkpoint, config.out, settings={**config.settings, "max_steps": 2})
    with pytest.raises(ValueError, match="begun with max_steps 1, now 2"):
        run_sweep(other)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_a_stage_repeated(sets: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    given = [write_override(name, value) for name, value in SMALL.items() if name != "log_every"]
    told = [f"init={checkpoint}", f"dialogues=[{sets['dialogues']}]", f"out={tmp_path / 'out'}", "seed=5", *given]
    result = run("pretrain", *told, "--repeat", 2, "--test", sets["test"], "--dev", sets["dev"], "log_every=1")
    assert result.exit_code == 0, result.output
    assert "mean ± standard deviation of 2 runs" in result.output
    assert result.output.strip().endswith(f"2 runs: {tmp_path / 'out/results.json'}")
    each = [json.loads((tmp_path / f"out/seed-{seed}/scores/metrics.json").read_text()) for seed in (5, 6)]
    both = json.loads((tmp_path / "out/metrics.json").read_text())
    aucs = [one["overall"]["coarse"]["ranking"]["auc"]["value"] for one in each]
    found = both["overall"]["coarse"]["ranking"]["auc"]
    assert (found["value"], found["std"], found["runs"]) == (statistics.fmean(aucs), statistics.stdev(aucs), 2)
    assert f"{100 * statistics.fmean(aucs):.2f} ± {100 * statistics.stdev(aucs):.2f}" in table({"both": both})
    losses = json.loads((tmp_path / "out/results.json").read_text())["loss"][""]
    assert losses["runs"] == 2 and losses["std"] > 0
    # Texts that they are scored against are read before anything is trained, and belong to what was begun.
    given_texts = ["--repeat", 2, "--test", sets["test"], "--dev", sets["dev"], "--references"]
    missing = run("pretrain", *told, *given_texts, tmp_path / "no.jsonl")
    assert isinstance(missing.exception, FileNotFoundError) and "no.jsonl" in str(missing.exception)
    other = run("pretrain", *told, "log_every=1", *given_texts, sets["dialogues"])
    assert "begun with" in str(other.exception)
    # A third one on other data would be in one mean with these.
    for name, refused in (("test", "begun with sets"), ("dialogues", "begun with content")):
        whole = sets[name].read_text()
        sets[name].write_text("".join(whole.splitlines(keepends=True)[:-1]))
        again = run("pretrain", *told, "--repeat", 2, "--test", sets["test"], "--dev", sets["dev"], "log_every=1")
        assert isinstance(again.exception, ValueError) and refused in str(again.exception)
        sets[name].write_text(whole)


def test_what_cannot_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("--test", "--dev", "--references"):
        assert "without --repeat" in str(run("sft", name, "a.jsonl").exception)
    assert "expected pretrain or sft" in str(run("threshold", "--repeat", "2").exception)
    assert "dialogues is missing" in str(run("sft", "init=tiny", "out=x", "--repeat", "2").exception)
    monkeypatch.setenv("WORLD_SIZE", "2")
    one = run("sft", "init=tiny", f"out={tmp_path / 'x'}", "dialogues=[d.jsonl]", "--repeat", "2")
    assert "a sweep under torchrun" in str(one.exception)


def test_collected_is_mean_and_deviation() -> None:
    def metrics(acc: float, kind: str, count: int) -> dict[str, Any]:
        coarse = {
            "apcer_worst": {"type": kind, "value": acc, "n": 4, "ci95": [0.0, 1.0]}, "curve": {"apcer": [0.0]},
            "calibration": {"ece": {"value": None, "n": 4, "ci95": None}, "bins": {"n": [1]}}, "n_attack": 4,
        }  # fmt: skip
        fine = {"confusion": {"rows": ["a"], "columns": ["a"], "counts": [[count]]}}
        return {"overall": {"coarse": coarse, "fine": fine}, "threshold": None, "notes": [kind]}

    found = collected([metrics(0.9, "Print", 2), metrics(0.8, "Replay", 3), metrics(0.7, "Print", 4)])
    coarse = found["overall"]["coarse"]
    worst = coarse["apcer_worst"]
    assert (worst["value"], worst["std"]) == (pytest.approx(0.8), pytest.approx(0.1))
    assert (worst["runs"], worst["type"], worst["n"]) == (3, "Print, Replay", 4) and "ci95" not in worst
    assert percent(coarse["apcer_worst"]) == "80.00 ± 10.00"
    assert coarse["calibration"] == {"ece": {"value": None, "std": None, "runs": 0, "n": 4}} and "curve" not in coarse
    assert found["overall"]["fine"]["confusion"]["counts"] == [[9]] and found["notes"] == ["Print", "Replay"]
    assert found["runs"] == 3 and collected([metrics(0.9, "Print", 2)])["overall"]["coarse"]["n_attack"] == 4
    assert mean_std([2.0])["std"] is None
    with pytest.raises(ValueError, match="no metrics to collect"):
        collected([])


def test_three_trainings_chose_three_thresholds() -> None:
    def metrics(value: float, apcer: float) -> dict[str, Any]:
        source = {"dataset": "dev", "n": 40, "apcer": apcer, "apcer_ci95": [apcer / 2, 2 * apcer], "bpcer_ci95": [0.0, 0.1]}
        chosen = {"value": value, "source": source}
        rates = {"acc": {"value": value, "n": 4, "ci95": [0, 1]}, "hter": {"value": value, "n": 4, "ci95": [0, 1]}}
        coarse = {"by_score": {"threshold": chosen, **rates}, "n_attack": 2, "n_bonafide": 2}
        return {"overall": {"coarse": coarse}, "threshold": chosen, "notes": []}

    found = collected([metrics(0.5, 0.1), metrics(0.55, 0.2), metrics(0.45, 0.3)])
    assert found["threshold"]["source"] == {"dataset": "dev", "n": 40, "apcer": pytest.approx(0.2)}
    assert _threshold(found["threshold"]) == "0.5 ± 0.05" and _threshold(metrics(0.5, 0.1)["threshold"]) == "0.5"


def test_begun_with_something_else(tmp_path: Path) -> None:
    begun(tmp_path / "a", "sweep", {"seed": 0, "path": Path("x")})
    begun(tmp_path / "a", "sweep", {"seed": 0, "path": "x"})
    begun(tmp_path / "a", "stage", {"seed": 7})  # a stage's own note stands beside it
    with pytest.raises(ValueError, match="begun with seed 0, now 1"):
        begun(tmp_path / "a", "sweep", {"seed": 1, "path": "x"})


@pytest.mark.parametrize(("test", "told"), [("dev", "are in .* too"), ("nowhere", "nowhere.jsonl")])
def test_faults_in_the_sets_are_told_before_anything_is_trained(
    test: str, told: str, sets: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    files = {"dev": sets["dev"], "test": sets["dev"].with_name(f"{test}.jsonl")}
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        run_sweep(sweep(sets, checkpoint, tmp_path / "out", **files))
    assert not (tmp_path / "out").exists()


def test_means_of_means_are_refused() -> None:
    one = collected([{"acc": {"value": 0.5}}, {"acc": {"value": 0.6}}])
    with pytest.raises(ValueError, match="expected those of single ones"):
        collected([one, {"acc": {"value": 0.9}}])


def test_settings_added_or_taken_away_are_other_settings(tmp_path: Path) -> None:
    begun(tmp_path, "stage", {"seed": 0, "epochs": 3})
    with pytest.raises(ValueError, match="begun with oversample None, now 2"):
        begun(tmp_path, "stage", {"seed": 0, "epochs": 3, "oversample": 2})
    with pytest.raises(ValueError, match="begun with epochs 3, now None"):
        begun(tmp_path, "stage", {"seed": 0})


def test_a_variants_settings_win_over_the_sweeps_and_those_over_a_stages(tmp_path: Path) -> None:
    stages = {"one": {"stage": "sft", "dialogues": ["d.jsonl"], "learning_rate": 1e-3, "clip": 3.0, "warmup": 0.3}}
    config = SweepConfig(
        init="tiny", out=tmp_path, stages=stages, settings={"learning_rate": 1e-4, "clip": 2.0},
        variants={"slow": {"learning_rate": 1e-5}}, repeat=2,
    )  # fmt: skip
    runs = list(plan(config))
    one = runs[0].stages["one"]
    assert (one.learning_rate, one.clip, one.warmup) == (1e-5, 2.0, 0.3)
    assert [run.stages["one"].seed for run in runs] == [0, 1]


def test_a_runs_loss_is_that_of_its_end(tmp_path: Path) -> None:
    rows = [{"event": "step", "step": step, "loss": 10.0 - step / 10} for step in range(1, 31)]
    (tmp_path / LOG_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert _last_loss(tmp_path) == pytest.approx(10 - 2.9)


def test_metrics_without_meteor_are_made_anew_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text("")
    values = {"init": "tiny", "out": tmp_path / "out", "stages": {"sft": {}}, "test": test}
    run = Run("", 0, tmp_path / "out" / "seed-0", {"sft": SimpleNamespace(out=tmp_path / "model")})  # type: ignore[dict-item]
    file = run.folder / "scores" / "metrics.json"
    monkeypatch.setattr("faceshield.recipes.sweep.measure", lambda *_, **__: {"anew": True})
    for found, meteor, anew in (({}, False, False), ({}, True, True), ({"reasoning": {"meteor": {}}}, True, False)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"overall": found}))
        made = _metrics(SweepConfig(**values, meteor=meteor), run, lambda row: None)
        assert made.get("anew", False) is anew


def test_a_finished_run_of_a_sweep_is_not_taken_for_one_of_other_weights(tmp_path: Path) -> None:
    init, dialogues = tmp_path / "init", tmp_path / "d.jsonl"
    init.mkdir()
    (init / "config.json").write_text("{}")
    dialogues.write_text("")
    stage = StageConfig(stage="sft", init=str(init), dialogues=dialogues, out=tmp_path / "out/one")
    stage.out.mkdir(parents=True)
    (stage.out / "run.json").write_text("{}")
    run = Run("", 0, tmp_path / "out", {"one": stage})
    _train(run, lambda row: None)
    _train(run, lambda row: None)
    (init / "config.json").write_text('{"other": 1}')
    with pytest.raises(ValueError, match="begun with weights"):
        _train(run, lambda row: None)
