"""Which looks at a detected face work best: one alone, or two with averaged log-odds, the second mirrored?

A look is the face with a margin on every side, given as a share of its longer side; "whole" is the whole picture. The first of
two looks is a square inside the picture (`face.crop_box`), the second is clipped to the picture (`face.surroundings_box`). Use
development pictures only: `face.CROP_MARGIN` and `face.SURROUNDINGS_MARGIN` are chosen on them.
Use: `python benchmarks/looks.py drawn-dev/samples.jsonl photo-dev/samples.jsonl --limit 500`.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from faceshield import FaceShieldPredictor
from faceshield.evaluation.metrics.pad import ScoreCurve
from faceshield.face import Box, crop_box, surroundings_box
from faceshield.images import open_picture
from faceshield.records import Sample, image_path, read_jsonl

WHOLE = "whole"
BPCER = 0.05
COLUMNS = ("AUC", "EER", "APCER@BPCER5%", "type right")
Look = tuple[str, bool]
"""The margin, or "whole"; and whether it is the second, mirrored look."""


@dataclass(frozen=True)
class Seen:
    """A picture's truth and, for each look, the log-odds of bona fide and the log-probabilities of the types."""

    sample: Sample
    odds: dict[Look, float]
    types: dict[Look, dict[str, float]]


def cut(face: Box, size_wh: tuple[int, int], look: Look) -> tuple[int, int, int, int]:
    margin, second = look
    if margin == WHOLE:
        return 0, 0, *size_wh
    return surroundings_box(face, size_wh, float(margin)) if second else crop_box(face, size_wh, float(margin))


def see(shield: FaceShieldPredictor, sample: Sample, path: Path, looks: list[Look]) -> Seen | None:
    """Scores every look at the picture; None if no face is found."""
    rgb = open_picture(path).rgb
    found = shield.detector.detect(rgb)
    if not found:
        return None
    face = max(found, key=lambda one: one.area).box
    parts = [cut(face, (rgb.shape[1], rgb.shape[0]), look) for look in looks]
    pictures = [rgb[y0:y1, x0:x1] for x0, y0, x1, y1 in parts]
    pictures = [picture[:, ::-1] if second else picture for picture, (_, second) in zip(pictures, looks, strict=True)]
    scores = shield.score_many([shield._resized(np.ascontiguousarray(picture)) for picture in pictures])
    return Seen(
        sample,
        {look: _log(score) - _log(1 - score) for look, (score, _) in zip(looks, scores, strict=True)},
        {look: {name: _log(chance) for name, chance in types.items()} for look, (_, types) in zip(looks, scores, strict=True)},
    )


def _log(chance: float) -> float:
    return math.log(max(chance, 1e-12))


def line(seen: list[Seen], looks: list[Look]) -> str:
    """One row of the table: the figures of these looks together, in percent."""
    curve = ScoreCurve([sum(one.odds[look] for look in looks) for one in seen], [one.sample.is_attack for one in seen])
    right = 0
    for one in seen:
        chances = {name: sum(one.types[look][name] for look in looks) for name in one.types[looks[0]]}
        right += max(chances, key=chances.__getitem__) == one.sample.presentation_type
    values = (curve.auc(), curve.eer(), curve.apcer_at_bpcer(BPCER), right / len(seen))
    name = " and ".join(f"{margin}, mirrored" if second else margin for margin, second in looks)
    return f"| {name} | " + " | ".join(f"{100 * value:.2f}" for value in values) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", nargs="+", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--start", type=int, default=0, help="pictures to skip at the start of each file")
    parser.add_argument("--limit", type=int, default=500, help="pictures of each file")
    parser.add_argument("--first", default="0.5,0.75,1", help="margins of the first look")
    parser.add_argument("--second", default="1,1.5,2,whole", help="margins of the second look")
    options = parser.parse_args()
    shield = FaceShieldPredictor.from_pretrained(options.model)
    first, second = ([(name, mirrored) for name in given.split(",")] for given, mirrored in
                     ((options.first, False), (options.second, True)))  # fmt: skip
    rows = slice(options.start, options.start + options.limit)
    pictures = [(row, image_path(row, file)) for file in options.samples for row in read_jsonl(file, Sample)[rows]]
    found = [see(shield, row, path, first + second) for row, path in tqdm(pictures, file=sys.stderr, unit="picture")]
    seen = [one for one in found if one is not None]
    print(f"{len(seen)} faces in {len(pictures)} pictures, {sum(not one.sample.is_attack for one in seen)} of them bona fide\n")
    print(f"| looks | {' | '.join(COLUMNS)} |\n|---|" + "---|" * len(COLUMNS))
    for looks in [[one] for one in first + second] + [[one, other] for one in first for other in second]:
        print(line(seen, looks), flush=True)


if __name__ == "__main__":
    main()
