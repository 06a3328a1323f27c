"""Predictions of a development set: choosing a threshold on them, and checking which other predictions it holds for.

Use: ``chosen_on([Path("dev.jsonl")], "eer")``, then ``check_made_alike`` and ``check_apart`` with the test set's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from faceshield.evaluation.recordings import Per, per_recording
from faceshield.evaluation.threshold import Threshold, choose_threshold
from faceshield.provenance import read_run
from faceshield.records import Photo, Prediction, image_path, read_jsonl
from faceshield.tasks import COARSE


def judged(predictions: Sequence[Path], *, unjudged: bool | None = None, per: Per = "picture") -> tuple[list[Prediction], int]:
    """The coarse rows of a development set with a score and a truth, and the number of rows with a truth but no score.

    Raises:
        ValueError: no such rows; or some have no score and are not to be left out (`unjudged`; None: the caller has no such
            option).
    """
    rows = [row for file in predictions for row in read_jsonl(file, Prediction)]
    rows = per_recording(rows) if per == "recording" else rows
    asked = [row for row in rows if row.task == COARSE.name and row.truth.is_attack is not None]
    scored = [row for row in asked if row.bonafide_score is not None]
    if not asked:
        raise ValueError(f"{named(predictions)}: no coarse row with a score and a truth — predict a development set first")
    if not scored or (len(scored) < len(asked) and not unjudged):
        reason = next(row.error or row.status for row in asked if row.bonafide_score is None)
        leave = ", or leave them out with unjudged=true" if scored and unjudged is not None else ""
        raise ValueError(
            f"{named(predictions)}: {len(asked) - len(scored)} of {len(asked)} {per}s got no score ({reason}) — expected one "
            f"a row, for a threshold of the rest would flatter — predict them again by the same command{leave}"
        )
    return scored, len(asked) - len(scored)


def chosen_on(
    predictions: Sequence[Path],
    criterion: str,
    *,
    dataset: str | None = None,
    per: Per = "picture",
    shared: Mapping[str, int] | None = None,
) -> Threshold:
    """Chooses a threshold on these predictions, per picture or recording, with `choose_threshold`.

    `dataset` names them (default: their paths); `shared`, from `check_apart`, is stored with the threshold.
    """
    rows, _ = judged(predictions, per=per)
    name = (dataset or named(predictions)) + (", per recording" if per == "recording" else "")
    scores, truth = [float(row.bonafide_score or 0.0) for row in rows], [bool(row.truth.is_attack) for row in rows]
    threshold = choose_threshold(scores, truth, criterion, dataset=name)
    return replace(threshold, source={**threshold.source, **(shared or {})})


def options_of(predictions: Sequence[Path]) -> dict[str, Any]:
    """What decided these predictions' scores (weights, how faces were looked at, …), by their `run.json`; empty without any.

    Raises:
        ValueError: they were not all made alike, or some have no such record while others do.
    """
    told = {file: options for file in predictions if (options := _options(file))}
    if silent := [file for file in predictions if told and file not in told]:
        raise ValueError(f"{silent[0]}: no run.json says how it was made, unlike the others' — expected one — predict again")
    for one, other in pairwise(told):
        check_made_alike(one, other)
    return next(iter(told.values()), {})


def check_made_alike(one: Path, other: Path) -> None:
    """Raises ValueError if both files record what decided their scores and it differs: no threshold holds for both."""
    first, second = ({"face": "whole", **options} if (options := _options(file)) else {} for file in (one, other))
    differs = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if first and second and differs:
        shown = ", ".join(f"{name} {first.get(name)!r} and {second.get(name)!r}" for name in differs)
        raise ValueError(f"{one} and {other} were made with {shown} — expected the same model, used alike — predict again")


def _options(file: Path) -> dict[str, Any]:
    """The recorded options that decide a score; the texts that answers are compared with (`references`) do not."""
    told = read_run(file).get("config", {}).get("options") or {}
    return {name: value for name, value in told.items() if name != "references"}


def check_apart(
    dev: Iterable[Photo | Prediction], dev_file: Path, test: Iterable[Photo | Prediction], test_file: Path
) -> dict[str, int]:
    """Checks that a threshold chosen on one set may be measured on the other.

    Returns:
        How many of the test set's people and recordings are also in the development set, with other pictures, if any are:
        some protocols divide data sets so, and a threshold chosen there flatters.

    Raises:
        ValueError: a picture is in both sets (compared by path, since two simulated sets number their samples alike); or a
            drawn person is, unless both sets come from the same folder of pictures.
    """
    first, second = list(dev), list(test)
    ours, theirs = _drawn(first, dev_file), _drawn(second, test_file)
    if people := sorted(person for person in ours.keys() & theirs.keys() if ours[person] != theirs[person]):
        raise ValueError(
            f"{dev_file} and {test_file}: the same {len(people)} drawn people ({people[0]}, …) — expected other people in "
            "each: a threshold chosen on the test set's people flatters — simulate one of them with another --split or --seed"
        )
    tested = {image_path(row, test_file).resolve() for row in second}
    shared = {path: row for row in first if (path := image_path(row, dev_file).resolve()) in tested}
    if shared:
        one = next(iter(shared.values()))
        name = one.sample_id if isinstance(one, Prediction) else one.id
        raise ValueError(
            f"{len(shared)} pictures of {dev_file} are in {test_file} too ({name}, …) — expected a "
            "development set apart from the test set, for a threshold chosen on the test set measures nothing — divide them "
            "with faceshield split"
        )
    found = {"people_also_tested": _named(first, "subject") & _named(second, "subject")}
    found["recordings_also_tested"] = _named(first, "video") & _named(second, "video")
    return {name: len(both) for name, both in found.items() if both}


def _named(rows: Iterable[Photo | Prediction], key: str) -> set[tuple[str, str]]:
    """The people ("subject") or recordings ("video") of a set, each with the data set that names it."""
    told = (row.truth if isinstance(row, Prediction) else row for row in rows)
    return {(getattr(one, "dataset", None) or "", name) for one in told if (name := getattr(one, key, None))}


def _drawn(rows: Iterable[Photo | Prediction], file: Path) -> dict[str, set[Path]]:
    """Drawn person -> the folders of the pictures that show them; a name means the same person in every simulated set."""
    found: dict[str, set[Path]] = {}
    for row in rows:
        told = row.truth if isinstance(row, Prediction) else row
        dataset, subject = getattr(told, "dataset", None), getattr(told, "subject", None)
        if dataset and subject and dataset.startswith("sim-drawn-"):
            found.setdefault(subject, set()).add(image_path(row, file).resolve().parent)
    return found


def named(predictions: Sequence[Path]) -> str:
    """The files of a set, for a message or a threshold's origin."""
    return ", ".join(map(str, predictions))
