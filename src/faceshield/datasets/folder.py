"""Any folder of one's own: `real/…` and `attack/<type>/…`, or a CSV that says what each picture is.

Videos and pictures may be mixed. Names of types are read in any spelling. The folder below `real`, or below the type, is the
subject, if there is one. The CSV, `samples.csv` in the folder, has the columns `image, presentation_type` and, if wanted,
`subject, split, video, x0, y0, x1, y1` (a box in pixels; a picture with several boxes has several rows).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from faceshield.datasets.base import Box, DataSet, Found, Problem, Unit
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES, resolve

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
_REAL = ("real", "live", "bonafide", "bona_fide", "genuine")
_ATTACK = ("attack", "attacks", "spoof", "fake")
LIST = "samples.csv"


class Folder(DataSet):
    name = "folder"
    types = {name: name for name in PRESENTATION_TYPES}

    def walk(self) -> Iterator[Found]:
        listed = self.root / LIST
        return self._listed(listed) if listed.is_file() else super().walk()

    def look(self, path: PurePosixPath) -> Found | None:
        suffix = path.suffix.lower()
        if suffix not in (*PICTURES, *VIDEOS):
            return None
        parts = [part.lower() for part in path.parts[:-1]]
        if parts and parts[0] in _REAL:
            label, below = BONAFIDE, path.parts[1:-1]
        elif len(parts) > 1 and parts[0] in _ATTACK:
            try:
                label, below = resolve(path.parts[1]), path.parts[2:-1]
            except ValueError as error:
                return Problem("label", str(path), str(error))
        else:
            return Problem("name", str(path), "expected real/… or attack/<type>/…")
        return _unit(str(path), label, below[0] if below else None, None, ())

    def _listed(self, file: Path) -> Iterator[Found]:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            missing = {"image", "presentation_type"} - set(rows.fieldnames or ())
            if missing:
                raise ValueError(
                    f"{file}:1: no column {', '.join(sorted(missing))} — expected image, presentation_type — add it"
                )
            for image, group in groupby(rows, key=lambda row: row["image"]):
                yield self._row(image, list(group), f"{LIST}:{rows.line_num}")

    def _row(self, image: str, rows: list[dict[str, str]], place: str) -> Found:
        if not (self.root / image).is_file():
            return Problem("absent", image, f"{place}: listed, not there")
        try:
            label = resolve(rows[0]["presentation_type"] or "")
            boxes = tuple(_box(row) for row in rows if row.get("x0"))
        except ValueError as error:
            return Problem("manifest", image, f"{place}: {error}")
        first = rows[0]
        return _unit(image, label, first.get("subject") or None, first.get("split") or None, boxes, first.get("video") or None)


def _box(row: dict[str, str]) -> Box:
    x0, y0, x1, y1 = (float(row.get(name) or "nan") for name in ("x0", "y0", "x1", "y1"))
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] — expected x0 < x1 and y0 < y1")
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
