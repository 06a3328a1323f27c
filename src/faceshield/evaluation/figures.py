"""From metrics.json files to figures: DET and ROC curves, reliability, confusion matrices (besides Tables 1-3).

Use: ``draw({"FaceShield": metrics}, "figures")``, or ``faceshield table metrics.json --figures figures``.

Everything is drawn from what ``metrics.json`` holds; no prediction is read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Metrics = Mapping[str, Any]
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
LOWEST, HIGHEST = 0.0005, 0.8  # the normal deviates of 0 and 1 are infinite: rates outside are drawn on the edge


def draw(systems: Mapping[str, Metrics], folder: str | Path) -> list[Path]:
    """Draws every figure that the metrics have numbers for, as PNG.

    Args:
        systems: name -> content of a ``metrics.json``.
        folder: folder to write to; created if missing.

    Returns:
        The files written: ``det.png, roc.png, calibration.png`` of all systems, ``confusion-NAME.png`` of each.

    Raises:
        ValueError: nothing in the metrics can be drawn, or two systems' names give the same file name.
    """
    folder = Path(folder)
    coarse = {name: metrics["overall"].get("coarse", {}) for name, metrics in systems.items()}
    curves = {name: part for name, part in coarse.items() if part.get("curve", {}).get("apcer")}
    scored = {name: part for name, part in coarse.items() if part.get("calibration", {}).get("bins")}
    matrices = {name: part for name, metrics in systems.items() if (part := metrics["overall"].get("fine"))}
    written = []
    if curves:
        written.append(_save(folder / "det.png", lambda axes: _det(axes, curves)))
        written.append(_save(folder / "roc.png", lambda axes: _roc(axes, curves)))
    if scored:
        written.append(_save(folder / "calibration.png", lambda axes: _reliability(axes, scored)))
    for name, part in matrices.items():
        plain = re.sub(r"[^\w.-]+", "_", name)
        target = folder / f"confusion-{plain}.png"
        if target in written:
            raise ValueError(
                f"{target} would be of two systems, {name!r} is one — expected names that differ in letters or numbers"
            )
        written.append(_save(target, lambda axes, part=part: _confusion(axes, part["confusion"])))  # type: ignore[misc]
    if not written:
        raise ValueError(
            f"{', '.join(systems)}: no scores and no presentation types — expected some of them — score coarse or "
            "fine predictions with this version first"
        )
    return written


def _save(path: Path, paint: Callable[[Axes], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No pyplot: a figure of its own needs neither a display nor global state.
    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    paint(figure.add_subplot())
    figure.savefig(path, dpi=150, metadata={"Software": ""})
    return path


def deviate(rates: Any) -> np.ndarray:
    """Rates -> normal deviates, the axes of a DET curve (Martin et al. 1997), clipped to 0.05%..80%."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(min(max(float(rate), LOWEST), HIGHEST)) for rate in np.atleast_1d(rates)])


def _det(axes: Axes, sections: Mapping[str, Metrics]) -> None:
    for name, part in sections.items():
        (line,) = axes.plot(deviate(part["curve"]["apcer"]), deviate(part["curve"]["bpcer"]), label=name)
        if "by_score" in part:
            point = [deviate(part["by_score"][rate]["value"]) for rate in ("apcer", "bpcer")]
            axes.plot(*point, "o", color=line.get_color())
    places, labels = deviate(TICKS), [f"{100 * tick:g}" for tick in TICKS]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)
    axes.plot(places, places, color="0.8", linewidth=0.8, zorder=0)
    edges = [float(deviate(LOWEST)[0]), float(deviate(HIGHEST)[0])]
    axes.set(xlim=edges, ylim=edges, xlabel="APCER, all attacks (%)", ylabel="BPCER (%)")
    axes.set(title="Detection error trade-off; a dot is the threshold of the development set", aspect="equal")
    axes.grid(color="0.9")
    axes.legend()


def _roc(axes: Axes, sections: Mapping[str, Metrics]) -> None:
    for name, part in sections.items():
        auc = part["ranking"]["auc"]["value"]
        accepted = 1 - np.array(part["curve"]["bpcer"])
        axes.plot(part["curve"]["apcer"], accepted, label=f"{name} (AUC {100 * auc:.2f}%)")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set(xlabel="APCER, all attacks", ylabel="1 - BPCER", title="ROC, bona fide as positive", aspect="equal")
    axes.grid(color="0.9")
    axes.legend(loc="lower right")


def _reliability(axes: Axes, sections: Mapping[str, Metrics]) -> None:
    for name, part in sections.items():
        bins = part["calibration"]["bins"]
        filled = np.array(bins["n"]) > 0
        points = np.array(bins["mean_score"])[filled], np.array(bins["share_bonafide"])[filled]
        axes.plot(*points, "o-", label=f"{name} (error {100 * part['calibration']['ece']['value']:.2f}%)")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
    axes.set(xlabel="bonafide_score, mean of the bin", ylabel="share bona fide", title="Calibration", aspect="equal")
    axes.grid(color="0.9")
    axes.legend()


def _confusion(axes: Axes, matrix: Metrics) -> None:
    counts = np.array(matrix["counts"], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=7)
    axes.set_xticks(range(counts.shape[1]), matrix["columns"], rotation=90, fontsize=8)
    axes.set_yticks(range(counts.shape[0]), matrix["rows"], fontsize=8)
    axes.set(xlabel="answered", ylabel="true", title="Presentation types")
