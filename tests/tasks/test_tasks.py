"""The tasks as writers: fixed wordings, variety from the generator, and all of it is read back right."""

from __future__ import annotations

import re

import numpy as np
import pytest

from faceshield.tasks import (
    COARSE,
    FINE,
    LOCALIZATION,
    REASONING,
    TASKS,
    learnable_tasks,
    pixels_from_square,
    square_from_pixels,
)
from faceshield.tasks.reasoning import MAX_WORDS, sample_cues
from faceshield.taxonomy import ATTACK_TYPES, PRESENTATION_TYPES, describe

EVERY_TASK = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
EVERY_TYPE = pytest.mark.parametrize("name", PRESENTATION_TYPES)


def test_the_fixed_questions_and_answers_stay_what_checkpoints_were_made_with() -> None:
    assert list(TASKS) == ["coarse", "fine", "reasoning", "localization"]
    assert COARSE.question == "Is this face bona fide or a presentation attack?"
    assert FINE.question == "Which presentation type is this face?"
    assert REASONING.question == "Why is this face bona fide or a presentation attack?"
    assert LOCALIZATION.question == "Where is the attack?"
    assert COARSE.templates == {
        "bonafide": "This is a bona fide face.",
        "attack": "This is a presentation attack.",
    }
    attacks = {name: f"This is a {name} attack." for name in ATTACK_TYPES}
    assert FINE.templates == {"Bonafide": "This is a bona fide face.", **attacks}
    assert list(FINE.templates) == list(PRESENTATION_TYPES)
    assert len({task.version for task in TASKS.values()}) == 4


@EVERY_TASK
def test_questions_have_several_phrasings_and_no_verdict(task) -> None:
    assert len(task.questions) >= 8 and len(set(task.questions)) == len(task.questions)
    assert task.question == task.questions[0] == task.ask()
    for question in task.questions:
        assert len(question.split()) <= 15
        assert "<" not in question
    rng = np.random.default_rng(0)
    asked = [task.ask(rng) for _ in range(400)]
    assert set(asked) == set(task.questions)
    assert 0.4 < asked.count(task.question) / 400 < 0.6


@EVERY_TASK
@EVERY_TYPE
def test_every_answer_is_read_back(task, name: str, make_sample) -> None:
    rng = np.random.default_rng([0, PRESENTATION_TYPES.index(name)])
    for index in range(40):
        size = tuple(int(v) for v in rng.integers(20, 400, 2))
        boxes = [random_box(rng, size) for _ in range(rng.integers(1, 4))] if name != "Bonafide" else []
        meta = {"cues": ["a paper edge", "flat light", "a hand", "dots", "no depth"][: rng.integers(0, 6)]}
        sample = make_sample(name, size_wh=size, boxes=boxes, meta=meta)
        text = task.answer(sample, None if index == 0 else rng)
        answer = task.read(text, size)
        assert answer.status == "parsed", text
        assert answer.is_attack == sample.is_attack, text
        if task in (FINE, REASONING):
            assert answer.presentation_type == name, text
        if task is LOCALIZATION:
            assert_same_boxes(answer.boxes, boxes, tolerance=max(size) / 900)


@EVERY_TASK
def test_the_same_generator_gives_the_same_pair(task, make_sample) -> None:
    sample = make_sample("Print", meta={})
    first = [task.pair(sample, np.random.default_rng(seed)) for seed in range(20)]
    assert first == [task.pair(sample, np.random.default_rng(seed)) for seed in range(20)]
    assert len(set(first)) > 5


@EVERY_TASK
@EVERY_TYPE
def test_the_fixed_question_always_gets_the_fixed_answer(task, name: str, make_sample) -> None:
    sample = make_sample(name)
    rng = np.random.default_rng(1)
    pairs = [task.pair(sample, rng) for _ in range(60)]
    assert {answer for question, answer in pairs if question == task.question} == {task.answer(sample)}
    assert len({answer for question, answer in pairs if question != task.question}) > 1


@EVERY_TYPE
def test_reasoning_names_the_first_four_cues_in_their_order_and_ends_with_the_verdict(name: str, make_sample) -> None:
    rng = np.random.default_rng(2)
    cues = ["a paper edge", "flat light", "a hand", "dots", "no depth"]
    end = "so this face is bona fide." if name == "Bonafide" else f"so this is a presentation attack of type {name}."
    texts = set()
    for _ in range(50):
        text = REASONING.answer(make_sample(name, meta={"cues": cues}), rng)
        texts.add(text)
        assert text.endswith(end)
        places = [text.lower().find(cue) for cue in cues[:4]]
        assert places == sorted(places) and places[0] >= 0 and cues[4] not in text
        assert len(text.split()) <= MAX_WORDS and len(re.findall(r"[.]", text)) <= 3
        assert text[0].isupper() and "  " not in text and ".." not in text
    assert len(texts) == 6


def test_long_cues_are_left_out_before_the_answer_grows_too_long(make_sample) -> None:
    cues = [" ".join(["word"] * 12) + f" {i}" for i in range(5)]
    for seed in range(30):
        text = REASONING.answer(make_sample("Print", meta={"cues": cues}), np.random.default_rng(seed))
        assert len(text.split()) <= MAX_WORDS


def test_cues_come_from_the_sample_or_the_taxonomy(make_sample) -> None:
    assert sample_cues(make_sample("Print", meta={"cues": ["dots. ", "", "dots"]})) == ("dots",)
    assert sample_cues(make_sample("Print", meta={})) == describe("Print").cues
    for wrong in ("dots", [1], 5, {"a": 1}):
        with pytest.raises(ValueError, match="expected a list of noun phrases"):
            sample_cues(make_sample("Print", meta={"cues": wrong}))


def test_an_attack_without_boxes_has_no_true_region(make_sample) -> None:
    sample = make_sample("Print", boxes=[])
    assert not LOCALIZATION.applies(sample) and COARSE.applies(sample)
    with pytest.raises(ValueError, match="attack without boxes"):
        LOCALIZATION.answer(sample)


def test_regions_are_written_from_left_to_right(make_sample) -> None:
    sample = make_sample("Print", size_wh=(999, 999), boxes=[(500, 1, 600, 20), (10, 30, 40, 50)])
    assert LOCALIZATION.answer(sample) == "The attack is at [10, 30, 40, 50] and [500, 1, 600, 20]."


@pytest.mark.parametrize(
    ("size", "box", "square"),
    [
        ((100, 100), (0, 0, 100, 100), (0, 0, 999, 999)),
        ((100, 50), (0, 0, 100, 50), (0, 250, 999, 749)),
        ((50, 100), (0, 0, 50, 100), (250, 0, 749, 999)),
        ((101, 100), (0, 0, 101, 100), (0, 0, 999, 989)),
        ((1, 1), (0, 0, 1, 1), (0, 0, 999, 999)),
        ((20000, 20000), (5, 5, 6, 6), (0, 0, 1, 1)),
        ((20000, 20000), (19999, 19999, 20000, 20000), (998, 998, 999, 999)),
    ],
)
def test_the_square_is_the_processors(size, box, square) -> None:
    assert square_from_pixels(box, size) == square


def test_geometry_round_trips_within_half_a_step() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        size = tuple(int(v) for v in rng.integers(2, 5000, 2))
        box = random_box(rng, size)
        back = pixels_from_square(square_from_pixels(box, size), size)
        assert_same_boxes([back], [box], tolerance=max(size) / 999 + 1e-6)


@pytest.mark.parametrize("size", [(0, 10), (10, -1)])
def test_a_picture_without_a_size_is_refused(size) -> None:
    for convert in (square_from_pixels, pixels_from_square):
        with pytest.raises(ValueError, match="two positive integers"):
            convert((0, 0, 1, 1), size)


def test_the_words_are_few(make_sample) -> None:
    """The shipped language model has 512 pieces: what we write ourselves must stay a small vocabulary."""
    words: set[str] = set()
    rng = np.random.default_rng(4)
    for task in TASKS.values():
        words |= {word for question in task.questions for word in re.findall(r"[a-z]+", question.lower())}
        for name in PRESENTATION_TYPES:
            for _ in range(40):
                words |= set(re.findall(r"[a-z]+", task.answer(make_sample(name, meta={}), rng).lower()))
    assert len(words) < 200


def random_box(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[float, float, float, float]:
    width, height = size
    x0, y0 = rng.uniform(0, width * 0.8), rng.uniform(0, height * 0.8)
    return (
        float(x0),
        float(y0),
        float(rng.uniform(x0 + width * 0.1, width)),
        float(rng.uniform(y0 + height * 0.1, height)),
    )


def assert_same_boxes(found, true, tolerance: float) -> None:
    assert len(found) == len(true)
    for box in true:
        assert min(np.abs(np.subtract(box, other)).max() for other in found) <= tolerance


def test_a_task_that_only_bona_fide_pictures_can_answer_is_not_to_be_learnt(make_sample) -> None:
    live, boxed, bare = make_sample("Bonafide"), make_sample("Print"), make_sample("Print", boxes=[])
    assert learnable_tasks([live, boxed, boxed, boxed, bare]) == tuple(TASKS)
    assert learnable_tasks([live, boxed, bare]) == learnable_tasks([live, bare]) == ("coarse", "fine", "reasoning")
    assert learnable_tasks([live]) == learnable_tasks([bare]) == learnable_tasks([]) == tuple(TASKS), "one class alone"
    untyped = make_sample("Print", presentation_type=None, boxes=[])
    assert learnable_tasks([live, untyped]) == ("coarse",)
