"""Coarse-grained classification (paper §3.2): bona fide or presentation attack.

The two templates are the fixed answers; their probabilities given the fixed question yield `bonafide_score`.
"""

from __future__ import annotations

import numpy as np

from faceshield.records import Sample
from faceshield.tasks.base import Answer, Task, choose
from faceshield.tasks.verdicts import find_verdict_or_type
from faceshield.taxonomy import BONAFIDE

_WORDINGS = {
    "bonafide": (
        "This is a bona fide face.",
        "This face is bona fide.",
        "The face is bona fide.",
        "Bona fide.",
    ),
    "attack": (
        "This is a presentation attack.",
        "This face is a presentation attack.",
        "The face is an attack.",
        "Presentation attack.",
    ),
}


class CoarseTask(Task):
    name = "coarse"
    questions = (
        "Is this face bona fide or a presentation attack?",
        "Is this a bona fide face or an attack?",
        "Is this face bona fide?",
        "Is this a presentation attack?",
        "Does the picture show a bona fide face or an attack?",
        "Does the picture show a presentation attack?",
        "Say if this face is bona fide or an attack.",
        "Is the face in the picture bona fide or an attack?",
        "Bona fide or attack?",
        "Look at the face. Is it bona fide or a presentation attack?",
    )
    templates = {key: wordings[0] for key, wordings in _WORDINGS.items()}

    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        key = "attack" if sample.is_attack else "bonafide"
        return self.templates[key] if rng is None else choose(rng, _WORDINGS[key])

    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        is_attack = find_verdict_or_type(text)
        if is_attack is None:
            return Answer("unparsed", text=text)
        return Answer("parsed", is_attack, None if is_attack else BONAFIDE, text=text)


COARSE = CoarseTask()
