"""Glasses that hide or replace the eyes: funny plastic eyes, printed or drawn eyes, paper spectacles, opaque party shapes,
googly eyes, a sleep mask, goggles.

Ordinary clear spectacles are bona fide and are not drawn here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceshield.simulate import paint
from faceshield.simulate.attacks.surface import Frame, ambient_light, exposure, portrait_texture
from faceshield.simulate.portrait import Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box

OPAQUE, FALSE_EYES, BULGING = "opaque glasses", "false plastic eyes", "bulging plastic eyeballs"
PRINTED, DRAWN, PAPER = "printed eyes on glasses", "drawn eyes on glasses", "paper glasses"
CARD, THICK, SHINE, HIDDEN = "flat card frame", "a thick plastic frame", "shiny lens highlights", "hidden real eyes"
SHAPED, HOLES = "a funny lens shape", "cut holes for eyes"
CUES: tuple[str, ...] = (
    HIDDEN, SHINE, THICK, OPAQUE, PAPER, CARD, DRAWN, PRINTED, FALSE_EYES, BULGING, SHAPED, HOLES,
)  # fmt: skip

_PLASTIC = (
    (0.05, 0.05, 0.06),
    (0.8, 0.08, 0.08),
    (0.1, 0.25, 0.8),
    (0.95, 0.8, 0.1),
    (0.9, 0.9, 0.9),
    (0.35, 0.2, 0.1),
    (0.1, 0.6, 0.3),
    (0.9, 0.35, 0.6),
)
_CARD = (
    (0.95, 0.94, 0.9),
    (0.95, 0.94, 0.9),
    (0.76, 0.6, 0.42),
    (0.9, 0.25, 0.2),
    (0.25, 0.5, 0.85),
    (0.95, 0.85, 0.3),
    (0.85, 0.6, 0.8),
)
_IRIS = ((0.2, 0.4, 0.75), (0.25, 0.5, 0.25), (0.35, 0.2, 0.1), (0.15, 0.15, 0.17), (0.55, 0.1, 0.1))


class _Wear:
    """Positions of the two lenses, and the picture under construction."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng, self.frame = scene, rng, Frame(scene.landmarks)
        self.image: FloatImage = scene.image
        self.worn: Mask = np.zeros(scene.image.shape[:2], np.float32)
        self.level = exposure(scene, self.frame)
        self.light = ambient_light(scene, self.frame) * self.level
        eyes = [self.frame.part(name).mean(axis=0) for name in ("left_eye", "right_eye")]
        along = (eyes[1] - eyes[0]).astype(np.float64)
        self.gap = float(max(np.linalg.norm(along), 8.0))
        tilt = rng.normal(0, 0.04)
        c, s = np.cos(tilt), np.sin(tilt)
        self.x = np.array([[c, -s], [s, c]]) @ along / self.gap
        self.y = np.array([-self.x[1], self.x[0]])
        middle = (eyes[0] + eyes[1]) / 2 + self.y * self.gap * rng.uniform(-0.03, 0.07)
        spread = rng.uniform(0.96, 1.08) / 2 * self.gap
        self.centres = (middle - self.x * spread, middle + self.x * spread)

    def lens(self, centre: ArrayLike, half_w: float, half_h: float, power: float = 2.0) -> Points:
        """Outline of a lens; half sizes as shares of the gap between the eyes."""
        return paint.ellipse(centre, self.x * half_w * self.gap, self.y * half_h * self.gap, power)

    def at(self, centre: ArrayLike, right: float, down: float) -> NDArray[np.float64]:
        """A point at an offset from `centre` in gaps."""
        return np.asarray(centre) + self.x * right * self.gap + self.y * down * self.gap

    def lay(self, tone: NDArray[np.float32], mask: Mask, strength: float = 1.0) -> None:
        """Paints opaque material in the scene's light."""
        alpha = (mask * strength)[..., None]
        self.image = self.image + (tone * self.light[..., None] - self.image) * alpha
        self.worn = np.maximum(self.worn, mask)

    def gleam(self, mask: Mask, strength: float) -> None:
        """Adds reflected light."""
        self.image = self.image + (mask * strength * self.level)[..., None]

    def shadow(self, mask: Mask) -> None:
        """Adds the contact shadow of `mask`."""
        self.image = paint.cast_shadow(self.image, mask, self.scene.light_xy, 0.06 * self.gap, self.rng.uniform(0.35, 0.65))

    def rims(self, lenses: list[Points], thick: float, tone: NDArray[np.float32]) -> None:
        """Paints a frame around the lenses, with bridge and temples, shaded like a round bar."""
        width = thick * self.gap
        inner = [self.centres[0] + self.x * 0.36 * self.gap, self.centres[1] - self.x * 0.36 * self.gap]
        bars = [np.vstack([lens, lens[:2]]) for lens in lenses]
        bars.append(paint.curve([inner[0], self.at((inner[0] + inner[1]) / 2, 0, -0.06), inner[1]], 12))
        for centre, side, u in ((self.centres[0], -1.0, -1.06), (self.centres[1], 1.0, 1.06)):
            hinge = self.at(centre, side * 0.42, -0.08)
            bars.append(np.vstack([hinge, self.frame.px((u, -0.06))]))
        mask = paint.strokes(bars, width)
        self.shadow(mask)
        self.lay(tone, mask)
        ridge = paint.blur(paint.strokes(bars, max(0.7, 0.3 * width)), 0.4)
        self.gleam(paint.shifted(ridge, 0, -max(1, round(0.2 * width))) * mask, self.rng.uniform(0.08, 0.35))


def _ball(w: _Wear, centre: NDArray[np.float64], radius: float, bulge: float) -> Mask:
    """Paints the white ball or disc of a false eye, sometimes with veins; `radius` in gaps. Returns the disc's mask."""
    rng = w.rng
    disc = paint.shapes([w.lens(centre, radius, radius)])
    height, width = disc.shape
    y, x = np.ogrid[0:height, 0:width]
    dx, dy = (x - centre[0]) / (radius * w.gap), (y - centre[1]) / (radius * w.gap)
    depth = np.sqrt((1 - dx**2 - dy**2).clip(0, 1))
    lx, ly = w.scene.light_xy
    tone = 1 - bulge * (0.45 * (1 - depth) - 0.25 * (dx * lx + dy * ly))
    white = np.array([0.96, 0.95, 0.92], np.float32) * tone[..., None].astype(np.float32)
    w.lay(white.astype(np.float32), disc)
    if paint.chance(rng, 0.35):
        veins = []
        for angle in rng.uniform(0, 2 * np.pi, 7):
            ends = [
                w.at(centre, r * np.cos(angle + t) * radius, r * np.sin(angle + t) * radius)
                for r, t in ((0.95, 0.0), (0.75, 0.12), (0.55, -0.05))
            ]
            veins.append(np.asarray(ends))
        w.lay(np.array([0.75, 0.15, 0.12], np.float32), paint.strokes(veins, 0.8) * disc, 0.7)
    return disc


def _iris(w: _Wear, centre: NDArray[np.float64], radius: float, tone: NDArray[np.float32], look: NDArray[np.float64]) -> None:
    iris_r = radius * w.rng.uniform(0.4, 0.62)
    at = w.at(centre, *(look * (radius - iris_r) * 0.7))
    w.lay(tone * np.float32(0.55), paint.shapes([w.lens(at, iris_r, iris_r)]))
    w.lay(tone, paint.shapes([w.lens(at, iris_r * 0.85, iris_r * 0.85)]))
    pupil = iris_r * w.rng.uniform(0.4, 0.65)
    w.lay(np.array([0.02, 0.02, 0.02], np.float32), paint.shapes([w.lens(at, pupil, pupil)]))


def _eyeballs(w: _Wear, bulging: bool) -> list[str]:
    rng = w.rng
    radius = rng.uniform(0.33, 0.46) if bulging else rng.uniform(0.26, 0.40)
    tone, look = paint.colour(rng, _IRIS), rng.uniform(-0.8, 0.8, 2)
    cross = -1.0 if paint.chance(rng, 0.3) else 1.0
    framed = not bulging or paint.chance(rng, 0.6)
    thick, plastic = rng.uniform(0.06, 0.14), paint.colour(rng, _PLASTIC)
    rings = [w.lens(centre, radius + 0.02, radius + 0.02) for centre in w.centres]
    w.shadow(paint.shapes(rings))
    for i, centre in enumerate(w.centres):
        disc = _ball(w, centre, radius, 1.0 if bulging else rng.uniform(0.2, 0.6))
        side = np.array([cross if i else 1.0, 1.0])
        _iris(w, centre, radius, tone, look * side)
        if bulging and paint.chance(rng, 0.35):  # a plastic lid over the ball
            lid = paint.shapes([w.lens(w.at(centre, 0, -radius), radius * 1.3, radius * rng.uniform(0.6, 1.0))]) * disc
            w.lay(plastic, lid)
        lx, ly = w.scene.light_xy
        spot = w.at(centre, lx * 0.35 * radius, ly * 0.45 * radius - 0.1 * radius)
        size = radius * rng.uniform(0.12, 0.24)
        w.gleam(paint.blur(paint.shapes([w.lens(spot, size, size * 0.8)]), 0.7), rng.uniform(0.5, 1.0))
    if framed:
        w.rims(rings, thick, plastic)
    cues = [BULGING if bulging else FALSE_EYES, HIDDEN, SHINE]
    return cues + ([THICK] if framed else [])


def _plates(w: _Wear) -> tuple[list[Points], float]:
    power = float(w.rng.choice([2.0, 2.6, 4.0, 8.0]))
    half_w, half_h = w.rng.uniform(0.36, 0.46), w.rng.uniform(0.24, 0.38)
    return [w.lens(centre, half_w, half_h, power) for centre in w.centres], half_w


def _eye_print(w: _Wear, plates: list[Points]) -> None:
    """Paints photographed eyes, life-sized or larger, on the plates."""
    size = w.rng.uniform(1.0, 1.55)
    uv = [w.frame.uv[int(np.clip(c[1], 0, 287)), int(np.clip(c[0], 0, 287))] for c in w.centres]
    mirror = paint.chance(w.rng, 0.5)
    grey = paint.chance(w.rng, 0.25)
    state = int(w.rng.integers(2**31))
    for plate, at in zip(plates, uv, strict=True):
        side = 0.5 if at[0] > 0 else -0.5
        shift = (float(at[0]) - size * side, float(at[1]) - size * 0.02)
        lens = paint.shapes([plate])
        picture = portrait_texture(w.scene, w.frame, mirror=mirror, scale=(size, size), shift=shift, within=lens)
        w.lay(paint.printed(picture, np.random.default_rng(state), grey=grey), lens)


def _printed(w: _Wear) -> list[str]:
    plates, _ = _plates(w)
    w.shadow(paint.shapes(plates))
    _eye_print(w, plates)
    cues = [PRINTED, HIDDEN]
    if paint.chance(w.rng, 0.8):
        w.rims(plates, w.rng.uniform(0.05, 0.13), paint.colour(w.rng, _PLASTIC))
        cues.append(THICK)
    if paint.chance(w.rng, 0.4):
        _streaks(w, plates)
        cues.append(SHINE)
    return cues


def _streaks(w: _Wear, plates: list[Points]) -> None:
    lines = [np.vstack([w.at(c, -0.2, 0.25), w.at(c, 0.05, -0.3)]) for c in w.centres]
    gleam = paint.blur(paint.strokes(lines, w.rng.uniform(0.05, 0.12) * w.gap), 1.0) * paint.shapes(plates)
    w.gleam(gleam, w.rng.uniform(0.35, 0.7))


def _draw_eyes(w: _Wear, size: float) -> None:
    """Paints eyes as drawn with a felt pen: an almond, a round iris, often lashes; `size` in gaps."""
    ink = paint.colour(w.rng, ((0.05, 0.05, 0.07), (0.05, 0.05, 0.07), (0.1, 0.15, 0.5)), 0.02)
    tone = paint.colour(w.rng, _IRIS)
    lines: list[Points] = []
    for centre in w.centres:
        upper = paint.curve([w.at(centre, -size, 0.03), w.at(centre, 0, -size * 0.9), w.at(centre, size, 0.03)], 16)
        lower = paint.curve([w.at(centre, -size, 0.03), w.at(centre, 0, size * 0.8), w.at(centre, size, 0.03)], 16)
        if paint.chance(w.rng, 0.7):
            w.lay(np.array([0.98, 0.98, 0.96], np.float32), paint.shapes([np.vstack([upper, lower[::-1]])]))
        _iris(w, np.asarray(centre, np.float64), size * 0.62, tone, np.zeros(2))
        lines += [upper, lower]
        for k in (3, 7, 11, 14)[: int(w.rng.integers(0, 5))]:
            root = upper[k]
            lines.append(np.vstack([root, root + (root - np.asarray(centre)) * 0.45]).astype(np.float32))
    w.lay(ink, paint.strokes(lines, max(1.6, w.rng.uniform(0.03, 0.055) * w.gap)))


def _drawn(w: _Wear) -> list[str]:
    plates, half_w = _plates(w)
    w.shadow(paint.shapes(plates))
    w.lay(paint.colour(w.rng, ((0.97, 0.96, 0.93), (0.9, 0.85, 0.75), (0.8, 0.85, 0.95)), 0.03), paint.shapes(plates))
    _draw_eyes(w, half_w * w.rng.uniform(0.55, 0.8))
    w.rims(plates, w.rng.uniform(0.05, 0.14), paint.colour(w.rng, _PLASTIC))
    return [OPAQUE, DRAWN, THICK, HIDDEN]


def _paper(w: _Wear, holes: bool) -> list[str]:
    """One flat piece of card in the shape of spectacles, with holes cut for the eyes or with drawn or printed eyes."""
    rng = w.rng
    half_w, half_h, power = rng.uniform(0.42, 0.52), rng.uniform(0.30, 0.44), float(rng.choice([2.0, 3.0, 7.0]))
    pieces = [paint.hand_cut(w.lens(c, half_w, half_h, power), rng, 0.012 * w.gap, 22) for c in w.centres]
    middle = (np.asarray(w.centres[0]) + np.asarray(w.centres[1])) / 2
    strip = rng.uniform(0.07, 0.13)
    bridge = np.vstack(
        [
            w.at(middle, -0.25, -strip - 0.05),
            w.at(middle, 0.25, -strip - 0.05),
            w.at(middle, 0.25, strip - 0.05),
            w.at(middle, -0.25, strip - 0.05),
        ]
    )
    arms = []
    for centre, side in ((w.centres[0], -1.0), (w.centres[1], 1.0)):
        ear = w.frame.px((side * 1.1, -0.05))
        arms.append(
            np.vstack(
                [
                    w.at(centre, side * 0.3, -strip - 0.06),
                    ear - w.y * strip * 0.7 * w.gap,
                    ear + w.y * strip * 0.4 * w.gap,
                    w.at(centre, side * 0.3, strip - 0.06),
                ]
            )
        )
    cut = rng.uniform(0.5, 0.72)
    openings = (
        [paint.hand_cut(w.lens(c, half_w * cut, half_h * cut, power), rng, 0.012 * w.gap, 20) for c in w.centres]
        if holes
        else []
    )
    mask = paint.shapes([*pieces, bridge, *arms], openings)
    w.shadow(mask)
    card = paint.colour(rng, _CARD, 0.04)
    w.lay(card * (1 - 0.06 * rng.random()) * paint.paper_grain(rng)[..., None], mask)
    edge = (mask - paint.shifted(mask, 1, 1)).clip(0, 1)
    w.image = w.image * (1 - 0.25 * edge[..., None])
    w.gleam((mask - paint.shifted(mask, -1, -1)).clip(0, 1), 0.12)
    if holes:
        if paint.chance(rng, 0.4):  # coloured film behind the holes
            film = np.float32(paint.colour(rng, ((0.9, 0.15, 0.1), (0.1, 0.3, 0.9), (0.1, 0.1, 0.1)), 0.03))
            w.image = w.image * (1 - paint.shapes(openings)[..., None] * (1 - film) * np.float32(0.75))
        return [PAPER, CARD, HOLES]
    if paint.chance(rng, 0.5):
        _eye_print(w, [w.lens(c, half_w * 0.82, half_h * 0.8, power) for c in w.centres])
        return [PAPER, CARD, PRINTED, HIDDEN]
    _draw_eyes(w, half_w * rng.uniform(0.5, 0.72))
    return [PAPER, CARD, DRAWN, HIDDEN]


def _party(w: _Wear) -> list[str]:
    """Opaque novelty lenses: hearts, stars, slats, large circles."""
    rng, kind = w.rng, int(w.rng.integers(4))
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    size = rng.uniform(0.42, 0.56)
    if kind == 0:
        local = (
            np.stack(
                [16 * np.sin(turn) ** 3, -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))],
                1,
            )
            / 17
        )
    elif kind == 1:
        tips = np.arange(10)
        angle = -np.pi / 2 + tips * np.pi / 5
        local = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(tips % 2 == 0, 1.15, 0.58)[:, None]
    else:
        local = np.stack([np.cos(turn), np.sin(turn) * (0.7 if kind == 2 else 1.0)], axis=1) * 0.9
    plates = [np.asarray(c) + (np.outer(local[:, 0], w.x) + np.outer(local[:, 1], w.y)) * size * w.gap for c in w.centres]
    outlines = [plate.astype(np.float32) for plate in plates]
    mask = paint.shapes(outlines)
    w.shadow(mask)
    tone, frame_tone = paint.colour(rng, _PLASTIC), paint.colour(rng, _PLASTIC)
    if kind == 2:  # slats across, in the frame's colour on dark
        tone = np.array([0.05, 0.05, 0.05], np.float32)
    w.lay(tone, mask)
    if kind == 2:
        slats = [np.vstack([w.at(c, -0.5, d), w.at(c, 0.5, d)]) for c in w.centres for d in np.linspace(-0.3, 0.3, 5)]
        w.lay(frame_tone, paint.strokes(slats, 0.08 * w.gap) * mask)
    _streaks(w, outlines)
    w.rims(outlines, rng.uniform(0.05, 0.1), frame_tone)
    return [OPAQUE, SHAPED, HIDDEN, SHINE]


def _googly(w: _Wear) -> list[str]:
    """Googly eyes: a white disc under a clear dome in which a loose black pupil has dropped; with or without a frame."""
    rng = w.rng
    radius, framed = rng.uniform(0.26, 0.46), paint.chance(rng, 0.4)
    discs = [w.lens(centre, radius, radius) for centre in w.centres]
    w.shadow(paint.shapes(discs))
    for centre, disc in zip(w.centres, discs, strict=True):
        plate = paint.shapes([disc])
        w.lay(np.array([0.97, 0.97, 0.96], np.float32), plate)
        pupil, fallen = radius * rng.uniform(0.4, 0.65), rng.normal(np.pi / 2, 0.9)
        reach = (radius - pupil) * rng.uniform(0.75, 0.97)
        at = w.at(centre, reach * np.cos(fallen), reach * np.sin(fallen))
        black = paint.shapes([w.lens(at, pupil, pupil)])
        w.image = paint.cast_shadow(w.image, black, w.scene.light_xy, 0.03 * w.gap, 0.25)
        w.lay(np.array([0.03, 0.03, 0.04], np.float32), black)
        rim = plate - paint.blur(paint.shapes([w.lens(centre, 0.88 * radius, 0.88 * radius)]), 0.02 * w.gap) * plate
        w.image = w.image * (1 - (0.35 * rim)[..., None])
        lx, ly = w.scene.light_xy
        spot = w.at(centre, (0.4 * lx - 0.2) * radius, (0.4 * ly - 0.2) * radius)
        w.gleam(paint.blur(paint.shapes([w.lens(spot, 0.22 * radius, 0.12 * radius)]), 0.02 * w.gap), rng.uniform(0.2, 0.7))
    if framed:
        w.rims(discs, rng.uniform(0.05, 0.1), paint.colour(rng, _PLASTIC))
    return [FALSE_EYES, HIDDEN, SHINE] + ([THICK] if framed else [])


def _sleep_mask(w: _Wear) -> list[str]:
    """A padded cloth over both eyes, notched for the nose, on a band around the head; plain or with drawn or printed eyes."""
    rng = w.rng
    middle = (np.asarray(w.centres[0]) + np.asarray(w.centres[1])) / 2
    wide, top, low, notch = rng.uniform(0.95, 1.12), rng.uniform(-0.42, -0.3), rng.uniform(0.3, 0.46), rng.uniform(0.02, 0.14)
    half = [
        (0.0, top),
        (0.6, top - 0.04),
        (wide, -0.1),
        (wide, 0.1),
        (0.75, low),
        (0.35, low),
        (0.12, notch + 0.1),
        (0.0, notch),
    ]
    outline = paint.rounded([w.at(middle, x, y) for x, y in half + [(-x, y) for x, y in half[::-1]]], 2)
    ears = [w.frame.px((side * 1.2, -0.1)) for side in (-1, 1)]
    band = [np.vstack([w.at(middle, side * (wide - 0.1), 0), ear]) for side, ear in zip((-1, 1), ears, strict=True)]
    cloth = paint.shapes([outline])
    w.shadow(cloth)
    w.lay(np.full(3, rng.uniform(0.05, 0.4), np.float32), paint.strokes(band, rng.uniform(0.06, 0.12) * w.gap) * w.scene.matte)
    tone = paint.colour(rng, (*_PLASTIC, (0.15, 0.15, 0.3), (0.85, 0.7, 0.75)), 0.05)
    thick = paint.blur(cloth, 0.09 * w.gap)
    relief = (thick + paint.shifted(thick, -0.05 * w.scene.light_xy[0] * w.gap, 0.04 * w.gap) * np.float32(-0.6)).clip(-1, 1)
    w.lay(tone * (0.72 + 0.6 * relief * paint.paper_grain(rng, 0.05))[..., None].astype(np.float32), cloth)
    hem = paint.blur(paint.strokes([np.vstack([outline, outline[:1]])], 0.04 * w.gap), 0.4) * cloth
    w.lay(tone * np.float32(rng.uniform(0.4, 1.4)), hem, 0.8)
    style = rng.choice(["plain", "drawn", "printed", "closed"])
    if style == "drawn":
        _draw_eyes(w, rng.uniform(0.22, 0.32))
        return [DRAWN, HIDDEN]
    if style == "printed":
        _eye_print(w, [w.lens(centre, 0.34, 0.24) for centre in w.centres])
        return [PRINTED, HIDDEN]
    if style == "closed":  # closed lids: a stitched arc with lashes
        lids = [paint.curve([w.at(c, -0.26, 0), w.at(c, 0, 0.14), w.at(c, 0.26, 0)]) for c in w.centres]
        lashes = [np.vstack([lid[k], lid[k] + (lid[k] - np.asarray(c)) * 0.5]) for lid, c in zip(lids, w.centres, strict=True)
                  for k in (3, 9, 14, 20)]  # fmt: skip
        w.lay(
            np.float32(0.95 if tone.mean() < 0.4 else 0.05) * np.ones(3, np.float32),
            paint.strokes([*lids, *lashes], 0.04 * w.gap),
        )
        return [DRAWN, HIDDEN]
    return [OPAQUE, HIDDEN]


def _goggles(w: _Wear) -> list[str]:
    """Goggles for welding, swimming or skiing: a shell around the eyes, dark reflective glass, a broad strap."""
    rng = w.rng
    one, power = paint.chance(rng, 0.4), float(rng.choice([2.0, 2.6, 4.0]))
    half_w, half_h = rng.uniform(0.36, 0.45), rng.uniform(0.26, 0.38)
    middle = (np.asarray(w.centres[0]) + np.asarray(w.centres[1])) / 2
    glass = [w.lens(middle, 0.5 + half_w, half_h * 1.1, 4.0)] if one else [w.lens(c, half_w, half_h, power) for c in w.centres]
    shells = [
        np.asarray(g).mean(axis=0) + (g - np.asarray(g).mean(axis=0)) * np.float32(rng.uniform(1.15, 1.35)) for g in glass
    ]
    straps = [np.vstack([w.at(middle, side * 0.75, -0.02), w.frame.px((side * 1.25, -0.1))]) for side in (-1, 1)]
    bridge = [np.vstack([w.at(middle, -0.3, 0.0), w.at(middle, 0.3, 0.0)])]
    tone = paint.colour(rng, _PLASTIC)
    w.shadow(paint.shapes(shells))
    w.lay(paint.colour(rng, _PLASTIC) * np.float32(0.6), paint.strokes(straps, rng.uniform(0.16, 0.3) * w.gap) * w.scene.matte)
    body = np.maximum(paint.shapes(shells), paint.strokes(bridge, 0.12 * w.gap))
    w.lay(tone, body)
    w.gleam((body - paint.shifted(body, 0.02 * w.gap, 0.05 * w.gap)).clip(0, 1), rng.uniform(0.1, 0.35))
    dark = paint.colour(
        rng, ((0.02, 0.03, 0.03), (0.05, 0.12, 0.08), (0.3, 0.15, 0.05), (0.1, 0.2, 0.4), (0.5, 0.5, 0.52)), 0.02
    )
    panes = paint.shapes(glass)
    w.lay(dark, panes)
    sky = (0.5 - 0.8 * (w.frame.uv[..., 1] + 0.1)).clip(0, 1)  # reflections are brighter at the top, too
    w.gleam(panes * paint.blur(sky, 0.05 * w.gap), rng.uniform(0.05, 0.5))
    _streaks(w, glass)
    return [OPAQUE, THICK, HIDDEN, SHINE]


_KINDS: dict[str, Callable[[_Wear], list[str]]] = {
    "glasses/funny-eyes": partial(_eyeballs, bulging=False),
    "glasses/bulging-eyes": partial(_eyeballs, bulging=True),
    "glasses/printed-eyes": _printed,
    "glasses/drawn-eyes": _drawn,
    "glasses/paper": partial(_paper, holes=False),
    "glasses/paper-holes": partial(_paper, holes=True),
    "glasses/party": _party,
    "glasses/googly": _googly,
    "glasses/sleep-mask": _sleep_mask,
    "glasses/goggles": _goggles,
}
VARIANTS: tuple[str, ...] = tuple(_KINDS)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts on glasses that hide or replace the eyes.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the glasses; the box holds them, temples included.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant)
    w = _Wear(scene, rng)
    cues = _KINDS[name](w)
    box = bounding_box(w.worn)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(w.image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)
