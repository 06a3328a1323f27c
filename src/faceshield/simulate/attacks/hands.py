"""Hands that hold a flat medium: tapered fingers in front of it, palm and forearm behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceshield.simulate.attacks.recapture import Placement
from faceshield.simulate.holder import Colour, Holder
from faceshield.simulate.limbs import SKINS, Limb, paint_limb
from faceshield.simulate.paint import chance
from faceshield.simulate.portrait import CANVAS, WHOLE_CANVAS, Box, FloatImage

__all__ = ["Grip", "fingertip_from_border", "grip", "grip_both_sides", "grip_of_holder", "in_front", "paint_limb"]

_SIDES = ("bottom", "left", "right", "top")


@dataclass(frozen=True)
class Grip:
    """Limbs behind the medium and in front of it."""

    behind: tuple[Limb, ...]
    front: tuple[Limb, ...]


def _edge(placement: Placement, outer: Box, side: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A point on one side of the medium and the outward unit direction there, in canvas pixels."""
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


def grip(
    placement: Placement,
    outer: Box,
    width_cm: float,
    rng: np.random.Generator,
    wrap: bool = False,
    colours: tuple[Colour, Colour] | None = None,
) -> Grip | None:
    """Draws one or two hands on edges of the medium that are in view; None if no edge is.

    Args:
        placement: the pose of the medium.
        outer: the medium in sheet pixels.
        width_cm: physical width of the medium, which sets the scale of the fingers.
        rng: source of all randomness.
        wrap: one hand whose fingertips also reach around the opposite side, as around a phone.
        colours: skin and sleeve; None draws them.
    """
    tone = np.array(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    skin = (float(tone[0]), float(tone[1]), float(tone[2]))
    cloth = rng.uniform(0.05, 0.75, 3)
    sleeve = (float(cloth[0]), float(cloth[1]), float(cloth[2])) if chance(rng, 0.5) else skin
    if colours is not None:
        skin, sleeve = colours
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
            if not placement.in_view(edge, 6):
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


def grip_of_holder(placement: Placement, outer: Box, width_cm: float, holder: Holder, rng: np.random.Generator) -> Grip | None:
    """The grip of a person who holds the medium at the chest: by its sides (three in five), or one or two hands anywhere."""
    if chance(rng, 0.6):
        return grip_both_sides(placement, outer, width_cm, holder.skin, holder.sleeve, rng)
    return grip(placement, outer, width_cm, rng, colours=(holder.skin, holder.sleeve))


def grip_both_sides(
    placement: Placement, outer: Box, width_cm: float, skin: Colour, sleeve: Colour, rng: np.random.Generator
) -> Grip | None:
    """A holder's hands at the left and right side of the medium, or only one of them; None if there is none in view.

    Either three or four fingers lie in front of the medium and the thumb behind, or the thumb in front. Arguments as in
    `grip`; `skin` and `sleeve` are the holder's.
    """
    radius = float(np.clip(0.95 * (outer[2] - outer[0]) * placement.scale / width_cm, 7.0, 21.0)) * rng.uniform(0.85, 1.1)
    height, fingers_before = rng.uniform(0.3, 0.85), chance(rng, 0.6)
    behind: list[Limb] = []
    front: list[Limb] = []
    for side in _SIDES[1:3]:
        if chance(rng, 0.12):
            continue
        for share in np.clip(height + rng.normal(0, [0.05, 0.12, 0.2, 0.3]), 0.05, 0.95):
            edge, out = _edge(placement, outer, side, float(share))
            if placement.in_view(edge, 3):
                break
        else:
            continue
        down = np.array([-out[1], out[0]]) * (1 if out[0] > 0 else -1)  # along the edge, towards the ground
        palm = edge + out * radius * rng.uniform(1.6, 2.6)
        wrist = palm + (out * rng.uniform(0.5, 1.1) + np.array([0.0, rng.uniform(0.6, 1.3)])) * radius * 3.2
        elbow = wrist + (wrist - palm) / max(float(np.hypot(*(wrist - palm))), 1e-6) * 1.6 * CANVAS
        behind.append(Limb(_point(wrist), _point(elbow), radius * 1.8, radius * 2.7, sleeve))
        behind.append(Limb(_point(palm), _point(wrist), radius * 2.4, radius * 1.8, skin))
        if fingers_before:
            for step in range(int(rng.integers(3, 5))):
                knuckle = edge + down * radius * (1.75 * step - 2.6) + out * radius * rng.uniform(1.6, 2.4)
                tip = knuckle - out * radius * rng.uniform(2.4, 5.0) + down * radius * rng.uniform(-0.4, 0.5)
                front.append(Limb(_point(knuckle), _point(tip), radius, radius * 0.82, skin, nail=chance(rng, 0.5)))
        else:
            lean = -out * np.cos(lift := rng.uniform(-0.2, 0.9)) - down * np.sin(lift)
            tip = edge + lean * radius * rng.uniform(1.2, 3.2)
            front.append(Limb(_point(palm), _point(tip), radius * 1.25, radius * 0.95, skin, nail=True))
    return Grip(tuple(behind), tuple(front)) if front else None


def fingertip_from_border(rng: np.random.Generator, window: Box = WHOLE_CANVAS) -> Grip:
    """One or two fingertips that reach from the picture's border into a view that shows no edge of the medium."""
    tone = np.array(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.92, 1.06, 3)
    skin = (float(tone[0]), float(tone[1]), float(tone[2]))
    side, radius = int(rng.integers(4)), rng.uniform(12, 24)
    wide, high = window[2] - window[0], window[3] - window[1]
    position, lean = rng.uniform(0.1, 0.9) * (high if side >= 2 else wide), rng.uniform(-0.5, 0.5)
    front: list[Limb] = []
    for step in range(1 + int(chance(rng, 0.4))):
        depth, at = rng.uniform(24, 52), position + step * radius * 2.1
        near, far = (at, depth), (at + lean * 90, -60.0)
        if side >= 2:
            near, far = (near[1], near[0]), (far[1], far[0])
        if side % 2:
            near, far = (wide - near[0], high - near[1]), (wide - far[0], high - far[1])
        near, far = ((x + window[0], y + window[1]) for x, y in (near, far))
        front.append(Limb(far, near, radius * 1.2, radius * 0.9, skin, nail=True))
    return Grip((), tuple(front))


def in_front(
    image: FloatImage,
    grip: Grip | None,
    light_xy: tuple[float, float],
    exposures: tuple[float, float],
    rng: np.random.Generator,
) -> FloatImage:
    """Paints the fingers in front of the medium onto `image`, in place, each with a brightness drawn from `exposures`."""
    for limb in grip.front if grip else ():
        paint_limb(image, limb, light_xy, rng.uniform(*exposures))
    return image
