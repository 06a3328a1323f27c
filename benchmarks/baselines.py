"""Do the baselines learn? Two tests of each method, in the order in which they can fail.

By heart: the method sees `--heart` pictures, half of them bona fide, often and without augmentation, and is scored on them. A
failure here means a bug or unsuitable settings; the small number of pictures is no excuse.
Other people: it is trained on all of `--train` and scored on `--test`, with a 95% interval over people (bootstrap).

    faceshield simulate --faces drawn --count 600 --seed 71 --split train --out train
    faceshield simulate --faces drawn --count 200 --seed 72 --split test --out test
    python benchmarks/baselines.py --train train/samples.jsonl --test test/samples.jsonl --pictures 2000

Prints one row per method as soon as it is known; a method that is in `--out` already is only scored. This shows that a method
learns, not how good it is: the tables compare fully trained systems (docs/history.md).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceshield.baselines import load_model
from faceshield.baselines.base import METHODS, load_baseline
from faceshield.baselines.stage import BaselineConfig, train_baseline
from faceshield.evaluation.metrics.intervals import bootstrap_intervals
from faceshield.evaluation.metrics.pad import ScoreCurve
from faceshield.images import open_picture
from faceshield.records import Sample, image_path, read_jsonl, write_jsonl

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "baseline"
STILL = ("max_shift=0", "jitter=0")
"""No augmentation."""


@dataclass(frozen=True)
class Figures:
    """Figures (0..1) of a baseline on some pictures; `interval` is that of the AUC."""

    auc: float
    interval: tuple[float, float]
    fine: float


def figures(folder: Path, file: Path, limit: int | None = None) -> Figures:
    """AUC of bonafide_score, and fine accuracy, of the baseline in a folder on the pictures of a samples file."""
    samples = read_jsonl(file, Sample)[:limit]
    found = load_model(folder).score_many([open_picture(image_path(sample, file)).rgb for sample in samples])
    curve = ScoreCurve([score for score, _ in found], [sample.is_attack for sample in samples])
    named = [max(types, key=types.__getitem__) for _, types in found]
    right = [name == sample.presentation_type for name, sample in zip(named, samples, strict=True)]
    people = [sample.subject or sample.id for sample in samples]
    drawn = bootstrap_intervals(people, lambda weights: {"auc": curve.auc(weights)}, np.random.default_rng(0))
    return Figures(curve.auc(), drawn["auc"], float(np.mean(right)))


def handful(file: Path, count: int, out: Path) -> Path:
    """Writes a samples file with the first `count` / 2 bona fides of another and as many of its attacks."""
    samples = read_jsonl(file, Sample)
    kinds = [[sample for sample in samples if sample.is_attack == attack][: count // 2] for attack in (False, True)]
    chosen = kinds[0] + kinds[1]
    write_jsonl(out, [one.model_copy(update={"image": str(image_path(one, file).resolve())}) for one in chosen])
    return out


def trained(name: str, file: Path, out: Path, pictures: int, told: list[str]) -> tuple[Path, list[str]]:
    """Trains a method, or resumes its training; returns its folder and the first cells of its row."""
    told = [f"data=[{file}]", f"out={out / name}", f"pictures={pictures}", *told]
    config = BaselineConfig.load(CONFIGS / f"{name}.yaml", told)
    spent = time.process_time()
    train_baseline(config)
    spent = time.process_time() - spent
    steps, passes = -(-pictures // config.batch_size), pictures / len(read_jsonl(file, Sample))
    return config.out, [name, str(pictures), str(steps), f"{passes:.1f}", f"{spent:.0f}"]


def row(cells: list[str]) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def heading(*more: str) -> None:
    cells = ["method", "pictures seen", "steps", "passes", "CPU s", *more]
    row(cells)
    row(["---"] * len(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/baselines-check"))
    parser.add_argument("--heart", type=int, default=96, help="pictures to learn by heart; 0 skips this")
    parser.add_argument(
        "--heart-pictures", type=int, default=2000, help="pictures that each method sees when learning by heart"
    )
    parser.add_argument("--pictures", type=int, default=2000, help="pictures that each method sees in training; 0 skips this")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--towers", default="tiny", help="what CoOp starts from")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every method's training")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    told = [f"cache={parsed.out / 'cache'}", f"seed={parsed.seed}", *parsed.set]
    settings = {name: [*told, *([f"init={parsed.towers}"] if name == "coop" else [])] for name in parsed.methods.split(",")}
    if parsed.heart:
        file = handful(parsed.train, parsed.heart, parsed.out / "heart" / "samples.jsonl")
        print(f"by heart: {parsed.heart} pictures, half bona fide, nothing varied; one answer for all: AUC 50, fine 50")
        heading("AUC on them", "fine")
        for name, own in settings.items():
            folder, cells = trained(name, file, parsed.out / "heart", parsed.heart_pictures, [*own, *STILL])
            found = figures(folder, file)
            row([*cells, f"{100 * found.auc:.1f}", f"{100 * found.fine:.1f}"])
    if parsed.pictures:
        print("of other people; one answer for all: AUC 50, fine the share of the bona fides")
        heading("parameters", "AUC train", "AUC test (95% CI)", "fine train", "fine test")
        for name, own in settings.items():
            folder, cells = trained(name, parsed.train, parsed.out, parsed.pictures, own)
            numbers = sum(value.numel() for value in load_baseline(folder).parameters())
            seen, new = figures(folder, parsed.train, 200), figures(folder, parsed.test)
            test = f"{100 * new.auc:.1f} ({100 * new.interval[0]:.0f}–{100 * new.interval[1]:.0f})"
            fine = [f"{100 * found.fine:.1f}" for found in (seen, new)]
            row([*cells, f"{numbers / 1e6:.2f} M", f"{100 * seen.auc:.1f}", test, *fine])


if __name__ == "__main__":
    main()
