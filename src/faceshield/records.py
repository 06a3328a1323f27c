"""The rows exchanged between the stages, and the functions that read and write them.

`samples.jsonl -> dialogues.jsonl -> checkpoint/ -> predictions.jsonl -> metrics.json`: one JSON object per line, UTF-8;
each stage writes a `run.json` beside its output. Use: `samples = read_jsonl("samples.jsonl", Sample)`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from faceshield.provenance import lock, write_text_atomic
from faceshield.taxonomy import BONAFIDE, resolve

__all__ = [
    "Box",
    "Dialogue",
    "JsonlWriter",
    "Photo",
    "Prediction",
    "Record",
    "RecordError",
    "Sample",
    "Status",
    "Truth",
    "Turn",
    "image_path",
    "iter_jsonl",
    "read_jsonl",
    "rebase_image",
    "write_jsonl",
]

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the picture, x1 and y1 exclusive."""
Status = Literal["parsed", "unparsed", "error"]

_EDGE_TOLERANCE = 1e-3  # pixels; a float32 box may overshoot the edge by a rounding error
_FAULTS_SHOWN = 20


class RecordError(ValueError):
    """An unreadable JSONL file; the message lists the faults with file:line, the first 20 of them in full."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        shown = list(self.faults[:_FAULTS_SHOWN])
        if len(self.faults) > _FAULTS_SHOWN:
            shown.append(f"… and {len(self.faults) - _FAULTS_SHOWN} more")
        super().__init__("\n".join(shown))


class Record(BaseModel):
    """Base of all rows: immutable; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


def _canonical(value: str | None) -> str | None:
    return None if value is None else resolve(value)


def _check_agree(is_attack: bool, presentation_type: str | None) -> None:
    if is_attack != (presentation_type != BONAFIDE):
        raise ValueError(
            f"is_attack={is_attack} contradicts presentation_type={presentation_type!r} — "
            f"expected false for {BONAFIDE} alone — correct one of them"
        )


PresentationType = Annotated[str | None, AfterValidator(_canonical)]
"""A type in any spelling, stored in its canonical one; None: unknown."""


class Photo(Record):
    """One picture of any kind.

    Attributes:
        id: unique in the file.
        image: path relative to the file, or absolute.
    """

    id: str = Field(min_length=1)
    image: str = Field(min_length=1)


class Sample(Photo):
    """One picture of `samples.jsonl` with its ground truth.

    Attributes:
        presentation_type: one of `taxonomy.PRESENTATION_TYPES` (any spelling is read, the canonical one is stored); None for an
            attack of unknown type.
        original_label: the data set's own label, unchanged.
        split: "train", "dev", "test", …, or None.
        boxes: regions of the attack in pixels, inside the picture; empty for bona fide and without annotation.
        size_wh: width and height of the picture in pixels, after EXIF rotation.
        meta: free-form; the simulator writes "cues", "scene" (noun phrases), "source" and "variant".
    """

    dataset: str
    is_attack: StrictBool
    presentation_type: PresentationType
    original_label: str
    subject: str | None = None
    video: str | None = None
    frame: int | None = None
    split: str | None = None
    boxes: list[Box] = Field(default_factory=list)
    size_wh: tuple[int, int]
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Sample:
        _check_agree(self.is_attack, self.presentation_type)
        width, height = self.size_wh
        if width < 1 or height < 1:
            raise ValueError(f"size_wh={list(self.size_wh)} — expected two positive integers — give width and height")
        if self.boxes and not self.is_attack:
            raise ValueError(f"boxes={self.boxes} on a bona fide picture — expected none: boxes are attack regions")
        tolerance = _EDGE_TOLERANCE
        for x0, y0, x1, y1 in self.boxes:
            inside = -tolerance <= x0 < x1 <= width + tolerance and -tolerance <= y0 < y1 <= height + tolerance
            if not inside:
                raise ValueError(
                    f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}] — expected 0 <= x0 < x1 <= {width} and "
                    f"0 <= y0 < y1 <= {height} — clip it to the picture"
                )
        return self


class Turn(Record):
    """One turn of a LLaVA-style conversation; `speaker` is written as the key "from"."""

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str = Field(min_length=1)


def conversation(texts: Iterable[str]) -> list[Turn]:
    """Turns for these texts, human first, the picture before the first; the inverse of `Dialogue.texts`."""
    return [
        Turn(speaker="gpt" if place % 2 else "human", value=text if place else f"<image>\n{text}")
        for place, text in enumerate(texts)
    ]


class Dialogue(Record):
    """One row of `dialogues.jsonl`: LLaVA's `id, image, conversations` plus task, source and provenance.

    Attributes:
        image: path relative to the file, or absolute.
        conversations: human and gpt turns alternate, human first; the first human value starts with "<image>\\n".
        task: "coarse", "fine", "reasoning", "localization" or "caption".
        source: who wrote the text, e.g. "grammar" or a model's name.
        meta: provenance: sample_id, generator, seed, is_attack, presentation_type, boxes (pixels), size_wh.
    """

    id: str = Field(min_length=1)
    image: str = Field(min_length=1)
    conversations: list[Turn] = Field(min_length=2)
    task: str = Field(min_length=1)
    source: str
    meta: dict[str, Any] = Field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        """The texts of all turns in order, the first without its "<image>" line."""
        first, *others = (turn.value for turn in self.conversations)
        return [first.removeprefix("<image>").lstrip("\n"), *others]

    @model_validator(mode="after")
    def _alternating(self) -> Dialogue:
        speakers = [turn.speaker for turn in self.conversations]
        if speakers != ["human", "gpt"] * (len(speakers) // 2):
            raise ValueError(f"speakers {speakers} — expected human, gpt, human, gpt, … — reorder the turns")
        first = self.conversations[0].value
        if not first.startswith("<image>\n"):
            raise ValueError(f"first human turn {first[:40]!r} — expected it to start with '<image>\\n' — prepend it")
        return self


class Truth(Record):
    """What is known about the picture of a prediction, see `Sample`; None or empty if unknown."""

    is_attack: StrictBool | None = None
    presentation_type: PresentationType = None
    boxes: list[Box] = Field(default_factory=list)
    size_wh: tuple[int, int] | None = None
    answer: str | None = None
    dataset: str | None = None
    original_label: str | None = None
    subject: str | None = None
    video: str | None = None
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Truth:
        if self.is_attack is not None and self.presentation_type is not None:
            _check_agree(self.is_attack, self.presentation_type)
        return self

    @classmethod
    def of(cls, sample: Sample, answer: str | None = None) -> Truth:
        """The truth about a sample's picture; `answer`: the correct answer to the question asked."""
        return cls(answer=answer, **{name: getattr(sample, name) for name in cls.model_fields if name != "answer"})

    def resampling_unit(self, picture: str) -> tuple[str | None, ...]:
        """The bootstrap's resampling unit: the subject if known, else the video, else the picture (by id), because pictures of
        one person and frames of one recording are correlated."""
        if self.subject is not None:
            return self.dataset, "subject", self.subject
        return (self.dataset, "video", self.video) if self.video is not None else ("picture", picture)


class Prediction(Record):
    """One row of `predictions.jsonl`: one task asked about one picture.

    Attributes:
        id: "{sample_id}:{task}".
        question: what was asked, or would be of a system that only scores; "" if it is not known.
        answer: the system's text, None for systems that only score.
        cut: whether the system says that a length limit cut the text off; None if it says nothing of the kind.
        bonafide_score: 0..1, high = bona fide; None if the system gives none.
        type_scores: probability of each presentation type, or None.
        boxes: predicted attack regions, pixels of the picture.
        status: "parsed", "unparsed" (answered, but the answer could not be read) or "error" (no answer; `error` says why).
        truth: the sample's ground truth, so that scoring needs this file alone.
    """

    id: str = Field(min_length=1)
    sample_id: str = Field(min_length=1)
    image: str
    task: str = Field(min_length=1)
    question: str = ""
    answer: str | None = None
    cut: StrictBool | None = None
    bonafide_score: float | None = Field(default=None, ge=0.0, le=1.0)
    type_scores: dict[str, float] | None = None
    boxes: list[Box] = Field(default_factory=list)
    status: Status = "parsed"
    is_attack: StrictBool | None = None
    presentation_type: PresentationType = None
    error: str | None = None
    truth: Truth = Field(default_factory=Truth)


RecordT = TypeVar("RecordT", bound=Record)
Row = Record | dict[str, Any]


def _describe(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        yield f"{where}: {message}" if where else message


# Per kind of file: keys that only its rows have, its name, and the verb that writes it.
_KINDS: dict[type[Record], tuple[set[str], str, str]] = {
    Sample: ({"original_label", "size_wh"}, "samples", "simulate` or `prepare"),
    Dialogue: ({"conversations"}, "dialogues", "generate"),
    Prediction: ({"sample_id"}, "predictions", "predict"),
}


def _check_kind(path: Path, raw: bytes, model: type[Record]) -> None:
    """Raises RecordError if a row that is not a valid `model` is of another kind, as then the whole file is."""
    try:
        keys = set(json.loads(raw))
    except (ValueError, TypeError):
        return
    for kind, (own, name, _) in _KINDS.items():
        if model in _KINDS and kind is not model and own <= keys:
            _, wanted, verb = _KINDS[model]
            raise RecordError([f"{path}: a file of {name} — expected one of {wanted}, as `faceshield {verb}` writes it"])


def _parse(path: Path, model: type[RecordT]) -> Iterator[tuple[int, RecordT | list[str]]]:
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            try:
                yield number, model.model_validate_json(raw)
            except ValidationError as error:
                _check_kind(path, raw, model)
                yield number, list(_describe(error))


def iter_jsonl(path: str | Path, model: type[RecordT]) -> Iterator[RecordT]:
    """Yields the rows of a JSONL file one by one; blank lines are skipped.

    Raises:
        RecordError: at the first row that is not a valid `model`.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    for number, row in _parse(path, model):
        if isinstance(row, list):
            raise RecordError([f"{path}:{number}: {fault}" for fault in row])
        yield row


def read_jsonl(path: str | Path, model: type[RecordT]) -> list[RecordT]:
    """All rows of a JSONL file.

    Raises:
        RecordError: once, with every fault of every row as file:line, repeated ids among them.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    rows: list[RecordT] = []
    faults: list[str] = []
    first_line: dict[str, int] = {}
    for number, row in _parse(path, model):
        if isinstance(row, list):
            faults += [f"{path}:{number}: {fault}" for fault in row]
            continue
        row_id = getattr(row, "id", None)
        if row_id is not None and first_line.setdefault(row_id, number) != number:
            faults.append(f"{path}:{number}: id {row_id!r} — already used in line {first_line[row_id]} — make it unique")
            continue
        rows.append(row)
    if faults:
        raise RecordError(faults)
    return rows


def _line(row: Row) -> str:
    if isinstance(row, Record):
        return row.model_dump_json(by_alias=True) + "\n"
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: str | Path, rows: Iterable[Row]) -> int:
    """Writes all rows atomically (a temporary file, then rename) and returns how many there were."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for row in rows:
            count += 1
            yield _line(row)

    write_text_atomic(path, lines())
    return count


def remove_rows(path: str | Path, model: type[RecordT], unwanted: Callable[[RecordT], bool]) -> None:
    """Removes unwanted rows from a file, if there is one, and with them a truncated last line; invalid rows stay.

    Raises:
        ValueError: another run is writing the file, on systems with file locks.
    """
    path = Path(path)

    def leaves(line: bytes) -> bool:
        try:
            return unwanted(model.model_validate_json(line))
        except ValueError:
            return False  # left to the reader of the file to report

    if not path.exists():
        return
    with path.open("rb") as rows:
        lock(rows, path)
        whole = (line for line in rows if line.endswith(b"\n"))  # read twice, not kept: a file may have many rows
        leaving = [leaves(line) for line in whole]
        if any(leaving):
            rows.seek(0)
            write_text_atomic(path, (line.decode("utf-8") for line, goes in zip(rows, leaving, strict=False) if not goes))


class JsonlWriter:
    """Appends rows one by one and flushes each, so that a stage that was stopped can resume.

    With `resume=True` the existing rows stay, `ids` holds their ids, and a last line that was cut off is removed; otherwise
    the file starts empty. Use as a context manager.

    Args:
        path: of the file.
        resume: whether its rows stay.

    Raises:
        ValueError: another run is writing the file, on systems with file locks.
        RecordError: with `resume`, lines that are not rows with an id.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.ids: set[str] = set()
        self._out: IO[str] = self.path.open("a", encoding="utf-8", newline="\n")
        try:
            lock(self._out, self.path)
            if resume:
                self._recover()
            else:
                os.truncate(self.path, 0)
        except BaseException:
            self._out.close()
            raise

    def _recover(self) -> None:
        end = 0
        faults = []
        with self.path.open("rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if not raw.endswith(b"\n"):
                    break
                end += len(raw)
                if not raw.strip():
                    continue
                try:
                    self.ids.add(str(json.loads(raw)["id"]))
                except (ValueError, KeyError, TypeError):
                    faults.append(f"{self.path}:{number}: not a row with an id — repair the line or start afresh")
        if faults:
            raise RecordError(faults)
        os.truncate(self.path, end)

    def write(self, row: Row) -> None:
        """Appends one row and flushes it."""
        self._out.write(_line(row))
        self._out.flush()
        row_id = row.get("id") if isinstance(row, dict) else getattr(row, "id", None)
        if row_id is not None:
            self.ids.add(str(row_id))

    def close(self) -> None:
        self._out.close()

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def image_path(row: Photo | Dialogue | Prediction, jsonl_path: str | Path) -> Path:
    """Path of a row's picture: `row.image`, relative to the folder of the file that the row was read from."""
    return Path(jsonl_path).parent / row.image


def rebase_image(image: str, source_jsonl: str | Path, target_jsonl: str | Path) -> str:
    """The `image` entry of a row of `source_jsonl`, rewritten for `target_jsonl`; absolute paths stay as they are."""
    if Path(image).is_absolute():
        return image
    absolute = Path(source_jsonl).resolve().parent / image
    try:
        return Path(os.path.relpath(absolute, Path(target_jsonl).resolve().parent)).as_posix()
    except ValueError:  # two drives on Windows have no relative path
        return absolute.as_posix()
