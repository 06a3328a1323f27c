"""Before Ray's replicas: limits, ids and JSON, around the real application and around what Ray's proxy says itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason='pip install -e ".[dev]"')

from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from faceshield.serving.door import LIMITS_VARIABLE, Door, middlewares
from faceshield.serving.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class Proxy:
    """Reads the body and says what Ray's proxy says where no replica answers; 0: nothing."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.seen: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen = {name.decode(): value.decode() for name, value in scope["headers"]}
        while (message := await receive())["type"] == "http.request" and message.get("more_body"):
            continue
        if message["type"] == "http.disconnect":
            return  # as Ray does for a client that went
        if self.status == 500:
            raise RuntimeError("Jane Doe")
        if self.status:
            await PlainTextResponse("Path '/Jane Doe' not found.", self.status)(scope, receive, send)


def refused(response: Any, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code and " — " in error["message"] and "Jane" not in response.text
    assert response.headers.get_list("x-request-id") == [error["request_id"]]
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (0, 503, "replica_lost"),
        (500, 503, "replica_lost"),
        (404, 503, "no_replica"),
        (503, 503, "no_replica"),
        (408, 503, "timeout"),
        (429, 429, "queue_full"),
    ],
)
def test_where_no_replica_answers_there_is_json_that_says_when_to_come_again(said: int, status: int, code: str) -> None:
    response = TestClient(Door(Proxy(said), Settings())).post("/v1/inspect", content=b"photo")
    refused(response, status, code)
    assert 1 <= int(response.headers["retry-after"]) <= 60


def test_rays_own_routes_pass() -> None:
    response = TestClient(Door(Proxy(503), Settings())).get("/-/healthz")
    assert response.status_code == 503 and response.text.startswith("Path") and response.headers["x-request-id"]


def test_bodies_are_bounded_before_they_travel() -> None:
    client = TestClient(Door(Proxy(200), Settings(max_body=5000, max_bodies=6000)))

    def pieces() -> Iterator[bytes]:
        yield from [bytes(1000)] * 6

    refused(client.post("/v1/inspect", content=bytes(5001)), 413, "body_too_large")
    refused(client.post("/v1/inspect", content=pieces()), 413, "body_too_large")
    refused(client.post("/v1/inspect", content=b"", headers={"content-length": "many"}), 400, "bad_length")


def test_bodies_of_all_requests_together_are_bounded_and_let_go() -> None:
    class Slow(Proxy):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await go_on.wait()

    async def ask(*headers: tuple[bytes, bytes]) -> int:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": bytes(4000)}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        statuses: list[int] = []
        await door({"type": "http", "method": "POST", "path": "/", "headers": list(headers)}, receive, send)
        return statuses[0]

    async def several() -> list[int]:
        first = asyncio.ensure_future(ask(length))
        await asyncio.sleep(0)
        second, third = await ask(length), asyncio.ensure_future(ask())
        go_on.set()
        return [await first, second, await third]

    length, go_on = (b"content-length", b"4000"), asyncio.Event()
    door = Door(Slow(0), Settings(max_body=5000, max_bodies=6000))
    assert asyncio.run(several()) == [503, 429, 503] and door.bodies.held == 0


def test_what_is_refused_is_read_on_so_that_the_client_hears_it() -> None:
    """Else the connection is reset, and the refusal with it; but no more is read than a few times the largest body."""

    async def read(size: int, headers: list[tuple[bytes, bytes]], proxy: Any = None) -> tuple[int, int]:
        """The status of the answer, and how many bytes had been taken before it."""
        taken, statuses = 0, []

        async def receive() -> dict[str, Any]:
            nonlocal taken
            assert taken < size, "nothing is left"
            taken += 1000
            return {"type": "http.request", "body": bytes(1000), "more_body": taken < size}

        async def send(message: Any) -> None:
            statuses.append((message.get("status"), taken))

        door = Door(proxy or Proxy(404), Settings(max_body=5000, max_bodies=6000))
        await door({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send)
        return statuses[0]

    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("every replica is busy", 429)(scope, receive, send)

    chunked = [(b"transfer-encoding", b"chunked")]
    assert asyncio.run(read(6000, chunked)) == (413, 6000)
    assert asyncio.run(read(9000, chunked)) == (413, 9000)
    assert asyncio.run(read(90_000, chunked)) == (413, 27_000)
    assert asyncio.run(read(9000, [(b"content-length", b"9000")])) == (413, 9000)
    assert asyncio.run(read(90_000, [(b"content-length", b"90000")])) == (413, 0)
    assert asyncio.run(read(4000, [(b"content-length", b"4000")], busy)) == (429, 4000)
    assert asyncio.run(read(4000, [(b"content-length", b"4000")])) == (503, 4000)


def test_what_clients_may_not_tell_rays_proxy_is_taken_off() -> None:
    proxy = Proxy(404)
    client = TestClient(Door(proxy, Settings()))
    for name in ("X-Request-Timeout-Seconds", "x-request-disconnect-disabled", "serve_multiplexed_model_id", "X-Session-Id"):
        client.get("/", headers={name: "1", "X-Request-ID": "Jane Doe"})
        assert not [seen for seen in proxy.seen if seen.replace("_", "-") == name.lower().replace("_", "-")]
        assert proxy.seen["x-request-id"] and "Jane" not in proxy.seen["x-request-id"]
    client.get("/", headers={"X-Request-ID": "mine-1"})
    assert proxy.seen["x-request-id"] == "mine-1"


def test_the_applications_own_answers_pass_as_they_are(make_client: Callable[..., Any], wall_png: bytes) -> None:
    plain = make_client()
    client = TestClient(Door(plain.app, Settings()))
    for ask in (
        lambda it: it.post("/v1/inspect", files={"image": wall_png}, headers={"X-Request-ID": "mine-1"}),
        lambda it: it.post("/v1/inspect", files={"image": b"no picture"}, headers={"X-Request-ID": "mine-1"}),
        lambda it: it.get("/nowhere", headers={"X-Request-ID": "mine-1"}),
    ):
        expected, found = ask(plain), ask(client)
        assert (found.status_code, found.json()) == (expected.status_code, expected.json())
        assert found.headers.get_list("x-request-id") == ["mine-1"] == expected.headers.get_list("x-request-id")


def test_a_websocket_is_closed_and_the_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.websockets import WebSocketDisconnect

    monkeypatch.setattr("faceshield.serving.door.log_json_lines", lambda: None)
    monkeypatch.setenv(LIMITS_VARIABLE, "5000,6000")
    (middleware,) = middlewares()
    door = middleware.cls(Proxy(200), **middleware.kwargs)
    assert (door.settings.max_body, door.settings.max_bodies) == (5000, 6000)
    with pytest.raises(WebSocketDisconnect), TestClient(door).websocket_connect("/v1/inspect"):
        pass
