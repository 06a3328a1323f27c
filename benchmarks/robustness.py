"""The effect of ordinary and less ordinary changes of a picture on bonafide_score, and on BPCER and APCER at the model's own
threshold; the same by groups of people; and whether `quality_reasons` are given when the verdict is wrong.

    python benchmarks/robustness.py samples.jsonl [--model tiny] [--count 300] [--changed 96] [--only greyscale gamma]
    python benchmarks/robustness.py faces.csv --match london- --count 200 --changed 40

Samples are judged as whole pictures, half bona fide and half attacks of all types as far as available, drawn with --seed. In a
CSV (columns file and subject; optionally gender, ethnicity and age) every row is bona fide, and its face is detected once,
before any change. --count pictures are judged unchanged, and the first --changed of them at every level of every sweep, so that
all levels see the same pictures. Groups of drawn people are those that they were drawn as; "split" is the split to which
runs/tiny.sh assigns a photographed person. Rates are percentages with 95% Wilson intervals and n; nothing is chosen here.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from faceshield.evaluation.metrics.intervals import Estimate, rate_of
from faceshield.evaluation.metrics.pad import judged_attack
from faceshield.face import BuiltInDetector, crop_box
from faceshield.images import load_rgb, open_picture
from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.simulate.camera import jpeg
from faceshield.simulate.dataset import drawn_person
from faceshield.simulate.drawn_person import SKINS, sample_identity
from faceshield.simulate.photos import split_of

Change = Callable[[Image.Image, float], Image.Image]


def blur(picture: Image.Image, radius: float) -> Image.Image:
    """Gaussian blur; `radius` is the standard deviation in pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def noise(picture: Image.Image, deviation: float) -> Image.Image:
    """White Gaussian noise, independent at every pixel and channel; standard deviation in levels of 255."""
    pixels = np.asarray(picture, dtype=np.float64)
    added = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return Image.fromarray((pixels + added).round().clip(0, 255).astype(np.uint8))


def rescale(picture: Image.Image, factor: float) -> Image.Image:
    """Reduces the picture and enlarges it back to its size."""
    width, height = (max(8, round(side * factor)) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.BICUBIC)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def gamma(picture: Image.Image, exponent: float) -> Image.Image:
    """Gamma curve: darker above 1, lighter below."""
    return picture.point([round(255 * (level / 255) ** exponent) for level in range(256)] * 3)


def crop(picture: Image.Image, share: float) -> Image.Image:
    """The middle of the picture, `share` of each side."""
    width, height = picture.size
    x, y = width * (1 - share) / 2, height * (1 - share) / 2
    return picture.crop((round(x), round(y), round(width - x), round(height - y)))


def rotation(picture: Image.Image, degrees: float) -> Image.Image:
    """Rotation about the middle; the corners get the mean colour."""
    fill = tuple(int(value) for value in np.asarray(picture).mean(axis=(0, 1)))
    return picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill)


def greyscale(picture: Image.Image, share: float) -> Image.Image:
    """Removes a share of the colour; with 1 the picture is grey."""
    return Image.blend(picture, picture.convert("L").convert("RGB"), share)


SWEEPS: dict[str, tuple[Change, tuple[float, ...]]] = {
    "jpeg": (lambda picture, quality: jpeg(picture, round(quality)), (50, 20)),
    "blur": (blur, (1, 2)),
    "noise": (noise, (8, 20)),
    "rescale": (rescale, (0.5, 0.25)),
    "gamma": (gamma, (0.5, 2)),
    "crop": (crop, (0.9, 0.75)),
    "rotation": (rotation, (8, 20)),
    "greyscale": (greyscale, (0.5, 1)),
}


@dataclass(frozen=True)
class Case:
    """A picture to judge as a whole, its ground truth, and the groups of its person as {attribute: group}."""

    picture: Image.Image
    is_attack: bool
    groups: dict[str, str] = field(default_factory=dict)


def simulated(samples: Path, count: int, rng: np.random.Generator) -> list[Case]:
    """Half bona fide and half attacks, alternating; the attacks take one of each type in turn."""
    rows = read_jsonl(samples, Sample)
    shuffled = [rows[index] for index in rng.permutation(len(rows))]
    seen: dict[str, int] = {}
    order: list[tuple[int, Sample]] = []
    for row in shuffled:
        seen[row.presentation_type] = seen.get(row.presentation_type, -1) + 1
        order.append((seen[row.presentation_type], row))
    attacks = [row for _, row in sorted(order, key=lambda item: item[0]) if row.is_attack][: count // 2]
    bonafide = [row for row in shuffled if not row.is_attack][: count - len(attacks)]
    pairs = [row for pair in zip(bonafide, attacks, strict=False) for row in pair]
    pairs += bonafide[len(attacks) :] + attacks[len(bonafide) :]
    return [Case(load_rgb(image_path(row, samples)), row.is_attack, drawn_groups(row.subject)) for row in pairs]


def drawn_groups(subject: str | None) -> dict[str, str]:
    """Groups of a drawn person, who is determined by the name alone; empty for anybody else."""
    try:
        who = sample_identity(drawn_person(subject or ""))
    except ValueError:
        return {}
    tone = ("light", "medium", "dark")[min(2, int(3 * who.skin_index / (len(SKINS) - 1)))]
    return {"skin": tone, "gender": "female" if who.feminine else "male", "age": _age(who.age)}


def photographs(table: Path, match: str, count: int) -> list[Case]:
    """Bona fide photographs, evenly spaced among the rows whose subject starts with `match`, cropped around the face."""
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["subject"].startswith(match)]
    detector, cases = BuiltInDetector(), []
    for row in rows[:: max(1, len(rows) // count)][:count]:
        rgb = open_picture(table.parent / row["file"]).rgb
        if found := detector.detect(rgb):
            groups = {name: row[name] for name in ("gender", "ethnicity") if row.get(name)}
            groups["split"] = split_of(row["subject"])
            if row.get("age", "").isdigit():
                groups["age"] = _age(float(row["age"]))
            cut = Image.fromarray(rgb).crop(crop_box(found[0].box, (rgb.shape[1], rgb.shape[0])))
            cases.append(Case(cut, False, groups))
    return cases


def _age(years: float) -> str:
    return "under 30" if years < 30 else "30 to 49" if years < 50 else "50 and over"


@dataclass(frozen=True)
class Verdicts:
    """The model's verdicts on some cases; arrays of shape (rows,)."""

    scores: np.ndarray
    attack: np.ndarray
    threshold: float
    flagged: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        return judged_attack(self.scores, self.threshold) != self.attack

    def line(self, title: str) -> str:
        means = "  ".join(f"{self.scores[kind].mean() if kind.any() else np.nan:6.3f}" for kind in (~self.attack, self.attack))
        rates = " ".join(_shown(rate_of(self.wrong[kind])) for kind in (~self.attack, self.attack))
        return f"{title:16} {means}  {rates}  {100 * self.flagged.mean():5.0f}"


def judge(shield: FaceShieldPredictor, cases: Sequence[Case], change: Callable[[Image.Image], Image.Image]) -> Verdicts:
    reports = [shield.detect(change(case.picture), face="whole") for case in cases]
    return Verdicts(
        np.array([report.bonafide_score for report in reports], dtype=float),
        np.array([case.is_attack for case in cases], dtype=bool),
        shield.threshold,
        np.array([bool(report.quality_reasons) for report in reports], dtype=bool),
    )


def lines(shield: FaceShieldPredictor, cases: Sequence[Case], changed: int, only: Sequence[str]) -> Iterator[str]:
    """The tables, line by line."""
    yield f"{'':16} mean bonafide_score"
    yield f"{'':16} {'bona f.':>6}  {'attack':>6}  {'BPCER%':>24} {'APCER%':>24}  reasons given%"
    plain = judge(shield, cases, lambda picture: picture)
    yield plain.line("as it is, all")
    yield from by_group(plain, cases)
    few, seen = cases[:changed], []
    only = only if few else ()
    if only:
        seen.append(judge(shield, few, lambda picture: picture))
        yield seen[0].line("as it is, these")
    for name in only:
        change, levels = SWEEPS[name]
        for level in levels:
            seen.append(judge(shield, few, lambda picture, change=change, level=level: change(picture, level)))  # type: ignore[misc]
            yield seen[-1].line(f"{name} {level:g}")
    every = [plain, *seen[1:]]
    wrong, attack, flagged = (np.concatenate([getattr(one, name) for one in every]) for name in ("wrong", "attack", "flagged"))
    for title, chosen in (("reason given", flagged), ("no reason given", ~flagged)):
        yield f"{title:16} {'':14}  {_shown(rate_of(wrong[chosen & ~attack]))} {_shown(rate_of(wrong[chosen & attack]))}"


def by_group(plain: Verdicts, cases: Sequence[Case]) -> Iterator[str]:
    """Error rates of each group, for bona fide pictures and attacks, and the widest gap between groups in BPCER."""
    for name in dict.fromkeys(name for case in cases for name in case.groups):
        of = np.array([case.groups.get(name, "") for case in cases])
        rates = {}
        for value in sorted(set(of) - {""}):
            rates[value] = rate_of(plain.wrong[(of == value) & ~plain.attack])
            attacks = _shown(rate_of(plain.wrong[(of == value) & plain.attack]))
            yield f"  {name + ' ' + value:28}  {_shown(rates[value])} {attacks}"
        known = {value: found for value, found in rates.items() if found.value is not None and found.ci95 is not None}
        if len(known) > 1:
            high, low = (pick(known, key=lambda value: known[value].value) for pick in (max, min))  # type: ignore[arg-type, return-value]
            gap = 100 * (known[high].value - known[low].value)  # type: ignore[operator]
            apart = known[high].ci95[0] > known[low].ci95[1]  # type: ignore[index]
            told = "intervals apart" if apart else "intervals overlap"
            yield f"  {name}: widest gap of BPCER {gap:.1f} points, {high} above {low}; {told}"


def _shown(measured: Estimate) -> str:
    if measured.value is None or measured.ci95 is None:
        return f"{'-':>24}"
    low, high = measured.ci95
    return f"{100 * measured.value:6.1f} [{100 * low:4.1f}, {100 * high:5.1f}] n={measured.n:<3}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="a samples.jsonl, or a CSV of bona fide photographs")
    parser.add_argument("--model", default="tiny", help="tiny, a checkpoint folder or a hub id")
    parser.add_argument("--count", type=int, default=300, help="pictures to judge as they are")
    parser.add_argument("--changed", type=int, default=96, help="how many of them go through the sweeps too")
    parser.add_argument("--match", default="", help="what a CSV's subjects start with")
    parser.add_argument("--only", nargs="*", choices=list(SWEEPS), default=list(SWEEPS), help="these sweeps alone, or none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.pictures.suffix == ".csv":
        cases = photographs(options.pictures, options.match, options.count)
    else:
        cases = simulated(options.pictures, options.count, np.random.default_rng(options.seed))
    shield = FaceShieldPredictor.from_pretrained(options.model)
    print(f"{options.pictures}: model {options.model}, threshold {shield.threshold:.4g}, {len(cases)} pictures")
    for text in lines(shield, cases, options.changed, options.only):
        print(text, flush=True)


if __name__ == "__main__":
    main()
