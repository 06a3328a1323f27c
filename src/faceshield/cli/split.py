"""`faceshield split`: divide samples of one or more data sets into train, dev and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def split(
    samples: Annotated[list[Path], typer.Argument(help="Samples files, of `prepare` or `simulate`.")],
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, dev.jsonl, test.jsonl and the report splits.json.")],
    protocol: Annotated[
        str,
        typer.Option(help="subject-disjoint, video-disjoint, paper, official, cross-dataset or leave-one-attack-out."),
    ] = "subject-disjoint",
    name: Annotated[str | None, typer.Option(help="Which official protocol: grandtest, 3folds_part0, P1, …")] = None,
    train: Annotated[list[str] | None, typer.Option(help="A data set to train on; repeatable (cross-dataset).")] = None,
    test: Annotated[list[str] | None, typer.Option(help="A data set to test on; repeatable (cross-dataset).")] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="A type, or an own label, to leave out of training; repeatable.")
    ] = None,
    test_share: Annotated[float, typer.Option(help="Share of each data set and type that goes to the test.")] = 0.1,
    dev_share: Annotated[float | None, typer.Option(help="The same; 0.1, but none for `paper`.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the division.")] = 0,
) -> None:
    """Divide samples by a protocol.

    Also reports what the splits share: people, recordings, pictures.
    """
    from faceshield.datasets.splits import SplitConfig
    from faceshield.datasets.splits import split as run

    config = SplitConfig.of(
        out=out,
        protocol=protocol,
        name=name,
        train=train or [],
        test=test or [],
        attack=attack or [],
        test_share=test_share,
        dev_share=dev_share,
        seed=seed,
    )
    report = run(samples, config)
    for line in report.lines():
        typer.echo(line)
    for warning in report.warnings(config):
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    written = ", ".join(f"{out / found}.jsonl" for found in report.counts)
    typer.echo(f"splits: {written}; report: {out / 'splits.json'}")
