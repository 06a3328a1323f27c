"""`faceshield finetune`: from a folder of your own pictures to an adapter, and a report on people it has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from faceshield.cli.options import listed
from faceshield.inspection import FaceMode


def finetune(
    photos: Annotated[
        Path, typer.Argument(help="Folder with real/… and attack/<type>/…; or a samples.jsonl.", metavar="FOLDER")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value of stage sft, e.g. epochs=10 learning_rate=5e-4.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write: model/ (the adapter), report.md, scores/, data/.")] = Path(
        "finetuned"
    ),
    model: Annotated[str, typer.Option(help="Checkpoint to adapt: 'tiny', a folder, or a hub id.")] = "tiny",
    face: Annotated[
        FaceMode, typer.Option(help="Cut out the largest face, or take pictures whole (face crops); as it will be used.")
    ] = "detect",
    tasks: Annotated[
        str | None, typer.Option(help="Comma-separated. Default: those that the pictures have true answers for.")
    ] = None,
    criterion: Annotated[str, typer.Option(help="How the threshold is chosen: eer, bpcerX or apcerX (X percent).")] = "eer",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another division and training.")] = 0,
) -> None:
    """Adapt a checkpoint to your own pictures.

    It is scored before and after, on people that it has not seen. If stopped, the same command resumes.
    """
    from faceshield.cli.train import print_row
    from faceshield.config import read_override
    from faceshield.evaluation.table import table
    from faceshield.recipes.finetune import FinetuneConfig
    from faceshield.recipes.finetune import finetune as run
    from faceshield.recipes.finetune_report import verdict

    config = FinetuneConfig.of(
        folder=photos, out=out, init=model, face=face, criterion=criterion, seed=seed,
        settings=dict(map(read_override, overrides or ())),
        tasks=None if tasks is None else listed(tasks),
    )  # fmt: skip

    def show(row: Mapping[str, Any]) -> None:
        if row.get("event") != "setting":
            print_row(row)

    found = run(config, report=show)
    typer.echo(table({f"{model} as it was": found.metrics["before"], "fine-tuned": found.metrics["after"]}))
    typer.echo(verdict(found.metrics).replace("**", ""))
    typer.echo(f"adapter: {found.model}; report: {found.report}")
