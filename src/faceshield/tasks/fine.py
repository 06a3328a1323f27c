"""Fine-grained classification (paper §3.2): which of the twelve presentation types.

The twelve templates are the fixed answers; their probabilities given the fixed question yield `type_scores`.
"""

from __future__ import annotations

import numpy as np

from faceshield.records import Sample
from faceshield.tasks.base import Answer, Task, choose
from faceshield.tasks.verdicts import find_type
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES

_BONAFIDE_WORDINGS = (
    "This is a bona fide face.",
    "This face is bona fide.",
    "The type is Bonafide.",
    "Bonafide.",
)
_ATTACK_WORDINGS = ("This is a {} attack.", "This face is a {} attack.", "The type is {}.", "{} attack.")


def _wordings(name: str) -> tuple[str, ...]:
    return _BONAFIDE_WORDINGS if name == BONAFIDE else tuple(wording.format(name) for wording in _ATTACK_WORDINGS)


class FineTask(Task):
    name = "fine"
    needs = "a presentation type"
    questions = (
        "Which presentation type is this face?",
        "What is the presentation type of this face?",
        "Which type of attack is this, or is it bona fide?",
        "What type of attack is this?",
        "Which type is it?",
        "Name the presentation type.",
        "Say which presentation type the picture shows.",
        "What type of attack does the picture show, if any?",
        "Look at the face. Which type is it?",
    )
    templates = {name: _wordings(name)[0] for name in PRESENTATION_TYPES}

    def applies(self, sample: Sample) -> bool:
        """Whether the presentation type is known."""
        return sample.presentation_type is not None

    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        name = sample.presentation_type
        if name is None:
            raise ValueError(f"sample {sample.id!r} has no presentation type — expected one — ask applies() first")
        return self.templates[name] if rng is None else choose(rng, _wordings(name))

    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        name = find_type(text)
        if name is None:
            return Answer("unparsed", text=text)
        return Answer("parsed", name != BONAFIDE, name, text=text)


FINE = FineTask()
