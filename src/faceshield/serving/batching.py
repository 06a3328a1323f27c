"""Micro-batching: items of many requests wait in one bounded queue, and one thread takes as many as can share a batch.

Only that thread touches the model. A request that stops waiting withdraws its items from the queue.
Use: `batcher.start()`, `futures = batcher.submit(key, items)`, `await futures[0]`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

Work = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""(key, items) -> one result per item; runs in the batcher's thread."""

_MEMORY = 0.8  # weight of the past in the running mean of the seconds per item


class QueueFull(Exception):
    """No room in the queue, or no prospect of an answer in time; retry after `retry_after_s` seconds."""

    def __init__(self, waiting: int, retry_after_s: float) -> None:
        super().__init__(waiting, retry_after_s)
        self.waiting, self.retry_after_s = waiting, retry_after_s


class Abandoned(Exception):
    """The service stopped before the item's turn came."""


@dataclass(eq=False)
class _Job:
    key: Hashable
    item: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Turns items into futures; first come, first served, except that a batch also takes later items with the oldest one's key.

    Args:
        work: processes up to `batch_size` items with one key, in the thread.
        batch_size: most items in a batch.
        wait_s: seconds that an item waits for others while the thread is idle.
        capacity: most items in the queue.
        patience_s: items that would wait longer than this for their turn are refused as if the queue were full.
        on_batch: called in the thread with (items, seconds) after every batch.
    """

    def __init__(
        self,
        work: Work,
        *,
        batch_size: int,
        wait_s: float,
        capacity: int,
        patience_s: float,
        on_batch: Callable[[int, float], None] = lambda items, seconds: None,
    ) -> None:
        self._work, self._on_batch = work, on_batch
        self._batch_size, self._wait_s = batch_size, wait_s
        self._capacity, self._patience_s = capacity, patience_s
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._item_s = 0.0
        self._since = 0.0
        self._thread: threading.Thread | None = None

    # -- from the event loop -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="faceshield-model", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread is running and accepts items."""
        return self._thread is not None and self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Items in the queue, not counting those in the model."""
        return len(self._waiting)

    @property
    def stuck(self) -> bool:
        """Whether the running batch has taken longer than anybody waits for an answer."""
        return bool(self._running) and time.monotonic() - self._since > self._patience_s

    def check_room(self) -> None:
        """Raise `QueueFull` if not even one more item would be accepted now."""
        with self._changed:
            self._check_room(1)

    def submit(self, key: Hashable, items: Sequence[Any]) -> list[asyncio.Future[Any]]:
        """Queue all of the items, or none.

        Raises:
            QueueFull: too many are waiting, or the wait would be too long.
            Abandoned: the service is stopping.
        """
        loop = asyncio.get_running_loop()
        jobs = [_Job(key, item, loop.create_future(), loop) for item in items]
        with self._changed:
            if self._closed:
                raise Abandoned
            self._check_room(len(jobs))
            self._waiting.extend(jobs)
            self._changed.notify()
        return [job.future for job in jobs]

    def withdraw(self, futures: Sequence[asyncio.Future[Any]]) -> None:
        """Cancel futures that nobody waits for any more; items that are not yet in the model leave the queue."""
        for future in futures:
            future.cancel()
            if future.done() and not future.cancelled():
                future.exception()  # an exception that is never retrieved would be logged, message and all
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.future.done())
            self._changed.notify()

    def abandon(self) -> None:
        """End everything that waits or runs with `Abandoned` now, and accept nothing new."""
        with self._changed:
            self._closed = True
            left = [*self._waiting, *self._running]
            self._waiting.clear()
            self._changed.notify()
        for job in left:
            _hand_over(job, Abandoned())

    def close(self, timeout_s: float) -> None:
        """Abandon what is left, and wait for the thread to finish its batch."""
        self.abandon()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # -- in the thread -------------------------------------------------------------------------------------

    def _check_room(self, items: int) -> None:
        before = len(self._waiting) + len(self._running)
        turn_s = before * self._item_s
        if len(self._waiting) + items > self._capacity or (before and turn_s > self._patience_s):
            raise QueueFull(len(self._waiting), turn_s)

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            if not batch:
                continue
            started = time.monotonic()
            results = self._results(batch)
            taken = time.monotonic() - started
            with self._changed:
                self._running = []
                share = taken / len(batch)
                self._item_s = share if not self._item_s else _MEMORY * self._item_s + (1 - _MEMORY) * share
            self._on_batch(len(batch), taken)
            for job, result in zip(batch, results, strict=True):
                _hand_over(job, result)

    def _take(self) -> list[_Job] | None:
        """The next batch: the oldest item and others with its key; empty if all were withdrawn meanwhile, None once closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while self._waiting and not self._closed:
                oldest = self._waiting[0]
                batch = [job for job in self._waiting if job.key == oldest.key][: self._batch_size]
                left = oldest.arrived + self._wait_s - time.monotonic()
                if len(batch) == self._batch_size or left <= 0:
                    taken = set(map(id, batch))
                    self._waiting = deque(job for job in self._waiting if id(job) not in taken)
                    self._since, self._running = time.monotonic(), batch
                    return batch
                self._changed.wait(left)
            return None if self._closed else []

    def _results(self, batch: list[_Job]) -> Sequence[Any]:
        """One result per job; if a batch raises, its jobs are run one by one, so that only the faulty ones fail."""
        try:
            results = self._work(batch[0].key, [job.item for job in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results of {len(batch)} items")
            return results
        except Exception as error:  # whatever it is, the thread must survive
            if len(batch) == 1:
                return [error]
            return [self._results([job])[0] for job in batch]


def _hand_over(job: _Job, result: Any) -> None:
    try:
        job.loop.call_soon_threadsafe(_deliver, job, result)
    except RuntimeError:
        if not job.loop.is_closed():  # a closed loop has nobody waiting
            raise


def _deliver(job: _Job, result: Any) -> None:
    if job.future.done():
        return
    if isinstance(result, Exception):
        job.future.set_exception(result)
    else:
        job.future.set_result(result)
