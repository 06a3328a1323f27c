"""What a chat is, how it is configured and how it fails; see the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from pydantic import Field, field_validator

from faceshield.config import Config
from faceshield.images import ImageError, open_picture


class NoAnswer(Exception):
    """The model answered, but never what was asked for, or cannot be asked about this; the text is the reason."""


class NoCall(Exception):
    """No call got through within the retries; the text says why."""


class AssistantDown(ConnectionError):
    """The model cannot be used at all (no answer, wrong key, unknown model); the run stops and can be resumed."""


class ChatConfig(Config):
    """Which model, where, and how it is asked.

    Attributes:
        base_url: of an endpoint of OpenAI's protocol, e.g. http://127.0.0.1:8000/v1; nothing else is ever called. None: the
            model is loaded here, by transformers.
        model: its name at the endpoint, or a folder or hub id.
        api_key_env: environment variable that holds the key; none is sent if it is not named.
        concurrency: calls in flight at most; a local model has one.
        timeout: seconds until a call counts as hanging. retries: of a call that got 429, 5xx, no answer or half of one,
            with growing pauses, or those that Retry-After asks for.
        image_side: pictures are sent no larger, as JPEG without metadata, in pixels of the longer side.
        extra_body: further fields of an endpoint's requests, such as our own server's {face: whole}; null takes one out.
        device, dtype: of a local model.
    """

    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    concurrency: int = Field(8, ge=1)
    timeout: float = Field(120.0, gt=0)
    retries: int = Field(8, ge=0)
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(1024, ge=1)
    image_side: int = Field(768, ge=32)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"

    @field_validator("base_url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected http://… or https://…, as http://127.0.0.1:8000/v1 — correct it")
        return value


@dataclass(frozen=True)
class Request:
    """One question.

    Attributes:
        user, system: the messages' words; the picture goes before the user's.
        picture: whatever `images.open_picture` takes, or None.
        response_format: how an endpoint is told to write JSON, in OpenAI's shape.
        alternatives: so many likeliest tokens are wanted at each place of the answer, with their probabilities; 0: none.
    """

    user: str
    system: str = ""
    picture: Any = None
    seed: int = 0
    response_format: dict[str, Any] | None = None
    alternatives: int = 0


@dataclass(frozen=True)
class Token:
    """One place of an answer: the token that was chosen, and the log-probabilities of the likeliest ones there."""

    chosen: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Completion:
    """The model's words; `tokens` is empty where no alternatives were wanted, or the model tells none; `cut`: it was stopped by
    `max_tokens` before its end, as far as it says."""

    text: str
    tokens: tuple[Token, ...] = ()
    cut: bool = False


class Chat(Protocol):
    """One way of asking a model; safe for threads."""

    name: str
    workers: int
    """Questions worth preparing at once; how many calls are in flight is the chat's own affair."""

    def complete(self, request: Request) -> Completion:
        """One answer.

        Raises:
            NoAnswer: this cannot be asked. NoCall: no call gets through. AssistantDown: none ever will.
        """

    def complete_many(self, requests: Sequence[Request]) -> list[Completion]:
        """The answers in order, together where that is faster; raises as `complete`, for the first that fails."""

    def close(self) -> None:
        """Ends connections, frees the model."""


def small_picture(picture: Any, side: int) -> Image.Image:
    """A picture upright, RGB, at most `side` pixels long.

    Raises:
        NoAnswer: it cannot be read; nobody can be asked about it.
    """
    try:
        small = Image.fromarray(open_picture(picture).rgb)
    except ImageError as error:
        raise NoAnswer(f"the picture cannot be read: {error.problem}") from None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
