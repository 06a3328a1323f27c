"""`faceshield generate`: write instruction dialogues from samples with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.cli.options import AssistantOptions, EngineOptions, Kind, Wording, listed, progress, spread


@spread
def generate(
    samples: Annotated[Path, typer.Argument(help="samples.jsonl.")],
    out: Annotated[Path, typer.Option(help="dialogues.jsonl to write; what was begun is continued.")] = Path("dialogues.jsonl"),
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            help="coarse, fine, reasoning, localization or caption; commas or repeats for several. Default: those of the four "
            "that bona fide pictures and most attacks have true answers to.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    per_task: Annotated[int, typer.Option(min=1, help="Dialogues of each task a picture.")] = 1,
    count: Annotated[int | None, typer.Option(min=1, help="Dialogues in all instead, spread evenly.")] = None,
    backend: Kind = "grammar",
    wording: Wording = "plain",
    *,
    assistant: AssistantOptions,
    engine: EngineOptions,
) -> None:
    """Write questions and answers about every sample."""
    from faceshield.data_engine.generate import GenerateConfig, resolve_tasks
    from faceshield.data_engine.generate import generate as run

    chosen = resolve_tasks([name for given in tasks for name in listed(given)]) if tasks else None
    config = GenerateConfig(tasks=chosen, per_task=per_task, count=count, backend=assistant.config(backend, wording))
    with engine.start() as crew, progress("generate", "sample") as advance:
        result = run(samples, out, config, seed=seed, cache=assistant.answers(out), engine=crew, progress=advance)
    if result.note:
        typer.echo(result.note, err=True)
    if result.rejects:
        typer.echo(f"{result.rejects} left out: {result.rejects_path}", err=True)
    if config.backend.kind != "grammar" and result.calls is not None:
        typer.echo(f"{result.calls} calls", err=True)
    of = "" if result.reused else f" of {result.items} samples"
    typer.echo(f"{result.rows} dialogues{of}: {out}{' (reused)' if result.reused else ''}")
