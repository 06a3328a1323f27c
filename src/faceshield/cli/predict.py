"""`faceshield predict`: ask a model the four tasks, picture by picture; resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from faceshield.cli.options import EngineOptions, KeyEnv, listed, progress, spread
from faceshield.inspection import FaceMode


@spread
def predict(
    samples: Annotated[
        Path, typer.Argument(help="A samples.jsonl; or an archive: a folder, or a list of paths, .txt or .parquet.")
    ],
    model: Annotated[
        str,
        typer.Option(
            help="tiny; a folder or hub id: ours, any image-text-to-text model of transformers, or a trained baseline; "
            "or what an --endpoint calls it."
        ),
    ] = "tiny",
    out: Annotated[Path, typer.Option(help="Where to write; a file begun earlier is continued.")] = Path("predictions.jsonl"),
    tasks: Annotated[
        str | None, typer.Option(help="Comma-separated: coarse, fine, reasoning, localization. Default: all it can answer.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 16,
    face: Annotated[
        FaceMode,
        typer.Option(help="whole: pictures are face crops; detect: find the face first, as inspect does; scores only."),
    ] = "whole",
    pvtm: Annotated[
        Literal["off", "paper"] | None,
        typer.Option(help="off, or paper: tokens are masked at inference too. Default: as the checkpoint says."),
    ] = None,
    pvtm_seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of that masking; the paper's ± may be over several.")
    ] = None,
    keep_tokens: Annotated[
        int | None, typer.Option(min=1, help="Vision tokens that our language model reads, as inspect's: docs/speed.md.")
    ] = None,
    references: Annotated[
        list[Path] | None,
        typer.Option(
            help="Dialogues of these pictures: texts are scored against their answers, not the plain ones. Repeatable."
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Ask an endpoint of OpenAI's protocol, e.g. http://127.0.0.1:8000/v1; pictures go nowhere else."),
    ] = None,
    api_key_env: KeyEnv = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Calls in flight at an endpoint at most. Default: 8.")] = None,
    prompt: Annotated[
        Literal["zero-shot", "plain"] | None,
        typer.Option(help="zero-shot: the 12 types are told (general models' default); plain: the tasks' questions (ours)."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="General models only: further settings, key=value: max_tokens, timeout, retries, dtype …"),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again instead of continuing the file.")] = False,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Ask again what ended as an error in the file.")] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Ask again where pictures, labels or questions changed; drop what is gone.")
    ] = False,
    *,
    engine: EngineOptions,
) -> None:
    """Ask a model about pictures and write its answers."""
    import contextlib
    import functools

    from faceshield.baselines import load_model
    from faceshield.config import write_override
    from faceshield.evaluation.predict import Elsewhere
    from faceshield.evaluation.predict import predict as run
    from faceshield.images import read_rgb

    names = None if tasks is None else listed(tasks)
    given = {"api_key_env": api_key_env, "concurrency": concurrency}
    options = [write_override(key, value) for key, value in given.items() if value is not None]
    load = functools.partial(
        load_model,
        model,
        pvtm=pvtm,
        pvtm_seed=pvtm_seed,
        keep_tokens=keep_tokens,
        endpoint=endpoint,
        prompt=prompt,
        settings=[*options, *(settings or [])],
        face=face,
    )
    if endpoint is not None and engine.engine != "local":
        raise ValueError(
            f"--endpoint with --engine {engine.engine} — expected a model that the workers load — leave --engine out: "
            "one process fills an endpoint"
        )
    with contextlib.ExitStack() as stack:
        crew = stack.enter_context(engine.start())
        asker: Any = load() if engine.engine == "local" else Elsewhere(load, crew)
        if hasattr(asker, "close"):
            stack.callback(asker.close)
        advance = stack.enter_context(progress("predict", "picture"))
        summary = run(
            samples,
            asker,
            out,
            tasks=names,
            system=model,
            options=asker.settings,
            batch_size=1 if face == "detect" else batch_size,  # so that a picture without a face fails alone
            limit=limit,
            resume=not fresh,
            retry_errors=retry_errors,
            renew=renew,
            references=references or (),
            load=read_rgb,
            engine=crew,
            progress=advance,
        )
    typer.echo(
        f"{summary.written} answers written ({summary.kept} kept, {summary.unparsed} unparsed, {summary.errors} failed): {out}"
    )
    if summary.errors:
        raise typer.Exit(2)
