"""A data set's copy to `samples.jsonl`: frames read in worker processes, problems counted, resumable at every unit.

Rows are written in the order of the walk, so the output is the same bytes however many workers there were and however
often it was stopped. `rejects.jsonl` beside it holds every `Problem`.
Use: `summary = prepare(Wmca(root), PrepareConfig(out="samples.jsonl"))`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from faceshield import taxonomy
from faceshield.config import Config
from faceshield.datasets.base import Box, DataSet, Problem, Unit
from faceshield.datasets.boxes import Drawn, assign, read_boxes
from faceshield.datasets.media import RGB, MediaError, open_upright, read
from faceshield.datasets.workers import Crash, in_order
from faceshield.records import Sample, iter_jsonl, write_run

Progress = Callable[[int], None]
"""Called with the number of units done."""


class PrepareConfig(Config):
    """How a copy is read.

    Attributes:
        out: the samples file; pictures go to `images/` beside it, problems to `rejects.jsonl`.
        frames_per_video: frames of a video, evenly spaced over those that exist; 0 = all.
        crop: "as-is"; "detect": the largest face with a margin; "boxes": around the attack's boxes.
        detector: "module:name" of a class with `detect(rgb) -> [face]`, made without arguments in each worker.
        margin: of a crop, as a share of the face's longer side.
        boxes: attack regions drawn with another tool, see `boxes.read_boxes`; beside those that the data set itself has.
        types: own label -> presentation type (or null = leave out), in the place of the data set's own table.
        known: samples files whose pictures count as duplicates here.
        workers: processes that read.
        timeout: seconds after which a file is given up.
    """

    out: Path
    frames_per_video: int = Field(3, ge=0)
    crop: Literal["as-is", "detect", "boxes"] = "as-is"
    detector: str = "faceshield.face:BuiltInDetector"
    margin: float = Field(0.3, ge=0)
    boxes: Path | None = None
    types: dict[str, str | None] = Field(default_factory=dict)
    known: list[Path] = Field(default_factory=list)
    workers: int = Field(2, ge=1)
    timeout: float = Field(600.0, gt=0)


@dataclass(frozen=True)
class _Task:
    unit: Unit | Problem
    root: Path
    folder: Path
    config: PrepareConfig
    drawn: Mapping[int | None, tuple[Drawn, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Frame:
    """A frame as it will be a row: where its picture lies, what it shows."""

    number: int | None
    image: str
    size_wh: tuple[int, int]
    digest: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class _Done:
    frames: tuple[_Frame, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass
class Summary:
    """What came of it.

    Attributes:
        rows: samples by (split, presentation type).
        problems: by reason.
        lost: how many of the problems cost a sample.
        ignored: files that were nobody's, by suffix.
    """

    lost: int = 0
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def count(self, problems: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows of rejects.jsonl."""
        for problem in problems:
            self.problems[problem["reason"]] += 1
            self.lost += problem["dropped"]

    def lines(self) -> Iterator[str]:
        """A table of types and splits, and what was wrong."""
        splits = sorted({split for split, _ in self.rows}) or ["-"]
        width = max(len(name) for name in taxonomy.PRESENTATION_TYPES)
        yield f"{'type':{width}}" + "".join(f"{split:>10}" for split in [*splits, "all"])
        for name in taxonomy.PRESENTATION_TYPES:
            counts = [self.rows[split, name] for split in splits]
            yield f"{name:{width}}" + "".join(f"{count:10,}" for count in [*counts, sum(counts)])
        totals = [sum(count for (split, _), count in self.rows.items() if split == wanted) for wanted in splits]
        yield f"{'all':{width}}" + "".join(f"{count:10,}" for count in [*totals, sum(totals)])
        for title, counts_of in (("problems", self.problems), ("files of nobody", self.ignored)):
            if counts_of:
                yield f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts_of.items()))


def rejects_path(out: Path) -> Path:
    """Where the problems of a samples file are written."""
    return out.with_name("rejects.jsonl" if out.stem == "samples" else f"{out.stem}.rejects.jsonl")


def prepare(data: DataSet, config: PrepareConfig, progress: Progress | None = None) -> Summary:
    """Reads a copy to the end, going on where an earlier run was stopped.

    Raises:
        ValueError: an unknown type in `types`, or a stopped run with other settings.
    """
    types = {**data.types, **{label: name and taxonomy.resolve(name) for label, name in config.types.items()}}
    folder = config.out.parent / "images" / data.name
    journal = _Journal(data, config)
    seen = {mark for file in config.known for row in iter_jsonl(file, Sample) for mark in _marks(row)}
    summary = journal.recover(seen)

    drawn, faults = assign(read_boxes(config.boxes), data.walk(), data.name) if config.boxes is not None else ({}, [])

    def tasks() -> Iterator[_Task]:
        for found in islice(chain(data.walk(), faults), journal.units, None):
            own = drawn.get(found.id, {}) if isinstance(found, Unit) else {}
            yield _Task(_checked(found, types), data.root, folder, config, own)

    with closing(journal):
        for task, result in in_order(_extract, tasks(), workers=config.workers, timeout=config.timeout):
            done = _Done(problems=(Problem("crashed", task.unit.path, result.reason),)) if isinstance(result, Crash) else result
            rows, problems = [], list(done.problems)
            for frame in done.frames:
                assert isinstance(task.unit, Unit)
                row = _sample(data, task.unit, types, frame)
                if frame.boxes and not row.is_attack:
                    detail = f"{row.id} is bona fide — expected no attack region on it — its {len(frame.boxes)} are left out"
                    problems.append(Problem("box", task.unit.path, detail, dropped=False))
                marks = _marks(row)
                if before := marks & seen:
                    what = "picture" if int(frame.digest, 16) in before else "name"
                    detail = f"{row.id} has the {what} of an earlier sample (sha256 {frame.digest})"
                    problems.append(Problem("duplicate", task.unit.path, detail))
                    continue
                seen |= marks
                rows.append(row)
            journal.write(rows, problems)
            for row in rows:
                summary.rows[row.split or "-", row.presentation_type] += 1
            summary.count(asdict(problem) for problem in problems)
            if progress is not None:
                progress(journal.units)
    summary.ignored = data.ignored
    journal.finish()
    write_run(config.out, config=config, seed=0, inputs=[data.root])
    return summary


def _checked(found: Unit | Problem, types: Mapping[str, str | None]) -> Unit | Problem:
    """A unit whose label nobody maps, or that is left out on purpose, is a problem too."""
    if isinstance(found, Problem):
        return found
    if found.label not in types:
        expected = f"expected one of {', '.join(sorted(types)) or 'those of --types'} — map it with --types"
        return Problem("label", found.path, f"label {found.label!r} — {expected}")
    if types[found.label] is None:
        return Problem("left out", found.path, f"label {found.label!r} is of no presentation type")
    return found


def _sample(data: DataSet, unit: Unit, types: Mapping[str, str | None], frame: _Frame) -> Sample:
    kind = types[unit.label]
    assert kind is not None
    return Sample(
        id=f"{data.name}:{unit.id}" + ("" if frame.number is None else f":{frame.number}"),
        image=frame.image,
        dataset=data.name,
        is_attack=kind != taxonomy.BONAFIDE,
        presentation_type=kind,
        original_label=unit.label,
        subject=unit.subject,
        video=unit.video,
        frame=frame.number,
        split=unit.split,
        boxes=list(frame.boxes) if kind != taxonomy.BONAFIDE else [],
        size_wh=frame.size_wh,
        meta={**unit.meta, **({"splits": dict(unit.splits)} if unit.splits else {}), "sha256": frame.digest},
    )


def _marks(row: Sample) -> set[int]:
    """What no later sample may have too, as small as it gets: its id, and its picture."""
    name = int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:8], "big")
    return {name, int(row.meta["sha256"], 16)} if "sha256" in row.meta else {name}


# -- in a worker -----------------------------------------------------------------------------------------------------------


def _extract(task: _Task) -> _Done:
    """Frames of one unit, written where they have to be."""
    if isinstance(task.unit, Problem):
        return _Done(problems=(task.unit,))
    path = task.unit.path
    try:
        frames, missing = read(task.unit, task.root, task.config.frames_per_video)
    except MediaError as error:
        return _Done(problems=(Problem("unreadable", path, str(error)),))
    except OSError as error:
        return _Done(problems=(Problem("unreadable", path, f"{error.strerror or error}"),))
    made: list[_Frame] = []
    problems: list[Problem] = []
    if missing:
        problems.append(Problem("gap", path, f"{missing} frame numbers are missing", dropped=False))
    for number, source in frames:
        try:
            made.append(_frame(task, task.unit, number, source, problems))
        except MediaError as error:
            place = path if number is None else f"{path}, frame {number}"
            problems.append(Problem("no face" if "no face" in str(error) else "unreadable", place, str(error)))
    return _Done(tuple(made), tuple(problems))


def _frame(task: _Task, unit: Unit, number: int | None, source: RGB | Path, problems: list[Problem]) -> _Frame:
    rgb = open_upright(source) if isinstance(source, Path) else source
    mine = [Drawn(box) for box in unit.boxes]
    mine += [one for key in dict.fromkeys((None, number)) for one in task.drawn.get(key, ())]
    place = unit.path if number is None else f"{unit.path}, frame {number}"
    boxes = _inside([one for one in mine if not one.on_crop], rgb, place, problems)
    if isinstance(source, Path) and task.config.crop == "as-is":
        content, image = source.read_bytes(), str(source.resolve())
        digest = hashlib.sha256(content).hexdigest()[:16]
    else:
        rgb, boxes = _cropped(task.config, rgb, boxes)
        digest = hashlib.sha256(str(rgb.shape).encode() + rgb.tobytes()).hexdigest()[:16]
        name = unit.id if number is None else f"{unit.id}/{number:06d}"
        target = task.folder / (name if name.endswith(".png") else f"{name}.png")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        Image.fromarray(rgb).save(part, "PNG", compress_level=4)
        os.replace(part, target)
        image = target.relative_to(task.folder.parent.parent).as_posix()
    # Of a box that was whole before the crop, a part may be outside it now.
    boxes = _inside([*map(Drawn, boxes), *(one for one in mine if one.on_crop)], rgb, place, problems)
    return _Frame(number, image, (rgb.shape[1], rgb.shape[0]), digest, boxes)


def _inside(drawn: Iterable[Drawn], rgb: RGB, place: str, problems: list[Problem]) -> tuple[Box, ...]:
    """The boxes as far as they are in the picture; what has no area there is a problem that costs no sample."""
    boxes = []
    for one in drawn:
        try:
            boxes.append(one.inside((rgb.shape[1], rgb.shape[0])))
        except ValueError as error:
            problems.append(Problem("box", place, str(error), dropped=False))
    return tuple(boxes)


_detectors: dict[str, Any] = {}


def _cropped(config: PrepareConfig, rgb: RGB, boxes: tuple[Box, ...]) -> tuple[RGB, tuple[Box, ...]]:
    if config.crop == "as-is" or (config.crop == "boxes" and not boxes):
        return rgb, boxes
    if config.crop == "detect":
        if config.detector not in _detectors:
            module, _, name = config.detector.partition(":")
            _detectors[config.detector] = getattr(importlib.import_module(module), name)()
        faces = sorted(_detectors[config.detector].detect(rgb), key=lambda face: -_area(face.box))
        if not faces:
            raise MediaError("no face found — expected one with crop=detect — use crop=as-is for face crops")
        inner = np.array(faces[0].box)
    else:
        corners = np.array(boxes)
        inner = np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)])
    height, width = rgb.shape[:2]
    reach = config.margin * max(inner[2] - inner[0], inner[3] - inner[1])
    x0, y0 = (max(0, int(np.floor(value - reach))) for value in inner[:2])
    x1, y1 = min(width, int(np.ceil(inner[2] + reach))), min(height, int(np.ceil(inner[3] + reach)))
    moved = tuple((left - x0, top - y0, right - x0, bottom - y0) for left, top, right, bottom in boxes)
    return np.ascontiguousarray(rgb[y0:y1, x0:x1]), moved


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


# -- going on --------------------------------------------------------------------------------------------------------------


class _Journal:
    """Samples and rejects in the making; a line after each unit says how long both are: what is behind is cut off."""

    def __init__(self, data: DataSet, config: PrepareConfig) -> None:
        self.out, self.rejects = config.out, rejects_path(config.out)
        self.parts = tuple(path.with_name(f".{path.name}.part") for path in (self.out, self.rejects))
        self.file = config.out.with_name(f".{config.out.name}.journal")
        settings = config.model_dump(mode="json", exclude={"workers", "timeout", "out"})
        self.head = json.dumps({"data": data.name, "root": str(data.root.resolve()), **settings}, sort_keys=True)
        self.units = 0
        config.out.parent.mkdir(parents=True, exist_ok=True)

    def recover(self, seen: set[int]) -> Summary:
        """What an earlier run has done; `seen` gets its pictures."""
        summary, lengths = Summary(), [0, 0]
        if self.file.exists():
            with self.file.open("rb") as lines:
                head = lines.readline()
                if head.strip() and head.decode().rstrip("\n") != self.head:
                    raise ValueError(
                        f"{self.file}: a stopped run with other settings — expected the same command — "
                        "repeat it, or delete this file to start afresh"
                    )
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self.units, *lengths = (int(number) for number in line.split())
        for part, length in zip(self.parts, lengths, strict=True):
            with part.open("ab") as end:
                end.truncate(length)
        for row in iter_jsonl(self.parts[0], Sample):
            summary.rows[row.split or "-", row.presentation_type] += 1
            seen |= _marks(row)
        with self.parts[1].open(encoding="utf-8") as lines_:
            summary.count(json.loads(line) for line in lines_)
        self.file.write_text(f"{self.head}\n{self.units} {lengths[0]} {lengths[1]}\n", encoding="utf-8")
        self._files = [path.open("ab") for path in (*self.parts, self.file)]
        return summary

    def write(self, rows: list[Sample], problems: list[Problem]) -> None:
        samples, rejects, journal = self._files
        samples.write(b"".join(row.model_dump_json().encode() + b"\n" for row in rows))
        rejects.write(b"".join(json.dumps(asdict(problem), ensure_ascii=False).encode() + b"\n" for problem in problems))
        samples.flush()
        rejects.flush()
        self.units += 1
        journal.write(f"{self.units} {samples.tell()} {rejects.tell()}\n".encode())
        journal.flush()

    def close(self) -> None:
        for file in self._files:
            file.close()

    def finish(self) -> None:
        for part, path in zip(self.parts, (self.out, self.rejects), strict=True):
            os.replace(part, path)
        self.file.unlink()
