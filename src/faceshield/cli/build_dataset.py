"""`faceshield build-dataset`: build a whole instruction data set from one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import EngineOptions, progress, spread


@spread
def build_dataset(
    config: Annotated[Path, typer.Argument(help="configs/data/*.yaml, or one of your own.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, e.g. samples=… out=… generate.count=1000.")] = None,
    *,
    engine: EngineOptions,
) -> None:
    """Run the whole data engine from one configuration.

    Generate, filter, review, augment and report. If stopped, the same command resumes.
    """
    from faceshield.cli.report import summary_lines
    from faceshield.data_engine.build import BuildConfig, build

    recipe = BuildConfig.load(config, overrides or [])
    with engine.start() as crew:
        built = build(recipe, engine=crew, progress=lambda name: progress(name, "step"))
    for name, result in built.steps.items():
        state = "reused" if result.reused else f"{result.rejects} left out"
        typer.echo(f"{name}: {result.rows} dialogues ({state}): {result.out}")
        if result.note:
            typer.echo(result.note, err=True)
    for line in summary_lines(built.numbers):
        typer.echo(line)
    typer.echo(f"{built.numbers['dialogues']} dialogues: {built.dialogues}, card: {built.card}")
