"""`faceshield augment`: reword accepted dialogues; label and box stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import AssistantOptions, EngineOptions, Kind, Wording, progress, spread


@spread
def augment(
    dialogues: Annotated[Path, typer.Argument(help="Accepted dialogues.")],
    out: Annotated[Path, typer.Option(help="The dialogues and their new wordings.")],
    pairs: Annotated[int, typer.Option(min=1, help="New pairs per dialogue.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    backend: Kind = "grammar",
    wording: Wording = "rich",
    *,
    assistant: AssistantOptions,
    engine: EngineOptions,
) -> None:
    """Add reworded pairs to every dialogue.

    Questions and answers in other words; rewordings that change label or box are dropped.
    """
    from faceshield.data_engine.augment import AugmentConfig
    from faceshield.data_engine.augment import augment as run

    config = AugmentConfig(pairs=pairs, backend=assistant.config(backend, wording))
    with engine.start() as crew, progress("augment", "dialogue") as advance:
        result = run(dialogues, out, config, seed=seed, cache=assistant.answers(out), engine=crew, progress=advance)
    if result.rejects:
        typer.echo(f"{result.rejects} new wordings left out: {result.rejects_path}", err=True)
    if result.note:
        typer.echo(result.note, err=True)
    typer.echo(f"{result.rows} dialogues: {out}{' (reused)' if result.reused else ''}")
