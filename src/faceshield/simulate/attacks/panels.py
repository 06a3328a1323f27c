"""What a screen's own pixels do to the picture when a second camera captures it: moire, pixel grids, flicker bands; also
displays other than LCD panels: a cathode ray tube, e-paper, an LED wall, a projector.

picture = picture * moire(u, v, rng); u, v: (CANVAS, CANVAS), canvas pixels measured on the screen
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import convolve

from faceshield.simulate import paint
from faceshield.simulate.attacks import recapture as rc
from faceshield.simulate.portrait import CANVAS, FloatImage, smooth_noise

Made = tuple[FloatImage, float]
"""The picture as shown, and the period of its pixels in canvas pixels, infinite if it has none."""
_ROWS, _COLUMNS = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - np.float32(0.47)
"""Thresholds for ordered dithering."""


def moire(u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> FloatImage:
    """Moire between the panel's and the sensor's grid: a factor per channel, curved, often coloured; u, v in canvas pixels."""
    factor = np.ones((CANVAS, CANVAS, 3), np.float32)
    warp = smooth_noise(rng, cells=2)[..., 0] * np.float32(rng.uniform(0.0, 1.2))
    coloured = rng.uniform(0.0, 1.0) if paint.chance(rng, 0.7) else 0.0
    for wave in range(1 + int(paint.chance(rng, 0.35))):
        period = rng.uniform(5, 14) if paint.chance(rng, 0.6) else rng.uniform(14, 44)
        angle, curve = rng.uniform(0, np.pi), rng.uniform(-1, 1) * 2.5e-4
        phase = (u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle))) / np.float32(period)
        phase = phase + np.float32(curve) * (v * v - 0.5 * u * u) / np.float32(period) * 12 + warp
        depth = np.float32(rng.uniform(0.05, 0.2) * (0.6 if wave else 1.0))
        for channel in range(3):
            shift = np.float32(2 * np.pi * coloured * channel / 3)
            factor[..., channel] += depth * np.cos(np.float32(2 * np.pi) * phase + shift)
    return factor


def pixel_grid(u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> tuple[FloatImage, float]:
    """The panel's own pixels: dark gaps in both directions and RGB stripes of varying strength; and their period.

    u, v and the period are in canvas pixels.
    """
    period = rng.uniform(2.5, 4.6)
    wave = np.float32(2 * np.pi / period)
    depth, stripes = np.float32(rng.uniform(0.12, 0.34)), np.float32(rng.uniform(0.0, 0.3))
    gaps = 1 - depth * (0.5 + 0.5 * np.cos(v * wave))
    columns = [
        1 - depth * (0.25 + 0.25 * np.cos(u * wave)) + stripes * np.cos(u * wave + np.float32(2.094 * c)) for c in range(3)
    ]
    return np.stack([gaps * column for column in columns], axis=-1).astype(np.float32), period


def subpixels(u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> tuple[FloatImage, bool]:
    """A panel's red, green and blue stripes as a sensor with a Bayer pattern samples them: a factor per channel, and
    whether the resulting moire is visible; u, v in canvas pixels.

    Lens and pixel aperture suppress most of the stripes; what is left is undersampled, each colour at its own positions, and
    aliases into coloured bands that follow the perspective.
    """
    pitch, spread = np.float32(rng.uniform(0.9, 2.4)), rng.uniform(0.28, 0.5)
    factor = np.empty((CANVAS, CANVAS, 3), np.float32)
    for channel in range(3):
        stripes = np.ones((CANVAS, CANVAS), np.float32)
        for order in (1, 2):
            wave = order / float(pitch)
            left = 2 * np.sinc(order / 3) * np.sinc(0.8 * wave) * np.exp(-2 * (np.pi * spread * wave) ** 2)
            stripes += np.float32(left) * np.cos(np.float32(2 * np.pi * wave) * u - np.float32(2 * np.pi * order * channel / 3))
        gaps = np.float32(0.5 * np.sinc(0.8 / pitch) * np.exp(-2 * (np.pi * spread / pitch) ** 2))
        plane = stripes * (1 + gaps * np.cos(np.float32(2 * np.pi / pitch) * v))
        seen = np.zeros_like(plane)
        if channel == 1:
            seen[::2, 1::2], seen[1::2, ::2] = plane[::2, 1::2], plane[1::2, ::2]
            kernel = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
        else:
            start = channel // 2
            seen[start::2, start::2] = plane[start::2, start::2]
            kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4
        factor[..., channel] = convolve(seen, kernel, mode="mirror")
    coarse = factor.reshape(CANVAS // 3, 3, CANVAS // 3, 3, 3).mean(axis=(1, 3))
    return factor, bool(coarse.std(axis=(0, 1)).max() > 0.012)


def flicker(rng: np.random.Generator) -> rc.Plane:
    """Bands that a rolling shutter records from a pulsed backlight: a factor, horizontal but for a slight slant."""
    rows = np.arange(CANVAS) / rng.uniform(26, 150) + rng.uniform(0, 1)
    wave = np.cos(2 * np.pi * rows)
    if paint.chance(rng, 0.5):
        wave = np.tanh(wave * rng.uniform(2, 6))
    bands = 1 - rng.uniform(0.05, 0.16) * (1 + wave)
    slope = (_COLUMNS * np.float32(rng.normal(0, 0.02)) + _ROWS).clip(0, CANVAS - 1).astype(np.int32)
    return bands.astype(np.float32)[slope]


def tube(picture: FloatImage, u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> Made:
    """A cathode ray tube: scan lines with dark gaps, three phosphors side by side, dimmer towards its edges."""
    line, pitch = rng.uniform(2.4, 5.0), rng.uniform(1.5, 3.2)
    depth, stripes = np.float32(rng.uniform(0.2, 0.6)), np.float32(rng.uniform(0.05, 0.3))
    beam = 1 - depth * (0.5 + 0.5 * np.cos(np.float32(2 * np.pi / line) * v)) * (
        1.2 - rc.luma(picture)
    )  # a bright beam is wider
    wave = np.float32(2 * np.pi / pitch)
    phosphor = np.stack([1 + stripes * np.cos(wave * u + np.float32(2.094 * channel)) for channel in range(3)], axis=-1)
    far = (u**2 + v**2) / np.float32((0.5 * CANVAS) ** 2)
    soft = picture + np.float32(rng.uniform(0.1, 0.4)) * rc.blurred((picture - 0.5).clip(0, 1), rng.uniform(2, 6))
    return soft * (beam * (1 - np.float32(rng.uniform(0.02, 0.2)) * far.clip(0, 2)))[..., None] * phosphor, line


def grey_ink(picture: FloatImage, u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> Made:
    """An e-paper reader: black and white under a matt film, few true greys, the rest dithered, no light of its own."""
    grain, levels = rng.uniform(0.9, 2.6), np.float32(rng.choice([1, 3, 3, 15]))
    place = (np.mod(v / np.float32(grain), 4).astype(np.int32) % 4, np.mod(u / np.float32(grain), 4).astype(np.int32) % 4)
    dithered = np.round(rc.luma(picture).clip(0, 1) * levels + _BAYER[place] * np.float32(rng.uniform(0.6, 1.0)))
    ghost = np.float32(0.03) * smooth_noise(rng, cells=12)[..., 0]
    black, white = rng.uniform(0.12, 0.28), rng.uniform(0.62, 0.85)
    shown = black + (white - black) * (dithered / levels).clip(0, 1) + ghost
    tint = np.array([1.0, 1.0 - rng.uniform(0.0, 0.02), 1.0 - rng.uniform(0.0, 0.08)], np.float32)
    return shown[..., None] * tint, 2 * grain


def lamps(picture: FloatImage, u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> Made:
    """An LED wall: round lamps with black between them, and a picture as coarse as their pitch."""
    pitch, radius = np.float32(rng.uniform(2.8, 6.0)), rng.uniform(0.28, 0.5)
    coarse = rc.blurred(picture.clip(0, 1), float(pitch) * 0.45)
    x, y = np.mod(u / pitch, 1) - 0.5, np.mod(v / pitch, 1) - 0.5
    disc = ((np.float32(radius) - np.sqrt(x * x + y * y)) * pitch + 0.5).clip(0, 1)
    spill = np.float32(rng.uniform(0.1, 0.4))
    return coarse * (spill + (1 - spill) * disc / np.float32(max(0.25, np.pi * radius**2)))[..., None], float(pitch)


def thrown(picture: FloatImage, u: rc.Plane, v: rc.Plane, rng: np.random.Generator) -> Made:
    """A projected picture on a wall: brightest near its middle, black no darker than the room, textured by the wall's grain."""
    at = rng.normal(0, 0.2 * CANVAS, 2).astype(np.float32)
    fall = np.exp(-((u - at[0]) ** 2 + (v - at[1]) ** 2) / np.float32((rng.uniform(0.5, 1.1) * CANVAS) ** 2))
    wall = paint.paper_grain(rng, rng.uniform(0.01, 0.06))
    fringe = round(rng.uniform(0, 2))  # the three colour images are slightly misaligned
    columns = np.arange(picture.shape[1])
    split = np.stack([picture[:, (columns - (c - 1) * fringe).clip(0, columns[-1]), c] for c in range(3)], axis=-1)
    room = np.float32(rng.uniform(0.08, 0.35))
    return (room + (1 - room) * split * (0.55 + 0.6 * fall)[..., None]) * wall[..., None], np.inf


Structure = Callable[[FloatImage, rc.Plane, rc.Plane, np.random.Generator], Made]
