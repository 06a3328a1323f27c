"""The methods' own ideas against their definitions and hand numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, SiglipConfig, SiglipModel

from faceshield.baselines.base import COARSE_TYPES, Batch, Design, load_baseline, new_baseline, read_weights
from faceshield.baselines.cdcn import CentralDifferenceConv, contrasts, dome, height_score
from faceshield.baselines.coop import Coop, prompt_ids
from faceshield.baselines.iadg import (
    DynamicKernels,
    Iadg,
    covariances,
    farthest,
    masked_size,
    most_variable,
    style_of,
    with_style,
)
from faceshield.baselines.patchnet import PatchNet, margin_softmax
from faceshield.baselines.stage import BaselineConfig, train_baseline
from faceshield.model import load, train_tokenizer
from faceshield.taxonomy import PRESENTATION_TYPES, TAXONOMY

from .conftest import TINY_RESNET

Make = Callable[..., BaselineConfig]


def batch_of(types: list[int], size: int = 64, domains: int = 2) -> Batch:
    torch.manual_seed(0)
    counts = torch.ones(12)
    return Batch(
        torch.rand(len(types), 3, size, size) * 2 - 1, torch.tensor(types), torch.arange(len(types)) % domains, counts,
        torch.ones(domains),
    )  # fmt: skip


# -- CDCN


def test_a_central_difference_convolution_is_its_definition() -> None:
    torch.manual_seed(0)
    layer, x = CentralDifferenceConv(2, 3, theta=0.7), torch.randn(1, 2, 5, 6)
    padded, found = functional.pad(x, (1, 1, 1, 1)), layer(x)
    for out in range(3):
        for row in range(5):
            for column in range(6):
                window, centre = padded[0, :, row : row + 3, column : column + 3], x[0, :, row, column][:, None, None]
                plain = (layer.weight[out] * window).sum()
                difference = (layer.weight[out] * (window - centre)).sum()
                wanted = 0.7 * difference + 0.3 * plain
                torch.testing.assert_close(found[0, out, row, column], wanted)
    # On an even area differences are zero: only the plain part is left.
    even = CentralDifferenceConv(1, 1, theta=1.0)(torch.full((1, 1, 5, 5), 3.0))
    torch.testing.assert_close(even[0, 0, 1:4, 1:4], torch.zeros(3, 3))


def test_depth_targets_and_contrasts() -> None:
    depth = dome(16)
    assert depth.max() > 0.98 and depth[0, 0] == 0 and depth[:, 8].count_nonzero() > depth[8].count_nonzero()
    torch.testing.assert_close(depth, depth.flip(0))
    point = torch.zeros(1, 3, 3)
    point[0, 1, 1] = 1.0
    found = contrasts(point)[0]
    assert (found[:, 1, 1] == -1).all(), "eight neighbours of the point, each 0 - 1"
    assert found[0, 2, 2] == 1 and found[0, 0, 0] == 0, "its upper left neighbour is the point"


def test_a_map_outside_the_domes_range_still_has_its_place() -> None:
    shares = torch.tensor([-0.4, -0.2, 0.0, 0.5, 1.0, 1.3, 1.6])
    found = height_score(shares[:, None, None] * dome(16)).tolist()
    assert found == sorted(set(found)) and found[3] == pytest.approx(0.5)
    assert 0 < found[0] < found[2] < 0.03 and 0.97 < found[4] < found[-1] < 1


# -- PatchNet


def test_the_margin_softmax_by_hand() -> None:
    cosines, truth, margin = torch.tensor([[0.5, 0.2], [0.1, 0.3]]), torch.tensor([0, 1]), torch.tensor([0.4, 0.1])
    found = margin_softmax(cosines, truth, margin, 30.0, torch.tensor([1.0, 3.0]))
    first = math.log(1 + math.exp(30 * (0.2 - (0.5 - 0.4))))
    second = math.log(1 + math.exp(30 * (0.1 - (0.3 - 0.1))))
    assert float(found) == pytest.approx((first + 3 * second) / 4, rel=1e-5)


def test_patches_are_cut_not_resized_and_alike_patches_cost_nothing() -> None:
    design = Design("patchnet", PRESENTATION_TYPES, ("a", "b"), 64, {"patch_size": 32, "backbone": TINY_RESNET})
    model = new_baseline(design, init=None, seed=0)
    assert isinstance(model, PatchNet) and model.directions.shape == (24, 24)
    ramp = torch.arange(64.0).expand(2, 3, 64, 64) / 64
    cut = model._random_patches(ramp, np.random.default_rng(0))
    assert cut.shape == (2, 3, 32, 32) and ((cut[..., 1:] - cut[..., :-1]) * 64 == 1).all()
    grey = Batch(torch.zeros(4, 3, 64, 64), torch.tensor([0, 1, 2, 3]), torch.zeros(4).long(), torch.ones(12), torch.ones(2))
    model.eval()
    assert float(model.losses(grey, np.random.default_rng(0))["similarity"].detach()) == pytest.approx(0, abs=1e-9)
    told = {"backbone": TINY_RESNET, "patch_size": 96}
    with pytest.raises(ValueError, match="patch_size 96 of a square of 64"):
        new_baseline(Design("patchnet", COARSE_TYPES, ("a",), 64, told), init=None, seed=0)
    del told["patch_size"]
    wide = new_baseline(Design("patchnet", COARSE_TYPES, ("a",), 224, told), init=None, seed=0)
    assert isinstance(wide, PatchNet) and wide.patch_size == 160


def test_class_directions_turn_within_a_few_steps(stage_config: Make) -> None:
    config = stage_config("patchnet", pictures=160, save_minutes=9.0, eval_every=10**6)
    train_baseline(config)
    after = load_baseline(config.out)
    before = new_baseline(replace(after.design, settings=config.model), init=None, seed=config.seed)
    assert isinstance(after, PatchNet) and isinstance(before, PatchNet)
    cosine = functional.cosine_similarity(after.directions, before.directions).clamp(max=1)
    assert torch.rad2deg(cosine.acos()).median() > 1, "directions of length 5, the old start, turn by 0.3 degrees"


# -- IADG


def test_whitening_by_hand() -> None:
    # Two channels over four places: means 0, products 4 + 4 + 1 + 1 = 10, less places 3.
    features = torch.tensor([[[[2.0, -2.0], [1.0, -1.0]], [[2.0, -2.0], [1.0, -1.0]]]])
    found = covariances(features)
    torch.testing.assert_close(found, torch.tensor([[[0.0, 10 / 3], [0.0, 0.0]]]))
    torch.testing.assert_close(covariances(features + 5), found)
    mask = most_variable(torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), share=2 / 9 + 1e-9)
    assert mask.nonzero().tolist() == [[0, 1], [1, 2]]
    covariance = torch.tensor([[[0.0, -4.0, 9.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]])
    assert float(masked_size(covariance, mask)) == 3.0
    assert most_variable(torch.eye(3), share=0.0).sum() == 1


def test_styles() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 4)
    style = style_of(features)
    assert style.shape == (2, 6)
    torch.testing.assert_close(with_style(features, style), features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(style_of(with_style(features, style.flip(0))), style.flip(0), rtol=1e-4, atol=1e-4)
    points = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    assert farthest(points, 3).flatten().tolist() == [10.0, 0.0, 2.0]


def test_dynamic_kernels_are_each_pictures_own() -> None:
    torch.manual_seed(0)
    layer = DynamicKernels(4, 6).eval()
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]), rtol=1e-4, atol=1e-5)
    kernel = layer.generate(x[0, 0].mean()[None]).reshape(1, 1, 3, 3)
    by_hand = functional.conv2d(x[:1, :1], kernel, padding=1)
    moved: list[Tensor] = []
    layer.fuse.register_forward_pre_hook(lambda module, inputs: moved.append(inputs[0]))
    layer(x)
    torch.testing.assert_close(moved[0][:1, :1], by_hand, rtol=1e-4, atol=1e-5)


def test_iadg_mixes_styles_of_the_own_class_once_it_knows_enough() -> None:
    told = {"backbone": TINY_RESNET, "width": 8, "memory": 8, "base_styles": 2}
    model = new_baseline(Design("iadg", PRESENTATION_TYPES, ("a", "b"), 64, told), init=None, seed=0)
    assert isinstance(model, Iadg)
    batch = batch_of([0, 0, 1, 2])
    early = model.losses(batch, np.random.default_rng(0))
    assert float(early["whitening"]) == 0
    for step in range(20):
        model.losses(batch, np.random.default_rng(step))
    late = model.losses(batch, np.random.default_rng(0))
    assert float(late["whitening"].detach()) > 0 and float(late["verdict"].detach()) > float(early["verdict"].detach())
    buffers = dict(model.named_buffers())
    assert buffers["met"].tolist() == [44, 44] and bool((buffers["measured"] > 0).all())
    for kind in (0, 1):
        kept = {tuple(style.tolist()) for style in buffers["styles"][kind]}
        assert {tuple(style.tolist()) for style in buffers["bases"][kind]} & kept, "base styles are pictures' own"


# -- CoOp


def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([row.sentence for row in TAXONOMY], vocab_size=300)


def clip_folder(path: Path) -> Path:
    words = tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": 40, "eos_token_id": words.eos_token_id}
    config = CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 64, "patch_size": 16}, projection_dim=24)
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(path)
    words.save_pretrained(path)
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return path


def siglip_folder(path: Path) -> Path:
    words = tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": 40, "projection_size": 32}
    config = SiglipConfig(text_config=text, vision_config={**sizes, "image_size": 64, "patch_size": 16})
    torch.manual_seed(0)
    SiglipModel(config).save_pretrained(path)
    words.save_pretrained(path)
    told = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (path / "preprocessor_config.json").write_text(json.dumps(told))
    return path


@pytest.fixture(params=["faceshield", "clip", "siglip"])
def towers(request: pytest.FixtureRequest, checkpoint: Path, tmp_path: Path) -> Path:
    """A folder with CLIP-style towers."""
    if request.param == "faceshield":
        return checkpoint
    return clip_folder(tmp_path / "clip") if request.param == "clip" else siglip_folder(tmp_path / "siglip")


def test_coop_trains_the_context_alone(towers: Path, stage_config: Make) -> None:
    settings: dict[str, Any] = {"model": {"context": 4}, "init": str(towers), "learning_rate": 0.05, "weight_decay": 0}
    config = stage_config("coop", **settings)
    train_baseline(config)
    fresh = Coop(load_baseline(config.out).design)
    fresh.start_from(towers)
    after = read_weights(config.out)
    changed = [name for name, value in fresh.state_dict().items() if not torch.equal(value, after[name])]
    assert len(changed) == 1 and changed[0].endswith("token_embedding.vectors") and after[changed[0]].shape[:2] == (1, 4)
    trained = [name for name, value in fresh.named_parameters() if value.requires_grad]
    assert trained == changed
    # Going on from its own folder starts where it was.
    again = stage_config("coop", "again", **{**settings, "init": str(config.out), "learning_rate": 1e-9})
    train_baseline(again)
    torch.testing.assert_close(read_weights(again.out)[changed[0]], after[changed[0]], rtol=0, atol=1e-6)
    other = stage_config("coop", "other", init=str(config.out), model={"context": 4, "scale": 99.0})
    with pytest.raises(ValueError, match=r"other settings \(scale\) — expected its own"):
        train_baseline(other)


def test_coop_compares_with_the_towers_own_words(checkpoint: Path, stage_config: Make) -> None:
    """With the embeddings of words as context, a class's vector is the text tower's of those words before its name."""
    config = stage_config("coop", init=str(checkpoint), model={"context": 2}, pictures=8)
    train_baseline(config)
    model, ours = load_baseline(config.out), load(checkpoint)
    assert isinstance(model, Coop)
    words = ours.processor.prompt_tokenizer("a", add_special_tokens=False)["input_ids"][:1] * 2
    with torch.no_grad():
        model.context.vectors.copy_(model.context.tokens(torch.tensor([words])))
        plain = ours.processor.prompt_tokenizer("Print", add_special_tokens=True)["input_ids"]
        row = [*words, *plain]
        pad = ours.processor.encode_prompts("")[0, -1]
        ids = torch.full((1, ours.processor.prompt_length), int(pad))
        ids[0, : len(row)] = torch.tensor(row)
        wanted = functional.normalize(ours.model.model.prompt_tower(input_ids=ids).pooler_output, dim=1)[0]
        model.train(False)
        torch.testing.assert_close(model._class_vectors()[PRESENTATION_TYPES.index("Print")], wanted, rtol=1e-4, atol=1e-5)
        pixels = torch.rand(2, 3, 64, 64) * 2 - 1
        image = functional.normalize(ours.model.model.vision_tower(pixels).pooler_output, dim=1)
        found = model(pixels)[:, PRESENTATION_TYPES.index("Print")]
        torch.testing.assert_close(found, 30.0 * image @ wanted, rtol=1e-3, atol=1e-3)


def test_what_coop_cannot_start_from(stage_config: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="coop without init"):
        train_baseline(stage_config("coop"))
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="'bert' — expected faceshield, clip or siglip"):
        train_baseline(stage_config("coop", init=str(tmp_path / "bert")))
    with pytest.raises(ValueError, match="expected 10 in all"):
        prompt_ids(tokenizer(), ["a text"], 16, 10)
