"""`faceshield predict`: put the four tasks to a model, picture by picture, resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    samples: Annotated[Path, typer.Argument(help="A samples.jsonl.")],
    model: Annotated[str, typer.Option(help="tiny, or a model's folder or hub id.")] = "tiny",
    out: Annotated[Path, typer.Option(help="Where to write; a file begun earlier is continued.")] = Path(
        "predictions.jsonl"
    ),
    tasks: Annotated[
        str | None, typer.Option(help="Comma-separated: coarse, fine, reasoning, localization. Default: all it can answer.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
    pvtm: Annotated[str, typer.Option(help="off, or paper (seeded token masking at inference).")] = "off",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start again instead of continuing the file.")
    ] = False,
) -> None:
    """Ask a model about whole pictures and write its answers."""
    import sys

    from tqdm import tqdm

    from faceshield.baselines import load_model
    from faceshield.evaluation.predict import predict as run
    from faceshield.images import open_picture

    names = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    asker = load_model(model, pvtm=pvtm)
    with tqdm(desc="predict", unit="picture", file=sys.stderr, dynamic_ncols=True) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        summary = run(
            samples,
            asker,
            out,
            tasks=names,
            system=model,
            options=asker.settings,
            batch_size=batch_size,
            limit=limit,
            resume=not fresh,
            load=lambda path: open_picture(path).rgb,
            progress=advance,
        )
    typer.echo(
        f"{summary.written} answers written ({summary.kept} kept, {summary.unparsed} unparsed, "
        f"{summary.errors} failed): {out}"
    )
    if summary.errors:
        raise typer.Exit(2)
