"""One set where every number differs from its mirror image: a polarity flipped anywhere on the way is seen."""

from __future__ import annotations

import numpy as np
import pytest

from faceshield.evaluation import Threshold, score
from faceshield.records import Prediction, Truth

# (bonafide_score, presentation type): the bona fides mostly high, the attacks mostly low
ROWS = [(0.9, "Bonafide"), (0.8, "Bonafide"), (0.3, "Bonafide"), (0.6, "Print"), (0.2, "Replay")]
ROWS += [(0.1, "Replay"), (0.1, "Replay")]


def test_every_number_of_the_scores_by_hand() -> None:
    rows = [
        Prediction(
            id=f"{index}:coarse",
            sample_id=str(index),
            image="x.png",
            task="coarse",
            question="?",
            bonafide_score=value,
            status="parsed",
            truth=Truth(is_attack=kind != "Bonafide", presentation_type=kind),
        )
        for index, (value, kind) in enumerate(ROWS)
    ]
    found = score(rows, threshold=Threshold(0.5, {"dataset": "dev"}), rng=np.random.default_rng(0), repeats=0)
    coarse = found["overall"]["coarse"]
    judged, ranking = coarse["by_score"], coarse["ranking"]
    assert judged["apcer"]["value"] == pytest.approx(1 / 4) and judged["bpcer"]["value"] == pytest.approx(1 / 3)
    assert (judged["apcer_worst"]["type"], judged["apcer_worst"]["value"]) == ("Print", 1.0)
    assert judged["hter"]["value"] == pytest.approx((1 / 4 + 1 / 3) / 2)
    assert ranking["auc"]["value"] == pytest.approx(11 / 12)  # the 0.3 is below the 0.6
    assert ranking["apcer_at_bpcer1"]["value"] == pytest.approx(1 / 4)
    assert ranking["bpcer_at_apcer1"]["value"] == pytest.approx(1 / 3)
    assert ranking["apcer_worst_at_bpcer1"]["value"] == 1.0
    assert ranking["bpcer_at_apcer_worst1"]["value"] == pytest.approx(1 / 3)
    curve = coarse["curve"]
    assert (curve["apcer"][0], curve["bpcer"][0]) == (1.0, 0.0)  # at the lowest threshold all are let in
    assert (curve["apcer"][-1], curve["bpcer"][-1]) == (0.0, 1.0)
    brier = sum((value - (kind == "Bonafide")) ** 2 for value, kind in ROWS) / len(ROWS)
    assert coarse["calibration"]["brier"]["value"] == pytest.approx(brier)
    assert brier < 0.2 and coarse["calibration"]["bins"]["share_bonafide"][13] == 1.0  # the 0.9
