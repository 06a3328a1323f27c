"""Augmentation: two new pairs per dialogue, label and box unchanged; pairs that change them are named rejects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faceshield.data_engine.augment import AugmentConfig, augment
from faceshield.data_engine.backends import NoCall, Pair
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.stage import AssistantDown, rejects_path
from faceshield.records import Dialogue, read_jsonl, write_jsonl


def test_the_grammar_says_it_in_new_words(dialogues_jsonl: Path, tmp_path: Path) -> None:
    result = augment(dialogues_jsonl, tmp_path / "out.jsonl", AugmentConfig(), seed=0)
    before, after = read_jsonl(dialogues_jsonl, Dialogue), read_jsonl(result.out, Dialogue)
    assert len(after) == 3 * len(before) and result.rejects == 0
    assert [row.id for row in after[::3]] == [row.id for row in before]
    for start in range(0, len(after), 3):
        rows = after[start : start + 3]
        assert len({tuple(turn.value for turn in row.conversations) for row in rows}) == 3
        assert all(row.meta["augmented_from"] == rows[0].id and row.task == rows[0].task for row in rows[1:])
        assert all(row.meta["boxes"] == rows[0].meta["boxes"] for row in rows)
        assert not [fault for row in rows for fault in contradictions(row)]
    again = augment(dialogues_jsonl, tmp_path / "again.jsonl", AugmentConfig(), seed=0)
    assert again.out.read_bytes() == result.out.read_bytes()
    assert augment(dialogues_jsonl, tmp_path / "again.jsonl", AugmentConfig(), seed=0).reused


def test_an_attack_without_a_type_is_reworded_and_a_foreign_row_ends_nothing(dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = [row for row in read_jsonl(dialogues_jsonl, Dialogue) if row.task == "coarse" and row.meta["is_attack"]][:6]
    changed = [{"presentation_type": None, "boxes": []}, {"presentation_type": "mask"}, {"boxes": [[0, 0, 9999, 9]]}]
    changed += [{"boxes": [[1, 2, 3]]}, {"size_wh": [10]}, {"size_wh": "big"}]
    write_jsonl(
        tmp_path / "in.jsonl",
        [row.model_copy(update={"meta": {**row.meta, **change}}) for row, change in zip(rows, changed, strict=True)],
    )
    result = augment(tmp_path / "in.jsonl", tmp_path / "out.jsonl", AugmentConfig(), seed=0)
    assert [row.id for row in read_jsonl(result.out, Dialogue)].count(f"{rows[0].id}:new1") == 1
    told = [json.loads(line) for line in rejects_path(result.out).read_text().splitlines()]
    assert [one["id"] for one in told] == [f"{row.id}:new" for row in rows[1:]]
    assert "presentation_type" in told[0]["reason"] and all("its meta is no sample's" in one["reason"] for one in told)
    assert "meta.boxes [[1, 2, 3]] — expected" in told[2]["reason"] and "meta.size_wh 'big' — expected" in told[4]["reason"]
    foreign = rows[3].model_copy(update={"meta": {**rows[3].meta, "boxes": [[1, 2, 3]]}})
    assert contradictions(foreign) == ["meta.boxes [[1, 2, 3]] — expected [x0, y0, x1, y1] each"], "and is filtered out"


def test_an_augmented_file_gets_other_words_and_other_ids(dialogues_jsonl: Path, tmp_path: Path) -> None:
    once = read_jsonl(augment(dialogues_jsonl, tmp_path / "once.jsonl", AugmentConfig(pairs=3), seed=0).out, Dialogue)
    left = [row for row in once if not row.id.endswith(":new1")]  # as a filter might leave them
    write_jsonl(tmp_path / "left.jsonl", left)
    rows = read_jsonl(augment(tmp_path / "left.jsonl", tmp_path / "twice.jsonl", AugmentConfig(), seed=0).out, Dialogue)
    origins = {row.id for row in once if "augmented_from" not in row.meta}
    assert len(rows) == len(left) + 2 * len(origins) and {row.id for row in left} <= {row.id for row in rows}
    assert {row.meta.get("augmented_from") for row in rows} == {None, *origins}
    said = {(row.meta.get("augmented_from", row.id), *(turn.value for turn in row.conversations)) for row in rows}
    assert len(said) > len(left) + len(origins), "the same words once more"


class Careless:
    """Ignores the box and the label."""

    name = kind = "careless"
    workers, calls = 1, 0
    settings = {"kind": "careless"}

    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        return [Pair(f"Q{i}?", "This face is bona fide.") for i in range(count)]


def test_what_changes_the_label_is_dropped_and_the_dialogue_stays(dialogues_jsonl: Path, tmp_path: Path) -> None:
    result = augment(dialogues_jsonl, tmp_path / "out.jsonl", AugmentConfig(), seed=0, backend=Careless())  # type: ignore[arg-type]
    rows, before = read_jsonl(result.out, Dialogue), read_jsonl(dialogues_jsonl, Dialogue)
    bonafide = [row for row in before if not row.meta["is_attack"]]
    assert len(rows) == len(before) + 2 * len(bonafide)
    rejects = [json.loads(line) for line in rejects_path(result.out).read_text().splitlines()]
    assert len(rejects) == 2 * (len(before) - len(bonafide))
    assert {row["filter"] for row in rejects} == {"contradiction"} and "dialogue" in rejects[0]


class Down(Careless):
    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        raise NoCall("refused")


def test_an_assistant_that_is_down_stops_the_run(dialogues_jsonl: Path, tmp_path: Path) -> None:
    with pytest.raises(AssistantDown, match="refused"):
        augment(dialogues_jsonl, tmp_path / "out.jsonl", AugmentConfig(), seed=0, backend=Down())  # type: ignore[arg-type]
    assert not (tmp_path / "out.jsonl").exists()
