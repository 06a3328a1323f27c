"""Shows what a stage learns from a dialogue: the row as the model reads it, with its supervised words marked.

Use: `for line in show_rows(rows, processor, count=2, mark=str.upper): …`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

from faceshield.training.dataset import DialogueRows, Row


def show_rows(rows: DialogueRows, processor: Any, *, count: int, mark: Callable[[str], str]) -> Iterator[str]:
    """Yields the text of the first rows, with `mark` applied to what the loss is computed on.

    Args:
        rows: a stage's rows.
        processor: its checkpoint's processor.
        count: number of rows to show.
        mark: makes supervised words visible.
    """
    for row in rows.rows[:count]:
        yield f"{row.id}: {len(row.input_ids)} tokens, {supervised(row)} supervised, {len(row.questions)} dialogues"
        parts: list[str] = []
        tokens = zip(row.input_ids, row.labels, row.segments, strict=True)
        for (is_image, learnt, segment), group in groupby(
            tokens, key=lambda token: (token[0] == processor.image_token_id, token[1] >= 0, token[2])
        ):
            ids = [token[0] for token in group]
            text = f"<image x {len(ids)}>" if is_image else processor.tokenizer.decode(ids)
            parts.append(("\n  " if segment and not learnt else "") + (mark(text) if learnt else text))
        yield "  " + "".join(parts)


def supervised(row: Row) -> int:
    """Number of tokens that the loss is computed on."""
    return sum(label >= 0 for label in row.labels)


def check_answers(rows: DialogueRows, processor: Any) -> list[str]:
    """Ids of the rows whose supervised tokens do not decode to their answers word for word, or that have none."""
    wrong = []
    for row in rows.rows:
        read = []
        labels = zip(row.labels, row.segments, strict=True)
        for (learnt, _), group in groupby(labels, key=lambda pair: (pair[0] >= 0, pair[1])):
            if learnt:
                # The turns of a dialogue are separated by the next question, dialogues by their segments.
                read.append(processor.decode_answer([label for label, _ in group]))
        if tuple(read) != row.answers:
            wrong.append(row.id)
    return wrong
