from __future__ import annotations

import math

import pytest
import torch

from faceshield.model import FaceShieldConfig, load, pvtm, save


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


def test_exact_masks_the_same_number_in_every_row():
    scores = torch.randn(50, 200)
    keep = pvtm.mask_tokens(scores, 0.1, 0.05, torch.arange(50), exact=True)
    assert set((~keep).sum(1).tolist()) == {round(0.05 * 180)}
    top = scores.topk(20, dim=1).indices
    assert keep.gather(1, top).all()
    assert len({tuple(row.tolist()) for row in keep}) == 50


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
    torch.testing.assert_close(torch.stack(out.pooler_output)[~keep], projector(torch.zeros(48)).expand(int((~keep).sum()), -1))


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
    model.config.pvtm_mask_ratio, model.config.pvtm_keep_ratio = 1.0, 0.25
    prompts = inputs["prompt_input_ids"].clone()
    prompts[1, :3], prompts[2, :3] = torch.tensor([5, 6, 7]), torch.tensor([30, 20, 10])  # a question of its own for each
    plain = model.model.mask_features(features, joint, prompts, torch.arange(3))[1]
    setattr(model.config, option, value)
    masked, keep = model.model.mask_features(features, joint, prompts, torch.arange(3))
    assert keep.sum(1).tolist() == [8, 8, 8]
    assert torch.equal(keep, plain) == (option == "pvtm_mask"), "the option changes nothing"
    if option == "pvtm_scope":
        assert keep.view(3, 2, 16).sum(-1).eq(4).all()
    filler = features.mean(1, keepdim=True).expand_as(features) if option == "pvtm_mask" else torch.zeros_like(features)
    torch.testing.assert_close(masked[~keep], filler[~keep])
    assert torch.equal(keep, model.model.mask_features(features, joint, prompts, torch.arange(3))[1])


def test_a_learned_mask_token_is_the_projectors(make_pair, pictures, tmp_path):
    model, processor = make_pair(pvtm_mask="learned", pvtm_mask_ratio=1.0)
    inputs = processor(images=pictures, text="Why?", answers=["This is a bona fide face."] * 3)
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    model.train()(**inputs).loss.backward()
    token = model.model.multi_modal_projector.mask_token
    assert token.grad.abs().sum() > 0
    with torch.no_grad():
        token.add_(1.0)
    features, joint = model.encode_images(inputs["pixel_values"], inputs["savp_values"])
    masked, keep = model.model.mask_features(features, joint, inputs["prompt_input_ids"], torch.arange(3))
    assert torch.equal(masked[~keep], torch.ones_like(masked[~keep])) and torch.equal(masked[keep], features[keep])
    save(model, processor, tmp_path)
    assert torch.equal(load(tmp_path).model.model.multi_modal_projector.mask_token, token)


@pytest.mark.parametrize("packed", [False, True])
def test_what_attention_hides_changes_no_answer(make_pair, pictures, packed):
    model, processor = make_pair(pvtm_mask="attention", pvtm_mask_ratio=0.5)
    inputs = dict(processor(images=pictures, text=["Why?", "What type of presentation is this?", "Is it?"]))
    inputs["pvtm_seeds"] = torch.arange(3)
    features, joint = model.encode_images(inputs.pop("pixel_values"), inputs.pop("savp_values"))
    _, keep = model.model.mask_features(features, joint, inputs["prompt_input_ids"], inputs["pvtm_seeds"])
    other = torch.where(keep.unsqueeze(-1), features, torch.randn_like(features) * 5)
    words = inputs["attention_mask"].bool() & (inputs["input_ids"] != processor.image_token_id)
    if packed:
        real = inputs["attention_mask"].bool()
        length = real.shape[1]
        eye, causal = torch.eye(length, dtype=torch.bool), torch.ones(length, length, dtype=torch.bool).tril()
        inputs["position_ids"] = (real.long().cumsum(-1) - 1).clamp(min=0)
        inputs["attention_mask"] = (causal & (real[:, None, :] | eye))[:, None]
    model.train()
    given = {**inputs, "vision_joint": joint}
    first, second = (model(**given, vision_features=x).logits.detach() for x in (features, other))
    torch.testing.assert_close(first[words], second[words], rtol=0, atol=1e-5)
    model.config.pvtm_mask_ratio = 0.0
    shown = model(**given, vision_features=features).logits.detach()
    assert (shown - first)[words].abs().max() > 1e-3


def test_attention_is_for_training_alone():
    with pytest.raises(ValueError, match="pvtm_mask 'attention' with pvtm_inference 'paper'"):
        FaceShieldConfig(pvtm_mask="attention", pvtm_inference="paper")
    with pytest.raises(ValueError, match="pvtm_ranking 'shuffled_prompt' with pvtm_inference 'paper'"):
        FaceShieldConfig(pvtm_ranking="shuffled_prompt", pvtm_inference="paper")


def test_llm_embed_ranks_by_the_language_models_words(make_pair, pictures):
    model, processor = make_pair(pvtm_space="llm_embed", pvtm_mask_ratio=1.0, pvtm_keep_ratio=0.25)
    inputs = processor(images=pictures, text="What type of presentation is this?")
    features, joint = model.encode_images(inputs["pixel_values"], inputs["savp_values"])
    _, keep = model.model.mask_features(features, joint, inputs["prompt_input_ids"], torch.arange(3))
    words = torch.tensor(processor.tokenizer("What type of presentation is this?")["input_ids"])
    text = model.get_input_embeddings()(words).mean(0)
    cosine = torch.cosine_similarity(model.model.multi_modal_projector(features), text, dim=-1)
    assert torch.equal(keep, torch.zeros_like(keep).scatter_(1, cosine.topk(8, dim=1).indices, True))


def test_an_equal_prompt_passes_the_text_tower_once(pair):
    model, processor = pair[0].model, pair[1]
    passed = []
    hook = model.prompt_tower.register_forward_hook(lambda _, __, out: passed.append(len(out.pooler_output)))
    ids = processor.encode_prompts(["Why?", "What type is it?", "Why?"])
    first = model.encode_prompts(ids)
    assert passed == [2] and torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    torch.testing.assert_close(model.encode_prompts(ids[1:2])[0], first[1])
    assert passed == [2]
    with torch.no_grad():
        model.prompt_tower.head.bias.add_(1.0)  # other weights, another answer
    with torch.autocast("cpu", torch.bfloat16):  # what is kept has the weights' precision, whoever asked first
        torch.testing.assert_close(model.encode_prompts(ids), first + 1.0)
    hook.remove()


def encode(make_pair, pictures, **values):
    model, processor = make_pair(pvtm_mask_ratio=0.5, **values)
    inputs = processor(images=pictures, text="Why?")
    features, joint = model.encode_images(inputs["pixel_values"], inputs["savp_values"])
    return model, features, joint, inputs["prompt_input_ids"]


def test_each_stream_has_a_draw_of_its_own(make_pair, pictures):
    model, features, joint, prompts = encode(make_pair, pictures, pvtm_scope="per_stream", pvtm_keep_ratio=0.0)
    _, keep = model.model.mask_features(features, joint, prompts, torch.arange(3))
    rgb, descriptors = keep.view(3, 2, 16).unbind(1)
    assert not torch.equal(rgb, descriptors)


def test_a_random_ranking_is_not_the_draw(make_pair, pictures):
    """Else it would protect whom the draw spares anyway, and nobody else."""
    model, features, joint, prompts = encode(make_pair, pictures, pvtm_ranking="random", pvtm_keep_ratio=0.25)
    _, keep = model.model.mask_features(features, joint, prompts, torch.arange(3))
    spared = pvtm.seeded_uniform(torch.arange(3), 32) >= 0.5
    assert (keep & ~spared).any()


def test_without_seeds_training_draws_anew(make_pair, pictures):
    model, features, joint, prompts = encode(make_pair, pictures)
    model.train()
    given = {"vision_features": features, "vision_joint": joint, "prompt_input_ids": prompts}
    first, second = (model.get_image_features(**given).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)
