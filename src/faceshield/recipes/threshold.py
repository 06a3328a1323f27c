"""Chooses the checkpoint's threshold on development predictions and stores it with its origin in `faceshield.json`.

Use: `faceshield train threshold out=runs/tiny/sft predictions=dev/predictions.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from faceshield.baselines import BASELINE_FILE
from faceshield.config import Config, Paths
from faceshield.evaluation.development import judged, named, options_of
from faceshield.evaluation.metrics.calibration import fit_score_map
from faceshield.evaluation.threshold import Threshold, choose_threshold
from faceshield.looks import HOW_SCORED, how_calibrated
from faceshield.model import checkpoint_hash, read_info
from faceshield.model.checkpoint import INFO_FILE, CheckpointInfo
from faceshield.provenance import file_sha256, write_json_atomic


class ThresholdConfig(Config):
    """Settings of the step `threshold`.

    Attributes:
        predictions: this checkpoint's own predictions of the development sets; rows of the task "coarse" are used.
        out: the checkpoint folder whose `faceshield.json` gets the threshold.
        calibrate: whether to turn the scores into probabilities too: scale and offset of their log-odds are fitted on the same
            rows and stored, and the threshold applies to the new scores.
        criterion: "eer", "bpcerX" or "apcerX" with X in percent, see `choose_threshold`.
        dataset: name of the development set, None = the predictions' paths.
        unjudged: whether pictures without a score (no face found, say) are left out and counted, as `n_bonafide_not_judged` and
            `n_attack_not_judged`; otherwise they are an error, since a threshold chosen on the rest would flatter a system that
            fails on hard pictures.
    """

    stage: Literal["threshold"] = "threshold"
    predictions: Paths = Field(min_length=1)
    out: Path
    calibrate: bool = False
    criterion: str = "eer"
    dataset: str | None = None
    unjudged: bool = False


def store_threshold(config: ThresholdConfig, told: Mapping[str, Any] | None = None) -> Threshold:
    """Chooses and stores the threshold; returns it, with all that is stored about its origin.

    The question that the scores answer and how faces were looked at (from the predictions' `run.json`) are stored too, since
    with another question, or looking otherwise, the model gives other scores. Whether predictions were made before the
    checkpoint's calibration or with it is read from their `run.json`; of predictions without one, a calibrated checkpoint
    accepts only those that its calibration was fitted on, recognised by their hash.

    Args:
        config: the settings.
        told: what else to store about the threshold's origin.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: no coarse predictions with a score and a truth, some without a score that are not to be left out, or
            predictions of several questions; of weights other than `out`'s; made with another calibration than `out` has, or
            with an unknown one; made by looking at faces in several ways; or only a threshold above every score meets the
            criterion.
    """
    names = named(config.predictions)
    rows, unjudged = judged(config.predictions, unjudged=config.unjudged)
    questions = sorted({row.question for row in rows})
    if len(questions) > 1:
        raise ValueError(f"{names}: scores of different questions {questions} — expected one — predict again with one version")
    if not config.out.is_dir():
        raise FileNotFoundError(f"{config.out}: no such folder — expected the checkpoint that was scored — check the path")
    if config.calibrate and (config.out / BASELINE_FILE).is_file():
        raise ValueError(f"calibrate=true of the baseline {config.out} — expected a model of ours — leave it out")
    options = options_of(config.predictions)
    if options.get("weights") not in (None, checkpoint_hash(config.out)):
        raise ValueError(
            f"{names}: of another model, or of other weights, than {config.out} — expected its own predictions — name the "
            "checkpoint that made them, or predict again"
        )
    truth = [bool(row.truth.is_attack) for row in rows]
    info = read_info(config.out)
    scores = [float(row.bonafide_score or 0.0) for row in rows]
    hashes = sorted(file_sha256(file) for file in config.predictions)
    scores, calibration = _calibrated(config, info, options, scores, truth, hashes)
    chosen = choose_threshold(scores, truth, config.criterion, dataset=config.dataset or names)
    value = float(chosen.value)
    if value > max(scores):
        row = rows[scores.index(max(scores))]
        kind = "an attack" if row.truth.is_attack else "bona fide"
        raise ValueError(
            f"{names}: {config.criterion} is met only by refusing every picture, also {row.sample_id}, which has the highest "
            f"score and is {kind} — expected a threshold that lets some in — see whether that is labelled rightly, or choose "
            "another criterion"
        )
    looked = {name: value for name, value in options.items() if name in HOW_SCORED and name != "score_map"}
    source = {**chosen.source, "predictions": hashes, **looked, **(told or {})}
    if config.unjudged:
        attacks = sum(bool(row.truth.is_attack) for row in unjudged)
        source |= {"n_bonafide_not_judged": len(unjudged) - attacks, "n_attack_not_judged": attacks}
    fixed = {**info.questions, **({"coarse": questions[0]} if questions[0] else {})}  # "": not known
    info = replace(info, threshold=value, threshold_source=source, calibration=calibration, questions=fixed)
    write_json_atomic(config.out / INFO_FILE, asdict(info))
    return Threshold(value, source)


def _calibrated(
    config: ThresholdConfig,
    info: CheckpointInfo,
    options: Mapping[str, Any],
    scores: list[float],
    truth: list[bool],
    hashes: list[str],
) -> tuple[list[float], Mapping[str, Any]]:
    """The scores as the checkpoint will give them, and its calibration."""
    before = _made_with(config, info, options, hashes)
    if not config.calibrate:
        return (scores if before == info.score_map else _mapped(scores, *info.score_map)), info.calibration
    scale, offset = fit_score_map(scores, truth)
    calibration = {
        "scale": scale * before[0],
        "offset": scale * before[1] + offset,
        "dataset": config.dataset or named(config.predictions),
        "n": len(scores),
        "predictions": hashes,
    }
    return _mapped(scores, scale, offset), calibration


def _made_with(
    config: ThresholdConfig, info: CheckpointInfo, options: Mapping[str, Any], hashes: list[str]
) -> tuple[float, float]:
    """The score map that the predictions were made with: the checkpoint's or, if made before it had one, none."""
    none = (1.0, 0.0)
    if options.get("weights"):
        told = how_calibrated(info.score_map)
        if options.get("score_map") not in (None, told.get("score_map")):
            raise ValueError(
                f"{named(config.predictions)}: made with the calibration {options['score_map']}, {config.out} has "
                f"{told.get('score_map', 'none')} — expected the same, or none — predict again"
            )
        return info.score_map if "score_map" in options else none
    if info.score_map != none and not set(hashes) <= set(info.calibration.get("predictions", ())):
        raise ValueError(
            f"{named(config.predictions)}: nothing says whether they were made before or after the calibration in {config.out} "
            "— expected the run.json that faceshield predict writes beside them — predict again"
        )
    return none


def _mapped(scores: list[float], scale: float, offset: float) -> list[float]:
    values = np.clip(np.asarray(scores, dtype=np.float64), np.finfo(float).tiny, 1 - np.finfo(float).eps)
    return [float(value) for value in 1 / (1 + np.exp(-(scale * (np.log(values) - np.log1p(-values)) + offset)))]
