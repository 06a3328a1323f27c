"""Reasoning (paper §3.2): what can be seen, and the verdict that follows from it, in at most two short sentences.

The cues come from the sample's `meta["cues"]` (noun phrases for what was actually rendered or annotated), else from the
taxonomy.
"""

from __future__ import annotations

import re

import numpy as np

from faceshield.records import Sample
from faceshield.tasks.base import Answer, Task, choose, join_phrases, noun_phrases, sentence_case
from faceshield.tasks.verdicts import find_type, find_verdict_or_type
from faceshield.taxonomy import BONAFIDE, describe

MAX_WORDS = 45
MAX_CUES = 4

_ONE_SENTENCE = (
    "{Cues} can be seen, {verdict}",
    "The picture shows {cues}, {verdict}",
    "I see {cues}, {verdict}",
)
_TWO_SENTENCES = (
    "{First} can be seen. The picture also shows {rest}, {verdict}",
    "The picture shows {first}. {Rest} can be seen too, {verdict}",
    "I see {first}. I also see {rest}, {verdict}",
)
_CONCLUSION = re.compile(r"(?:^|[\s,.;])(?:so|therefore|thus|hence|in conclusion|overall)(?:,?\s)", re.IGNORECASE)


def sample_cues(sample: Sample) -> tuple[str, ...]:
    """The sample's own cues, cleaned of blanks and repeats, or the taxonomy's cues for its type."""
    return noun_phrases(sample, "cues") or describe(sample.presentation_type).cues


class ReasoningTask(Task):
    name = "reasoning"
    needs = "a presentation type"
    questions = (
        "Why is this face bona fide or a presentation attack?",
        "Why is this face bona fide or an attack?",
        "Explain what you see and say if it is an attack.",
        "Explain your answer. Is this face bona fide or an attack?",
        "What in the picture shows that the face is bona fide or an attack?",
        "Which signs show an attack, if any?",
        "Give the reason. Is it bona fide or an attack?",
        "Look at the face. What do you see, and what follows?",
        "What do you see, and is it an attack?",
    )
    templates: dict[str, str] = {}

    def applies(self, sample: Sample) -> bool:
        """Whether the presentation type is known, and so its signs."""
        return sample.presentation_type is not None

    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        if sample.presentation_type is None:
            raise ValueError(f"sample {sample.id!r} has no presentation type — expected one — ask applies() first")
        # Always the first ones in the sample's own order: if answers had any number of cues in any order, the likeliest answer
        # would name a single one, and that is what a model would learn to say.
        cues = list(sample_cues(sample)[:MAX_CUES])
        if sample.is_attack:
            verdict = f"so this is a presentation attack of type {sample.presentation_type}."
        else:
            verdict = "so this face is bona fide."
        pattern = _ONE_SENTENCE[0]
        if rng is not None:
            pattern = choose(rng, _ONE_SENTENCE if len(cues) < 2 or rng.random() < 0.5 else _TWO_SENTENCES)
        text = _fill(pattern, cues, verdict)
        while len(text.split()) > MAX_WORDS and len(cues) > 1:
            cues.pop()
            text = _fill(pattern if len(cues) > 1 else _ONE_SENTENCE[0], cues, verdict)
        return text

    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        for part in (_conclusion(text), _last_sentence(text), text):
            is_attack, name = find_verdict_or_type(part), find_type(part)
            if is_attack is not None:
                break
        else:
            return Answer("unparsed", text=text)
        if not is_attack:
            return Answer("parsed", False, BONAFIDE, text=text)
        return Answer("parsed", True, None if name == BONAFIDE else name, text=text)


def _fill(pattern: str, cues: list[str], verdict: str) -> str:
    both, first, rest = join_phrases(cues), cues[0], join_phrases(cues[1:])
    return pattern.format(
        cues=both,
        Cues=sentence_case(both),
        first=first,
        First=sentence_case(first),
        rest=rest,
        Rest=sentence_case(rest),
        verdict=verdict,
    )


def observations(text: str) -> str:
    """The observations in an answer: everything before its conclusion."""
    starts = [match.start() for match in _CONCLUSION.finditer(text)]
    return text[: starts[-1]] if starts else text


def _conclusion(text: str) -> str:
    """The text after the last "so" or similar word; empty if there is none."""
    ends = [match.end() for match in _CONCLUSION.finditer(text)]
    return text[ends[-1] :] if ends else ""


def _last_sentence(text: str) -> str:
    sentences = [part for part in re.split(r"[.!?\n]+", text) if part.strip()]
    return sentences[-1] if sentences else ""


REASONING = ReasoningTask()
