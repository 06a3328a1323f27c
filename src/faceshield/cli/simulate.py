"""`faceshield simulate`: turn bona fide photographs or drawn faces into the twelve presentation types, with true boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import progress


def simulate(
    faces: Annotated[str, typer.Option(help="'drawn', a folder of bona fide photographs, or a samples.jsonl.")] = "drawn",
    count: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write: samples.jsonl and images/.")] = Path("simulated"),
    types: Annotated[
        list[str] | None, typer.Option(help="A presentation type; repeat for several. Default: all twelve.")
    ] = None,
    landmarks: Annotated[Path | None, typer.Option(help="CSV file, point, x, y in the 189-point template.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, dev or test: written into the samples. Nobody is in two of them: drawn people come from the seed and "
            "the split, photographed ones are divided by their names."
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="W, S, P or D: pictures of a domain of FaceShield-Sim, all splits of it (docs/faceshield_sim.md)."),
    ] = None,
    without_variant: Annotated[
        list[str] | None,
        typer.Option(help="A renderer's variant, as in meta.variant, e.g. print/laser: never drawn. Repeat for several."),
    ] = None,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the pictures in pixels.")] = 224,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    audit: Annotated[
        Path | None,
        typer.Option(help="Simulate nothing; test whether nuisances alone predict this folder's types (with --seed)."),
    ] = None,
) -> None:
    """Make attacks from photographs or drawn faces.

    Bona fide faces go in; the twelve presentation types come out, with their true boxes.
    """
    if audit is not None:
        import numpy as np

        from faceshield.simulate.audit import audit as examine

        for line in examine(audit / "samples.jsonl" if audit.is_dir() else audit, np.random.default_rng(seed)).lines():
            typer.echo(line)
        return
    from faceshield.simulate.dataset import REJECTS_FILE, SimulateConfig
    from faceshield.simulate.dataset import simulate as run
    from faceshield.taxonomy import resolve

    if split not in (None, "train", "dev", "test"):
        raise ValueError(f"--split {split} — expected train, dev or test")
    config = SimulateConfig(
        faces=faces, count=count, seed=seed, types=tuple(resolve(name) for name in types or ()), split=split,
        landmarks=str(landmarks) if landmarks else None, size=size, domain=domain,
        without_variants=tuple(without_variant or ()),
    )  # fmt: skip
    with progress("simulate", "picture") as advance:
        path = run(out, config, workers=workers, progress=advance)
    if (rejects := out / REJECTS_FILE).is_file():
        faceless = sum(1 for _ in rejects.open(encoding="utf-8"))
        typer.echo(f"{faceless} photographs have no face that is found, and are left out: {rejects}", err=True)
    typer.echo(f"{count} pictures and their samples: {path}")
