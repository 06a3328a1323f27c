"""Run the application in uvicorn: one process, one worker, and a graceful shutdown.

Use: `run(create_app(predictor), host="127.0.0.1", port=8000)`; returns after SIGTERM or SIGINT.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from faceshield.serving.connection import Connection
from faceshield.serving.observe import LOG, log_json_lines
from faceshield.serving.service import Service, keep_what_is_loaded


class _Server(uvicorn.Server):
    """Starts the service's drain before uvicorn closes its sockets, and calls `keep_what_is_loaded` after warm-up."""

    service: Service
    loop: asyncio.AbstractEventLoop
    _settling: asyncio.Task[None]

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)  # type: ignore[arg-type]
        addresses = ["{}:{}".format(*bound.getsockname()[:2]) for server in self.servers for bound in server.sockets]
        LOG.info("listening", extra={"fields": {"addresses": addresses}})
        self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        with suppress(RuntimeError):  # `/readyz` reports what is wrong
            await self.service.ready()
            keep_what_is_loaded()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.loop.call_soon_threadsafe(self.service.drain)
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # so that a requested shutdown ends with exit code 0


def check_free(host: str, port: int) -> None:
    """Raise ValueError if the address cannot be listened on; the server itself would notice only after loading the model."""
    where = f"--host {host} --port {port}"
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror} — expected an address of this machine — choose another") from None
    for family, kind, protocol, _, address in places:
        try:
            tried = socket.socket(family, kind, protocol)
        except OSError:  # an address family that this machine lacks; the server skips it too
            continue
        with tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                tried.bind(address)
            except OSError as error:
                wanted = "an address of this machine" if error.errno == errno.EADDRNOTAVAIL else "a free one"
                raise ValueError(f"{where}: {error.strerror} — expected {wanted} — choose another") from None


def run(app: FastAPI, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; then finish accepted requests, for at most `drain_s` seconds."""
    log_json_lines()
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(service.settings.drain_s) + 1,
        timeout_keep_alive=20,
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        http=Connection,
    )
    server = _Server(config)
    server.service = service
    server.run()
