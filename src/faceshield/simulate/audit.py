"""The shortcut audit: can the type of a simulated picture be predicted from what has nothing to do with the attack?

A classifier sees only nuisance statistics: the picture's size and file, its JPEG grid, and sharpness, noise and colours of the
surroundings, which are two side bands of the picture without the attack's true boxes. Whatever it gets right on people it was
not trained on is a shortcut that a model trained on the same pictures may take. A print or a screen that fills the view leaves
no surroundings: such pictures are counted and left out, because there the statistics would describe the attack itself.

    print("\\n".join(audit(Path("sim/samples.jsonl"), np.random.default_rng(0)).lines()))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.images import load_rgb
from faceshield.records import Sample, image_path, read_jsonl

GOAL = 1.3
"""Highest accuracy that a classifier of nuisances may reach, as a multiple of chance."""
FOLDS = 5
_TREES = 100
_BAND, _DEPTH = 0.15, 0.7  # shares of the picture: width of a side band, and how far down it goes (shoulders are below)
_LEAST = 0.3  # least share of the bands' pixels that must be free of the attack
_DRAWS = 500
_GROUPS = ("size", "JPEG", "sharpness", "noise", "colour")


@dataclass(frozen=True)
class Audit:
    """What the nuisances reveal.

    Attributes:
        n, n_left_out: number of pictures judged; number left out for lack of surroundings, by type.
        types: number of presentation types among those judged; chance is 1 / types.
        accuracy: mean recall over the types, 0..1; ci95: its 95% interval over people.
        by_group: the accuracy of a classifier that sees only one group of statistics.
        recalls: recall of each type.
        leaks: (statistic, share of its variance explained by the type), largest first; (types - 1) / (n - 1) by chance.
        colourless: shares of bona fide pictures and of attacks whose middle half has no colour but a tint.
    """

    n: int
    n_left_out: Counter[str]
    types: int
    accuracy: float
    ci95: tuple[float, float]
    by_group: dict[str, float]
    recalls: dict[str, float]
    leaks: list[tuple[str, float]]
    colourless: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Accuracy as a multiple of chance."""
        return self.accuracy * self.types

    def lines(self) -> Iterator[str]:
        """The result in words."""
        low, high = self.ci95
        chance = 1 / self.types
        yield f"nuisances alone, {self.types} types, {self.n} pictures, {FOLDS} folds over people (mean recall):"
        yield (
            f"  {100 * self.accuracy:.1f}% [{100 * low:.1f}, {100 * high:.1f}] against {100 * chance:.1f}% by chance: "
            f"{self.ratio:.2f} times [{low / chance:.2f}, {high / chance:.2f}]; goal at most {GOAL}"
        )
        yield "one group alone, times chance: " + ", ".join(f"{k} {v * self.types:.2f}" for k, v in self.by_group.items())
        yield "recognised most often: " + ", ".join(
            f"{name} {100 * share:.0f}%" for name, share in sorted(self.recalls.items(), key=lambda item: -item[1])[:4]
        )
        expected = (self.types - 1) / max(1, self.n - 1)
        yield f"statistics that leak most (share explained by the type; {expected:.3f} by chance): " + ", ".join(
            f"{name} {share:.3f}" for name, share in self.leaks[:6]
        )
        yield "no colour where the face is: bona fide {:.1%}, attacks {:.1%}".format(*self.colourless)
        if self.n_left_out:
            yield "left out, all of it attack: " + ", ".join(f"{k} {v}" for k, v in sorted(self.n_left_out.items()))


def audit(samples: Path, rng: np.random.Generator) -> Audit:
    """Cross-validates a random forest on the nuisances of a data set's pictures, with nobody in two folds.

    Args:
        samples: a `samples.jsonl` with subjects, as `simulate` writes it.
        rng: for the folds, the forests and the interval.

    Raises:
        ValueError: the pictures with surroundings are of fewer than two types, or of fewer people than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows = [row for row in read_jsonl(samples, Sample) if row.presentation_type is not None]
    found = [(row, nuisances(image_path(row, samples), row)) for row in rows]
    left_out = Counter(row.presentation_type for row, values in found if values is None)
    judged = [(row, values) for row, values in found if values is not None]
    kinds = np.array([row.presentation_type for row, _ in judged])
    people = np.array([row.subject or row.id for row, _ in judged])
    if len(set(kinds)) < 2 or len(set(people)) < FOLDS:
        raise ValueError(
            f"{samples}: {len(judged)} pictures with surroundings, of {len(set(kinds))} types and {len(set(people))} people — "
            f"expected 2 types and {FOLDS} people at least — simulate more"
        )
    grey = [(row.is_attack, colourless(image_path(row, samples))) for row, _ in found]
    names = list(judged[0][1])
    table = np.array([list(values.values()) for _, values in judged], dtype=np.float64)
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_seed(rng)).split(table, kinds, people))
    right = _told(table, kinds, folds, rng) == kinds
    groups = {}
    for group in _GROUPS:
        columns = [index for index, name in enumerate(names) if name.split(" ")[0] == group]
        groups[group] = _mean_recall(_told(table[:, columns], kinds, folds, rng) == kinds, kinds)
    leaks = sorted(zip(names, _explained(table, kinds), strict=True), key=lambda item: -item[1])
    return Audit(
        n=len(judged),
        n_left_out=left_out,
        types=len(set(kinds)),
        accuracy=_mean_recall(right, kinds),
        ci95=_interval(right, kinds, people, rng),
        by_group=groups,
        recalls={str(kind): float(right[kinds == kind].mean()) for kind in np.unique(kinds)},
        leaks=leaks,
        colourless=(_share(grey, False), _share(grey, True)),
    )


def _share(grey: list[tuple[bool, bool]], is_attack: bool) -> float:
    own = [is_grey for attack, is_grey in grey if attack == is_attack]
    return float(np.mean(own)) if own else 0.0


def colourless(path: Path) -> bool:
    """Whether the middle half of a picture, with noise averaged out, has only shades of one tint."""
    with Image.open(path) as picture:
        width, height = picture.size
        middle = picture.convert("RGB").crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    few = np.asarray(middle.resize((10, 10), Image.Resampling.BOX), dtype=np.float64) + 3
    return bool((few / few.mean(axis=2, keepdims=True)).std(axis=(0, 1)).max() < 0.02)


def nuisances(path: Path, sample: Sample) -> dict[str, float] | None:
    """Statistics of one picture, each named "group what"; None where the attack leaves no surroundings."""
    with Image.open(path) as opened:
        tables = getattr(opened, "quantization", None) or {}
        coarse = float(np.mean([np.mean(one) for one in tables.values()])) if tables else 0.0
    rgb = np.asarray(load_rgb(path), dtype=np.float32) / 255.0
    height, width = rgb.shape[:2]
    free = np.zeros((height, width), dtype=bool)
    band, depth = round(_BAND * width), round(_DEPTH * height)
    free[:depth, :band] = free[:depth, -band:] = True
    wanted = free.sum()
    for x0, y0, x1, y1 in sample.boxes:
        free[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = False
    if free.sum() < _LEAST * wanted:
        return None
    grey = rgb @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    right, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    beside, below = free[:, 1:] & free[:, :-1], free[1:] & free[:-1]
    curve = np.abs(grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1])
    inside = curve[free[1:-1, 1:-1]]
    pixels = rgb[free]
    highest, lowest = pixels.max(axis=1), pixels.min(axis=1)
    values = {
        "size width": float(width),
        "size height": float(height),
        "JPEG quantization": coarse,
        "JPEG grid, across": _grid(right, beside),
        "JPEG grid, down": _grid(down.T, below.T),
        "sharpness gradient": _log(np.mean(right[beside])),
        "sharpness strongest edges": _log(np.quantile(right[beside], 0.98)),
        "sharpness curvature": _log(inside.mean()),
        "sharpness curvature against gradient": _log(inside.mean()) - _log(np.mean(right[beside])),
        "noise median": _log(np.median(inside)),
        "noise lowest quarter": _log(np.quantile(inside, 0.25)),
        "colour saturation": float(np.mean(highest - lowest)),
        "colour contrast": float(grey[free].std()),
        "colour darkest": float(np.quantile(grey[free], 0.02)),
        "colour lightest": float(np.quantile(grey[free], 0.98)),
    }
    for channel, name in enumerate(("red", "green", "blue")):
        values[f"colour {name}"] = float(pixels[:, channel].mean())
        shares = np.histogram(pixels[:, channel], bins=4, range=(0, 1))[0] / len(pixels)
        values |= {f"colour {name}, quarter {place + 1}": float(share) for place, share in enumerate(shares)}
    return values


def _grid(steps: NDArray[np.float32], free: NDArray[np.bool_]) -> float:
    """Logarithm of how much stronger steps are where JPEG's blocks of 8 meet than elsewhere."""
    column = np.arange(steps.shape[1]) % 8 == 7
    on, off = steps[:, column][free[:, column]], steps[:, ~column][free[:, ~column]]
    return _log(on.mean()) - _log(off.mean()) if on.size and off.size else 0.0


def _log(value: float | np.floating) -> float:
    return float(np.log(float(value) + 1e-4))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 31))


def _told(
    table: NDArray[np.float64], kinds: NDArray[np.str_], folds: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
    rng: np.random.Generator,
) -> NDArray[np.str_]:  # fmt: skip
    """The type that a forest trained on other people predicts for each row."""
    from sklearn.ensemble import RandomForestClassifier

    told = np.empty_like(kinds)
    for train, test in folds:
        forest = RandomForestClassifier(_TREES, min_samples_leaf=3, class_weight="balanced", random_state=_seed(rng), n_jobs=1)
        told[test] = forest.fit(table[train], kinds[train]).predict(table[test])
    return told


def _mean_recall(right: NDArray[np.bool_], kinds: NDArray[np.str_], weights: NDArray[np.float64] | None = None) -> float:
    """Mean recall over the types, so that chance is 1 / types however unbalanced they are."""
    rows = np.ones(len(kinds)) if weights is None else weights
    recalls = []
    for kind in np.unique(kinds):
        own = rows * (kinds == kind)
        if own.sum():
            recalls.append(float((own * right).sum() / own.sum()))
    return float(np.mean(recalls))


def _interval(
    right: NDArray[np.bool_], kinds: NDArray[np.str_], people: NDArray[np.str_], rng: np.random.Generator
) -> tuple[float, float]:
    """95% percentile interval of the mean recall, with people drawn with replacement."""
    names, numbers = np.unique(people, return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    drawn = [_mean_recall(right, kinds, rng.multinomial(len(names), share)[numbers].astype(float)) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _explained(table: NDArray[np.float64], kinds: NDArray[np.str_]) -> list[float]:
    """Share of each statistic's variance that lies between the types."""
    total = ((table - table.mean(axis=0)) ** 2).sum(axis=0)
    between = sum(
        (kinds == kind).sum() * (table[kinds == kind].mean(axis=0) - table.mean(axis=0)) ** 2 for kind in np.unique(kinds)
    )
    return [float(b / t) if t > 1e-12 else 0.0 for b, t in zip(np.asarray(between), total, strict=True)]
