"""Hands that hold a flat medium: tapered fingers in front of its edge, palm and forearm behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceshield.simulate.attacks.recapture import Placement, chance
from faceshield.simulate.portrait import CANVAS, Box, FloatImage

_SKINS = (
    (0.93, 0.76, 0.67),
    (0.86, 0.66, 0.55),
    (0.76, 0.55, 0.42),
    (0.6, 0.41, 0.3),
    (0.42, 0.28, 0.21),
    (0.3, 0.2, 0.16),
)
_SIDES = ("bottom", "left", "right", "top")


@dataclass(frozen=True)
class Limb:
    """A tapered capsule: a finger, a palm or a forearm. Points in canvas pixels, radii at both ends, colour
    in 0..1.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    start_radius: float
    end_radius: float
    colour: tuple[float, float, float]
    nail: bool = False


@dataclass(frozen=True)
class Grip:
    """Limbs behind the medium and in front of it."""

    behind: tuple[Limb, ...]
    front: tuple[Limb, ...]


def paint_limb(image: FloatImage, limb: Limb, light_xy: tuple[float, float], exposure: float = 1.0) -> None:
    """Paint `limb` onto `image` in place, with a contact shadow, round shading and, if it has one, a nail."""
    thick = max(limb.start_radius, limb.end_radius) * 1.5 + 2
    xs, ys = sorted((limb.start[0], limb.end[0])), sorted((limb.start[1], limb.end[1]))
    left, right = int(max(0, xs[0] - thick)), int(min(CANVAS, xs[1] + thick))
    top, bottom = int(max(0, ys[0] - thick)), int(min(CANVAS, ys[1] + thick))
    if left >= right or top >= bottom:
        return
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    dx, dy = limb.end[0] - limb.start[0], limb.end[1] - limb.start[1]
    length = max(float(np.hypot(dx, dy)), 1e-3)
    ux, uy = dx / length, dy / length
    along = (x - limb.start[0]) * ux + (y - limb.start[1]) * uy
    share = (along / length).clip(0, 1)
    radius = limb.start_radius + (limb.end_radius - limb.start_radius) * share
    off_x, off_y = x - (limb.start[0] + share * dx), y - (limb.start[1] + share * dy)
    distance = np.sqrt(off_x**2 + off_y**2)
    region = image[top:bottom, left:right]
    region *= (1 - 0.4 * ((radius * 1.45 - distance) / (radius * 0.6)).clip(0, 1))[..., None]
    rise = np.sqrt((1 - (distance / radius) ** 2).clip(0, 1))
    lateral = (off_x * light_xy[0] + off_y * light_xy[1]) / radius
    shade = 0.5 + 0.46 * rise + 0.22 * lateral
    # Joints fold the skin: two faint lines across the finger.
    if limb.nail:
        shade = shade - 0.1 * np.exp(-(((share - 0.5) * length / 1.3) ** 2)) * rise
    flesh = np.array(limb.colour, np.float32) * exposure
    colour = flesh * shade[..., None]
    colour[..., 0] += 0.03 * share * exposure
    if limb.nail:
        across = -off_x * uy + off_y * ux
        tip = (along - (length + 0.12 * limb.end_radius)) / (0.78 * limb.end_radius)
        nail = (1.6 * (1 - tip**2 - (across / (0.62 * limb.end_radius)) ** 2)).clip(0, 1)[..., None] * 0.75
        colour += (flesh * np.array([1.12, 1.02, 1.04], np.float32) + 0.1 * exposure - colour) * nail
    alpha = (radius - distance + 0.5).clip(0, 1)[..., None]
    region += (colour.clip(0, 1) - region) * alpha


def _edge(placement: Placement, outer: Box, side: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A point on one side of the medium and the unit direction out of it, in canvas pixels."""
    x0, y0, x1, y1 = outer
    inward = 0.05 * max(x1 - x0, y1 - y0)
    x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    pairs = {
        "bottom": ((x, y1), (x, y1 - inward)),
        "top": ((x, y0), (x, y0 + inward)),
        "left": ((x0, y), (x0 + inward, y)),
        "right": ((x1, y), (x1 - inward, y)),
    }
    edge, inner = placement.to_canvas(np.array(pairs[side])).astype(np.float64)
    out = edge - inner
    return edge, out / max(float(np.hypot(*out)), 1e-6)


def _point(xy: np.ndarray) -> tuple[float, float]:
    return float(xy[0]), float(xy[1])


def grip(placement: Placement, outer: Box, width_cm: float, rng: np.random.Generator, wrap: bool = False) -> Grip | None:
    """Draw one or two hands on those edges of the medium that are in view; None when no edge is.

    Args:
        placement: the pose of the medium.
        outer: the medium in sheet pixels.
        width_cm: true width of the medium; fingers are drawn to that measure.
        rng: source of all randomness.
        wrap: fingertips come round the opposite side too (a hand around a phone).
    """
    tone = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    skin = (float(tone[0]), float(tone[1]), float(tone[2]))
    cloth = rng.uniform(0.05, 0.75, 3)
    sleeve = (float(cloth[0]), float(cloth[1]), float(cloth[2])) if chance(rng, 0.5) else skin
    radius = float(np.clip(0.95 * (outer[2] - outer[0]) * placement.scale / width_cm, 7.0, 21.0)) * rng.uniform(0.85, 1.1)
    order = (
        list(rng.permutation(_SIDES[1:3])) if wrap else list(rng.choice(_SIDES, 4, replace=False, p=[0.4, 0.27, 0.27, 0.06]))
    )
    hands = 2 if not wrap and chance(rng, 0.35) else 1
    behind: list[Limb] = []
    front: list[Limb] = []
    for side in order:
        for share in rng.uniform(0.12, 0.9, 4):
            edge, out = _edge(placement, outer, side, float(share))
            if not np.all((edge > 6) & (edge < CANVAS - 6)):
                continue
            lean = rng.uniform(-0.6, 0.6)
            turned = np.array([out[0] * np.cos(lean) - out[1] * np.sin(lean), out[0] * np.sin(lean) + out[1] * np.cos(lean)])
            palm = edge + out * radius * rng.uniform(1.2, 2.2)
            wrist = palm + (out + np.array([0.0, rng.uniform(0.3, 1.2)])) * radius * 3.0
            away = wrist + (wrist - palm) / max(float(np.hypot(*(wrist - palm))), 1e-6) * 1.6 * CANVAS
            behind.append(Limb(_point(wrist), _point(away), radius * 1.8, radius * 2.6, sleeve))
            behind.append(Limb(_point(palm), _point(wrist), radius * 2.2, radius * 1.8, skin))
            tip = edge - turned * radius * rng.uniform(0.8, 2.6)
            front.append(Limb(_point(palm + turned * radius), _point(tip), radius * 1.15, radius * 0.92, skin, nail=True))
            if wrap:
                opposite = "left" if side == "right" else "right"
                for step in range(int(rng.integers(2, 5))):
                    knuckle, outward = _edge(placement, outer, opposite, float(np.clip(share - 0.05 + 0.13 * step, 0.02, 0.98)))
                    start, end = (
                        knuckle + outward * radius * 0.9,
                        knuckle - outward * radius * rng.uniform(0.1, 0.7),
                    )
                    front.append(Limb(_point(start), _point(end), radius * 0.75, radius * 0.68, skin))
            hands -= 1
            break
        if hands == 0:
            break
    return Grip(tuple(behind), tuple(front)) if front else None


def fingertip_from_border(rng: np.random.Generator) -> Grip:
    """One or two fingertips that reach into a view without edges, from the canvas border."""
    tone = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    skin = (float(tone[0]), float(tone[1]), float(tone[2]))
    side, radius = int(rng.integers(4)), rng.uniform(12, 24)
    position, lean = rng.uniform(0.1, 0.9) * CANVAS, rng.uniform(-0.5, 0.5)
    front: list[Limb] = []
    for step in range(1 + int(chance(rng, 0.4))):
        depth, at = rng.uniform(24, 52), position + step * radius * 2.1
        near, far = (at, depth), (at + lean * 90, -60.0)
        if side >= 2:
            near, far = (near[1], near[0]), (far[1], far[0])
        if side % 2:
            near, far = (CANVAS - near[0], CANVAS - near[1]), (CANVAS - far[0], CANVAS - far[1])
        front.append(Limb(far, near, radius * 1.2, radius * 0.9, skin, nail=True))
    return Grip((), tuple(front))
