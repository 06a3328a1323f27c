"""Draft continuations of an answer, so that one step of the model can confirm several tokens (speculative decoding).

A trained model's answers consist of a few phrases: its next token is nearly always one that followed the last four tokens
somewhere in its training answers. The likeliest continuations are fed together as a tree and kept as far as the model agrees,
so a wrong draft costs a little time but never changes the answer. (Leviathan et al. 2023; with trees, Miao et al. 2024; here
with a table instead of a small model.)
Use: `drafts = Drafts.learn(ids_of_answers)`, then `drafts.after([401, 316], most=8, deep=4)`.
"""

from __future__ import annotations

import heapq
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from .tensor_files import WeightsError, opened

DRAFTS_FILE = "drafts.safetensors"
_ORDER = 4
"""Number of previous tokens that a draft depends on; before the start of an answer they are -1."""
_LEAST_CHANCE = 0.08
"""A draft with a lower probability costs more time than it saves."""
_ONCE_IN = 2000
"""A context is kept if it occurs at least once per this many answers, and at least three times in all."""

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Drafts:
    """A table of likely continuations of answers.

    Attributes:
        table: the last `_ORDER` tokens of an answer -> the next tokens and their shares, likeliest first; empty: no drafts.
    """

    table: Mapping[Tokens, Sequence[tuple[int, float]]] = field(default_factory=dict)

    @classmethod
    def learn(cls, answers: Iterable[Sequence[int]]) -> Drafts:
        """Builds the table from the token ids of answers, each with its end token."""
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

        A continuation's probability is the product of its tokens' shares. Fewer are returned if fewer are likely enough.
        """
        told = (*[-1] * _ORDER, *said)[-_ORDER:]
        waiting: list[tuple[float, int, Tokens]] = [(-1.0, 0, ())]  # numbered, so that equal ones come in order of insertion
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
        """The largest token id in the table; -1 if it is empty."""
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
        begun.touch()
        mode = stat.S_IMODE(begun.stat().st_mode)
        save_file(tensors, begun)
        begun.chmod(mode)  # safetensors makes a private file
        begun.replace(out)
        return out

    @classmethod
    def load(cls, folder: str | Path) -> Drafts:
        """Reads the drafts of a checkpoint's folder; empty if it has none.

        Raises:
            WeightsError: a broken file, or one with other tensors.
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
