"""The protocol of a backend and its configuration; see the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field, model_validator
from typing_extensions import Self

from faceshield.config import Config
from faceshield.records import Dialogue, Sample


class NoAnswer(Exception):
    """The assistant answered, but never what was asked for; its text is the reason of a reject."""


class NoCall(Exception):
    """No call got through within the retries; the reason of a reject, or of a stop where it stays so."""


@dataclass(frozen=True)
class Pair:
    """A question and its answer, without the picture's mark."""

    question: str
    answer: str


@dataclass(frozen=True)
class Judgement:
    """Whether the answer answers the question, and why."""

    keep: bool
    reason: str


class BackendConfig(Config):
    """Who writes, and how.

    Attributes:
        kind: "grammar" (no model), "openai" (any endpoint of that protocol: vLLM, Ollama, llama.cpp, a hosted one) or
            "transformers" (a local image-text-to-text model).
        wording: of the grammar: "rich", or "plain" for the few words of faceshield-tiny.
        base_url: of the endpoint, e.g. http://127.0.0.1:8000/v1; nothing else is ever called.
        model: its name at the endpoint, or a folder or hub id.
        api_key_env: environment variable that holds the key; none is sent if it is not named.
        style: "pairs" asks for questions and answers as JSON; "answers" puts our questions to the assistant and takes its
            words, for models that only answer (such as our own).
        structured: how the endpoint is told to write JSON: by "schema", by "object" (JSON mode), or not at all ("text").
        concurrency: calls in flight at most; a local model has one.
        timeout: seconds until a call counts as hanging. retries: of a call that got 429, 5xx, no answer or half of one,
            with growing pauses, or those that Retry-After asks for. asks: times one thing is asked until its JSON is valid.
        image_side: pictures are sent no larger, as JPEG without metadata, in pixels of the longer side.
        extra_body: further fields of an endpoint's requests, such as our own server's {face: whole}.
        device, dtype: of a local model.
    """

    kind: Literal["grammar", "openai", "transformers"] = "grammar"
    wording: Literal["plain", "rich"] = "rich"
    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    style: Literal["pairs", "answers"] = "pairs"
    structured: Literal["schema", "object", "text"] = "schema"
    concurrency: int = Field(8, ge=1)
    timeout: float = Field(120.0, gt=0)
    retries: int = Field(8, ge=0)
    asks: int = Field(3, ge=1)
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(1024, ge=1)
    image_side: int = Field(768, ge=32)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind != "grammar" and not self.model:
            raise ValueError(f"backend {self.kind!r} without a model — expected its name, folder or hub id — set model")
        if self.kind == "openai" and not self.base_url:
            raise ValueError(
                "backend 'openai' without base_url — expected the endpoint's address — set it, e.g. http://127.0.0.1:8000/v1"
            )
        return self


class Backend(Protocol):
    """Writes, rewrites and judges; raises `NoAnswer` or `NoCall`, whose text says why."""

    name: str
    """Goes into every dialogue as its source."""
    kind: str
    workers: int
    """Items worth working on at once; how many calls are in flight is the backend's own affair."""
    calls: int
    """Calls made so far; answers from the cache are none."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides its words, for `run.json`; no keys."""

    def write(self, sample: Sample, task: str, count: int, *, seed: int, image: Path) -> list[Pair]:
        """`count` different pairs of a task about one picture."""

    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        """`count` new pairs that say the same as the dialogue's first; the label and the box must survive."""

    def judge(self, dialogue: Dialogue) -> Judgement:
        """Whether the dialogue's answers answer its questions."""

    def close(self) -> None:
        """Ends connections and files."""
