"""From a checkpoint to its metrics (paper §5.1): the threshold from a development set, everything else from a test set.

Use: `metrics = measure("sft", "scores", test="test.jsonl", dev="dev.jsonl", system="sft")`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faceshield.baselines import load_model
from faceshield.evaluation import Threshold, predict, score
from faceshield.evaluation.development import check_apart, chosen_on
from faceshield.images import read_rgb
from faceshield.looks import HOW_SCORED, how_calibrated, made_otherwise
from faceshield.model import checkpoint_hash, read_info, resolve_model
from faceshield.provenance import file_sha256, run_options, write_json_atomic, write_run
from faceshield.recipes.threshold import ThresholdConfig, store_threshold
from faceshield.records import Prediction, Sample, iter_jsonl, read_jsonl
from faceshield.tasks import COARSE, TASKS

METRICS_FILE = "metrics.json"
Progress = Callable[[str, int, int], None]
"""Called with the set being predicted ("dev" or "test"), pictures done and pictures in all."""


def measure(
    model: str | Path,
    out: str | Path,
    *,
    test: str | Path,
    dev: str | Path | None = None,
    tasks: Sequence[str] = tuple(TASKS),
    criterion: str = "eer",
    system: str,
    asked: Mapping[str, Any] | None = None,
    store: bool = False,
    told: Mapping[str, Any] | None = None,
    references: Sequence[Path] = (),
    meteor: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predictions, threshold and metrics of a checkpoint; predictions of an earlier call are kept.

    Args:
        model: a checkpoint's folder, or as `load_model` takes it.
        out: folder for `dev.jsonl`, `test.jsonl` and `metrics.json`.
        test: samples to score.
        dev: samples to choose the threshold on; None = the checkpoint's own threshold, or the answers' words if it has none.
        tasks: tasks to ask of the test samples.
        criterion: criterion of the threshold, see `choose_threshold`.
        system: name of the checkpoint in the predictions' record; another system's predictions are not continued.
        asked: further arguments of `load_model`, for a model not trained here; without `dev`, words alone decide then.
        store: whether to write the chosen threshold into the checkpoint, which must be a folder; told: stored along with it.
        references: dialogues of the test pictures, see `predict`; meteor: see `score`.
        seed: seed of the bootstrap.
        progress: see `Progress`.

    Returns:
        The content of `metrics.json`.

    Raises:
        ValueError: a picture is in both sets, or the development set lacks bona fide pictures or attacks.
    """
    out, test = Path(out), Path(test)
    sets = {"test": test} if dev is None else {"dev": Path(dev), "test": test}
    shared: Mapping[str, int] = {}
    if dev is not None:
        shared = check_apart(iter_jsonl(Path(dev), Sample), Path(dev), iter_jsonl(test, Sample), test)
    with contextlib.ExitStack() as stack:
        asker = load_model(model, **(asked or {}))
        if hasattr(asker, "close"):
            stack.callback(asker.close)
        _predict(asker, out, sets, tasks, system, references, progress)
    threshold = None
    if dev is None and asked is None:
        threshold = shipped(model, out / "test.jsonl")
    elif dev is not None:
        chosen = [out / "dev.jsonl"]
        if store:
            config = ThresholdConfig(predictions=chosen, out=Path(model), criterion=criterion, dataset=str(dev))
            threshold = store_threshold(config, {**(told or {}), **shared})
        else:
            threshold = chosen_on(chosen, criterion, dataset=str(dev), told=shared)
    rows = read_jsonl(out / "test.jsonl", Prediction)
    metrics = score(rows, threshold=threshold, meteor=meteor, rng=np.random.default_rng(seed))
    target = write_json_atomic(out / METRICS_FILE, metrics)
    record = {"stage": "score", "system": system, "threshold": metrics["threshold"] or "answer"}
    write_run(target, config=record, seed=seed, inputs=[out / f"{name}.jsonl" for name in sets])
    return metrics


def shipped(model: str | Path, predictions: Path) -> Threshold | None:
    """The threshold stored with a model, for its own predictions; None if it stores none.

    Raises:
        ValueError: the predictions are of other weights, or scored otherwise than those that the threshold was chosen on, or
            are those.
    """
    folder = resolve_model(model)
    info = read_info(folder)
    if info.threshold is None:
        return None
    options = run_options(predictions)
    weights = options.get("weights")
    if weights and weights != checkpoint_hash(folder):
        raise ValueError(
            f"{predictions} is of another model, or of other weights, than {folder} — expected its own predictions — name the "
            "model that made them, or choose a threshold for them with --threshold-from"
        )
    chosen = {**info.threshold_source, **how_calibrated(info.score_map)}
    # Not "face": measuring a threshold of detected faces on whole pictures is a legitimate question.
    names = [name for name in HOW_SCORED if name != "face" and (weights or name == "looks")]
    for name, (made, wanted) in made_otherwise(options, chosen, names).items():
        raise ValueError(
            f"{predictions}: made with {name} {made!r}, the threshold of {folder} is for {wanted!r} — expected the same — "
            "predict again with this version, or choose a threshold for them (faceshield train threshold)"
        )
    if file_sha256(predictions) in info.threshold_source.get("predictions", ()):
        raise ValueError(
            f"{predictions}: the threshold of {folder} was chosen on it — expected another set, where a threshold measures "
            "something — score the test set's predictions"
        )
    told = {} if options else {"unverified": "no run.json says that these predictions are this model's"}
    if "face" in made_otherwise(options, chosen, ["face"]):
        told["scored_otherwise"] = f"faces looked at as {options.get('face', 'whole')!r}"
    return Threshold(info.threshold, {"model": str(model), **info.threshold_source, **told})


def _predict(
    asker: Any,
    out: Path,
    sets: dict[str, Path],
    tasks: Sequence[str],
    system: str,
    references: Sequence[Path],
    progress: Progress | None,
) -> None:
    for name, samples in sets.items():
        predict(
            samples,
            asker,
            out / f"{name}.jsonl",
            tasks=tuple(tasks) if name == "test" else (COARSE.name,),
            system=system,
            options=getattr(asker, "settings", None),
            retry_errors=True,
            references=references if name == "test" else (),
            load=read_rgb,
            progress=progress and partial(progress, name),
        )
