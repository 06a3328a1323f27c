"""Tattoos: blades, letters, stars, webs, symbols, bars, spirals, flowers, flames and mandalas in various places on the face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate import paint
from faceshield.simulate.attacks.surface import Frame, skin_colour
from faceshield.simulate.portrait import CANVAS, LUMA, Attacked, Box, Points, Scene, bounding_box, smooth_noise

DARK, COLOURED = "dark ink marks", "coloured ink marks"
TRIBAL, LETTERS, STARS, WEB = "curved ink blades", "inked letters", "inked stars", "an inked web"
SYMBOL, BARS, SPIRAL, SHEEN = "an inked symbol", "inked lines", "ink spirals", "shiny tattoo film"
ON_CHEEK, ON_FOREHEAD, ON_NOSE, ON_CHIN = "ink on the cheek", "ink on the forehead", "ink on the nose", "ink on the chin"
CUES: tuple[str, ...] = (
    DARK, ON_CHEEK, ON_FOREHEAD, COLOURED, SHEEN, SYMBOL, WEB, SPIRAL, BARS, STARS, LETTERS, TRIBAL, ON_CHIN, ON_NOSE,
)  # fmt: skip

Marks = tuple[list[NDArray[np.float64]], list[tuple[NDArray[np.float64], float]]]
"""Filled outlines, and lines with their widths, in design coordinates (about -1..1)."""


def _tribal(rng: np.random.Generator) -> Marks:
    blades = []
    for _ in range(int(rng.integers(3, 7))):
        start, turn, length = rng.uniform(-0.6, 0.6, 2), rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.3)
        bend, fat = rng.choice([-1, 1]) * rng.uniform(0.6, 1.8), rng.uniform(0.1, 0.22)
        t = np.linspace(0, 1, 16)
        angle = turn + bend * t
        step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length / 16
        spine = start + np.cumsum(step, axis=0)
        normal = np.stack([-np.sin(angle), np.cos(angle)], axis=1) * (fat * np.sin(np.pi * t**0.7))[:, None]
        blades.append((np.vstack([spine + normal, (spine - 0.3 * normal)[::-1]])).clip(-1, 1))
    return blades, []


def _letters(rng: np.random.Generator) -> Marks:
    lines: list[tuple[NDArray[np.float64], float]] = []
    rows, count = int(rng.integers(1, 3)), int(rng.integers(3, 7))
    width = rng.uniform(0.09, 0.15)
    cell = 2.0 / count
    for row in range(rows):
        middle = (row - (rows - 1) / 2) * min(0.9, 1.6 * cell)
        for i in range(count):
            x, half = -1 + cell * (i + 0.5), 0.6 * min(cell, 0.7)
            nodes = np.array([(x + dx * 0.32 * cell, middle + dy * half) for dx in (-1, 1) for dy in (-1, 0, 1)])
            for _ in range(int(rng.integers(2, 4))):
                ends = nodes[rng.choice(6, int(rng.integers(2, 4)), replace=False)]
                lines.append((ends, width * min(1.0, cell * 2)))
    return [], lines


def _star(centre: NDArray[np.float64], radius: float, points: int, turn: float, inner: float) -> NDArray[np.float64]:
    angle = turn + np.arange(2 * points) * np.pi / points
    reach = radius * np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return centre + np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach[:, None]


def _stars(rng: np.random.Generator) -> Marks:
    count = int(rng.integers(1, 5))
    points, inner = int(rng.choice([4, 5, 5, 6])), rng.uniform(0.35, 0.5)
    filled: list[NDArray[np.float64]] = []
    lines: list[tuple[NDArray[np.float64], float]] = []
    hollow = paint.chance(rng, 0.35)
    for i in range(count):
        centre = np.zeros(2) if count == 1 else np.array([-0.7 + 1.4 * i / (count - 1), rng.uniform(-0.5, 0.5)])
        size = 1.0 if count == 1 else rng.uniform(0.28, 0.6)
        star = _star(centre, size, points, rng.uniform(0, 2), inner)
        if hollow:
            lines.append((np.vstack([star, star[:2]]), rng.uniform(0.08, 0.14)))
        else:
            filled.append(star)
    return filled, lines


def _web(rng: np.random.Generator) -> Marks:
    spread, turn = rng.uniform(1.5, 3.2), rng.uniform(0, 2 * np.pi)
    spokes = int(rng.integers(4, 7))
    angles = turn + np.linspace(-spread / 2, spread / 2, spokes)
    centre = -0.6 * np.array([np.cos(turn), np.sin(turn)])
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1.6
    width = rng.uniform(0.06, 0.1)
    lines: list[tuple[NDArray[np.float64], float]] = [(np.vstack([centre, centre + ray]), width) for ray in rays]
    for share in np.linspace(0.3, 1.0, int(rng.integers(3, 5))):
        for a, b in zip(rays[:-1], rays[1:], strict=True):
            sag = (a + b) / 2 * 0.86
            bow = paint.curve(np.array([a, sag, b]) * share + centre, 8)
            lines.append((np.asarray(bow, np.float64), width))
    return [], lines


def _symbol(rng: np.random.Generator) -> Marks:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    kind = int(rng.integers(6))
    if kind == 0:  # heart
        heart = np.stack([16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))], 1)
        return [heart / 17], []
    if kind == 1:  # cross with flared ends
        arm, long = rng.uniform(0.14, 0.28), rng.uniform(0.6, 0.95)
        return [np.array([(-arm, -1), (arm, -1), (arm, 1), (-arm, 1)]),
                np.array([(-long, -0.3 - arm), (long, -0.3 - arm), (long, -0.3 + arm), (-long, -0.3 + arm)])], []  # fmt: skip
    if kind == 2:  # tears
        tear = np.stack([0.36 * np.sin(t) * np.sin(t / 2), -0.55 * np.cos(t)], axis=1)
        return [tear + (0, -0.45), tear * 0.75 + (rng.uniform(-0.3, 0.3), 0.5)], []
    if kind == 3:  # lightning
        return [np.array([(0.15, -1), (-0.5, 0.1), (-0.05, 0.1), (-0.3, 1), (0.5, -0.2), (0.05, -0.2), (0.45, -1)])], []
    if kind == 4:  # crescent and dot
        moon = np.vstack(
            [
                np.stack([np.cos(t[5:35]), np.sin(t[5:35])], 1),
                np.stack([0.3 + 0.75 * np.cos(t[33:7:-1]), 0.75 * np.sin(t[33:7:-1])], 1),
            ]
        )
        return [moon * -1, _star(np.array([0.1, 0.0]), 0.32, 5, 0.3, 0.45)], []
    rose = [np.stack([np.cos(t) * r, np.sin(t) * r * 0.9], axis=1) for r in (0.95, 0.62, 0.3)]
    bent = [(ring * (1 + 0.12 * np.cos(5 * t + i)[:, None]), 0.16) for i, ring in enumerate(rose)]
    return [], [(np.vstack([ring, ring[:2]]), width) for ring, width in bent]


def _bars(rng: np.random.Generator) -> Marks:
    count, width = int(rng.integers(2, 6)), rng.uniform(0.1, 0.22)
    lean, bow = rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)
    lines: list[tuple[NDArray[np.float64], float]] = []
    for y in np.linspace(-0.8, 0.8, count):
        line = paint.curve(np.array([(-1, y + lean * 0.5), (0, y + bow), (1, y - lean * 0.5)]), 12)
        lines.append((np.asarray(line, np.float64), width * min(1.0, 3.2 / count)))
    dots = [_star(np.array([x, rng.uniform(-1, 1)]), 0.12, 6, 0, 0.87) for x in np.linspace(-0.9, 0.9, int(rng.integers(0, 6)))]
    return dots, lines


def _moko(rng: np.random.Generator) -> Marks:
    lines: list[tuple[NDArray[np.float64], float]] = []
    t = np.linspace(0.15, 1, 40)
    turns, way, width = rng.uniform(1.2, 2.2), rng.choice([-1, 1]), rng.uniform(0.11, 0.17)
    for offset in (0.0, np.pi):
        angle = way * 2 * np.pi * turns * t + offset
        lines.append((np.stack([np.cos(angle), np.sin(angle)], axis=1) * (0.7 * t)[:, None], width))
    for side in (0.85, 1.05)[: int(rng.integers(1, 3))]:
        bow = np.linspace(-1.2, 1.2, 20) + rng.uniform(0, 6)
        lines.append((np.stack([np.cos(bow), np.sin(bow)], axis=1) * side, width * 0.8))
    return [], lines


def _flowers(rng: np.random.Generator) -> Marks:
    """Blossoms with outlined petals on a bent stem with filled leaves."""
    lines: list[tuple[NDArray[np.float64], float]] = []
    leaves, width = [], rng.uniform(0.07, 0.12)
    stem = np.asarray(paint.curve(rng.uniform(-0.25, 0.25, (4, 2)) + [(-0.8, 0.7), (-0.2, 0.1), (0.3, 0.2), (0.8, -0.5)], 20))
    lines.append((stem.astype(np.float64), width))
    for place in rng.choice(np.arange(3, 17), int(rng.integers(2, 5)), replace=False):
        turn, long = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.5)
        leaf = np.asarray(paint.ellipse((long, 0), (long, 0), (0, 0.35 * long), 1.4, 16), np.float64)
        leaves.append(stem[place] + leaf @ _turned(turn))
    t = np.linspace(-0.5, 0.5, 9) * np.pi
    for middle in stem[[-1, 0]][: int(rng.integers(1, 3))]:
        petals, size = int(rng.integers(4, 8)), rng.uniform(0.4, 0.65)
        petal = np.stack([size * (0.25 + 0.75 * np.cos(t)), size * 1.6 / petals * np.sin(2 * t)], axis=1)
        for i in range(petals):
            lines.append((middle + petal @ _turned(2 * np.pi * i / petals), width))
        leaves.append(_star(np.asarray(middle, np.float64), 0.25 * size, 8, 0.0, 0.9))
    return leaves, lines


def _flames(rng: np.random.Generator) -> Marks:
    """Tongues of fire rising side by side from one edge, each bent differently."""
    count, lean = int(rng.integers(3, 6)), rng.uniform(-0.5, 0.5)
    tongues = []
    for x in np.linspace(-0.75, 0.75, count):
        t = np.linspace(0, 1, 14)
        high, wide = rng.uniform(0.9, 1.8), rng.uniform(0.9, 1.2) / count
        sway = x + lean * t + rng.uniform(0.1, 0.3) * np.sin(t * rng.uniform(3, 6) + rng.uniform(0, 6)) * t
        half = wide * (1 - t) ** 0.8 * (1 + 0.35 * np.sin(2.5 * t))
        y = 0.9 - high * t
        tongues.append(np.vstack([np.stack([sway - half, y], 1), np.stack([sway + half, y], 1)[::-1]]))
    return tongues, []


def _mandala(rng: np.random.Generator) -> Marks:
    """Concentric rings, each of small dots, triangles or arcs; a full circle or half of it."""
    fold, whole = int(rng.choice([6, 8, 10, 12])), paint.chance(rng, 0.6)
    turns = np.arange(fold if whole else fold // 2 + 1) * 2 * np.pi / fold
    filled = [_star(np.zeros(2), rng.uniform(0.12, 0.2), 8, 0.0, 0.6)]
    lines: list[tuple[NDArray[np.float64], float]] = []
    for radius in np.linspace(0.4, 0.9, int(rng.integers(2, 4))):
        kind, room = int(rng.integers(3)), 2 * np.pi * radius / fold
        for turn in turns:
            if kind == 0:
                filled.append(np.array([radius, 0.0]) @ _turned(turn) + _star(np.zeros(2), max(0.06, 0.25 * room), 6, 0, 0.87))
            elif kind == 1:
                point = np.array([(radius - 0.1, -0.4 * room), (radius + 0.14, 0.0), (radius - 0.1, 0.4 * room)])
                filled.append(point @ _turned(turn))
            else:
                bow = np.asarray(paint.curve([(radius, -0.5 * room), (radius + 0.18, 0), (radius, 0.5 * room)], 8), np.float64)
                lines.append((bow @ _turned(turn), 0.07))
    return filled, lines


def _turned(turn: float) -> NDArray[np.float64]:
    """The matrix that rotates points, given as rows, by `turn` radians when multiplied from the right."""
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, s], [-s, c]])


_DESIGNS: dict[str, tuple[Callable[[np.random.Generator], Marks], str]] = {
    "tattoo/tribal": (_tribal, TRIBAL),
    "tattoo/letters": (_letters, LETTERS),
    "tattoo/stars": (_stars, STARS),
    "tattoo/web": (_web, WEB),
    "tattoo/symbol": (_symbol, SYMBOL),
    "tattoo/bars": (_bars, BARS),
    "tattoo/moko": (_moko, SPIRAL),
    "tattoo/flowers": (_flowers, SYMBOL),
    "tattoo/flames": (_flames, SYMBOL),
    "tattoo/mandala": (_mandala, SYMBOL),
}
VARIANTS: tuple[str, ...] = tuple(_DESIGNS)

_PLACES: tuple[tuple[float, float, str, float], ...] = (
    (-0.66, 0.52, ON_CHEEK, 1.0), (0.66, 0.52, ON_CHEEK, 1.0), (-0.62, 1.05, ON_CHEEK, 0.8), (0.62, 1.05, ON_CHEEK, 0.8),
    (0.0, -0.72, ON_FOREHEAD, 1.0), (-0.5, -0.68, ON_FOREHEAD, 0.8), (0.5, -0.68, ON_FOREHEAD, 0.8), (0.0, 0.38, ON_NOSE, 0.55),
    (0.0, 1.6, ON_CHIN, 0.75), (-0.86, -0.12, ON_CHEEK, 0.6), (0.86, -0.12, ON_CHEEK, 0.6),
)  # fmt: skip
"""u, v, the cue that names the place, and how much room there is (factor on the design's size)."""


def _lay(frame: Frame, shape: NDArray[np.float64], at: tuple[float, float], size: float, turn: float, flip: float) -> Points:
    local = shape * (flip, 1.0) @ _turned(turn)
    return frame.px(np.asarray(at) + local * size)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None, least: float = 0.0) -> Attacked:
    """Tattoos the face.

    Args:
        variant: one of `VARIANTS`, random if None.
        least: smallest width of a design as a share of the canvas; its ink may fill only part of that.

    Returns:
        The scene with ink on the skin and one box around all of it.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant)
    design, cue = _DESIGNS[name]
    frame = Frame(scene.landmarks)
    # Mostly one large mark; several smaller ones stay close together, or the box around them would tell little.
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13]))
    first = _PLACES[int(rng.integers(len(_PLACES)))]
    near = sorted(_PLACES, key=lambda place: (place[0] - first[0]) ** 2 + (place[1] - first[1]) ** 2)[:count]
    drawn = design(rng)
    pair = count == 2 and first[0] != 0 and paint.chance(rng, 0.5)
    places = [(first, 1.0), ((-first[0], *first[1:]), -1.0)] if pair else [(place, 1.0) for place in near]
    size = rng.uniform(0.42, 0.75) * (1.0 if count == 1 else 0.8)
    turn = rng.normal(0, 0.35)
    polygons: list[Points] = []
    lines: list[Points] = []
    widths: list[float] = []
    for i, ((u, v, _, room), flip) in enumerate(places):
        filled, bare = drawn if i == 0 or pair else design(rng)
        reach = max(size * room, 0.26, 0.5 * least * CANVAS / frame.span)
        way = flip * turn if i == 0 or pair else rng.normal(0, 0.35)
        at = (u + rng.normal(0, 0.03), v + rng.normal(0, 0.03))
        polygons += [_lay(frame, shape, at, reach, way, flip) for shape in filled]
        for shape, width in bare:
            lines.append(_lay(frame, shape, at, reach, way, flip))
            widths.append(max(width * reach * frame.span, 2.0))
    mask = np.maximum(paint.shapes(polygons), paint.strokes(lines, widths)) if lines else paint.shapes(polygons)
    mask = mask * paint.shapes([paint.rounded(frame.outline(1.06))], [frame.part("left_eye"), frame.part("right_eye")])
    mask = paint.blur(mask, rng.uniform(0.2, 0.5))

    coloured = paint.chance(rng, 0.3)
    if coloured:
        ink = paint.colour(rng, ((0.6, 0.08, 0.1), (0.08, 0.2, 0.55), (0.05, 0.4, 0.2), (0.4, 0.1, 0.45), (0.75, 0.3, 0.05)))
    else:
        ink = paint.colour(rng, ((0.06, 0.06, 0.08), (0.09, 0.12, 0.17), (0.08, 0.12, 0.12), (0.14, 0.08, 0.06)), 0.015)
    skin = skin_colour(scene, frame)
    uneven = (1 + 0.25 * smooth_noise(rng, cells=20)[..., 0]).clip(0.6, 1.1)
    alpha = mask * uneven * np.float32(rng.uniform(0.78, 0.98))
    # The ink is lit as the skin is: the picture divided by the mean skin tone gives the light.
    light = (scene.image @ LUMA / max(float(skin @ LUMA), 0.12)).clip(0.3, 1.5)
    inked = ink * light[..., None] * np.float32(0.9) + scene.image * np.float32(0.08)
    image = scene.image + (inked - scene.image) * alpha[..., None]
    cues = [COLOURED if coloured else DARK, cue, *(place[2] for place, _ in places)]
    if paint.chance(rng, 0.2):  # a temporary tattoo lies in a slightly shiny film
        film = paint.blur((paint.blur(mask, 0.07 * frame.span) > 0.12).astype(np.float32), 0.6)
        image = image + (film * rng.uniform(0.05, 0.10))[..., None]
        cues.append(SHEEN)
        mask = np.maximum(mask, film)
    box = bounding_box(mask, 0.3)
    boxes: tuple[Box, ...] = (box,) if box else ((0.0, 0.0, float(CANVAS), float(CANVAS)),)
    return Attacked(image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)
