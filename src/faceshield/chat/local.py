"""Any image-text-to-text model of transformers, loaded locally: LLaVA, Qwen-VL, Idefics and similar ones.

Safetensors only, and no code from the hub. Several pictures are processed as one batch, padded on the left and masked; for many
pictures on a GPU, a server (vLLM, llama.cpp) is even faster. Use: `LocalModel(ChatConfig(model="folder")).complete(request)`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from faceshield.chat.base import ChatConfig, Completion, Request, Token, small_picture


class LocalModel:
    """A local model, loaded by the first call or by `load`."""

    workers = 1

    def __init__(self, config: ChatConfig) -> None:
        self.config = config
        self.name = str(config.model)
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalModel, (self.config,)

    def complete(self, request: Request) -> Completion:
        with self._lock:
            return self._generate([request])[0]

    def complete_many(self, requests: Sequence[Request]) -> list[Completion]:
        with self._lock:
            if self.config.temperature > 0:  # one by one, so that sampling depends on a request's own seed only
                return [self._generate([request])[0] for request in requests]
            return self._generate(requests)

    def close(self) -> None:
        self._loaded = None

    def load(self) -> tuple[Any, Any]:
        """Loads the model if necessary; returns it, ready to generate, with its processor.

        Raises:
            OSError, ValueError: model or processor is missing, or the model has no chat template.
        """
        if self._loaded is None:
            import torch
            from transformers import AutoModelForImageTextToText, AutoProcessor

            device = self.config.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            processor = AutoProcessor.from_pretrained(self.name)
            if not getattr(processor, "chat_template", None):
                raise ValueError(
                    f"{self.name}: no chat template — expected a model tuned to answer — add its chat_template.jinja"
                )
            tokenizer = getattr(processor, "tokenizer", processor)
            tokenizer.padding_side = "left"  # or the answers to a batch's shorter questions would follow padding
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            model: Any = AutoModelForImageTextToText.from_pretrained(self.name, dtype=self.config.dtype, use_safetensors=True)
            self._loaded = model.to(device).eval(), processor
        return self._loaded

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        import torch

        model, processor = self.load()
        inputs = _inputs(processor, requests, self.config.image_side).to(model.device, dtype=model.dtype)
        sampled = self.config.temperature > 0
        options: dict[str, Any] = {"do_sample": sampled, "max_new_tokens": self.config.max_tokens}
        if sampled:
            options["temperature"] = self.config.temperature
        wanted = max(request.alternatives for request in requests)
        with torch.inference_mode(), torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(requests[0].seed % 2**31)
            made = model.generate(**inputs, **options, return_dict_in_generate=True, output_logits=wanted > 0)
            tops = [logits.float().log_softmax(-1).topk(wanted) for logits in made.logits] if wanted else []
        tokenizer = getattr(processor, "tokenizer", processor)
        ends = {*tokenizer.all_special_ids, *_listed(model.generation_config.eos_token_id)}
        completions = []
        for row, ids in enumerate(made.sequences[:, inputs["input_ids"].shape[1] :].tolist()):
            text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
            cut = len(ids) == self.config.max_tokens and not set(ids) & ends
            tokens = []
            for chosen, top in zip(ids, tops, strict=False):
                if chosen in tokenizer.all_special_ids:
                    break
                values, likeliest = top.values[row].tolist(), top.indices[row].tolist()
                told = tuple((tokenizer.decode([one]), value) for one, value in zip(likeliest, values, strict=True))
                tokens.append(Token(tokenizer.decode([chosen]), told))
            completions.append(Completion(text, tuple(tokens), cut=cut))
        return completions


def _listed(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else ids


def _inputs(processor: Any, requests: Sequence[Request], side: int) -> Any:
    conversations: list[list[dict[str, Any]]] = []
    for request in requests:
        picture = [] if request.picture is None else [{"type": "image", "image": small_picture(request.picture, side)}]
        system: list[dict[str, Any]] = []
        if request.system:
            system = [{"role": "system", "content": [{"type": "text", "text": request.system}]}]
        user: dict[str, Any] = {"role": "user", "content": [*picture, {"type": "text", "text": request.user}]}
        conversations.append([*system, user])
    try:
        return _templated(processor, conversations)
    except Exception as error:
        # Some templates refuse a system turn, each with a message of its own; its text then goes before the question.
        if type(error).__name__ != "TemplateError" or not any(request.system for request in requests):
            raise
    for turns, request in zip(conversations, requests, strict=True):
        words = f"{request.system}\n\n{request.user}" if request.system else request.user
        turns[:] = [{**turns[-1], "content": [*turns[-1]["content"][:-1], {"type": "text", "text": words}]}]
    return _templated(processor, conversations)


def _templated(processor: Any, conversations: list[list[dict[str, Any]]]) -> Any:
    # Not the template first and then the processor: both may add a start token, and the text would have two.
    return processor.apply_chat_template(
        conversations, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": len(conversations) > 1},
    )  # fmt: skip
