"""The benchmarks run, at their smallest; what they print is for people."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Prediction, Sample, Truth, read_jsonl, write_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(*arguments: str) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / arguments[0]), *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_pvtm_costs_less_than_3_percent_of_the_towers() -> None:
    """Counted, not timed: PVTM's own operations at the paper's size, texts remembered."""
    line = next(line for line in run("pvtm.py").splitlines() if "per picture" in line)
    assert 0 < float(line.split("TFLOP")[1].split("%")[0]) <= 3.0


@pytest.mark.timeout(300)
def test_every_step_of_gpu_py(tmp_path: Path) -> None:
    run("gpu.py", "--device", "cpu", "--size", "toy", "--out", str(tmp_path / "out.json"))
    found = json.loads((tmp_path / "out.json").read_text())
    assert set(found["steps"]) == {"card", "parity", "towers", "photo", "batch", "decode", "train"}
    assert found["steps"]["parity"]["max_difference_of_logits"] <= 1e-5 < found["steps"]["parity"]["deviation_of_logits"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    types = ("Bonafide", "Print", "Tattoo")
    return simulate(tmp_path_factory.mktemp("sim"), SimulateConfig("drawn", 12, 2, types=types, size=96), workers=1)


def test_quality_counts_each_fault() -> None:
    text = run("quality.py", "--count", "4")
    assert re.search(r"too_small: 24 pixels a side +4 100\.0", text) and "limit 0.35" in text


def test_robustness_judges_sweeps_and_groups(simulated: Path, checkpoint: Path) -> None:
    text = run("robustness.py", str(simulated), "--model", str(checkpoint), "--count", "8", "--changed", "2", "--only", "gamma")
    assert "gamma 2 " in text and "skin" in text and "no reason given" in text


def test_a_perturbation_stays_within_its_budget(simulated: Path, checkpoint: Path) -> None:
    shield = FaceShieldPredictor.from_pretrained(checkpoint, threshold=0.5)
    shield.model.requires_grad_(True)
    spec = importlib.util.spec_from_file_location("adversarial", ROOT / "benchmarks" / "adversarial.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rgb = np.asarray(Image.open(simulated.parent / "images" / "000000.jpg"))
    moved = module.perturbed(shield, rgb, False, 4.0, 3)
    change = np.abs(moved.astype(int) - rgb.astype(int))
    assert moved.dtype == np.uint8 and 0 < change.max() <= 4
    before, after = (float(shield.detect(picture, face="whole").bonafide_score or 0) for picture in (rgb, moved))
    assert after < before, "towards the other verdict"


def test_pruning_is_measured_for_every_ranking(simulated: Path, checkpoint: Path) -> None:
    found = json.loads(run("keep_tokens.py", "--samples", str(simulated), "--model", str(checkpoint), "--keep", "4"))
    assert found["n"] == 12 and {row["ranking"] for row in found["rows"]} == {"all", "pvtm", "reversed", "random"}
    assert all(0 <= row["auc"] <= 1 for row in found["rows"])


def test_looks_are_judged_alone_and_in_pairs(simulated: Path, checkpoint: Path) -> None:
    looks = ("--first", "0.75", "--second", "2,whole")
    rows = re.findall(
        r"^\| ([^|]*\d[^|]*|whole[^|]*) \|", run("looks.py", str(simulated), "--model", str(checkpoint), *looks), re.M
    )
    assert rows == ["0.75", "2, mirrored", "whole, mirrored", "0.75 and 2, mirrored", "0.75 and whole, mirrored"]


@pytest.mark.parametrize("face", ["detect", "close", "tight", "whole"])
def test_a_samples_file_is_judged_in_every_framing(simulated: Path, checkpoint: Path, tmp_path: Path, face: str) -> None:
    out = tmp_path / "verdicts.jsonl"
    text = run("real_photos.py", str(simulated), "--model", str(checkpoint), "--face", face, "--out", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert f"--face {face}" in text and len(rows) == 12 and sum(row["is_attack"] for row in rows) == 8
    assert face != "whole" or all(row["status"] == "ok" for row in rows)


def test_cues_compares_a_probe_with_the_words(simulated: Path, checkpoint: Path, tmp_path: Path) -> None:
    rows = [row for row in read_jsonl(simulated, Sample) if row.is_attack]
    said = [
        Prediction(
            id=f"{row.id}:reasoning", sample_id=row.id, image=row.image, task="reasoning", truth=Truth.of(row),
            answer=f"The picture shows {row.meta['cues'][0]}, so this is an attack of type {row.presentation_type}.",
        )
        for row in rows
    ]  # fmt: skip
    write_jsonl(tmp_path / "said.jsonl", said)
    sets = ["--train", str(simulated), "--test", str(simulated), "--predictions", str(tmp_path / "said.jsonl")]
    text = run("cues.py", *sets, "--model", str(checkpoint), "--minutes", "0.1", "--threads", "1")
    assert "trained on 12 of 12 pictures" in text and "probe, probability > 0.5" in text
    assert re.search(r"words +100\.0 +\d+\.\d +1\.00", text), text
