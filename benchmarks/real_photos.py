"""Evaluates a model on real photographs: ACC and HTER at the shipped threshold, AUC, no-face rate, each with n.

python benchmarks/real_photos.py photos.csv [--root FOLDER] [--model tiny] [--face detect|close|tight|whole] [--out FILE]

"detect" is what `inspect` does: two looks, one with three quarters of the face's side around it, one mirrored with twice its
side. With one look: "close", the first of these; "tight", with a tenth of the side around the face; "whole", the whole picture.
The CSV has the columns file (relative to --root, by default the CSV's folder) and kind (bonafide or attack), and may have
presentation_type and subject; a samples file (.jsonl) is accepted too. Use this only to measure: a threshold, an epoch or a
setting chosen on these photographs makes them training data.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from faceshield.evaluation.metrics.intervals import (
    Estimate,
    bootstrap_intervals,
    mean_of_rates_interval,
    rate,
    wider,
)
from faceshield.evaluation.metrics.pad import ScoreCurve, WeightedErrors, error_rates
from faceshield.face import CROP_MARGIN
from faceshield.records import Sample, read_jsonl

Face = Literal["detect", "close", "tight", "whole"]
KINDS = ("bonafide", "attack")
MARGINS = {"close": CROP_MARGIN, "tight": 0.1}  # of the face's longer side, added on every side


@dataclass(frozen=True)
class Photo:
    """One photograph, its ground truth, and the model's verdict."""

    file: str
    is_attack: bool
    presentation_type: str
    subject: str
    status: str = ""  # ok, no_face or error
    bonafide_score: float | None = None
    judged_attack: bool | None = None


def read_photos(path: Path, limit: int | None = None) -> list[Photo]:
    """The rows of the CSV, or of a samples file; raises ValueError with all faults, each with file:line."""
    if path.suffix == ".jsonl":
        return [
            Photo(row.image, row.is_attack, row.presentation_type or "unknown", row.subject or row.id)
            for row in read_jsonl(path, Sample)[:limit]
        ]
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        missing = {"file", "kind"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}:1: no column {', '.join(sorted(missing))} — expected file and kind")
        rows = list(reader)
    faults = [
        f"{path}:{number}: kind {row['kind']!r} — expected bonafide or attack"
        for number, row in enumerate(rows, start=2)
        if row["kind"] not in KINDS
    ]
    if faults:
        raise ValueError("\n".join(faults))
    return [
        Photo(
            file=row["file"],
            is_attack=row["kind"] == "attack",
            presentation_type=row.get("presentation_type") or row["kind"],
            subject=row.get("subject") or row["file"],
        )
        for row in rows[:limit]
    ]


def measure(photos: Sequence[Photo], rng: np.random.Generator) -> dict[str, Estimate]:
    """Named estimates for the judged photographs, and for all of them with "no verdict" counted as an error."""
    found: dict[str, Estimate] = {}
    for attack, name in ((False, "bona fide"), (True, "attacks")):
        kind = [photo for photo in photos if photo.is_attack == attack]
        if kind:
            found[f"no face, {name}"] = rate(sum(p.status == "no_face" for p in kind), len(kind))
            found[f"unreadable, {name}"] = rate(sum(p.status == "error" for p in kind), len(kind))
    judged = [photo for photo in photos if photo.judged_attack is not None]
    found |= {f"{name}, judged photos": value for name, value in _rates(judged, rng).items()}
    found |= {f"{name}, all photos": value for name, value in _rates(photos, rng).items()}
    return found


def _rates(photos: Sequence[Photo], rng: np.random.Generator) -> dict[str, Estimate]:
    correct = np.array([photo.judged_attack == photo.is_attack for photo in photos], dtype=bool)
    attack = np.array([photo.is_attack for photo in photos], dtype=bool)
    types, subjects = [photo.presentation_type for photo in photos], [photo.subject for photo in photos]
    rates = error_rates(correct, attack, types)
    curve = ScoreCurve([math.nan if p.bonafide_score is None else p.bonafide_score for p in photos], attack)
    errors = WeightedErrors(correct, attack, types)
    drawn = bootstrap_intervals(subjects, lambda w: {**errors(w), "auc": curve.auc(w)}, rng)
    hter_ci = wider(drawn.get("hter"), mean_of_rates_interval(rates.apcer, rates.bpcer))
    auc = curve.auc()
    found = {
        "ACC": rates.acc,
        "BPCER": rates.bpcer,
        "APCER": rates.apcer,
        "HTER": Estimate(rates.hter.value, rates.hter.n, hter_ci),
        "AUC": Estimate(None if math.isnan(auc) else auc, len(photos), drawn.get("auc")),
    }
    return {name: value for name, value in found.items() if value.value is not None}


def show(found: dict[str, Estimate]) -> str:
    """One line per estimate: percent, 95% interval, n."""
    lines = []
    for name, estimate in found.items():
        low, high = estimate.ci95 or (math.nan, math.nan)
        value = math.nan if estimate.value is None else estimate.value
        lines.append(f"{name:<24} {100 * value:6.2f}  [{100 * low:5.1f}, {100 * high:5.1f}]  n={estimate.n}")
    return "\n".join(lines)


def judge(photos: Sequence[Photo], root: Path, model: str, face: Face) -> tuple[list[Photo], float]:
    """The photographs with the model's verdicts, and its shipped threshold."""
    from tqdm import tqdm

    from faceshield import FaceShieldPredictor
    from faceshield.face import BuiltInDetector, crop_box
    from faceshield.images import ImageError, open_picture

    detector = BuiltInDetector()
    shield = FaceShieldPredictor.from_pretrained(model, detector=detector)
    judged = []
    for photo in tqdm(photos, file=sys.stderr, unit="photo"):
        picture: object = root / photo.file
        if face in MARGINS:
            try:
                rgb = open_picture(root / photo.file).rgb
            except ImageError:  # `detect` reports the error
                rgb = np.zeros((1, 1, 3), np.uint8)
            if min(rgb.shape[:2]) > 1 and (found := detector.detect(rgb)):
                largest = max(found, key=lambda one: one.area)
                left, top, right, bottom = crop_box(largest.box, (rgb.shape[1], rgb.shape[0]), MARGINS[face])
                picture = np.ascontiguousarray(rgb[top:bottom, left:right])
        # Without a face, every mode but "whole" falls back to "detect", which reports it.
        report = shield.detect(picture, face="detect" if isinstance(picture, Path) and face != "whole" else "whole")
        judged.append(
            Photo(
                photo.file,
                photo.is_attack,
                photo.presentation_type,
                photo.subject,
                report.status,
                report.bonafide_score,
                report.is_attack,
            )
        )
    return judged, shield.threshold


def main() -> None:
    """Reads the arguments, judges the photographs and prints the estimates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the CSV, or a samples file")
    parser.add_argument("--root", type=Path, help="folder that its files are relative to")
    parser.add_argument("--model", default="tiny", help="tiny, a checkpoint folder or a hub id")
    parser.add_argument("--face", choices=["detect", "close", "tight", "whole"], default="detect")
    parser.add_argument("--limit", type=int, help="only so many photographs, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap and of --limit")
    parser.add_argument("--out", type=Path, help="write the verdict on each photograph here (JSON lines)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    photos = read_photos(arguments.photos)
    if arguments.limit is not None and arguments.limit < len(photos):
        photos = [photos[i] for i in sorted(rng.permutation(len(photos))[: arguments.limit])]
    root = arguments.root or arguments.photos.parent
    judged, threshold = judge(photos, root, arguments.model, arguments.face)
    if arguments.out is not None:
        lines = [json.dumps(asdict(photo), ensure_ascii=False) + "\n" for photo in judged]
        arguments.out.write_text("".join(lines), encoding="utf-8")
    print(f"{arguments.photos}: model {arguments.model}, --face {arguments.face}, threshold {threshold:.4g}")
    print("percent [95% interval]")
    print(show(measure(judged, rng)))


if __name__ == "__main__":
    main()
