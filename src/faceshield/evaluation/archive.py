"""Unlabelled pictures for `faceshield predict` over an archive: a folder, a list of paths, or a Parquet table.

Use: ``predict("archive/", asker, "predictions.jsonl")``; ids are the paths as given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceshield.extras import missing
from faceshield.images import SUFFIXES, is_picture
from faceshield.provenance import files_below
from faceshield.records import Photo, RecordError, Sample, read_jsonl

COLUMNS = ("image", "path")


def read_inputs(source: Path) -> Sequence[Photo]:
    """The pictures to predict, in the order of the source; a path that is listed twice is taken once.

    Args:
        source: a ``samples.jsonl``; a folder, all of whose pictures are taken, at any depth, sorted by name, in linked folders
            too but not in hidden ones, including kinds that cannot be read (`images.UNREAD`), so that they are counted; a
            ``.txt`` file with a path per line; or a ``.parquet`` file with a column image or path. Relative paths start at
            the folder, or at the file's folder.

    Raises:
        RecordError: samples that cannot be read, or a list that is not UTF-8.
        ValueError: no pictures, a single picture instead of a list, or a table without such a column.
        ImportError: pyarrow is not installed.
        FileNotFoundError: no such file.
    """
    if source.is_dir():
        paths: Iterator[str] = (str(path) for path in files_below(source) if is_picture(path))
    elif source.suffix == ".txt":
        paths = _lines(source)
    elif source.suffix == ".parquet":
        paths = _column(source)
    elif is_picture(source):
        raise ValueError(f"{source}: a picture — expected samples, a folder or a list of them — for one: faceshield inspect")
    else:
        return read_jsonl(source, Sample)
    # A name that is not valid text keeps its bytes as escapes: no file has that name, and its row will say so.
    told = (os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths if path.strip())
    photos = [Photo(id=path, image=path) for path in dict.fromkeys(told)]
    if not photos:
        kinds = " ".join(sorted(SUFFIXES))
        raise ValueError(f"{source}: no pictures — expected {kinds} in a folder, or their paths in a list — give another")
    return photos


def _lines(text: Path) -> Iterator[str]:
    with text.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            try:
                yield raw.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise RecordError(
                    [f"{text}:{number}: {raw!r} is not UTF-8 — expected a path a line — save the list so"]
                ) from None


def _column(table: Path) -> Iterator[str]:
    table.stat()  # a missing file is reported as missing, whatever is installed
    try:
        from pyarrow import parquet
    except ImportError:
        raise missing(f"reading {table}", "ray") from None
    file = parquet.ParquetFile(table)
    column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
    if column is None:
        found = ", ".join(file.schema_arrow.names)
        raise RecordError([f"{table}: columns {found} — expected {' or '.join(COLUMNS)} with the pictures' paths — rename it"])
    for batch in file.iter_batches(columns=[column]):
        for path in batch.column(0).to_pylist():
            yield str(path or "")
