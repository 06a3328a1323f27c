"""Merges the predictions of frames into one per recording, as results on video data sets are often reported.

Use: ``score(per_recording(rows), threshold=...)``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from faceshield.records import Prediction
from faceshield.tasks import COARSE, FINE

Per = Literal["picture", "recording"]
"""What one row stands for."""


def per_recording(rows: Sequence[Prediction]) -> list[Prediction]:
    """One coarse and one fine row per recording: the mean of its frames' scores, and the likeliest type by that mean.

    A picture of no recording counts as one by itself. Frames without a score (no face found, say) are left out; if no frame
    has one, the recording has none either and counts as an error. Words cannot be averaged: these rows have no answer, and of
    a system that tells types in words alone there are no fine rows.

    Raises:
        ValueError: frames of one recording differ in truth (bona fide or attack, or type), or score different types.
    """
    frames: dict[tuple[str, ...], list[Prediction]] = defaultdict(list)
    tasks = {COARSE.name, FINE.name} if any(row.type_scores for row in rows) else {COARSE.name}
    for row in sorted(rows, key=lambda row: row.id):
        if row.task in tasks:
            truth = row.truth
            own = ("picture", row.sample_id) if truth.video is None else ("recording", truth.video)
            frames[row.task, truth.dataset or "", *own].append(row)
    return [_mean(found) for found in frames.values()]


def _mean(frames: Sequence[Prediction]) -> Prediction:
    first = frames[0]
    truths = {(row.truth.is_attack, row.truth.presentation_type) for row in frames}
    if len(truths) > 1:
        shown = " and ".join(sorted(str(kind or is_attack) for is_attack, kind in truths))
        raise ValueError(
            f"recording {first.truth.video!r} of {first.truth.dataset!r} is {shown} — expected one of them — score its "
            "pictures, without --per recording"
        )
    scores = [row.bonafide_score for row in frames if row.bonafide_score is not None]
    if len({frozenset(row.type_scores) for row in frames if row.type_scores}) > 1:
        raise ValueError(
            f"recording {first.truth.video!r} of {first.truth.dataset!r}: frames with scores of different types — expected the "
            "same types in all — predict it again with one model"
        )
    types = [row.type_scores for row in frames if row.type_scores]
    mean = {name: fmean(row[name] for row in types) for name in types[0]} if types else None
    kind = max(mean, key=mean.__getitem__) if mean and first.task == FINE.name else None
    judged = bool(scores) if first.task == COARSE.name else kind is not None
    return first.model_copy(
        update={
            "answer": None, "cut": None, "is_attack": None, "boxes": [], "presentation_type": kind, "type_scores": mean,
            "bonafide_score": fmean(scores) if scores else None, "status": "parsed" if judged else first.status,
            "error": None if judged else first.error,
        }
    )  # fmt: skip
