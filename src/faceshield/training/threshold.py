"""Chooses the checkpoint's threshold on development predictions and stores it with its origin in `faceshield.json`.

Use: `faceshield train threshold out=runs/tiny/sft predictions=dev/predictions.jsonl`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from faceshield.config import Config, Paths
from faceshield.model import read_info
from faceshield.model.checkpoint import INFO_FILE
from faceshield.records import Prediction, read_jsonl, write_text_atomic


class ThresholdConfig(Config):
    """Settings of the step `threshold`.

    Attributes:
        predictions: of the development sets, by this very checkpoint; rows of the task "coarse" are read.
        out: the checkpoint folder whose `faceshield.json` gets the threshold.
        criterion: "eer", "bpcerX" or "apcerX" with X in percent, see evaluation's `choose_threshold`.
        dataset: name of the development set, None = the predictions' paths.
    """

    stage: Literal["threshold"] = "threshold"
    predictions: Paths = Field(min_length=1)
    out: Path
    criterion: str = "eer"
    dataset: str | None = None


def store_threshold(config: ThresholdConfig, choose: Callable[..., Any]) -> float:
    """Chooses and stores the threshold and returns it.

    Args:
        config: the settings.
        choose: evaluation's `choose_threshold`; an argument because training does not know evaluation.

    The question that the scores answer is stored with it: asked another one, the model gives other scores.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: no coarse predictions with a score and a truth, or predictions of more than one question; or
            a criterion that only a threshold above every score meets.
    """
    rows = [
        row
        for file in config.predictions
        for row in read_jsonl(file, Prediction)
        if row.task == "coarse" and row.bonafide_score is not None and row.truth.is_attack is not None
    ]
    names = ", ".join(map(str, config.predictions))
    if not rows:
        raise ValueError(f"{names}: no coarse row with a score and a truth — predict a development set first")
    questions = sorted({row.question for row in rows})
    if len(questions) > 1:
        raise ValueError(f"{names}: scores of the questions {questions} — expected one — predict again with one version")
    scores, truth = [row.bonafide_score for row in rows], [row.truth.is_attack for row in rows]
    chosen = choose(scores, truth, config.criterion, dataset=config.dataset or names)
    if not config.out.is_dir():
        raise FileNotFoundError(f"{config.out}: no such folder — expected the checkpoint that was scored — check the path")
    value = float(chosen.value)
    if value > 1:
        raise ValueError(
            f"{names}: {config.criterion} is met only by refusing every picture, for attacks score 1 — expected a threshold "
            "of at most 1 — choose another criterion"
        )
    info = read_info(config.out)
    asked = {**info.questions, "coarse": questions[0]}
    info = replace(info, threshold=value, threshold_source=chosen.source, questions=asked)
    write_text_atomic(config.out / INFO_FILE, json.dumps(asdict(info), indent=2, ensure_ascii=False) + "\n")
    return value
