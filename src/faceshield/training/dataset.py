"""Dialogues as training rows: token ids, labels, positions, and the index of the picture they are about.

With `pack`, all dialogues about one picture (at most `MAX_PACKED`) share a row: the picture's tokens come once, at the
beginning, and the dialogues that follow cannot attend to each other. With causal attention this is the same computation as
separate rows (up to rounding), at two fifths of the cost for four short questions.
Use: `rows = DialogueRows.read(["dialogues.jsonl"], processor, pack=True)`.
L = sequence length.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from faceshield.records import Dialogue, image_path, read_jsonl
from faceshield.training.oversample import repeats

MAX_PACKED = 8


class SupervisionError(ValueError):
    """A row without a single supervised token: its loss would be 0 / 0."""


@dataclass(frozen=True)
class Row:
    """One row of a batch.

    Attributes:
        id: id of its first dialogue.
        picture: index into the list of pictures.
        input_ids, labels, position_ids: (L,) each.
        segments: (L,) 0 for the shared beginning (system sentence and picture), then 1, 2, … per dialogue.
        questions: the first question of each dialogue, as PVTM reads it.
        answers: the answers to learn, turn by turn.
    """

    id: str
    picture: int
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    position_ids: tuple[int, ...]
    segments: tuple[int, ...]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


def seed_of(sample: str, epoch: int, seed: int) -> int:
    """A 48-bit seed that depends on these three alone, for PVTM's draw."""
    digest = hashlib.sha256(f"{seed}\0{epoch}\0{sample}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def make_row(dialogues: Sequence[Dialogue], picture: int, processor: Any) -> Row:
    """Packs dialogues about one picture into one row.

    Raises:
        SupervisionError: a dialogue without an answer.
        ValueError: a dialogue without a picture, or one that does not begin like the first of its pack.
    """
    prefix: list[int] = []
    ids: list[int] = []
    labels: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    questions, answers = [], []
    for number, dialogue in enumerate(dialogues, start=1):
        try:
            own_ids, own_labels = processor.encode_dialogue(dialogue.conversations)
        except ValueError as error:
            raise SupervisionError(f"dialogue {dialogue.id!r}: {error}") from error
        if processor.image_token_id not in own_ids:
            raise ValueError(f"dialogue {dialogue.id!r} without a picture — expected '<image>' in its first turn — add it")
        split = len(own_ids) - own_ids[::-1].index(processor.image_token_id)
        if number == 1:
            prefix = own_ids[:split]
            ids, labels = list(prefix), own_labels[:split]
            positions, segments = list(range(split)), [0] * split
        elif own_ids[:split] != prefix:
            raise ValueError(f"dialogue {dialogue.id!r} does not begin like {dialogues[0].id!r} — train with pack=false")
        ids += own_ids[split:]
        labels += own_labels[split:]
        positions += range(split, len(own_ids))
        segments += [number] * (len(own_ids) - split)
        questions.append(dialogue.texts[0])
        answers += [turn.value.strip() for turn in dialogue.conversations if turn.speaker == "gpt"]
    return Row(
        dialogues[0].id,
        picture,
        tuple(ids),
        tuple(labels),
        tuple(positions),
        tuple(segments),
        tuple(questions),
        tuple(answers),
    )


def to_train_on(dialogue: Dialogue) -> bool:
    """False for a dialogue whose own metadata names a split other than "train"."""
    return dialogue.meta.get("split") in (None, "train")


class DialogueRows(Dataset[dict[str, Any]]):
    """Rows about pictures; the trainer sets `epoch`, which changes PVTM's draws.

    Args:
        rows: rows made by `make_row`.
        paths: picture files, indexed by `Row.picture`.
        processor: encodes PVTM's prompts.
        seed: seed of PVTM's draws.
        pvtm: whether items carry PVTM's inputs.
        set_aside: how many dialogues were left out because they are of a split other than "train".
    """

    def __init__(
        self,
        rows: Sequence[Row],
        paths: Sequence[Path],
        processor: Any,
        *,
        seed: int = 0,
        pvtm: bool = True,
        set_aside: int = 0,
    ) -> None:
        self.rows, self.paths, self.processor = list(rows), list(paths), processor
        self.seed, self.pvtm, self.set_aside = seed, pvtm, set_aside
        self.epoch = 0
        seen: Counter[str] = Counter()
        self.names = []  # for PVTM's draws: every copy of an oversampled row has draws of its own
        for row in self.rows:
            self.names.append(f"{row.id} {seen[row.id]}" if seen[row.id] else row.id)
            seen[row.id] += 1
        self._prompts: dict[str, Tensor] = {}

    @classmethod
    def read(
        cls,
        files: Sequence[str | Path],
        processor: Any,
        *,
        pack: bool,
        oversample: Mapping[str, float] | None = None,
        seed: int = 0,
        pvtm: bool = True,
        left_out: Collection[Path] = (),
    ) -> DialogueRows:
        """Reads dialogues files, leaving out dialogues whose `meta["split"]` names a split other than "train".

        Args:
            files: dialogues files; picture paths are relative to the file that names them.
            processor: processor of the checkpoint being trained.
            pack: one row per picture instead of one row per dialogue.
            oversample: presentation type -> how many times its rows occur in an epoch.
            seed: seed of PVTM's draws, and of the choice of rows that occur once more.
            pvtm: whether PVTM is on.
            left_out: resolved paths of pictures not to train on.

        Raises:
            ValueError: no dialogue is left to train on.
        """
        by_path: dict[Path, list[Dialogue]] = {}
        set_aside = 0
        for file in files:
            for dialogue in read_jsonl(file, Dialogue):
                path = image_path(dialogue, file).resolve()
                if path in left_out or not to_train_on(dialogue):
                    set_aside += 1
                else:
                    by_path.setdefault(path, []).append(dialogue)
        rows: list[Row] = []
        types: list[str | None] = []
        for picture, dialogues in enumerate(by_path.values()):
            size = MAX_PACKED if pack else 1
            for start in range(0, len(dialogues), size):
                rows.append(make_row(dialogues[start : start + size], picture, processor))
                types.append(dialogues[start].meta.get("presentation_type"))
        if not rows:
            raise ValueError(
                f"no dialogue to train on in {', '.join(map(str, files))} ({set_aside} belong to other splits) — expected some "
                "about pictures of split train — give more files"
            )
        times = repeats(types, oversample or {}, np.random.default_rng([seed, 5]))
        rows = [row for row, count in zip(rows, times, strict=True) for _ in range(count)]
        if not rows:
            raise ValueError(f"oversample {oversample} leaves no dialogue — expected some type above 0 — correct it")
        return cls(rows, list(by_path), processor, seed=seed, pvtm=pvtm, set_aside=set_aside)

    @property
    def lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        draw = seed_of(self.names[index], self.epoch, self.seed)
        item: dict[str, Any] = {"row": row}
        if self.pvtm:
            # Paper is silent: a packed row has one masked picture for all its questions, ranked by one of them at random.
            question = row.questions[draw % len(row.questions)]
            if question not in self._prompts:
                self._prompts[question] = self.processor.encode_prompts(question)[0]
            item |= {"prompt_input_ids": self._prompts[question], "pvtm_seed": draw}
        return item


class EpochOrder(Sampler[int]):
    """The order of the rows in an epoch, which depends on seed and epoch alone.

    It is the same for any number of processes and for a resumed run. The last step is filled up from the beginning of the
    order. Rows are not sorted by length, which would save padding: a row's length reveals its question and its class, and a
    batch of one kind is a worse estimate of the gradient (docs/history.md has the loss of both).

    Args:
        rows: the rows, which hold the current epoch.
        step: rows per step, over all processes.
        seed: seed of the order.
    """

    def __init__(self, rows: DialogueRows, step: int, seed: int) -> None:
        self.rows, self.step, self.seed = rows, step, seed

    def __len__(self) -> int:
        return -(-len(self.rows) // self.step) * self.step

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_of("order", self.rows.epoch, self.seed))
        order = torch.randperm(len(self.rows), generator=generator).tolist()
        return itertools.islice(itertools.cycle(order), len(self))
