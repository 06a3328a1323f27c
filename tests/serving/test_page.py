"""The page in a real browser: `FACESHIELD_SCREENSHOTS=DIR` keeps what it looked like."""

from __future__ import annotations

import base64
import csv
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from browser import MISSING, chromium

if TYPE_CHECKING:
    from faceshield.predictor import FaceShieldPredictor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"type: {' && '.join(MISSING)}"),
    # Of gradio's own making.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
KEY = "a-key-of-the-tests-0123"


@pytest.fixture
def serve_page(shield: FaceShieldPredictor) -> Iterator[Any]:
    """Starts the application with its page; keyword arguments are `Settings`'. Gives its address."""
    import uvicorn

    from faceshield.serving import Settings, create_app
    from faceshield.serving.page import add_page

    running = []

    def start(**options: Any) -> str:
        rng = np.random.default_rng(0)
        examples = [(f"picture {number}", rng.integers(0, 255, (64, 64, 3), np.uint8)) for number in range(3)]
        app = add_page(create_app(shield, Settings(**options)), examples=examples)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        while not (server.started and app.state.service.trouble() is None):
            time.sleep(0.05)
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def photo(tmp_path: Path, face_jpeg: bytes) -> Path:
    path = tmp_path / "somebody.jpg"
    path.write_bytes(face_jpeg)
    return path


def uploads() -> list[Path]:
    """What the page keeps on disk of what visitors gave it."""
    from faceshield.serving.page import _UPLOADS

    return [path for path in Path(_UPLOADS.name).rglob("*") if path.is_file() and path.suffix in (".jpg", ".png", ".txt")]


@pytest.mark.parametrize(
    ("name", "screen"),
    [
        ("desktop", {"viewport": {"width": 1280, "height": 900}}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}),
    ],
)
def test_from_upload_to_verdict_maps_and_answer(serve_page, browser, photo, tmp_path, name, screen) -> None:
    shots = Path(os.environ.get("FACESHIELD_SCREENSHOTS", tmp_path))
    hosts: set[str | None] = set()
    errors: list[str] = []
    context = browser.new_context(**screen)
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    context.on("weberror", lambda error: errors.append(str(error.error)))
    page = context.new_page()
    page.goto(serve_page() + "/")
    page.wait_for_selector("#drop input[type=file]", state="attached", timeout=60_000)
    page.screenshot(path=shots / f"page-{name}-start.png")
    page.locator("#examples button.thumbnail-item").first.click()
    page.wait_for_selector("#result >> text=No face", timeout=60_000)
    page.locator("#whole input").check()
    page.wait_for_selector("#result .types", timeout=60_000)
    page.locator("#whole input").uncheck()
    page.wait_for_selector("#result >> text=No face", timeout=60_000)
    before = uploads()

    page.set_input_files("#drop input[type=file]", photo)
    page.wait_for_selector("#result .types", timeout=60_000)
    verdict = page.locator("#result .badge").inner_text()
    assert verdict.split(":")[0] in ("Attack", "Bona fide")
    assert page.locator("#result .types div").count() == 24 and page.locator("#result figure img").count() == 1
    page.screenshot(path=shots / f"page-{name}-verdict.png", full_page=True)
    assert uploads() == before  # read and deleted

    page.locator("#maps").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#streams img", timeout=60_000)
    assert page.locator("#streams img").count() == 4
    page.locator("#question textarea, #question input").fill("Why?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer blockquote", timeout=60_000)
    page.screenshot(path=shots / f"page-{name}-all.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    assert hosts == {"127.0.0.1"} and not errors
    context.close()


def test_what_is_no_picture_is_told_and_asks_nothing_of_the_model(serve_page, browser, tmp_path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n" + b"nothing" * 9)
    page = browser.new_page()
    page.goto(serve_page() + "/ui/")
    page.wait_for_selector("#drop input[type=file]", state="attached", timeout=60_000)
    page.set_input_files("#drop input[type=file]", broken)
    page.wait_for_selector("#result .badge", timeout=60_000)
    assert page.locator("#result .badge").inner_text() == "Error" and not page.locator("#question").is_visible()


def test_many_photos_become_a_table_and_a_file(serve_page, browser, photo, tmp_path) -> None:
    other = tmp_path / "=1+1.png"
    Image.new("RGB", (60, 60), "grey").save(other)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(serve_page() + "/ui/")
    page.get_by_role("tab", name="Many photos").click()
    page.wait_for_selector("#files input[type=file]", state="attached", timeout=60_000)
    page.set_input_files("#files input[type=file]", [photo, other])
    link = page.wait_for_selector("#csv", timeout=60_000)
    data = link.get_attribute("href").partition(",")[2]
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode("utf-8-sig"))))
    assert [row["verdict"] for row in rows][1] == "no face" and 0 <= float(rows[0]["bonafide_score"]) <= 1
    fit = [row["verdict"] == "bona fide" and not row["problem"] for row in rows]
    assert [row["accepted"] == "yes" for row in rows] == fit and not fit[1]
    assert rows[0]["photo"] == "somebody.jpg" and rows[1]["photo"][0] in "'1"  # never a formula
    page.screenshot(path=Path(os.environ.get("FACESHIELD_SCREENSHOTS", tmp_path)) / "page-many.png")
    assert not [path for path in uploads() if path.name == "somebody.jpg"]


def test_keys_are_asked_for_by_the_page_and_by_what_is_below_it(serve_page, browser, photo) -> None:
    from faceshield.serving.settings import hash_key

    address = serve_page(keys=(hash_key(KEY),))
    page = browser.new_page()
    answers = [page.request.get(f"{address}/ui/{path}").status for path in ("config", "gradio_api/info")]
    sent = page.request.post(f"{address}/ui/gradio_api/upload", multipart={"files": {
        "name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo.read_bytes()}})  # fmt: skip
    assert [*answers, sent.status] == [401, 401, 401]
    page.goto(address + "/")
    page.wait_for_selector("input[type=password]", timeout=60_000)
    for given in ("wrong-key-of-the-tests", KEY):
        page.locator("input:not([type=password])").first.fill("anybody")
        page.locator("input[type=password]").fill(given)
        page.get_by_role("button").last.click()
        if given != KEY:
            page.wait_for_timeout(1500)
            assert page.locator("input[type=password]").count() == 1
    page.wait_for_selector("#drop input[type=file]", state="attached", timeout=60_000)
    page.set_input_files("#drop input[type=file]", photo)
    page.wait_for_selector("#result .badge", timeout=60_000)
