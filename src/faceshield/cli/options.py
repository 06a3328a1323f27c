"""Groups of options that several verbs share, each a dataclass whose fields become options; and a progress bar.

Use: `@spread` above `def generate(samples: …, *, assistant: AssistantOptions, engine: EngineOptions)`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that other machines cannot reach."""

Kind = Annotated[
    str, typer.Option("--backend", help="What writes the text: grammar, openai (any such endpoint) or transformers.")
]
Wording = Annotated[str, typer.Option(help="The grammar's wording: plain (few words, for faceshield-tiny) or rich.")]
KeyEnv = Annotated[str | None, typer.Option(help="Environment variable that holds the API key; none is sent without.")]


def listed(names: str) -> list[str]:
    """Names in a comma-separated option."""
    return [name.strip() for name in names.split(",") if name.strip()]


@dataclass(frozen=True)
class AssistantOptions:
    """Where an assistant answers, how many calls run at once, and where its answers are cached."""

    base_url: Annotated[
        str | None, typer.Option(help="The endpoint, e.g. http://127.0.0.1:8000/v1; pictures go nowhere else.")
    ] = None
    model: Annotated[str | None, typer.Option(help="Its model, or a local model's folder or hub id.")] = None
    api_key_env: KeyEnv = None
    concurrency: Annotated[int, typer.Option(min=1, help="Calls in flight at most.")] = 8
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Further settings of the backend, key=value: timeout, retries, asks, temperature, style …"),
    ] = None
    cache: Annotated[Path | None, typer.Option(help="SQLite file of answers; by default answers.sqlite at the output.")] = None

    def config(self, kind: str, wording: str | None = None) -> Any:
        """The `BackendConfig` for these options and the `--set` pairs.

        Raises:
            ConfigError: lists all faults.
        """
        from faceshield.config import write_override
        from faceshield.data_engine.backends import BackendConfig

        if kind == "transformers":
            import faceshield.model  # noqa: F401  our own classes are then known to transformers' Auto classes

        named = {name: getattr(self, name) for name in ("base_url", "model", "api_key_env", "concurrency")}
        options = {"kind": kind, "wording": wording, **named}
        overrides = [write_override(key, value) for key, value in options.items() if value is not None]
        return BackendConfig.load(None, [*overrides, *(self.settings or [])])

    def answers(self, out: Path) -> Path:
        """The cache of answers, for backends that keep any."""
        return self.cache or out.parent / "answers.sqlite"


@dataclass(frozen=True)
class EngineOptions:
    """Where the work runs: in this process, or on Ray."""

    engine: Annotated[str, typer.Option(help="local, or ray: the cluster of RAY_ADDRESS, or one on this machine.")] = "local"
    workers: Annotated[int | None, typer.Option(min=1, help="With ray: processes. Default: one a core, or a GPU's share.")] = (
        None
    )
    worker_gpus: Annotated[float, typer.Option(min=0, help="With ray: GPUs that each worker has for itself, e.g. 1 or .5.")] = 0

    def start(self) -> AbstractContextManager[Any]:
        """A context with the engine; see `engines.start_engine`."""
        from faceshield.engines import start_engine

        return start_engine(self.engine, workers=self.workers, gpus=self.worker_gpus)


@dataclass(frozen=True)
class Replicas:
    """How many replicas of the service run on Ray Serve."""

    engine: Annotated[
        str, typer.Option(help="local: one process; or ray: replicas on the cluster of RAY_ADDRESS, or on one on this machine.")
    ] = "local"
    replicas: Annotated[
        int, typer.Option(min=1, help="With ray: processes with a model and a queue each; at least, with --max-replicas.")
    ] = 1
    max_replicas: Annotated[int | None, typer.Option(min=1, help="With ray: the most under load. Default: --replicas.")] = None
    target_requests: Annotated[
        float | None, typer.Option(help="With ray: requests a replica that scaling aims at. Default: --batch-size.", min=0.1)
    ] = None
    replica_cpus: Annotated[float, typer.Option(min=0, help="With ray: cores of each replica.")] = 1
    replica_gpus: Annotated[float, typer.Option(min=0, help="With ray: GPUs of each replica, e.g. 1 or .5.")] = 0

    def scale(self) -> Any:
        """The `serving.ray_app.Scale` for these options, or None for a single process.

        Raises:
            ValueError: an unknown engine, Ray's options without Ray, or inconsistent numbers.
        """
        if self.engine not in ("local", "ray"):
            raise ValueError(f"engine {self.engine!r} — expected local or ray — use one of them")
        if self.engine == "local":
            if self != Replicas():
                raise ValueError(
                    "--replicas, or another option of Ray, without it — expected --engine ray — add it, or leave the option out"
                )
            return None
        from faceshield.serving.ray_app import Scale

        return Scale(
            replicas=self.replicas,
            max_replicas=self.max_replicas,
            target_requests=self.target_requests,
            cpus=self.replica_cpus,
            gpus=self.replica_gpus,
        )


def spread(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a verb that is an option group by one option per field of the group."""
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.name not in groups:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY))
            continue
        group = groups[parameter.name]
        annotations = get_type_hints(group, include_extras=True)
        for field in dataclasses.fields(group):
            option = inspect.Parameter(
                field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=annotations[field.name]
            )
            parameters.append(option)

    @functools.wraps(verb)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        verb(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


@contextmanager
def progress(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; it appears with the first step, so that an earlier error is printed alone."""
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
