"""`faceshield score`: predictions.jsonl -> metrics.json, at a threshold whose origin is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceshield.evaluation import Threshold
    from faceshield.evaluation.recordings import Per
    from faceshield.records import Prediction


def score(
    predictions: Annotated[Path, typer.Argument(help="A predictions.jsonl.")],
    out: Annotated[Path, typer.Option(help="Where to write the metrics.")] = Path("metrics.json"),
    model: Annotated[str | None, typer.Option(help="Threshold shipped with a model: tiny, or its folder.")] = None,
    threshold_from: Annotated[
        Path | None, typer.Option(help="Choose the threshold on these predictions, of a development set.")
    ] = None,
    criterion: Annotated[str | None, typer.Option(help="With --threshold-from: eer, bpcerX or apcerX (X percent).")] = None,
    answer: Annotated[bool, typer.Option("--answer", help="No threshold: judge by the answers' words alone.")] = False,
    per: Annotated[
        Literal["picture", "recording"],
        typer.Option(help="What is judged: a picture, or a recording (the mean score of its frames)."),
    ] = "picture",
    by: Annotated[str | None, typer.Option(help="Also score each value of a key apart: source, dataset, …")] = None,
    meteor: Annotated[bool, typer.Option("--meteor", help="METEOR 1.5 too; needs Java and the extra meteor.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    repeats: Annotated[int, typer.Option(min=0, help="Resamples of the bootstrap.")] = 1000,
) -> None:
    """Score predictions, with n and 95% intervals."""

    import numpy as np

    from faceshield.evaluation.recordings import per_recording
    from faceshield.evaluation.score import score as measure
    from faceshield.evaluation.table import table
    from faceshield.provenance import check_not_read, write_json_atomic, write_run
    from faceshield.records import Prediction, read_jsonl

    if sum([model is not None, threshold_from is not None, answer]) != 1:
        raise ValueError(
            "no threshold, or more than one — expected exactly one of --model, --threshold-from and --answer — the threshold "
            "has no default"
        )
    if (criterion is None) != (threshold_from is None):
        raise ValueError("--criterion and --threshold-from go together — expected both or neither — try --criterion eer")
    if answer and per == "recording":
        raise ValueError("--answer with --per recording — expected a threshold: scores can be averaged, words cannot")
    if model is not None and per == "recording":
        raise ValueError(
            "--model with --per recording — expected a threshold of recordings: a model's is for one picture, and means of "
            "frames lie closer together — use --threshold-from"
        )
    check_not_read([out], [predictions, threshold_from])
    rows = read_jsonl(predictions, Prediction)
    threshold, inputs = None, [predictions]
    if threshold_from is not None and criterion is not None:
        threshold = _chosen(predictions, rows, threshold_from, criterion, per)
        inputs.append(threshold_from)
    elif model is not None:
        from faceshield.recipes.measure import shipped

        threshold = shipped(model, predictions)
        if threshold is None:
            raise ValueError(
                f"{model} stores no threshold — expected one — choose it with `faceshield train threshold`, or use "
                "--threshold-from, or --answer"
            )
    if per == "recording":
        rows = per_recording(rows)
    metrics = measure(rows, threshold=threshold, rng=np.random.default_rng(seed), by=by, repeats=repeats, meteor=meteor)
    write_json_atomic(out, metrics)
    config = {"stage": "score", "threshold": metrics["threshold"] or "answer", "by": by, "per": per, "repeats": repeats}
    write_run(out, config=config, seed=seed, inputs=inputs)
    name = out.parent.name if out.stem == "metrics" and out.parent.name else out.stem
    typer.echo(table({name: metrics}))
    typer.echo(f"{len(rows)} predictions scored: {out}")


def _chosen(predictions: Path, rows: Sequence[Prediction], development: Path, criterion: str, per: Per) -> Threshold:
    from faceshield.evaluation.development import check_apart, check_made_alike, chosen_on
    from faceshield.records import Prediction, iter_jsonl

    told = check_apart(iter_jsonl(development, Prediction), development, rows, predictions)
    return chosen_on([development], criterion, per=per, told={**told, **check_made_alike(development, predictions)})
