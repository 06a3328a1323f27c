"""Two ratios of training speed, each in one run: features read from disk, and dialogues packed.

`stage1`: features computed once against the tower in every step. `stage2`: packed rows and cached features against one
dialogue a row and the tower in every step, to the same number of dialogues seen. faceshield-tiny, float32, one thread. Rates
leave out the first steps; `whole_seconds` has loading and the making of the features in it. Final loss: mean of the last epoch.
Use: `python benchmarks/train.py --pictures 96`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from faceshield.data_engine import TASK_NAMES, generate_dialogues
from faceshield.model import resolve_model
from faceshield.records import Sample, read_jsonl, write_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.training.settings import StageConfig
from faceshield.training.stages import train_stage
from faceshield.training.watch import LOG_FILE, read_log

Figures = dict[str, Any]


def trained(folder: Path, name: str, dialogues: Path, **settings: Any) -> Figures:
    """One run: dialogues a second from the third log on (the first ones warm up), and its losses."""
    config = StageConfig(
        init=str(resolve_model("tiny")), dialogues=[dialogues], out=folder / name, cache=folder / "cache", threads=1,
        log_every=1, save_steps=100_000, bf16=False, lora_dropout=0.0, report_to=[], **settings,
    )  # fmt: skip
    start = time.perf_counter()
    train_stage(config)
    steps = read_log(config.out / LOG_FILE)
    warm = steps[2:]
    seconds = sum(row["samples_per_second"] ** -1 * config.batch_size for row in warm)
    rate = {
        key: sum(row[f"{key}_per_second"] / row["samples_per_second"] * config.batch_size for row in warm) / seconds
        for key in ("samples", "dialogues", "tokens")
    }
    return {**rate, "losses": [row["loss"] for row in steps], "whole_seconds": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "sim", SimulateConfig(faces="drawn", count=options.pictures, seed=1), workers=1)
        samples = read_jsonl(folder / "sim/samples.jsonl", Sample)
        asked = tuple(name for name in TASK_NAMES if name != "caption")
        for kind, tasks in (("captions", ("caption",)), ("dialogues", asked)):
            write_jsonl(folder / f"sim/{kind}.jsonl", generate_dialogues(samples, tasks=tasks, seed=0))
        captions, dialogues = folder / "sim/captions.jsonl", folder / "sim/dialogues.jsonl"

        stage1 = {"stage": "pretrain", "batch_size": 16, "learning_rate": 2e-3, "max_steps": options.steps}
        cached = trained(folder, "cached", captions, cache_features=True, **stage1)
        live = trained(folder, "live", captions, **stage1)
        difference = float(np.abs(np.subtract(cached["losses"], live["losses"])).max())
        found["stage1"] = {"times": cached["samples"] / live["samples"], "largest_difference_of_losses": difference}

        stage2 = {"stage": "sft", "learning_rate": 1e-3}
        packed = trained(folder, "packed", dialogues, cache_features=True, pack=True, batch_size=4, epochs=2.0, **stage2)
        apart = trained(folder, "apart", dialogues, batch_size=16, epochs=2.0, **stage2)
        ends = [float(np.mean(run["losses"][len(run["losses"]) // 2 :])) for run in (packed, apart)]
        found["stage2"] = {"times": packed["dialogues"] / apart["dialogues"], "final_losses": ends}
        for key, run in (("cached", cached), ("live", live), ("packed", packed), ("apart", apart)):
            found[key] = {name: value for name, value in run.items() if name != "losses"}
    print(json.dumps(found, indent=2))
    print(f"stage 1, cached against encoding every step: {found['stage1']['times']:.1f} times the samples/s")
    print(f"stage 2, packed and cached against neither: {found['stage2']['times']:.1f} times the dialogues/s")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
