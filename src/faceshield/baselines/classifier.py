"""A trained baseline for `faceshield predict`: scores of whole pictures, no words.

Use: `BaselineClassifier.from_folder("resnet").score_many([rgb])` -> [(bonafide_score, type_scores)].
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceshield.baselines.base import COARSE_TYPES, Baseline, load_baseline
from faceshield.model import checkpoint_hash
from faceshield.training.augment import to_float
from faceshield.training.pictures import RgbSquares
from faceshield.training.precision import device

_BATCH = 16


class BaselineClassifier:
    """Scores pictures with a baseline.

    Args:
        model: in evaluation mode, on the device to compute on.
        weights: `checkpoint_hash` of its folder, for `settings`.
    """

    def __init__(self, model: Baseline, weights: str = "") -> None:
        self.model, self.weights = model, weights
        self._squares = RgbSquares(model.design.image_size)
        self._device = next(model.parameters()).device

    @classmethod
    def from_folder(cls, folder: str | Path) -> BaselineClassifier:
        """Load a baseline's folder, onto a GPU if there is one; raises as `load_baseline`."""
        return cls(load_baseline(folder, device()), checkpoint_hash(folder))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its answers beyond its folder's name, for a run's record."""
        return {"baseline": self.model.design.name, **({"weights": self.weights} if self.weights else {})}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks it can answer: without the types, only the coarse one."""
        return ("coarse",) if self.model.design.types == COARSE_TYPES else ("coarse", "fine")

    def score_many(self, images: Sequence[Any]) -> list[tuple[float, dict[str, float] | None]]:
        """(bonafide_score, type_scores) of each whole picture; type_scores is None for a coarse baseline.

        Args:
            images: PIL pictures, or (H, W, 3) uint8 RGB arrays.
        """
        types, found = self.model.design.types, []
        for start in range(0, len(images), _BATCH):
            squares = np.stack([self._squares.square_pixels(image)[0] for image in images[start : start + _BATCH]])
            with torch.inference_mode():
                rows = self.model.probabilities(to_float(squares, self._device)).cpu().tolist()
            for row in rows:
                found.append((row[0], None if types == COARSE_TYPES else dict(zip(types, row, strict=True))))
        return found
