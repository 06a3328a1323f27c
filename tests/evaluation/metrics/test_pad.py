from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from faceshield.evaluation.metrics.pad import (
    ScoreCurve,
    WeightedErrors,
    correct_by_answer,
    correct_by_score,
    error_rates,
)

CASES = 250


def cases(seed: int = 0):
    """Random score sets with many ties, small classes and skewed mixes; both classes are there."""
    rng = np.random.default_rng(seed)
    for index in range(CASES):
        n = int(rng.integers(2, 60))
        attack = rng.random(n) < rng.uniform(0.1, 0.9)
        attack[:2] = [True, False]
        scores = rng.random(n) + 0.4 * ~attack
        if index % 2:
            scores = np.round(scores * 4) / 4  # at most 7 distinct values
        yield scores / 1.5, attack, rng


def test_a_hand_worked_table() -> None:
    # threshold 0.5, score == 0.5 is judged bona fide
    rows = [
        # score, is_attack, type, right?
        (0.9, False, "Bonafide", True),
        (0.5, False, "Bonafide", True),  # on the threshold: bona fide, right
        (0.4, False, "Bonafide", False),
        (0.8, False, "Bonafide", True),
        (0.5, True, "Print", False),  # on the threshold: bona fide, wrong
        (0.2, True, "Print", True),
        (0.1, True, "Replay", True),
        (0.3, True, "Replay", True),
        (0.4, True, "Replay", True),
        (math.nan, True, "Makeup", False),  # no score: an error
    ]
    scores, attack, types, right = zip(*rows, strict=True)
    correct = correct_by_score(scores, attack, 0.5)
    assert correct.tolist() == list(right)
    found = error_rates(correct, attack, types)
    assert found.acc.value == pytest.approx(7 / 10)
    assert found.bpcer.value == pytest.approx(1 / 4)
    assert found.apcer.value == pytest.approx(2 / 6)
    assert {name: value.value for name, value in found.apcer_by_type.items()} == {
        "Print": 0.5,
        "Replay": 0.0,
        "Makeup": 1.0,
    }
    assert (found.worst_type, found.apcer_worst.value, found.apcer_worst.n) == ("Makeup", 1.0, 1)
    assert found.hter.value == pytest.approx((2 / 6 + 1 / 4) / 2)
    assert found.acer.value == pytest.approx((1.0 + 1 / 4) / 2)


def test_of_equally_bad_types_the_first_by_name_is_worst() -> None:
    found = error_rates([False, False, True], [True, True, False], ["Replay", "Print", "Bonafide"])
    assert found.worst_type == "Print"


def test_an_unread_answer_is_wrong_for_either_class() -> None:
    assert correct_by_answer([None, None, True, False], [True, False, True, True]).tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_a_missing_bona_fide_score_is_a_bona_fide_error() -> None:
    assert correct_by_score([math.nan, math.nan], [True, False], 0.5).tolist() == [False, False]


def test_polarity_flips_are_seen() -> None:
    scores, attack = np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([False, False, False, True, True])
    assert ScoreCurve(scores, attack).auc() == 1.0
    assert ScoreCurve(1 - scores, attack).auc() == 0.0
    assert ScoreCurve(scores, ~attack).auc() == 0.0
    assert ScoreCurve(scores, attack).eer() == 0.0
    assert ScoreCurve(1 - scores, attack).eer() == 1.0
    assert ScoreCurve(scores, attack).apcer_at_bpcer(0.0) == 0.0
    assert ScoreCurve(1 - scores, attack).apcer_at_bpcer(0.0) == 1.0
    assert correct_by_score(scores, attack, 0.5).all()
    assert not correct_by_score(1 - scores, attack, 0.5).any()
    # APCER and BPCER are not each other: all judged bona fide is APCER 1 and BPCER 0.
    found = error_rates(correct_by_score(scores, attack, -1.0), attack, ["x"] * 5)
    assert (found.apcer.value, found.bpcer.value) == (1.0, 0.0)


def test_auc_equals_scikit_learn() -> None:
    for scores, attack, _ in cases():
        assert ScoreCurve(scores, attack).auc() == pytest.approx(roc_auc_score(~attack, scores), abs=1e-12)


def test_rates_equal_scikit_learn_at_every_threshold() -> None:
    for scores, attack, _ in cases():
        fpr, tpr, thresholds = roc_curve(~attack, scores, drop_intermediate=False)  # accepts score >= t
        curve = ScoreCurve(scores, attack)
        apcer, bpcer = curve.rates()
        assert curve.thresholds[::-1].tolist() == thresholds.tolist()
        np.testing.assert_allclose(apcer[::-1], fpr, atol=1e-12)
        np.testing.assert_allclose(1 - bpcer[::-1], tpr, atol=1e-12)


def test_eer_and_apcer_at_bpcer_equal_a_search_over_every_threshold() -> None:
    for scores, attack, rng in cases(1):
        tried = []
        for threshold in [*np.unique(scores), np.inf]:
            correct = correct_by_score(scores, attack, threshold)
            tried.append(((~correct[attack]).mean(), (~correct[~attack]).mean()))
        nearest = min(abs(a - b) for a, b in tried)
        expected = min((a + b) / 2 for a, b in tried if abs(a - b) <= nearest + 1e-12)
        curve = ScoreCurve(scores, attack)
        assert curve.eer() == pytest.approx(expected, abs=1e-12)
        limit = float(rng.choice([0.0, 0.01, 0.05, 0.1, 0.5]))
        assert curve.apcer_at_bpcer(limit) == pytest.approx(min(a for a, b in tried if b <= limit + 1e-12), abs=1e-12)


def test_weights_count_like_repeated_rows() -> None:
    for scores, attack, rng in cases(2):
        weights = rng.integers(0, 4, len(scores))
        weights[:2] = np.maximum(weights[:2], 1)
        curve = ScoreCurve(scores, attack)
        repeated = ScoreCurve(np.repeat(scores, weights), np.repeat(attack, weights))
        floats = weights.astype(float)
        assert curve.auc(floats) == pytest.approx(repeated.auc(), abs=1e-12)
        assert curve.eer(floats) == pytest.approx(repeated.eer(), abs=1e-12)
        assert curve.apcer_at_bpcer(0.1, floats) == pytest.approx(repeated.apcer_at_bpcer(0.1), abs=1e-12)
        types = np.where(attack, rng.choice(["Print", "Replay"], len(scores)), "Bonafide")
        correct = correct_by_score(scores, attack, 0.5)
        drawn = WeightedErrors(correct, attack, types.tolist())(floats)
        plain = error_rates(np.repeat(correct, weights), np.repeat(attack, weights), np.repeat(types, weights).tolist())
        assert drawn["hter"] == pytest.approx(plain.hter.value, abs=1e-12)
        assert drawn["acer"] == pytest.approx(plain.acer.value, abs=1e-12)


def test_a_missing_score_is_an_error_at_every_threshold() -> None:
    scores = np.array([0.9, math.nan, 0.8, math.nan, 0.1, 0.2])
    attack = np.array([False, False, False, True, True, True])
    curve = ScoreCurve(scores, attack)
    apcer, bpcer = curve.rates()
    assert apcer.min() == pytest.approx(1 / 3) and bpcer.min() == pytest.approx(1 / 3)
    assert curve.eer() == pytest.approx(1 / 3)
    assert curve.auc() == pytest.approx(4 / 9)  # of 9 pairs the 2 x 2 whole ones are won
    assert curve.apcer_at_bpcer(0.01) == 1.0
    alone = ScoreCurve([math.nan, math.nan], [True, False])
    assert (alone.auc(), alone.eer()) == (0.0, 1.0)


@pytest.mark.parametrize("attack", [[True, True], [False, False], []])
def test_one_class_or_none_has_no_curve_but_its_own_rate(attack: list[bool]) -> None:
    scores = [0.2, 0.7][: len(attack)]
    curve = ScoreCurve(scores, attack)
    assert math.isnan(curve.auc()) and math.isnan(curve.eer()) and math.isnan(curve.apcer_at_bpcer(0.05))
    found = error_rates(correct_by_score(scores, attack, 0.5), attack, ["Print"] * len(attack))
    assert found.hter.value is None and found.acer.value is None
    expected = None if not attack else 0.5
    assert (found.apcer.value if attack and attack[0] else found.bpcer.value) == expected
    assert found.acc.value == expected


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="expected one each a row"):
        error_rates([True], [True, False], ["Print", "Bonafide"])
    with pytest.raises(ValueError, match="one score a row"):
        ScoreCurve([0.1], [True, False])
    with pytest.raises(ValueError, match="infinite"):
        ScoreCurve([0.1, math.inf], [True, False])


def test_operating_points_of_the_worst_type_equal_a_search_over_every_threshold() -> None:
    for scores, attack, rng in cases(3):
        types = np.where(attack, rng.choice(["Print", "Replay", "Tattoo"], len(scores)), "Bonafide").tolist()
        curve = ScoreCurve(scores, attack, types)
        tried = []
        for threshold in [*np.unique(scores), np.inf]:
            found = error_rates(correct_by_score(scores, attack, threshold), attack, types)
            tried.append((found.apcer.value, found.apcer_worst.value, found.bpcer.value))
        np.testing.assert_allclose(curve.worst_apcer(), [worst for _, worst, _ in tried], atol=1e-12)
        at_once = curve.summary((1, 5, 10, 30))
        assert (at_once["auc"], at_once["eer"]) == (curve.auc(), curve.eer())
        for limit in (0.01, 0.05, 0.1, 0.3):
            for worst in (False, True):
                name = f"apcer{'_worst' * worst}"
                assert at_once[f"{name}_at_bpcer{100 * limit:g}"] == curve.apcer_at_bpcer(limit, worst=worst)
                assert at_once[f"bpcer_at_{name}{100 * limit:g}"] == curve.bpcer_at_apcer(limit, worst=worst)
                lowest_bpcer = min(rates[2] for rates in tried if rates[worst] <= limit + 1e-12)
                lowest_apcer = min(rates[worst] for rates in tried if rates[2] <= limit + 1e-12)
                assert curve.bpcer_at_apcer(limit, worst=worst) == pytest.approx(lowest_bpcer, abs=1e-12)
                assert curve.apcer_at_bpcer(limit, worst=worst) == pytest.approx(lowest_apcer, abs=1e-12)
        weights = rng.integers(0, 3, len(scores)).astype(float)
        if weights[attack].any() and weights[~attack].any():
            times = weights.astype(int)
            repeated = ScoreCurve(np.repeat(scores, times), np.repeat(attack, times), np.repeat(types, times).tolist())
            for worst in (False, True):
                expected = repeated.bpcer_at_apcer(0.1, worst=worst)
                assert curve.bpcer_at_apcer(0.1, weights, worst=worst) == pytest.approx(expected, abs=1e-12)


def test_corners_hold_the_whole_curve() -> None:
    for scores, attack, _ in cases(4):
        curve = ScoreCurve(scores, attack)
        apcer, bpcer = curve.rates()
        thresholds, x, y = curve.corners()
        assert len(x) <= len(apcer) and (thresholds[0], thresholds[-1]) == (curve.thresholds[0], curve.thresholds[-1])
        # The area under both is the AUC's, and every point left out lies on the line between its neighbours.
        assert np.trapezoid(1 - y[::-1], x[::-1]) == pytest.approx(curve.auc(), abs=1e-12)
        kept = {(round(a, 12), round(b, 12)) for a, b in zip(x, y, strict=True)}
        assert kept <= {(round(a, 12), round(b, 12)) for a, b in zip(apcer, bpcer, strict=True)}


def test_corners_of_a_large_set_are_corners_too() -> None:
    """A step of one picture in millions is as much of a turn as one of two."""
    ones = np.ones(1_500_000)
    scores, attack = [ones, [0.95, 0.9], 0.5 * ones], [ones == 0, [True, False], ones == 1]
    curve = ScoreCurve(np.concatenate(scores), np.concatenate(attack))
    _, x, y = curve.corners()
    assert len(x) == 5 and np.trapezoid(1 - y[::-1], x[::-1]) == pytest.approx(curve.auc(), abs=1e-12)


def test_operating_points_tell_the_two_rates_and_the_two_polarities_apart() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.1])
    attack = np.array([False, False, False, True, True, True])
    types = ["", "", "", "Print", "Replay", "Replay"]
    curve = ScoreCurve(scores, attack, types)
    # All three bona fides accepted (t = 0.3) lets one of three attacks in, the only Print.
    assert curve.apcer_at_bpcer(0.0) == pytest.approx(1 / 3) and curve.apcer_at_bpcer(0.0, worst=True) == 1.0
    # All attacks refused (t = 0.8) refuses one of three bona fides.
    assert curve.bpcer_at_apcer(0.0) == pytest.approx(1 / 3)
    assert ScoreCurve(1 - scores, attack, types).bpcer_at_apcer(0.0) == 1.0
    assert np.isnan(ScoreCurve(scores, attack).bpcer_at_apcer(0.1, worst=True))
    assert np.isnan(ScoreCurve([0.1, 0.2], [True, True], ["Print", "Print"]).bpcer_at_apcer(0.1))
    assert ScoreCurve([], []).corners()[0].size == 0
    with pytest.raises(ValueError, match="1 types for 2 rows"):
        ScoreCurve([0.1, 0.2], [True, False], ["Print"])
