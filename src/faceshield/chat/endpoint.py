"""Any endpoint with OpenAI's chat protocol: vLLM, Ollama, llama.cpp, a hosted one, our own server.

Only the configured address is called and redirects are not followed. The key comes only from the named environment variable
and appears in no message; pictures are sent as data URLs without metadata. Retries, backoff and Retry-After are handled by the
client library. Use: `Endpoint(ChatConfig(base_url="http://127.0.0.1:8000/v1", model="m")).complete(Request("Hello?")).text`.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import json
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceshield.chat.base import (
    AssistantDown,
    ChatConfig,
    Completion,
    NoAnswer,
    NoCall,
    Request,
    Token,
    small_picture,
)
from faceshield.extras import missing

_NO_KEY = "none"  # the client requires a key, local servers do not
_HOPELESS = (401, 403, 404)
_OF_THE_ITEM = (413, 415, 422)  # the fault is this item's, not the endpoint's
_FILTERED = re.compile(r"content.?(?:filter|policy|management)|safety|moderation", re.IGNORECASE)


class Endpoint:
    """Makes at most `concurrency` calls at a time, over all threads, through one shared client."""

    def __init__(self, config: ChatConfig) -> None:
        if importlib.util.find_spec("openai") is None:
            raise missing("asking an endpoint", "openai")
        import openai

        self._openai, self.config = openai, config
        self.name = str(config.model)
        # While some threads wait for a call, others prepare pictures or read answers.
        self.workers = config.concurrency + max(2, config.concurrency // 2)
        self._slots = threading.BoundedSemaphore(config.concurrency)
        self._down: str | None = None  # why further calls are pointless
        self._tells_alternatives = True
        self._has_answered = False
        self._key = _api_key(config)
        self._client = openai.OpenAI(
            api_key=self._key or _NO_KEY,
            base_url=config.base_url,
            timeout=config.timeout,
            max_retries=config.retries,
            http_client=openai.DefaultHttpxClient(follow_redirects=False, timeout=config.timeout),
        )
        # The client would take these from the environment and send them to any address.
        self._client.organization = self._client.project = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its configuration only; a cluster's workers read the key from their own environment."""
        return Endpoint, (self.config,)

    def complete(self, request: Request) -> Completion:
        openai = self._openai
        try:
            body = self._body(request)
            # Not `chat.completions.create`: converting the request to its types costs more than the rest of a call.
            with self._slots:
                answer = self._call(body)
        except openai.APIStatusError as error:
            said = self._said(error)
            refused = error.status_code == 400 and (self._has_answered or _FILTERED.search(str(error.message)))
            if refused or error.status_code in _OF_THE_ITEM:
                raise NoAnswer(f"the endpoint answers {said}") from None
            raise NoCall(f"the endpoint answers {said}") from None
        except openai.APITimeoutError:
            raise NoCall(f"no answer within {self.config.timeout:g} s, {self.config.retries + 1} times") from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise NoCall(f"the connection fails ({cause}), {self.config.retries + 1} times") from None
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            name = type(error).__name__
            raise NoCall(f"the endpoint's answers are broken ({name}), {self.config.retries + 1} times") from None
        self._has_answered = True
        return Completion(_words(answer), _tokens(answer) if request.alternatives else (), cut=_is_cut(answer))

    def complete_many(self, requests: Sequence[Request]) -> list[Completion]:
        return [self.complete(request) for request in requests]

    def close(self) -> None:
        self._client.close()

    def _call(self, body: dict[str, Any]) -> Any:
        """Makes one call while holding a slot, so that waiting threads learn of a hopeless endpoint before they call it too."""
        if self._down:
            raise AssistantDown(self._down)
        try:
            for attempt in range(self.config.retries + 1):
                try:
                    return self._client.post("/chat/completions", cast_to=self._openai.types.chat.ChatCompletion, body=body)
                except json.JSONDecodeError:  # an incomplete answer: the client retries failed calls but not broken answers
                    if attempt == self.config.retries:
                        raise
        except self._openai.APIStatusError as error:
            if body.get("logprobs") and error.status_code in (400, 422) and "logprob" in str(error.message).lower():
                self._tells_alternatives = False
                return self._call({key: value for key, value in body.items() if "logprobs" not in key})
            if error.status_code not in _HOPELESS:
                raise
            self._down = (
                f"{self.config.base_url} answers {self._said(error)} — expected "
                "a known model and a valid key — check the address, the model's name and the key's variable, then start the "
                "same command again"
            )
            raise AssistantDown(self._down) from None

    def _body(self, request: Request) -> dict[str, Any]:
        content: Any = request.user
        if request.picture is not None:
            url = {"url": self._url(request.picture)}
            content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": request.user}]
        messages = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [*messages, {"role": "user", "content": content}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
            "seed": request.seed % 2**31,
            "response_format": request.response_format,
        }
        if request.alternatives and self._tells_alternatives:
            body |= {"logprobs": True, "top_logprobs": request.alternatives}
        return {key: value for key, value in {**body, **self.config.extra_body}.items() if value is not None}

    def _url(self, picture: Any) -> str:
        side = self.config.image_side
        return data_url(picture, side) if isinstance(picture, Path) else _data_url(picture, side)

    def _said(self, error: Any) -> str:
        """An error's status and message; the key is removed before truncation, which could leave a part of it."""
        words = " ".join(str(error.message).split())
        return f"{error.status_code}: {(words.replace(self._key, '[key]') if self._key else words)[:200]}"


def _data_url(picture: Any, side: int) -> str:
    """A picture as a JPEG data URL: upright, at most `side` pixels, without any metadata.

    Raises:
        NoAnswer: it cannot be read.
    """
    out = io.BytesIO()
    small_picture(picture, side).save(out, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


@functools.lru_cache(maxsize=256)
def data_url(path: Path, side: int) -> str:
    """`_data_url` for a file, cached: several tasks ask about one picture in succession."""
    return _data_url(path, side)


def _api_key(config: ChatConfig) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env)
    if not key:
        raise ValueError(f"environment variable {config.api_key_env!r} is not set — expected the API key in it — export it")
    return key


def _words(answer: Any) -> str:
    """The text of a completion; empty if the response holds none. Half a character, left by an answer cut inside one, becomes
    "?", as it could not be written to a file."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    return str(getattr(message, "content", None) or "").encode("utf-8", "replace").decode()


def _tokens(answer: Any) -> tuple[Token, ...]:
    """The answer's tokens with their alternatives; empty if the response holds none, or not in the protocol's format."""
    choices = getattr(answer, "choices", None)
    places = getattr(getattr(choices[0], "logprobs", None), "content", None) if choices else None
    try:
        return tuple(
            Token(str(place.token), tuple((str(one.token), float(one.logprob)) for one in place.top_logprobs or ()))
            for place in places or ()
        )
    except (AttributeError, TypeError, ValueError):
        return ()


def _is_cut(answer: Any) -> bool | None:
    """Whether the answer was stopped by `max_tokens`; None if the endpoint does not say."""
    choices = getattr(answer, "choices", None)
    reason = getattr(choices[0], "finish_reason", None) if choices else None
    return None if reason is None else reason == "length"
