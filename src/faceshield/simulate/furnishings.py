"""Framed pictures, lit screens, other people and disorder behind a person: things that resemble an attack medium but are none.

A frame's edge, a face in a frame or a glowing panel may be in a bona fide picture too, and must be in every class, or a model
learns that an edge or a second face is an attack.

    image = gallery(rng)            # a wall with framed pictures, (CANVAS, CANVAS, 3)
    image = desk(rng)               # screens on a table
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from faceshield.simulate.limbs import SKINS
from faceshield.simulate.portrait import CANVAS, FloatImage

_SIDE = 96  # pixels; of a picture within the picture
_Y, _X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / CANVAS


def _tone(rng: np.random.Generator, low: float = 0.05, high: float = 0.95) -> tuple[int, int, int]:
    level, spread = rng.uniform(low, high), rng.uniform(-0.35, 0.35, 3)
    red, green, blue = (int(255 * float(np.clip(level * (1 + part), 0, 1))) for part in spread)
    return red, green, blue


def _figure(rng: np.random.Generator) -> Image.Image:
    """Head and shoulders in a few strokes, RGBa (premultiplied, so that filters do not darken the edge) without background."""
    picture = Image.new("RGBA", (_SIDE, _SIDE))
    pen = ImageDraw.Draw(picture)
    skin = np.asarray(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.8, 1.05)
    face, shade = (tuple(int(255 * v) for v in (skin * factor).clip(0, 1)) for factor in (1.0, 0.6))
    hair, cloth = _tone(rng, 0.02, 0.5), _tone(rng)
    x, half = _SIDE * rng.uniform(0.4, 0.6), _SIDE * rng.uniform(0.13, 0.22)
    y, high = _SIDE * rng.uniform(0.38, 0.5), half * rng.uniform(1.2, 1.4)
    pen.ellipse([x - 2.2 * half, y + 1.3 * high, x + 2.2 * half, y + 4.5 * high], fill=cloth)
    pen.rectangle([x - 0.45 * half, y + 0.6 * high, x + 0.45 * half, y + 1.5 * high], fill=shade)  # type: ignore[arg-type]
    pen.ellipse([x - 1.18 * half, y - 1.25 * high, x + 1.18 * half, y + rng.uniform(0.1, 1.3) * high], fill=hair)
    pen.ellipse([x - half, y - 0.95 * high, x + half, y + high], fill=face)  # type: ignore[arg-type]
    pen.chord([x - half, y - 1.0 * high, x + half, y + 0.6 * high], 190, 350, fill=hair)
    for side in (-1, 1):
        at = x + side * 0.42 * half
        pen.ellipse([at - 0.18 * half, y - 0.1 * high, at + 0.18 * half, y + 0.08 * high], fill=(25, 20, 20))
        pen.line([at - 0.25 * half, y - 0.24 * high, at + 0.25 * half, y - 0.26 * high], fill=hair, width=2)
    pen.line([x, y, x + 0.1 * half, y + 0.3 * high], fill=shade, width=2)  # type: ignore[arg-type]
    pen.line([x - 0.35 * half, y + 0.58 * high, x + 0.35 * half, y + 0.58 * high], fill=(140, 60, 60), width=2)
    return picture.convert("RGBa").filter(ImageFilter.GaussianBlur(0.8))


def _lay(picture: Image.Image, figure: Image.Image, x: int, y: int) -> None:
    """Lays a premultiplied `figure` on `picture`, in place; what lies outside is cut off."""
    picture.paste(figure.convert("RGBA").convert("RGB"), (x, y), figure.getchannel("a"))


def _somebody(rng: np.random.Generator) -> Image.Image:
    """Head and shoulders before one colour, like a small portrait across the room."""
    picture = Image.new("RGB", (_SIDE, _SIDE), _tone(rng))
    _lay(picture, _figure(rng), 0, 0)
    return picture


def _view(rng: np.random.Generator) -> Image.Image:
    """A landscape, or shapes of colour."""
    picture = Image.new("RGB", (_SIDE, _SIDE), _tone(rng, 0.4, 0.95))
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        ridge = _SIDE * rng.uniform(0.35, 0.7)
        steps = np.linspace(0, _SIDE, 9)
        line = [(float(x), float(ridge + rng.normal(0, 7))) for x in steps]
        pen.polygon([(0, _SIDE), *line, (_SIDE, _SIDE)], fill=_tone(rng, 0.1, 0.6))
    for _ in range(int(rng.integers(1, 7))):
        x, y, wide = *rng.uniform(0, _SIDE, 2), rng.uniform(4, 40)
        pen.ellipse([x, y, x + wide, y + wide * rng.uniform(0.3, 1.2)], fill=_tone(rng))
    return picture.filter(ImageFilter.GaussianBlur(1.0))


def _desktop(rng: np.random.Generator) -> Image.Image:
    """Windows with lines of text, or a call with several people."""
    picture = Image.new("RGB", (_SIDE, _SIDE), _tone(rng, 0.05, 0.9))
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.35:
        cells = int(rng.integers(1, 4))
        for row in range(cells):
            for column in range(cells):
                side = _SIDE // cells
                picture.paste(_somebody(rng).resize((side - 2, side - 2)), (column * side + 1, row * side + 1))
        return picture
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(0, 0.5 * _SIDE, 2)
        right, below = x + rng.uniform(25, 70), y + rng.uniform(25, 70)
        pale = rng.random() < 0.6
        pen.rectangle([x, y, right, below], fill=(245, 245, 248) if pale else (28, 30, 34))
        pen.rectangle([x, y, right, y + 5], fill=_tone(rng))
        for line in np.arange(y + 9, below - 3, rng.uniform(3.5, 6)):
            ink = int(rng.integers(60, 160))
            pen.line([x + 3, line, x + 3 + (right - x - 6) * rng.uniform(0.2, 1), line], fill=(ink, ink, ink), width=1)
    return picture


def _set_in(image: FloatImage, picture: Image.Image, box: NDArray[np.float64], border: float, rim: FloatImage | float) -> None:
    """Sets a picture with a border of one colour into `image`, in place; box x, y, width, height in pixels."""
    x, y, width, height = (round(float(value)) for value in box)
    frame = np.full((height, width, 3), rim, np.float32)
    inset = min(max(1, round(border)), (min(width, height) - 2) // 2)
    inner = picture.resize((width - 2 * inset, height - 2 * inset), Image.Resampling.BICUBIC)
    frame[inset : height - inset, inset : width - inset] = np.asarray(inner, np.float32) / 255.0
    left, top, right, low = max(x, 0), max(y, 0), min(x + width, CANVAS), min(y + height, CANVAS)
    if left < right and top < low:
        image[top:low, left:right] = frame[top - y : low - y, left - x : right - x]


def gallery(rng: np.random.Generator) -> FloatImage:
    """A wall with one to six framed pictures, half of them of people, some behind reflecting glass."""
    ramp = 1 + rng.uniform(-0.4, 0.4) * (_X - 0.5) + rng.uniform(-0.4, 0.4) * (_Y - 0.5)
    image = (np.asarray(_tone(rng, 0.25, 0.95), np.float32) / 255.0 * ramp[..., None]).astype(np.float32)
    for _ in range(int(rng.integers(1, 7))):
        width = CANVAS * rng.uniform(0.12, 0.5)
        box = np.array([*(rng.uniform(-0.15, 0.95, 2) * CANVAS), width, width * rng.uniform(0.65, 1.5)])
        picture = _somebody(rng) if rng.random() < 0.5 else _view(rng)
        if rng.random() < 0.5:  # a white mat
            picture = _matted(picture, rng.uniform(0.08, 0.2))
        shadow = box + [2, 3, 0, 0]
        x, y, wide, high = (max(0, int(value)) for value in shadow)
        image[y : y + high, x : x + wide] *= rng.uniform(0.6, 0.9)
        level = rng.choice([0.05, 0.12, 0.3, 0.6, 0.9])
        _set_in(image, picture, box, rng.uniform(0.0, 0.07) * width, np.float32(level * rng.uniform(0.7, 1.1, 3)))
        if rng.random() < 0.3:
            band = np.clip(1 - np.abs(_X + _Y * rng.uniform(-1, 1) - rng.uniform(0, 1)) * 8, 0, 1)
            x, y, wide, high = (max(0, int(value)) for value in box)
            area = np.s_[y : y + high, x : x + wide]
            image[area] += (1 - image[area]) * (band * rng.uniform(0.1, 0.5))[area][..., None]
    return image.clip(0, 1).astype(np.float32)


def _matted(picture: Image.Image, share: float) -> Image.Image:
    inset = round(_SIDE * share)
    mat = Image.new("RGB", (_SIDE, _SIDE), (240, 238, 232))
    mat.paste(picture.resize((_SIDE - 2 * inset, _SIDE - 2 * inset)), (inset, inset))
    return mat


def company(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """`image` with one to three people in it, who stand or sit further back than the subject."""
    room = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
    for _ in range(int(rng.integers(1, 4))):
        side = round(CANVAS * rng.uniform(0.25, 0.7))
        x = round(CANVAS * (rng.uniform(-0.15, 0.2) if rng.random() < 0.5 else rng.uniform(0.65, 0.95)) - side * 0.25)
        y = round(CANVAS * rng.uniform(-0.1, 0.5))
        figure = _figure(rng).resize((side, side), Image.Resampling.BICUBIC)
        _lay(room, figure, x, y)
        if y + side < CANVAS:  # the body continues to the floor
            _lay(room, figure.crop((0, side - 2, side, side - 1)).resize((side, CANVAS - y - side)), x, y + side)
    return np.asarray(room, np.float32) / 255.0


def disorder(rng: np.random.Generator) -> FloatImage:
    """Overlapping things of all sizes, few large and many small: edges and fine detail everywhere, as in photographs.

    The dead leaves model (Lee, Mumford and Huang, 2001): radii r with a density of r^-3 give the scale invariance of natural
    images. Some leaves carry stripes or lines of text.
    """
    colours = np.asarray([_tone(rng) for _ in range(int(rng.integers(3, 7)))], np.float32)
    palette = colours + (colours.mean(axis=1, keepdims=True) - colours) * np.float32(rng.uniform(0.0, 0.9))  # rooms are muted
    picture = Image.new("RGB", (CANVAS, CANVAS), tuple(int(v) for v in palette[0].clip(0, 255)))  # type: ignore[arg-type]
    pen = ImageDraw.Draw(picture)
    smallest, largest, square = CANVAS * rng.uniform(0.008, 0.03), CANVAS * rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.9)
    for _ in range(int(rng.integers(150, 500))):
        share = rng.random()
        radius = smallest / np.sqrt(1 - share * (1 - (smallest / largest) ** 2))
        x, y = rng.uniform(-0.1, 1.1, 2) * CANVAS
        fill = palette[int(rng.integers(len(palette)))] * rng.uniform(0.6, 1.3) + rng.normal(0, 12, 3)
        ink = tuple(int(v) for v in fill.clip(0, 255))
        half = radius * rng.uniform(0.5, 1.6, 2)
        box = (x - half[0], y - half[1], x + half[0], y + half[1])
        if rng.random() < square:
            lean = rng.normal(0, 0.04) if rng.random() < 0.6 else rng.uniform(0, np.pi)
            corners = np.asarray([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
            turned = corners @ np.asarray([[np.cos(lean), np.sin(lean)], [-np.sin(lean), np.cos(lean)]]) + (x, y)
            pen.polygon([(float(a), float(b)) for a, b in turned], fill=ink)
        else:
            pen.ellipse(box, fill=ink)
        if radius > 0.06 * CANVAS and rng.random() < 0.5:
            other = tuple(int(v) for v in palette[int(rng.integers(len(palette)))].clip(0, 255))
            step, text = rng.uniform(3, 9), rng.random() < 0.5
            for row in np.arange(box[1] + step, box[3] - step, step):
                end = box[2] - (2 * half[0] * rng.uniform(0, 0.7) if text else 0)
                pen.line(
                    (box[0] + 2, row, max(box[0] + 3, end - 2), row), fill=other, width=1 if text else max(1, int(step / 2))
                )
    return np.asarray(picture, np.float32) / 255.0


def desk(rng: np.random.Generator) -> FloatImage:
    """One to three screens in front of a wall, brighter than the room or off, above a table."""
    image = np.empty((CANVAS, CANVAS, 3), np.float32)
    image[:] = np.asarray(_tone(rng, 0.08, 0.8), np.float32) / 255.0
    image[round(CANVAS * rng.uniform(0.65, 1.0)) :] = np.asarray(_tone(rng, 0.1, 0.7), np.float32) / 255.0
    for _ in range(int(rng.integers(1, 4))):
        width = CANVAS * rng.uniform(0.25, 0.85)
        high = width * rng.choice([0.56, 0.62, 0.75, 1.7 if width < 0.35 * CANVAS else 0.56])
        x, y = CANVAS * rng.uniform(-0.25, 0.85), CANVAS * rng.uniform(-0.1, 0.6)
        foot = round(min(y + high, CANVAS))
        image[foot : foot + 18, max(0, int(x + 0.42 * width)) : max(0, int(x + 0.58 * width))] *= 0.5
        kind = rng.random()
        shown = _desktop(rng) if kind < 0.5 else _view(rng) if kind < 0.7 else _somebody(rng)
        lit = np.asarray(shown, np.float32) * (rng.uniform(0.8, 1.5) if rng.random() < 0.85 else 0.06)
        cold = np.array([1 - rng.uniform(0, 0.15), 1.0, 1 + rng.uniform(0, 0.12)], np.float32)
        picture = Image.fromarray((lit * cold).clip(0, 255).astype(np.uint8))
        _set_in(image, picture, np.array([x, y, width, high]), rng.uniform(0.008, 0.05) * width, rng.choice([0.03, 0.08, 0.7]))
    return image.clip(0, 1).astype(np.float32)
