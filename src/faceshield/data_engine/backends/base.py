"""The protocol of a backend and its configuration; see the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from pydantic import Field, model_validator

from faceshield.chat import ChatConfig, NoAnswer, NoCall
from faceshield.records import Dialogue, Sample

__all__ = ["Backend", "BackendConfig", "Judgement", "NoAnswer", "NoCall", "Pair"]


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


class BackendConfig(ChatConfig):
    """Who writes, and how; the fields of `ChatConfig` are for assistants.

    Attributes:
        kind: "grammar" (no model), "openai" (any endpoint of that protocol: vLLM, Ollama, llama.cpp, a hosted one) or
            "transformers" (a local image-text-to-text model).
        wording: wording of the grammar: "rich", or "plain" for the small vocabulary of faceshield-tiny.
        style: "pairs" asks for questions and answers as JSON; "answers" puts our questions to the assistant and takes its
            answers, for models that can only answer (such as our own).
        structured: how the endpoint is told to write JSON: by "schema", by "object" (JSON mode), or not at all ("text").
        asks: maximum number of times that one thing is asked for until its answer is valid.
    """

    kind: Literal["grammar", "openai", "transformers"] = "grammar"
    wording: Literal["plain", "rich"] = "rich"
    style: Literal["pairs", "answers"] = "pairs"
    structured: Literal["schema", "object", "text"] = "schema"
    asks: int = Field(3, ge=1)

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
    """Stored in every dialogue as its source."""
    kind: str
    workers: int
    """Items worth working on at once; the backend itself limits the calls in flight."""
    calls: int
    """Calls made so far; answers from the cache do not count."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines its words, for `run.json`; no API keys."""

    def write(self, sample: Sample, task: str, count: int, *, seed: int, image: Path) -> list[Pair]:
        """`count` different pairs of a task about one picture."""

    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        """`count` new pairs that say the same as the dialogue's first; the label and the box must survive."""

    def judge(self, dialogue: Dialogue) -> Judgement:
        """Whether the dialogue's answers answer its questions."""

    def close(self) -> None:
        """Closes connections and files."""
