"""Boxes of other tools: the same box out of each, pixel for pixel, and what is no box named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceshield.datasets.boxes import read_boxes, to_coco, to_label_studio
from faceshield.records import Sample

SIZES = {"a.jpg": (200, 100), "b.png": (128, 128)}
BOX = (20.0, 10.0, 60.0, 50.0)


def save(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def coco(folder: Path) -> Path:
    return save(folder / "coco.json", {
        "images": [{"id": 7, "file_name": "images/a.jpg", "width": 200, "height": 100}],
        "annotations": [{"id": 1, "image_id": 7, "bbox": [20, 10, 40, 40], "category_id": 1}], "categories": [],
    })  # fmt: skip


def voc(folder: Path) -> Path:
    box = "<bndbox><xmin>21</xmin><ymin>11</ymin><xmax>60</xmax><ymax>50</ymax></bndbox>"
    save(folder / "voc" / "a.xml", f"<annotation><filename>a.jpg</filename><object><name>x</name>{box}</object></annotation>")
    return folder / "voc"


def yolo(folder: Path) -> Path:
    save(folder / "labels" / "classes.txt", "attack\n")
    save(folder / "labels" / "a.txt", "0 0.2 0.3 0.2 0.4\n")
    return folder / "labels"


def via(folder: Path) -> Path:
    shape = {"name": "rect", "x": 20, "y": 10, "width": 40, "height": 40}
    row = {"filename": "a.jpg", "size": 1, "regions": [{"shape_attributes": shape, "region_attributes": {}}]}
    return save(folder / "via.json", {"_via_settings": {}, "_via_img_metadata": {"a.jpg1": row}})


def via_polygon(folder: Path) -> Path:
    shape = {"name": "polygon", "all_points_x": [20, 60, 40], "all_points_y": [10, 30, 50]}
    return save(folder / "via2.json", {"a.jpg1": {"filename": "a.jpg", "regions": {"0": {"shape_attributes": shape}}}})


def label_studio(folder: Path) -> Path:
    value = {"x": 10, "y": 10, "width": 20, "height": 40, "rectanglelabels": ["Print"]}
    result = {"type": "rectanglelabels", "value": value, "original_width": 200, "original_height": 100}
    choice = {"type": "choices", "value": {"choices": ["ok"]}}
    return save(folder / "ls.json", [{"data": {"image": "/data/upload/a.jpg"}, "annotations": [{"result": [choice, result]}]}])


def cvat(folder: Path) -> Path:
    box = '<box label="x" xtl="20" ytl="10" xbr="60" ybr="50"/>'
    return save(
        folder / "cvat.xml", f'<annotations><image id="0" name="x/a.jpg" width="200" height="100">{box}</image></annotations>'
    )


@pytest.mark.parametrize("write", [coco, voc, yolo, via, via_polygon, label_studio, cvat])
def test_every_tool_says_the_same(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    boxes, problems = read_boxes(write(tmp_path), sizes=SIZES)
    assert not problems and list(boxes) == ["a.jpg"]
    assert boxes["a.jpg"] == [pytest.approx(BOX)]


def test_wmcas_patches_have_two_corners(tmp_path: Path) -> None:
    file = save(tmp_path / "wmca.json", {"face-station/31.01.18/b.png": [[90, 40], [30, 70]]})
    assert read_boxes(file, sizes=SIZES) == ({"b.png": [(30, 40, 90, 70)]}, [])


def test_boxes_are_clipped_and_what_is_none_is_named(tmp_path: Path) -> None:
    rows = [[-10, 90, 50, 50], [190, 10, 40, 20], [10, 10, 0, 5], [300, 10, 5, 5], [10, 10, -5, 5]]
    pictures = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    annotations = [{"image_id": 1, "bbox": row} for row in rows] + [{"image_id": 2, "bbox": [0, 0, 5, 5]}]
    file = save(tmp_path / "coco.json", {"images": pictures, "annotations": annotations})
    boxes, problems = read_boxes(file, sizes=SIZES)
    assert boxes == {"a.jpg": [(0, 90, 40, 100), (190, 10, 200, 30)]}
    assert [problem.path for problem in problems] == ["a.jpg"] * 3 + ["gone.jpg"]
    assert "no area in 200 x 100" in problems[0].detail and "no such picture" in problems[-1].detail


def test_unreadable_numbers_are_no_boxes(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.txt", "0 0.2 x 0.2 0.4\n\n0 0.2 0.3\n")
    boxes, problems = read_boxes(tmp_path / "labels", sizes=SIZES)
    assert not boxes and len(problems) == 2 and "nan" in problems[0].detail


@pytest.mark.parametrize(("name", "content"), [("x.json", [1, 2]), ("x.json", {}), ("x.csv", "a,b")])
def test_unknown_formats(tmp_path: Path, name: str, content: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="expected|argument"):
        read_boxes(save(tmp_path / name, content), sizes=SIZES)


def test_there_and_back(tmp_path: Path, make_sample: Callable[..., Sample]) -> None:
    boxes = [(8.0, 10.0, 40.0, 60.0), (1.5, 2.0, 20.25, 70.0)]
    samples = [make_sample("Print", id="p", image="x/p.png", boxes=boxes), make_sample(id="b", image="b.png")]
    sizes = {"p.png": (64, 80), "b.png": (64, 80)}
    for name, document in (("coco.json", to_coco(samples)), ("ls.json", to_label_studio(samples))):
        found, problems = read_boxes(save(tmp_path / name, document), sizes=sizes)
        assert not problems and list(found) == ["p.png"]
        assert [pytest.approx(box) for box in boxes] == found["p.png"]
    assert to_coco(samples)["categories"] == [{"id": 1, "name": "Print"}]
