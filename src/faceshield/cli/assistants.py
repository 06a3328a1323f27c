"""Options that every verb with an assistant shares: who writes, where it answers, how many calls at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Kind = Annotated[str, typer.Option("--backend", help="Who writes: grammar, openai (any such endpoint) or transformers.")]
Wording = Annotated[str, typer.Option(help="Of the grammar: plain (few words, for faceshield-tiny) or rich.")]
BaseUrl = Annotated[str | None, typer.Option(help="The endpoint, e.g. http://127.0.0.1:8000/v1; pictures go nowhere else.")]
Model = Annotated[str | None, typer.Option(help="Its model, or a local model's folder or hub id.")]
KeyEnv = Annotated[str | None, typer.Option(help="Environment variable that holds the API key; none is sent without.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Calls in flight at most.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Further settings of the backend, key=value: timeout, retries, asks, temperature, style …"),
]
Cache = Annotated[Path | None, typer.Option(help="SQLite file of answers. Default: answers.sqlite beside the output.")]


def backend_config(given: list[str] | None, **options: Any) -> Any:
    """`BackendConfig` of a command's options and `--set` pairs.

    Raises:
        ConfigError: with all faults.
    """
    import json

    from faceshield.data_engine.backends import BackendConfig

    if options.get("kind") == "transformers":
        import faceshield.model  # noqa: F401  our own classes are then known to transformers' Auto classes

    overrides = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return BackendConfig.load(None, [*overrides, *(given or [])])


def cache_beside(out: Path, kind: str, cache: Path | None) -> Path | None:
    """Where answers are kept; the grammar has none."""
    return None if kind == "grammar" else cache or out.parent / "answers.sqlite"


@contextmanager
def progress(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that appears with the first step, so that an error before it stands alone."""
    import sys

    from tqdm import tqdm

    bars: list[Any] = []

    def advance(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc=label, unit=unit, total=total, initial=done, file=sys.stderr, dynamic_ncols=True))
        bars[0].update(done - bars[0].n)

    try:
        yield advance
    finally:
        for bar in bars:
            bar.close()
