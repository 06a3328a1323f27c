"""Boxes drawn with other tools: COCO, Pascal VOC, YOLO, VIA, Label Studio, CVAT, and WMCA's patch boxes.

All come out as xyxy pixels of the stored picture, keyed by the picture's file name; what cannot be a box is a `Problem`
that names it. And back: COCO and Label Studio.
Use: `boxes, problems = read_boxes("annotations.json", sizes={"a.jpg": (640, 480)})`.
"""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from faceshield.datasets.base import Box, Problem
from faceshield.records import Sample

Sizes = Mapping[str, tuple[int, int]]
"""File name -> width and height of the stored picture, for formats that give shares and for clipping."""

Named = tuple[str, Box]


def read_boxes(source: str | Path, *, sizes: Sizes) -> tuple[dict[str, list[Box]], list[Problem]]:
    """Boxes of a file or a folder of an annotation tool; the format is known by its content.

    Args:
        source: COCO, VIA, Label Studio or WMCA patches (.json), CVAT or VOC (.xml), a folder of VOC (.xml) or YOLO (.txt).
        sizes: see `Sizes`; a picture that is not in it is a problem.

    Returns:
        File name -> boxes inside the picture, in the order of the source; and what was not a box.

    Raises:
        ValueError: no known format.
    """
    source = Path(source)
    boxes: dict[str, list[Box]] = {}
    problems: list[Problem] = []
    for name, box in _drawn(source, sizes):
        if name not in sizes:
            problems.append(Problem("box", name, f"{source.name}: no such picture"))
            continue
        width, height = sizes[name]
        inside = max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])
        if not all(map(math.isfinite, box)) or inside[2] <= inside[0] or inside[3] <= inside[1]:
            shown = ", ".join(f"{value:g}" for value in box)
            problems.append(Problem("box", name, f"{source.name}: box [{shown}] has no area in {width} x {height} pixels"))
            continue
        boxes.setdefault(name, []).append(inside)
    return boxes, problems


def _drawn(source: Path, sizes: Sizes) -> Iterator[Named]:
    if source.is_dir():
        for file in sorted(source.iterdir()):
            if file.suffix in (".xml", ".txt") and file.name != "classes.txt":
                yield from _drawn(file, sizes)
        return
    if source.suffix == ".txt":
        yield from _yolo(source, sizes)
    elif source.suffix == ".xml":
        root = ElementTree.fromstring(source.read_bytes())
        yield from (_cvat(root) if root.tag == "annotations" else _voc(root, source))
    elif source.suffix == ".json":
        values = json.loads(source.read_text(encoding="utf-8"))
        for fits, reader in _JSON:
            if fits(values):
                yield from reader(values)
                return
        raise ValueError(f"{source}: no known form — expected COCO, VIA, Label Studio or WMCA's patches — export again")
    else:
        raise ValueError(f"{source}: {source.suffix or 'no suffix'} — expected .json, .xml or .txt, or a folder — export again")


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _coco(values: Mapping[str, Any]) -> Iterator[Named]:
    names = {picture["id"]: _base(picture["file_name"]) for picture in values["images"]}
    for row in values["annotations"]:
        x, y, width, height = row["bbox"]
        yield names.get(row["image_id"], f"image {row['image_id']}"), (x, y, x + width, y + height)


def _via(values: Mapping[str, Any]) -> Iterator[Named]:
    """VGG Image Annotator 2: a project, or its metadata alone; rectangles, and the hulls of polygons."""
    for row in values.get("_via_img_metadata", values).values():
        regions = row["regions"]
        for region in regions.values() if isinstance(regions, dict) else regions:
            shape = region["shape_attributes"]
            if shape["name"] == "rect":
                x, y = shape["x"], shape["y"]
                yield _base(row["filename"]), (x, y, x + shape["width"], y + shape["height"])
            elif shape["name"] in ("polygon", "polyline"):
                xs, ys = shape["all_points_x"], shape["all_points_y"]
                yield _base(row["filename"]), (min(xs), min(ys), max(xs), max(ys))


def _label_studio(values: Sequence[Mapping[str, Any]]) -> Iterator[Named]:
    """Percent of the picture as it was annotated; `original_width` and `original_height` say how large that was."""
    for task in values:
        data = task["data"]
        name = _base(str(data.get("image") or next(iter(data.values()))))
        for annotation in task.get("annotations") or task.get("completions") or []:
            for result in annotation["result"]:
                if result.get("type") != "rectanglelabels" and "width" not in result.get("value", {}):
                    continue
                value, width, height = result["value"], result["original_width"] / 100, result["original_height"] / 100
                left, top = value["x"] * width, value["y"] * height
                yield name, (left, top, left + value["width"] * width, top + value["height"] * height)


def _wmca(values: Mapping[str, Any]) -> Iterator[Named]:
    """bob's patches: file -> [[x1, y1], [x2, y2]] in the 128-pixel crop; one usable patch, not the whole instrument."""
    for name, corners in values.items():
        (x0, y0), (x1, y1) = corners
        yield _base(name), (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))


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


def _voc(root: ElementTree.Element, source: Path) -> Iterator[Named]:
    """Pascal VOC counts pixels from 1, both ends inside: one pixel is taken off the beginning."""
    name = _base(root.findtext("filename") or f"{source.stem}.jpg")
    for found in root.iter("bndbox"):
        x0, y0, x1, y1 = (float(found.findtext(key) or "nan") for key in ("xmin", "ymin", "xmax", "ymax"))
        yield name, (x0 - 1, y0 - 1, x1, y1)


def _cvat(root: ElementTree.Element) -> Iterator[Named]:
    for picture in root.iter("image"):
        for found in picture.iter("box"):
            x0, y0, x1, y1 = (float(found.get(key) or "nan") for key in ("xtl", "ytl", "xbr", "ybr"))
            yield _base(picture.get("name") or ""), (x0, y0, x1, y1)


def _yolo(file: Path, sizes: Sizes) -> Iterator[Named]:
    """`class cx cy w h` in shares of the picture whose name the file has."""
    name = next((name for name in sizes if Path(name).stem == file.stem), file.stem)
    width, height = sizes.get(name, (0, 0))
    for line in file.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words:
            continue
        try:
            x, y, w, h = (float(word) for word in words[1:5])
        except ValueError:
            x = y = w = h = math.nan
        yield name, ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)


# -- and back --------------------------------------------------------------------------------------------------------------


def to_coco(samples: Sequence[Sample]) -> dict[str, Any]:
    """Samples as a COCO document; categories are the presentation types that occur."""
    kinds = sorted({sample.presentation_type for sample in samples if sample.boxes})
    numbers = {kind: number for number, kind in enumerate(kinds, start=1)}
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": kind} for kind, number in numbers.items()],
    }
    for number, sample in enumerate(samples, start=1):
        width, height = sample.size_wh
        document["images"].append({"id": number, "file_name": sample.image, "width": width, "height": height})
        for x0, y0, x1, y1 in sample.boxes:
            row = {"id": len(document["annotations"]) + 1, "image_id": number, "category_id": numbers[sample.presentation_type]}
            size = [x0, y0, x1 - x0, y1 - y0]
            document["annotations"].append({**row, "bbox": size, "area": size[2] * size[3], "iscrowd": 0})
    return document


def to_label_studio(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Samples as Label Studio tasks with their boxes as annotations."""
    tasks = []
    for sample in samples:
        width, height = sample.size_wh
        results = [
            {
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "value": {
                    "x": 100 * x0 / width,
                    "y": 100 * y0 / height,
                    "width": 100 * (x1 - x0) / width,
                    "height": 100 * (y1 - y0) / height,
                    "rectanglelabels": [sample.presentation_type],
                },
            }
            for x0, y0, x1, y1 in sample.boxes
        ]
        tasks.append({"data": {"image": sample.image, "id": sample.id}, "annotations": [{"result": results}]})
    return tasks
