"""Pieces of printed paper, cut or torn, held or taped over the eyes or the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from faceshield.simulate import paint
from faceshield.simulate.attacks.hands import Limb, paint_limb
from faceshield.simulate.attacks.surface import Frame, ambient_light, exposure, portrait_texture, skin_colour
from faceshield.simulate.portrait import CANVAS, Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box, box_around

EYE_VARIANTS: tuple[str, ...] = (
    "partial-eye/strip", "partial-eye/other-person", "partial-eye/grey-print", "partial-eye/two-pieces", "partial-eye/one-eye",
    "partial-eye/glossy", "partial-eye/torn", "partial-eye/upper-face",
)  # fmt: skip
MOUTH_VARIANTS: tuple[str, ...] = (
    "partial-mouth/piece", "partial-mouth/lower-face", "partial-mouth/grey-print", "partial-mouth/other-person",
    "partial-mouth/glossy", "partial-mouth/torn", "partial-mouth/nose-too",
)  # fmt: skip
VARIANTS: tuple[str, ...] = EYE_VARIANTS + MOUTH_VARIANTS
EYES, MOUTH, STRAIGHT, ROUND = "printed paper eyes", "a printed paper mouth", "straight cut edges", "round cut edges"
BORDER, SHADOW, FINGERS, TAPE = "a white paper border", "shadow under the paper", "fingers holding paper", "tape on the paper"
GREY, OFF, FLAT, CREASE = "a grey paper print", "features out of place", "flat printed skin", "a paper crease"
TONE = "another skin colour"
CUES: tuple[str, ...] = (EYES, MOUTH, SHADOW, FLAT, STRAIGHT, TONE, BORDER, FINGERS, ROUND, CREASE, OFF, GREY, TAPE)


@dataclass
class _Piece:
    """One piece of paper: its corners or outline in face coordinates, and whether it has a rounded cut."""

    outline: NDArray[np.float64]
    round_cut: bool


def _quad(rng: np.random.Generator, x0: float, y0: float, x1: float, y1: float, loose: float = 0.035) -> NDArray[np.float64]:
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) + rng.normal(0, loose, (4, 2))
    turn, middle = rng.normal(0, 0.06), corners.mean(axis=0)
    c, s = np.cos(turn), np.sin(turn)
    return middle + (corners - middle) @ np.array([[c, s], [-s, c]])


def _eye_pieces(name: str, rng: np.random.Generator) -> list[_Piece]:
    if name in ("partial-eye/two-pieces", "partial-eye/one-eye"):
        half = rng.uniform(0.28, 0.46), rng.uniform(0.2, 0.36)
        sides = [rng.choice([-0.5, 0.5])] if name.endswith("one-eye") else [-0.5, 0.5]
        if paint.chance(rng, 0.5):
            return [
                _Piece(paint.ellipse((x, 0.0), (half[0], 0), (0, half[1]), rng.uniform(2, 3)).astype(np.float64), True)
                for x in sides
            ]
        return [_Piece(_quad(rng, x - half[0], -half[1], x + half[0], half[1], 0.02), False) for x in sides]
    if name == "partial-eye/upper-face":
        wide, low = rng.uniform(0.95, 1.3), rng.uniform(0.35, 0.75)
        return [_Piece(_quad(rng, -wide, rng.uniform(-1.35, -0.9), wide, low), False)]
    width, top, bottom = rng.uniform(0.88, 1.3), rng.uniform(-0.62, -0.22), rng.uniform(0.2, 0.5)
    if paint.chance(rng, 0.15):  # cut out in the shape of a domino mask
        left = paint.ellipse((-0.5, 0.0), (width - 0.5, 0), (0, bottom))
        right = left * (-1, 1)
        both = np.vstack([left, right])
        return [_Piece(both[ConvexHull(both).vertices].astype(np.float64), True)]
    return [_Piece(_quad(rng, -width, top, width * rng.uniform(0.9, 1.1), bottom), False)]


def _mouth_pieces(name: str, rng: np.random.Generator) -> list[_Piece]:
    if name == "partial-mouth/lower-face":
        top, width, chin = rng.uniform(0.5, 0.85), rng.uniform(0.85, 1.1), rng.uniform(1.7, 2.0)
        if paint.chance(rng, 0.5):
            jaw = np.array(
                [
                    (-width, top),
                    (width, top),
                    (width * 0.95, 1.15),
                    (0.62, chin - 0.25),
                    (0.25, chin),
                    (-0.25, chin),
                    (-0.62, chin - 0.25),
                    (-width * 0.95, 1.15),
                ]
            )
            return [_Piece(jaw + rng.normal(0, 0.02, jaw.shape), True)]
        return [_Piece(_quad(rng, -width, top, width, chin), False)]
    if name == "partial-mouth/nose-too":
        slim, wide = rng.uniform(0.2, 0.4), rng.uniform(0.5, 0.9)
        wedge = np.array(
            [(-slim, -0.05), (slim, -0.05), (wide, rng.uniform(0.7, 1.0)), (wide, 1.5), (-wide, 1.5), (-wide, 0.9)]
        )
        return [_Piece(wedge + rng.normal(0, 0.03, wedge.shape), False)]
    width, top, bottom = rng.uniform(0.5, 0.85), rng.uniform(0.72, 0.92), rng.uniform(1.36, 1.62)
    if paint.chance(rng, 0.3):
        middle = (top + bottom) / 2
        return [_Piece(paint.ellipse((0, middle), (width, 0), (0, (bottom - top) / 2), 2.4).astype(np.float64), True)]
    return [_Piece(_quad(rng, -width, top, width, bottom), False)]


def _bend(piece: Points, rng: np.random.Generator, span: float) -> Points:
    """The outline in pixels, cut slightly unevenly as if by hand."""
    rows = paint.resample(piece, 64, closed=True)
    return rows + np.float32(rng.normal(0, 0.004 * span, rows.shape))


def _tear(piece: Points, rng: np.random.Generator, span: float) -> tuple[Points, Points]:
    """Torn outlines in pixels: the edge of the print, and the edge of the sheet, whose white fibres reach slightly further."""
    rows = paint.resample(piece, 96, closed=True)
    middle = rows.mean(axis=0)
    out = (rows - middle) / np.maximum(np.linalg.norm(rows - middle, axis=1, keepdims=True), 1.0)
    broad = np.convolve(np.tile(rng.normal(0, 1, 96), 3), np.ones(9) / 3, mode="same")[96:192]
    ragged = rows + out * (span * (0.03 * broad + 0.012 * rng.normal(0, 1, 96)))[:, None]
    fibres = span * np.abs(np.roll(broad, 7) * 0.03 + rng.normal(0.02, 0.015, 96)).clip(0.004, 0.12)
    return ragged.astype(np.float32), (ragged + out * fibres[:, None]).astype(np.float32)


def _gleam(frame: Frame, rng: np.random.Generator) -> NDArray[np.float32]:
    """The band of light that bent photo paper reflects, (CANVAS, CANVAS) in 0..1."""
    angle, at, width = rng.normal(0, 0.5), rng.uniform(-0.8, 0.8), rng.uniform(0.08, 0.35)
    along = frame.uv[..., 0] * np.cos(angle) + (frame.uv[..., 1] - 0.4) * np.sin(angle)
    return (np.exp(-(((along - at) / width) ** 2)) * rng.uniform(0.3, 0.8)).astype(np.float32)


def _fingers(
    image: FloatImage, frame: Frame, box: Box, skin: NDArray[np.float32], scene: Scene, rng: np.random.Generator
) -> Box:
    """Paints, in place, a hand from one side whose one to three fingers press the paper; returns the fingertips' box."""
    side = rng.choice([-1.0, 1.0])
    edge = box[2] if side > 0 else box[0]
    radius = frame.span * rng.uniform(0.11, 0.15)
    height = rng.uniform(0.2, 0.7) * (box[3] - box[1]) + box[1]
    slope, count = rng.uniform(0.2, 1.3), int(rng.integers(1, 4))
    tone = (float(skin[0]), float(skin[1]), float(skin[2]))
    palm = (float(edge + side * radius * rng.uniform(3.5, 5.5)), float(height + (1.5 + 3 * slope) * radius))
    wrist = (palm[0] + float(side) * 4 * radius, palm[1] + float(slope + 0.6) * 5 * radius)
    far = (wrist[0] + float(side) * CANVAS * 0.4, wrist[1] + float(slope + 0.6) * CANVAS)
    paint_limb(image, Limb(wrist, far, radius * 2.1, radius * 2.8, tone), scene.light_xy)
    paint_limb(image, Limb(wrist, palm, radius * 2.1, radius * 2.5, tone), scene.light_xy)
    tips = []
    for step in range(count):
        tip = (float(edge - side * radius * rng.uniform(0.3, 2.4)), float(height + step * 1.9 * radius))
        root = (palm[0] - float(side) * radius, palm[1] - (1.0 - step) * 1.2 * radius)
        paint_limb(image, Limb(root, tip, radius * 1.2, radius * 0.9, tone, nail=True), scene.light_xy)
        tips.append(tip)
    ends = np.asarray(tips, np.float32)
    return box_around(np.concatenate([ends - radius, ends + radius]))


def _apply(name: str, pieces: list[_Piece], subject: str, scene: Scene, rng: np.random.Generator) -> Attacked:
    frame = Frame(scene.landmarks)
    level = exposure(scene, frame)
    light = ambient_light(scene, frame)
    grey = name.endswith("grey-print")
    other = name.endswith("other-person") or paint.chance(rng, 0.3)
    cues = [subject]

    scale = rng.uniform(0.85, 1.25, 2) if other else rng.uniform(0.94, 1.12, 2)
    shift = rng.normal(0, 0.06 if other else 0.03, 2)
    if subject == MOUTH:  # scale about the middle of the mouth
        shift += (0.0, 1.12 * (1 - scale[1]))
    torn = [_tear(frame.px(piece.outline), rng, frame.span) for piece in pieces] if name.endswith("torn") else []
    outlines = [inner for inner, _ in torn] or [_bend(frame.px(piece.outline), rng, frame.span) for piece in pieces]
    mask = paint.shapes(outlines)
    picture = portrait_texture(scene, frame, mirror=other, scale=scale, shift=shift, within=mask)
    if other:
        # Another person: the strip has another complexion.
        factor = rng.uniform(0.55, 1.35) * (1 + rng.normal(0, 0.08, 3))
        picture = (picture * factor.astype(np.float32)).clip(0, 1)
        if not grey and abs(factor - 1).max() > 0.12:
            cues.append(TONE)
    ink = (0.05 + 0.9 * picture).astype(np.float32) if name.endswith("glossy") else paint.printed(picture, rng, grey=grey)
    if grey:
        cues.append(GREY)

    border = rng.uniform(0.03, 0.09) * frame.span if paint.chance(rng, 0.4) else 0.0
    sheet = mask
    if torn:
        sheet = np.maximum(paint.shapes(outer for _, outer in torn), mask)
        cues.append(BORDER)
    elif border:
        grown = []
        for outline in outlines:
            middle = outline.mean(axis=0)
            reach = np.linalg.norm(outline - middle, axis=1, keepdims=True)
            grown.append(middle + (outline - middle) * (1 + border / np.maximum(reach, 1)))
        sheet = np.maximum(paint.shapes(grown), mask)
        cues.append(BORDER)
    white = np.array([0.96, 0.95, 0.93], np.float32) * np.float32(level)
    # Bent around the head: the ends of the paper turn away from the viewer, and one of them from the light.
    u = frame.uv[..., 0]
    curl = rng.uniform(0.0, 0.22)
    shade = (1 - curl * u**2 + 0.15 * scene.light_xy[0] * u).clip(0.5, 1.25)
    if paint.chance(rng, 0.3):
        at, tilt = rng.uniform(-0.6, 0.6), rng.normal(0, 0.25)
        side = u - at - tilt * frame.uv[..., 1]
        shade = shade * (1 + 0.12 * np.sign(side) * np.exp(-np.abs(side) * 3) - 0.25 * np.exp(-((side * frame.span) ** 2) / 2))
        cues.append(CREASE)
    paper = paint.paper_grain(rng, 0.012) * shade * (0.5 + 0.5 * light)
    distance = frame.span * rng.uniform(0.07, 0.16)
    image = paint.cast_shadow(scene.image, sheet, scene.light_xy, distance, rng.uniform(0.45, 0.75))
    sheet_rgb = white * paper[..., None]
    image = image + (sheet_rgb - image) * sheet[..., None]
    image = image + (ink * np.float32(level) * paper[..., None] - image) * mask[..., None]
    if name.endswith("glossy"):
        image = image + (np.float32(level) - image) * (_gleam(frame, rng) * sheet)[..., None]
    rim = (sheet - paint.shifted(sheet, -1, -1)).clip(0, 1)
    image = image + (rim * 0.28 * level)[..., None]
    far = (sheet - paint.shifted(sheet, 1, 1)).clip(0, 1)
    image = image * (1 - 0.2 * far[..., None])
    if not torn:
        cues.append(ROUND if any(piece.round_cut for piece in pieces) else STRAIGHT)
    cues.append(SHADOW)
    box = bounding_box(sheet) or (0.0, 0.0, float(CANVAS), float(CANVAS))
    image = image.clip(0, 1).astype(np.float32)
    marks: dict[str, tuple[Box, ...]] = {}
    if paint.chance(rng, 0.35):
        marks[FINGERS] = (_fingers(image, frame, box, skin_colour(scene, frame) / np.float32(0.9), scene, rng),)
        cues.append(FINGERS)
    elif paint.chance(rng, 0.25):
        marks[TAPE] = _tape(image, outlines, frame.span, level, rng)
        cues.append(TAPE)
    if not other and (abs(shift).max() > 0.06 or abs(scale - 1).max() > 0.09):
        cues.append(OFF)
    cues.append(FLAT)
    return Attacked(image.clip(0, 1).astype(np.float32), (box,), paint.unique(cues), name, scene.landmarks, marks=marks)


def _tape(image: FloatImage, outlines: list[Points], span: float, level: float, rng: np.random.Generator) -> tuple[Box, ...]:
    """Paints, in place, two strips of tape over the ends of the paper; returns their boxes."""
    rows = np.concatenate(outlines)
    tone = np.float32(level) * paint.colour(rng, ((0.9, 0.88, 0.8), (0.85, 0.8, 0.6), (0.9, 0.9, 0.92)), 0.03)
    mask: Mask = np.zeros(image.shape[:2], np.float32)
    strips: list[Points] = []
    for end in (int(rows[:, 0].argmin()), int(rows[:, 0].argmax())):
        middle = rows[end]
        angle = rng.uniform(-0.7, 0.7)
        x = np.array([np.cos(angle), np.sin(angle)]) * span * rng.uniform(0.14, 0.24)
        y = np.array([-np.sin(angle), np.cos(angle)]) * span * 0.08
        strips.append(np.stack([middle - x - y, middle + x - y, middle + x + y, middle - x + y]).astype(np.float32))
        mask = np.maximum(mask, paint.shapes(strips[-1:]))
    image += (tone - image) * (mask * rng.uniform(0.45, 0.8))[..., None]
    return tuple(map(box_around, strips))


def apply_eye(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Covers one or both eyes with printed paper eyes.

    Args:
        variant: one of `EYE_VARIANTS`, random if None.

    Returns:
        The scene with the paper; the box holds the paper without fingers and tape.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, EYE_VARIANTS, variant, (3, 3, 2, 2, 1, 2, 2, 2))
    return _apply(name, _eye_pieces(name, rng), EYES, scene, rng)


def apply_mouth(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Covers the mouth with a printed mouth or lower face.

    Args:
        variant: one of `MOUTH_VARIANTS`, random if None.

    Returns:
        The scene with the paper; the box holds the paper without fingers and tape.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, MOUTH_VARIANTS, variant)
    return _apply(name, _mouth_pieces(name, rng), MOUTH, scene, rng)
