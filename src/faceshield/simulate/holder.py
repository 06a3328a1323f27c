"""A person close behind the subject or the medium: a clothed body, and the colours of hands that may hold the medium.

Most prints that a webcam sees are held in front of the chest: where the paper ends there is a shirt, and no room is in view.

    holder = draw_holder(behind, rng)       # holder.image is what lies behind the medium
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from faceshield.simulate.clothes import draw_cloth
from faceshield.simulate.limbs import SKINS, Limb, paint_limb
from faceshield.simulate.portrait import (
    CANVAS,
    WHOLE_CANVAS,
    Box,
    FloatImage,
    Mask,
    Points,
    blend,
    fill_polygon,
)

Colour = tuple[float, float, float]
_COLUMNS = np.arange(CANVAS, dtype=np.float32)[None]


@dataclass(frozen=True)
class Holder:
    """A body without its head, which is out of view or behind the medium.

    Attributes:
        image: (CANVAS, CANVAS, 3), the body in front of its background.
        skin, sleeve: colours of hands and forearms; the same if the arms are bare.
    """

    image: FloatImage
    skin: Colour
    sleeve: Colour


def draw_holder(background: FloatImage, rng: np.random.Generator, window: Box = WHOLE_CANVAS) -> Holder:
    """Draws a clothed body on `background`, its shoulders near the upper edge of `window`, which the camera sees."""
    tone = np.array(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    exposure = rng.uniform(0.65, 1.1)
    cloth, plain = draw_cloth(rng)
    wide, high = window[2] - window[0], window[3] - window[1]
    middle, shoulders = window[0] + wide * rng.uniform(0.36, 0.64), window[1] + high * rng.uniform(-0.25, 0.12)
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
    if rng.random() < 0.3:
        _long_hair(image, middle, shoulders, neck, light, rng)
    if (blur := float(rng.choice([0.0, 0.7, 1.4, 2.5]))) > 0:  # it is out of focus
        picture = Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
        image = np.asarray(picture, np.float32) / 255.0
    return Holder(image.clip(0, 1).astype(np.float32), skin, skin if rng.random() < 0.5 else _colour(plain))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (float(np.clip(value, 0, 1)) for value in values)
    return red, green, blue


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
