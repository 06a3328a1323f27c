"""Cloth, and what people wear: shirts that are plain, striped, checked or flowered, with their folds.

image, plain = draw_cloth(rng)                  # (CANVAS, CANVAS, 3), and its plain colour
image = dress(image, matte, points, rng)        # the person in another shirt
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.simulate.portrait import CANVAS, OUTLINE, FloatImage, Mask, Points, blend, smooth_noise

_ROWS, _COLUMNS = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)


def draw_cloth(rng: np.random.Generator) -> tuple[FloatImage, NDArray[np.float32]]:
    """A canvas of cloth with folds, some striped, checked or flowered, and its plain colour, pale in four of ten."""

    def dye() -> NDArray[np.float32]:
        level = rng.uniform(0.03, 0.85)
        return np.clip(level * (1 + rng.uniform(-0.5, 0.5, 3)), 0.01, 1).astype(np.float32)

    plain = np.float32(rng.uniform(0.72, 1.0)) * (1 + rng.uniform(-0.05, 0.05, 3)).astype(np.float32)
    plain = plain if rng.random() < 0.4 else dye()
    image = np.broadcast_to(plain, (CANVAS, CANVAS, 3)).astype(np.float32)
    bend = smooth_noise(rng, cells=5)[..., 0] * 6
    pattern = int(rng.choice(4, p=[0.55, 0.18, 0.13, 0.14]))
    second, period = dye(), rng.uniform(8, 40)
    if pattern in (1, 2):
        angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1)
        for turn in (angle, angle + np.pi / 2)[:pattern]:
            wave = np.sin((_COLUMNS * np.cos(turn) + _ROWS * np.sin(turn) + bend) * (2 * np.pi / period))
            image = blend(image, second, ((wave - rng.uniform(0, 0.8)) * 6).clip(0, 1) * (1.0 if pattern == 1 else 0.6))
    elif pattern == 3:
        blobs = smooth_noise(rng, cells=int(rng.integers(10, 32)))[..., 0]
        image = blend(image, second, ((blobs - rng.uniform(0.1, 0.4)) * 8).clip(0, 1))
    # Folds run down and slantwise, and are sharper on one side.
    folds = smooth_noise(rng, cells=int(rng.integers(4, 10)))[..., 0] * rng.uniform(0.08, 0.3)
    slant = np.sin((_COLUMNS + rng.uniform(-1, 1) * _ROWS + 3 * bend) * (2 * np.pi / rng.uniform(40, 120)))
    folds += np.abs(slant) * rng.uniform(0.0, 0.12)
    return (image * (1 + folds - folds.mean())[..., None]).clip(0, 1).astype(np.float32), plain


Plane = NDArray[np.float32]
"""(H, W) float32."""


def below_the_face(x: Plane, y: Plane, points: Points) -> tuple[Plane, Plane]:
    """Pixel positions relative to the chin, along the face's axis and across it, in face heights."""
    outline = points[OUTLINE]
    chin, brow = points[18], outline[:11].mean(axis=0)
    axis = chin - brow
    down, height = axis / max(float(np.hypot(*axis)), 1.0), max(float(np.ptp(outline[:, 1])), 1.0)
    along, across = (x - chin[0]) * down[0] + (y - chin[1]) * down[1], (x - chin[0]) * down[1] - (y - chin[1]) * down[0]
    return (along / height).astype(np.float32), (across / height).astype(np.float32)


def shoulders(along: Plane, across: Plane) -> Mask:
    """Where a body may be, in `below_the_face` coordinates: sloping shoulders 2.5 face heights wide, and arms."""
    out = np.abs(across)
    rise = along - (0.05 + 0.42 * ((out - 0.3) / 0.95).clip(0, 2) ** 2)
    return ((rise * 20 + 0.5).clip(0, 1) * ((1.25 + 0.12 * along - out) * 20 + 0.5).clip(0, 1)).astype(np.float32)


def dress(image: FloatImage, matte: Mask, points: Points, rng: np.random.Generator) -> FloatImage:
    """The person in another shirt with a round or deep neckline, shaded like the clothes it replaces."""
    along, across = below_the_face(_COLUMNS, _ROWS, points)
    deep, wide = rng.uniform(0.02, 0.14), rng.uniform(0.18, 0.32)
    neckline = 0.1 + deep * np.exp(-((across / wide) ** 2))
    shirt = ((along - neckline) * 40).clip(0, 1) * matte
    soft = Image.fromarray((image.mean(axis=2).clip(0, 1) * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(9))
    level = np.asarray(soft, np.float32) / 255.0
    worn = shirt > 0.5
    shade = (level / max(float(level[worn].mean()) if worn.any() else 1.0, 0.05)).clip(0.6, 1.4)
    cloth, _ = draw_cloth(rng)
    hem = 1 - 0.25 * np.exp(-(((along - neckline) / 0.02) ** 2))
    return blend(image, cloth * (shade * hem)[..., None], shirt)
