"""CoOp: prompt learning on frozen CLIP-style towers. Zhou et al., IJCV 2022 (arXiv 2109.01134).

A picture is compared with one text per class, "[v1] … [vM] <class>", whose first M embeddings are learnt; nothing else is. The
towers are those of a FaceShield checkpoint (`init=tiny`), or CLIP or SigLIP from a folder in transformers' layout.
Simplified: AdamW on the run's schedule instead of SGD; the context precedes the class and is shared (the paper's default) or
specific to each class; a FaceShield checkpoint does not store the scale of its contrastive loss, so that is a setting.
Use: `faceshield train configs/baseline/coop.yaml 'data=[samples.jsonl]' out=coop init=runs/tiny/towers`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModel,
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipTextModel,
    SiglipVisionConfig,
)

from faceshield.baselines.base import Baseline, Batch, Design, is_baseline, normalisation, read_design
from faceshield.config import Config
from faceshield.model import FaceShieldProcessor, FaceShieldVisionConfig, read_config
from faceshield.model.checkpoint import load, quiet
from faceshield.model.tensor_files import TensorFolder
from faceshield.taxonomy import TAXONOMY
from faceshield.training.precision import exact

_PUBLISHED: dict[str, tuple[Any, Any]] = {"clip": (CLIPConfig, CLIPModel), "siglip": (SiglipConfig, SiglipModel)}
_TEXTS = {"Bonafide": "a bona fide face", "Attack": "a presentation attack"}


class CoopSettings(Config):
    """Settings of CoOp.

    Attributes:
        context: M, the number of learnt embeddings.
        class_specific: whether each class has its own embeddings.
        class_text: what follows them: the type's "name", or its "sentence" in the taxonomy.
        scale: factor on the cosines, if the towers bring none.
    """

    context: int = Field(16, ge=1)
    class_specific: bool = False
    class_text: str = Field("name", pattern="^(name|sentence)$")
    scale: float = Field(30.0, gt=0)


class Towers(nn.Module):
    """Two frozen towers, built from the `parts` that `Coop.planned` makes."""

    def __init__(self, parts: Any) -> None:
        super().__init__()
        if parts["kind"] in _PUBLISHED:
            config, model = _PUBLISHED[parts["kind"]]
            self.both = model(config(**parts["config"]))
        else:
            self.both = None
            with quiet():
                self.vision = AutoModel.from_config(_vision_config(parts["vision"]))
                self.prompt = SiglipTextModel(SiglipTextConfig(**parts["text"]))
        self.requires_grad_(False)

    @property
    def token_owner(self) -> Any:
        """The module whose `token_embedding` embeds token ids."""
        return (self.prompt if self.both is None else self.both.text_model).embeddings

    def images(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D) in the joint space."""
        if self.both is not None:
            return self.both.get_image_features(pixel_values=pixels).pooler_output  # type: ignore[no-any-return]
        return self.vision(pixels).pooler_output  # type: ignore[no-any-return]

    def texts(self, ids: Tensor) -> Tensor:
        """(C, L) -> (C, D) in the joint space."""
        if self.both is not None:
            return self.both.get_text_features(input_ids=ids).pooler_output  # type: ignore[no-any-return]
        return self.prompt(input_ids=ids).pooler_output  # type: ignore[no-any-return]


class Context(nn.Module):
    """A token embedding with learnt vectors in positions `start` to `start + M`, whatever the ids there."""

    def __init__(self, tokens: nn.Embedding, classes: int, count: int, start: int) -> None:
        super().__init__()
        self.tokens, self.start = tokens, start
        self.vectors = nn.Parameter(torch.randn(classes, count, tokens.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.tokens(ids)
        vectors = self.vectors.to(embedded.dtype).expand(len(ids), -1, -1)
        stop = self.start + vectors.shape[1]
        return torch.cat([embedded[:, : self.start], vectors, embedded[:, stop:]], dim=1)


class Coop(Baseline):
    """Frozen towers and a learnt context."""

    Settings = CoopSettings

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        told, parts = CoopSettings(**design.settings), design.parts
        self.towers = Towers(parts)
        classes = len(design.types) if told.class_specific else 1
        owner = self.towers.token_owner
        owner.token_embedding = Context(owner.token_embedding, classes, told.context, parts["start"])
        self.register_buffer("ids", torch.tensor(parts["ids"]), persistent=False)
        self.scale = float(parts["scale"])
        self._texts: Tensor | None = None

    @classmethod
    def planned(cls, design: Design, init: Path | None) -> Design:
        if init is None:
            raise ValueError("coop without init — expected towers: a FaceShield checkpoint, or CLIP or SigLIP — give init=tiny")
        if is_baseline(init):
            theirs = read_design(init)
            if (theirs.name, theirs.types) != (design.name, design.types):
                raise ValueError(f"init={init}: a {theirs.name} of {len(theirs.types)} types — expected the same — give towers")
            own, told = CoopSettings(**theirs.settings), CoopSettings(**{**theirs.settings, **design.settings})
            if differs := sorted(name for name in design.settings if getattr(told, name) != getattr(own, name)):
                raise ValueError(
                    f"init={init}: a {theirs.name} with other settings ({', '.join(differs)}) — expected its own, which its "
                    "weights were learnt with — leave them out, or give towers"
                )
            return replace(theirs, domains=design.domains)
        told = CoopSettings(**design.settings)
        kind = _kind(init)
        parts: dict[str, Any] = {"kind": kind, "scale": told.scale}
        if kind in _PUBLISHED:
            with quiet():
                config = _PUBLISHED[kind][0].from_pretrained(init, local_files_only=True)
                tokenizer: Any = AutoTokenizer.from_pretrained(init, local_files_only=True)
            parts |= {"config": config.to_dict(), "scale": float(TensorFolder(init).beginning("logit_scale", 1).exp())}
            size, length = config.vision_config.image_size, config.text_config.max_position_embeddings
            mean, std = normalisation(init)
        else:
            ours, processor = read_config(init), FaceShieldProcessor.from_pretrained(init, local_files_only=True)
            parts |= {"vision": ours.vision_config.to_dict(), "text": ours.prompt_config.to_dict()}
            tokenizer, length, size = processor.prompt_tokenizer, processor.prompt_length, processor.image_size
            mean, std = (processor.image_mean,) * 3, (processor.image_std,) * 3
        parts["ids"], parts["start"] = prompt_ids(tokenizer, class_texts(design.types, told), told.context, length)
        return replace(design, parts=parts, image_size=size, mean=mean, std=std)

    def start_from(self, init: Path) -> None:
        """Load the towers' weights; from a trained CoOp baseline, the context too."""
        if is_baseline(init):
            super().start_from(init)
            return
        if self.towers.both is not None:
            folder = TensorFolder(init)
            # Older CLIP files also hold position ids, which are not weights.
            named = {name: name for name in folder.shapes if not name.endswith(".position_ids")}
            found = {f"towers.both.{name}": value for name, value in folder.read(named)}
        else:
            model = load(init).model.model
            found = {f"towers.vision.{name}": value for name, value in model.vision_tower.state_dict().items()}
            found |= {f"towers.prompt.{name}": value for name, value in model.prompt_tower.state_dict().items()}
        inside = "embeddings.token_embedding."
        found = {name.replace(inside, f"{inside}tokens."): value for name, value in found.items()}
        learnt = {name: value.clone() for name, value in self.state_dict().items() if name.endswith(f"{inside}vectors")}
        self.take({**found, **learnt}, f"init={init}")
        with torch.no_grad():  # at the scale of the tower's own token embeddings
            self.context.vectors.mul_(self.context.tokens.weight.std())

    @property
    def context(self) -> Context:
        """The learnt context."""
        found: Context = self.towers.token_owner.token_embedding
        return found

    def train(self, mode: bool = True) -> Coop:
        """Set the mode; the towers stay in evaluation mode, as they are frozen."""
        super().train(mode)
        self.towers.eval()
        self._texts = None
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> (B, C) logits."""
        with torch.no_grad():
            image = functional.normalize(self.towers.images(self.normalised(pixels)).float(), dim=1)
        words = self._class_vectors()
        with exact(image):
            return self.scale * image @ words.T

    def _class_vectors(self) -> Tensor:
        """(C, D) class texts, of unit length; cached while gradients are off."""
        if self._texts is None or torch.is_grad_enabled():
            ids: Any = self.ids
            self._texts = functional.normalize(self.towers.texts(ids).float(), dim=1)
        return self._texts

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        return {"type": functional.cross_entropy(self(batch.pixels), batch.types, batch.type_weights)}

    def probabilities(self, pixels: Tensor) -> Tensor:
        return self(pixels).softmax(dim=1)  # type: ignore[no-any-return]


def prompt_ids(tokenizer: Any, texts: list[str], context: int, length: int) -> tuple[list[list[int]], int]:
    """Token ids of "[v1] … [vM] text", padded to `length`, and the position where the context begins.

    Raises:
        ValueError: a text that does not fit.
    """
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    plain = [tokenizer(text, add_special_tokens=True)["input_ids"] for text in texts]
    start = int(tokenizer.bos_token_id is not None and all(ids[0] == tokenizer.bos_token_id for ids in plain))
    # Any ordinary token can hold these positions: CLIP reads its output at the first end token.
    rows = [[*ids[:start], *[ids[start]] * context, *ids[start:]] for ids in plain]
    longest = max(map(len, rows))
    if longest > length:
        raise ValueError(f"context={context} and {longest - context} tokens of text — expected {length} in all — use fewer")
    return [row + [pad] * (length - len(row)) for row in rows], start


def class_texts(types: tuple[str, ...], told: CoopSettings) -> list[str]:
    """The text of each class after the learnt context: fixed phrases for two classes, the taxonomy's words for types."""
    known = {row.name: getattr(row, told.class_text) for row in TAXONOMY}
    return [_TEXTS[name] if len(types) == 2 else known[name] for name in types]


def _kind(folder: Path) -> str:
    file = folder / "config.json"
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type") if file.is_file() else None
    if kind not in ("faceshield", *_PUBLISHED):
        raise ValueError(f"init={folder}: model_type {kind!r} — expected faceshield, clip or siglip — give such a folder")
    return str(kind)


def _vision_config(values: dict[str, Any]) -> Any:
    ours = values["model_type"] == FaceShieldVisionConfig.model_type
    return (FaceShieldVisionConfig if ours else SiglipVisionConfig)(**values)
