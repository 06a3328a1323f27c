"""`samples.jsonl` -> `dialogues.jsonl`: questions and answers about every picture, by any backend (paper §3.2, both sets).

`caption` makes the first stage's descriptions (FaceShield-pre10K), the four tasks the second stage's instructions
(FaceShield-sft45K). Use: `generate("samples.jsonl", "dialogues.jsonl", GenerateConfig(), seed=0)`, or in memory
`list(generate_dialogues(samples, tasks=["coarse", "fine"], seed=0))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from faceshield.config import Config, near
from faceshield.data_engine.backends import Backend, BackendConfig, NoAnswer, NoCall, Pair, lent_backend
from faceshield.data_engine.backends.grammar import GrammarBackend
from faceshield.data_engine.stage import NO_CALL, Outcome, StageResult, run_stage
from faceshield.engines import LOCAL, Engine
from faceshield.records import Dialogue, Sample, conversation, image_path, read_jsonl, rebase_image
from faceshield.tasks import REASONING, TASKS, learnable_tasks

CAPTION = "caption"
TASK_NAMES: tuple[str, ...] = (*TASKS, CAPTION)

Plan = Mapping[tuple[int, str], int]
"""(index of the sample, task) -> how many dialogues."""


def resolve_tasks(names: Iterable[str]) -> tuple[str, ...]:
    """Known task names, repeats removed, order kept.

    Raises:
        ValueError: an unknown name (the message suggests a near match), or none at all.
    """
    chosen = tuple(dict.fromkeys(name.strip().lower() for name in names if name.strip()))
    if not chosen:
        raise ValueError(f"no task — expected at least one of {', '.join(TASK_NAMES)} — name one")
    for name in chosen:
        if name not in TASK_NAMES:
            raise ValueError(f"unknown task {name!r} — expected one of {', '.join(TASK_NAMES)} — {near(name, TASK_NAMES)}")
    return chosen


class GenerateConfig(Config):
    """What is generated.

    Attributes:
        tasks: some of `TASK_NAMES`; None: the four tasks, without those for which these samples would teach a single answer
            (`tasks.learnable_tasks`).
        per_task: dialogues per task and picture, different where the wordings allow it.
        count: total number of dialogues instead, equal for each task and spread evenly over the pictures; None: use `per_task`.
    """

    tasks: tuple[str, ...] | None = None
    per_task: int = Field(1, ge=1)
    count: int | None = Field(None, ge=1)
    backend: BackendConfig = BackendConfig()

    @field_validator("tasks")
    @classmethod
    def _known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else resolve_tasks(value)


def generate(
    samples: str | Path,
    out: str | Path,
    config: GenerateConfig,
    *,
    seed: int,
    cache: str | Path | None = None,
    backend: Backend | None = None,
    engine: Engine = LOCAL,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Writes dialogues of every sample and task; resumable, see `stage.run_stage`.

    Args:
        cache: SQLite file of an assistant's answers.
        backend: used instead of the configured one; it is not closed.
        engine, progress: see `run_stage`.

    Raises:
        RecordError, FileNotFoundError: the samples cannot be read.
        ValueError: there are none.
        AssistantDown: the assistant cannot be used; what was done is kept.
    """
    samples, out = Path(samples), Path(out)
    rows = read_jsonl(samples, Sample)
    if not rows:
        raise ValueError(f"{samples}: no samples — expected at least one row — write it with `faceshield simulate`")
    tasks = config.tasks or learnable_tasks(rows)
    chosen = plan(rows, tasks, config.per_task, config.count, seed)
    items = [(row, {task: chosen.get((index, task), 0) for task in tasks}) for index, row in enumerate(rows)]
    described = config.model_dump(mode="json", exclude={"backend"}) | {"tasks": list(tasks)}
    here, there = samples.absolute(), out.absolute()
    with lent_backend(config.backend, engine, cache=cache, given=backend) as (writer, engine):

        def work(item: tuple[Sample, Mapping[str, int]]) -> Outcome:
            sample, wanted = item
            moved = sample.model_copy(update={"image": rebase_image(sample.image, here, there)})
            return write_sample(moved, wanted, writer, seed, image_path(sample, here))

        result = run_stage(
            out, items, work,
            config=described, seed=seed, inputs=[samples], backend=writer, engine=engine, progress=progress,
        )  # fmt: skip
    notes = [result.note, *([_not_learnable(tasks)] if config.tasks is None else [])]
    notes += _unseen(rows, tasks, writer.wording) if isinstance(writer, GrammarBackend) else []
    return replace(result, note="; ".join(filter(None, notes)))


def _not_learnable(tasks: Sequence[str]) -> str:
    without = [f"{name} (most attacks have no {task.needs})" for name, task in TASKS.items() if name not in tasks]
    return f"not written: {', '.join(without)}; only the answer for bona fide pictures would be taught" if without else ""


def _unseen(rows: Sequence[Sample], tasks: Sequence[str], wording: str) -> list[str]:
    """Warnings of what the grammar, which has not seen the pictures, can only guess where `meta` does not tell it."""
    bare = sum(not row.meta.get("scene") for row in rows)
    attacks = [row for row in rows if row.is_attack]
    uncued = sum(not row.meta.get("cues") for row in attacks)
    seeing = "have them written by a model that sees the pictures, --backend openai or transformers"
    found = []
    if CAPTION in tasks and bare:
        found.append(
            f"captions: {bare} of {len(rows)} pictures have no meta.scene, so that the grammar can say nothing but 'a face' — "
            f"expected descriptions — {seeing}"
        )
    if REASONING.name in tasks and uncued and wording == "plain":
        found.append(
            f"reasoning: {uncued} of {len(attacks)} attacks have no meta.cues, so that the plain wording states as seen what "
            f"is typical of their type — expected what they show — take --wording rich, or {seeing}"
        )
    return found


def plan(samples: Sequence[Sample], tasks: Sequence[str], per_task: int, count: int | None, seed: int) -> Plan:
    """How many dialogues of each task every sample gets; with `count`, samples differ by one at most in each task."""
    if count is None:
        return {(index, task): per_task for index in range(len(samples)) for task in tasks}
    chosen: dict[tuple[int, str], int] = {}
    able = {task: [i for i, sample in enumerate(samples) if _applies(task, sample)] for task in tasks}
    open_tasks = [task for task in tasks if able[task]]
    for place, task in enumerate(open_tasks):
        share = count // len(open_tasks) + (place < count % len(open_tasks))
        base, extra = divmod(share, len(able[task]))
        rng = np.random.default_rng([seed, TASK_NAMES.index(task)])
        lucky = set(rng.permutation(len(able[task]))[:extra].tolist())
        for rank, index in enumerate(able[task]):
            number = base + (rank in lucky)
            if number:
                chosen[index, task] = number
    return chosen


def write_sample(sample: Sample, wanted: Mapping[str, int], backend: Backend, seed: int, image: Path) -> Outcome:
    """All dialogues of one sample; what could not be written becomes a reject with its reason."""
    outcome = Outcome()
    for task, count in wanted.items():
        if not count:
            continue
        if not _applies(task, sample):
            outcome.rejects.append(_reject(sample, task, "no-truth", _no_true_answer(task)))
            continue
        try:
            pairs = backend.write(sample, task, count, seed=seed, image=image)
        except NoAnswer as error:
            outcome.up = True
            outcome.rejects.append(_reject(sample, task, "no-answer", str(error)))
        except NoCall as error:
            outcome.up = False
            outcome.rejects.append(_reject(sample, task, NO_CALL, str(error)))
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            outcome.rejects.append(_reject(sample, task, "picture", f"{sample.image}: {error.strerror or error}"))
        else:
            outcome.up = True
            outcome.rows += [_dialogue(sample, task, index, pair, seed, backend) for index, pair in enumerate(pairs)]
    return outcome


def generate_dialogues(
    samples: Iterable[Sample],
    *,
    tasks: Sequence[str],
    seed: int,
    per_task: int = 1,
) -> Iterator[Dialogue]:
    """Dialogues of every sample and task in the tasks' own plain words, in the samples' order.

    They are the same for the same seed, whatever else is requested. A task without a true answer for a sample is left out.

    Args:
        samples: ground truth; `image` entries are copied as they are (see `records.rebase_image`).
        tasks: some of `TASK_NAMES`.
        seed: together with the sample's id and the task, determines all text of a dialogue.
        per_task: dialogues per task and sample, different where the wordings allow it.

    Raises:
        ValueError: unknown task, or `per_task` below 1.
    """
    chosen, backend = resolve_tasks(tasks), GrammarBackend("plain")
    if per_task < 1:
        raise ValueError(f"per_task = {per_task} — expected at least 1 — raise it")
    return (
        _dialogue(sample, task, index, pair, seed, backend)
        for sample in samples
        for task in chosen
        if _applies(task, sample)
        for index, pair in enumerate(backend.write(sample, task, per_task, seed=seed))
    )


def _no_true_answer(task: str) -> str:
    """Why an attack gets no dialogue of a task that does not apply to it."""
    return f"an attack without {TASKS[task].needs} has no true answer"


def _applies(task: str, sample: Sample) -> bool:
    return task not in TASKS or TASKS[task].applies(sample)


def _reject(sample: Sample, task: str, name: str, reason: str) -> dict[str, Any]:
    return {"id": f"{sample.id}:{task}", "filter": name, "reason": reason}


def _dialogue(sample: Sample, task: str, index: int, pair: Pair, seed: int, backend: Backend) -> Dialogue:
    told = {key: sample.meta[key] for key in ("cues", "scene") if sample.meta.get(key)}
    return Dialogue(
        id=f"{sample.id}:{task}" if index == 0 else f"{sample.id}:{task}:{index + 1}",
        image=sample.image,
        conversations=conversation([pair.question, pair.answer]),
        task=task,
        source=backend.name,
        meta={
            "sample_id": sample.id,
            "dataset": sample.dataset,
            "subject": sample.subject,
            "split": sample.split,
            "generator": backend.kind,
            "seed": seed,
            "is_attack": sample.is_attack,
            "presentation_type": sample.presentation_type,
            "boxes": [list(box) for box in sample.boxes],
            "size_wh": list(sample.size_wh),
            **told,
        },
    )
