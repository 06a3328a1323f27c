"""`faceshield table`: metrics.json files side by side, in the shape of the paper's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def table(
    metrics: Annotated[
        list[Path], typer.Argument(help="metrics.json files; NAME=FILE names a row. Several of one name: mean ± deviation.")
    ],
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown instead of plain text.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write here too.")] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Draw DET, ROC, calibration and confusion matrices into this folder.")
    ] = None,
) -> None:
    """Show metrics as the paper's tables."""
    from faceshield.evaluation.repeats import collected
    from faceshield.evaluation.table import table as render
    from faceshield.provenance import check_not_read, read_json, write_text_atomic

    runs: dict[str, list[dict[str, object]]] = {}
    there: set[tuple[str, Path]] = set()
    bare = {_named(given)[0] for given in metrics if given.exists()}
    for given in metrics:
        name, path = _named(given)
        if name in runs and name in bare:
            raise ValueError(f"two rows named {name!r} — expected different names — give them as NAME=FILE")
        if (name, path.resolve()) in there:
            raise ValueError(f"{path} twice as {name!r} — expected a file of another training each time — leave one out")
        there.add((name, path.resolve()))
        runs.setdefault(name, []).append(read_json(path))
    check_not_read([out] if out is not None else [], [_named(given)[1] for given in metrics])
    systems = {name: found[0] if len(found) == 1 else collected(found) for name, found in runs.items()}
    text = render(systems, form="markdown" if markdown else "text")
    typer.echo(text, nl=False)
    if out is not None:
        write_text_atomic(out, text)
        typer.echo(f"{len(systems)} systems: {out}", err=True)
    if figures is not None:
        from faceshield.evaluation.figures import draw

        written = draw(systems, figures)
        typer.echo(f"{len(written)} figures: {figures}", err=True)


def _named(given: Path) -> tuple[str, Path]:
    name, equals, path = str(given).partition("=")
    if equals and not given.exists():
        return name, Path(path)
    return (given.resolve().parent.name if given.stem == "metrics" else given.stem), given
