from __future__ import annotations

import math

import numpy as np
import pytest

from faceshield.evaluation.metrics.intervals import (
    Estimate,
    bootstrap_intervals,
    mean_of_rates_interval,
    rate,
    ratio,
    wider,
    wilson,
)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.277533),  # Newcombe 1998: no event is not "certainly 0"
        (10, 10, 0.722467, 1.0),
        (81, 263, 0.255269, 0.366156),  # Newcombe 1998, Table I, method 3: .2553 to .3662
        (15, 148, 0.062429, 0.160539),  # ditto: .0624 to .1605
        (1, 29, 0.006113, 0.171759),  # ditto: .0061 to .1718
    ],
)
def test_wilson_gives_the_published_limits(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_counts_that_are_none(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= k <= n"):
        wilson(k, n)


def test_rate_of_nothing_is_no_number() -> None:
    assert rate(0, 0) == Estimate(None, 0)
    assert rate(0, 0).to_dict() == {"value": None, "n": 0, "ci95": None}


def test_mean_of_two_rates_does_not_shrink_to_a_point() -> None:
    interval = mean_of_rates_interval(rate(0, 50), rate(0, 50))
    assert interval is not None
    assert interval[0] == 0.0
    # Two independent upper ends added in quadrature, halved: u / sqrt(2).
    assert interval[1] == pytest.approx(wilson(0, 50)[1] / math.sqrt(2))
    assert mean_of_rates_interval(rate(0, 0), rate(1, 2)) is None


def test_wider_holds_both() -> None:
    assert wider((0.1, 0.2), (0.15, 0.4)) == (0.1, 0.4)
    assert wider(None, (0.1, 0.2)) == (0.1, 0.2)
    assert wider(None, None) is None


def test_bootstrap_over_subjects_is_wider_than_over_rows() -> None:
    # 20 subjects of 30 rows, all rows of a subject alike: there are 20 facts, not 600.
    values = np.repeat(np.random.default_rng(1).random(20), 30)

    def mean(weights: np.ndarray) -> dict[str, float]:
        return {"mean": ratio(weights @ values, weights.sum())}

    by_subject = bootstrap_intervals(list(np.repeat(range(20), 30)), mean, np.random.default_rng(0))["mean"]
    by_row = bootstrap_intervals(list(range(600)), mean, np.random.default_rng(0))["mean"]
    assert by_subject[0] < values.mean() < by_subject[1]
    assert (by_subject[1] - by_subject[0]) > 3 * (by_row[1] - by_row[0])


def test_bootstrap_matches_the_normal_interval_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(size=400)
    low, high = bootstrap_intervals(
        list(range(400)),
        lambda w: {"mean": float(w @ values / w.sum())},
        np.random.default_rng(3),
        repeats=4000,
    )["mean"]
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.008)


def test_bootstrap_is_seeded_and_knows_what_it_cannot_know() -> None:
    def first(weights: np.ndarray) -> dict[str, float]:
        return {"share": float(weights[0] / weights.sum()), "never": math.nan}

    one = bootstrap_intervals("abcd", first, np.random.default_rng(7))
    two = bootstrap_intervals("abcd", first, np.random.default_rng(7))
    assert one == two and set(one) == {"share"}
    assert bootstrap_intervals("aaaa", first, np.random.default_rng(7)) == {}
    assert bootstrap_intervals("abcd", first, np.random.default_rng(7), repeats=0) == {}


def test_what_few_draws_define_has_no_interval() -> None:
    def shares(weights: np.ndarray) -> dict[str, float]:
        first = float(weights[0])
        return {"often": first if first <= 1 else math.nan, "seldom": first if first >= 3 else math.nan}

    assert set(bootstrap_intervals("abcd", shares, np.random.default_rng(7))) == {"often"}


def test_draws_that_agree_but_for_rounding_agree() -> None:
    values = np.full(10, 0.1 + 0.2) + np.array([0.0, 5e-17] * 5)
    drawn = bootstrap_intervals(
        range(10), lambda weights: {"mean": float(np.average(values, weights=weights))}, np.random.default_rng(0)
    )
    assert drawn == {}
