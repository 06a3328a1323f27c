"""The simulator's shared vocabulary: a landmark layout and the three objects that its steps pass on.

A `Portrait` is a bona fide face on its own canvas (drawn, or a photograph); a `Scene` is a lit person in front of a background,
the state of the world that a camera could photograph; an `Attacked` is a scene after a presentation attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faceshield.records import Box as Box

FloatImage = NDArray[np.float32]
"""(H, W, 3) float32 RGB, sRGB-encoded, 0..1."""
Mask = NDArray[np.float32]
"""(H, W) float32, 0..1."""
Points = NDArray[np.float32]
"""(N, 2) float32, x then y, in pixels; pixel centres lie at whole numbers."""

LUMA: NDArray[np.float32] = np.asarray([0.299, 0.587, 0.114], np.float32)
"""(3,) weights of red, green and blue in the luma of a colour (BT.601)."""
CANVAS = 288
"""Side of the square on which scenes are composed, in pixels."""
WHOLE_CANVAS: Box = (0.0, 0.0, float(CANVAS), float(CANVAS))

# One layout for drawn faces, given landmarks and the mean shape. "left" and "right" are the viewer's.
LANDMARKS: dict[str, slice] = {
    "hairline": slice(0, 11),  # temple to temple over the top of the forehead, left to right
    "right_side": slice(11, 14),  # down the right side of the face
    "jaw": slice(14, 23),  # right to left through the chin (18)
    "left_side": slice(23, 26),  # up the left side; hairline..left_side together are the closed outline of the face
    "left_eye": slice(26, 34),  # outer corner, over the upper lid (26..30), back along the lower lid (31..33)
    "right_eye": slice(34, 42),  # inner corner, over the upper lid (34..38), back along the lower lid (39..41)
    "left_brow": slice(42, 48),  # outer to inner
    "right_brow": slice(48, 54),  # inner to outer
    "nose": slice(54, 65),  # left of the bridge down (54..58), tip (59), right of the bridge down (60..64)
    "mouth": slice(65, 77),  # left corner, upper lip to the right corner (65..71), lower lip back (72..76)
    "pupils": slice(77, 79),  # left, right
}
OUTLINE = slice(0, 26)
N_LANDMARKS = 79


@dataclass(frozen=True)
class Portrait:
    """A bona fide face on a canvas of its own.

    Attributes:
        image: (H, W, 3) float32 sRGB in 0..1.
        landmarks: (79, 2) pixels of `image`, ordered as `LANDMARKS`.
        matte: (H, W) in 0..1, 1 where the person (head, hair, neck, shoulders) is.
        subject: identity; two portraits of one person share it.
        source: "drawn" or "photo".
        traits: noun phrases of what can be seen, e.g. "glasses", "a beard", "dark hair".
        light_xy: direction towards the main light in `image`, on the scale of `Scene.light_xy`; None: unknown.
    """

    image: FloatImage
    landmarks: Points
    matte: Mask
    subject: str
    source: str
    traits: tuple[str, ...] = ()
    light_xy: tuple[float, float] | None = None


@dataclass(frozen=True)
class Front:
    """What is in front of a person's face: how much it keeps of a picture, and what it adds to it.

    Attributes:
        phrase: noun phrase, "a health mask".
        keep, add: (CANVAS, CANVAS, 3); the picture becomes `image * keep + add`.
    """

    phrase: str
    keep: FloatImage
    add: FloatImage

    @property
    def covers(self) -> NDArray[np.bool_]:
        """(CANVAS, CANVAS), where it hides everything behind it; its shadow does not count."""
        return self.keep.max(axis=2) < 0.35

    def over(self, image: FloatImage) -> FloatImage:
        """`image` with it in front."""
        return (image * self.keep + self.add).clip(0, 1).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """What falls on a scene, as factors on a picture of it.

    Attributes:
        person: (CANVAS, CANVAS, 3), on the person and whatever the person wears. behind: the same, on the background.
        haze: (CANVAS, CANVAS, 1) in 0..1, the share of white over everything.
    """

    person: FloatImage
    behind: FloatImage
    haze: FloatImage

    def on(self, image: FloatImage, person: Mask) -> FloatImage:
        """`image`, not clipped, in this light; `person` says where the person and what is worn are."""
        lit = image * (self.behind + (self.person - self.behind) * person[..., None])
        return (lit + self.haze * (1 - lit.clip(0, 1))).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """A lit person in front of a background: what a camera could photograph.

    Attributes:
        image: (CANVAS, CANVAS, 3) float32 sRGB in 0..1.
        landmarks: (79, 2) pixels of `image`; points may lie outside it.
        matte: (CANVAS, CANVAS), 1 where the person is.
        portrait: where the person came from.
        light_xy: unit-free direction towards the main light in the image plane, each in -1..1 (x right, y down).
        phrases: noun phrases that describe the scene without a verdict ("a plain grey wall").
        front: what the person wears or holds in front of the face; not in `image` yet, since an attack may lie beneath it.
        window: the part of the canvas that the camera sees, in whole pixels; its longer side is the canvas' side.
        unlit, light: `image` before the scene's light fell on it, and that light; None: `image` is all that is known.
    """

    image: FloatImage
    landmarks: Points
    matte: Mask
    portrait: Portrait
    light_xy: tuple[float, float] = (0.0, -0.5)
    phrases: tuple[str, ...] = ()
    front: Front | None = None
    window: Box = WHOLE_CANVAS
    unlit: FloatImage | None = None
    light: Light | None = None


@dataclass(frozen=True)
class Attacked:
    """A scene after a presentation attack (or untouched, for bona fide).

    Attributes:
        image: (CANVAS, CANVAS, 3) float32 sRGB in 0..1.
        boxes: true regions of the attack in pixels of `image`, clipped to it; empty for bona fide.
        cues: noun phrases for the traces that were actually rendered ("a visible paper edge"); ground truth for reasoning.
        variant: name of the renderer's variant, e.g. "print/photo-paper".
        landmarks: (79, 2) where the face is now.
        phrases: what `attack` laid over it (the scene's front), without a verdict.
        view: how much of a print or a screen is seen, see `recapture.draw_view`.
        marks: boxes where a cue with a place of its own was drawn, such as "tape on the paper".
        person: (CANVAS, CANVAS), 1 where the person or anything worn is now; None: in the scene's matte and wherever something
            has changed.
        finest: period, in pixels of `image`, of the cues that a coarser sensor does not resolve, such as dots.
    """

    image: FloatImage
    boxes: tuple[Box, ...]
    cues: tuple[str, ...]
    variant: str
    landmarks: Points
    phrases: tuple[str, ...] = ()
    view: str | None = None
    marks: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    person: Mask | None = None
    finest: Mapping[str, float] = field(default_factory=dict)


def room_for_a_face(window: Box) -> float:
    """Height in pixels of a face that fills `window`; in a narrow window, its width sets the limit."""
    return min(window[3] - window[1], (window[2] - window[0]) / 0.75)


def box_around(points: Points) -> Box:
    """Smallest box around (N, 2) points."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)


def bounding_box(mask: Mask, threshold: float = 0.5) -> Box | None:
    """Smallest box around `mask > threshold`, or None if nothing is."""
    ys = np.flatnonzero((mask > threshold).any(axis=1))
    xs = np.flatnonzero((mask > threshold).any(axis=0))
    if not len(ys) or not len(xs):
        return None
    return float(xs[0]), float(ys[0]), float(xs[-1] + 1), float(ys[-1] + 1)


def fill_polygon(points: Points, soften: float = 0.7) -> Mask:
    """Mask of a closed polygon, (CANVAS, CANVAS) in 0..1, its edge softened by a Gaussian of `soften` pixels."""
    from PIL import Image, ImageDraw, ImageFilter

    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=255)
    if soften > 0:
        canvas = canvas.filter(ImageFilter.GaussianBlur(soften))
    return np.asarray(canvas, dtype=np.float32) / 255.0


def smooth_noise(rng: np.random.Generator, cells: int = 6, channels: int = 1) -> NDArray[np.float32]:
    """Smooth random field, (CANVAS, CANVAS, channels), roughly -1..1, about `cells` blobs a side."""
    from PIL import Image

    planes = []
    for _ in range(channels):
        coarse = rng.normal(0.0, 0.5, (cells + 1, cells + 1)).astype(np.float32)
        planes.append(np.asarray(Image.fromarray(coarse, mode="F").resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)))
    return np.stack(planes, axis=-1).clip(-1.5, 1.5).astype(np.float32)


def blend(base: FloatImage, paint: FloatImage | NDArray[np.float32], mask: Mask) -> FloatImage:
    """`paint` over `base` where `mask` says so; shapes broadcast, result (H, W, 3) float32."""
    alpha = mask[..., None]
    return (base + (paint - base) * alpha).astype(np.float32)
