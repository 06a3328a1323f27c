"""`faceshield reproduce`: train and score the paper's tables and figures, and show them beside its numbers."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceshield.cli.options import KeyEnv

if TYPE_CHECKING:
    from faceshield.recipes.reproduce.bench import Bench
    from faceshield.recipes.reproduce.paper import Entry
    from faceshield.recipes.reproduce.reproduction import Reproduction

SIMULATED = "sim"


def reproduce(
    what: Annotated[list[str], typer.Argument(help="table1 … table6, fig6 … fig9, or all.")],
    data: Annotated[
        list[str] | None,
        typer.Option(help="sim: FaceShield-Sim; or samples of WMCA, SiW-Mv2 and PADISI-Face, repeatable. Default: sim."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Trainings of every row, with the seeds seed, seed + 1, ….")] = 1,
    scale: Annotated[
        str, typer.Option(help="How much is trained: toy (minutes, its numbers mean nothing), mini, small, full.")
    ] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder of all steps. Default: runs/reproduce/SCALE.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the trainings.")] = 0,
    data_seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated pictures.")] = 1,
    init: Annotated[
        str | None, typer.Option(help="Checkpoint that the two stages start from, instead of a foundation trained on D.")
    ] = None,
    adapt_towers: Annotated[
        bool, typer.Option("--adapt-towers", help="Continue training the towers on each protocol's own training pictures.")
    ] = False,
    start: Annotated[
        list[str] | None,
        typer.Option(help="What a baseline starts from, instead of itself trained on D: ResNet=microsoft/resnet-50."),
    ] = None,
    meteor: Annotated[
        bool, typer.Option("--meteor", help="Table 4's METEOR too, for rows scored from now on; needs Java.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="A system to run, e.g. FaceShield; repeatable. Default: all.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A general model for the row of its name: LLaVA=FOLDER, or an endpoint's, LLaVA=MODEL@http://HOST/v1."
        ),
    ] = None,
    api_key_env: KeyEnv = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Further settings of general models, key=value: max_tokens, timeout, retries, dtype …"),
    ] = None,
    configs: Annotated[Path, typer.Option(help="Folder of the recipes.")] = Path("configs"),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each training.")] = 2,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw pictures.")] = 2,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to write the report on the whole folder into; an earlier report in it is replaced."),
    ] = None,
) -> None:
    """Reproduce a table of the paper from scratch.

    Train what is missing, score it, and show the paper's numbers beside ours.
    """
    from dataclasses import asdict

    from faceshield.cli.train import print_row
    from faceshield.evaluation.metrics.meteor import meteor_is_there
    from faceshield.model import checkpoint_hash, resolve_model
    from faceshield.provenance import begun, file_sha256
    from faceshield.recipes.reproduce import bench as benches
    from faceshield.recipes.reproduce.paper import ENTRIES, SYSTEMS
    from faceshield.recipes.reproduce.reproduction import Reproduction
    from faceshield.recipes.reproduce.show import put_into
    from faceshield.recipes.reproduce.show import report as reported
    from faceshield.recipes.train import train
    from faceshield.simulate.domains import VERSION

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("reproduce under torchrun — expected one process — start it without; several GPUs: runs/paper.sh")
    entries = _entries(what, ENTRIES)
    if meteor:
        meteor_is_there()
    wanted = benches.SCALES.get(scale)
    if wanted is None:
        raise ValueError(f"--scale {scale} — expected one of {', '.join(benches.SCALES)}")
    if not (configs / "train").is_dir():
        raise ValueError(f"{configs}/train is not there — expected the repository's recipes — run from it, or give --configs")
    if unknown := sorted({*(only or ())} - {*SYSTEMS}):
        raise ValueError(f"--only {unknown[0]} — expected some of {', '.join(SYSTEMS)}")
    files = [Path(file) for file in data or [] if file != SIMULATED]
    if files and len(files) < len(data or []):
        raise ValueError("--data sim beside files — expected one or the other")
    models = dict(_named(given, SYSTEMS) for given in model or [])
    starts = dict(_started(given, SYSTEMS) for given in start or [])
    out = out or Path("runs/reproduce") / scale
    shown = ", ".join(map(str, files)) or f"FaceShield-Sim {VERSION}, seed {data_seed}"
    about: dict[str, Any] = {"data": shown, "scale": scale}
    about["foundation"] = (init or "trained on D") + (", towers adapted to the sources" if adapt_towers else "")
    content = {"files": [file_sha256(file) for file in files], "init": init and checkpoint_hash(resolve_model(init))}
    shared = {name: value for name, value in asdict(wanted).items() if name != "methods"}
    begun(out, "reproduce", {**about, "settings": shared, **content})
    # Starts and the settings of single methods are not in that note: each training records its own.
    about |= {"starts": ", ".join(start)} if start else {}

    def say(line: str) -> None:
        typer.echo(line, err=True)

    def stage(config: Path, overrides: list[str]) -> None:
        typer.echo(f"checkpoint: {train(config, overrides, report=print_row)}")

    reproduction = Reproduction(
        out=out, bench=benches.Bench(out / "data", ()), scale=wanted, configs=configs, train=stage, seed=seed, threads=threads,
        init=init, adapt=adapt_towers, starts=starts, models=models, meteor=meteor, only=only, report=say,
        api_key_env=api_key_env, settings=settings or [],
    )  # fmt: skip
    reproduction.bench = _bench(reproduction, files, data_seed, workers)
    given = {"data": data or [SIMULATED], "scale": scale, "repeat": repeat, "out": out, "seed": seed or None}
    given |= {"data-seed": None if data_seed == 1 else data_seed, "init": init, "start": start, "only": only, "model": model}
    given |= {"api-key-env": api_key_env, "set": settings, "threads": None if threads == 2 else threads}
    given |= {"configs": None if configs == Path("configs") else configs}
    flags = [name for name, told in (("--adapt-towers", adapt_towers), ("--meteor", meteor)) if told]
    command = shlex.join(["faceshield", "reproduce", *what, *_options(given), *flags])
    of_tables = {**about, "seeds": f"{seed}..{seed + repeat - 1}" if repeat > 1 else seed, "command": command}
    for entry in entries:
        typer.echo(_present(reproduction, entry, repeat, of_tables))
    text = reported(out, list(ENTRIES.values()), about)
    if into is not None:
        put_into(into, text)
        typer.echo(f"report: {into}", err=True)
    typer.echo(f"{len(entries)} tables and figures: {out}")


def _options(given: dict[str, Any]) -> list[str]:
    """Options as typed on a command line: None and empty lists are left out, other lists become repeated options."""
    values = {name: value if isinstance(value, list) else [value] for name, value in given.items() if value is not None}
    return [text for name, several in values.items() for value in several for text in (f"--{name}", str(value))]


def _entries(what: list[str], known: dict[str, Entry]) -> list[Entry]:
    from faceshield.config import near

    names = list(dict.fromkeys(name for given in what for name in (known if given == "all" else [given])))
    for name in names:
        if name not in known:
            hint = near(name, [*known, "all"], "use some of them")
            raise ValueError(f"{name} — no such table or figure — expected some of {', '.join(known)}, all — {hint}")
    return [known[name] for name in names]


def _named(given: str, known: dict[str, Any]) -> tuple[str, tuple[str, str | None]]:
    name, equals, value = given.partition("=")
    general = [label for label, system in known.items() if system.general]
    if not equals or name not in general:
        raise ValueError(f"--model {given} — expected NAME=MODEL with a name out of {', '.join(general)}")
    model, at, address = value.rpartition("@http")
    return name, (model, f"http{address}") if at else (value, None)


def _started(given: str, known: dict[str, Any]) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    rivals = [label for label, system in known.items() if system.baseline]
    if not equals or name not in rivals:
        raise ValueError(f"--start {given} — expected NAME=FOLDER with a name out of {', '.join(rivals)}")
    return name, value


def _bench(reproduction: Reproduction, files: list[Path], seed: int, workers: int) -> Bench:
    from faceshield.recipes.reproduce import bench as benches

    root = reproduction.out / "data"
    if files:
        return benches.own(root, files, reproduction.step, seed=seed, wording=reproduction.wording, report=reproduction.report)
    foundation = reproduction.init is None
    return benches.simulated(
        root,
        reproduction.scale,
        reproduction.step,
        seed=seed,
        workers=workers,
        wording=reproduction.wording,
        foundation=foundation,
    )


def _present(reproduction: Reproduction, entry: Entry, repeat: int, about: dict[str, Any]) -> str:
    """Run an entry, write its files, and return its table."""
    from faceshield.recipes.reproduce.show import grid, notes, write

    outcomes = list(reproduction.rows(entry, repeat))
    told = notes(entry, outcomes) + reproduction.told(entry)
    if entry.kind != "table":
        told += _drawn(reproduction, entry, outcomes)
    write(reproduction.out, entry, outcomes, about, told)
    table = grid(entry, outcomes).render("text") if entry.metrics else entry.title
    return "\n".join(["", table, *told])


def _drawn(reproduction: Reproduction, entry: Entry, outcomes: list[Any]) -> list[str]:
    from faceshield.recipes.reproduce.bench import Protocol
    from faceshield.recipes.reproduce.figures import draw, importance

    path = reproduction.out / f"{entry.name}.png"
    if entry.kind != "maps":
        return [f"Figure: {path.name}"] if draw(entry, outcomes, path) else []
    if not outcomes[0].runs:
        return []
    protocol = Protocol.of(entry.rows[0].protocol)
    lines = importance(reproduction.checkpoint("FaceShield", protocol), reproduction.bench.joined(protocol, "test"), path)
    return [*lines, f"Figure: {path.name}"]
