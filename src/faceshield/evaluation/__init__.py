"""Predictions and metrics: ``predict`` asks, ``score`` measures, ``table`` shows (paper §5). Never imports a model.

Anything with ``.ask(image, prompt)`` or ``.score(image)`` can be evaluated; ``predictions.jsonl`` is the interface to scoring.
"""

from __future__ import annotations

from faceshield.evaluation.asking import Asker
from faceshield.evaluation.development import check_apart, check_made_alike, chosen_on
from faceshield.evaluation.predict import Elsewhere, PredictSummary, predict
from faceshield.evaluation.score import score
from faceshield.evaluation.table import table
from faceshield.evaluation.threshold import Threshold, choose_threshold

__all__ = [
    "Asker",
    "Elsewhere",
    "PredictSummary",
    "Threshold",
    "check_apart",
    "check_made_alike",
    "choose_threshold",
    "chosen_on",
    "predict",
    "score",
    "table",
]
