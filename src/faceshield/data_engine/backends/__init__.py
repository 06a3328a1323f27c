"""Who writes the text: the grammar, an endpoint that speaks OpenAI's protocol, or a local model; one small protocol.

Use: `backend = make_backend(BackendConfig(kind="openai", base_url="http://127.0.0.1:8000/v1", model="m"))`, then
`backend.write(sample, "fine", 2, seed=0, image=path)`.
"""

from __future__ import annotations

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

__all__ = ["Backend", "BackendConfig", "Judgement", "NoAnswer", "NoCall", "Pair", "make_backend"]


def make_backend(config: BackendConfig, *, cache: str | Path | None = None) -> Backend:
    """The backend of a configuration; nothing is called yet.

    Args:
        cache: SQLite file of answers; None keeps none. The grammar needs none.

    Raises:
        ValueError: a missing extra (the message has the line to type), or a named API key that is not in the environment.
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
