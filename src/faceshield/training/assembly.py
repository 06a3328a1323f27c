"""The checkpoint that the two stages start from at the paper's size (§4.3): published weights, put together.

Use: `faceshield assemble configs/model/paper.yaml out=checkpoints/base`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from faceshield.config import Config
from faceshield.model import CheckpointInfo, save
from faceshield.model.assemble import PHI3, SIGLIP, assemble


class AssembleConfig(Config):
    """What FaceShield is put together from; see `faceshield.model.assemble.assemble`.

    Attributes:
        siglip, language: hub ids or folders; the paper's by default.
        bunny: a merged Bunny checkpoint, or a Bunny LoRA folder on `language`; None = SigLIP and Phi-3 apart.
        tower: whose vision tower, if Bunny's file holds one.
        model: values of `FaceShieldConfig`: PVTM's options, use_savp.
        processor: values of `FaceShieldProcessor`: SAVP's options.
        dtype: of the stored weights.
        out: checkpoint folder to write.
        seed: of the projector, if it starts from nothing.
    """

    siglip: str = SIGLIP
    language: str = PHI3
    bunny: str | None = None
    tower: Literal["bunny", "original"] = "bunny"
    model: dict[str, Any] = Field(default_factory=dict)
    processor: dict[str, Any] = Field(default_factory=dict)
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    out: Path = Path("checkpoints/base")
    seed: int = Field(0, ge=0)


def assemble_checkpoint(config: AssembleConfig) -> int:
    """Writes the checkpoint and returns its number of parameters; raises as `assemble`."""
    model, processor, source = assemble(
        siglip=config.siglip,
        language=config.language,
        bunny=config.bunny,
        tower=config.tower,
        model=config.model,
        processor=config.processor,
        dtype=getattr(torch, config.dtype),
        seed=config.seed,
    )
    save(model, processor, config.out, CheckpointInfo(extra={"assembled": source}))
    return sum(parameter.numel() for parameter in model.parameters())
