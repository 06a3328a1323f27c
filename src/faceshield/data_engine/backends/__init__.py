"""What writes the text: the grammar, an endpoint that speaks OpenAI's protocol, or a local model, behind one protocol.

Use: `backend = make_backend(BackendConfig(kind="openai", base_url="http://127.0.0.1:8000/v1", model="m"))`, then
`backend.write(sample, "fine", 2, seed=0, image=path)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from faceshield.chat import make_chat
from faceshield.data_engine.backends.base import (
    Backend,
    BackendConfig,
    Judgement,
    NoAnswer,
    NoCall,
    Pair,
)
from faceshield.engines import Engine

__all__ = ["Backend", "BackendConfig", "Judgement", "NoAnswer", "NoCall", "Pair", "lent_backend", "make_backend"]


@contextlib.contextmanager
def lent_backend(
    config: BackendConfig, engine: Engine, *, cache: str | Path | None = None, given: Backend | None = None
) -> Iterator[tuple[Backend, Engine]]:
    """A backend for the duration of a stage, and the engine to run it.

    All of the engine's processes together make no more calls at a time than the configuration allows.

    Args:
        given: a backend to use instead of the configured one; it is not closed.
        cache: as in `make_backend`.
    """
    if given is not None:
        yield given, engine
        return
    if config.kind == "openai":
        engine = engine.at_most(config.concurrency)
        config = config.model_copy(update={"concurrency": config.concurrency // engine.processes})
    with contextlib.closing(make_backend(config, cache=cache)) as made:
        yield made, engine


def make_backend(config: BackendConfig, *, cache: str | Path | None = None) -> Backend:
    """The backend of a configuration; nothing is called yet.

    Args:
        cache: SQLite file of answers; None: no cache. The grammar needs none.

    Raises:
        ValueError: a missing extra (the message has the command to install it), or a named API key that is not in the
            environment.
    """
    if config.kind == "grammar":
        from faceshield.data_engine.backends.grammar import GrammarBackend

        return GrammarBackend(config.wording)
    from faceshield.data_engine.backends.assistant import Assistant
    from faceshield.data_engine.backends.cache import AnswerCache

    store = AnswerCache(cache) if cache is not None else None
    if config.kind == "transformers":
        config = config.model_copy(update={"base_url": None})
    return Assistant(make_chat(config), config, store)
