"""How much stage 1 gains from cached features, and stage 2 from these and packing; and where a step's time goes.

`shares`: CPU seconds of the parts of a stage 1 step: reading pictures, the tower, the language model. `stage1`: features read
from disk against running the tower in every step. `stage2`: packed rows and cached features against one dialogue per row and
the tower in every step, up to the same number of dialogues. faceshield-tiny, float32, one thread; seconds are CPU seconds of
this process, so that other work on the machine does not count; the sides alternate, and medians of their steps are compared.
The final loss of stage 2 is the trained models' mean loss on dialogues about pictures that neither side has seen, each dialogue
by itself.
Use: `python benchmarks/train.py --pictures 96`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceshield.data_engine import TASK_NAMES, generate_dialogues
from faceshield.model import load, resolve_model
from faceshield.model.processing_faceshield import IGNORED
from faceshield.records import Sample, read_jsonl, write_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.training.collate import ABOUT, collate
from faceshield.training.dataset import DialogueRows
from faceshield.training.settings import StageConfig
from faceshield.training.stages import train_stage
from faceshield.training.vision_cache import LivePictures, VisionCache

Figures = dict[str, Any]
WARM = 2
"""Warm-up steps of a run, which do not count."""


def trained(folder: Path, name: str, init: str, dialogues: Path, **settings: Any) -> Figures:
    """One run: its losses, and the loss, CPU seconds and number of dialogues of each step after the warm-up."""
    config = StageConfig(
        init=init, dialogues=[dialogues], out=folder / name, cache=folder / "cache", threads=1,
        log_every=1, save_steps=100_000, bf16=False, lora_dropout=0.0, report_to=[], **settings,
    )  # fmt: skip
    steps: list[Figures] = []
    clock = [time.process_time()]

    def note(row: Any) -> None:
        now = time.process_time()
        if row.get("event") == "step":
            share = row["dialogues_per_second"] / row["samples_per_second"]
            steps.append({"loss": row["loss"], "seconds": now - clock[0], "dialogues": config.batch_size * share})
        clock[0] = now

    train_stage(config, report=note)
    return {"losses": [step["loss"] for step in steps], "steps": steps[WARM:]}


def per_second(runs: list[Figures]) -> float:
    """Dialogues per CPU second, in the median step."""
    return statistics.median(step["dialogues"] / step["seconds"] for run in runs for step in run["steps"])


def loss_on(dialogues: Path, checkpoint: Path, rows: int = 16) -> float:
    """Mean loss per supervised token on these dialogues, one per row, with no vision token masked."""
    loaded = load(checkpoint)
    model, processor = loaded.model.eval(), loaded.processor
    data = DialogueRows.read([dialogues], processor, pack=False)
    live = LivePictures(data.paths, processor)
    total = count = 0.0
    for start in range(0, len(data), rows):
        batch = collate([data[index] for index in range(start, min(start + rows, len(data)))], live, processor.pad_token_id)
        batch.pop(ABOUT)
        supervised = int((batch["labels"][:, 1:] != IGNORED).sum())
        with torch.inference_mode():
            total += float(model(**batch).loss) * supervised
        count += supervised
    return total / count


def shares(dialogues: Path, folder: Path, rows: int, repeats: int) -> Figures:
    """Median CPU seconds of the parts of one stage 1 step."""
    checkpoint = load(resolve_model("tiny"))
    model, processor = checkpoint.model.train(), checkpoint.processor
    model.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(True)
    data = DialogueRows.read([dialogues], processor, pack=False)
    cache = VisionCache.build(data.paths, model, processor, folder, bf16=False)
    items, live = [data[index] for index in range(rows)], LivePictures(data.paths, processor)
    batch, pixels = (collate(items, vision, processor.pad_token_id) for vision in (cache, live))
    batch.pop(ABOUT)

    def encode() -> None:
        with torch.no_grad():
            model.encode_images(pixels["pixel_values"], pixels["savp_values"])

    def forward() -> None:
        with torch.no_grad():
            model(**batch)

    def step() -> None:
        model.zero_grad()
        model(**batch).loss.backward()

    parts: dict[str, Callable[[], Any]] = {
        "decoding and SAVP": lambda: collate(items, live, processor.pad_token_id),
        "tower": encode,
        "features from disk": lambda: collate(items, cache, processor.pad_token_id),
        "language model forward": forward,
        "language model forward and backward": step,
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            start = time.process_time()
            part()
            taken[name].append(time.process_time() - start)
    found = {name: statistics.median(values) for name, values in taken.items()}
    vision = found["decoding and SAVP"] + found["tower"]
    rest = found["language model forward and backward"]
    return {"seconds": found, "rows": rows, "most_that_a_cache_can_gain": (vision + rest) / rest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--steps", type=int, default=12, help="of each run of stage 1")
    parser.add_argument("--rows", type=int, default=16, help="rows a step; packed: a quarter of them, with four dialogues each")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side, in turn, each with its own seed")
    parser.add_argument("--held", type=int, default=64, help="pictures nobody is trained on, for the final loss of stage 2")
    parser.add_argument("--epochs", type=float, default=1.0, help="of stage 2")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate of stage 2")
    parser.add_argument("--init", default="tiny", help="checkpoint that stage 2 starts from")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = tuple(name for name in TASK_NAMES if name != "caption")
        kinds = {"captions": (1, ("caption",)), "dialogues": (1, asked), "held": (2, asked)}
        for kind, (seed, tasks) in kinds.items():
            count = options.held if kind == "held" else options.pictures
            pictures = folder / f"sim-{seed}"
            if not pictures.exists():
                simulate(pictures, SimulateConfig(faces="drawn", count=count, seed=seed), workers=2)
            samples = read_jsonl(pictures / "samples.jsonl", Sample)
            whole = [{"image": str((pictures / row.image).resolve()), "split": "train"} for row in samples]
            samples = [row.model_copy(update=update) for row, update in zip(samples, whole, strict=True)]
            write_jsonl(folder / f"{kind}.jsonl", generate_dialogues(samples, tasks=tasks, seed=0))
        found: Figures = {"shares": shares(folder / "captions.jsonl", folder / "cache", min(options.rows, options.pictures), 3)}
        print(json.dumps(found), flush=True)

        packed_rows = max(1, options.rows // 4)
        sides: dict[str, tuple[str, Figures]] = {
            "cached": ("captions", {"stage": "pretrain", "cache_features": True}),
            "live": ("captions", {"stage": "pretrain"}),
            "packed": ("dialogues", {"stage": "sft", "cache_features": True, "pack": True, "batch_size": packed_rows}),
            "apart": ("dialogues", {"stage": "sft"}),
        }
        begin = str(resolve_model(options.init))
        stages: dict[str, Figures] = {
            "pretrain": {"init": str(resolve_model("tiny")), "learning_rate": 2e-3, "max_steps": options.steps},
            "sft": {"init": begin, "learning_rate": options.rate, "epochs": options.epochs},
        }
        runs: dict[str, list[Figures]] = {side: [] for side in sides}
        held: dict[str, list[float]] = {"before": [loss_on(folder / "held.jsonl", Path(begin))], "packed": [], "apart": []}
        for number in range(options.rounds):
            for side, (kind, own) in sides.items():
                settings = {"batch_size": options.rows, "seed": number, **stages[own["stage"]], **own}
                out = f"{side}-{number}"
                runs[side].append(trained(folder, out, dialogues=folder / f"{kind}.jsonl", **settings))
                if side in held:
                    held[side].append(loss_on(folder / "held.jsonl", folder / out))
            print(json.dumps({"loss on held-out dialogues": held}), flush=True)
    rate = {side: per_second(done) for side, done in runs.items()}
    first = {side: np.array(done[0]["losses"]) for side, done in runs.items()}
    difference = float(np.abs(first["cached"] - first["live"]).max())
    ends = {side: statistics.mean(losses) for side, losses in held.items()}
    found["stage1"] = {"times": rate["cached"] / rate["live"], "largest_difference_of_losses": difference}
    found["stage2"] = {"times": rate["packed"] / rate["apart"], "held_out_loss": ends, "of_each_run": held}
    found["dialogues_a_cpu_second"] = rate
    print(json.dumps(found, indent=2))
    print(f"a cache can gain {found['shares']['most_that_a_cache_can_gain']:.2f} times at most: the rest is the language model")
    print(f"stage 1, cached against encoding every step: {found['stage1']['times']:.2f} times the samples/s")
    print(f"stage 2, packed and cached against neither: {found['stage2']['times']:.2f} times the dialogues/s")
    ratio = ends["packed"] / ends["apart"] - 1
    print(f"its loss on held-out dialogues, packed against apart: {100 * ratio:+.1f}%, means of {options.rounds} runs")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
