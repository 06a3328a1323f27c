"""OpenAI's chat completions for free questions to the model: one question, one photo; words, never a verdict.

The model has no memory and no system prompt but its own, so only a conversation's last user message is asked, about its newest
photo. Use: `question = read_question(parse(ChatRequest, body), "tiny")`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from faceshield.inspection import FaceMode
from faceshield.serving.refusals import Refusal
from faceshield.serving.uploads import read_data_url

_EXAMPLE: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Why is this face bona fide or an attack?"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQSkZJRg…"}},
            ],
        }
    ],
}


class ImageURL(BaseModel):
    """A photo, inside the URL itself."""

    url: str = Field(description="a data URL; nothing is ever fetched")


class Part(BaseModel):
    """A piece of a message: text or a photo."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageURL | None = None


class Message(BaseModel):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None

    def parts(self) -> list[Part]:
        """The content as parts, whether it was given as a string or as parts."""
        return [Part(type="text", text=self.content)] if isinstance(self.content, str) else self.content or []


class StreamOptions(BaseModel):
    """What a stream carries besides the words."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The part of OpenAI's request that this model supports; sampling options are accepted and ignored.

    If both `max_tokens` and its newer name `max_completion_tokens` are given, the smaller applies.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    messages: list[Message] = Field(min_length=1)
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(1, ge=1, le=1, description="answers are greedy: one is all there is")
    max_tokens: int | None = Field(None, ge=1, description="where to stop; at most what the model says (160, the shipped one)")
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens")
    face: FaceMode = Field("detect", description="as in /v1/inspect")


@dataclass(frozen=True)
class Question:
    """What is asked of the model."""

    prompt: str
    photo: bytes
    face: FaceMode
    max_tokens: int | None = None


def read_question(asked: ChatRequest, served: str) -> Question:
    """Read the text of the last user message and the newest photo of the conversation.

    Raises:
        Refusal: 404 for a model that is not served here; 422 for no text, no photo, or several photos in one message.
    """
    if asked.model is not None and asked.model != "faceshield" and asked.model.rpartition("/")[2] != served:
        raise Refusal(404, "no_model", f"another model than is served here — expected {served!r} — correct model")
    turns = [message.parts() for message in asked.messages if message.role == "user"]
    words = " ".join(part.text.strip() for part in (turns[-1] if turns else []) if part.text).strip()
    if not words:
        raise Refusal(422, "no_question", "no words in the last user message — expected a question — ask one")
    for parts in reversed(turns):
        urls = [part.image_url.url for part in parts if part.type == "image_url" and part.image_url]
        if len(urls) > 1:
            message = "several photos in one message — expected one — ask about each on its own"
            raise Refusal(422, "too_many_photos", message)
        if urls:
            limits = [value for value in (asked.max_tokens, asked.max_completion_tokens) if value is not None]
            return Question(words, read_data_url(urls[0]), asked.face, min(limits, default=None))
    message = "no photo in the conversation — expected one — add an image_url part with a data URL"
    raise Refusal(422, "no_photo", message)


@dataclass(frozen=True)
class Answer:
    """The model's words in the shape of OpenAI's answers.

    Attributes:
        request_id: the request's id.
        model: the model's name.
        text: the words.
        usage: numbers of tokens in the question and in the answer.
        finish_reason: "length" if the words were cut off.
    """

    request_id: str
    model: str
    text: str
    usage: tuple[int, int]
    finish_reason: Literal["stop", "length"] = "stop"

    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": self._usage()}

    def stream(self, *, include_usage: bool) -> Iterator[str]:
        """The answer as server-sent events, one per word; all words are known before the first is sent."""
        frame = self._frame("chat.completion.chunk")
        words = self.text.split(" ")
        deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word if number == 0 else f" {word}"} for number, word in enumerate(words)]
        for delta in deltas:
            yield _event({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield _event({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": self.finish_reason}]})
        if include_usage:
            yield _event({**frame, "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self.request_id}", "object": kind, "created": int(time.time()), "model": self.model}

    def _usage(self) -> dict[str, int]:
        asked, answered = self.usage
        return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
