"""Leave one variant out: does a model know an attack that was never rendered that way in training?

    python runs/leave_one_out.py sim/samples.jsonl [minutes=20 …] [--out runs/leave-one-out] [--only 0 1]
        [--config configs/train/tiny-towers.yaml]
    python runs/leave_one_out.py --judge predictions.jsonl … --trained-on old/samples.jsonl …

Fold k leaves out the k-th variant of every presentation type at once (a type with fewer variants starts again), so that
there are as many trainings as the richest type has variants and each variant is left out at least once. Each fold: `faceshield
split --protocol leave-one-attack-out` (people apart; of attacks, the test has what was left out alone), towers trained on the
rest, and of each variant the AUC of the towers' class head against the fold's bona fide test pictures. key=value go to the
training. Printed: every variant, and mean and worst of each type and of all. It goes on where it was stopped; what it finds is
in OUT/leave_one_out.json. The settings to compare are data, sizes and losses: never choose by the test set that will be
reported.

The second form trains nothing: the simulator has got new variants since a model was trained, and `faceshield predict` has
asked it about pictures with them. Of each variant that is in none of the files it was trained on, the AUC of
`bonafide_score`, and of the others mean and worst beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from faceshield.evaluation.metrics.intervals import FloatArray, bootstrap_intervals
from faceshield.evaluation.metrics.pad import ScoreCurve
from faceshield.provenance import begun, file_sha256, write_text_atomic
from faceshield.records import Prediction, Sample, iter_jsonl, read_jsonl
from faceshield.tasks import COARSE
from faceshield.taxonomy import PRESENTATION_TYPES

GOAL_MEAN, GOAL_WORST = 0.95, 0.85


def folds(samples: Iterable[Sample]) -> list[tuple[str, ...]]:
    """Of each fold, the variants that are left out; a type with a single variant is always kept, for nothing would be left.

    Raises:
        ValueError: no type has two variants.
    """
    variants: dict[str, set[str]] = {}
    for sample in samples:
        if sample.is_attack:
            variants.setdefault(str(sample.presentation_type), set()).add(str(sample.original_label))
    several = [sorted(names) for _, names in sorted(variants.items()) if len(names) > 1]
    if not several:
        raise ValueError("no presentation type has two variants — expected several — simulate more pictures")
    return [tuple(names[fold % len(names)] for names in several) for fold in range(max(map(len, several)))]


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "faceshield", *words], check=True)


def train_fold(
    samples: Sequence[Path], left_out: Sequence[str], out: Path, config: Path, seed: int, options: Sequence[str]
) -> Path:
    """The predictions of towers that have not seen `left_out`; a finished fold is found again, another refused."""
    predictions = out / "towers" / "predictions.jsonl"
    content = {"samples": [file_sha256(file) for file in samples], "config": config.read_text(encoding="utf-8")}
    begun(out, "leave-one-out", {**content, "left_out": left_out, "seed": seed, "options": list(options)})
    if predictions.is_file():
        return predictions
    attacks = [word for name in left_out for word in ("--attack", name)]
    run("split", *map(str, samples), "--out", str(out / "data"), "--protocol", "leave-one-attack-out", *attacks,
        "--test-share", "0.25", "--dev-share", "0", "--seed", str(seed))  # fmt: skip
    data = f"data=[{out}/data/train.jsonl, {out}/data/test.jsonl]"
    run("train", str(config), data, f"out={out / 'towers'}", f"cache={out.parent / 'cache'}", "eval_split=test",
        "eval_pictures=1000000", f"seed={seed}", *options)  # fmt: skip
    return predictions


def variant_aucs(predictions: Iterable[Prediction], rng: np.random.Generator) -> dict[str, dict[str, object]]:
    """Of each variant: its type, n, and the AUC against all bona fide rows with a 95% interval over people."""
    rows = list(predictions)
    found: dict[str, dict[str, object]] = {}
    for variant in sorted({str(row.truth.meta["variant"]) for row in rows if row.truth.is_attack}):
        used = [row for row in rows if not row.truth.is_attack or row.truth.meta["variant"] == variant]
        attack = np.array([bool(row.truth.is_attack) for row in used])
        scores = [np.nan if row.bonafide_score is None else row.bonafide_score for row in used]
        curve = ScoreCurve(scores, attack)
        people = [str(row.truth.subject or row.sample_id) for row in used]

        def ranked(weights: FloatArray | None = None, curve: ScoreCurve = curve) -> dict[str, float]:
            return {"auc": curve.auc(weights)}

        interval = bootstrap_intervals(people, ranked, rng).get("auc")
        kind = next(str(row.truth.presentation_type) for row in used if row.truth.is_attack)
        found[variant] = {
            "type": kind, "n_attack": int(attack.sum()), "n_bonafide": int((~attack).sum()), "auc": curve.auc(),
            "ci95": None if interval is None else list(interval),
        }  # fmt: skip
    return found


def lines(found: dict[str, dict[str, object]]) -> Iterable[str]:
    """For people; a variant that was left out twice counts with its mean, as `found` has it."""
    by_type: dict[str, list[float]] = {}
    yield f"{'left out':28} {'AUC':>6}  {'95%':>14}  attacks, bona fide"
    for variant, row in found.items():
        auc, interval = float(row["auc"]), row["ci95"]  # type: ignore[arg-type]
        shown = "-" if interval is None else "[{:.3f}, {:.3f}]".format(*interval)  # type: ignore[misc]
        yield f"{variant:28} {auc:6.3f}  {shown:>14}  {row['n_attack']}, {row['n_bonafide']}"
        by_type.setdefault(str(row["type"]), []).append(auc)
    yield f"{'type':28} {'mean':>6} {'worst':>6}"
    for kind in PRESENTATION_TYPES:
        if kind in by_type:
            yield f"{kind:28} {np.mean(by_type[kind]):6.3f} {min(by_type[kind]):6.3f}"
    every = [auc for aucs in by_type.values() for auc in aucs]
    yield f"{'all':28} {np.mean(every):6.3f} {min(every):6.3f}  (goal {GOAL_MEAN} and {GOAL_WORST})"


def judge(predictions: Iterable[Prediction], trained_on: Iterable[Sample], rng: np.random.Generator) -> Iterable[str]:
    """Lines on the variants that a model was not trained on, and one on those that it was.

    Raises:
        ValueError: it was trained on all of them.
    """
    known = {sample.original_label for sample in trained_on}
    found = variant_aucs((row for row in predictions if row.task == COARSE.name), rng)
    new = {name: row for name, row in found.items() if name not in known}
    if not new:
        raise ValueError(
            "no variant is new to the model — expected some that --trained-on has not — simulate with a later version"
        )
    yield from lines(new)
    old = [float(row["auc"]) for name, row in found.items() if name in known]  # type: ignore[arg-type]
    if old:
        yield f"{'trained on, for comparison':28} {np.mean(old):6.3f} {min(old):6.3f}  ({len(old)} variants)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, nargs="*", help="samples files of `faceshield simulate`, and key=value")
    parser.add_argument("--judge", type=Path, nargs="+", help="predictions of a model, in the place of trainings")
    parser.add_argument("--trained-on", type=Path, nargs="+", default=[], help="the samples files that it was trained on")
    parser.add_argument("--out", type=Path, default=Path("runs/leave-one-out"))
    parser.add_argument("--config", type=Path, default=Path("configs/train/tiny-towers.yaml"))
    parser.add_argument("--only", type=int, nargs="+", help="these folds alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if bool(options.judge) == bool(options.samples) or bool(options.judge) != bool(options.trained_on):
        parser.error("expected samples files, or --judge with --trained-on")
    if options.judge:
        asked = (row for path in options.judge for row in iter_jsonl(path, Prediction))
        known = (row for path in options.trained_on for row in iter_jsonl(path, Sample))
        print(*judge(asked, known, np.random.default_rng(options.seed)), sep="\n")
        return
    samples = [path for path in options.samples if "=" not in str(path)]
    values = [str(path) for path in options.samples if "=" in str(path)]
    every = folds(row for path in samples for row in iter_jsonl(path, Sample))
    aucs: dict[str, list[dict[str, object]]] = {}
    for fold, left_out in enumerate(every):
        if options.only and fold not in options.only:
            continue
        print(f"== fold {fold + 1} of {len(every)}, left out: {', '.join(left_out)}", flush=True)
        path = train_fold(samples, left_out, options.out / f"fold-{fold}", options.config, options.seed, values)
        for variant, row in variant_aucs(read_jsonl(path, Prediction), np.random.default_rng(options.seed)).items():
            aucs.setdefault(variant, []).append(row)
    found: dict[str, dict[str, object]] = {}
    for name, rows in sorted(aucs.items()):
        mean = {"auc": float(np.mean([row["auc"] for row in rows])), "ci95": None}  # type: ignore[arg-type, misc]
        found[name] = {**rows[0], **(mean if len(rows) > 1 else {})}
    write_text_atomic(options.out / "leave_one_out.json", [json.dumps(found, indent=1) + "\n"])
    for line in lines(found):
        print(line)


if __name__ == "__main__":
    main()
