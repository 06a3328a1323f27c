"""The FaceShield model (paper §4) in the form of a transformers model; independent of tasks and records.

Use: `from faceshield.model import load, resolve_model`, then `checkpoint = load(resolve_model("tiny"))`.
"""

from __future__ import annotations

from .adapter import attach, detach
from .build import build, build_tiny
from .checkpoint import (
    SMALL,
    Checkpoint,
    CheckpointInfo,
    base_name,
    checkpoint_hash,
    count_parameters,
    is_adapter,
    load,
    read_config,
    read_info,
    resolve_model,
    save,
    working_dtype,
)
from .configuration_faceshield import FaceShieldConfig, FaceShieldVisionConfig
from .growth import grow_vision
from .modeling_faceshield import FaceShieldForConditionalGeneration, FaceShieldModel
from .processing_faceshield import FaceShieldProcessor
from .tokenizer import train_tokenizer
from .vision_faceshield import FaceShieldVisionModel

__all__ = [
    "SMALL",
    "Checkpoint",
    "CheckpointInfo",
    "FaceShieldConfig",
    "FaceShieldForConditionalGeneration",
    "FaceShieldModel",
    "FaceShieldProcessor",
    "FaceShieldVisionConfig",
    "FaceShieldVisionModel",
    "attach",
    "base_name",
    "build",
    "build_tiny",
    "checkpoint_hash",
    "count_parameters",
    "detach",
    "grow_vision",
    "is_adapter",
    "load",
    "read_config",
    "read_info",
    "resolve_model",
    "save",
    "train_tokenizer",
    "working_dtype",
]
