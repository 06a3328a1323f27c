"""How every verb of the data engine runs: rows in, work on each (many at once), rows out in the input's order.

Results are appended to a journal beside the output in the order of the input, so the finished file does not depend on which
item finished first or where the run was stopped: kill it at any moment, start the same command again, and the file is that of
an uninterrupted run. Use: `run_stage(out, items, work, config=..., seed=0, inputs=[samples])`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from faceshield.chat import AssistantDown
from faceshield.data_engine.backends.base import Backend
from faceshield.engines import LOCAL, Engine
from faceshield.provenance import check_not_read, file_sha256, lock, read_run, write_run, write_text_atomic
from faceshield.records import Dialogue, Record

Item = TypeVar("Item")

NO_CALL = "no-call"
"""Filter name of rejects that were lost because the assistant could not be reached."""

MAX_LOST_IN_A_ROW = 20
"""After this many unanswered calls in a row the assistant is taken to be down: the run stops, instead of rejecting
everything."""


@dataclass
class Outcome:
    """What became of one item.

    Attributes:
        rows: rows of the output.
        rejects: {"id", "filter", "reason", …} for everything that was left out.
        up: whether its last call got through; None: it made no call. Calls that did not are rejects with the filter `NO_CALL`,
            and the outcome is held back until a later item shows that the assistant is up.
    """

    rows: list[Record | dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    up: bool | None = None


class Admission(Protocol):
    """Decides, in the order of the input, what no item can decide alone, such as near-duplicates."""

    def admit(self, outcome: Outcome) -> Outcome:
        """The outcome with rows that may not pass turned into rejects."""

    def recall(self, rows: Sequence[dict[str, Any]]) -> None:
        """Remembers rows that passed before the run was interrupted."""


@dataclass(frozen=True)
class StageResult:
    """What a stage wrote.

    Attributes:
        out, rejects_path: the files; `rejects_path` exists only if there are rejects.
        rows, rejects: how many of each. items: number of input items, 0 if nothing was done.
        reused: nothing was done, since the output of the same run is there.
        calls: calls that the backend made; None if the workers of a cluster made them.
        note: what the user should know about the result, or "".
    """

    out: Path
    rejects_path: Path
    rows: int
    rejects: int
    items: int = 0
    reused: bool = False
    calls: int | None = 0
    note: str = ""


def rejected(row: Dialogue, name: str, reason: str) -> dict[str, Any]:
    """A reject: which filter, why, and the whole dialogue, so that it can be restored."""
    return {"id": row.id, "filter": name, "reason": reason, "dialogue": row.model_dump(mode="json", by_alias=True)}


def rejects_path(out: str | Path) -> Path:
    """Where a stage writes what it left out: `dialogues.jsonl` -> `dialogues.rejects.jsonl`."""
    return Path(out).with_suffix(".rejects.jsonl")


def run_stage(
    out: str | Path,
    items: Sequence[Item],
    work: Callable[[Item], Outcome],
    *,
    config: dict[str, Any],
    seed: int | None,
    inputs: Sequence[str | Path],
    backend: Backend | None = None,
    admission: Admission | None = None,
    progress: Callable[[int, int], None] | None = None,
    engine: Engine = LOCAL,
) -> StageResult:
    """Works on every item and writes `out`, its rejects and `run.json`.

    An interrupted run of the same configuration and inputs is resumed; if its output is complete, nothing is done.

    Args:
        work: pure; on a cluster it is sent to the workers with all that it holds.
        config: everything but the backend that determines the output, JSON-able, without secrets; goes into `run.json`.
        backend: the one that `work` asks: its settings become part of the configuration, and `workers` sets the threads.
        engine: runs `work`; the output does not depend on it.

    Raises:
        ValueError: `out` is one of the inputs, or another run is writing it.
        AssistantDown: the assistant cannot be used; what was done is kept.
    """
    out = Path(out)
    check_not_read([out, rejects_path(out)], inputs)
    config = {**config, "backend": backend.settings if backend is not None else None}
    config["fingerprint"] = fingerprint({**config, "from": _way(out, inputs)}, seed, inputs)
    found = _finished(out, config["fingerprint"])
    if found is not None:
        return found
    note = _set_aside(out, config["fingerprint"])
    journal = _Journal(out, config["fingerprint"])
    threads = backend.workers if backend is not None else 1
    held: list[Outcome] = []
    answered = False  # by this run: an earlier run's answers do not show that the assistant is up

    def write(outcome: Outcome) -> None:
        journal.append(admission.admit(outcome) if admission is not None else outcome)

    with journal:
        if admission is not None:
            for rows in journal.rows():
                admission.recall(rows)
        done = journal.count
        if progress:
            progress(done, len(items))
        for outcome in engine(work, items[done:], threads):
            held.append(outcome)
            if outcome.up is False and len(_lost(held)) >= MAX_LOST_IN_A_ROW:
                raise _down(held)
            if outcome.up is False or (outcome.up is None and len(held) > 1):
                continue
            answered = answered or outcome.up is True
            for one in held:
                write(one)
            held.clear()
            done = journal.count
            if progress:
                progress(done, len(items))
        if held and not answered:
            raise _down(held)
        for one in held:
            write(one)
        counts = journal.finish()
        write_run(out, config=config, seed=seed, inputs=inputs)
        journal.path.unlink()  # while it is still locked
    calls = None if engine is not LOCAL else backend.calls if backend is not None else 0
    return StageResult(out, rejects_path(out), *counts, items=len(items), calls=calls, note=note)


def _way(out: Path, inputs: Sequence[str | Path]) -> list[str]:
    """Relative paths from an output to its inputs, on which the paths of its pictures depend."""
    return [os.path.relpath(Path(path).resolve(), out.resolve().parent) for path in inputs]


def fingerprint(config: dict[str, Any], seed: int | None, inputs: Sequence[str | Path]) -> str:
    """Identifies a run: a hash of its configuration, seed, inputs' contents and the version of faceshield."""
    try:
        version = importlib.metadata.version("faceshield")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    content = [config, seed, [file_sha256(path) for path in inputs], version]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _lost(held: Sequence[Outcome]) -> list[str]:
    """The reasons why calls did not get through."""
    return [reject["reason"] for outcome in held for reject in outcome.rejects if reject["filter"] == NO_CALL]


def _down(held: Sequence[Outcome]) -> AssistantDown:
    reasons = _lost(held)
    return AssistantDown(
        f"{len(reasons)} calls in a row got no answer (last: {reasons[-1]}) — expected a working assistant — "
        "see to it and start the same command again: it goes on where it stopped"
    )


def _finished(out: Path, wanted: str) -> StageResult | None:
    """The result of an earlier run if its output is there and complete."""
    if not out.is_file() or _journal_path(out).exists() or read_run(out).get("config", {}).get("fingerprint") != wanted:
        return None
    rejects = rejects_path(out)
    return StageResult(out, rejects, _lines(out), _lines(rejects), reused=True)


def _set_aside(out: Path, wanted: str) -> str:
    """Renames the finished output of another run, which may have taken long to make; returns a note for the user."""
    if not out.is_file() or read_run(out).get("config", {}).get("fingerprint") in (None, wanted):
        return ""
    before = out.with_name(f"{out.name}.before")
    out.replace(before)
    return f"{out} was there, from other settings, inputs or another version: it was renamed to {before}"


def _lines(path: Path) -> int:
    if not path.is_file():
        return 0
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _journal_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.journal")


class _Journal:
    """One line per item in the items' order, with its rows and rejects; the first line says of which run.

    Another run's journal is set aside, since an assistant's answers may have taken long to get.
    """

    def __init__(self, out: Path, run: str) -> None:
        self.out, self.path, self.count = out, _journal_path(out), 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"run": run}).encode() + b"\n"
        self._handle = self.path.open("ab")
        try:
            lock(self._handle, self.path)
        except ValueError:
            self._handle.close()
            raise
        end = 0
        with self.path.open("rb") as lines:
            if (first := lines.readline()) == header:
                end = len(header)
                for raw in lines:
                    if not raw.endswith(b"\n"):
                        break  # cut off while being written: that item is done again
                    end += len(raw)
                    self.count += 1
        if first and not end:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.before"))
        self._handle.truncate(end)
        if not end:
            self._handle.write(header)
            self._handle.flush()

    def append(self, outcome: Outcome) -> None:
        rows = [row.model_dump(mode="json", by_alias=True) if isinstance(row, Record) else row for row in outcome.rows]
        entry = {"rows": rows, "rejects": outcome.rejects}
        self._handle.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self._handle.flush()
        self.count += 1

    def rows(self) -> Iterator[list[dict[str, Any]]]:
        """The rows of every item so far."""
        for entry in self._entries():
            yield entry["rows"]

    def _entries(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as lines:
            next(lines)
            for raw in lines:
                yield json.loads(raw)

    def finish(self) -> tuple[int, int]:
        """Writes output and rejects, and returns their counts."""
        counts = {"rows": 0, "rejects": 0}

        def lines(kind: str) -> Iterator[str]:
            for entry in self._entries():
                for row in entry[kind]:
                    counts[kind] += 1
                    yield json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"

        write_text_atomic(self.out, lines("rows"))
        rejects = rejects_path(self.out)
        write_text_atomic(rejects, lines("rejects"))
        if not counts["rejects"]:
            rejects.unlink()
        return counts["rows"], counts["rejects"]

    def __enter__(self) -> _Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self._handle.close()
