"""Fine-grained classification over the 12 presentation types (paper §5.3.2, Table 3).

Use: ``fine = FineScores(true_types, answered_types); fine.accuracy(), fine.macro_f1()``.

An answer naming no type (None) is an error and has a column of its own in the confusion matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from faceshield.evaluation.metrics.intervals import Estimate, FloatArray, rate, rate_of
from faceshield.taxonomy import PRESENTATION_TYPES

UNREAD = "unparsed"
COLUMNS = (*PRESENTATION_TYPES, UNREAD)


class FineScores:
    """The confusion matrix of answered types and what follows from it.

    Args:
        true_types: canonical names, one per row.
        answered_types: canonical names, None where the answer names none; any other name counts as None.

    Raises:
        ValueError: where the two differ in length, or a true type is not one of the 12.
    """

    def __init__(self, true_types: Sequence[str], answered_types: Sequence[str | None]) -> None:
        if len(true_types) != len(answered_types):
            raise ValueError(
                f"{len(true_types)} true types and {len(answered_types)} answers — expected one each — pass equal lists"
            )
        numbers = {name: index for index, name in enumerate(COLUMNS)}
        foreign = sorted(set(true_types) - set(PRESENTATION_TYPES))
        if foreign:
            raise ValueError(f"true type {foreign[0]!r} — expected one of {', '.join(PRESENTATION_TYPES)}")
        self._true = np.array([numbers[name] for name in true_types], dtype=np.int64)
        self._answered = np.array([numbers.get(name or UNREAD, numbers[UNREAD]) for name in answered_types], dtype=int)

    def accuracy(self) -> Estimate:
        """The share of rows answered with their type."""
        return rate_of(self._true == self._answered)

    def recall_by_type(self) -> dict[str, Estimate]:
        """The share found of each type that occurs, in the taxonomy's order."""
        matrix = self.confusion()
        counts = matrix.sum(axis=1)
        return {name: rate(int(matrix[i, i]), int(counts[i])) for i, name in enumerate(PRESENTATION_TYPES) if counts[i]}

    def confusion(self, weights: FloatArray | None = None) -> FloatArray:
        """(12, 13) counts: rows the true types, columns the answered ones and ``unparsed`` last."""
        size = len(PRESENTATION_TYPES) * len(COLUMNS)
        cells = np.bincount(self._true * len(COLUMNS) + self._answered, weights, size)
        return cells.reshape(len(PRESENTATION_TYPES), len(COLUMNS)).astype(np.float64)

    def macro_f1(self, weights: FloatArray | None = None) -> float:
        """The mean F1 of the types that occur in the truth (a set need not hold all 12); NaN for no rows."""
        matrix = self.confusion(weights)
        hits = np.diagonal(matrix)
        true, answered = matrix.sum(axis=1), matrix.sum(axis=0)[: len(hits)]
        present = true > 0
        return float((2 * hits / np.maximum(true + answered, 1))[present].mean()) if present.any() else math.nan
