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
from faceshield.provenance import read_run, run_options
from faceshield.records import Photo, Prediction, image_path, read_jsonl
from faceshield.tasks import COARSE


def judged(
    predictions: Sequence[Path], *, unjudged: bool | None = None, per: Per = "picture"
) -> tuple[list[Prediction], list[Prediction]]:
    """The coarse rows of a development set with a truth: those with a score, and those without.

    Raises:
        ValueError: no such rows; or some have no score and are not to be left out (`unjudged`; None: the caller has no such
            option).
    """
    rows = [row for file in predictions for row in read_jsonl(file, Prediction)]
    rows = per_recording(rows) if per == "recording" else rows
    asked = [row for row in rows if row.task == COARSE.name and row.truth.is_attack is not None]
    scored = [row for row in asked if row.bonafide_score is not None]
    silent = [row for row in asked if row.bonafide_score is None]
    if not asked:
        raise ValueError(f"{named(predictions)}: no coarse row with a score and a truth — predict a development set first")
    if not scored and not any(row.error for row in asked):
        raise ValueError(
            f"{named(predictions)}: answers in words, no scores — expected scores, to choose a threshold on — score the words "
            "themselves (faceshield score --answer)"
        )
    if not scored or (silent and not unjudged):
        reason = silent[0].error or silent[0].status
        leave = ", or leave them out with unjudged=true" if scored and unjudged is not None else ""
        raise ValueError(
            f"{named(predictions)}: {len(silent)} of {len(asked)} {per}s got no score ({reason}) — expected one "
            f"a row, for a threshold of the rest would flatter — predict them again by the same command{leave}"
        )
    return scored, silent


def chosen_on(
    predictions: Sequence[Path],
    criterion: str,
    *,
    dataset: str | None = None,
    per: Per = "picture",
    told: Mapping[str, Any] | None = None,
) -> Threshold:
    """Chooses a threshold on these predictions, per picture or recording, with `choose_threshold`.

    `dataset` names them (default: their paths); `told`, from `check_apart` and `check_made_alike`, is stored with it.
    """
    rows, _ = judged(predictions, per=per)
    name = (dataset or named(predictions)) + (", per recording" if per == "recording" else "")
    scores, truth = [float(row.bonafide_score or 0.0) for row in rows], [bool(row.truth.is_attack) for row in rows]
    threshold = choose_threshold(scores, truth, criterion, dataset=name)
    return replace(threshold, source={**threshold.source, **(told or {})})


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


def check_made_alike(one: Path, other: Path) -> dict[str, str]:
    """Checks that one threshold may hold for both files: that the same system made them, and looked at faces alike.

    Weights identify a system, whatever it was called; without any, its name does.

    Returns:
        ``{"unverified": why}`` if one of the files does not record enough to tell; otherwise empty.

    Raises:
        ValueError: what decided their scores differs.
    """
    first, second = _made_with(one), _made_with(other)
    for file, made, others in ((one, first, second), (other, second, first)):
        if not made or (made.keys() == {"system"} != others.keys()):
            return {"unverified": f"nothing says how {file} was made"}
    identified = {"system"} if "weights" in first and "weights" in second else set()
    differs = [name for name in {**first, **second} if name not in identified and first.get(name) != second.get(name)]
    if differs:
        shown = ", ".join(f"{name} {first.get(name)!r} and {second.get(name)!r}" for name in differs)
        raise ValueError(f"{one} and {other} were made with {shown} — expected the same model, used alike — predict again")
    return {}


def _made_with(file: Path) -> dict[str, Any]:
    """What decided a file's scores, as far as its record tells; without options, the system's name at most."""
    options, system = _options(file), read_run(file).get("config", {}).get("system")
    return {**({"face": "whole", **options} if options else {}), **({"system": system} if system else {})}


def _options(file: Path) -> dict[str, Any]:
    """The recorded options that decide a score; the texts that answers are compared with (`references`) do not."""
    return {name: value for name, value in run_options(file).items() if name != "references"}


def check_apart(
    dev: Iterable[Photo | Prediction], dev_file: Path, test: Iterable[Photo | Prediction], test_file: Path
) -> dict[str, int]:
    """Checks that a threshold chosen on one set may be measured on the other.

    Returns:
        How many of the test set's people and recordings are also in the development set, with other pictures, if any are:
        some protocols divide data sets so, and a threshold chosen there flatters.

    Raises:
        ValueError: a picture is in both sets (compared by path, and by SHA-256 where ``meta`` holds it; two simulated sets
            number their samples alike); or a drawn person is, unless both sets come from the same folder of pictures.
    """
    first, second = list(dev), list(test)
    ours, theirs = _drawn(first, dev_file), _drawn(second, test_file)
    if people := sorted(person for person in ours.keys() & theirs.keys() if ours[person] != theirs[person]):
        raise ValueError(
            f"{dev_file} and {test_file}: the same {len(people)} drawn people ({people[0]}, …) — expected other people in "
            "each: a threshold chosen on the test set's people flatters — simulate one of them with another --split or --seed"
        )
    tested = {key for row in second for key in picture_keys(row, test_file)}
    shared = {_sample_id(row) for row in first if not tested.isdisjoint(picture_keys(row, dev_file))}
    if shared:
        raise ValueError(
            f"{len(shared)} pictures of {dev_file} are in {test_file} too ({min(shared)}, …) — expected a "
            "development set apart from the test set, for a threshold chosen on the test set measures nothing — divide them "
            "with faceshield split"
        )
    found = {"people_also_tested": _named(first, "subject") & _named(second, "subject")}
    found["recordings_also_tested"] = _named(first, "video") & _named(second, "video")
    return {name: len(both) for name, both in found.items() if both}


def _sample_id(row: Photo | Prediction) -> str:
    return row.sample_id if isinstance(row, Prediction) else row.id


def picture_keys(row: Photo | Prediction, file: Path) -> set[Path | str]:
    """What the picture of a row of `file` is recognised by: its path and, if known, the SHA-256 of its file."""
    told = row.truth.meta if isinstance(row, Prediction) else getattr(row, "meta", {})
    sha256 = told.get("sha256")
    return {image_path(row, file).resolve(), *([sha256] if isinstance(sha256, str) else [])}


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
