"""From samples.jsonl to predictions.jsonl: puts the tasks' fixed questions to anything that answers (paper §5.1).

Use: ``predict("samples.jsonl", asker, "predictions.jsonl", tasks=("coarse", "fine"), system="my-model")``.

One row per picture and task, appended as soon as it is known, so that a stopped run can be resumed. Whatever goes wrong
with one picture becomes a row with ``status: "error"``, which counts as an error in every metric. A system that can no longer
be reached is not the pictures' fault: the run stops, and what was not answered is asked next time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from faceshield.chat import AssistantDown, NoCall
from faceshield.engines import LOCAL, Engine
from faceshield.evaluation import asking
from faceshield.evaluation.archive import read_inputs
from faceshield.evaluation.asking import SCORED, Said, Scores, answerable, attempt, can_ask, can_score, each, question_of
from faceshield.images import load_rgb
from faceshield.provenance import check_not_read, file_sha256, read_run, write_run
from faceshield.records import (
    Dialogue,
    JsonlWriter,
    Photo,
    Prediction,
    Sample,
    Truth,
    image_path,
    iter_jsonl,
    rebase_image,
    remove_rows,
)
from faceshield.tasks import TASKS, Answer

Load = Callable[[Path], Any]
T = TypeVar("T")
MAX_UNREACHED_IN_A_ROW = 20
"""After so many pictures in a row without any answer, the system is taken to be down."""
UNREACHED = (NoCall, AssistantDown)


class Elsewhere:
    """Stands for a system that each worker of an engine loads for itself, once; it knows only what the system can do.

    Args:
        load: built of plain values, such as ``partial(load_model, "tiny")``; a worker calls it at once to see what it makes.
        engine: the one that `predict` will run on.
    """

    def __init__(self, load: Callable[[], Any], engine: Engine) -> None:
        self._load = load
        self._questions: Mapping[str, str] = {}
        for found in engine(_traits, [load]):
            self.__dict__.update(found)

    def question(self, task: str) -> str:
        """The question that the system is asked for a task."""
        return self._questions[task]

    def __reduce__(self) -> tuple[Any, ...]:
        return self._load, ()  # unpickled in a worker, it is the system itself


def _traits(load: Callable[[], Any]) -> dict[str, Any]:
    asker = load()
    known = {name: getattr(asker, name) for name in ("settings", "tasks", "workers") if hasattr(asker, name)}
    questions = {"_questions": {task: question_of(asker, task) for task in TASKS}}
    return known | questions | {name: None for name in ("ask", "ask_many", "score", "score_many") if hasattr(asker, name)}


@dataclass(frozen=True)
class PredictSummary:
    """What a run did: rows written now, rows kept from before, and how many new rows failed or could not be read."""

    written: int
    kept: int
    errors: int
    unparsed: int


@dataclass
class _Outcome:
    """The outcome of a batch.

    Attributes:
        rows: the rows of all its pictures and tasks, except those left unanswered because the system is down.
        answered: whether anything was answered. unreached: whether nothing was, because a call did not get through.
        down: why the run is to stop, if it is.
    """

    rows: list[Prediction] = field(default_factory=list)
    answered: bool = False
    unreached: bool = False
    down: AssistantDown | None = None


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
    retry_errors: bool = False,
    renew: bool = False,
    references: Sequence[str | Path] = (),
    load: Load = load_rgb,
    engine: Engine = LOCAL,
    progress: Callable[[int, int], None] | None = None,
) -> PredictSummary:
    """Asks every task about every sample and writes the answers, parsed by the task's own reader.

    Args:
        samples: a ``samples.jsonl``, or an archive without labels, see `archive.read_inputs`.
        asker: see `Asker`.
        out: the ``predictions.jsonl`` to write; with ``resume``, rows that are there are kept and not asked again, and a
            truncated last line is removed and asked again.
        tasks: names from ``TASKS``; None: all that the asker can answer, see `Asker`.
        system: name of the system; recorded in ``run.json``, and a file begun by another system is not continued.
        options: further settings of the asker, recorded and compared likewise (JSON-able).
        batch_size: pictures put to ``ask_many`` and ``score_many`` at once.
        limit: use only the first so many samples.
        retry_errors: with ``resume``, rows that carry an error are removed and asked again.
        renew: with ``resume``, so are those whose sample is gone, or now is another picture or has another truth; and answers
            to another question than the task's now.
        references: dialogues files with the answers that texts are scored against, instead of the tasks' plain ones: those
            of the set whose wording the system has learnt. In a task that occurs in them, a picture without a dialogue has
            no reference.
        load: turns a path into what the asker takes.
        engine: what the asker runs on; on a cluster the asker is an `Elsewhere`. The rows do not depend on it.
        progress: called with (pictures done, pictures in all).

    Raises:
        ValueError: an unknown task, a batch size or limit below 1, an asker that cannot do what is asked, a file begun by
            another system, or (without ``renew``) one with answers to samples or questions that are gone or have changed.
        RecordError, FileNotFoundError: ``samples`` or the rows to continue cannot be read.
        AssistantDown: the system cannot be reached; all that it answered is kept.
    """
    samples, out = Path(samples), Path(out)
    check_not_read([out], [samples, *references])
    if tasks is None:
        tasks = answerable(asker)
    _check(asker, tasks, batch_size, limit)
    answers = dialogues_of(references)
    every: Sequence[Photo] = read_inputs(samples)
    if not every:
        raise ValueError(f"{samples}: no pictures — expected at least one row or picture — check the path")
    rows = every[:limit]
    listed_in = (samples / "list" if samples.is_dir() else samples).absolute()  # relative paths start at its folder
    config = {
        "stage": "predict",
        "system": system,
        "options": {**(options or {}), **({"references": [file_sha256(file) for file in references]} if references else {})},
        "tasks": {name: TASKS[name].version for name in tasks},
        "limit": limit,
    }
    told_tasks = {task for _, task in answers}
    if references and not any((row.id, name) in answers for row in every for name in tasks):
        told = ", ".join(map(str, references))
        raise ValueError(
            f"{told}: no dialogue whose meta.sample_id is one of {samples} — expected some — generate them from it"
        )
    strange = _stranger(every, {name: question_of(asker, name) for name in tasks}, listed_in, out.absolute())
    if resume:
        check_same_system(out, config)
        if retry_errors:
            remove_rows(out, Prediction, lambda row: row.error is not None)
        if renew:
            remove_rows(out, Prediction, strange)
    with JsonlWriter(out, resume=resume) as writer:
        if writer.ids:
            _check_same_samples(out, samples, strange)
        # Written first, so that a stopped run has its record too.
        write_run(out, config=config, seed=None, inputs=[samples, *references])
        wanted = [(row, [name for name in tasks if _row_id(row, name) not in writer.ids]) for row in rows]
        todo = [(row, names) for row, names in wanted if names]
        kept = len(rows) * len(tasks) - sum(len(names) for _, names in todo)
        done, counts = len(rows) - len(todo), {"parsed": 0, "unparsed": 0, "error": 0}
        _report(progress, done, len(rows))
        workers = int(getattr(asker, "workers", 1))
        batches = _chunks(todo, batch_size if workers == 1 else 1)
        work = partial(_predict_batch, asker=asker, samples=listed_in, out=out.absolute(), load=load)
        halt = threading.Event()
        outcomes = _work_on(batches, work, workers, halt) if engine is LOCAL else engine(work, list(batches), workers)
        for outcome in _reachable(outcomes, halt):
            for prediction in outcome.rows:
                writer.write(_against(prediction, answers) if prediction.task in told_tasks else prediction)
                counts[prediction.status] += 1
            done += len({prediction.sample_id for prediction in outcome.rows})
            _report(progress, done, len(rows))
    return PredictSummary(sum(counts.values()), kept, counts["error"], counts["unparsed"])


def dialogues_of(files: Sequence[str | Path]) -> dict[tuple[str, str], str]:
    """(sample id, task) -> the first answer of the first such dialogue; joined by `meta.sample_id`."""
    found: dict[tuple[str, str], str] = {}
    for file in files:
        for row in iter_jsonl(Path(file), Dialogue):
            found.setdefault((str(row.meta.get("sample_id")), row.task), row.conversations[1].value)
    return found


def _against(row: Prediction, answers: Mapping[tuple[str, str], str]) -> Prediction:
    answer = answers.get((row.sample_id, row.task))
    return row.model_copy(update={"truth": row.truth.model_copy(update={"answer": answer})})


def _work_on(batches: Iterable[T], work: Callable[[T], _Outcome], workers: int, halt: threading.Event) -> Iterator[_Outcome]:
    """Yields outcomes as they come, with at most `workers` batches in progress; after a halt, only of those begun before."""
    going = itertools.takewhile(lambda _: not halt.is_set(), batches)
    if workers == 1:
        yield from map(work, going)
        return
    running: set[Future[_Outcome]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="predict") as pool:
        for batch in going:
            running.add(pool.submit(work, batch))
            if len(running) == workers:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def _reachable(outcomes: Iterator[_Outcome], halt: threading.Event) -> Iterator[_Outcome]:
    """Yields outcomes whose pictures reached the system; the others are held back until it answers another picture.

    Raises:
        AssistantDown: after the last outcome; what is still held then is asked in the next run.
    """
    held: list[_Outcome] = []
    answered, down = False, None
    for outcome in outcomes:
        down = down or outcome.down
        if outcome.unreached:
            held.append(outcome)
            if len(held) >= MAX_UNREACHED_IN_A_ROW:
                down = down or _unreached(held)
        else:
            answered = answered or outcome.answered
            if outcome.answered and down is None:
                yield from held
                held.clear()
            yield outcome
        if down is not None:
            halt.set()
    if held and not answered:
        down = down or _unreached(held)
    if down is not None:
        raise down
    yield from held


def _unreached(held: Sequence[_Outcome]) -> AssistantDown:
    reason = held[-1].rows[-1].error
    return AssistantDown(
        f"{len(held)} pictures in a row got no answer (last: {reason}) — expected a system that answers — see to it and start "
        "the same command again: it goes on where it stopped"
    )


def _check(asker: Any, tasks: Sequence[str], batch_size: int, limit: int | None) -> None:
    faults = [f"task {name!r} — expected one of {', '.join(TASKS)}" for name in tasks if name not in TASKS]
    if not tasks:
        faults.append(f"no tasks — expected some of {', '.join(TASKS)}")
    if batch_size < 1:
        faults.append(f"batch size {batch_size} — expected at least 1")
    if limit is not None and limit < 1:
        faults.append(f"limit {limit} — expected at least 1")
    if not can_ask(asker):
        if not can_score(asker):
            faults.append(f"a {type(asker).__name__} — expected a method ask_many, ask, score_many or score — add one")
        words = sorted(set(tasks) & set(TASKS) - set(SCORED))
        if words:
            faults.append(f"{', '.join(words)} of a system that only scores — expected ask or ask_many — leave them out")
    beyond = sorted(set(tasks) & set(SCORED) - set(getattr(asker, "tasks", None) or SCORED))
    if beyond:
        faults.append(f"{', '.join(beyond)} of a system that tells only bona fide from attack — leave it out")
    if faults:
        raise ValueError("\n".join(faults))


def check_same_system(out: Path, config: Mapping[str, Any]) -> None:
    """Checks that a file will not mix two systems, since its metrics would describe neither.

    Raises:
        ValueError: its ``run.json`` says that it was begun with another ``system`` or other ``options``, or is missing.
    """
    if not out.exists() or not out.stat().st_size:
        return
    earlier = read_run(out).get("config", {})
    if not earlier:
        raise ValueError(
            f"{out} has answers, and no run.json beside it says whose — expected what this command wrote — write to another "
            "file, or remove this one"
        )
    before, now = ({"system": told.get("system"), **(told.get("options") or {})} for told in (earlier, config))
    if "weights" in before and "weights" in now:  # weights identify a system; a folder has many names
        before["system"] = now["system"]
    if differs := [name for name in {**before, **now} if before.get(name) != now.get(name)]:
        shown = ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in differs)
        raise ValueError(f"{out} was begun with {shown} — expected the same — write to another file, or remove this one")


def _check_same_samples(out: Path, samples: Path, strange: Callable[[Prediction], bool]) -> None:
    """Refuses answers that would be scored although sample or question are others now; samples may have been added."""
    if other := [kept.sample_id for kept in iter_jsonl(out, Prediction) if strange(kept)]:
        raise ValueError(
            f"{out}: {len(other)} answers to samples that are not in {samples} any more, or are others there, or to other "
            f"questions ({other[0]}, …) — expected those that it was begun with, or more — renew them (--renew), start "
            "afresh, or write to another file"
        )


def _stranger(rows: Sequence[Photo], questions: Mapping[str, str], listed_in: Path, out: Path) -> Callable[[Prediction], bool]:
    """Returns a test of whether a kept answer is about something other than these rows, or to another of the questions.

    That is a sample that is gone, or as far as recorded has another truth or picture now; or a photo of an archive that has
    moved or was replaced.
    """
    now = {row.id: row for row in rows}
    labelled = any(isinstance(row, Sample) for row in rows)

    def strange(kept: Prediction) -> bool:
        row = now.get(kept.sample_id)
        if kept.question != questions.get(kept.task, kept.question):
            return True
        if row is None:
            return labelled
        if isinstance(row, Sample):
            # Folder and name alone: the set may have been moved as a whole.
            place, was_at = Path(rebase_image(row.image, listed_in, out)), Path(kept.image)
            return _told(kept.truth) != _told(row) or was_at.parts[-2:] != place.parts[-2:]
        was = kept.truth.meta.get("file")
        return kept.image != rebase_image(row.image, listed_in, out) or was not in (None, _file(row, listed_in))

    return strange


def _file(photo: Photo, listed_in: Path) -> str | None:
    """Size and modification time of a photo's file, by which it is recognised; None if it cannot be found."""
    try:
        stat = image_path(photo, listed_in).stat()
    except (OSError, ValueError):
        return None
    return f"{stat.st_size} bytes, {stat.st_mtime_ns} ns"


def _told(truth: Sample | Truth) -> dict[str, Any]:
    """What is known about an answer's picture: all fields but `answer` and `meta`, and the SHA-256."""
    own = {name: getattr(truth, name) for name in Truth.model_fields if name not in ("answer", "meta")}
    return {**own, "sha256": truth.meta.get("sha256")}


def _predict_batch(batch: Sequence[tuple[Photo, list[str]]], *, asker: Any, samples: Path, out: Path, load: Load) -> _Outcome:
    images = [attempt(partial(load, image_path(row, samples))) for row, _ in batch]
    usable = [index for index, (_, fault) in enumerate(images) if fault is None]
    scores: dict[int, tuple[Scores | None, Exception | None]] = {}
    answers: dict[tuple[int, str], tuple[Said | None, Exception | None]] = {}
    lost: dict[int, Exception] = {}  # pictures whose call did not get through; nothing further is asked about them
    if can_score(asker):
        found = each(partial(asking.score, asker), [images[i][0] for i in usable])
        scores = dict(zip(usable, found, strict=True))
        lost |= {index: fault for index, (_, fault) in scores.items() if isinstance(fault, UNREACHED)}
    if can_ask(asker):
        for name in dict.fromkeys(name for _, names in batch for name in names):
            asked = [index for index in usable if name in batch[index][1] and index not in lost]
            found_said = each(partial(asking.ask, asker, question_of(asker, name)), [images[i][0] for i in asked])
            answers |= {(index, name): result for index, result in zip(asked, found_said, strict=True)}
            lost |= {index: fault for index, name in answers if isinstance(fault := answers[index, name][1], UNREACHED)}
    answered = any(value is not None for value, _ in [*answers.values(), *scores.values()])
    outcome = _Outcome(answered=answered, unreached=bool(lost) and not answered)
    for index, (row, names) in enumerate(batch):
        fault = images[index][1]
        for name in names:
            said, said_fault = answers.get((index, name), (None, lost.get(index)))
            score, score_fault = scores.get(index, (None, None))
            if isinstance(said_fault, AssistantDown):
                outcome.down = said_fault
                continue
            image = rebase_image(row.image, samples, out)
            faults = [fault, said_fault, score_fault]
            size_wh = row.size_wh if isinstance(row, Sample) else _size_wh(images[index][0])
            file = None if isinstance(row, Sample) else _file(row, samples)
            question = question_of(asker, name)
            outcome.rows.append(_row(row, name, question, image, size_wh, said, score, faults=faults, file=file))
    return outcome


def _row(
    sample: Photo,
    name: str,
    question: str,
    image: str,
    size_wh: tuple[int, int] | None,
    said: Said | None,
    score: Scores | None,
    *,
    faults: Sequence[Exception | None],
    file: str | None,
) -> Prediction:
    task = TASKS[name]
    reference, reference_fault = None, None
    if isinstance(sample, Sample):
        reference, reference_fault = attempt(lambda: task.answer(sample) if task.applies(sample) else None)
    if said is None and score is not None and name == "fine" and not score[1] and not any(faults):
        faults = [*faults, ValueError("scores without type_scores — expected the probability of each type")]
    told = list(dict.fromkeys(_described(fault) for fault in faults if fault is not None))
    bonafide_score, type_scores = score if score is not None else (None, None)
    text = None if said is None else said.text
    if bonafide_score is None and said is not None:
        bonafide_score = said.bonafide_score
    fields: dict[str, Any] = {"status": "error" if told else "parsed"}
    if text is not None and size_wh is not None:
        # If the score failed but the answer is readable, the answer stands; the missing score is counted separately.
        read: Answer = task.read(text, size_wh)
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
        question=question,
        answer=text,
        cut=None if said is None else said.cut,
        bonafide_score=bonafide_score,
        type_scores=dict(type_scores) if type_scores else None,
        error="; ".join([*told, *([f"reference: {_described(reference_fault)}"] if reference_fault else [])]) or None,
        truth=Truth.of(sample, reference) if isinstance(sample, Sample) else Truth(size_wh=size_wh, meta={"file": file}),
        **fields,
    )


def _size_wh(image: Any) -> tuple[int, int] | None:
    """Size of a loaded picture, a PIL image or an (H, W, 3) array; None if it could not be loaded."""
    if isinstance(image, Image.Image):
        return image.size
    return None if image is None else (int(image.shape[1]), int(image.shape[0]))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _row_id(sample: Photo, task: str) -> str:
    return f"{sample.id}:{task}"


def _chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _report(progress: Callable[[int, int], None] | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
