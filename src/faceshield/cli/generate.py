"""`faceshield generate`: instruction dialogues from samples with ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def generate(
    samples: Annotated[Path, typer.Argument(help="samples.jsonl.")],
    out: Annotated[Path, typer.Option(help="dialogues.jsonl to write.")] = Path("dialogues.jsonl"),
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            help="coarse, fine, reasoning, localization or caption; commas or repeats for several. "
            "Default: the four tasks.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random comes from it.")] = 0,
    per_task: Annotated[int, typer.Option(min=1, help="Dialogues of each task a picture.")] = 1,
) -> None:
    """Write question-and-answer dialogues for every sample and task."""
    import sys

    from faceshield.data_engine import generate_dialogues, resolve_tasks
    from faceshield.records import Sample, read_jsonl, rebase_image, write_jsonl, write_run
    from faceshield.tasks import TASKS

    chosen = resolve_tasks([name for given in tasks for name in given.split(",")] if tasks else TASKS)
    rows = read_jsonl(samples, Sample)
    if not rows:
        raise ValueError(
            f"{samples}: no samples — expected at least one row — write it with `faceshield simulate`"
        )
    rejects: list[dict[str, str]] = []

    def reject(sample: Sample, task: str, why: str) -> None:
        rejects.append({"id": f"{sample.id}:{task}", "reason": why})

    with typer.progressbar(rows, label="generate", file=sys.stderr) as bar:
        moved = (row.model_copy(update={"image": rebase_image(row.image, samples, out)}) for row in bar)
        dialogues = generate_dialogues(moved, tasks=chosen, seed=seed, per_task=per_task, on_skip=reject)
        count = write_jsonl(out, dialogues)
    config = {"samples": str(samples), "tasks": list(chosen), "per_task": per_task}
    write_run(out, config=config, seed=seed, inputs=[samples])
    rejects_path = out.with_suffix(".rejects.jsonl")
    if rejects:
        write_jsonl(rejects_path, rejects)
        typer.echo(f"{len(rejects)} without a true answer left out: {rejects_path}", err=True)
    else:
        rejects_path.unlink(missing_ok=True)
    typer.echo(f"{count} dialogues of {len(rows)} samples: {out}")
