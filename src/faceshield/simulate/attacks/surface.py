"""Geometry of what is worn on a face: where things lie on it, its relief, and how a surface is lit.

Face coordinates (u, v) have their origin midway between the pupils, and their unit is the distance between the pupils. u runs
to the viewer's right along the line of the eyes, v down to the chin (about 1.9); the hairline lies near v = -1.2.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

from faceshield.simulate.mean_shape import MEAN_SHAPE
from faceshield.simulate.portrait import CANVAS, LANDMARKS, OUTLINE, FloatImage, Mask, Points, Scene, bounding_box

Plane = NDArray[np.float32]
"""(CANVAS, CANVAS) float32."""

_STEP = 0.025
_U = np.arange(-1.8, 1.8 + _STEP, _STEP, dtype=np.float32)
_V = np.arange(-2.2, 2.9 + _STEP, _STEP, dtype=np.float32)


def _mean_uv() -> NDArray[np.float64]:
    left, right = MEAN_SHAPE[LANDMARKS["pupils"]].astype(np.float64)
    return (MEAN_SHAPE - (left + right) / 2) / np.linalg.norm(right - left)


MEAN_UV = _mean_uv()
"""(79, 2): the mean face in face coordinates."""


def _terms(points: NDArray[np.floating]) -> NDArray[np.floating]:
    x, y = points[..., 0], points[..., 1]
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _fit(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6, 2) quadratic map from source to target, its second-order terms regularised so that it stays sane off the face."""
    terms = _terms(source)
    return np.linalg.solve(terms.T @ terms + np.diag([0, 0, 0, 12.0, 12.0, 12.0]), terms.T @ target)


def bilinear(image: NDArray[np.float32], xy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of (H, W[, C]) `image` at the points `xy` (..., 2), in pixels; the edge repeats outwards."""
    height, width = image.shape[:2]
    x, y = xy[..., 0].clip(0, width - 1.001), xy[..., 1].clip(0, height - 1.001)
    x0, y0 = x.astype(np.int32), y.astype(np.int32)
    fx, fy = x - x0, y - y0
    flat = image.reshape(height * width, -1)
    at = y0 * width + x0
    top = flat[at] + (flat[at + 1] - flat[at]) * fx[..., None]
    below = flat[at + width] + (flat[at + width + 1] - flat[at + width]) * fx[..., None]
    out = (top + (below - top) * fy[..., None]).astype(np.float32)
    return out if image.ndim == 3 else out[..., 0]


class Frame:
    """Where a face lies in a picture: a smooth map between face coordinates and pixels, fitted to its landmarks.

    Attributes:
        landmarks: (79, 2) pixels.
        span: distance between the pupils in pixels, at least 8.
    """

    def __init__(self, landmarks: Points) -> None:
        self.landmarks = landmarks.astype(np.float32)
        points = landmarks.astype(np.float64)
        left, right = points[LANDMARKS["pupils"]]
        self.span = float(max(np.linalg.norm(right - left), 8.0))
        self._centre = (left + right) / 2
        unit = (points - self._centre) / self.span
        self._forward = _fit(MEAN_UV, unit)
        self._backward = _fit(unit, MEAN_UV)

    def px(self, uv: ArrayLike) -> Points:
        """Pixels of face coordinates, (..., 2) to (..., 2)."""
        unit = _terms(np.asarray(uv, dtype=np.float64)) @ self._forward
        return (unit * self.span + self._centre).astype(np.float32)

    @cached_property
    def uv(self) -> NDArray[np.float32]:
        """(CANVAS, CANVAS, 2): face coordinates of every pixel of the canvas."""
        axis = np.arange(CANVAS, dtype=np.float32)
        x = ((axis - self._centre[0]) / self.span).astype(np.float32)[None, :]
        y = ((axis - self._centre[1]) / self.span).astype(np.float32)[:, None]
        xy, xx, yy = x * y, x * x, y * y
        out = np.empty((CANVAS, CANVAS, 2), np.float32)
        for i in range(2):
            c0, cx, cy, cxx, cxy, cyy = (np.float32(c) for c in self._backward[:, i])
            out[..., i] = (c0 + cx * x + cxx * xx) + (cy * y + cyy * yy) + cxy * xy
        return out

    def part(self, name: str) -> Points:
        """Landmarks of a part, in pixels."""
        return self.landmarks[LANDMARKS[name]]

    def outline(self, grow: float = 1.0, top: float = 1.0) -> Points:
        """Closed outline of the face in pixels, scaled by `grow` about its middle; `top` also scales the part above that."""
        points = self.landmarks[OUTLINE].astype(np.float64)
        middle = points.mean(axis=0)
        down = self.px((0.0, 1.0)) - self.px((0.0, 0.0))
        down = down / max(float(np.linalg.norm(down)), 1e-6)
        out = middle + (points - middle) * grow
        above = ((out - middle) @ down).clip(max=0)
        return (out + np.outer(above * (top - 1.0), down)).astype(np.float32)


@lru_cache(maxsize=1)
def _bumps() -> NDArray[np.float32]:
    """(parts, v, u) heights in face units: head, nose, brows, sockets, eyeballs, lips, chin, cheeks, temples."""
    u, v = _U[None, :], _V[:, None]

    def bump(x: float, y: float, sx: float, sy: float) -> NDArray[np.float32]:
        return np.exp(-(((u - x) / sx) ** 2) - ((v - y) / sy) ** 2)

    def pair(x: float, y: float, sx: float, sy: float) -> NDArray[np.float32]:
        return bump(x, y, sx, sy) + bump(-x, y, sx, sy)

    head = np.sqrt((1 - (u / 1.32) ** 2 - ((v - 0.1) / 2.05) ** 2).clip(0.015))
    neck = 0.55 * np.sqrt((1 - (u / 0.85) ** 2).clip(0.015)) * (v > 1.2)
    along = ((v + 0.1) / 0.75).clip(0, 1)
    bridge = (0.05 + 0.31 * along**1.3) * np.exp(-((u / (0.11 + 0.06 * along)) ** 2)) / (1 + np.exp((-0.12 - v) / 0.07))
    bridge = bridge / (1 + np.exp((v - 0.70) / 0.045))
    nose = bridge + 0.12 * pair(0.17, 0.62, 0.10, 0.10) - 0.05 * pair(0.10, 0.76, 0.05, 0.03)
    lips = 0.10 * bump(0, 1.04, 0.30, 0.07) + 0.12 * bump(0, 1.2, 0.26, 0.07) - 0.05 * bump(0, 1.12, 0.29, 0.03)
    lips = lips - 0.06 * bump(0, 1.36, 0.25, 0.07)
    return np.stack(
        [
            np.maximum(head, neck),
            nose,
            0.09 * pair(0.52, -0.30, 0.36, 0.12),
            -0.14 * pair(0.48, 0.0, 0.28, 0.17) - 0.05 * pair(0.2, 0.05, 0.1, 0.12),
            0.09 * pair(0.5, 0.02, 0.17, 0.11) - 0.03 * pair(0.5, 0.12, 0.2, 0.05),
            lips,
            0.10 * bump(0, 1.62, 0.26, 0.16),
            0.08 * pair(0.62, 0.55, 0.28, 0.25) - 0.03 * pair(0.38, 0.85, 0.13, 0.22),
            -0.06 * pair(1.0, -0.5, 0.2, 0.35),
        ]
    ).astype(np.float32)


_RELIEF_PARTS = 9


def relief(frame: Frame, rng: np.random.Generator, *, strength: float = 1.0, spread: float = 0.25) -> Plane:
    """Height towards the viewer, in pixels, of an artificial face: rounded head, nose, brows, sockets, lips, chin.

    Args:
        strength: factor on the features (not on the head).
        spread: standard deviation of each feature's factor from one artificial face to the next.
    """
    weights = rng.normal(1.0, spread, _RELIEF_PARTS).clip(0.3, 1.8) * strength
    weights[0] = rng.uniform(0.75, 1.0)
    table = np.tensordot(weights.astype(np.float32), _bumps(), axes=1)
    # Nothing on an artificial face is narrower than two pixels: half the resolution is enough.
    half = 0.25 * (frame.uv[::2, ::2] + frame.uv[1::2, ::2] + frame.uv[::2, 1::2] + frame.uv[1::2, 1::2])
    heights = bilinear(table, (half - np.array([_U[0], _V[0]], np.float32)) / np.float32(_STEP)) * np.float32(frame.span)
    picture = Image.fromarray(heights).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def shade(
    height: Plane, light_xy: tuple[float, float], *, ambient: float = 0.45, wrap: float = 0.1, shininess: float = 20.0
) -> tuple[Plane, Plane]:
    """Diffuse light (about 1 where the surface faces the viewer) and specular light (0..1) on a height field in pixels."""
    across = np.empty_like(height)
    down = np.empty_like(height)
    across[:, 1:-1] = (height[:, 2:] - height[:, :-2]) * 0.5
    across[:, 0], across[:, -1] = across[:, 1], across[:, -2]
    down[1:-1] = (height[2:] - height[:-2]) * 0.5
    down[0], down[-1] = down[1], down[-2]
    norm = 1 / np.sqrt(across * across + down * down + 1)
    light = np.array([light_xy[0], light_xy[1], 0.9])
    light /= np.linalg.norm(light)
    lx, ly, lz = (np.float32(value) for value in light)
    facing = (lz - across * lx - down * ly) * norm
    diffuse = ((facing + wrap) / (1 + wrap)).clip(0, 1) * np.float32((1 + wrap) / (light[2] + wrap))
    half = light + [0, 0, 1]
    half /= np.linalg.norm(half)
    hx, hy, hz = (np.float32(value) for value in half)
    specular = ((hz - across * hx - down * hy) * norm).clip(0, 1) ** np.float32(shininess)
    return (ambient + (1 - ambient) * diffuse).astype(np.float32), specular


def exposure(scene: Scene, frame: Frame) -> float:
    """Brightness of a white object in the light of this scene, 0.45..1.05, from the brighter tones of face and picture."""
    luma = scene.image @ np.array([0.299, 0.587, 0.114], np.float32)
    near = np.percentile(luma[::4, ::4], 92)
    x, y = frame.px((0.0, 0.35))
    reach = int(frame.span * 0.9)
    face = luma[max(0, int(y) - reach) : int(y) + reach : 3, max(0, int(x) - reach) : int(x) + reach : 3]
    bright = float(np.percentile(face, 85)) if face.size else float(near)
    return float(np.clip(0.35 + 0.35 * near + 0.45 * bright, 0.45, 1.05))


def lit_as_the_person(scene: Scene, image: FloatImage) -> Mask:
    """Where the light on the person falls in `image`, an attacked `scene`: in its matte, and wherever there is something new.

    What is only darker, to no less than a quarter, is the background in the shadow of something.
    """
    before = scene.image
    darker = np.einsum("ijk,ijk->ij", image, before) / (np.einsum("ijk,ijk->ij", before, before) + np.float32(1e-6))
    new = np.abs(image - before * darker.clip(0.25, 1)[..., None])
    most = np.maximum(np.maximum(new[..., 0], new[..., 1]), new[..., 2])  # over the last axis, `max` is slow
    return np.maximum(scene.matte, ((most - 0.03) * 12).clip(0, 1))


def ambient_light(scene: Scene, frame: Frame, *, shaded: bool = False) -> Plane:
    """The portrait's own broad light and shade around the face, about 1, so that whatever is worn shares it.

    Args:
        shaded: the surface already has shade from `scene.light_xy`; where that is the portrait's own light, the result is 1.
    """
    if shaded and scene.portrait.light_xy is not None:
        return np.ones(scene.image.shape[:2], np.float32)
    picture = Image.fromarray((scene.image.mean(axis=2).clip(0, 1) * 255).astype(np.uint8))
    small = picture.reduce(8).filter(ImageFilter.GaussianBlur(max(1.0, frame.span / 24)))
    broad = np.asarray(small.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), np.float32) / 255.0
    x, y = frame.px((0.0, 0.4)).clip(0, CANVAS - 1).astype(int)
    return np.sqrt(((broad + 0.15) / (broad[y, x] + 0.15)).clip(0.45, 1.6)).astype(np.float32)


def skin_colour(scene: Scene, frame: Frame) -> NDArray[np.float32]:
    """Median colour of cheeks and nose, (3,)."""
    spots = []
    for uv in ((-0.58, 0.5), (0.58, 0.5), (0.0, 0.4)):
        x, y = frame.px(uv).clip(3, CANVAS - 4).astype(int)
        spots.append(scene.image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3))
    return np.median(np.concatenate(spots), axis=0).astype(np.float32)


def portrait_texture(
    scene: Scene,
    frame: Frame,
    *,
    mirror: bool = False,
    scale: ArrayLike = (1.0, 1.0),
    shift: ArrayLike = (0.0, 0.0),
    within: Mask | None = None,
) -> FloatImage:
    """The person's own portrait warped onto the face in the canvas, as the picture to be printed.

    Args:
        mirror: flip it left to right.
        scale: size of the printed face relative to the real one, across and down.
        shift: its offset from the real face, in face units.
        within: only the box around this mask is filled; the rest is black.
    """
    rows, columns = _extent(within)
    uv = (frame.uv[rows, columns] - np.asarray(shift, np.float32)) / np.asarray(scale, np.float32)
    if mirror:
        uv = uv * np.array([-1, 1], np.float32)
    source = Frame(scene.portrait.landmarks)
    place = _terms(uv) @ source._forward.astype(np.float32) * np.float32(source.span) + source._centre.astype(np.float32)
    image = scene.portrait.image
    if source.span > 1.6 * frame.span:  # shrinking: average first
        picture = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
        picture = picture.filter(ImageFilter.GaussianBlur(0.4 * source.span / frame.span))
        image = np.asarray(picture, np.float32) / 255.0
    out = np.zeros((CANVAS, CANVAS, 3), np.float32)
    out[rows, columns] = bilinear(image, place.astype(np.float32))
    return out


def _extent(mask: Mask | None) -> tuple[slice, slice]:
    box = None if mask is None else bounding_box(mask, 0.0)
    if box is None:
        return slice(0, CANVAS), slice(0, CANVAS)
    return slice(int(box[1]), int(box[3])), slice(int(box[0]), int(box[2]))


def skin_mask(scene: Scene, frame: Frame, polygon: Mask) -> Mask:
    """`polygon` without the hair that hangs into it: on the forehead, whatever is much darker than the skin counts as hair."""
    luma = scene.image @ np.array([0.299, 0.587, 0.114], np.float32)
    level = float(skin_colour(scene, frame).mean())
    bare = ((luma / max(level, 0.05) - 0.35) * 4).clip(0, 1)
    forehead = ((-0.42 - frame.uv[..., 1]) * 8).clip(0, 1)
    return (polygon * (1 - forehead * (1 - bare))).astype(np.float32)
