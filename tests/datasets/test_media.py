"""Files of which a part is broken, videos that lie on their side, and labels that YAML would take for numbers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.datasets import DATASETS, PrepareConfig, prepare, rejects_path
from faceshield.records import Sample, read_jsonl
from media_files import RED, SKY, hdf5, picture, stack, video


def run(name: str, root: Path, out: Path, **options: Any) -> tuple[list[Sample], list[dict[str, Any]]]:
    prepare(DATASETS[name](root), PrepareConfig(out=out, workers=0, **options))
    return read_jsonl(out, Sample), [json.loads(line) for line in rejects_path(out).read_text().splitlines()]


DAY = "WMCA/preprocessed-face-station_RGB/01.02.18"


def test_one_frame_that_is_broken_costs_one_frame(tmp_path: Path) -> None:
    file = hdf5(tmp_path / DAY / "001_01_000_0_00.hdf5", [0, 1, 2])
    with h5py.File(file, "a") as opened:
        del opened["Frame_1"]
        opened["Frame_1/array"] = np.zeros((4, 128, 128), np.uint8)
        opened["Frame_2/FrameQuality/array"] = 1.0
    samples, problems = run("wmca", tmp_path, tmp_path / "out" / "samples.jsonl")
    assert [row.frame for row in samples] == [0, 2]
    (problem,) = problems
    assert (problem["reason"], problem["dropped"]) == ("unreadable", True) and problem["path"].endswith(", frame 1")


def test_the_other_channels_are_not_taken_for_colours(tmp_path: Path) -> None:
    """A copy of WMCA's CDIT archive under a name that does not say so: grey, depth, infrared, thermal."""
    path = tmp_path / "01.02.18" / "001_01_000_0_00.hdf5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["Frame_0/array"] = np.zeros((4, 128, 128), np.uint8)
    samples, problems = run("wmca", tmp_path, tmp_path / "out" / "samples.jsonl")
    assert not samples and "expected 3 channels" in problems[0]["detail"]


def test_a_video_that_breaks_off_gives_what_there_is(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    file = video(root / "attack" / "Replay" / "a.avi", frames=16)
    whole = file.read_bytes()
    file.write_bytes(whole[:-560])  # its index, and the last frames
    samples, problems = run("folder", root, tmp_path / "samples.jsonl")
    assert len(samples) == 3 and all(0 <= (row.frame or 0) < 16 for row in samples)
    assert not [problem for problem in problems if problem["dropped"]]
    # In the middle: damage.
    broken = bytearray(whole)
    middle = whole.index(b"00dc") + 300
    broken[middle : middle + 40] = bytes(40)
    file.write_bytes(bytes(broken))
    samples, _ = run("folder", root, tmp_path / "again.jsonl")
    assert len(samples) == 3


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), "upper left"),
        ((0, 1, -1, 0), "upper right"),
        ((-1, 0, 0, -1), "lower right"),
        ((0, -1, 1, 0), "lower left"),
    ],
)
def test_videos_are_turned_as_a_player_turns_them(tmp_path: Path, matrix: tuple[int, ...], corner: str) -> None:
    """A phone's file says by a matrix in its track how it was held; the picture's upper left is white."""
    import av

    path = tmp_path / "mine" / "real" / "a.mp4"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        rgb = np.zeros((48, 64, 3), np.uint8)
        rgb[:16, :16] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    unity = b"".join(value.to_bytes(4, "big", signed=True) for value in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    a, b, c, d = (value << 16 for value in matrix)
    turned = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    track = content.index(b"tkhd")
    place = content.index(unity, track)
    path.write_bytes(content[:place] + turned + content[place + 36 :])
    (sample, *_), _ = run("folder", tmp_path / "mine", tmp_path / "samples.jsonl", frames_per_video=1)
    shown = np.asarray(Image.open(tmp_path / sample.image))[..., 0]
    height, width = shown.shape
    corners = {
        "upper left": shown[4, 4], "upper right": shown[4, width - 5], "lower left": shown[height - 5, 4],
        "lower right": shown[height - 5, width - 5],
    }  # fmt: skip
    assert [name for name, value in corners.items() if value > 200] == [corner]
    assert sample.size_wh == ((64, 48) if matrix[0] else (48, 64))


def test_all_frames(tmp_path: Path) -> None:
    video(tmp_path / "mine" / "real" / "a.mp4", frames=7)
    samples, _ = run("folder", tmp_path / "mine", tmp_path / "samples.jsonl", frames_per_video=0)
    assert [row.frame for row in samples] == list(range(7))


def test_codes_in_yaml_are_text_and_one_that_meets_nothing_is_told(tmp_path: Path) -> None:
    """To YAML, 2_01 is the number 201, and 0_00 the number 0."""
    root = tmp_path / "copy"
    for number, code in enumerate(("0_00", "2_01", "1_09")):
        hdf5(root / DAY / f"00{number}_01_000_{code}.hdf5", [number])
    mapping, out = tmp_path / "types.yaml", tmp_path / "samples.jsonl"
    mapping.write_text("2_01: null\n1_09: makeup\n2_99: Print\n")
    result = CliRunner().invoke(
        app, ["prepare", "wmca", str(root), "--out", str(out), "--types", str(mapping), "--workers", "0"]
    )
    assert result.exit_code == 0, result.output
    assert [(row.original_label, row.presentation_type) for row in read_jsonl(out, Sample)] == [
        ("0_00", "Bonafide"), ("1_09", "Makeup"),
    ]  # fmt: skip
    problems = [json.loads(line) for line in rejects_path(out).read_text().splitlines()]
    assert [(problem["reason"], problem["path"][-4:]) for problem in problems] == [("left out", "hdf5"), ("types", "2_99")]
    mapping.write_text("- 2_01\n")
    result = CliRunner().invoke(app, ["prepare", "wmca", str(root), "--out", str(out), "--types", str(mapping)])
    assert "expected `key: value` lines" in str(result.exception)


def test_a_missing_package_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video(tmp_path / "mine" / "real" / "a.mp4")
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else there(name, *rest))
    with pytest.raises(ImportError, match=r'pip install "faceshield\[data\]"'):
        run("folder", tmp_path / "mine", tmp_path / "samples.jsonl")


def test_what_a_list_does_not_name_is_told(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    picture(root / "a.png")
    picture(root / "b.png", SKY)
    stack(root / "c.h5", RED)
    (root / "samples.csv").write_text("image,presentation_type\na.png,Print\n")
    samples, problems = run("folder", root, tmp_path / "samples.jsonl")
    assert len(samples) == 1
    assert [(problem["reason"], problem["path"], problem["dropped"]) for problem in problems] == [("unlisted", "b.png", False)]


def test_the_same_picture_in_two_forms_is_a_duplicate(tmp_path: Path) -> None:
    """Content is pixels, before any crop: a copy in another format, or cropped another way, is the same picture."""
    picture(tmp_path / "one" / "real" / "a.png", SKY)
    Image.open(tmp_path / "one" / "real" / "a.png").save(tmp_path / "b.bmp")
    (tmp_path / "two" / "real").mkdir(parents=True)
    (tmp_path / "b.bmp").rename(tmp_path / "two" / "real" / "b.bmp")
    run("folder", tmp_path / "one", tmp_path / "one.jsonl")
    options = {"known": [tmp_path / "one.jsonl"], "crop": "detect", "detector": "detectors:Middle"}
    samples, problems = run("folder", tmp_path / "two", tmp_path / "two.jsonl", **options)
    assert not samples and [problem["reason"] for problem in problems] == ["duplicate"]
