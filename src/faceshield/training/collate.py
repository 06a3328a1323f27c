"""Collates rows into a right-padded batch, with an attention mask that keeps the dialogues of a packed row apart.

Use: `collate(items, vision, processor.pad_token_id)`, with items of `DialogueRows`.
B = rows, L = sequence length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from faceshield.training.dataset import Row, SupervisionError
from faceshield.training.vision_cache import Vision

ABOUT = "about"
"""Entry of a batch that is for the trainer, not for the model."""


def collate(items: Sequence[dict[str, Any]], vision: Vision, pad_token_id: int) -> dict[str, Any]:
    """Collates rows into a batch.

    Args:
        items: items of `DialogueRows`.
        vision: source of the pictures that `Row.picture` indexes.
        pad_token_id: the language model's.

    Returns:
        input_ids, labels, position_ids (B, L); attention_mask (B, L), or (B, 1, L, L) bool if a row holds several dialogues;
        the pictures, see `Vision`; with PVTM prompt_input_ids (B, 64) and pvtm_seeds (B,); and `ABOUT`: the rows' ids and the
        numbers of dialogues and tokens.

    Raises:
        SupervisionError: a row has no supervised token; the message names it.
    """
    rows: list[Row] = [item["row"] for item in items]
    for row in rows:
        if all(label < 0 for label in row.labels):
            raise SupervisionError(f"row {row.id!r} has no supervised token — expected an answer — drop or repair it")
    length = max(len(row.input_ids) for row in rows)

    def padded(name: str, fill: int) -> Tensor:
        return torch.tensor([list(getattr(row, name)) + [fill] * (length - len(row.input_ids)) for row in rows])

    segments = padded("segments", -1)
    batch: dict[str, Any] = {
        "input_ids": padded("input_ids", pad_token_id),
        "labels": padded("labels", -100),
        "position_ids": padded("position_ids", 0),
        "attention_mask": (segments >= 0).long(),
    }
    if any(max(row.segments) > 1 for row in rows):
        batch["attention_mask"] = apart(segments)
    pvtm = "prompt_input_ids" in items[0]
    batch |= vision.inputs([row.picture for row in rows], joint=pvtm)
    if pvtm:
        batch["prompt_input_ids"] = torch.stack([item["prompt_input_ids"] for item in items])
        batch["pvtm_seeds"] = torch.tensor([item["pvtm_seed"] for item in items])
    batch[ABOUT] = {
        "ids": [row.id for row in rows],
        "dialogues": sum(len(row.questions) for row in rows),
        "tokens": sum(len(row.input_ids) for row in rows),
    }
    return batch


def apart(segments: Tensor) -> Tensor:
    """(B, L) segments -> (B, 1, L, L) bool: a token attends, causally, to segment 0 and to its own segment."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segments[:, :, None] == segments[:, None, :]
    shared = (segments[:, None, :] == 0) & (segments[:, :, None] >= 0)
    # Padding attends to padding (the same segment): softmax over a row of nothing but -inf would give NaN.
    return ((same | shared) & causal)[:, None]
