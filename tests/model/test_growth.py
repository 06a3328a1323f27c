"""Deeper towers begin with the outputs that they had, and can learn from there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from faceshield.model import FaceShieldConfig, FaceShieldForConditionalGeneration, grow_vision


def outputs(model: Any, side: int) -> list[torch.Tensor]:
    pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = model.model.vision_tower.eval()(pixels, output_hidden_states=True)
    return [seen.pooler_output, seen.last_hidden_state, seen.hidden_states[-2]]


def small_siglip() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return FaceShieldForConditionalGeneration(
        FaceShieldConfig(
            vision_config={**sizes, "image_size": 28, "patch_size": 14},
            prompt_config={**sizes, "projection_size": 16, "vocab_size": 40},
            text_config={**sizes, "num_key_value_heads": 2, "vocab_size": 40, "pad_token_id": 0},
            image_token_id=3,
        )
    )


@pytest.mark.parametrize("layers", [3, 4, 7])
def test_a_deeper_encoder_computes_what_it_did(layers: int) -> None:
    model = small_siglip()
    before = outputs(model, 28)
    grow_vision(model, num_hidden_layers=layers)
    for old, new in zip(before, outputs(model, 28), strict=True):
        assert torch.equal(old, new)
    tower = model.model.vision_tower
    assert len(tower.encoder.layers) == tower.config.num_hidden_layers == model.config.vision_config.num_hidden_layers == layers
    assert all(layer.self_attn.config is tower.config for layer in tower.encoder.layers), "its attention can be chosen"


@pytest.mark.parametrize("blocks", [[1, 1, 1, 1], [0, 1, 3, 2], [2, 2, 2, 2]])
def test_a_deeper_stem_computes_what_it_did_and_every_new_block_learns(pair: Any, blocks: list[int]) -> None:
    model = pair[0]
    side = model.config.vision_config.image_size
    before = outputs(model, side)
    known = {id(parameter) for parameter in model.parameters()}
    grow_vision(model, num_hidden_layers=model.config.vision_config.num_hidden_layers + 2, stem_blocks=blocks)
    for old, new in zip(before, outputs(model, side), strict=True):
        assert torch.equal(old, new)
    assert model.config.vision_config.stem_blocks == blocks
    tower = model.model.vision_tower
    tower(torch.randn(1, 3, side, side)).pooler_output.square().sum().backward()
    # A silent map has a gradient at once; what stands before it gets one with the first step.
    closing = [p for name, p in tower.named_parameters() if id(p) not in known and not p.any() and name.endswith("weight")]
    assert closing and all(parameter.grad is not None and parameter.grad.any() for parameter in closing)


def test_larger_squares_are_seen_almost_as_the_small_ones_were(pair: Any) -> None:
    """A smooth picture twice as large: each place still has its position, so that what is pooled hardly moves."""
    model = pair[0]
    tower = model.model.vision_tower.eval()
    side = model.config.vision_config.image_size
    torch.manual_seed(0)
    with torch.no_grad():  # a slope, as learnt positions have; those of a new model are noise
        grid = torch.linspace(-1, 1, side // tower.config.patch_size)
        slopes = torch.randn(2, tower.config.hidden_size)
        tower.embeddings.position_embedding.weight.copy_(torch.cartesian_prod(grid, grid) @ slopes)
    before = tower.embeddings.position_embedding.weight.detach().unflatten(0, (len(grid), len(grid)))
    grow_vision(model, image_size=2 * side)
    assert model.config.vision_config.image_size == tower.config.image_size == 2 * side
    after = tower.embeddings.position_embedding.weight.detach().unflatten(0, (2 * len(grid), 2 * len(grid)))
    middles = after.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(1, 3))
    inside = (slice(1, -1), slice(1, -1))
    assert torch.allclose(middles[inside], before[inside], atol=0.06) and len(grid) >= 3
    seen = tower(torch.randn(1, 3, 2 * side, 2 * side)).last_hidden_state
    assert seen.shape[1] == tower.embeddings.position_ids.numel() == 4 * len(grid) ** 2
    seen.sum().backward()
    assert tower.embeddings.position_embedding.weight.grad is not None, "the new positions are learnt too"
    kept = tower.embeddings.position_embedding.weight.detach().clone()
    grow_vision(model, image_size=2 * side)
    assert torch.equal(tower.embeddings.position_embedding.weight, kept)


def test_a_tower_is_never_made_shallower(pair: Any) -> None:
    model = pair[0]
    for wrong in (model.config.vision_config.image_size // 2, model.config.vision_config.image_size + 1):
        with pytest.raises(ValueError, match="multiple of the patch"):
            grow_vision(model, image_size=wrong)
    with pytest.raises(ValueError, match="at least as many"):
        grow_vision(model, num_hidden_layers=1)
    with pytest.raises(ValueError, match="in each stage"):
        grow_vision(model, stem_blocks=[0, 0, 0, 0])
    with pytest.raises(ValueError, match="residual stem"):
        grow_vision(small_siglip(), stem_blocks=[0, 1, 1, 1])
