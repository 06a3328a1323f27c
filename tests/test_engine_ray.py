"""The engine on Ray, on two local workers: the same results in the same order, also where workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import ray_cluster
from faceshield.engines import Engine, start_engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with ray_cluster.cluster(), start_engine("ray", workers=2) as started:
        yield started


def test_results_come_in_order_from_several_processes(engine: Engine) -> None:
    found = list(engine(lambda item: (2 * item, os.getpid()), list(range(300)), 3))
    assert [value for value, _ in found] == list(range(0, 600, 2))
    assert len({process for _, process in found} - {os.getpid()}) == 2
    assert list(engine(lambda item: item, [])) == []
    assert list(engine(lambda item: item, ["one"])) == ["one"]


def test_what_work_raises_comes_back_as_it_is_after_what_was_done(engine: Engine) -> None:
    def work(item: int) -> int:
        if item == 77:
            raise ConnectionError("77 is down")
        return item

    got: list[int] = []
    with pytest.raises(ConnectionError, match="^77 is down$"):
        for result in engine(work, list(range(300))):
            got.append(result)
    assert got == list(range(77))

    def odd(item: int) -> int:
        class Local(Exception):
            def __reduce__(self):
                raise TypeError("stays")

        raise Local("here alone")

    with pytest.raises(RuntimeError, match="Local: here alone"):
        list(engine(odd, [1]))


def test_work_that_cannot_be_opened_there_is_an_error_and_no_hang(engine: Engine) -> None:
    class Keyless:
        def __reduce__(self):
            return _raise, ("no key on this machine",)

        def __call__(self, item: int) -> int:
            return item

    def _raise(words: str) -> None:
        raise ValueError(words)

    with pytest.raises(ValueError, match="no key on this machine"):
        list(engine(Keyless(), [1, 2, 3]))


def test_a_worker_that_dies_loses_nothing_and_one_that_always_dies_ends_the_run(engine: Engine, tmp_path: Path) -> None:
    marker, kill = tmp_path / "died", signal.SIGKILL

    def once(item: int) -> int:
        if item == 100 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), kill)
        return item

    assert list(engine(once, list(range(300)))) == list(range(300)) and marker.exists()

    def always(item: int) -> int:
        if item == 100:
            os.kill(os.getpid(), kill)
        return item

    got: list[int] = []
    with pytest.raises(ConnectionError, match="died 4 times over the same items"):
        for result in engine(always, list(range(300))):
            got.append(result)
    assert got == list(range(len(got))) and len(got) <= 100
