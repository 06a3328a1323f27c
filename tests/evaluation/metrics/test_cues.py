"""Cues named against cues rendered: hand-worked answers, and a count that must agree with them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from faceshield.evaluation import score
from faceshield.evaluation.metrics.cues import CueReader, CueScores
from faceshield.evaluation.table import table
from faceshield.records import Prediction, Sample, Truth
from faceshield.tasks import MAX_CUES, REASONING

WORDS = ["a paper edge", "a cut paper edge", "faded colours", "flat light on the face", "screen glare"]


@pytest.mark.parametrize(
    ("text", "named", "unrecognised"),
    [
        ("A paper edge and faded colours can be seen, so this is an attack.", {"paper edge", "faded colours"}, 0),
        ("The picture shows a cut paper edge, so this is a Print attack.", {"cut paper edge"}, 0),
        ("I see the paper edge. I also see flat light on the face, so …", {"paper edge", "flat light on the face"}, 0),
        ("No paper edge can be seen, and screen glare, so this face is bona fide.", {"screen glare"}, 0),
        ("A paper bridge and faded colours can be seen, so this is an attack.", {"faded colours"}, 1),
        ("So this is an attack.", set(), 0),
        ("This is an attack with screen glare.", {"screen glare"}, 1),
        ("", set(), 0),
        ("A paper edge, a paper edge and a paper edge can be seen, so this is an attack.", {"paper edge"}, 0),
        ("Screen glares can be seen, so this is an attack of a paper edge.", set(), 1),
    ],
)
def test_what_an_answer_names(text: str, named: set[str], unrecognised: int) -> None:
    assert CueReader(WORDS).read(text) == (named, unrecognised)


def test_precision_and_recall_by_hand() -> None:
    answers = [
        "A paper edge and screen glare can be seen, so this is an attack.",  # 1 of 2 true; 3 there
        "Faded colours and odd things can be seen, so this is an attack.",  # 1 of 1, one unrecognised; 1 there
        "So this is an attack.",  # none; 2 there
    ]
    true = [["a paper edge", "faded colours", "flat light on the face"], ["faded colours"], ["screen glare", "a paper edge"]]
    scores = CueScores(CueReader(WORDS), answers, true)
    assert scores.summary() == {"precision": 2 / 3, "precision_strict": 2 / 4, "recall": 2 / 6}
    assert scores.summary(np.array([2.0, 0.0, 1.0])) == {"precision": 0.5, "precision_strict": 0.5, "recall": 2 / 8}
    assert (scores.mean_named, scores.mean_unrecognised) == (1.0, 1 / 3)
    empty = CueScores(CueReader([]), [], []).summary()
    assert all(math.isnan(value) for value in empty.values())


def rows(make_sample: Any, answers: dict[str, str]) -> list[Prediction]:
    made = []
    for index in range(12):
        attack = index % 3 != 0
        cues = ["a paper edge", "faded colours", "screen glare", "flat print", "tape"] if attack else []
        kind, meta = "Print" if attack else "Bonafide", {"cues": cues}
        sample: Sample = make_sample(kind, id=f"s{index}", subject=f"p{index % 4}", meta=meta)
        told = REASONING.answer(sample)
        made.append(
            Prediction(
                id=f"s{index}:reasoning", sample_id=f"s{index}", image="x.png", task="reasoning", question="?", status="parsed",
                answer=answers.get("attack" if attack else "bonafide") or told, is_attack=attack,
                presentation_type=sample.presentation_type if "attack" in answers else None,
                truth=Truth(
                    is_attack=attack, presentation_type=sample.presentation_type, subject=sample.subject, answer=told,
                    meta=sample.meta,
                ),
            )
        )  # fmt: skip
    return made


def test_score_holds_them_and_the_table_shows_them(make_sample: Any) -> None:
    true = rows(make_sample, {})
    metrics = score(true, threshold=None, rng=np.random.default_rng(0), repeats=50, by="presentation_type")
    cues = metrics["overall"]["cues"]
    assert cues["precision"]["value"] == cues["precision_strict"]["value"] == 1.0
    assert cues["recall"]["value"] == cues["recall_of_the_true_answers"] == MAX_CUES / 5
    assert cues["recall_by_type"]["Print"]["value"] == MAX_CUES / 5
    assert cues["precision_where_type_is_right"]["n"] == 0, "these rows name no type"
    assert (cues["recall"]["n"], cues["precision"]["n"]) == (8 * 5, 8 * MAX_CUES) and cues["false_cues_on_bonafide"]["n"] == 4
    assert cues["recall"]["ci95"] is None, "every draw gives the same"
    assert cues["false_cues_on_bonafide"]["value"] == 0.0 and "cues" not in metrics["by"]["groups"]["Bonafide"]
    wrong = {
        "attack": "Natural skin and a paper edge can be seen, so this is a presentation attack of type Print.",
        "bonafide": "Screen glare can be seen, so this face is bona fide.",
    }
    metrics = score(rows(make_sample, wrong), threshold=None, rng=np.random.default_rng(0), repeats=0)
    cues = metrics["overall"]["cues"]
    assert (cues["precision"]["value"], cues["recall"]["value"]) == (0.5, 0.2)
    assert (cues["precision_where_type_is_right"]["value"], cues["precision_where_type_is_right"]["n"]) == (0.5, 16)
    assert cues["false_cues_on_bonafide"]["value"] == 1.0
    shown = table({"m": metrics})
    assert "Cues that the reasoning names" in shown and "50.00" in shown and "8 + 4" in shown


def test_bona_fide_rows_alone_have_no_recall(make_sample: Any) -> None:
    """Of a group without attacks nothing of theirs can be named; what is false can be counted, and all of it be written."""
    live = [row.model_copy(update={"truth": row.truth.model_copy(update={"meta": {"cues": ["natural skin"]}})})
            for row in rows(make_sample, {}) if not row.truth.is_attack]  # fmt: skip
    metrics = score(live, threshold=None, rng=np.random.default_rng(0), repeats=10)
    cues = metrics["overall"]["cues"]
    assert cues["recall"]["value"] is None and cues["recall_of_the_true_answers"] is None
    assert cues["false_cues_on_bonafide"]["n"] == 4 and json.dumps(metrics, allow_nan=False)
    assert "0 + 4" in table({"m": metrics})


def test_answers_without_known_cues_have_no_such_section(make_sample: Any) -> None:
    bare = [row.model_copy(update={"truth": row.truth.model_copy(update={"meta": {}})}) for row in rows(make_sample, {})]
    assert "cues" not in score(bare, threshold=None, rng=np.random.default_rng(0), repeats=0)["overall"]
