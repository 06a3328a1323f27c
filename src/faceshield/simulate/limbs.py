"""Fingers, palms and forearms as tapered capsules, of whoever holds a medium or of the person in view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceshield.simulate.portrait import CANVAS, FloatImage

SKINS = (
    (0.93, 0.76, 0.67),
    (0.86, 0.66, 0.55),
    (0.76, 0.55, 0.42),
    (0.6, 0.41, 0.3),
    (0.42, 0.28, 0.21),
    (0.3, 0.2, 0.16),
)


@dataclass(frozen=True)
class Limb:
    """A tapered capsule: a finger, a palm or a forearm. Points in canvas pixels, radii at both ends, colour in 0..1."""

    start: tuple[float, float]
    end: tuple[float, float]
    start_radius: float
    end_radius: float
    colour: tuple[float, float, float]
    nail: bool = False


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
