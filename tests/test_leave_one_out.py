"""Leave one variant out, at toy size: what is left out is in no training picture, every variant gets its turn and its AUC."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceshield.records import Prediction, Sample, Truth, read_jsonl
from faceshield.simulate.attacks import VARIANTS
from faceshield.simulate.dataset import SimulateConfig, simulate

from .conftest import _sample
from .training.conftest import TOY

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "runs" / "leave_one_out.py"
SPEC = importlib.util.spec_from_file_location("leave_one_out", SCRIPT)
assert SPEC is not None and SPEC.loader is not None
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)


def test_every_variant_is_left_out_and_no_type_loses_all() -> None:
    rows = [_sample()] + [_sample(kind, original_label=name) for kind, names in VARIANTS.items() for name in names]
    made = module.folds(rows)
    assert len(made) == max(len(names) for names in VARIANTS.values())
    assert {name for fold in made for name in fold} == {name for names in VARIANTS.values() for name in names}
    for fold in made:
        assert all(set(names) - set(fold) for names in VARIANTS.values())
    with pytest.raises(ValueError, match="no presentation type has two variants"):
        module.folds(rows[:2])


def test_the_auc_of_a_variant_is_against_all_bona_fide() -> None:
    def said(number: int, score: float, variant: str | None) -> Prediction:
        truth = Truth(is_attack=variant is not None, presentation_type="Print" if variant else "Bonafide", subject=str(number),
                      meta={"variant": variant or "bonafide/live"})  # fmt: skip
        return Prediction(id=f"{number}:coarse", sample_id=str(number), image="x", task="coarse", question="", status="parsed",
                          bonafide_score=score, truth=truth)  # fmt: skip

    rows = [said(n, score, None) for n, score in enumerate((0.9, 0.6, 0.4))]
    rows += [said(10 + n, score, "print/laser") for n, score in enumerate((0.1, 0.5))] + [said(20, 0.7, "print/inkjet")]
    found = module.variant_aucs(rows, np.random.default_rng(0))
    assert found["print/laser"]["auc"] == pytest.approx(5 / 6) and found["print/inkjet"]["auc"] == pytest.approx(1 / 3)
    text = "\n".join(module.lines(found))
    assert "Print                         0.583  0.333" in text and "(goal 0.95 and 0.85)" in text
    # Of a model that has seen one of them.
    seen = _sample("Print", original_label="print/inkjet")
    told = list(module.judge(rows, [seen], np.random.default_rng(0)))
    assert not any("print/inkjet" in line for line in told) and "print/laser" in told[1]
    assert "0.833  0.833  (goal" in told[-2] and "0.333  0.333  (1 variants)" in told[-1]
    with pytest.raises(ValueError, match="no variant is new"):
        list(module.judge(rows, [seen, _sample("Print", original_label="print/laser")], np.random.default_rng(0)))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_folds_at_toy_size(tmp_path: Path) -> None:
    types = ("Bonafide", "Print", "Partial Mouth")
    samples = simulate(tmp_path / "sim", SimulateConfig("drawn", 240, 1, types=types, size=64), workers=2)
    toy = f"model={json.dumps(TOY)}"
    command = [sys.executable, str(SCRIPT), str(samples), toy, "pictures=48", "batch_size=8", "low_share=0", "threads=1",
               "--out", str(tmp_path / "out"), "--only", "0", "1"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "out" / "leave_one_out.json").read_text())
    assert {row["type"] for row in found.values()} == {"Print", "Partial Mouth"}
    judged: set[str | None] = set()
    for fold in (0, 1):
        data = tmp_path / "out" / f"fold-{fold}" / "data"
        trained = {row.original_label for row in read_jsonl(data / "train.jsonl", Sample)}
        tested = {row.original_label for row in read_jsonl(data / "test.jsonl", Sample)} - {"bonafide/live"}
        assert tested and not trained & tested
        judged |= tested
        assert {row.subject for row in read_jsonl(data / "train.jsonl", Sample)}.isdisjoint(
            row.subject for row in read_jsonl(data / "test.jsonl", Sample)
        )
    assert set(found) == judged, "every variant that somebody tested shows has its row"
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert again.returncode == 0 and "checkpoint:" not in again.stdout, "finished folds are found again"
