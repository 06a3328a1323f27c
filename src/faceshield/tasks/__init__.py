"""The four tasks of the paper (§3.2); each one asks a question, writes the true answer and parses any answer.

Use: `COARSE.read(text).is_attack`, `TASKS["localization"].answer(sample)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from faceshield.records import Sample
from faceshield.tasks.base import Answer, Task
from faceshield.tasks.coarse import COARSE
from faceshield.tasks.fine import FINE
from faceshield.tasks.localization import LOCALIZATION, boxes_in_words, pixels_from_square, square_from_pixels
from faceshield.tasks.reasoning import MAX_CUES, REASONING, observations

TASKS: dict[str, Task] = {task.name: task for task in (COARSE, FINE, REASONING, LOCALIZATION)}
QUESTIONS = {name: task.question for name, task in TASKS.items()}
"""The fixed question of each task, used in training, scoring and inference."""


def learnable_tasks(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The tasks that these samples can teach: those with a true answer for more than half of the attacks.

    If, for instance, no attack had a box, a model would learn to give the bona fide answer to every picture. All tasks, if
    there are no attacks or only attacks.
    """
    attacks = [sample for sample in samples if sample.is_attack]
    if not attacks or len(attacks) == len(samples):
        return tuple(TASKS)
    return tuple(name for name, task in TASKS.items() if 2 * sum(map(task.applies, attacks)) > len(attacks))


__all__ = [
    "COARSE",
    "FINE",
    "LOCALIZATION",
    "MAX_CUES",
    "QUESTIONS",
    "REASONING",
    "TASKS",
    "Answer",
    "Task",
    "boxes_in_words",
    "learnable_tasks",
    "observations",
    "pixels_from_square",
    "square_from_pixels",
]
