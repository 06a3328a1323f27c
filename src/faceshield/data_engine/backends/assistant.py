"""A language model behind the backend protocol: prompts, the cache, and the check of what came back.

A `Chat` makes one call; `Assistant` makes it dependable: invalid JSON is asked for again up to a limit, a cached answer is
never asked for twice. Use: `Assistant(make_chat(config), config, cache).write(sample, "fine", 2, seed=0, image=path)`.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from faceshield.chat import Chat, Request, spoken
from faceshield.data_engine import prompts
from faceshield.data_engine.backends.base import BackendConfig, Judgement, NoAnswer, Pair
from faceshield.data_engine.backends.cache import AnswerCache, cache_key
from faceshield.data_engine.backends.grammar import GrammarBackend
from faceshield.data_engine.contradictions import answer_faults, known_truth
from faceshield.data_engine.prompts import JudgementText, PairsText, Prompt, response_format
from faceshield.provenance import file_sha256
from faceshield.records import Dialogue, Sample

SchemaT = TypeVar("SchemaT", bound=BaseModel)

_MARKS = re.compile(r"<image>|<\|[^|>]*\|>")


class Assistant:
    """The backend of a chat model."""

    def __init__(self, chat: Chat, config: BackendConfig, cache: AnswerCache | None = None) -> None:
        self.chat, self.config, self.cache = chat, config, cache
        self.name, self.workers = chat.name, chat.workers
        self.kind: str = config.kind
        self.calls = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Assistant, (self.chat, self.config, self.cache)

    @property
    def settings(self) -> dict[str, Any]:
        """What determines its words; concurrency, timeouts, retries and address do not."""
        kept = ("kind", "model", "style", "structured", "asks", "temperature", "max_tokens", "image_side", "extra_body")
        return {"prompts": prompts.VERSION, **{key: getattr(self.config, key) for key in kept}}

    def write(self, sample: Sample, task: str, count: int, *, seed: int, image: Path) -> list[Pair]:
        if self.config.style == "answers":
            return self._answers(sample, task, count, seed, image)
        prompt = prompts.pairs_prompt(sample, task, count)
        found: list[Pair] = []

        def enough(text: str) -> str | None:
            for pair in _parse(text, PairsText).pairs:
                one = Pair(_clean(pair.question), _clean(pair.answer))
                if one.question and one.answer and one not in found:
                    found.append(one)
            return None if len(found) >= count else f"{len(found)} of {count} different pairs"

        self._gather(prompt, image, seed, enough, found)
        return found[:count]

    def rewrite(self, dialogue: Dialogue, count: int, *, seed: int) -> list[Pair]:
        question, answer = dialogue.texts[:2]
        truth = known_truth(dialogue)
        found: list[Pair] = []
        said = {_normal(question + answer)}

        def enough(text: str) -> str | None:
            fault = None
            for pair in _parse(text, PairsText).pairs:
                one = Pair(_clean(pair.question), _clean(pair.answer))
                wrong = "; ".join(answer_faults(dialogue.task, one.answer, **truth))
                if wrong or not one.question or not one.answer:
                    fault = wrong or "an empty pair"
                elif _normal(one.question + one.answer) in said:
                    fault = "repeats what was said"
                else:
                    said.add(_normal(one.question + one.answer))
                    found.append(one)
            return None if len(found) >= count else f"{len(found)} of {count} new pairs ({fault or 'too few'})"

        self._gather(prompts.rewrite_prompt(dialogue, count), None, seed, enough, found)
        return found[:count]

    def judge(self, dialogue: Dialogue) -> Judgement:
        found: list[JudgementText] = []

        def read(text: str) -> None:
            found.append(_parse(text, JudgementText))

        self._ask(prompts.judge_prompt(dialogue), None, 0, read)
        return Judgement(found[-1].answers_the_question, found[-1].reason)

    def close(self) -> None:
        self.chat.close()
        if self.cache is not None:
            self.cache.close()

    def _answers(self, sample: Sample, task: str, count: int, seed: int, image: Path) -> list[Pair]:
        """Our questions with the assistant's answers."""
        pairs = []
        for index, pair in enumerate(GrammarBackend(self.config.wording).write(sample, task, count, seed=seed)):
            words: list[str] = []

            def read(text: str, words: list[str] = words) -> str | None:
                words.append(_clean(spoken(text)))
                return None if words[-1] else "an empty answer"

            self._ask(Prompt("", pair.question, True, None), image, seed + index, read)
            pairs.append(Pair(pair.question, words[-1]))
        return pairs

    def _gather(self, prompt: Prompt, image: Path | None, seed: int, check: Any, found: list[Pair]) -> None:
        """`_ask`, content with what `check` has put into `found` if more does not come."""
        try:
            self._ask(prompt, image, seed, check)
        except NoAnswer:
            if not found:
                raise

    def _ask(self, prompt: Prompt, image: Path | None, seed: int, check: Any) -> None:
        """Asks until `check` accepts the answer (returns None), at most `config.asks` times.

        Raises:
            NoAnswer: it accepted none; the last fault is the reason.
        """
        picture = file_sha256(image) if image is not None and prompt.with_picture else None
        kept = ("structured", "temperature", "max_tokens", "image_side", "extra_body")
        parameters = {key: self.settings[key] for key in kept}
        fault = ""
        for attempt in range(self.config.asks):
            key = cache_key(
                model=self.name, prompts=prompts.VERSION, words=[prompt.system, prompt.user],
                parameters=parameters, image=picture, seed=seed, attempt=attempt,
            )  # fmt: skip
            text = self.cache.get(key) if self.cache is not None else None
            if text is None:
                with self._lock:
                    self.calls += 1
                answer = self.chat.complete(self._request(prompt, image, seed + attempt))
                if answer.cut:
                    fault = f"cut off after {self.config.max_tokens} tokens"
                    continue
                text = answer.text
                if self.cache is not None:
                    self.cache.put(key, self.name, text)
            try:
                fault = check(text)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(str(part) for part in first["loc"])
                fault = f"not the JSON asked for: {place + ': ' if place else ''}{first['msg']}"
            if not fault:
                return
        raise NoAnswer(f"asked {self.config.asks} times; {fault}")

    def _request(self, prompt: Prompt, image: Path | None, seed: int) -> Request:
        form = None
        if prompt.schema is not None and self.config.structured != "text":
            by_schema = self.config.structured == "schema"
            form = response_format(prompt.schema) if by_schema else {"type": "json_object"}
        return Request(prompt.user, prompt.system, image if prompt.with_picture else None, seed, form)


def _parse(text: str, schema: type[SchemaT]) -> SchemaT:
    """Parses the JSON in an answer, whatever surrounds it: a code fence, thoughts, a polite phrase.

    Raises:
        ValidationError: malformed, or not of the schema.
    """
    said = spoken(text)
    begin, end = said.find("{"), said.rfind("}")
    return schema.model_validate_json(said[begin : end + 1] if 0 <= begin < end else said)


def _clean(text: str) -> str:
    """Removes the picture's mark and special tokens, which must not come in through text."""
    while (without := _MARKS.sub("", text)) != text:  # what is left may join into another mark
        text = without
    return text.strip()


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()
