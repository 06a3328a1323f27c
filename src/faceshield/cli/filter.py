"""`faceshield filter`: drop dialogues that refuse, contradict their label, do not fit their picture, or repeat others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import AssistantOptions, EngineOptions, progress, spread


@spread
def filter(
    dialogues: Annotated[Path, typer.Argument(help="dialogues.jsonl.")],
    out: Annotated[Path, typer.Option(help="What passes; the rest lies beside it with filter and reason.")],
    similarity_model: Annotated[
        str | None, typer.Option(help="CLIP or SigLIP, folder or hub id: drop captions that do not fit their picture.")
    ] = None,
    similarity_threshold: Annotated[float | None, typer.Option(help="Least cosine. Default: of the model's family.")] = None,
    keyword: Annotated[list[str] | None, typer.Option(help="A further phrase that drops; repeat for several.")] = None,
    duplicates: Annotated[str, typer.Option(help="picture, file or off: where near-duplicates are looked for.")] = "picture",
    judge: Annotated[str, typer.Option(help="off, grammar, openai or transformers: does the answer fit the question?")] = "off",
    *,
    assistant: AssistantOptions,
    engine: EngineOptions,
) -> None:
    """Drop dialogues that are wrong or repeated.

    Filters: keywords, contradiction, picture-text similarity, a judge, and near-duplicates.
    """
    from faceshield.data_engine.filter import FilterConfig, filter_dialogues

    if similarity_threshold is not None and similarity_model is None:
        raise ValueError("--similarity-threshold without a model — expected --similarity-model too — name one, or leave it out")
    similarity = {"model": similarity_model, "threshold": similarity_threshold} if similarity_model else None
    config = FilterConfig.of(
        more_keywords=tuple(keyword or ()),
        similarity=similarity,
        judge=None if judge == "off" else assistant.config(judge),
        duplicates=None if duplicates == "off" else {"scope": duplicates},
    )
    with engine.start() as crew, progress("filter", "chunk") as advance:
        result = filter_dialogues(dialogues, out, config, cache=assistant.answers(out), engine=crew, progress=advance)
    if result.rejects:
        typer.echo(f"{result.rejects} dropped: {result.rejects_path}", err=True)
    if result.note:
        typer.echo(result.note, err=True)
    typer.echo(f"{result.rows} dialogues kept: {out}{' (reused)' if result.reused else ''}")
