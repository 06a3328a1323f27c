"""The base of tasks: a task asks a question, writes the true answer, and parses any system's answer (paper §3.2, four tasks).

Use: `TASKS["coarse"].read("This is a presentation attack.").is_attack is True`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from faceshield.records import Box, Sample

FIXED_QUESTION_RATE = 0.5
"""How often `ask` with a generator uses the fixed question; it is used for scoring and inference, so it is trained most."""


@dataclass(frozen=True)
class Answer:
    """The parsed content of an answer's text.

    Attributes:
        status: "parsed", or "unparsed" if the text does not answer the task's question or contradicts itself.
        is_attack: the verdict, None if the text gives none.
        presentation_type: canonical name, None if the text names none.
        boxes: attack regions (x0, y0, x1, y1), in pixels of the picture, or on the 0-999 square if no size was given.
        text: the original text.
    """

    status: Literal["parsed", "unparsed"]
    is_attack: bool | None = None
    presentation_type: str | None = None
    boxes: list[Box] = field(default_factory=list)
    text: str = ""


class Task(ABC):
    """One of the four tasks; stateless."""

    name: str
    questions: tuple[str, ...]
    templates: dict[str, str]
    """Fixed answers to the fixed question, scored as a whole; empty for tasks whose answers are only generated."""
    needs: str = ""
    """What an attack's sample must record for a true answer; empty if nothing is needed."""

    @property
    def question(self) -> str:
        """The fixed question, used for scores and inference."""
        return self.questions[0]

    @property
    def version(self) -> str:
        """A hash of the fixed question and answers; a checkpoint's threshold holds for one version only."""
        content = json.dumps([self.question, self.templates], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def ask(self, rng: np.random.Generator | None = None) -> str:
        """A question: without a generator the fixed one, with one often a paraphrase."""
        if rng is None or rng.random() < FIXED_QUESTION_RATE:
            return self.question
        return choose(rng, self.questions[1:])

    def applies(self, sample: Sample) -> bool:
        """Whether the sample's ground truth is sufficient for an answer."""
        return True

    @abstractmethod
    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        """The true answer: without a generator in the fixed wording, with one in any of its wordings."""

    def pair(self, sample: Sample, rng: np.random.Generator) -> tuple[str, str]:
        """A question and its true answer for training; the fixed question always gets the fixed answer."""
        question = self.ask(rng)
        return question, self.answer(sample, None if question == self.question else rng)

    @abstractmethod
    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        """Parses an answer; never raises.

        Args:
            text: any system's answer to one of the task's questions.
            size_wh: size of the picture in pixels, needed for boxes in pixels.
        """


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, drawn uniformly."""
    return options[int(rng.integers(len(options)))]


def noun_phrases(sample: Sample, key: str) -> tuple[str, ...]:
    """The phrases in a sample's `meta[key]` ("cues", "scene"), without outer blanks, full stops and repeats; may be empty.

    Raises:
        ValueError: it is not a list of phrases.
    """
    own = sample.meta.get(key) or ()
    if not isinstance(own, list | tuple) or not all(isinstance(phrase, str) for phrase in own):
        raise ValueError(f"meta.{key} = {own!r} of sample {sample.id!r} — expected a list of noun phrases — correct it")
    cleaned = (phrase.strip().rstrip(".") for phrase in own)
    return tuple(dict.fromkeys(phrase for phrase in cleaned if phrase))


def join_phrases(phrases: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def sentence_case(text: str) -> str:
    """Capitalises the first letter and leaves the rest unchanged."""
    return text[:1].upper() + text[1:]
