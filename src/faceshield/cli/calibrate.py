"""`faceshield calibrate`: choose a threshold on your own photographs, and store it with its evidence in a copy of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import progress
from faceshield.inspection import FaceMode


def calibrate(
    photos: Annotated[
        Path,
        typer.Argument(help="Folder with real/… and, if there are any, attack/<type>/…; or a samples.jsonl.", metavar="FOLDER"),
    ],
    out: Annotated[Path, typer.Option(help="The new checkpoint; scores are kept in OUT.calibration beside it, and reused.")],
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    criterion: Annotated[
        str, typer.Option(help="bpcerX: at most X percent of bona fide refused; apcerX: of attacks let in; or eer.")
    ] = "bpcer5",
    face: Annotated[
        FaceMode, typer.Option(help="Find the largest face, or judge the whole picture; as it will be used.")
    ] = "detect",
    keep_tokens: Annotated[
        int | None, typer.Option(help="Vision tokens that the language model reads, as it will be used: docs/speed.md.", min=1)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the photographs, for the evidence. Default: the folder's.")] = None,
) -> None:
    """Choose the threshold on your own photographs.

    Bona fide photographs suffice; attacks improve it. It is written into a copy; the model itself is never changed.
    """
    from faceshield.recipes.calibrate import calibrate as run

    with progress("calibrate", "photo") as advance:
        found = run(
            photos,
            out,
            model=model,
            criterion=criterion,
            face=face,
            keep_tokens=keep_tokens,
            name=name,
            tell=lambda text: typer.echo(text, err=True),
            progress=advance,
        )
    own = "" if found.before is None else f" (the model's own: {found.before:.4f})"
    typer.echo(f"threshold {found.threshold.value:.4f}{own}, {criterion} on {found.threshold.source['dataset']}")
    for title, measured in found.rates.items():
        title = title if title in ("BPCER", "APCER", "BPNRR", "APNRR") else f"  {title}"
        if measured.value is None or measured.ci95 is None:
            typer.echo(f"{title:16} unknown  n=0")
        else:
            low, high = (100 * end for end in measured.ci95)
            typer.echo(f"{title:16} {100 * measured.value:5.1f}% [{low:.1f}, {high:.1f}]  n={measured.n}")
    for warning in found.warnings:
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    typer.echo(f"checkpoint: {out}; scores: {found.predictions}")
