"""`faceshield train`: run one training stage, or a sweep over several, from a config; if stopped, the same command resumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from faceshield.recipes.sweep import SweepConfig
    from faceshield.training.settings import StageConfig


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file with a stage, or a stage's name (all values from key=value).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value in the place of the file's, e.g. out=runs/tiny/sft.")
    ] = None,
    show_batch: Annotated[
        bool, typer.Option("--show-batch", help="Train nothing: show rows, supervised words marked, and check all answers.")
    ] = False,
    cache_features: Annotated[
        bool | None,
        typer.Option("--cache-features/--no-cache-features", help="Compute the frozen tower's features once (stages 1 and 2)."),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(min=1, help="Trainings, with the seeds seed, seed + 1, …; mean ± deviation is collected.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Samples that every repeat is scored on; or test=FILE of a sweep.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Samples that choose each repeat's threshold.")] = None,
    references: Annotated[
        list[Path] | None, typer.Option(help="Dialogues of the test samples that each repeat's texts are scored against.")
    ] = None,
) -> None:
    """Train a stage, run a sweep, choose a threshold, or average models.

    Stages: foundation-towers, foundation-lm, pretrain, sft, baseline; sweep (over several of them); threshold; average.
    """
    from faceshield.recipes.train import stage_of
    from faceshield.recipes.train import train as run

    stage, source, given = stage_of(config, overrides or [])
    if cache_features is not None:
        given.append(f"{'settings.' if stage == 'sweep' else ''}cache_features={str(cache_features).lower()}")
    if stage != "sweep" and repeat is None and (test or dev or references):
        raise ValueError(
            "--test, --dev or --references without --repeat — expected it — add --repeat 1, or use `predict` and `score`"
        )
    if show_batch and (stage not in ("pretrain", "sft") or repeat is not None):
        what = stage if repeat is None else "a sweep"
        raise ValueError(
            f"--show-batch of {what} — expected one training of pretrain or sft — name its config, or leave it out"
        )
    if stage == "sweep" or repeat is not None:
        named_files = {"test": test, "dev": dev, "references": [str(file) for file in references or ()] or None}
        _sweep(_sweep_of(stage, source, given, repeat=repeat, **named_files))
        return
    if show_batch:
        from faceshield.training.settings import StageConfig

        _show(StageConfig.load(source, given))
        return
    typer.echo(f"checkpoint: {run(source or stage, given, report=print_row)}")


def _sweep_of(stage: str, source: Path | None, given: list[str], **options: int | Path | list[str] | None) -> SweepConfig:
    """The sweep that a config describes, or one that repeats its single stage."""
    from faceshield.config import read_override, write_override
    from faceshield.recipes.sweep import SweepConfig
    from faceshield.training.settings import StageConfig

    told = [write_override(name, value) for name, value in options.items() if value is not None]
    if stage == "sweep":
        return SweepConfig.load(source, [*given, *told])
    if stage not in ("pretrain", "sft"):
        raise ValueError(f"--repeat of stage {stage} — expected pretrain or sft, or a sweep — repeat it with seed=1, seed=2, …")
    one = StageConfig.load(source, given)  # reports faults with their file and line
    entry = {key: value for key, value in map(read_override, given) if key not in ("init", "out", "seed")}
    entry |= {} if source is None else {"config": str(source)}
    values = {"init": one.init, "out": one.out, "seed": one.seed, "stages": {stage: entry}}
    return SweepConfig.load(None, [*(write_override(name, value) for name, value in values.items()), *told])


def _sweep(config: SweepConfig) -> None:
    import os

    from faceshield.evaluation.table import table
    from faceshield.recipes.sweep import RESULTS_FILE, run_sweep

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "a sweep under torchrun — expected one process — start one process per GPU, each with its own only=[…] and cache"
        )

    def show(row: Mapping[str, Any]) -> None:
        if row.get("event") != "setting":
            print_row(row)

    results = run_sweep(config, report=show)
    if results.variants:
        typer.echo(table({name or config.out.name: metrics for name, metrics in results.variants.items()}))
    failed = f" ({results.failed} failed)" if results.failed else ""
    typer.echo(f"{len(results.runs)} runs{failed}: {config.out / RESULTS_FILE}")
    if results.failed:
        raise typer.Exit(2)


def _show(settings: StageConfig) -> None:
    """Print two rows as the model reads them, and whether every answer is supervised word for word."""
    from faceshield.model import FaceShieldProcessor, resolve_model
    from faceshield.training.settings import inherited
    from faceshield.training.show import check_answers, show_rows, supervised
    from faceshield.training.stages import read_rows

    settings, _ = inherited(settings)
    processor = FaceShieldProcessor.from_pretrained(resolve_model(settings.init), local_files_only=True)
    rows = read_rows(settings, processor, pvtm=False)
    for line in show_rows(rows, processor, count=2, mark=lambda text: typer.style(f"[[{text}]]", fg="green", bold=True)):
        typer.echo(line)
    wrong, empty = check_answers(rows, processor), sum(not supervised(row) for row in rows.rows)
    dialogues = sum(len(row.questions) for row in rows.rows)
    typer.echo(
        f"{dialogues:,} dialogues in {len(rows):,} rows: {empty} rows without a supervised token, {len(wrong)} whose "
        f"supervised text is not the answer{': ' + ', '.join(wrong[:5]) if wrong else ''}"
    )
    if wrong or empty:
        raise typer.Exit(2)


def print_row(row: Mapping[str, Any]) -> None:
    event = row.get("event", "")
    parts = [f"{key} {value}" for key, value in row.items() if key != "event"]
    typer.echo(f"[{event}] {'  '.join(parts)}")
