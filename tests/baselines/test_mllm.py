"""General multimodal models: what they are asked, how their first verdict becomes a score, a toy LLaVA through `predict`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.baselines import load_model
from faceshield.baselines.mllm import Mllm, spoken, squared, verdict_score
from faceshield.chat import ChatConfig, Completion, Request, Token
from faceshield.cli import app
from faceshield.records import Prediction, Sample, read_jsonl, write_jsonl
from faceshield.tasks import COARSE, FINE, LOCALIZATION, REASONING, TASKS, square_from_pixels
from faceshield.taxonomy import PRESENTATION_TYPES
from toy_llava import teach, toy_llava


class Said:
    """A chat that answers what it is told to, and keeps what it was asked."""

    name, workers, config = "said", 1, ChatConfig(temperature=0)

    def __init__(self, *answers: Completion) -> None:
        self.answers, self.asked = answers, []

    def complete_many(self, requests: list[Request]) -> list[Completion]:
        self.asked += requests
        return [self.answers[index % len(self.answers)] for index in range(len(requests))]


def first(text: str, **alternatives: float) -> Completion:
    chosen = max(alternatives, key=lambda key: alternatives[key])
    logarithms = tuple((piece, math.log(share)) for piece, share in alternatives.items())
    return Completion(text, (Token(chosen, logarithms),))


def test_the_twelve_types_are_in_the_prompt() -> None:
    asked = Mllm(Said(Completion("")))
    for task in (FINE, REASONING):
        assert all(name in asked.question(task.name) for name in PRESENTATION_TYPES)
    assert all(name in asked.question("coarse") for name in PRESENTATION_TYPES if name != "Bonafide")
    assert len({asked.question(name) for name in TASKS}) == 4
    plain = Mllm(Said(Completion("")), prompt="plain")
    assert [plain.question(name) for name in TASKS] == [task.question for task in TASKS.values()]
    assert asked.settings["questions"] != plain.settings["questions"] and asked.settings["temperature"] == 0


@pytest.mark.parametrize("name", PRESENTATION_TYPES)
def test_answers_that_follow_the_prompt_are_read(name: str) -> None:
    assert FINE.read(name).presentation_type == name and FINE.read(f"{name}.").status == "parsed"
    end = "so this face is bona fide." if name == "Bonafide" else f"so this is a presentation attack of type {name}."
    assert REASONING.read(f"A paper edge can be seen, {end}").is_attack == (name != "Bonafide")
    assert [COARSE.read(word).is_attack for word in ("real", "Real.", "attack", "Attack.")] == [False, False, True, True]
    assert LOCALIZATION.read("There is no attack region.").is_attack is False


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (first("real", real=0.8, attack=0.2), 0.8),
        (first("attack", attack=0.6, real=0.3, The=0.1), 1 / 3),
        (first(" Real", **{" Real": 0.5, "▁real": 0.2, "Attack": 0.1, "fake": 0.2}), 0.7),
        (first("attack", attack=0.9, apple=0.1), 0.0),
        (first("Att", Att=0.9, Re=0.1), None),  # the words are no verdict
        (Completion("Attack", (*first("", Att=0.6, Re=0.2, a=0.2).tokens, *first("", ack=1.0).tokens)), 0.25),
        (Completion("attack", (*first("", a=0.8, re=0.1, r=0.1).tokens, *first("", ttack=1.0).tokens)), 0.2),
        (Completion("real", (*first("", r=0.6, a=0.3, x=0.1).tokens, *first("", eal=1.0).tokens)), 2 / 3),
        (Completion("real face", (*first("", real=0.6, fake=0.2).tokens, *first("", face=1.0).tokens)), 0.75),
        (first("It is not real", real=0.9, attack=0.1), None),  # the words as a whole say otherwise
        (first("Perhaps", Perhaps=0.9, real=0.1), None),
        (Completion("real"), None),
        (Completion("real", (Token("real", ()),)), None),
        (Completion("real", (*first("", It=1.0).tokens, *first("", real=0.9, attack=0.1).tokens)), 0.9),
    ],
)
def test_the_score_is_the_first_verdicts_probability(answer: Completion, expected: float | None) -> None:
    assert verdict_score(answer) == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_thoughts_are_no_verdict() -> None:
    pieces = ["<think>", "attack", "?", "</think>", "real"]
    tokens = [Token(piece, ((piece, math.log(0.9)), ("attack", math.log(0.1)))) for piece in pieces]
    assert verdict_score(Completion("<think>attack?</think>real", tuple(tokens))) == pytest.approx(0.9)
    assert spoken("<think>attack?</think> real ") == "real" and spoken("<think>attack? I wonder") == ""
    assert spoken("maybe an attack. But no.</think>\n\nReal") == "Real"  # where the prompt itself opens the thoughts


def test_what_the_chat_cut_off_stays_known() -> None:
    class Chatty:
        name, workers = "chatty", 1

        def complete_many(self, requests: Any) -> list[Completion]:
            return [Completion("<think>hm</think>This face", cut=True), Completion("real")]

    answers = Mllm(Chatty()).ask_many([np.zeros((4, 4, 3), np.uint8)] * 2, "Why?")  # type: ignore[arg-type]
    assert [(text, text.cut) for text, _ in answers] == [("This face", True), ("real", False)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [(40, 100, 3), (100, 41, 3), (50, 50, 3)])
def test_boxes_are_asked_of_the_readers_square(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    image[10:30, 5:25] = 255
    square = squared(image)
    side = square.shape[0]
    assert square.shape == (max(shape), max(shape), 3)
    rows, columns = np.nonzero((square == 255).all(-1))
    seen = [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]
    told = [round(value / side * 999) for value in seen]
    assert told == list(square_from_pixels((5, 10, 25, 30), (shape[1], shape[0])))
    chat = Said(Completion(str(told)))
    asked = Mllm(chat)
    ((text, score),) = asked.ask_many([image], asked.question("localization"))
    assert chat.asked[0].picture.shape == square.shape and not chat.asked[0].alternatives and score is None
    assert LOCALIZATION.read(text, (shape[1], shape[0])).boxes[0] == pytest.approx((5, 10, 25, 30), abs=0.2)
    asked.ask_many([image], asked.question("coarse"))
    assert chat.asked[1].picture.shape == shape and chat.asked[1].alternatives == 20


DARK, BRIGHT = Image.new("RGB", (48, 64), (20, 30, 40)), Image.new("RGB", (64, 48), (220, 210, 200))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    question = Mllm(Said(Completion(""))).question("coarse")
    folder = toy_llava(tmp_path_factory.mktemp("models") / "llava", words=[question, "real", "attack"] * 3)
    teach(folder, [(DARK, question, "attack"), (BRIGHT, question, "real")])
    return folder


@pytest.fixture
def two(tmp_path: Path, make_sample: Any) -> Path:
    rows = []
    for index in range(6):
        attack = index % 2 == 1
        (DARK if attack else BRIGHT).save(tmp_path / f"{index}.png")
        size = (48, 64) if attack else (64, 48)
        boxes = [(4.0, 4.0, 40.0, 40.0)] if attack else []
        sample: Sample = make_sample(
            "Print" if attack else "Bonafide", id=f"s{index}", image=f"{index}.png", size_wh=size, boxes=boxes
        )
        rows.append(sample)
    write_jsonl(tmp_path / "samples.jsonl", rows)
    return tmp_path / "samples.jsonl"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_a_toy_llava_is_predicted_and_scored(taught: Path, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "llava" / "predictions.jsonl"
    options = ["--model", taught, "--set", "max_tokens=6", "--set", "device=cpu"]
    result = run("predict", two, "--out", out, *options)
    assert result.exit_code == 0, result.output
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    assert len(rows) == 24 and "real or an attack" in rows["s0:coarse"].question
    for index in range(6):
        row = rows[f"s{index}:coarse"]
        assert row.is_attack is (index % 2 == 1) and row.status == "parsed", row
        assert row.bonafide_score is not None and (row.bonafide_score < 0.5) is row.is_attack
    assert all(row.bonafide_score is None for row in rows.values() if row.task != "coarse")
    # Whole batches and single pictures answer alike, whatever their padding.
    alone = tmp_path / "alone" / "predictions.jsonl"
    assert run("predict", two, "--out", alone, "--batch-size", 1, *options).exit_code == 0
    for row in read_jsonl(alone, Prediction):
        assert row.answer == rows[row.id].answer
        assert row.bonafide_score == pytest.approx(rows[row.id].bonafide_score, abs=1e-5)
    metrics = tmp_path / "metrics.json"
    assert run("score", out, "--answer", "--out", metrics, "--repeats", 10).exit_code == 0
    coarse = json.loads(metrics.read_text())["overall"]["coarse"]
    assert coarse["by_answer"]["acc"]["value"] == 1.0 and coarse["ranking"]["auc"]["value"] == 1.0
    again = run("predict", two, "--out", out, *options, "--prompt", "plain")
    assert "was begun with prompt" in str(again.exception)


@pytest.mark.slow
def test_questions_of_different_length_share_a_batch(taught: Path) -> None:
    chat = load_model(taught, settings=["max_tokens=5", "device=cpu"]).chat
    requests = [Request("real?", picture=DARK, alternatives=3), Request("Is this a face before a wall? " * 3, picture=BRIGHT)]
    together = chat.complete_many(requests)
    for request, found in zip(requests, together, strict=True):
        alone = chat.complete(request)
        assert alone.text == found.text
        for one, other in zip(alone.tokens, found.tokens, strict=False):
            assert one.chosen == other.chosen == one.alternatives[0][0]
            assert [value for _, value in one.alternatives] == pytest.approx(
                [value for _, value in other.alternatives][:3], abs=1e-4
            )


def test_a_template_that_begins_the_text_begins_it_once(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    from faceshield.chat.local import _inputs

    processor = load_model(toy_llava(tmp_path / "llava"), settings=["device=cpu"]).chat.load()[1]
    start, tokenizer = processor.tokenizer.eos_token, processor.tokenizer
    tokenizer.bos_token = start
    begins = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, tokenizer.eos_token_id)])
    tokenizer.backend_tokenizer.post_processor = begins
    assert tokenizer("a wall")["input_ids"].count(tokenizer.eos_token_id) == 1
    processor.chat_template = start + "{{ messages[0].content[-1].text }}"
    ids = _inputs(processor, [Request("a wall")], 32)["input_ids"][0].tolist()
    assert ids.count(tokenizer.eos_token_id) == 1


def test_a_template_without_a_system_turn_gets_its_words(tmp_path: Path) -> None:
    from faceshield.chat.local import _inputs

    strict = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "{{ m.content[-1].text }}{% endfor %}"
    )
    processor = load_model(toy_llava(tmp_path / "llava", template=strict), settings=["device=cpu"]).chat.load()[1]
    ids = _inputs(processor, [Request("a wall", system="this is a face")], 32)["input_ids"][0]
    assert "this is a face" in processor.tokenizer.decode(ids) and "a wall" in processor.tokenizer.decode(ids)


def test_models_that_cannot_be_asked(tmp_path: Path, checkpoint: Path) -> None:
    bare = toy_llava(tmp_path / "bare", template=None)
    with pytest.raises(ValueError, match="no chat template"):
        load_model(bare)
    with pytest.raises(ValueError, match="pvtm for .*a llava model has no such option"):
        load_model(bare, pvtm="paper")
    with pytest.raises(ValueError, match="settings for .*our own model has no such option"):
        load_model(checkpoint, prompt="plain", settings=["max_tokens=3"])
    (bare / "config.json").write_text(json.dumps({"model_type": "bunny-phi3"}))
    with pytest.raises(ValueError, match="model_type 'bunny-phi3' — expected 'faceshield', or an image-text-to-text"):
        load_model(bare)
    with pytest.raises(ValueError, match="did you mean 'max_tokens'"):
        load_model("m", endpoint="http://127.0.0.1:1/v1", settings=["max_token=3"])
