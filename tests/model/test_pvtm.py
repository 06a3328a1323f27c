from __future__ import annotations

import math

import pytest
import torch

from faceshield.model import pvtm


def test_importance_is_a_softmax_of_cosines():
    joint, text = torch.randn(2, 5, 8), torch.randn(2, 8)
    cosine = torch.stack([torch.cosine_similarity(joint[b], text[b][None], dim=-1) for b in range(2)])
    scores = pvtm.importance(joint, text)
    torch.testing.assert_close(scores, cosine.exp() / cosine.exp().sum(1, keepdim=True))
    assert (pvtm.importance(joint, text, -1).argsort(1) == scores.argsort(1).flip(1)).all()
    torch.testing.assert_close(pvtm.importance(joint * 7, text * 3), scores)


@pytest.mark.parametrize("keep_ratio", [0.0, 0.1, 0.3, 1.0])
def test_kept_set_is_exactly_the_top_k(keep_ratio):
    scores = torch.rand(4, 58).softmax(-1)
    keep = pvtm.mask_tokens(scores, keep_ratio, 1.0)  # every unprotected token goes
    k = round(keep_ratio * 58)
    assert keep.sum(1).tolist() == [k] * 4
    for row in range(4):
        assert set(keep[row].nonzero().flatten().tolist()) == set(scores[row].topk(k).indices.tolist())


def test_ties_go_to_the_first_tokens():
    assert pvtm.mask_tokens(torch.full((1, 20), 0.05), 0.25, 1.0)[0].nonzero().flatten().tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_share_of_masked_tokens_is_the_ratio_within_three_sigma():
    batch, tokens, keep_ratio, mask_ratio = 200, 288, 0.1, 0.05
    keep = pvtm.mask_tokens(torch.rand(batch, tokens), keep_ratio, mask_ratio, torch.arange(batch))
    draws = batch * (tokens - round(keep_ratio * tokens))
    sigma = math.sqrt(draws * mask_ratio * (1 - mask_ratio))
    assert abs((~keep).sum().item() - draws * mask_ratio) < 3 * sigma


def test_same_seed_same_mask_whatever_the_batch():
    scores = torch.rand(3, 100)
    seeds = torch.tensor([5, 6, 7])
    together = pvtm.mask_tokens(scores, 0.1, 0.3, seeds)
    alone = torch.cat([pvtm.mask_tokens(scores[i : i + 1], 0.1, 0.3, seeds[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, pvtm.mask_tokens(scores, 0.1, 0.3, seeds + 1))


def test_joint_tokens_are_the_head_on_each_token_alone(pair):
    tower = pair[0].model.vision_tower
    last = torch.randn(2, 6, 48)
    alone = torch.stack([tower.head(last[:, i : i + 1]) for i in range(6)], dim=1)
    torch.testing.assert_close(pvtm.joint_tokens(tower, last, last, "map_head"), alone)
    assert pvtm.joint_tokens(tower, last, last, "raw") is last
    with pytest.raises(ValueError, match="pvtm_space 'other'"):
        pvtm.joint_tokens(tower, last, last, "other")


@pytest.fixture
def encoded(pair, pictures):
    model, processor = pair
    inputs = processor(images=pictures, text="Is this face bona fide or an attack?")
    features, joint = model.encode_images(inputs["pixel_values"], inputs["savp_values"])
    return model, inputs, features, joint


def test_masked_features_are_zero_in_place_before_the_projector(encoded):
    model, inputs, features, joint = encoded
    model.config.pvtm_mask_ratio = 0.5
    masked, keep = model.model.mask_features(features, joint, inputs["prompt_input_ids"], torch.arange(3))
    assert masked.shape == features.shape and 0 < (~keep).sum() < keep.numel()
    assert torch.equal(masked[keep], features[keep])
    assert (masked[~keep] == 0).all()
    model.train()
    out = model.get_image_features(
        vision_features=features,
        vision_joint=joint,
        prompt_input_ids=inputs["prompt_input_ids"],
        pvtm_seeds=torch.arange(3),
    )
    projector = model.model.multi_modal_projector
    torch.testing.assert_close(torch.stack(out.pooler_output), projector(masked))
    torch.testing.assert_close(
        torch.stack(out.pooler_output)[~keep], projector(torch.zeros(48)).expand(int((~keep).sum()), -1)
    )


def test_off_is_the_identity(encoded):
    model, inputs, features, joint = encoded
    prompts = {"prompt_input_ids": inputs["prompt_input_ids"]}
    given = {"vision_features": features, "vision_joint": joint}
    assert torch.equal(model.get_image_features(**given, **prompts).last_hidden_state, features)
    model.train()
    assert torch.equal(model.get_image_features(**given).last_hidden_state, features)
    model.config.pvtm_mask_ratio = 0.0
    assert torch.equal(model.get_image_features(**given, **prompts).last_hidden_state, features)


def test_on_at_inference_is_repeatable(encoded):
    model, inputs, features, joint = encoded
    model.config.pvtm_inference, model.config.pvtm_mask_ratio = "paper", 0.5
    prompts = inputs["prompt_input_ids"]
    given = {"vision_features": features, "vision_joint": joint, "prompt_input_ids": prompts}
    first, again = (model.get_image_features(**given).last_hidden_state for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, features)
    with pytest.raises(ValueError, match="vision_joint"):
        model.get_image_features(vision_features=features, prompt_input_ids=prompts)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pvtm_ranking", "random"),
        ("pvtm_ranking", "shuffled_prompt"),
        ("pvtm_scope", "per_stream"),
        ("pvtm_sign", -1),
        ("pvtm_pool", "mean"),
        ("pvtm_mask", "mean"),
    ],
)
def test_every_option_masks_and_repeats(encoded, option, value):
    model, inputs, features, joint = encoded
    setattr(model.config, option, value)
    model.config.pvtm_mask_ratio, model.config.pvtm_keep_ratio = 1.0, 0.25
    prompts = inputs["prompt_input_ids"]
    masked, keep = model.model.mask_features(features, joint, prompts, torch.arange(3))
    assert keep.sum(1).tolist() == [8, 8, 8]
    if option == "pvtm_scope":
        assert keep.view(3, 2, 16).sum(-1).eq(4).all()
    filler = (
        features.mean(1, keepdim=True).expand_as(features)
        if option == "pvtm_mask"
        else torch.zeros_like(features)
    )
    torch.testing.assert_close(masked[~keep], filler[~keep])
    assert torch.equal(keep, model.model.mask_features(features, joint, prompts, torch.arange(3))[1])
