"""Work in several processes: results arrive in order, and neither workers nor their locks outlive the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faceshield.records import JsonlWriter
from faceshield.simulate.processes import in_order

CODE = """
import os, sys, time
from pathlib import Path
from faceshield.records import JsonlWriter
from faceshield.simulate.processes import in_order

def work(item):
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

with JsonlWriter(Path(sys.argv[1], "../rows.jsonl")):
    list(in_order(work, range(40), workers=2))
"""


def test_results_are_in_the_items_order() -> None:
    assert list(in_order(abs, [-3, 1, -2, 0, -5, 4], workers=2)) == [3, 1, 2, 0, 5, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals and locks")
def test_workers_end_with_a_parent_that_was_killed_and_its_file_is_free_at_once(tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "code.py").write_text(CODE)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "code.py"), str(tmp_path / "seen")])

    def until(said: object, limit_s: float = 30) -> None:
        end = time.monotonic() + limit_s
        while not said() and time.monotonic() < end:  # type: ignore[operator]
            time.sleep(0.1)
        assert said()  # type: ignore[operator]

    until(lambda: len(list((tmp_path / "seen").iterdir())) == 2)
    workers = [int(path.name) for path in (tmp_path / "seen").iterdir()]
    with pytest.raises(ValueError, match="another run is writing it"):
        JsonlWriter(tmp_path / "rows.jsonl")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    with JsonlWriter(tmp_path / "rows.jsonl"):  # the workers, who notice within a second, do not hold it
        pass
    until(lambda: not any(_lives(worker) for worker in workers))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
