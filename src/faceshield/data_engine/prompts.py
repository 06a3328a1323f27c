"""Prompts for an assistant: the system prompt, the label with a description of its class, few-shot examples, the task's
instructions (paper §3.2, Fig. 3b), and the JSON form of its answer.

Paper is silent: it names the parts of its prompts but not their words; these are our own.
Use: `pairs_prompt(sample, "reasoning", 2)`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from faceshield.data_engine.rich import seen_cues
from faceshield.records import Dialogue, Sample
from faceshield.tasks import boxes_in_words
from faceshield.taxonomy import describe


class PairText(BaseModel):
    """One question and its answer."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=3, max_length=400)
    answer: str = Field(min_length=2, max_length=2000)


class PairsText(BaseModel):
    """What is asked for when pairs are."""

    model_config = ConfigDict(extra="forbid")

    pairs: list[PairText] = Field(min_length=1)


class JudgementText(BaseModel):
    """What is asked for when a judgement is."""

    model_config = ConfigDict(extra="forbid")

    answers_the_question: bool
    reason: str = Field(max_length=500)


@dataclass(frozen=True)
class Prompt:
    """A request to an assistant.

    Attributes:
        system, user: the two messages; if `with_picture`, the picture goes before the user's words.
        schema: pydantic class of the JSON answer, or None for free text.
    """

    system: str
    user: str
    with_picture: bool
    schema: type[BaseModel] | None


_ROLE = (
    "You write training dialogues for a face anti-spoofing assistant. A picture of a face is either bona fide (a live person "
    "before the camera) or a presentation attack (an instrument shown to the camera). "
)
_RULES = (
    "Describe only what can be seen. A question must suit every picture: it names no type of attack and does not take for "
    "granted that the face is bona fide. Never guess who the person is. Answer with JSON alone."
)
SYSTEM = (
    f"{_ROLE}You are told the truth about the picture; never contradict it, never express doubt, never mention that you were "
    f"told. {_RULES}"
)
CAPTION_SYSTEM = _ROLE + _RULES
"""System prompt for captions, which are written without the truth."""

_TASKS = {
    "coarse": (
        "Questions are one-sentence instructions that ask whether the face is bona fide or a presentation attack. "
        "Answers are one definite sentence with the verdict, and may give a short reason."
    ),
    "fine": (
        "Questions are one-sentence instructions that ask for the presentation type. Answers are one definite sentence that "
        'names the type exactly as given ("This is a Print attack."), or says that the face is bona fide.'
    ),
    "reasoning": (
        "Questions are one-sentence instructions that ask why the face is bona fide or an attack. Answers are one paragraph "
        "that looks at the light, the shape of the features, the depth, and edges of paper or a screen, and ends with the "
        'conclusion "so this is a presentation attack of type X." or "so this face is bona fide."'
    ),
    "localization": (
        "Questions are one-sentence instructions that ask where the attack is. Answers copy the given box exactly, digit by "
        'digit ("The attack is at [10, 20, 30, 40]."), or say that there is no attack region. No other numbers.'
    ),
    "caption": (
        "Questions are one-sentence instructions that ask for a description. Answers describe the face and its surroundings in "
        "one or two sentences, without a verdict."
    ),
}

_EXAMPLES = {
    "coarse": (
        ("Is the face in this photo genuine?", "No, this is a presentation attack, for a paper edge can be seen."),
        ("Would you accept this face as bona fide?", "This face is bona fide."),
    ),
    "fine": (
        ("What kind of attack is it?", "This is a Replay attack: the face is shown on a screen."),
        ("Name the presentation type.", "The face is bona fide."),
    ),
    "reasoning": (
        (
            "Explain whether this is an attack.",
            "The light on the face is flat and does not fit the room, the nose has no depth, and a straight paper edge runs "
            "beside the cheek, so this is a presentation attack of type Print.",
        ),
        (
            "What speaks for a live person or against it?",
            "Light and shadow follow the nose and the brows, the skin has a fine texture, and no edge surrounds the face, so "
            "this face is bona fide.",
        ),
    ),
    "localization": (
        ("Where is the attack?", "The attack is at [120, 304, 870, 512]."),
        ("Mark the attacked region.", "There is no attack region."),
    ),
    "caption": (("What does the picture show?", "The picture shows the face of a person with dark hair before a plain wall."),),
}

_REWRITE = (
    "Write new question-and-answer pairs about the same picture, each of which says the same as the given pair in other words. "
    "Keep the verdict, the presentation type and every number exactly."
)

_JUDGE = (
    "You check training dialogues of a face anti-spoofing assistant. Decide whether the answer answers the question: on the "
    "topic, definite, without refusing. You need not know whether it is true. Answer with JSON alone."
)

VERSION = hashlib.sha256(
    json.dumps(
        [
            SYSTEM,
            CAPTION_SYSTEM,
            _TASKS,
            _EXAMPLES,
            _REWRITE,
            _JUDGE,
            PairsText.model_json_schema(),
            JudgementText.model_json_schema(),
        ]
    ).encode()
).hexdigest()[:12]
"""Changes when any prompt does; part of the cache's key."""


def pairs_prompt(sample: Sample, task: str, count: int) -> Prompt:
    """Asks for `count` pairs about a picture, given its truth; captions are given none (paper: no other information)."""
    parts = [] if task == "caption" else [_truth(sample, task)]
    parts += [f"Task: {task}. {_TASKS[task]}", _examples(task), _form(count)]
    return Prompt(CAPTION_SYSTEM if task == "caption" else SYSTEM, "\n\n".join(parts), True, PairsText)


def rewrite_prompt(dialogue: Dialogue, count: int) -> Prompt:
    """Asks for `count` rewordings of a dialogue's first pair."""
    question, answer = dialogue.texts[:2]
    given = json.dumps({"question": question, "answer": answer}, ensure_ascii=False)
    user = f"{_REWRITE}\n\nTask: {dialogue.task}. {_TASKS.get(dialogue.task, '')}\n\nThe given pair: {given}\n\n{_form(count)}"
    return Prompt(SYSTEM, user, False, PairsText)


def judge_prompt(dialogue: Dialogue) -> Prompt:
    """Asks whether the answers of a dialogue answer its questions."""
    turns = [{"from": turn.speaker, "value": text} for turn, text in zip(dialogue.conversations, dialogue.texts, strict=True)]
    form = 'Answer with {"answers_the_question": true or false, "reason": "one short sentence"}.'
    return Prompt(_JUDGE, f"The dialogue: {json.dumps(turns, ensure_ascii=False)}\n\n{form}", False, JudgementText)


@functools.cache
def response_format(schema: type[BaseModel]) -> dict[str, Any]:
    """The schema in the form that OpenAI's protocol requires."""
    return {
        "type": "json_schema",
        "json_schema": {"name": schema.__name__, "schema": schema.model_json_schema(), "strict": True},
    }


def _truth(sample: Sample, task: str) -> str:
    row = describe(sample.presentation_type)
    lines = [
        "The truth about the picture:",
        f"- verdict: {'presentation attack' if sample.is_attack else 'bona fide'}",
        f"- presentation type: {row.name if sample.presentation_type else 'not known'}: {row.sentence}",
    ]
    cues = seen_cues(sample)
    if cues:
        lines.append(f"- can be seen: {', '.join(cues)}")
    elif row.cues:
        lines.append(f"- such pictures often show: {', '.join(row.cues)}; mention only what you see")
    if task == "localization" and sample.boxes:
        lines.append(f"- box of the attack: {boxes_in_words(sample.boxes, sample.size_wh)}")
    return "\n".join(lines)


def _examples(task: str) -> str:
    pairs = [{"question": question, "answer": answer} for question, answer in _EXAMPLES[task]]
    return "Examples of the form, of other pictures:\n" + "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)


def _form(count: int) -> str:
    return (
        f"Write {count} different pair{'s' if count > 1 else ''}. "
        'Answer with {"pairs": [{"question": "…", "answer": "…"}, …]} and nothing else.'
    )
