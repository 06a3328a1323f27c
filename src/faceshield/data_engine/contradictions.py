"""Checks that a dialogue's answers agree with what is known of its picture, and that its question does not give them away.

The tasks' own readers parse the answers (paper §3.2: answers are checked). Use: `contradictions(dialogue)` is empty, or lists
each fault. The filter drops dialogues by it, the grammar and the augmentation check what they write, and a reviewer's edit is
checked with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from faceshield.records import Box, Dialogue
from faceshield.tasks import TASKS, square_from_pixels
from faceshield.tasks.verdicts import ATTACK_NAMES, find_stated_type, find_type, find_verdict
from faceshield.taxonomy import BONAFIDE

_SENTENCE_END = re.compile(r"[.!?\n]+")
_OF = r"(?:this|that|the)"
_CUES = r"(?:cue|clue|sign|trace|hint|mark|detail|feature|thing|evidence|indication|artifact)s?"
_SHOW = r"(?:show|prove|suggest|indicate|tell|reveal)s?"
_KNOWN = re.compile(rf"\b{_OF} (?:{ATTACK_NAMES})[\s_-]*(?:presentation[\s_-]*)?attack\b")
# "Why this is …", "what shows that …", "this face is …, is it not": stated, not asked.
_SAID = re.compile(
    rf"\bwhy (?:it|this|that|the \w+|this \w+) (?:is|shows) [^,;:]*|"
    rf"\bwhat (?:speaks for|shows|proves|makes|tells|suggests|indicates) [^,;:]*|"
    rf"\bwhy is (?:it|this|that|the \w+|this \w+)\b[^,;:]*|"
    # not "are there signs that show …", nor "which signs, if any, show …"
    rf"^(?!\s*(?:is|are|do|does|can|could|has|have)\b)(?!.*\bany\b)"
    rf".*\b(?:(?:which|what) (?:\w+ )?{_CUES}|{_CUES} (?:that|which)) {_SHOW} [^,;:]*|"
    rf"\bwhy (?:can|should|must) [^,;:]* be \w+ (?:as|to be) [^,;:]*|"
    rf"\bhow (?:do|does|can|could) \w+ (?:know|tell|see|say) (?:that )?(?:it|this|that|the \w+|this \w+) (?:is|shows) [^,;:]*|"
    rf"\b(?:where|which|what)\b[^,;:]*\bthe (?:{ATTACK_NAMES})\b|"
    rf"^\s*(?:it|this|that|(?:{_OF} )(?:face|picture|image|photo|person)) (?:is|shows) [^,;:]*"
)
# "real plants", "a fake leather jacket", "a live concert": in a description they say nothing of the face.
_SURROUNDINGS = re.compile(
    r"\b(?:real|live|fake|genuine|authentic) (?:\w+ )?(?:animal|bird|brick|cat|concert|dog|event|fireplace|flower|fruit|fur|"
    r"furniture|game|grass|jacket|jewel\w*|leather|marble|money|music|necklace|palm|pearl|performance|plant|show|snow|sofa|stage|"
    r"stone|tree|wall|weapon|window|wood\w*)s?\b",
    re.IGNORECASE,
)


def contradictions(dialogue: Dialogue) -> list[str]:
    """Faults of a dialogue, one sentence each: answers against its `meta`, and a first question that gives the answer away.

    `meta` holds the truth: is_attack, presentation_type, boxes. An answer to one of the four tasks that its reader cannot parse
    is a fault too. A description (`caption`) need not give a verdict, but a wrong one is a fault. From a question that gives
    the answer away, a model would learn to read the question.
    """
    texts = dialogue.texts
    faults = question_faults(dialogue.task, texts[0])
    try:
        truth = known_truth(dialogue)
    except ValueError as error:
        return [*faults, str(error)]
    for answer in texts[1::2]:
        faults += answer_faults(dialogue.task, answer, **truth)
    return list(dict.fromkeys(faults))


def question_faults(task_name: str, text: str) -> list[str]:
    """What a question of one of the four tasks gives away: a type of attack, or that the face is bona fide.

    A question for the type or the place may presume an attack ("What type of attack is this?" is asked of every face); one for
    the verdict or its reasons may not.
    """
    if task_name not in TASKS:
        return []
    told = [part.group() for part in _KNOWN.finditer(text.lower())]
    for sentence in _SENTENCE_END.split(text.lower()):
        told += [part.group() for part in _SAID.finditer(sentence) if not re.search(r"\b(?:or|if|whether)\b", part.group())]
    words = {False: "bona fide", True: "an attack" if task_name in ("coarse", "reasoning") else None, None: None}
    named = []
    for part in told:
        kind = find_type(part)
        named.append(kind if kind not in (None, BONAFIDE) else words[find_verdict(part)])
    return [f"the question says {name}" for name in dict.fromkeys(filter(None, named))]


def answer_faults(
    task_name: str,
    text: str,
    *,
    is_attack: bool | None,
    presentation_type: str | None,
    boxes: Sequence[Box] = (),
    size_wh: tuple[int, int] | None = None,
) -> list[str]:
    """`contradictions` of one answer, before there is a dialogue.

    Args:
        task_name: one of the four tasks, or "caption".
        boxes: the true ones, in pixels of the picture; compared if `size_wh` is known.
    """
    task = TASKS.get(task_name)
    if task is None:
        text = _SURROUNDINGS.sub("", text)
        said, named = find_verdict(text), find_type(text)
        if said is not None and is_attack is not None and said != is_attack:
            return [_verdict(said, is_attack)]
        return [_type(named, presentation_type)] if said and presentation_type not in (None, named) and named else []
    answer = task.read(text, size_wh)
    if answer.status != "parsed":
        return [f"the answer cannot be read as an answer to a {task_name} question"]
    faults = []
    if is_attack is not None and answer.is_attack is not None and answer.is_attack != is_attack:
        faults.append(_verdict(answer.is_attack, is_attack))
    elif presentation_type is not None and answer.is_attack is not False:
        # The readers of verdicts and regions return no type, but the words may still name one.
        named = answer.presentation_type or find_stated_type(text)
        if named not in (None, presentation_type):
            faults.append(_type(named, presentation_type))
    if task_name == "localization" and is_attack and answer.is_attack and size_wh is not None:
        # Both on the 0-999 square: an answer holds whole numbers, so the true box is rounded alike.
        said_boxes = sorted(square_from_pixels(box, size_wh) for box in answer.boxes)
        true_boxes = sorted({square_from_pixels(box, size_wh) for box in boxes})
        if not _alike(said_boxes, true_boxes):
            faults.append(f"the answer's boxes are {_shown(said_boxes)}; the true ones are {_shown(true_boxes)}")
    return faults


def known_truth(dialogue: Dialogue) -> dict[str, Any]:
    """What a dialogue's `meta` says of its picture, as arguments of `answer_faults`; None or empty where it says nothing.

    Raises:
        ValueError: its boxes or its size are malformed.
    """
    return {
        "is_attack": dialogue.meta.get("is_attack"),
        "presentation_type": dialogue.meta.get("presentation_type"),
        "boxes": true_regions(dialogue),
        "size_wh": _size(dialogue),
    }


def true_regions(dialogue: Dialogue) -> list[Box]:
    """The boxes of a dialogue's `meta`, in pixels of its picture; raises ValueError like `known_truth`."""
    boxes = dialogue.meta.get("boxes") or ()
    try:
        return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in boxes]
    except (TypeError, ValueError):
        raise ValueError(f"meta.boxes {boxes!r} — expected [x0, y0, x1, y1] each") from None


def said_regions(dialogue: Dialogue) -> list[Box]:
    """The boxes that the answers of a localization dialogue name, in pixels of its picture; none for other tasks."""
    size_wh = _size(dialogue)
    if dialogue.task != "localization" or size_wh is None:
        return []
    reader = TASKS["localization"]
    return [box for turn in dialogue.conversations[1::2] for box in reader.read(turn.value, size_wh).boxes]


def _size(dialogue: Dialogue) -> tuple[int, int] | None:
    size = dialogue.meta.get("size_wh")
    if size is None:
        return None
    try:
        width, height = size
        return int(width), int(height)
    except (TypeError, ValueError):
        raise ValueError(f"meta.size_wh {size!r} — expected [width, height]") from None


def _alike(said: Sequence[Sequence[int]], true: Sequence[Sequence[int]]) -> bool:
    """Whether the boxes are the same, within the one unit that clipping to the picture's edge can cost."""
    if len(said) != len(true):
        return False
    return all(abs(a - b) <= 1 for one, other in zip(said, true, strict=True) for a, b in zip(one, other, strict=True))


def _verdict(said: bool, known: bool) -> str:
    words = {True: "an attack", False: "bona fide"}
    return f"the answer says {words[said]}; the label says {words[known]}"


def _type(said: str | None, known: str | None) -> str:
    return f"the answer says {said}; the label says {known}"


def _shown(boxes: Sequence[Sequence[int]]) -> str:
    return " and ".join(str(list(box)) for box in boxes) or "none"
