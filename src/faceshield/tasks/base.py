"""What a task is: it asks a question, writes the true answer, and reads anybody's answer back (paper §3.2, four tasks).

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
"""How often `ask` with a generator uses the fixed question: the one used for scoring and inference, so it is practised most."""


@dataclass(frozen=True)
class Answer:
    """What a text says.

    Attributes:
        status: "parsed", or "unparsed" where the text does not answer the task's question or contradicts itself.
        is_attack: the verdict, None where the text gives none.
        presentation_type: canonical name, None where the text names none.
        boxes: attack regions (x0, y0, x1, y1), pixels of the picture; of the 0-999 square if no size was given.
        text: the text as it was.
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
    """Fixed answers to the fixed question that are scored as a whole; empty for tasks that are only generated."""
    needs: str = ""
    """What an attack must have noted for a true answer; empty where any will do."""

    @property
    def question(self) -> str:
        """The one fixed question, used for scores and inference."""
        return self.questions[0]

    @property
    def version(self) -> str:
        """Changes when the fixed question or a fixed answer does: a checkpoint's threshold holds for one version."""
        content = json.dumps([self.question, self.templates], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def ask(self, rng: np.random.Generator | None = None) -> str:
        """A question; the fixed one without a generator, with one often a paraphrase."""
        if rng is None or rng.random() < FIXED_QUESTION_RATE:
            return self.question
        return choose(rng, self.questions[1:])

    def applies(self, sample: Sample) -> bool:
        """Whether the sample's ground truth suffices to answer."""
        return True

    @abstractmethod
    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        """The true answer; the fixed wording without a generator, with one any of its wordings."""

    def pair(self, sample: Sample, rng: np.random.Generator) -> tuple[str, str]:
        """A question and its true answer for training; the fixed question always gets the fixed answer."""
        question = self.ask(rng)
        return question, self.answer(sample, None if question == self.question else rng)

    @abstractmethod
    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        """What `text` answers; never raises.

        Args:
            text: anybody's answer to one of the task's questions.
            size_wh: size of the picture in pixels, needed for boxes in pixels.
        """


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, drawn evenly."""
    return options[int(rng.integers(len(options)))]


def noun_phrases(sample: Sample, key: str) -> tuple[str, ...]:
    """The phrases of a sample's `meta[key]` ("cues", "scene"), without blanks, full stops and repeats; none where it has none.

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
    """First letter large, the rest as it is."""
    return text[:1].upper() + text[1:]
