"""Both stems of the small vision tower: the same tokens whoever else is in the batch, and through a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from faceshield.model import FaceShieldVisionConfig, FaceShieldVisionModel
from faceshield.model.vision_faceshield import STEMS

SIZES: dict[str, dict[str, Any]] = {
    "residual": {"stem_channels": [8, 16, 24, 48], "stem_blocks": [0, 1, 1, 1]},
    "resnet": {"stem_channels": [8, 8, 16, 48], "stem_blocks": [0, 1, 2, 1]},
}


def tower(stem: str) -> FaceShieldVisionModel:
    torch.manual_seed(0)
    config = FaceShieldVisionConfig(
        stem=stem, image_size=64, hidden_size=48, intermediate_size=64, num_hidden_layers=2, **SIZES[stem]
    )
    return FaceShieldVisionModel(config)


def pictures(count: int, size: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def statistics(model: FaceShieldVisionModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


def test_every_stem_is_tried() -> None:
    assert SIZES.keys() == STEMS.keys()


@pytest.mark.parametrize("stem", SIZES)
def test_a_token_for_every_patch_of_any_size_of_picture(stem: str) -> None:
    model = tower(stem).eval()
    assert model(pictures(2)).last_hidden_state.shape == (2, 16, 48)
    assert model(pictures(2, 96), interpolate_pos_encoding=True).last_hidden_state.shape == (2, 36, 48)


@pytest.mark.parametrize("stem", SIZES)
def test_a_pictures_tokens_are_its_own(stem: str) -> None:
    model = tower(stem)
    model.train()(pictures(6))  # statistics other than those it was born with
    model.eval()
    x = pictures(3)
    with torch.no_grad():
        together, alone = model(x).last_hidden_state, model(x[:1]).last_hidden_state
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_learnt_with_the_stem_and_frozen_with_it() -> None:
    model = tower("resnet").train()
    born = statistics(model)
    assert born, "a ResNet without batch normalisation"
    model(pictures(4))
    learnt = statistics(model)
    assert all(not torch.equal(born[name], value) for name, value in learnt.items())
    # As both stages do: nothing of the towers is trained, while the whole model is in training mode; told in either order.
    for freeze in (lambda: model.requires_grad_(False).train(), lambda: model.train().requires_grad_(False)):
        model.requires_grad_(True)
        freeze()
        with torch.no_grad():
            trained = model(pictures(4)).last_hidden_state
            assert torch.equal(trained, model.eval()(pictures(4)).last_hidden_state)
    assert all(torch.equal(learnt[name], value) for name, value in statistics(model).items())
    model.requires_grad_(True).train()(pictures(4))
    assert all(not torch.equal(learnt[name], value) for name, value in statistics(model).items())


@pytest.mark.parametrize("stem", SIZES)
def test_saved_and_read_again(stem: str, tmp_path: Path) -> None:
    model = tower(stem)
    model.train()(pictures(4))
    model.eval().save_pretrained(tmp_path)
    again = FaceShieldVisionModel.from_pretrained(tmp_path)
    assert again.config.stem == stem
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("blocks", [[1, 1, 1, 1], [0, 0, 1, 1], [0]])
def test_a_resnets_first_stage_is_its_first_convolution(blocks: list[int]) -> None:
    channels = [32, 64, 96, 192][-len(blocks) :]
    with pytest.raises(ValueError, match="of a resnet"):
        FaceShieldVisionConfig(stem="resnet", stem_blocks=blocks, stem_channels=channels, patch_size=2 ** len(blocks))
