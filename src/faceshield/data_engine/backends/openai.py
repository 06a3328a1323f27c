"""Any endpoint that speaks OpenAI's chat protocol: vLLM, Ollama, llama.cpp, a hosted one, our own server.

Only the configured address is called, redirects are not followed, the key comes from the named environment variable alone
and is in no message; pictures go as data URLs without their metadata. Retries, backoff and Retry-After are the client
library's. Use: `OpenAIChat(BackendConfig(kind="openai", base_url="http://127.0.0.1:8000/v1", model="m"))`.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from faceshield.data_engine.backends.base import BackendConfig, NoAnswer, NoCall
from faceshield.data_engine.prompts import Prompt, response_format
from faceshield.data_engine.stage import AssistantDown
from faceshield.images import ImageError, open_picture

_NO_KEY = "none"  # the client wants some key; local servers ask for none
_HOPELESS = (401, 403, 404)
_OF_THE_ITEM = (413, 415, 422)  # the endpoint is well, this picture or these words are not


class OpenAIChat:
    """At most `concurrency` calls in flight, whoever asks; the client is shared."""

    def __init__(self, config: BackendConfig) -> None:
        if importlib.util.find_spec("openai") is None:
            raise ValueError(
                "the backend 'openai' needs the package openai — expected it installed — pip install 'faceshield[openai]'"
            )
        import openai

        self._openai, self.config = openai, config
        self.name = str(config.model)
        # While calls are in flight, others prepare their pictures or read their answers.
        self.workers = config.concurrency + max(2, config.concurrency // 2)
        self._slots = threading.BoundedSemaphore(config.concurrency)
        self._down: str | None = None  # why no call is worth making any more
        self._key = _api_key(config)
        self._client = openai.OpenAI(
            api_key=self._key or _NO_KEY,
            base_url=config.base_url,
            timeout=config.timeout,
            max_retries=config.retries,
            http_client=openai.DefaultHttpxClient(follow_redirects=False, timeout=config.timeout),
        )
        # The client would take these from the environment, for whatever address.
        self._client.organization = self._client.project = None

    def complete(self, prompt: Prompt, image: Path | None, seed: int) -> str:
        openai = self._openai
        try:
            request = self._request(prompt, image, seed)
            # Not `chat.completions.create`: walking the request through its types costs more than all the rest of a call.
            with self._slots:
                answer = self._call(request)
        except openai.APIStatusError as error:
            said = self._redacted(f"{error.status_code}: {_short(error.message)}")
            if error.status_code in _OF_THE_ITEM:
                raise NoAnswer(f"the endpoint answers {said}") from None
            raise NoCall(f"the endpoint answers {said}") from None
        except openai.APITimeoutError:
            raise NoCall(f"no answer within {self.config.timeout:g} s, {self.config.retries + 1} times") from None
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            raise NoCall(f"the connection fails ({cause}), {self.config.retries + 1} times") from None
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            return self._redacted(f"unreadable envelope ({type(error).__name__})")
        return _words(answer)

    def close(self) -> None:
        self._client.close()

    def _call(self, request: dict[str, Any]) -> Any:
        """One call, made while a slot is held, so that those who wait for it see a hopeless answer before they ask too."""
        if self._down:
            raise AssistantDown(self._down)
        try:
            return self._client.post("/chat/completions", cast_to=self._openai.types.chat.ChatCompletion, body=request)
        except self._openai.APIStatusError as error:
            if error.status_code not in _HOPELESS:
                raise
            self._down = (
                f"{self.config.base_url} answers {self._redacted(f'{error.status_code}: {_short(error.message)}')} — expected "
                "a known model and a valid key — check base_url, model and api_key_env, then start the same command again"
            )
            raise AssistantDown(self._down) from None

    def _request(self, prompt: Prompt, image: Path | None, seed: int) -> dict[str, Any]:
        content: Any = prompt.user
        if image is not None:
            url = {"url": data_url(image, self.config.image_side)}
            content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": prompt.user}]
        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        request: dict[str, Any] = {
            "model": self.name,
            "messages": [*messages, {"role": "user", "content": content}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_tokens,
            "seed": seed % 2**31,
            **self.config.extra_body,
        }
        if prompt.schema is not None and self.config.structured != "text":
            by_schema = self.config.structured == "schema"
            request["response_format"] = response_format(prompt.schema) if by_schema else {"type": "json_object"}
        return request

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


@functools.lru_cache(maxsize=256)
def data_url(path: Path, side: int) -> str:
    """A picture as a JPEG data URL: upright, at most `side` pixels, without any metadata.

    The last ones are remembered: the tasks ask about one picture one after the other.

    Raises:
        NoAnswer: it cannot be read; an assistant cannot be asked about it.
    """
    try:
        picture = Image.fromarray(open_picture(path).rgb)
    except ImageError as error:
        raise NoAnswer(f"the picture cannot be read: {error.problem}") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _api_key(config: BackendConfig) -> str | None:
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env)
    if not key:
        raise ValueError(f"environment variable {config.api_key_env!r} is not set — expected the API key in it — export it")
    return key


def _words(answer: Any) -> str:
    """The text of a completion; an empty text where the envelope holds none."""
    choices = getattr(answer, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    return str(getattr(message, "content", None) or "")


def _short(text: str) -> str:
    return " ".join(str(text).split())[:200]
