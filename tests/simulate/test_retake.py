"""A retaken picture shows the same presentation: labels and people stay, and boxes follow the pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.records import Sample, read_jsonl, write_jsonl
from faceshield.simulate.attacks import CUES
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.simulate.retake import _AT_THE_EDGE, Retake, RetakeConfig, draw_retake, expose, moved, retake


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("sim"), SimulateConfig("drawn", 24, 5, split="dev", size=96), workers=2)


@pytest.fixture(scope="module")
def taken(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return retake(samples, tmp_path_factory.mktemp("retaken"), RetakeConfig(seed=3, copies=2), workers=2)


def disc(box: tuple[float, float, float, float], size_wh: tuple[int, int] = (200, 150)) -> np.ndarray:
    """A white ellipse that fills the box, on black."""
    x0, y0, x1, y1 = box
    x, y = np.meshgrid(np.arange(size_wh[0]) + 0.5, np.arange(size_wh[1]) + 0.5)
    inside = ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1
    return np.where(inside, np.uint8(255), np.uint8(0))[..., None].repeat(3, axis=2)


def test_a_plain_exposure_changes_nothing_but_the_jpeg() -> None:
    rng = np.random.default_rng(0)
    rgb = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((120, 90), Image.Resampling.BICUBIC))
    picture, boxes = expose(rgb, [(5.0, 6.0, 50.0, 60.0)], Retake(), rng)
    assert np.abs(picture.astype(int) - rgb).mean() < 3 and boxes == [(5.0, 6.0, 50.0, 60.0)]


@pytest.mark.parametrize("how", [
    Retake(turn=20), Retake(turn=-28, seen=0.7, beyond="black"), Retake(seen=0.75, shift=(0.5, -0.3)),
    Retake(turn=11, seen=0.9, shift=(-0.4, 0.4), beyond="black"),
])  # fmt: skip
def test_boxes_follow_the_pixels(how: Retake) -> None:
    box = (70.0, 40.0, 130.0, 80.0)
    picture, (found,) = expose(disc(box), [box], how, np.random.default_rng(0))
    rows, columns = np.nonzero(picture[..., 0] > 127)
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(found, seen, atol=1.5)
    assert moved(box, how, (200, 150))[1] == pytest.approx(1)
    sheet = np.zeros((150, 200, 3), np.uint8)
    sheet[40:80, 70:130] = 255
    picture, (found,) = expose(sheet, [box], how, np.random.default_rng(0), filled=True)
    rows, columns = np.nonzero(picture[..., 0] > 127)
    np.testing.assert_allclose(found, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1), atol=2)


def test_a_box_is_clipped_and_the_share_that_is_seen_is_told() -> None:
    box, share = moved(
        (0.0, 50.0, 40.0, 90.0), Retake(seen=0.8, shift=(0.5, 0.0)), (200, 150)
    )  # 40 pixels are cut off the left
    assert box[0] == box[2] == 0.0 and share == 0
    box, share = moved((20.0, 50.0, 60.0, 90.0), Retake(seen=0.8, shift=(0.5, 0.0)), (200, 150))
    assert box[0] == 0 and box[2] == 25.0 and share == pytest.approx(0.5)


def test_each_fault_does_what_it_is_called() -> None:
    rng = np.random.default_rng(1)
    grey = np.full((96, 128, 3), 100, np.uint8)

    def taken(**faults: object) -> np.ndarray:
        return expose(grey, [], Retake(**faults), rng)[0].astype(float)  # type: ignore[arg-type]

    assert taken(gamma=2.0).mean() == pytest.approx(255 * (100 / 255) ** 2, abs=1)
    assert taken(gain=1.2).mean() == pytest.approx(120, abs=1)
    np.testing.assert_allclose(taken(balance=(1.2, 1.0, 0.8)).mean(axis=(0, 1)), [120, 100, 80], atol=2)
    noisy = taken(noise=12.0)
    assert noisy.mean(axis=2).std() == pytest.approx(12, rel=0.1)
    assert np.ptp(noisy, axis=2).mean() < 4 < np.ptp(taken(noise=12.0, chroma=1.0), axis=2).mean()
    edge = disc((40.0, 30.0, 160.0, 120.0))
    sharp, soft = (
        np.abs(np.diff(expose(edge, [], Retake(blur=blur), rng)[0].astype(int), axis=1)).max() for blur in (0.0, 2.0)
    )
    assert soft < sharp / 2
    coloured = edge.copy()
    coloured[..., 1] //= 2
    assert np.ptp(expose(coloured, [], Retake(grey=1.0), rng)[0].astype(int), axis=2).max() <= 2
    corners = [
        expose(np.full((64, 64, 3), 200, np.uint8), [], Retake(turn=30, beyond=name), rng)[0][0, 0, 0]
        for name in ("edge", "black")
    ]
    assert corners[0] > 190 and corners[1] < 10


def test_labels_people_and_splits_stay_and_both_sets_can_be_learnt_from(samples: Path, taken: Path) -> None:
    rows, copies = read_jsonl(samples, Sample), read_jsonl(taken, Sample)
    assert len(copies) == 48 and len({row.id for row in [*rows, *copies]}) == 72
    for index, copy in enumerate(copies):
        row = rows[index % 24]
        assert copy.id == f"{row.id}-r{index // 24}"
        assert (copy.presentation_type, copy.subject, copy.split) == (row.presentation_type, row.subject, row.split)
        assert (copy.dataset, len(copy.boxes), copy.size_wh) == (row.dataset, len(row.boxes), row.size_wh)
        with Image.open(taken.parent / copy.image) as picture, Image.open(samples.parent / row.image) as before:
            assert picture.size == copy.size_wh
            assert np.asarray(picture).tobytes() != np.asarray(before).tobytes()
        for x0, y0, x1, y1 in copy.boxes:
            assert 0 <= x0 < x1 <= copy.size_wh[0] and 0 <= y0 < y1 <= copy.size_wh[1]
    assert copies[0].meta["retake"] != copies[24].meta["retake"], "a second copy is another exposure"


def test_most_of_every_attack_stays_in_view(tmp_path: Path) -> None:
    Image.fromarray(disc((0.0, 0.0, 24.0, 24.0), (96, 96))).save(tmp_path / "corner.png")
    row = Sample(
        id="a", image="corner.png", dataset="d", is_attack=True, presentation_type="Tattoo", original_label="t",
        boxes=[(0.0, 0.0, 24.0, 24.0)], size_wh=(96, 96),
    )  # fmt: skip
    write_jsonl(tmp_path / "samples.jsonl", [row])
    made = retake(tmp_path / "samples.jsonl", tmp_path / "out", RetakeConfig(copies=60), workers=1)
    hows = [Retake(**copy.meta["retake"]) for copy in read_jsonl(made, Sample)]
    assert min(moved(row.boxes[0], how, row.size_wh)[1] for how in hows) >= 0.6
    assert any(how.seen < 0.95 for how in hows) and any(how.turn for how in hows), "the corner is no reason to change nothing"
    free = [draw_retake(np.random.default_rng(seed)) for seed in range(200)]
    assert min(moved(row.boxes[0], how, row.size_wh)[1] for how in free) < 0.6, "and without the rule it would be lost"


def test_a_picture_without_colour_names_no_colour(tmp_path: Path) -> None:
    Image.fromarray(disc((10.0, 10.0, 80.0, 80.0), (96, 96))).save(tmp_path / "p.png")
    row = Sample(
        id="a", image="p.png", dataset="d", is_attack=True, presentation_type="Print", original_label="p",
        boxes=[(10.0, 10.0, 80.0, 80.0)], size_wh=(96, 96),
        meta={"cues": ["faded print colours", "a paper crease"], "sha256": "that of p.png"},
    )  # fmt: skip
    write_jsonl(tmp_path / "samples.jsonl", [row])
    copies = read_jsonl(retake(tmp_path / "samples.jsonl", tmp_path / "out", RetakeConfig(copies=60), workers=1), Sample)
    for copy in copies:
        assert "sha256" not in copy.meta
        assert ("faded print colours" in copy.meta["cues"]) == (copy.meta["retake"]["grey"] < 1)
    assert {copy.meta["retake"]["grey"] == 1 for copy in copies} == {True, False}


def test_an_edge_that_is_cut_away_is_not_told(tmp_path: Path) -> None:
    """With a sheet nearly as large as the picture, some framings keep its edges and some cut them off."""
    assert {*CUES["Print"], *CUES["Replay"]} > _AT_THE_EDGE
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "p.png")
    row = Sample(
        id="p", image="p.png", dataset="d", is_attack=True, presentation_type="Print", original_label="p",
        boxes=[(8, 8, 192, 192)], size_wh=(200, 200), meta={"cues": ["a visible paper edge", "printed dots"]},
    )  # fmt: skip
    write_jsonl(tmp_path / "samples.jsonl", [row])
    made = retake(tmp_path / "samples.jsonl", tmp_path / "again", RetakeConfig(seed=1, copies=40), workers=1)
    told = set()
    for copy in read_jsonl(made, Sample):
        x0, y0, x1, y1 = copy.boxes[0]
        fills = x0 <= 1 and y0 <= 1 and x1 >= 199 and y1 >= 199
        assert copy.meta["cues"] == (["printed dots"] if fills else ["a visible paper edge", "printed dots"])
        told.add(fills)
    assert told == {True, False}


def test_workers_and_interruption_change_nothing(samples: Path, taken: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    done = retake(samples, out, RetakeConfig(seed=3, copies=2), workers=1)
    assert done.read_bytes() == taken.read_bytes()
    lines = done.read_text().splitlines(keepends=True)
    done.unlink()
    (out / "samples.partial.jsonl").write_text("".join(lines[:30]) + lines[30][:40])
    (out / "images/000029.jpg").write_bytes(b"kept")
    (out / "images/000030.jpg").write_bytes(b"made anew")
    assert retake(samples, out, RetakeConfig(seed=3, copies=2), workers=2).read_bytes() == taken.read_bytes()
    assert (out / "images/000029.jpg").read_bytes() == b"kept"
    assert (out / "images/000030.jpg").read_bytes() == (taken.parent / "images/000030.jpg").read_bytes()


def test_another_seed_and_its_own_folder_are_refused(samples: Path, taken: Path) -> None:
    with pytest.raises(ValueError, match=r"seed 3, now 4 — expected the same"):
        retake(samples, taken.parent, RetakeConfig(seed=4, copies=2))
    with pytest.raises(ValueError, match="a folder of its own"):
        retake(samples, samples.parent, RetakeConfig())


def test_pictures_of_others_are_neither_written_over_nor_taken_for_ones_own(samples: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(samples.parent, own)
    (own / "samples.jsonl").rename(own / "test.jsonl")
    before = (own / "images/000000.jpg").read_bytes()
    with pytest.raises(ValueError, match="a folder of its own"):
        retake(own / "test.jsonl", own, RetakeConfig())
    other = simulate(tmp_path / "other", SimulateConfig("drawn", 2, 6, size=48), workers=1)
    with pytest.raises(ValueError, match="a folder of its own"):
        retake(samples, other.parent, RetakeConfig())
    assert (own / "images/000000.jpg").read_bytes() == before and "retake" not in (other.parent / "begun.json").read_text()


def test_framings_do_not_tell_bona_fide_from_attack(tmp_path: Path) -> None:
    Image.fromarray(disc((0.0, 0.0, 24.0, 24.0), (96, 96))).save(tmp_path / "p.png")
    boxes = [(0.0, 0.0, 24.0, 24.0), (30.0, 30.0, 60.0, 60.0), (0.0, 0.0, 96.0, 96.0)]
    kinds = [(f"a{n}", "Tattoo", [box]) for n, box in enumerate(boxes)] + [(f"b{n}", "Bonafide", []) for n in range(3)]
    rows = [
        Sample(
            id=name, image="p.png", dataset="d", is_attack=kind != "Bonafide", presentation_type=kind, original_label="t",
            boxes=own, size_wh=(96, 96),
        )
        for name, kind, own in kinds
    ]  # fmt: skip
    write_jsonl(tmp_path / "samples.jsonl", rows)
    copies = read_jsonl(retake(tmp_path / "samples.jsonl", tmp_path / "out", RetakeConfig(copies=300), workers=2), Sample)
    narrow = {kind: [row.meta["retake"]["seen"] < 0.8 for row in copies if row.is_attack == kind] for kind in (True, False)}
    shares = [sum(found) / len(found) for found in narrow.values()]
    assert min(shares) > 0.05 and abs(shares[0] - shares[1]) < 0.05, shares


def test_the_command_line_makes_one_copy(samples: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["retake", str(samples), "--out", str(tmp_path / "out"), "--seed", "7"])
    assert result.exit_code == 0 and str(tmp_path / "out" / "samples.jsonl") in result.output
    assert len(read_jsonl(tmp_path / "out" / "samples.jsonl", Sample)) == 24


def test_blur_is_counted_at_one_size_whatever_the_pictures() -> None:
    small = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    how, rng = Retake(blur=2.0), np.random.default_rng(0)
    (first, _), (second, _) = (expose(rgb, [], how, rng) for rgb in (small, large))
    reduced = np.asarray(Image.fromarray(second).resize((224, 224), Image.Resampling.BOX))
    assert reduced.std() < 1.2 * first.std()
