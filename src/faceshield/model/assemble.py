"""FaceShield from published weights (paper §4.3, §5.2), and back into Bunny's layout.

Three starting points: SigLIP and Phi-3 separately; a merged Bunny checkpoint; a Bunny LoRA folder on Phi-3. PVTM's text tower
is always SigLIP's own. Tensors are renamed or refused, never guessed.
Use: `model, processor, source = assemble(siglip="google/siglip-so400m-patch14-384", language="…/Phi-3-mini…")`.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor
from transformers import AutoTokenizer, Phi3Config, PreTrainedTokenizerBase, PreTrainedTokenizerFast, SiglipConfig

from .checkpoint import quiet, resolve_model
from .configuration_faceshield import FaceShieldConfig
from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor
from .tensor_files import Renames, TensorFolder, WeightsError, read_json, refuse_pickles

SIGLIP = "google/siglip-so400m-patch14-384"
PHI3 = "microsoft/Phi-3-mini-4k-instruct"
IMAGE = "<image>"
_VOCABULARY = ("model.language_model.embed_tokens.weight", "lm_head.weight")

_SIGLIP_VISION: Renames = {"vision_model.": "model.vision_tower."}
_SIGLIP_TEXT: Renames = {"text_model.": "model.prompt_tower.", "logit_scale": None, "logit_bias": None}
_PHI3: Renames = {"model.": "model.language_model.", "lm_head.": "lm_head."}
# Bunny's wrapper of the tower and the model's attribute have the same name.
_BUNNY_TOWER = "model.vision_tower.vision_tower.vision_model."
_BUNNY_PROJECTOR: Renames = {
    "model.mm_projector.0.": "model.multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "model.multi_modal_projector.linear_2.",
}
_PEFT = "base_model.model."
_PARAGRAPH = 512

Tower = Literal["bunny", "original"]


def assemble(
    *,
    siglip: str | Path = SIGLIP,
    language: str | Path | None = PHI3,
    bunny: str | Path | None = None,
    tower: Tower = "bunny",
    model: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[FaceShieldForConditionalGeneration, FaceShieldProcessor, dict[str, Any]]:
    """Builds FaceShield from published weights, given as folders or as hub ids (which need a network).

    Args:
        siglip: a whole SigLIP model with its tokenizer, for PVTM's text tower and (unless Bunny's is taken) the vision tower.
        language: Phi-3 with its tokenizer; not read for a merged Bunny checkpoint.
        bunny: None; or a merged Bunny checkpoint; or a Bunny LoRA folder (`adapter_config.json`,
            `adapter_model.safetensors`, `non_lora_trainables.safetensors`), which is merged into `language`.
        tower: which vision tower to take if Bunny's file holds one: "bunny" (tuned) or "original" (SigLIP's).
        model: values of `FaceShieldConfig` other than the three sub-configs: PVTM's, `use_savp`, …; `answer_tokens` is 512 by
            default (half the context if that is less), room for reasoning of a paragraph as in the paper.
        processor: values of `FaceShieldProcessor`, such as SAVP's.
        dtype: of the weights in memory.
        seed: for weights that no file holds: the projector, if it is new.

    Returns:
        The model in eval mode, its processor, and what it was built from (for `CheckpointInfo.extra`).

    Raises:
        FileNotFoundError: no such folder or file.
        WeightsError: pickled or broken files; missing, unexpected or misshapen tensors, all listed.
        ValueError: an unknown option, or a folder with another kind of model.
    """
    _known("model", model or {}, {field.name for field in dataclasses.fields(FaceShieldConfig)})
    _known("processor", processor or {}, set(inspect.signature(FaceShieldProcessor).parameters))
    siglip_folder = resolve_model(siglip)
    bunny_folder = resolve_model(bunny) if bunny is not None else None
    is_lora = bunny_folder is not None and (bunny_folder / "adapter_config.json").is_file()
    if bunny_folder is not None and not is_lora:
        language_folder = bunny_folder
    elif language is None:
        raise ValueError("no language model — expected Phi-3, as a hub id or a folder — give language=")
    else:
        language_folder = resolve_model(language)

    parts = _Parts(dtype)
    parts.take(siglip_folder, TensorFolder(siglip_folder), {**_SIGLIP_TEXT, **_SIGLIP_VISION})
    if bunny_folder is None:
        parts.take(language_folder, TensorFolder(language_folder), _PHI3)
    elif is_lora:
        parts.take(language_folder, TensorFolder(language_folder), _PHI3)
        _merge_lora(parts, bunny_folder, tower)
    else:
        renames = {**_PHI3, **_BUNNY_PROJECTOR, _BUNNY_TOWER: "model.vision_tower." if tower == "bunny" else None}
        held = parts.take(bunny_folder, TensorFolder(bunny_folder), renames)
        parts.whole_tower(bunny_folder, held, tower)

    tokenizer = load_tokenizer(language_folder)
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    image_id: Any = tokenizer.convert_tokens_to_ids(IMAGE)
    rows = parts.rows()
    for name in _VOCABULARY:
        parts.grow(name, max(rows, image_id + 1, len(tokenizer)))
    config = _config(siglip_folder, language_folder, parts, tokenizer, image_id, dict(model or {}))
    # Weights that no file holds: PVTM's learnt token and, without Bunny, the whole projector.
    new = "model.multi_modal_projector." + ("mask_token" if bunny_folder else "")
    made = parts.into(config, dtype, seed, new)
    return (
        made,
        FaceShieldProcessor(
            tokenizer,
            prompt_tokenizer=None if config.pvtm_space == "llm_embed" else _prompt_tokenizer(siglip_folder),
            image_size=config.vision_config.image_size,
            patch_size=config.vision_config.patch_size,
            use_savp=config.use_savp,
            **dict(processor or {}),
        ),
        {
            "siglip": str(siglip),
            "language": str(bunny or language) if not is_lora else str(language),
            "bunny": None if bunny is None else str(bunny),
            "tower": tower if bunny is not None else "original",
            "vocabulary": rows,
        },
    )


def _known(what: str, values: Mapping[str, Any], names: set[str]) -> None:
    """Refuses unknown options, which transformers would accept silently: a typo would give another model than intended."""
    for key in sorted(set(values) - names):
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "see docs/paper_map.md"
        raise ValueError(f"unknown {what} option {key!r} — expected a parameter of its class — {hint}")


class _Parts:
    """Tensors collected under the model's names, and all faults found along the way."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.state: dict[str, Tensor] = {}
        self.faults: list[str] = []

    def take(self, folder: Path, tensors: TensorFolder, renames: Renames) -> set[str]:
        """Adds a folder's tensors, replacing those of earlier folders; returns their names in the model."""
        used, strange = tensors.named(renames)
        self.faults += [f"unexpected {name} in {folder}" for name in strange]
        if not self.faults:
            self.state.update(tensors.read(used, self.dtype))
        return set(used.values())

    def whole_tower(self, folder: Path, held: set[str], tower: Tower) -> None:
        """Raises WeightsError if Bunny's tower is incomplete, as the rest would silently be SigLIP's."""
        if tower == "original":
            return
        absent = sorted(name for name in self.state if name.startswith("model.vision_tower.") and name not in held)
        if absent:
            raise WeightsError(
                f"{folder} lacks {len(absent)} tensors of the vision tower ({', '.join(absent[:3])}, …) — expected all with "
                "tower='bunny' — give tower='original' to take SigLIP's"
            )

    def rows(self) -> int:
        """The number of vocabulary rows that the weights hold, even if the config says otherwise."""
        self.check()
        for name in _VOCABULARY:
            if name not in self.state:
                raise WeightsError(f"missing {name} — expected a causal language model's weights — check the folder")
        return self.state[_VOCABULARY[0]].shape[0]

    def grow(self, name: str, rows: int) -> None:
        """Adds vocabulary rows, each the mean of the existing ones, so that a new token starts as an average one."""
        table = self.state[name]
        if rows > len(table):
            mean = table.float().mean(0, keepdim=True).to(table.dtype)
            self.state[name] = torch.cat([table, mean.expand(rows - len(table), -1)])

    def check(self) -> None:
        if self.faults:
            raise WeightsError(f"weights do not fit: {'; '.join(self.faults)} — expected SigLIP's, Phi-3's or Bunny's layout")

    def into(self, config: FaceShieldConfig, dtype: torch.dtype, seed: int, new: str) -> FaceShieldForConditionalGeneration:
        """The model with these tensors; those whose names start with `new` may be missing."""
        with torch.device("meta"):
            empty = FaceShieldForConditionalGeneration(config)
        wanted = {name: tuple(value.shape) for name, value in empty.state_dict().items()}
        for name, shape in wanted.items():
            if name not in self.state:
                if not name.startswith(new):
                    self.faults.append(f"missing {name}")
            elif tuple(self.state[name].shape) != shape:
                self.faults.append(f"wrong shape {name} {tuple(self.state[name].shape)} (expected {shape})")
        self.faults += [f"unexpected {name}" for name in sorted(set(self.state) - set(wanted))]
        self.check()
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Any = FaceShieldForConditionalGeneration.from_pretrained(
                None, config=config, state_dict=self.state, dtype=dtype
            )
        return made.eval()


def _merge_lora(parts: _Parts, folder: Path, tower: Tower) -> None:
    """Adds a LoRA folder's products to the language model, and takes its full tensors (projector, perhaps the tower)."""
    refuse_pickles(folder, "adapter_model")
    refuse_pickles(folder, "non_lora_trainables")
    settings = read_json(folder / "adapter_config.json")
    scale = settings["lora_alpha"] / (settings["r"] ** 0.5 if settings.get("use_rslora") else settings["r"])
    for key in ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern"):
        if settings.get(key):
            raise ValueError(f"{folder}: {key} {settings[key]!r} — expected plain LoRA, as Bunny's — merge it with peft")

    whole = TensorFolder(folder, "non_lora_trainables")
    renames = {**_BUNNY_PROJECTOR, _BUNNY_TOWER: "model.vision_tower." if tower == "bunny" else None}
    held = parts.take(folder, whole, {_PEFT + start: target for start, target in renames.items()})
    if any(name.startswith("model.vision_tower.") for name in held):  # else it was frozen, and SigLIP's is the right one
        parts.whole_tower(folder, held, tower)

    adapter = TensorFolder(folder, "adapter_model")
    used, strange = adapter.named({_PEFT + start: target for start, target in _PHI3.items()})
    parts.faults += [f"unexpected {name} in {folder}" for name in strange]
    factors = dict(adapter.read(used, torch.float32))
    for name in sorted(name for name in factors if name.endswith(".lora_A.weight")):
        base, other = name.replace(".lora_A.weight", ".weight"), name.replace(".lora_A.", ".lora_B.")
        if base not in parts.state or other not in factors:
            parts.faults.append(f"{folder}: {name} without {base if base not in parts.state else other}")
            continue
        product = factors.pop(other) @ factors.pop(name)
        if product.shape != parts.state[base].shape:
            parts.faults.append(f"{folder}: {name} makes {tuple(product.shape)} (expected {tuple(parts.state[base].shape)})")
            continue
        parts.state[base] = (parts.state[base].float() + scale * product).to(parts.state[base].dtype)
    parts.faults += [f"unexpected {name} in {folder}" for name in factors]
    parts.check()


# -- configs and tokenizers ------------------------------------------------------------------------------------------------


def _config(
    siglip: Path, language: Path, parts: _Parts, tokenizer: PreTrainedTokenizerBase, image_id: int, values: dict[str, Any]
) -> FaceShieldConfig:
    kind = read_json(siglip / "config.json").get("model_type")
    if kind != "siglip":
        raise ValueError(f"{siglip}: model_type {kind!r} — expected 'siglip', both towers in one model — give such a folder")
    with quiet():
        towers: Any = SiglipConfig.from_pretrained(siglip, local_files_only=True)
    phi3 = read_json(language / "config.json")
    if "phi3" not in str(phi3.get("model_type")):  # Bunny calls its own "bunny-phi3"
        raise ValueError(f"{language}: model_type {phi3.get('model_type')!r} — expected Phi-3 — give such a folder")
    known = {field.name for field in dataclasses.fields(Phi3Config)} | {"rope_theta", "rope_scaling"}
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    foreign = {"model_type", "architectures", "transformers_version", "dtype", "id2label", "label2id"}
    text = {key: value for key, value in phi3.items() if key in known - foreign}
    text |= {"vocab_size": len(parts.state[_VOCABULARY[0]]), "eos_token_id": tokenizer.eos_token_id, "pad_token_id": pad}
    prompt = {**towers.text_config.to_dict(), "bos_token_id": None, "eos_token_id": None}
    return FaceShieldConfig.checked(
        **{
            "vision_config": towers.vision_config.to_dict(),
            "prompt_config": prompt,
            "text_config": text,
            "image_token_id": image_id,
            "answer_tokens": min(_PARAGRAPH, int(text["max_position_embeddings"]) // 2),
            **values,
        }
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A folder's tokenizer, exactly as its `tokenizer.json` defines it; from `tokenizer.model` if there is none.

    transformers' model-specific classes would rebuild it by today's rules, so that the same text would give other ids.
    """
    if (folder / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if not (folder / "tokenizer.model").is_file():
        raise FileNotFoundError(f"{folder}: no tokenizer.json and no tokenizer.model — expected one — copy it in")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _prompt_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if (folder / "spiece.model").is_file():
        try:
            import google.protobuf  # noqa: F401
            import sentencepiece  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"{folder}: SigLIP's tokenizer needs sentencepiece and protobuf — expected both installed — "
                "pip install sentencepiece protobuf"
            ) from error
        from transformers.models.siglip.tokenization_siglip import SiglipTokenizer

        # SigLIP's own class: it lower-cases text and drops punctuation before tokenising, which no file records.
        return SiglipTokenizer.from_pretrained(folder, local_files_only=True)
    return load_tokenizer(folder)


# -- and back --------------------------------------------------------------------------------------------------------------


def export_bunny(
    model: FaceShieldForConditionalGeneration, processor: FaceShieldProcessor, out: str | Path, vocabulary: int
) -> Path:
    """Writes the weights in a merged Bunny checkpoint's layout, bit for bit.

    PVTM's text tower has no place in that layout and is left out, as are vocabulary rows beyond `vocabulary`.

    Args:
        model: a model with SigLIP's tower, adapters merged.
        processor: its processor, for the tokenizer's files.
        out: folder to write.
        vocabulary: number of vocabulary rows, as `assemble` reported it.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    back = {"model.language_model.": "model.", "lm_head.": "lm_head.", "model.vision_tower.": _BUNNY_TOWER}
    back |= {target: start for start, target in _BUNNY_PROJECTOR.items() if target}
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        start = next((start for start in back if name.startswith(start)), None)
        if start is not None:
            state[back[start] + name[len(start) :]] = tensor[:vocabulary].clone() if name in _VOCABULARY else tensor
    save_torch_state_dict(state, out)
    text = model.config.text_config
    values = {
        **text.to_dict(),
        "architectures": ["BunnyPhi3ForCausalLM"],
        "model_type": "bunny-phi3",
        "vocab_size": vocabulary,
        "mm_hidden_size": model.config.vision_config.hidden_size,
        "mm_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
        "unfreeze_vision_tower": True,
    }
    (out / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    processor.tokenizer.save_pretrained(out)
    return out
