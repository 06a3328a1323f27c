"""Partial attacks: a strip of printed paper held over the eyes, or over the lower face.

    attacked = apply_eye(scene, rng)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate.attacks.paint import cast_shadow, chance, hand_cut, paper_grain, pick, printed, shapes, strokes, unique
from faceshield.simulate.attacks.surface import Frame, ambient_light, exposure, portrait_texture
from faceshield.simulate.portrait import Attacked, Scene, blend, bounding_box

EYE_VARIANTS = ("partial-eye/own-eyes", "partial-eye/shifted-eyes", "partial-eye/grey-eyes")
MOUTH_VARIANTS = ("partial-mouth/own-mouth", "partial-mouth/shifted-mouth", "partial-mouth/grey-mouth")
VARIANTS = EYE_VARIANTS + MOUTH_VARIANTS
CUES = (
    "paper over the eyes", "paper over the mouth", "a cut paper edge", "printed eyes", "a printed mouth",
    "a paper shadow", "grey printed skin",
)  # fmt: skip


def apply_eye(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """A paper strip with printed eyes across the eyes."""
    name = pick(rng, EYE_VARIANTS, variant)
    half, top, bottom = rng.uniform(0.95, 1.35), rng.uniform(-0.62, -0.34), rng.uniform(0.26, 0.5)
    strip = [(-half, top), (0, top + rng.normal(0, 0.04)), (half, top), (half, bottom), (0, bottom), (-half, bottom)]
    return _strip(scene, rng, name, np.asarray(strip), ["paper over the eyes", "printed eyes"])


def apply_mouth(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """A paper piece with a printed mouth over the lower face, straight or cut along the jaw."""
    name = pick(rng, MOUTH_VARIANTS, variant)
    half, top, bottom = rng.uniform(0.6, 1.2), rng.uniform(0.35, 0.75), rng.uniform(1.45, 2.1)
    foot = half * rng.uniform(0.55, 1.0)
    piece = [(-half, top), (0, top + rng.normal(0, 0.05)), (half, top), (foot, bottom), (0, bottom + 0.05), (-foot, bottom)]
    return _strip(scene, rng, name, np.asarray(piece), ["paper over the mouth", "a printed mouth"])


def _strip(scene: Scene, rng: np.random.Generator, name: str, uv: NDArray[np.float64], cues: list[str]) -> Attacked:
    frame = Frame(scene.landmarks)
    tilt = rng.normal(0, 0.05)
    turn = np.asarray([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    centre = uv.mean(axis=0)
    edge = frame.px((uv - centre) @ turn.T + centre + rng.normal(0, 0.03, 2))
    mask = shapes([hand_cut(edge, rng, 0.012 * frame.span)])
    scale = rng.uniform(0.85, 1.18, 2) if name.endswith(("shifted-eyes", "shifted-mouth")) else rng.uniform(0.94, 1.06, 2)
    shift = rng.normal(0, 0.14 if "shifted" in name else 0.04, 2)
    grey = "grey" in name
    texture = portrait_texture(scene, frame, mirror=chance(rng, 0.3), scale=scale, shift=shift)
    lamp = exposure(scene, frame)
    ink = printed(texture, rng, grey=grey) * paper_grain(rng, rng.uniform(0.005, 0.02))[..., None]
    bend = 1 + rng.uniform(-0.12, 0.12) * frame.uv[..., 0] + rng.uniform(-0.06, 0.06) * frame.uv[..., 0] ** 2
    paper = ink * np.float32(lamp * rng.uniform(0.85, 1.1)) * (ambient_light(scene, frame) ** 0.5 * bend)[..., None]
    distance = frame.span * rng.uniform(0.03, 0.12)
    image = cast_shadow(scene.image, mask, scene.light_xy, distance, rng.uniform(0.25, 0.6))
    image = blend(image, paper, mask)
    # the cut shows the paper's white thickness
    rim = strokes([np.vstack([edge, edge[:1]])], max(0.8, frame.span * rng.uniform(0.01, 0.03)))
    image = blend(image, np.full(3, lamp, np.float32), rim * rng.uniform(0.3, 0.9))
    cues = [*cues, "a cut paper edge", *(["grey printed skin"] if grey else []), *(["a paper shadow"] if distance > 5 else [])]
    box = bounding_box(mask)
    return Attacked(image.clip(0, 1), (box,) if box else (), unique(cues), name, scene.landmarks)
