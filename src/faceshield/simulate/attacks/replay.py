"""Pictures and videos shown on a screen: phone, tablet, monitor, television, laptop, CRT, e-reader, LED wall, projector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.simulate import paint
from faceshield.simulate.attacks import hands, panels
from faceshield.simulate.attacks import recapture as rc
from faceshield.simulate.attacks.controls import draw_controls
from faceshield.simulate.holder import Holder
from faceshield.simulate.portrait import (
    CANVAS,
    OUTLINE,
    Attacked,
    Box,
    FloatImage,
    Mask,
    Points,
    Scene,
    blend,
    fill_polygon,
)

BEZEL, MOIRE, GRID, GLARE = "a screen bezel", "moire stripes", "a pixel grid", "screen glare"
FLICKER, BLUISH, CLIPPED = "flicker bands", "bluish screen colours", "clipped bright colours"
BUTTONS, FINGERS, UNEVEN = "player buttons", "fingers holding screen", "uneven screen brightness"
CUES: tuple[str, ...] = (BEZEL, BUTTONS, MOIRE, GLARE, FINGERS, UNEVEN, BLUISH, GRID, FLICKER, CLIPPED)


@dataclass(frozen=True)
class _Device:
    """A kind of screen.

    Attributes:
        aspects: possible width / height ratios. bezel: range of its width, share of the shorter side.
        width_cm: physical width. pale: probability of a light body. rounding: corner radius, share of the shorter side.
        structure: renderer of its pixels if it is not an LCD panel. cue: the trace that this leaves.
        share: weight with which it is drawn; some screens are rare.
        stands: whether it stands by itself, so that nobody holds it. bow: largest bulge in canvas pixels.
    """

    aspects: tuple[float, ...]
    bezel: tuple[float, float]
    width_cm: float
    pale: float
    rounding: float
    structure: panels.Structure | None = None
    cue: str = ""
    share: int = 1
    stands: bool = True
    bow: float = 0.0


_DEVICES: dict[str, _Device] = {
    "phone": _Device((0.46, 0.5, 0.5625, 0.5625, 1.78), (0.02, 0.09), 7.0, 0.2, 0.1, share=3, stands=False),
    "tablet": _Device((0.7, 0.75, 0.75, 1.33, 1.6), (0.04, 0.12), 18.0, 0.35, 0.05, share=3, stands=False),
    "monitor": _Device((1.78, 1.6, 1.33), (0.015, 0.07), 52.0, 0.15, 0.01, share=3),
    "tv": _Device((1.78,), (0.01, 0.045), 110.0, 0.05, 0.005, share=2),
    "laptop": _Device((1.6, 1.5, 1.78), (0.01, 0.06), 33.0, 0.35, 0.015, share=3),
    "tube": _Device((1.33, 1.25), (0.06, 0.2), 40.0, 0.5, 0.1, panels.tube, GRID, bow=14.0),
    "reader": _Device((0.7, 0.75), (0.07, 0.18), 12.0, 0.4, 0.05, panels.grey_ink, GRID, stands=False),
    "lamps": _Device((1.78, 1.0, 0.6), (0.008, 0.03), 200.0, 0.0, 0.0, panels.lamps, GRID),
    "projector": _Device((1.6, 1.78, 1.33), (0.0, 0.0), 180.0, 0.0, 0.0, panels.thrown, UNEVEN),
}
VARIANTS: tuple[str, ...] = tuple(f"replay/{kind}" for kind in _DEVICES)


def _good_panel(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A modern panel, correctly exposed: nearly the picture itself, slightly bluer, with blacks that are not quite black."""
    blue = rng.uniform(0.0, 0.11)
    cast = np.array([1 - 0.9 * blue, 1 - rng.uniform(0.1, 0.4) * blue, 1 + 0.7 * blue], np.float32)
    lit = image.clip(0, 1) ** np.float32(rng.uniform(0.9, 1.25)) * (np.float32(rng.uniform(0.85, 1.12)) * cast)
    lit = rc.saturate(lit, rng.uniform(0.9, 1.25)).clip(0, 1)
    black = np.float32(rng.uniform(0.0, 0.05))
    return (black * cast + (1 - black) * lit).astype(np.float32)


def _panel(image: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, list[str]]:
    """The picture after the panel's response and the camera's exposure (contrast, blue cast, clipping, bloom), and the cues of
    what is obvious.
    """
    gamma, gain = rng.uniform(0.85, 1.6), rng.uniform(0.6, 1.3)
    blue = rng.uniform(0.02, 0.3) if paint.chance(rng, 0.6) else rng.uniform(-0.06, 0.04)
    black = rng.uniform(0.0, 0.09)
    cast = np.array([1 - 0.9 * blue, 1 - rng.uniform(0.1, 0.4) * blue, 1 + 0.7 * blue], np.float32)
    lit = image.clip(0, 1) ** np.float32(gamma) * (np.float32(gain) * cast)
    lit = rc.saturate(lit, rng.uniform(0.75, 1.45))
    if paint.chance(rng, 0.5):
        lit = lit + np.float32(rng.uniform(0.15, 0.55)) * rc.blurred((lit - 0.7).clip(0, 1), rng.uniform(4, 14))
    if paint.chance(rng, 0.2):  # low bit depth: banding in smooth gradients
        steps = np.float32(rng.integers(10, 28))
        lit = np.round(lit * steps) / steps
    cues = [BLUISH] if blue > 0.12 else []
    if float(np.mean(lit[..., 0] + lit[..., 1] + lit[..., 2] > 3.0)) > 0.12:
        cues.append(CLIPPED)
    return (np.float32(black) * cast + np.float32(1 - black) * lit.clip(0, 1)).astype(np.float32), cues


def _screen(scene: Scene, shown: FloatImage, view: str, device: _Device, rng: np.random.Generator) -> tuple[rc.Sheet, Points]:
    """The lit screen, and (N, 2) sheet pixels covered by controls; N is 0 without controls."""
    aspect, cover, shrink = float(rng.choice(device.aspects)), paint.chance(rng, 0.45), 1.0
    controls = paint.chance(rng, 0.28 if view == rc.TIGHT else 0.38)
    dark = rng.uniform(0.0, 0.05) if paint.chance(rng, 0.75) else rng.uniform(0.75, 0.95)
    fill = np.full(3, dark, np.float32)
    if view == rc.TIGHT:
        sheet = rc.make_sheet(shown, (0, 0, CANVAS, CANVAS), (CANVAS, CANVAS), (0, 0, 0, 0), fill)
    else:
        face = rc.face_box(scene.landmarks)
        room = min(CANVAS / max(face[2] - face[0], 1.0), CANVAS / max(face[3] - face[1], 1.0))
        cover = cover and 1 / room < (aspect if aspect < 1 else 1 / aspect)
        inside = aspect if cover else float(rng.choice([0.75, 1.0, 1.33]))
        crop = rc.crop_around_face(scene.landmarks, inside, rng)
        shrink = 1.0 if view == rc.PARTIAL else 0.7
        width, height = round((crop[2] - crop[0]) * shrink), round((crop[3] - crop[1]) * shrink)
        # Bars fill what the picture leaves free; the picture need not be centred.
        across, down = max(0, round(height * aspect) - width), max(0, round(width / aspect) - height)
        lean = rng.uniform(0.2, 0.8) if paint.chance(rng, 0.3) else 0.5
        margins = (
            round(across * lean),
            round(down * lean),
            across - round(across * lean),
            down - round(down * lean),
        )
        sheet = rc.make_sheet(shown, crop, (width, height), margins, fill)
    covered: Points = np.zeros((0, 2), np.float32)
    if controls:
        # A tight view shows only part of the screen, so its controls lie closer to the middle.
        inset = 26.0 if view == rc.TIGHT else 0.0
        box = sheet.content
        inner = (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset)
        layer = draw_controls(sheet.size, inner, sheet.size[1] >= sheet.size[0], rng)
        sheet = rc.Sheet(blend(sheet.picture, layer[..., :3], layer[..., 3]), sheet.content, sheet.crop)
        covered = np.argwhere(layer[::3, ::3, 3] > 0.4)[:, ::-1].astype(np.float32) * 3
    return sheet, covered


def _faint(factor: FloatImage, share: np.float32) -> FloatImage:
    """`factor` weakened to a `share` of its effect; unchanged, bit for bit, for a share of 1."""
    return factor if share == 1 else 1 + share * (factor - 1)


def _deck(image: FloatImage, placement: rc.Placement, outer: Box, rng: np.random.Generator) -> None:
    """Paints the keyboard below a laptop's screen, foreshortened from the front, in place."""
    x0, x1, y, wide = outer[0], outer[2], outer[3], outer[2] - outer[0]
    depth, flare = wide * rng.uniform(0.12, 0.3), wide * rng.uniform(0.02, 0.12)
    tone = np.full((1, 1, 3), rng.choice([rng.uniform(0.05, 0.2), rng.uniform(0.5, 0.8)]), np.float32)
    deck = [(x0, y), (x1, y), (x1 + flare, y + depth), (x0 - flare, y + depth)]
    keys = [(x0 + 0.06 * wide, y + 0.1 * depth), (x1 - 0.06 * wide, y + 0.1 * depth),
            (x1 - 0.05 * wide + flare, y + 0.75 * depth), (x0 + 0.05 * wide - flare, y + 0.75 * depth)]  # fmt: skip
    for part, level in ((deck, 1.0), (keys, 0.45)):
        mask = fill_polygon(placement.to_canvas(np.array(part, np.float32)))
        image += (tone * np.float32(level) - image) * mask[..., None]


def _glare(background: FloatImage, face: np.ndarray, rng: np.random.Generator) -> tuple[FloatImage, bool]:
    """Reflections in the glass (windows, lamps, haze, a dim room) as light to add, and whether they are obvious."""
    light = np.zeros((CANVAS, CANVAS, 3), np.float32)
    warm = np.array([1.0, 1.0, 1.0], np.float32) + rng.normal(0, 0.05) * np.array([1, 0, -1], np.float32)
    strength = rng.uniform(0.2, 0.62)
    style = rng.choice(["window", "lamp", "haze", "room"])
    if style == "window":
        x, y = 0.5 * rng.uniform(-10, 200, 2) + 0.5 * (face.clip(0, CANVAS) - 50)
        wide, high, lean = rng.uniform(40, 130), rng.uniform(50, 150), rng.uniform(-0.35, 0.35)
        columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        mask = np.zeros((CANVAS, CANVAS), np.float32)
        for i in range(columns):
            for j in range(rows):
                a, b = x + wide * i / columns, y + high * j / rows
                c, d = a + wide / columns * 0.88, b + high / rows * 0.9
                pane = np.array([(a + lean * b, b), (c + lean * b, b), (c + lean * d, d), (a + lean * d, d)], np.float32)
                mask = np.maximum(mask, fill_polygon(pane, soften=0))
        light += (rc.blurred(mask, rng.uniform(0.8, 6)) * np.float32(strength))[..., None] * warm
    elif style == "lamp":
        for _ in range(int(rng.integers(1, 4))):
            spot = rc.highlight(rng, (3.0, 14.0), near=face)
            light += (spot * np.float32(strength * 1.4) + rc.highlight(rng) * np.float32(0.05))[..., None] * warm
    elif style == "haze":
        light += (rc.highlight(rng, (20.0, 70.0), near=face) * np.float32(strength))[..., None] * warm
    else:
        small = (
            Image.fromarray(rc.to_bytes(background[:, ::-1]))
            .resize((48, 48))
            .resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
        )
        light += np.asarray(small, dtype=np.float32) / 255.0 * np.float32(rng.uniform(0.12, 0.34))
    return light, bool(style != "room")


def _body(
    s: rc.Plane,
    t: rc.Plane,
    outer: Box,
    screen: Box,
    radius: float,
    scale: float,
    device: _Device,
    rng: np.random.Generator,
) -> tuple[FloatImage, rc.Plane, rc.Plane]:
    """The device around the screen: its picture, its mask, and the mask of the lit area."""
    mask = rc.rounded_rectangle(s, t, outer, radius, scale)
    lit = rc.rounded_rectangle(s, t, screen, radius * rng.choice([0.0, 0.6]), scale)
    pale = paint.chance(rng, device.pale)
    tone = rng.uniform(0.7, 0.95) if pale else rng.uniform(0.015, 0.14)
    colour = np.full(3, tone, np.float32) * (1 + rng.normal(0, 0.03, 3).astype(np.float32))
    rim = rc.rounded_rectangle(s, t, outer, radius, scale * 0.3) * 2 - 1
    edge = np.exp(-np.abs(rim) * 2.2) * np.float32(rng.uniform(0.05, 0.4)) * mask
    shade = rc.ramp(rng, 0.75, 1.2)
    return (colour * shade[..., None] + edge[..., None]).astype(np.float32), mask, lit


def _on_the_wall(picture: FloatImage, mask: rc.Plane, rng: np.random.Generator) -> FloatImage:
    """Projected light within `mask` on a plain wall of a dim room, its edge as soft as the lens's focus leaves it."""
    tone = np.float32(rng.uniform(0.5, 0.95) * (1 + rng.normal(0, 0.04, 3)))
    wall = tone * (rc.ramp(rng, 0.75, 1.1) * np.float32(rng.uniform(0.2, 0.7)))[..., None]
    return blend(wall, wall + (1 - wall) * picture * tone, rc.blurred(mask, rng.uniform(0.5, 2.5)))


def _stand(image: FloatImage, placement: rc.Placement, outer: Box, rng: np.random.Generator) -> None:
    """Paints the stand of a monitor or television, in place."""
    middle, low, half = (outer[0] + outer[2]) / 2, outer[3], (outer[2] - outer[0]) * rng.uniform(0.04, 0.1)
    drop, reach = (outer[3] - outer[1]) * rng.uniform(0.1, 0.25), half * rng.uniform(2, 4)
    neck = [
        (middle - half, low - 4),
        (middle + half, low - 4),
        (middle + half, low + drop),
        (middle - half, low + drop),
    ]
    foot = [
        (middle - reach, low + drop),
        (middle + reach, low + drop),
        (middle + reach, low + drop * 1.2),
        (middle - reach, low + drop * 1.2),
    ]
    tone = np.full((1, 1, 3), rng.uniform(0.03, 0.3), np.float32)
    for part in (neck, foot):
        mask = fill_polygon(placement.to_canvas(np.array(part, np.float32)))
        image += (tone - image) * mask[..., None]


def apply(
    scene: Scene,
    rng: np.random.Generator,
    background: FloatImage,
    variant: str | None = None,
    holder: Holder | None = None,
    *,
    good: bool = False,
) -> Attacked:
    """A picture of `scene` shown on a screen in front of `background`.

    Args:
        scene: what was captured first.
        rng: source of all randomness.
        background: (CANVAS, CANVAS, 3), what lies behind the device and is sometimes reflected faintly in its glass.
        variant: one of `VARIANTS`; None draws one.
        holder: the person who holds a phone, tablet or e-reader at the chest; ignored for the other devices, which stand.
        good: a bright, fine panel, correctly exposed: no pixel grid or flicker, moire is rare and weak; LCD panels only.

    Raises:
        ValueError: unknown variant.
    """
    variant = paint.pick(rng, VARIANTS, variant, [device.share for device in _DEVICES.values()])
    kind = variant.split("/")[1]
    device, light = _DEVICES[kind], rc.scene_light(scene, rng)
    holder = None if device.stands else holder
    good = good and device.structure is None
    view = rc.draw_view(rng, whole=0.3 if kind == "phone" else 0.14, good=good)
    cues: list[str] = []
    if good:
        panel = _good_panel(rc.inner_capture(scene.image, rng, softest=0.55), rng)
    else:
        panel, cues = _panel(rc.inner_capture(scene.image, rng, softest=0.28), rng)
    sheet, controls = _screen(scene, panel, view, device, rng)
    outer = _casing(kind, sheet.size, rng)
    on_sheet = sheet.from_scene(scene.landmarks)
    placement = rc.place(sheet, outer, on_sheet, view, rng, tilt=0.38, bow=device.bow, window=scene.window)
    on_canvas = placement.to_canvas(on_sheet)
    on_view = placement.to_canvas(controls)
    if np.sum(np.all((on_view > scene.window[:2]) & (on_view < np.subtract(scene.window[2:], 1)), axis=1)) > 0.3 * len(on_view):
        cues.append(BUTTONS)
    traces = _draw_traces(kind, good, view, BUTTONS in cues, rng)
    shown = _Shown(kind, sheet, placement, outer, view, scene.window, light, holder)

    picture, cues, period = _traced(shown, traces, cues, rng)
    glare, mirrored = _mirrored(background, shown, traces, cues, on_canvas[OUTLINE].mean(axis=0), rng)
    picture = picture + glare * traces.strength * (1 - 0.6 * picture)
    image, mask, held = _held_up(picture, glare, background, shown, rng)
    return Attacked(
        image=image.clip(0, 1).astype(np.float32),
        boxes=(rc.visible_box(mask),),
        cues=(*cues, *mirrored, *held),
        variant=variant,
        landmarks=on_canvas,
        view=view,
        finest={GRID: period},
    )


def _casing(kind: str, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """The whole device around a screen of `size`, in screen pixels: bezel, longer ends of phones and tablets, a chin."""
    width, height = size
    device, held, stood = _DEVICES[kind], kind in ("phone", "tablet"), kind in ("monitor", "tv")
    edge = rng.uniform(*device.bezel) * min(width, height)
    ends = edge * (rng.uniform(1.5, 4.0) if held and paint.chance(rng, 0.4) else 1.0)
    chin = edge * rng.uniform(1.0, 2.5) if stood else ends
    sides, tops = (edge, ends) if height >= width else (ends if held else edge, edge)
    return -sides, -tops, width + sides, height + (chin if stood else tops)


_FINGERS_LIT = (0.6, 0.95)  # a camera exposes less for a bright panel


@dataclass(frozen=True)
class _Traces:
    """Which traces of the panel and of reflections in its glass show, and how strongly: 1, or less for good panels."""

    striped: bool
    gridded: bool
    flickering: bool
    uneven: bool
    glaring: bool
    strength: np.float32


def _draw_traces(kind: str, good: bool, view: str, buttons: bool, rng: np.random.Generator) -> _Traces:
    """Decides on all traces before any is painted, so that a view without bezel can get an obvious one; moire is optional."""
    striped, gridded = paint.chance(rng, 0.36), paint.chance(rng, 0.2)
    flickering, uneven = paint.chance(rng, 0.2), paint.chance(rng, 0.4)
    glaring = paint.chance(rng, 0.5)
    strength = np.float32(1.0)
    if good:
        strength, striped, gridded, flickering = np.float32(0.5), striped and paint.chance(rng, 0.3), False, False
        uneven, glaring = uneven and paint.chance(rng, 0.5), glaring and paint.chance(rng, 0.6)
    if _DEVICES[kind].structure is not None:
        striped = gridded = uneven = False
        glaring = glaring and kind in ("tube", "reader")
    elif view == rc.TIGHT and not (striped or gridded or flickering or uneven or glaring or buttons):
        glaring = paint.chance(rng, 0.5)
        uneven = not glaring
    return _Traces(striped, gridded, flickering, uneven, glaring, strength)


@dataclass(frozen=True)
class _Shown:
    """A screen in its pose.

    Attributes:
        kind: key of `_DEVICES`. sheet, placement: the lit screen, and its pose in the canvas.
        outer: the whole device in screen pixels. view: how much of it is visible.
        window: the part of the canvas that the camera sees.
        light: direction of the room's light. holder: the person who holds it at the chest, or None.
    """

    kind: str
    sheet: rc.Sheet
    placement: rc.Placement
    outer: Box
    view: str
    window: Box
    light: tuple[float, float]
    holder: Holder | None


def _traced(shown: _Shown, traces: _Traces, cues: list[str], rng: np.random.Generator) -> tuple[FloatImage, list[str], float]:
    """The screen in the canvas with the traces of panel and camera, `cues` with those of these traces added, and the period of
    its pixels in canvas pixels, infinite if none are drawn.
    """
    picture = rc.sample(shown.sheet.picture, *shown.placement.planes)
    u, v = shown.placement.from_middle(shown.sheet.size)
    kind, device, weak = shown.kind, _DEVICES[shown.kind], traces.strength
    striped, gridded, flickering = traces.striped, traces.gridded, traces.flickering
    cues, period = list(cues), np.inf
    if device.structure is not None:
        picture, period = device.structure(picture, u, v, rng)
        cues = [cue for cue in cues if kind != "reader" or cue not in (BLUISH, CLIPPED)] + [device.cue]
        flickering = flickering and kind != "reader"
    elif kind == "laptop":
        gridded = False
        beats, striped = panels.subpixels(u, v, rng) if striped or paint.chance(rng, 0.4) else (np.ones((), np.float32), False)
        picture = picture * _faint(beats, weak)
    elif striped:
        picture = picture * _faint(panels.moire(u, v, rng), weak)
    if striped:
        cues.append(MOIRE)
    if gridded:
        grid, period = panels.pixel_grid(u, v, rng)
        picture = picture * (grid * np.float32(1 / grid.mean()))
        cues.append(GRID)
    if flickering:
        picture = picture * panels.flicker(rng)[..., None]
        cues.append(FLICKER)
    if traces.uneven:
        # Seen at an angle, a panel dims and its colours shift.
        fall = rc.ramp(rng, rng.uniform(0.25, 0.6), rng.uniform(1.0, 1.15))
        turn = rng.uniform(0.0, 0.25, 3).astype(np.float32)
        picture = picture * fall[..., None] ** (weak * (1 + turn))
        cues.append(UNEVEN)
    return picture, cues, period


def _mirrored(
    background: FloatImage,
    shown: _Shown,
    traces: _Traces,
    cues: list[str],
    face: NDArray[np.floating],
    rng: np.random.Generator,
) -> tuple[FloatImage, list[str]]:
    """Light reflected by the glass, and its cue if obvious; it is made obvious if a view without bezel has no other trace."""
    if not traces.glaring:
        return np.zeros((1, 1, 3), np.float32), []
    glare, plain = _glare(background, face, rng)
    if not plain and shown.view == rc.TIGHT and not {MOIRE, GRID, FLICKER, UNEVEN, BUTTONS} & set(cues):
        plain = True
        glare = glare + (rc.highlight(rng, (10.0, 40.0), near=face) * np.float32(0.4))[..., None]
    return glare, [GLARE] if plain else []


def _held_up(
    picture: FloatImage, glare: FloatImage, background: FloatImage, shown: _Shown, rng: np.random.Generator
) -> tuple[FloatImage, Mask | None, list[str]]:
    """The device in front of the camera with whatever holds it, its mask (None if it fills the view), and the cues of both."""
    kind, placement, outer, holder = shown.kind, shown.placement, shown.outer, shown.holder
    width, height = shown.sheet.size
    screen: Box = (0.0, 0.0, float(width), float(height))
    if shown.view == rc.TIGHT:
        grip = hands.fingertip_from_border(rng, shown.window) if paint.chance(rng, 0.06) else None
        return hands.in_front(picture, grip, shown.light, _FINGERS_LIT, rng), None, [FINGERS] if grip else []
    if kind == "projector":
        mask = rc.rounded_rectangle(*placement.planes, screen, 0.0, placement.scale)
        return _on_the_wall(picture, mask, rng), mask, []
    device, upright = _DEVICES[kind], height >= width
    radius = device.rounding * rng.uniform(0.2, 1.4) * min(width, height)
    body, mask, lit = _body(*placement.planes, outer, screen, radius, placement.scale, device, rng)
    seen = background if holder is None else holder.image
    room = seen * np.float32(rng.uniform(0.65, 1.35))  # as bright as in other classes, or it would reveal this one
    image = rc.cast_shadow(room, mask, rng, shown.light)
    if kind in ("monitor", "tv") and paint.chance(rng, 0.6):
        _stand(image, placement, outer, rng)
    if kind == "laptop" and paint.chance(rng, 0.8):
        _deck(image, placement, outer, rng)
    grasp = paint.chance(rng, {"phone": 0.75, "tablet": 0.5}.get(kind, 0.0))
    tall = kind == "phone" and upright
    width_cm = device.width_cm * (1.0 if upright else 1.6)
    if holder is not None:
        grip = hands.grip_of_holder(placement, outer, width_cm, holder, rng)
    else:
        grip = hands.grip(placement, outer, width_cm, rng, wrap=tall and paint.chance(rng, 0.6)) if grasp else None
    for limb in grip.behind if grip else ():
        hands.paint_limb(image, limb, shown.light, rng.uniform(0.5, 0.9))
    body = body + glare * np.float32(0.25)
    image = blend(image, blend(body, picture, lit), mask)
    if paint.chance(rng, 0.4):
        # A bright panel lights its surroundings.
        halo = rc.blurred(lit, 14) * (1 - mask) * np.float32(rng.uniform(0.08, 0.3))
        image = image + halo[..., None] * picture.mean(axis=(0, 1))
    return hands.in_front(image, grip, shown.light, _FINGERS_LIT, rng), mask, [BEZEL, *([FINGERS] if grip else [])]
