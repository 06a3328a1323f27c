"""Rows seen more often than others: whole and broken numbers, unknown types, and the same rows again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from faceshield.model import load
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.dataset import DialogueRows
from faceshield.training.oversample import repeats
from faceshield.training.stages import StageConfig


def test_whole_numbers_are_exact_and_broken_ones_right_on_average() -> None:
    types = ["Tattoo"] * 2000 + ["Print"] * 2000 + ["Bonafide"] * 3 + [None]
    times = repeats(types, {"Tattoo": 1.4, "Print": 3.0, "Bonafide": 0.0}, np.random.default_rng(0))
    assert set(times[:2000]) == {1, 2} and times[:2000].mean() == pytest.approx(1.4, abs=0.04)
    assert set(times[2000:4000]) == {3}
    assert list(times[4000:]) == [0, 0, 0, 1]


def test_an_unknown_type_names_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="did you mean 'Tattoo'"):
        StageConfig(stage="sft", init="tiny", dialogues=[tmp_path], out=tmp_path, oversample={"Tatoo": 2})
    with pytest.raises(ValidationError, match="expected 0 or more"):
        StageConfig(stage="sft", init="tiny", dialogues=[tmp_path], out=tmp_path, oversample={"Tattoo": -1})


def test_rows_of_a_type_stand_more_often(toy_folder: Path, dialogues_jsonl: Path) -> None:
    processor = load(toy_folder).processor
    plain = DialogueRows.read([dialogues_jsonl], processor, pack=True)
    more = DialogueRows.read([dialogues_jsonl], processor, pack=True, oversample={"Print": 2.0})
    counts = {row.id: sum(other.id == row.id for other in more.rows) for row in plain.rows}
    assert set(counts.values()) == {1, 2}
    assert more.paths == plain.paths
    twice = [place for place, row in enumerate(more.rows) if counts[row.id] == 2]
    draws = {place: more[place]["pvtm_seed"] for place in twice}
    assert (
        len(set(draws.values())) == len(twice)
        and draws[twice[0]] == plain[0 + [r.id for r in plain.rows].index(more.rows[twice[0]].id)]["pvtm_seed"]
    ), "a copy hides other tokens; the first draws what it would draw alone"
    with pytest.raises(ValueError, match="leaves no dialogue — expected some type above 0"):
        DialogueRows.read([dialogues_jsonl], processor, pack=True, oversample=dict.fromkeys(PRESENTATION_TYPES, 0.0))
