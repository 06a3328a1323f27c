"""How well a text fits a picture: the cosine of a contrastive model's two towers, CLIP or SigLIP (paper §3.2, CLIP score).

Use: `PictureTextSimilarity(SimilarityConfig(model="openai/clip-vit-base-patch32")).scores([path], [text])`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from faceshield.config import Config
from faceshield.images import open_picture

THRESHOLDS = {"clip": 0.15, "siglip": 0.02, "siglip2": 0.02}
"""Least cosine by model family. CLIP's is the paper's 15%. Paper is silent: it names no SigLIP; SigLIP's cosines are lower, and
.02 is meant to do what .15 does for CLIP, to lie just above unrelated pairs. It was not measured: look at the quantiles that
the report prints and set `threshold`."""


class SimilarityConfig(Config):
    """Which model measures, and which cosine is enough.

    Attributes:
        model: folder or hub id of a CLIP or SigLIP model in safetensors.
        threshold: least cosine; None: that of the model family, see `THRESHOLDS`.
        tasks: tasks whose answers are measured; verdicts and boxes do not describe a picture.
    """

    model: str
    threshold: float | None = Field(None, ge=-1, le=1)
    tasks: tuple[str, ...] = ("caption",)
    device: str = "auto"


class PictureTextSimilarity:
    """Measures picture-text cosines; the model is loaded at first use."""

    def __init__(self, config: SimilarityConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._parts: tuple[Any, Any, Any] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PictureTextSimilarity, (self.config,)

    @property
    def threshold(self) -> float:
        """The least cosine that passes.

        Raises:
            ValueError: none is configured, and the model's family has no known one.
        """
        if self.config.threshold is not None:
            return self.config.threshold
        family = str(self._load()[0].config.model_type)
        if family not in THRESHOLDS:
            raise ValueError(
                f"{self.config.model}: a model of type {family!r} — expected one of {', '.join(THRESHOLDS)} — "
                "set similarity.threshold"
            )
        return THRESHOLDS[family]

    def check(self, path: Path) -> None:
        """Raises ImageError where the picture cannot be read."""
        open_picture(path)

    def scores(self, paths: Sequence[Path], texts: Sequence[str]) -> list[float]:
        """Cosine of each picture and its text, -1..1."""
        import torch

        with self._lock, torch.no_grad():
            model, tokenizer, processor = self._load()
            pixels = processor(images=[open_picture(path).rgb for path in paths], return_tensors="pt")["pixel_values"]
            length = int(model.config.text_config.max_position_embeddings)
            # SigLIP pools the last position, so its texts are always padded to full length; CLIP finds the end itself.
            padding = "longest" if model.config.model_type == "clip" else "max_length"
            words = tokenizer(list(texts), padding=padding, truncation=True, max_length=length, return_tensors="pt")
            inputs = {"input_ids": words["input_ids"].to(model.device)}
            if model.config.model_type == "clip":
                inputs["attention_mask"] = words["attention_mask"].to(model.device)
            seen = _pooled(model.get_image_features(pixel_values=pixels.to(model.device, model.dtype)))
            said = _pooled(model.get_text_features(**inputs))
            cosines = torch.nn.functional.cosine_similarity(seen.float(), said.float())
        return [float(value) for value in cosines]

    def _load(self) -> tuple[Any, Any, Any]:
        if self._parts is None:
            import torch
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            device = self.config.device
            if device == "auto":
                device = "cuda" if torch.cuda.is_available() else "cpu"
            model: Any = AutoModel.from_pretrained(self.config.model, use_safetensors=True)
            processor = AutoImageProcessor.from_pretrained(self.config.model, backend="pil")
            self._parts = model.to(device).eval(), AutoTokenizer.from_pretrained(self.config.model), processor
        return self._parts


def _pooled(features: Any) -> Any:
    """The joint embedding, whether the version of transformers returns it bare or in an output object."""
    return getattr(features, "pooler_output", features)
