from __future__ import annotations

import pytest
import torch
from transformers import AutoModel, AutoModelForImageTextToText, SiglipVisionModel

from faceshield.model import FaceShieldForConditionalGeneration, FaceShieldModel

# PEFT 0.21 still asks transformers by the old name.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
QUESTIONS = [
    "Why?",
    "Is this face bona fide or an attack, and of what type?",
    "What type of presentation is this?",
]


@pytest.fixture
def batch(pair, pictures):
    return pair[1](images=pictures, text=QUESTIONS)


def logits(model, inputs):
    with torch.inference_mode():
        return model(**inputs).logits


def test_weights_of_few_bits_compute_in_the_type_of_what_they_are_given(pair, pictures):
    """Packed weights are whole numbers: features made whole numbers too would be nonsense without a word."""
    model, processor = pair
    inputs = processor(images=pictures[:1], text="Why?")
    expected = model(**inputs).logits

    class Packed(torch.nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.of = [linear]
            self.weight = torch.nn.Parameter(linear.weight.to(torch.uint8), requires_grad=False)

        def forward(self, x):
            assert x.is_floating_point()
            return self.of[0](x)

    for name in ("linear_1", "linear_2"):
        setattr(model.model.multi_modal_projector, name, Packed(getattr(model.model.multi_modal_projector, name)))
    assert torch.equal(model(**inputs).logits, expected)


def test_left_padded_rows_equal_single_rows(pair, batch, pictures):
    model, processor = pair
    together = logits(model, batch)
    for row, (picture, question) in enumerate(zip(pictures, QUESTIONS, strict=True)):
        alone = logits(model, processor(images=picture, text=question))
        torch.testing.assert_close(together[row, -alone.shape[1] :], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ranking", [{}, {"pvtm_scope": "per_stream"}, {"pvtm_mask": "mean", "pvtm_draw": "exact"}])
@pytest.mark.parametrize("pvtm_inference", ["off", "paper"])
def test_pictures_with_and_without_savp_mix_in_a_batch(make_pair, pictures, pvtm_inference, ranking):
    model, processor = make_pair(pvtm_inference=pvtm_inference, pvtm_mask_ratio=0.5, **ranking)
    second = [True, False, True, False]
    four, asked = [*pictures, pictures[0]], [*QUESTIONS, QUESTIONS[1]]
    together = processor(images=four, text=asked, savp=second)
    assert together["savp_mask"].tolist() == second
    mixed = logits(model, together)
    told = model.generate(**together, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    for row, (picture, question, both) in enumerate(zip(four, asked, second, strict=True)):
        one = processor(images=picture, text=question, savp=both)
        assert "savp_mask" not in one and ("savp_values" in one) == both
        alone = logits(model, one)
        torch.testing.assert_close(mixed[row, -alone.shape[1] :], alone[0], atol=1e-5, rtol=1e-5)
        assert torch.equal(told[row, -4:], model.generate(**one, max_new_tokens=4, min_new_tokens=4, do_sample=False)[0, -4:])
    assert (mixed[0, -1] - mixed[3, -1]).abs().max() > 1e-2
    pixels = [together.pop("pixel_values"), together.pop("savp_values"), together["savp_mask"]]
    features, joint = model.encode_images(*pixels)
    torch.testing.assert_close(logits(model, {**together, "vision_features": features, "vision_joint": joint}), mixed)


def test_a_row_without_savp_learns_as_alone(make_pair, pictures):
    model, processor = make_pair(pvtm_mask="attention", pvtm_mask_ratio=0.5)
    model.train()
    given = {"text": QUESTIONS, "answers": ["No."] * 3, "savp": [False, True, False]}
    inputs = processor(images=pictures, **given)
    together = model(**inputs, pvtm_seeds=torch.arange(3)).logits
    for row in range(3):
        one = processor(images=pictures[row], **{name: values[row] for name, values in given.items()})
        alone = model(**one, pvtm_seeds=torch.tensor([row])).logits
        torch.testing.assert_close(together[row, : alone.shape[1]], alone[0], atol=1e-5, rtol=1e-5)


def test_a_mask_of_streams_that_are_all_alike(pair, pictures):
    """What a part of a mixed batch may come to."""
    model, processor = pair
    model.config.pvtm_inference = "paper"
    inputs, seeds = processor(images=pictures, text=QUESTIONS), torch.arange(3)
    expected = model(**inputs, pvtm_seeds=seeds).logits
    found = model(**inputs, savp_mask=torch.tensor([True, True, True]), pvtm_seeds=seeds).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_placeholder_for_a_stream_that_is_not_there_is_refused(pair, pictures):
    model, processor = pair
    inputs = processor(images=pictures, text=QUESTIONS, savp=[True, False, True])
    inputs["savp_mask"] = torch.tensor([True, True, False])
    with pytest.raises(ValueError, match=r"per row \[32, 16, 32\] — expected \[32, 32, 16\]"):
        model(**inputs)
    with pytest.raises(ValueError, match="2 savp values for 3 pictures"):
        processor(images=pictures, text=QUESTIONS, savp=[True, False])


def test_eager_and_sdpa_agree(pair, batch):
    model, _ = pair
    got = {}
    for kind in ("eager", "sdpa"):
        model.set_attn_implementation(kind)
        assert model.model.vision_tower.config._attn_implementation == kind
        got[kind] = logits(model, batch)
    kept = batch["attention_mask"].bool()
    assert got["eager"][kept].std() > 0.5
    torch.testing.assert_close(got["eager"][kept], got["sdpa"][kept], atol=1e-5, rtol=1e-5)


def test_cached_features_equal_pixels(pair, batch):
    model, _ = pair
    pixels = {name: batch.pop(name) for name in ("pixel_values", "savp_values")}
    features, joint = model.encode_images(**pixels)
    assert torch.equal(
        logits(model, {**batch, **pixels}),
        logits(model, {**batch, "vision_features": features, "vision_joint": joint}),
    )
    one = model.encode_images(pixels["pixel_values"][1:2], pixels["savp_values"][1:2])
    torch.testing.assert_close(one[0][0], features[1], atol=1e-5, rtol=1e-5)


def test_features_are_the_state_before_the_last_layer_rgb_first(pair, batch):
    model, _ = pair
    features, _ = model.encode_images(batch["pixel_values"], batch["savp_values"])
    states = model.model.vision_tower(batch["savp_values"], output_hidden_states=True).hidden_states
    assert len(states) == 4
    torch.testing.assert_close(features[:, 16:], states[-2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_number_of_placeholders_is_refused(pair, batch, change):
    model, processor = pair
    ids = batch["input_ids"]
    where = (ids[1] == processor.image_token_id).nonzero().flatten()
    ids[1, where[-1] + (1 if change == 1 else 0)] = processor.image_token_id if change == 1 else 5
    with pytest.raises(ValueError, match="image placeholders per row"):
        model(**batch)


def test_missing_second_stream_is_refused(pair, batch):
    del batch["savp_values"]
    with pytest.raises(ValueError, match=r"expected \[16, 16, 16\]"):
        pair[0](**batch)


@pytest.mark.parametrize("cache", [None, "static"])
def test_generate_equals_greedy_by_hand(pair, batch, cache):
    model, processor = pair
    generated = model.generate(
        **batch,
        max_new_tokens=6,
        min_new_tokens=6,
        do_sample=False,
        cache_implementation=cache,
        disable_compile=True,
    )
    new = generated[:, batch["input_ids"].shape[1] :]
    rows = {key: value.clone() for key, value in batch.items()}
    for step in range(6):
        scores = logits(model, rows)[:, -1].clone()
        scores[:, processor.eos_token_id] = -torch.inf
        token = scores.argmax(-1, keepdim=True)
        assert torch.equal(token[:, 0], new[:, step])
        rows["input_ids"] = torch.cat([rows["input_ids"], token], 1)
        rows["attention_mask"] = torch.cat([rows["attention_mask"], torch.ones_like(token)], 1)


def test_generate_from_cached_features_and_several_sequences(pair, batch):
    model, _ = pair
    wanted = model.generate(**batch, max_new_tokens=5, do_sample=False, num_beams=2)
    features, joint = model.encode_images(batch.pop("pixel_values"), batch.pop("savp_values"))
    got = model.generate(**batch, vision_features=features, vision_joint=joint, max_new_tokens=5, do_sample=False, num_beams=2)
    assert torch.equal(wanted, got)


def test_loss_trains_projector_and_language_model_with_frozen_towers(pair, pictures):
    model, processor = pair
    model.train()
    for tower in (model.model.vision_tower, model.model.prompt_tower):
        tower.requires_grad_(False)
    inputs = processor(images=pictures, text=QUESTIONS, answers=["No."] * 3)
    out = model(**inputs, pvtm_seeds=torch.arange(3))
    out.loss.backward()
    by_hand = torch.nn.functional.cross_entropy(
        out.logits[:, :-1].flatten(0, 1).float(), inputs["labels"][:, 1:].flatten(), ignore_index=-100
    )
    torch.testing.assert_close(out.loss, by_hand)
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.model.vision_tower.parameters())


def test_loss_counts_items_across_accumulated_batches(pair, pictures):
    model, processor = pair
    inputs = processor(images=pictures, text=QUESTIONS, answers=["No."] * 3)
    plain = model(**inputs).loss
    count = int((inputs["labels"][:, 1:] != -100).sum())
    torch.testing.assert_close(model(**inputs, num_items_in_batch=2 * count).loss, plain / 2)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_unfrozen_tower_gets_gradients_and_checkpointing_keeps_them(pair, pictures):
    model, processor = pair
    inputs = processor(images=pictures, text=QUESTIONS, answers=["No."] * 3)
    model.train()
    losses, gradients = [], []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        losses.append(model(**inputs, pvtm_seeds=torch.arange(3)).loss)
        losses[-1].backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0]["model.vision_tower.embeddings.patch_embedding.layers.0.weight"].abs().sum() > 0
    assert set(gradients[0]) == set(gradients[1])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-5, rtol=0)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_packed_questions_equal_separate_ones(pair, pictures):
    """One picture, two questions in one row: a 4-D mask and restarted positions, as the trainer packs them."""
    model, processor = pair
    pixels = processor(images=pictures[0])
    whole = [processor.encode_question(q) for q in QUESTIONS[:2]]
    shared = max(i for i, token in enumerate(whole[0]) if token == processor.image_token_id) + 1
    tails = [row[shared:] for row in whole]
    ids = whole[0][:shared] + tails[0] + tails[1]
    length, first_end = len(ids), shared + len(tails[0])
    mask = torch.tril(torch.ones(length, length, dtype=torch.bool))
    mask[first_end:, shared:first_end] = False
    positions = [*range(first_end), *range(shared, shared + len(tails[1]))]
    packed = logits(
        model, {**pixels, "input_ids": torch.tensor([ids]), "attention_mask": mask[None, None],
                "position_ids": torch.tensor([positions])}
    )[0]  # fmt: skip
    for row, place in zip(whole, (slice(shared, first_end), slice(first_end, length)), strict=True):
        alone = logits(model, {**pixels, "input_ids": torch.tensor([row])})[0]
        torch.testing.assert_close(packed[place], alone[shared:], atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings(OLD_NAME)
def test_small_tower_is_siglips_but_for_the_stem(pair):
    model, _ = pair
    tower = model.model.vision_tower
    assert isinstance(tower, SiglipVisionModel)
    pixels = torch.randn(2, 3, 64, 64)
    alone = tower(pixels[:1]).pooler_output
    torch.testing.assert_close(tower(pixels).pooler_output[:1], alone, atol=1e-5, rtol=1e-5)
    blocks = [m for m in tower.modules() if type(m).__name__ == "ResidualBlock"]
    assert len(blocks) == 3 and all(block.conv_2.weight.std() < 0.01 < block.conv_1.weight.std() for block in blocks)


def test_siglip_itself_fits_as_tower(make_pair, tokenizer, pictures, tmp_path):
    from faceshield.model import build, load, save

    siglip = {"model_type": "siglip_vision_model", "image_size": 64, "patch_size": 16, "hidden_size": 48,
              "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3}  # fmt: skip
    small = make_pair()[0].config.to_dict()
    values = {
        "vision_config": siglip,
        "prompt_config": small["prompt_config"],
        "text_config": small["text_config"],
    }
    model, processor = build(values, tokenizer)
    assert type(model.model.vision_tower) is SiglipVisionModel
    inputs = processor(images=pictures, text="Why?")
    save(model.eval(), processor, tmp_path)
    torch.testing.assert_close(logits(load(tmp_path).model, inputs), logits(model, inputs), atol=1e-5, rtol=1e-5)


def test_transformers_auto_classes_load_the_checkpoint(tmp_path, pair):
    model, _ = pair
    model.save_pretrained(tmp_path)
    assert isinstance(AutoModelForImageTextToText.from_pretrained(tmp_path), FaceShieldForConditionalGeneration)
    assert isinstance(AutoModel.from_pretrained(tmp_path), FaceShieldModel)


def test_exactly_one_source_of_ids_and_pictures(pair, batch):
    model, _ = pair
    with pytest.raises(ValueError, match="exactly one"):
        model()
    with pytest.raises(ValueError, match="no picture"):
        model.get_image_features()
    embedded = model.get_input_embeddings()(batch.pop("input_ids"))
    with pytest.raises(ValueError, match="found by id"):
        model(inputs_embeds=embedded, **batch)
