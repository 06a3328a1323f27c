"""uvicorn's protocol with limits on the time to send a request's head and on the number of connections.

Without them, a client that opens many connections and sends nothing would use up the process's file descriptors.

Use: `uvicorn.Config(app, http=Connection)`.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from faceshield.serving.observe import DROPPED, LOG
from faceshield.serving.refusals import Refusal

HEAD_S = 10.0
"""Seconds to send a whole request head: for a new connection since it was opened, for a reused one since the head began."""
_OTHER_FILES = 64  # file descriptors reserved for everything else
_SAY_EVERY_S = 60.0


def most_connections() -> int:
    """The process's limit on open files, less some for everything else."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, files - _OTHER_FILES) if files != resource.RLIM_INFINITY else 2**20


class Connection(H11Protocol):
    """One client's connection."""

    _said = -_SAY_EVERY_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            DROPPED.labels("too_many").inc()
            self._say_too_many()
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP, in the JSON shape of every refusal."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # a second answer cannot go into the middle of the first
            return
        DROPPED.labels("bad_http").inc()
        refusal = Refusal(400, "bad_http", "not a valid HTTP/1.1 request — expected a well-formed head and body — correct it")
        body = bytes(refusal.response("-").body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}"
        self.transport.write(head.encode() + b"\r\n\r\n" + body)
        self.transport.close()

    def _watch(self) -> None:
        begun = self.conn.their_state is not h11.IDLE  # the head has arrived; its body may still be on the way
        if begun or (self.cycle is not None and not self.cycle.response_complete):
            self._unwatch()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_S, self._too_slow)

    def _unwatch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        DROPPED.labels("slow_head").inc()
        self.transport.close()

    def _say_too_many(self) -> None:
        if time.monotonic() - Connection._said >= _SAY_EVERY_S:
            Connection._said = time.monotonic()
            LOG.warning("too many connections", extra={"fields": {"most": most_connections()}})
