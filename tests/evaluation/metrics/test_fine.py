from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from faceshield.evaluation.metrics.fine import COLUMNS, FineScores
from faceshield.taxonomy import PRESENTATION_TYPES


def test_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(250):
        n = int(rng.integers(1, 60))
        names = rng.choice(PRESENTATION_TYPES, int(rng.integers(1, 12)), replace=False)
        true = rng.choice(names, n).tolist()
        guesses = rng.choice(COLUMNS, n)
        answered = [str(t if rng.random() < 0.6 else g) for t, g in zip(true, guesses, strict=True)]
        fine = FineScores(true, [None if name == "unparsed" else name for name in answered])
        present = sorted(set(true))
        assert fine.accuracy().value == pytest.approx(accuracy_score(true, answered), abs=1e-12)
        f1 = f1_score(true, answered, labels=present, average="macro", zero_division=0.0)
        assert fine.macro_f1() == pytest.approx(f1, abs=1e-12)
        recalls = recall_score(true, answered, labels=present, average=None, zero_division=0.0)
        assert {k: v.value for k, v in fine.recall_by_type().items()} == pytest.approx(
            dict(zip(present, recalls, strict=True)), abs=1e-12
        )
        matrix = confusion_matrix(true, answered, labels=list(COLUMNS))[: len(PRESENTATION_TYPES)]
        assert (fine.confusion() == matrix).all()


def test_an_unread_answer_is_an_error_of_its_own_kind() -> None:
    fine = FineScores(["Print", "Bonafide", "Replay"], ["Print", None, "a poem"])
    assert fine.accuracy().value == pytest.approx(1 / 3)
    assert fine.confusion()[:, -1].sum() == 2


def test_no_rows_and_foreign_types() -> None:
    assert FineScores([], []).accuracy().value is None and math.isnan(FineScores([], []).macro_f1())
    with pytest.raises(ValueError, match="true type 'Mask'"):
        FineScores(["Mask"], ["Print"])
    with pytest.raises(ValueError, match="expected one each"):
        FineScores(["Print"], [])
