from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceshield.evaluation import Threshold, score
from faceshield.evaluation.figures import deviate, draw
from faceshield.records import Prediction, Truth


def metrics(seed: int, *, flip: bool = False) -> dict:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(60):
        attack = index % 3 > 0
        value = float(np.clip(rng.normal(0.3 if attack else 0.7, 0.2), 0, 1))
        truth = Truth(is_attack=attack, presentation_type="Print" if attack else "Bonafide", subject=str(index))
        for task in ("coarse", "fine"):
            rows.append(
                Prediction(
                    id=f"{index}:{task}", sample_id=str(index), image="x.png", task=task, question="?", status="parsed",
                    bonafide_score=1 - value if flip else value, truth=truth,
                    presentation_type="Print" if value < 0.5 else "Bonafide",
                )
            )  # fmt: skip
    found = score(rows, threshold=Threshold(0.5, {"dataset": "dev"}), rng=np.random.default_rng(0), repeats=20)
    return json.loads(json.dumps(found, allow_nan=False))  # as it lies on disk


def test_everything_is_drawn_from_metrics_alone(tmp_path: Path) -> None:
    systems = {"first": metrics(0), "my system/2": metrics(1)}
    written = draw(systems, tmp_path / "figures")
    assert [path.name for path in written] == [
        "det.png", "roc.png", "calibration.png", "confusion-first.png", "confusion-my_system_2.png",
    ]  # fmt: skip
    for path in written:
        with Image.open(path) as picture:
            assert picture.size[0] > 400 and len(np.unique(np.asarray(picture.convert("L")))) > 20
    named = draw({"é": systems["first"], "è": systems["first"]}, tmp_path / "named")
    assert [path.name for path in named[-2:]] == ["confusion-é.png", "confusion-è.png"]
    with pytest.raises(ValueError, match="would be of two systems"):
        draw({"a b": systems["first"], "a_b": systems["first"]}, tmp_path / "alike")
    before = written[0].read_bytes()
    for name in systems:  # curves alone
        del systems[name]["overall"]["fine"], systems[name]["overall"]["coarse"]["calibration"]
    again = draw(systems, tmp_path / "again")
    assert [path.name for path in again] == ["det.png", "roc.png"] and again[0].read_bytes() == before
    # A curve upside down is another picture: the drawing shows the polarity.
    systems["first"]["overall"]["coarse"]["curve"] = metrics(0, flip=True)["overall"]["coarse"]["curve"]
    assert draw(systems, tmp_path / "flipped")[0].read_bytes() != before


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no scores and no presentation types"):
        draw({"mine": {"overall": {}}}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_deviates_of_the_det_axes() -> None:
    assert deviate(0.5)[0] == 0.0 and deviate(0.0228)[0] == pytest.approx(-2.0, abs=2e-3)
    assert np.isfinite(deviate([0.0, 1.0])).all()
