"""The data engine (paper §3): ground truth in, instruction dialogues out.

`grammar` writes text with rules and a seed, `generate` makes `dialogues.jsonl` of `samples.jsonl`.
"""

from __future__ import annotations

from faceshield.data_engine.generate import TASK_NAMES, generate_dialogues, resolve_tasks

__all__ = ["TASK_NAMES", "generate_dialogues", "resolve_tasks"]
