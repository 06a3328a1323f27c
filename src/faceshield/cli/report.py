"""`faceshield report`: a data set's card with its counts, words and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    dialogues: Annotated[Path, typer.Argument(help="dialogues.jsonl; *.rejects.jsonl beside it are counted too.")],
    out: Annotated[Path | None, typer.Option(help="The card. Default: README.md beside the dialogues.")] = None,
    name: Annotated[str, typer.Option(help="The data set's name.")] = "FaceShield dialogues",
    pictures: Annotated[int, typer.Option(min=0, help="Pictures on a sample sheet; faces are personal data.")] = 0,
) -> None:
    """Write a data-set card.

    It has counts by type, task, source and filter, lexical diversity, lengths, and samples.
    """
    from faceshield.data_engine.report import ReportConfig
    from faceshield.data_engine.report import report as run

    card = out or dialogues.parent / "README.md"
    numbers = run(dialogues, card, ReportConfig(name=name, pictures=pictures))
    for line in summary_lines(numbers):
        typer.echo(line)
    typer.echo(f"card of {numbers['dialogues']} dialogues: {card}")


def summary_lines(numbers: dict) -> list[str]:  # type: ignore[type-arg]
    """A report's figures as lines for a terminal."""
    lines = [
        f"{task}: {numbers['counts']['task'][task]} dialogues, {row['question wordings']} question wordings, "
        f"{row['answer wordings']} answer wordings, distinct-4 {row['distinct-4']}"
        for task, row in numbers["words"].items()
    ]
    return [*lines, f"contradict their label or box: {numbers['contradicting']}"]
