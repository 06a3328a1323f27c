"""Any models that answer questions about a picture in words, behind an endpoint or loaded locally.

The data engine writes with them, and `faceshield predict` evaluates them (paper §3.2, §5.3).
Use: `make_chat(ChatConfig(base_url="http://127.0.0.1:8000/v1", model="m")).complete(Request("What is it?", picture=rgb)).text`.
"""

from __future__ import annotations

from faceshield.chat.base import AssistantDown, Chat, ChatConfig, Completion, NoAnswer, NoCall, Request, Token, spoken

__all__ = [
    "AssistantDown",
    "Chat",
    "ChatConfig",
    "Completion",
    "NoAnswer",
    "NoCall",
    "Request",
    "Token",
    "make_chat",
    "spoken",
]


def make_chat(config: ChatConfig) -> Chat:
    """The endpoint of a configuration or, without a `base_url`, the local model; nothing is called or loaded yet.

    Raises:
        ImportError: a missing extra; the message has the command to install it.
        ValueError: the named API key is not in the environment.
    """
    if config.base_url is not None:
        from faceshield.chat.endpoint import Endpoint

        return Endpoint(config)
    from faceshield.chat.local import LocalModel

    return LocalModel(config)
