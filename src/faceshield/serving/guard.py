"""Middleware around every request: id, API key, log line, metrics, and a JSON answer to unexpected errors.

Use: `app.add_middleware(Guard, service=service)`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faceshield.serving.observe import LOG
from faceshield.serving.refusals import Refusal
from faceshield.serving.service import Service
from faceshield.serving.uploads import discard_body

OPEN_PATHS = ("/", "/ui", "/healthz", "/readyz")
OPEN_BELOW = "/ui/"
"""Paths that need no key (`OPEN_PATHS`), and the prefix of such paths; the page has a login of its own."""

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """Pure ASGI middleware, since it must see the first and the last byte.

    Args:
        app: the application to guard.
        service: has the API keys and the metrics.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = request_id_of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(raw=message["headers"])
                out["X-Request-ID"] = request_id
                out["Cache-Control"] = "no-store"
                out["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            path = _path(scope)
            if path not in OPEN_PATHS and not path.startswith(OPEN_BELOW) and not self.service.settings.admits(_key(headers)):
                await self._refuse_key(scope, receive, answer, request_id)
            else:
                await self.app(scope, receive, answer)
        except (ClientDisconnect, asyncio.CancelledError) as gone:
            status = status or 499  # for the log only: the client has disconnected
            self.service.meters.abandoned.inc()
            if isinstance(gone, asyncio.CancelledError):  # from servers that watch the connection themselves
                raise
        except Exception:
            LOG.error("failed", exc_info=True, extra={"fields": {"request_id": request_id}})
            if status:
                raise
            message = "an error of this service, not of the request — tell its operator the request_id"
            await Refusal(500, "internal", message).response(request_id)(scope, receive, answer)
        finally:
            self._tell(scope, status, time.perf_counter() - started, request_id)

    async def _refuse_key(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        await discard_body(Request(scope, receive), self.service.settings)
        message = "no valid API key — expected one — send it as: Authorization: Bearer KEY"
        self.service.meters.refusals.labels("unauthorized").inc()
        refusal = Refusal(401, "unauthorized", message, headers={"WWW-Authenticate": "Bearer"})
        await refusal.response(request_id)(scope, receive, send)

    def _tell(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", None) or "none"
        self.service.meters.requests.labels(route, str(status)).inc()
        self.service.meters.seconds.labels(route, str(status)).observe(seconds)
        fields: dict[str, Any] = {
            "request_id": request_id,
            "method": scope["method"] if scope["method"] in _METHODS else "?",  # a client may make up any word
            "route": route,  # the template: the path itself may hold a name
            "status": status,
            "ms": round(seconds * 1000, 1),
            **scope.get("state", {}).get("log", {}),
        }
        LOG.info("request", extra={"fields": fields})


def request_id_of(headers: Headers) -> str:
    """The client's own id if it is a plain word that is safe to log, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _ID.fullmatch(given) else secrets.token_hex(12)


def _path(scope: Scope) -> str:
    """The path without the prefix under which a proxy serves the application: what the routes are matched with."""
    path, prefix = scope["path"], scope.get("root_path", "")
    return str(path.removeprefix(prefix) if f"{path}/".startswith(f"{prefix}/") else path)


def _key(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
