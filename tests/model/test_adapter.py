"""LoRA and projector as one file: attached, saved, loaded, merged, unmerged, trained on, detached."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from faceshield.model import CheckpointInfo, attach, detach, is_adapter, load, save
from faceshield.model.adapter import fingerprint
from faceshield.model.tensor_files import TensorFolder, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture(scope="module")
def base(make_pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody may write into it."""
    return save(*make_pair(), tmp_path_factory.mktemp("checkpoint") / "base")


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapted, processor = trained(base)
    return save(adapted, processor, tmp_path_factory.mktemp("adapter") / "adapter", base=base)


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """A trained adapter's folder, to be spoilt."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def trained(folder: Path, *, seed: int = 0, steps: int = 2) -> tuple[Any, Any]:
    """A base with an adapter that a few steps have moved, projector and all."""
    checkpoint = load(folder)
    adapted = attach(checkpoint.model, r=4, alpha=8, dropout=0.0, seed=seed)
    train(adapted, checkpoint.processor, steps)
    return adapted, checkpoint.processor


def test_an_adapter_brings_what_its_base_has_not(base: Path, tmp_path: Path) -> None:
    """The token that takes the place of masked ones is the projector's, and the base was trained without."""
    checkpoint = load(base)
    checkpoint.model.config.pvtm_mask = "learned"
    checkpoint.model.model.multi_modal_projector.add_mask_token()
    adapted = attach(checkpoint.model, r=4, alpha=8)
    for name, parameter in adapted.named_parameters():
        if "mask_token" in name:
            parameter.data.fill_(0.25)
    save(adapted, checkpoint.processor, tmp_path / "adapter", base=base)
    loaded = load(tmp_path / "adapter")
    assert loaded.model.model.multi_modal_projector.mask_token.eq(0.25).all()


def test_a_base_is_found_from_elsewhere(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted, processor = trained(base, steps=0)
    monkeypatch.chdir(base.parent)
    save(adapted, processor, tmp_path / "adapter", base=base.name)
    monkeypatch.chdir(tmp_path)
    assert load(tmp_path / "adapter").info is not None


def train(adapted: Any, processor: Any, steps: int = 2) -> None:
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    adapted.train()
    for _ in range(steps):
        adapted(**inputs(processor, answers="This is a bona fide face.")).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval()


def inputs(processor: Any, **more: Any) -> dict[str, Tensor]:
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return dict(processor(images=picture, text="Is this face bona fide?", **more))


@torch.no_grad()
def logits(model: Any, processor: Any) -> Tensor:
    return model(**inputs(processor)).logits


def test_an_adapter_and_a_whole_model_take_each_others_place_in_a_folder(base: Path, tmp_path: Path) -> None:
    adapted, processor = trained(base)
    folder = Path(shutil.copytree(base, tmp_path / "folder"))
    save(adapted, processor, folder, base=base)
    assert is_adapter(folder) and torch.equal(logits(load(folder, merge=False).model, processor), logits(adapted, processor))
    whole = load(base)
    save(whole.model, processor, folder)
    assert not is_adapter(folder) and torch.equal(logits(load(folder).model, processor), logits(whole.model, processor))


def test_an_adapter_is_not_written_over_its_base(base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "folder"))
    adapted, processor = trained(folder)
    with pytest.raises(ValueError, match="would replace the base"):
        save(adapted, processor, folder, base=folder)
    load(folder)


def test_a_new_adapter_changes_nothing_and_detached_everything_is_back(base: Path) -> None:
    checkpoint = load(base)
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    plain = logits(checkpoint.model, checkpoint.processor)
    adapted = attach(checkpoint.model, r=4, alpha=8)
    assert torch.equal(logits(adapted.eval(), checkpoint.processor), plain)
    names = [name for name, value in adapted.named_parameters() if value.requires_grad]
    assert sum("lora_A" in name for name in names) == 4 * 2  # four linears in each of two layers
    assert not any("tower" in name for name in names)
    train(adapted, checkpoint.processor)
    assert not torch.allclose(logits(adapted, checkpoint.processor), plain, atol=1e-3)
    back = detach(adapted)
    after = back.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(logits(back, checkpoint.processor), plain)


def test_merged_equals_unmerged(base: Path) -> None:
    adapted, processor = trained(base)
    beside = logits(adapted, processor)
    adapted.merge_adapter()
    assert (logits(adapted, processor) - beside).abs().max() <= 1e-4
    adapted.unmerge_adapter()
    assert (logits(adapted, processor) - beside).abs().max() <= 1e-4
    assert (logits(adapted.merge_and_unload(), processor) - beside).abs().max() <= 1e-4


def test_saved_it_is_one_small_file_and_loads_merged_or_not(base: Path, tmp_path: Path) -> None:
    adapted, processor = trained(base)
    beside = logits(adapted, processor)
    info = CheckpointInfo(threshold=0.4, threshold_source={"dataset": "dev"})
    out = save(adapted, processor, tmp_path / "adapter", info, base=base)
    assert is_adapter(out) and not is_adapter(base)
    names = load_file(out / "adapter_model.safetensors")
    assert any("multi_modal_projector" in name for name in names) and any("lora_A" in name for name in names)
    assert all("lora_" in name or "multi_modal_projector" in name for name in names)
    merged, kept = load(out), load(out, merge=False)
    assert merged.info == info
    assert torch.equal(logits(kept.model, kept.processor), beside)
    assert (logits(merged.model, merged.processor) - beside).abs().max() <= 1e-4


def test_training_goes_on_from_an_adapter(base: Path, adapter: Path) -> None:
    again, begun = load(adapter, merge=False), attach(load(base).model, r=4, alpha=8)
    trainable = {name for name, value in again.model.named_parameters() if value.requires_grad}
    assert trainable == {name for name, value in begun.named_parameters() if value.requires_grad}
    before = logits(again.model, again.processor)
    train(again.model, again.processor, steps=1)
    assert not torch.allclose(logits(again.model, again.processor), before, atol=1e-4)


def test_its_configuration_is_its_own(make_pair: Any, tmp_path: Path) -> None:
    """An ablation trained as an adapter must not be run with the base's settings."""
    model, processor = make_pair()
    save(model, processor, tmp_path / "base")
    checkpoint = load(tmp_path / "base")
    checkpoint.model.config.pvtm_mask_ratio = 0.0
    save(attach(checkpoint.model, r=4, alpha=8), checkpoint.processor, tmp_path / "adapter", base=tmp_path / "base")
    assert load(tmp_path / "adapter").model.config.pvtm_mask_ratio == 0.0
    assert load(tmp_path / "base").model.config.pvtm_mask_ratio > 0


def test_a_moved_base_is_given(base: Path, tmp_path: Path) -> None:
    first = Path(shutil.copytree(base, tmp_path / "base"))
    checkpoint = load(first)
    save(attach(checkpoint.model, r=4, alpha=8), checkpoint.processor, tmp_path / "adapter", base=first)
    first.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=r"an adapter on .*base.* correct base_model_name_or_path in"):
        load(tmp_path / "adapter")
    load(tmp_path / "adapter", base=tmp_path / "moved")


def test_the_fingerprint_is_the_bases(base: Path) -> None:
    plain = fingerprint(load(base).model)
    assert plain == fingerprint(load(base, dtype=torch.bfloat16).model)
    adapted, _ = trained(base)
    assert fingerprint(adapted) == fingerprint(TensorFolder(base)) == plain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_loads_in_any_type(adapter: Path, dtype: torch.dtype) -> None:
    """float16 rounds weights to values that bfloat16 does not have: the base is known by its file."""
    model: Any = load(adapter, dtype=dtype).model
    assert model.dtype == dtype


def test_another_base_is_refused(adapter: Path, make_pair: Any, tmp_path: Path) -> None:
    save(*make_pair(seed=1), tmp_path / "other")
    with pytest.raises(WeightsError, match="this adapter is for the base .* expected its own base"):
        load(adapter, base=tmp_path / "other")


Edit = Callable[[dict[str, Tensor]], Any]
FAULTS: list[tuple[Edit, str]] = [
    (lambda state: state.pop(next(name for name in state if "lora_B" in name)), "missing .*lora_B"),
    (lambda state: state.update({"base_model.model.x.lora_A.weight": torch.zeros(2)}), "unexpected .*x.lora_A"),
    (lambda state: state.update({next(n for n in state if "lora_A" in n): torch.zeros(1, 1)}), r"wrong shape .*\(1, 1\)"),
]


@pytest.mark.parametrize(("edit", "message"), FAULTS)
def test_faults_of_the_file_are_listed(adapter: Path, edit: Edit, message: str) -> None:
    file = adapter / "adapter_model.safetensors"
    state = load_file(file)
    edit(state)
    save_file(state, file)
    with pytest.raises(WeightsError, match=message):
        load(adapter)


def test_pickles_truncation_and_merged_ones_are_refused(base: Path, tmp_path: Path) -> None:
    adapted, processor = trained(base)
    with pytest.raises(ValueError, match="without its base"):
        save(adapted, processor, tmp_path / "adapter")
    adapted.merge_adapter()
    with pytest.raises(ValueError, match="unmerge_adapter"):
        save(adapted, processor, tmp_path / "adapter", base=base)
    adapted.unmerge_adapter()
    file = save(adapted, processor, tmp_path / "adapter", base=base) / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    with pytest.raises(WeightsError, match="unreadable weights"):
        load(tmp_path / "adapter")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="a pickle can run code"):
        load(tmp_path / "adapter")


def test_other_kinds_of_adapters_are_refused(adapter: Path) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_type": "IA3"}))
    with pytest.raises(ValueError, match="peft_type 'IA3' — expected 'LORA'"):
        load(adapter)


def test_merged_it_can_be_trained_as_any_model(adapter: Path) -> None:
    """Frozen as its base was beside the adapter, towers trained from it would stay as they are."""
    assert all(parameter.requires_grad for parameter in load(adapter).model.parameters())
