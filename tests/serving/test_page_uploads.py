"""What the page does with uploaded files while the model is busy, and with connections; needs gradio, but no browser."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from faceshield.predictor import FaceShieldPredictor

pytest.importorskip("gradio", reason='pip install -e ".[serve,ui]"')


def test_uploads_wait_where_gradio_does_not_clear_them_away(tmp_path: Path) -> None:
    from faceshield.serving.page import _UPLOADS, _held, _take

    uploaded, elsewhere = Path(_UPLOADS.name, "abc", "a.jpg"), tmp_path / "b.jpg"
    uploaded.parent.mkdir()
    uploaded.write_bytes(b"a")
    elsewhere.write_bytes(b"b")
    with _held([str(uploaded), str(uploaded), str(elsewhere)]) as held:
        assert not uploaded.exists(), "nothing is left for gradio to find"
        assert [_take(path) for path in held[1:]] == [b"a", b"b"] and not Path(held[1]).exists()
        assert Path(held[0]).read_bytes() == b"a"
    assert not Path(held[0]).parent.exists() and elsewhere.exists()


def test_what_the_service_refused_is_not_decoded_after_all(wall_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceshield.inspection import InspectionReport
    from faceshield.serving import page

    assert "<img" in page._result(wall_png, InspectionReport("images[0]", "no_face"))
    monkeypatch.setattr(page, "open_picture", lambda data: 1 / 0)
    said = page._result(wall_png, InspectionReport("images[0]", "error", error="100 megapixels"))
    assert "100 megapixels" in said and "<img" not in said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # gradio's own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_heartbeats_are_for_those_who_have_signed_in_and_end_with_the_service(shield: FaceShieldPredictor) -> None:
    """Gradio asks nobody there, and an open page holds its connection for ever."""
    import httpx
    import uvicorn

    from faceshield.serving import Settings, create_app
    from faceshield.serving.page import add_page
    from faceshield.serving.settings import hash_key

    key = "a-key-of-the-tests-0123"
    app = add_page(create_app(shield, Settings(keys=(hash_key(key),))))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    heartbeat = f"{address}/ui/gradio_api/heartbeat/one"
    with httpx.Client(timeout=30) as client:
        assert client.get(f"{address}/ui").headers["location"] == "/ui/"
        assert client.get(heartbeat).status_code == 401
        assert client.get(heartbeat, headers={"Cookie": "access-token-x=made-up"}).status_code == 401
        assert client.post(f"{address}/ui/login", data={"username": "anybody", "password": key}).status_code == 200
        with client.stream("GET", heartbeat) as answer:
            beats = answer.iter_lines()
            assert answer.status_code == 200 and next(beats) == "data: ALIVE"
            service, started = app.state.service, time.monotonic()
            service._warm.get_loop().call_soon_threadsafe(service.drain)
            assert not [line for line in beats if line] and time.monotonic() - started < 10, "a beat is 15 s"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
    del app, server, client, service
    gc.collect()  # what gradio leaves open, here, where its warnings are expected
