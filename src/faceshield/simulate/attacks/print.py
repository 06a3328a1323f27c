"""Printed photographs held in front of the camera: photo paper, laser and inkjet prints, newspapers, magazines, instant film,
cards, canvas, photocopies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate import paint
from faceshield.simulate.attacks import hands, layouts
from faceshield.simulate.attacks import recapture as rc
from faceshield.simulate.holder import Holder
from faceshield.simulate.portrait import (
    CANVAS,
    OUTLINE,
    Attacked,
    Box,
    FloatImage,
    Mask,
    Scene,
    blend,
    smooth_noise,
)

EDGE, BORDER, DOTS, STREAKS = "a visible paper edge", "a white paper border", "printed dots", "print streaks"
FADED, SHEEN, BENT, CREASED = "faded print colours", "a glossy sheen", "bent paper", "paper creases"
FINGERS, TAPE = "fingers holding paper", "tape or pins"
CUES: tuple[str, ...] = (EDGE, FINGERS, BORDER, BENT, SHEEN, DOTS, CREASED, STREAKS, TAPE, FADED)

Range = tuple[float, float]


@dataclass(frozen=True)
class _Stock:
    """A kind of print.

    Attributes:
        black, light, colour: ranges of its darkest tone, its lightest tone and its saturation factor.
        paper: range of the bare sheet's brightness. tint: its colour.
        dotted, streaked, creased, glossy: probability of each trace.
        plain: which of these is forced when a view without edges would otherwise show no trace.
        fine: whether it can be made so well that its printing traces do not show.
        grey: whether it is black and white. stiff: whether it never bends.
        at: offset of its draws in the draws shared by all stocks, so that adding a stock leaves existing pictures unchanged.
        share: weight with which it is drawn; some stocks are rare.
        layout: what surrounds the picture on the sheet; None: nothing, or a white border.
    """

    black: Range
    light: Range
    colour: Range
    paper: Range = (0.92, 1.0)
    tint: tuple[float, float, float] = (1.0, 0.995, 0.98)
    dotted: float = 0.0
    streaked: float = 0.0
    creased: float = 0.16
    glossy: float = 0.0
    plain: str = "glossy"
    fine: bool = False
    grey: bool = False
    stiff: bool = False
    at: int = 0
    share: int = 1
    layout: layouts.Layout | None = None


_STOCKS: dict[str, _Stock] = {
    "photo-paper": _Stock((0.04, 0.2), (0.86, 1.0), (0.6, 1.05), glossy=0.75, fine=True, share=3),
    "laser": _Stock((0.08, 0.27), (0.8, 0.97), (0.45, 0.95), dotted=0.75, streaked=0.5, glossy=0.3, plain="streaked",
                    fine=True, at=3, share=3),
    "inkjet": _Stock((0.1, 0.3), (0.82, 0.97), (0.45, 0.95), streaked=0.5, glossy=0.2, plain="streaked", fine=True, at=6,
                     share=3),
    "newsprint-bw": _Stock((0.14, 0.3), (0.72, 0.92), (1.0, 1.0), (0.84, 0.93), (1.0, 0.985, 0.94), dotted=0.75, creased=0.28,
                           glossy=0.06, plain="dotted", grey=True, at=9, share=2),
    "magazine": _Stock((0.06, 0.2), (0.82, 0.97), (0.6, 1.1), (0.88, 0.98), dotted=0.85, creased=0.25, glossy=0.6,
                       plain="dotted", layout=layouts.page),
    "instant": _Stock((0.12, 0.32), (0.78, 0.95), (0.4, 0.85), (0.88, 1.0), (1.0, 0.99, 0.96), creased=0.08, glossy=0.6,
                      layout=layouts.instant),
    "card": _Stock((0.06, 0.25), (0.8, 0.97), (0.4, 0.95), creased=0.0, glossy=0.7, fine=True, stiff=True, share=2,
                   layout=layouts.card),
    "canvas": _Stock((0.12, 0.32), (0.75, 0.95), (0.5, 1.0), (0.8, 1.0), creased=0.0, plain="dotted", stiff=True),
    "photocopy": _Stock((0.08, 0.2), (0.9, 1.0), (1.0, 1.0), streaked=0.6, creased=0.2, plain="streaked", grey=True),
}  # fmt: skip
VARIANTS: tuple[str, ...] = tuple(f"print/{kind}" for kind in _STOCKS)

_ASPECTS = (0.68, 0.75, 0.8, 1.0, 1.33)
_GROUNDS = (
    (0.97, 0.97, 0.97),
    (0.9, 0.92, 0.95),
    (0.72, 0.73, 0.75),
    (0.55, 0.7, 0.88),
    (0.25, 0.45, 0.75),
    (0.75, 0.12, 0.12),
)
"""Background colours of identity photographs."""


def _well_inked(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A professional print: inks that reproduce almost everything, blacks slightly lifted by the room's light."""
    shading = rc.blurred(image, 24.0)
    image = image - np.float32(rng.uniform(0.0, 0.15)) * (shading - shading.mean(axis=(0, 1)))
    toned = rc.saturate(image.clip(0, 1) ** np.float32(rng.uniform(0.85, 1.15)), rng.uniform(0.8, 1.08))
    black = np.float32(rng.uniform(0.04, 0.13)) * (1 + rng.uniform(-0.15, 0.15, 3).astype(np.float32))
    return (black + (np.float32(rng.uniform(0.86, 1.0)) - black) * toned).astype(np.float32)


def _before_a_plain_ground(scene: Scene, rng: np.random.Generator) -> FloatImage:
    """The person as in a studio's identity photograph: against evenly lit white, grey, blue or red."""
    tone = np.array(_GROUNDS[int(rng.integers(len(_GROUNDS)))], np.float32) * np.float32(rng.uniform(0.85, 1.05))
    ground = tone * rc.ramp(rng, rng.uniform(0.85, 1.0), 1.0)[..., None]
    return blend(ground, scene.image, scene.matte)


def _inked(image: FloatImage, stock: _Stock, rng: np.random.Generator) -> tuple[FloatImage, bool]:
    """What the printer's inks can reproduce of `image`: less contrast, less colour, lifted blacks; and whether the loss is
    obvious.
    """
    if stock.grey:
        image = np.repeat(rc.luma(image)[..., None], 3, axis=2)
    draws = np.append(rng.random(11), 0.0)[stock.at :]
    low, high, colour = (a + (b - a) * draws[i] for i, (a, b) in enumerate((stock.black, stock.light, stock.colour)))
    # A photograph keeps the light under which it was taken: remove some of the broad shading.
    shading = rc.blurred(image, 24.0)
    image = image - np.float32(rng.uniform(0.0, 0.3)) * (shading - shading.mean(axis=(0, 1)))
    toned = image.clip(0, 1) ** np.float32(rng.uniform(0.75, 1.3))
    toned = rc.saturate(toned, colour)
    cross = np.eye(3, dtype=np.float32) + rng.normal(0, 0.025, (3, 3)).astype(np.float32)
    if not stock.grey:
        toned = toned @ (cross / cross.sum(axis=1, keepdims=True)).T
    black = np.float32(low) * (1 + rng.uniform(-0.15, 0.15, 3).astype(np.float32) * (not stock.grey))
    return (black + (np.float32(high) - black) * toned).astype(np.float32), bool(high - low < 0.66 or colour < 0.62)


def _developed(ink: FloatImage, rng: np.random.Generator) -> FloatImage:
    """The picture on instant film: soft, darker towards the edges, shadows hazed differently in each channel."""
    rows, columns = np.mgrid[-1 : 1 : CANVAS * 1j, -1 : 1 : CANVAS * 1j].astype(np.float32)
    fall = 1 - np.float32(rng.uniform(0.05, 0.35)) * (rows**2 + columns**2)
    haze = rng.uniform(0.0, 0.14, 3).astype(np.float32) * rng.permutation(3).astype(np.float32) / 2
    soft = rc.blurred(ink, rng.uniform(0.5, 1.3)) * fall[..., None]
    return (haze + (1 - haze) * soft * (1 + rng.normal(0, 0.06, 3).astype(np.float32))).astype(np.float32)


def _toner(ink: FloatImage, rng: np.random.Generator) -> FloatImage:
    """A photocopy of a copy: midtones turn black or white, large black areas wash out inside, stray toner adds specks."""
    level, steep = rng.uniform(0.3, 0.55), rng.uniform(2.0, 6.0)
    hard = 0.5 + 0.5 * np.tanh(steep * (ink - np.float32(level))) / np.tanh(steep * 0.5)
    dark = rc.blurred((1 - hard).clip(0, 1), rng.uniform(6, 14))
    washed = hard + np.float32(rng.uniform(0.0, 0.45)) * dark**2
    spilt = rng.random((CANVAS, CANVAS, 1)) < rng.uniform(0.0, 0.012)
    return (washed.clip(0, 1) * (1 - spilt * np.float32(rng.uniform(0.2, 0.7)))).astype(np.float32)


def _woven(ink: FloatImage, u: rc.Plane, v: rc.Plane, finest: float, rng: np.random.Generator) -> tuple[FloatImage, float]:
    """Ink on woven threads at least `finest` canvas pixels wide, each inked only on its ridge; and their width, the period of
    the dots into which the weave breaks the ink. u, v as for `_halftone`.
    """
    period, depth = rng.uniform(finest, 5.5), np.float32(rng.uniform(0.15, 0.5))
    wave = np.float32(np.pi / period)
    over = np.sign(np.sin(u * wave) * np.sin(v * wave))  # warp and weft alternate on top
    thread = np.where(over > 0, np.abs(np.sin(u * wave)), np.abs(np.sin(v * wave)))
    uneven = 1 + np.float32(0.3) * smooth_noise(rng, cells=40)[..., 0]
    folds = 1 + np.float32(rng.uniform(0.03, 0.22)) * smooth_noise(rng, cells=int(rng.integers(3, 7)))[..., 0]
    return ink * ((1 - depth * (1 - thread) * uneven) * folds)[..., None], period


def _halftone(
    ink: FloatImage,
    u: rc.Plane,
    v: rc.Plane,
    period: float,
    lines: bool,
    grey: bool,
    rng: np.random.Generator,
) -> FloatImage:
    """Halftones `ink` with dots or lines of `period` canvas pixels; u, v are canvas pixels measured on the paper."""
    angles = np.deg2rad([45.0] if grey else [15.0, 75.0, 0.0]) + rng.uniform(-0.3, 0.3)
    softness = np.float32(rng.uniform(0.12, 0.3))
    wave = np.float32(2 * np.pi / period)
    planes = []
    for channel, angle in enumerate(angles):
        c, s = np.float32(np.cos(angle) * wave), np.float32(np.sin(angle) * wave)
        cell = 0.5 + 0.25 * np.cos(u * c + v * s)
        cell = 2 * cell - 0.5 if lines else cell + 0.25 * np.cos(v * c - u * s)
        # Ink is deposited where the coverage exceeds the cell's threshold; the ramp's width models ink spread.
        planes.append((0.5 - (1 - ink[..., channel] - cell) / softness).clip(0, 1))
    return np.stack(planes * 3 if grey else planes, axis=-1).astype(np.float32)


def _rows(profile: np.ndarray, position: rc.Plane) -> rc.Plane:
    """Looks up a 1-D profile at `position` (wraps around)."""
    return profile.astype(np.float32)[np.mod(position, len(profile)).astype(np.int32) % len(profile)]


def _streaks(position: rc.Plane, kind: str, strength: float, rng: np.random.Generator) -> rc.Plane:
    """Brightness factor of laser banding, or of streaks (inkjet, photocopy), across `position` in canvas pixels."""
    noise = rng.normal(0, 1, 512)
    if kind == "laser":
        period = rng.uniform(9, 40)
        noise = np.convolve(noise, np.ones(7) / 2.6, mode="same") * 0.6 + np.sin(2 * np.pi * np.arange(512) / period)
    else:
        noise = np.convolve(noise, np.ones(2) / 1.4, mode="same") * 0.8
        noise[rng.integers(0, 512, 14)] += rng.choice([-3.0, 4.0])
    return (1 + np.float32(strength) * _rows(noise.clip(-3, 4), position)).astype(np.float32)


def _creases(u: rc.Plane, v: rc.Plane, mild: bool, rng: np.random.Generator) -> tuple[rc.Plane, rc.Plane]:
    """Folds of the paper: a shading factor, and the share of ink that has cracked off along the folds."""
    shade, cracked = np.ones_like(u), np.zeros_like(u)
    for _ in range(int(rng.integers(1, 3) if mild else rng.integers(4, 9))):
        angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.06) if mild else rng.uniform(0, np.pi)
        off = np.float32(rng.uniform(-0.33, 0.33) * CANVAS)
        far = u * np.float32(np.cos(angle)) + v * np.float32(np.sin(angle)) - off
        facet, width = rng.uniform(0.05, 0.2 if mild else 0.13) * rng.choice([-1, 1]), rng.uniform(14, 70)
        shade += np.float32(facet) * np.sign(far) * np.exp(-np.abs(far) / np.float32(width))
        line = np.exp(-((far / np.float32(rng.uniform(0.8, 1.5))) ** 2))
        cracked = np.maximum(cracked, np.float32(rng.uniform(0.15, 0.7) if mild else rng.uniform(0.03, 0.3)) * line)
    return shade, cracked


def _fastenings(image: FloatImage, placement: rc.Placement, outer: Box, rng: np.random.Generator) -> bool:
    """Paints tape strips or pins at most of the corners in view, in place; returns whether any was painted."""
    x0, y0, x1, y1 = outer
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float32)
    middle = placement.to_canvas(corners.mean(axis=0, keepdims=True))[0]
    pins, size = paint.chance(rng, 0.4), rng.uniform(9, 17)
    colour = rng.uniform(0.1, 0.95, 3) if pins else np.array([0.9, 0.86, 0.74]) * rng.uniform(0.7, 1.05)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    found = False
    for corner in placement.to_canvas(corners):
        inward = (middle - corner) / max(float(np.hypot(*(middle - corner))), 1e-6)
        at = corner + inward * (size * 0.7 if pins else 2.0)
        if not placement.in_view(at, 4) or paint.chance(rng, 0.2):
            continue
        found = True
        dx, dy = columns - at[0], rows - at[1]
        if pins:
            radius = np.sqrt(dx**2 + dy**2)
            image *= (1 - 0.45 * (size * 0.62 - np.hypot(dx - 2, dy - 3)).clip(0, 1))[..., None]
            shine = 0.7 + 0.5 * np.exp(-((dx + 1.5) ** 2 + (dy + 2) ** 2) / 6.0)
            image += (colour * shine[..., None] - image) * (size * 0.45 - radius + 0.5).clip(0, 1)[..., None]
        else:
            along, across = dx * -inward[1] + dy * inward[0], dx * inward[0] + dy * inward[1]
            strip = (size * 1.5 - np.abs(along)).clip(0, 1) * (size * 0.55 - np.abs(across)).clip(0, 1)
            image += (colour - image) * (strip * 0.62)[..., None]
    return found


def _paper(
    scene: Scene, inked: FloatImage, view: str, white: FloatImage, layout: layouts.Layout | None, rng: np.random.Generator
) -> tuple[rc.Sheet, bool]:
    """The sheet, and whether the picture has a white border."""
    aspect, bordered = float(rng.choice(_ASPECTS)), paint.chance(rng, 0.55)
    thin, thick = rng.uniform(0.025, 0.08), rng.uniform(0.04, 0.3, 4)
    if view == rc.TIGHT:
        return rc.make_sheet(inked, (0, 0, CANVAS, CANVAS), (CANVAS, CANVAS), (0, 0, 0, 0), white), False
    aspect = aspect if layout is None else 0.78
    crop = rc.crop_around_face(scene.landmarks, aspect, rng)
    shrink = 1.0 if view == rc.PARTIAL else 0.8
    width, height = round((crop[2] - crop[0]) * shrink), round((crop[3] - crop[1]) * shrink)
    if layout is not None:
        around = layout(width, height, white, rng)
        return rc.make_sheet(inked, crop, (width, height), around.margins, around.picture), around.bordered
    margins = (0, 0, 0, 0)
    if bordered:
        # Photo borders are even; on office paper the picture may lie anywhere on the sheet.
        shares = thick if paint.chance(rng, 0.35) else np.full(4, thin)
        left, top, right, bottom = (int(max(3, round(float(share) * width))) for share in shares)
        margins = (left, top, right, bottom)
    return rc.make_sheet(inked, crop, (width, height), margins, white), bordered


def _cut_out(scene: Scene, sheet: rc.Sheet, s: rc.Plane, t: rc.Plane, rng: np.random.Generator) -> Mask:
    """The person's outline plus a rim of paper, in the canvas."""
    rim = rc.blurred(scene.matte, rng.uniform(3, 6))
    low, size = np.array(sheet.crop[:2]), np.array(sheet.crop[2:]) - np.array(sheet.crop[:2])
    zoom = size / (np.array(sheet.content[2:]) - np.array(sheet.content[:2]))
    x, y = (s - sheet.content[0]) * zoom[0] + low[0], (t - sheet.content[1]) * zoom[1] + low[1]
    held = rc.sample((rim[..., None] * 12 - 1.2).clip(0, 1).astype(np.float32), x.astype(np.float32), y.astype(np.float32))
    return held[..., 0]


def apply(
    scene: Scene,
    rng: np.random.Generator,
    background: FloatImage,
    variant: str | None = None,
    holder: Holder | None = None,
    *,
    good: bool = False,
) -> Attacked:
    """A print of `scene` in front of `background`.

    Args:
        scene: what was photographed first.
        rng: source of all randomness.
        background: (CANVAS, CANVAS, 3), what lies behind the paper.
        variant: one of `VARIANTS`; None draws one.
        holder: the person who holds it at the chest; None: held by hands from outside the picture, taped, pinned or loose.
        good: made so well that dots and streaks do not show and folds are rare; ignored for stocks that cannot be.

    Raises:
        ValueError: unknown variant.
    """
    variant = paint.pick(rng, VARIANTS, variant, [stock.share for stock in _STOCKS.values()])
    kind, light = variant.split("/")[1], rc.scene_light(scene, rng)
    stock = _STOCKS[kind]
    good = good and stock.fine
    view = rc.draw_view(rng, good=good)
    inked, faded = _printed(scene, kind, good, rng)
    white = (np.float32(stock.tint) * np.float32(rng.uniform(*stock.paper))).astype(np.float32)
    sheet, bordered = _paper(scene, inked, view, white, stock.layout, rng)
    outer: Box = (0.0, 0.0, float(sheet.size[0]), float(sheet.size[1]))
    on_sheet = sheet.from_scene(scene.landmarks)
    stiff = paint.chance(rng, 0.5) or stock.stiff
    placement = rc.place(sheet, outer, on_sheet, view, rng, bow=0.0 if stiff else rng.uniform(8, 34), window=scene.window)
    on_canvas = placement.to_canvas(on_sheet)
    traces = _draw_traces(stock, good, view, placement, rng)
    held = _Held(scene, sheet, placement, outer, view, white, bordered, light, holder)

    ink, cues, worn, period = _traced(held, kind, good, traces, rng)
    if view == rc.TIGHT and not (cues or faded or worn or traces.curled):  # otherwise no trace would be left
        traces = replace(traces, glossy=True)
    paper, lit = _lit(ink, held, traces, on_canvas[OUTLINE].mean(axis=0), rng)
    image, mask, shown = _held_up(paper, background, held, rng)
    cues += [*lit, *shown]
    if faded or worn or not cues:
        cues.append(FADED)
    return Attacked(
        image=image.clip(0, 1).astype(np.float32),
        boxes=(rc.visible_box(mask),),
        cues=tuple(cues),
        variant=variant,
        landmarks=on_canvas,
        view=view,
        finest={DOTS: period},
    )


def _printed(scene: Scene, kind: str, good: bool, rng: np.random.Generator) -> tuple[FloatImage, bool]:
    """The printed picture before it is presented, and whether its colours differ obviously from the scene's."""
    stock = _STOCKS[kind]
    if good:
        taken = _before_a_plain_ground(scene, rng) if paint.chance(rng, 0.35) else scene.image
        inked, faded = _well_inked(rc.inner_capture(taken, rng, softest=0.55), rng), False
    else:
        inked, faded = _inked(rc.inner_capture(scene.image, rng), stock, rng)
    if kind == "inkjet" and not good:
        spread = rc.blurred(inked, rng.uniform(0.5, 1.1))
        inked = np.minimum(inked, spread) * np.float32(0.5) + spread * np.float32(0.5)
    elif kind == "instant":
        inked, faded = _developed(inked, rng), True
    elif kind == "photocopy":
        inked, faded = _toner(inked, rng), True
    return inked, faded


_FINGERS_LIT = (0.8, 1.0)


@dataclass(frozen=True)
class _Traces:
    """Which traces of printing, surface and handling a sheet bears."""

    dotted: bool
    streaked: bool
    creased: bool
    glossy: bool
    curled: bool


def _draw_traces(stock: _Stock, good: bool, view: str, placement: rc.Placement, rng: np.random.Generator) -> _Traces:
    """Decides on all traces before any is painted, so that a view without edges can be given an obvious one."""
    dotted = bool(stock.dotted) and paint.chance(rng, stock.dotted)
    streaked = bool(stock.streaked) and paint.chance(rng, stock.streaked)
    creased = paint.chance(rng, stock.creased)
    glossy = paint.chance(rng, stock.glossy)
    curled = abs(placement.bow) > 7
    if good:
        dotted, streaked, creased, glossy = False, False, creased and paint.chance(rng, 0.3), glossy and paint.chance(rng, 0.5)
    elif view == rc.TIGHT and not (dotted or streaked or creased or glossy or curled):
        dotted, streaked, glossy = (stock.plain == name for name in ("dotted", "streaked", "glossy"))
    return _Traces(dotted, streaked, creased, glossy, curled)


@dataclass(frozen=True)
class _Held:
    """A sheet in its pose.

    Attributes:
        scene: what is printed on it. sheet, placement: the paper, and its pose in the canvas.
        outer: the whole paper in sheet pixels. view: how much of it is visible.
        white: colour of the bare paper. bordered: whether it has a border of that colour.
        light: direction of the room's light. holder: the person who holds it at the chest, or None.
    """

    scene: Scene
    sheet: rc.Sheet
    placement: rc.Placement
    outer: Box
    view: str
    white: NDArray[np.float32]
    bordered: bool
    light: tuple[float, float]
    holder: Holder | None


_FINEST = 2.7
"""Period, in canvas pixels, of dots that no camera distinguishes from grain; coarser cameras: `places.resolved_cues`."""


def _traced(
    held: _Held, kind: str, good: bool, traces: _Traces, rng: np.random.Generator
) -> tuple[FloatImage, list[str], bool, float]:
    """The sheet in the canvas with its traces of printing and folding, their cues, whether invisibly fine dots fade it, and the
    period of its dots in canvas pixels, infinite without dots.
    """
    stock, white = _STOCKS[kind], held.white
    ink = rc.sample(held.sheet.picture, *held.placement.planes)
    u, v = held.placement.from_middle(held.sheet.size)
    cues: list[str] = []
    dotted, worn, period = traces.dotted, False, np.inf
    if kind == "canvas":
        ink, period = _woven(ink, u, v, 2.9 if held.view == rc.TIGHT else 1.8, rng)
        dotted = period > _FINEST
        if dotted:
            cues.append(DOTS)
    elif dotted:
        period, strength = 2.0 + 3.2 * rng.beta(1.5, 1.8), np.float32(rng.uniform(0.3, 0.85))
        period = max(period, 2.8) if held.view == rc.TIGHT else period
        dots = _halftone(ink, u, v, period, paint.chance(rng, 0.25), stock.grey, rng)
        ink = ink + (dots * (white - 0.1) + 0.08 - ink) * strength * np.float32(min(1.0, 1.25 - 0.1 * period))
        if period > _FINEST:
            cues.append(DOTS)
        else:  # too fine to be distinguished from grain
            worn = True
    if not good and (kind == "inkjet" or (kind == "laser" and not dotted)):
        grain = rng.normal(0, 1, (CANVAS, CANVAS, 3)).astype(np.float32)
        ink = ink + grain * np.float32(rng.uniform(0.03, 0.1)) * np.sqrt((ink * (1 - ink)).clip(0, 1)) * 2
    if traces.streaked:
        ink = ink * _streaks(v if paint.chance(rng, 0.6) else u, kind, rng.uniform(0.025, 0.06), rng)[..., None]
        cues.append(STREAKS)
    if not good and kind in ("inkjet", "newsprint-bw") and paint.chance(rng, 0.7):
        fibre = rc.blurred(rng.normal(0.5, 0.3, (CANVAS, CANVAS)).astype(np.float32), 0.8) - 0.5
        ink = ink * (1 + fibre * np.float32(rng.uniform(0.1, 0.4)))[..., None]
    if traces.creased:
        shade, cracked = _creases(u, v, paint.chance(rng, 0.6), rng)
        ink = (ink + (white - ink) * cracked[..., None]) * shade[..., None]
        cues.append(CREASED)
    return ink, cues, worn, period


def _lit(
    ink: FloatImage, held: _Held, traces: _Traces, face: NDArray[np.floating], rng: np.random.Generator
) -> tuple[FloatImage, list[str]]:
    """The paper in the room's light, and the cues of that: shading by a bend, a sheen near the face."""
    cues = []
    gain = rc.ramp(rng, rng.uniform(0.62, 0.95), rng.uniform(0.92, 1.1))
    if traces.curled:
        placement = held.placement
        u, v = placement.from_middle(held.sheet.size)
        along = (u * np.float32(np.cos(placement.angle)) + v * np.float32(np.sin(placement.angle))) / np.float32(
            placement.reach
        )
        gain = gain * (1 + np.float32(rng.uniform(0.12, 0.34) * rng.choice([-1, 1])) * np.sin(np.float32(np.pi / 2) * along))
        cues.append(BENT)
    warmth = rng.normal(0, 0.045)  # lamps vary between warm and cold, hardly between green and magenta
    lamp = np.array([1 + warmth, 1 + rng.normal(0, 0.012), 1 - warmth], np.float32)
    paper = ink * gain[..., None] * lamp
    if traces.glossy:
        spot = rc.highlight(rng, (10.0, 50.0), near=face) * np.float32(rng.uniform(0.35, 0.8))
        if traces.curled or paint.chance(rng, 0.3):
            spot = spot * (0.75 + 0.35 * smooth_noise(rng, cells=5)[..., 0])
        spot += np.float32(rng.uniform(0.0, 0.14))
        paper = paper + (lamp - paper) * spot.clip(0, 0.9)[..., None]
        if float(spot.max()) > 0.25:
            cues.append(SHEEN)
    return paper, cues


def _held_up(
    paper: FloatImage, background: FloatImage, held: _Held, rng: np.random.Generator
) -> tuple[FloatImage, Mask | None, list[str]]:
    """The paper in front of the camera with whatever holds it, the paper's mask (None if it fills the view), and its cues."""
    if held.view == rc.TIGHT:
        grip = hands.fingertip_from_border(rng, held.scene.window) if paint.chance(rng, 0.1) else None
        return hands.in_front(paper, grip, held.light, _FINGERS_LIT, rng), None, [FINGERS] if grip else []
    placement, outer, holder = held.placement, held.outer, held.holder
    cut = paint.chance(rng, 0.07) and not held.bordered and holder is None
    mask = rc.rounded_rectangle(*placement.planes, outer, rng.choice([0.0, 0.0, 4.0]), placement.scale)
    if cut:
        mask = mask * _cut_out(held.scene, held.sheet, *placement.planes, rng)
        rim = (4 * mask * (1 - rc.blurred(mask, 2.5))).clip(0, 1) * mask
        paper = blend(paper, np.broadcast_to(held.white * np.float32(0.95), paper.shape), rim)
    wanted = not paint.chance(rng, 0.45)
    if holder is not None:
        grip = hands.grip_of_holder(placement, outer, rng.uniform(9, 24), holder, rng)
    else:
        grip = hands.grip(placement, outer, rng.uniform(11, 24), rng) if wanted and not cut else None
    exposure = rng.uniform(0.75, 1.05)
    image = rc.cast_shadow(background if holder is None else holder.image, mask, rng, held.light)
    for limb in grip.behind if grip else ():
        hands.paint_limb(image, limb, held.light, exposure)
    # The sheet's thickness shows as a thin bright or dark line.
    rim = (mask * (1 - paint.shifted(mask, 1, 1))) * np.float32(rng.uniform(-0.3, 0.3))
    image = blend(image, paper + rim[..., None], mask)
    cues = [EDGE, *([BORDER] if held.bordered else [])]
    if grip is None and not cut and paint.chance(rng, 0.4) and _fastenings(image, placement, outer, rng):
        cues.append(TAPE)
    return hands.in_front(image, grip, held.light, _FINGERS_LIT, rng), mask, [*cues, *([FINGERS] if grip else [])]
