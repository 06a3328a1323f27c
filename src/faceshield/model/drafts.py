"""Guesses of how an answer goes on, so that one step of the model can confirm several tokens (speculative decoding).

A trained model's answers are made of a few phrases: what followed the last four tokens in the answers that it learnt from is
nearly always among what it may say next. The likeliest continuations are fed together, a tree of them, and kept as far as the
model says the same, so that a wrong one costs a little time and never a word. (Leviathan et al. 2023, and of trees Miao et
al. 2024, with a table in the place of a small model.)
Use: `drafts = Drafts.learn(ids_of_answers)`, then `drafts.after([401, 316], 8)`.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from .tensor_files import WeightsError, opened

DRAFTS_FILE = "drafts.safetensors"
_ORDER = 4
"""Tokens that a guess hangs on; before an answer's beginning stands -1."""
_LEAST_CHANCE = 0.08
"""A guess that is right less often costs more than it saves."""
_ONCE_IN = 2000
"""Answers in which a beginning is met once at least, and in three of a few."""

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Drafts:
    """Attributes:
    table: the last `_ORDER` tokens of an answer -> what follows and its share, the likeliest first; empty: no guesses.
    """

    table: Mapping[Tokens, Sequence[tuple[int, float]]] = field(default_factory=dict)

    @classmethod
    def learn(cls, answers: Iterable[Sequence[int]]) -> Drafts:
        """From the token ids of answers, each with its end."""
        followed: dict[Tokens, Counter[int]] = defaultdict(Counter)
        number = 0
        for answer in answers:
            number += 1
            told = (*[-1] * _ORDER, *answer)
            for place, token in enumerate(answer):
                followed[told[place : place + _ORDER]][token] += 1
        least = max(3, number // _ONCE_IN)
        table = {}
        for before, tokens in followed.items():
            total = tokens.total()
            likely = [(token, times / total) for token, times in tokens.most_common() if times >= _LEAST_CHANCE * total]
            if total >= least and likely:
                table[before] = tuple(likely)
        return cls(table)

    def after(self, said: Sequence[int], most: int, deep: int) -> list[Tokens]:
        """The `most` most probable continuations of at most `deep` tokens; a prefix comes before its extensions.

        A continuation's probability is the product of its tokens' shares; fewer come back where less is known.
        """
        told = (*[-1] * _ORDER, *said)[-_ORDER:]
        waiting: list[tuple[float, int, Tokens]] = [(-1.0, 0, ())]  # numbered, so that of equal ones the older comes first
        guesses: list[Tokens] = []
        number = 0
        while waiting and len(guesses) < most:
            minus, _, path = heapq.heappop(waiting)
            if path:
                guesses.append(path)
            if len(path) < deep:
                for token, share in self.table.get((*told, *path)[-_ORDER:], ()):
                    if -minus * share < _LEAST_CHANCE:
                        break
                    number += 1
                    heapq.heappush(waiting, (minus * share, number, (*path, token)))
        return guesses

    def largest_token(self) -> int:
        """Of all that are guessed; -1 where none is."""
        return max((token for likely in self.table.values() for token, _ in likely), default=-1)

    def save(self, folder: str | Path) -> Path:
        """Write `drafts.safetensors` into a checkpoint's folder."""
        rows = [(before, token, share) for before, likely in sorted(self.table.items()) for token, share in likely]
        tensors = {
            "before": torch.tensor([before for before, _, _ in rows], dtype=torch.int32).reshape(-1, _ORDER),
            "next": torch.tensor([token for _, token, _ in rows], dtype=torch.int32),
            "share": torch.tensor([share for _, _, share in rows], dtype=torch.float64),
        }
        out = Path(folder) / DRAFTS_FILE
        begun = out.with_name(f".{out.name}.part")
        save_file(tensors, begun)
        begun.replace(out)
        return out

    @classmethod
    def load(cls, folder: str | Path) -> Drafts:
        """Of a checkpoint's folder; empty where it has none.

        Raises:
            WeightsError: a broken file, or one of another form.
        """
        file = Path(folder) / DRAFTS_FILE
        if not file.is_file():
            return cls()
        with opened(file) as tensors:
            names = set(tensors.keys())
            if names != {"before", "next", "share"}:
                raise WeightsError(f"{file}: tensors {sorted(names)} — expected before, next and share — delete it")
            before, after, shares = (tensors.get_tensor(name).tolist() for name in ("before", "next", "share"))
        table: dict[Tokens, list[tuple[int, float]]] = defaultdict(list)
        for tokens, token, share in zip(before, after, shares, strict=True):
            table[tuple(tokens)].append((token, share))
        return cls({tokens: tuple(likely) for tokens, likely in table.items()})
