"""Extract photos from a request: limits are checked first, nothing touches the disk, file names are dropped.

Photos come as form files or as data URLs; nothing is ever fetched.
Use: `body = await read_body(request, settings)`, then `read_form(content_type, body, settings)`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import ClientDisconnect, Request

from faceshield.images import ImageError, check_picture
from faceshield.serving.refusals import Refusal, busy
from faceshield.serving.settings import Settings

_PHOTO_FIELDS = ("image", "images", "photo", "photos", "file", "files", "image[]", "images[]", "file[]", "files[]")
_FORGOTTEN = 4  # times the largest body: how much of a refused body is read, so that the client receives the refusal


class BodyBudget:
    """Limits the bytes that all requests hold together; a request of unknown length counts as the longest allowed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.held = 0

    @contextmanager
    def hold(self, request: Request) -> Iterator[None]:
        """Reserve the bytes of one request while it is being answered.

        Raises:
            Refusal: 400 for a bad Content-Length, 413 for a length over the limit, 429 while other requests hold too much.
        """
        size = _announced(request, self._settings.max_body)
        if self.held + size > self._settings.max_bodies:
            raise busy("memory_full", f"{self.held:,} bytes of other requests are waiting — expected fewer", 5)
        self.held += size
        try:
            yield
        finally:
            self.held -= size


def _announced(request: Request, max_body: int) -> int:
    length = request.headers.get("content-length")
    if length is None or "transfer-encoding" in request.headers:  # takes precedence over any length
        return max_body
    if not (length.isascii() and length.isdigit()):
        raise Refusal(400, "bad_length", "Content-Length is no number — expected the bytes of the body — correct it")
    if len(length) > 15 or int(length) > max_body:
        raise too_large(max_body)
    return int(length)


def too_large(max_body: int) -> Refusal:
    """A 413 refusal; it closes the connection, since a body several times too long is not read to its end."""
    message = f"the body is too large — expected at most {max_body:,} bytes — send fewer or smaller photos"
    return Refusal(413, "body_too_large", message, headers={"Connection": "close"})


async def read_body(request: Request, settings: Settings) -> bytes:
    """Read the whole body.

    Raises:
        Refusal: 413 if it is too long, after the rest was discarded as by `discard_body`; 408 if it arrives too slowly.
        ClientDisconnect: the client closed its connection.
    """
    parts: list[bytes] = []
    await _receive(request, settings, parts.append)
    return b"".join(parts)


async def _receive(request: Request, settings: Settings, take: Callable[[bytes], None]) -> None:
    """Pass on the parts of a body up to `max_body`, and read on to its end, but not if it is several times longer."""

    async def read() -> None:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > _FORGOTTEN * settings.max_body:
                break
            if size <= settings.max_body:
                take(part)
        if size > settings.max_body:
            raise too_large(settings.max_body)

    try:
        await asyncio.wait_for(read(), settings.body_timeout_s)
    except TimeoutError:
        message = f"the body did not arrive in {settings.body_timeout_s:g} s — expected it faster — send smaller photos"
        raise Refusal(408, "body_timeout", message, headers={"Connection": "close"}) from None


async def discard_body(request: Request, settings: Settings) -> None:
    """Read and discard what a refused client is still sending; otherwise a connection reset could lose the answer.

    Nothing is kept, as the client may have no key and its body counts against no budget. A body several times too large is not
    read to its end.
    """
    if "expect" in request.headers:  # the client has sent nothing yet and waits for permission
        return
    try:
        _announced(request, _FORGOTTEN * settings.max_body)
        await _receive(request, settings, lambda part: None)
    except (Refusal, ClientDisconnect):
        return


def media_type(request: Request) -> str:
    """The Content-Type without parameters, in lower case."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def read_form(content_type: str, body: bytes, settings: Settings) -> tuple[list[bytes], dict[str, str]]:
    """The photos and the other fields of a multipart form.

    Raises:
        Refusal: 400 for an unreadable form, 413 for too many photos, 422 for unusable fields.
    """
    photos: list[bytes] = []
    fields: dict[str, str] = {}
    ended: list[bool] = []

    def on_file(file: File) -> None:
        _check_name(file.field_name)
        photos.append(file.file_object.getvalue())  # type: ignore[union-attr]
        check_count(len(photos), settings)

    def on_field(field: Field) -> None:
        name = (field.field_name or b"").decode("utf-8", "replace")
        if name in _PHOTO_FIELDS:
            message = "a photo came as text — expected a file — send it with a filename, as curl -F image=@photo.jpg does"
            raise Refusal(422, "photo_as_text", message)
        if name not in ("face", "tasks"):
            raise Refusal(422, "unknown_field", "an unknown field — expected image, face and tasks — leave it out")
        if name in fields:
            raise Refusal(422, "repeated_field", f"{name} twice — expected it once, several tasks with commas — join them")
        fields[name] = (field.value or b"").decode("utf-8", "replace")

    _, options = parse_options_header(content_type)
    try:
        parser = FormParser(
            "multipart/form-data",
            on_field,
            on_file,
            on_end=lambda: ended.append(True),
            boundary=options[b"boundary"],
            config={
                "MAX_MEMORY_FILE_SIZE": settings.max_body + 1,
                "MAX_FIELD_SIZE": 1024,
                "MAX_FIELDS": 8,
                "UPLOAD_ERROR_ON_BAD_CTE": True,
            },
        )
        parser.write(body)
        parser.finalize()
        if not ended:
            raise ValueError("no closing boundary")
    except (FormParserError, KeyError, ValueError, AssertionError) as error:
        message = "the form cannot be read — expected multipart/form-data with a boundary and whole parts — send it again"
        raise Refusal(400, "bad_form", message) from error
    return photos, fields


def _check_name(name: bytes | None) -> None:
    if (name or b"").decode("utf-8", "replace") not in _PHOTO_FIELDS:
        raise Refusal(422, "unknown_field", "a file in an unknown field — expected the field image — rename it")


def check_count(count: int, settings: Settings) -> None:
    """Refuse a request with no photo (422) or too many (413)."""
    if count < 1:
        raise Refusal(422, "no_photo", "no photo in the request — expected at least one — send one")
    if count > settings.max_photos:
        message = f"more than {settings.max_photos} photos — expected at most so many — send them in several requests"
        raise Refusal(413, "too_many_photos", message)


def read_data_url(url: str) -> bytes:
    """Decode the bytes inside a data URL.

    Raises:
        Refusal: 422 for a bad data URL or any other URL; nothing is ever fetched.
    """
    head, comma, rest = url.partition(",")
    scheme, _, kind = head.partition(":")
    if scheme.strip().lower() != "data" or not comma:
        message = "no data URL — expected data:image/jpeg;base64,… (nothing is fetched) — send the picture itself"
        raise Refusal(422, "no_data_url", message)
    parts = [part.strip().lower() for part in kind.split(";")]
    try:
        if parts[-1] == "base64":
            raw = unquote_to_bytes(rest) if "%" in rest else rest.encode("ascii")
            return base64.b64decode(raw, validate=True)
        return unquote_to_bytes(rest)
    except (binascii.Error, UnicodeError, ValueError) as error:
        message = "a data URL that cannot be decoded — expected base64 without line breaks — encode the file again"
        raise Refusal(422, "bad_data_url", message) from error


def problem_of(photo: bytes, settings: Settings) -> str | None:
    """What is wrong with a photo, judging by its header alone; None if nothing is."""
    try:
        check_picture(photo, max_pixels=settings.max_pixels)
    except ImageError as error:
        return error.problem
    return None
