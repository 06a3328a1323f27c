"""Stage `baseline`: every method trains, stops, goes on bit for bit, starts from others, says what does not fit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel
from typer.testing import CliRunner

from faceshield.baselines.base import COARSE_TYPES, load_baseline, method, read_design, read_weights
from faceshield.baselines.stage import BaselineConfig, train_baseline
from faceshield.cli import app
from faceshield.config import ConfigError
from faceshield.records import Sample, read_jsonl, write_jsonl
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.watch import read_log

from .conftest import MODELS, TINY_RESNET

Make = Callable[..., BaselineConfig]


def trained(config: BaselineConfig) -> dict[str, torch.Tensor]:
    train_baseline(config)
    return read_weights(config.out)


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("name", MODELS)
def test_a_method_trains_and_its_folder_scores(name: str, stage_config: Make) -> None:
    rows: list[dict[str, Any]] = []
    config = stage_config(name)
    figures = train_baseline(config, lambda row: rows.append(dict(row)))
    assert [row["seen"] for row in rows if row["event"] == "step"] == [8, 16, 24, 32]
    assert [row["seen"] for row in rows if row["event"] == "dev"] == [16, 32]
    assert figures["n"] == 4 and figures["train_n"] == 20 and 0 <= figures["fine"] <= 1
    model = load_baseline(config.out)
    assert model.design.types == PRESENTATION_TYPES and model.design.domains == ("domain-0", "domain-1")
    with torch.no_grad():
        found = model.probabilities(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert found.shape == (3, 12) and found.min() >= 0
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))
    files = {file.suffix for file in config.out.iterdir()}
    assert files == {".json", ".jsonl", ".safetensors"}, "no pickle"
    assert json.loads((config.out / "run.json").read_text())["config"]["baseline"] == name


def test_patchnets_classes_may_be_cameras(stage_config: Make, domains_jsonl: Path) -> None:
    rows = read_jsonl(domains_jsonl, Sample)
    named = [row.model_copy(update={"meta": {**row.meta, "camera": f"cam{n % 3}"}}) for n, row in enumerate(rows)]
    write_jsonl(domains_jsonl, named)
    by_camera = stage_config("patchnet", model={**MODELS["patchnet"], "by_camera": True})
    train_baseline(by_camera)
    model = load_baseline(by_camera.out)
    assert model.design.domains == tuple(f"domain-{d}/cam{c}" for d in range(2) for c in range(3))
    assert len(model.directions) == 6 * len(PRESENTATION_TYPES)
    assert model.probabilities(torch.rand(2, 3, 64, 64) * 2 - 1).shape == (2, 12)
    plain = stage_config("patchnet", "plain")
    train_baseline(plain)
    assert load_baseline(plain.out).design.domains == ("domain-0", "domain-1")


@pytest.mark.parametrize("name", MODELS)
def test_a_stopped_run_goes_on_bit_for_bit(name: str, stage_config: Make) -> None:
    whole = trained(stage_config(name, "whole"))

    class Stop(Exception):
        pass

    def stop(row: Mapping[str, Any]) -> None:
        if row.get("event") == "step" and row["step"] == 3:
            raise Stop

    again = stage_config(name, "again")
    with pytest.raises(Stop):
        train_baseline(again, stop)
    assert not (again.out / "model.safetensors").exists()
    rows: list[dict[str, Any]] = []
    train_baseline(again, lambda row: rows.append(dict(row)))
    assert [row["step"] for row in rows if row["event"] == "step"] == [3, 4], "the third step was not saved yet"
    assert equal(whole, read_weights(again.out))
    logged = [json.loads(line) for line in (again.out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in logged if row["event"] == "step"] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_falls_on_pictures_that_are_seen_often(name: str, stage_config: Make) -> None:
    """In full precision, so that machines with bfloat16 units and without see the same run."""
    rows: list[dict[str, Any]] = []
    told: dict[str, Any] = {"max_shift": 0, "jitter": 0, "learning_rate": 3e-3, "save_minutes": 9.0, "eval_every": 10**6}
    config = stage_config(name, pictures=600, batch_size=20, bf16=False, **told)
    figures = train_baseline(config, lambda row: rows.append(dict(row)))
    losses = [row["loss"] for row in rows if row["event"] == "step"]
    # The lowest: after 20 steps IADG begins to mix styles, which is harder.
    assert min(losses) < 0.8 * losses[0] and figures["train_auc"] > 0.9


def test_coarse_truth_alone(stage_config: Make, domains_jsonl: Path) -> None:
    rows = read_jsonl(domains_jsonl, Sample)
    write_jsonl(domains_jsonl, [row.model_copy(update={"presentation_type": None}) if row.is_attack else row for row in rows])
    with pytest.raises(ValueError, match="train a baseline with labels=coarse"):
        train_baseline(stage_config("resnet"))
    for name in MODELS:
        config = stage_config(name, name, labels="coarse", pictures=16)
        figures = train_baseline(config)
        assert "fine" not in figures and read_design(config.out).types == COARSE_TYPES
        found = load_baseline(config.out).probabilities(torch.zeros(2, 3, 64, 64))
        assert found.shape == (2, 2)


def test_a_threshold_stays_with_the_weights_it_was_chosen_with(stage_config: Make) -> None:
    config = stage_config("resnet", pictures=16)
    train_baseline(config)
    chosen = json.dumps({"threshold": 0.4, "threshold_source": {"dataset": "dev"}})
    (config.out / "faceshield.json").write_text(chosen)
    train_baseline(config)
    assert (config.out / "faceshield.json").read_text() == chosen
    rows: list[Mapping[str, Any]] = []
    train_baseline(stage_config("resnet", pictures=32), rows.append)
    assert not (config.out / "faceshield.json").exists() and rows[-1]["event"] == "warning"
    assert (config.out / "faceshield.json.before").read_text() == chosen


def test_a_start_from_a_baseline_of_ours(stage_config: Make) -> None:
    first = trained(stage_config("resnet", "first"))
    init = str(stage_config("resnet", "first").out)
    begun = trained(stage_config("resnet", "begun", model={}, init=init, learning_rate=1e-9))
    for name, value in first.items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value, begun[name], rtol=0, atol=1e-6)
    # Other classes: the head starts anew, the rest goes on.
    config = stage_config("resnet", "coarse", model={}, init=init, labels="coarse")
    assert trained(config)["head.weight"].shape == (2, 24)
    with pytest.raises(ValueError, match="leave one of them out"):
        train_baseline(stage_config("resnet", "twice", init=str(config.out)))
    with pytest.raises(ValueError, match="a resnet — expected a cdcn"):
        train_baseline(stage_config("cdcn", "other", init=str(config.out)))


@pytest.mark.parametrize("head", [True, False])
def test_a_start_from_published_weights(head: bool, stage_config: Make, tmp_path: Path) -> None:
    config = ResNetConfig(**TINY_RESNET, num_labels=5)
    published = ResNetForImageClassification(config) if head else ResNetModel(config)
    published.save_pretrained(tmp_path / "published")
    told = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "published" / "preprocessor_config.json").write_text(json.dumps(told))
    design = stage_config("resnet", model={}, init=str(tmp_path / "published"), pictures=8)
    weights = trained(design)
    prefix = "resnet." if head else ""
    for name, value in published.state_dict().items():
        if name.startswith(prefix) and name.endswith(".weight") and value.ndim == 4:
            torch.testing.assert_close(weights["backbone." + name.removeprefix(prefix)], value, rtol=0, atol=2e-3)
    model = load_baseline(design.out)
    assert model.design.std == (0.229, 0.224, 0.225)
    white = model.normalised(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(white[0, :, 0, 0], torch.tensor([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]))


def test_a_start_that_does_not_say_how_its_pictures_are_normalised_is_refused(stage_config: Make, tmp_path: Path) -> None:
    ResNetModel(ResNetConfig(**TINY_RESNET)).save_pretrained(tmp_path / "published")
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config\.json — expected how"):
        train_baseline(stage_config("resnet", model={}, init=str(tmp_path / "published"), pictures=8))


def test_what_does_not_fit_is_said(stage_config: Make, domains_jsonl: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of resnet, "):
        stage_config("resnot")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        stage_config("cdcn", model={"widht": 8})
    with pytest.raises(ConfigError, match="hidden_size — expected some of"):
        stage_config("resnet", model={"backbone": {"hidden_size": 8}})
    with pytest.raises(ValueError, match="a multiple of 8"):
        train_baseline(stage_config("cdcn", image_size=100))
    attacks = tmp_path / "data" / "attacks.jsonl"
    write_jsonl(attacks, [row for row in read_jsonl(domains_jsonl, Sample) if row.is_attack])
    with pytest.raises(ValueError, match="only attacks in split 'train'"):
        train_baseline(stage_config("resnet", data=attacks))
    with pytest.raises(FileNotFoundError, match="expected 'tiny', a folder or a hub id"):
        train_baseline(stage_config("resnet", init=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="no method|expected one of"):
        method("bunny")


def test_the_verb(stage_config: Make) -> None:
    config = stage_config("resnet")
    values = [f"{name}={json.dumps(value)}" for name, value in config.model_dump(mode="json").items() if name != "stage"]
    done = CliRunner().invoke(app, ["train", "baseline", *values])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == f"checkpoint: {config.out}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["resnet", "iadg"])
def test_killed_at_random_moments_the_weights_are_those_of_a_whole_run(name: str, stage_config: Make) -> None:
    def command(out: str) -> list[str]:
        values = stage_config(name, out, pictures=800).model_dump(mode="json", exclude={"stage"})
        told = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        return [sys.executable, "-m", "faceshield", "train", "baseline", *told]

    start = time.monotonic()
    assert subprocess.run(command("whole"), capture_output=True, check=False).returncode == 0
    seconds, rng, whole = time.monotonic() - start, random.Random(0), stage_config(name, "whole").out
    log, kills = stage_config(name, "again").out / "log.jsonl", 0
    for wanted in (10, 40, 70):
        process = subprocess.Popen(command("again"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 10 * seconds
        while process.poll() is None and time.monotonic() < limit and (not log.exists() or len(read_log(log)) < wanted):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 3, "ended before it could be killed"
    assert subprocess.run(command("again"), capture_output=True, check=False).returncode == 0
    assert equal(read_weights(whole), read_weights(log.parent))
    steps = [[row["loss"] for row in read_log(out / "log.jsonl") if row["event"] == "step"] for out in (whole, log.parent)]
    assert steps[0] == steps[1] and len(steps[0]) == 100
