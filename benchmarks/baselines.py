"""Do the baselines learn? Each is trained for a short while on the same pictures and scored on pictures of other people.

    faceshield simulate --faces drawn --count 600 --seed 71 --split train --out train
    faceshield simulate --faces drawn --count 200 --seed 72 --split test --out test
    python benchmarks/baselines.py --train train/samples.jsonl --test test/samples.jsonl --pictures 2000

Prints a row a method as soon as it is known; one that is in `--out` already is only scored. It shows that a method learns, not
how good it is: the tables compare trained-out systems (docs/baselines.md).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from faceshield.baselines import load_model
from faceshield.baselines.base import BASELINE_FILE, METHODS, read_weights
from faceshield.baselines.stage import BaselineConfig, train_baseline
from faceshield.images import open_picture
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.taxonomy import PRESENTATION_TYPES

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "baseline"


def figures(folder: Path, file: Path, limit: int | None) -> tuple[float, float]:
    """AUC of bonafide_score and fine accuracy of a folder's baseline on the pictures of a samples file."""
    samples = read_jsonl(file, Sample)[:limit]
    found = load_model(folder).score_many([open_picture(image_path(sample, file)).rgb for sample in samples])
    bonafide = np.array([not sample.is_attack for sample in samples])
    named = [max(types, key=types.__getitem__) for _, types in found]
    right = [name == sample.presentation_type for name, sample in zip(named, samples, strict=True)]
    return float(roc_auc_score(bonafide, [score for score, _ in found])), float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/baselines-check"))
    parser.add_argument("--pictures", type=int, default=2000, help="to see in all, a method")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--towers", default="tiny", help="what CoOp starts from")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    print(f"chance: AUC 50.0, fine {100 / len(PRESENTATION_TYPES):.1f}")
    print("| method | numbers | pictures seen | CPU s | AUC train | AUC test | fine train | fine test |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name in parsed.methods.split(","):
        told = [f"data=[{parsed.train}]", f"out={parsed.out / name}", f"cache={parsed.out / 'cache'}"]
        told += [f"pictures={parsed.pictures}", f"seed={parsed.seed}"] + ([f"init={parsed.towers}"] if name == "coop" else [])
        config = BaselineConfig.load(CONFIGS / f"{name}.yaml", told)
        spent = time.process_time()
        if not (config.out / BASELINE_FILE).is_file():
            train_baseline(config)
        spent = time.process_time() - spent
        numbers = sum(value.numel() for value in read_weights(config.out).values())
        seen = [figures(config.out, file, limit) for file, limit in ((parsed.train, 200), (parsed.test, None))]
        cells = [f"{100 * pair[index]:.1f}" for index in (0, 1) for pair in seen]
        print(f"| {name} | {numbers / 1e6:.2f} M | {config.pictures} | {spent:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
