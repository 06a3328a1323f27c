"""One calling convention for every kind of system that `predict` accepts.

Use: `each(partial(ask, asker, question_of(asker, "coarse")), images)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from faceshield.tasks import COARSE, FINE, TASKS
from faceshield.taxonomy import resolve

Scores = tuple[float, Mapping[str, float] | None]
"""bonafide_score (0..1, high = bona fide) and, if known, the probability of each presentation type."""
SCORED = (COARSE.name, FINE.name)
"""The tasks that scores alone can answer."""
T = TypeVar("T")


class Said(NamedTuple):
    """An answer, the bonafide_score if it came with one, and whether a length limit cut it off, if the system says so."""

    text: str
    bonafide_score: float | None = None
    cut: bool | None = None


class Asker(Protocol):
    """A system that ``predict`` can put questions to; any object will do that has at least one of the methods below.

    ``ask_many(images, prompt) -> list[str]`` or ``ask(image, prompt) -> str`` for words, and
    ``score_many(images) -> list of (bonafide_score, type_scores | None)`` or ``score(image) ->
    bonafide_score``. Images are what ``load`` makes of a path: by default a PIL image, upright RGB. A system that only scores
    is asked the task "coarse" alone by default, unless it has ``tasks``, the names of those it can answer. An answer may be
    (words, bonafide_score | None), if one call gives both; words may have an attribute ``cut``, whether a length limit cut
    them off.

    It may also have ``question(task) -> str``, asked instead of a task's fixed question; and ``workers``, the number of
    pictures to work on at once, each alone and in its own thread, for a system that answers remotely. Such a system
    raises `chat.NoCall` if no call got through, and `chat.AssistantDown` if none ever will.
    """

    def ask(self, image: Any, prompt: str) -> str: ...


def answerable(asker: Any) -> tuple[str, ...]:
    """Names of the tasks that it can answer."""
    return getattr(asker, "tasks", None) or (tuple(TASKS) if can_ask(asker) else (COARSE.name,))


def can_ask(asker: Any) -> bool:
    """Whether it answers in words."""
    return hasattr(asker, "ask_many") or hasattr(asker, "ask")


def can_score(asker: Any) -> bool:
    """Whether it gives scores by themselves."""
    return hasattr(asker, "score_many") or hasattr(asker, "score")


def bonafide_scores(asker: Any, images: list[Any]) -> list[float | None]:
    """bonafide_score of each image, from the system's scores, else its coarse answers; raises what the system raises."""
    if can_score(asker):
        return [value for value, _ in score(asker, images)]
    return [said.bonafide_score for said in ask(asker, question_of(asker, "coarse"), images)]


def question_of(asker: Any, task: str) -> str:
    """The question it is asked for a task."""
    return asker.question(task) if hasattr(asker, "question") else TASKS[task].question


def ask(asker: Any, question: str, images: list[Any]) -> list[Said]:
    """Its answers to one question; raises what it raises, and TypeError or ValueError for invalid answers."""
    many = hasattr(asker, "ask_many")
    found = list(asker.ask_many(images, question)) if many else [asker.ask(image, question) for image in images]
    return [_checked_answer(item) for item in found]


def _checked_answer(item: Any) -> Said:
    text, score = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
    if not isinstance(text, str):
        raise TypeError(f"answer is a {type(text).__name__} — expected str")
    valid = text.encode("utf-8", "replace").decode()  # an answer cut inside a character may not be valid UTF-8
    cut = getattr(text, "cut", None)
    return Said(valid, None if score is None else _checked_score(score)[0], cut if isinstance(cut, bool) else None)


def score(asker: Any, images: list[Any]) -> list[Scores]:
    """Its scores; raises as `ask` does."""
    many = hasattr(asker, "score_many")
    found = list(asker.score_many(images)) if many else [asker.score(image) for image in images]
    return [_checked_score(item) for item in found]


def _checked_score(item: Any) -> Scores:
    bonafide_score, type_scores = item if isinstance(item, tuple | list) else (item, None)
    value = float(bonafide_score)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"bonafide_score {value} — expected a number in 0..1")
    if type_scores is None:
        return value, None
    numbers = {resolve(name): float(number) for name, number in type_scores.items()}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError(f"type_scores {numbers} — expected finite numbers")
    return value, numbers


def each(work: Callable[[list[Any]], list[T]], items: list[Any]) -> list[tuple[T | None, Exception | None]]:
    """Works on all items at once or, if that fails, one by one, so that a bad picture spoils only its own result."""
    if not items:
        return []
    results, fault = attempt(lambda: work(items))
    if fault is None and results is not None and len(results) == len(items):
        return [(result, None) for result in results]
    if len(items) > 1:
        return [pair for item in items for pair in each(work, [item])]
    return [(None, fault or ValueError(f"{len(results or [])} results for 1 picture — expected 1"))]


def attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """The work's result, or the exception it raised."""
    try:
        return work(), None
    except Exception as error:  # the asker may be anyone's code: its exceptions become a row's error and never end the run
        return None, error
