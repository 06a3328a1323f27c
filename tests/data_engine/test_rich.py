"""The rich grammar: many wordings, all true, and always parsed correctly by the tasks' own readers."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from faceshield.data_engine.contradictions import answer_faults
from faceshield.data_engine.rich import expand, place, rich_answer, rich_pair, rich_question, seen_cues
from faceshield.data_engine.rich_rules import ANSWERS, QUESTIONS
from faceshield.tasks import TASKS
from faceshield.taxonomy import ATTACK_TYPES, PRESENTATION_TYPES, describe

CUES = ["a paper edge", "printed dots", "screen glare", "painted eyes", "fingers holding paper", "hidden real eyes"]


@pytest.mark.parametrize("name", PRESENTATION_TYPES)
@pytest.mark.parametrize("task", TASKS)
def test_every_answer_is_read_back_without_falling_back(task: str, name: str, make_sample, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(TASKS[task].__class__, "answer", lambda *a, **k: said.append("fell back") or "no")
    rng = np.random.default_rng(PRESENTATION_TYPES.index(name))
    for index in range(60):
        size = tuple(int(v) for v in rng.integers(40, 900, 2))
        boxes = [(1.0, 2.0, size[0] * rng.uniform(0.1, 1), size[1] * 0.9)] if name != "Bonafide" else []
        meta = {"cues": CUES[: index % 7], "scene": ["a face before a wall", "glasses", "a real smile"]}
        sample = make_sample(name, size_wh=size, boxes=boxes, meta=meta)
        text = rich_answer(task, sample, rng)
        assert not said, "a rule that the reader cannot read"
        known = {"is_attack": sample.is_attack, "presentation_type": name, "boxes": sample.boxes, "size_wh": size}
        assert answer_faults(task, text, **known) == []
        read = TASKS[task].read(text, size)
        assert read.is_attack == sample.is_attack
        if task in ("fine", "reasoning"):
            assert read.presentation_type == name
        assert text[0].isupper() or text[0] in "["
        assert "{" not in text and "  " not in text and ".." not in text and " ." not in text


@pytest.mark.parametrize("task", [*TASKS, "caption"])
def test_at_least_forty_wordings_and_the_fixed_question_most_often(task: str, make_sample) -> None:
    rng = np.random.default_rng(0)
    asked = Counter(rich_question(task, rng) for _ in range(1500))
    if task in TASKS and task != "reasoning":
        sample = make_sample("Print")
        pairs = [rich_pair(task, sample, rng) for _ in range(60)]
        assert {answer for question, answer in pairs if question == TASKS[task].question} == {TASKS[task].answer(sample)}
    assert len(asked) >= 40
    if task in TASKS:
        assert asked.most_common(1)[0][0] == TASKS[task].question
        assert 0.15 < asked[TASKS[task].question] / 1500 < 0.25


def test_only_what_the_sample_brings_is_stated_as_seen(make_sample) -> None:
    rng = np.random.default_rng(1)
    for name in ATTACK_TYPES:
        usual_ones = describe(name).cues
        for _ in range(40):
            text = rich_answer("reasoning", make_sample(name, meta={"cues": ["printed dots"]}), rng).lower()
            assert "printed dots" in text and not any(cue in text for cue in usual_ones)
            usual = rich_answer("reasoning", make_sample(name, meta={}), rng).lower()
            if any(cue in usual for cue in usual_ones):
                assert "typical" in usual or "usual" in usual or "often" in usual


@pytest.mark.parametrize("meta", [{}, {"cues": ["printed dots", "a paper edge"]}])
def test_without_boxes_nothing_is_said_of_the_place(meta: dict, make_sample) -> None:
    rng = np.random.default_rng(2)
    for name in PRESENTATION_TYPES:
        for task in ("coarse", "fine", "reasoning"):
            for _ in range(40):
                text = rich_answer(task, make_sample(name, meta=meta, boxes=[]), rng)
                assert not re.search(r" [.,:]|region \.|  ", text), text


def test_cues_that_read_as_a_verdict_are_not_told(make_sample) -> None:
    sample = make_sample("Glasses", meta={"cues": ["hidden real eyes", "opaque glasses", "a thick frame"]})
    assert seen_cues(sample) == ["a thick frame"]
    with pytest.raises(ValueError, match=r"meta\.cues"):
        seen_cues(make_sample("Print", meta={"cues": "dots"}))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 90, 90), "over most of the picture"),
        ((0, 0, 20, 20), "in the upper left part of the picture"),
        ((70, 70, 99, 99), "in the lower right part of the picture"),
        ((40, 0, 60, 20), "in the upper part of the picture"),
        ((40, 40, 60, 60), "around the middle of the picture"),
    ],
)
def test_where_a_box_lies(box, words: str, make_sample) -> None:
    assert place(make_sample("Print", size_wh=(100, 100), boxes=[box])) == words


def test_every_rule_is_reachable_and_every_name_known() -> None:
    names = "type sentence cue cues aspects usual box place scene first rest everything clean also"
    facts = dict.fromkeys(re.findall(r"\w+", names), "x")
    for table in (*QUESTIONS.values(), *ANSWERS.values()):
        used = set()
        for symbol, alternatives in table.items():
            for alternative in alternatives:
                expand({**table, symbol: (alternative,)}, symbol, np.random.default_rng(0), facts)
                used |= {name[:1].lower() + name[1:] for name in re.findall(r"\{(\w+)\}", alternative)}
        starts = {"question", "answer", "attack", "attack_seen", "bonafide", "bonafide_seen"}
        assert set(table) - starts <= used, "a rule that nothing uses"
