"""What prints and replays share: a first capture, a flat sheet, and the pose in which it is captured again.

A `Sheet` is the flat picture (a printed paper or a lit screen); a `Placement` maps it into the canvas by a perspective and
an optional bend, exactly in both directions, so that landmarks follow the picture.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.simulate.paint import chance, shifted
from faceshield.simulate.portrait import (
    CANVAS,
    OUTLINE,
    WHOLE_CANVAS,
    Box,
    FloatImage,
    Mask,
    Points,
    Scene,
    bounding_box,
    room_for_a_face,
)

Plane = NDArray[np.float32]
"""(CANVAS, CANVAS) float32."""

TIGHT, PARTIAL, WHOLE = "tight", "partial", "whole"
_ROWS, _COLUMNS = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)


def draw_view(rng: np.random.Generator, whole: float = 0.22, good: bool = False) -> str:
    """How much of the medium the second camera sees: TIGHT (no edge, 45%), WHOLE (all of it) or PARTIAL (some edges).

    Half as many good copies are TIGHT, because without an edge they show hardly any trace.
    """
    view = str(rng.choice([TIGHT, WHOLE, PARTIAL], p=[0.45, whole, 0.55 - whole]))
    return PARTIAL if good and view == TIGHT and chance(rng, 0.5) else view


def to_bytes(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float picture in 0..1 -> uint8, rounded."""
    return (image.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def blurred(image: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Gaussian blur of a (H, W) or (H, W, 3) picture in 0..1, through 8 bits (fast; 1/255 steps)."""
    if radius <= 0:
        return image
    soft = Image.fromarray(to_bytes(image))
    if radius < 4:
        soft = soft.filter(ImageFilter.GaussianBlur(radius))
    else:  # no fine detail is left, so a smaller picture suffices
        size, factor = soft.size, 2 if radius < 8 else 4
        soft = soft.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(soft, dtype=np.float32) / 255.0


def luma(image: FloatImage) -> NDArray[np.float32]:
    """(H, W) luma of an RGB picture."""
    return image[..., 0] * np.float32(0.299) + image[..., 1] * np.float32(0.587) + image[..., 2] * np.float32(0.114)


def saturate(image: FloatImage, amount: float) -> FloatImage:
    """Colours pulled towards (amount < 1) or pushed away from (amount > 1) grey."""
    grey = luma(image) * np.float32(1 - amount)
    toned = image * np.float32(amount)
    toned += grey[..., None]
    return toned


def inner_capture(image: FloatImage, rng: np.random.Generator, softest: float = 0.35) -> FloatImage:
    """The first capture, whose picture is later printed or shown: resolution loss, blur, contrast, colour, compression.

    Args:
        image: (H, W, 3) in 0..1.
        rng: source of all randomness.
        softest: the lowest resolution that may survive, as a share of the side.
    """
    height, width = image.shape[:2]
    gain = np.float32(rng.uniform(0.88, 1.15)) * rng.uniform(0.94, 1.06, 3).astype(np.float32)
    contrast, saturation = np.float32(rng.uniform(0.85, 1.25)), rng.uniform(0.75, 1.2)
    toned = saturate((((image - 0.5) * contrast + 0.5) * gain).astype(np.float32), saturation)
    picture = Image.fromarray(to_bytes(toned))
    share = softest + (1 - softest) * float(rng.beta(2.0, 1.3))
    picture = picture.resize((max(8, round(width * share)), max(8, round(height * share))), Image.Resampling.BILINEAR)
    quality = int(rng.integers(25, 96))
    if chance(rng, 0.6):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        picture = Image.open(buffer).convert("RGB")
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    blur = rng.uniform(0.0, 1.0)
    if blur > 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(picture, dtype=np.float32) / 255.0


def face_box(landmarks: Points) -> Box:
    """The face and some hair around it, clipped to the canvas; at least 24 px a side."""
    x0, y0 = landmarks[OUTLINE].min(axis=0)
    x1, y1 = landmarks[OUTLINE].max(axis=0)
    margin_x, margin_y = 0.12 * (x1 - x0), 0.15 * (y1 - y0)
    x0, x1 = np.clip([x0 - margin_x, x1 + margin_x], 0, CANVAS)
    y0, y1 = np.clip([y0 - margin_y, y1 + 0.4 * margin_y], 0, CANVAS)
    x0, y0 = min(x0, CANVAS - 24), min(y0, CANVAS - 24)
    return float(x0), float(y0), float(max(x1, x0 + 24)), float(max(y1, y0 + 24))


def crop_around_face(landmarks: Points, aspect: float, rng: np.random.Generator) -> Box:
    """A crop of the scene with `aspect` (width / height), inside the canvas, that contains the face where possible."""
    x0, y0, x1, y1 = face_box(landmarks)
    largest = float(min(CANVAS, CANVAS / aspect))
    smallest = min(max(y1 - y0, (x1 - x0) / aspect), largest)
    height = smallest + (largest - smallest) * float(rng.uniform(0.25, 1.0))
    width = height * aspect
    centre_x, centre_y = (
        (x0 + x1) / 2 + rng.normal(0, 0.03) * width,
        (y0 + y1) / 2 + rng.uniform(-0.03, 0.1) * height,
    )
    left = float(np.clip(centre_x - width / 2, 0, CANVAS - width))
    top = float(np.clip(centre_y - height / 2, 0, CANVAS - height))
    return left, top, left + width, top + height


@dataclass(frozen=True)
class Sheet:
    """A flat picture that holds a crop of the scene.

    Attributes:
        picture: (h, w, 3) float32 in 0..1, any size.
        content: where the scene's crop lies, in pixels of `picture`.
        crop: the crop, in pixels of the scene.
    """

    picture: FloatImage
    content: Box
    crop: Box

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.shape[1], self.picture.shape[0]

    def from_scene(self, points: Points) -> Points:
        """Pixels of the scene -> pixels of the sheet."""
        low, high = np.array(self.crop[:2]), np.array(self.crop[2:])
        start, end = np.array(self.content[:2]), np.array(self.content[2:])
        return ((points + 0.5 - low) / (high - low) * (end - start) + start - 0.5).astype(np.float32)


def make_sheet(
    image: FloatImage,
    crop: Box,
    content_wh: tuple[int, int],
    margins: tuple[int, int, int, int],
    fill: FloatImage | Sequence[float],
) -> Sheet:
    """Resizes a crop of `image` and places it on a larger sheet.

    Args:
        image: (H, W, 3) in 0..1.
        crop: in pixels of `image`.
        content_wh: width and height of the crop on the sheet, in sheet pixels.
        margins: left, top, right, bottom around it, in sheet pixels.
        fill: one colour, or a picture of the sheet's size.
    """
    width, height = content_wh
    left, top, right, bottom = margins
    picture = np.empty((top + height + bottom, left + width + right, 3), np.float32)
    picture[:] = np.asarray(fill, dtype=np.float32)
    small = Image.fromarray(to_bytes(image)).resize((width, height), Image.Resampling.BICUBIC, box=crop)
    picture[top : top + height, left : left + width] = np.asarray(small, dtype=np.float32) / 255.0
    return Sheet(picture, (float(left), float(top), float(left + width), float(top + height)), crop)


@dataclass(frozen=True)
class Placement:
    """How a sheet lies in the canvas: a perspective, after which a bow shifts points at right angles to `angle`.

    Attributes:
        matrix: (3, 3), sheet pixels -> canvas pixels (homogeneous), before the bow.
        scale: canvas pixels per sheet pixel near the anchor.
        bow: largest shift in canvas pixels; 0 for a flat medium.
        angle: direction (radians) along which the shift varies.
        reach: distance in canvas pixels from the bow's crest to where it is zero.
        window: the part of the canvas that the camera sees.
    """

    matrix: NDArray[np.float64]
    scale: float
    bow: float = 0.0
    angle: float = 0.0
    reach: float = 200.0
    window: Box = WHOLE_CANVAS

    def in_view(self, point: NDArray[np.floating], inset: float) -> bool:
        """Whether the camera sees a canvas pixel more than `inset` pixels inside the picture's edge."""
        return bool(np.all((point > np.add(self.window[:2], inset)) & (point < np.subtract(self.window[2:], inset))))

    def _bow(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        along = (x - CANVAS / 2) * np.cos(self.angle) + (y - CANVAS / 2) * np.sin(self.angle)
        return self.bow * np.cos(np.pi / 2 * along / self.reach)

    def to_canvas(self, points: NDArray[np.floating]) -> Points:
        """(N, 2) sheet pixels -> (N, 2) canvas pixels."""
        homogeneous = np.column_stack([points, np.ones(len(points))]) @ self.matrix.T
        x, y = homogeneous[:, 0] / homogeneous[:, 2], homogeneous[:, 1] / homogeneous[:, 2]
        if self.bow:
            # The shift is at right angles to the axis along which it varies, so one subtraction inverts it exactly.
            move = self._bow(x, y)
            x, y = x + np.sin(self.angle) * move, y - np.cos(self.angle) * move
        return np.column_stack([x, y]).astype(np.float32)

    def to_sheet(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Plane, Plane]:
        """Canvas pixels (x and y of one shape) -> sheet pixels of the same shape, float32."""
        if self.bow:
            move = self._bow(x, y)
            x, y = x - np.sin(self.angle) * move, y + np.cos(self.angle) * move
        m = np.linalg.inv(self.matrix).astype(np.float32)
        x, y = x.astype(np.float32), y.astype(np.float32)
        depth = 1.0 / (m[2, 0] * x + m[2, 1] * y + m[2, 2])
        return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) * depth, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) * depth

    @cached_property
    def planes(self) -> tuple[Plane, Plane]:
        """Sheet coordinates of every canvas pixel."""
        return self.to_sheet(_COLUMNS, _ROWS)

    def from_middle(self, size: tuple[int, int]) -> tuple[Plane, Plane]:
        """`planes` measured in canvas pixels from the middle of a sheet of `size`, for patterns on the sheet."""
        (s, t), scale = self.planes, np.float32(self.scale)
        return (s - size[0] / 2) * scale, (t - size[1] / 2) * scale


def _pose(
    anchor: tuple[float, float],
    target: tuple[float, float],
    scale: float,
    turn: tuple[float, float, float],
    distance: float,
) -> NDArray[np.float64]:
    """Homography of the sheet turned by (yaw, pitch, roll) about `anchor`, which lands on `target`."""
    (cy, cp, cr), (sy, sp, sr) = np.cos(turn), np.sin(turn)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned = (yaw @ pitch @ roll)[:, :2] * scale
    project = np.array([[distance, 0, target[0]], [0, distance, target[1]], [0, 0, 1.0]])
    shape = np.column_stack([turned, [0, 0, distance]])
    return project @ shape @ np.array([[1, 0, -anchor[0]], [0, 1, -anchor[1]], [0, 0, 1.0]])


def place(
    sheet: Sheet,
    outer: Box,
    landmarks: Points,
    view: str,
    rng: np.random.Generator,
    tilt: float = 0.32,
    bow: float = 0.0,
    window: Box = WHOLE_CANVAS,
) -> Placement:
    """Draws a pose for `sheet` that gives the requested view.

    Args:
        sheet: the sheet to place.
        outer: the whole medium (paper, or screen with bezel) in sheet pixels.
        landmarks: (79, 2) in sheet pixels.
        view: TIGHT, PARTIAL or WHOLE.
        rng: source of all randomness.
        tilt: largest turn about the vertical axis, radians.
        bow: largest bend in canvas pixels.
        window: the part of the canvas that the camera sees.
    """
    x0, y0, x1, y1 = (float(v) for v in (*landmarks[OUTLINE].min(axis=0), *landmarks[OUTLINE].max(axis=0)))
    face = np.clip(((x0 + x1) / 2, (y0 + y1) / 2), sheet.content[:2], sheet.content[2:])
    turn = (
        rng.uniform(-tilt, tilt),
        rng.uniform(-tilt, tilt) * 0.8,
        float(np.clip(rng.normal(0, 0.09), -0.3, 0.3)),
    )
    distance = CANVAS * rng.uniform(1.8, 4.0)
    bend = (
        bow * rng.uniform(-1, 1),
        float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.2)),
        float(rng.uniform(150, 260)),
    )
    wide, tall = window[2] - window[0], window[3] - window[1]
    middle = np.array([window[0] + window[2], window[1] + window[3]]) / 2 - 0.5
    across, down = np.linspace(window[0], window[2] - 1, 13), np.linspace(window[1], window[3] - 1, 13)
    grid = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    jitter = rng.normal(0, 1, 2)
    size, fit = rng.uniform(0, 1), rng.uniform(0.72, 0.98)
    anchor = face
    if view == WHOLE:
        anchor = np.array([(outer[0] + outer[2]) / 2, (outer[1] + outer[3]) / 2])
        scale = fit * CANVAS / max((outer[2] - outer[0]) * (CANVAS / wide), (outer[3] - outer[1]) * (CANVAS / tall))
        target = middle + jitter * 10
    else:
        share = 0.36 + 0.34 * size if view == PARTIAL else 0.42 + 0.5 * size
        scale = share * room_for_a_face(window) / max(y1 - y0, 24.0)
        target = middle + jitter * (26 if view == PARTIAL else 14)
    limits = sheet.content if view == TIGHT else outer
    centre = np.array([(limits[0] + limits[2]) / 2, (limits[1] + limits[3]) / 2])
    low, high = np.array(limits[:2]) + 1.0, np.array(limits[2:]) - 2.0
    placement = Placement(np.eye(3), 1.0)
    for _ in range(40):
        matrix = _pose((anchor[0], anchor[1]), (target[0], target[1]), scale, turn, distance)
        placement = Placement(matrix, float(scale), *bend, window)
        s, t = placement.to_sheet(grid[:, 0], grid[:, 1])
        outside = np.mean((s < low[0]) | (t < low[1]) | (s > high[0]) | (t > high[1]))
        if view == TIGHT and outside > 0:
            scale, anchor = scale * 1.05, anchor + 0.15 * (centre - anchor)
        elif view == PARTIAL and outside < 0.06:
            scale *= 0.94
        else:
            break
    return placement


def sample(picture: FloatImage, s: Plane, t: Plane) -> FloatImage:
    """Bilinear samples of (h, w, C) `picture` at (s, t), clamped to the picture; (H, W, C) float32."""
    height, width = picture.shape[:2]
    s, t = s.clip(0, width - 1.001), t.clip(0, height - 1.001)
    column, row = s.astype(np.int32), t.astype(np.int32)
    right, down = (s - column)[..., None], (t - row)[..., None]
    flat = picture.reshape(height * width, -1)
    index = row * width + column
    upper, lower = flat.take(index, axis=0), flat.take(index + width, axis=0)
    upper += (flat.take(index + 1, axis=0) - upper) * right
    lower += (flat.take(index + width + 1, axis=0) - lower) * right
    upper += (lower - upper) * down
    return upper


def rounded_rectangle(s: Plane, t: Plane, box: Box, radius: float, scale: float) -> Mask:
    """Anti-aliased mask of a rounded rectangle given in sheet pixels."""
    half_w, half_h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    radius = min(radius, half_w, half_h)
    dx = np.abs(s - np.float32((box[0] + box[2]) / 2 - 0.5)) - np.float32(half_w - radius)
    dy = np.abs(t - np.float32((box[1] + box[3]) / 2 - 0.5)) - np.float32(half_h - radius)
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2) + np.minimum(np.maximum(dx, dy), 0)
    return (0.5 - (outside - np.float32(radius)) * np.float32(scale)).clip(0, 1).astype(np.float32)


def cast_shadow(image: FloatImage, mask: Mask, rng: np.random.Generator, light_xy: tuple[float, float]) -> FloatImage:
    """Darkens `image` where a medium with `mask` blocks the light."""
    reach, softness, strength = rng.uniform(2, 16), rng.uniform(2, 11), rng.uniform(0.1, 0.55)
    shift = (-light_xy[0] * reach, -light_xy[1] * reach)
    shadow = blurred(shifted(mask, *shift), softness)
    return (image * (1.0 - np.float32(strength) * shadow)[..., None]).astype(np.float32)


def highlight(
    rng: np.random.Generator,
    broad: tuple[float, float] = (40.0, 120.0),
    near: NDArray[np.floating] | None = None,
) -> Plane:
    """A soft elongated spot of light on the canvas, 0..1.

    Args:
        rng: source of all randomness.
        broad: range of the spot's smaller standard deviation, in pixels.
        near: (2,) pixel near which it lies, such as the face, because a spot on a white wall is invisible; None: anywhere.
    """
    x, y = rng.uniform(0.05, 0.95, 2) * CANVAS
    if near is not None:
        x, y = (0.45 * np.array([x, y]) + 0.55 * near + rng.normal(0, 24, 2)).clip(8, CANVAS - 8)
    angle, length, width = rng.uniform(0, np.pi), rng.uniform(1.2, 4.0), rng.uniform(*broad)
    along = (_COLUMNS - x) * np.float32(np.cos(angle)) + (_ROWS - y) * np.float32(np.sin(angle))
    across = (_ROWS - y) * np.float32(np.cos(angle)) - (_COLUMNS - x) * np.float32(np.sin(angle))
    return np.exp(-0.5 * ((along / np.float32(width * length)) ** 2 + (across / np.float32(width)) ** 2)).astype(np.float32)


def ramp(rng: np.random.Generator, low: float, high: float) -> Plane:
    """Brightness that falls from `high` to `low` across the canvas in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    position = (_COLUMNS / CANVAS - 0.5) * np.float32(np.cos(angle)) + (_ROWS / CANVAS - 0.5) * np.float32(np.sin(angle))
    return (np.float32(low) + np.float32(high - low) * (0.5 + position / 1.42)).astype(np.float32)


def visible_box(mask: Mask | None) -> Box:
    """Box of the visible medium; the whole canvas if it fills the view (`mask` is None)."""
    return WHOLE_CANVAS if mask is None else bounding_box(mask) or WHOLE_CANVAS


def scene_light(scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """Light direction of the second capture: close to the scene's, as light mostly comes from above."""
    x, y = scene.light_xy
    return float(np.clip(x + rng.normal(0, 0.5), -1, 1)), float(np.clip(y + rng.normal(0, 0.3), -1, 0.3))
