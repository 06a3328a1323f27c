"""Dialogues from ground truth: true, seeded per sample and task, with provenance, and captions without a verdict."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.data_engine import TASK_NAMES, generate_dialogues, resolve_tasks
from faceshield.data_engine.backends.base import BackendConfig
from faceshield.data_engine.generate import GenerateConfig, generate, plan
from faceshield.data_engine.grammar import (
    CAPTION_QUESTIONS,
    caption_answer,
    caption_question,
    scene_phrases,
)
from faceshield.records import Sample, write_jsonl
from faceshield.tasks import TASKS
from faceshield.tasks.verdicts import find_type, find_verdict


def test_every_sample_gets_every_task_and_tells_the_truth(samples: list[Sample]) -> None:
    rows = list(generate_dialogues(samples, tasks=TASK_NAMES, seed=0))
    assert [row.id for row in rows] == [f"{sample.id}:{task}" for sample in samples for task in TASK_NAMES]
    known = {sample.id: sample for sample in samples}
    for row in rows:
        sample = known[row.meta["sample_id"]]
        question, answer = (turn.value for turn in row.conversations)
        assert question.startswith("<image>\n") and row.image == sample.image
        assert (row.source, row.meta["generator"], row.meta["seed"]) == ("grammar", "grammar", 0)
        assert row.meta["presentation_type"] == sample.presentation_type
        assert row.meta["boxes"] == [list(box) for box in sample.boxes]
        assert row.meta["size_wh"] == [64, 80]
        if row.task in TASKS:
            task = TASKS[row.task]
            assert question.removeprefix("<image>\n") in task.questions
            assert task.read(answer, sample.size_wh).is_attack == sample.is_attack == row.meta["is_attack"]


def test_text_depends_on_seed_sample_and_task_alone(samples: list[Sample]) -> None:
    everything = {row.id: row for row in generate_dialogues(samples, tasks=TASK_NAMES, seed=1)}
    again = generate_dialogues(reversed(samples), tasks=["reasoning"], seed=1)
    assert all(everything[row.id] == row for row in again)
    other = list(generate_dialogues(samples, tasks=["reasoning"], seed=2))
    assert any(everything[row.id].conversations != row.conversations for row in other)


def test_several_dialogues_of_one_task_differ_and_the_first_stays(samples: list[Sample]) -> None:
    one = list(generate_dialogues(samples, tasks=["fine"], seed=0))
    three = list(generate_dialogues(samples, tasks=["fine"], seed=0, per_task=3))
    assert three[::3] == one
    assert [row.id for row in three[:3]] == ["s000:fine", "s000:fine:2", "s000:fine:3"]
    for start in range(0, len(three), 3):
        texts = {tuple(turn.value for turn in row.conversations) for row in three[start : start + 3]}
        assert len(texts) == 3


def test_what_has_no_true_answer_is_left_out(make_sample) -> None:
    rows = generate_dialogues([make_sample("Print", boxes=[])], tasks=["coarse", "localization"], seed=0)
    assert [row.task for row in rows] == ["coarse"]


@pytest.mark.parametrize(
    ("tasks", "message"), [(["coars"], "did you mean 'coarse'"), ([], "no task"), (["xyz"], "unknown task")]
)
def test_unknown_tasks_are_refused_before_anything_is_read(tasks: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_dialogues([], tasks=tasks, seed=0)
    with pytest.raises(ValueError, match="per_task"):
        generate_dialogues([], tasks=["coarse"], seed=0, per_task=0)


def test_task_names_are_read_in_any_case_once() -> None:
    assert resolve_tasks([" Coarse", "fine", "coarse", ""]) == ("coarse", "fine")


def test_captions_describe_and_never_judge(samples: list[Sample]) -> None:
    rng = np.random.default_rng(0)
    assert len(CAPTION_QUESTIONS) >= 8
    texts = set()
    for sample in samples * 5:
        text, question = caption_answer(sample, rng), caption_question(rng)
        texts.add(text)
        assert find_verdict(text) is None and find_type(text) is None
        assert not re.search("attack|fide", question)
        for phrase in sample.meta["scene"]:
            assert phrase in text.lower()
        assert text[0].isupper() and text.endswith(".") and ".." not in text
    assert len(texts) >= 7


def test_a_sample_without_a_scene_is_still_described(make_sample) -> None:
    rng = np.random.default_rng(0)
    assert scene_phrases(make_sample(meta={})) == ("a face",)
    assert {"a face" in caption_answer(make_sample(meta={}), rng).lower() for _ in range(20)} == {True}
    with pytest.raises(ValueError, match=r"meta\.scene"):
        scene_phrases(make_sample(meta={"scene": "a wall"}))


def test_captions_of_pictures_that_nobody_described_are_told(make_sample, samples: list[Sample], tmp_path: Path) -> None:
    """The grammar sees no pictures: all it can say about these is "a face"."""
    write_jsonl(tmp_path / "bare.jsonl", [make_sample("Bonafide", id="a", meta={}), make_sample("Print", id="b", meta={})])
    write_jsonl(tmp_path / "told.jsonl", samples)
    captions = GenerateConfig(tasks=("caption", "coarse"))
    assert (
        "2 of 2 pictures have no meta.scene" in generate(tmp_path / "bare.jsonl", tmp_path / "1.jsonl", captions, seed=0).note
    )
    assert generate(tmp_path / "told.jsonl", tmp_path / "2.jsonl", captions, seed=0).note == ""
    assert generate(tmp_path / "bare.jsonl", tmp_path / "3.jsonl", GenerateConfig(tasks=("coarse",)), seed=0).note == ""
    out = ["--out", str(tmp_path / "4.jsonl")]
    shown = CliRunner().invoke(app, ["generate", str(tmp_path / "bare.jsonl"), "--tasks", "caption", *out])
    assert shown.exit_code == 0 and "nothing but 'a face'" in shown.stderr


def test_attacks_whose_cues_nobody_saw_are_told(make_sample, tmp_path: Path) -> None:
    """In the plain wording, what is typical of a type would be taught as seen."""
    rows = [make_sample("Bonafide", id="a", meta={}), make_sample("Print", id="b", meta={}, boxes=[])]
    write_jsonl(tmp_path / "bare.jsonl", rows)
    for wording, said in (("plain", True), ("rich", False)):
        config = GenerateConfig(tasks=("reasoning",), backend=BackendConfig(wording=wording))
        note = generate(tmp_path / "bare.jsonl", tmp_path / f"{wording}.jsonl", config, seed=0).note
        assert ("1 of 1 attacks have no meta.cues" in note) == said


def test_which_pictures_get_more_depends_on_the_seed(samples: list[Sample]) -> None:
    plans = [plan(samples, ["coarse"], 1, len(samples) // 2, seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1] != plans[2]
    assert [sum(chosen.values()) for chosen in plans] == [len(samples) // 2] * 3


def test_a_dialogue_is_of_its_samples_split(make_sample) -> None:
    """Training relies on it: dialogues of split "test" are set aside."""
    for split in ("train", "test", None):
        sample = make_sample("Print").model_copy(update={"split": split})
        assert [row.meta["split"] for row in generate_dialogues([sample], tasks=["coarse"], seed=0)] == [split]
