"""Is the picture of a face good enough to be judged? Five named reasons why not, each a number compared with a limit.

A limit marks the edge of what bona fide faces look like in faceshield-tiny's training pictures: beyond it the model would judge
what it has never seen. `benchmarks/quality.py` prints how often each reason is given, and how often rightly.
Use: `assess(rgb, crop=(0, 0, 224, 224), face=None).reasons`, empty for a good picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.face import ORIENTATIONS, gradient_cells
from faceshield.inspection import Box

TOO_SMALL, TOO_DARK, OVER_EXPOSED, BLURRED, TURNED_AWAY = "too_small", "too_dark", "over_exposed", "blurred", "turned_away"
REASONS = (TOO_SMALL, TOO_DARK, OVER_EXPOSED, BLURRED, TURNED_AWAY)
_SIDE = 96  # pixels: every face is measured at this size, about the size at which the model sees it
_SHIFT = 2  # cells by which a face and its mirror image may be offset: the axis is seldom exactly in the middle of the box
_BURNT = 250 / 255

LIMITS = {"side": 40.0, "light": 0.22, "burnt": 0.35, "sharpness": 0.020, "symmetry": 0.06}
"""Minimum side in pixels, minimum grey of the lightest tenth (0..1), maximum share of burnt-out pixels, minimum sharpness and
minimum symmetry."""


@dataclass(frozen=True)
class Quality:
    """Measurements of a face.

    Attributes:
        side: shorter side of the face's box in pixels of the given picture.
        light: grey level that a tenth of the face exceeds, 0..1: highlights and the whites of the eyes, so that dark skin in
            good light does not count as dark.
        burnt: share of its pixels that are white, 0..1.
        sharpness: mean absolute second derivative at 96 pixels, relative to the face's contrast.
        symmetry: correlation of its gradients with their mirror image, -1..1, high for a frontal face; None if the face's
            position is unknown.
    """

    side: float
    light: float
    burnt: float
    sharpness: float
    symmetry: float | None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Those of `REASONS` that apply, in that order."""
        held = (
            self.side < LIMITS["side"],
            self.light < LIMITS["light"],
            self.burnt > LIMITS["burnt"],
            self.sharpness < LIMITS["sharpness"],
            self.symmetry is not None and self.symmetry < LIMITS["symmetry"],
        )
        return tuple(reason for reason, holds in zip(REASONS, held, strict=True) if holds)

    def to_dict(self) -> dict[str, float | None]:
        """The five values, for a report's `meta["quality"]`."""
        values = {name: getattr(self, name) for name in LIMITS}
        return {name: None if value is None else round(float(value), 4) for name, value in values.items()}


def assess(rgb: NDArray[np.uint8], crop: tuple[int, int, int, int], face: Box | None = None) -> Quality:
    """Measures a face.

    Args:
        rgb: (H, W, 3) uint8 RGB, the whole picture.
        crop: the part of it that is judged, pixels.
        face: the face in it, pixels of `rgb`; None: the middle half of the crop, as in most face crops, without the check for
            faces turned away.
    """
    x0, y0, x1, y1 = crop
    known = face is not None
    if face is None:
        face = (x0 + (x1 - x0) / 4, y0 + (y1 - y0) / 4, x1 - (x1 - x0) / 4, y1 - (y1 - y0) / 4)
    side = float(min(face[2] - face[0], face[3] - face[1]))
    inside = tuple(round(value) for value in face)
    cut = Image.fromarray(rgb).crop((inside[0], inside[1], max(inside[2], inside[0] + 1), max(inside[3], inside[1] + 1)))
    small = cut.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    grey = np.asarray(small, dtype=np.float32) / 255.0
    curve = np.abs(grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1])
    return Quality(
        side=side,
        light=float(np.quantile(grey, 0.9)),
        burnt=float((grey >= _BURNT).mean()),
        # 0.01 is added to the contrast; otherwise a face without contrast would be measured by its noise alone.
        sharpness=float(curve.mean() / (grey.std() + 0.01)) / 4,
        symmetry=_symmetry(grey) if known else None,
    )


def _symmetry(grey: NDArray[np.float32]) -> float:
    """The best correlation of the face's gradients with those of its mirror image, for any axis near the middle."""
    cells = gradient_cells(grey * 255)
    mirrored = gradient_cells(np.ascontiguousarray(grey[:, ::-1]) * 255)
    width, best = cells.shape[1], -1.0
    for shift in range(-_SHIFT, _SHIFT + 1):
        one = cells[:, max(0, shift) : width + min(0, shift)].reshape(-1, ORIENTATIONS)
        other = mirrored[:, max(0, -shift) : width + min(0, -shift)].reshape(-1, ORIENTATIONS)
        a, b = one - one.mean(), other - other.mean()
        best = max(best, float((a * b).sum() / (np.sqrt((a**2).sum() * (b**2).sum()) + 1e-9)))
    return best
