"""Does a dialogue say what is known of its picture? Asked of the tasks' own readers (paper §3.2: answers are checked).

Use: `contradictions(dialogue)` is empty, or names each answer that denies the label or the box. The filter drops by it, a
reviewer's edit is checked with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from faceshield.records import Box, Dialogue
from faceshield.tasks import TASKS, square_from_pixels
from faceshield.tasks.verdicts import find_verdict


def contradictions(dialogue: Dialogue) -> list[str]:
    """What the answers of a dialogue say against its `meta` (is_attack, presentation_type, boxes), one sentence each.

    An answer of one of the four tasks that its reader cannot read is a fault too. A description (`caption`) need not give
    a verdict; one that gives the wrong verdict is a fault.
    """
    faults = []
    for turn in dialogue.conversations[1::2]:
        faults += _faults(dialogue, turn.value)
    return list(dict.fromkeys(faults))


def _faults(dialogue: Dialogue, text: str) -> list[str]:
    meta = dialogue.meta
    is_attack, kind = meta.get("is_attack"), meta.get("presentation_type")
    task = TASKS.get(dialogue.task)
    if task is None:
        said = find_verdict(text)
        return [] if said is None or is_attack is None or said == is_attack else [_verdict(said, is_attack)]
    size_wh = _size(dialogue)
    answer = task.read(text, size_wh)
    if answer.status != "parsed":
        return [f"the answer cannot be read as an answer to a {dialogue.task} question"]
    faults = []
    if is_attack is not None and answer.is_attack is not None and answer.is_attack != is_attack:
        faults.append(_verdict(answer.is_attack, is_attack))
    elif kind is not None and answer.presentation_type not in (None, kind):
        faults.append(f"the answer says {answer.presentation_type}; the label says {kind}")
    if dialogue.task == "localization" and is_attack and answer.is_attack and size_wh is not None:
        # Both on the 0-999 square: an answer carries whole numbers, so the true box is known no better there.
        said_boxes = sorted(square_from_pixels(box, size_wh) for box in answer.boxes)
        true_boxes = sorted(square_from_pixels(box, size_wh) for box in true_regions(dialogue))
        if not _alike(said_boxes, true_boxes):
            faults.append(f"the answer's boxes are {_shown(said_boxes)}; the true ones are {_shown(true_boxes)}")
    return faults


def true_regions(dialogue: Dialogue) -> list[Box]:
    """The boxes of a dialogue's `meta`, pixels of its picture."""
    return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in dialogue.meta.get("boxes") or ()]


def said_regions(dialogue: Dialogue) -> list[Box]:
    """The boxes that the answers of a localization dialogue name, pixels of its picture; none for other tasks."""
    size_wh = _size(dialogue)
    if dialogue.task != "localization" or size_wh is None:
        return []
    reader = TASKS["localization"]
    return [box for turn in dialogue.conversations[1::2] for box in reader.read(turn.value, size_wh).boxes]


def _size(dialogue: Dialogue) -> tuple[int, int] | None:
    size = dialogue.meta.get("size_wh")
    return None if size is None else (int(size[0]), int(size[1]))


def _alike(said: Sequence[Sequence[int]], true: Sequence[Sequence[int]]) -> bool:
    """The same boxes, within the one unit that the clip to the picture's edge can cost."""
    if len(said) != len(true):
        return False
    return all(abs(a - b) <= 1 for one, other in zip(said, true, strict=True) for a, b in zip(one, other, strict=True))


def _verdict(said: bool, known: bool) -> str:
    words = {True: "an attack", False: "bona fide"}
    return f"the answer says {words[said]}; the label says {words[known]}"


def _shown(boxes: Sequence[Sequence[int]]) -> str:
    return " and ".join(str(list(box)) for box in boxes) or "none"
