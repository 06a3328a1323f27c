"""The embedded backend: text from rules and a seed, true by construction; no model, no network.

Use: `GrammarBackend("rich").write(sample, "reasoning", 2, seed=0, image=path)`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from faceshield.data_engine.backends.base import Judgement, NoAnswer, Pair
from faceshield.data_engine.contradictions import contradictions, known_truth
from faceshield.data_engine.grammar import caption_answer, caption_question
from faceshield.data_engine.rich import rich_pair, rules_version
from faceshield.records import Dialogue, Sample
from faceshield.tasks import TASKS
from faceshield.taxonomy import BONAFIDE

_RETRIES = 8  # further draws for a pair that repeats no earlier one word for word


class GrammarBackend:
    """Writes with the rich rules, or with the tasks' own plain words."""

    name = kind = "grammar"
    workers = 1
    calls = 0

    def __init__(self, wording: str = "rich") -> None:
        self.wording = wording

    @property
    def settings(self) -> dict[str, Any]:
        rules = {"rules": rules_version()} if self.wording == "rich" else {}
        return {"kind": self.kind, "wording": self.wording, **rules}

    def write(self, sample: Sample, task: str, count: int, *, seed: int, image: Path | None = None) -> list[Pair]:
        return self._draw(sample, task, count, _generator(seed, sample.id, task), set())

    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        """New wordings of the same truth: the cues and the scene come from the dialogue's `meta`."""
        sample = sample_of(dialogue)
        said = {Pair(*dialogue.texts[:2])}
        return self._draw(sample, dialogue.task, count, _generator(seed, dialogue.id, "rewrite"), said, strict=True)

    def judge(self, dialogue: Dialogue) -> Judgement:
        """What a grammar can judge: whether the task can read the answer, and whether it agrees with the label."""
        faults = contradictions(dialogue)
        return Judgement(not faults, "; ".join(faults) or "read back by its task")

    def close(self) -> None:
        return None

    def _draw(
        self, sample: Sample, task: str, count: int, rng: np.random.Generator, said: set[Pair], strict: bool = False
    ) -> list[Pair]:
        pairs = []
        for _ in range(count):
            pair = self._pair(task, sample, rng)
            for _ in range(_RETRIES * (8 if strict else 1)):
                if pair not in said:
                    break
                pair = self._pair(task, sample, rng)
            if strict and pair in said:
                raise NoAnswer(f"{_RETRIES * 8} draws repeat what was said")
            said.add(pair)
            pairs.append(pair)
        return pairs

    def _pair(self, task: str, sample: Sample, rng: np.random.Generator) -> Pair:
        if self.wording == "rich":
            return Pair(*rich_pair(task, sample, rng))
        if task not in TASKS:
            return Pair(caption_question(rng), caption_answer(sample, rng))
        return Pair(*TASKS[task].pair(sample, rng))


def sample_of(dialogue: Dialogue) -> Sample:
    """The sample that a dialogue was written about, as far as its `meta` says, with at least a size and a label.

    Raises:
        NoAnswer: these are missing, or `meta` makes no valid sample.
    """
    meta = dialogue.meta
    try:
        truth = known_truth(dialogue)
    except ValueError as error:
        raise NoAnswer(f"its meta is no sample's: {error}") from None
    if None in (truth["is_attack"], truth["size_wh"]):
        raise NoAnswer("its meta has no label, or no size, to write from")
    if truth["is_attack"] is False:
        truth["presentation_type"] = BONAFIDE
    try:
        return Sample(
            id=str(meta.get("sample_id", dialogue.id)),
            image=dialogue.image,
            dataset=str(meta.get("dataset", "")),
            original_label="",
            meta={key: meta[key] for key in ("cues", "scene") if key in meta},
            **truth,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise NoAnswer(f"its meta is no sample's: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _generator(seed: int, *names: str) -> np.random.Generator:
    digest = hashlib.sha256("\0".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
