"""Heavy make-up: theatre, white face, old age, drag, corpse, dazzle, impersonation, clown, animal, skull, metallic paint.

The live skin still shows through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceshield.simulate import paint
from faceshield.simulate.attacks.surface import MEAN_UV, Frame, exposure, skin_colour, skin_mask
from faceshield.simulate.portrait import (
    LANDMARKS,
    LUMA,
    OUTLINE,
    Attacked,
    Box,
    FloatImage,
    Mask,
    Points,
    Scene,
    bounding_box,
    fill_polygon,
    smooth_noise,
)

BROWS, SHADOW, LINER, LIPS = "drawn thick brows", "heavy eye shadow", "black eye lines", "painted lips"
WHITE, PALE, BLUSH, CONTOUR = "a white painted face", "grey painted skin", "strong cheek colour", "dark contour lines"
WRINKLES, BLOCKS, BEARD, POWDER = "drawn wrinkle lines", "painted colour blocks", "a painted beard", "thick powdered skin"
DARK_EYES = "dark painted sockets"
CUES: tuple[str, ...] = (
    LIPS, BROWS, CONTOUR, SHADOW, LINER, BLUSH, DARK_EYES, POWDER, BLOCKS, PALE, WRINKLES, WHITE, BEARD,
)  # fmt: skip

Colour = NDArray[np.float32]

_SHADOWS = (
    (0.15, 0.3, 0.7),
    (0.45, 0.1, 0.5),
    (0.05, 0.45, 0.4),
    (0.7, 0.15, 0.35),
    (0.12, 0.1, 0.12),
    (0.8, 0.45, 0.1),
    (0.2, 0.5, 0.15),
)
_LIPS = ((0.65, 0.03, 0.08), (0.45, 0.02, 0.15), (0.1, 0.05, 0.08), (0.8, 0.15, 0.35), (0.7, 0.2, 0.05), (0.3, 0.05, 0.35))
_BLOCKS = ((0.85, 0.1, 0.1), (0.1, 0.25, 0.75), (0.95, 0.8, 0.1), (0.05, 0.05, 0.06), (0.95, 0.95, 0.95), (0.1, 0.55, 0.25))

WRINKLE_UV: tuple[tuple[tuple[float, float], ...], ...] = (
    ((-0.24, 0.62), (-0.42, 0.82), (-0.52, 1.10)), ((0.24, 0.62), (0.42, 0.82), (0.52, 1.10)),
    ((-0.42, 1.18), (-0.50, 1.38), (-0.46, 1.52)), ((0.42, 1.18), (0.50, 1.38), (0.46, 1.52)),
    ((-0.72, 0.20), (-0.50, 0.30), (-0.26, 0.20)), ((0.72, 0.20), (0.50, 0.30), (0.26, 0.20)),
    ((-0.78, -0.02), (-0.90, -0.08), (-0.99, -0.12)), ((0.78, -0.02), (0.90, -0.08), (0.99, -0.12)),
    ((-0.78, 0.06), (-0.90, 0.08), (-1.00, 0.08)), ((0.78, 0.06), (0.90, 0.08), (1.00, 0.08)),
    ((-0.76, 0.13), (-0.88, 0.20), (-0.96, 0.26)), ((0.76, 0.13), (0.88, 0.20), (0.96, 0.26)),
    ((-0.62, -0.62), (0.0, -0.70), (0.62, -0.62)), ((-0.58, -0.78), (0.0, -0.87), (0.58, -0.78)),
    ((-0.50, -0.94), (0.0, -1.02), (0.50, -0.94)), ((-0.10, -0.42), (-0.07, -0.28), (-0.12, -0.16)),
    ((0.10, -0.42), (0.07, -0.28), (0.12, -0.16)), ((-0.3, 1.42), (0.0, 1.36), (0.3, 1.42)),
)  # fmt: skip
"""Where a face folds: beside nose and mouth, under and beside the eyes, across the forehead, between the brows, on the chin."""


def wrinkles(frame: Frame, rng: np.random.Generator, share: float, jitter: float = 0.025) -> list[Points]:
    """Smooth lines (pixels) along a random `share` of a face's folds."""
    return [
        paint.curve(frame.px(np.asarray(line) + rng.normal(0, jitter, (len(line), 2))), 20)
        for line in WRINKLE_UV
        if rng.random() < share
    ]


@dataclass
class _Canvas:
    """The picture being painted, and the mask of what has been painted; `lips` and `shadow` are this person's colours."""

    scene: Scene
    frame: Frame
    image: FloatImage
    painted: Mask
    light: Mask
    skin: Colour
    lips: Colour
    shadow: Colour
    cues: list[str] = field(default_factory=list)

    def lay(self, colour: NDArray[np.float32] | FloatImage, mask: Mask, strength: float, cue: str | None = None) -> None:
        """Paints `colour`, in the scene's light, within `mask`; the skin's own texture remains in part."""
        alpha = (mask * strength)[..., None]
        self.image = self.image + (colour * self.light[..., None] - self.image) * alpha
        self.painted = np.maximum(self.painted, mask * strength)
        if cue:
            self.cues.append(cue)

    def area(self, outlines: Iterable[ArrayLike], soft: float) -> Mask:
        """Mask of closed outlines in face coordinates, its edge softened by `soft` face units."""
        return paint.blur(paint.shapes([self.frame.px(outline) for outline in outlines]), soft * self.frame.span)


def _start(scene: Scene, frame: Frame, rng: np.random.Generator) -> _Canvas:
    skin = skin_colour(scene, frame)
    luma = scene.image @ LUMA
    light = (0.35 + 0.65 * luma / max(float(skin @ LUMA), 0.12)).clip(0.35, 1.35) * exposure(scene, frame)
    lips, shadow = paint.colour(rng, _LIPS, 0.03), paint.colour(rng, _SHADOWS, 0.03)
    return _Canvas(scene, frame, scene.image, np.zeros_like(luma), light.astype(np.float32), skin, lips, shadow)


def _face_mask(c: _Canvas, rng: np.random.Generator) -> Mask:
    face = paint.blur(paint.shapes([paint.rounded(c.frame.outline(rng.uniform(0.93, 1.0)))]), 0.06 * c.frame.span)
    eyes = paint.shapes([c.frame.part("left_eye"), c.frame.part("right_eye")])
    patchy = (1 + 0.1 * smooth_noise(rng, cells=12)[..., 0]).clip(0.7, 1.0)
    return skin_mask(c.scene, c.frame, face) * (1 - eyes) * patchy


def _foundation(c: _Canvas, rng: np.random.Generator, tone: NDArray[np.float32], strength: float, cue: str) -> None:
    c.lay(tone, _face_mask(c, rng), strength, cue)


def _eyes(c: _Canvas, rng: np.random.Generator, tone: NDArray[np.float32], reach: float, cue: str = SHADOW) -> None:
    patches = []
    for part, brow in (("left_eye", "left_brow"), ("right_eye", "right_brow")):
        eye, above = c.frame.part(part), c.frame.part(brow)
        middle = eye.mean(axis=0)
        lid = np.vstack([eye[:5], (above[:5] * reach + eye[:5] * (1 - reach))[::-1]])
        swell = middle + (lid - middle) * rng.uniform(1.05, 1.25)
        under = middle + (eye - middle) * np.array([1.35, 2.0 + reach], np.float32)
        patches += [paint.rounded(swell)] + ([under] if cue == DARK_EYES or paint.chance(rng, 0.4) else [])
    eyes = paint.shapes([c.frame.part("left_eye"), c.frame.part("right_eye")])
    mask = paint.blur(paint.shapes(patches), rng.uniform(0.02, 0.07) * c.frame.span) * (1 - eyes)
    c.lay(tone, mask, rng.uniform(0.72, 0.95), cue)


def _liner(c: _Canvas, rng: np.random.Generator) -> None:
    wing, lines = rng.uniform(0.06, 0.28), []
    for part, side, order in (("left_eye", -1, (4, 3, 2, 1, 0)), ("right_eye", 1, (0, 1, 2, 3, 4))):
        eye = c.frame.part(part)
        tip = c.frame.px(MEAN_UV[LANDMARKS[part]][0 if side < 0 else 4] + (side * wing, -0.6 * wing))
        lines.append(np.vstack([eye[list(order)], tip]))
        lines.append(eye[[0, 7, 6, 5, 4]])
    thick = c.frame.span * rng.uniform(0.05, 0.10)
    c.lay(
        np.array([0.04, 0.03, 0.04], np.float32), paint.blur(paint.strokes(lines, [thick, 0.5 * thick] * 2), 0.5), 0.92, LINER
    )


def _brows(c: _Canvas, rng: np.random.Generator, raised: float | None = None) -> None:
    lift = rng.uniform(-0.05, 0.3) if raised is None else raised
    arch, thick = rng.uniform(0.0, 0.18), rng.uniform(0.10, 0.22)
    lines = []
    for side in (-1, 1):
        points = [(side * 0.20, -0.25 - 0.6 * lift), (side * 0.52, -0.38 - lift - arch), (side * 1.0, -0.22 - 1.2 * lift)]
        lines.append(paint.curve(c.frame.px(np.asarray(points)), 24))
    mask = paint.blur(paint.strokes(lines, thick * c.frame.span, taper=True), rng.uniform(0.3, 0.9))
    tone = paint.colour(rng, ((0.05, 0.04, 0.04), (0.2, 0.1, 0.05), (0.35, 0.15, 0.05)), 0.02)
    c.lay(tone, mask, 0.93, BROWS)


def _lips(c: _Canvas, rng: np.random.Generator, grow: float, tone: NDArray[np.float32]) -> None:
    mouth = c.frame.part("mouth")
    middle = mouth.mean(axis=0)
    big = paint.rounded(middle + (mouth - middle) * np.array([0.5 + 0.5 * grow, grow], np.float32), 1)
    c.lay(tone, paint.blur(paint.shapes([big]), rng.uniform(0.4, 1.0)), rng.uniform(0.75, 0.93), LIPS)
    shine = paint.ellipse(c.frame.px((0, 1.22)), (0.14 * c.frame.span, 0), (0, 0.025 * c.frame.span))
    c.image = c.image + (paint.blur(paint.shapes([shine]), 1.0) * rng.uniform(0, 0.35))[..., None]


def _cheeks(c: _Canvas, rng: np.random.Generator, *, doll: bool = False) -> None:
    tone = paint.colour(rng, ((0.85, 0.2, 0.25), (0.8, 0.3, 0.2), (0.75, 0.15, 0.4)))
    u, v = (0.62, 0.55) if doll else (0.7, 0.48)
    x, y = (0.24, 0.24) if doll else (0.32, 0.16)
    spots = [paint.ellipse((s * u, v), (x, -s * (0 if doll else 0.1)), (0, y)) for s in (-1, 1)]
    mask = paint.blur(paint.shapes([c.frame.px(spot) for spot in spots]), (0.05 if doll else 0.12) * c.frame.span)
    c.lay(tone, mask, rng.uniform(0.5, 0.85), BLUSH)


def _contour(c: _Canvas, rng: np.random.Generator) -> None:
    lines = [((s * 1.02, 0.35), (s * 0.7, 0.72), (s * 0.42, 0.92)) for s in (-1, 1)]
    lines += [((s * 0.13, -0.1), (s * 0.11, 0.25), (s * 0.14, 0.6)) for s in (-1, 1)]
    widths = [0.17 * c.frame.span] * 2 + [0.06 * c.frame.span] * 2
    mask = paint.strokes([paint.curve(c.frame.px(np.asarray(line)), 20) for line in lines], widths)
    c.lay(
        c.skin * np.array([0.45, 0.34, 0.28], np.float32),
        paint.blur(mask, 0.075 * c.frame.span),
        rng.uniform(0.5, 0.8),
        CONTOUR,
    )


def _wrinkles(c: _Canvas, rng: np.random.Generator) -> None:
    lines = wrinkles(c.frame, rng, 0.9)
    width = rng.uniform(0.035, 0.06) * c.frame.span
    dark = paint.blur(paint.strokes(lines, width, taper=True), rng.uniform(0.3, 0.8))
    light = paint.blur(paint.shifted(dark, 0, max(1, width * 0.9)), 0.8)
    c.lay(c.skin * 0.4 + 0.55, light, 0.5)
    c.lay(c.skin * np.array([0.35, 0.24, 0.2], np.float32), dark, rng.uniform(0.75, 0.95), WRINKLES)


def _beard(c: _Canvas, rng: np.random.Generator) -> None:
    tone = paint.colour(rng, ((0.05, 0.04, 0.04), (0.2, 0.1, 0.05), (0.6, 0.6, 0.6)), 0.02)
    starts = np.stack([rng.uniform(-0.85, 0.85, 320), rng.uniform(0.82, 1.8, 320)], axis=1)
    keep = (np.abs(starts[:, 0]) < 0.95 - 0.4 * (starts[:, 1] - 0.85)) & ~(
        (np.abs(starts[:, 0]) < 0.42) & (np.abs(starts[:, 1] - 1.12) < 0.13)
    )
    lean = rng.normal(0, 0.02, 320)
    rows = [
        c.frame.px(np.array([p, p + (0.03 * np.sign(p[0]) + x, 0.09)])) for p, x in zip(starts[keep], lean[keep], strict=True)
    ]
    hairs = paint.strokes(rows, 0.02 * c.frame.span)
    mask = np.maximum(paint.blur(hairs, 0.05 * c.frame.span) * rng.uniform(1.0, 1.6), hairs).clip(0, 1)
    c.lay(tone, mask, rng.uniform(0.75, 0.9), BEARD)


def _dazzle(c: _Canvas, rng: np.random.Generator) -> None:
    face = _face_mask(c, rng)
    for _ in range(int(rng.integers(2, 5))):
        middle = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.8, 1.4)])
        corners = middle + rng.uniform(0.25, 0.6) * np.array([(-1, -0.5), (1, -0.5), (0.8, 0.6), (-0.7, 0.6)])
        block = c.frame.px(corners + rng.normal(0, 0.12, (4, 2)))
        mask = paint.blur(paint.shapes([block]), 0.6) * (face > 0.3)
        c.lay(paint.colour(rng, _BLOCKS), mask, rng.uniform(0.82, 0.97), BLOCKS)


def _theatre(c: _Canvas, rng: np.random.Generator) -> None:
    _eyes(c, rng, c.shadow, rng.uniform(0.5, 1.0))
    _brows(c, rng)
    _liner(c, rng)
    _cheeks(c, rng, doll=paint.chance(rng, 0.3))
    _lips(c, rng, rng.uniform(1.1, 1.7), c.lips)


def _white_face(c: _Canvas, rng: np.random.Generator) -> None:
    _foundation(c, rng, np.array([0.97, 0.96, 0.95], np.float32), rng.uniform(0.72, 0.92), WHITE)
    _lips(c, rng, rng.uniform(0.8, 1.8), c.lips)
    _eyes(c, rng, c.shadow, rng.uniform(0.3, 1.0))
    if paint.chance(rng, 0.6):
        _cheeks(c, rng, doll=True)
    _brows(c, rng)


def _old_age(c: _Canvas, rng: np.random.Generator) -> None:
    if paint.chance(rng, 0.6):
        _foundation(c, rng, (c.skin * 0.5 + 0.36).clip(0, 1), rng.uniform(0.3, 0.55), POWDER)
    _eyes(c, rng, c.skin * np.array([0.5, 0.38, 0.42], np.float32), 0.2, DARK_EYES)
    _wrinkles(c, rng)
    if paint.chance(rng, 0.3):
        _contour(c, rng)


def _drag(c: _Canvas, rng: np.random.Generator) -> None:
    _foundation(c, rng, (c.skin * 0.85 + np.array([0.17, 0.11, 0.08], np.float32)).clip(0, 1), rng.uniform(0.5, 0.75), POWDER)
    _contour(c, rng)
    _eyes(c, rng, c.shadow, rng.uniform(0.7, 1.0))
    _liner(c, rng)
    _brows(c, rng, rng.uniform(0.08, 0.3))
    _cheeks(c, rng)
    _lips(c, rng, rng.uniform(1.2, 1.6), c.lips)


def _corpse(c: _Canvas, rng: np.random.Generator) -> None:
    tone = paint.colour(rng, ((0.62, 0.68, 0.62), (0.6, 0.62, 0.7), (0.7, 0.7, 0.68), (0.5, 0.62, 0.45)))
    _foundation(c, rng, tone, rng.uniform(0.6, 0.85), PALE)
    _eyes(c, rng, paint.colour(rng, ((0.1, 0.06, 0.08), (0.25, 0.05, 0.1), (0.15, 0.12, 0.2)), 0.02), 0.8, DARK_EYES)
    _contour(c, rng)
    _lips(c, rng, 1.05, paint.colour(rng, ((0.1, 0.05, 0.1), (0.25, 0.1, 0.2)), 0.02))


def _blocks(c: _Canvas, rng: np.random.Generator) -> None:
    _dazzle(c, rng)
    if paint.chance(rng, 0.5):
        _lips(c, rng, 1.1, c.lips)


def _impersonation(c: _Canvas, rng: np.random.Generator) -> None:
    _brows(c, rng)
    _contour(c, rng)
    if paint.chance(rng, 0.7):
        _beard(c, rng)
    else:
        _lips(c, rng, rng.uniform(1.1, 1.5), c.lips)
        _liner(c, rng)


def _clown(c: _Canvas, rng: np.random.Generator) -> None:
    """White around the mouth and often all over, an enlarged mouth, coloured patches over the eyes, mostly a red nose."""
    white = np.array([0.97, 0.96, 0.95], np.float32)
    if paint.chance(rng, 0.6):
        _foundation(c, rng, white, rng.uniform(0.75, 0.95), WHITE)
    around = paint.ellipse((0, 1.16), (rng.uniform(0.55, 0.72), 0), (0, rng.uniform(0.3, 0.4)), 2.4)
    c.lay(white, c.area([around], 0.02), 0.9, BLOCKS)
    _lips(c, rng, rng.uniform(1.4, 2.1), paint.colour(rng, ((0.8, 0.05, 0.08), (0.05, 0.05, 0.06), (0.7, 0.05, 0.3)), 0.02))
    tone, tall = paint.colour(rng, _BLOCKS), rng.uniform(0.35, 0.6)
    eyes = paint.shapes([c.frame.part("left_eye"), c.frame.part("right_eye")])
    power = float(rng.choice([1.2, 2.0]))  # a diamond or an oval
    over = [paint.ellipse((s * 0.5, -0.02), (rng.uniform(0.18, 0.32), 0), (0, tall), power) for s in (-1, 1)]
    c.lay(tone, c.area(over, 0.02) * (1 - eyes), 0.9, SHADOW)
    if paint.chance(rng, 0.75):
        nose = paint.ellipse((0, 0.6), (rng.uniform(0.18, 0.28), 0), (0, rng.uniform(0.15, 0.24)))
        c.lay(np.array([0.8, 0.06, 0.08], np.float32), c.area([nose], 0.02), 0.93)
    if paint.chance(rng, 0.6):
        _brows(c, rng, rng.uniform(0.3, 0.6))


def _animal(c: _Canvas, rng: np.random.Generator) -> None:
    """A cat, tiger or dog: mostly fur-coloured skin, white muzzle, dark nose and split lip, stripes or spots, whiskers."""
    furs = (0.92, 0.5, 0.1), (0.95, 0.8, 0.3), (0.6, 0.6, 0.62), (0.5, 0.3, 0.15), (0.9, 0.88, 0.85)
    ground, face = paint.colour(rng, furs, 0.04), paint.shapes([c.frame.outline()])
    dark = paint.colour(rng, ((0.05, 0.04, 0.04), (0.2, 0.1, 0.05)), 0.02)
    if paint.chance(rng, 0.75):
        _foundation(c, rng, ground, rng.uniform(0.6, 0.9), BLOCKS)
    muzzle = [paint.ellipse((s * 0.22, 0.92), (0.32, 0), (0, 0.26)) for s in (-1, 1)]
    c.lay(
        np.array([0.96, 0.95, 0.93], np.float32),
        c.area(muzzle, 0.04),
        0.85,
    )
    nose = np.array([(-0.2, 0.52), (0.2, 0.52), (0.06, 0.76), (-0.06, 0.76)])
    split = paint.curve(c.frame.px(np.array([(0.0, 0.74), (0.01, 0.88), (0.0, 0.98)])))
    c.lay(
        dark, np.maximum(paint.shapes([paint.rounded(c.frame.px(nose), 1)]), paint.strokes([split], 0.05 * c.frame.span)), 0.93
    )
    lines = []
    if paint.chance(rng, 0.65):  # tapering stripes from the sides and the hairline
        for side in (-1, 1):
            for v in np.linspace(0.25, 1.4, int(rng.integers(2, 5))) + rng.normal(0, 0.05):
                tip = 1.05 - rng.uniform(0.3, 0.5)
                bend = (0.5 * (1.05 + tip), v + rng.uniform(-0.12, 0.05))
                lines.append(paint.curve(c.frame.px(np.array([(1.05, v - 0.1), bend, (tip, v)]) * (side, 1))))
        for u in np.linspace(-0.5, 0.5, int(rng.integers(3, 6))):
            lines.append(paint.curve(c.frame.px(np.array([(u, -1.15), (0.9 * u, -0.85), (0.7 * u, -0.55)]))))
        stripes = paint.strokes(lines, rng.uniform(0.09, 0.16) * c.frame.span, taper=True)
        c.lay(dark, stripes * face, rng.uniform(0.8, 0.95))
    else:
        places = rng.uniform((-0.9, -1.0), (0.9, 1.5), (int(rng.integers(12, 40)), 2))
        spots = [paint.ellipse(place, (rng.uniform(0.03, 0.09), 0.02), (0, rng.uniform(0.03, 0.08))) for place in places]
        c.lay(dark, c.area(spots, 0.01) * face, rng.uniform(0.75, 0.95))
    whiskers = [
        c.frame.px(np.array([(side * 0.3, 0.9 + 0.06 * k), (side * rng.uniform(0.75, 1.0), 0.8 + 0.14 * k)]))
        for side in (-1, 1) for k in range(int(rng.integers(2, 4)))
    ]  # fmt: skip
    c.lay(dark, paint.strokes(whiskers, rng.uniform(0.02, 0.04) * c.frame.span) * face, 0.9, CONTOUR)
    _liner(c, rng)


def _skull(c: _Canvas, rng: np.random.Generator) -> None:
    """Bone white, with black sockets, a black hollow for the nose, and teeth drawn over the lips towards the cheeks."""
    black = np.array([0.04, 0.04, 0.05], np.float32)
    _foundation(c, rng, np.array([0.95, 0.94, 0.9], np.float32), rng.uniform(0.7, 0.93), WHITE)
    eyes = paint.shapes([c.frame.part("left_eye"), c.frame.part("right_eye")])
    sockets = [paint.ellipse((s * 0.5, 0.0), (rng.uniform(0.3, 0.38), 0), (0, rng.uniform(0.28, 0.38))) for s in (-1, 1)]
    c.lay(
        black,
        c.area(sockets, 0.03) * (1 - eyes),
        0.93,
        DARK_EYES,
    )
    hollow = np.array([(0.0, 0.3), (0.2, 0.68), (0.05, 0.66), (0.0, 0.58), (-0.05, 0.66), (-0.2, 0.68)])
    c.lay(black, c.area([hollow], 0.02), 0.9)
    wide, low = rng.uniform(0.4, 0.8), rng.uniform(0.14, 0.22)
    gums = paint.curve(c.frame.px(np.array([(-wide, 1.02), (-0.3, 1.14), (0.3, 1.14), (wide, 1.02)])))
    places = np.arange(-0.5 * wide - 0.05, 0.5 * wide + 0.06, 0.12)
    teeth = [c.frame.px(np.array([(u, 1.12 - low), (u, 1.12 + low)])) for u in places]
    c.lay(black, paint.strokes([gums, *teeth], [0.05 * c.frame.span] + [0.03 * c.frame.span] * len(teeth)), 0.92, CONTOUR)
    if paint.chance(rng, 0.6):
        hollows = [paint.ellipse((s * 0.72, 0.75), (0.14, s * 0.1), (0, 0.3)) for s in (-1, 1)]
        c.lay(black, c.area(hollows, 0.07), rng.uniform(0.5, 0.85))


def _metallic(c: _Canvas, rng: np.random.Generator) -> None:
    """Metallic paint all over, with mostly harder highlights than skin because its pigment particles act as small mirrors."""
    metal = paint.colour(rng, ((0.85, 0.65, 0.2), (0.75, 0.76, 0.8), (0.6, 0.35, 0.15), (0.2, 0.45, 0.5)), 0.03)
    mask = _face_mask(c, rng)
    luma = c.scene.image @ LUMA
    level = max(float(c.skin @ LUMA), 0.12)
    c.light = (c.light * (luma / level).clip(0.3, 1.7) ** rng.uniform(0.6, 1.4)).astype(np.float32)
    c.lay(metal, mask, rng.uniform(0.75, 0.95), POWDER)
    glint = ((luma / level - 1.08) * 4).clip(0, 1) * mask * (1 + 0.4 * smooth_noise(rng, cells=70)[..., 0])
    c.image = c.image + (paint.blur(glint.clip(0, 1), 0.7) * rng.uniform(0.2, 0.55))[..., None] * np.sqrt(metal)
    if paint.chance(rng, 0.5):
        _lips(c, rng, 1.05, metal * np.float32(0.5))
    if paint.chance(rng, 0.5):
        _liner(c, rng)


_LOOKS: dict[str, Callable[[_Canvas, np.random.Generator], None]] = {
    "makeup/theatre": _theatre,
    "makeup/white-face": _white_face,
    "makeup/old-age": _old_age,
    "makeup/drag": _drag,
    "makeup/corpse": _corpse,
    "makeup/dazzle": _blocks,
    "makeup/impersonation": _impersonation,
    "makeup/clown": _clown,
    "makeup/animal": _animal,
    "makeup/skull": _skull,
    "makeup/metallic": _metallic,
}
VARIANTS: tuple[str, ...] = tuple(_LOOKS)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts heavy make-up on the face.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with a painted face; the box holds the face's outline, or for "makeup/dazzle" only what was painted.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant)
    frame = Frame(scene.landmarks)
    c = _start(scene, frame, rng)
    _LOOKS[name](c, rng)
    outline = bounding_box(fill_polygon(frame.landmarks[OUTLINE], soften=0.0))
    local = bounding_box(c.painted, 0.35)
    # The paper leaves this open: here colour blocks get a box around the paint, whole-face make-up one around the face.
    box = local if name == "makeup/dazzle" and local else outline or local
    boxes: tuple[Box, ...] = (box,) if box else ()
    image = c.image.clip(0, 1).astype(np.float32)
    return Attacked(image, boxes, paint.unique(c.cues), name, scene.landmarks)
