"""`faceshield doctor`: numbered pre-flight checks of installation, model and data; for users and for bug reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    data: Annotated[list[Path] | None, typer.Option(help="A samples or dialogues file to look at too; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object a check.")] = False,
) -> None:
    """Check the installation, a model, and data.

    What is installed, whether the model loads and answers, and whether data can be trained on; exit code 2 if a check fails.
    """
    import dataclasses
    import json

    from faceshield.doctor import examine

    failed = warned = 0
    for result in examine(model, data or []):
        failed += result.state == "failed"
        warned += result.state == "warning"
        typer.echo(json.dumps(dataclasses.asdict(result), ensure_ascii=False) if as_json else result.line())
    if failed:
        raise typer.Exit(2)
    if not as_json:
        typer.echo(f"nothing failed; {warned} warning{'s' if warned > 1 else ''} above" if warned else "all well")
