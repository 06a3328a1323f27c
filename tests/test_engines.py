"""Engines: results in the items' order, whoever does the work."""

from __future__ import annotations

import importlib.util

import pytest

from faceshield.engines import LOCAL, start_engine


@pytest.mark.parametrize("threads", [1, 3])
def test_this_process_yields_in_order_and_raises_after_what_was_done(threads: int) -> None:
    def work(item: int) -> int:
        if item == 30:
            raise LookupError("thirty")
        return 2 * item

    assert list(LOCAL(work, list(range(20)), threads)) == list(range(0, 40, 2))
    assert list(LOCAL(work, [], threads)) == []
    got: list[int] = []
    with pytest.raises(LookupError, match="thirty"):
        got.extend(LOCAL(work, list(range(40)), 1))
    with pytest.raises(LookupError, match="thirty"):
        list(LOCAL(work, list(range(40)), threads))


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="engine 'spark' — expected one of local, ray"), start_engine("spark"):
        pass
    with pytest.raises(ValueError, match="give --engine ray"), start_engine(workers=2):
        pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "faceshield\[ray\]"'), start_engine("ray"):
        pass
