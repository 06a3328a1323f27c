"""Runs a function on many items in several processes, in order; a process that dies raises an error and is not waited for.

Use: `for row in in_order(make, range(1000), workers=2): …`; `write_rows` writes a samples file this way.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from faceshield.records import JsonlWriter, Record

Item = TypeVar("Item")
Made = TypeVar("Made")

_MAKE: Callable[[Any], Any] | None = None


def write_rows(
    out: Path, make: Callable[[int], Record], total: int, workers: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes `out/samples.jsonl` from the rows `make(0)`, `make(1)`, …; resumes an interrupted run.

    Args:
        make: returns row i, after saving its picture in `out/images`.
        progress: called with (done, total) after every row.
    """
    finished, partial = out / "samples.jsonl", out / "samples.partial.jsonl"
    (out / "images").mkdir(parents=True, exist_ok=True)
    with JsonlWriter(partial, resume=True) as writer:
        begun = len(writer.ids)
        for done, row in enumerate(in_order(make, range(begun, total), workers), begun + 1):
            writer.write(row)
            if progress:
                progress(done, total)
    return partial.replace(finished)


def in_order(make: Callable[[Item], Made], items: Sequence[Item], workers: int) -> Iterator[Made]:
    """Yields `make(item)` in the items' order; `make` is sent to each process once, not with every item.

    Raises:
        ChildProcessError: a process died, most often for lack of memory.
    """
    if workers <= 1 or len(items) < 4:
        yield from map(make, items)
        return
    with ProcessPoolExecutor(workers, initializer=_adopt, initargs=(make,)) as pool:
        try:
            yield from pool.map(_make, items, chunksize=8)
        except BrokenProcessPool:
            raise ChildProcessError(
                f"one of {workers} processes died, probably out of memory — expected all to live — start the same command "
                "again: what is done stays; use fewer --workers if it happens again"
            ) from None


def _adopt(make: Callable[[Any], Any]) -> None:
    global _MAKE
    _MAKE = make
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()


def _leave_with(parent: int) -> None:
    """Ends this process once its parent is gone: a killed parent cannot stop its workers, which would run on."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _make(item: Any) -> Any:
    assert _MAKE is not None
    return _MAKE(item)
