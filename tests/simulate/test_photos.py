"""Portraits from photographs: scikit-image's astronaut is the real face; folders are created by the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from faceshield.images import ImageError
from faceshield.simulate.photos import find_face, list_photos, load_portraits, portrait_of, split_of
from faceshield.simulate.portrait import LANDMARKS, N_LANDMARKS


def test_the_face_is_found_and_its_landmarks_are_in_anatomical_order() -> None:
    portrait = portrait_of(astronaut(), "astronaut")
    assert portrait is not None
    points = portrait.landmarks
    assert points.shape == (N_LANDMARKS, 2)
    left, right = points[LANDMARKS["pupils"]]
    mouth, chin = points[LANDMARKS["mouth"]].mean(axis=0), points[18]
    assert left[0] < right[0]
    assert max(left[1], right[1]) < points[59, 1] < mouth[1] < chin[1]
    assert portrait.source == "photo"


def test_no_face_is_none_not_an_error() -> None:
    assert find_face(np.full((200, 200, 3), 127, np.uint8)) is None
    assert portrait_of(np.full((200, 200, 3), 127, np.uint8), "wall") is None


def test_matte_separates_a_person_from_a_plain_wall() -> None:
    picture = np.full((300, 240, 3), (200, 205, 210), np.uint8)
    face = np.asarray(Image.fromarray(astronaut()[60:190, 165:285]).resize((120, 130)))
    picture[60:190, 60:180] = face
    portrait = portrait_of(picture, "pasted")
    assert portrait is not None
    assert portrait.matte[:20].max() < 0.1
    x, y = portrait.landmarks[59].round().astype(int)
    assert portrait.matte[y, x] > 0.9


def test_people_are_split_by_name_alone_and_in_the_stated_shares() -> None:
    splits = [split_of(f"person-{i}") for i in range(4000)]
    assert splits == [split_of(f"person-{i}") for i in range(4000)]
    assert 0.66 < splits.count("train") / 4000 < 0.74
    assert 0.08 < splits.count("dev") / 4000 < 0.12


def test_a_folder_is_listed_by_its_csv_and_by_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(astronaut()).save(folder / f"{name}.jpg")
    assert [photo.subject for photo in list_photos(folder)] == ["a", "b"]
    (tmp_path / "faces.csv").write_text("file,subject\nfaces/a.jpg,someone\nfaces/b.jpg,someone\n", encoding="utf-8-sig")
    assert {photo.subject for photo in list_photos(folder)} == {"someone"}
    assert len(load_portraits(folder)[0]) == 2
    assert len(load_portraits(folder, split=split_of("someone"))[0]) == 2


def test_the_folder_that_one_stands_in_has_its_table_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    for name in "ab":
        Image.new("RGB", (40, 40)).save(tmp_path / "faces" / f"{name}.jpg")
    (tmp_path / "faces.csv").write_text("file,subject\nfaces/a.jpg,anna\nfaces/b.jpg,anna\n")
    monkeypatch.chdir(tmp_path / "faces")
    assert [photo.subject for photo in list_photos(Path("."))] == ["anna", "anna"]


def test_faults_of_the_tables_are_told_with_their_lines(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.jpg")
    (tmp_path / "faces.csv").write_text("file,subject\na.jpg,anna\na.jpg\n")
    with pytest.raises(ValueError, match="faces.csv:3: file or subject is empty"):
        list_photos(tmp_path)
    (tmp_path / "faces.csv").write_text("file,subject\na.jpg,anna\n")
    (tmp_path / "landmarks.csv").write_text("file,point,x,y\na.jpg,zero,1,2\n")
    with pytest.raises(ValueError, match="landmarks.csv:2: not a landmark"):
        list_photos(tmp_path)
    rows = "".join(f"b.jpg,{point},1,2\n" for point in range(189))
    (tmp_path / "landmarks.csv").write_text("file,point,x,y\n" + rows)
    with pytest.raises(ValueError, match="names no photograph in"):
        list_photos(tmp_path)


@pytest.mark.parametrize("size", [(1, 2000), (6000, 10)])
def test_a_line_of_pixels_has_no_face(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert load_portraits(tmp_path)[1] == [tmp_path / "a.png"]


def test_a_folder_of_a_person_is_that_person(tmp_path: Path) -> None:
    """All photographs of a person share one subject, so that nobody is in both train and test."""
    for name in ("bob/1.jpg", "bob/2.jpg", "J\u00fcrgen/1.jpg", "Ju\u0308rgen/2.jpg", "loose.jpg", "._mac.jpg", ".trash/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(astronaut()).save(tmp_path / name)
    people = [photo.subject for photo in list_photos(tmp_path)]
    assert sorted(people) == sorted(["bob", "bob", "J\u00fcrgen", "J\u00fcrgen", "loose"])
    nobody = next(name for name in ("train", "dev", "test") if all(split_of(person) != name for person in ("bob", "loose")))
    (tmp_path / "J\u00fcrgen" / "1.jpg").unlink()
    (tmp_path / "Ju\u0308rgen" / "2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=f"none of its 2 people is in the split '{nobody}'"):
        load_portraits(tmp_path, split=nobody)
    (tmp_path / "bob" / "3.jpg").write_bytes((tmp_path / "bob" / "1.jpg").read_bytes()[:2000])
    with pytest.raises(ImageError, match="3.jpg"):
        load_portraits(tmp_path)


def test_a_portrait_of_16_bits_is_no_white_sheet(tmp_path: Path) -> None:
    grey = np.asarray(Image.fromarray(astronaut()).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    assert len(load_portraits(tmp_path)[0]) == 1


def test_a_photograph_without_a_face_is_named(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "a.png")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
    portraits, faceless = load_portraits(tmp_path)
    assert [portrait.subject for portrait in portraits] == ["a"] and faceless == [tmp_path / "wall.png"]


def test_a_very_small_photograph_with_landmarks_is_not_trimmed_away(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).resize((32, 32)).save(tmp_path / "a.png")
    rows = [f"a.png,{point},{16 + point % 7},{16 + point % 5}" for point in range(189)]
    (tmp_path / "landmarks.csv").write_text("\n".join(["file,point,x,y", *rows]))
    portraits, _ = load_portraits(tmp_path, landmarks_csv=tmp_path / "landmarks.csv")
    assert portraits[0].image.shape == (32, 32, 3)


def test_a_table_beside_the_folder_that_lists_other_pictures_is_not_its_own(tmp_path: Path) -> None:
    for name in ("faces", "others"):
        (tmp_path / name).mkdir()
        Image.fromarray(astronaut()).save(tmp_path / name / "a.jpg")
    (tmp_path / "faces.csv").write_text("file,subject\nfaces/a.jpg,someone\n")
    assert [photo.path for photo in list_photos(tmp_path / "others")] == [tmp_path / "others" / "a.jpg"]
    (tmp_path / "faces.csv").write_text("path,person\nfaces/a.jpg,someone\n")
    with pytest.raises(ValueError, match="no column file, subject"):
        list_photos(tmp_path / "faces")


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        list_photos(tmp_path)
    with pytest.raises(FileNotFoundError, match="neither a folder nor a file"):
        list_photos(tmp_path / "absent")
