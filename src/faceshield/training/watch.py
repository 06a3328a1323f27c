"""Monitoring a run: a JSON line per row of `log.jsonl`, a progress bar with rates and memory, and a figure of the loss.

Use: `watch = Watch(out, report)`; the trainer counts into it and logs through it. `loss_figure("sft")` draws `sft/loss.png`.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from faceshield.model.checkpoint import CheckpointInfo, load, save, set_info_aside
from faceshield.provenance import write_text_atomic

LOG_FILE, FIGURE_FILE = "log.jsonl", "loss.png"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
"""The files by which a folder is seen to hold a model; no run overwrites one that it has not written itself."""
Report = Callable[[Mapping[str, Any]], None]
"""Called with every row of the log."""


def forget_choice(out: Path, report: Report | None) -> None:
    """Sets aside the threshold and calibration in `out` before other weights are saved there, and reports that it did."""
    if (kept := set_info_aside(out)) and report is not None:
        report({"event": "warning", "": f"the weights change: choose a new threshold; the earlier one is in {kept}"})


def save_if_new(model: Any, processor: Any, out: Path, info: CheckpointInfo, report: Report | None) -> None:
    """Writes a checkpoint, unless `out` holds these very weights; what was chosen for others there is set aside.

    Args:
        model: a whole model.
        processor: its processor.
        out: checkpoint folder.
        info: that of the checkpoint it was trained from; its threshold and calibration, chosen for other weights, are left out.
        report: see `forget_choice`.
    """
    if not _holds(out, model):
        forget_choice(out, report)
        save(model.eval(), processor, out, replace(info, threshold=None, threshold_source={}, calibration={}))


def _holds(folder: Path, model: Any) -> bool:
    """Whether a checkpoint folder is complete and has these very weights."""
    try:
        there = load(folder).model.state_dict()
    except (OSError, ValueError):
        return False
    here = model.state_dict()
    return there.keys() == here.keys() and all(torch.equal(value.cpu(), there[name]) for name, value in here.items())


class Watch:
    """Counts what a run processes, and logs it.

    Args:
        out: folder of `log.jsonl`; None on all processes but one, which then log nothing.
        report: called with every row; None: no further reporting.
        bar: whether a terminal shows a bar.
    """

    def __init__(self, out: Path | None, report: Report | None, *, bar: bool = True) -> None:
        self.file = None if out is None else out / LOG_FILE
        self.report = report if report is not None and out is not None else lambda row: None
        shown = bar and out is not None and sys.stderr.isatty()
        self.bar = tqdm(unit="step", file=sys.stderr, dynamic_ncols=True, disable=not shown)
        self._zero()

    def _zero(self) -> None:
        self.since = time.monotonic()
        self.counts = {"samples": 0, "dialogues": 0, "tokens": 0}

    def count(self, samples: int, dialogues: int, tokens: int) -> None:
        """Adds the rows, dialogues and tokens of one step, over all processes."""
        for name, more in zip(self.counts, (samples, dialogues, tokens), strict=True):
            self.counts[name] += more

    def step(self, done: int, total: int) -> None:
        """Moves the bar."""
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def rates(self) -> dict[str, float]:
        """Counts per second since the last call, and peak memory."""
        seconds = max(1e-9, time.monotonic() - self.since)
        found = {f"{name}_per_second": round(value / seconds, 2) for name, value in self.counts.items()}
        self._zero()
        return {**found, "memory_gib": round(memory_gib(), 2)}

    def log(self, row: Mapping[str, Any]) -> None:
        """Sends a row to the file and to `report`, and its main figures to the bar."""
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(dict(row), default=str) + "\n")
        keys = ("loss", "samples_per_second", "tokens_per_second", "memory_gib")
        self.bar.set_postfix({name: row[name] for name in keys if name in row})
        self.report(row)

    def forget_after(self, step: int) -> None:
        """Drops rows of steps that will be repeated, and a truncated line."""
        if self.file is None or not self.file.is_file():
            return
        rows = read_log(self.file)
        kept = [row for row in rows if row.get("step", 0) <= step]
        write_text_atomic(self.file, [json.dumps(row) + "\n" for row in kept])


def read_log(file: Path) -> list[dict[str, Any]]:
    """Rows of a log; lines that are not JSON, such as a truncated last one, are skipped."""
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def memory_gib() -> float:
    """Peak memory in GiB: of the GPU or, without one, of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def loss_figure(out: Path) -> Path | None:
    """Draws the losses of a stage's log; None if it has none."""
    from matplotlib.figure import Figure

    file = out / LOG_FILE
    rows = [row for row in (read_log(file) if file.is_file() else []) if math.isfinite(row.get("loss", math.nan))]
    if not rows:
        return None
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], linewidth=1)
    axes.set(xlabel="step", ylabel="loss (next token, on answers)", title=f"{out.name}: {rows[-1]['loss']:.4g} at the end")
    axes.grid(alpha=0.3)
    figure.savefig(out / FIGURE_FILE, dpi=120)
    return out / FIGURE_FILE
