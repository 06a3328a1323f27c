from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from faceshield.evaluation.metrics.calibration import BINS, Calibration, fit_score_map


def test_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for case in range(250):
        n = int(rng.integers(1, 80))
        scores = rng.random(n) if case % 2 else rng.integers(0, 8, n) / 8  # ties in every other case; 0 among them
        attack = rng.random(n) < (0.0, 0.4, 1.0)[case % 3]  # one class alone in two of three
        calibration = Calibration(scores, attack)
        assert calibration.brier() == pytest.approx(brier_score_loss(~attack, scores, pos_label=True), abs=1e-9)
        count, mean, share = calibration.bins()
        filled = count > 0
        # scikit-learn's bins close at their upper edge, ours at the lower: no score lies on an inner edge here.
        true_share, true_mean = calibration_curve(~attack, scores, n_bins=BINS, strategy="uniform")
        np.testing.assert_allclose(share[filled], true_share, atol=1e-9)
        np.testing.assert_allclose(mean[filled], true_mean, atol=1e-9)
        expected = (count[filled] * np.abs(true_share - true_mean)).sum() / n
        assert calibration.error() == pytest.approx(expected, abs=1e-9)
        weights = rng.integers(0, 3, n)
        repeated = Calibration(np.repeat(scores, weights), np.repeat(attack, weights))
        assert calibration.error(weights.astype(float)) == pytest.approx(repeated.error(), abs=1e-12, nan_ok=True)
        assert calibration.brier(weights.astype(float)) == pytest.approx(repeated.brier(), abs=1e-12, nan_ok=True)


def test_by_hand_and_upside_down() -> None:
    scores, attack = [0.9, 0.9, 0.1, 0.1], [False, False, True, True]
    assert Calibration(scores, attack).error() == pytest.approx(0.1)
    assert Calibration(scores, np.logical_not(attack)).error() == pytest.approx(0.9)
    assert Calibration(scores, attack).brier() == pytest.approx(0.01)
    assert Calibration([1.0, 0.0], [False, True]).error() == 0.0


def test_missing_scores_and_faults() -> None:
    assert Calibration([math.nan, 0.8], [False, False]).error() == pytest.approx(0.2)
    assert math.isnan(Calibration([], []).error()) and math.isnan(Calibration([math.nan], [True]).brier())
    with pytest.raises(ValueError, match="outside 0..1"):
        Calibration([1.2], [True])
    with pytest.raises(ValueError, match="expected two"):
        Calibration([0.2, 0.3], [True])


def test_the_fitted_map_is_the_one_the_scores_were_made_with() -> None:
    """Scores that say log-odds x where the truth is 0.6 x - 1.2; 1 and 0 among them do no harm."""
    rng = np.random.default_rng(3)
    odds = rng.normal(1, 3, 40_000)
    scores, chance = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-(0.6 * odds - 1.2)))
    attack = rng.random(len(odds)) > chance
    scale, offset = fit_score_map(scores, attack)
    assert scale == pytest.approx(0.6, abs=0.02) and offset == pytest.approx(-1.2, abs=0.05)
    mended = 1 / (1 + np.exp(-(scale * odds + offset)))
    assert Calibration(scores, attack).error() > 0.1 and Calibration(mended, attack).error() < 0.01
    assert all(map(math.isfinite, fit_score_map([0.0, 1.0, 0.0, 1.0, 0.5], [True, False, False, True, False])))


@pytest.mark.parametrize(("each", "gap"), [(50, 0.3), (200, 0.2)])
def test_scores_that_separate_keep_their_ranking(each: int, gap: float) -> None:
    """Development scores without a single error ask a plain logistic regression for a scale without end."""
    rng = np.random.default_rng(0)
    attack = np.arange(2 * each) >= each
    dev = np.where(attack, rng.uniform(0.2, 0.5 - gap / 2, 2 * each), rng.uniform(0.5 + gap / 2, 0.8, 2 * each))
    scale, offset = fit_score_map(dev, attack)
    test = rng.random(4000)
    mended = 1 / (1 + np.exp(-(scale * (np.log(test) - np.log1p(-test)) + offset)))
    assert (np.diff(mended[np.argsort(test)]) >= 0).all() and len(np.unique(mended)) > 0.99 * len(test)
    at_the_edge = 1 / (1 + np.exp(-(scale * np.log(0.8 / 0.2) + offset)))
    assert 0.9 < at_the_edge < 1 - 1e-6


def test_no_map_mends_one_class_or_scores_upside_down() -> None:
    with pytest.raises(ValueError, match="expected both kinds"):
        fit_score_map([0.2, 0.8], [True, True])
    with pytest.raises(ValueError, match="do not tell bona fides from attacks"):
        fit_score_map([0.2, 0.3, 0.8, 0.6], [False, False, True, True])
