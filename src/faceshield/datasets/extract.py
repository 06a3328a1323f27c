"""Turn a unit of a data set into frames, in a worker process: read, crop, store, move boxes along, and report problems.

Use: `done = extract(Job(unit, root, folder, config, drawn, faces))`, as `prepare` does for every unit of a walk.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceshield.datasets.base import Problem, Unit
from faceshield.datasets.boxes import Drawn
from faceshield.datasets.media import Fault, MediaError, open_upright, read
from faceshield.face import crop_box
from faceshield.images import RGB, ImageError, check_size
from faceshield.provenance import written_whole
from faceshield.records import Box

if TYPE_CHECKING:
    from faceshield.datasets.prepare import PrepareConfig


@dataclass(frozen=True)
class Job:
    """A unit of the walk and everything that a worker needs for it.

    `root`: the copy's root. `folder`: where pictures are stored. `drawn`, `faces`: the unit's boxes, from `boxes.assign`.
    """

    unit: Unit | Problem
    root: Path
    folder: Path
    config: PrepareConfig
    drawn: Mapping[int | None, tuple[Drawn, ...]] = field(default_factory=dict)
    faces: Mapping[int | None, tuple[Drawn, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """A frame that will become a row: where its picture is, its size, digest and boxes."""

    number: int | None
    image: str
    size_wh: tuple[int, int]
    digest: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Done:
    """The result of a unit, in the order of its frames."""

    frames: tuple[Frame, ...] = ()
    problems: tuple[Problem, ...] = ()


def extract(job: Job) -> Done:
    """Extract the frames of one unit, and store those that need a picture file."""
    if isinstance(job.unit, Problem):
        return Done(problems=(job.unit,))
    made: list[Frame] = []
    problems: list[Problem] = []
    met: set[int | None] = {None}

    def lost(error: Exception, number: int | None = None) -> None:
        place = job.unit.path if number is None else f"{job.unit.path}, frame {number}"
        reason = error.reason if isinstance(error, _Unfit) else "unreadable"
        problems.append(Problem(reason, place, getattr(error, "strerror", None) or str(error)))

    try:
        for found in read(job.unit, job.root, job.config.frames_per_video):
            met.add(found.number if isinstance(found, Fault) else found[0])
            if isinstance(found, Fault):
                place = job.unit.path if found.number is None else f"{job.unit.path}, frame {found.number}"
                problems.append(Problem(found.reason, place, found.detail, dropped=found.number is not None))
                continue
            try:
                made.append(_frame(job, job.unit, *found, problems))
            except MediaError as error:
                lost(error, found[0])
    except (MediaError, OSError) as error:
        lost(error)
    else:
        for number in sorted(key for key in job.drawn if key is not None and key not in met):
            detail = f"its box is unused: this frame is none of the {len(made)} taken; take more with frames_per_video"
            problems.append(Problem("box", f"{job.unit.path}, frame {number}", detail, dropped=False))
    return Done(tuple(made), tuple(problems))


class _Unfit(MediaError):
    """A picture can be read but not used; `reason` as in `Problem`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _frame(job: Job, unit: Unit, number: int | None, source: RGB | Path, problems: list[Problem]) -> Frame:
    rgb = open_upright(source) if isinstance(source, Path) else source
    mine = [Drawn(box) for box in unit.boxes] + _of(job.drawn, number)
    place = unit.path if number is None else f"{unit.path}, frame {number}"
    boxes = _inside([one for one in mine if not one.on_crop], rgb, place, problems)
    if job.config.inspectable:
        _check_inspectable(rgb, place)
    # Of the picture as it was read, so that a duplicate is found however it was cropped or stored.
    digest = hashlib.sha256(str(rgb.shape).encode() + rgb.tobytes()).hexdigest()[:16]
    if job.config.crop != "as-is":
        known = _of(job.faces, number) or ([Drawn(unit.face, shares=True)] if unit.face else [])
        rgb, boxes = _cropped(rgb, boxes, _face(job.config, rgb, known), job.config.margin)
        if job.config.inspectable:
            _check_inspectable(rgb, place)
    if isinstance(source, Path) and job.config.crop == "as-is":
        image = str(source.resolve())
    else:
        target = job.folder / _below(unit.id if number is None else f"{unit.id}/{number:06d}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as part:
            Image.fromarray(rgb).save(part, "PNG", compress_level=4)
        image = target.relative_to(job.folder.parent.parent).as_posix()
    # After the crop, part of a box may be outside.
    boxes = _inside([*map(Drawn, boxes), *(one for one in mine if one.on_crop)], rgb, place, problems)
    return Frame(number, image, (rgb.shape[1], rgb.shape[0]), digest, boxes)


def _check_inspectable(rgb: RGB, place: str) -> None:
    try:
        check_size(place, rgb.shape[1], rgb.shape[0])
    except ImageError as error:
        raise _Unfit("size", error.problem) from None


def _of(drawn: Mapping[int | None, tuple[Drawn, ...]], number: int | None) -> list[Drawn]:
    """The boxes drawn for every frame, and for this one."""
    return [one for key in dict.fromkeys((None, number)) for one in drawn.get(key, ())]


def _below(name: str) -> PurePosixPath:
    """The path of a sample's picture: unique to its name, and never outside of the folder, whatever a user's list says."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        path = PurePosixPath("elsewhere", hashlib.sha256(name.encode()).hexdigest()[:16], path.name)
    own = path.suffix == ".png" and not PurePosixPath(path.stem).suffix  # a.jpg is stored as a.jpg.png
    return path if own else path.with_name(f"{path.name}.png")


def _inside(drawn: Iterable[Drawn], rgb: RGB, place: str, problems: list[Problem]) -> tuple[Box, ...]:
    """The boxes, clipped to the picture; one without area there is a problem that costs no sample."""
    boxes = []
    for one in drawn:
        try:
            boxes.append(one.inside((rgb.shape[1], rgb.shape[0])))
        except ValueError as error:
            problems.append(Problem("box", place, str(error), dropped=False))
    return tuple(boxes)


@cache
def detector_of(name: str) -> Any:
    """The detector `module:class`, created once per process."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        expected = "expected module:class with detect(rgb) -> faces — correct it"
        raise ValueError(f"detector {name!r}: {error} — {expected}") from error


def _face(config: PrepareConfig, rgb: RGB, known: list[Drawn]) -> Box:
    """The largest face among the known ones, or among those that the detector finds."""
    if config.crop == "boxes":
        boxes = _inside(known, rgb, "", [])
        expected = "the data set's own, or one of --faces — use crop=detect, or crop=as-is for face crops"
    else:
        boxes = tuple(tuple(face.box) for face in detector_of(config.detector).detect(rgb))
        expected = "one that the detector finds — use crop=as-is for face crops"
    if not boxes:
        raise _Unfit("no face", f"no face — expected {expected}")
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))


def _cropped(rgb: RGB, boxes: tuple[Box, ...], face: Box, margin: float) -> tuple[RGB, tuple[Box, ...]]:
    x0, y0, x1, y1 = crop_box(face, (rgb.shape[1], rgb.shape[0]), margin)
    moved = tuple((left - x0, top - y0, right - x0, bottom - y0) for left, top, right, bottom in boxes)
    return np.ascontiguousarray(rgb[y0:y1, x0:x1]), moved
