"""New models with random weights, of any size or of the tiny model's.

Use: `model, processor = build_tiny(train_tokenizer(texts))`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from .configuration_faceshield import FaceShieldConfig
from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import SYSTEM, FaceShieldProcessor

# Size of a new tiny model; that of the shipped one, which is older, is in its config.json.
TINY: dict[str, Any] = {
    "vision_config": {
        "model_type": "faceshield_vision",
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "image_size": 192,
        "patch_size": 16,
        "stem": "resnet",
        "stem_channels": [32, 32, 96, 192],
        "stem_blocks": [0, 2, 2, 2],
    },
    "prompt_config": {
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "max_position_embeddings": 64,
    },
    "text_config": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "max_position_embeddings": 1024,
        "original_max_position_embeddings": 1024,
        "sliding_window": None,
    },
}
TINY_SYSTEM = "A chat between a user and an assistant."


def build(
    values: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, *, seed: int = 0, system: str | None = None
) -> tuple[FaceShieldForConditionalGeneration, FaceShieldProcessor]:
    """A new model with random weights, and its processor.

    Args:
        values: Keyword values of `FaceShieldConfig`; vocabulary size and the ids of end, pad and image tokens are filled in
            from the tokenizer.
        tokenizer: Must have an `<image>` token; the language model and the prompt tower both use it.
        seed: Of the weights; the global generator is not changed.
        system: The processor's system sentence; None = Bunny's.
    """
    filled: dict[str, Any] = copy.deepcopy(dict(values))
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": pad}
    for name in ("text_config", "prompt_config"):
        filled[name] = {"vocab_size": len(tokenizer), **ids, **(filled.get(name) or {})}
    filled.setdefault("image_token_id", tokenizer.convert_tokens_to_ids("<image>"))
    config = FaceShieldConfig(**filled)
    processor = FaceShieldProcessor(
        tokenizer,
        image_size=config.vision_config.image_size,
        patch_size=config.vision_config.patch_size,
        use_savp=config.use_savp,
        system=SYSTEM if system is None else system,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = FaceShieldForConditionalGeneration(config)
    return model, processor


def build_tiny(
    tokenizer: PreTrainedTokenizerBase, *, seed: int = 0, **overrides: Any
) -> tuple[FaceShieldForConditionalGeneration, FaceShieldProcessor]:
    """The tiny model with random weights, and its processor.

    Args:
        tokenizer: See `tokenizer.train_tokenizer`.
        seed: Of the weights.
        overrides: Values of `FaceShieldConfig` that replace `TINY`'s; a sub-config's dict is merged into TINY's.
    """
    values = copy.deepcopy(TINY)
    for name, value in overrides.items():
        values[name] = {**values[name], **value} if isinstance(values.get(name), dict) else value
    model, processor = build(values, tokenizer, seed=seed, system=TINY_SYSTEM)
    # On CPUs, plain attention is faster than fused attention for short sequences, forward and backward.
    model.set_attn_implementation({"vision_config": "eager", "prompt_config": "eager", "text_config": "sdpa"})
    return model, processor
