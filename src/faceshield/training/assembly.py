"""Assembles published weights into the checkpoint from which the two stages start at the paper's size (§4.3).

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
    """The parts that FaceShield is assembled from; see `faceshield.model.assemble.assemble`.

    Attributes:
        siglip, language: hub ids or folders; the paper's by default.
        bunny: a merged Bunny checkpoint, or the folder of a Bunny LoRA for `language`; None = SigLIP and Phi-3 as published.
        tower: whose vision tower to use, if Bunny's checkpoint holds one.
        model: values of `FaceShieldConfig`: PVTM's options, use_savp.
        processor: values of `FaceShieldProcessor`: SAVP's options.
        dtype: data type of the stored weights.
        out: checkpoint folder to write.
        seed: seed of the projector, if it starts from scratch.
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
    """Writes the assembled checkpoint and returns its number of parameters; raises what `assemble` raises."""
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
