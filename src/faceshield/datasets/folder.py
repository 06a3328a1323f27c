"""Any folder of your own: `real/…` and `attack/<type>/…`, or a list that says what each picture is.

Videos and pictures may be mixed. Type names, and the other names in `ALSO`, are read in any spelling; files directly in
`attack`, or in `attack/unknown`, are attacks of unknown type. The folder below `real`, or below the type, is the subject, if
there is one. Splits are train, dev (val, validation, …) and test. A list, `samples.csv` in the folder, has the columns `image,
presentation_type` and optionally `subject, split, video, x0, y0, x1, y1` (a box in pixels; a picture with several boxes has
several rows), separated by commas, semicolons or tabs. Or `samples.jsonl`: one object per line with the same names, and `boxes`
as a list of [x0, y0, x1, y1].
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from faceshield.datasets.base import DataSet, Found, Problem, Unit, in_utf8, opened
from faceshield.images import SUFFIXES, UNREAD
from faceshield.records import Box
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES, UNTYPED, key, resolve

PICTURES = tuple(sorted(SUFFIXES))
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_REAL = ("real", "live", "bonafide", "bona_fide", "genuine")
_ATTACK = ("attack", "attacks", "spoof", "fake")
_NO_TYPE = ("unknown", *_ATTACK)
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("dev", "devel", "development", "val", "valid", "validation"), "dev"
)
_CORNERS = ("x0", "y0", "x1", "y1")
LIST, LINES = "samples.csv", "samples.jsonl"

ALSO: dict[str, str] = {
    **dict.fromkeys(("paper", "photo", "printed", "printed photo"), "Print"),
    **dict.fromkeys(("display", "monitor", "phone", "screen", "tablet", "video"), "Replay"),
    "3d mask": "Rigid mask",
}
"""Other names of types that people use; "mask" alone is none, as it may be a paper, a flexible or a rigid one."""

_ALSO_BY_KEY = {key(name): name for name in ALSO}
_NAMED = re.compile(r"\w[\w.-]{0,39}")


class Folder(DataSet):
    """A folder of one's own.

    Args:
        root, lists: see `DataSet`.
        name: of the data set, with which all ids begin; several folders that are used together need different ones.
    """

    name = "folder"
    types = {**{name: name for name in (*PRESENTATION_TYPES, UNTYPED)}, **ALSO}

    def __init__(self, root: str | Path, *, lists: str | Path | None = None, name: str = "folder") -> None:
        if not _NAMED.fullmatch(name):
            raise ValueError(f"name {name!r} — expected at most 40 letters, digits, '-', '_' and '.' — choose such a one")
        super().__init__(root, lists=lists)
        self.name = name

    def write_to(self, output: Path) -> None:
        super().write_to(output)
        if self.output in [(self.root / name).resolve() for name in (LIST, LINES)]:
            raise ValueError(
                f"out {output}: the place of a list of your own, which is read instead of the folders in {self.root} — "
                "expected another file — choose another --out"
            )

    def spelled(self, label: str) -> str:
        return _known(label)

    def walk(self) -> Iterator[Found]:
        self.ignored.clear()
        for name, rows in ((LIST, self._table), (LINES, self._lines)):
            file = self.root / name
            if file.is_file():
                named = set()
                for found in rows(file):
                    named.add(hash(found.path))
                    yield found
                yield from self._unlisted(named, name)
                return
        yield from super().walk()

    def _unlisted(self, named: set[int], own: str) -> Iterator[Found]:
        for path in self.files():
            if str(path) == own:
                continue
            if path.suffix.lower() not in (*PICTURES, *VIDEOS):
                self.ignored[path.suffix.lower() or "(none)"] += 1
            elif hash(str(path)) not in named:
                yield Problem("unlisted", in_utf8(path), "in the folder, not in its list", dropped=False)

    def look(self, path: PurePosixPath) -> Found | None:
        suffix = path.suffix.lower()
        if suffix in UNREAD:
            return Problem(
                "unreadable", str(path), f"{suffix} is not read — expected {', '.join(PICTURES)} — convert it to JPEG"
            )
        if suffix not in (*PICTURES, *VIDEOS):
            return None
        parts = [part.lower() for part in path.parts[:-1]]
        if parts and parts[0] in _REAL:
            label, below = BONAFIDE, path.parts[1:-1]
        elif parts and parts[0] in _ATTACK:
            label, below = _known(path.parts[1] if len(parts) > 1 else UNTYPED), path.parts[2:-1]
        else:
            return Problem("name", str(path), "expected real/… or attack/<type>/…")
        return _unit(str(path), label, _name(below[0]) if below else None, None, ())

    def _table(self, file: Path) -> Iterator[Found]:
        with opened(file) as lines:
            head = next(lines, "")
            rows = csv.DictReader(chain([head], lines), delimiter=max(",;\t", key=head.count))
            rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
            if missing := sorted({"image", "presentation_type"} - set(rows.fieldnames)):
                raise ValueError(
                    f"{file}:1: no column {', '.join(missing)} among {', '.join(rows.fieldnames)} — expected image and "
                    "presentation_type, with commas, semicolons or tabs between — correct the first line"
                )
            listed: dict[str, list[tuple[int, dict[str, Any]]]] = {}  # a picture's rows need not be adjacent
            for cells in rows:
                if None in cells:
                    yield Problem("manifest", str(cells["image"]), f"{LIST}:{rows.line_num}: more cells than columns")
                    continue
                row = {name: cell.strip() if cell else cell for name, cell in cells.items()}
                listed.setdefault(_path(row["image"]), []).append((rows.line_num, row))
            for image, numbered in listed.items():
                line, same = numbered[0][0], [row for _, row in numbered]
                kinds = {_known(row["presentation_type"]): number for number, row in reversed(numbered)}
                if len(kinds) > 1:
                    detail = f"{LIST}:{max(kinds.values())}: listed as {' and as '.join(sorted(kinds))} — expected one type"
                    yield Problem("manifest", str(image), detail)
                    continue
                if unlike := [name for name in ("subject", "split", "video") if len({row.get(name) for row in same}) > 1]:
                    detail = f"{LIST}:{numbered[-1][0]}: its rows differ in {', '.join(unlike)} — expected the same in all"
                    yield Problem("manifest", str(image), detail)
                    continue
                corners = [[row.get(name) for name in _CORNERS] for row in same if any(map(row.get, _CORNERS))]
                yield self._listed({**same[0], "image": image, "boxes": corners}, f"{LIST}:{line}")

    def _lines(self, file: Path) -> Iterator[Found]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                place = f"{LINES}:{number}"
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict) or not {"image", "presentation_type"} <= set(row):
                        raise ValueError("not an object with image and presentation_type")
                except (ValueError, RecursionError) as error:
                    yield Problem("manifest", place, f"{error} — expected a JSON object with image and presentation_type")
                    continue
                yield self._listed(row, place)

    def _listed(self, row: dict[str, Any], place: str) -> Found:
        image = _path(row["image"])
        if any("\ud800" <= letter <= "\udfff" for letter in image):
            return Problem("manifest", place, "a name that is no text — expected UTF-8")
        if not image:
            return Problem("manifest", place, "no image named — expected its path below the folder")
        if not (self.root / image).is_file():
            hint = " — expected / between folders" if "\\" in image else ""
            return Problem("absent", image, f"{place}: listed, not there{hint}")
        try:
            is_attack = _said(row.get("is_attack"))
            untyped = row["presentation_type"] is None and is_attack is True  # as `prepare` writes it
            label = UNTYPED if untyped else _known(row["presentation_type"])
            if is_attack not in (None, label != BONAFIDE) and label in self.types:
                raise ValueError(f"{label}, and is_attack {row['is_attack']!r} — expected them to agree")
            boxes = tuple(_box(corners) for corners in row.get("boxes") or ())
            split = _split(row.get("split"))
        except (TypeError, ValueError) as error:
            return Problem("manifest", image, f"{place}: {error}")
        told = {name: _name(str(row[name])) for name in ("subject", "video") if row.get(name) not in (None, "")}
        subject, video = map(told.get, ("subject", "video"))
        return _unit(image, label, subject, split, boxes, video)


def _known(name: str | None) -> str:
    """A type, or a common name of one, in its canonical spelling; any other label unchanged, as `--types` may map it."""
    word = str(name or "")
    if word.lower() in _REAL:
        return BONAFIDE
    if word.lower() in _NO_TYPE:
        return UNTYPED
    try:
        return resolve(word)
    except ValueError:
        return _ALSO_BY_KEY.get(key(word), word)


def _path(image: object) -> str:
    """A picture's path below the folder, as in `DataSet.files`; empty if none is named."""
    named = str(image or "").strip()
    return str(PurePosixPath(named)) if named else ""


def _said(value: object) -> bool | None:
    """Whether a list says that a picture is an attack, by a JSON boolean or a CSV cell; None if it does not say."""
    known = {"": None, "none": None, "true": True, "1": True, "false": False, "0": False}
    word = "" if value is None else str(value).strip().lower()
    if word not in known:
        raise ValueError(f"is_attack {value!r} — expected true or false, or nothing")
    return known[word]


def _split(name: object) -> str | None:
    if name is None or not str(name).strip():
        return None
    if (found := _SPLITS.get(str(name).strip().lower())) is None:
        raise ValueError(f"split {name!r} — expected train, dev or test — correct it, or leave it empty")
    return found


def _name(name: str) -> str:
    """A person's name in Unicode NFC, as file systems encode accented letters differently."""
    return unicodedata.normalize("NFC", name).strip()


def _box(corners: Sequence[Any]) -> Box:
    try:
        x0, y0, x1, y1 = (float("nan" if value in (None, "") else value) for value in corners)
    except (TypeError, ValueError):
        raise ValueError(f"box {corners!r} — expected four numbers, x0, y0, x1, y1 in pixels") from None
    if not (x1 - x0 >= 1 and y1 - y0 >= 1):
        raise ValueError(
            f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] — expected pixels, x0 < x1 and y0 < y1 — multiply shares by width and height"
        )
    return x0, y0, x1, y1


def _unit(
    path: str, label: str, subject: str | None, split: str | None, boxes: tuple[Box, ...], video: str | None = None
) -> Unit:
    name = PurePosixPath(path)
    is_video = name.suffix.lower() in VIDEOS
    return Unit(
        id=path,
        path=path,
        reader="video" if is_video else "picture",
        label=label,
        subject=subject,
        split=split,
        video=path if is_video else video,
        boxes=boxes,
    )
