"""The shortcut audit finds a planted shortcut, and none where there is none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.records import Sample, write_jsonl
from faceshield.simulate import audit as module
from faceshield.simulate.audit import audit, nuisances
from faceshield.taxonomy import BONAFIDE

KINDS = (BONAFIDE, "Print", "Partial Eye")


def write(folder: Path, *, shortcut: bool = False, box: tuple[float, float, float, float] = (20, 20, 44, 44)) -> Path:
    """90 noise pictures of 30 people; with `shortcut`, pictures of prints are blurred as a whole."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(90):
        kind = KINDS[number % 3]
        picture = Image.fromarray(rng.normal(rng.uniform(60, 180), 30, (64, 64, 3)).clip(0, 255).astype(np.uint8))
        if shortcut and kind == "Print":
            picture = picture.filter(ImageFilter.GaussianBlur(1))
        name = f"{number}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name, quality=90)
        rows.append(
            Sample(
                id=str(number),
                image=name,
                dataset="noise",
                is_attack=kind != BONAFIDE,
                presentation_type=kind,
                original_label=kind,
                subject=f"p{number // 3}",
                size_wh=(64, 64),
                boxes=[box] if kind != BONAFIDE else [],
            )  # fmt: skip
        )
    write_jsonl(folder / "samples.jsonl", rows)
    return folder / "samples.jsonl"


@pytest.fixture(autouse=True)
def a_small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TREES", 5)


def test_noise_tells_nothing_and_a_planted_shortcut_is_found(tmp_path: Path) -> None:
    write(tmp_path / "clean")
    result = CliRunner().invoke(app, ["simulate", "--audit", str(tmp_path / "clean")])
    assert result.exit_code == 0, result.output
    clean = re.search(r"against 33.3% by chance: ([\d.]+) times", result.stdout)
    assert clean is not None and float(clean[1]) < 1.4 and "statistics that leak most" in result.stdout
    assert re.search(r"no colour where the face is: bona fide [\d.]+%, attacks [\d.]+%", result.stdout)
    soft = audit(write(tmp_path / "soft", shortcut=True), np.random.default_rng(0))
    assert soft.recalls["Print"] > 0.95 and soft.ratio > 1.8 and soft.ci95[0] > 1 / 3
    assert soft.leaks[0][0].split(" ")[0] in ("sharpness", "noise") and soft.leaks[0][1] > 0.5
    assert soft.by_group["sharpness"] > 1.5 * soft.by_group["size"]


def test_grey_is_told_from_colour_whatever_the_tint(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    level = np.kron(rng.integers(40, 220, (8, 8, 1)), np.ones((28, 28, 1)))
    pictures = {"grey": level * np.ones(3), "sepia": level * [1.1, 1.0, 0.8], "skin": level * [1, 1, 1] + [[[30, 0, -18]]]}
    for name, picture in pictures.items():
        noisy = (picture + rng.normal(0, 6, (224, 224, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{name}.png")
    assert [module.colourless(tmp_path / f"{name}.png") for name in pictures] == [True, True, False]


def test_what_is_all_attack_is_left_out_and_the_attack_itself_is_not_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "full", box=(0, 0, 64, 64))
    with pytest.raises(ValueError, match="of 1 types"):
        audit(path, np.random.default_rng(0))
    row = Sample(
        id="a", image="a.png", dataset="x", is_attack=True, presentation_type="Print", original_label="print",
        size_wh=(64, 64), boxes=[(5, 5, 64, 64)],
    )  # fmt: skip
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    before = pixels.copy()
    pixels[6:, 6:] = 0
    found = []
    for number, picture in enumerate((before, pixels)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        found.append(nuisances(tmp_path / f"{number}.png", row.model_copy(update={"boxes": [(5.0, 5.0, 60.0, 64.0)]})))
    assert found[0] is not None and found[1] is not None
    assert found[0]["colour darkest"] != found[1]["colour darkest"], "right of the box is surroundings"
