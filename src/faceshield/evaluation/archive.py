"""Pictures nobody has labelled: a folder, a list of paths, a Parquet table, for `faceshield predict` over an archive.

Use: ``predict("archive/", asker, "predictions.jsonl")``; ids are the paths as they are given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceshield.images import SUFFIXES
from faceshield.records import Photo, RecordError, Sample, read_jsonl

COLUMNS = ("image", "path")


def read_inputs(source: Path) -> Sequence[Photo]:
    """What there is to predict, in the order of the source; a path that is listed twice is there once.

    Args:
        source: a ``samples.jsonl``; a folder, whose pictures below it are taken in the order of their names; a ``.txt``
            file, a path a line; or a ``.parquet`` file with a column image or path. Relative paths start at its folder.

    Raises:
        RecordError: samples that cannot be read.
        ValueError: no pictures, a table without such a column, or pyarrow is not installed.
        FileNotFoundError: no such file.
    """
    if source.is_dir():
        paths = _walk(source)
    elif source.suffix == ".txt":
        paths = _lines(source)
    elif source.suffix == ".parquet":
        paths = _column(source)
    else:
        return read_jsonl(source, Sample)
    photos = [Photo(id=path, image=path) for path in dict.fromkeys(path for path in paths if path.strip())]
    if not photos:
        kinds = " ".join(sorted(SUFFIXES))
        raise ValueError(f"{source}: no pictures — expected {kinds} in a folder, or their paths in a list — give another")
    return photos


def _walk(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        folders.sort()
        inside = Path(here).relative_to(folder)
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield (inside / name).as_posix()


def _lines(text: Path) -> Iterator[str]:
    with text.open(encoding="utf-8-sig") as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def _column(table: Path) -> Iterator[str]:
    table.stat()  # a file that is not there is that, whatever is installed
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"{table} needs the package pyarrow — expected it installed — pip install 'faceshield[ray]'") from None
    file = parquet.ParquetFile(table)
    column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
    if column is None:
        found = ", ".join(file.schema_arrow.names)
        raise RecordError([f"{table}: columns {found} — expected {' or '.join(COLUMNS)} with the pictures' paths — rename it"])
    for batch in file.iter_batches(columns=[column]):
        for path in batch.column(0).to_pylist():
            yield str(path or "")
