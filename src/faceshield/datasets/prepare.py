"""Convert a data set's copy to `samples.jsonl`: worker processes read frames, problems are counted, a run resumes at any unit.

Rows are written in the order of the walk, so the output has the same bytes whatever the number of workers or interruptions.
`rejects.jsonl` beside it holds every `Problem`.
Use: `summary = prepare(Wmca(root), PrepareConfig(out="samples.jsonl"))`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import yaml
from pydantic import Field

from faceshield import taxonomy
from faceshield.config import Config, near, read_yaml
from faceshield.datasets.base import DataSet, Problem, Unit, pictures_folder
from faceshield.datasets.boxes import assign, read_boxes
from faceshield.datasets.extract import Done, Frame, Job, detector_of, extract
from faceshield.datasets.media import need
from faceshield.datasets.workers import Crash, in_order
from faceshield.face import CROP_MARGIN
from faceshield.provenance import check_not_read, file_sha256, lock, read_run, write_run
from faceshield.records import Sample, iter_jsonl

Progress = Callable[[int], None]
"""Called with the number of units done."""


class PrepareConfig(Config):
    """How a copy is read.

    Attributes:
        out: the samples file; pictures go to `images/` beside it, problems to `rejects.jsonl`.
        frames_per_video: frames of a video, evenly spaced over those that exist; 0 = all.
        crop: "as-is"; "detect": the largest face that the detector finds; "boxes": the face given by the data set's own files
            or by `faces`. A picture without a face is a problem, and is lost.
        detector: "module:name" of a class with `detect(rgb) -> [face]`, made without arguments in each worker.
        margin: added to a crop on every side, as a fraction of the face's longer side; the default is the predictor's, so
            that a model sees in use what it saw in training.
        boxes: attack regions drawn with another tool, see `boxes.read_boxes`; added to those of the data set itself.
        faces: the same for faces, replacing those of the data set itself; for crop="boxes".
        types: own label -> presentation type, "attack" (of unknown type) or null (leave out); overrides the data set's own
            table.
        inspectable: leave out pictures of a size that `inspect` refuses; it takes sides of 32 to 12,500 pixels.
        known: samples files whose pictures count as duplicates here.
        workers: processes that read; 0 = only this one, which a decoder's crash then ends.
        timeout: seconds after which a file is given up.
    """

    out: Path
    frames_per_video: int = Field(3, ge=0)  # Paper is silent: three would give its 12,091 pictures
    crop: Literal["as-is", "detect", "boxes"] = "as-is"
    detector: str = "faceshield.face:BuiltInDetector"
    margin: float = Field(CROP_MARGIN, ge=0)
    boxes: Path | None = None
    faces: Path | None = None
    types: dict[str, str | None] = Field(default_factory=dict)
    inspectable: bool = False
    known: list[Path] = Field(default_factory=list)
    workers: int = Field(2, ge=0)
    timeout: float = Field(600.0, gt=0)


@dataclass
class Summary:
    """What a run gave.

    Attributes:
        rows: samples by (split, presentation type).
        problems: by reason.
        lost: how many of the problems cost a sample.
        ignored: files that belong to no sample, by suffix.
    """

    lost: int = 0
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def count(self, problems: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of rejects.jsonl."""
        for problem in problems:
            self.problems[problem["reason"]] += 1
            self.lost += problem["dropped"]

    def lines(self) -> Iterator[str]:
        """A table of types and splits, and the problems."""
        splits = sorted({split for split, _ in self.rows}) or ["-"]
        width = max(len(name) for name in taxonomy.PRESENTATION_TYPES)
        yield f"{'type':{width}}" + "".join(f"{split:>10}" for split in [*splits, "all"])
        untyped = any(name == taxonomy.UNTYPED for _, name in self.rows)
        for name in (*taxonomy.PRESENTATION_TYPES, *([taxonomy.UNTYPED] if untyped else [])):
            counts = [self.rows[split, name] for split in splits]
            yield f"{name:{width}}" + "".join(f"{count:10,}" for count in [*counts, sum(counts)])
        totals = [sum(count for (split, _), count in self.rows.items() if split == wanted) for wanted in splits]
        yield f"{'all':{width}}" + "".join(f"{count:10,}" for count in [*totals, sum(totals)])
        for title, counts_of in (("problems", self.problems), ("ignored files", self.ignored)):
            if counts_of:
                yield f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts_of.items()))


def read_types(file: str | Path) -> dict[str, str | None]:
    """Read own label -> presentation type from a YAML file; null = left out.

    Raises:
        ValueError: not YAML, or not a mapping of labels to names.
    """
    # As text: YAML itself would read the code 3_05 as the number 305.
    values = read_yaml(file, yaml.BaseLoader)
    if not all(isinstance(name, str) for name in values.values()):
        raise ValueError(f"{file}: not a mapping — expected lines of `own label: presentation type` — correct it")
    return {str(label): None if name in ("", "~", "null") else name for label, name in values.items()}


def rejects_path(out: Path) -> Path:
    """Where the problems of a samples file are written."""
    return out.with_name("rejects.jsonl" if out.stem == "samples" else f"{out.stem}.rejects.jsonl")


def prepare(data: DataSet, config: PrepareConfig, progress: Progress | None = None) -> Summary:
    """Read a copy to the end, resuming where an earlier run was stopped.

    Raises:
        ImportError: a package that a file's kind needs is not installed.
        ValueError: an unknown type in `types`, a stopped run with other settings or of another copy, or an output that would
            overwrite an input, be read as one later, or that another run is writing.
    """
    check_not_read([config.out, rejects_path(config.out)], [*config.known, config.boxes, config.faces])
    own_types = {data.spelled(label): name and _target(name) for label, name in config.types.items()}
    types = {**data.types, **own_types}
    data.write_to(config.out)
    folder = pictures_folder(config.out, data.name)
    _check_apart(config, data)
    if config.crop == "detect":
        detector_of(config.detector)
    (drawn, faults), (faces, others) = (
        ({}, []) if source is None else assign(read_boxes(source), data.walk(), data.name)
        for source in (config.boxes, config.faces)
    )
    journal = _Journal(data, config)
    seen = _Seen()
    met: set[str] = set()

    def met_labels() -> Iterator[Unit | Problem]:
        for found in data.walk():
            if isinstance(found, Unit):
                met.add(found.label)
                need(found.reader)
            yield found
        for label in sorted(own_types.keys() - met):
            yield Problem("types", label, "no file has this label", dropped=False)

    walked, marks = hashlib.sha256(), deque[str]()

    def note(found: Unit | Problem) -> None:
        walked.update(f"{found!r}\n".encode("utf-8", "backslashreplace"))

    def checked(found: Unit | Problem) -> Unit | Problem:
        """Reject a unit with the id of an earlier one: its picture would overwrite the other's."""
        note(found)
        found = _checked(found, types)
        if isinstance(found, Unit) and seen.met(found):
            return Problem("duplicate", found.path, f"{found.id} is the id of an earlier file")
        return found

    def jobs() -> Iterator[Job]:
        found_all = chain(met_labels(), faults, others)
        for found in islice(found_all, journal.units):
            checked(found)
        journal.check(walked.hexdigest())
        for found in map(checked, found_all):
            marks.append(walked.hexdigest())
            own, face = (by.get(found.id, {}) if isinstance(found, Unit) else {} for by in (drawn, faces))
            yield Job(found, data.root, folder, config, own, face)

    with closing(journal), closing(seen):
        for file in config.known:
            for row in iter_jsonl(file, Sample):
                seen.add(row)
        summary = journal.recover(seen)
        for job, result in in_order(extract, jobs(), workers=config.workers, timeout=config.timeout):
            done = Done(problems=(Problem("crashed", job.unit.path, result.reason),)) if isinstance(result, Crash) else result
            rows, problems = [], list(done.problems)
            for frame in done.frames:
                assert isinstance(job.unit, Unit)
                row = _sample(data, job.unit, types, frame)
                if frame.boxes and not row.is_attack:
                    detail = f"{row.id} is bona fide — expected no attack region on it — its {len(frame.boxes)} are left out"
                    problems.append(Problem("box", job.unit.path, detail, dropped=False))
                if before := seen.add(row):
                    detail = f"{_called(row)} has the {before} (sha256 {frame.digest})"
                    problems.append(Problem("duplicate", job.unit.path, detail))
                    continue
                rows.append(row)
            journal.write(rows, problems, marks.popleft())
            for row in rows:
                summary.rows[row.split or "-", row.presentation_type or taxonomy.UNTYPED] += 1
            summary.count(asdict(problem) for problem in problems)
            if progress is not None:
                progress(journal.units)
        summary.ignored = data.ignored
        journal.finish()
    data.close()
    write_run(config.out, config=config, seed=None, inputs=[data.root])
    return summary


_OF_PICTURES = ("frames_per_video", "crop", "detector", "margin", "faces")
"""Settings that decide how a stored picture looks."""


def _check_apart(config: PrepareConfig, data: DataSet) -> None:
    """Raise ValueError if the pictures of another samples file beside the output would be overwritten, because that file is of
    another copy or was made with other settings."""
    out, name, mine = config.out, data.name, config.model_dump(mode="json")
    for other in sorted(out.parent.glob("*.jsonl")):
        run = read_run(other)
        told = run.get("config", {})
        if other.resolve() == out.resolve() or not set(_OF_PICTURES) <= told.keys():
            continue
        same_copy = Path(run["inputs"][0]["path"]).resolve() == data.root.resolve()
        if same_copy and all(told[key] == mine[key] for key in _OF_PICTURES):
            continue
        with other.open(encoding="utf-8") as rows:
            if any(f'"images/{name}/' in row for row in rows):
                raise ValueError(
                    f"{out}: {other.name} beside it has its pictures in {pictures_folder(out, name)}, and this run would "
                    "overwrite them — expected a folder of its own — choose another --out"
                )


def _target(name: str) -> str:
    """What a label stands for: a presentation type, or an attack of unknown type."""
    return name if name == taxonomy.UNTYPED else taxonomy.resolve(name)


def _checked(found: Unit | Problem, types: Mapping[str, str | None]) -> Unit | Problem:
    """Turn a unit whose label is not mapped, or is left out on purpose, into a problem."""
    if isinstance(found, Problem):
        return found
    if found.label not in types:
        alike = [name for name in taxonomy.ATTACK_TYPES if name in types and found.label.lower() in name.lower().split()]
        meant = f"which of {', '.join(alike)}?" if len(alike) > 1 else near(found.label, types, "correct it")
        expected = f"expected one of {', '.join(sorted(types)) or 'those of --types'} — {meant}, or map it with prepare --types"
        return Problem("label", found.path, f"label {found.label!r} — {expected}")
    if types[found.label] is None:
        return Problem("left out", found.path, f"label {found.label!r} is of no presentation type")
    return found


def _sample(data: DataSet, unit: Unit, types: Mapping[str, str | None], frame: Frame) -> Sample:
    kind = types[unit.label]
    assert kind is not None
    return Sample(
        id=f"{data.name}:{unit.id}" + ("" if frame.number is None else f":{frame.number}"),
        image=frame.image,
        dataset=data.name,
        is_attack=kind != taxonomy.BONAFIDE,
        presentation_type=None if kind == taxonomy.UNTYPED else kind,
        original_label=unit.label,
        subject=unit.subject,
        video=unit.video,
        frame=frame.number,
        split=unit.split,
        boxes=list(frame.boxes) if kind != taxonomy.BONAFIDE else [],
        size_wh=frame.size_wh,
        meta={**unit.meta, **({"splits": dict(unit.splits)} if unit.splits else {}), "sha256": frame.digest},
    )


def _called(row: Sample) -> str:
    """A sample and its labels: if one picture has two, one of them is wrong."""
    told = (row.presentation_type or taxonomy.UNTYPED, row.subject, row.split)
    return f"{row.id} ({', '.join(filter(None, told))})"


class _Seen:
    """What must not occur twice: ids of units and samples, and hashes of pictures.

    Kept in an anonymous temporary file, not in memory.
    """

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)
        for command in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -4096"):
            self._table.execute(command)
        self._table.execute("CREATE TABLE marks (mark BLOB PRIMARY KEY, called TEXT) WITHOUT ROWID")

    def add(self, row: Sample) -> str | None:
        """Record a sample; if its name or picture is recorded already, return which and whose instead."""
        marks = {"name": hashlib.sha256(row.id.encode()).digest()[:8]}
        if isinstance(digest := row.meta.get("sha256"), str):
            marks["picture"] = digest.encode()
        for what, mark in reversed(marks.items()):
            if found := self._table.execute("SELECT called FROM marks WHERE mark = ?", (mark,)).fetchone():
                return f"{what} of {found[0]}"
        called = _called(row)
        self._table.executemany("INSERT INTO marks VALUES (?, ?)", [(mark, called) for mark in marks.values()])
        return None

    def met(self, unit: Unit) -> bool:
        """Whether a unit with that id came before; records this one."""
        mark = hashlib.sha256(f"unit {unit.id}".encode()).digest()[:9]
        return self._table.execute("INSERT OR IGNORE INTO marks VALUES (?, NULL)", (mark,)).rowcount == 0

    def close(self) -> None:
        self._table.close()


# -- resuming -------------------------------------------------------------------------------------------------------------


class _Journal:
    """Samples and rejects in progress; after each unit, a line records the length of both files and a hash of the walk so far.

    On resuming, what lies beyond the last line's lengths is cut off; a walk that differs from the stopped one is refused.
    """

    def __init__(self, data: DataSet, config: PrepareConfig) -> None:
        self.out, self.rejects = config.out, rejects_path(config.out)
        self.parts = tuple(path.with_name(f".{path.name}.part") for path in (self.out, self.rejects))
        self.file = config.out.with_name(f".{config.out.name}.journal")
        settings = config.model_dump(mode="json", exclude={"workers", "timeout", "out"})
        read = [file_sha256(file) for file in (*config.known, config.boxes, config.faces) if file is not None]
        self.head = json.dumps({"data": data.name, "root": str(data.root.resolve()), "read": read, **settings}, sort_keys=True)
        self.units, self.mark = 0, ""
        self._files: list[BinaryIO] = []
        config.out.parent.mkdir(parents=True, exist_ok=True)

    def recover(self, seen: _Seen) -> Summary:
        """Take up what an earlier run has done; its samples are added to `seen`.

        Raises:
            ValueError: another run is writing, or the stopped one had other settings or has less output than its journal says.
        """
        summary, lengths = Summary(), [0, 0]
        self._files.append(self.file.open("ab"))
        lock(self._files[0], self.file)
        with self.file.open("rb") as lines:
            head = lines.readline()
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                units, samples, rejects, mark = line.split()
                self.units, lengths, self.mark = int(units), [int(samples), int(rejects)], mark.decode()
        if self.units and head.decode().rstrip("\n") != self.head:
            raise ValueError(
                f"{self.file}: a stopped run with other settings — expected the same command — "
                "repeat it, or delete this file to start afresh"
            )
        for part, path, length in zip(self.parts, (self.out, self.rejects), lengths, strict=True):
            if length and not part.exists() and path.exists():
                os.replace(path, part)  # stopped between the two renames of `finish`
            self._files.append(end := part.open("ab"))
            if end.seek(0, os.SEEK_END) < length:
                raise ValueError(f"{part} is shorter than its journal {self.file} says — delete both and start again")
            end.truncate(length)
        for row in iter_jsonl(self.parts[0], Sample):
            summary.rows[row.split or "-", row.presentation_type or taxonomy.UNTYPED] += 1
            seen.add(row)
        with self.parts[1].open(encoding="utf-8") as lines_:
            summary.count(json.loads(line) for line in lines_)
        last = f"{self.units} {lengths[0]} {lengths[1]} {self.mark}\n" if self.units else ""
        self._files[0].truncate(0)
        self._files[0].write(f"{self.head}\n{last}".encode())
        self._files[0].flush()
        return summary

    def check(self, mark: str) -> None:
        """Check that the walk is the stopped run's up to its last unit, including labels.

        Raises:
            ValueError: it is not, so units would be skipped or done twice.
        """
        if self.mark and mark != self.mark:
            raise ValueError(
                f"{self.file}: files, labels or lists have changed since this run was stopped — expected the same copy — "
                "delete this file to start afresh"
            )

    def write(self, rows: list[Sample], problems: list[Problem], mark: str) -> None:
        journal, samples, rejects = self._files
        samples.write(b"".join(row.model_dump_json().encode() + b"\n" for row in rows))
        rejects.write(b"".join(json.dumps(asdict(problem), ensure_ascii=False).encode() + b"\n" for problem in problems))
        samples.flush()
        rejects.flush()
        self.units += 1
        journal.write(f"{self.units} {samples.tell()} {rejects.tell()} {mark}\n".encode())
        journal.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def finish(self) -> None:
        for part, path in zip(self.parts, (self.out, self.rejects), strict=True):
            os.replace(part, path)
        self.file.unlink()
