"""Adapters (paper §4.3, §5.2): LoRA on the language model and the projector, in one safetensors file.

An adapter folder is a checkpoint without its base's weights: `load(folder)` loads both and merges them.
Use: `adapted = attach(model)`, train it, `checkpoint.save(adapted, processor, "adapter", base="tiny")`; `detach(adapted)`
restores the base's own weights; PEFT's `merge_adapter` and `unmerge_adapter` work in between.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .tensor_files import TensorFolder, WeightsError, read_json, refuse_pickles

if TYPE_CHECKING:
    from peft import PeftModel

    from .modeling_faceshield import FaceShieldForConditionalGeneration

# Phi-3's linear layers are fused: these four are "every transformer block" (§4.3).
LORA_TARGETS = r".*language_model\..*\.(qkv_proj|o_proj|gate_up_proj|down_proj)"
PROJECTOR = "multi_modal_projector"
ADAPTER_CONFIG, ADAPTER_STEM = "adapter_config.json", "adapter_model"
_SAMPLED = 64  # values per tensor that a fingerprint reads


def attach(
    model: FaceShieldForConditionalGeneration, *, r: int = 128, alpha: int = 256, dropout: float = 0.05, seed: int = 0
) -> PeftModel:
    """Adds a new adapter to a model: LoRA starts as the identity, the projector as a copy of the model's.

    Args:
        model: its own parameters are frozen; only the adapter's are trained.
        r, alpha, dropout: of LoRA; 128 and 256 are the paper's, the dropout is Bunny's.
        seed: of LoRA's first factor; the global generator is not changed.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=LORA_TARGETS, modules_to_save=[PROJECTOR]
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _wrapped(model, config)


def _wrapped(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    model.requires_grad_(False)
    with warnings.catch_warnings():
        # peft 0.21 accesses a property by a name that transformers 5.23 deprecates.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


def detach(adapted: PeftModel) -> FaceShieldForConditionalGeneration:
    """The model as it was before `attach`, its own projector included."""
    inside: Any = adapted.get_base_model().model
    projector = inside.multi_modal_projector.original_module  # `unload` would keep the trained copy
    model: Any = adapted.unload()  # type: ignore[operator]
    model.model.multi_modal_projector = projector
    return model  # type: ignore[no-any-return]


def fingerprint(base: Any) -> str:
    """16 hex digits that identify a model without its projector, with or without adapters.

    Args:
        base: a model in float32 or bfloat16, or the `TensorFolder` of its weights, which gives the same result whatever type
            they will be loaded in (a model in float16 would be rounded once more, to other values).
    """
    digest = hashlib.sha256()
    in_memory = None if isinstance(base, TensorFolder) else base.state_dict()
    for name in sorted(base.shapes if in_memory is None else in_memory):
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        if "lora_" in plain or PROJECTOR in plain:
            continue
        if in_memory is None:
            shape, sample = base.shapes[name], base.beginning(name, _SAMPLED)
        else:
            shape, sample = tuple(in_memory[name].shape), in_memory[name].detach().flatten()[:_SAMPLED]
        values = sample.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes()
        digest.update(f"{plain} {shape}".encode() + b"\0" + values)
    return digest.hexdigest()[:16]


def write_adapter(adapted: PeftModel, folder: Path, base: str) -> None:
    """Writes `adapter_model.safetensors`, and `adapter_config.json`, which names the base and its fingerprint.

    Raises:
        ValueError: the adapter is merged, so the base's weights are changed at the moment.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    if any(getattr(module, "merged", False) for module in adapted.modules()):
        raise ValueError("the adapter is merged into its base — expected it apart — call unmerge_adapter() first")
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, folder / f"{ADAPTER_STEM}.safetensors", metadata={"format": "pt"})
    config: Any = adapted.peft_config["default"]
    config.base_model_name_or_path = base
    config.save_pretrained(folder)
    path = folder / ADAPTER_CONFIG
    values = {**read_json(path), "base_fingerprint": fingerprint(adapted)}
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_adapter(model: FaceShieldForConditionalGeneration, folder: str | Path, weights: Path) -> PeftModel:
    """Loads a folder's adapter onto its base, ready for further training, merging or inference.

    Args:
        model: the base, loaded.
        folder: the adapter's folder.
        weights: the folder that `model` was loaded from.

    Raises:
        FileNotFoundError: one of its files is missing.
        WeightsError: pickled, truncated, or for another base; missing, unexpected and misshapen tensors are listed.
    """
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict

    folder = Path(folder)
    settings = read_settings(folder)
    refuse_pickles(folder, ADAPTER_STEM)
    tensors = TensorFolder(folder, ADAPTER_STEM)
    expected, found = settings.pop("base_fingerprint", None), fingerprint(TensorFolder(weights))
    base = settings.pop("base_model_name_or_path", None)
    if expected is not None and expected != found:
        raise WeightsError(
            f"{folder}: this adapter is for the base {base!r} (fingerprint {expected}), not for this one ({found}) — "
            "expected its own base — load it with that"
        )
    adapted = _wrapped(model, LoraConfig.from_peft_type(**settings))
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wanted = {name: tuple(value.shape) for name, value in state.items()}
    faults = [f"missing {name}" for name in sorted(set(wanted) - set(tensors.shapes))]
    faults += [f"unexpected {name}" for name in sorted(set(tensors.shapes) - set(wanted))]
    faults += [
        f"wrong shape {name} {tensors.shapes[name]} (expected {shape})"
        for name, shape in sorted(wanted.items())
        if tensors.shapes.get(name, shape) != shape
    ]
    if faults:
        raise WeightsError(f"{folder}: {'; '.join(faults)} — expected an adapter of this model — give its own base")
    set_peft_model_state_dict(adapted, dict(tensors.read({name: name for name in wanted})))
    return adapted  # type: ignore[no-any-return]


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in `adapter_config.json`; raises ValueError if they are not LoRA's."""
    path = folder / ADAPTER_CONFIG
    settings = read_json(path)
    if settings.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type {settings.get('peft_type')!r} — expected 'LORA' — merge others with peft")
    return settings
