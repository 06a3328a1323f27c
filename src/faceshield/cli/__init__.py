"""The command line: one verb per file, in a function of the same name with the heavy imports inside.

Use: `faceshield --help`, `faceshield inspect photo.jpg`. A known error becomes one line on stderr and exit code 2; with
FACESHIELD_TRACEBACK=1 in the environment it keeps its traceback.
"""

from __future__ import annotations

import importlib
import io
import os
import sqlite3
import sys
from typing import Annotated

import typer

VERBS: tuple[str, ...] = (
    "inspect",
    "serve",
    "ask",
    "calibrate",
    "finetune",
    "export",
    "doctor",
    "simulate",
    "retake",
    "prepare",
    "split",
    "generate",
    "filter",
    "review",
    "augment",
    "report",
    "build-dataset",
    "assemble",
    "train",
    "predict",
    "score",
    "faithfulness",
    "table",
    "reproduce",
)
"""All verbs: first those for photos of your own, then those for making data and models, each in the order of the work."""

app = typer.Typer(
    name="faceshield",
    help="Face anti-spoofing that answers in words: bona fide or attack, which type, why and where.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich costs a third of the start-up time of `--help`
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from faceshield import __version__

        typer.echo(f"faceshield {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    return None


def _register() -> None:
    for verb in VERBS:
        name = verb.replace("-", "_")
        app.command(verb)(getattr(importlib.import_module(f"{__name__}.{name}"), name))


_register()


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        lost = isinstance(error, FileNotFoundError | NotADirectoryError | FileExistsError | PermissionError)
        advice = " — expected one that can be opened — check the path and its permissions" if lost else ""
        return f"{error.filename}: {error.strerror}{advice}"
    return str(error) or type(error).__name__


def main() -> None:
    """Run the command line; errors that the user can fix give exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that the terminal cannot show must not end the run
    try:
        app()
    # RecordError and ConfigError are ValueErrors; a missing extra is an ImportError with the line to type.
    except (ValueError, OSError, ImportError, FloatingPointError, sqlite3.Error) as error:
        if os.environ.get("FACESHIELD_TRACEBACK"):
            raise
        print(f"faceshield: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
