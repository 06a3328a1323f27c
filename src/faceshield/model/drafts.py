"""Guesses of how an answer goes on, so that one step of the model can confirm several tokens (speculative decoding).

A trained model's answers are made of a few phrases: what mostly followed the last four tokens in the answers that it learnt
from is nearly always what it says next. The guesses are fed together and kept as far as the model would have said the same, so
that a wrong one costs a little time and never a word. (Leviathan et al. 2023, with a table in the place of a small model.)
Use: `drafts = Drafts.learn(ids_of_answers)`, then `drafts.after([401, 316], 8)`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from .tensor_files import opened

DRAFTS_FILE = "drafts.safetensors"
_ORDER = 4
"""Tokens that a guess hangs on; before an answer's beginning stands -1."""
_LEAST_SHARE = 0.3
"""Of what followed: a guess that is right less often is none."""
_ONCE_IN = 2000
"""Answers in which a beginning is met once at least, and in three of a few."""


@dataclass(frozen=True)
class Drafts:
    """Attributes:
    table: the last `_ORDER` tokens of an answer -> the token that mostly follows; empty: no guesses.
    """

    table: Mapping[tuple[int, ...], int] = field(default_factory=dict)

    @classmethod
    def learn(cls, answers: Iterable[Sequence[int]]) -> Drafts:
        """From the token ids of answers, each with its end."""
        followed: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        number = 0
        for answer in answers:
            number += 1
            told = (*[-1] * _ORDER, *answer)
            for place, token in enumerate(answer):
                followed[told[place : place + _ORDER]][token] += 1
        least = max(3, number // _ONCE_IN)
        table = {}
        for before, tokens in followed.items():
            (token, times), total = tokens.most_common(1)[0], tokens.total()
            if total >= least and times >= _LEAST_SHARE * total:
                table[before] = token
        return cls(table)

    def after(self, said: Sequence[int], most: int) -> list[int]:
        """The tokens that probably follow, `most` or fewer; none where nothing is known."""
        before = (*[-1] * _ORDER, *said)[-_ORDER:]
        guesses: list[int] = []
        while len(guesses) < most and (token := self.table.get(before)) is not None:
            guesses.append(token)
            before = (*before[1:], token)
        return guesses

    def save(self, folder: str | Path) -> Path:
        """Write `drafts.safetensors` into a checkpoint's folder."""
        rows = sorted(self.table.items())
        tensors = {
            "before": torch.tensor([before for before, _ in rows], dtype=torch.int32).reshape(-1, _ORDER),
            "next": torch.tensor([token for _, token in rows], dtype=torch.int32),
        }
        save_file(tensors, Path(folder) / DRAFTS_FILE)
        return Path(folder) / DRAFTS_FILE

    @classmethod
    def load(cls, folder: str | Path) -> Drafts:
        """Of a checkpoint's folder; empty where it has none.

        Raises:
            WeightsError: a broken file.
        """
        file = Path(folder) / DRAFTS_FILE
        if not file.is_file():
            return cls()
        with opened(file) as tensors:
            before, after = tensors.get_tensor("before").tolist(), tensors.get_tensor("next").tolist()
        return cls({tuple(tokens): token for tokens, token in zip(before, after, strict=True)})
