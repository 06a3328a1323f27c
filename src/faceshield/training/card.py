"""The model card that training leaves beside its weights: `README.md`, written from `run.json`, `faceshield.json` and the log.

A card written by hand, recognised by the absence of `MARK`, is left alone. Use: `write_card("runs/paper/sft")`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faceshield.model.checkpoint import INFO_FILE
from faceshield.provenance import RUN_FILE, read_json, write_text_atomic
from faceshield.training.watch import FIGURE_FILE, LOG_FILE, read_log

CARD_FILE = "README.md"
MARK = "<!-- written by faceshield train; remove this line to keep your own text -->"
WHAT = {
    "pretrain": "stage 1 of the paper (§4.3): the projector alone learns to describe; everything else is as it was",
    "sft": "stage 2 of the paper (§4.3): LoRA on the language model, and the projector, learn the four tasks",
    "average": "the average of several models' weights, tensor by tensor: nothing was trained for it",
}


def write_card(out: str | Path) -> Path | None:
    """Writes the card and returns its path; None if a hand-written card is there."""
    out = Path(out)
    path = out / CARD_FILE
    if path.is_file() and MARK not in path.read_text(encoding="utf-8"):
        return None
    run = read_json(out / RUN_FILE)
    info = read_json(out / INFO_FILE)
    return write_text_atomic(path, "\n".join(_lines(out, run, info)) + "\n")


def _lines(out: Path, run: dict[str, Any], info: dict[str, Any]) -> list[str]:
    config = run["config"]
    lines = ["---", "library_name: faceshield", "pipeline_tag: image-text-to-text", "tags: [face-anti-spoofing]", "---", MARK]
    lines += [f"# {out.name}", "", f"FaceShield (arXiv 2505.09415), {WHAT.get(config['stage'], config['stage'])}."]
    lines += ["", f"{_origin(config, info['extra'])}, written {run['written']}.", ""]
    file = out / LOG_FILE
    losses = [row for row in (read_log(file) if file.is_file() else []) if "loss" in row]
    if losses:
        first, last = losses[0], losses[-1]
        lines += [f"Loss {first['loss']:.4g} (step {first['step']}) to {last['loss']:.4g} (step {last['step']}).", ""]
        lines += [f"![loss]({FIGURE_FILE})", ""]
    lines += ["The threshold and the calibration, once chosen, are in faceshield.json.", ""]
    if losses:
        lines += ["The last step's weights: no epoch or step was chosen by a score.", ""]
    lines += ["| setting | value |", "|---|---|"]
    lines += [f"| {name} | `{value}` |" for name, value in config.items() if value not in (None, [], {})]
    lines += ["", "| read | SHA-256 |", "|---|---|"]
    lines += [f"| `{entry['path']}` | `{entry['sha256'][:16]}…` |" for entry in run["inputs"]]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    lines += ["", f"Versions: {versions}; commit {run['git_commit'] or 'unknown'}.", ""]
    lines += ["Not for deciding about people. What it was trained on decides what it can see: measure it on your own pictures."]
    return lines


def _origin(config: dict[str, Any], extra: dict[str, Any]) -> str:
    if config["stage"] == "average":  # not told from `extra`: a model trained from an average inherits its entry
        parts = zip(extra["average"]["models"], extra["average"]["shares"], strict=True)
        return "Made of " + ", ".join(f"{share:.4g} of `{part['model']}`" for part, share in parts)
    return f"Started from `{config['init']}`, {extra.get('steps')} updates"
