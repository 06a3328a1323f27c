"""What a test in a real browser needs, and the browser: Chromium of the system, driven by Playwright."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = [
    line
    for there, line in (
        (importlib.util.find_spec("gradio"), 'pip install -e ".[ui]"'),
        (importlib.util.find_spec("playwright"), "pip install playwright"),
        (CHROMIUM, "apt-get install chromium"),
    )
    if not there
]
"""Lines to type before such a test can run."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, closed in the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        # Root in a container has no sandbox; the pages are our own.
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield found
        found.close()
