"""Merges metrics of several trainings: mean and standard deviation of every number (paper §5.2: ten repeats, mean ± std).

Use: `collected([json.loads(file.read_text()) for file in Path("out").glob("seed-*/metrics.json")])`; `table` shows the result
like any other, "99.41 ± 0.06". The deviation is over trainings; the uncertainty of one training is in that run's intervals.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

ONE_RUNS = ("curve", "bins")
"""What has no mean, since it belongs to one run's scores: curves and bins; and intervals, see `_of_one_run`."""


def collected(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merges the `metrics.json` of several trainings (or draws at inference) that differ in their seed alone into one.

    Every estimate becomes {"value": mean, "std": sample standard deviation, None for one run, "n", "runs"}; confusion matrices
    are summed; curves are left out.

    Raises:
        ValueError: no runs, or some are merged already; or they are of different pictures or tasks, or only some have a
            threshold.
    """
    if not runs:
        raise ValueError("no metrics to collect — expected those of at least one run — score one")
    if len(runs) > 1 and any("runs" in run for run in runs):
        raise ValueError("metrics of several runs among them — expected those of single ones — give each run's own file")
    for what, of in (("threshold", lambda run: run.get("threshold") is not None), ("test set", _measured)):
        if any(of(run) != of(runs[0]) for run in runs[1:]):
            raise ValueError(
                f"metrics that differ in their {what} — expected runs that differ in their seed alone — score alike"
            )
    return {**_merged(list(runs)), "runs": len(runs)}


def _measured(run: Mapping[str, Any]) -> Any:
    """How many rows of which tasks were measured."""
    overall = run.get("overall", {})
    coarse = overall.get("coarse", {})
    return overall.get("rows"), coarse.get("n_bonafide"), coarse.get("n_attack")


def mean_std(values: Sequence[float]) -> dict[str, Any]:
    """{"value": mean, "std": sample standard deviation or None, "runs": how many}."""
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"value": statistics.fmean(values) if values else None, "std": spread, "runs": len(values)}


def _of_one_run(key: str) -> bool:
    return key in ONE_RUNS or key.endswith("ci95")


def _merged(values: list[Any]) -> Any:
    first = values[0]
    if all(isinstance(value, Mapping) for value in values):
        shared = [key for key in first if not _of_one_run(key) and all(key in value for value in values)]
        found = {key: _summed if key == "counts" else _merged for key in shared if key != "value"}
        merged = {key: merge([value[key] for value in values]) for key, merge in found.items()}
        if "value" in shared:
            merged = {**mean_std([value["value"] for value in values if value["value"] is not None]), **merged}
        return merged
    if all(value == first for value in values):
        return first
    numbers = [value for value in values if value is not None]
    if numbers and all(isinstance(value, (int, float)) for value in numbers):
        return statistics.fmean(numbers)
    if all(isinstance(value, list) for value in values):
        return list(dict.fromkeys(item for value in values for item in value))
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None)) or None


def _summed(tables: list[Any]) -> Any:
    if isinstance(tables[0], list):
        return [_summed(list(rows)) for rows in zip(*tables, strict=True)]
    return sum(tables)
