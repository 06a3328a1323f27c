"""A picture read once gives every question the answer that it has alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from faceshield.model import load, save
from faceshield.model.drafts import DRAFTS_FILE, Drafts
from faceshield.model.reading import Reading, Words
from faceshield.model.tensor_files import WeightsError

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


def plain_score(pair: Any, picture: np.ndarray, question: str, answer: str) -> torch.Tensor:
    """Log-probability of an answer by the logits of the whole conversation, end token included."""
    inputs = {**pair[1](images=picture, text=question, answers=answer), "pvtm_seeds": torch.zeros(1, dtype=torch.long)}
    labels = inputs.pop("labels")[0, 1:]
    with torch.inference_mode():
        chances = pair[0](**inputs).logits[0, :-1].log_softmax(-1)
    spoken = labels != -100
    return chances[spoken].gather(-1, labels[spoken, None]).sum()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_scores_are_those_of_the_whole_conversation(
    make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any], attention: str
) -> None:
    pair = make_pair(**options)
    pair[0].set_attn_implementation(attention)
    answers = [pair[1].encode_answer(answer) for answer in ANSWERS]
    reading, expected = read(pair, pictures), {}
    for question in QUESTIONS:
        rows = [[plain_score(pair, picture, question, answer) for answer in ANSWERS] for picture in pictures]
        expected[question] = torch.tensor(rows)
    for question in (*QUESTIONS, QUESTIONS[0]):  # the first again: nobody has written into what is shared
        torch.testing.assert_close(reading.score({question: answers})[0], expected[question], rtol=0, atol=1e-4)


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
    together = read(pair, eight).score({QUESTIONS[1]: answers})[0].softmax(-1)
    for row, picture in zip(together, eight, strict=True):
        alone = read(pair, [picture]).score({QUESTIONS[1]: answers})[0].softmax(-1)[0]
        assert (row - alone).abs().max() <= tolerance and row.argmax() == alone.argmax()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_no_question_is_no_answer(make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any]) -> None:
    assert read(make_pair(**options), pictures).answer([], max_new_tokens=4) == [[]] * len(pictures)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_all_questions_are_scored_as_if_each_were_the_only_one(
    make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any]
) -> None:
    pair = make_pair(**options)
    answers = [pair[1].encode_answer(answer) for answer in ANSWERS]
    asked = {question: answers[: number + 1] for number, question in enumerate(QUESTIONS)}
    reading = read(pair, pictures)
    first = reading.score(asked)
    reading.answer(QUESTIONS[:2], max_new_tokens=4)
    for together, again, (question, fixed) in zip(first, reading.score(asked), asked.items(), strict=True):
        alone = read(pair, pictures).score({question: fixed})[0]
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)
        assert torch.equal(together, again)  # what was asked in between left nothing behind


@pytest.mark.parametrize("window", [None, 40, 5])
def test_pictures_that_are_done_leave_the_others_to_go_on(
    make_pair: Any, toy_sizes: Any, pictures: list[np.ndarray], window: int | None
) -> None:
    """An end token that comes early for some makes the batch smaller under way, and no guess goes on beyond it."""
    pair = make_pair(text_config={**toy_sizes["text_config"], "sliding_window": window})
    model, processor = pair
    asked = [(picture, question) for picture in pictures for question in QUESTIONS]

    def said(picture: np.ndarray, question: str, end: int | None) -> list[int]:
        inputs = whole(pair, [picture], [question])
        made = model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=end, pad_token_id=end)
        return made[0, inputs["input_ids"].shape[1] :].tolist()

    never = [said(*one, -1) for one in asked]
    known = Drafts.learn(3 * never)
    original, seen = processor.eos_token_id, set()
    try:
        for end in sorted({ids[1] for ids in never[:: len(QUESTIONS)]}):
            processor.eos_token_id = end
            spoken = [ids[: ids.index(end)] if end in ids else ids for ids in never]
            seen |= set(map(len, spoken))
            for drafts in (Drafts(), known):
                reading = read(pair, pictures)
                reading.drafts = drafts
                found = [answer for row in reading.answer(QUESTIONS, max_new_tokens=12) for answer in row]
                assert found == [processor.decode_answer(ids) for ids in spoken]
    finally:
        processor.eos_token_id = original
    assert len(seen) > 1


def test_a_sliding_window_hides_what_generate_hides(make_pair: Any, toy_sizes: Any, pictures: list[np.ndarray]) -> None:
    narrow = {**toy_sizes["text_config"], "sliding_window": 40}
    pair = make_pair(text_config=narrow)
    model, processor = pair
    found = read(pair, pictures[:1]).answer(QUESTIONS, max_new_tokens=8)[0]
    score = read(pair, pictures[:1]).score({QUESTIONS[1]: [processor.encode_answer(ANSWERS[2])]})[0]
    for answer, question in zip(found, QUESTIONS, strict=True):
        inputs = whole(pair, pictures[:1], [question])
        ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert answer == processor.decode_answer(ids)
    torch.testing.assert_close(score[0, 0], plain_score(pair, pictures[0], QUESTIONS[1], ANSWERS[2]), rtol=0, atol=1e-4)


def test_pictures_without_a_second_stream_are_read_too(pair: Any, pictures: list[np.ndarray]) -> None:
    model, processor = pair
    inputs = processor(images=pictures, text=QUESTIONS[0], savp=False)
    with torch.inference_mode():
        features, joint = model.encode_images(inputs["pixel_values"], with_joint=False)
        assert joint is None
        full, _ = model.encode_images(inputs["pixel_values"])
    torch.testing.assert_close(features, full, rtol=0, atol=1e-6)
    said = Reading(model, processor, features).answer(QUESTIONS[:1], max_new_tokens=8)
    made = model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert [row[0] for row in said] == [processor.decode_answer(row) for row in made]


def test_kept_tokens_are_read_at_their_own_positions(pair: Any, pictures: list[np.ndarray]) -> None:
    """All kept is nothing changed; some kept is the whole conversation with the others masked from attention."""
    model, processor = pair
    inputs = processor(images=pictures)
    with torch.inference_mode():
        features, joint = model.encode_images(inputs["pixel_values"], inputs["savp_values"])
    answers = [processor.encode_answer(answer) for answer in ANSWERS]
    everything = torch.arange(features.shape[1]).expand(len(pictures), -1)
    full = Reading(model, processor, features).score({QUESTIONS[0]: answers})[0]
    torch.testing.assert_close(Reading(model, processor, features, kept=everything).score({QUESTIONS[0]: answers})[0], full)
    kept = torch.stack([torch.randperm(features.shape[1], generator=torch.Generator().manual_seed(r))[:9] for r in range(3)])
    kept = kept.sort(1).values
    reading = Reading(model, processor, features, kept=kept)
    found, said = reading.score({QUESTIONS[0]: answers})[0], reading.answer(QUESTIONS, max_new_tokens=6)
    assert (found - full).abs().max() > 1e-2
    for row, picture in enumerate(pictures):
        plain = processor(images=picture, text=QUESTIONS[0], answers=ANSWERS[1])
        labels, mask = plain.pop("labels")[0, 1:], plain["attention_mask"]
        hidden = torch.ones(features.shape[1], dtype=torch.bool).scatter(0, kept[row], False)
        places = (plain["input_ids"][0] == processor.image_token_id).nonzero().flatten()
        mask[0, places[hidden]] = 0
        positions = torch.arange(mask.shape[1]).unsqueeze(0)
        with torch.inference_mode():
            chances = model(**plain, position_ids=positions).logits[0, :-1].log_softmax(-1)
        spoken = labels != -100
        wanted = chances[spoken].gather(-1, labels[spoken, None]).sum()
        torch.testing.assert_close(found[row, 1], wanted, rtol=0, atol=1e-4)
        alone = Reading(model, processor, features[row : row + 1], kept=kept[row : row + 1])
        assert alone.answer(QUESTIONS, max_new_tokens=6)[0] == said[row]
    model.config.pvtm_inference = "paper"
    with pytest.raises(ValueError, match="expected one of the two"):
        Reading(model, processor, features, joint, kept=kept)


def test_flash_attention_is_refused(pair: Any, pictures: list[np.ndarray]) -> None:
    pair[0].model.language_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="expected sdpa or eager"):
        read(pair, pictures)


def test_what_the_last_layer_makes_of_the_beginning_is_not_computed(pair: Any, pictures: list[np.ndarray]) -> None:
    reading, passed = read(pair, pictures), []
    for layer in pair[0].model.language_model.layers:
        layer.mlp.register_forward_hook(lambda module, given, made: passed.append(made.shape[1]))
    reading.answer(["Why?"], max_new_tokens=1)
    layers = pair[0].config.text_config.num_hidden_layers
    beginning, question = len(reading.prefix), len(reading._rest("Why?"))
    assert passed == [beginning] * (layers - 1) + [question] * layers


class Guess(Drafts):
    """Always the same tokens, whatever was said."""

    def after(self, said: Sequence[int], most: int, deep: int) -> list[tuple[int, ...]]:
        return [path for path in ((3,), (4,), (3, 5), (3, 4)) if len(path) <= deep][:most]


@pytest.mark.parametrize("options", [*OPTIONS, {"text_config": {"sliding_window": 40}}], ids=str)
def test_guesses_change_the_number_of_steps_and_no_word(
    make_pair: Any, pictures: list[np.ndarray], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_pair(**options)
    steps: list[int] = []
    read_on = Reading._read_on
    monkeypatch.setattr(Reading, "_read_on", lambda self, *given: steps.append(1) or read_on(self, *given))

    def asked(drafts: Drafts | None) -> tuple[list[list[Words]], int]:
        reading = read(pair, pictures)
        reading.drafts = drafts or Drafts()
        steps.clear()
        return reading.answer(QUESTIONS, max_new_tokens=12), len(steps)

    plain, many = asked(None)
    ids = []
    for picture in pictures:
        for question in QUESTIONS:
            inputs = whole(pair, [picture], [question])
            made = pair[0].generate(**inputs, max_new_tokens=12, do_sample=False)[0]
            ids.append(made[inputs["input_ids"].shape[1] :].tolist())
    known, few = asked(Drafts.learn(3 * ids))
    wrong, as_many = asked(Guess())
    assert known == plain == wrong and [[a.cut for a in row] for row in known] == [[a.cut for a in row] for row in plain]
    assert few < many and as_many <= many
    assert {len(row) for row in plain} == {len(QUESTIONS)}


def test_what_is_the_second_likeliest_is_fed_too(
    pair: Any, pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    read_on = Reading._read_on
    monkeypatch.setattr(Reading, "_read_on", lambda self, *given: steps.append(1) or read_on(self, *given))
    inputs = whole(pair, pictures[:1], QUESTIONS[:1])
    true = pair[0].generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    rival = [(token + 1) % 50 for token in true]
    reading = read(pair, pictures[:1])
    plain = reading.answer(QUESTIONS[:1], max_new_tokens=8)
    steps.clear()
    reading.drafts = Drafts.learn([true] * 3 + [rival] * 5)
    assert reading.answer(QUESTIONS[:1], max_new_tokens=8) == plain and len(steps) == 1


def test_no_words_are_no_answer(pair: Any, pictures: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="max_new_tokens=0 — expected 1 or more"):
        read(pair, pictures[:1]).answer(["Why?"], max_new_tokens=0)


def test_the_likeliest_continuations_are_guessed(tmp_path: Path) -> None:
    drafts = Drafts.learn([[7, 8, 9, 0]] * 4 + [[7, 8, 5, 0]] * 2 + [[6, 0]] * 2)
    # 7: 6 of 8, and after it 9 in two of three; 6: 2 of 8, but what follows it was met twice, which is not known.
    branches = [(7,), (7, 8), (7, 8, 9), (7, 8, 9, 0), (6,), (7, 8, 5)]
    assert drafts.after([], 8, 8) == branches
    assert drafts.after([], 3, 8) == branches[:3] and drafts.after([], 8, 2) == [(7,), (7, 8), (6,)]
    assert drafts.after([], 8, 0) == drafts.after([], 0, 8) == []
    assert drafts.after([7], 2, 8) == [(8,), (8, 9)]
    assert drafts.after([7, 8, 9], 8, 8) == [(0,)]
    assert drafts.after([7, 8, 5], 8, 8) == [] and drafts.after([6], 8, 8) == [], "met twice is not known"
    assert drafts.after([1, 2, 3, 4, 7], 8, 8) == []
    scattered = Drafts.learn([[1, token] for token in range(10, 30)])
    assert scattered.after([], 3, 8) == [(1,)], "of twenty that follow none is likely"
    rarer_first = Drafts.learn([[1, 2]] * 3 + [[1, 3]] * 7 + [[9, 9]] * 40)
    assert (1, 3) in (guesses := rarer_first.after([], 99, 99)) and (1, 2) not in guesses, "0.14 and 0.06"
    # Each of four on its own is likely enough, four after four after four are not.
    mixed = Drafts.learn([[a, b, c] for a in range(4) for b in range(4) for c in range(4)] * 3)
    assert {len(path) for path in mixed.after([], 99, 99)} == {1}

    assert Drafts.load(tmp_path) == Drafts()
    drafts.save(tmp_path)
    assert Drafts.load(tmp_path) == drafts and drafts.table
    Drafts().save(tmp_path)
    assert Drafts.load(tmp_path) == Drafts()
    (tmp_path / DRAFTS_FILE).write_bytes(b"no")
    with pytest.raises(WeightsError, match="expected a whole safetensors file"):
        Drafts.load(tmp_path)
    save_file({"before": torch.tensor([[-1, -1, -1, -1]]), "next": torch.tensor([7])}, tmp_path / DRAFTS_FILE)
    with pytest.raises(WeightsError, match="expected before, next and share — delete it"):
        Drafts.load(tmp_path)


def test_a_checkpoint_brings_its_guesses(pair: Any, tmp_path: Path) -> None:
    folder = save(*pair, tmp_path / "model")
    assert load(folder).drafts == Drafts()
    drafts = Drafts.learn([[7, 8, 0]] * 3)
    drafts.save(folder)
    assert load(folder).drafts == drafts
    Drafts.learn([[7, 999_999, 0]] * 3).save(folder)
    with pytest.raises(ValueError, match="tokens beyond the vocabulary"):
        load(folder)
