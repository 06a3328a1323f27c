"""Small checkpoints in the true layout of what is published: SigLIP, Phi-3, Bunny merged and as LoRA.

Names of tensors, config files, tokenizer files and shards are as they lie on the hub; only the sizes are small.
"""

from __future__ import annotations

import io
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from torch import Tensor
from transformers import Phi3Config, Phi3ForCausalLM, SiglipConfig, SiglipModel

WORDS = [
    "is",
    "this",
    "face",
    "bona",
    "fide",
    "or",
    "an",
    "attack",
    "what",
    "type",
    "does",
    "the",
    "picture",
    "show",
    "where",
    "why",
    "a",
    "an",
    "the",
    "curious",
    "user",
    "and",
    "artificial",
    "intelligence",
    "assistant",
    "gives",
    "helpful",
    "detailed",
    "polite",
    "answers",
    "to",
    "questions",
    "chat",
    "between",
    "USER",
    "ASSISTANT",
    "print",
    "replay",
    "mask",
]  # noqa: SIM905
SIZES: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 3}


def corpus(lines: int = 400) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=8)).capitalize() + rng.choice(".?!:") for _ in range(lines)]


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


@cache
def sentencepiece_model(size: int, **options: Any) -> bytes:
    import sentencepiece

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=stream, vocab_size=size, hard_vocab_limit=False, minloglevel=2, **options
    )
    return stream.getvalue()


def write_siglip(folder: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> SiglipModel:
    """google/siglip-*: both towers in one file, spiece.model."""
    folder.mkdir(parents=True)
    vocabulary = 96
    config = SiglipConfig(
        text_config={
            **SIZES, "num_hidden_layers": 2, "vocab_size": vocabulary, "projection_size": 48, "bos_token_id": None,
            "eos_token_id": None,
        },
        vision_config={**SIZES, "num_hidden_layers": 3, "image_size": 56, "patch_size": 14},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = SiglipModel(config).to(dtype).eval()
    model.save_pretrained(folder)
    (folder / "spiece.model").write_bytes(
        sentencepiece_model(80, model_type="unigram", pad_id=-1, bos_id=-1, eos_id=1, unk_id=2)
    )
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64, "pad_token": "</s>",
         "eos_token": "</s>", "unk_token": "<unk>"},
    )  # fmt: skip
    return model


@cache
def _llama_pieces() -> str:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = None
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<unk>", "<s>", "</s>", *[f"<0x{byte:02X}>" for byte in range(256)]],
        show_progress=False,
        max_token_length=12,
    )
    # Words apart while merges are learned, so that no piece crosses a space.
    tokenizer.train_from_iterator([word for line in corpus() for word in line.split()], trainer)
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [row for row in values["added_tokens"] if not row["content"].startswith("<0x")]
    return json.dumps(values)


def llama_tokenizer(*, add_bos: bool) -> Tokenizer:
    """Phi-3's tokenizer.json: BPE with byte fallback, "▁" before every piece of text between special tokens."""
    tokenizer = Tokenizer.from_str(_llama_pieces())
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(Regex("▁"), " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, normalized=False, special=True) for name in ("<|endoftext|>", "<|assistant|>", "<|end|>")]
    )
    if add_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
        )
    return tokenizer


def write_llama_tokenizer(folder: Path, *, add_bos: bool) -> int:
    """tokenizer.json and tokenizer_config.json; returns the number of pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = llama_tokenizer(add_bos=add_bos)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
         "unk_token": "<unk>", "add_bos_token": add_bos, "add_eos_token": False, "legacy": False,
         "model_max_length": 4096, "padding_side": "left"},
    )  # fmt: skip
    return tokenizer.get_vocab_size(with_added_tokens=True)


def write_phi3(
    folder: Path, *, seed: int = 1, spare: int = 5, add_bos: bool = False, dtype: torch.dtype = torch.float32
) -> Phi3ForCausalLM:
    """microsoft/Phi-3-mini: more vocabulary rows than pieces, shards with an index, remote-code keys in the config."""
    pieces = write_llama_tokenizer(folder, add_bos=add_bos)
    eos = pieces - 3
    config = Phi3Config(
        **SIZES, num_hidden_layers=2, num_key_value_heads=3, vocab_size=pieces + spare, sliding_window=2047, bos_token_id=1,
        eos_token_id=eos, pad_token_id=eos,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Phi3ForCausalLM(config).to(dtype).eval()
    model.save_pretrained(folder, max_shard_size="60KB")
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del values["rope_parameters"]
    values |= {"rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": "bfloat16", "_name_or_path": "Phi-3"}
    values["auto_map"] = {"AutoConfig": "configuration_phi3.Phi3Config"}
    write_json(folder / "config.json", values)
    return model


def projector(seed: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0.weight": (48, 48), "0.bias": (48,), "2.weight": (48, 48), "2.bias": (48,)}
    return {f"model.mm_projector.{name}": torch.randn(*shape, generator=generator) * 0.1 for name, shape in shapes.items()}


def tower(seed: int) -> dict[str, Tensor]:
    """Bunny's own tower, tuned, and so another than SigLIP's."""
    vision = {**SIZES, "num_hidden_layers": 3, "image_size": 56, "patch_size": 14}
    config = SiglipConfig(vision_config=vision, text_config={**SIZES, "num_hidden_layers": 1, "vocab_size": 96})
    torch.manual_seed(seed)
    state = SiglipModel(config).vision_model.state_dict()
    return {f"model.vision_tower.vision_tower.vision_model.{name}": value for name, value in state.items()}


def write_bunny(
    folder: Path, *, seed: int = 3, dtype: torch.dtype = torch.float32, with_tower: bool = True
) -> dict[str, Tensor]:
    """BAAI/Bunny-v1_0-4B: all in one, no vocabulary row to spare although the config promises some."""
    write_phi3(folder, seed=seed, spare=0, add_bos=True)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary = values["vocab_size"]
    values |= {"model_type": "bunny-phi3", "architectures": ["BunnyPhi3ForCausalLM"], "mm_projector_type": "mlp2x_gelu"}
    values |= {"mm_hidden_size": 48, "image_aspect_ratio": "pad", "unfreeze_vision_tower": True, "vocab_size": vocabulary + 26}
    write_json(folder / "config.json", values)
    torch.manual_seed(seed)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = Phi3Config(**SIZES, **ids, num_hidden_layers=2, num_key_value_heads=3, vocab_size=vocabulary)
    state = {**Phi3ForCausalLM(config).state_dict(), **projector(seed), **(tower(seed) if with_tower else {})}
    state = {name: value.to(dtype).clone() for name, value in state.items()}
    save_torch_state_dict(state, folder, max_shard_size=100_000)
    return state


def write_bunny_lora(folder: Path, language: Phi3ForCausalLM, *, seed: int = 4, with_tower: bool = False) -> dict[str, Tensor]:
    """A Bunny LoRA folder; returns the weights that its merger must have, under Bunny's names."""
    folder.mkdir(parents=True)
    rank, alpha = 4, 8
    write_json(
        folder / "adapter_config.json",
        {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "lora_dropout": 0.05, "bias": "none",
         "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "base_model_name_or_path": "Phi-3"},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    merged = {name: value.clone() for name, value in language.state_dict().items()}
    adapter = {}
    for name, value in merged.items():
        if name.rsplit(".", 2)[-2] in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
            a = torch.randn(rank, value.shape[1], generator=generator) * 0.1
            b = torch.randn(value.shape[0], rank, generator=generator) * 0.1
            stem = f"base_model.model.{name.removesuffix('.weight')}"
            adapter |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
            merged[name] = value + alpha / rank * b @ a
    save_file(adapter, folder / "adapter_model.safetensors")
    whole = {**projector(seed), **(tower(seed) if with_tower else {})}
    save_file({f"base_model.model.{name}": value for name, value in whole.items()}, folder / "non_lora_trainables.safetensors")
    return {**merged, **whole}
