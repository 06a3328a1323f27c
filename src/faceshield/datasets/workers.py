"""Run work in processes that may die: a broken video can crash its decoder, and that must cost one item, not the run.

Use: `for item, result in in_order(decode, items, workers=2): …`, where `result` may be a `Crash`; in a script of your own, put
this below `if __name__ == "__main__":`, as each worker loads the script anew.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 8  # items per worker that may be under way, or wait for their turn to be yielded
_GRACE = 5.0  # seconds for a worker to exit
_START = 120.0  # seconds for a worker to start; an item's own time is counted from then
_ARRIVED: Any = object()


@dataclass(frozen=True)
class Crash:
    """Why an item has no result: its process died or hung, or the work raised an exception."""

    reason: str


class _Worker(Generic[Item, Result]):
    def __init__(self, context: Any, work: Callable[[Item], Result]) -> None:
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, work), daemon=True)
        self.process.start()
        there.close()
        self.index: int | None = None
        self.ready = False
        self.since = 0.0

    def give(self, index: int, item: Item) -> None:
        self.index, self.since = index, time.monotonic() + (0.0 if self.ready else _START)
        with suppress(OSError):  # it died while idle: `take` will report it
            self.connection.send(item)

    def take(self) -> Result | Crash:
        """The result; a `Crash` if the process is gone; `_ARRIVED` if it has only reported that it started."""
        try:
            message = self.connection.recv()
            if self.ready:
                return message  # type: ignore[no-any-return]
            self.ready, self.since = True, time.monotonic()
            return _ARRIVED  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self.process.join(_GRACE)
            return Crash(f"the decoder's process died ({_cause(self.process.exitcode)})")

    def end(self) -> None:
        self.connection.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join(_GRACE)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    # What a decoder prints about a broken file would garble the progress bar.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    with suppress(EOFError, OSError):  # the main process is gone, or has closed the connection
        connection.send(None)  # started
        while True:
            connection.send(_safely(work, connection.recv()))


def _safely(work: Callable[[Item], Result], item: Item) -> Result | Crash:
    try:
        return work(item)
    except Exception as error:
        return Crash("".join(traceback.format_exception_only(error)).strip())


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int = 2, timeout: float = 600.0
) -> Iterator[tuple[Item, Result | Crash]]:
    """Yield each item with the result of `work`, in the order of the items, however long each takes.

    Items are drawn only as they are needed, so the iterable may be huge or endless.

    Args:
        work: a function at the top level of a module; it, the items and the results must be picklable.
        items: what to work on.
        workers: processes; 0 = only this one, which a crash would then end.
        timeout: seconds after which an item is given up and its process killed; the start of a process is not counted.

    Raises:
        ChildProcessError: a process exited with code 1 before any had started.
    """
    if workers == 0:
        yield from ((item, _safely(work, item)) for item in items)
        return
    context = multiprocessing.get_context("spawn")
    source = enumerate(items)
    waiting: dict[int, Item] = {}
    done: dict[int, Result | Crash] = {}
    crew: list[_Worker[Item, Result]] = []
    following, exhausted, any_came = 0, False, False
    try:
        while True:
            while following in done:
                yield waiting.pop(following), done.pop(following)
                following += 1
            idle = [worker for worker in crew if worker.index is None]
            while not exhausted and len(waiting) < _AHEAD * workers and (idle or len(crew) < workers):
                drawn = next(source, None)
                if drawn is None:
                    exhausted = True
                    break
                if not idle:
                    crew.append(_Worker(context, work))
                    idle.append(crew[-1])
                waiting[drawn[0]] = drawn[1]
                idle.pop().give(*drawn)
            busy = {worker.connection: worker for worker in crew if worker.index is not None}
            if not busy:
                if exhausted and not waiting:
                    return
                continue
            oldest = min(worker.since for worker in busy.values())
            ready = wait(list(busy), timeout=max(0.0, oldest + timeout - time.monotonic()))
            for connection in ready:
                worker = busy[connection]  # type: ignore[index]
                assert worker.index is not None
                result = worker.take()
                any_came = any_came or worker.ready
                if result is _ARRIVED:
                    continue
                if not any_came and worker.process.exitcode == 1:
                    raise ChildProcessError(
                        f"{result.reason} before it began — expected a script whose work stands below "  # type: ignore[union-attr]
                        "`if __name__ == '__main__':`, for each worker reads it anew — put it there, or give workers=0"
                    )
                done[worker.index], worker.index = result, None
                if not worker.process.is_alive():
                    worker.end()
                    crew.remove(worker)
            for worker in busy.values():
                if worker.index is not None and time.monotonic() - worker.since >= timeout:
                    done[worker.index] = Crash(f"took more than {timeout:g} seconds")
                    worker.end()
                    crew.remove(worker)
    finally:
        for worker in crew:
            worker.end()
