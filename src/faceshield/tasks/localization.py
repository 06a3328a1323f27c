"""Attack localization (paper §3.2): where the attack is, as boxes in words.

Boxes are written as integers 0-999 on the square that the processor makes by centre-padding the picture, and converted back
into pixels of the picture. Paper is silent: it prints pixel coordinates without saying of which frame; a fixed frame needs no
size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from faceshield.records import Box, Sample
from faceshield.tasks.base import Answer, Task, choose
from faceshield.tasks.verdicts import find_verdict, normalise
from faceshield.taxonomy import BONAFIDE

SQUARE_MAX = 999

SquareBox = tuple[int, int, int, int]

_ATTACK_WORDINGS = ("The attack is at {}.", "The attack region is {}.", "It is at {}.", "{}.")
_NONE_WORDINGS = (
    "There is no attack region.",
    "There is no attack.",
    "No attack region.",
    "None, this face is bona fide.",
)

_VALUE = (
    r"(?:(?<![a-z])[xy]_?[a-z0-9]{0,3}\s*[=:]\s*)?"
    r"(?<![\w.])([-+]?(?:\d+(?:\.\d+)?|\.\d+))(?:px)?(?!\w)"
)
_GAP = r"\s*(?:[,;]|\s|to|and)\s*"
_PAIR = rf"[\[(<{{]\s*{_VALUE}\s*[,;]?\s*{_VALUE}\s*[\])>}}]"
_TWO_PAIRS = re.compile(rf"{_PAIR}\s*(?:[,;-]|to|and)?\s*{_PAIR}")
_ONE = re.compile(_VALUE)
_RUN = re.compile(rf"{_VALUE}(?:{_GAP}{_VALUE})*")
_OPEN = re.compile(r"[\[(<{]\s*$")
_EMPTY = re.compile(r"(?:no|\[\s*\])[.\s]*")  # must match the whole answer
_NONE = re.compile(r"(?<![a-z])(?:none|nowhere|nothing|no (?:\w+ )?(?:region|area|box|location)s?)(?![a-z])")


def _padding(size_wh: tuple[int, int]) -> tuple[int, int, int]:
    """Side of the square, and left and top offset of the picture in it, as the processor pads."""
    width, height = size_wh
    if width < 1 or height < 1:
        raise ValueError(f"size_wh = {list(size_wh)} — expected two positive integers — give width and height")
    side = max(width, height)
    return side, (side - width) // 2, (side - height) // 2


def square_from_pixels(box: Box, size_wh: tuple[int, int]) -> SquareBox:
    """Pixels of the picture -> integers 0-999 on the centre-padded square, rounded to the nearest; the box is never empty.

    Raises:
        ValueError: the picture has no size.
    """
    side, left, top = _padding(size_wh)
    scaled = [
        round(min(max((value + offset) / side, 0.0), 1.0) * SQUARE_MAX)
        for value, offset in zip(box, (left, top, left, top), strict=True)
    ]
    x0, y0, x1, y1 = scaled
    x0, x1 = _widen(x0, x1)
    y0, y1 = _widen(y0, y1)
    return x0, y0, x1, y1


def _widen(low: int, high: int) -> tuple[int, int]:
    if high > low:
        return low, high
    return (low, low + 1) if low < SQUARE_MAX else (low - 1, low)


def pixels_from_square(box: tuple[float, float, float, float], size_wh: tuple[int, int]) -> Box:
    """Numbers 0-999 on the centre-padded square -> pixels of the picture, clipped to it.

    A box that lies in the padding becomes empty (x0 == x1 or y0 == y1).

    Raises:
        ValueError: the picture has no size.
    """
    side, left, top = _padding(size_wh)
    width, height = size_wh
    x0, y0, x1, y1 = (value / SQUARE_MAX * side for value in box)

    def clip(value: float, limit: int) -> float:
        return min(max(value, 0.0), float(limit))

    return clip(x0 - left, width), clip(y0 - top, height), clip(x1 - left, width), clip(y1 - top, height)


def boxes_in_words(boxes: Iterable[Box], size_wh: tuple[int, int]) -> str:
    """Boxes in pixels, written as in answers, from left to right: "[10, 20, 30, 40] and [50, 60, 70, 80]"."""
    squares = sorted(square_from_pixels(box, size_wh) for box in boxes)
    return " and ".join(f"[{x0}, {y0}, {x1}, {y1}]" for x0, y0, x1, y1 in squares)


class LocalizationTask(Task):
    name = "localization"
    needs = "boxes"
    questions = (
        "Where is the attack?",
        "Where is the attack in this picture?",
        "Where is the attack region?",
        "Give the box of the attack.",
        "Give the attack region of this face.",
        "Which region of the picture is the attack?",
        "Name the attack region, if any.",
        "Is there an attack region, and where is it?",
        "Look at the face. Where is the attack?",
    )
    templates: dict[str, str] = {}

    def applies(self, sample: Sample) -> bool:
        """Whether the picture is bona fide or has boxes; an attack without annotation has no true answer."""
        return bool(sample.boxes) or not sample.is_attack

    def answer(self, sample: Sample, rng: np.random.Generator | None = None) -> str:
        if not self.applies(sample):
            raise ValueError(f"sample {sample.id!r} is an attack without boxes — expected boxes — leave out this task")
        if not sample.is_attack:
            return _NONE_WORDINGS[0] if rng is None else choose(rng, _NONE_WORDINGS)
        text = boxes_in_words(sample.boxes, sample.size_wh)
        return (_ATTACK_WORDINGS[0] if rng is None else choose(rng, _ATTACK_WORDINGS)).format(text)

    def read(self, text: str, size_wh: tuple[int, int] | None = None) -> Answer:
        plain = " ".join(normalise(text).split())
        numbers = _quadruples(plain)
        denied = bool(_NONE.search(plain) or _EMPTY.fullmatch(plain)) or find_verdict(plain) is False
        if denied == bool(numbers):  # both a region and a denial, or neither: not credible
            return Answer("unparsed", text=text)
        if denied:
            return Answer("parsed", False, BONAFIDE, text=text)
        boxes: list[Box] = []
        for box in numbers:
            pixels = box if size_wh is None else pixels_from_square(box, size_wh)
            if pixels[0] < pixels[2] and pixels[1] < pixels[3] and pixels not in boxes:
                boxes.append(pixels)
        if not boxes:
            return Answer("unparsed", text=text)
        return Answer("parsed", True, boxes=boxes, text=text)


def _quadruples(text: str) -> list[Box]:
    """All groups of four numbers, with corners in order, clipped to 0-999; longer runs count if divisible by four.

    Four numbers in 0..1, one of them with a decimal point, are read as fractions of the square, as some models write them. A
    group whose bracket is left open at the end of the text was cut off and is dropped: its last number may have lost digits.
    """
    found = [list(match.groups()) for match in _TWO_PAIRS.finditer(text)]
    rest = _TWO_PAIRS.sub(" ; ", text)
    for run in _RUN.finditer(rest):
        numbers = _ONE.findall(run.group())
        cut_off = not rest[run.end() :].strip() and _OPEN.search(rest[: run.start()])
        if len(numbers) % 4 == 0 and not cut_off:
            found += [numbers[start : start + 4] for start in range(0, len(numbers), 4)]
    return [_ordered(group) for group in found]


def _ordered(group: list[str]) -> Box:
    values = [float(value) for value in group]
    if all(0.0 <= value <= 1.0 for value in values) and any("." in value for value in group):
        values = [value * SQUARE_MAX for value in values]
    x0, y0, x1, y1 = (min(max(value, 0.0), float(SQUARE_MAX)) for value in values)
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


LOCALIZATION = LocalizationTask()
