"""`faceshield augment`: new wordings of accepted dialogues, label and box unchanged."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli import assistants


def augment(
    dialogues: Annotated[Path, typer.Argument(help="Accepted dialogues.")],
    out: Annotated[Path, typer.Option(help="The dialogues and their new wordings.")],
    pairs: Annotated[int, typer.Option(min=1, help="New pairs per dialogue.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    backend: assistants.Kind = "grammar",
    wording: assistants.Wording = "rich",
    base_url: assistants.BaseUrl = None,
    model: assistants.Model = None,
    api_key_env: assistants.KeyEnv = None,
    concurrency: assistants.Concurrency = 8,
    settings: assistants.Settings = None,
    cache: assistants.Cache = None,
) -> None:
    """Write new question-and-answer pairs beside every dialogue; what changes label or box is dropped."""
    from faceshield.data_engine.augment import AugmentConfig
    from faceshield.data_engine.augment import augment as run
    from faceshield.data_engine.backends import make_backend

    written_by = assistants.backend_config(
        settings, kind=backend, wording=wording, base_url=base_url, model=model, api_key_env=api_key_env,
        concurrency=concurrency,
    )  # fmt: skip
    store = assistants.cache_beside(out, written_by.kind, cache)
    with (
        contextlib.closing(make_backend(written_by, cache=store)) as writer,
        assistants.progress("augment", "dialogue") as advance,
    ):
        result = run(
            dialogues, out, AugmentConfig(pairs=pairs, backend=written_by), seed=seed, backend=writer, progress=advance
        )
    if result.rejects:
        typer.echo(f"{result.rejects} new wordings left out: {result.rejects_path}", err=True)
    typer.echo(f"{result.rows} dialogues: {out}{' (there before)' if result.reused else ''}")
