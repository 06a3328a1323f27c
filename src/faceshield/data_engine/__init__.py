"""The data engine (paper §3): ground truth in, instruction dialogues out, in five verbs.

`generate` writes dialogues (`backends`: grammar, endpoint, local model), `filter` drops the wrong ones, `review` shows them to
people, `augment` rewords the good ones, `report` counts. Each reads one file and writes the next, and can be interrupted at any
point (`stage`).
"""

from __future__ import annotations

from faceshield.data_engine.generate import TASK_NAMES, generate_dialogues, resolve_tasks

__all__ = ["TASK_NAMES", "generate_dialogues", "resolve_tasks"]
