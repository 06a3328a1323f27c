"""`faceshield inspect`, `ask` and `doctor` as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faceshield import cli
from faceshield.inspection import InspectionReport

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `faceshield …` in this process with the toy model; gives exit code, stdout and stderr."""

    def run_(verb: str, *arguments: object, model: object = checkpoint) -> tuple[int, str, str]:
        words = ["faceshield", verb, *map(str, arguments), "--model", str(model)]
        monkeypatch.setattr(sys, "argv", words)
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capsys.readouterr()
        return code, out, err

    return run_


@pytest.fixture
def photos(tmp_path: Path, face_photo: NDArray[np.uint8], blank: NDArray[np.uint8]) -> Path:
    """A folder: a face, a wall, and words called a picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(face_photo).save(folder / "face.png")
    Image.fromarray(blank).save(folder / "wall.jpg")
    (folder / "words.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_a_name_that_is_no_utf_8_is_a_row_like_any_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"M\xfcller.png")).write_text("no picture")
    code, out, _ = run("inspect", tmp_path, tmp_path / "gone.png", "--json", "--out", tmp_path / "out")
    rows = [json.loads(line) for line in out.encode().splitlines()]
    assert os.fsencode(rows[0]["image"]).endswith(b"M\xfcller.png") and len(rows) == 2 and code == 2
    assert "ller.png" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_json_is_one_object_a_line_and_errors_are_rows(run: Run, photos: Path) -> None:
    code, out, _ = run("inspect", photos, photos / "gone.png", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [Path(row["image"]).name for row in rows] == ["face.png", "wall.jpg", "words.jpg", "gone.png"]
    assert [row["status"] for row in rows] == ["ok", "no_face", "error", "error"]
    assert code == 2
    assert rows[0]["is_attack"] == (rows[0]["bonafide_score"] < rows[0]["threshold"])
    assert "no such file" in rows[3]["error"]
    assert all(set(row) == set(rows[0]) for row in rows)


def test_only_what_is_asked_for_is_answered(run: Run, photos: Path) -> None:
    code, out, _ = run("inspect", photos / "face.png", "--json", "--tasks", "fine, coarse")
    row = json.loads(out)
    assert code == 0 and row["type_scores"] and row["is_attack"] is not None
    assert row["reasoning"] is None and "localization" not in row["meta"]
    code, out, err = run("inspect", photos, "--tasks", "fine,why", model="never looked at")
    assert code == 2 and not out and "tasks 'why' — expected some of coarse, fine, reasoning, localization" in err
    code, out, err = run("inspect", photos, "--tasks", ",", model="never looked at")
    assert code == 2 and not out and "expected some of coarse" in err


def test_the_table_is_for_people(run: Run, photos: Path) -> None:
    code, out, err = run("inspect", photos / "face.png", photos / "wall.jpg")
    assert code == 0 and err == ""
    head, *rows = out.splitlines()
    assert head.split() == ["picture", "verdict", "score", "limit", "type", "region"]
    assert "0.500" in rows[0] and ("attack" in rows[0] or "bona fide" in rows[0])
    assert any("no face" in row for row in rows)
    assert "\x1b" not in out  # colours only on a terminal


def test_out_writes_over_its_own_and_over_nothing_else(run: Run, photos: Path) -> None:
    kept = {name: (photos / name).read_bytes() for name in ("face.png", "words.jpg")}
    (photos / "wall.png").write_bytes(kept["face.png"])  # another picture of that name, which is not looked at
    (photos / "report.html").write_text("of somebody else")
    for _ in range(2):
        assert run("inspect", photos / "wall.jpg", "--out", photos, "--face", "whole", "--json")[0] == 0
        assert (photos / "report.html").read_text() == "of somebody else"
        assert (photos / "wall.png").read_bytes() == kept["face.png"]
        assert all((photos / name).read_bytes() == data for name, data in kept.items())
        made = {path.name for path in photos.iterdir()} - {*kept, "wall.jpg", "notes.txt", "wall.png", "report.html"}
        assert made == {"wall-2.png", "report-2.html"}


def test_another_picture_of_the_same_name_gets_a_file_of_its_own(run: Run, photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other" / "wall.jpg"
    other.parent.mkdir()
    other.write_bytes((photos / "face.png").read_bytes())
    for photo in (photos / "wall.jpg", other, photos / "wall.jpg", other):
        assert run("inspect", photo, "--out", out, "--face", "whole", "--json")[0] == 0
    assert {path.name for path in out.iterdir()} == {"wall.png", "wall-2.png", "report.html"}
    with Image.open(out / "wall.png") as first, Image.open(out / "wall-2.png") as second:
        assert first.size != second.size and str(tmp_path) not in str(first.info | second.info)


def test_out_gets_annotated_pictures_and_the_page(run: Run, photos: Path, tmp_path: Path) -> None:
    out_folder = tmp_path / "new" / "out"
    before = (photos / "face.png").read_bytes()
    code, out, err = run("inspect", photos, "--out", out_folder, "--face", "whole", "--json")
    assert code == 2
    assert sorted(path.name for path in out_folder.iterdir()) == ["face.png", "report.html", "wall.png"]
    assert len(out.splitlines()) == 3 and "report.html" in err  # stdout stays pure JSON
    page = (out_folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 2 and "words.jpg" in page
    with Image.open(out_folder / "face.png") as picture:
        assert picture.size == (720, 784)
    assert (photos / "face.png").read_bytes() == before


def test_no_picture_is_written_over(run: Run, photos: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin" / "face.png"
    twin.parent.mkdir()
    twin.write_bytes((photos / "face.png").read_bytes())
    before = twin.read_bytes()
    run("inspect", photos / "face.png", twin, "--out", photos, "--face", "whole")
    assert (photos / "face.png").read_bytes() == before
    assert {path.name for path in photos.glob("face*.png")} == {"face.png", "face-2.png", "face-3.png"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_said_before_loading(run: Run, photos: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    code, out, err = run("inspect", photos / "face.png", "--out", locked, model="no-such-model")
    assert code == 2 and out == "" and "write permission" in err


def test_an_output_that_cannot_be_is_said_before_loading(run: Run, photos: Path) -> None:
    code, out, err = run("inspect", photos / "face.png", "--out", photos / "notes.txt" / "deeper", model="no-such-model")
    assert code == 2 and out == ""
    assert err.startswith("faceshield: --out ") and "cannot be written to" in err and len(err.splitlines()) == 1


def test_an_unknown_model_is_one_line(run: Run, photos: Path) -> None:
    code, out, err = run("inspect", photos / "face.png", model="tinny")
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert "'tinny'" in err


def test_folders_that_are_not_entered_are_said(run: Run, photos: Path) -> None:
    (photos / "more").mkdir()
    (photos / ".hidden").mkdir()
    assert "1 folders inside are not entered" in run("inspect", photos, "--face", "whole", "--json")[2]
    (photos / "more").rmdir()
    assert "not entered" not in run("inspect", photos, "--face", "whole", "--json")[2]


def test_files_that_are_passed_over_are_said(run: Run, photos: Path) -> None:
    (photos / "face.png").rename(photos / "face")
    (photos / ".hidden").touch()
    for file in photos.glob("*.txt"):
        file.unlink()
    assert "1 other files are passed over" in run("inspect", photos, "--face", "whole", "--json")[2]
    (photos / "face").rename(photos / "face.jfif")
    assert "passed over" not in run("inspect", photos, "--face", "whole", "--json")[2]


def test_what_an_earlier_run_has_drawn_is_no_photo(run: Run, photos: Path) -> None:
    """Pictures and page go beside the photos, twice: the second time the same ones are judged, and no more are written."""
    listed = []
    for _ in range(2):
        _, out, err = run("inspect", photos, "--json", "--out", photos, "--tasks", "coarse")
        listed.append([json.loads(line)["image"] for line in out.splitlines()])
        files = sorted(path.name for path in photos.iterdir())
    assert listed[0] == listed[1] and len(listed[0]) == 3
    assert files == ["face-2.png", "face.png", "notes.txt", "report.html", "wall.jpg", "wall.png", "words.jpg"]
    assert "2 annotated pictures of an earlier run are passed over" in err
    _, out, err = run("inspect", photos, "--json", "--tasks", "coarse")
    assert len(out.splitlines()) == 5 and "annotated" not in err, "elsewhere they are judged: anybody can mark a picture so"


def test_nothing_is_written_through_a_link(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "face.png").symlink_to(tmp_path / "elsewhere.png")
    code, _, _ = run("inspect", photos / "face.png", "--out", tmp_path / "out", "--tasks", "coarse")
    assert code == 0 and not (tmp_path / "elsewhere.png").exists() and (tmp_path / "out" / "face-2.png").is_file()
    code, _, err = run("inspect", photos / "face.png", "--out", photos / "face.png")
    assert code == 2 and "is a file — expected a folder" in err


def test_an_address_is_not_fetched(run: Run) -> None:
    code, out, _ = run("inspect", "https://example.org/a.jpg", "--json")
    assert code == 2 and "nothing is fetched" in json.loads(out)["error"]


def test_an_empty_folder_is_a_row(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, _ = run("inspect", tmp_path / "empty", "--json")
    row = json.loads(out)
    assert code == 2 and row["status"] == "error" and "no pictures" in row["error"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    from faceshield.cli.inspect import Table

    report = InspectionReport("a\x1b[31mb\n.jpg", "error", error="bad\x07")
    row = Table(["x"]).row(report)
    assert "\x1b[31mb" not in row and "\x07" not in row
    assert len(row.splitlines()) == 2


def test_ask_prints_the_answer(run: Run, photos: Path) -> None:
    code, out, err = run("ask", photos / "face.png", "Where is the attack?")
    assert code == 0 and err == "" and out.endswith("\n")
    code, out, err = run("ask", photos / "face.png", "How many fingers does she have?")
    assert code == 0 and out.strip() and err.count("\n") == 1
    assert err.startswith("a model of this size answers any question as if it were one of those it was taught: Is this face")
    assert err.endswith("Where is the attack?\n")
    code, out, err = run("ask", photos / "words.jpg", "Where?", model="no-such-model")
    assert code == 2 and "not a picture" in err  # before the model is looked for


def test_doctor_tells_what_works(run: Run) -> None:
    code, out, _ = run("doctor")
    assert code == 0 and out.splitlines()[-1] == "all well"
    assert "torch" in out and "finds the one face" in out
    code, out, _ = run("doctor", model="no-such-model")
    assert code == 2 and "FAIL files" in out and "all well" not in out


def test_a_pipe_of_another_encoding_loses_no_row(photos: Path, checkpoint: Path) -> None:
    pictures = [str(photos / name) for name in ("gone.png", "words.jpg")]
    command = [sys.executable, "-m", "faceshield", "inspect", *pictures, "--model", str(checkpoint)]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 2 and not done.stderr and b"no such file \\u2014 expected" in done.stdout
    assert b"words.jpg" in done.stdout
