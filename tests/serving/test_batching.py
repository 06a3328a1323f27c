"""The queue: who goes together, who is refused, who leaves, and what a failure takes along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='pip install -e ".[dev]"')

from faceshield.serving.batching import Abandoned, Batcher, QueueFull


class Desk:
    """Work that waits for a word, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, key: Any, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(10)
        if "bad" in items:
            raise RuntimeError("bad")
        return [f"{key}:{item}" for item in items]


def with_batcher(story: Callable[[Batcher, Desk], Any], **options: Any) -> None:
    desk = Desk()
    batcher = Batcher(desk, **{"batch_size": 4, "wait_s": 0.0, "capacity": 6, "patience_s": 100.0, **options})
    batcher.start()
    try:
        asyncio.run(asyncio.wait_for(story(batcher, desk), 20))
    finally:
        desk.go.set()
        batcher.close(10)
    assert not batcher.is_alive()


async def begun(desk: Desk) -> None:
    assert await asyncio.to_thread(desk.begun.wait, 10)


def test_requests_share_batches_of_one_key_first_come_first_served() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        first = batcher.submit("a", [0])
        await begun(desk)
        later = batcher.submit("a", [1, 2]) + batcher.submit("b", [3]) + batcher.submit("a", [4])
        assert batcher.waiting == 4
        desk.go.set()
        assert await asyncio.gather(*first, *later) == ["a:0", "a:1", "a:2", "b:3", "a:4"]
        assert desk.batches == [[0], [1, 2, 4], [3]]

    with_batcher(story)


def test_an_idle_model_waits_for_company_until_its_batch_is_full() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        desk.go.set()
        futures = batcher.submit("a", [0])
        await asyncio.sleep(0.02)
        futures += batcher.submit("a", [1, 2, 3])
        await asyncio.gather(*futures)  # would take the 15 s of wait_s if a full batch did not go at once
        assert desk.batches == [[0, 1, 2, 3]]

    with_batcher(story, wait_s=15.0)


def test_a_full_queue_refuses_all_of_a_request_or_nothing() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        batcher.submit("a", [0])
        await begun(desk)
        batcher.submit("a", list(range(5)))
        with pytest.raises(QueueFull) as refused:
            batcher.submit("a", [5, 6])
        assert refused.value.waiting == batcher.waiting == 5
        batcher.submit("a", [5])
        with pytest.raises(QueueFull):
            batcher.check_room()

    with_batcher(story)


def test_who_would_wait_longer_than_his_patience_is_refused_at_once() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        batcher.submit("a", [0])
        await begun(desk)
        await asyncio.sleep(0.05)
        desk.go.set()
        while not batcher._item_s:
            await asyncio.sleep(0.01)
        desk.go.clear()
        desk.begun.clear()
        batcher.submit("a", [1])  # an idle service tries whatever it knows of its own slowness
        await begun(desk)
        with pytest.raises(QueueFull) as refused:
            batcher.submit("a", [2])
        assert refused.value.retry_after_s >= 0.05

    with_batcher(story, patience_s=0.01)


def test_a_batch_that_outlasts_everybodys_patience_is_stuck() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        assert not batcher.stuck
        first = batcher.submit("a", [0])
        await begun(desk)
        while not batcher.stuck:
            await asyncio.sleep(0.01)
        desk.go.set()
        await asyncio.gather(*first)
        assert not batcher.stuck

    with_batcher(story, patience_s=0.05)


def test_who_stops_waiting_leaves_the_queue() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        first = batcher.submit("a", [0])
        await begun(desk)
        gone, stays = batcher.submit("a", [1, 2]), batcher.submit("a", [3])
        batcher.withdraw(gone)
        batcher.withdraw(first)  # in the model already: its result is dropped
        assert batcher.waiting == 1
        desk.go.set()
        assert await stays[0] == "a:3"
        assert desk.batches == [[0], [3]] and all(future.cancelled() for future in gone + first)

    with_batcher(story)


def test_a_failure_fails_only_its_own() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        desk.go.set()
        futures = batcher.submit("a", [1, "bad", 2])
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert [str(one) for one in found] == ["a:1", "bad", "a:2"]
        assert batcher.is_alive()

    with_batcher(story)


def test_the_end_answers_everybody() -> None:
    async def story(batcher: Batcher, desk: Desk) -> None:
        futures = batcher.submit("a", [0])
        await begun(desk)
        futures += batcher.submit("a", [1, 2])
        batcher.abandon()
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(one) for one in found] == [Abandoned] * 3
        with pytest.raises(Abandoned):
            batcher.submit("a", [3])

    with_batcher(story)
