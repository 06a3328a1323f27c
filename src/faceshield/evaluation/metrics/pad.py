"""Presentation-attack-detection error rates in the terms of ISO/IEC 30107-3 (paper §5.1: ACC and HTER).

Use: ``error_rates(correct, is_attack, types)`` for decisions, ``ScoreCurve(scores, is_attack)`` for scores.

Polarity, once for the whole package: a high ``bonafide_score`` means bona fide, and a row is judged an attack when
``score < threshold``. A score exactly on the threshold is therefore judged bona fide: right for a bona fide row, wrong for an
attack. A row without a decision or a score is an error of its own class, whichever that is.

APCER of a type: the share of its attacks judged bona fide; `apcer` is that of all attacks together, `apcer_worst` that of the
worst type (ISO reports the worst species). BPCER: the share of bona fide rows judged attacks. ACER = (worst APCER + BPCER) / 2.
HTER = (pooled APCER + BPCER) / 2, the paper's and bob's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceshield.evaluation.metrics.intervals import TOLERANCE, Estimate, FloatArray, rate_of, ratio

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ErrorRates:
    """The rates of one set of decisions; a value is None where the set has no row that could define it."""

    acc: Estimate
    hter: Estimate
    acer: Estimate
    apcer: Estimate  # pooled over all attacks
    apcer_worst: Estimate
    worst_type: str | None
    bpcer: Estimate
    apcer_by_type: dict[str, Estimate] = field(default_factory=dict)


def judged_attack(scores: ArrayLike, threshold: float) -> BoolArray:
    """True where ``score < threshold``. NaN compares as False: ask `correct_by_score` for right and wrong."""
    return np.asarray(scores, dtype=np.float64) < threshold


def correct_by_score(scores: ArrayLike, is_attack: ArrayLike, threshold: float) -> BoolArray:
    """Whether each row is judged rightly at the threshold; a missing score (NaN) is wrong either way."""
    values = np.asarray(scores, dtype=np.float64)
    return (judged_attack(values, threshold) == np.asarray(is_attack, dtype=bool)) & ~np.isnan(values)


def correct_by_answer(answers: Sequence[bool | None], is_attack: ArrayLike) -> BoolArray:
    """Whether each answered decision is right; None (unread, failed) is wrong for either class."""
    truth = np.asarray(is_attack, dtype=bool)
    return np.array(
        [answer is not None and answer == bool(t) for answer, t in zip(answers, truth, strict=True)],
        dtype=bool,
    )


def error_rates(correct: ArrayLike, is_attack: ArrayLike, types: Sequence[str]) -> ErrorRates:
    """All hard-decision rates, with Wilson intervals for the counted ones.

    HTER and ACER need both classes and are None without; their intervals are left to the caller, as they are not
    single counts. Of equally bad types, the alphabetically first is named.

    Raises:
        ValueError: where the three arguments differ in length.
    """
    right, attack = np.asarray(correct, dtype=bool), np.asarray(is_attack, dtype=bool)
    if not len(right) == len(attack) == len(types):
        raise ValueError(
            f"{len(right)} decisions, {len(attack)} truths, {len(types)} types — expected one each a row — "
            "pass arrays of equal length"
        )
    names = np.asarray(types, dtype=object)
    by_type = {name: rate_of(~right[attack & (names == name)]) for name in sorted(set(names[attack]))}
    worst = max(by_type, key=lambda name: by_type[name].value or 0.0) if by_type else None
    pooled, bpcer = rate_of(~right[attack]), rate_of(~right[~attack])
    apcer_worst = by_type[worst] if worst is not None else Estimate(None, 0)
    return ErrorRates(
        acc=rate_of(right),
        hter=_mean(pooled, bpcer),
        acer=_mean(apcer_worst, bpcer),
        apcer=pooled,
        apcer_worst=apcer_worst,
        worst_type=worst,
        bpcer=bpcer,
        apcer_by_type=by_type,
    )


def _mean(first: Estimate, second: Estimate) -> Estimate:
    if first.value is None or second.value is None:
        return Estimate(None, first.n + second.n)
    return Estimate((first.value + second.value) / 2, first.n + second.n)


class WeightedErrors:
    """HTER and ACER of resampled rows, for the bootstrap: ``errors(weights) -> {"hter", "acer"}``."""

    def __init__(self, correct: ArrayLike, is_attack: ArrayLike, types: Sequence[str]) -> None:
        attack = np.asarray(is_attack, dtype=bool)
        self._wrong = ~np.asarray(correct, dtype=bool)
        names = sorted({name for name, a in zip(types, attack, strict=True) if a})
        numbers = {name: index for index, name in enumerate(names)}
        # Bona fide rows share the last bin, so one bincount counts every type and the bona fide rows.
        self._bins = np.array([numbers[t] if a else len(names) for t, a in zip(types, attack, strict=True)], dtype=int)
        self._size = len(names) + 1

    def __call__(self, weights: FloatArray) -> dict[str, float]:
        total = np.bincount(self._bins, weights, self._size)
        wrong = np.bincount(self._bins, weights * self._wrong, self._size)
        bpcer = ratio(wrong[-1], total[-1])
        drawn = total[:-1] > 0
        worst = float((wrong[:-1][drawn] / total[:-1][drawn]).max()) if drawn.any() else math.nan
        return {"hter": (ratio(wrong[:-1].sum(), total[:-1].sum()) + bpcer) / 2, "acer": (worst + bpcer) / 2}


class ScoreCurve:
    """APCER and BPCER at every threshold that makes a difference, with ties kept together.

    ``thresholds`` (m,) are the distinct scores ascending and +inf last; at ``thresholds[i]`` rows scoring
    less are judged attacks. A missing score (NaN) is an error of its class at every threshold. APCER is
    pooled over all attacks or, where a method is given ``worst=True``, that of the worst type at each
    threshold, ISO's (NaN without ``types``).

    Args:
        scores: (rows,) bonafide_score, high = bona fide.
        is_attack: (rows,) the truth.
        types: (rows,) the attacks' presentation types; those of bona fide rows are ignored.

    Raises:
        ValueError: where the arguments differ in length, or a score is infinite.
    """

    def __init__(self, scores: ArrayLike, is_attack: ArrayLike, types: Sequence[str] | None = None) -> None:
        values, attack = np.array(scores, dtype=np.float64), np.asarray(is_attack, dtype=bool)
        if values.shape != attack.shape or values.ndim != 1:
            raise ValueError(
                f"scores {values.shape} and truths {attack.shape} — expected two (rows,) arrays — pass one score a row"
            )
        if types is not None and len(types) != len(attack):
            raise ValueError(f"{len(types)} types for {len(attack)} rows — expected one a row — pass equal lists")
        if np.isinf(values).any():
            raise ValueError("infinite bonafide_score — expected a number in 0..1, or none — repair the predictions")
        missing = np.isnan(values)
        values[missing & attack], values[missing & ~attack] = np.inf, -np.inf
        self.distinct, self._inverse = np.unique(values, return_inverse=True)
        self._attack = attack
        named = [] if types is None else [str(t) if a else "" for t, a in zip(types, attack, strict=True)]
        self._names = sorted({name for name, a in zip(named, attack, strict=False) if a})
        # One row of counts for each type; bona fide rows have none.
        numbers = {name: index for index, name in enumerate(self._names)}
        self._type = np.array([numbers[name] if a else -1 for name, a in zip(named, attack, strict=False)], dtype=int)
        # Missing bona fide rows lie at -inf and missing attacks at +inf: the thresholds that would
        # forgive them are left out.
        first = int(bool((missing & ~attack).any()))
        last = len(self.distinct) + int(not (missing & attack).any())
        self._kept = slice(first, last)
        self.thresholds: FloatArray = np.append(self.distinct, np.inf)[self._kept]

    def counts(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """(attacks, bona fide) at each distinct score, ascending; ``weights`` (rows,) counts rows."""
        rows = np.ones(len(self._attack)) if weights is None else weights
        size = len(self.distinct)
        return (
            np.bincount(self._inverse, rows * self._attack, size).astype(np.float64),
            np.bincount(self._inverse, rows * ~self._attack, size).astype(np.float64),
        )

    def rates(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray]:
        """(APCER, BPCER) at `thresholds`, (m,) each: APCER falls, BPCER rises; NaN for an empty class."""
        attacks, bonafides = self.counts(weights)
        below_attacks, below_bonafides = _cumulated(attacks), _cumulated(bonafides)
        with np.errstate(invalid="ignore"):
            apcer, bpcer = 1.0 - below_attacks / below_attacks[-1], below_bonafides / below_bonafides[-1]
        return apcer[self._kept], bpcer[self._kept]

    def worst_apcer(self, weights: FloatArray | None = None) -> FloatArray:
        """(m,) APCER of the worst type at `thresholds`; NaN without an attack or without types."""
        rows = np.ones(len(self._attack)) if weights is None else weights
        if not self._names:
            return np.full(len(self.thresholds), math.nan)
        size, chosen = len(self.distinct), self._type >= 0
        cells = self._type[chosen] * size + self._inverse[chosen]
        counts = np.bincount(cells, rows[chosen], size * len(self._names)).reshape(-1, size)
        below = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
        drawn = below[:, -1] > 0
        if not drawn.any():
            return np.full(len(self.thresholds), math.nan)
        worst: FloatArray = (1.0 - below[drawn] / below[drawn, -1:]).max(axis=0)
        return worst[self._kept]

    def auc(self, weights: FloatArray | None = None) -> float:
        """The probability that a bona fide row outscores an attack, ties counting half; NaN without both classes."""
        attacks, bonafides = self.counts(weights)
        wins = (bonafides * (_cumulated(attacks)[:-1] + attacks / 2)).sum()
        return ratio(wins, attacks.sum() * bonafides.sum())

    def eer(self, weights: FloatArray | None = None) -> float:
        """(APCER + BPCER) / 2 where the two are nearest, bob's definition; of equally near ones, the lowest."""
        return _equal_error_rate(*self.rates(weights))

    def apcer_at_bpcer(self, limit: float, weights: FloatArray | None = None, *, worst: bool = False) -> float:
        """The lowest APCER where BPCER <= ``limit`` (0..1); NaN without both classes."""
        apcer, bpcer = self._both(weights, worst)
        return _lowest_within(apcer, bpcer, limit)

    def bpcer_at_apcer(self, limit: float, weights: FloatArray | None = None, *, worst: bool = False) -> float:
        """The lowest BPCER where APCER <= ``limit`` (0..1), ISO's BPCER20 for 0.05; NaN without both classes."""
        apcer, bpcer = self._both(weights, worst)
        return _lowest_within(bpcer, apcer, limit)

    def _both(self, weights: FloatArray | None, worst: bool) -> tuple[FloatArray, FloatArray]:
        apcer, bpcer = self.rates(weights)
        return (self.worst_apcer(weights) if worst else apcer), bpcer

    def summary(self, percents: Iterable[int], weights: FloatArray | None = None) -> dict[str, float]:
        """The curve in numbers: "auc", "eer" and the operating points, each rate computed once.

        For each limit in percent, such as 5: "apcer_at_bpcer5", "bpcer_at_apcer5", "apcer_worst_at_bpcer5" and
        "bpcer_at_apcer_worst5".
        """
        apcer, bpcer = self.rates(weights)
        worst = self.worst_apcer(weights)
        found = {"auc": self.auc(weights), "eer": _equal_error_rate(apcer, bpcer)}
        for percent in percents:
            for name, rate in (("apcer", apcer), ("apcer_worst", worst)):
                found[f"{name}_at_bpcer{percent}"] = _lowest_within(rate, bpcer, percent / 100)
                found[f"bpcer_at_{name}{percent}"] = _lowest_within(bpcer, rate, percent / 100)
        return found

    def corners(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(thresholds, APCER, BPCER) of the points where the curve turns, all that a drawing needs.

        Between two neighbouring points the curve is straight. Empty without both classes.
        """
        apcer, bpcer = self.rates()
        if math.isnan(apcer[0]) or math.isnan(bpcer[0]):
            return np.empty(0), np.empty(0), np.empty(0)
        step = np.stack([np.diff(apcer), np.diff(bpcer)])
        steps_across = np.abs(step[0, 1:] * step[1, :-1] - step[0, :-1] * step[1, 1:])
        attacks, bonafides = (float(counts.sum()) for counts in self.counts())
        turns = steps_across * attacks * bonafides > 0.5  # a whole number: both axes count pictures
        kept = np.concatenate([[True], turns, [True]])[: len(apcer)]
        return self.thresholds[kept], apcer[kept], bpcer[kept]


def _equal_error_rate(apcer: FloatArray, bpcer: FloatArray) -> float:
    if math.isnan(apcer[0]) or math.isnan(bpcer[0]):
        return math.nan
    return float((apcer + bpcer)[nearest_rates(apcer, bpcer)] / 2)


def _lowest_within(rate: FloatArray, other: FloatArray, limit: float) -> float:
    if math.isnan(rate[0]) or math.isnan(other[0]):
        return math.nan
    allowed = other <= limit + TOLERANCE
    # The lowest and the highest threshold are free of one kind of error each, unless scores are missing.
    return float(rate[allowed].min()) if allowed.any() else 1.0


def nearest_rates(apcer: FloatArray, bpcer: FloatArray) -> int:
    """The index where the two rates are nearest; of equally near ones, that of the smallest sum, then the first."""
    gap = np.abs(apcer - bpcer)
    nearest = np.flatnonzero(gap <= gap.min() + TOLERANCE)
    total = (apcer + bpcer)[nearest]
    return int(nearest[np.flatnonzero(total <= total.min() + TOLERANCE)[0]])


def _cumulated(counts: FloatArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(counts)])
