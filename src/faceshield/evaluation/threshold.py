"""The threshold on ``bonafide_score``: chosen on a development set, stored with its evidence; there is no default.

Use: ``choose_threshold(scores, is_attack, "eer", dataset="sim-dev").to_dict()``: value and source, which a checkpoint ships.

Criteria, measured on the development set with all attacks pooled:
    ``eer``: APCER and BPCER nearest to each other.
    ``bpcerX``: BPCER at most X percent (``bpcer5``: 5%); of such thresholds, the one of lowest APCER, then lowest BPCER. It
        needs no attacks: without any, it is the highest such threshold.
    ``apcerX``: APCER at most X percent; of such thresholds, the one of lowest BPCER, then lowest APCER.
Beware of other tools: bob's "bpcer20" is the BPCER where APCER is 1/20.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from faceshield.evaluation.metrics.intervals import TOLERANCE, rate
from faceshield.evaluation.metrics.pad import ScoreCurve, nearest_rates


@dataclass(frozen=True)
class Threshold:
    """A threshold (``is_attack = bonafide_score < value``) and where it came from (dataset, criterion, …)."""

    value: float
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"threshold {self.value} — expected a finite number — choose it on a development set")
        if not self.source:
            raise ValueError(
                f"threshold {self.value} without a source — expected the development set it came from — "
                "choose it with choose_threshold, or read it from a model's faceshield.json"
            )

    def to_dict(self) -> dict[str, Any]:
        """``{"value": float, "source": {...}}``, as ``metrics.json`` stores it."""
        return {"value": self.value, "source": dict(self.source)}


def choose_threshold(scores: ArrayLike, is_attack: ArrayLike, criterion: str, *, dataset: str) -> Threshold:
    """Chooses the threshold by a criterion on a development set.

    Args:
        scores: (rows,) bonafide_score, high = bona fide.
        is_attack: (rows,) the truth.
        criterion: ``eer``, ``bpcerX`` or ``apcerX`` with X in percent (see above).
        dataset: the development set's name, kept in the result.

    Returns:
        The threshold; it lies midway between the two neighbouring scores, which makes the same decisions as
        any other point between them. ``source`` holds dataset, criterion, n, n_bonafide, n_attack, apcer,
        bpcer, and their Wilson 95% intervals apcer_ci95, bpcer_ci95; those of the attacks are None if there are none.

    Raises:
        ValueError: for an unknown criterion, a missing or non-finite score, a set without bona fide rows, or, but
            for ``bpcerX``, without attacks.
    """
    values, attack = np.asarray(scores, dtype=np.float64), np.asarray(is_attack, dtype=bool)
    limited, limit = rate_limit(criterion) or ("eer", 0.0)
    if np.isnan(values).any():
        raise ValueError(
            f"{int(np.isnan(values).sum())} of {values.size} development rows have no bonafide_score — "
            "expected one a row — predict them again"
        )
    curve = ScoreCurve(values, attack)
    bona_fides_suffice = limited == "bpcer"
    if attack.all() or (not bona_fides_suffice and not attack.any()):
        raise ValueError(
            f"development set {dataset!r} has {int(attack.sum())} attack and {int((~attack).sum())} bona fide rows — "
            f"expected some of {'the latter' if bona_fides_suffice else 'both'} — add the missing class"
        )
    apcer, bpcer = curve.rates()
    if limited == "eer":
        index = nearest_rates(apcer, bpcer)
    else:
        held, lowered = (bpcer, apcer) if limited == "bpcer" else (apcer, bpcer)
        allowed = np.flatnonzero(held <= limit + TOLERANCE)
        best = np.lexsort((held[allowed], lowered[allowed]))[0] if attack.any() else -1
        index = int(allowed[best])
    source: dict[str, Any] = {
        "dataset": dataset,
        "criterion": criterion,
        "n": int(attack.size),
        "n_bonafide": int((~attack).sum()),
        "n_attack": int(attack.sum()),
    }
    for name, share, count in (("apcer", apcer[index], source["n_attack"]), ("bpcer", bpcer[index], source["n_bonafide"])):
        measured = rate(round(float(share) * count) if count else 0, count)
        source |= {name: measured.value, f"{name}_ci95": measured.to_dict()["ci95"]}
    return Threshold(_between(curve, index), source)


def pictures_needed(limit: float, confidence: float = 0.95) -> int:
    """Fewest pictures of a class that can show that its error rate is at most ``limit`` (0..1) at the given confidence.

    They can only if none of them is an error (Wilks 1941): 1 - (1 - limit)^n >= confidence. 59 for 5%, 299 for 1%. With errors
    among them, see `highest_rate`.

    Raises:
        ValueError: for a rate of 0 or less, or of 1 or more, which no number of pictures can show.
    """
    if not 0 < limit < 1:
        raise ValueError(f"error rate {limit} — expected more than 0 and less than 1 — choose another")
    return math.ceil(math.log(1 - confidence) / math.log(1 - limit) - TOLERANCE)


def highest_rate(errors: int, n: int, confidence: float = 0.95) -> float:
    """The highest error rate, 0..1, on other pictures of the same kind that ``errors`` of ``n`` allow at the given confidence.

    Clopper and Pearson's one-sided bound (1934). It holds too where the threshold was chosen so that ``errors`` of these very
    pictures are errors: the share of others beyond a sample's (k + 1)-th score is distributed as Beta(k + 1, n - k). Where the
    other class had a say in k, or scores tie, it holds nearly: in some 94 instead of 95 of 100 draws, 92 at worst.
    """
    return float(betaincinv(errors + 1, n - errors, confidence)) if errors < n else 1.0


def rate_limit(criterion: str) -> tuple[str, float] | None:
    """("bpcer", X as a share 0..1) of ``bpcerX``, ("apcer", X) of ``apcerX``, None of ``eer``; ValueError for anything else."""
    if criterion == "eer":
        return None
    match = re.fullmatch(r"(bpcer|apcer)(\d+(?:\.\d+)?)", criterion)
    if match is None or not 0 <= float(match[2]) <= 100:
        raise ValueError(f"criterion {criterion!r} — expected eer, or bpcerX or apcerX with X in percent — try eer or bpcer5")
    return match[1], float(match[2]) / 100


def _between(curve: ScoreCurve, index: int) -> float:
    upper = float(curve.thresholds[index])
    if index == 0:
        return upper
    lower = float(curve.thresholds[index - 1])
    if math.isinf(upper):
        return math.nextafter(lower, math.inf)
    middle = lower + (upper - lower) / 2
    # Adjacent floats have no midpoint, and on the lower one the decisions would differ.
    return middle if middle > lower else upper
