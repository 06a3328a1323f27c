"""Two local workers of Ray for the tests that need them; `import ray_cluster` skips a module where Ray is not installed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed — type: pip install -e '.[ray]'")


def processes(named: str) -> list[int]:
    """Ids of the processes of this user whose command line holds `named`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            alive = "\nState:\tZ" not in (folder / "status").read_text()
        except OSError:
            continue
        if named in line and alive and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def descendants(parent: int) -> list[int]:
    """Ids of all processes below one."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        below.setdefault(of, []).append(int(folder.name))
    found, waiting = [], [parent]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def kill(process: int) -> None:
    """kill -9; a process that is gone already is as well."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(what, seconds: float = 300.0):
    """What `what()` returns once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} — expected within {seconds} s")


@contextmanager
def cluster(workers: int = 2) -> Iterator[None]:
    """A cluster that stays for several engines."""
    import ray

    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
