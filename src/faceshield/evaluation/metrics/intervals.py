"""Rates with their sample size and 95% interval: Wilson for counts, a bootstrap over subjects for everything else.

Use: ``rate(errors, n).to_dict()`` and ``bootstrap_intervals(subjects, lambda w: {"auc": ...}, rng)``.

Wilson treats rows as independent; rows of one subject or one video are not, so a Wilson interval is the
narrowest that the data can support. The bootstrap draws whole subjects and carries that dependence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054  # the 97.5% point of the normal distribution
TOLERANCE = 1e-12  # rates are ratios of small integers: what differs by less is equal but for rounding
Interval = tuple[float, float]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value in 0..1 and the number of rows behind it; ``value`` is None where the rows cannot define it."""

    value: float | None
    n: int
    ci95: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """The shape of every number in ``metrics.json``: value, n, ci95 [low, high] or null."""
        return {"value": self.value, "n": self.n, "ci95": None if self.ci95 is None else list(self.ci95)}


def wilson(k: int, n: int, z: float = Z95) -> Interval:
    """Wilson's score interval of k in n (1927, Eq. for the uncorrected interval), clipped to 0..1.

    Raises:
        ValueError: for n < 1 or k outside 0..n.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"count of {k} in {n} — expected 0 <= k <= n and n >= 1 — leave the rate out where n is 0")
    share = k / n
    scale = 1.0 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    # At the ends the exact bound is the end itself; rounding would leave it a hair inside.
    return (0.0 if k == 0 else max(0.0, centre - half), 1.0 if k == n else min(1.0, centre + half))


def rate(k: int, n: int) -> Estimate:
    """The share k / n with Wilson's interval; value and interval None for n = 0."""
    return Estimate(k / n, n, wilson(k, n)) if n else Estimate(None, 0)


def rate_of(hits: NDArray[np.bool_]) -> Estimate:
    """The share of True in a boolean array, as `rate`."""
    return rate(int(hits.sum()), int(hits.size))


def mean_of_rates_interval(first: Estimate, second: Estimate) -> Interval | None:
    """The interval of the mean of two independent rates from their own intervals (Zou & Donner's MOVER, 2008).

    For HTER and ACER. Unlike the bootstrap it does not shrink to a point where no error was seen.
    """
    if first.value is None or second.value is None or first.ci95 is None or second.ci95 is None:
        return None
    centre = (first.value + second.value) / 2
    low = math.hypot(first.value - first.ci95[0], second.value - second.ci95[0]) / 2
    high = math.hypot(first.ci95[1] - first.value, second.ci95[1] - second.value) / 2
    return max(0.0, centre - low), min(1.0, centre + high)


def wider(first: Interval | None, second: Interval | None) -> Interval | None:
    """The smallest interval holding both; if one is None, the other."""
    if first is None or second is None:
        return first or second
    return min(first[0], second[0]), max(first[1], second[1])


def bootstrap_intervals(
    subjects: Sequence[Hashable],
    statistic: Callable[[FloatArray], Mapping[str, float]],
    rng: np.random.Generator,
    *,
    repeats: int = 1000,
) -> dict[str, Interval]:
    """Percentile 95% intervals of one or several statistics, drawing subjects with replacement.

    Args:
        subjects: one key per row; rows of one key are drawn together.
        statistic: takes how often each row was drawn, (rows,) floats, and returns named values, NaN for one that the
            draw cannot define (the draw is then ignored for that interval).
        rng: the only source of randomness.
        repeats: number of draws; 0 gives no intervals.

    Returns:
        Name -> (low, high). Empty for fewer than two subjects, whose spread cannot be known; a name is
        missing if fewer than half of the draws defined it, or if all draws agreed: five right answers in five pictures
        do not show how certain that rate is.
    """
    numbers: dict[Hashable, int] = {}
    rows = np.array([numbers.setdefault(subject, len(numbers)) for subject in subjects], dtype=np.int64)
    count = len(numbers)
    if count < 2 or repeats < 1:
        return {}
    drawn: dict[str, list[float]] = {}
    for _ in range(repeats):
        weights = rng.multinomial(count, np.full(count, 1.0 / count))[rows].astype(np.float64)
        for name, value in statistic(weights).items():
            if not math.isnan(value):
                drawn.setdefault(name, []).append(value)
    intervals: dict[str, Interval] = {}
    for name, values in drawn.items():
        if 2 * len(values) >= repeats:
            low, high = np.quantile(np.asarray(values), [0.025, 0.975])
            if high - low > TOLERANCE:
                intervals[name] = (float(low), float(high))
    return intervals


def ratio(numerator: float, denominator: float) -> float:
    """numerator / denominator, NaN for an empty denominator (a bootstrap draw without such rows)."""
    return float(numerator) / float(denominator) if denominator else math.nan
