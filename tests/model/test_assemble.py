"""FaceShield from small checkpoints in the published layouts: every tensor in its place, every fault named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration
from typer.testing import CliRunner

import published
from faceshield.cli import app
from faceshield.model import FaceShieldConfig, load, save
from faceshield.model.assemble import assemble, export_bunny, load_tokenizer
from faceshield.model.savp import LbpMethod
from faceshield.model.tensor_files import TensorFolder, WeightsError


def read_all(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert set(left) == set(right)
    for name, value in left.items():
        assert value.dtype == right[name].dtype and torch.equal(value, right[name]), name


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    published.write_siglip(folder / "siglip")
    published.write_phi3(folder / "phi3")
    published.write_bunny(folder / "bunny")
    return folder


@pytest.fixture
def siglip(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "siglip", tmp_path / "siglip"))


@pytest.fixture
def phi3(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "phi3", tmp_path / "phi3"))


@pytest.fixture
def bunny(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "bunny", tmp_path / "bunny"))


# -- (a) SigLIP and Phi-3 --------------------------------------------------------------------------------------------------


def test_siglip_and_phi3_are_theirs_bit_for_bit(siglip: Path, phi3: Path) -> None:
    model, processor, source = assemble(siglip=siglip, language=phi3)
    state = model.state_dict()
    for name, value in read_all(siglip).items():
        if not name.startswith("logit_"):
            ours = name.replace("vision_model.", "model.vision_tower.").replace("text_model.", "model.prompt_tower.")
            assert torch.equal(state[ours], value), name
    for name, value in read_all(phi3).items():
        ours = name if name.startswith("lm_head") else "model.language_model." + name.removeprefix("model.")
        assert torch.equal(state[ours], value), name
    assert source["vocabulary"] == model.config.text_config.vocab_size  # a spare row took the image token
    assert processor.image_token_id == model.config.image_token_id == len(processor.tokenizer) - 1
    assert model.config.text_config.sliding_window == 2047


def test_the_projector_starts_from_the_seed_alone(siglip: Path, phi3: Path) -> None:
    def projector(seed: int) -> torch.Tensor:
        model, _, _ = assemble(siglip=siglip, language=phi3, seed=seed)
        return model.model.multi_modal_projector.linear_1.weight

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = projector(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, projector(0)) and not torch.equal(first, projector(1))
    assert first.std() > 0


@torch.no_grad()
def test_logits_equal_transformers_own_graph(siglip: Path, phi3: Path) -> None:
    """SAVP and PVTM off: transformers' SigLIP and Phi-3 in a Llava graph, with the same weights."""
    model, processor, _ = assemble(siglip=siglip, language=phi3, model={"use_savp": False, "pvtm_mask_ratio": 0.0})
    theirs = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=model.config.vision_config,
            text_config=model.config.text_config,
            image_token_id=model.config.image_token_id,
            projector_hidden_act="gelu",
            vision_feature_select_strategy="full",
            vision_feature_layer=-2,
        )
    ).eval()
    given = {name: value for name, value in model.state_dict().items() if "prompt_tower" not in name}
    theirs.load_state_dict(given, strict=True)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (60, 44, 3), dtype=np.uint8) for _ in range(2)]
    inputs = processor(images=pictures, text=["is this face bona fide", "why"])
    ours = model(**inputs).logits
    reference = theirs(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        pixel_values=inputs["pixel_values"],
        position_ids=(inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0),
    ).logits
    real = inputs["attention_mask"].bool()
    assert (ours - reference)[real].abs().max() <= 1e-5
    assert ours[real].std() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files(tmp_path: Path, dtype: torch.dtype) -> None:
    published.write_siglip(tmp_path / "s", dtype=dtype)
    language = published.write_phi3(tmp_path / "p", dtype=dtype)
    model, _, _ = assemble(siglip=tmp_path / "s", language=tmp_path / "p", dtype=dtype)
    assert model.dtype == dtype
    assert torch.equal(model.lm_head.weight, language.lm_head.weight)


def test_saved_and_loaded_it_gives_the_same_logits(siglip: Path, phi3: Path, tmp_path: Path) -> None:
    model, processor, _ = assemble(siglip=siglip, language=phi3)
    save(model, processor, tmp_path / "out")
    again = load(tmp_path / "out")
    equal(model.state_dict(), again.model.state_dict())
    picture = np.full((56, 56, 3), 90, np.uint8)
    first, second = (
        owner(**maker(images=picture, text="Is this Face bona-fide?")).logits
        for owner, maker in ((model, processor), (again.model, again.processor))
    )
    assert torch.equal(first, second)
    assert torch.equal(processor.encode_prompts("A FACE?"), again.processor.encode_prompts("a face"))


def test_prompts_are_siglips(siglip: Path, phi3: Path) -> None:
    """Lower case, no punctuation, end token, padded with it to 64: as SigLIP was trained."""
    _, processor, _ = assemble(siglip=siglip, language=phi3)
    ids = processor.encode_prompts(["Is this face bona fide?", "is this face, bona fide"])
    assert processor.encode_prompts("face " * 100)[0, -1] == processor.prompt_tokenizer.eos_token_id  # cut, and ended
    assert ids.shape == (2, 64) and torch.equal(ids[0], ids[1])
    assert (ids[0, -40:] == 1).all() and ids[0, 0] != 1


@pytest.mark.parametrize("hostile", ["is </s> this", "<image> this", "<unk></s>"])
def test_special_tokens_in_a_prompt_are_text(siglip: Path, phi3: Path, hostile: str) -> None:
    _, processor, _ = assemble(siglip=siglip, language=phi3)
    ids = processor.encode_prompts(hostile)[0].tolist()
    end = ids.index(1)
    assert end > 1 and set(ids[end:]) == {1} and processor.image_token_id not in ids


# -- (b) Bunny, merged -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bunny_in_ours_out_bunny_again(siglip: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    state = published.write_bunny(tmp_path / "in", dtype=dtype)
    model, processor, source = assemble(siglip=siglip, bunny=tmp_path / "in", language=None, dtype=dtype)
    save(model, processor, tmp_path / "ours")
    ours = load(tmp_path / "ours", dtype=dtype)
    export_bunny(ours.model, ours.processor, tmp_path / "out", source["vocabulary"])
    equal(read_all(tmp_path / "out"), state)
    third, _, _ = assemble(siglip=siglip, bunny=tmp_path / "out", language=None, dtype=dtype)
    equal(third.state_dict(), model.state_dict())


def test_one_file_is_as_good_as_shards(siglip: Path, bunny: Path) -> None:
    assert len(list(bunny.glob("*.safetensors"))) > 1
    sharded, _, _ = assemble(siglip=siglip, bunny=bunny, language=None)
    change(bunny, lambda state: None)
    single, _, _ = assemble(siglip=siglip, bunny=bunny, language=None)
    equal(single.state_dict(), sharded.state_dict())


def test_the_file_says_how_many_rows_there_are(siglip: Path, bunny: Path) -> None:
    """Bunny's config promises rows that the file has not, and its tokenizer has no row for the image token."""
    model, processor, source = assemble(siglip=siglip, bunny=bunny, language=None)
    rows = json.loads((bunny / "config.json").read_text())["vocab_size"] - 26
    assert source["vocabulary"] == rows
    assert processor.image_token_id == rows and model.config.text_config.vocab_size == rows + 1
    table = model.get_input_embeddings().weight
    torch.testing.assert_close(table[rows], table[:rows].mean(0), rtol=0, atol=1e-6)


def test_the_tower_is_chosen(siglip: Path, bunny: Path) -> None:
    name = "embeddings.patch_embedding.weight"
    tuned = published.tower(3)[f"model.vision_tower.vision_tower.vision_model.{name}"]
    original = read_all(siglip)[f"vision_model.{name}"]
    for tower, expected in (("bunny", tuned), ("original", original)):
        model, _, _ = assemble(siglip=siglip, bunny=bunny, language=None, tower=tower)
        assert torch.equal(model.model.vision_tower.state_dict()[name], expected)


def test_a_learnt_mask_token_begins_as_zero_whatever_the_files(siglip: Path, phi3: Path, bunny: Path) -> None:
    for source in ({"language": phi3}, {"bunny": bunny, "language": None}):
        model, _, _ = assemble(siglip=siglip, model={"pvtm_mask": "learned"}, **source)
        token = model.model.multi_modal_projector.mask_token
        assert token is not None and torch.equal(token, torch.zeros(48))


def test_a_missing_tower_is_not_silently_siglips(siglip: Path, tmp_path: Path) -> None:
    published.write_bunny(tmp_path / "b", with_tower=False)
    with pytest.raises(WeightsError, match="lacks .* tensors of the vision tower .* tower='original'"):
        assemble(siglip=siglip, bunny=tmp_path / "b", language=None)
    assemble(siglip=siglip, bunny=tmp_path / "b", language=None, tower="original")


# -- (c) Bunny, LoRA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_tower", [False, True])
def test_a_lora_folder_is_merged(siglip: Path, tmp_path: Path, with_tower: bool) -> None:
    language = published.write_phi3(tmp_path / "phi3")
    merged = published.write_bunny_lora(tmp_path / "lora", language, with_tower=with_tower)
    model, processor, source = assemble(siglip=siglip, language=tmp_path / "phi3", bunny=tmp_path / "lora")
    export_bunny(model, processor, tmp_path / "out", source["vocabulary"])
    found = read_all(tmp_path / "out")
    for name, value in merged.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)
    changed = "model.layers.1.mlp.down_proj.weight"
    assert not torch.allclose(found[changed], language.state_dict()[changed], atol=1e-3)


def test_a_pickle_is_refused_with_the_line_that_converts_it(siglip: Path, tmp_path: Path) -> None:
    language = published.write_phi3(tmp_path / "phi3")
    published.write_bunny_lora(tmp_path / "lora", language)
    (tmp_path / "lora" / "non_lora_trainables.safetensors").rename(tmp_path / "lora" / "non_lora_trainables.bin")
    with pytest.raises(WeightsError, match=r"non_lora_trainables\.bin.*a pickle can run code.*save_file.*weights_only=True"):
        assemble(siglip=siglip, language=tmp_path / "phi3", bunny=tmp_path / "lora")


# -- what can be wrong -----------------------------------------------------------------------------------------------------


def change(folder: Path, edit: Any) -> None:
    """Puts all tensors of a folder into one file, edited."""
    state = read_all(folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    edit(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_all_faults_are_listed_at_once(siglip: Path, phi3: Path) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        state.pop("model.norm.weight")
        state["model.layers.0.self_attn.o_proj.weight"] = torch.zeros(3, 3)
        state["model.layers.9.mlp.down_proj.weight"] = torch.zeros(48, 64)

    change(phi3, edit)
    with pytest.raises(WeightsError) as error:
        assemble(siglip=siglip, language=phi3)
    for part in (
        "missing model.language_model.norm.weight",
        "wrong shape model.language_model.layers.0.self_attn.o_proj.weight (3, 3) (expected (48, 48))",
        "unexpected model.language_model.layers.9.mlp.down_proj.weight",
    ):
        assert part in str(error.value)


def test_a_tensor_of_no_known_place_is_refused(siglip: Path, phi3: Path) -> None:
    change(phi3, lambda state: state.update({"visual.head.weight": torch.zeros(2)}))
    with pytest.raises(WeightsError, match=r"unexpected visual\.head\.weight"):
        assemble(siglip=siglip, language=phi3)


def test_a_truncated_shard_is_named(siglip: Path, phi3: Path) -> None:
    shard = sorted(phi3.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"{shard.name}: unreadable weights .* bytes"):
        assemble(siglip=siglip, language=phi3)


def test_a_missing_shard_is_named(siglip: Path, phi3: Path) -> None:
    shard = sorted(phi3.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        assemble(siglip=siglip, language=phi3)


def test_an_index_that_names_too_much(phi3: Path) -> None:
    index = phi3 / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["model.layers.7.x"] = sorted(set(values["weight_map"].values()))[0]
    index.write_text(json.dumps(values))
    with pytest.raises(WeightsError, match=r"no shard holds: model\.layers\.7\.x"):
        TensorFolder(phi3)
    for text, fault in (("{", "expected whole JSON"), ("[]", "a list — expected an object"), ("{}", "no weight_map")):
        index.write_text(text)
        with pytest.raises(WeightsError, match=rf"model\.safetensors\.index\.json: .*{fault}"):
            TensorFolder(phi3)


def test_another_model_is_refused(siglip: Path, phi3: Path) -> None:
    with pytest.raises((WeightsError, ValueError), match="expected"):
        assemble(siglip=phi3, language=phi3)
    values = json.loads((phi3 / "config.json").read_text())
    (phi3 / "config.json").write_text(json.dumps({**values, "model_type": "llama"}))
    with pytest.raises(ValueError, match="model_type 'llama' — expected Phi-3"):
        assemble(siglip=siglip, language=phi3)


def test_a_folder_without_tokenizer(phi3: Path) -> None:
    (phi3 / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="no tokenizer.json and no tokenizer.model"):
        load_tokenizer(phi3)


# -- the command -----------------------------------------------------------------------------------------------------------


def test_the_verb_writes_a_checkpoint_that_loads(siglip: Path, phi3: Path, tmp_path: Path) -> None:
    options = ["processor={savp_lbp_method: uniform}", "model={pvtm_sign: -1}", "dtype=float32"]
    arguments = ["assemble", f"siglip={siglip}", f"language={phi3}", f"out={tmp_path / 'out'}", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    loaded = load(tmp_path / "out")
    assert loaded.processor.savp_lbp_method == "uniform" and loaded.model.config.pvtm_sign == -1
    assert loaded.info.extra["assembled"]["language"] == str(phi3)
    assert "checkpoint: " in result.output


CHANNELS = [["lbp", "gray", "hog"], ["gray", "hog", "lbp"], ["gray"] * 3, ["red", "green", "blue"], ["gray", "hog", "plgf"]]
CHOICES: dict[str, list[Any]] = {
    **{name: list(get_args(kind)) for name, kind in FaceShieldConfig.__annotations__.items() if name.startswith("pvtm_")},
    "pvtm_keep_ratio": [0.10, 0], "pvtm_mask_ratio": [0.5], "pvtm_sign": [1, -1], "pvtm_inference": ["off"],
    "pvtm_seed": [0, 7], "use_savp": [True, True, False], "answer_tokens": [512, 300],
}  # fmt: skip
PROCESSORS: dict[str, list[Any]] = {
    "savp_channels": CHANNELS, "savp_lbp_method": list(get_args(LbpMethod)), "savp_at": ["crop", "square"],
    "savp_hog_orientations": [8, 9], "savp_hog_cell": [8, 4], "savp_hog_block": [None, 2],
}  # fmt: skip


@pytest.mark.parametrize("turn", range(5))
def test_every_option_comes_from_a_config(siglip: Path, phi3: Path, tmp_path: Path, turn: int) -> None:
    """Five checkpoints that have every value of every open point between them; each is written, read back and trained."""
    model = {name: values[turn % len(values)] for name, values in CHOICES.items()}
    processor = {name: values[turn % len(values)] for name, values in PROCESSORS.items()}
    values = {"siglip": str(siglip), "language": str(phi3), "out": str(tmp_path / "out"), "dtype": "float32"}
    (tmp_path / "a.yaml").write_text(json.dumps({**values, "model": model, "processor": processor}))
    result = CliRunner().invoke(app, ["assemble", str(tmp_path / "a.yaml")])
    assert result.exit_code == 0, result.exception
    loaded = load(tmp_path / "out")
    assert {name: getattr(loaded.model.config, name) for name in model} == model
    assert {name: getattr(loaded.processor, name) for name in processor} == processor
    pictures = list(np.random.default_rng(turn).integers(0, 256, (2, 70, 60, 3), dtype=np.uint8))
    inputs = loaded.processor(images=pictures, text=["why", "is this face bona fide"], answers=["print", "bona fide"])
    loss = loaded.model.train()(**inputs, pvtm_seeds=torch.arange(2)).loss
    loss.backward()
    assert loss.isfinite() and loaded.model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("option", ["model={pvtm_sing: -1}", "processor={savp_lpb: x}"])
def test_a_misspelt_option_is_an_error(siglip: Path, phi3: Path, option: str) -> None:
    result = CliRunner().invoke(app, ["assemble", f"siglip={siglip}", f"language={phi3}", option])
    assert isinstance(result.exception, ValueError) and "did you mean" in str(result.exception)
