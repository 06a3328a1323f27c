"""Settings of the towers' stage, and the texts that pictures are compared with.

Use: `config = TowersConfig.load("configs/train/tiny-towers.yaml", ["out=towers"])`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from faceshield.config import Config
from faceshield.training.picture_run import PictureConfig


class Growth(Config):
    """Arguments of `growth.grow_vision`; None leaves a property as it is."""

    num_hidden_layers: int | None = None
    stem_blocks: tuple[int, ...] | None = None
    image_size: int | None = None


class TowersConfig(PictureConfig):
    """Settings of the stage `foundation-towers`; see also `PictureConfig`.

    Attributes:
        init: checkpoint whose towers are trained further (a second cycle): a folder, "tiny", or a hub id. Its tokenizer,
            language model and projector are kept; heads and optimizer start afresh. None: a new tiny model.
        grow: depth and input size to which the vision tower of `init` is grown first.
        crop_side: longer side in pixels to which pictures are resized first, as the predictor resizes faces: SAVP is
            computed from single pixels. None = as `init` records it, else no resizing.
        model: values of `FaceShieldConfig` that replace the tiny model's, e.g. {use_savp: false}; not with `init`.
        tokenizer: folder of a tokenizer; None trains one of `vocab_size` pieces on dialogues about the data.
        low_size, low_share: the first share `low_share` (0..1) of the run uses squares of `low_size` pixels, which is
            cheaper; 0: never. Once it is over it does not return, even if the run is told to end later.
        weight_*: weights of the losses, see `heads.tower_losses`.
    """

    stage: Literal["foundation-towers"] = "foundation-towers"
    grow: Growth = Field(default_factory=lambda: Growth())
    crop_side: int | None = Field(None, ge=32)
    model: dict[str, Any] = Field(default_factory=dict)
    tokenizer: Path | None = None
    vocab_size: int = Field(512, ge=260)
    low_size: int = Field(128, ge=16)
    low_share: float = Field(0.4, ge=0, le=1)
    label_smoothing: float = Field(0.05, ge=0, lt=1)
    captions_per_type: int = Field(1, ge=1)
    weight_contrastive: float = Field(0.3, ge=0)
    weight_type: float = Field(1.0, ge=0)
    weight_coarse: float = Field(0.5, ge=0)
    weight_token: float = Field(1.0, ge=0)
    weight_box: float = Field(1.0, ge=0)
    weight_dense: float = Field(0.5, ge=0)
    weight_cue: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _one_beginning(self) -> Self:
        if self.init and (self.model or self.tokenizer):
            raise ValueError(f"init={self.init} with model or tokenizer — the checkpoint has its own — leave one of them out")
        if self.grow != Growth() and not self.init:
            raise ValueError("grow without init — expected a checkpoint to grow — a new model takes its depth from model=")
        return self


@dataclass(frozen=True)
class TowerTexts:
    """The texts that the towers learn from.

    Attributes:
        types: names of the presentation types, bona fide first.
        captions: (text, names of the types it is true of).
        questions: the fixed questions, by which PVTM will rank tokens.
    """

    types: tuple[str, ...]
    captions: tuple[tuple[str, tuple[str, ...]], ...]
    questions: tuple[str, ...]

    def __post_init__(self) -> None:
        silent = [name for name in self.types if not any(names == (name,) for _, names in self.captions)]
        if silent:
            raise ValueError(f"no caption describes only {', '.join(silent)} — expected at least one per type — add captions")


@dataclass(frozen=True)
class TextBank:
    """Captions as token ids, and the types each is true of; C = captions, Q = questions, L = the prompt tower's length.

    Attributes:
        ids: (C, L) int64, padded to the prompt tower's length.
        truth: (C, types) bool.
        own: per type, the captions that are true of it alone; shared: those true of several.
        questions: (Q, L) int64.
    """

    ids: Tensor
    truth: NDArray[np.bool_]
    own: tuple[NDArray[np.int64], ...]
    shared: NDArray[np.int64]
    questions: Tensor

    def to(self, device: torch.device) -> TextBank:
        return replace(self, ids=self.ids.to(device), questions=self.questions.to(device))


def text_bank(texts: TowerTexts, processor: Any) -> TextBank:
    """The texts as encoded by the processor's prompt tokenizer."""
    order = {name: index for index, name in enumerate(texts.types)}
    truth = np.zeros((len(texts.captions), len(texts.types)), dtype=bool)
    for row, (_, names) in enumerate(texts.captions):
        truth[row, [order[name] for name in names]] = True
    alone = truth.sum(axis=1) == 1
    return TextBank(
        ids=processor.encode_prompts([text for text, _ in texts.captions]),
        truth=truth,
        own=tuple(np.flatnonzero(alone & truth[:, index]) for index in range(len(texts.types))),
        shared=np.flatnonzero(~alone),
        questions=processor.encode_prompts(list(texts.questions)),
    )
