"""Draws the paper's figures: gains (Fig. 6), sweeps (Fig. 7, 8) and importance maps (Fig. 9).

Use: `draw(entry, outcomes, Path("fig7.png"))`; `importance(model, test, Path("fig9.png"))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from faceshield.recipes.reproduce.paper import Entry
from faceshield.recipes.reproduce.reproduction import Outcome
from faceshield.recipes.reproduce.show import values
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.tasks import FINE, LOCALIZATION, Task
from faceshield.training.pictures import square_boxes

CLASSIFIED, LOCATED = ("Bonafide", "Print", "Rigid mask"), ("Partial Eye", "Partial Mouth", "Glasses")
COUNTED = 100
"""The largest number of attacks on which the share of important tokens inside true boxes is measured."""
TOP = 0.1


def draw(entry: Entry, outcomes: Sequence[Outcome], path: Path) -> Path | None:
    """A sweep as curves or a gain as bars, each point the mean over trainings; None if nothing was measured."""
    found = [outcome for outcome in outcomes if outcome.runs]
    if not found:
        return None
    figure = _figure((7.2, 4.4))
    axes = figure.add_subplot()
    for place, metric in enumerate(entry.metrics):
        numbers = [values(outcome, metric) for outcome in found]
        means = np.array([np.mean(some) if some else np.nan for some in numbers])
        spreads = np.array([np.std(some, ddof=1) if len(some) > 1 else 0.0 for some in numbers])
        if entry.kind == "sweep":
            at = np.array([100 * float(outcome.row.at or 0.0) for outcome in found])
            axes.errorbar(at, means, yerr=spreads, marker="o", capsize=3, label=metric.heading)
        else:
            width = 0.8 / len(entry.metrics)
            at = np.arange(len(found)) + (place + 0.5) * width
            axes.bar(at, means, width, yerr=spreads, label=metric.heading)
    if entry.kind == "sweep":
        axes.set_xlabel(f"{found[0].row.label[0]} (%)")
    else:
        axes.set_xticks([number + 0.4 for number in range(len(found))], [outcome.row.label for outcome in found])
    axes.set(ylabel="%", ylim=(0, 100), title=entry.title)
    axes.title.set_fontsize(9)
    axes.grid(color="0.9")
    axes.legend(fontsize=8)
    return _save(figure, path)


def importance(model: str | Path, test: Path, path: Path) -> list[str]:
    """Draws the maps of six test pictures, and says where the important tokens of each stream lie.

    Args:
        model: our checkpoint, with both streams.
        test: samples with true boxes.
        path: the PNG to write.

    Returns:
        Readable lines: for each question and stream, the share of the most important tenth of its tokens that lies inside a
        true box, against that of all its tokens.
    """
    from faceshield.model.importance import overlay
    from faceshield.predictor import FaceShieldPredictor

    shield: Any = FaceShieldPredictor.from_pretrained(model, threshold=0.5)
    rows = read_jsonl(test, Sample)
    chosen: list[tuple[Sample, Task]] = [(row, FINE) for kind in CLASSIFIED for row in _first(rows, kind)]
    chosen += [(row, LOCALIZATION) for kind in LOCATED for row in _first(rows, kind)]
    figure = _figure((7.6, 2.5 * max(1, len(chosen))))
    panels = figure.subplots(max(1, len(chosen)), 3, squeeze=False)
    for line, (row, task) in zip(panels, chosen, strict=False):
        maps = shield.importance(image_path(row, test), task.question, face="whole")
        pictures = [(maps.rgb, f"{row.presentation_type}"), (overlay(maps.rgb, maps.of_rgb), f"RGB tokens, {task.name}")]
        if maps.of_savp is not None:
            pictures.append((overlay(maps.rgb, maps.of_savp), f"SAVP tokens, {task.name}"))
        for axes, (picture, title) in zip(line, pictures, strict=False):
            axes.imshow(picture)
            axes.set_title(title, fontsize=8)
            for x0, y0, x1, y1 in square_boxes(row.boxes, row.size_wh) * maps.rgb.shape[0]:
                axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="red", linewidth=1))
    for axes in panels.flat:
        axes.set_axis_off()
    _save(figure, path)
    attacked = [row for row in rows if row.boxes]
    drawn = np.sort(np.random.default_rng(0).permutation(len(attacked))[:COUNTED])  # from every domain, whatever the order
    return _where(shield, [attacked[place] for place in drawn], test)


def _where(shield: Any, rows: Sequence[Sample], test: Path) -> list[str]:
    lines = []
    for task in (FINE, LOCALIZATION):
        inside: dict[str, list[float]] = {"RGB": [], "SAVP": []}
        area: list[float] = []
        for row in rows:
            maps = shield.importance(image_path(row, test), task.question, face="whole")
            covered = _covered(row, maps.of_rgb.shape[0])
            area.append(float(covered.mean()))
            for name, one in (("RGB", maps.of_rgb), ("SAVP", maps.of_savp)):
                if one is not None:
                    top = np.argsort(-one.ravel(), kind="stable")[: max(1, round(TOP * one.size))]
                    inside[name].append(float(covered.ravel()[top].mean()))
        told = ", ".join(f"{name} {np.mean(found):.2f}" for name, found in inside.items() if found)
        if area:
            lines.append(
                f"Question {task.name}, {len(area)} attacks: share of each stream's most important tenth of tokens that lies "
                f"inside a true box: {told}; of all tokens: {np.mean(area):.2f}."
            )
    return lines


def _first(rows: Sequence[Sample], kind: str) -> list[Sample]:
    """The first picture of a type, if there is one."""
    return next(([row] for row in rows if row.presentation_type == kind), [])


def _covered(row: Sample, grid: int) -> np.ndarray:
    """(grid, grid) bool: tokens whose centre lies inside a true box."""
    middle = np.arange(grid) + 0.5
    found = np.zeros((grid, grid), dtype=bool)
    for x0, y0, x1, y1 in square_boxes(row.boxes, row.size_wh) * grid:
        found |= ((middle >= y0) & (middle < y1))[:, None] & ((middle >= x0) & (middle < x1))[None, :]
    return found


def _figure(size: tuple[float, float]) -> Figure:
    return Figure(figsize=size, layout="constrained")  # no pyplot: needs neither a display nor global state


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": ""})
    return path
