"""The head of a drawn face, painted and lit in face coordinates: skin, relief, eyes, brows, mouth, beard.

Everything is painted frontally on one texture (`TEXEL` texels to a face unit) together with its relief. The
light is turned into the frame of the face instead of the face into the frame of the light, so that only the
finished colours are resampled later.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faceshield.simulate.drawn_person import Identity, Shot

Plane = NDArray[Any]
"""(H, W) or (H, W, 3) float32."""

TEXEL = 72.0
U0, V0 = -1.22, -1.65
COLUMNS, ROWS = 176, 260  # both multiples of 4: the shadow march works on every fourth texel
U: Plane = (np.arange(COLUMNS, dtype=np.float32) / TEXEL + U0)[None, :].astype(np.float32)
V: Plane = (np.arange(ROWS, dtype=np.float32) / TEXEL + V0)[:, None].astype(np.float32)
CENTRE_V = 0.1
ANGLES = 360


def tint(*rgb: float) -> Plane:
    """A colour in linear light, (3,) float32."""
    return np.array(rgb, dtype=np.float32)


def linear(colour: Plane | tuple[float, ...]) -> Plane:
    """sRGB to (about) linear light."""
    return np.asarray(np.power(np.asarray(colour, dtype=np.float32), 2.2), dtype=np.float32)


def ease(x: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, smooth between; `high` may be below `low`."""
    t = np.clip((x - low) * (1.0 / (high - low)), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def soft(plane: Plane, factor: int) -> Plane:
    """`plane` blurred over about `factor` texels, by shrinking and enlarging."""
    height, width = plane.shape
    small = Image.fromarray(plane).resize((max(2, width // factor), max(2, height // factor)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Plane:
    """Smooth noise of unit deviation at its knots, (H, W), with `cells` (down, across) blobs."""
    coarse = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


@lru_cache(maxsize=1)
def _polar() -> tuple[Plane, NDArray[np.intp]]:
    """Distance of each texel from the centre of the head and its angle as an index into the outline table."""
    dv = V - CENTRE_V
    angle = np.arctan2(np.broadcast_to(dv, (ROWS, COLUMNS)), np.broadcast_to(U, (ROWS, COLUMNS)))
    return np.hypot(U, dv).astype(np.float32), angle_index(angle)


def angle_index(angle: Plane) -> NDArray[np.intp]:
    """Index of an angle (radians, from arctan2) in a table of `ANGLES`."""
    return np.asarray((angle * (ANGLES / (2 * np.pi)) + ANGLES).astype(np.int32) % ANGLES, dtype=np.intp)


@lru_cache(maxsize=8)
def outline(who: Identity) -> Plane:
    """Radius of the head about (0, `CENTRE_V`) at each angle, (ANGLES,): skull and jaw without ears."""
    full, jaw = 1.0 + 0.02 * who.fullness, who.jaw + 0.035 * who.fullness
    v = np.array([-1.43, -1.38, -1.22, -1.0, -0.7, -0.3, 0.1, 0.45, 0.8, 1.0, 1.2, 1.43, 1.58, 1.65, 1.68])
    w = np.array([0.0, 0.28, 0.58, 0.79, 0.92, 0.97, 1.0 * who.cheek * full, 0.985 * who.cheek * full,
                  0.93 * jaw, 0.87 * jaw, 0.775 * jaw, 0.585 * jaw, 0.37 * jaw, 0.18, 0.0])  # fmt: skip
    v = np.where(v > 0.9, v + who.chin * (v - 0.9) / 0.78, v)
    v = np.where(v < -0.7, v + who.skull * (v + 0.7) / -0.73, v)
    fine = np.linspace(v[0], v[-1], 200)
    half = np.interp(fine, v, w)
    angle = np.concatenate([np.arctan2(fine - CENTRE_V, half), np.arctan2(fine - CENTRE_V, -half)])
    skew = 1.0 + who.asymmetry
    radius = np.concatenate([np.hypot(half * skew, fine - CENTRE_V), np.hypot(half / skew, fine - CENTRE_V)])
    order = np.argsort(angle)
    grid = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    table = np.interp(np.where(grid > np.pi, grid - 2 * np.pi, grid), angle[order], radius[order])
    kernel = np.hanning(15)
    table = np.convolve(np.concatenate([table[-7:], table, table[:7]]), kernel / kernel.sum(), mode="valid")
    return table.astype(np.float32)


def on_outline(who: Identity, points: Plane) -> Plane:
    """Points moved along their ray from the centre of the head onto its outline, (N, 2)."""
    d = points - np.array([0.0, CENTRE_V], dtype=np.float32)
    r = outline(who)[angle_index(np.arctan2(d[:, 1], d[:, 0]))]
    return np.asarray(d * (r / np.hypot(d[:, 0], d[:, 1]))[:, None] + np.array([0.0, CENTRE_V]), dtype=np.float32)


class Strokes:
    """Anti-aliased lines in face coordinates, gathered into one mask."""

    def __init__(self) -> None:
        self._canvas = Image.new("L", (COLUMNS * 2, ROWS * 2), 0)
        self._draw = ImageDraw.Draw(self._canvas)

    def line(self, points: NDArray[np.floating], width: float, value: float = 1.0) -> None:
        """Adds a polyline of (N, 2) face coordinates, `width` in face units."""
        xy = ((points - (U0, V0)) * (2 * TEXEL)).ravel().tolist()
        self._draw.line(xy, fill=int(255 * value), width=max(1, round(width * 2 * TEXEL)), joint="curve")

    def mask(self) -> Plane:
        """(ROWS, COLUMNS) in 0..1."""
        return np.asarray(self._canvas.reduce(2), dtype=np.float32) / 255.0


@lru_cache(maxsize=4)
def _spread(count: int) -> Plane:
    """Lagrange weights, (9, count): nine even steps along the curve through `count` evenly spaced knots."""
    t, knots = np.linspace(0.0, 1.0, 9), np.linspace(0.0, 1.0, count)
    weights = np.ones((9, count))
    for j in range(count):
        for m in range(count):
            if m != j:
                weights[:, j] *= (t - knots[m]) / (knots[j] - knots[m])
    return weights.astype(np.float32)


def arc(*points: tuple[float, float]) -> Plane:
    """A smooth curve through a few points, (9, 2)."""
    return np.asarray(_spread(len(points)) @ np.asarray(points, dtype=np.float32), dtype=np.float32)


class Eye:
    """Lid curves of one eye; `side` -1 is the viewer's left."""

    def __init__(self, who: Identity, shot: Shot, side: int) -> None:
        self.side, self.u, self.half = side, side * who.eye_u + who.asymmetry, who.eye_half
        squeeze = 1.0 - 0.28 * max(shot.smile, 0.0)
        openness = max(shot.eye_open, 0.04) * (squeeze + 0.9 * shot.brow_lift)
        self.up, self.low, self.tilt = (
            who.eye_open * 1.15 * openness,
            0.048 * min(openness, 1.0),
            who.eye_tilt,
        )
        self.iris_u, self.iris_v = self.u + shot.gaze[0], shot.gaze[1] - 0.012

    def lids(self, t: Plane) -> tuple[Plane, Plane]:
        """v of the upper and the lower lid at t in -1..1, t = -1 the viewer's left corner."""
        arch = np.clip(1.0 - np.abs(t) ** 2.1, 0.0, None)
        inner = t * self.side
        base = 0.012 - self.tilt * inner
        return base - self.up * arch * (1.0 - 0.16 * inner), base + self.low * arch * (1.0 + 0.18 * inner)


class Mouth:
    """Curves of the lips: four heights over t in -1..1."""

    def __init__(self, who: Identity, shot: Shot) -> None:
        smile = shot.smile
        self.half = who.mouth_half * (1.0 + 0.20 * smile - 0.12 * shot.open * (smile < 0.3))
        self.v = who.mouth_v
        self.corner = -0.085 * smile + 0.006
        thin = 1.0 - 0.22 * max(smile, 0.0)
        self.upper, self.lower = who.lip_upper * thin, who.lip_lower * thin
        self.gap_up = (0.045 if smile > 0.3 else 0.03) * shot.open
        self.gap_low = (0.085 if smile > 0.3 else 0.14) * shot.open

    def curves(self, t: Plane) -> tuple[Plane, Plane, Plane, Plane]:
        """v of the upper lip's top, the opening's upper and lower edge, and the lower lip's bottom."""
        a = np.clip(1.0 - t * t, 0.0, None)
        line = self.v + self.corner * (np.abs(t) ** 1.6) + 0.008 * np.cos(t * 6.0) * a
        bow = 1.0 - 0.30 * np.exp(-((t / 0.13) ** 2)) + 0.12 * np.exp(-(((np.abs(t) - 0.26) / 0.15) ** 2))
        inner_up, inner_low = line - self.gap_up * a, line + self.gap_low * np.power(a, 0.8)
        return (
            inner_up - self.upper * np.power(a, 0.75) * bow,
            inner_up,
            inner_low,
            inner_low + self.lower * np.power(a, 0.7),
        )


def _bump(u: float, v: float, su: float, sv: float, height: float) -> Plane:
    row = np.exp(-(((U - u) / su) ** 2))
    column = np.exp(-(((V - v) / sv) ** 2)) * height
    return np.asarray(column * row, dtype=np.float32)


def pair(u: float, v: float, su: float, sv: float, height: float) -> Plane:
    """Two mirrored bumps."""
    row = np.exp(-(((U - u) / su) ** 2)) + np.exp(-(((U + u) / su) ** 2))
    return np.asarray(np.exp(-(((V - v) / sv) ** 2)) * height * row, dtype=np.float32)


def relief(who: Identity, shot: Shot, style: str) -> tuple[Plane, Plane]:
    """Relief, and how far inside the outline each texel lies, both in face units."""
    rho, index = _polar()
    radius = outline(who)[index]
    radial = rho / radius
    inside = radius - rho
    base = np.sqrt(np.clip(1.0 - np.clip(radial, 0.0, 0.999) ** 2.6, 0.0, None)) * 0.98
    n, w, h = who.nose_length, who.nose_width, who.nose_height
    along = np.clip((V + 0.28) / (n + 0.28), 0.0, 1.0)
    profile = (0.03 + 0.27 * along**1.3) * h * ease(V, n + 0.08, n - 0.10) * ease(V, -0.36, -0.1)
    ridge = profile * np.exp(-((np.abs(U) / (0.085 + 0.055 * along)) ** 2.4))
    height = base + ridge
    height += _bump(0.0, n - 0.10, 0.115, 0.12, 0.10 * h) + pair(w * 0.86, n - 0.06, 0.062, 0.085, 0.115)
    height += pair(0.40, who.brow_v + 0.02, 0.27, 0.085, 0.045 if who.feminine else 0.075)
    height -= pair(0.40, -0.02, 0.24, 0.15, 0.115) + pair(0.20, -0.03, 0.08, 0.11, 0.05)
    height += pair(who.eye_u, 0.0, 0.155, 0.088, 0.085)
    height += pair(0.60, 0.36, 0.22, 0.19, 0.055 + 0.05 * max(shot.smile, 0.0)) - pair(
        0.62, 0.80, 0.16, 0.22, 0.05 - 0.045 * who.fullness
    )
    height += _bump(0.0, who.mouth_v - 0.02, 0.36, 0.24, 0.10) + _bump(0.0, 1.46 + who.chin, 0.20, 0.15, 0.09)
    height -= _bump(0.0, 1.20 + 0.3 * who.chin, 0.26, 0.06, 0.04) + _bump(0.0, n + 0.15, 0.035, 0.09, 0.02)
    height += _bump(0.0, -0.75, 0.55, 0.3, 0.02) - pair(0.88, -0.35, 0.12, 0.25, 0.03)
    mouth = Mouth(who, shot)
    t = U / mouth.half
    top, inner_up, inner_low, bottom = mouth.curves(t)
    for a, b, lift in ((top, inner_up, 0.045), (inner_low, bottom, 0.06)):
        x = np.clip((V - a) / np.maximum(b - a, 1e-3), 0.0, 1.0)
        height += lift * np.sin(np.pi * x) * (np.abs(t) < 1.0) * np.sqrt(np.clip(1 - t * t, 0, None))
    height -= 0.02 * np.exp(-(((V - inner_low) / 0.016) ** 2)) * ease(np.abs(t), 1.1, 0.9)
    if style == "skin":
        height -= _wrinkles(who, shot)
    return height.astype(np.float32), inside


def _wrinkles(who: Identity, shot: Shot) -> Plane:
    """Depth of folds and wrinkles, in face units."""
    rng = np.random.default_rng(who.seed ^ 0x51)
    old = float(np.clip((who.age - 28.0) / 45.0, 0.0, 1.0))
    deep, fine = Strokes(), Strokes()
    smile = max(shot.smile, 0.0)
    fold = float(np.clip(0.20 + 0.55 * old + 0.5 * smile, 0.0, 1.0))
    wing, n = who.nose_width, who.nose_length
    for side in (-1.0, 1.0):
        reach = 0.46 + 0.09 * smile
        deep.line(
            arc(
                (side * (wing + 0.05), n - 0.10),
                (side * (reach - 0.06), n + 0.10),
                (side * reach, who.mouth_v - 0.02),
            ),
            0.022,
            fold,
        )
        deep.line(arc((side * 0.28, 0.13), (side * 0.44, 0.17), (side * 0.60, 0.13)), 0.02, 0.25 + 0.5 * old)
        if old > 0.3:
            deep.line(
                arc((side * 0.41, who.mouth_v + 0.03), (side * 0.44, 1.15), (side * 0.40, 1.30)),
                0.016,
                old * 0.7,
            )
        for _ in range(int(1 + 6 * old + 2 * smile)):
            v, length = rng.uniform(-0.08, 0.14), rng.uniform(0.06, 0.17)
            start = side * rng.uniform(0.68, 0.72)
            fine.line(
                arc((start, v * 0.5), (start + side * length, v * 1.5)),
                0.009,
                (0.25 + 0.6 * old) * rng.uniform(0.4, 1.0),
            )
    for k in range(int(5 * old + 8 * abs(shot.brow_lift) * 5)):
        v = -0.50 - 0.10 * k + rng.normal(0, 0.01)
        a, b = -rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)
        fine.line(
            arc((a, v + 0.02), (0.5 * (a + b), v - 0.03), (b, v + 0.02)),
            0.013,
            rng.uniform(0.4, 1.0) * (0.3 + 0.6 * old),
        )
    if old > 0.25:
        for side in (-1.0, 1.0):
            fine.line(arc((side * 0.055, -0.36), (side * 0.05, -0.2)), 0.013, old * 0.8)
    return 0.030 * soft(deep.mask(), 4) + 0.022 * soft(fine.mask(), 2)


def beard_mask(who: Identity) -> Plane:
    """Where a beard grows, (ROWS, COLUMNS) in 0..1."""
    a = np.abs(U)
    if who.beard in ("", "moustache"):
        grow = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    else:
        line = np.interp(a, [0.0, 0.30, 0.42, 0.62, 0.80, 0.90, 1.1], [1.17, 1.10, 0.80, 0.78, 0.55, 0.20, 0.1]).astype(
            np.float32
        )
        grow = ease(V - line, -0.02, 0.14)
        if who.beard == "goatee":
            grow = grow * ease(a, 0.50, 0.40)
    if who.beard in ("moustache", "full", "goatee", "stubble"):
        top, low = who.nose_length + 0.10, who.mouth_v - who.lip_upper * 0.7
        band = ease(V - 0.25 * a, top - 0.03, top + 0.03) * ease(V - 0.42 * a * a, low + 0.06, low - 0.01) * ease(a, 0.47, 0.38)
        grow = np.maximum(grow, band)
    return np.asarray(grow, dtype=np.float32)


def brow_curve(who: Identity, shot: Shot, side: int) -> Plane:
    """(6, 2) along the brow from the inner to the outer end; `side` -1 is the viewer's left."""
    x = np.array([0.185, 0.30, 0.44, 0.60, 0.74, 0.83], dtype=np.float32)
    lift = who.brow_arch * np.array([0.1, 0.5, 0.85, 1.0, 0.3, -0.9])
    v = who.brow_v + 0.03 - lift - shot.brow_lift
    return np.stack([side * x + who.asymmetry, v], axis=1).astype(np.float32)
