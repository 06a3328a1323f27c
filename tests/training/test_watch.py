"""What a person at a terminal sees of a run, and what a stopped run leaves of its log."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from faceshield.training.watch import LOG_FILE, Watch, read_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_has_steps_rates_time_left_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    watch = Watch(tmp_path, lambda row: None)
    for step in range(1, 4):
        watch.count(4, 8, 900)
        watch.step(step, 12)
    watch.log({"event": "step", "step": 3, "loss": 0.25, **watch.rates()})
    watch.bar.close()
    last = terminal.getvalue().replace("\n", "\r").rstrip("\r").rsplit("\r", 1)[-1]
    assert "3/12" in last and "25%" in last and "loss=0.25" in last
    assert all(name in last for name in ("samples_per_second=", "tokens_per_second=", "memory_gib="))
    assert "step/s" in last or "s/step" in last
    (row,) = read_log(tmp_path / LOG_FILE)
    assert row["dialogues_per_second"] == pytest.approx(2 * row["samples_per_second"], rel=0.01)


def test_where_nobody_looks_there_is_no_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    watch = Watch(tmp_path, lambda row: None)
    watch.step(1, 2)
    watch.bar.close()
    assert out.getvalue() == ""
