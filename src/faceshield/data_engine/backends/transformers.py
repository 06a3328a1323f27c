"""A local image-text-to-text model of transformers as the assistant: one picture and one prompt at a time.

For many pictures on a GPU, serve the model (vLLM, llama.cpp) and use the `openai` backend: it batches. Use:
`TransformersChat(BackendConfig(kind="transformers", model="folder"))`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from PIL import Image

from faceshield.data_engine.backends.base import BackendConfig, NoAnswer
from faceshield.data_engine.prompts import Prompt
from faceshield.images import ImageError, open_picture


class TransformersChat:
    """Loads the model on the first call; safetensors only, no code from the hub."""

    def __init__(self, config: BackendConfig) -> None:
        self.config = config
        self.name, self.workers = str(config.model), 1
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any] | None = None

    def complete(self, prompt: Prompt, image: Path | None, seed: int) -> str:
        import torch

        with self._lock:
            model, processor = self._load()
            pictures = [] if image is None else [_opened(image, self.config.image_side)]
            text = self._text(processor, prompt, bool(pictures))
            inputs = processor(images=pictures or None, text=text, return_tensors="pt").to(model.device)
            sampled = self.config.temperature > 0
            options: dict[str, Any] = {"do_sample": sampled, "max_new_tokens": self.config.max_tokens}
            if sampled:
                options["temperature"] = self.config.temperature
            with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
                torch.manual_seed(seed % 2**31)
                ids = model.generate(**inputs, **options)
            new = ids[0, inputs["input_ids"].shape[1] :]
            tokenizer = getattr(processor, "tokenizer", processor)
            return str(tokenizer.decode(new, skip_special_tokens=True)).strip()

    def close(self) -> None:
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            device = self.config.device
            if device == "auto":
                import torch

                device = "cuda" if torch.cuda.is_available() else "cpu"
            model: Any = AutoModelForImageTextToText.from_pretrained(self.name, dtype=self.config.dtype, use_safetensors=True)
            processor = AutoProcessor.from_pretrained(self.name)
            self._loaded = model.to(device).eval(), processor
        return self._loaded

    @staticmethod
    def _text(processor: Any, prompt: Prompt, with_picture: bool) -> str:
        picture = [{"type": "image"}] if with_picture else []
        user: dict[str, Any] = {"role": "user", "content": [*picture, {"type": "text", "text": prompt.user}]}
        system: dict[str, Any] = {"role": "system", "content": [{"type": "text", "text": prompt.system}]}
        try:
            turns = [system, user] if prompt.system else [user]
            return str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        except Exception as error:
            # Some templates know no system turn and say so in words of their own; its text then goes before the question.
            if not prompt.system or type(error).__name__ != "TemplateError":
                raise
            merged = [*picture, {"type": "text", "text": f"{prompt.system}\n\n{prompt.user}"}]
            turns = [{"role": "user", "content": merged}]
            return str(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))


def _opened(path: Path, side: int) -> Image.Image:
    try:
        picture = Image.fromarray(open_picture(path).rgb)
    except ImageError as error:
        raise NoAnswer(f"the picture cannot be read: {error.problem}") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
