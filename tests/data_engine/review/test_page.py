"""The review page in a real browser: two reviewers, keyboard only, a reload and a killed server; nothing is lost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from browser import MISSING, chromium
from faceshield.data_engine import generate_dialogues
from faceshield.data_engine.review import ReviewQueue
from faceshield.records import Dialogue, Sample, read_jsonl, rebase_image, write_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.tasks import TASKS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(MISSING), reason=f"the page in a browser needs: {' && '.join(MISSING)}"),
]


class Server:
    """`faceshield review`, started as a user starts it."""

    def __init__(self, dialogues: Path, out: Path) -> None:
        self.dialogues, self.out = dialogues, out
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "faceshield", "review", self.dialogues, "--out", self.out, "--port", self.port]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        end = time.monotonic() + 90
        while time.monotonic() < end:
            assert self.process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError("the server did not come up")

    def stop(self) -> str:
        self.process.terminate()
        return self.process.communicate(timeout=60)[0]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    simulate(tmp_path / "sim", SimulateConfig(faces="drawn", count=4, seed=2), workers=1)
    samples = read_jsonl(tmp_path / "sim" / "samples.jsonl", Sample)
    path = tmp_path / "dialogues.jsonl"
    moved = [
        row.model_copy(update={"image": rebase_image(row.image, tmp_path / "sim" / "samples.jsonl", path)}) for row in samples
    ]
    write_jsonl(path, generate_dialogues(moved, tasks=list(TASKS), seed=0))
    running = Server(path, tmp_path / "accepted.jsonl")
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def shown(page: Any, number: int) -> None:
    """Waits until the page shows that this reviewer has decided `number` dialogues."""
    page.wait_for_function(f"document.querySelector('#top')?.innerText.includes('· {number} by you')", timeout=30_000)


def current(page: Any) -> str:
    page.wait_for_selector("#picture img", timeout=30_000)
    return str(page.locator(".facts li").last.inner_text())


def test_two_reviewers_a_reload_and_a_killed_server(server: Server, browser: Any, tmp_path: Path) -> None:
    shots = Path(os.environ.get("FACESHIELD_SCREENSHOTS", tmp_path))
    rows = read_jsonl(server.dialogues, Dialogue)
    hosts: set[str | None] = set()
    errors: list[str] = []
    desktop = browser.new_context(viewport={"width": 1280, "height": 860})
    phone = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    for context in (desktop, phone):
        context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        context.on("weberror", lambda error: errors.append(str(error.error)))
    ann, ben = desktop.new_page(), phone.new_page()

    ann.goto(server.url)
    ann.wait_for_selector("#name input, #name textarea")
    ann.screenshot(path=shots / "review-name.png")
    ann.locator("#name input, #name textarea").fill("Ann")
    ann.keyboard.press("Enter")
    ben.goto(f"{server.url}?reviewer=Ben")
    assert current(ann) == rows[0].id and current(ben) == rows[1].id  # two reviewers never get the same one
    ann.screenshot(path=shots / "review-desktop.png")
    ben.screenshot(path=shots / "review-phone.png")
    assert ben.locator("#accept").evaluate("e => e.getBoundingClientRect().bottom <= innerHeight")  # no scrolling to decide
    assert ben.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    named = "e.innerText || e.labels?.length || e.getAttribute('aria-label')"
    controls = "[...document.querySelectorAll('#buttons button, textarea, input')].filter(e => e.offsetParent)"
    assert ann.evaluate(f"{controls}.filter(e => !({named})).map(e => e.outerHTML)") == []

    ann.keyboard.press("a")  # accept by key
    shown(ann, 1)
    assert current(ann) == rows[2].id
    ann.keyboard.press("n")
    ann.keyboard.type("out of focus r a")  # letters typed into a text field are not commands
    ann.keyboard.press("Escape")
    ann.keyboard.press("r")  # reject by key
    shown(ann, 2)
    ben.locator("#accept").tap()
    shown(ben, 1)

    ann.reload()  # midway: the same reviewer, the same dialogue
    assert current(ann) == rows[3].id and "reviewer=Ann" in ann.url
    shown(ann, 2)
    assert rows[3].task == "localization"
    ann.keyboard.press("e")
    ann.keyboard.press("Control+a")
    ann.keyboard.type("The attack is at [1, 2, 3, 4].")
    ann.keyboard.press("Control+Enter")
    ann.wait_for_selector("#status .told")
    assert "Not stored yet" in ann.locator("#status").inner_text()
    ann.screenshot(path=shots / "review-told.png")
    assert 3 not in ReviewQueue(server.dialogues, server.out.with_suffix(".review.sqlite")).decisions()
    ann.keyboard.press("e")
    ann.keyboard.press("Control+a")
    ann.keyboard.type(f"Look here: {rows[3].conversations[1].value}")
    ann.keyboard.press("Control+Enter")  # edit
    shown(ann, 3)
    edited_id, last = rows[3].id, current(ann)
    ann.keyboard.press("u")  # back, then forward again
    ann.wait_for_function(f"[...document.querySelectorAll('.facts li')].at(-1)?.innerText === {edited_id!r}")
    ann.keyboard.press("a")
    ann.wait_for_function(f"[...document.querySelectorAll('.facts li')].at(-1)?.innerText === {last!r}")

    server.process.kill()  # kill -9
    server.process.communicate()
    server.start()
    for page in (ann, ben):
        page.reload()
        page.wait_for_selector("#picture img")
    shown(ann, 3)
    shown(ben, 1)
    assert current(ann) == last
    done = 3
    while ann.locator("#accept").is_visible():  # to the last dialogue but one, by focus and Enter only
        if done + 1 + 1 == len(rows):
            break
        ann.locator("#accept").focus()
        ann.keyboard.press("Enter")
        done += 1
        shown(ann, done)
    ben.locator("#skip").tap()
    ben.wait_for_function("document.querySelector('#status').innerText.includes('Put off')")
    ben.locator("#reject").tap()
    ben.wait_for_function("document.querySelector('#status').innerText.includes('Everything is reviewed')")
    ben.screenshot(path=shots / "review-done.png")
    assert hosts == {"127.0.0.1"} and errors == []

    said = server.stop()
    votes = ReviewQueue(server.dialogues, server.out.with_suffix(".review.sqlite")).decisions()
    assert sorted(votes) == list(range(len(rows))) and all(len(found) == 1 for found in votes.values())
    assert votes[2][0].note == "out of focus r a" and votes[2][0].verdict == "reject"
    kept = read_jsonl(server.out, Dialogue)
    assert len(kept) == len(rows) - 2 and f"accepted {len(kept)} (1 of them edited), rejected 2, open 0" in said
    changed = next(row for row in kept if row.id == edited_id)
    assert changed.conversations[1].value == f"Look here: {rows[3].conversations[1].value}"
    assert [row.id for row in kept] == [row.id for row in rows if row.id in {other.id for other in kept}]
