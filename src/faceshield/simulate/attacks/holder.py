"""Who holds a print or a phone before the camera: a body in clothes behind it, and the skin and sleeves of the hands.

Seen by a webcam, most prints lie before their holder's chest: a shirt runs on where paper ends, and there is no room in view.

    holder = draw_holder(behind, rng)       # holder.image is what lies behind the medium
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from faceshield.simulate.attacks.paint import chance
from faceshield.simulate.limbs import SKINS, Limb, paint_limb
from faceshield.simulate.portrait import CANVAS, FloatImage, Mask, Points, blend, fill_polygon, smooth_noise

Colour = tuple[float, float, float]
_ROWS, _COLUMNS = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)


@dataclass(frozen=True)
class Holder:
    """A body without its head, which is out of view or behind the medium.

    Attributes:
        image: (CANVAS, CANVAS, 3), the body before its background.
        skin, sleeve: colours of hands and forearms; one colour where the arms are bare.
    """

    image: FloatImage
    skin: Colour
    sleeve: Colour


def draw_holder(background: FloatImage, rng: np.random.Generator) -> Holder:
    """A body in clothes before `background`, its shoulders near the upper edge of the view."""
    tone = np.array(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    exposure = rng.uniform(0.65, 1.1)
    cloth, plain = _cloth(rng)
    middle, shoulders = CANVAS * rng.uniform(0.36, 0.64), CANVAS * rng.uniform(-0.25, 0.12)
    half, neck = CANVAS * rng.uniform(0.34, 0.62), CANVAS * rng.uniform(0.07, 0.11)
    light = (float(rng.uniform(-1, 1)), float(rng.uniform(-1, 0.2)))
    image = background.copy()
    skin = _colour(tone)
    paint_limb(image, Limb((middle, shoulders - 90), (middle, shoulders + 0.4 * neck), neck, neck * 1.1, skin), light, exposure)
    body = _outline(middle, shoulders, half, neck, rng)
    # Rounded as a chest is: darker towards the arms.
    across = ((_COLUMNS - middle) / half).clip(-1.2, 1.2)
    round_shade = 1 - 0.22 * across**2 + 0.15 * light[0] * across
    image = blend(image, cloth * np.float32(exposure) * round_shade[..., None], body)
    if chance(rng, 0.3):
        _long_hair(image, middle, shoulders, neck, light, rng)
    if (blur := float(rng.choice([0.0, 0.7, 1.4, 2.5]))) > 0:  # behind what is in focus
        picture = Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
        image = np.asarray(picture, np.float32) / 255.0
    return Holder(image.clip(0, 1).astype(np.float32), skin, skin if chance(rng, 0.5) else _colour(plain))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (float(np.clip(value, 0, 1)) for value in values)
    return red, green, blue


def _cloth(rng: np.random.Generator) -> tuple[FloatImage, np.ndarray]:
    """A canvas of cloth with its folds, and its plain colour, pale in four of ten; some striped, checked or flowered."""

    def dye() -> np.ndarray:
        level = rng.uniform(0.03, 0.85)
        return np.clip(level * (1 + rng.uniform(-0.5, 0.5, 3)), 0.01, 1).astype(np.float32)

    plain = np.float32(rng.uniform(0.72, 1.0)) * (1 + rng.uniform(-0.05, 0.05, 3)).astype(np.float32)
    plain = plain if chance(rng, 0.4) else dye()
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


def _outline(middle: float, shoulders: float, half: float, neck: float, rng: np.random.Generator) -> Mask:
    slope, deep = CANVAS * rng.uniform(0.08, 0.2), neck * rng.uniform(0.2, 1.6)
    right = [(neck * 1.1, 0.0), (half * 0.8, 0.55 * slope), (half, slope + 14), (half * rng.uniform(0.95, 1.15), 2.0 * CANVAS)]
    side = [(middle + x, shoulders + y) for x, y in right]
    other = [(middle - x, shoulders + y) for x, y in reversed(right)]
    points: Points = np.asarray([(middle, shoulders + deep), *side, *other], np.float32)
    return fill_polygon(points)


def _long_hair(
    image: FloatImage, middle: float, shoulders: float, neck: float, light: tuple[float, float], rng: np.random.Generator
) -> None:
    """Strands that fall over both shoulders."""
    tone = _colour(rng.uniform(0.02, 0.3) * np.array([1.0, 0.8, 0.6]))
    length = CANVAS * rng.uniform(0.1, 0.4)
    for side in (-1, 1):
        start = (middle + side * neck * 0.9, shoulders - 70)
        end = (middle + side * neck * rng.uniform(1.2, 2.0), shoulders + length)
        paint_limb(image, Limb(start, end, neck * 0.7, neck * rng.uniform(0.25, 0.6), tone), light)
