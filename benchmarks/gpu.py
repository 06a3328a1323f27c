"""Times the paper-size model with random weights on a GPU, against the same weights in transformers' own Llava class.

    python benchmarks/gpu.py                                     everything, on the GPU; --out FILE keeps the figures
    python benchmarks/gpu.py --device cpu --steps photo          one photo on a CPU: time and peak memory

Steps: `card` (matrix-multiplication rate and memory bandwidth, as references for the other steps), `parity` (logits against
Llava's), `towers`, `photo` (one photo, four tasks), `batch` (photos per second against Llava, batch 1, one `generate` per
question), `decode`, `train` (one step of the paper's stage 2).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlavaConfig, LlavaForConditionalGeneration

from faceshield import FaceShieldPredictor
from faceshield.model import attach, build, train_tokenizer
from faceshield.model.processing_faceshield import SYSTEM
from faceshield.model.reading import Reading
from faceshield.tasks import LOCALIZATION, REASONING, TASKS

TOY: dict[str, Any] = {
    "vision_config": {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
                      "image_size": 112},
    "prompt_config": {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "text_config": {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}  # fmt: skip
PAPER: dict[str, Any] = {"text_config": {"vocab_size": 32064}}
NEW_TOKENS = {"coarse": 10, "fine": 10, "reasoning": 100, "localization": 30}
"""Tokens that Llava generates per question, as random weights never produce an end token. Our model scores the first two
questions without generating and answers the other two together, each with the reasoning's number: more than Llava does."""

Figures = dict[str, Any]


class Bench:
    """The model, its Llava twin, and a clock that waits for the device."""

    def __init__(self, size: str, device: str) -> None:
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.dtype = torch.bfloat16
        tokenizer = train_tokenizer([SYSTEM, *(task.question for task in TASKS.values())] * 20, vocab_size=512)
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            with self.device:
                self.model, self.processor = build(TOY if size == "toy" else PAPER, tokenizer)
        finally:
            torch.set_default_dtype(before)
        self.model.eval().requires_grad_(False)
        rng = np.random.default_rng(0)
        side = self.processor.image_size
        self.photos = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(32)]
        self.shield = FaceShieldPredictor(self.model, self.processor, threshold=0.5)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int = 3) -> float:
        """Seconds of the fastest of `repeats` runs, after a warm-up run on a GPU."""
        if self.cuda:
            work()
        taken = []
        for _ in range(repeats):
            self.wait()
            start = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - start)
        return min(taken)

    def forget_peak(self) -> None:
        """Resets the peak memory statistics; on a CPU only the process's all-time peak is known."""
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def memory_gib(self) -> float:
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**30
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def pixels(self, count: int) -> tuple[Tensor, Tensor]:
        inputs = self.processor(images=self.photos[:count])
        return tuple(inputs[name].to(self.device, self.dtype) for name in ("pixel_values", "savp_values"))  # type: ignore[return-value]

    def llava(self) -> LlavaForConditionalGeneration:
        """transformers' own class on the same tensors: SigLIP (RGB stream only), the projector, Phi-3."""
        config = LlavaConfig(  # type: ignore[call-arg]
            vision_config=self.model.config.vision_config, text_config=self.model.config.text_config,
            image_token_id=self.processor.image_token_id, projector_hidden_act="gelu",
            vision_feature_select_strategy="full", vision_feature_layer=-2,
        )  # fmt: skip
        with torch.device("meta"):
            twin = LlavaForConditionalGeneration(config)
        state = {name: value for name, value in self.model.state_dict().items() if "prompt_tower" not in name}
        twin.load_state_dict(state, assign=True, strict=True)
        # Not in the state dict: position ids and rotary frequencies.
        twin.model.vision_tower.embeddings.position_ids = self.model.model.vision_tower.embeddings.position_ids
        twin.model.language_model.rotary_emb = self.model.model.language_model.rotary_emb
        return twin.eval()  # type: ignore[no-any-return]


def card(bench: Bench, found: Figures) -> None:
    side = 8192 if bench.cuda else 1024
    left, right = (torch.randn(side, side, device=bench.device, dtype=bench.dtype) for _ in range(2))
    found["matmul_tflops"] = 2 * side**3 / bench.seconds(lambda: left @ right, 10) / 1e12
    count = 2**30 if bench.cuda else 2**26
    source, target = (torch.empty(count, dtype=torch.uint8, device=bench.device) for _ in range(2))
    found["bandwidth_gbs"] = 2 * count / bench.seconds(lambda: target.copy_(source), 10) / 1e9


def without_savp(bench: Bench) -> None:
    bench.model.config.use_savp = bench.processor.use_savp = False


def with_savp(bench: Bench) -> None:
    bench.model.config.use_savp = bench.processor.use_savp = True


@torch.inference_mode()
def parity(bench: Bench, found: Figures) -> None:
    twin = bench.llava()
    without_savp(bench)
    inputs = bench.processor(images=bench.photos[:1], text="Is this face bona fide?").to(bench.device)
    pixels = inputs["pixel_values"].to(bench.dtype)
    shared = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"], "pixel_values": pixels}
    ours, theirs = bench.model(**shared).logits.float(), twin(**shared).logits.float()
    found["max_difference_of_logits"] = float((ours - theirs).abs().max())
    found["deviation_of_logits"] = float(theirs.std())
    with_savp(bench)


@torch.inference_mode()
def towers(bench: Bench, found: Figures) -> None:
    for count in (1, 8, 32) if bench.cuda else (1,):
        pixels, savp = bench.pixels(count)
        with FlopCounterMode(display=False) as counter:
            bench.model.encode_images(pixels, savp)
        taken = bench.seconds(lambda: bench.model.encode_images(pixels, savp))  # noqa: B023
        row: Figures = {"photos_per_second": count / taken, "tflops": counter.get_total_flops() / taken / 1e12}
        if "card" in found["steps"]:
            row["of_matmul"] = row["tflops"] / found["steps"]["card"]["matmul_tflops"]
        found["steps"]["towers"][f"batch {count}"] = row


def photo(bench: Bench, found: Figures) -> None:
    start = time.perf_counter()
    report = bench.shield.inspect(bench.photos[0], face="whole")
    bench.wait()
    found["first_photo_seconds"] = time.perf_counter() - start
    found["status"] = report.status
    if bench.cuda:
        found["photo_seconds"] = bench.seconds(lambda: bench.shield.inspect(bench.photos[0], face="whole"))


def batch(bench: Bench, found: Figures) -> None:
    """Ours: each photo is read once for two scores and two answers. Llava: one `generate` per question, one photo at a time."""
    twin, questions = bench.llava(), {name: task.question for name, task in TASKS.items()}
    photos = bench.photos[: 16 if bench.cuda else 2]

    @torch.inference_mode()
    def ours(size: int) -> None:
        for start in range(0, len(photos), size):
            inputs = bench.processor(images=photos[start : start + size]).to(bench.device)
            savp = inputs["savp_values"].to(bench.dtype) if "savp_values" in inputs else None
            encoded = bench.model.encode_images(inputs["pixel_values"].to(bench.dtype), savp)
            reading = Reading(bench.model, bench.processor, *encoded)
            reading.score(bench.shield._templates)
            reading.answer([REASONING.question, LOCALIZATION.question], max_new_tokens=NEW_TOKENS["reasoning"])

    @torch.inference_mode()
    def theirs() -> None:
        for picture in photos:
            for name, question in questions.items():
                inputs = bench.processor(images=[picture], text=question).to(bench.device)
                twin.generate(  # type: ignore[misc]
                    input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
                    pixel_values=inputs["pixel_values"].to(bench.dtype), max_new_tokens=NEW_TOKENS[name], do_sample=False,
                )  # fmt: skip

    without_savp(bench)
    found["llava_photos_per_second"] = len(photos) / bench.seconds(theirs, 1)
    for size in (1, 8, 16) if bench.cuda else (1, 2):
        rate = len(photos) / bench.seconds(lambda: ours(size), 1)  # noqa: B023
        found[f"ours_rgb_batch_{size}"] = {"photos_per_second": rate, "times_llava": rate / found["llava_photos_per_second"]}
    with_savp(bench)
    for size in (1, 8, 16) if bench.cuda else (1, 2):
        rate = len(photos) / bench.seconds(lambda: ours(size), 1)  # noqa: B023
        found[f"ours_rgb_and_savp_batch_{size}"] = {"photos_per_second": rate}


@torch.inference_mode()
def decode(bench: Bench, found: Figures) -> None:
    """Prefill and decode of the language model alone, after 1,458 vision tokens."""
    text = bench.model.model.language_model
    weights = sum(p.numel() * p.element_size() for p in text.parameters()) + bench.model.lm_head.weight.nbytes
    for count in (1, 8) if bench.cuda else (1,):
        features, joint = bench.model.encode_images(*bench.pixels(count))
        reading = Reading(bench.model, bench.processor, features, joint)

        def prefill() -> None:
            reading._beginnings.clear()  # noqa: B023
            reading._beginning("Why?")  # noqa: B023

        with FlopCounterMode(display=False) as counter:
            prefill()
        taken = bench.seconds(prefill)
        row: Figures = {
            "prefill_tokens_per_second": count * len(reading.prefix) / taken,
            "prefill_tflops": counter.get_total_flops() / taken / 1e12,
        }
        short, long = (
            bench.seconds(lambda: reading.answer(["Why?"], max_new_tokens=n), 2)  # noqa: B023
            for n in (8, 72)
        )
        step = (long - short) / 64
        row |= {"decode_tokens_per_second": count / step, "gigabytes_per_second_of_weights": weights / step / 1e9}
        if "card" in found["steps"]:
            row["prefill_of_matmul"] = row["prefill_tflops"] / found["steps"]["card"]["matmul_tflops"]
            row["decode_of_bandwidth"] = row["gigabytes_per_second_of_weights"] / found["steps"]["card"]["bandwidth_gbs"]
        found["steps"]["decode"][f"batch {count}"] = row


def train(bench: Bench, found: Figures) -> None:
    """LoRA r=128 and projector, four dialogues of 300 answer tokens, towers frozen, activations recomputed."""
    adapted: Any = attach(bench.model)
    for value in adapted.parameters():
        value.data = value.data.float() if value.requires_grad else value.data
    model = adapted.get_base_model()
    model.config.text_config.use_cache = False
    # The method has two names: one until transformers 5.20, another since.
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    trained = [value for value in adapted.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=bench.cuda)
    count = 4 if bench.cuda else 1
    words = " ".join(["a paper edge is seen"] * 20)
    inputs = bench.processor(images=bench.photos[:count], text="Why?", answers=[words] * count).to(bench.device)
    given = {name: value.to(bench.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    adapted.train()

    def step() -> None:
        with torch.autocast(bench.device.type, dtype=bench.dtype):
            loss = adapted(**given).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    taken = bench.seconds(step)
    found |= {
        "rows": count,
        "tokens_a_row": int(given["input_ids"].shape[1]),
        "seconds_a_step": taken,
        "rows_per_second": count / taken,
        "trained_parameters": sum(value.numel() for value in trained),
    }


STEPS: dict[str, Callable[[Bench, Figures], None]] = {
    "card": card, "parity": parity, "towers": towers, "photo": photo, "batch": batch, "decode": decode, "train": train,
}  # fmt: skip
NESTED = ("towers", "decode")  # steps with one row per batch size, related to the card's own figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=("paper", "toy"), default="paper")
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch {torch.__version__} sees no GPU here — try --device cpu --size toy")
    start = time.perf_counter()
    bench = Bench(options.size, options.device)
    name = torch.cuda.get_device_name() if bench.cuda else f"CPU, {torch.get_num_threads()} threads"
    found: Figures = {
        "device": name,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "parameters": sum(p.numel() for p in bench.model.parameters()),
        "build_seconds": time.perf_counter() - start,
        "steps": {},
    }
    for step in options.steps:
        found["steps"][step] = {}
        bench.forget_peak()
        STEPS[step](bench, found if step in NESTED else found["steps"][step])
        found["steps"][step]["peak_memory_gib"] = bench.memory_gib()
        print(step, json.dumps(found["steps"][step], indent=2), flush=True)
        if options.out:  # after every step, so that an interrupted run keeps its figures
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"{name}: {found['parameters'] / 1e9:.2f} B parameters, built in {found['build_seconds']:.0f} s")


if __name__ == "__main__":
    main()
