"""`samples.jsonl` -> `dialogues.jsonl`: question-and-answer dialogues written by the grammar (paper §3.2,
both sets).

`caption` makes the first stage's descriptions (FaceShield-pre10K), the four tasks the second stage's
instructions (FaceShield-sft45K). Use: `list(generate_dialogues(samples, tasks=["coarse", "fine"], seed=0))`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from faceshield.data_engine.grammar import caption_answer, caption_question
from faceshield.records import Dialogue, Sample, Turn
from faceshield.tasks import TASKS

CAPTION = "caption"
TASK_NAMES: tuple[str, ...] = (*TASKS, CAPTION)
GENERATOR = "grammar"

_RETRIES = 8  # draws for a second dialogue of one task that repeats no earlier one word for word


def resolve_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Known task names, repeats removed, order kept.

    Raises:
        ValueError: an unknown name (the near match is named), or none at all.
    """
    chosen = tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    if not chosen:
        raise ValueError(f"no task — expected at least one of {', '.join(TASK_NAMES)} — name one")
    for name in chosen:
        if name not in TASK_NAMES:
            near = difflib.get_close_matches(name, TASK_NAMES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "use one of them"
            raise ValueError(f"unknown task {name!r} — expected one of {', '.join(TASK_NAMES)} — {hint}")
    return chosen


def generate_dialogues(
    samples: Iterable[Sample],
    *,
    tasks: Sequence[str],
    seed: int,
    per_task: int = 1,
    on_skip: Callable[[Sample, str, str], None] | None = None,
) -> Iterator[Dialogue]:
    """Dialogues of every sample and task, in the samples' order; the same for the same seed, whatever else is
    asked for.

    Args:
        samples: ground truth; `image` entries are copied as they are (see `records.rebase_image`).
        tasks: of `TASK_NAMES`.
        seed: with the sample's id and the task it fixes all text of that dialogue.
        per_task: dialogues of each task a sample, different where the wordings allow it.
        on_skip: told (sample, task, why) of every pair that has no true answer; such pairs make no dialogue.

    Raises:
        ValueError: unknown task, or `per_task` below 1.
    """
    chosen = resolve_tasks(tasks)
    if per_task < 1:
        raise ValueError(f"per_task = {per_task} — expected at least 1 — raise it")
    return _generate(samples, chosen, seed, per_task, on_skip)


def _generate(
    samples: Iterable[Sample],
    tasks: tuple[str, ...],
    seed: int,
    per_task: int,
    on_skip: Callable[[Sample, str, str], None] | None,
) -> Iterator[Dialogue]:
    for sample in samples:
        for task in tasks:
            if task in TASKS and not TASKS[task].applies(sample):
                if on_skip is not None:
                    on_skip(sample, task, "an attack without boxes has no true region")
                continue
            rng = _generator_for(seed, sample.id, task)
            said: set[tuple[str, str]] = set()
            for index in range(per_task):
                pair = _pair(task, sample, rng)
                for _ in range(_RETRIES):
                    if pair not in said:
                        break
                    pair = _pair(task, sample, rng)
                said.add(pair)
                yield _dialogue(sample, task, index, pair, seed)


def _generator_for(seed: int, sample_id: str, task: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}\0{sample_id}\0{task}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _pair(task: str, sample: Sample, rng: np.random.Generator) -> tuple[str, str]:
    if task == CAPTION:
        return caption_question(rng), caption_answer(sample, rng)
    return TASKS[task].pair(sample, rng)


def _dialogue(sample: Sample, task: str, index: int, pair: tuple[str, str], seed: int) -> Dialogue:
    question, answer = pair
    return Dialogue(
        id=f"{sample.id}:{task}" if index == 0 else f"{sample.id}:{task}:{index + 1}",
        image=sample.image,
        conversations=[
            Turn(speaker="human", value=f"<image>\n{question}"),
            Turn(speaker="gpt", value=answer),
        ],
        task=task,
        source=GENERATOR,
        meta={
            "sample_id": sample.id,
            "generator": GENERATOR,
            "seed": seed,
            "is_attack": sample.is_attack,
            "presentation_type": sample.presentation_type,
            "boxes": [list(box) for box in sample.boxes],
            "size_wh": list(sample.size_wh),
        },
    )
