"""What ordinary and less ordinary changes of a picture do to bonafide_score, BPCER and APCER at the model's own threshold.

    python benchmarks/robustness.py samples.jsonl [--model tiny] [--count 24] [--only greyscale gamma]

Whole pictures, half bona fide and half attacks of all types as far as there are, drawn by --seed; every level of every sweep
sees the same ones. Rates are percent with 95% Wilson intervals and n; nothing is chosen here.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from faceshield.evaluation.metrics.intervals import Estimate, rate_of
from faceshield.evaluation.metrics.pad import judged_attack
from faceshield.evaluation.predict import load_rgb
from faceshield.records import Sample, image_path, read_jsonl

Change = Callable[[Image.Image, float], Image.Image]


def jpeg(picture: Image.Image, quality: float) -> Image.Image:
    """Compressed once more."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=int(quality))
    return Image.open(stream).convert("RGB")


def blur(picture: Image.Image, radius: float) -> Image.Image:
    """Gaussian, standard deviation in pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def noise(picture: Image.Image, deviation: float) -> Image.Image:
    """White, the same at every pixel and channel; of 255 levels."""
    pixels = np.asarray(picture, dtype=np.float64)
    added = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return Image.fromarray((pixels + added).round().clip(0, 255).astype(np.uint8))


def rescale(picture: Image.Image, factor: float) -> Image.Image:
    """Smaller, and back to the first size."""
    small = picture.resize(tuple(max(8, round(side * factor)) for side in picture.size), Image.Resampling.BICUBIC)
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def gamma(picture: Image.Image, exponent: float) -> Image.Image:
    """Darker above 1, lighter below."""
    return picture.point([round(255 * (level / 255) ** exponent) for level in range(256)] * 3)


def crop(picture: Image.Image, share: float) -> Image.Image:
    """The middle of the picture, a share of each side."""
    width, height = picture.size
    x, y = width * (1 - share) / 2, height * (1 - share) / 2
    return picture.crop((round(x), round(y), round(width - x), round(height - y)))


def rotation(picture: Image.Image, degrees: float) -> Image.Image:
    """About the middle; the corners get the mean colour."""
    fill = tuple(int(value) for value in np.asarray(picture).mean(axis=(0, 1)))
    return picture.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=fill)


def greyscale(picture: Image.Image, share: float) -> Image.Image:
    """Colours pulled to grey by a share; 1: none is left."""
    return Image.blend(picture, picture.convert("L").convert("RGB"), share)


SWEEPS: dict[str, tuple[Change, tuple[float, ...]]] = {
    "jpeg": (jpeg, (75, 50, 25, 10)),
    "blur": (blur, (0.5, 1, 2, 3)),
    "noise": (noise, (5, 10, 20)),
    "rescale": (rescale, (0.75, 0.5, 0.25)),
    "gamma": (gamma, (0.5, 0.7, 1.4, 2)),
    "crop": (crop, (0.9, 0.8, 0.7)),
    "rotation": (rotation, (5, 15, 30)),
    "greyscale": (greyscale, (0.5, 1)),
}


def drawn(rows: list[Sample], count: int, rng: np.random.Generator) -> list[Sample]:
    """Half bona fide; of the attacks one of each type in turn."""
    shuffled = [rows[index] for index in rng.permutation(len(rows))]
    seen: dict[str, int] = {}
    order: list[tuple[int, Sample]] = []
    for row in shuffled:
        seen[row.presentation_type] = seen.get(row.presentation_type, -1) + 1
        order.append((seen[row.presentation_type], row))
    attacks = [row for _, row in sorted(order, key=lambda item: item[0]) if row.is_attack]
    bonafide = [row for row in shuffled if not row.is_attack]
    return bonafide[: count - count // 2] + attacks[: count // 2]


def lines(shield: object, pictures: list[Image.Image], attack: np.ndarray, only: list[str]) -> Iterator[str]:
    """The table, a line a level."""
    threshold = shield.threshold  # type: ignore[attr-defined]

    def line(title: str, changed: list[Image.Image]) -> str:
        reports = [shield.detect(picture, face="whole") for picture in changed]  # type: ignore[attr-defined]
        scores = np.array([report.bonafide_score for report in reports])
        refused = judged_attack(scores, threshold)
        means = "  ".join(f"{scores[kind].mean() if kind.any() else np.nan:6.3f}" for kind in (~attack, attack))
        return f"{title:16} {means}  {_shown(rate_of(refused[~attack]))} {_shown(rate_of(~refused[attack]))}"

    yield f"{'':16} mean bonafide_score"
    yield f"{'':16} {'bona f.':>6}  {'attack':>6}  {'BPCER%':>24} {'APCER%':>24}"
    yield line("as it is", pictures)
    for name in only:
        change, levels = SWEEPS[name]
        for level in levels:
            yield line(f"{name} {level:g}", [change(picture, level) for picture in pictures])


def _shown(measured: Estimate) -> str:
    if measured.value is None or measured.ci95 is None:
        return f"{'-':>24}"
    low, high = measured.ci95
    return f"{100 * measured.value:6.1f} [{100 * low:4.1f}, {100 * high:5.1f}] n={measured.n:<3}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="a samples.jsonl")
    parser.add_argument("--model", default="tiny", help="tiny, a checkpoint folder or a hub id")
    parser.add_argument("--count", type=int, default=24, help="pictures")
    parser.add_argument("--only", nargs="+", choices=list(SWEEPS), default=list(SWEEPS), help="these sweeps alone")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from faceshield import FaceShieldPredictor

    rows = drawn(read_jsonl(options.samples, Sample), options.count, np.random.default_rng(options.seed))
    shield = FaceShieldPredictor.from_pretrained(options.model)
    pictures = [load_rgb(image_path(row, options.samples)) for row in rows]
    print(f"{options.samples}: model {options.model}, threshold {shield.threshold:.4g}, {len(rows)} pictures")
    for text in lines(shield, pictures, np.array([row.is_attack for row in rows], dtype=bool), options.only):
        print(text, flush=True)


if __name__ == "__main__":
    main()
