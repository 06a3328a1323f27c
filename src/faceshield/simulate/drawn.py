"""Drawn bona fide faces: people who do not exist, as photorealistic as plain NumPy gets in a few milliseconds.

A head is a relief on an ellipsoid. It is painted and lit in its own coordinates (`drawn_skin`, `drawn_paint`), turned by a
depth-dependent shift ("2.5-D"), and surrounded by layers in picture coordinates (`drawn_wear`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.simulate import drawn_wear as wear
from faceshield.simulate.drawn_paint import paint_head
from faceshield.simulate.drawn_person import Identity, Shot, sample_identity, sample_shot, traits
from faceshield.simulate.drawn_skin import (
    COLUMNS,
    ROWS,
    TEXEL,
    U0,
    V0,
    Eye,
    Mouth,
    Plane,
    brow_curve,
    ease,
    linear,
    on_outline,
    soft,
    tint,
)
from faceshield.simulate.portrait import FloatImage, Points, Portrait

SIZE = 320
"""Side of a drawn portrait, in pixels."""
BACKDROP = 0.5
"""Grey around the person; the matte is 0 there."""
Window = tuple[slice, slice]
WHOLE: Window = (slice(0, SIZE), slice(0, SIZE))
Style = Literal["skin", "mannequin", "resin"]
STYLES: tuple[Style, ...] = ("skin", "mannequin", "resin")


class View:
    """Maps points of the face to the picture, and back."""

    def __init__(self, who: Identity, shot: Shot) -> None:
        self.who, self.shot = who, shot
        cy, sy, cp, sp = np.cos(shot.yaw), np.sin(shot.yaw), np.cos(shot.pitch), np.sin(shot.pitch)
        turn = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
        nod = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
        self.rotation = nod @ turn
        """Face frame to camera frame."""
        c, s = np.cos(shot.roll), np.sin(shot.roll)
        self.spin = np.array([[c, -s], [s, c]])

    def depth(self, u: Plane, v: Plane) -> Plane:
        """Gentle relief by which the pose shifts points; its slopes are bounded, so that the shift can be inverted."""
        n = self.who.nose_length
        nose = 0.26 * self.who.nose_height * np.exp(-((u / 0.20) ** 2)) * np.exp(-(((v - n + 0.12) / 0.33) ** 2))
        return np.asarray(0.85 * np.exp(-0.9 * u * u - 0.12 * (v - 0.2) ** 2) + nose - 0.45, dtype=np.float32)

    def to_picture(self, points: NDArray[Any], depth: Plane | None = None) -> Points:
        """(N, 2) face coordinates to pixels; `depth` (N,) replaces the face's own relief."""
        u, v = points[:, 0], points[:, 1]
        z = self.depth(u, v) if depth is None else depth
        x, y = self._shift(u, v, z)
        xy = np.stack([x, y], axis=1) @ self.spin.T * self.shot.scale + np.asarray(self.shot.centre)
        return xy.astype(np.float32)

    def _shift(self, u: Plane, v: Plane, z: Plane) -> tuple[Plane, Plane]:
        r = self.rotation
        return u * r[0, 0] + z * r[0, 2], v * r[1, 1] + z * r[1, 2]

    def _unspun(self, step: int) -> tuple[Plane, Plane]:
        at = np.arange(SIZE // step, dtype=np.float32) * step + (step - 1) / 2
        x, y = np.meshgrid(at - self.shot.centre[0], at - self.shot.centre[1])
        c, s = self.spin[0, 0] / self.shot.scale, self.spin[1, 0] / self.shot.scale
        return (c * x + s * y).astype(np.float32), (c * y - s * x).astype(np.float32)

    def to_face(self) -> tuple[Plane, Plane]:
        """Face coordinates of every pixel, two (SIZE, SIZE) planes, by fixed-point iteration on a coarse grid."""
        x, y = self._unspun(4)
        r = self.rotation
        u, v = x, y
        for _ in range(10):
            z = self.depth(u, v)
            u, v = (x - z * r[0, 2]) / r[0, 0], (y - z * r[1, 2]) / r[1, 1]
        fine_x, fine_y = self._unspun(1)
        # only the departure from the plain grid is interpolated: it is smooth and fades out at the borders
        return fine_x + _enlarge(u - x), fine_y + _enlarge(v - y)

    def window(self, top: float, bottom: float, half: float) -> Window:
        """Pixels between two heights and within `half` of the face's middle, in face units."""
        x, y, scale = *self.shot.centre, self.shot.scale
        rows = slice(max(int(y + top * scale), 0), min(int(y + bottom * scale), SIZE))
        return rows, slice(max(int(x - half * scale), 0), min(int(x + half * scale), SIZE))

    def plane(self, z: float) -> tuple[Plane, Plane]:
        """Face coordinates of every pixel on the flat sheet at depth z."""
        x, y = self._unspun(1)
        r = self.rotation
        return ((x - z * r[0, 2]) / r[0, 0]).astype(np.float32), ((y - z * r[1, 2]) / r[1, 1]).astype(np.float32)


def _enlarge(plane: Plane) -> Plane:
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC))


class _Canvas:
    """Layers laid over each other; colours are multiplied by coverage, so edges carry no backdrop."""

    def __init__(self) -> None:
        self.colour = np.zeros((SIZE, SIZE, 3), dtype=np.float32)
        self.alpha = np.zeros((SIZE, SIZE), dtype=np.float32)

    def over(self, colour: Plane, cover: Plane, at: Window = WHOLE) -> None:
        below, alpha, keep = self.colour[at], self.alpha[at], 1.0 - cover
        below *= keep[..., None]
        below += colour * cover[..., None]
        alpha *= keep
        alpha += cover

    def shade(self, cover: Plane, shot: Shot, reach: float, strength: float, at: Window = WHOLE) -> None:
        """Soft shadow of a layer about to be laid on what lies below, `reach` pixels away from the light."""
        dx, dy = int(round(-shot.light[0] * reach)), int(round(-shot.light[1] * reach + 0.3 * reach))
        cast = np.roll(cover, (dy, dx), axis=(0, 1))
        self.colour[at] *= (1.0 - strength * np.clip(soft(cast, 5), 0.0, 1.0))[..., None]

    def finish(self) -> tuple[FloatImage, Plane]:
        image = np.full((SIZE, SIZE, 3), BACKDROP, dtype=np.float32)
        _, at = _where(self.alpha > 0.0)
        alpha = self.alpha[at][..., None]
        light = np.clip(self.colour[at] / np.maximum(alpha, 1e-3), 0.0, 1.0)
        shown = np.power(light, 1.0 / 2.2, out=light)
        image[at] += (shown - BACKDROP) * np.clip(alpha * 50.0, 0.0, 1.0)
        return image, np.clip(self.alpha, 0.0, 1.0)


def _sample(texture: Plane, u: Plane, v: Plane) -> Plane:
    """Bilinear look-up of a face texture (ROWS, COLUMNS, C) at face coordinates."""
    x = np.clip((u - U0) * TEXEL, 0.0, COLUMNS - 1.001)
    y = np.clip((v - V0) * TEXEL, 0.0, ROWS - 1.001)
    column, row = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - column)[..., None], (y - row)[..., None]
    flat = texture.reshape(ROWS * COLUMNS, -1)
    at = row * COLUMNS + column
    upper = flat[at] * (1.0 - fx) + flat[at + 1] * fx
    lower = flat[at + COLUMNS] * (1.0 - fx) + flat[at + COLUMNS + 1] * fx
    return np.asarray(upper * (1.0 - fy) + lower * fy, dtype=np.float32)


def _where(mask: NDArray[np.bool_], at: Window = WHOLE) -> tuple[Window, Window]:
    """Smallest window around a mask: inside the window `at` that the mask covers, and in the picture."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inner = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    top, left = at[0].start, at[1].start
    return inner, (
        slice(top + inner[0].start, top + inner[0].stop),
        slice(left + inner[1].start, left + inner[1].stop),
    )


def _ears(canvas: _Canvas, who: Identity, shot: Shot, around: wear.Around, around_at: Window) -> None:
    skin = linear(who.skin) * tint(1.0, 0.86, 0.84)
    for side in (-1.0, 1.0):
        out = around.u * side
        near = (out > 0.8) & (out < 1.2) & (np.abs(around.v - 0.17) < 0.42)
        if not near.any():
            continue
        inner, at = _where(near, around_at)
        out, v = out[inner], around.v[inner]
        du, dv = (out - 1.005 * who.cheek) / 0.145, (v - 0.17) / (0.31 - 0.05 * (out - 1.0))
        r = np.hypot(du, dv)
        bowl = np.hypot((out - 0.99) / 0.07, (v - 0.20) / 0.15)
        tone = (
            0.85
            - 0.42 * ease(bowl, 1.15, 0.4)
            + 0.12 * np.exp(-(((r - 0.85) / 0.12) ** 2))
            - 0.22 * np.exp(-(((r - 0.66) / 0.10) ** 2))
        )
        facing = np.clip(0.55 + 0.55 * side * shot.light[0], 0.15, 1.2)
        canvas.over(skin * tone[..., None] * (0.7 * shot.ambient + 0.85 * shot.key * facing), ease(r, 1.04, 0.92), at)


def _even(start: float, stop: float, count: int) -> Plane:
    return np.linspace(start, stop, count, dtype=np.float32)


def _face_points(who: Identity, shot: Shot) -> Points:
    """The 79 landmarks in face coordinates, in the order of `LANDMARKS`."""
    line = who.hair_line - 0.04
    right = np.array([(0.30, line), (0.585, line + 0.07), (0.78, line + 0.25), (0.87, -0.55), (0.95, -0.26)])
    hairline = np.concatenate([right[::-1] * (-1, 1), [(0.0, line)], right])
    drop = who.chin
    below = [(1.0, 0.08), (1.0, 0.41), (0.94, 0.76), (0.89, 0.97 + 0.1 * drop), (0.80, 1.19 + 0.4 * drop),
             (0.59, 1.44 + 0.7 * drop), (0.33, 1.60 + drop)]  # fmt: skip
    edge_right = np.array([*below, (0.0, 1.67 + drop)])
    edge_left = edge_right[-2::-1] * (-1, 1)
    edge = on_outline(who, np.concatenate([edge_right, edge_left]).astype(np.float32))
    hairline = _not_beyond(who, hairline)
    eyes = []
    for side in (-1, 1):
        eye = Eye(who, shot, side)
        t_up, t_low = _even(-1.0, 1.0, 5), _even(0.5, -0.5, 3)
        upper, lower = eye.lids(t_up)[0], eye.lids(t_low)[1]
        t, v = np.concatenate([t_up, t_low]), np.concatenate([upper, lower])
        eyes.append(np.stack([eye.u + t * eye.half, v], axis=1))
    brows = [brow_curve(who, shot, -1)[::-1], brow_curve(who, shot, 1)]
    n = who.nose_length
    down = np.array([(0.10, -0.07), (0.065, 0.05), (0.06, 0.18), (0.075, 0.31), (0.10, n - 0.20)])
    nose = np.concatenate([down * (-1, 1), [(0.0, n)], down])
    mouth = Mouth(who, shot)
    t_up, t_low = _even(-1.0, 1.0, 7), _even(2 / 3, -2 / 3, 5)
    lips = np.concatenate([
        np.stack([t_up * mouth.half, mouth.curves(t_up)[0]], axis=1),
        np.stack([t_low * mouth.half, mouth.curves(t_low)[3]], axis=1)
    ])  # fmt: skip
    pupils = [(Eye(who, shot, side).iris_u, Eye(who, shot, side).iris_v) for side in (-1, 1)]
    points = np.concatenate([hairline, edge, *eyes, *brows, nose, lips, np.asarray(pupils)])
    return points.astype(np.float32)


def _not_beyond(who: Identity, points: NDArray[Any]) -> Points:
    """Moves points that lie outside the head onto its outline."""
    limit = on_outline(who, points.astype(np.float32))
    beyond = np.hypot(points[:, 0], points[:, 1] - 0.1) > np.hypot(limit[:, 0], limit[:, 1] - 0.1)
    return np.where(beyond[:, None], limit, points).astype(np.float32)


def draw_portrait(identity: np.random.Generator, shot: np.random.Generator, subject: str, style: Style = "skin") -> Portrait:
    """Draws one picture of one person.

    Args:
        identity: source of everything two pictures of the person share; the same seed gives the same person.
        shot: source of pose, light, expression and clothes.
        subject: name of the identity, stored in the portrait.
        style: "skin" for a living person; "mannequin" (glossy painted plastic) or "resin" (one cast material) for the same head
            as an object.

    Returns:
        A portrait of `SIZE` x `SIZE` pixels: the face about 165 pixels high, grey outside its matte.

    Raises:
        ValueError: an unknown style.
    """
    if style not in STYLES:
        raise ValueError(f"drawing style {style!r} is unknown — expected one of {', '.join(STYLES)}")
    who, now = sample_identity(identity), sample_shot(shot)
    if style == "resin":
        # one casting: the ears, the neck and the face are the same pale material, without hair
        who = replace(
            who,
            skin=(0.45 * who.skin + 0.45).astype(np.float32),
            headscarf=False,
            hair_style="bald",
            beard="",
        )
        now = replace(now, hat="", open=0.0, eye_open=0.0)
    elif who.headscarf:
        now = replace(now, hat="")
    view = View(who, now)
    low = SIZE if who.headscarf or who.hair_style in ("long", "fringe", "curly") else 2.1
    around_at = view.window(-2.3, low, 1.85 if now.hat == "brimmed" else 2.1 if who.headscarf else 1.7)
    u, v = (plane[around_at] for plane in view.to_face())
    around = wear.Around(who, u, v)
    canvas = _Canvas()
    locks = None if who.headscarf else wear.hair(who, now, around, style)
    if locks is not None:
        canvas.over(*locks[0], around_at)
    scarf = wear.headscarf(who, now, around) if who.headscarf else None
    _lay_body(canvas, who, now, view)
    if scarf is not None:
        canvas.over(*scarf[0], around_at)

    light, toward = now.light @ view.rotation, view.rotation[2]
    if not who.headscarf:
        _ears(canvas, who, now, around, around_at)
    texture, cover = paint_head(who, now, light.astype(np.float32), toward.astype(np.float32), style)
    head = np.concatenate([texture, cover[..., None]], axis=-1)
    inner, at = _where(around.outside < 0.1, around_at)
    sampled = _sample(head, u[inner], v[inner])
    canvas.over(sampled[..., :3], sampled[..., 3], at)

    if locks is not None:
        canvas.shade(locks[1][1], now, 4.0, 0.35, around_at)
        canvas.over(*locks[1], around_at)
    if scarf is not None or now.hat:
        layer = scarf[1] if scarf is not None else wear.hat(now, around)
        canvas.shade(layer[1], now, 7.0, 0.40, around_at)
        canvas.over(*layer, around_at)
    if who.glasses and now.wear_glasses:
        _lay_glasses(canvas, who, now, view)
    image, matte = canvas.finish()
    landmarks = view.to_picture(_face_points(who, now))
    light_x, light_y = (0.9 * float(value) / float(now.light[2]) for value in now.light[:2])  # `surface.shade` has depth 0.9
    return Portrait(image, landmarks, matte, subject, "drawn", traits(who, now, style), (light_x, light_y))


def _lay_body(canvas: _Canvas, who: Identity, shot: Shot, view: View) -> None:
    """Lays neck, chest and clothes, which follow the head only in part."""
    chin = 1.68 + who.chin
    foot = view.to_picture(np.array([[0.0, chin]]), depth=np.zeros(1, dtype=np.float32))[0]
    middle = 0.55 * foot[0] + 0.45 * shot.centre[0]
    top = int(foot[1] - 0.95 * shot.scale)
    at: Window = (slice(top, SIZE), slice(0, SIZE))
    columns, rows = np.arange(SIZE, dtype=np.float32), np.arange(top, SIZE, dtype=np.float32)
    y = ((rows - foot[1]) / shot.scale + chin).astype(np.float32)[:, None]
    lean = np.clip(chin + 0.5 - y, 0.0, 1.0) * ((foot[0] - middle) / shot.scale)
    x = ((columns - middle) / shot.scale)[None, :] - lean
    neck, clothes = wear.body(who, shot, x.astype(np.float32), np.broadcast_to(y, x.shape), chin)
    canvas.over(*neck, at)
    canvas.over(*clothes, at)


def _lay_glasses(canvas: _Canvas, who: Identity, shot: Shot, view: View) -> None:
    depth = 0.36
    at = view.window(-0.75, 0.85, 1.45)
    u, v = (plane[at] for plane in view.plane(depth))
    outer = 0.455 + who.lens[0]
    ends = np.array([(-outer, -0.06), (-1.0, 0.0), (outer, -0.06), (1.0, 0.0)])
    own = view.depth(ends[:, 0], ends[:, 1])
    hinge = view.to_picture(ends, depth=np.array([depth, own[1], depth, own[3]], dtype=np.float32))
    hinge -= np.array([at[1].start, at[0].start], dtype=np.float32)
    frame, glare, lenses = wear.spectacles(who, shot, u, v, hinge)
    canvas.shade(frame[1], shot, 5.0, 0.45, at)
    canvas.colour[at] *= (1.0 - 0.06 * lenses)[..., None]
    canvas.colour[at] += glare[..., None]
    canvas.over(*frame, at)
