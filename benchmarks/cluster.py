"""Compares `predict --engine ray` on this machine with two workers, with one, and plain `predict`, in speed and output rows.

    python benchmarks/cluster.py [--model tiny] [--samples sim/samples.jsonl] [--count 100] [--repeats 3]

Every process has one thread. A run's rate is measured between its first and last batches, so that it excludes starting Ray and
loading the model; their cost is printed separately. Ratios compare rates measured one after the other within each repeat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from faceshield.baselines import load_model  # noqa: E402
from faceshield.engines import LOCAL, start_engine  # noqa: E402
from faceshield.evaluation import Elsewhere, predict  # noqa: E402
from faceshield.images import open_picture  # noqa: E402


def pixels(path: Path) -> Any:
    return open_picture(path).rgb


def run(samples: Path, model: str, workers: int, folder: Path, tasks: list[str], batch_size: int) -> dict[str, float]:
    """One run into a fresh file: pictures per second between batches, and seconds until the first batch and in all."""
    times: list[tuple[float, int]] = []
    started = time.perf_counter()
    name, settings = ("ray", {"workers": workers}) if workers else ("local", {})
    load = partial(load_model, model)
    with start_engine(name, **settings) as engine:
        asker = Elsewhere(load, engine) if workers else load()
        predict(
            samples, asker, folder / f"{workers}.jsonl", tasks=tasks, system=model, batch_size=batch_size, resume=False,
            load=pixels, engine=engine if workers else LOCAL,
            progress=lambda done, total: times.append((time.perf_counter(), done)),
        )  # fmt: skip
    # The first batches of all workers arrive together, so they are left out, together with the start-up time.
    first, last = times[1 + max(workers, 1)], times[-1]
    rate = (last[1] - first[1]) / (last[0] - first[0])
    return {"rate": rate, "until_first": times[1][0] - started, "in_all": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description="Two local workers of Ray against one.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=Path, help="A samples.jsonl; default: faces are drawn and simulated first.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--tasks", default="coarse,fine,reasoning,localization")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        samples = options.samples
        if samples is None:
            from faceshield.simulate.dataset import SimulateConfig, simulate

            samples = simulate(folder / "sim", SimulateConfig(faces="drawn", count=options.count, seed=1), workers=2)
        runs: dict[int, list[dict[str, float]]] = {0: [], 1: [], 2: []}
        for repeat in range(options.repeats):
            for workers, found in runs.items():
                found.append(run(samples, options.model, workers, folder, options.tasks.split(","), options.batch_size))
                print(f"repeat {repeat}, {f'{workers} workers' if workers else 'plain'}: " + describe(found[-1]), flush=True)
        rows = [sorted((folder / f"{workers}.jsonl").read_text().splitlines()) for workers in runs]
        print(f"the same {len(rows[0])} rows: {rows[0] == rows[1] == rows[2]}")
        ratios = {
            "two workers against one (goal 1.6)": [b["rate"] / a["rate"] for a, b in zip(runs[1], runs[2], strict=True)],
            "one worker against plain predict": [b["rate"] / a["rate"] for a, b in zip(runs[0], runs[1], strict=True)],
            "two workers against plain predict": [b["rate"] / a["rate"] for a, b in zip(runs[0], runs[2], strict=True)],
        }
        for label, values in ratios.items():
            print(f"{label}: median {statistics.median(values):.2f} of {', '.join(f'{value:.2f}' for value in values)}")
        extra = [b["until_first"] - a["until_first"] for a, b in zip(runs[0], runs[2], strict=True)]
        print(f"seconds until the first batch beyond plain predict's: median {statistics.median(extra):.1f}")
    print(f"cores: {len(os.sched_getaffinity(0))}, load when it ended: {os.getloadavg()[0]:.1f}")


def describe(found: dict[str, float]) -> str:
    return f"{found['rate']:.2f} pictures/s, first batch after {found['until_first']:.1f} s, {found['in_all']:.1f} s in all"


if __name__ == "__main__":
    main()
