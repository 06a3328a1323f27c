"""Boxes drawn with other tools: COCO, Pascal VOC, YOLO, VIA, Label Studio, CVAT, and WMCA's patch boxes.

`read_boxes` reads a tool's file, `assign` finds the picture or frame of a data set that each box belongs to, and `Drawn.inside`
gives its place in that picture: xyxy pixels, clipped. Boxes that are invalid or belong to no picture become `Problem`s.
Use: `faceshield prepare NAME ROOT --boxes annotations.json --out samples.jsonl`.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from faceshield.datasets.base import Found, Problem, Unit
from faceshield.images import SUFFIXES
from faceshield.provenance import files_below
from faceshield.records import Box


@dataclass(frozen=True)
class Drawn:
    """A box as a tool stores it.

    Attributes:
        box: x0, y0, x1, y1; in pixels, or as fractions of the picture's size.
        shares: whether `box` holds fractions.
        on_crop: whether it was drawn on the picture that `prepare` stored, not on the one that it was cropped from.
    """

    box: Box
    shares: bool = False
    on_crop: bool = False

    def inside(self, size_wh: tuple[int, int]) -> Box:
        """The part of the box inside a picture of this size, in pixels.

        Raises:
            ValueError: there is none.
        """
        width, height = size_wh
        scale = (width, height, width, height) if self.shares else (1, 1, 1, 1)
        x0, y0, x1, y1 = (value * factor for value, factor in zip(self.box, scale, strict=True))
        inside = max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)
        if not all(map(math.isfinite, self.box)) or inside[2] <= inside[0] or inside[3] <= inside[1]:
            shown = ", ".join(f"{value:g}" for value in self.box)
            raise ValueError(f"box [{shown}] has no area in {width} x {height} pixels")
        return inside


Named = tuple[str, Drawn]


def read_boxes(source: str | Path) -> dict[str, list[Drawn]]:
    """Read the boxes in an annotation tool's file or folder; the format is recognised by the content.

    Args:
        source: COCO, VIA, Label Studio or WMCA patches (.json), CVAT or VOC (.xml), a folder of VOC (.xml) or YOLO (.txt).

    Returns:
        Picture's name or path, as the tool stores it -> its boxes in the order of the source.

    Raises:
        ValueError: an unknown format, content that does not match its format, or no box.
    """
    boxes: dict[str, list[Drawn]] = {}
    for name, drawn in _drawn(Path(source)):
        boxes.setdefault(name.replace("\\", "/"), []).append(drawn)
    if not boxes:
        raise ValueError(f"{source}: no box in it — expected some — export again (of CVAT: CVAT for images)")
    return boxes


# -- matching boxes to pictures --------------------------------------------------------------------------------------------

Assigned = dict[str, dict[int | None, tuple[Drawn, ...]]]
"""Unit id -> frame number (None = every frame, or the single picture) -> boxes."""

_SUFFIXES = (*sorted(SUFFIXES), ".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".hdf5", ".h5", ".npz", ".rssdk")


def assign(boxes: Mapping[str, Sequence[Drawn]], found: Iterable[Found], dataset: str) -> tuple[Assigned, list[Problem]]:
    """Match each name to a unit, or to one of its frames: the one whose path or id shares most of the name's last components.

    A name may refer to a file in the copy (`Live/Live_7.mov`, for all its frames; `a.jpg`), or to a picture that an earlier
    `prepare` stored (`images/siw-mv2/Live_7/000012.png`).

    Args:
        boxes: from `read_boxes`.
        found: a walk over the data set.
        dataset: the data set's name.

    Returns:
        The boxes by unit and frame, and a problem for each name that matches none, or several equally well.
    """
    by_last: dict[str, list[tuple[tuple[str, ...], int | None, str]]] = defaultdict(list)
    for name in boxes:
        parts = _parts(name)
        by_last[parts[-1]].append((parts, None, name))
        counted = re.search(r"\d+$", parts[-1])
        if counted and len(parts) > 1:
            by_last[parts[-2]].append((parts[:-1], int(counted[0]), name))
    best: dict[str, tuple[int, set[tuple[str, int | None]]]] = {}
    for unit in found:
        if not isinstance(unit, Unit):
            continue
        for own in {_parts(unit.path), _parts(unit.id)}:
            for parts, number, name in by_last.get(own[-1], ()):
                common = min(len(parts), len(own))
                if parts[-common:] != own[-common:]:
                    continue
                reach, places = best.get(name, (0, set()))
                if common > reach:
                    best[name] = common, {(unit.id, number)}
                elif common == reach:
                    places.add((unit.id, number))
    assigned: Assigned = {}
    problems = []
    for name, drawn in boxes.items():
        _, places = best.get(name, (0, set()))
        if len(places) != 1:
            detail = f"{len(places)} pictures match this name: give more of its path" if places else "no such picture"
            problems.append(Problem("box", name, detail, dropped=False))
            continue
        unit_id, number = places.pop()
        on_crop = f"images/{dataset}/" in name
        own_boxes = tuple(Drawn(one.box, one.shares, on_crop) for one in drawn)
        frames = assigned.setdefault(unit_id, {})
        frames[number] = frames.get(number, ()) + own_boxes
    return assigned, problems


def _parts(name: str) -> tuple[str, ...]:
    """The components of a path, the last without the suffixes of pictures, videos and containers."""
    path = PurePosixPath(name)
    while path.suffix.lower() in _SUFFIXES:
        path = path.with_suffix("")
    return tuple(part for part in path.parts if part not in ("/", "..")) or (name,)


# -- formats ---------------------------------------------------------------------------------------------------------------


def _drawn(source: Path, below: str = "") -> Iterator[Named]:
    if source.is_dir():
        files = [source / file for file in files_below(source) if file.suffix.lower() in (".xml", ".txt")]
        if not files:
            raise ValueError(f"{source}: no annotation below it — expected .xml or .txt files — give another folder, or a file")
        often = Counter(file.stem for file in files)
        for file in files:
            if file.name != "classes.txt":  # files of the same name are told apart by their folders
                yield from _drawn(file, file.relative_to(source).parent.as_posix() if often[file.stem] > 1 else "")
        return
    try:
        suffix = source.suffix.lower()
        if suffix == ".txt":
            yield from _yolo(source, below)
        elif suffix == ".xml":
            root = ElementTree.fromstring(source.read_bytes())
            yield from (_cvat(root) if root.tag == "annotations" else _voc(root, source, below))
        elif suffix == ".json":
            values = json.loads(source.read_text(encoding="utf-8"))
            reader = next((reader for fits, reader in _JSON if fits(values)), None)
            if reader is None:
                raise ValueError("no known form — expected COCO, VIA, Label Studio or WMCA's patches — export again")
            yield from reader(values)
        else:
            raise ValueError(f"{source.suffix or 'no suffix'} — expected .json, .xml or .txt, or a folder — export again")
    except (KeyError, TypeError, AttributeError, ElementTree.ParseError) as error:
        raise ValueError(f"{source}: not what its form says ({type(error).__name__}: {error}) — export again") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _coco(values: Mapping[str, Any]) -> Iterator[Named]:
    names = {picture["id"]: str(picture["file_name"]) for picture in values["images"]}
    for row in values["annotations"]:
        x, y, width, height = row["bbox"]
        yield names.get(row["image_id"], f"image {row['image_id']}"), Drawn((x, y, x + width, y + height))


def _via(values: Mapping[str, Any]) -> Iterator[Named]:
    """VGG Image Annotator 2: a project, or its metadata alone; rectangles, and bounding boxes of polygons."""
    for row in values.get("_via_img_metadata", values).values():
        regions = row["regions"]
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape = region["shape_attributes"]
            if shape["name"] == "rect":
                x, y = shape["x"], shape["y"]
                yield str(row["filename"]), Drawn((x, y, x + shape["width"], y + shape["height"]))
            elif shape["name"] in ("polygon", "polyline"):
                xs, ys = shape["all_points_x"], shape["all_points_y"]
                yield str(row["filename"]), Drawn((min(xs), min(ys), max(xs), max(ys)))


def _label_studio(values: Sequence[Mapping[str, Any]]) -> Iterator[Named]:
    """Boxes are in percent of the picture as annotated, whose size is in `original_width` and `original_height`.

    Skipped annotations do not count, and a region counts once, even if labels or choices add further results to it.
    """
    for task in values:
        data = task["data"]
        name = str(data.get("image") or next(iter(data.values())))
        for annotation in task.get("annotations") or task.get("completions") or []:
            if annotation.get("was_cancelled"):
                continue
            drawn = [result for result in annotation["result"] if "width" in result.get("value", {})]
            for result in {result.get("id", number): result for number, result in enumerate(drawn)}.values():
                yield name, Drawn(from_percent(result))


def _wmca(values: Mapping[str, Any]) -> Iterator[Named]:
    """bob's patches: file -> [[x1, y1], [x2, y2]] in the 128-pixel crop; one usable patch, not the whole instrument."""
    for name, corners in values.items():
        (x0, y0), (x1, y1) = corners
        yield name, Drawn((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))


def _is_wmca(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and bool(values)
        and all(
            isinstance(box, list) and len(box) == 2 and all(isinstance(corner, list) and len(corner) == 2 for corner in box)
            for box in values.values()
        )
    )


_JSON: list[tuple[Callable[[Any], bool], Callable[[Any], Iterator[Named]]]] = [
    (lambda values: isinstance(values, dict) and {"images", "annotations"} <= set(values), _coco),
    (lambda values: isinstance(values, dict) and "_via_img_metadata" in values, _via),
    (lambda values: isinstance(values, list) and all("data" in task for task in values), _label_studio),
    (_is_wmca, _wmca),
    (lambda values: isinstance(values, dict) and bool(values) and all("regions" in row for row in values.values()), _via),
]


def _voc(root: ElementTree.Element, source: Path, below: str) -> Iterator[Named]:
    """Pascal VOC counts pixels from 1 and includes both ends, so 1 is subtracted from xmin and ymin."""
    name = str(PurePosixPath(below, root.findtext("filename") or source.stem))
    for found in root.iter("bndbox"):
        x0, y0, x1, y1 = (float(found.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
        yield name, Drawn((x0 - 1, y0 - 1, x1, y1))


def _cvat(root: ElementTree.Element) -> Iterator[Named]:
    for picture in root.iter("image"):
        for found in picture.iter("box"):
            x0, y0, x1, y1 = (float(found.get(key) or "nan") for key in ("xtl", "ytl", "xbr", "ybr"))
            turn = math.radians(float(found.get("rotation") or 0))  # around the centre; the bounding box is kept
            across, down = abs(math.cos(turn)) / 2, abs(math.sin(turn)) / 2
            half_width, half_height = (x1 - x0) * across + (y1 - y0) * down, (x1 - x0) * down + (y1 - y0) * across
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            yield picture.get("name") or "", Drawn((x - half_width, y - half_height, x + half_width, y + half_height))


def _yolo(file: Path, below: str) -> Iterator[Named]:
    """`class cx cy w h`, with or without a confidence, as fractions of the picture that the file is named after."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) > 6:
            raise ValueError(
                f"line {number} has {len(words) - 1} numbers, a polygon or a box with landmarks, which look alike — expected "
                "cx cy w h, with or without a confidence — export boxes"
            )
        try:
            x, y, w, h = (float(word) for word in words[1:5])
        except ValueError:
            x = y = w = h = math.nan
        yield str(PurePosixPath(below, file.stem)), Drawn((x - w / 2, y - h / 2, x + w / 2, y + h / 2), shares=True)


# -- Label Studio's units --------------------------------------------------------------------------------------------------


def to_percent(box: Box, size_wh: tuple[int, int], label: str) -> dict[str, Any]:
    """A box in pixels as Label Studio's rectangle: percent of the picture's size."""
    width, height = size_wh
    x0, y0, x1, y1 = box
    across, down = 100 / width, 100 / height
    percent = {"x": x0 * across, "y": y0 * down, "width": (x1 - x0) * across, "height": (y1 - y0) * down}
    return {
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "value": {**percent, "rectanglelabels": [label]},
    }


def from_percent(result: Mapping[str, Any]) -> Box:
    """Label Studio's rectangle as a box, in pixels of the picture as annotated; for a rotated rectangle (clockwise around its
    first corner), the bounding box."""
    value, width, height = result["value"], result["original_width"] / 100, result["original_height"] / 100
    left, top = value["x"] * width, value["y"] * height
    right, down, turn = value["width"] * width, value["height"] * height, math.radians(value.get("rotation") or 0)
    if not turn:
        return left, top, left + right, top + down
    xs = [x * math.cos(turn) - y * math.sin(turn) for x, y in ((0, 0), (right, 0), (right, down), (0, down))]
    ys = [x * math.sin(turn) + y * math.cos(turn) for x, y in ((0, 0), (right, 0), (right, down), (0, down))]
    return left + min(xs), top + min(ys), left + max(xs), top + max(ys)
