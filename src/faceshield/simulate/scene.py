"""A lit person in front of a background: what every class, bona fide included, starts from.

Everything drawn here (framing, background, light, spectacles, what is in front of the face) is drawn alike for every class, so
that none of it reveals the class.

    scene = compose_scene(portrait, rng)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from faceshield.simulate.clothes import below_the_face, dress, shoulders
from faceshield.simulate.fronts import draw_front
from faceshield.simulate.furnishings import company, desk, disorder, gallery
from faceshield.simulate.holder import draw_holder
from faceshield.simulate.portrait import (
    CANVAS,
    OUTLINE,
    WHOLE_CANVAS,
    Box,
    FloatImage,
    Light,
    Mask,
    Points,
    Portrait,
    Scene,
    blend,
    room_for_a_face,
    smooth_noise,
)
from faceshield.simulate.skin_marks import draw_marks

_Y, _X = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / CANVAS

# ------------------------------------------------------------------------------------------------------ backgrounds


def _colour(rng: np.random.Generator, saturation: float = 0.25, low: float = 0.1, high: float = 0.95) -> NDArray[np.float32]:
    level = rng.uniform(low, high)
    return (level * (1 + rng.uniform(-saturation, saturation, 3))).clip(0.01, 1.0).astype(np.float32)


def _to_float(picture: Image.Image) -> FloatImage:
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255.0


def _to_rgb(colour: NDArray[np.float32]) -> tuple[int, int, int]:
    red, green, blue = (np.asarray(colour).clip(0, 1) * 255).astype(int)
    return int(red), int(green), int(blue)


def _wall(rng: np.random.Generator) -> tuple[FloatImage, str]:
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (_X * np.cos(angle) + _Y * np.sin(angle))[..., None]
    image = _colour(rng, 0.15) * (1 + rng.uniform(-0.5, 0.5) * (ramp - ramp.mean()))
    grain = smooth_noise(rng, cells=int(rng.integers(3, 60))) * rng.uniform(0, 0.05)
    return (image + grain).astype(np.float32), "a plain wall"


def _curtain(rng: np.random.Generator) -> tuple[FloatImage, str]:
    bend = smooth_noise(rng, cells=4)[..., 0] * 0.03
    folds = np.sin((_X + bend) * rng.uniform(25, 110) + rng.uniform(0, 6))
    return (_colour(rng) * (1 + rng.uniform(0.08, 0.3) * folds[..., None])).astype(np.float32), "a curtain"


def _room(rng: np.random.Generator) -> tuple[FloatImage, str]:
    picture = Image.new("RGB", (CANVAS, CANVAS), _to_rgb(_colour(rng, 0.12, 0.3, 0.9)))
    draw = ImageDraw.Draw(picture)
    floor = int(rng.uniform(0.6, 1.1) * CANVAS)
    draw.rectangle((0, floor, CANVAS, 2 * CANVAS), fill=_to_rgb(_colour(rng, 0.3, 0.1, 0.6)))
    for _ in range(int(rng.integers(2, 9))):  # frames, shelves, doors, cupboards, a monitor, books
        width, height = (rng.uniform(0.05, 0.5, 2) * CANVAS).astype(int)
        x, y = (rng.uniform(-0.1, 1.0, 2) * CANVAS).astype(int)
        box = (int(x), int(y), int(x + width), int(y + height))
        edge = int(rng.integers(0, 5))
        fill, outline = _colour(rng, 0.4, 0.03, 1.0), _colour(rng, 0.3, 0.0, 0.8)
        draw.rectangle(box, fill=_to_rgb(fill), outline=_to_rgb(outline), width=edge)
        if rng.random() < 0.3:
            step = int(rng.integers(5, 16))
            for k in range(box[0], box[2], step):
                draw.rectangle((k, box[1] + 2, k + step - 2, box[3]), fill=_to_rgb(_colour(rng, 0.6)))
    return _to_float(picture), "a room"


def _window(rng: np.random.Generator) -> tuple[FloatImage, str]:
    image, _ = _room(rng)
    picture = Image.fromarray((image * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    x, y = rng.uniform(-0.2, 0.6, 2) * CANVAS
    width, height = rng.uniform(0.4, 0.9, 2) * CANVAS
    sky = np.asarray([0.9, 0.95, 1.0], np.float32) * rng.uniform(0.8, 1.1)
    draw.rectangle((x, y, x + width, y + height), fill=_to_rgb(sky))
    for share in np.linspace(0, 1, int(rng.integers(2, 5))):
        bar = x + share * width
        draw.line((bar, y, bar, y + height), fill=_to_rgb(_colour(rng, 0.1)), width=int(rng.integers(2, 7)))
    if rng.random() < 0.4:  # a blind
        for row in np.arange(y, y + height, rng.uniform(5, 14)):
            draw.line((x, row, x + width, row), fill=_to_rgb(_colour(rng, 0.1, 0.5)), width=2)
    return _to_float(picture), "a bright window"


def _outdoors(rng: np.random.Generator) -> tuple[FloatImage, str]:
    horizon = rng.uniform(0.2, 0.8)
    sky = np.asarray([0.65, 0.8, 0.95], np.float32) * rng.uniform(0.6, 1.1)
    ground = np.asarray([0.3, 0.4, 0.25], np.float32) * rng.uniform(0.5, 1.6) * rng.uniform(0.7, 1.3, 3)
    share = 1 / (1 + np.exp(-(_Y - horizon + smooth_noise(rng, cells=5)[..., 0] * 0.15) * 30))
    leaves = smooth_noise(rng, cells=int(rng.integers(10, 50)), channels=1) * rng.uniform(0.05, 0.3)
    image = sky + (ground - sky) * share[..., None]
    return (image * (1 + leaves * share[..., None])).astype(np.float32), "a place outdoors"


def _clutter(rng: np.random.Generator) -> tuple[FloatImage, str]:
    image = 0.45 + 0.3 * smooth_noise(rng, cells=int(rng.integers(3, 12)), channels=3)
    image = image + rng.uniform(0.05, 0.25) * smooth_noise(rng, cells=int(rng.integers(15, 50)), channels=3)
    return (image * (0.5 + 0.5 * _colour(rng))).astype(np.float32), "a cluttered place"


def _tiles(rng: np.random.Generator) -> tuple[FloatImage, str]:
    rows, columns = rng.uniform(4, 14) * rng.uniform(0.6, 1.7, 2)
    shifted = _X + (0.5 / columns) * (np.floor(_Y * rows) % 2 if rng.random() < 0.5 else 0)
    joint = np.minimum((shifted * columns) % 1, (_Y * rows) % 1) < rng.uniform(0.03, 0.12)
    each = np.sin(np.floor(shifted * columns) * 12.9 + np.floor(_Y * rows) * 78.2) * rng.uniform(0.0, 0.2)
    tile = _colour(rng) * (1 + each[..., None])
    return np.where(joint[..., None], _colour(rng, 0.1), tile).astype(np.float32), "a tiled wall"


def _lights(rng: np.random.Generator) -> tuple[FloatImage, str]:
    image = np.zeros((CANVAS, CANVAS, 3), np.float32) + _colour(rng, 0.3, 0.02, 0.25)
    for _ in range(int(rng.integers(6, 25))):
        x, y, radius = *rng.uniform(0, 1, 2), rng.uniform(0.01, 0.08)
        disc = ((radius - np.hypot(_X - x, _Y - y)) * 60).clip(0, 1)
        image += disc[..., None] * _colour(rng, 0.4, 0.3, 1.0) * rng.uniform(0.3, 0.9)
    return image, "lights in the dark"


def _gallery(rng: np.random.Generator) -> tuple[FloatImage, str]:
    return gallery(rng), "framed pictures"


def _desk(rng: np.random.Generator) -> tuple[FloatImage, str]:
    return desk(rng), "lit screens"


def _company(rng: np.random.Generator) -> tuple[FloatImage, str]:
    room, _ = (_room, _wall, _window)[int(rng.integers(3))](rng)
    return company(room, rng), "other people"


def _disorder(rng: np.random.Generator) -> tuple[FloatImage, str]:
    return disorder(rng), "a cluttered place"


def _close_by(rng: np.random.Generator, window: Box) -> tuple[FloatImage, str]:
    """Somebody at the sides of the face (a queue, a parent, a crowd), as the holder of a print is seen at its sides."""
    room, _ = (_room, _wall, _disorder)[int(rng.integers(3))](rng)
    return draw_holder(room, rng, window).image, "somebody close behind"


_CLOSE_BY = "close-by"
_BACKGROUNDS: dict[str, Callable[[np.random.Generator], tuple[FloatImage, str]]] = {
    "wall": _wall, "curtain": _curtain, "room": _room, "window": _window, "outdoors": _outdoors, "clutter": _clutter,
    "tiles": _tiles, "lights": _lights, "gallery": _gallery, "desk": _desk,
    "company": _company, "disorder": _disorder,
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What scenes are drawn from; `ANYWHERE` is the widest. A rate of 0 consumes no random numbers, except for `back_light`.

    Attributes:
        backgrounds: names from `_BACKGROUNDS` or "close-by", in equal shares; a name listed twice is twice as likely.
        face_height: range of the face's share of the picture's height, 0..1 (in a narrow picture, of 4/3 of its width).
        dressed: share in which the person wears a different shirt than in the portrait.
        blown: share of the back-lit scenes in which the background burns out.
        other_shapes: share of pictures that are wider or taller than square.
        light_x, light_y: range of the direction towards the main light, -1..1 (x right, y down). A drawn portrait brings its
            own light; of that, the nearest in range is taken.
        shade: range of how much darker the far side is, 0..1.
        back_light: share of scenes in which the person is darker than the background.
        half_body, close_up: shares in which the face is smaller or larger than `face_height`: 0.28 to 0.40, 0.80 to 1.25.
        hard_light: share with a single lamp from one side, the other half of the face in shadow.
        coloured_light: share in which the light on the person is clearly coloured, as by a screen, a shop or a sunset.
        veil: share with a bright haze over everything, as from a low sun or a window shining into the lens.
        fronts: factor on the rates of `fronts.draw_front` at which something is in front of the face.
        holder: share of prints and hand-held screens that a person holds in front of the chest.
        good_copy: share of prints and screens that are well made: they show the medium's edges, its holder, a little less
            contrast, and few and faint traces besides. Not for kinds that cannot be made so well, such as newsprint.
        marks: share of people with `skin_marks` on their face.
        dappled: share on whom the light falls through leaves, a blind or a fence.
        least_ink: minimum width of a tattoo's design as a share of the canvas (its ink fills part of the design), since what no
            camera resolves is no attack.
    """

    backgrounds: tuple[str, ...] = ("wall", "wall", "curtain", "room", "room", "window", "outdoors", "clutter")
    face_height: tuple[float, float] = (0.40, 0.80)
    light_x: tuple[float, float] = (-1.0, 1.0)
    light_y: tuple[float, float] = (-1.0, 0.4)
    shade: tuple[float, float] = (0.0, 0.8)
    back_light: float = 0.15
    half_body: float = 0.0
    close_up: float = 0.0
    hard_light: float = 0.0
    coloured_light: float = 0.0
    veil: float = 0.0
    fronts: float = 0.0
    holder: float = 0.0
    good_copy: float = 0.0
    other_shapes: float = 0.0
    dressed: float = 0.0
    blown: float = 0.0
    marks: float = 0.0
    dappled: float = 0.0
    least_ink: float = 0.0


ANYWHERE = Setting(
    backgrounds=(
        "wall", "wall", "curtain", "room", "room", "window", "outdoors", "clutter", "tiles", "lights", "gallery", "desk",
        "company", "company", "disorder", "disorder", "disorder", "close-by", "close-by",
    ),
    half_body=0.10, close_up=0.2, hard_light=0.10, coloured_light=0.12, veil=0.06, fronts=1.0, holder=0.45,
    good_copy=0.6, other_shapes=0.65, dressed=0.3, blown=0.3,
    marks=0.4, dappled=0.06, least_ink=0.19,
)  # fmt: skip


def draw_background(
    rng: np.random.Generator, setting: Setting = ANYWHERE, window: Box = WHOLE_CANVAS
) -> tuple[FloatImage, str]:
    """A background of the canvas' size, (CANVAS, CANVAS, 3) in 0..1, and the phrase that describes it.

    Args:
        window: the part that the camera sees; somebody close behind is placed in it as the holder of a print is.
    """
    name = setting.backgrounds[int(rng.integers(len(setting.backgrounds)))]
    image, phrase = _close_by(rng, window) if name == _CLOSE_BY else _BACKGROUNDS[name](rng)
    blur = float(rng.choice([0.0, 0.6, 1.5, 3.0, 6.0]))
    picture = Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8))
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(picture, dtype=np.float32) / 255.0, phrase


# ------------------------------------------------------------------------------------------------------- composition


def _place(portrait: Portrait, matrix: NDArray[np.float64]) -> tuple[FloatImage, Mask, Points]:
    """Places a portrait on the canvas by an affine `matrix` (2, 3) from portrait to canvas pixels.

    The portrait's edge pixels are repeated outwards, so that shoulders reach the canvas' edge and no bust ends in mid-air.
    """
    height, width = portrait.matte.shape
    pad = max(height, width) // 2
    rgb = np.pad((portrait.image.clip(0, 1) * 255).astype(np.uint8), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    matte = np.pad((portrait.matte * 255).astype(np.uint8), ((0, pad), (pad, pad)), mode="edge")
    matte = np.pad(matte, ((pad, 0), (0, 0)))  # not upwards: hair cut off at the top stays cut off
    if portrait.source == "photo" and portrait.matte.min() < 0.5:
        matte = _within_shoulders(matte, portrait, pad)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    back[:, 2] += pad + 0.5 - back[:, :2] @ (0.5, 0.5)  # Pillow counts from a pixel's corner, points from its centre
    coefficients = back.ravel().tolist()
    size = (CANVAS, CANVAS)
    picture = Image.fromarray(rgb)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.6:  # an affine transform does not average: blur first
        picture = picture.filter(ImageFilter.GaussianBlur(0.4 / scale))
    image = picture.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    placed = Image.fromarray(matte).transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    points = portrait.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(image, np.float32) / 255.0, np.asarray(placed, np.float32) / 255.0, points.astype(np.float32)


def _within_shoulders(matte: NDArray[np.uint8], portrait: Portrait, pad: int) -> NDArray[np.uint8]:
    """Limits the padding of a matte to where a body can be, so that shoulders cut off by the photograph do not run on."""
    height, width = portrait.matte.shape
    y, x = np.mgrid[-pad : height + pad, -pad : width + pad].astype(np.float32)
    body = shoulders(*below_the_face(x, y, portrait.landmarks))
    body[pad : pad + height, pad : pad + width] = 1
    return (matte * body).astype(np.uint8)


def _happens(rng: np.random.Generator, rate: float) -> bool:
    return bool(rng.random() < rate)


_SHAPES = (4 / 3, 4 / 3, 3 / 4, 3 / 4, 3 / 2, 2 / 3, 16 / 9, 9 / 16)
"""Width over height: webcams and cameras, phones held upright, and the same turned."""


def _draw_window(rng: np.random.Generator, setting: Setting) -> Box:
    """The part of the canvas that the camera sees: all, or a centred window of a usual or, as in crops, any shape."""
    if not setting.other_shapes or not _happens(rng, setting.other_shapes):
        return WHOLE_CANVAS
    shape = float(np.exp(rng.uniform(-0.6, 0.6))) if _happens(rng, 0.35) else float(rng.choice(_SHAPES))
    cut_x, cut_y = (round(CANVAS * max(0.0, 1 - part) / 2) for part in (shape, 1 / shape))
    return float(cut_x), float(cut_y), float(CANVAS - cut_x), float(CANVAS - cut_y)


def _framing(portrait: Portrait, rng: np.random.Generator, setting: Setting, window: Box) -> NDArray[np.float64]:
    """Affine map that scales the face to the setting's height, distorts it a little and mirrors it half the time."""
    outline = portrait.landmarks[OUTLINE]
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    face_height = float(np.ptp(outline[:, 1]))
    share = rng.uniform(*setting.face_height)
    if setting.half_body and _happens(rng, setting.half_body):
        share = rng.uniform(0.28, 0.40)
    elif setting.close_up and _happens(rng, setting.close_up):
        share = rng.uniform(0.80, 1.25)
    scale = share * room_for_a_face(window) / face_height
    angle = np.deg2rad(rng.normal(0, 5))
    stretch = rng.normal(1.0, 0.04)
    shear = rng.normal(0, 0.03)
    linear = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    linear = linear @ np.asarray([[stretch, shear], [0.0, 1.0]])
    if rng.random() < 0.5:
        linear = linear @ np.diag([-1.0, 1.0])
    centre = np.asarray([window[0] + window[2], window[1] + window[3]]) / (2 * CANVAS)
    target = CANVAS * (centre + rng.normal(0, 0.05, 2))
    return np.hstack([linear, (target - linear @ middle)[:, None]])


def _mirror_landmarks(points: Points) -> Points:
    """Landmarks of a mirrored face, renamed so that "left" is the viewer's left again."""
    order = np.arange(len(points))
    order[0:11] = order[0:11][::-1]
    order[11:14], order[23:26] = np.arange(25, 22, -1), np.arange(13, 10, -1)
    order[14:23] = order[14:23][::-1]
    upper, lower = list(range(38, 33, -1)), [41, 40, 39]
    order[26:34] = upper + lower
    order[34:42] = [30, 29, 28, 27, 26, 33, 32, 31]
    order[42:48], order[48:54] = np.arange(53, 47, -1), np.arange(47, 41, -1)
    order[54:59], order[60:65] = np.arange(60, 65), np.arange(54, 59)
    order[65:72] = order[65:72][::-1]
    order[72:77] = order[72:77][::-1]
    order[77:79] = [78, 77]
    return points[order]


def _dapples(rng: np.random.Generator) -> Mask:
    """(CANVAS, CANVAS) factor of light that falls through leaves (patches), or through a blind or a fence (stripes)."""
    if _happens(rng, 0.5):
        falls = smooth_noise(rng, cells=int(rng.integers(4, 12)))[..., 0] * 2 + rng.uniform(-0.5, 0.5)
    else:
        angle = rng.uniform(0, np.pi)
        falls = np.sin((_X * np.cos(angle) + _Y * np.sin(angle)) * rng.uniform(25, 90)) + rng.uniform(-0.5, 0.5)
    dark = rng.uniform(0.35, 0.75)
    return (dark + (1 - dark) / (1 + np.exp(-falls * rng.uniform(2, 8)))).astype(np.float32)


def _direction(
    portrait: Portrait, matrix: NDArray[np.float64], rng: np.random.Generator, setting: Setting
) -> tuple[float, float]:
    """Direction towards the main light: about the portrait's own, if known, placed by `matrix`; within the setting's range."""
    ranges = np.asarray([setting.light_x, setting.light_y])
    if portrait.light_xy is None:
        x, y = rng.uniform(ranges[:, 0], ranges[:, 1])
    else:
        linear = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        x, y = (linear @ portrait.light_xy + rng.normal(0, 0.1, 2)).clip(ranges[:, 0], ranges[:, 1])
    return float(x), float(y)


def _light(points: Points, light_xy: tuple[float, float], rng: np.random.Generator, setting: Setting) -> Light:
    """Light that shades the person as a rounded object, tinted and from one side, and the whole scene unevenly."""
    light_x, light_y = light_xy
    outline = points[OUTLINE] / CANVAS
    centre, radius = outline.mean(axis=0), np.maximum(np.ptp(outline, axis=0) / 2, 0.05)
    nx = ((_X - centre[0]) / radius[0] / 1.4).clip(-1, 1)
    ny = ((_Y - centre[1]) / radius[1] / 1.6).clip(-1, 1)
    least, most = setting.shade
    strength = least + rng.beta(1.2, 3.0) * (most - least)
    shade = 1 + strength * (nx * light_x + 0.6 * ny * light_y)
    behind = 1.0
    if rng.random() < setting.back_light:  # back light: the person is darker than the background
        shade *= rng.uniform(0.45, 0.8)
        if setting.blown and _happens(rng, setting.blown):
            behind += rng.uniform(0.3, 1.6)
    if setting.hard_light and _happens(rng, setting.hard_light):
        # The terminator on a rounded object: from full light to the room's reflected light, within a nose's breadth.
        across = nx * np.sign(light_x) + rng.uniform(-0.3, 0.4) * ny + rng.uniform(-0.15, 0.35)
        dark = rng.uniform(0.2, 0.55)
        shade = shade * (dark + (1 - dark) / (1 + np.exp(-across * rng.uniform(5, 14))))
    tint = rng.normal(0, 0.06, 3).astype(np.float32)
    person_light = shade[..., None] * (1 + tint * (nx * light_x)[..., None])
    if setting.coloured_light and _happens(rng, setting.coloured_light):
        hue = rng.normal(0, 1, 3).astype(np.float32)
        hue = (hue - hue.mean()) / max(float(np.abs(hue - hue.mean()).max()), 1e-3)
        falls = np.float32(rng.uniform(0.1, 0.4)) * (0.6 + 0.4 * nx * np.sign(light_x))
        person_light = person_light * (1 + hue * falls[..., None])
    if setting.dappled and _happens(rng, setting.dappled):
        person_light = person_light * _dapples(rng)[..., None]
    ramp = (1 + rng.uniform(-0.35, 0.35) * (_X - 0.5) + rng.uniform(-0.35, 0.35) * (_Y - 0.5))[..., None]
    haze = np.zeros_like(ramp)
    if setting.veil and _happens(rng, setting.veil):
        haze = rng.uniform(0.1, 0.4) * (0.6 + 0.8 * np.exp(-(((_X - rng.random()) ** 2 + (_Y - 0.2) ** 2) / 0.3)))[..., None]
    person, behind = (np.float32(one) for one in (person_light * ramp, behind * ramp))
    return Light(person, behind, np.float32(haze))


def _spectacles(image: FloatImage, points: Points, rng: np.random.Generator) -> FloatImage:
    """Ordinary spectacles with clear lenses, which are no attack and as frequent on attacks as on bona fide faces."""
    left, right = points[77], points[78]
    span = float(np.linalg.norm(right - left))
    angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    axis = np.asarray([np.cos(angle), np.sin(angle)])
    half_width, half_height = span * rng.uniform(0.32, 0.44), span * rng.uniform(0.20, 0.36)
    exponent = rng.choice([2.0, 3.0, 6.0])
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.stack([np.sign(np.cos(turns)) * np.abs(np.cos(turns)) ** (2 / exponent) * half_width,
                     np.sign(np.sin(turns)) * np.abs(np.sin(turns)) ** (2 / exponent) * half_height], axis=1)  # fmt: skip
    rotation = np.asarray([[axis[0], axis[1]], [-axis[1], axis[0]]])
    frame = Image.new("L", (CANVAS * 2, CANVAS * 2), 0)
    glass = Image.new("L", (CANVAS * 2, CANVAS * 2), 0)
    draw = ImageDraw.Draw(frame)
    width = max(1, round(span * rng.uniform(0.02, 0.08) * 2))
    for pupil in (left, right):
        loop = [(float(x), float(y)) for x, y in (ring @ rotation + pupil + [0, 0.04 * span]) * 2]
        draw.line([*loop, loop[0], loop[1]], fill=255, width=width, joint="curve")
        ImageDraw.Draw(glass).polygon(loop, fill=255)
    inner = axis * (span - half_width)
    for start, end in ((left + axis * half_width, left + inner), (left - axis * half_width, left - axis * span * 0.85),
                       (right + axis * half_width, right + axis * span * 0.85)):  # fmt: skip
        draw.line((*(start * 2), *(end * 2)), fill=255, width=width)
    frame_mask = np.asarray(frame.resize((CANVAS, CANVAS), Image.Resampling.BOX), np.float32) / 255.0
    glass_mask = np.asarray(glass.resize((CANVAS, CANVAS), Image.Resampling.BOX), np.float32) / 255.0
    streak = np.clip(np.sin((_X * axis[0] + _Y) * rng.uniform(8, 20) + rng.uniform(0, 6)) - 0.6, 0, 1) * rng.uniform(0, 0.7)
    image = blend(image, np.ones(3, np.float32), glass_mask * streak)
    shade = np.zeros(3, np.float32) + _colour(rng, 0.4, 0.02, 0.5)
    return blend(image, shade, frame_mask * rng.uniform(0.75, 1.0))


def compose_scene(portrait: Portrait, rng: np.random.Generator, setting: Setting = ANYWHERE) -> Scene:
    """Frames a portrait in front of a random background and lights it, sometimes with spectacles, another shirt or marks."""
    window = _draw_window(rng, setting)
    matrix = _framing(portrait, rng, setting, window)
    image, matte, points = _place(portrait, matrix)
    if np.linalg.det(matrix[:, :2]) < 0:
        points = _mirror_landmarks(points)
    background, phrase = draw_background(rng, setting, window)
    traits = list(portrait.traits)
    if portrait.matte.min() > 0.5 or (portrait.source == "photo" and rng.random() < 0.2):
        phrase, matte = "its own background", np.ones_like(matte)  # the photograph's: no matte, or kept by chance
    if setting.dressed and _happens(rng, setting.dressed):
        image = dress(image, matte, points, rng)
    image = blend(background, image, matte)
    if setting.marks and _happens(rng, setting.marks):
        image = draw_marks(image, points, rng)
    if rng.random() < 0.14 and "glasses" not in traits:
        image = _spectacles(image, points, rng)
        traits.append("glasses")
    unlit = image.clip(0, 1).astype(np.float32)
    light_xy = _direction(portrait, matrix, rng, setting)
    light = _light(points, light_xy, rng, setting)
    image = light.on(unlit, matte).clip(0, 1)
    phrases = ("a face before " + phrase, *traits)
    front = draw_front(image, points, light_xy, rng, setting.fronts) if setting.fronts else None
    return Scene(image, points, matte, portrait, light_xy, phrases, front, window, unlit, light)
