"""Player controls and status bars drawn over a picture on a screen."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from faceshield.simulate.paint import chance
from faceshield.simulate.portrait import Box, FloatImage


def draw_controls(size: tuple[int, int], content: Box, upright: bool, rng: np.random.Generator) -> FloatImage:
    """Player controls, a status bar or both as (h, w, 4): RGB and opacity, 0..1."""
    width, height = size
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    unit = max(6.0, 0.055 * min(width, height))
    ink = (255, 255, 255, int(rng.integers(150, 245)))
    x0, y0, x1, y1 = content
    style = rng.choice(["player", "bar", "column"] if upright else ["player", "bar"])
    if style != "bar" or chance(rng, 0.3):
        y, knob = y1 - unit * rng.uniform(0.9, 2.0), rng.uniform(0.1, 0.9)
        left, right = x0 + unit, x1 - unit
        middle = left + (right - left) * knob
        pen.line([left, y, right, y], fill=(190, 190, 190, 170), width=max(2, round(unit * 0.22)))
        pen.line(
            [left, y, middle, y],
            fill=(230, 40, 40, 240) if chance(rng, 0.5) else ink,
            width=max(2, round(unit * 0.22)),
        )
        pen.ellipse([middle - unit * 0.35, y - unit * 0.35, middle + unit * 0.35, y + unit * 0.35], fill=ink)
    if style == "player":
        cx, cy, r = (
            (x0 + x1) / 2,
            y1 - unit * 3.2 if chance(rng, 0.6) else (y0 + y1) / 2,
            unit * rng.uniform(0.9, 1.7),
        )
        pen.ellipse(
            [cx - r, cy - r, cx + r, cy + r],
            fill=(0, 0, 0, 110),
            outline=ink,
            width=max(1, round(unit * 0.12)),
        )
        if chance(rng, 0.5):
            pen.polygon([(cx - r * 0.35, cy - r * 0.5), (cx - r * 0.35, cy + r * 0.5), (cx + r * 0.55, cy)], fill=ink)
        else:
            for side in (-0.3, 0.3):
                pen.rectangle([cx + (side - 0.13) * r, cy - r * 0.5, cx + (side + 0.13) * r, cy + r * 0.5], fill=ink)
        for side in (-1, 1):
            ax = cx + side * r * 2.6
            pen.polygon([(ax, cy - r * 0.5), (ax, cy + r * 0.5), (ax + side * r * 0.7, cy)], fill=ink)
    elif style == "column":
        for step in range(int(rng.integers(3, 6))):
            cx, cy, r = x1 - unit * 1.2, y1 - unit * (3.0 + 2.3 * step), unit * 0.7
            pen.ellipse([cx - r, cy - r, cx + r, cy + r], fill=ink)
            pen.rectangle([cx - r * 0.6, cy + r * 1.25, cx + r * 0.6, cy + r * 1.5], fill=ink)
    if style == "bar" or chance(rng, 0.4):
        bar = unit * rng.uniform(0.9, 1.3)
        pale = chance(rng, 0.4)
        pen.rectangle([0, 0, width, bar], fill=(235, 235, 238, 235) if pale else (10, 10, 12, 225))
        text = (30, 30, 30, 255) if pale else (230, 230, 230, 255)
        for start in (0.05, 0.12, 0.78, 0.85, 0.92):
            pen.rectangle([width * start, bar * 0.3, width * (start + 0.045), bar * 0.72], fill=text)
        if chance(rng, 0.4):
            pen.rectangle([0, height - bar, width, height], fill=(15, 15, 18, 235))
            for start in (0.22, 0.5, 0.78):
                pen.ellipse(
                    [
                        width * start - bar * 0.28,
                        height - bar * 0.78,
                        width * start + bar * 0.28,
                        height - bar * 0.22,
                    ],
                    outline=text,
                )
    return np.asarray(layer, dtype=np.float32) / 255.0
