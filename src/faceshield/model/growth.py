"""Grow a trained vision tower, deeper or for larger pictures, so that training can continue with more capacity.

Every new layer or block is a copy of the one before it with its last linear map set to zero, so that it adds nothing at first
but receives a gradient (function-preserving growth: Chen et al., Net2Net, ICLR 2016). For larger squares the position
embeddings are interpolated (Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021), which approximates, but does not
preserve, what the tower computed.
Use: `grow_vision(model, num_hidden_layers=6, stem_blocks=[0, 1, 2, 2])`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .vision_faceshield import ResidualBlock, ResidualStem


def grow_vision(
    model: Any,
    *,
    num_hidden_layers: int | None = None,
    stem_blocks: Sequence[int] | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> None:
    """Grows the vision tower of a `FaceShieldForConditionalGeneration` in place; extra depth alone keeps its outputs the same.

    Args:
        model: the model; its `config.vision_config` is updated.
        num_hidden_layers: new number of encoder layers. New ones are spread over the tower before its last layer, so that
            `hidden_states[-2]`, which the projector reads, stays the same too.
        stem_blocks: new number of residual blocks after each stage's strided convolution; only for a tower with `ResidualStem`.
        image_size: new side of the input square in pixels; the caller must set the processor's `image_size` accordingly.
        seed: for the first block of a stage that has none to copy.

    Raises:
        ValueError: a value is smaller than the current one, or the tower does not support it.
    """
    tower = model.model.vision_tower
    told: dict[str, Any] = {}
    if stem_blocks is not None:
        stem = tower.embeddings.patch_embedding
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            stem.layers = _deeper_stem(stem, tower.config, list(stem_blocks))
        told["stem_blocks"] = list(stem_blocks)
    if num_hidden_layers is not None:
        tower.encoder.layers = _deeper_encoder(tower.encoder.layers, num_hidden_layers, tower.config)
        told["num_hidden_layers"] = num_hidden_layers
    if image_size is not None:
        _spread_positions(tower.embeddings, image_size)
        told["image_size"] = image_size
    for config in (tower.config, model.config.vision_config):
        for name, value in told.items():
            setattr(config, name, value)


def _deeper_encoder(layers: nn.ModuleList, count: int, config: Any) -> nn.ModuleList:
    *before, last = layers
    if not before or count < len(layers):
        raise ValueError(
            f"num_hidden_layers {count} for a tower of {len(layers)} — expected at least as many, and at least two — raise it"
        )
    out: list[nn.Module] = []
    places = [place * len(before) // (count - 1) for place in range(count - 1)]
    for place, place_before in zip(places, [-1, *places], strict=False):
        layer: Any = before[place]
        if place == place_before:
            layer = copy.deepcopy(layer, {id(config): config})
            _silence(layer.self_attn.out_proj)
            _silence(layer.mlp.fc2)
        out.append(layer)
    return nn.ModuleList([*out, last])


def _deeper_stem(stem: nn.Module, config: Any, blocks: list[int]) -> nn.Sequential:
    if not isinstance(stem, ResidualStem):
        raise ValueError(f"stem_blocks {blocks} for a {type(stem).__name__} — expected a residual stem — leave it out")
    old = config.stem_blocks
    if len(blocks) != len(old) or any(new < had for new, had in zip(blocks, old, strict=True)):
        raise ValueError(f"stem_blocks {blocks} for {old} — expected as many or more in each stage — raise it")
    out: list[Any] = []
    rest = list(stem.layers)
    for stage, (had, new) in enumerate(zip(old, blocks, strict=True)):
        # Norm and activation after the previous stage (not for the first), the strided convolution, the blocks.
        length = (3 if stage else 1) + had
        out, rest = out + rest[:length], rest[length:]
        for _ in range(new - had):
            last = out[-1]
            first = not isinstance(last, ResidualBlock)
            block = ResidualBlock(last.out_channels, config.stem_norm_groups) if first else copy.deepcopy(last)
            _silence(block.conv_2)
            out.append(block)
    return nn.Sequential(*out)


@torch.no_grad()
def _spread_positions(embeddings: Any, image_size: int) -> None:
    """Adapts SigLIP's embeddings to squares of `image_size` pixels; an unchanged size leaves the positions bit-identical."""
    if image_size < embeddings.image_size or image_size % embeddings.patch_size:
        raise ValueError(
            f"image_size {image_size} for a tower of {embeddings.image_size} pixels in patches of {embeddings.patch_size} — "
            "expected as much or more, a multiple of the patch — raise it"
        )
    if image_size == embeddings.image_size:
        return
    weight = embeddings.position_embedding.weight
    patches = weight.new_empty(1, (image_size // embeddings.patch_size) ** 2, weight.shape[1])  # only its shape matters
    spread = embeddings.interpolate_pos_encoding(patches, image_size, image_size)[0]
    embeddings.image_size = image_size
    embeddings.num_patches = embeddings.num_positions = len(spread)
    embeddings.position_embedding = nn.Embedding.from_pretrained(spread.clone(), freeze=False)
    embeddings.position_ids = torch.arange(len(spread), device=spread.device).expand((1, -1))


@torch.no_grad()
def _silence(layer: Any) -> None:
    layer.weight.zero_()
    layer.bias.zero_()
