"""Oversampling: training on the rows of some presentation types more often than on others.

Use: `rows = np.repeat(rows, repeats(types_of_rows, {"Tattoo": 2.0}, rng))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from faceshield import taxonomy


def _known(oversample: dict[str, float]) -> dict[str, float]:
    negative = [name for name, times in oversample.items() if times < 0]
    if negative:
        raise ValueError(f"oversample of {negative[0]!r} is {oversample[negative[0]]} — expected 0 or more")
    return {name if name == taxonomy.UNTYPED else taxonomy.resolve(name): times for name, times in oversample.items()}


Oversample = Annotated[dict[str, float], AfterValidator(_known)]
"""Presentation type ("attack": attacks without one) -> how many times its rows are seen per epoch; 1 for types not named."""


def repeats(types: Sequence[str | None], oversample: Mapping[str, float], rng: np.random.Generator) -> NDArray[np.int64]:
    """How many times each row is seen: with 1.4, six rows in ten are seen once and four twice.

    Args:
        types: (N,) the presentation type of each row, None where unknown.
        oversample: see `Oversample`.
        rng: draws the rows that are seen once more.

    Returns:
        (N,) integers, 0 or more.
    """
    times = np.array([oversample.get(name or taxonomy.UNTYPED, 1.0) for name in types])
    return np.floor(times + rng.random(len(times))).astype(np.int64)
