"""The entrance to a service whose processes may die: enforces limits, and answers in JSON even when no process does.

With Ray Serve it runs inside the HTTP proxy, which has no such limits, does not know our refusals, and logs whatever request id
a client sends. The proxy gets it from `middlewares`, which RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names.
Use: `app = Door(app, Settings())`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceshield.serving.guard import request_id_of
from faceshield.serving.observe import LOG, log_json_lines
from faceshield.serving.refusals import Refusal, busy
from faceshield.serving.settings import Settings
from faceshield.serving.uploads import BodyBudget, discard_body, too_large

LIMITS_VARIABLE = "FACESHIELD_DOOR_LIMITS"
"""Limits in bytes for one body and for all bodies together, separated by a comma."""

_OURS = "x-content-type-options"  # set by the service's guard on every answer
_RAYS_OWN = "/-/"  # health and routes pages of Ray's proxy
# Headers by which any client could change Ray's time limits or routing.
_NOT_FROM_CLIENTS = {
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "serve-multiplexed-model-id",
    "x-session-id",
}


class Door:
    """Pure ASGI middleware, outside of everything else.

    Args:
        app: routes requests to the service's processes.
        settings: only `max_body` and `max_bodies` are enforced here.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.bodies = BodyBudget(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})  # closing before accepting answers 403
            return
        headers = MutableHeaders(scope=scope)
        for name in {name for name in headers if name.replace("_", "-") in _NOT_FROM_CLIENTS}:
            del headers[name]
        headers["x-request-id"] = request_id = request_id_of(headers)
        left = "content-length" in headers or "transfer-encoding" in headers

        async def watched() -> Message:
            nonlocal left
            message = await receive()
            left = message["type"] == "http.request" and message.get("more_body", False)
            return message

        try:
            with self.bodies.hold(Request(scope)) if left else nullcontext():
                refusal = await self._pass(scope, watched, send, request_id)
        except Refusal as refused:
            refusal = refused
        if refusal is not None:
            if left:
                await discard_body(Request(scope, receive), self.settings)
            LOG.warning("refused", extra={"fields": {"request_id": request_id, "code": refusal.code}})
            refusal.headers.update({"X-Request-ID": request_id, "Cache-Control": "no-store", _OURS: "nosniff"})
            await refusal.response(request_id)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> Refusal | None:
        """Pass a request on; returns what to answer if the service did not."""
        size, status, started = 0, 0, False

        async def counted() -> Message:
            nonlocal size
            if size > self.settings.max_body:
                return {"type": "http.disconnect"}
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= self.settings.max_body else {"type": "http.disconnect"}

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                out = MutableHeaders(raw=list(message.get("headers", ())))
                status = message["status"]
                started = _OURS in out or scope["path"].startswith(_RAYS_OWN)
                out["X-Request-ID"] = request_id  # replaces one from the service
                message = {**message, "headers": out.raw}
            if started:
                await send(message)

        try:
            await self.app(scope, counted, answer)
        except Exception:
            if started:
                raise  # the answer has begun: the connection is closed
            LOG.error("failed", exc_info=True, extra={"fields": {"request_id": request_id}})
        if started:
            return None
        return too_large(self.settings.max_body) if size > self.settings.max_body else _instead_of(status)


def _instead_of(status: int) -> Refusal:
    """The refusal to send instead of Ray's own answer with this `status`; 0: Ray gave none."""
    if status == 429:
        return busy("queue_full", "every replica is busy — expected room", 5)
    if status == 408:
        return busy("timeout", "no replica answered in time — expected an answer", 5, status=503)
    if status in (404, 503):
        return busy("no_replica", "no replica of the service is there — expected a running one", 5, status=503)
    return busy(
        "replica_lost", "the replica that handled this request died before it answered — expected it to live", 1, status=503
    )


def middlewares() -> list[Any]:
    """The middleware for Ray's proxy, with the limits from FACESHIELD_DOOR_LIMITS."""
    log_json_lines()
    max_body, max_bodies = map(int, os.environ[LIMITS_VARIABLE].split(","))
    return [Middleware(Door, settings=Settings(max_body=max_body, max_bodies=max_bodies))]
