"""Near-duplicates: dialogues whose word n-grams overlap; found exactly within a picture, by MinHash across a whole file.

Use: `index = DuplicateIndex(DuplicateConfig())`; `index.add(dialogue)` returns the id that the dialogue repeats, or None.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from typing import Literal

import numpy as np
from pydantic import Field

from faceshield.config import Config
from faceshield.records import Dialogue

_PRIME = (1 << 61) - 1
_BANDS, _ROWS = 20, 4  # a pair with Jaccard .8 shares a band with probability .99997, one with .3 with .15


class DuplicateConfig(Config):
    """What counts as a repeat.

    Attributes:
        similarity: least Jaccard index of the word n-grams of questions and answers that makes a repeat.
        ngram: words per n-gram.
        scope: "picture" compares the dialogues of one task about one picture, "file" all dialogues of one task.
    """

    similarity: float = Field(0.9, gt=0, le=1)
    ngram: int = Field(3, ge=1)
    scope: Literal["picture", "file"] = "picture"


class DuplicateIndex:
    """The dialogues that passed so far; the first of two near-duplicates stays."""

    def __init__(self, config: DuplicateConfig) -> None:
        self.config = config
        self._near: dict[tuple[str, ...], list[tuple[str, frozenset[int]]]] = defaultdict(list)
        rng = np.random.default_rng(0)
        self._factors = [int(v) for v in rng.integers(1, _PRIME, _BANDS * _ROWS)]
        self._offsets = [int(v) for v in rng.integers(0, _PRIME, _BANDS * _ROWS)]

    def add(self, dialogue: Dialogue) -> str | None:
        """Remembers a dialogue and returns None, or returns the id of the one it repeats."""
        grams = self._grams(dialogue)
        keys = self._keys(dialogue, grams)
        seen: set[str] = set()
        for key in keys:
            for other, theirs in self._near[key]:
                if other not in seen and _jaccard(grams, theirs) >= self.config.similarity:
                    return other
                seen.add(other)
        for key in keys:
            self._near[key].append((dialogue.id, grams))
        return None

    def _grams(self, dialogue: Dialogue) -> frozenset[int]:
        text = " ".join(dialogue.texts)
        words = re.findall(r"\w+", text.lower())
        size = min(self.config.ngram, len(words))
        return frozenset(zlib.crc32(" ".join(words[i : i + size]).encode()) for i in range(len(words) - size + 1))

    def _keys(self, dialogue: Dialogue, grams: frozenset[int]) -> list[tuple[str, ...]]:
        if self.config.scope == "picture":
            return [(dialogue.task, str(dialogue.meta.get("sample_id", dialogue.image)))]
        least = [
            min(((a * gram + b) % _PRIME for gram in grams), default=0)
            for a, b in zip(self._factors, self._offsets, strict=True)
        ]
        bands = (least[start : start + _ROWS] for start in range(0, len(least), _ROWS))
        return [(dialogue.task, str(number), *map(str, band)) for number, band in enumerate(bands)]


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0
