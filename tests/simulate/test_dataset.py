"""The data set as its user sees it: balanced, deterministic, resumable, with boxes inside the pictures."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.records import Sample, read_jsonl, write_jsonl
from faceshield.simulate import dataset
from faceshield.simulate.attacks import CUES, VARIANTS, attack, typical_first
from faceshield.simulate.camera import draw_settings
from faceshield.simulate.dataset import SimulateConfig, attack_photo, drawn_person, left_variants, schedule, simulate
from faceshield.simulate.domains import VERSION
from faceshield.simulate.photos import list_photos, portrait_of
from faceshield.simulate.portrait import OUTLINE, Scene
from faceshield.simulate.processes import in_order
from faceshield.simulate.scene import compose_scene
from faceshield.taxonomy import ATTACK_TYPES, PRESENTATION_TYPES

CONFIG = SimulateConfig(faces="drawn", count=24, seed=8, split="test", size=96)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("sim"), CONFIG, workers=2)


def test_a_quarter_is_bona_fide_and_every_type_is_there() -> None:
    counts = Counter(schedule(SimulateConfig("drawn", 440, 0)))
    assert counts["Bonafide"] == 110
    assert all(counts[name] == 30 for name in ATTACK_TYPES)


def test_samples_are_complete_and_true(made: Path) -> None:
    samples = read_jsonl(made, Sample)
    assert len(samples) == 24 and len({s.id for s in samples}) == 24
    assert {s.presentation_type for s in samples} == set(PRESENTATION_TYPES)
    for sample in samples:
        with Image.open(made.parent / sample.image) as picture:
            assert picture.size == sample.size_wh and max(picture.size) == 96 and min(picture.size) >= 48
        assert bool(sample.boxes) == sample.is_attack
        assert bool(sample.meta["cues"]) == sample.is_attack
        for x0, y0, x1, y1 in sample.boxes:
            assert 0 <= x0 < x1 <= sample.size_wh[0] and 0 <= y0 < y1 <= sample.size_wh[1]
            assert (x1 - x0) * (y1 - y0) >= 20, sample
    assert len({sample.size_wh for sample in samples}) >= 5  # many shapes, or padding would give a type away


def test_splits_of_one_seed_share_nobody_and_no_scene(made: Path, tmp_path: Path) -> None:
    """Training and testing with the same seed, such as the default, must not test on training data."""
    few = replace(CONFIG, count=4)
    train = simulate(tmp_path / "train", replace(few, split="train"), workers=1)
    unnamed = simulate(tmp_path / "unnamed", replace(few, split=None), workers=1)
    of = {path: read_jsonl(path, Sample) for path in (made, train, unnamed)}
    assert not {row.subject for row in of[made]} & {row.subject for row in of[train]}
    assert {row.subject for row in of[unnamed]} == {row.subject for row in of[train]}  # no split means train
    for row, other, same in zip(*of.values(), strict=False):
        picture = (train.parent / other.image).read_bytes()
        assert picture != (made.parent / row.image).read_bytes() and row.meta["scene"] != other.meta["scene"]
        assert picture == (unnamed.parent / same.image).read_bytes()


def test_what_another_version_has_begun_is_not_gone_on_with(tmp_path: Path) -> None:
    simulate(tmp_path, replace(CONFIG, count=2), workers=1)
    begun = (tmp_path / "begun.json").read_text()
    (tmp_path / "begun.json").write_text(begun.replace(f'"version": {VERSION}', f'"version": {VERSION - 1}'))
    with pytest.raises(ValueError, match="version"):
        simulate(tmp_path, replace(CONFIG, count=2), workers=1)


def test_sets_of_other_lengths_are_other_sets(tmp_path: Path) -> None:
    """The same number stands for different people in them, so their ids must differ."""
    few, more = (simulate(tmp_path / str(count), replace(CONFIG, count=count), workers=1) for count in (4, 8))
    assert not {row.id for row in read_jsonl(few, Sample)} & {row.id for row in read_jsonl(more, Sample)}


def test_a_drawn_persons_name_says_who_they_are() -> None:
    names = ["drawn-8-3", "drawn-8-dev-3", "drawn-8-test-3", "drawn-8-4", "drawn-9-3", "drawn-8-second-test-3"]
    assert len({int(drawn_person(name).integers(2**62)) for name in names}) == len(names)
    assert drawn_person("drawn-8-test-3").random() == drawn_person("drawn-8-test-3").random()
    for name in ("", "london-140", "drawn-3", "drawn-x-3", "W-1-test-3"):
        with pytest.raises(ValueError, match="expected a drawn person"):
            drawn_person(name)


def test_workers_and_interruption_change_nothing(made: Path, tmp_path: Path) -> None:
    alone = simulate(tmp_path / "alone", CONFIG, workers=1)
    assert alone.read_bytes() == made.read_bytes()
    # an interrupted run: fifteen rows, the last one torn, no finished file; its picture and some later ones are lost
    torn = tmp_path / "torn"
    shutil.copytree(alone.parent, torn)
    lines = (torn / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (torn / "samples.jsonl").unlink()
    (torn / "samples.partial.jsonl").write_bytes(b"".join(lines[:14]) + lines[14][:30])
    for number in range(14, 24, 3):
        (torn / "images" / f"{number:06d}.jpg").unlink()
    assert simulate(torn, CONFIG, workers=2).read_bytes() == made.read_bytes()
    for picture in sorted((made.parent / "images").iterdir()):
        assert (torn / "images" / picture.name).read_bytes() == picture.read_bytes(), picture.name


def test_another_configuration_in_the_same_folder_is_refused(made: Path) -> None:
    with pytest.raises(ValueError, match="was begun with"):
        simulate(made.parent, SimulateConfig("drawn", 24, seed=6))


def test_a_command_that_failed_at_once_does_not_claim_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError):
        simulate(out, SimulateConfig(str(tmp_path / "misspelt"), 2, seed=5))
    assert not out.exists()
    assert len(read_jsonl(simulate(out, SimulateConfig("drawn", 2, seed=5, size=64), workers=1), Sample)) == 2


def test_the_same_folder_spelt_otherwise_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faces").mkdir()
    Image.fromarray(astronaut()).save(tmp_path / "faces" / "a.png")
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "faces" / "wall.png")
    path = simulate(tmp_path / "out", SimulateConfig(str(tmp_path / "faces"), 2, 1, size=64), workers=1)
    monkeypatch.chdir(tmp_path)
    assert simulate(tmp_path / "out", SimulateConfig("faces", 2, 1, size=64), workers=1) == path
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert rejects == [{"path": str(tmp_path / "faces" / "wall.png"), "reason": "no face"}]


def test_a_folder_of_something_else_is_no_finished_set(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").touch()
    with pytest.raises(ValueError, match="holds samples.jsonl of another"):
        simulate(tmp_path, SimulateConfig("drawn", 2, seed=1), workers=1)


def test_sets_that_differ_have_other_names(tmp_path: Path) -> None:
    names = set()
    for name, shirt in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        Image.fromarray(astronaut()[shirt:]).save(tmp_path / name / "a.png")
        for without in ((), ("print/laser",)):
            config = SimulateConfig(str(tmp_path / name), 1, 1, size=64, without_variants=without)
            names |= {row.dataset for row in read_jsonl(simulate(tmp_path / f"{name}{len(without)}", config), Sample)}
    assert len(names) == 4


def _dies(item: int) -> int:
    if item == 5:
        os._exit(9)
    return item


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(ChildProcessError, match="one of 2 processes died"):
        list(in_order(_dies, range(40), 2))
    assert list(in_order(abs, range(40), 2)) == list(range(40))


def test_photographs_are_simulated_too_and_people_keep_to_their_split(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "a.png")
    path = simulate(tmp_path / "out", SimulateConfig(str(folder), 12, 1, types=PRESENTATION_TYPES, size=96), workers=1)
    samples = read_jsonl(path, Sample)
    assert {s.subject for s in samples} == {"a"} and {s.meta["source"] for s in samples} == {"photo"}
    assert {s.presentation_type for s in samples} == set(PRESENTATION_TYPES)
    assert [read["path"] for read in json.loads((path.parent / "run.json").read_text())["inputs"]] == [str(folder)]


def test_with_other_photographs_it_is_another_set(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(astronaut()).save(folder / name / "1.png")
    made = SimulateConfig(str(folder), 2, 1, size=64)
    path = simulate(tmp_path / "out", made, workers=1)
    assert simulate(tmp_path / "out", made, workers=1) == path
    (folder / "b" / "1.png").unlink()
    with pytest.raises(ValueError, match="was begun with"):
        simulate(tmp_path / "out", made, workers=1)


def test_a_samples_file_gives_its_people_and_its_split(tmp_path: Path) -> None:
    """A split that is given once is kept: no other rule brings in people from another split."""
    Image.fromarray(astronaut()).save(tmp_path / "1.png")
    size = astronaut().shape[1::-1]
    row = Sample(id="a", image="1.png", dataset="mine", is_attack=False, presentation_type="Bonafide", original_label="real",
                 subject="ada", split="dev", size_wh=size)  # fmt: skip
    attacked = row.model_copy(update={"id": "b", "is_attack": True, "presentation_type": "Print", "subject": "eve"})
    listed = tmp_path / "dev.jsonl"
    write_jsonl(listed, [row, attacked])
    path = simulate(tmp_path / "out", SimulateConfig(str(listed), 2, 1, size=64), workers=1)
    assert {(made.subject, made.split) for made in read_jsonl(path, Sample)} == {("ada", "dev")}
    with pytest.raises(ValueError, match="split train, but .*dev.jsonl has split dev"):
        simulate(tmp_path / "other", SimulateConfig(str(listed), 2, 1, size=64, split="train"), workers=1)
    write_jsonl(listed, [row, row.model_copy(update={"id": "c", "subject": "bob", "split": "test"})])
    with pytest.raises(ValueError, match=r"of several splits \(dev, test\) — expected one"):
        simulate(tmp_path / "other", SimulateConfig(str(listed), 2, 1, size=64), workers=1)
    frames = [row.model_copy(update={"id": name, "subject": None, "video": "v1"}) for name in "de"]
    write_jsonl(listed, [*frames, row.model_copy(update={"id": "f", "dataset": "other"})])
    assert [photo.subject for photo in list_photos(listed)] == ["mine/v1", "mine/v1", "other/ada"]
    with pytest.raises(ValueError, match="expected them only with a folder"):
        list_photos(listed, tmp_path / "landmarks.csv")
    with pytest.raises(ValueError, match="is a picture — expected a folder of pictures"):
        list_photos(tmp_path / "1.png")
    write_jsonl(listed, [attacked])
    with pytest.raises(ValueError, match="no bona fide picture"):
        simulate(tmp_path / "other", SimulateConfig(str(listed), 2, 1, size=64), workers=1)
    assert not (tmp_path / "other").exists()


def test_a_variant_can_be_left_out(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--types", "Print", "--count", "8", "--size", "64", "--workers", "1"]
    less = [word for name in VARIANTS["Print"][1:-1] for word in ("--without-variant", name)]
    result = CliRunner().invoke(app, ["simulate", *out, *less])
    assert result.exit_code == 0, result.output
    drawn = {sample.meta["variant"] for sample in read_jsonl(tmp_path / "samples.jsonl", Sample)}
    assert drawn == {VARIANTS["Print"][0], VARIANTS["Print"][-1]}
    with pytest.raises(ValueError, match="unknown variant print/silk — expected some of .*print/laser"):
        left_variants(["print/silk"])
    with pytest.raises(ValueError, match="no variant of Print is left"):
        SimulateConfig("drawn", 1, 0, without_variants=VARIANTS["Print"])


def test_traces_are_named_from_the_most_typical_on(tmp_path: Path) -> None:
    """The first few cues are the most reliable ones; the renderers' own order does not matter, and none is repeated."""
    assert typical_first("Print", ("printed dots", "fingers holding paper", "a visible paper edge")) == (
        "a visible paper edge", "fingers holding paper", "printed dots",
    )  # fmt: skip
    path = simulate(tmp_path, SimulateConfig("drawn", 44, 3, types=ATTACK_TYPES, size=48), workers=1)
    for sample in read_jsonl(path, Sample):
        order = [CUES[str(sample.presentation_type)].index(cue) for cue in sample.meta["cues"]]
        assert order and order == sorted(set(order)), sample.id


@pytest.mark.parametrize("saturation", [0.0, 1.0])
def test_a_picture_without_colour_names_no_colour(saturation: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = {cue for cues in CUES.values() for cue in cues}
    assert every >= dataset._COLOUR_CUES >= {cue for cue in every if "colour" in cue}
    monkeypatch.setattr(dataset, "draw_settings", lambda rng, hard: replace(draw_settings(rng, hard), saturation=saturation))
    path = simulate(tmp_path, SimulateConfig("drawn", 24, 3, types=("Paper mask",), size=48), workers=1)
    named = sum("a grey paper print" in sample.meta["cues"] for sample in read_jsonl(path, Sample))
    assert named == 0 if saturation == 0 else named > 0


@pytest.mark.parametrize("name", ["Print", "Replay", "Partial Eye"])
def test_attack_on_one_photo(name: str) -> None:
    picture, boxes = attack_photo(astronaut(), name, seed=1)
    again, _ = attack_photo(astronaut(), name, seed=1)
    assert picture.dtype == np.uint8 and np.array_equal(picture, again) and boxes


def test_command_line_names_the_near_match(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["simulate", "--out", str(tmp_path / "x"), "--types", "Tatoo", "--count", "1"])
    assert result.exit_code != 0 and "Tattoo" in str(result.exception)


def test_it_is_the_bona_fide_that_are_grey_besides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey prints and papers are colourless anyway: without extra grey bona fides, grey would indicate an attack."""
    capture, saturations = dataset.capture, []

    def seen(*given: Any, settings: Any, **more: Any) -> Any:
        saturations.append(settings.saturation)
        return capture(*given, settings=settings, **more)

    monkeypatch.setattr(dataset, "capture", seen)
    monkeypatch.setattr(dataset, "_GREY_BESIDES", 1.0)
    rows = read_jsonl(simulate(tmp_path, SimulateConfig("drawn", 12, 1), workers=1), Sample)
    grey = {row.id: saturation == 0 for row, saturation in zip(rows, saturations, strict=True)}
    assert all(grey[row.id] for row in rows if not row.is_attack)
    assert not all(grey[row.id] for row in rows if row.is_attack)


def test_a_folder_of_all_variants_is_none_without_some(tmp_path: Path) -> None:
    config = SimulateConfig("drawn", 2, 1, types=("Print",), size=48)
    simulate(tmp_path, config, workers=1)
    with pytest.raises(ValueError, match="was begun with"):
        simulate(tmp_path, replace(config, without_variants=("print/laser",)), workers=1)


def test_an_attacked_photograph_keeps_its_face_under_its_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A portrait is trimmed, and its landmarks refer to the trimmed picture."""
    scenes = []
    monkeypatch.setattr(dataset, "attack", lambda scene, *told: scenes.append(scene) or attack(scene, *told))
    attack_photo(astronaut(), "Partial Eye", seed=0)
    (scene,) = scenes
    portrait = portrait_of(astronaut(), "her")
    there, here = (made.image[tuple(made.landmarks.round().astype(int).T[::-1])] for made in (portrait, scene))
    assert np.abs(there - here).mean() < 0.04, "the same skin at every point"


def test_a_close_portrait_is_attacked_without_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes: list[Scene] = []
    monkeypatch.setattr(dataset, "attack", lambda scene, *told: scenes.append(scene) or attack(scene, *told))
    close = astronaut()[40:230, 145:305]
    attack_photo(close, "Partial Eye", seed=0)
    portrait = portrait_of(close, "her")
    assert portrait is not None and np.ptp(portrait.landmarks[OUTLINE, 1]) / 0.55 > min(portrait.image.shape[:2])
    rows, columns = scenes[0].image.max(axis=(1, 2)), scenes[0].image.max(axis=(0, 2))
    assert min(rows.min(), columns.min()) > 0.1


def test_other_landmarks_are_another_set(tmp_path: Path) -> None:
    folder, tables = tmp_path / "faces", []
    folder.mkdir()
    Image.fromarray(astronaut()).save(folder / "a.png")
    for number in range(2):
        tables.append(tmp_path / f"{number}.csv")
        rows = [f"faces/a.png,{point},{100 + point + number},{100 + point}" for point in range(189)]
        tables[-1].write_text("\n".join(["file,point,x,y", *rows]))
    first, other = (dataset._dataset_name(SimulateConfig(str(folder), 2, 1, landmarks=str(table))) for table in tables)
    assert first != other


def test_an_own_background_is_called_so() -> None:
    portrait = portrait_of(astronaut(), "her")
    assert portrait is not None and portrait.matte.min() == 1
    assert compose_scene(portrait, np.random.default_rng(0)).phrases[0] == "a face before its own background"
