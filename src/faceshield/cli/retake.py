"""`faceshield retake`: take the pictures of a samples file again with a careless camera, boxes moved along."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import progress


def retake(
    samples: Annotated[Path, typer.Argument(help="A samples.jsonl of `simulate` or `prepare`.")],
    out: Annotated[Path, typer.Option(help="Folder to write: samples.jsonl and images/.")],
    copies: Annotated[int, typer.Option(min=1, help="Exposures of each picture.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Take pictures again, carelessly.

    Rotation, framing, light, grain and blur change; the results are for training beside the originals.
    """
    from faceshield.simulate.retake import RetakeConfig
    from faceshield.simulate.retake import retake as run

    with progress("retake", "picture") as advance:
        path = run(samples, out, RetakeConfig(seed=seed, copies=copies), workers=workers, progress=advance)
    typer.echo(f"pictures taken again and their samples: {path}")
