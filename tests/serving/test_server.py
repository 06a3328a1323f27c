"""uvicorn around the application: what the process does beside answering."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from faceshield.serving.server import _Server


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it collects what other tests left open
def test_once_warm_the_collector_looks_at_nothing_that_was_loaded() -> None:
    async def ready() -> None:
        pass

    async def fails() -> None:
        raise RuntimeError("the model failed on its first picture")

    def frozen_after(warm_up: Any) -> int:
        server = _Server(uvicorn.Config("app"))
        server.service = SimpleNamespace(ready=warm_up)  # type: ignore[assignment]
        asyncio.run(server._settle())
        return gc.get_freeze_count()

    assert gc.get_freeze_count() == 0
    try:
        assert frozen_after(fails) == 0
        assert frozen_after(ready) > 1000
        kept = gc.get_freeze_count()
        later = [[] for _ in range(5000)]
        assert frozen_after(ready) <= kept, "what comes later is looked at as ever"
        del later
    finally:
        gc.unfreeze()
