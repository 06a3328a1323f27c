"""Times a training step of the towers on a CPU: bfloat16 against float32, fused against eager attention, allocators.

A step is one forward and backward pass of faceshield-tiny's vision tower, under bfloat16 autocast where nothing else is said,
as in the stage `foundation-towers`. Seconds are CPU seconds of the process, the minimum of several steps, alternating between
the kinds of step. glibc's allocator, as it is or set to keep its memory, is configured when a process starts, so each setting
gets its own process, again alternating.
Use: `python benchmarks/towers.py --pictures 48`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from faceshield.model import load, resolve_model

KEEPING = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184"
"""The same settings as in runs/tiny.sh."""


def measure(pictures: int, steps: int) -> dict[str, float]:
    """Seconds per step of each kind (attention, and eager attention in float32), in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loaded = load(resolve_model("tiny"))
    side = loaded.processor.image_size
    tower = loaded.model.model.vision_tower.to(memory_format=torch.channels_last).train()
    both_streams = torch.randn(2 * pictures, 3, side, side).contiguous(memory_format=torch.channels_last)

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            seen = tower(both_streams, return_dict=True)
            loss = seen.pooler_output.float().square().mean() + seen.last_hidden_state.float().square().mean()
        loss.backward()

    taken: dict[str, list[float]] = {"sdpa": [], "eager": [], "eager, float32": []}
    for number in range(steps + 1):
        for kind, seconds in taken.items():
            tower.set_attn_implementation(kind.split(",")[0])
            start = time.process_time()
            step(bf16="float32" not in kind)
            if number:  # the first is warm-up
                seconds.append(time.process_time() - start)
    return {kind: min(seconds) for kind, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=48, help="pictures a step; two squares each, one a stream")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each allocator, in turn")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.pictures, options.steps)))
        return
    found: dict[str, dict[str, float]] = {}
    for _ in range(options.rounds):
        for name, tunables in (("as it is", ""), ("keeping", KEEPING)):
            command = [sys.executable, __file__, "--here", "--pictures", str(options.pictures), "--steps", str(options.steps)]
            told = subprocess.run(
                command, env=os.environ | {"GLIBC_TUNABLES": tunables}, check=True, capture_output=True, text=True
            ).stdout
            for kind, seconds in json.loads(told).items():
                best = found.setdefault(name, {})
                best[kind] = min(seconds, best.get(kind, seconds))
    print(json.dumps(found, indent=2))
    plain, kept = found["as it is"], found["keeping"]
    print(f"eager attention: {plain['sdpa'] / plain['eager']:.2f} times the steps of sdpa")
    print(f"allocator that keeps its memory: {plain['eager'] / kept['eager']:.2f} times more")
    print(f"bfloat16: {kept['eager, float32'] / kept['eager']:.2f} times the steps of float32, with both")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
