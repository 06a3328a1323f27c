"""What a connection may take before it has asked anything."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason='pip install -e ".[dev]"')

import uvicorn

from faceshield.predictor import FaceShieldPredictor
from faceshield.serving import Settings, connection, create_app
from faceshield.serving.server import check_free

Address = tuple[str, int]


@pytest.fixture
def served(shield: FaceShieldPredictor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    """Where a service listens that gives a head a fifth of a second and has room for eight connections."""
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    monkeypatch.setattr(connection, "most_connections", lambda: 8)
    app = create_app(shield, Settings(max_body=2**20))
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", http=connection.Connection, timeout_keep_alive=20)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield "127.0.0.1", server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


def all_of(sock: socket.socket) -> bytes:
    """What comes until the other side closes; raises TimeoutError where it does not."""
    sock.settimeout(10)
    parts = []
    while part := sock.recv(2**16):
        parts.append(part)
    return b"".join(parts)


def ask(sock: socket.socket) -> bytes:
    """The answer to one request on a connection that stays open."""
    sock.settimeout(10)
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        part = sock.recv(2**16)
        assert part, f"closed after {answer!r}"
        answer += part
    return answer


def dropped(served: Address, why: str) -> float:
    """What the metrics say of connections that were dropped for this reason."""
    with urllib.request.urlopen("http://{}:{}/metrics".format(*served), timeout=60) as answer:
        lines = dict(line.rsplit(b" ", 1) for line in answer.read().splitlines())
    return float(lines[f'faceshield_connections_dropped_total{{why="{why}"}}'.encode()])


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"POST /v1/inspect HTTP/1.1\r\nHost: x\r\nA: "])
def test_who_sends_no_whole_head_is_not_waited_for(served: Address, sent: bytes) -> None:
    before = dropped(served, "slow_head")
    with socket.create_connection(served) as sock:
        sock.sendall(sent)
        assert all_of(sock) == b""
    assert dropped(served, "slow_head") == before + 1


def test_nor_on_a_connection_that_has_been_answered(served: Address) -> None:
    with socket.create_connection(served) as sock:
        assert ask(sock).startswith(b"HTTP/1.1 200")
        time.sleep(0.6)  # longer than a head may take: kept alive, as long as nothing is begun
        assert ask(sock).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /heal")
        assert all_of(sock) == b""


def test_many_that_send_nothing_keep_nobody_out(served: Address) -> None:
    before = dropped(served, "too_many")
    silent = [socket.create_connection(served) for _ in range(30)]
    end = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen("http://{}:{}/healthz".format(*served), timeout=5) as answer:
                assert answer.status == 200
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)
    for sock in silent:
        sock.close()
    assert dropped(served, "too_many") > before


def test_what_is_no_http_is_refused_as_all_else(served: Address) -> None:
    before = dropped(served, "bad_http")
    with socket.create_connection(served) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
        head, _, body = all_of(sock).partition(b"\r\n\r\n")
    assert dropped(served, "bad_http") == before + 1
    assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["error"]["code"] == "bad_http"


@pytest.mark.parametrize("chunked", [False, True])
def test_who_sends_too_much_hears_why(served: Address, chunked: bool) -> None:
    """Most clients send all before they read: an answer before that is lost in a connection that is reset."""
    with socket.create_connection(served) as sock:
        size = 3 * 2**20
        body = f"{size:x}\r\n".encode() + bytes(size) + b"\r\n0\r\n\r\n" if chunked else bytes(size)
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
        sock.sendall(f"POST /v1/inspect HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
        sock.sendall(body)
        head, _, body = all_of(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413") and json.loads(body)["error"]["code"] == "body_too_large"


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(served: Address) -> None:
    with pytest.raises(ValueError, match=f"--port {served[1]}: .* — expected a free one"):
        check_free(*served)
    check_free("127.0.0.1", 0)
