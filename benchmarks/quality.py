"""How often, and how correctly, a face is called too small, too dark, over-exposed, blurred or turned away.

    python benchmarks/quality.py [--count 100] [--seed 0] [--photos faces.csv --column subject --match london-]

The pictures are bona fide drawn faces seen by the simulator's camera, and the photographs listed in a CSV (with a column file,
and one to choose rows by). Each fault is then applied by known amounts. The box of a drawn face is the true one, and that of a
photograph is detected once, before the change, so that the detector is not measured. For each level it prints how often the
fault's own reason is given, with n and a 95% interval, and how often any other is. "As it is" shows how often a reason is given
without cause, for drawn faces also by skin tone. Last are the ranges of the measures on the unchanged faces, with the limits.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.evaluation.metrics.intervals import rate
from faceshield.face import Box, BuiltInDetector, crop_box
from faceshield.images import open_picture
from faceshield.quality import BLURRED, LIMITS, OVER_EXPOSED, TOO_DARK, TOO_SMALL, TURNED_AWAY, Quality, assess
from faceshield.simulate.camera import capture, draw_settings, draw_severity
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.drawn_person import SKINS, sample_identity
from faceshield.simulate.portrait import CANVAS, OUTLINE
from faceshield.simulate.scene import compose_scene

SIDE = 224
Picture = NDArray[np.uint8]


def drawn_faces(count: int, seed: int) -> Iterator[tuple[Picture, Box]]:
    """Bona fide pictures of 224 pixels as `simulate` takes them, each of a different drawn person, and the square of the face
    from brow to chin."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        portrait = draw_portrait(np.random.default_rng([seed, 1, number]), rng, f"drawn-{number}")
        scene = compose_scene(portrait, rng)
        x0, y0, x1, y1 = (int(value) for value in scene.window)
        image = scene.image if scene.front is None else scene.front.over(scene.image)
        picture = capture(image[y0:y1, x0:x1], rng, size=SIDE, settings=draw_settings(rng, draw_severity(rng)))
        outline = (scene.landmarks[OUTLINE] - (x0, y0)) * SIDE / CANVAS
        width, bottom, middle = np.ptp(outline[:, 0]), outline[:, 1].max(), outline[:, 0].mean()
        box = (middle - width / 2, bottom - width, middle + width / 2, bottom)
        limits = picture.shape[1::-1] * 2
        yield picture, tuple(float(np.clip(value, 0, limit)) for value, limit in zip(box, limits, strict=True))  # type: ignore[misc]


def skin_tone(number: int, seed: int) -> float:
    """Skin tone of a drawn person: 0 is the lightest, 1 the darkest."""
    return sample_identity(np.random.default_rng([seed, 1, number])).skin_index / (len(SKINS) - 1)


def photographs(table: Path, column: str, match: str, count: int) -> Iterator[tuple[Picture, Box]]:
    """Photographs of at most 448 pixels a side, evenly spaced among the matching rows, each with its largest face's box."""
    with table.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row[column].startswith(match)]
    detector = BuiltInDetector()
    for row in rows[:: max(1, len(rows) // count)][:count]:
        picture = Image.fromarray(open_picture(table.parent / row["file"]).rgb)
        picture.thumbnail((2 * SIDE, 2 * SIDE))
        rgb = np.asarray(picture)
        if found := detector.detect(rgb):
            yield rgb, found[0].box


def shrunk(rgb: Picture, box: Box, side: float) -> tuple[Picture, Box]:
    """The whole picture, reduced until the face has `side` pixels."""
    factor = side / min(box[2] - box[0], box[3] - box[1])
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    small = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(small), tuple(value * factor for value in box)  # type: ignore[return-value]


def exposed(rgb: Picture, box: Box, stops: float) -> tuple[Picture, Box]:
    """The picture with its linear light multiplied by 2^stops."""
    light = ((rgb / 255.0) ** 2.2 * 2.0**stops).clip(0, 1)
    return (light ** (1 / 2.2) * 255).round().astype(np.uint8), box


def blurred(rgb: Picture, box: Box, share: float) -> tuple[Picture, Box]:
    """Gaussian blur with a standard deviation of `share` hundredths of the face's width."""
    radius = share / 100 * (box[2] - box[0])
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius))), box


def turned(rgb: Picture, box: Box, degrees: float) -> tuple[Picture, Box]:
    """The face wrapped around an upright cylinder a little wider than its box, turned by `degrees`."""
    columns, middle, radius = np.arange(rgb.shape[1]), (box[0] + box[2]) / 2, 0.62 * (box[2] - box[0])
    across = (columns - middle) / radius
    angle = np.arcsin(across.clip(-1, 1)) - np.deg2rad(degrees)
    source = np.where(np.abs(across) < 1, middle + radius * np.sin(angle.clip(-np.pi / 2, np.pi / 2)), columns)
    return np.ascontiguousarray(rgb[:, source.round().clip(0, rgb.shape[1] - 1).astype(int)]), box


Change = Callable[[Picture, Box, float], tuple[Picture, Box]]
SWEEPS: tuple[tuple[str, str, Change, tuple[float, ...]], ...] = (
    (TOO_SMALL, "pixels a side", shrunk, (64, 48, 36, 24)),
    (TOO_DARK, "stops", exposed, (-2, -3, -4, -5)),
    (OVER_EXPOSED, "stops", exposed, (1, 2, 3)),
    (BLURRED, "hundredths", blurred, (1, 2, 3)),
    (TURNED_AWAY, "degrees", turned, (15, 30, 45, 60)),
)


def measure(rgb: Picture, box: Box) -> Quality:
    """Assesses the quality as the predictor does."""
    return assess(rgb, crop_box(box, (rgb.shape[1], rgb.shape[0])), box)


def row(title: str, reason: str | None, found: list[Quality]) -> str:
    """A line of the table; if `reason` is None, any reason counts as its own."""
    own = sum(reason in one.reasons if reason else bool(one.reasons) for one in found)
    other = sum(bool(set(one.reasons) - {reason}) for one in found) if reason else 0
    n = len(found)
    low, high = rate(own, n).ci95 or (0.0, 1.0)
    share = f"{100 * own / n:5.1f} [{100 * low:.1f}, {100 * high:.1f}]" if n else "    -"
    others = f"{100 * other / n:5.0f}" if n and reason else "    -"
    return f"{title:34} {n:4} {share:>16} {others:>6}"


def table(name: str, pictures: list[tuple[Picture, Box]], tones: list[float]) -> Iterator[str]:
    """All lines of the table for one source of pictures."""
    plain = [measure(*one) for one in pictures]
    yield f"{name:34} {'n':>4} {'own%':>16} {'other%':>6}"
    yield row("as it is", None, plain)
    for low, high in ((0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.01)) if tones else ():
        band = [one for one, tone in zip(plain, tones, strict=True) if low <= tone < high]
        yield row(f"as it is, skin tone {low:.2f} to {min(high, 1):.2f}", None, band)
    for reason, unit, change, levels in SWEEPS:
        for level in levels:
            yield row(f"{reason}: {level:g} {unit}", reason, [measure(*change(*one, level)) for one in pictures])
    for measured, limit in LIMITS.items():
        low, high = np.quantile([getattr(one, measured) for one in plain], [0.01, 0.99])
        yield f"{measured}, as it is: {low:.3g} to {high:.3g} (1% and 99%); limit {limit:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="faces of each source")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, help="a CSV of bona fide photographs, paths relative to it")
    parser.add_argument("--column", default="subject", help="column of the CSV to choose rows by")
    parser.add_argument("--match", default="", help="what that column starts with")
    options = parser.parse_args()
    tones = [skin_tone(number, options.seed) for number in range(options.count)]
    sources = [("drawn faces", list(drawn_faces(options.count, options.seed)), tones)]
    if options.photos:
        sources.append(("photographs", list(photographs(options.photos, options.column, options.match, options.count)), []))
    for source in sources:
        for line in table(*source):
            print(line, flush=True)


if __name__ == "__main__":
    main()
