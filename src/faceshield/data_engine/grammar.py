"""Text from rules and a generator: the plain descriptions that the first stage is trained on (paper §3.2, FaceShield-pre10K).

A description names what can be seen and never a verdict or a type: stage 1 aligns pictures with words, stage 2 judges. The
wordings of the four tasks live with the tasks, which must read them back. Use: `caption_answer(sample, rng)`.
"""

from __future__ import annotations

import numpy as np

from faceshield.records import Sample
from faceshield.tasks.base import choose, join_phrases, noun_phrases, sentence_case

CAPTION_QUESTIONS: tuple[str, ...] = (
    "What does the picture show?",
    "What can be seen in the picture?",
    "What do you see?",
    "What is in the picture?",
    "Say what the picture shows.",
    "Describe the picture.",
    "Look at the picture. What do you see?",
    "Name what can be seen.",
    "Give a short description of the picture.",
)
"""Phrasings of the caption task's question; none of them asks for a verdict."""

_CAPTIONS = (
    "The picture shows {phrases}.",
    "I see {phrases}.",
    "{Phrases} can be seen.",
    "This is {first}.",
    "There is {first}.",
)
_REST = ("{Rest} can be seen too.", "I also see {rest}.", "The picture also shows {rest}.")
_DEFAULT_SCENE = ("a face",)


def scene_phrases(sample: Sample) -> tuple[str, ...]:
    """The sample's `meta["scene"]` without blanks and repeats, or "a face" if it has none.

    Raises:
        ValueError: `meta["scene"]` is not a list of phrases.
    """
    return noun_phrases(sample, "scene") or _DEFAULT_SCENE


def caption_question(rng: np.random.Generator) -> str:
    """One of `CAPTION_QUESTIONS`."""
    return choose(rng, CAPTION_QUESTIONS)


def caption_answer(sample: Sample, rng: np.random.Generator) -> str:
    """One or two sentences that describe the scene without a verdict."""
    first, *rest = scene_phrases(sample)
    pattern = choose(rng, _CAPTIONS)
    everything = join_phrases([first, *rest])
    text = pattern.format(phrases=everything, Phrases=sentence_case(everything), first=first)
    if "{first}" in pattern and rest:
        more = join_phrases(rest)
        text = f"{text} {choose(rng, _REST).format(rest=more, Rest=sentence_case(more))}"
    return text
