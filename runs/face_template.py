"""Train the face template of `faceshield.face.TemplateDetector` on simulated pictures of every type.

python runs/face_template.py [PORTRAITS] [--count 1600] [--out src/faceshield/assets/face-template.safetensors]

Faces come from the simulator, which knows where they are even with covered eyes; everything else in the same
pictures, and backgrounds without anybody, are the negatives; two rounds add the negatives that look most like
faces. PORTRAITS (a folder of bona fide portraits) adds photographs to the drawn faces. The score that a face
must have is set on other people and backgrounds: one false alarm in a hundred backgrounds. Prints recall by
type.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.svm import LinearSVC

from faceshield.face import (
    CELL,
    ORIENTATIONS,
    TEMPLATE_CELLS,
    TEMPLATE_FACE,
    TEMPLATE_FILE,
    TemplateDetector,
    gradient_cells,
    gradient_pyramid,
    template_window,
)
from faceshield.simulate.attacks import attack
from faceshield.simulate.camera import capture
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.mean_shape import MEAN_SHAPE
from faceshield.simulate.photos import load_portraits
from faceshield.simulate.portrait import CANVAS, OUTLINE, Portrait
from faceshield.simulate.scene import compose_scene, draw_background
from faceshield.taxonomy import PRESENTATION_TYPES

Window = tuple[float, float, float]
"""x, y, side of a face in pixels."""
Features = NDArray[np.float32]
SIZE = 224
FALSE_ALARMS = 0.01


def face_window(landmarks: NDArray[np.float32]) -> Window:
    """The square that a cascade would find, from the outline's place in the mean shape."""
    outline, mean = landmarks[OUTLINE], MEAN_SHAPE[OUTLINE]
    side = float(np.ptp(outline[:, 1]) / np.ptp(mean[:, 1]))
    middle = (outline.max(axis=0) + outline.min(axis=0)) / 2
    corner = middle - side * (mean.max(axis=0) + mean.min(axis=0)) / 2
    return float(corner[0]), float(corner[1]), side


def simulate(seed: int, count: int, portraits: Sequence[Portrait]) -> list[tuple[NDArray[np.uint8], str, Window]]:
    """Pictures of every type with their faces."""
    made = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        if portraits and rng.random() < 0.6:
            portrait = portraits[int(rng.integers(len(portraits)))]
        else:
            portrait = draw_portrait(np.random.default_rng([seed, 7, index // 2]), rng, f"drawn-{index // 2}")
        kind = PRESENTATION_TYPES[int(rng.integers(len(PRESENTATION_TYPES)))]
        shown = attack(compose_scene(portrait, rng), kind, rng)
        window = face_window(shown.landmarks * (SIZE / CANVAS))
        made.append((capture(shown.image, rng, size=SIZE), kind, window))
    return made


def empty_scenes(seed: int, count: int) -> list[NDArray[np.uint8]]:
    """Backgrounds with nobody in them, through the same camera."""
    made = []
    for index in range(count):
        rng = np.random.default_rng([seed, 9, index])
        made.append(capture(draw_background(rng)[0], rng, size=SIZE))
    return made


def positive(picture: NDArray[np.uint8], window: Window, rng: np.random.Generator, mirror: bool) -> Features:
    """The face's cells, its place and size a little off, as a search's grid has them."""
    x, y, side = window
    scale = TEMPLATE_FACE / (side * float(np.exp(rng.normal(0, 0.05))))
    middle = np.asarray([x + side / 2, y + side / 2]) + rng.normal(0, 0.04, 2) * side
    wide = (TEMPLATE_CELLS + 2) * CELL  # a rim of cells, for the neighbourhood's energy
    border = SIZE
    grey = np.pad(np.asarray(Image.fromarray(picture).convert("L")), border, mode="edge")
    half = (wide / 2 + 4) / scale
    left, top = (round(float(value) + border - half) for value in middle)
    cut = Image.fromarray(grey).crop((left, top, left + round(2 * half), top + round(2 * half)))
    across = max(round(cut.width * scale), wide)
    small = np.asarray(cut.resize((across, across), Image.Resampling.BILINEAR, reducing_gap=2.0), np.float32)
    start = (across - wide) // 2
    small = small[start : start + wide, start : start + wide]
    cells = gradient_cells(np.ascontiguousarray(small[:, ::-1] if mirror else small))
    return cells[1:-1, 1:-1].ravel()


def overlap(a: Window, b: Window) -> float:
    """Intersection over union of two squares."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[2], b[1] + b[2]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    return common / (a[2] ** 2 + b[2] ** 2 - common)


def negatives(
    pictures: Sequence[tuple[NDArray[np.uint8], Window | None]],
    each: int,
    rng: np.random.Generator,
    detector: TemplateDetector | None = None,
    least: float = 0.0,
) -> Features:
    """Windows away from the face: random ones, or those that `detector` gives at least `least`."""
    rows: list[Features] = []
    for picture, face in pictures:
        found: list[tuple[float, Window, Features]] = []
        for cells, scale, margin in gradient_pyramid(picture, step=1.25):
            shape = cells.shape[0] - TEMPLATE_CELLS + 1, cells.shape[1] - TEMPLATE_CELLS + 1
            scores = rng.random(shape) if detector is None else detector.scores(cells)
            best = np.argsort(-scores, axis=None)[: 2 if detector is None else 40]
            for place in best:
                row, column = (int(value) for value in np.unravel_index(place, shape))
                if detector is not None and scores[row, column] < least:
                    break
                window = template_window(row, column, scale, margin)
                block = cells[row : row + TEMPLATE_CELLS, column : column + TEMPLATE_CELLS]
                found.append((float(scores[row, column]), window, block.ravel()))
        kept: list[Window] = []
        for _, window, block in sorted(found, key=lambda item: -item[0]):
            near_face = face is not None and overlap(window, face) > 0.35
            if len(kept) < each and not near_face and all(overlap(window, other) < 0.5 for other in kept):
                kept.append(window)
                rows.append(block.copy())
    return np.asarray(rows, dtype=np.float32).reshape(-1, TEMPLATE_CELLS**2 * ORIENTATIONS)


def fit(faces: Features, others: Features, out: Path) -> TemplateDetector:
    """A linear support vector machine, written to `out` and loaded from there."""
    machine = LinearSVC(C=0.003, max_iter=300, tol=1e-3, random_state=0)
    machine.fit(np.concatenate([faces, others]), np.r_[np.ones(len(faces)), np.zeros(len(others))])
    return store(out, machine.coef_[0], float(machine.intercept_[0]), 0.0)


def store(out: Path, weights: NDArray[np.float64], bias: float, least: float) -> TemplateDetector:
    """Write the template."""
    shaped = weights.reshape(TEMPLATE_CELLS, TEMPLATE_CELLS, ORIENTATIONS).astype(np.float32)
    out.parent.mkdir(parents=True, exist_ok=True)
    scalars = {"bias": np.array([bias], np.float32), "least": np.array([least], np.float32)}
    save_file({"weights": np.ascontiguousarray(shaped), **scalars}, out)
    return TemplateDetector(out)


def best_score(detector: TemplateDetector, picture: NDArray[np.uint8]) -> tuple[float, Window]:
    """The surest window of a picture."""
    found = max(detector.candidates(picture), key=lambda candidate: candidate[3])
    return found[3], found[:3]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the face template.")
    parser.add_argument("portraits", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--out", type=Path, default=TEMPLATE_FILE)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    people = {
        split: load_portraits(options.portraits, split=split)[0] if options.portraits else [] for split in ("train", "dev")
    }
    pictures = simulate(options.seed, options.count, people["train"])
    faces = np.stack([positive(p, w, rng, mirror) for p, _, w in pictures for mirror in (False, True)])
    crowded: list[tuple[NDArray[np.uint8], Window | None]] = [(p, w) for p, _, w in pictures]
    empty: list[tuple[NDArray[np.uint8], Window | None]] = [(p, None) for p in empty_scenes(options.seed, options.count // 4)]
    others = np.concatenate([negatives(crowded, 2, rng), negatives(empty, 6, rng)])
    detector = fit(faces, others, options.out)
    for turn in range(2):
        hard = [
            negatives(crowded[turn::3], 4, rng, detector, -0.7),
            negatives(empty, 10, rng, detector, -0.9),
        ]
        others = np.concatenate([others, *hard])
        detector = fit(faces, others, options.out)

    alarms = [best_score(detector, p)[0] for p in empty_scenes(options.seed + 1, options.count // 4)]
    least = float(np.quantile(alarms, 1 - FALSE_ALARMS))
    stored = load_file(options.out)
    weights, bias = stored["weights"], stored["bias"].item()
    detector = store(options.out, weights, bias, least)
    found = defaultdict(list)
    for picture, kind, window in simulate(options.seed + 1, options.count // 3, people["dev"]):
        score, place = best_score(detector, picture)
        found[kind].append(score >= least and overlap(place, window) > 0.4)
    print(f"least score {least:.3f}; {len(faces)} faces, {len(others)} others; recall on unseen people:")
    for kind, hits in sorted(found.items()):
        print(f"  {kind:14} {np.mean(hits):.3f} of {len(hits)}")


if __name__ == "__main__":
    main()
