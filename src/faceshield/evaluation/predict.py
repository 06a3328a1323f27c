"""samples.jsonl -> predictions.jsonl: put the tasks' fixed questions to anything that answers (paper §5.1).

Use: ``predict("samples.jsonl", asker, "predictions.jsonl", tasks=("coarse", "fine"), system="my-model")``.

One row a picture and task, appended as it is known, so a run that was stopped goes on where it was. Whatever
goes wrong with one picture becomes a row with ``status: "error"``; it counts as an error in every metric.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from PIL import Image, ImageOps

from faceshield.records import (
    JsonlWriter,
    Prediction,
    Sample,
    Truth,
    image_path,
    read_jsonl,
    rebase_image,
    write_run,
)
from faceshield.tasks import TASKS, Answer

Scores = tuple[float, Mapping[str, float] | None]
"""bonafide_score (0..1, high = bona fide) and, if known, the probability of each presentation type."""
Load = Callable[[Path], Any]
SCORED = ("coarse", "fine")
"""The tasks that scores alone answer."""
T = TypeVar("T")


class Asker(Protocol):
    """What ``predict`` can put a question to. In its place may stand any object with at least one of

    ``ask_many(images, prompt) -> list[str]`` or ``ask(image, prompt) -> str`` for words, and
    ``score_many(images) -> list of (bonafide_score, type_scores | None)`` or ``score(image) ->
    bonafide_score``. Images are what ``load`` makes of a path: by default a PIL image, upright RGB. One that scores but
    knows no types has ``tasks``, the names of what it can answer.
    """

    def ask(self, image: Any, prompt: str) -> str: ...


@dataclass(frozen=True)
class PredictSummary:
    """What a run did: rows written now, rows kept from before, and the new ones that are no answers."""

    written: int
    kept: int
    errors: int
    unparsed: int


def load_rgb(path: Path) -> Image.Image:
    """The picture as an upright RGB PIL image, fully decoded.

    Raises:
        OSError: missing, unreadable or truncated.
    """
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def predict(
    samples: str | Path,
    asker: Any,
    out: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    system: str = "unnamed",
    options: Mapping[str, Any] | None = None,
    batch_size: int = 16,
    limit: int | None = None,
    resume: bool = True,
    load: Load = load_rgb,
    progress: Callable[[int, int], None] | None = None,
) -> PredictSummary:
    """Ask every task of every sample and write the answers, read by the task's own reader.

    Args:
        samples: a ``samples.jsonl``.
        asker: see `Asker`.
        out: the ``predictions.jsonl`` to write; with ``resume`` the rows that are there stay and are not
            asked again, and a last line that was cut off is removed and asked again.
        tasks: names out of ``TASKS``; None: all four, of a system that only scores coarse and fine.
        system: who answers; kept in ``run.json``, and a file begun by another system is not continued.
        options: further settings of the asker to keep and compare likewise (JSON-able).
        batch_size: pictures put to ``ask_many`` and ``score_many`` at once.
        limit: only the first so many samples.
        load: makes of a path what the asker takes.
        progress: called with (pictures done, pictures in all).

    Raises:
        ValueError: unknown task, batch size or limit below 1, an asker that can do nothing of what is asked,
            or a file that another system began.
        RecordError: ``samples`` or the rows to continue cannot be read.
    """
    samples, out = Path(samples), Path(out)
    if tasks is None:
        tasks = _answerable(asker)
    _check(asker, tasks, batch_size, limit)
    rows = read_jsonl(samples, Sample)[:limit]
    config = {
        "stage": "predict",
        "system": system,
        "options": dict(options or {}),
        "tasks": {name: TASKS[name].version for name in tasks},
        "limit": limit,
    }
    if resume:
        _check_same_system(out, config)
    with JsonlWriter(out, resume=resume) as writer:
        # Written first: a run that is stopped has its record too.
        write_run(out, config=config, seed=None, inputs=[samples])
        wanted = [(row, [name for name in tasks if _row_id(row, name) not in writer.ids]) for row in rows]
        todo = [(row, names) for row, names in wanted if names]
        kept = len(rows) * len(tasks) - sum(len(names) for _, names in todo)
        done, counts = len(rows) - len(todo), {"parsed": 0, "unparsed": 0, "error": 0}
        _report(progress, done, len(rows))
        for batch in _chunks(todo, batch_size):
            for prediction in _predict_batch(batch, asker, samples, out, load):
                writer.write(prediction)
                counts[prediction.status] += 1
            done += len(batch)
            _report(progress, done, len(rows))
    return PredictSummary(sum(counts.values()), kept, counts["error"], counts["unparsed"])


def _check(asker: Any, tasks: Sequence[str], batch_size: int, limit: int | None) -> None:
    faults = [f"task {name!r} — expected one of {', '.join(TASKS)}" for name in tasks if name not in TASKS]
    if not tasks:
        faults.append(f"no tasks — expected some of {', '.join(TASKS)}")
    if batch_size < 1:
        faults.append(f"batch size {batch_size} — expected at least 1")
    if limit is not None and limit < 1:
        faults.append(f"limit {limit} — expected at least 1")
    if not _can_ask(asker):
        if not _can_score(asker):
            faults.append(
                f"a {type(asker).__name__} to ask — expected ask_many, ask, score_many or score — write one"
            )
        words = sorted(set(tasks) & set(TASKS) - set(SCORED))
        if words:
            faults.append(
                f"{', '.join(words)} of a system that only scores — expected ask or ask_many — leave them out"
            )
    beyond = sorted(set(tasks) & set(SCORED) - set(_answerable(asker)))
    if beyond:
        faults.append(f"{', '.join(beyond)} of a system that was told only bona fide or attack — leave it out")
    if faults:
        raise ValueError("\n".join(faults))


def _answerable(asker: Any) -> tuple[str, ...]:
    return getattr(asker, "tasks", None) or (tuple(TASKS) if _can_ask(asker) else SCORED)


def _check_same_system(out: Path, config: Mapping[str, Any]) -> None:
    """A predictions file must not mix two systems: its metrics would be nobody's."""
    record = out.parent / "run.json"
    if not out.exists() or not out.stat().st_size or not record.exists():
        return
    try:
        run = json.loads(record.read_text(encoding="utf-8"))
        run = run if run.get("output") == out.name else run.get("earlier", {}).get(out.name, {})
        earlier = run.get("config", {})
    except (ValueError, AttributeError):
        return
    for key in ("system", "options"):
        if key in earlier and earlier[key] != config[key]:
            raise ValueError(
                f"{out} was begun with {key} {earlier[key]!r}, now it is {config[key]!r} — expected the same "
                "— "
                "write to another file, or start afresh"
            )


def _predict_batch(
    batch: Sequence[tuple[Sample, list[str]]], asker: Any, samples: Path, out: Path, load: Load
) -> Iterator[Prediction]:
    images = [_attempt(partial(load, image_path(row, samples))) for row, _ in batch]
    usable = [index for index, (_, fault) in enumerate(images) if fault is None]
    scores: dict[int, tuple[Scores | None, str | None]] = {}
    if _can_score(asker):
        found = _each(partial(_score, asker), [images[i][0] for i in usable])
        scores = dict(zip(usable, found, strict=True))
    answers: dict[tuple[int, str], tuple[str | None, str | None]] = {}
    if _can_ask(asker):
        for name in dict.fromkeys(name for _, names in batch for name in names):
            asked = [index for index in usable if name in batch[index][1]]
            found_text = _each(partial(_ask, asker, TASKS[name].question), [images[i][0] for i in asked])
            answers |= {(index, name): result for index, result in zip(asked, found_text, strict=True)}
    for index, (row, names) in enumerate(batch):
        fault = images[index][1]
        for name in names:
            text, text_fault = answers.get((index, name), (None, None))
            score, score_fault = scores.get(index, (None, None))
            image = rebase_image(row.image, samples, out)
            yield _row(row, name, image, text, score, faults=[fault, text_fault, score_fault])


def _row(
    sample: Sample, name: str, image: str, text: str | None, score: Scores | None, *, faults: list[str | None]
) -> Prediction:
    task = TASKS[name]
    reference, reference_fault = _attempt(lambda: task.answer(sample) if task.applies(sample) else None)
    told = [fault for fault in faults if fault is not None]
    bonafide_score, type_scores = score if score is not None else (None, None)
    fields: dict[str, Any] = {"status": "error" if told else "parsed"}
    if text is not None:
        # A score that failed beside a readable answer leaves the answer as it is; the missing score
        # counts by itself.
        read: Answer = task.read(text, sample.size_wh)
        fields = {
            "status": read.status,
            "is_attack": read.is_attack,
            "presentation_type": read.presentation_type,
            "boxes": read.boxes,
        }
    elif name == "fine" and type_scores:
        fields["presentation_type"] = max(type_scores, key=lambda key: type_scores[key])
    return Prediction(
        id=_row_id(sample, name),
        sample_id=sample.id,
        image=image,
        task=name,
        question=task.question,
        answer=text,
        bonafide_score=bonafide_score,
        type_scores=dict(type_scores) if type_scores else None,
        error="; ".join([*told, *([f"reference: {reference_fault}"] if reference_fault else [])]) or None,
        truth=Truth(
            is_attack=sample.is_attack,
            presentation_type=sample.presentation_type,
            boxes=sample.boxes,
            size_wh=sample.size_wh,
            answer=reference,
            dataset=sample.dataset,
            subject=sample.subject,
            meta=sample.meta,
        ),
        **fields,
    )


def _can_ask(asker: Any) -> bool:
    return hasattr(asker, "ask_many") or hasattr(asker, "ask")


def _can_score(asker: Any) -> bool:
    return hasattr(asker, "score_many") or hasattr(asker, "score")


def _ask(asker: Any, question: str, images: list[Any]) -> list[str]:
    many = hasattr(asker, "ask_many")
    texts = (
        list(asker.ask_many(images, question)) if many else [asker.ask(image, question) for image in images]
    )
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"answer is a {type(text).__name__} — expected str")
    return texts


def _score(asker: Any, images: list[Any]) -> list[Scores]:
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
    numbers = {name: float(number) for name, number in type_scores.items()}
    if not all(math.isfinite(number) for number in numbers.values()):
        raise ValueError(f"type_scores {numbers} — expected finite numbers")
    return value, numbers


def _each(work: Callable[[list[Any]], list[T]], items: list[Any]) -> list[tuple[T | None, str | None]]:
    """Work on all items at once; should that fail, one by one, so that one bad picture spoils only itself."""
    if not items:
        return []
    results, fault = _attempt(lambda: work(items))
    if fault is None and results is not None and len(results) == len(items):
        return [(result, None) for result in results]
    if len(items) > 1:
        return [pair for item in items for pair in _each(work, [item])]
    return [(None, fault or f"{len(results or [])} results for 1 picture — expected 1")]


def _attempt(work: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return work(), None
    except (
        Exception
    ) as error:  # the asker is anybody's code: all it raises is a row's error, never the run's end
        return None, f"{type(error).__name__}: {error}"


def _row_id(sample: Sample, task: str) -> str:
    return f"{sample.id}:{task}"


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
