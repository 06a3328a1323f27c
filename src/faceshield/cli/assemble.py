"""`faceshield assemble`: a checkpoint at the paper's size from published weights, ready for the two training stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def assemble(
    config: Annotated[
        Path | None, typer.Argument(help="A YAML file such as configs/model/paper.yaml; none: the paper's sources.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value in the place of the file's, e.g. bunny=BAAI/Bunny-v1_0-4B.")
    ] = None,
) -> None:
    """Assemble FaceShield from published weights.

    They come from SigLIP and Phi-3, or from a Bunny checkpoint.
    """
    given = list(overrides or [])
    if config is not None and "=" in str(config) and not config.exists():
        given, config = [str(config), *given], None

    from faceshield.training.assembly import AssembleConfig, assemble_checkpoint

    wanted = AssembleConfig.load(config, given)
    parameters = assemble_checkpoint(wanted)
    typer.echo(f"{parameters / 1e6:,.1f} M parameters")
    typer.echo(f"checkpoint: {wanted.out}")
