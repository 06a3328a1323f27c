"""Lists that come with a copy: official protocols, labels that only they have, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from faceshield.datasets import DATASETS, PrepareConfig, prepare, rejects_path
from faceshield.datasets.base import Lists, Problem, Unit
from faceshield.records import Sample, read_jsonl


def empty(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def text(path: Path, *lines: str, end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + end)


def walked(name: str, root: Path) -> tuple[dict[str, Unit], list[tuple[str, str]]]:
    """Units by id, and (reason, path) of the problems; the same in a second walk."""
    data = DATASETS[name](root)
    found = list(data.walk())
    assert list(data.walk()) == found
    units = {one.id: one for one in found if isinstance(one, Unit)}
    return units, [(one.reason, one.path) for one in found if isinstance(one, Problem)]


def colours(path: Path, rgb: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), rgb, np.uint8)).save(path)


def rejects(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rejects_path(out).read_text().splitlines()]


def test_a_list_of_ones_own_in_the_words_people_use(tmp_path: Path) -> None:
    for number in range(5):
        colours(tmp_path / f"{number}.png", (number, 0, 0))
    rows = [
        "0.png,real,Ju\u0308rgen,Train",
        "1.png,Live,J\u00fcrgen , val",
        "2.png,print,anna,TEST ",
        "3.png,print,anna,holdout",
    ]
    text(
        tmp_path / "samples.csv",
        "image,presentation_type,subject,split",
        *rows,
        "4.png,print,anna,test",
        "4.png,print,bert,test",
    )
    units, problems = walked("folder", tmp_path)
    assert [(unit.label, unit.subject, unit.split) for unit in units.values()] == [
        ("Bonafide", "J\u00fcrgen", "train"), ("Bonafide", "J\u00fcrgen", "dev"), ("Print", "anna", "test"),
    ]  # fmt: skip
    assert problems == [("manifest", "3.png"), ("manifest", "4.png")]


def test_a_link_back_has_an_end(tmp_path: Path) -> None:
    colours(tmp_path / "real" / "anna" / "1.png", (1, 0, 0))
    (tmp_path / "real" / "anna" / "up").symlink_to("../..")
    units, _ = walked("folder", tmp_path)
    assert list(units) == ["real/anna/1.png"]


def test_wmca_protocols_with_and_without_a_header(tmp_path: Path) -> None:
    day = "WMCA/preprocessed-face-station_RGB/face-station/01.02.18"
    stems = ("001_01_000_0_00", "002_01_000_2_09", "003_01_000_4_01")
    empty(tmp_path, *(f"{day}/{stem}.hdf5" for stem in stems))
    rows = [
        f"face-station/01.02.18/{stems[0]},0,bonafide,train",
        f"face-station/01.02.18/{stems[1]},1,attack/3D/papermask,eval",
        "face-station/01.02.18/009_01_000_0_00,0,bonafide,dev",
    ]
    lists = tmp_path / "wmca-protocols-csv"
    text(lists / "PROTOCOL-grandtest.csv", "path,label,type,group", *rows)
    rows_of_loo = [rows[1], f"face-station/01.02.18/{stems[2]},0,attack/2D/replay,train", "what,ever"]
    text(lists / "PROTOCOL-LOO_papermask.csv", *rows_of_loo)
    units, problems = walked("wmca", tmp_path)
    assert {stem: (units[stem].split, dict(units[stem].splits)) for stem in stems} == {
        stems[0]: ("train", {"grandtest": "train"}),
        stems[1]: ("test", {"grandtest": "test", "LOO_papermask": "test"}),
        stems[2]: (None, {"LOO_papermask": "train"}),
    }
    assert problems == [
        ("manifest", "PROTOCOL-LOO_papermask.csv:2"), ("manifest", "PROTOCOL-LOO_papermask.csv:3"),
        ("absent", "009_01_000_0_00"),
    ]  # fmt: skip


def test_siw_mv2_protocols(tmp_path: Path) -> None:
    names = ("Live_1", "Live_2", "Paper_1", "Paper_2", "Mask_Paper_1", "Partial_Paperglass_1", "Mask_Trans_1", "Mask_Trans_2")
    empty(tmp_path, *(f"Live/{name}.mov" if "Live" in name else f"Spoof/x/{name}.mov" for name in names))
    lists = tmp_path / "pro_3_text"
    text(lists / "trainlist_live.txt", "Live_1", "Live_999")
    text(lists / "testlist_live.txt", "Live_2", end="")
    # Repeated to balance the types, as the authors do.
    text(lists / "trainlist_all.txt", *["Paper_1", "Mask_Paper_1", "Partial_Paperglass_1", "Mask_Trans_1"] * 50)
    text(lists / "testlist_all.txt", "Paper_2", "no name!")
    text(lists / "train_A_pretrain.txt", "Live_1", "Paper_1")
    text(lists / "test_A_pretrain.txt", "Paper_1", "Paper_2")
    text(lists / "test_E_ill.txt", "Live_2")
    text(tmp_path / "README.txt", "nothing of ours")
    units, problems = walked("siw-mv2", tmp_path)
    assert {name: units[name].split for name in names} == {
        "Live_1": "train", "Live_2": "test", "Paper_1": "train", "Paper_2": "test", "Mask_Paper_1": "train",
        "Partial_Paperglass_1": "train", "Mask_Trans_1": "train", "Mask_Trans_2": None,
    }  # fmt: skip
    # Paper unknown: paper masks and paper glasses are still trained on, all its videos are tested, and no other attack is.
    assert {name: units[name].splits.get("P2_Paper") for name in names} == {
        "Live_1": "train", "Live_2": "test", "Paper_1": "test", "Paper_2": "test", "Mask_Paper_1": "train",
        "Partial_Paperglass_1": "train", "Mask_Trans_1": "train", "Mask_Trans_2": None,
    }  # fmt: skip
    # An archive's video that is in no list is of its type all the same.
    assert units["Mask_Trans_2"].splits == {"P2_Mask_Trans": "test"}
    assert units["Live_1"].splits["P3_E"] == "train"
    assert units["Live_2"].splits["P3_E"] == units["Live_2"].splits["P3"] == "test"
    # Listed in both halves of A: tested, not trained on.
    assert units["Paper_1"].splits["P3_A"] == "test" and units["Paper_1"].splits["P3_B"] == "train"
    assert sorted(problems) == [
        ("absent", "Live_999"), ("manifest", "Paper_1"), ("manifest", "Paper_1"), ("manifest", "testlist_all.txt:2"),
        ("unlisted", "Mask_Trans_2"),
    ]  # fmt: skip
    # Without lists there is nothing to be absent from, and no protocol.
    for file in lists.iterdir():
        file.unlink()
    units, problems = walked("siw-mv2", tmp_path)
    assert problems == [] and units["Paper_1"].splits == {} and len(units) == len(names)


def test_oulu_protocols(tmp_path: Path) -> None:
    empty(tmp_path, "Train_files/1_1_01_1.avi", "Train_files/1_1_01_3.avi", "Dev_files/2_1_21_1.avi", "Test_files/6_3_36_4.avi")
    text(tmp_path / "Protocols/Protocol_1/Train.txt", "+1,1_1_01_1", "-1, 1_1_01_3", "+1,1_2_01_1")
    text(tmp_path / "Protocols/Protocol_1/Test.txt", "+1,6_3_36_4")
    text(tmp_path / "Protocols/Protocol_3/Dev_2.txt", "+1,2_1_21_1")
    text(tmp_path / "Protocols/Protocol_4/Protocol_4_6/Test.txt", "-2,6_3_36_4")
    text(tmp_path / "Train_files/1_1_01_1.txt", "0,100,100,200,100")
    units, problems = walked("oulu-npu", tmp_path)
    assert {one.path: (one.split, dict(one.splits)) for one in units.values()} == {
        "Dev_files/2_1_21_1.avi": ("dev", {"3_2": "dev"}),
        "Test_files/6_3_36_4.avi": ("test", {"4_6": "test"}),
        "Train_files/1_1_01_1.avi": ("train", {"1": "train"}),
        "Train_files/1_1_01_3.avi": ("train", {"1": "train"}),
    }
    assert problems == [("manifest", "Test.txt:1"), ("absent", "1_2_01_1")]


def test_casia_surf_lists_say_what_the_other_parts_are(tmp_path: Path) -> None:
    for path in ("Training/real_part/CLKJ_AS0137/real.rssdk", "Training/fake_part/CLKJ_AS0005/01_enm_b.rssdk"):
        for channel in ("color", "depth", "ir"):
            colours(tmp_path / path / channel / "3.jpg", (len(path), 90, len(channel)))
    for part, number in (("Val/0007", "007243"), ("Val/0007", "007244"), ("Testing/0000", "000001")):
        for channel in ("color", "depth", "ir"):
            colours(tmp_path / part / f"{number}-{channel}.jpg", (int(number) % 200, 9, len(channel)))
    line = "{0}/color/3.jpg {0}/depth/3.jpg {0}/ir/3.jpg {1}"
    text(
        tmp_path / "train_list.txt",
        line.format("Training/real_part/CLKJ_AS0137/real.rssdk", 1),
        line.format("Training/fake_part/CLKJ_AS0005/01_enm_b.rssdk", 0),
    )
    # The channels in another order than in the training list.
    text(tmp_path / "val_private_list.txt", "Val/0007/007243-ir.jpg Val/0007/007243-color.jpg Val/0007/007243-depth.jpg 1")
    text(tmp_path / "test_private_list.txt", "Testing/0000/000001-color.jpg x y 0", "", "odd")
    out = tmp_path / "samples.jsonl"
    prepare(DATASETS["casia-surf"](tmp_path), PrepareConfig(out=out, workers=0))
    assert [(row.id, row.presentation_type, row.split) for row in read_jsonl(out, Sample)] == [
        ("casia-surf:Testing/0000/000001-color", "Print", "test"),
        ("casia-surf:fake_part/CLKJ_AS0005/01_enm_b.rssdk/color:3", "Print", "train"),
        ("casia-surf:real_part/CLKJ_AS0137/real.rssdk/color:3", "Bonafide", "train"),
        ("casia-surf:Val/0007/007243-color", "Bonafide", "dev"),
    ]
    assert [(row["reason"], row["path"]) for row in rejects(out)] == [("unlisted", "Val/0007/007244-color.jpg")]
    # Without the training list nobody says which number is real.
    (tmp_path / "train_list.txt").unlink()
    assert len(walked("casia-surf", tmp_path)[0]) == 2


def test_hq_wmca_needs_to_be_told_what_its_numbers_are(tmp_path: Path) -> None:
    root = tmp_path / "HQ-WMCA"
    for number, name in enumerate(("1_01_0002_0000_00_00_000-5a1b2c3d", "1_02_0009_0003_03_01_012-0badcafe")):
        root.mkdir(exist_ok=True)
        with h5py.File(root / f"{name}.h5", "w") as file:
            stack = np.zeros((60, 3, 20, 12), np.uint8)
            stack[:, 0], stack[:, 2] = 10, 200  # blue first: red is the bright one
            stack[:, 1] = np.arange(60)[:, None, None] + number
            file["BASLER_BGR"] = stack
            file["NIR"] = np.zeros((60, 4))
    with h5py.File(root / "1_02_0009_0003_03_01_013-0badcaff.h5", "w") as file:
        file["NIR"] = np.zeros((60, 4))
    out = tmp_path / "samples.jsonl"
    assert prepare(DATASETS["hq-wmca"](root), PrepareConfig(out=out, workers=0)).problems == {"label": 3}
    assert "map it with prepare --types" in rejects(out)[0]["detail"]
    types = {"00_00": "Bonafide", "03_01": "Print"}
    prepare(DATASETS["hq-wmca"](root), PrepareConfig(out=out, workers=0, types=types))
    rows = read_jsonl(out, Sample)
    assert [(row.presentation_type, row.frame, row.subject, row.original_label) for row in rows] == [
        *[("Bonafide", n, "0002", "00_00") for n in (10, 30, 50)], *[("Print", n, "0009", "03_01") for n in (10, 30, 50)],
    ]  # fmt: skip
    assert np.asarray(Image.open(tmp_path / rows[0].image))[5, 5].tolist() == [200, 10, 10]
    assert rows[0].size_wh == (12, 20) and rows[0].video is not None
    assert [(row["reason"], "BASLER_BGR" in row["detail"]) for row in rejects(out)] == [("unreadable", True)]


def test_uniattack_whole_and_challenge(tmp_path: Path) -> None:
    for number, name in enumerate(("live/0001/1", "spoof/0001/2", "FaceDancer/0001/3", "new-kind/4")):
        colours(tmp_path / "full" / "Data" / f"{name}.png", (number, 1, 1))
    out = tmp_path / "full.jsonl"
    prepare(DATASETS["uniattack"](tmp_path / "full"), PrepareConfig(out=out, workers=0, types={"spoof": "Print"}))
    assert [(row.original_label, row.presentation_type) for row in read_jsonl(out, Sample)] == [
        ("live", "Bonafide"), ("spoof", "Print"),
    ]  # fmt: skip
    assert [row["reason"] for row in rejects(out)] == ["left out", "label"]

    root = tmp_path / "challenge" / "phase1"
    for number, name in enumerate(("p1/train/0", "p1/dev/0", "p2.1/train/0", "p2.1/train/1")):
        colours(root / f"{name}.png", (number, 2, 2))
    text(root / "p1" / "train_label.txt", "p1/train/0.png 0")
    text(root / "p1" / "dev_label.txt", "dev/0.png 1")
    text(root / "p2.1" / "train_label.txt", "p2.1/train/0.png 1")
    types = {"1": "Bonafide", "0": "Replay"}
    out = tmp_path / "challenge.jsonl"
    prepare(DATASETS["uniattack"](tmp_path / "challenge"), PrepareConfig(out=out, workers=0, types=types))
    assert [(row.id, row.presentation_type, row.split) for row in read_jsonl(out, Sample)] == [
        ("uniattack:p1/dev/0", "Bonafide", "dev"), ("uniattack:p1/train/0", "Replay", "train"),
        ("uniattack:p2.1/train/0", "Bonafide", "train"),
    ]  # fmt: skip
    assert [(row["reason"], row["path"]) for row in rejects(out)] == [("unlisted", "phase1/p2.1/train/1.png")]


def test_a_name_in_two_splits_is_tested() -> None:
    lists = Lists()
    for split in ("train", "test", "train", "dev"):
        lists.add("a", "P", split)
    assert lists.of("a") == {"P": "test"} and len(lists.problems) == 3 - 1 + 1
    assert not Lists() and lists and lists.of("b") == {} and lists.of("b") == {}
    assert [problem.reason for problem in lists.rest()] == ["manifest"] * 3 + ["unlisted"]
