"""Boxes of other tools: the same box out of each, pixel for pixel, and what is no box named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceshield.datasets import DATASETS, PrepareConfig, Problem, Unit, prepare, rejects_path
from faceshield.datasets.boxes import assign, read_boxes
from faceshield.records import Sample, read_jsonl

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


def settled(source: Path, sizes: dict[str, tuple[int, int]] = SIZES) -> tuple[dict[str, list[Any]], list[Problem]]:
    """Boxes by picture, as far as they are inside, and what was none."""
    units = [Unit(name, name, "picture", "x") for name in sizes]
    assigned, problems = assign(read_boxes(source), units, "mine")
    boxes: dict[str, list[Any]] = {}
    for name, frames in assigned.items():
        for drawn in frames[None]:
            try:
                boxes.setdefault(name, []).append(drawn.inside(sizes[name]))
            except ValueError as error:
                problems.append(Problem("box", name, str(error), dropped=False))
    return {name: found for name, found in boxes.items() if found}, problems


@pytest.mark.parametrize("write", [coco, voc, yolo, via, via_polygon, label_studio, cvat])
def test_every_tool_says_the_same(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    boxes, problems = settled(write(tmp_path))
    assert not problems and list(boxes) == ["a.jpg"]
    assert boxes["a.jpg"] == [pytest.approx(BOX)]


def test_of_two_files_of_one_name_their_folders_say_whose_they_are(tmp_path: Path) -> None:
    """YOLO's files hold no name: the last one's boxes would go to the only picture of that name."""
    for person, words in (("ann", "0 0.5 0.5 0.2 0.2\n"), ("bob", "0 0.25 0.25 0.1 0.1\n")):
        save(tmp_path / "labels" / person / "1.txt", words)
        save(tmp_path / "alone" / person / f"{person}.txt", words)
    ann, bob = Unit("ann/1", "real/ann/1.jpg", "picture", "real"), Unit("bob/1", "real/bob/1.jpg", "picture", "real")
    assigned, problems = assign(read_boxes(tmp_path / "labels"), [ann], "folder")
    assert {unit: len(frames[None]) for unit, frames in assigned.items()} == {"ann/1": 1} and len(problems) == 1
    assigned, problems = assign(read_boxes(tmp_path / "labels"), [ann, bob], "folder")
    assert set(assigned) == {"ann/1", "bob/1"} and not problems
    assert set(read_boxes(tmp_path / "alone")) == {"ann", "bob"}, "whatever folders the tool makes"


def test_cvats_turned_boxes_are_kept_as_their_hulls(tmp_path: Path) -> None:
    box = '<box label="x" xtl="10" ytl="40" xbr="90" ybr="60" rotation="90.0"/>'
    file = save(tmp_path / "cvat.xml", f'<annotations><image id="0" name="a.jpg">{box}</image></annotations>')
    ((drawn,),) = read_boxes(file).values()
    assert drawn.box == pytest.approx((40, 10, 60, 90))


def test_yolos_polygons_and_landmarks_are_refused_for_they_look_alike(tmp_path: Path) -> None:
    for row in ("0 0.1 0.1 0.3 0.3 0.2 0.5", "0 .5 .5 .2 .2 .45 .45 .55 .45 .5 .5 .46 .55 .54 .55"):
        save(tmp_path / "labels" / "a.txt", row)
        with pytest.raises(ValueError, match=r"a.txt: line 1 has \d+ numbers, a polygon or a box with landmarks"):
            read_boxes(tmp_path / "labels")
    save(tmp_path / "labels" / "a.txt", "0 0.2 0.3 0.2 0.4 0.9")  # a confidence
    assert read_boxes(tmp_path / "labels")["a"][0].box == pytest.approx((0.1, 0.1, 0.3, 0.5))


def test_wmcas_patches_have_two_corners(tmp_path: Path) -> None:
    file = save(tmp_path / "wmca.json", {"face-station/31.01.18/b": [[90, 40], [30, 70]]})
    unit = Unit("b", "WMCA/x_RGB/face-station/31.01.18/b.hdf5", "hdf5", "1_05")
    assigned, problems = assign(read_boxes(file), [unit], "wmca")
    assert not problems and assigned["b"][None][0].inside((128, 128)) == (30, 40, 90, 70)


def test_boxes_are_clipped_and_what_is_none_is_named(tmp_path: Path) -> None:
    rows = [[-10, 90, 50, 50], [190, 10, 40, 20], [10, 10, 0, 5], [300, 10, 5, 5], [10, 10, -5, 5]]
    pictures = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    annotations = [{"image_id": 1, "bbox": row} for row in rows] + [{"image_id": 2, "bbox": [0, 0, 5, 5]}]
    file = save(tmp_path / "coco.json", {"images": pictures, "annotations": annotations})
    boxes, problems = settled(file)
    assert boxes == {"a.jpg": [(0, 90, 40, 100), (190, 10, 200, 30)]}
    assert [problem.path for problem in problems] == ["gone.jpg"] + ["a.jpg"] * 3
    assert "no area in 200 x 100" in problems[1].detail and "no such picture" in problems[0].detail


def test_label_studios_skipped_turned_and_doubled_regions(tmp_path: Path) -> None:
    size = {"original_width": 200, "original_height": 100, "type": "rectanglelabels"}
    value = {"x": 10, "y": 10, "width": 20, "height": 40}
    region = {**size, "id": "r", "value": {**value, "rectanglelabels": ["Print"]}}
    choice = {**size, "id": "r", "type": "choices", "value": {**value, "choices": ["sure"]}}
    turned = {**size, "id": "t", "value": {**value, "x": 50, "rotation": 90}}
    skipped = {"was_cancelled": True, "result": [{**region, "id": "s"}]}
    task = {"data": {"image": "a.jpg"}, "annotations": [skipped, {"result": [region, choice, turned]}]}
    found, problems = settled(save(tmp_path / "ls.json", [task]))
    # Turned clockwise around its first corner (100, 10), what went right goes down, and what went down goes left.
    assert sorted(found["a.jpg"]) == [pytest.approx(BOX), pytest.approx((60, 10, 100, 50))] and not problems


def test_a_folder_of_annotations_is_read_to_its_ends_or_refused(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "train" / "a.TXT", "0 0.2 0.3 0.2 0.4\n")
    assert settled(tmp_path / "labels")[0]["a.jpg"] == [pytest.approx(BOX)]
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no annotation below it"):
        settled(tmp_path / "none")


def test_unreadable_numbers_are_no_boxes(tmp_path: Path) -> None:
    save(tmp_path / "labels" / "a.txt", "0 0.2 x 0.2 0.4\n\n0 0.2 0.3\n")
    boxes, problems = settled(tmp_path / "labels")
    assert not boxes and len(problems) == 2 and "nan" in problems[0].detail


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", [1, 2]), ("x.json", {}), ("x.csv", "a,b"), ("x.json", "{"), ("x.xml", "<a>"),
        ("x.json", {"images": [{}], "annotations": []}),
        ("x.json", {"images": [], "annotations": [{"image_id": 1, "bbox": [1]}]}),
    ],
)  # fmt: skip
def test_unknown_and_broken_files_are_named(tmp_path: Path, name: str, content: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}: "):
        read_boxes(save(tmp_path / name, content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", {"images": [{"id": 1, "file_name": "a.png"}], "annotations": []}),
        ("x.xml", "<annotations><track label='a'><box frame='0' xtl='1' ytl='1' xbr='9' ybr='9'/></track></annotations>"),
    ],
)
def test_a_file_without_a_box_is_no_success(tmp_path: Path, name: str, content: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}: no box in it"):
        read_boxes(save(tmp_path / name, content))


# -- whose a box is --------------------------------------------------------------------------------------------------------


def coco_of(path: Path, names: dict[str, list[float]]) -> Path:
    pictures = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    rows = [{"image_id": number, "bbox": box} for number, box in enumerate(names.values())]
    return save(path, {"images": pictures, "annotations": rows})


def test_a_name_is_of_the_one_picture_whose_path_ends_like_it(tmp_path: Path) -> None:
    units = [
        Unit("Live_7", "SiW/Live/Live_7.mov", "video", "Live"),
        Unit("Paper_7", "SiW/Spoof/Paper/Paper_7.mov", "video", "Paper"),
        Unit("x/1.png", "x/1.png", "picture", "Paper"),
        Unit("y/1.png", "y/1.png", "picture", "Paper"),
        Problem("name", "z", "z"),
    ]
    names = (
        "Paper_7.mov", "images/siw-mv2/Paper_7/000012.png", "C:\\work\\Paper_7\\3.jpg", "/tmp/copy/x/1.png", "1.png",
        "Paper_8.mov",
    )  # fmt: skip
    file = coco_of(tmp_path / "c.json", {name: [0, 0, 10 + number, 10] for number, name in enumerate(names)})
    assigned, problems = assign(read_boxes(file), units, "siw-mv2")
    widths = {(unit, frame): [one.box[2] for one in drawn] for unit, own in assigned.items() for frame, drawn in own.items()}
    assert widths == {("Paper_7", None): [10], ("Paper_7", 12): [11], ("Paper_7", 3): [12], ("x/1.png", None): [13]}
    assert [assigned["Paper_7"][frame][0].on_crop for frame in (None, 12, 3)] == [False, True, False]
    assert [(problem.path, problem.detail) for problem in problems] == [
        ("1.png", "2 pictures match this name: give more of its path"), ("Paper_8.mov", "no such picture"),
    ]  # fmt: skip


@pytest.mark.parametrize("stopped", [False, True])
def test_prepare_puts_them_where_they_belong(tmp_path: Path, stopped: bool) -> None:
    root = tmp_path / "mine"
    for number, name in enumerate(("attack/Glasses/a", "attack/Glasses/b", "real/c")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((100, 200, 3), 40 * number, np.uint8)).save(root / f"{name}.png")
    file = coco_of(
        tmp_path / "boxes.json",
        {"a.png": [20, 10, 40, 40], "b.png": [500, 0, 5, 5], "c.png": [1, 1, 5, 5], "gone.png": [1, 1, 5, 5]},
    )
    config = PrepareConfig(out=tmp_path / "samples.jsonl", workers=0, boxes=file)
    if stopped:  # after the first picture
        steps = iter(range(2))
        with pytest.raises(StopIteration):
            prepare(DATASETS["folder"](root), config, lambda done: next(steps) and next(steps))  # type: ignore[arg-type,func-returns-value]
        assert not config.out.exists()
    prepare(DATASETS["folder"](root), config)
    assert [row.boxes for row in read_jsonl(config.out, Sample)] == [[(20, 10, 60, 50)], [], []]
    problems = [json.loads(line) for line in rejects_path(config.out).read_text().splitlines()]
    assert [(row["reason"], Path(row["path"]).name, row["dropped"]) for row in problems] == [
        ("box", name, False) for name in ("b.png", "c.png", "gone.png")
    ]
    assert "no area in 200 x 100" in problems[0]["detail"] and "bona fide" in problems[1]["detail"]


def test_boxes_move_with_the_crop_unless_they_were_drawn_on_it(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    (root / "attack" / "Glasses").mkdir(parents=True)
    Image.fromarray(np.full((100, 200, 3), 9, np.uint8)).save(root / "attack" / "Glasses" / "a.png")
    names = {"Glasses/a.png": [50.0, 20.0, 100.0, 40.0], "images/folder/attack/Glasses/a.png": [1.0, 2.0, 3.0, 4.0]}
    config = PrepareConfig(
        out=tmp_path / "samples.jsonl", workers=0, boxes=coco_of(tmp_path / "b.json", names), crop="boxes", margin=0.1,
        faces=coco_of(tmp_path / "faces.json", {"Glasses/a.png": [50.0, 20.0, 100.0, 40.0]}),
    )  # fmt: skip
    prepare(DATASETS["folder"](root), config)
    (row,) = read_jsonl(config.out, Sample)
    # A square of 120 has no room in a height of 100.
    assert row.size_wh == (100, 100) and row.boxes == [(0, 20, 100, 60), (1, 2, 4, 6)]
