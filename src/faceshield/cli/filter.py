"""`faceshield filter`: dialogues without those that refuse, contradict their label, do not fit or repeat."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli import assistants


def filter(
    dialogues: Annotated[Path, typer.Argument(help="dialogues.jsonl.")],
    out: Annotated[Path, typer.Option(help="What passes; the rest lies beside it with filter and reason.")],
    similarity_model: Annotated[
        str | None, typer.Option(help="CLIP or SigLIP, folder or hub id: drop captions that do not fit their picture.")
    ] = None,
    similarity_threshold: Annotated[float | None, typer.Option(help="Least cosine. Default: of the model's family.")] = None,
    keyword: Annotated[list[str] | None, typer.Option(help="A further phrase that drops; repeat for several.")] = None,
    duplicates: Annotated[str, typer.Option(help="picture, file or off: where near-duplicates are looked for.")] = "picture",
    judge: Annotated[str, typer.Option(help="off, grammar, openai or transformers: does the answer answer?")] = "off",
    base_url: assistants.BaseUrl = None,
    model: assistants.Model = None,
    api_key_env: assistants.KeyEnv = None,
    concurrency: assistants.Concurrency = 8,
    settings: assistants.Settings = None,
    cache: assistants.Cache = None,
) -> None:
    """Drop dialogues by keywords, contradiction, picture-text similarity, a judge, and near-duplicates."""
    from faceshield.data_engine.backends import make_backend
    from faceshield.data_engine.filter import FilterConfig, filter_dialogues

    asked = None
    if judge != "off":
        asked = assistants.backend_config(
            settings, kind=judge, base_url=base_url, model=model, api_key_env=api_key_env, concurrency=concurrency
        )
    similarity = {"model": similarity_model, "threshold": similarity_threshold} if similarity_model else None
    config = FilterConfig.of(
        more_keywords=tuple(keyword or ()),
        similarity=similarity,
        judge=asked,
        duplicates=None if duplicates == "off" else {"scope": duplicates},
    )
    with contextlib.ExitStack() as stack:
        judging = None
        if asked is not None:
            store = assistants.cache_beside(out, asked.kind, cache)
            judging = stack.enter_context(contextlib.closing(make_backend(asked, cache=store)))
        advance = stack.enter_context(assistants.progress("filter", "chunk"))
        result = filter_dialogues(dialogues, out, config, judge=judging, progress=advance)
    if result.rejects:
        typer.echo(f"{result.rejects} dropped: {result.rejects_path}", err=True)
    typer.echo(f"{result.rows} dialogues kept: {out}{' (there before)' if result.reused else ''}")
