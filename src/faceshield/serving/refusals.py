"""How the service refuses a request: OpenAI's JSON error for every status, saying what is wrong, expected, and to be done.

Use: `raise Refusal(413, "body_too_large", "… — expected … — do this")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(Exception):
    """A request is refused.

    Attributes:
        status: HTTP status.
        code: one word, for programs.
        message: for people: what is wrong — what was expected — what to do.
        headers: sent with the response.
        details: further fields of the body.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers, self.details = dict(headers or {}), details

    def response(self, request_id: str) -> JSONResponse:
        """The HTTP response."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        error = {"message": self.message, "type": kind, "code": self.code, "request_id": request_id}
        return JSONResponse({"error": error, **self.details}, self.status, headers=self.headers)


def busy(code: str, message: str, retry_after_s: float, status: int = 429) -> Refusal:
    """A refusal that asks the client to retry later; `Retry-After` is in whole seconds, 1..60."""
    wait = max(1, min(60, round(retry_after_s)))
    return Refusal(status, code, f"{message} — try again in {wait} s", headers={"Retry-After": str(wait)})
