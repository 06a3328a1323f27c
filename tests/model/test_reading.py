"""A picture read once gives every question the answer that it has alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from faceshield.model.reading import Reading

QUESTIONS = ["Why?", "Is this face bona fide or an attack, and of what type?", "What type of presentation is this?"]
ANSWERS = ["This is a bona fide face.", "This is a presentation attack.", "The attack is at [12, 34, 567, 890]."]
OPTIONS = [{}, {"use_savp": False}, {"pvtm_inference": "paper", "pvtm_mask_ratio": 0.5}]


def read(pair: Any, pictures: list[np.ndarray]) -> Reading:
    model, processor = pair
    inputs = processor(images=pictures)
    with torch.inference_mode():
        savp = inputs["savp_values"].to(model.dtype) if "savp_values" in inputs else None
        encoded = model.encode_images(inputs["pixel_values"].to(model.dtype), savp)
    return Reading(model, processor, *encoded)


def whole(pair: Any, pictures: list[np.ndarray], questions: list[str]) -> dict[str, torch.Tensor]:
    """The ordinary way: the whole conversation at once."""
    inputs = dict(pair[1](images=pictures, text=questions))
    inputs["pvtm_seeds"] = torch.zeros(len(pictures), dtype=torch.long)
    return inputs


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_scores_are_those_of_the_whole_conversation(
    make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any]
) -> None:
    pair = make_pair(**options)
    answers = [pair[1].encode_answer(answer) for answer in ANSWERS]
    reading = read(pair, pictures)
    for question in (*QUESTIONS, QUESTIONS[0]):  # the first again: nobody has written into what is shared
        expected = pair[0].score_answers(answers, **whole(pair, pictures, [question] * len(pictures)))
        torch.testing.assert_close(reading.score(question, answers), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_are_those_of_the_whole_conversation(
    make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any]
) -> None:
    pair = make_pair(**options)
    model, processor = pair
    found = read(pair, pictures).answer(QUESTIONS, max_new_tokens=8)
    assert len(found) == len(pictures) and {len(row) for row in found} == {len(QUESTIONS)}
    for row, picture in zip(found, pictures, strict=True):
        for answer, question in zip(row, QUESTIONS, strict=True):
            inputs = whole(pair, [picture], [question])
            ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            assert answer == processor.decode_answer(ids)
    assert len({answer for row in found for answer in row}) > 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_a_batch_gives_each_its_own_probabilities(
    make_pair: Any, pictures: list[np.ndarray], dtype: torch.dtype, tolerance: float
) -> None:
    model, processor = make_pair()
    pair = model.to(dtype), processor
    answers = [processor.encode_answer(answer) for answer in ANSWERS]
    eight = (pictures * 3)[:8]
    together = read(pair, eight).score(QUESTIONS[1], answers).softmax(-1)
    for row, picture in zip(together, eight, strict=True):
        alone = read(pair, [picture]).score(QUESTIONS[1], answers).softmax(-1)[0]
        assert (row - alone).abs().max() <= tolerance and row.argmax() == alone.argmax()


def test_no_question_is_no_answer(pair: Any, pictures: list[np.ndarray]) -> None:
    assert read(pair, pictures).answer([], max_new_tokens=4) == []
