"""Calibration: is a bonafide_score of 0.9 right nine times in ten? (in addition to the paper's tables)

Use: ``calibration = Calibration(scores, is_attack); calibration.error(), calibration.brier()``; ``fit_score_map`` corrects it.

Both depend on the set's mix of bona fides and attacks: a score that is calibrated on one mix is not on another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from faceshield.evaluation.metrics.intervals import FloatArray, ratio

BINS = 15


class Calibration:
    """How far scores, taken as probabilities of being bona fide, are from the shares that are bona fide.

    Args:
        scores: (rows,) bonafide_score in 0..1; rows without one (NaN) have no probability and are left out.
        is_attack: (rows,) the truth.

    Raises:
        ValueError: where the two differ in length, or a score lies outside 0..1.
    """

    def __init__(self, scores: ArrayLike, is_attack: ArrayLike) -> None:
        values, attack = np.asarray(scores, dtype=np.float64), np.asarray(is_attack, dtype=bool)
        if values.shape != attack.shape or values.ndim != 1:
            raise ValueError(
                f"scores {values.shape} and truths {attack.shape} — expected two (rows,) arrays — pass one score a row"
            )
        self._there = ~np.isnan(values)
        self._scores, self._bonafide = np.where(self._there, values, 0.0), ~attack
        if ((self._scores < 0) | (self._scores > 1)).any():
            raise ValueError("a bonafide_score outside 0..1 — expected a probability — repair the predictions")
        # Bins of equal width; a score on an edge belongs to the bin above it, and 1 to the last one.
        self._bin = np.minimum((self._scores * BINS).astype(int), BINS - 1)

    def bins(self, weights: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(15,) each: rows, mean score, share bona fide; the last two are 0 if a bin is empty."""
        rows = self._there * (np.ones(len(self._there)) if weights is None else weights)
        count = np.bincount(self._bin, rows, BINS).astype(np.float64)
        filled = np.maximum(count, np.finfo(float).tiny)
        score = np.bincount(self._bin, rows * self._scores, BINS) / filled
        return count, score, np.bincount(self._bin, rows * self._bonafide, BINS) / filled

    def error(self, weights: FloatArray | None = None) -> float:
        """Expected calibration error of 15 bins (Guo et al. 2017, Eq. 3), 0..1; NaN for no scores."""
        count, score, share = self.bins(weights)
        return ratio(float((count * np.abs(score - share)).sum()), float(count.sum()))

    def brier(self, weights: FloatArray | None = None) -> float:
        """Mean squared distance of the scores from the truth (Brier 1950), 0..1; NaN for no scores."""
        rows = self._there * (np.ones(len(self._there)) if weights is None else weights)
        return ratio(float((rows * (self._scores - self._bonafide) ** 2).sum()), float(rows.sum()))


def fit_score_map(scores: ArrayLike, is_attack: ArrayLike) -> tuple[float, float]:
    """The (scale, offset) that turn the scores' log-odds into those of a probability (Platt 1999, §2.1).

    As there, the target is (n + 1) / (n + 2) for the n bona fides and 1 / (m + 2) for the m attacks: with targets of 1 and 0,
    scores that separate the classes would call for an infinite scale, and every score would become 0 or 1.

    Args:
        scores: (rows,) bonafide_score in 0..1; 0 and 1 are moved inwards by 1e-9.
        is_attack: (rows,) the truth; both classes must occur.

    Raises:
        ValueError: only one class, or scores that do not rank bona fides above attacks, which no calibration can correct.
    """
    from sklearn.linear_model import LogisticRegression

    values = np.clip(np.asarray(scores, dtype=np.float64), 1e-9, 1 - 1e-9)
    bonafide = ~np.asarray(is_attack, dtype=bool)
    if bonafide.all() or not bonafide.any():
        raise ValueError(f"{int(bonafide.sum())} of {bonafide.size} rows are bona fide — expected both kinds — add the others")
    odds = np.log(values) - np.log1p(-values)
    # A fractional target is one row of each class, weighted by it.
    count, attacks = int(bonafide.sum()), int((~bonafide).sum())
    target = np.where(bonafide, (count + 1) / (count + 2), 1 / (attacks + 2))
    rows, kinds = np.concatenate([odds, odds])[:, None], np.repeat([True, False], odds.size)
    weights = np.concatenate([target, 1 - target])
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(rows, kinds, sample_weight=weights)
    scale, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if scale <= 0:
        raise ValueError(f"scale {scale:.3g} — expected above 0 — these scores do not tell bona fides from attacks")
    return scale, offset
