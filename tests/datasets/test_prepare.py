"""Copies as they lie, at their smallest: every sample found, no other, and every fault counted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.datasets import DATASETS, PrepareConfig, Summary, prepare, read_types, rejects_path
from faceshield.datasets.folder import ALSO, Folder
from faceshield.datasets.media import MediaError, as_rgb, evenly, gaps
from faceshield.face import Face
from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Sample, read_jsonl
from faceshield.tasks import TASKS
from faceshield.taxonomy import resolve
from media_files import RED, SKY, hdf5, picture, video

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def run(name: str, root: Path, out: Path, **options: Any) -> tuple[list[Sample], list[dict[str, Any]], Summary]:
    config = PrepareConfig(out=out, **{"workers": 0, **options})
    summary = prepare(DATASETS[name](root), config)
    problems = [json.loads(line) for line in rejects_path(out).read_text().splitlines()]
    return read_jsonl(out, Sample), problems, summary


# -- WMCA ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stem",
    [
        "WMCA_preprocessed_RGB/WMCA/face-station",
        "WMCA/preprocessed-face-station_RGB",
        "WMCA/preprocessed-face-station_RGB/face-station",
    ],
)
def test_wmca_in_its_three_forms(tmp_path: Path, stem: str) -> None:
    root = tmp_path / "copy"
    hdf5(root / stem / "31.01.18" / "514_01_035_1_05.hdf5", list(range(50)))
    hdf5(root / stem / "31.01.18" / "001_01_000_0_00.hdf5", [0, 4, 8, 12])
    hdf5(root / stem.replace("RGB", "CDIT") / "31.01.18" / "514_01_035_1_05.hdf5", [0])
    (root / "documentation").mkdir()
    (root / "documentation" / "attack_illustration_files.csv").write_text("face-station/31.01.18/514_01_035_1_05\n")
    samples, problems, summary = run("wmca", root, tmp_path / "samples.jsonl")
    assert [(s.id, s.frame, s.presentation_type) for s in samples] == [
        *[(f"wmca:001_01_000_0_00:{n}", n, "Bonafide") for n in (0, 8, 12)],
        *[(f"wmca:514_01_035_1_05:{n}", n, "Glasses") for n in (8, 25, 41)],
    ]
    last = samples[-1]
    assert (last.subject, last.video, last.original_label, last.size_wh) == ("514", "514_01_035_1_05", "1_05", (128, 128))
    assert last.meta["presenter"] == "035" and last.meta["date"] == "31.01.18"
    stored = np.asarray(Image.open(tmp_path / last.image))
    assert tuple(stored[64, 64]) == RED and stored[0, 0, 0] == 41
    assert [(p["reason"], p["dropped"]) for p in problems] == [("gap", False)] and "9 frame numbers" in problems[0]["detail"]
    assert dict(summary.ignored) == {".hdf5": 1, ".csv": 1}


def test_wmca_what_is_wrong_costs_only_itself(tmp_path: Path) -> None:
    day = tmp_path / "copy" / "WMCA" / "preprocessed-face-station_RGB" / "01.02.18"
    hdf5(day / "001_01_000_0_00.hdf5", [0, 1, 2])
    hdf5(day / "002_01_000_1_09.hdf5", [0])  # a wig
    hdf5(day / "003_01_000_9_01.hdf5", [0])  # no such type
    hdf5(day / "bonafide_4.hdf5", [0])
    hdf5(day / "005_01_000_2_01.hdf5", [])
    (day / "006_01_000_2_01.hdf5").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
    shutil.copy(day / "001_01_000_0_00.hdf5", day / "007_01_000_0_00.hdf5")
    hdf5(day.with_name("02.02.18") / "001_01_000_0_00.hdf5", [1], SKY)  # a second file of the name
    samples, problems, summary = run("wmca", tmp_path / "copy", tmp_path / "samples.jsonl")
    assert {s.video for s in samples} == {"001_01_000_0_00"}
    reasons = sorted((Path(p["path"]).stem[:3], p["reason"]) for p in problems)
    assert reasons == [
        ("001", "duplicate"), ("002", "left out"), ("003", "label"), ("005", "unreadable"), ("006", "unreadable"),
        *[("007", "duplicate")] * 3,
        ("bon", "name"),
    ]  # fmt: skip
    assert summary.lost == 9


def test_another_mapping(tmp_path: Path) -> None:
    day = tmp_path / "copy" / "x_RGB" / "01.02.18"
    hdf5(day / "001_01_000_2_01.hdf5", [0])
    hdf5(day / "002_01_000_1_09.hdf5", [0])
    samples, _, _ = run("wmca", tmp_path / "copy", tmp_path / "a.jsonl", types={"2_01": None, "1_09": "makeup"})
    assert [(s.original_label, s.presentation_type) for s in samples] == [("1_09", "Makeup")]
    with pytest.raises(ValueError, match="did you mean 'Makeup'"):
        run("wmca", tmp_path / "copy", tmp_path / "b.jsonl", types={"1_09": "Makup"})


# -- NUAA ------------------------------------------------------------------------------------------------------------------


def test_nuaa(tmp_path: Path) -> None:
    root = tmp_path / "nuaa"
    for number, name in enumerate(("ClientRaw/0001/0001_00_00_01_0", "ImposterRaw/0001/0001_00_00_01_0", "ClientRaw/0002/x")):
        picture(root / "raw" / f"{name}.jpg", (RED, SKY, (9, 9, 9))[number])
    (root / "raw" / "client_train_raw.txt").write_text("0001\\0001_00_00_01_0.jpg\r\n0009\\gone.jpg\r\n")
    (root / "raw" / "imposter_test_raw.txt").write_text("0001\\0001_00_00_01_0.jpg\n")
    samples, problems, summary = run("nuaa", root, tmp_path / "samples.jsonl")
    assert [(s.id, s.presentation_type, s.split, s.subject) for s in samples] == [
        ("nuaa:ClientRaw/0001/0001_00_00_01_0", "Bonafide", "train", "0001"),
        ("nuaa:ClientRaw/0002/x", "Bonafide", None, "0002"),
        ("nuaa:ImposterRaw/0001/0001_00_00_01_0", "Print", "test", "0001"),
    ]
    assert Path(samples[0].image) == (root / "raw/ClientRaw/0001/0001_00_00_01_0.jpg").resolve()
    assert [(p["reason"], p["path"], p["dropped"]) for p in problems] == [
        ("unlisted", "clientraw/0002/x.jpg", False), ("absent", "clientraw/0009/gone.jpg", False),
    ]  # fmt: skip
    assert summary.lost == 0 and dict(summary.ignored) == {".txt": 2}


# -- any folder ------------------------------------------------------------------------------------------------------------


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "real" / "anna" / "a.jpg")
    picture(root / "attack" / "paper-mask" / "ben" / "b.png", SKY)
    video(root / "attack" / "Replay" / "clip.mp4")
    picture(root / "attack" / "moustache" / "c.png", seed=3)
    picture(root / "elsewhere.png", seed=4)
    (root / "real" / "IMG_1.HEIC").write_bytes(b"as a phone saves them")
    (root / "real" / "notes.txt").write_text("hello")
    samples, problems, summary = run("folder", root, tmp_path / "samples.jsonl")
    assert [(s.presentation_type, s.subject, s.frame) for s in samples] == [
        ("Replay", None, 1), ("Replay", None, 5), ("Replay", None, 8), ("Paper mask", "ben", None), ("Bonafide", "anna", None),
    ]  # fmt: skip
    assert sorted((p["reason"], p["path"]) for p in problems) == [
        ("label", "attack/moustache/c.png"), ("name", "elsewhere.png"), ("unreadable", "real/IMG_1.HEIC"),
    ]  # fmt: skip
    assert dict(summary.ignored) == {".txt": 1}
    frame = np.asarray(Image.open(tmp_path / samples[1].image)).astype(int)
    assert np.abs(frame[24, 60] - RED).max() <= 12  # as encoded: a swap would be off by 190
    assert (frame[24, 4:16] > 230).all() and (frame[24, 26:, 2] < 60).all()  # frame 5 is white up to column 20


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "a.png", size=(100, 80))
    picture(root / "b.png", SKY)
    rows = [
        "image,presentation_type,subject,split,x0,y0,x1,y1",
        "a.png,Glasses,anna,train,10,20,50,40",
        "b.png,bona fide,ben,test,,,,",
        "a.png,Glasses,anna,train,60,20,130,40",  # not beside its picture's other row
    ]
    rows += [
        "gone.png,Print,,,,,,",
        "c.png,Print,,,30,20,10,40",
        "d.png,Print,,,,,,",
        "d.png,Glasses,,,,,,",
        "e.png,print,,,,,,",
        "e.png,Print,,,,,,",
    ]
    picture(root / "e.png", seed=5)
    picture(root / "c.png", seed=3)
    picture(root / "d.png", seed=4)
    (root / "samples.csv").write_text("\n".join(rows))
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert [(s.id, s.split, s.boxes) for s in samples] == [
        ("folder:a.png", "train", [(10, 20, 50, 40), (60, 20, 100, 40)]), ("folder:b.png", "test", []),
        ("folder:e.png", None, []),
    ]  # fmt: skip
    assert [(p["reason"], p["detail"].split(": ")[0]) for p in problems] == [
        ("absent", "samples.csv:5"), ("manifest", "samples.csv:6"), ("manifest", "samples.csv:8"),
    ]  # fmt: skip
    (root / "samples.csv").write_bytes("image,presentation_type,subject\na.png,Glasses,J\u00fcrgen".encode("cp1252"))
    with pytest.raises(ValueError, match=r"samples.csv: not UTF-8 .* save it as UTF-8 \(Excel"):
        run("folder", root, tmp_path / "again.jsonl")


@pytest.mark.parametrize("between", [";", "\t", ", "], ids=["semicolon", "tab", "comma and space"])
def test_a_list_as_spreadsheets_write_it(tmp_path: Path, between: str) -> None:
    root = tmp_path / "mine"
    picture(root / "a b.png", size=(100, 80))
    rows = [["Image", "Presentation_Type", "subject"], ["./a b.png", " print ", "J\u00fcrgen"]]
    (root / "samples.csv").write_text("\ufeff" + "\r\n".join(between.join(row) for row in rows), encoding="utf-8")
    samples, problems, summary = run("folder", root, tmp_path / "samples.jsonl")
    assert [(s.id, s.presentation_type, s.subject) for s in samples] == [("folder:a b.png", "Print", "J\u00fcrgen")]
    assert not problems and not summary.ignored, "the list itself was not ignored"


def test_a_list_with_faults_says_them(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for number, name in enumerate("abc"):
        picture(root / "sub" / f"{name}.png", seed=number + 3)
    rows = [
        "image,presentation_type,x0,y0,x1,y1",
        "sub/a.png,Print,0.1,0.1,0.5,0.5",  # shares of the picture
        "sub/b.png,Print,1,2,30,40,7",
        "sub\\c.png,Print,,,,",
        ",Print,,,,",
        "sub/c.png,,,,,",
    ]
    (root / "samples.csv").write_text("\n".join(rows))
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    told = {p["path"]: p["detail"] for p in problems if p["reason"] != "unlisted"}
    assert not samples and set(told) == {"sub/a.png", "sub/b.png", "sub\\c.png", "samples.csv:5", "sub/c.png"}
    assert "multiply shares by width and height" in told["sub/a.png"] and "more cells" in told["sub/b.png"]
    assert "/ between folders" in told["sub\\c.png"] and "attack" in told["sub/c.png"]
    (root / "samples.csv").write_text("picture,presentation_type\n")
    with pytest.raises(ValueError, match="no column image among picture, presentation_type — expected"):
        run("folder", root, tmp_path / "x.jsonl")


def test_ones_own_words_for_types_are_mapped(tmp_path: Path) -> None:
    """In folders and in lists; what nobody maps says what it may be."""
    root = tmp_path / "mine"
    for number, place in enumerate(("attack/Prnt/a.png", "attack/beamer/b.png", "real/c.png")):
        picture(root / place, seed=number + 3)
    for _ in range(2):
        _, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
        assert {Path(p["path"]).name for p in problems if p["reason"] == "label"} == {"a.png", "b.png"}
        assert "did you mean 'Print'?, or map it with prepare --types" in problems[0]["detail"]
        mapped = {"Prnt": "Print", "beamer": "Replay"}
        samples, problems, _ = run("folder", root, tmp_path / "mapped.jsonl", types=mapped)
        assert {Path(s.image).name: s.presentation_type for s in samples} == {
            "a.png": "Print", "b.png": "Replay", "c.png": "Bonafide",
        }  # fmt: skip
        assert not problems
        rows = [f"{place},{place.split('/')[-2]}" for place in ("attack/Prnt/a.png", "attack/beamer/b.png", "real/c.png")]
        (root / "samples.csv").write_text("\n".join(["image,presentation_type", *rows]))
        for name in ("samples", "mapped"):
            (tmp_path / f"{name}.jsonl").unlink()


def test_common_names_of_types_are_known_in_any_spelling(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    said = {
        "screen": "Replay", "Phone": "Replay", "tablet": "Replay", "monitor": "Replay", "video": "Replay", "DISPLAY": "Replay",
        "photo": "Print", "paper": "Print", "printed": "Print", "Printed photo": "Print", "printed_photo": "Print",
        "3d_mask": "Rigid mask", "3D-Mask": "Rigid mask",
    }  # fmt: skip
    for number, name in enumerate((*said, "mask")):
        picture(root / "attack" / name / f"{number}.png", seed=number)
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert {Path(row.image).parent.name: row.presentation_type for row in samples} == said
    assert {row.original_label for row in samples} == set(ALSO), "the own label is kept"
    assert [problem["path"] for problem in problems] == ["attack/mask/13.png"]
    assert "which of Paper mask, Flexible mask, Rigid mask?, or map it with prepare --types" in problems[0]["detail"]
    # One's own mapping comes first, in any spelling too.
    types = {"mask": "flexible-mask", "phone": "Print", "Printed_Photo": None}
    samples, problems, _ = run("folder", root, tmp_path / "mapped.jsonl", types=types)
    kinds = {Path(row.image).parent.name: row.presentation_type for row in samples}
    assert kinds["mask"] == "Flexible mask" and kinds["Phone"] == "Print" and kinds["screen"] == "Replay"
    assert [problem["reason"] for problem in problems] == ["left out"] * 2
    with pytest.raises(ValueError, match="unknown presentation type 'phone'"):
        resolve("phone")  # what a model answers is not read that loosely


def test_two_folders_of_ones_own_have_names_of_their_own(tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    for folder, seed in (("a", 0), ("b", 50)):
        for number in range(24):
            kind = "real" if number % 2 else "attack/print"
            picture(tmp_path / folder / kind / f"p{number // 2}" / f"{number}.png", seed=seed + number)

    def prepared(folder: str, *options: str, dataset: str = "folder") -> Any:
        out = ["--out", str(tmp_path / f"{folder}.jsonl"), "--workers", "0"]
        return invoke(app, ["prepare", dataset, str(tmp_path / folder), *out, *options])

    assert prepared("a").exit_code == prepared("b").exit_code == 0
    both = ["split", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--out", str(tmp_path / "splits")]
    assert "prepare one with another --name" in str(invoke(app, both).exception)
    assert prepared("b", "--name", "camera-b").exit_code == 0
    rows = read_jsonl(tmp_path / "b.jsonl", Sample)
    assert {row.dataset for row in rows} == {"camera-b"} and rows[0].id == "camera-b:attack/print/p0/0.png"
    assert invoke(app, both).exit_code == 0
    result = invoke(app, [*both, "--protocol", "cross-dataset", "--test", "camera-b"])
    assert result.exit_code == 0, result.output
    assert {row.dataset for row in read_jsonl(tmp_path / "splits" / "test.jsonl", Sample)} == {"camera-b"}
    for name in ("", "a:b", "a b", "..", "a/b", "x" * 41):
        assert "expected at most 40 letters" in str(prepared("b", "--name", name).exception), name
    for dataset, name in (("wmca", "mine"), ("folder", "wmca")):
        told = str(prepared("b", "--name", name, dataset=dataset).exception)
        assert f"--name {name} for {dataset} — expected a new one, for folder alone" in told


def test_of_whole_scenes_it_is_said_how_they_are_cropped(tmp_path: Path) -> None:
    picture(tmp_path / "raw" / "ClientRaw" / "0001" / "1.jpg")

    def told(dataset: str, *options: str) -> str:
        out = ["--out", str(tmp_path / f"{dataset}.jsonl"), "--workers", "0"]
        return CliRunner().invoke(app, ["prepare", dataset, str(tmp_path), *out, *options]).stderr

    assert "nuaa: whole scenes, which stay whole; for the face crops that inspect judges: --crop detect\n" in told("nuaa")
    assert "--crop boxes" in told("celeba-spoof")
    for quiet in (told("nuaa", "--crop", "detect"), told("wmca"), told("folder"), told("hifimask")):
        assert "whole" not in quiet


def test_pictures_of_two_copies_do_not_take_each_others_place(tmp_path: Path) -> None:
    for name, colour in (("a", (9, 9, 9)), ("b", (99, 99, 99))):
        picture(tmp_path / name / "real" / "1.png", colour, size=(120, 120))
    boxes = tmp_path / "faces.json"
    boxes.write_text(
        '{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [{"image_id": 1, "bbox": [20, 20, 60, 60]}]}'
    )
    made = {"crop": "boxes", "faces": boxes}
    (first,), _, _ = run("folder", tmp_path / "a", tmp_path / "out" / "a.jsonl", **made)
    stored = (tmp_path / "out" / first.image).read_bytes()
    for root, changes in (("b", {}), ("a", {"margin": 0.0})):
        with pytest.raises(
            ValueError, match=r"a\.jsonl beside it has its pictures in .*images.folder, and this run would overwrite"
        ):
            run("folder", tmp_path / root, tmp_path / "out" / "b.jsonl", **made, **changes)
    assert (tmp_path / "out" / first.image).read_bytes() == stored
    run("folder", tmp_path / "a", tmp_path / "out" / "again.jsonl", **made)  # the same pictures
    run("folder", tmp_path / "b", tmp_path / "other" / "b.jsonl", **made)


def test_one_picture_under_two_labels_is_told_with_both(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "real" / "ann" / "a.png")
    (root / "attack" / "print" / "ben").mkdir(parents=True)
    (root / "attack" / "print" / "ben" / "b.png").write_bytes((root / "real" / "ann" / "a.png").read_bytes())
    _, (problem,), _ = run("folder", root, tmp_path / "samples.jsonl")
    assert "real/ann/a.png (Bonafide, ann) has the picture of folder:attack/print/ben/b.png (Print, ben)" in problem["detail"]


def test_a_list_that_contradicts_itself_or_is_no_text(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "a.png")
    rows = [
        {"image": "a.png", "presentation_type": "real", "is_attack": True},
        {"image": "\ud800\U0001f600.png", "presentation_type": "Print"},
    ]
    (root / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    told = [p["detail"] for p in problems if p["reason"] == "manifest"]
    assert not samples and "expected them to agree" in told[0] and "no text" in told[1]


def test_a_list_in_csv_may_say_what_is_an_attack(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for number, name in enumerate("abcde"):
        picture(root / f"{name}.png", seed=number)
    told = ["a.png,Print,true", "b.png,Bonafide,FALSE", "c.png,Replay,", "d.png,Print,false", "e.png,Print,perhaps"]
    (root / "samples.csv").write_text("\n".join(["image,presentation_type,is_attack", *told]))
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert {Path(row.image).name: row.is_attack for row in samples} == {"a.png": True, "b.png": False, "c.png": True}
    details = {Path(one["path"]).name: one["detail"] for one in problems}
    assert "expected them to agree" in details["d.png"] and "is_attack 'perhaps' — expected true or false" in details["e.png"]


def test_a_list_of_json_lines(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "a.png", size=(100, 80))
    picture(root / "b.png", SKY)
    rows = [
        json.dumps({"image": "a.png", "presentation_type": "glasses", "subject": 7, "boxes": [[10, 20, 50, 40]]}),
        "{broken", "", json.dumps({"image": "gone.png", "presentation_type": "Print"}), "[1]", json.dumps({"image": "b.png"}),
        json.dumps({"image": "b.png", "presentation_type": "Print", "boxes": [[1, 2, 3]]}),
        json.dumps({"image": "b.png", "presentation_type": "Bonafide", "split": "test"}),
    ]  # fmt: skip
    (root / "samples.jsonl").write_text("\n".join(rows))
    samples, problems, summary = run("folder", root, tmp_path / "samples.jsonl")
    assert [(s.id, s.subject, s.split, s.boxes) for s in samples] == [
        ("folder:a.png", "7", None, [(10, 20, 50, 40)]), ("folder:b.png", None, "test", []),
    ]  # fmt: skip
    assert [(p["reason"], p["path"]) for p in problems] == [
        ("manifest", "samples.jsonl:2"), ("absent", "gone.png"), ("manifest", "samples.jsonl:5"),
        ("manifest", "samples.jsonl:6"), ("manifest", "b.png"),
    ]  # fmt: skip
    assert summary.lost == 5


def test_crops(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    (root / "real").mkdir(parents=True)
    Image.fromarray(astronaut()).save(root / "real" / "a.png")
    picture(root / "real" / "wall.png", size=(300, 300))
    samples, problems, summary = run("folder", root, tmp_path / "samples.jsonl", crop="detect")
    assert len(samples) == 1 and samples[0].size_wh[0] < 300
    assert summary.problems == {"no face": 1}
    with Image.open(tmp_path / samples[0].image) as stored:
        assert stored.size == samples[0].size_wh

    # Around the faces that a file says; another detector, by its name; one that is not there.
    (root / "samples.csv").write_text("image,presentation_type,x0,y0,x1,y1\nreal/a.png,Glasses,200,100,300,140\n")
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "a.xml").write_text(
        "<annotation><filename>a.png</filename><object><bndbox><xmin>191</xmin><ymin>81</ymin><xmax>310</xmax>"
        "<ymax>200</ymax></bndbox></object></annotation>"
    )
    samples, _, _ = run(
        "folder", root, tmp_path / "boxes" / "samples.jsonl", crop="boxes", faces=tmp_path / "faces", margin=0.25
    )
    assert samples[0].size_wh == (180, 180) and samples[0].boxes == [(40, 50, 140, 90)]
    samples, problems, _ = run("folder", root, tmp_path / "none" / "samples.jsonl", crop="boxes")
    assert not samples and [p["reason"] for p in problems] == ["no face", "unlisted"]
    samples, _, _ = run("folder", root, root / "crops.jsonl", crop="detect", detector="detectors:Middle", margin=0.0)
    assert samples[0].size_wh == (256, 256)
    with pytest.raises(ValueError, match="detector 'detectors:Nobody'"):
        run("folder", root, tmp_path / "x" / "samples.jsonl", crop="detect", detector="detectors:Nobody")


def test_a_crop_for_training_is_the_crop_that_is_judged(shield: FaceShieldPredictor, tmp_path: Path) -> None:
    (tmp_path / "mine" / "real").mkdir(parents=True)
    Image.fromarray(astronaut()).save(tmp_path / "mine" / "real" / "a.png")
    (sample,), _, _ = run("folder", tmp_path / "mine", tmp_path / "samples.jsonl", crop="detect")
    x0, y0, x1, y1 = shield.detect(astronaut()).meta["crop"]
    with Image.open(tmp_path / sample.image) as stored:
        assert np.array_equal(np.asarray(stored), astronaut()[y0:y1, x0:x1])


def test_attacks_whose_type_nobody_noted(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    names = ("bonafide/p1/a", "attack/b", "attack/unknown/p2/c", "attack/print/p2/d", "attack/paprika/e")
    for number, name in enumerate(names):
        picture(root / f"{name}.png", (number, 5, 5))
    samples, problems, summary = run("folder", root, tmp_path / "samples.jsonl")
    assert [(s.is_attack, s.presentation_type, s.original_label, s.subject) for s in samples] == [
        (True, None, "attack", None), (True, "Print", "Print", "p2"), (True, None, "attack", "p2"),
        (False, "Bonafide", "Bonafide", "p1"),
    ]  # fmt: skip
    assert [problem["reason"] for problem in problems] == ["label"]
    assert summary.rows["-", "attack"] == 2 and any(line.startswith("attack ") for line in summary.lines())
    assert [task.name for task in TASKS.values() if task.applies(samples[0])] == ["coarse"]
    (root / "samples.csv").write_text("image,presentation_type\nattack/b.png,Attack\nattack/print/p2/d.png,print\n")
    samples, _, _ = run("folder", root, tmp_path / "listed.jsonl")
    assert [s.presentation_type for s in samples] == [None, "Print"]


def test_a_decoder_that_dies_costs_one_file(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name, colour in (("a", RED), ("b", (1, 2, 3)), ("c", SKY)):
        picture(root / "real" / f"{name}.png", colour)
    samples, problems, _ = run(
        "folder", root, tmp_path / "samples.jsonl", crop="detect", detector="detectors:DiesOfDark", workers=1
    )
    assert [Path(s.image).name for s in samples] == ["a.png", "c.png"]
    assert [(p["reason"], p["path"]) for p in problems] == [("crashed", "real/b.png")] and "SIGSEGV" in problems[0]["detail"]


def test_a_list_cannot_send_pictures_elsewhere(tmp_path: Path) -> None:
    """A crop is never written over what it was cut from, wherever the list says that it lies."""
    root = tmp_path / "data" / "mine"
    root.mkdir(parents=True)
    originals = [picture(tmp_path / "photos" / "a.png"), picture(tmp_path / "b.png", SKY)]
    before = [path.read_bytes() for path in originals]
    (root / "samples.csv").write_text(f"image,presentation_type\n../../photos/a.png,Print\n{originals[1]},Print\n")
    samples, _, _ = run("folder", root, tmp_path / "out" / "samples.jsonl", crop="detect", detector="detectors:Middle")
    assert len(samples) == 2 and [path.read_bytes() for path in originals] == before
    assert all((tmp_path / "out" / s.image).is_file() and s.image.startswith("images/folder/elsewhere/") for s in samples)


def test_pictures_that_differ_by_a_second_suffix_have_crops_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name, colour in (("a.jpg", RED), ("a.jpg.png", SKY)):
        picture(root / "real" / name, colour)
    samples, _, _ = run("folder", root, tmp_path / "samples.jsonl", crop="detect", detector="detectors:Middle")
    assert len({s.image for s in samples}) == 2


# -- faults, resuming, the command -----------------------------------------------------------------------------------------


def test_broken_media_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    good = video(root / "attack" / "Replay" / "good.mp4").read_bytes()
    (root / "attack" / "Replay" / "cut.mp4").write_bytes(good[: len(good) // 3])
    (root / "attack" / "Replay" / "empty.avi").write_bytes(b"")
    (root / "attack" / "Replay" / "words.mov").write_text("no video")
    picture(root / "real" / "a.jpg", size=(200, 200))
    whole = (root / "real" / "a.jpg").read_bytes()
    (root / "real" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert {Path(s.video or s.image).name for s in samples} == {"good.mp4", "a.jpg"}
    assert {(Path(p["path"]).name, p["reason"]) for p in problems} == {
        (name, "unreadable") for name in ("cut.mp4", "empty.avi", "words.mov", "cut.jpg")
    }


def many(root: Path, count: int) -> None:
    for number in range(count):
        picture(root / "real" / f"s{number % 7}" / f"{number:04}.png", seed=number, size=(8, 8))
    (root / "real" / "s0" / "broken.png").write_bytes(b"x")


def test_killed_and_run_again_it_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "mine", tmp_path / "killed" / "samples.jsonl"
    many(root, 400)
    whole = tmp_path / "whole" / "samples.jsonl"
    expected, _, _ = run("folder", root, whole, crop="detect", detector="detectors:Middle")
    middle = ["--crop", "detect", "--detector", "detectors:Middle"]
    command = [sys.executable, "-m", "faceshield", "prepare", "folder", str(root), "--out", str(out), *middle]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    part = out.with_name(".samples.jsonl.part")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 20_000):
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert part.exists() and not out.exists()
    done = part.read_bytes().count(b"\n")
    times = {path: path.stat().st_mtime_ns for path in (out.parent / "images").rglob("*.png")}
    subprocess.run(command, check=True, capture_output=True)
    found = read_jsonl(out, Sample)
    assert 0 < done < len(expected)
    assert out.read_bytes() == whole.read_bytes() and rejects_path(out).read_bytes() == rejects_path(whole).read_bytes()
    finished = [row for row in found[: done - 20]]
    assert finished and all((out.parent / row.image).stat().st_mtime_ns == times[out.parent / row.image] for row in finished)


def test_a_second_file_of_one_id_leaves_the_first_ones_picture(tmp_path: Path) -> None:
    root, out = tmp_path / "siw", tmp_path / "samples.jsonl"
    video(root / "Live" / "Live_1.avi", colour=RED)
    video(root / "Live" / "Train" / "Live_1.avi", colour=SKY)
    samples, problems, _ = run("siw-mv2", root, out, frames_per_video=1)
    assert [row.id.split(":")[1] for row in samples] == ["Live_1"]
    shown = np.asarray(Image.open(out.parent / samples[0].image))[:, -8:].mean((0, 1))
    assert shown[0] > shown[2]  # red, not the other one's blue
    assert [(one["reason"], one["path"]) for one in problems if one["dropped"]] == [("duplicate", "Live/Train/Live_1.avi")]


def test_a_stop_between_the_two_renames_is_gone_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "mine", tmp_path / "samples.jsonl"
    for number in range(3):
        picture(root / "real" / f"{number}.png", seed=number)
    picture(root / "nowhere" / "x.png")
    replace = os.replace

    def stop(source: Path, target: Path) -> None:
        if Path(target) == rejects_path(out):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        run("folder", root, out)
    assert out.exists() and not rejects_path(out).exists()
    monkeypatch.undo()
    samples, problems, _ = run("folder", root, out)
    assert [row.id for row in samples] == [f"folder:real/{number}.png" for number in range(3)] and len(problems) == 1


def test_what_is_shorter_than_its_journal_says_is_not_filled_up(tmp_path: Path) -> None:
    root, out = tmp_path / "mine", tmp_path / "samples.jsonl"
    many(root, 3)

    def stop(done: int) -> None:
        if done == 2:
            part = out.with_name(".samples.jsonl.part")
            os.truncate(part, part.stat().st_size - 5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(DATASETS["folder"](root), PrepareConfig(out=out, workers=0), stop)
    with pytest.raises(ValueError, match="shorter than .* says"):
        run("folder", root, out)


def test_two_runs_do_not_prepare_into_one_file(tmp_path: Path) -> None:
    root, out = tmp_path / "mine", tmp_path / "samples.jsonl"
    many(root, 4)

    def second(done: int) -> None:
        if done == 2:
            with pytest.raises(ValueError, match="another run is writing it"):
                prepare(DATASETS["folder"](root), PrepareConfig(out=out, workers=0))

    prepare(DATASETS["folder"](root), PrepareConfig(out=out, workers=0), second)
    assert len(read_jsonl(out, Sample)) == 4


def test_what_was_prepared_is_read_back_whole_as_a_list(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "real" / "a.png", seed=1)
    picture(root / "attack" / "b.png", seed=2)
    run("folder", root, tmp_path / "samples.jsonl")
    (tmp_path / "samples.jsonl").rename(root / "samples.jsonl")
    samples, problems, _ = run("folder", root, tmp_path / "again.jsonl")
    assert [(row.is_attack, row.presentation_type) for row in samples] == [(True, None), (False, "Bonafide")]
    assert not [one for one in problems if one["dropped"]]


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.csv"])
def test_nothing_is_written_where_the_next_run_would_read_a_list(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    root = tmp_path / "mine"
    picture(root / "real" / "a.png")
    monkeypatch.chdir(root)
    for out in (root / name, Path(name)):
        with pytest.raises(ValueError, match="the place of a list of your own, which is read instead of the folders"):
            run("folder", root, out)
    assert [path.name for path in root.iterdir()] == ["real"]
    for _ in range(2):
        samples, problems, _ = run("folder", root, root / f"mine-{name}")
        assert [row.id for row in samples] == ["folder:real/a.png"] and not problems


@pytest.mark.parametrize("change", ["comes", "goes", "labels"])
def test_a_stopped_run_of_another_copy_does_not_go_on(tmp_path: Path, change: str) -> None:
    """It would count its way to where it was: pass a new file over, or read another one twice."""
    root, out = tmp_path / "mine", tmp_path / "samples.jsonl"
    for number in (1, 2, 3):
        picture(root / "real" / f"{number}.png", seed=number)
    table = "image,presentation_type\n" + "".join(f"real/{number}.png,real\n" for number in (1, 2, 3))
    if change == "labels":
        (root / "samples.csv").write_text(table)

    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        if done == 2:
            raise Stop

    with pytest.raises(Stop):
        prepare(DATASETS["folder"](root), PrepareConfig(out=out, workers=0), stop)
    if change == "comes":
        picture(root / "real" / "0.png", seed=9)
    elif change == "labels":
        (root / "samples.csv").write_text(table.replace("1.png,real", "1.png,fake"))
    else:
        shutil.rmtree(root / "real")
        picture(root / "real" / "1.png", seed=1)
    with pytest.raises(ValueError, match="files, labels or lists have changed"):
        run("folder", root, out)


def test_bytes_that_are_no_utf_8_in_a_name_cost_that_file_alone(tmp_path: Path) -> None:
    """As archives of other systems leave them."""
    root = tmp_path / "mine"
    picture(root / "real" / "a.png")
    picture(root / "real" / os.fsdecode(b"M\xfcller.png"), SKY)
    samples, problems, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert [row.id for row in samples] == ["folder:real/a.png"]
    assert [(p["reason"], p["path"]) for p in problems] == [("name", r"real/M\udcfcller.png")]
    (root / "samples.csv").write_text("image,presentation_type\nreal/a.png,Bonafide\n")
    samples, problems, _ = run("folder", root, tmp_path / "listed.jsonl")
    assert len(samples) == 1 and [p["reason"] for p in problems] == ["unlisted"]


def test_a_list_of_ones_own_is_not_written_over(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "a.png")
    words = json.dumps({"image": "a.png", "presentation_type": "Print", "subject": 0}) + "\n"
    (root / "samples.jsonl").write_text(words)
    with pytest.raises(ValueError, match="a list of your own"):
        run("folder", root, root / "samples.jsonl")
    assert (root / "samples.jsonl").read_text() == words
    samples, _, _ = run("folder", root, tmp_path / "samples.jsonl")
    assert [row.subject for row in samples] == ["0"], "who is number 0 is somebody"
    with pytest.raises(ValueError, match="read too and would be overwritten"):
        run("folder", root, tmp_path / "samples.jsonl", known=[tmp_path / "samples.jsonl"])


def test_a_command_that_failed_at_once_does_not_bind_the_next(tmp_path: Path) -> None:
    many(tmp_path / "mine", 3)
    (tmp_path / "boxes.json").write_text("{")
    with pytest.raises(ValueError, match="boxes.json"):
        run("folder", tmp_path / "mine", tmp_path / "samples.jsonl", boxes=tmp_path / "boxes.json")
    samples, _, _ = run("folder", tmp_path / "mine", tmp_path / "samples.jsonl")
    assert samples


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"3_05: [1\n", "types.yaml:2: not YAML"), (b"\xff", "types.yaml: not UTF-8"), (b"- a\n", "types.yaml:1: a list")],
)
def test_a_table_of_types_that_is_none_is_told_in_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "types.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=told) as caught:
        read_types(tmp_path / "types.yaml")
    assert "\n" not in str(caught.value)
    (tmp_path / "types.yaml").write_text("3_05: Print\n2_01: null\n")
    assert read_types(tmp_path / "types.yaml") == {"3_05": "Print", "2_01": None}


def test_known_pictures_are_duplicates(tmp_path: Path) -> None:
    many(tmp_path / "mine", 5)
    run("folder", tmp_path / "mine", tmp_path / "samples.jsonl")
    picture(tmp_path / "other" / "real" / "same.png", seed=2, size=(8, 8))
    picture(tmp_path / "other" / "real" / "new.png", seed=99, size=(8, 8))
    samples, problems, _ = run("folder", tmp_path / "other", tmp_path / "b.jsonl", known=[tmp_path / "samples.jsonl"])
    assert [s.id for s in samples] == ["folder:real/new.png"] and [p["reason"] for p in problems] == ["duplicate"]


def test_the_command(tmp_path: Path) -> None:
    many(tmp_path / "mine", 4)
    invoke = CliRunner().invoke
    base = ["prepare", "folder", str(tmp_path / "mine"), "--out", str(tmp_path / "samples.jsonl")]
    result = invoke(app, base)  # in processes of its own, as a user has it; the others in this one
    assert result.exit_code == 0 and "Bonafide" in result.output and "unreadable 1" in result.output
    assert result.stdout.splitlines()[-1].startswith(f"samples: {tmp_path / 'samples.jsonl'} (4)")
    assert invoke(app, [*base, "--strict", "--workers", "0"]).exit_code == 2
    assert "did you mean 'wmca'" in str(invoke(app, ["prepare", "wcma", *base[2:]]).exception)
    (tmp_path / "empty").mkdir()
    again = ["prepare", "folder", str(tmp_path / "empty"), "--out", str(tmp_path / "none.jsonl"), "--workers", "0"]
    result = invoke(app, again)
    assert "nothing that could be read" in str(result.exception)


def test_evenly_and_gaps() -> None:
    assert evenly(range(50), 3) == [8, 25, 41] and evenly([3, 9], 3) == [3, 9] and evenly(range(4), 0) == [0, 1, 2, 3]
    assert [fault.detail for fault in gaps([0, 4, 8])] == ["6 frame numbers are missing"] and not [*gaps([]), *gaps([4, 5])]


def test_bit_depths_and_channel_orders() -> None:
    bgr = np.zeros((22, 4, 5))
    bgr[0], bgr[1], bgr[2] = 0.1, 0.5, 1.0
    assert as_rgb(bgr, order="bgr")[0, 0].tolist() == [255, 128, 26]
    deep = np.zeros((3, 4, 5), np.uint16)
    deep[0] = 65535
    assert as_rgb(deep, order="rgb")[0, 0].tolist() == [255, 0, 0]
    assert as_rgb(np.full((40, 50, 3), 7, np.uint8), order="rgb").shape == (40, 50, 3)
    for values, words in ((bgr * 300, "expected 0..1"), (np.zeros((2, 4, 5)), "at least 3"), (bgr > 0, "type bool")):
        with pytest.raises(MediaError, match=words):
            as_rgb(values, order="rgb")
    with pytest.raises(MediaError, match="expected 3 channels"):
        as_rgb(np.zeros((4, 128, 128), np.uint8), order="rgb", of=3)


def test_output_inside_the_copy_is_not_read_as_part_of_it(tmp_path: Path) -> None:
    """Pictures that are written while the walk goes on, and a samples file that looks like a list of one's own."""
    video(tmp_path / "Live" / "Live_1.mov")
    for _ in range(2):
        samples, problems, _ = run("siw-mv2", tmp_path, tmp_path / "samples.jsonl")
        assert len(samples) == 3 and not problems
    root = tmp_path / "mine"
    picture(root / "real" / "a.png")
    for name in ("mine", "mine", "other"):
        samples, problems, _ = run("folder", root, root / f"{name}.jsonl", crop="detect", detector="detectors:Middle")
        assert [s.id for s in samples] == ["folder:real/a.png"] and not problems
    data = Folder(root, name="camera-b")  # what this folder was read as before is not in it either
    summary = prepare(data, PrepareConfig(out=tmp_path / "b.jsonl", workers=0))
    assert sum(summary.rows.values()) == 1 and not summary.problems
    # Nor is what another run has put there.
    for name in ("a", "b"):
        samples, _, _ = run("siw-mv2", tmp_path, tmp_path / name / "samples.jsonl", crop="detect", detector="detectors:Middle")
        assert len(samples) == 3, name


def test_a_box_on_a_frame_that_is_not_taken_is_told(tmp_path: Path) -> None:
    for number in range(1, 10):
        picture(tmp_path / "copy" / "Spoof" / "Paper" / "Paper_1" / f"{number:04}.png", seed=number)
    boxes = tmp_path / "coco.json"
    pictures = [{"id": n, "file_name": f"Paper_1/{n:04}.png"} for n in (4, 5)]
    boxes.write_text(json.dumps({"images": pictures, "annotations": [{"image_id": n, "bbox": [1, 1, 9, 9]} for n in (4, 5)]}))
    samples, problems, summary = run("siw-mv2", tmp_path / "copy", tmp_path / "samples.jsonl", boxes=boxes)
    assert {row.frame: row.boxes for row in samples if row.boxes} == {5: [(1, 1, 10, 10)]}
    assert [(p["reason"], p["path"].split(", ")[-1], p["dropped"]) for p in problems] == [("box", "frame 4", False)]
    assert "none of the 3 taken" in problems[0]["detail"] and summary.lost == 0


def test_what_inspect_would_refuse_for_its_size_is_left_out_where_asked(tmp_path: Path) -> None:
    picture(tmp_path / "mine" / "real" / "a.png", size=(24, 60))
    picture(tmp_path / "mine" / "real" / "b.png", SKY, size=(32, 60))
    every, _, _ = run("folder", tmp_path / "mine", tmp_path / "every.jsonl")
    samples, problems, _ = run("folder", tmp_path / "mine", tmp_path / "samples.jsonl", inspectable=True)
    assert len(every) == 2 and [row.id for row in samples] == ["folder:real/b.png"]
    assert [(p["reason"], p["path"]) for p in problems] == [("size", "real/a.png")]
    assert "24 x 60 pixels is too small" in problems[0]["detail"]


class Stop(Exception):
    pass


def stop(done: int) -> None:
    raise Stop


@pytest.mark.parametrize(
    "other",
    [
        {"margin": 0.1}, {"detector": "faceshield.face:BuiltInDetector"}, {"types": {"real": "Print"}}, {"inspectable": True},
        {"frames_per_video": 1},
    ],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_each_setting_belongs_to_a_stopped_run(tmp_path: Path, other: dict[str, Any]) -> None:
    """Half of the pictures would be made in one way and half in another."""
    root, out = tmp_path / "mine", tmp_path / "samples.jsonl"
    for number in (1, 2, 3):
        picture(root / "real" / f"{number}.png", seed=number)
    own: dict[str, Any] = {"out": out, "workers": 0, "crop": "detect", "detector": "detectors:Middle"}
    with pytest.raises(Stop):
        prepare(DATASETS["folder"](root), PrepareConfig(**own), stop)
    with pytest.raises(ValueError, match="a stopped run with other settings"):
        prepare(DATASETS["folder"](root), PrepareConfig(**{**own, **other}))
    prepare(DATASETS["folder"](root), PrepareConfig(**{**own, "timeout": 9.0}))


def test_the_faces_of_a_stopped_run_are_still_those(tmp_path: Path) -> None:
    root, out, faces = tmp_path / "mine", tmp_path / "samples.jsonl", tmp_path / "faces.json"
    for number in (1, 2, 3):
        picture(root / "real" / f"{number}.png", size=(64, 64), seed=number)
    listed = [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in (1, 2, 3)]
    drawn = [{"id": number, "image_id": number, "category_id": 1, "bbox": [20, 20, 20, 20]} for number in (1, 2, 3)]
    coco = {"images": listed, "annotations": drawn, "categories": [{"id": 1, "name": "face"}]}
    faces.write_text(json.dumps(coco))
    config = PrepareConfig(out=out, workers=0, crop="boxes", faces=faces)
    with pytest.raises(Stop):
        prepare(DATASETS["folder"](root), config, stop)
    faces.write_text(json.dumps(coco).replace("[20, 20", "[10, 10"))
    with pytest.raises(ValueError, match="a stopped run with other settings"):
        prepare(DATASETS["folder"](root), config)


@pytest.mark.parametrize("crop", ["boxes", "detect"])
def test_of_several_faces_the_largest_is_cut_out_whatever_their_order(
    tmp_path: Path, crop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, faces = tmp_path / "mine", tmp_path / "faces.json"
    picture(root / "real" / "a.png", size=(64, 64))
    found = [(0, 0, 10, 10), (20, 20, 40, 40), (50, 50, 60, 60)]
    drawn = [{"id": n, "image_id": 1, "category_id": 1, "bbox": [x, y, r - x, b - y]} for n, (x, y, r, b) in enumerate(found)]
    listed = [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}]
    faces.write_text(json.dumps({"images": listed, "annotations": drawn, "categories": [{"id": 1, "name": "face"}]}))

    class Several:
        def detect(self, rgb: Any) -> list[Face]:
            return [Face(tuple(map(float, box)), 1.0) for box in found]

    monkeypatch.setattr("faceshield.datasets.extract.detector_of", lambda name: Several())
    options = {"crop": crop, "margin": 0.0, **({"faces": faces} if crop == "boxes" else {})}
    samples, _, _ = run("folder", root, tmp_path / "samples.jsonl", **options)
    assert samples[0].size_wh == (20, 20)
