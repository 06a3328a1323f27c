"""Protocols: disjoint in what they claim, the shares they promise, the same on every machine; and what `paper` leaks."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.datasets.splits import SPLITS, Row, SplitConfig, SplitReport, assign, split
from faceshield.records import RecordError, Sample, read_jsonl, write_jsonl
from faceshield.taxonomy import BONAFIDE


def sample(dataset: str, number: int, kind: str, subject: str | None, video: str | None, **meta: Any) -> Sample:
    return Sample(
        id=f"{dataset}:{number}", image=f"images/{dataset}/{number}.png", dataset=dataset, is_attack=kind != BONAFIDE,
        presentation_type=kind, original_label=f"{dataset}-{kind}", subject=subject, video=video, size_wh=(8, 8), meta=meta,
    )  # fmt: skip


def three_sets() -> list[Sample]:
    """As the paper's: people with videos of all kinds, videos of nobody named, single pictures of people."""
    rows: list[Sample] = []

    def add(*row: Any, **meta: Any) -> None:
        rows.append(sample(row[0], len(rows), *row[1:], **{"sha256": f"{len(rows):016x}", **meta}))

    for person in range(40):
        for kind in (BONAFIDE, "Print", "Replay", *(["Glasses"] if person % 8 == 0 else [])):
            for frame in range(3):
                add("wmca", kind, f"{person:03}", f"v{person}-{kind}", splits={"grandtest": SPLITS[person % 3]}, frame=frame)
    for video in range(60):
        for _ in range(3):
            kind = BONAFIDE if video % 2 else "Partial Eye"
            add("siw-mv2", kind, None, f"clip{video}", splits={"P1": "test" if video % 3 == 2 else "train"})
    for person in range(50):
        for kind in (BONAFIDE, BONAFIDE, "Tattoo" if person % 5 == 0 else "Makeup"):
            add("padisi", kind, str(person), None)
    return rows


@pytest.mark.parametrize("name", ["train", "test"])
def test_what_is_read_is_not_written_over(name: str, tmp_path: Path) -> None:
    """Once train.jsonl was written, what the other splits get of it would be gone."""
    write_jsonl(tmp_path / f"{name}.jsonl", three_sets())
    before = (tmp_path / f"{name}.jsonl").read_bytes()
    with pytest.raises(ValueError, match="read too and would be overwritten"):
        split([tmp_path / f"{name}.jsonl"], SplitConfig(out=tmp_path))
    assert (tmp_path / f"{name}.jsonl").read_bytes() == before


ROWS = [Row.of(row) for row in three_sets()]
BY_ID = {row.id: row for row in ROWS}


def config(**options: Any) -> SplitConfig:
    return SplitConfig(out=Path("unused"), **options)


def held(splits: dict[str, str], what: str, name: str) -> set[str]:
    return {str(getattr(BY_ID[one], what)) for one, found in splits.items() if found == name}


def shared(splits: dict[str, str], what: str) -> int:
    return sum(len(held(splits, what, first) & held(splits, what, "test")) for first in ("train", "dev"))


@pytest.mark.parametrize("seed", range(5))
def test_disjoint_in_what_they_claim(seed: int) -> None:
    by_subject = assign(ROWS, config(seed=seed))
    assert set(by_subject) == set(BY_ID) and shared(by_subject, "person") == 0 and shared(by_subject, "recording") == 0
    by_video = assign(ROWS, config(seed=seed, protocol="video-disjoint"))
    assert set(by_video) == set(BY_ID) and shared(by_video, "recording") == 0 and shared(by_video, "person") > 0
    paper = assign(ROWS, config(seed=seed, protocol="paper"))
    assert shared(paper, "recording") > 0 and "dev" not in paper.values()


@pytest.mark.parametrize("protocol", ["subject-disjoint", "video-disjoint", "paper"])
def test_shares_are_kept_and_every_type_is_in_every_split(protocol: Any) -> None:
    splits = assign(ROWS, config(protocol=protocol))
    counts = Counter((row.dataset, splits[row.id]) for row in ROWS)
    totals = Counter(row.dataset for row in ROWS)
    for dataset, total in totals.items():
        assert counts[dataset, "test"] == pytest.approx(0.1 * total, abs=0.5 if protocol == "paper" else 0.06 * total)
    if protocol != "paper":
        kinds = {row.kind for row in ROWS}
        assert all({row.kind for row in ROWS if splits[row.id] == name} == kinds for name in SPLITS)


def test_made_of_ids_and_seed_alone() -> None:
    other = ROWS[:]
    random.Random(3).shuffle(other)
    assert assign(other, config()) == assign(ROWS, config()) != assign(ROWS, config(seed=1))


def test_few_groups() -> None:
    """One person cannot be divided; of three, each split has one."""
    alone = [Row.of(sample("mine", number, "Print", "anna", None)) for number in range(30)]
    assert set(assign(alone, config()).values()) == {"train"}
    three = [Row.of(sample("mine", number, "Print", str(number % 3), None)) for number in range(30)]
    assert Counter(assign(three, config()).values()) == {"train": 10, "dev": 10, "test": 10}
    assert Counter(assign(three, config(dev_share=0.0)).values()) == {"train": 20, "test": 10}


def test_official_protocols_are_the_lists() -> None:
    splits = assign(ROWS, config(protocol="official", name="grandtest"))
    assert splits == {row.id: row.splits["grandtest"] for row in ROWS if row.dataset == "wmca"}
    # P1 has no development part: it is taken from training, by whole videos.
    splits = assign(ROWS, config(protocol="official", name="P1"))
    assert {one for one, found in splits.items() if found == "test"} == {r.id for r in ROWS if r.splits.get("P1") == "test"}
    assert held(splits, "recording", "dev") and shared(splits, "recording") == 0
    assert "dev" not in assign(ROWS, config(protocol="official", name="P1", dev_share=0.0)).values()
    with pytest.raises(ValueError, match="expected one of P1, grandtest"):
        assign(ROWS, config(protocol="official", name="P9"))
    with pytest.raises(ValueError, match="no sample has it"):
        assign(ROWS, config(protocol="official"))


@pytest.mark.parametrize(
    ("train", "test"), [(["wmca", "siw-mv2"], ["padisi"]), (["wmca", "padisi"], ["siw-mv2"]), ([], ["wmca"])]
)
def test_across_data_sets(train: list[str], test: list[str]) -> None:
    splits = assign(ROWS, config(protocol="cross-dataset", train=train, test=test))
    assert {one for one, found in splits.items() if found == "test"} == {row.id for row in ROWS if row.dataset in test}
    assert held(splits, "dataset", "train") == held(splits, "dataset", "dev") == {row.dataset for row in ROWS} - set(test)
    assert not held(splits, "person", "train") & held(splits, "person", "dev")
    with pytest.raises(ValueError, match="no sample of casia"):
        assign(ROWS, config(protocol="cross-dataset", test=["casia"]))


@pytest.mark.parametrize("attack", ["Partial Eye", "Tattoo", "Replay", "wmca-Glasses"])
def test_one_attack_left_out(attack: str) -> None:
    splits = assign(ROWS, config(protocol="leave-one-attack-out", attack=[attack]))
    kind = attack.removeprefix("wmca-")
    assert held(splits, "kind", "test") == {BONAFIDE, kind}
    assert kind not in held(splits, "kind", "train") | held(splits, "kind", "dev")
    assert shared(splits, "person") == 0
    if kind == "Partial Eye":  # nobody is named: every video of it is tested
        assert sum(BY_ID[one].kind == kind for one in splits) == 90
    with pytest.raises(ValueError, match="'Wig'|no sample of Wig"):
        assign(ROWS, config(protocol="leave-one-attack-out", attack=["Wig"]))


def test_an_attack_left_out_is_an_attack_in_any_spelling() -> None:
    found = assign(ROWS, config(protocol="leave-one-attack-out", attack=["partial-eye"]))
    assert found == assign(ROWS, config(protocol="leave-one-attack-out", attack=["Partial Eye"]))
    with pytest.raises(ValueError, match="attack Bonafide includes bona fide pictures"):
        assign(ROWS, config(protocol="leave-one-attack-out", attack=[BONAFIDE]))


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "cross-dataset"}, {"protocol": "leave-one-attack-out"}, {"name": "P1"}, {"attack": ["Print"]},
        {"protocol": "cross-dataset", "train": ["a", "b"], "test": ["b"]}, {"test_share": 0.0}, {"protocol": "random"},
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected|Input should"):
        config(**options)


def test_files_and_report(tmp_path: Path) -> None:
    rows = three_sets()
    twin = rows[0].model_copy(update={"id": "twin", "dataset": "padisi", "subject": "elsewhere", "video": None})
    files = [tmp_path / "a" / "wmca.jsonl", tmp_path / "b" / "rest.jsonl"]
    write_jsonl(files[0], [row for row in rows if row.dataset == "wmca"])
    write_jsonl(files[1], [twin, *(row for row in rows if row.dataset != "wmca")])
    out = tmp_path / "splits"
    report = split(files, SplitConfig(out=out, protocol="paper", seed=4))
    assert not (out / "dev.jsonl").exists()
    written = {name: read_jsonl(out / f"{name}.jsonl", Sample) for name in ("train", "test")}
    assert sum(map(len, written.values())) == len(rows) + 1 and all(row.split == "test" for row in written["test"])
    assert {Path(row.image).parts[:2] for row in written["train"]} == {("..", "a"), ("..", "b")}
    # The report's numbers, counted again by hand.
    trained = {(row.dataset, row.video) for row in written["train"] if row.video}
    trained_people = {(row.dataset, row.subject) for row in written["train"] if row.subject}
    touched = [r for r in written["test"] if (r.dataset, r.video) in trained or (r.dataset, r.subject) in trained_people]
    found = report.shared["train+test"]
    assert found["videos"] == len(trained & {(row.dataset, row.video) for row in written["test"]}) > 0
    assert found["affected"] >= len(touched) > len(written["test"]) / 2
    assert json.loads((out / "splits.json").read_text())["shared"]["train+test"] == found
    assert json.loads((out / "run.json").read_text())["config"]["protocol"] == "paper"
    assert any("share" in line and f"{found['affected']}" in line for line in report.lines())
    # Another protocol into the same folder leaves nothing of the first behind; the twin is a leak by content alone.
    report = split(files, SplitConfig(out=out, seed=4))
    assert (out / "dev.jsonl").exists()
    assert {what for pair in report.shared.values() for what, count in pair.items() if count} <= {"pictures", "affected"}
    split(files, SplitConfig(out=out, protocol="cross-dataset", test=["padisi"], dev_share=0.0))
    assert not (out / "dev.jsonl").exists()
    cross = SplitReport(**json.loads((out / "splits.json").read_text()))
    assert cross.shared["train+test"] == {"subjects": 0, "videos": 0, "pictures": 1, "affected": 1}


def test_of_whom_nobody_knows_anything_nobody_is_said_to_be_apart(tmp_path: Path) -> None:
    rows = [*three_sets(), *(sample("lcc-fasd", 1000 + number, "Replay", None, None) for number in range(40))]
    write_jsonl(tmp_path / "all.jsonl", rows)
    report = split([tmp_path / "all.jsonl"], SplitConfig(out=tmp_path / "out", seed=4))
    assert sum(report.unknown.values()) == 40
    (told,) = [line for line in report.lines() if "cannot be known" in line]
    assert told.startswith(f"40 of {len(rows):,} pictures name neither person nor recording")
    write_jsonl(tmp_path / "named.jsonl", three_sets())
    assert not split([tmp_path / "named.jsonl"], SplitConfig(out=tmp_path / "named", seed=4)).unknown


def test_a_simulated_person_is_one_in_every_set(tmp_path: Path) -> None:
    files = []
    for name, source in (("sim-photo-1-aa", "photo"), ("sim-photo-2-bb", "photo"), ("folder", None)):
        told = {} if source is None else {"source": source}
        rows = [
            sample(name, number, BONAFIDE if number % 2 else "Print", f"p{number // 4}", None, **told) for number in range(40)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
        files.append(tmp_path / f"{name}.jsonl")
    report = split(files[:2], SplitConfig(out=tmp_path / "two", seed=1))
    people = {name: {row.subject for row in read_jsonl(tmp_path / f"two/{name}.jsonl", Sample)} for name in SPLITS}
    assert not people["train"] & people["test"] and report.namesakes == []
    report = split(files, SplitConfig(out=tmp_path / "three", seed=1))
    assert (
        len(report.namesakes) == 10
        and "10 subjects of one name in several data sets (p0, p1, p2, …)" in list(report.lines())[-1]
    )


def test_faults(tmp_path: Path) -> None:
    rows = three_sets()
    write_jsonl(tmp_path / "a.jsonl", rows[:40])
    write_jsonl(tmp_path / "b.jsonl", rows[30:60])
    with pytest.raises(ValueError, match="is there twice"):
        split([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], SplitConfig(out=tmp_path / "s"))
    write_jsonl(tmp_path / "one.jsonl", rows[:1])
    with pytest.raises(ValueError, match="no sample in test"):
        split([tmp_path / "one.jsonl"], SplitConfig(out=tmp_path / "s"))
    (tmp_path / "broken.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(RecordError, match=r"broken.jsonl:1"):
        split([tmp_path / "broken.jsonl"], SplitConfig(out=tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_parts_that_measure_nothing_are_warned_of(tmp_path: Path) -> None:
    def warned(rows: list[Sample], **options: Any) -> list[str]:
        write_jsonl(tmp_path / "rows.jsonl", rows)
        told = SplitConfig(out=tmp_path / "s", **options)
        return list(split([tmp_path / "rows.jsonl"], told).warnings(told))

    attacks = [sample("mine", number, "Print", f"a{number // 4}", None) for number in range(40)]
    few = [sample("mine", 100 + number, BONAFIDE, f"b{number}", None) for number in range(2)]
    dev, test = warned([*attacks, *few])
    assert dev.startswith("dev has 0 bona fide and 4 attack pictures — expected at least 10 of each")
    assert test.startswith("test has 0 bona fide and 4 attack pictures")
    many = [sample("mine", 100 + number, BONAFIDE, f"b{number // 4}", None) for number in range(40)]
    assert not warned([*attacks, *many], test_share=0.3, dev_share=0.3)
    # A development part is missed if it was asked for.
    alone = [sample("mine", number, "Print" if number % 2 else BONAFIDE, "anna", None) for number in range(40)]
    halves = [*alone, *(row.model_copy(update={"id": f"{row.id}b", "dataset": "other"}) for row in alone)]
    assert [one[:23] for one in warned(halves, protocol="cross-dataset", test=["other"])] == ["dev has 0 bona fide and"]
    assert not warned(halves, protocol="cross-dataset", test=["other"], dev_share=0.0)

    write_jsonl(tmp_path / "rows.jsonl", [*attacks, *few])
    result = CliRunner().invoke(app, ["split", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "s")])
    assert result.exit_code == 0 and result.stderr.count("warning: ") == 2 and "warning" not in result.stdout


def test_the_command(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", three_sets())
    base = ["split", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "s")]
    result = CliRunner().invoke(app, [*base, "--protocol", "cross-dataset", "--test", "padisi"])
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"splits: {tmp_path / 's' / 'train.jsonl'}, ") and last.endswith("splits.json")
    assert "train and test share 0 subjects, 0 videos, 0 pictures" in result.output
    result = CliRunner().invoke(app, [*base, "--protocol", "cross-dataset"])
    assert "options: protocol=cross-dataset without test" in str(result.exception)
