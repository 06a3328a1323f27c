"""Before a service whose processes may die: limits at the entrance, and JSON also where nobody of the service answers.

With Ray Serve it stands in the HTTP proxy, which knows neither limits nor our refusals, and which logs a client's own request
id. Ray's proxy asks `middlewares` for it, by the name in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH.
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
from faceshield.serving.uploads import BodyBudget, too_large

LIMITS_VARIABLE = "FACESHIELD_DOOR_LIMITS"
"""Bytes of one body, and of all, separated by a comma."""

_OURS = "x-content-type-options"  # every answer of the service's guard has it
_RAYS_OWN = "/-/"  # health and routes of Ray's proxy
# What Ray would take from any client: other time limits, other routing.
_NOT_FROM_CLIENTS = {
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "serve-multiplexed-model-id",
    "x-session-id",
}


class Door:
    """Pure ASGI, around everything.

    Args:
        app: what routes requests to the service's processes.
        settings: of whose limits `max_body` and `max_bodies` are kept here.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.bodies = BodyBudget(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})  # before it was accepted: 403
            return
        headers = MutableHeaders(scope=scope)
        for name in {name for name in headers if name.replace("_", "-") in _NOT_FROM_CLIENTS}:
            del headers[name]
        headers["x-request-id"] = request_id = request_id_of(headers)
        has_body = "content-length" in headers or "transfer-encoding" in headers
        try:
            with self.bodies.hold(Request(scope)) if has_body else nullcontext():
                refusal = await self._pass(scope, receive, send, request_id)
        except Refusal as refused:
            refusal = refused
        if refusal is not None:
            LOG.warning("refused", extra={"fields": {"request_id": request_id, "code": refusal.code}})
            refusal.headers.update({"X-Request-ID": request_id, "Cache-Control": "no-store", _OURS: "nosniff"})
            await refusal.response(request_id)(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> Refusal | None:
        """Passes a request on; what to answer where the service did not."""
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
                out["X-Request-ID"] = request_id  # once
                message = {**message, "headers": out.raw}
            if started:
                await send(message)

        try:
            await self.app(scope, counted, answer)
        except Exception:
            if started:
                raise  # half an answer: the connection is closed
            LOG.error("failed", exc_info=True, extra={"fields": {"request_id": request_id}})
        if started:
            return None
        return too_large(self.settings.max_body) if size > self.settings.max_body else _instead_of(status)


def _instead_of(status: int) -> Refusal:
    """What to say where Ray would say `status` in words of its own; 0: where it says nothing."""
    if status == 429:
        return busy("queue_full", "every replica is busy — expected room", 5)
    if status == 408:
        return busy("timeout", "no replica answered in time — expected an answer", 5, status=503)
    if status in (404, 503):
        return busy("no_replica", "no replica of the service is there — expected a running one", 5, status=503)
    return busy("replica_lost", "the replica that had this request died — expected it to live", 1, status=503)


def middlewares() -> list[Any]:
    """For Ray's proxy, with the limits of FACESHIELD_DOOR_LIMITS."""
    log_json_lines()
    max_body, max_bodies = map(int, os.environ[LIMITS_VARIABLE].split(","))
    return [Middleware(Door, settings=Settings(max_body=max_body, max_bodies=max_bodies))]
