"""`faceshield inspect`: verdict, type, region and reason of photographs, as a table, as JSON, or as pictures and a page."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceshield.cli.options import listed
from faceshield.inspection import ALL_TASKS, FaceMode, check_tasks

if TYPE_CHECKING:
    from faceshield.images import ImageError, Picture
    from faceshield.inspection import InspectionReport
    from faceshield.predictor import FaceShieldPredictor

_NAME_WIDTH = (12, 40)  # least and most, characters
_COLOURS = {"attack": typer.colors.RED, "bona fide": typer.colors.GREEN, "error": typer.colors.YELLOW}


def inspect(
    photos: Annotated[list[Path], typer.Argument(help="Pictures, or folders with pictures.", metavar="PHOTO...")],
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    face: Annotated[FaceMode, typer.Option(help="Find the largest face, or judge the whole picture.")] = "detect",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of the table.")] = False,
    tasks: Annotated[
        str,
        typer.Option(help="What is asked; without reasoning and localization no text is made: up to two fifths faster."),
    ] = ",".join(ALL_TASKS),
    keep_tokens: Annotated[
        int | None, typer.Option(help="Vision tokens that the language model reads; fewer are faster: docs/speed.md.", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for annotated pictures and report.html.")] = None,
) -> None:
    """Judge photos: verdict, type, why and where.

    The exit code does not reflect verdicts: it is 0 for attacks and where no face was found, 2 if a picture could not be read
    or judged. Programs should read --json.
    """
    asked = check_tasks(listed(tasks) or [tasks])
    if out is not None:
        ensure_writable(out)
    items = list(_expand(photos, out))

    from faceshield.predictor import FaceShieldPredictor

    shield = FaceShieldPredictor.from_pretrained(model, keep_tokens=keep_tokens)
    if inspect_all(shield, items, face=face, tasks=asked, as_json=as_json, out=out):
        raise typer.Exit(2)


def inspect_all(
    shield: FaceShieldPredictor,
    paths: Iterable[Path | ImageError],
    *,
    face: FaceMode,
    tasks: Collection[str] = ALL_TASKS,
    as_json: bool,
    out: Path | None,
) -> int:
    """Inspect, print and save; returns how many pictures could not be inspected.

    Args:
        paths: pictures, and errors for folders that held none.
        face: "detect" or "whole".
        tasks: as `FaceShieldPredictor.inspect` takes them.
        out: an existing, writable folder, or None.
    """
    items = list(paths)
    table = Table([str(item) for item in items if isinstance(item, Path)])
    saver = None if out is None else _Saver(out, [item for item in items if isinstance(item, Path)])
    errors = 0
    if not as_json:
        typer.echo(table.header())
    for item in items:
        picture, report = _inspect_one(shield, item, face, tasks)
        errors += report.status == "error"
        typer.echo(_json(report) if as_json else table.row(report))
        if saver is not None:
            saver.add(picture, report)
    if saver is not None:
        typer.echo(f"{saver.finish()} written", err=as_json)
    return errors


class Table:
    """The human-readable table, row by row; the pictures' names set the width of its first column."""

    def __init__(self, names: Iterable[str]) -> None:
        longest = max((len(name) for name in names), default=0)
        self.width = min(max(longest, _NAME_WIDTH[0]), _NAME_WIDTH[1])

    def header(self) -> str:
        """The header line; score and limit are 0..1, high = bona fide."""
        line = f"{'picture':{self.width}}  {'verdict':10} {'score':>6} {'limit':>6}  {'type':14} region"
        return typer.style(line, bold=True)

    def row(self, report: InspectionReport) -> str:
        """One report: a line of figures; below it the error, advice, reasoning and notes, if any."""
        name = _printable(report.image)
        if len(name) > self.width:
            name = "…" + name[-(self.width - 1) :]
        score = "-" if report.bonafide_score is None else f"{report.bonafide_score:.3f}"
        limit = "-" if report.threshold is None else f"{report.threshold:.3f}"
        colour = typer.colors.YELLOW if report.doubtful else _COLOURS.get(report.verdict)
        verdict = typer.style(f"{report.verdict:10}", fg=colour, bold=True)
        regions = " ".join("[" + ", ".join(f"{value:.0f}" for value in box) + "]" for box in report.boxes)
        kind = report.presentation_type or "-"
        lines = [f"{name:{self.width}}  {verdict} {score:>6} {limit:>6}  {kind:14} {regions or '-'}"]
        remarks = [report.error, report.advice, report.reasoning, *report.meta.get("notes", [])]
        lines += [f"    {_printable(str(remark))}" for remark in remarks if remark]
        return "\n".join(lines)


class _Saver:
    """Saves annotated pictures as they come and the page at the end.

    It overwrites an earlier run's page and its pictures of the same originals, and nothing else.
    """

    def __init__(self, folder: Path, inputs: list[Path]) -> None:
        self._folder = folder
        self._taken = {path.resolve() for path in inputs}  # never overwrite an input or another picture of this run
        from faceshield.html_report import Page

        self._page = Page()

    def add(self, picture: Picture | None, report: InspectionReport) -> None:
        self._page.add(picture.rgb if picture else None, report)
        if picture is None:
            return
        from faceshield.annotate import annotate

        # Identifies the original's path without revealing it: the annotated picture may be passed on.
        origin = hashlib.sha256(os.fsencode(Path(picture.name).absolute())).hexdigest()[:16]
        annotate(picture.rgb, report).save(self._free(Path(picture.name).stem, ".png", origin), pnginfo=_mark(origin))

    def _free(self, stem: str, suffix: str, origin: str = "") -> Path:
        target, number = self._folder / f"{stem}{suffix}", 1
        while target.resolve() in self._taken or (os.path.lexists(target) and not _is_ours(target, origin)):
            number += 1
            target = self._folder / f"{stem}-{number}{suffix}"
        if number > 1 and suffix == ".html":
            typer.echo(f"{self._folder / stem}{suffix} is not ours and stays: the page is {target}", err=True)
        self._taken.add(target.resolve())
        return target

    def finish(self) -> str:
        target = self._free("report", ".html")
        target.write_text(self._page.html(), encoding="utf-8", errors="backslashreplace")
        return f"annotated pictures and {target}"


def _mark(origin: str) -> Any:
    from PIL.PngImagePlugin import PngInfo

    from faceshield.html_report import MADE_BY

    info = PngInfo()
    info.add_text("Software", MADE_BY)
    info.add_text("Origin", origin)
    return info


def _is_ours(path: Path, origin: str = "") -> bool:
    """Whether an earlier run wrote this page, or this picture of the same `origin`: both have `MADE_BY` near their start."""
    from faceshield.html_report import MADE_BY

    try:
        if path.is_symlink() or not path.is_file():  # writing through a link would change a file elsewhere
            return False
        with path.open("rb") as stream:
            start = stream.read(1024)
    except OSError:  # opening the file reports why
        return False
    return MADE_BY.encode() in start and origin.encode() in start


def ensure_writable(folder: Path) -> None:
    """Make the output folder and try to write there, before anything slow begins.

    Raises:
        PermissionError: it cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise PermissionError(f"--out {folder}: is a file — expected a folder — choose another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise PermissionError(
            f"--out {folder}: cannot be written to ({reason}) — expected a folder with write permission — choose another"
        ) from error


def _inspect_one(
    shield: FaceShieldPredictor, item: Path | ImageError, face: FaceMode, tasks: Collection[str]
) -> tuple[Picture | None, InspectionReport]:
    from faceshield.images import ImageError, open_picture

    if isinstance(item, ImageError):
        return None, shield.failed(item)
    try:
        picture = open_picture(item)
    except ImageError as error:
        return None, shield.failed(error)
    return picture, shield.inspect(picture, face=face, tasks=tasks)


def _expand(photos: Iterable[Path], out: Path | None = None) -> Iterator[Path | ImageError]:
    """Replace folders by the pictures inside them, and a folder without any by an error, which gets a row like any other.

    Annotated pictures of an earlier run are skipped only in `out`, where this run writes them again: anybody can make a picture
    look like one of ours, and elsewhere it would escape judgement.
    """
    from faceshield.images import ImageError, is_picture, list_pictures

    for photo in photos:
        try:
            is_folder = photo.is_dir()
        except OSError:  # in a folder that may not be entered; it gets a row like any other
            is_folder = False
        if not is_folder:
            yield photo
            continue
        ours = out is not None and out.resolve() == photo.resolve()
        try:
            found = list_pictures(photo)
            yield from (theirs := [picture for picture in found if not (ours and _is_ours(picture))])
            if made := len(found) - len(theirs):
                typer.echo(f"{photo}: {made} annotated pictures of an earlier run are passed over", err=True)
        except ImageError as error:
            yield error
        with suppress(OSError):  # already reported as an error
            others = [child for child in photo.iterdir() if not child.name.startswith(".") and not is_picture(child)]
            if passed := sum(child.is_file() and not (ours and _is_ours(child)) for child in others):
                typer.echo(f"{photo}: {passed} other files are passed over, as no pictures by their names", err=True)
            if inside := sum(child.is_dir() for child in others):
                typer.echo(
                    f"{photo}: {inside} folders inside are not entered; faceshield predict {photo} --face detect enters them "
                    "(scores, no verdicts: an attack is below the threshold)",
                    err=True,
                )


def _json(report: InspectionReport) -> str:
    """The report as one line of ASCII, safe for any terminal or pipe; other characters are escaped as in JSON."""
    return json.dumps(report.to_dict(), allow_nan=False)


def _printable(text: str) -> str:
    """Replace control characters in file names and free text, which must not reach the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
