"""Which cues an answer names, and how many of them are truly there: simulated samples list theirs in ``meta["cues"]``.

Use: ``CueScores(CueReader(vocabulary), answers, true_cues).summary()``.

A cue is named if one of the vocabulary's noun phrases occurs in the answer, before its conclusion and not negated; articles
are ignored, and of overlapping phrases only the longest counts. What remains of the answer besides those phrases and the few
words common to all answers ("the picture shows … and … can be seen") is unrecognised: a cue in other words, or one that
does not exist. Precision ignores it; strict precision counts each such phrase as a cue that is not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from faceshield.evaluation.metrics.intervals import FloatArray
from faceshield.records import Prediction
from faceshield.tasks import observations
from faceshield.tasks.verdicts import is_negated, normalise

_ARTICLE = re.compile(r"^(?:an?|the|some)\s+")
_FRAME = re.compile(
    r"(?<![a-z'])(?:the|this|an?|some|picture|image|photo|face|shows?|i|also|too|sees?|can|be|seen|there|is|are|it|has|have|with|"
    r"in|as well|no)(?![a-z'])"
)
_BREAK = re.compile(r"[|,.;:!?\n]|(?<![a-z])and(?![a-z])")


def own_cues(row: Prediction) -> tuple[str, ...]:
    """The cues that the picture of a row truly shows; empty if they are unknown."""
    cues = row.truth.meta.get("cues")
    if not isinstance(cues, list | tuple):
        return ()
    return tuple(dict.fromkeys(body for cue in cues if isinstance(cue, str) and (body := _body(cue))))


class CueReader:
    """Finds the phrases of a vocabulary in answers."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        bodies = sorted({body for cue in vocabulary if (body := _body(cue))}, key=lambda body: (-len(body), body))
        words = "|".join(re.escape(body) for body in bodies)
        self._pattern = re.compile(rf"(?<![a-z])(?:{words})(?![a-z])") if words else None

    def read(self, text: str) -> tuple[set[str], int]:
        """The cues that an answer names, without their articles, and the number of its unrecognised phrases."""
        seen = normalise(observations(text))
        named = set()
        if self._pattern is not None:
            for found in self._pattern.finditer(seen):
                if not is_negated(seen, found.start()):
                    named.add(found.group())
            seen = self._pattern.sub("|", seen)
        rest = [piece for piece in _BREAK.split(_FRAME.sub(" ", seen)) if re.search(r"[a-z]", piece)]
        return named, len(rest)


class CueScores:
    """Counts of each answer: named cues, those of them that are there, true cues, unrecognised phrases.

    Args:
        true: the cues that each picture shows.
    """

    def __init__(self, reader: CueReader, answers: Sequence[str], true: Sequence[Iterable[str]]) -> None:
        counts = []
        for text, cues in zip(answers, true, strict=True):
            there = {_body(cue) for cue in cues}
            named, unrecognised = reader.read(text)
            counts.append((len(named), len(named & there), len(there), unrecognised))
        self.named, self.right, self.true, self.unrecognised = np.array(counts, dtype=np.int64).reshape(-1, 4).T

    @property
    def mean_named(self) -> float:
        return float(self.named.mean()) if len(self.named) else 0.0

    @property
    def mean_unrecognised(self) -> float:
        return float(self.unrecognised.mean()) if len(self.named) else 0.0

    def summary(self, weights: FloatArray | None = None) -> dict[str, float]:
        """precision, precision_strict and recall over all cues, not averaged by answer; each answer counts `weights` times."""
        times = np.ones(len(self.named)) if weights is None else weights
        right, named, true = (float(times @ count) for count in (self.right, self.named, self.true))
        strict = named + float(times @ self.unrecognised)
        return {
            "precision": right / named if named else math.nan,
            "precision_strict": right / strict if strict else math.nan,
            "recall": right / true if true else math.nan,
        }


def _body(cue: str) -> str:
    return _ARTICLE.sub("", normalise(cue).rstrip("."))
