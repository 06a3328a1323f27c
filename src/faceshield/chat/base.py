"""The interface of a chat, its configuration and its errors; see the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image
from pydantic import Field, field_validator

from faceshield.config import Config
from faceshield.images import ImageError, open_picture


def spoken(text: str) -> str:
    """An answer without the model's thoughts, whether or not their opening tag is in the text; empty if they never ended."""
    return text.rpartition("</think>")[2].split("<think>")[0].strip()


class NoAnswer(Exception):
    """The model gave no usable answer, or cannot be asked about this item; the text is the reason."""


class NoCall(Exception):
    """No call succeeded within the retries; the text says why."""


class AssistantDown(ConnectionError):
    """The model cannot be used at all (no answer, wrong key, unknown model); the run stops and can be resumed."""


class ChatConfig(Config):
    """Which model to use, where it is, and how to ask it.

    Attributes:
        base_url: of an endpoint with OpenAI's protocol, e.g. http://127.0.0.1:8000/v1; nothing else is ever called. None: the
            model is loaded locally with transformers.
        model: its name at the endpoint, or a folder or hub id.
        api_key_env: environment variable that holds the key; None: no key is sent.
        concurrency: maximum number of calls in flight; always one for a local model.
        timeout: seconds after which a call counts as hanging.
        retries: of a call that got 429, 5xx, no answer or an incomplete one, with growing pauses or those of Retry-After.
        image_side: maximum longer side in pixels; larger pictures are reduced. They are sent as JPEG without metadata.
        extra_body: further fields for an endpoint's requests, such as our own server's {face: whole}; null removes a field.
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
        user, system: the messages' text; the picture is placed before the user's.
        picture: anything that `images.open_picture` accepts, or None.
        response_format: asks an endpoint for JSON, in OpenAI's format.
        alternatives: number of likeliest tokens to return with their log-probabilities for each token of the answer; 0: none.
    """

    user: str
    system: str = ""
    picture: Any = None
    seed: int = 0
    response_format: dict[str, Any] | None = None
    alternatives: int = 0


@dataclass(frozen=True)
class Token:
    """One token of an answer: the one chosen, and the likeliest ones at that position with their log-probabilities."""

    chosen: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Completion:
    """The model's answer; `tokens` is empty if no alternatives were requested or the model reports none; `cut`: the model
    reports that `max_tokens` stopped it before its end, None if it reports nothing."""

    text: str
    tokens: tuple[Token, ...] = ()
    cut: bool | None = False


class Chat(Protocol):
    """One way of asking a model; thread-safe."""

    name: str
    workers: int
    """How many questions to prepare in parallel; the chat itself limits the number of calls in flight."""

    def complete(self, request: Request) -> Completion:
        """One answer.

        Raises:
            NoAnswer: this cannot be asked.
            NoCall: no call succeeded.
            AssistantDown: no call can succeed.
        """

    def complete_many(self, requests: Sequence[Request]) -> list[Completion]:
        """The answers in order, computed together if that is faster; raises as `complete` for the first that fails."""

    def close(self) -> None:
        """Closes connections and frees the model."""


def small_picture(picture: Any, side: int) -> Image.Image:
    """An upright RGB picture, its longer side at most `side` pixels.

    Raises:
        NoAnswer: it cannot be read, so no model can be asked about it.
    """
    try:
        small = Image.fromarray(open_picture(picture).rgb)
    except ImageError as error:
        raise NoAnswer(f"the picture cannot be read: {error.problem}") from None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small
