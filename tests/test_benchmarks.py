"""The benchmarks run, at their smallest; what they print is for people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
