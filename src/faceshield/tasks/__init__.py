"""The four tasks of the paper (§3.2), each of which asks a question, writes the true answer and reads any answer.

Use: `COARSE.read(text).is_attack`, `TASKS["localization"].answer(sample)`.
"""

from __future__ import annotations

from faceshield.tasks.base import Answer, Task
from faceshield.tasks.coarse import COARSE
from faceshield.tasks.fine import FINE
from faceshield.tasks.localization import LOCALIZATION, boxes_in_words, pixels_from_square, square_from_pixels
from faceshield.tasks.reasoning import MAX_CUES, REASONING, observations

TASKS: dict[str, Task] = {task.name: task for task in (COARSE, FINE, REASONING, LOCALIZATION)}
QUESTIONS = {name: task.question for name, task in TASKS.items()}
"""The fixed question of each task, by which models are trained, scored and asked."""

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
    "observations",
    "pixels_from_square",
    "square_from_pixels",
]
