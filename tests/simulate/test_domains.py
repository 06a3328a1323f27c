"""FaceShield-Sim: domains share nothing, mix types as their model data sets do, keep splits apart and repeat per seed."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.records import Sample, read_jsonl
from faceshield.simulate.attacks import VARIANTS, attack
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.simulate.domains import DOMAINS, VERSION, domain_schedule
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.drawn_person import sample_identity
from faceshield.simulate.scene import Setting, compose_scene
from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES

CARD = (Path(__file__).parents[2] / "docs" / "faceshield_sim.md").read_text(encoding="utf-8")
PAIRS = list(combinations(DOMAINS.values(), 2))
IDENTIFYING = ("resolution", "warmth", "gamma", "quality")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("faceshield-sim")
    return {name: simulate(root / name, SimulateConfig("drawn", 10, 1, size=64, domain=name), workers=1) for name in DOMAINS}


def test_same_seed_same_bytes_whatever_the_workers_and_another_seed_other_people(made: dict[str, Path], tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", SimulateConfig("drawn", 10, 1, size=64, domain="S"), workers=2)
    assert again.read_bytes() == made["S"].read_bytes()
    for picture in sorted((made["S"].parent / "images").iterdir()):
        assert (again.parent / "images" / picture.name).read_bytes() == picture.read_bytes()
    first, other = (sample_identity(np.random.default_rng([VERSION, 2, seed, 3, 0, 0])) for seed in (1, 2))
    assert first.jaw != other.jaw and first.eye_u != other.eye_u


def test_pictures_are_still_those_of_this_version(made: dict[str, Path]) -> None:
    """Changes for other pictures must not alter the benchmark's; if they do, raise VERSION and write the file anew."""
    assert VERSION == 4
    expected = json.loads((Path(__file__).parent / "faceshield_sim_4.json").read_text(encoding="utf-8"))
    for name, rows in expected.items():
        for sample, row in zip(read_jsonl(made[name], Sample), rows, strict=True):
            told = sample.meta["variant"], len(sample.boxes), sample.meta["cues"]
            assert told == (row["variant"], row["boxes"], row["cues"])
            picture = Image.open(made[name].parent / sample.image).convert("RGB").resize((2, 2), Image.Resampling.BOX)
            assert np.asarray(picture, dtype=float).ravel() == pytest.approx(row["rgb"], abs=2.5), sample.id


def test_domains_and_splits_share_nobody(made: dict[str, Path]) -> None:
    people: dict[tuple[str, str], set[str]] = {}
    for name, path in made.items():
        for sample in read_jsonl(path, Sample):
            assert sample.dataset == f"sim{VERSION}-{name}-1" and sample.meta["domain"] == name
            people.setdefault((name, str(sample.split)), set()).add(str(sample.subject))
    assert {split for _, split in people} == {"train", "dev", "test"}
    for one, other in combinations(people, 2):
        assert not people[one] & people[other], (one, other)


def test_names_differ_because_the_faces_do(made: dict[str, Path]) -> None:
    """Subjects with different names are different people: an identity is drawn from domain, seed, split and number."""
    jaws = {
        sample_identity(np.random.default_rng([VERSION, domain.number, 1, 3, split, person])).jaw
        for domain in DOMAINS.values()
        for split in range(3)
        for person in range(50)
    }
    assert len(jaws) == len(DOMAINS) * 3 * 50
    assert len({domain.number for domain in DOMAINS.values()}) == len(DOMAINS)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda domain: domain.name)
def test_two_domains_share_no_variant_no_background_and_no_range_of_a_camera(one, other) -> None:  # type: ignore[no-untyped-def]
    for kind in ATTACK_TYPES:
        assert not set(one.variants.get(kind, ())) & set(other.variants.get(kind, ())), kind
    assert not set(one.setting.backgrounds) & set(other.setting.backgrounds)
    for mine in one.cameras:
        for theirs in other.cameras:
            for setting in IDENTIFYING:
                (low, high), (least, most) = getattr(mine, setting), getattr(theirs, setting)
                assert high < least or most < low, (mine.name, theirs.name, setting)


def test_every_variant_is_known_and_renders(made: dict[str, Path]) -> None:
    for domain in DOMAINS.values():
        assert set(domain.variants) == set(domain.counts) - {BONAFIDE}
        for kind, own in domain.variants.items():
            assert own and set(own) <= set(VARIANTS[kind])
    used = {sample.original_label for path in made.values() for sample in read_jsonl(path, Sample)} - {"bonafide/live"}
    assert used <= {name for domain in DOMAINS.values() for own in domain.variants.values() for name in own}
    assert len(used) > 12


def test_types_are_missing_as_in_the_data_sets(made: dict[str, Path]) -> None:
    missing = {name: set(PRESENTATION_TYPES) - set(domain.counts) for name, domain in DOMAINS.items()}
    assert missing["W"] == {"Partial Eye", "Partial Mouth", "Makeup", "Tattoo"}
    assert missing["S"] == {"Tattoo"}
    assert missing["P"] == {"Replay", "Paper mask", "Partial Eye", "Partial Mouth"}
    assert missing["D"] == set()
    for name, path in made.items():
        assert not missing[name] & {sample.presentation_type for sample in read_jsonl(path, Sample)}


def test_every_split_has_the_mix() -> None:
    wmca = DOMAINS["W"]
    rows = domain_schedule(wmca, 5037, 0)
    splits = Counter(split for split, _ in rows)
    assert splits == {"train": 3526, "dev": 504, "test": 1007}
    for split, number in splits.items():
        kinds = Counter(kind for own, kind in rows if own == split)
        for kind, parts in wmca.counts.items():
            assert abs(kinds[kind] - number * parts / 1679) <= 1, (split, kind)
    assert rows != domain_schedule(wmca, 5037, 1)


def test_each_picture_is_of_the_domain_s_cameras(made: dict[str, Path]) -> None:
    for name, path in made.items():
        own, used = {camera.name for camera in DOMAINS[name].cameras}, {s.meta["camera"] for s in read_jsonl(path, Sample)}
        assert used <= own and len(used) >= min(3, len(own)), name  # only ten pictures each
    camera = DOMAINS["D"].cameras[0]
    for seed in range(20):
        settings = camera.draw(np.random.default_rng(seed))
        assert camera.resolution[0] <= settings.resolution <= camera.resolution[1]
        assert camera.quality[0] <= settings.quality <= camera.quality[1]


def test_a_setting_draws_what_it_always_drew() -> None:
    """Options added for the widest setting draw nothing in a domain's, whose pictures remain those of its version."""
    portrait = draw_portrait(np.random.default_rng(0), np.random.default_rng(1), "p")
    left, means, setting = [], [], Setting()
    for kind, variant in (("Print", "print/laser"), ("Replay", "replay/phone"), ("Glasses", "glasses/party")):
        rng = np.random.default_rng(5)
        made = attack(compose_scene(portrait, rng, setting), kind, rng, variant=variant, setting=setting)
        means.append(float(made.image.mean()))
        left.append(rng.random())
    assert left == pytest.approx([0.9225210480578137, 0.2675967071737192, 0.40122574799263144])
    assert means == pytest.approx([0.434825, 0.499689, 0.576090], abs=1e-3)


def test_a_domain_keeps_its_own_mix(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected one of W, S, P, D"):
        SimulateConfig("drawn", 10, 0, domain="X")
    with pytest.raises(ValueError, match="types, split"):
        SimulateConfig("drawn", 10, 0, types=("Print",), split="test", domain="W")
    result = CliRunner().invoke(app, ["simulate", "--domain", "P", "--count", "3", "--size", "64", "--workers", "1",
                                      "--out", str(tmp_path / "p")])  # fmt: skip
    assert result.exit_code == 0, result.output
    assert '"version"' in (tmp_path / "p" / "run.json").read_text()


def test_the_card_s_table_is_what_is_generated() -> None:
    rows = {}
    for line in CARD.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in (*PRESENTATION_TYPES, "all"):
            rows[cells[0]] = cells[1:]
    assert set(rows) == {*PRESENTATION_TYPES, "all"}
    for column, domain in enumerate(DOMAINS.values()):
        plan = Counter(domain_schedule(domain, domain.pictures, 0))
        for kind in PRESENTATION_TYPES:
            numbers = [plan[split, kind] for split in ("train", "dev", "test")]
            assert rows[kind][column] == (" / ".join(f"{n:,}" for n in numbers) if sum(numbers) else "–"), (domain.name, kind)
        totals = [sum(n for (own, _), n in plan.items() if own == split) for split in ("train", "dev", "test")]
        assert rows["all"][column] == " / ".join(f"{n:,}" for n in totals)
    assert re.search(rf"Version {VERSION}\b", CARD)
