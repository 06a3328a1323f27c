"""Glasses with something in the place of the eyes: printed or plastic eyes, paper cut-outs, opaque novelty lenses.

Ordinary spectacles with clear lenses are bona fide and not made here. `attacked = apply(scene, rng)`
"""

from __future__ import annotations

import numpy as np

from faceshield.simulate.attacks.paint import cast_shadow, colour, ellipse, paper_grain, pick, printed, shapes, strokes, unique
from faceshield.simulate.attacks.surface import Frame, exposure, portrait_texture
from faceshield.simulate.portrait import Attacked, FloatImage, Scene, blend, bounding_box

VARIANTS = ("glasses/printed-eyes", "glasses/plastic-eyeballs", "glasses/paper", "glasses/opaque-novelty")
CUES = ("opaque lenses", "printed eyes", "plastic eyeballs", "paper glasses", "a thick frame", "bright novelty lenses")


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts deceiving glasses on the face."""
    name = pick(rng, VARIANTS, variant)
    frame = Frame(scene.landmarks)
    lamp = np.float32(exposure(scene, frame))
    half_width, half_height = rng.uniform(0.40, 0.50), rng.uniform(0.26, 0.42)
    power = float(rng.choice([2.0, 2.6, 5.0]))
    tilt = rng.normal(0, 0.03)
    centres = [np.asarray((side * 0.5 + rng.normal(0, 0.02), 0.03 + side * tilt)) for side in (-1, 1)]
    rings = [frame.px(ellipse(c, (half_width, 0), (0, half_height), power)) for c in centres]
    thickness = frame.span * rng.uniform(0.05, 0.13)
    lens = shapes(rings)
    temple = [frame.px([(side * (0.5 + half_width), -0.02), (side * 1.25, -0.1)]) for side in (-1, 1)]
    bridge = [frame.px([(-0.5 + half_width, 0.0), (0.0, -0.06), (0.5 - half_width, 0.0)])]
    rim = strokes([*(np.vstack([r, r[:2]]) for r in rings), *bridge], thickness)
    rim = np.maximum(rim, strokes(temple, thickness * 0.8))
    if name == "glasses/paper":
        border = frame.px([(-1.1, -0.4), (1.1, -0.4), (1.12, 0.3), (0.3, 0.42), (0, 0.15), (-0.3, 0.42), (-1.12, 0.3)])
        rim = shapes([border])
    whole = np.maximum(lens, rim)
    image = cast_shadow(scene.image, whole, scene.light_xy, frame.span * 0.06, rng.uniform(0.2, 0.5))
    filling, cues = _lenses(scene, frame, rng, name, centres, half_height)
    shine = 1 + 0.25 * np.clip(-frame.uv[..., 1:2] * 2, -0.5, 1) * rng.uniform(0, 1)
    if name == "glasses/paper":
        paper = colour(rng, [(0.95, 0.95, 0.93), (0.85, 0.8, 0.7), (0.9, 0.75, 0.6)])
        image = blend(image, paper * lamp * paper_grain(rng, 0.015)[..., None], rim)
        image = blend(image, (filling * lamp).astype(np.float32), lens)
    else:
        image = blend(image, (filling * lamp * shine).astype(np.float32), lens)
        tint = colour(rng, [(0.05, 0.05, 0.06), (0.5, 0.1, 0.1), (0.9, 0.85, 0.2), (0.2, 0.3, 0.7), (0.9, 0.9, 0.9)], 0.08)
        image = blend(image, tint * lamp, rim)
        if thickness > 0.09 * frame.span:
            cues.append("a thick frame")
    box = bounding_box(whole)
    return Attacked(image.clip(0, 1), (box,) if box else (), unique(cues), name, scene.landmarks)


def _lenses(
    scene: Scene, frame: Frame, rng: np.random.Generator, name: str, centres: list[np.ndarray], half_height: float
) -> tuple[FloatImage, list[str]]:
    uv = frame.uv
    if name in ("glasses/printed-eyes", "glasses/paper"):
        texture = portrait_texture(scene, frame, mirror=True, scale=rng.uniform(0.95, 1.35, 2), shift=rng.normal(0, 0.08, 2))
        cues = ["paper glasses", "printed eyes"] if name == "glasses/paper" else ["opaque lenses", "printed eyes"]
        return printed(texture, rng, grey=bool(rng.random() < 0.25)), cues
    if name == "glasses/opaque-novelty":
        base = colour(rng, [(0.9, 0.4, 0.1), (0.2, 0.7, 0.9), (0.85, 0.85, 0.9), (0.9, 0.2, 0.5), (0.3, 0.8, 0.3)], 0.1)
        stripes = 1 + rng.uniform(0.1, 0.4) * np.sign(np.sin(uv[..., :1] * rng.uniform(15, 40) + uv[..., 1:] * rng.uniform(-30, 30)))
        return (base * stripes).astype(np.float32), ["opaque lenses", "bright novelty lenses"]
    white = colour(rng, [(0.95, 0.95, 0.92), (0.9, 0.9, 0.95)], 0.03)
    out = np.broadcast_to(white, (*uv.shape[:2], 3)).astype(np.float32)
    iris_colour = colour(rng, [(0.2, 0.35, 0.7), (0.25, 0.5, 0.25), (0.3, 0.18, 0.1), (0.05, 0.05, 0.05)], 0.06)
    iris, look = half_height * rng.uniform(0.4, 0.75), rng.normal(0, 0.07, 2)
    for centre in centres:
        away = np.hypot(*(uv[..., i] - centre[i] - look[i] for i in range(2)))
        out = blend(out, iris_colour, ((iris - away) * 40).clip(0, 1).astype(np.float32))
        out = blend(out, np.zeros(3, np.float32), ((iris * 0.5 - away) * 40).clip(0, 1).astype(np.float32))
        ball = np.hypot(*(uv[..., i] - centre[i] for i in range(2)))
        out = out * (1.05 - 0.5 * (ball / 0.5).clip(0, 1) ** 2)[..., None]
    return out.astype(np.float32), ["opaque lenses", "plastic eyeballs"]
