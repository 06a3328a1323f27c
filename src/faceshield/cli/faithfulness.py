"""`faceshield faithfulness`: does the score depend on what the model points at? Hide it, or as much elsewhere, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from faceshield.cli.options import KeyEnv, progress


def faithfulness(
    predictions: Annotated[Path, typer.Argument(help="A predictions.jsonl of the same model, with its localization.")],
    model: Annotated[str, typer.Option(help="As for predict.")] = "tiny",
    out: Annotated[Path, typer.Option(help="Where to write; a file begun earlier is continued.")] = Path("deletions.jsonl"),
    hide: Annotated[
        Literal["boxes", "tokens"], typer.Option(help="boxes (of its localization), or tokens (those that PVTM ranks first).")
    ] = "boxes",
    controls: Annotated[int, typer.Option(min=1, help="Random areas a picture.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many pictures.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random areas and the bootstrap.")] = 0,
    endpoint: Annotated[str | None, typer.Option(help="As for predict; pictures go nowhere else.")] = None,
    api_key_env: KeyEnv = None,
) -> None:
    """Hide what a model points at and watch its score.

    Measures how far the score moves, compared with hiding as much elsewhere.
    """
    import contextlib

    import numpy as np

    from faceshield.baselines import load_model
    from faceshield.config import write_override
    from faceshield.evaluation.faithfulness import delete, summarize
    from faceshield.evaluation.table import percent
    from faceshield.images import read_rgb
    from faceshield.provenance import write_json_atomic

    settings = [write_override("api_key_env", api_key_env)] if api_key_env is not None else []
    asker = load_model(model, endpoint=endpoint, settings=settings)
    with contextlib.ExitStack() as stack:
        if hasattr(asker, "close"):
            stack.callback(asker.close)
        rows = delete(
            predictions,
            asker,
            out,
            seed=seed,
            hide=hide,
            controls=controls,
            limit=limit,
            system=model,
            load=read_rgb,
            progress=stack.enter_context(progress("faithfulness", "picture")),
        )
    found = summarize(rows, np.random.default_rng(seed))
    target = out.with_suffix(".metrics.json")
    write_json_atomic(target, found)
    left = ", ".join(f"{count} {reason}" for reason, count in found["left_out"].items())
    typer.echo(f"{found['compared']} of {found['pictures']} pictures compared{f' ({left})' if left else ''}")
    for failure in found["failures"]:
        typer.echo(failure, err=True)
    if found["compared"]:
        typer.echo(f"hidden {100 * found['share']:.1f}% of the picture; bonafide_score before {percent(found['score'])}")
        for name in ("evidence", "random", "contrast"):
            odds = found["log_odds"][name]["value"]
            typer.echo(f"{name:>8}: {percent(found[name])} points towards bona fide, {odds:+.2f} in log-odds")
        typer.echo(f"evidence moves the score more in {percent(found['evidence_moves_more'])}% of the pictures")
    typer.echo(f"deletions: {out}, metrics: {target}")
