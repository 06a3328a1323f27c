"""What the readers of all data sets share: a unit of work, a problem, and the walk over a folder.

A data set's module holds only what is specific to it: which paths belong to samples, what their names say, and which of the
12 types its labels mean. Everything else (frames, crops, workers, resuming, counting) is in `prepare` and `media`.
Use: `for found in Wmca(root).walk(): …`, each a `Unit` or a `Problem`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, TextIO

from faceshield.provenance import files_below
from faceshield.records import Box

Reader = Literal["picture", "pictures", "video", "hdf5", "stack", "npz", "array"]
"""How a unit's frames are read, see `media`."""


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with the copy; reported and counted, never fatal.

    Attributes:
        reason: one of a few keywords, for counting: "name", "label", "unreadable", "crashed", "absent", "unlisted",
            "duplicate", "gap", "box", "no face", "size", "manifest", "types", "left out", "pickle".
        path: relative to the data set's root.
        detail: what was found, and what was expected.
        dropped: whether it costs a sample; a gap in frame numbers costs none.
    """

    reason: str
    path: str
    detail: str
    dropped: bool = True


@dataclass(frozen=True)
class Unit:
    """What is read in one go: a picture, a video, a folder of frames, or one row of a container.

    Attributes:
        id: unique in the data set, the same on every machine.
        path: of the file, or of the folder of frames, relative to the root.
        reader: how to read it.
        label: the data set's own label.
        subject: the person shown, if the data set names one.
        video: the recording that frames belong to; None for single pictures.
        split: the data set's own split, if its path or its lists name one.
        splits: protocol -> split, for the data set's official protocols; goes into the sample's `meta`.
        boxes: attack regions in pixels of the stored picture.
        face: box of the face, as fractions of the picture's size.
        options: what the reader needs to know: channel order, member, frames' names.
        meta: goes into the sample's `meta`.
    """

    id: str
    path: str
    reader: Reader
    label: str
    subject: str | None = None
    video: str | None = None
    split: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    face: Box | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)


Found = Unit | Problem


class Lists:
    """A data set's own lists, read from the user's copy: which name is in which split of which protocol.

    A name in two splits of one protocol is kept in the later of train, dev, test, so that nothing is both trained on and
    tested. This is reported as a problem, as are listed names without a file and files that are not listed.
    """

    ORDER: ClassVar[tuple[str, ...]] = ("train", "dev", "test")

    def __init__(self) -> None:
        self._named: dict[str, dict[str, str]] = {}
        self._met: set[str] = set()
        self._unlisted: set[str] = set()
        self.problems: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._named)

    def add(self, name: str, protocol: str, split: str) -> None:
        """Put a name into a split of a protocol; repetitions have no effect."""
        own = self._named.setdefault(name, {})
        before = own.setdefault(protocol, split)
        if before != split:
            own[protocol] = max(before, split, key=self.ORDER.index)
            self.fault(name, f"in {before} and in {split} of {protocol}; kept in {own[protocol]}")

    def fault(self, path: str, detail: str) -> None:
        """Record a fault of a list; it costs no sample."""
        self.problems.append(Problem("manifest", path, detail, dropped=False))

    def of(self, name: str) -> dict[str, str]:
        """Protocol -> split of a name that was found on disk."""
        if name in self._named:
            self._met.add(name)
        elif self and name not in self._unlisted:
            self._unlisted.add(name)
            self.problems.append(Problem("unlisted", name, "in none of the data set's lists", dropped=False))
        return dict(self._named.get(name, {}))

    def rest(self) -> Iterator[Problem]:
        """The problems so far, and the names that are listed but were not found; call it at the end of a walk."""
        yield from self.problems
        for name in sorted(self._named.keys() - self._met):
            where = ", ".join(f"{split} of {protocol}" for protocol, split in self._named[name].items())
            yield Problem("absent", name, f"listed in {where}, not there", dropped=False)


class DataSet:
    """One data set's copy on disk; subclasses say what its files are.

    Args:
        root: the folder that holds the copy.
        lists: the folder that holds the data set's own lists, if not below the root.

    Attributes:
        ignored: files that belong to no sample, counted by suffix.
        lists: the copy's own lists, read when a walk begins.
        labels: labels of pictures that only a list gives, for data sets with such lists.
        output: the samples file being written, see `write_to`; its pictures are never read as samples, wherever they are.
    """

    name: str
    crop: ClassVar[Literal["as-is", "detect", "boxes"] | None] = None
    """The `--crop` that makes face crops of its pictures: "as-is" if they are crops already; None = not known."""
    types: ClassVar[Mapping[str, str | None]]
    """Own label -> presentation type; None = left out on purpose."""

    def __init__(self, root: str | Path, *, lists: str | Path | None = None) -> None:
        self.root, self._beside = Path(root), None if lists is None else Path(lists)
        for folder in (self.root, self._beside):
            if folder is not None and not folder.is_dir():
                raise FileNotFoundError(f"no folder {folder} — expected it to hold the data set {self.name!r} — check the path")
        self.ignored: Counter[str] = Counter()
        self.lists = Lists()
        self.labels: dict[str, str] = {}
        self.output: Path | None = None

    def write_to(self, output: Path) -> None:
        """Note which samples file will be written.

        Raises:
            ValueError: it would be read as a part of the copy.
        """
        self.output = output.resolve()

    def spelled(self, label: str) -> str:
        """The data set's own spelling of a label, as `--types` gives it."""
        return label

    def walk(self) -> Iterator[Found]:
        """A unit or a problem for each file below the root, always in the same order, that of the paths; extracted frames of a
        video are one unit. Problems with the lists come at the end."""
        self.ignored.clear()
        self.lists = self.read_lists()
        yield from gathered(self.find())
        yield from self.lists.rest()

    def find(self) -> Iterator[Found]:
        """A unit or a problem for each file below the root; files that belong to no sample are counted."""
        for path in self.files():
            found = self.look(path)
            if found is None:
                self.ignored[path.suffix.lower() or "(none)"] += 1
            elif (told := in_utf8(path)) != str(path):
                yield Problem("name", told, "not UTF-8, which a samples file is written in — expected it — rename the file")
            else:
                yield found

    def files(self) -> Iterator[PurePosixPath]:
        """Relative paths of the files below the root."""
        own = None if self.output is None else pictures_folder(self.output, self.name).resolve()
        yield from files_below(self.root, skip=lambda folder: folder.resolve() == own or _stored(folder))

    def look(self, path: PurePosixPath) -> Found | None:
        """The unit or problem that a file is; None if it belongs to no sample."""
        raise NotImplementedError

    def read_lists(self) -> Lists:
        """The data set's own lists."""
        return Lists()

    def list_files(self, pattern: str) -> Iterator[Path]:
        """Files whose paths end in a pattern (`Protocol_*/Train.txt`), below the root and in the folder of lists."""
        for top in filter(None, (self.root, self._beside)):
            yield from (top / path for path in files_below(top) if path.match(pattern))

    def close(self) -> None:
        """Delete what a reader keeps beside the output; not called when a run is stopped, which needs it to resume."""


def in_utf8(path: PurePosixPath) -> str:
    """A path as text that can be written; bytes that are not UTF-8, as in old archives, are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def pictures_folder(output: Path, name: str) -> Path:
    """The folder for the pictures of a samples file."""
    return output.parent / "images" / name


def _stored(folder: Path) -> bool:
    """Whether a folder holds pictures from an earlier `prepare`, of the data set that it is named after, to another output."""
    beside = folder.parent.parent.glob("*.jsonl") if folder.parent.name == "images" else ()
    return any(_written_as(file) == folder.name for file in beside)


def _written_as(file: Path) -> str | None:
    """The data set of a samples file that `prepare` wrote; None of any other file."""
    try:
        with file.open("rb") as lines:
            row = json.loads(next((line for line in lines if line.strip()), b""))
        return str(row["dataset"]) if {"id", "original_label"} <= set(row) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def opened(file: Path) -> Iterator[TextIO]:
    """Open a list in UTF-8, with or without a byte order mark; line endings are kept, as `csv` needs them.

    Raises:
        ValueError: another encoding, such as Excel's default for CSV.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        try:
            yield lines
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file}: not UTF-8 ({error.reason}) — expected it — save it as UTF-8 (Excel: CSV UTF-8)"
            ) from None


def list_lines(file: Path) -> list[str]:
    """The lines of a list; raises as `opened`."""
    with opened(file) as lines:
        return lines.read().splitlines()


def gathered(found: Iterable[Found]) -> Iterator[Found]:
    """Join extracted frames, each a unit with the option `frame`, into one unit per video.

    The frames of a video are in one folder, and so are consecutive in a walk.
    """
    for (_, is_frame), group in groupby(found, key=lambda one: (getattr(one, "id", None), _is_frame(one))):
        if not is_frame:
            yield from group
            continue
        units = [unit for unit in group if isinstance(unit, Unit)]
        names = {int(unit.options["frame"]): PurePosixPath(unit.path).name for unit in units}
        folder = str(PurePosixPath(units[0].path).parent)
        yield replace(units[0], path=folder, reader="pictures", options={"frames": names})


def _is_frame(found: Found) -> bool:
    return isinstance(found, Unit) and "frame" in found.options
