"""The systems that `faceshield predict --model` can name: our own model and the paper's other rows (§5.2, Tables 1-5).

Use: ``predict("samples.jsonl", load_model("tiny"), "predictions.jsonl", system="tiny")``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["load_model"]

BASELINE_FILE = "baseline.json"
"""What marks the folder of a trained baseline and says which one it is, {"name": "resnet", …}."""


def load_model(name: str | Path, *, pvtm: str = "off") -> Any:
    """The system behind a name: the one place that decides what a ``--model`` is.

    A name is "tiny", a folder or a hub id. What its folder holds decides, and each kind is a line below: a
    ``baseline.json`` is a trained baseline's, everything else our own model's.

    All arguments are plain values, so that a worker process can load the system for itself. Heavy packages are
    imported by the kind that needs them.

    Returns:
        An object for ``evaluation.predict``. It takes whole pictures as (H, W, 3) uint8 RGB arrays, upright, and has

        - for words ``ask_many(images, question) -> list[str]`` or ``ask(image, question) -> str``,
        - for scores ``score_many(images) -> list[(bonafide_score, type_scores | None)]`` or ``score(image) ->
          bonafide_score``; 0..1, high = bona fide; type_scores by the names of ``taxonomy.PRESENTATION_TYPES``,
        - ``settings``: all beyond its name that decides its answers, JSON-able, without secrets. It goes into
          ``run.json``, and a file begun with other settings is not continued.

        Words or scores may be missing: a classifier only scores, and is then asked the coarse and the fine task alone;
        one that can answer less has ``tasks``, their names.

    Raises:
        FileNotFoundError: no such model; the message says what was expected.
        ValueError: a folder that is none of the kinds, or an option that its kind does not have.
    """
    from faceshield.model import resolve_model

    folder = resolve_model(name)
    if (folder / BASELINE_FILE).is_file():
        if pvtm != "off":
            raise ValueError(f"pvtm={pvtm!r} with the baseline {folder} — expected 'off': it has no PVTM — leave it out")
        from faceshield.baselines.classifier import BaselineClassifier

        return BaselineClassifier.from_folder(folder)
    from faceshield.predictor import FaceShieldPredictor

    # Predictions hold scores, no verdicts: a model that has no threshold yet is predicted to find one.
    return FaceShieldPredictor.from_pretrained(name, threshold=0.5, pvtm=pvtm)  # type: ignore[arg-type]
