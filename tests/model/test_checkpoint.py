from __future__ import annotations

import json
import os
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from faceshield.model import CheckpointInfo, checkpoint_hash, load, read_info, resolve_model, save
from faceshield.model import checkpoint as checkpoint_module
from faceshield.model.drafts import Drafts

INFO = CheckpointInfo(
    threshold=0.4, threshold_source={"dataset": "dev", "n": 10, "criterion": "eer"}, questions={"coarse": "?"}
)
# PEFT 0.21 still asks transformers by the old name.
OLD_NAME = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
WEIGHT = "model.multi_modal_projector.linear_1.weight"


@pytest.fixture
def folder(tmp_path, pair):
    return save(*pair, tmp_path / "checkpoint", INFO)


def test_save_then_load_gives_the_same_logits(folder, pair, pictures):
    model, processor = pair
    loaded = load(folder)
    inputs = processor(images=pictures, text="Why?")
    loaded.model.set_attn_implementation({"vision_config": "eager", "prompt_config": "eager", "text_config": "sdpa"})
    with torch.inference_mode():
        assert torch.equal(model(**inputs).logits, loaded.model(**inputs).logits)
    assert loaded.info == INFO and not loaded.model.training
    again = loaded.processor(images=pictures, text="Why?")
    assert all(torch.equal(inputs[name], again[name]) for name in inputs)


def test_bfloat16_halves_the_file_and_loads_as_float32(folder, pair):
    size = (folder / "model.safetensors").stat().st_size
    save(*pair, folder, dtype=torch.bfloat16)
    assert (folder / "model.safetensors").stat().st_size < 0.6 * size
    model = load(folder).model
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(p.dtype == torch.float32 for p in pair[0].parameters())


def test_saving_again_keeps_the_info_and_other_files(folder, pair):
    (folder / "README.md").write_text("card")
    save(*pair, folder)
    assert read_info(folder) == INFO and (folder / "README.md").exists()
    assert not list(folder.glob(".saving-*"))


def test_weights_of_another_layout_do_not_outlive_a_save(folder, pair):
    model, processor = pair
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="200KB")
    assert (folder / "model.safetensors.index.json").is_file()
    with torch.no_grad():
        model.get_parameter(WEIGHT).add_(1.0)
    save(model, processor, folder)
    assert sorted(path.name for path in folder.glob("model*")) == ["model.safetensors"]
    assert torch.equal(load(folder).model.get_parameter(WEIGHT), model.get_parameter(WEIGHT))


def _edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_all_wrong_tensors_are_listed(folder):
    def change(tensors):
        tensors[WEIGHT] = torch.zeros(3, 3)
        tensors["model.extra.weight"] = torch.zeros(1)
        del tensors["model.multi_modal_projector.linear_2.bias"]
        del tensors["lm_head.weight"]

    _edit_weights(folder, change)
    with pytest.raises(ValueError, match="do not fit") as caught:
        load(folder)
    for part in (
        f"wrong shape {WEIGHT} (3, 3) (expected (48, 48))",
        "unexpected model.extra.weight",
        "missing model.multi_modal_projector.linear_2.bias",
        "missing lm_head.weight",
    ):
        assert part in str(caught.value)


def test_truncated_weights_are_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="model.safetensors: unreadable"):
        load(folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="0 bytes"):
        load(folder)


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pickle .*pytorch_model.bin.*convert"):
        load(folder)


def test_tokenizer_without_image_token_is_refused(folder):
    for path in [folder / "tokenizer.json", folder / "tokenizer_config.json"]:
        path.write_text(path.read_text().replace("<image>", "<photo>"))
    with pytest.raises(ValueError, match="without the token '<image>'"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer.json", "model.safetensors"])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load(folder)


def test_other_models_folders_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    with pytest.raises(ValueError, match="model_type 'llava'"):
        load(folder)


def test_processor_of_another_model_is_refused(folder):
    path = folder / "processor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "image_size": 128, "use_savp": False}))
    with pytest.raises(ValueError, match="64 tokens a stream .* image_size 128 .* use_savp False"):
        load(folder)


@pytest.mark.filterwarnings(OLD_NAME)
def test_a_model_with_adapters_is_not_saved(tmp_path, pair):
    model, processor = pair
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["qkv_proj"]))
    with pytest.raises(ValueError, match="merge_and_unload"):
        save(tuned, processor, tmp_path)


def test_info_is_checked(tmp_path):
    with pytest.raises(ValueError, match=r"threshold 1\.5"):
        CheckpointInfo(threshold=1.5, threshold_source={"dataset": "dev"})
    with pytest.raises(ValueError, match="without threshold_source"):
        CheckpointInfo(threshold=0.5)
    with pytest.raises(ValueError, match="calibration scale 0.0"):
        CheckpointInfo(calibration={"scale": 0, "offset": 1})
    (tmp_path / "faceshield.json").write_text('{"treshold": 0.5}')
    with pytest.raises(ValueError, match="faceshield.json"):
        read_info(tmp_path)
    for text in ('{"threshold": 3, "threshold_source": {"n": 1}}', '{"calibration": null}', "{"):
        (tmp_path / "faceshield.json").write_text(text)
        with pytest.raises(ValueError, match=r"faceshield\.json: .* expected the keys of CheckpointInfo"):
            read_info(tmp_path)


def test_a_broken_file_is_told_by_its_name(folder):
    (folder / "config.json").write_text('{"model_type":')
    with pytest.raises(ValueError, match=r"config\.json: .* expected whole JSON"):
        load(folder)


def test_names_resolve(folder, tmp_path, monkeypatch):
    assert resolve_model(str(folder)) == folder
    monkeypatch.setattr(checkpoint_module, "TINY_FOLDER", folder)
    assert resolve_model("tiny") == folder
    monkeypatch.setattr(checkpoint_module, "TINY_FOLDER", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no shipped model"):
        resolve_model("tiny")
    for name in ("tinny", "./no/such/folder", str(tmp_path / "gone")):
        with pytest.raises(FileNotFoundError, match="check the spelling"):
            resolve_model(name)


def test_hash_changes_with_any_part(folder):
    first = checkpoint_hash(folder)
    assert first == checkpoint_hash(folder) and len(first) == 16
    (folder / "README.md").write_text("card")
    (folder / "run.json").write_text("{}")
    (folder / "dev").mkdir()
    (folder / "dev" / "run.json").write_text("{}")  # predictions may lie in the model's own folder
    assert checkpoint_hash(folder) == first
    _edit_weights(folder, lambda tensors: tensors[WEIGHT].add_(1e-3))
    assert checkpoint_hash(folder) != first


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="device 'cuda:1', and torch sees no GPU — expected cpu"):
        load(tmp_path, device="cuda:1")


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_whoever_may_read_a_new_file_may_read_the_weights(tmp_path, pair):
    """safetensors makes private files: a container's user, say, would be told that there are none."""
    before = os.umask(0o022)
    try:
        folder = save(*pair, tmp_path / "checkpoint", INFO)
        Drafts().save(folder)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.rglob("*") if path.is_file()}
    assert set(modes.values()) == {"0o644"}, modes


def test_what_a_killed_process_left_goes_after_an_hour(folder, pair):
    for name, age in ((".saving-old", 7200), (".saving-new", 60)):
        (folder / name).mkdir()
        (folder / name / "model.safetensors").touch()
        then = time.time() - age
        os.utime(folder / name, (then, then))
    save(*pair, folder)
    assert [path.name for path in folder.glob(".saving-*")] == [".saving-new"]
