"""Processes that may die: order, laziness, crashes, hangs, errors."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceshield.datasets.workers import Crash, in_order


def task(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == 5:
        raise KeyError("five")
    if item == 7:
        time.sleep(60)
    if item == 8:
        os._exit(9)
    time.sleep(0.02 * (item % 3))
    return item * item


def test_results_come_in_order_and_a_death_costs_one_item() -> None:
    items = [item for item in range(12) if item != 7]
    found = list(in_order(task, items, workers=2))
    assert [item for item, _ in found] == items
    results = dict(found)
    assert results[3] == Crash("the decoder's process died (SIGSEGV)")
    assert results[5] == Crash("KeyError: 'five'")
    assert results[8] == Crash("the decoder's process died (exit code 9)")
    assert all(results[item] == item * item for item in items if item not in (3, 5, 8))


def test_who_hangs_is_given_up_and_the_others_have_their_turn() -> None:
    hung, other = in_order(task, [7, 1], workers=1, timeout=1.0)
    assert hung == (7, Crash("took more than 1 seconds")) and other == (1, 1)


def test_a_process_that_dies_between_two_items_costs_one_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        yield from (2, 4)

    found = dict(in_order(task, items(), workers=1))
    assert found == {1: 1, 2: Crash("the decoder's process died (SIGKILL)"), 4: 16}


def test_items_are_drawn_as_they_are_needed() -> None:
    drawn = []

    def endless() -> Iterator[int]:
        for item in itertools.count(100):
            drawn.append(item)
            yield item

    results = in_order(task, endless(), workers=1)
    assert [next(results) for _ in range(3)] == [(n, n * n) for n in (100, 101, 102)]
    assert len(drawn) < 20
    results.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_to_do(workers: int) -> None:
    assert list(in_order(task, [], workers=workers)) == []


def test_a_script_without_a_guard_is_told_to_have_one(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("from faceshield.datasets.workers import in_order\nprint(list(in_order(abs, [-1, -2], workers=1)))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "before it began — expected a script whose work stands below `if __name__ == '__main__':`" in done.stderr
