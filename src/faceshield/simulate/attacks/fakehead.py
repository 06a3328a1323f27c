"""Mannequin and model heads in the place of a person: plastic, plaster, foam, in a wig or in the clothes and hair around;
waxworks, cast metal, sewn dolls.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from faceshield.simulate import paint
from faceshield.simulate.attacks import moulded
from faceshield.simulate.attacks.surface import (
    Frame,
    Plane,
    ambient_light,
    bilinear,
    portrait_texture,
    relief,
    shade,
    skin_colour,
)
from faceshield.simulate.portrait import CANVAS, Attacked, Box, FloatImage, Mask, Points, Scene, bounding_box, smooth_noise

VARIANTS: tuple[str, ...] = (
    "fakehead/plastic", "fakehead/wig", "fakehead/dressed", "fakehead/plaster", "fakehead/dark-resin", "fakehead/foam",
    "fakehead/wax", "fakehead/bronze", "fakehead/cloth",
)  # fmt: skip
HEAD, UNIFORM, PAINTED, BLANK = "a mannequin head", "uniform plastic skin", "painted eyes", "moulded blank eyes"
WIG, STIFF, GLOSS, PLASTER = "a wig", "stiff moulded hair", "glossy highlights", "matt plaster skin"
BALD, LIPS, FOAM, SEAM, BUST = "a bald smooth head", "painted lips", "white foam skin", "a mould seam", "a plastic neck"
CUES: tuple[str, ...] = (HEAD, UNIFORM, PAINTED, LIPS, GLOSS, BALD, BLANK, WIG, BUST, PLASTER, FOAM, STIFF, SEAM)

_Made = tuple[FloatImage, Mask, list[str]]
"""The picture, where the attack is in it, and its cues."""
_COARSE = 8
"""Canvas pixels a cell, a side, where the background behind the person is guessed."""
_FLESH = ((0.88, 0.7, 0.58), (0.93, 0.8, 0.7), (0.8, 0.6, 0.47), (0.6, 0.42, 0.32), (0.4, 0.27, 0.2))
_PALE = ((0.94, 0.93, 0.9), (0.85, 0.82, 0.76), (0.9, 0.87, 0.84), (0.72, 0.7, 0.68))
_DARK = ((0.1, 0.1, 0.11), (0.25, 0.2, 0.17), (0.6, 0.5, 0.22), (0.5, 0.52, 0.55), (0.35, 0.2, 0.12))
_HAIR = (
    (0.07, 0.05, 0.05),
    (0.3, 0.18, 0.1),
    (0.7, 0.55, 0.3),
    (0.6, 0.15, 0.1),
    (0.75, 0.74, 0.72),
    (0.85, 0.3, 0.6),
    (0.2, 0.3, 0.65),
)
_METALS = ((0.55, 0.38, 0.22), (0.42, 0.29, 0.19), (0.34, 0.28, 0.21), (0.3, 0.27, 0.24), (0.6, 0.5, 0.33), (0.92, 0.72, 0.36),
           (0.75, 0.46, 0.34), (0.78, 0.79, 0.82))  # fmt: skip
_PATINA = ((0.35, 0.58, 0.5), (0.28, 0.45, 0.38), (0.12, 0.1, 0.08), (0.2, 0.14, 0.1))
_FABRICS = ((0.9, 0.8, 0.68), (0.93, 0.86, 0.78), (0.85, 0.65, 0.53), (0.6, 0.42, 0.3), (0.66, 0.54, 0.38), (0.92, 0.91, 0.88),
            (0.75, 0.55, 0.6), (0.45, 0.3, 0.22))  # fmt: skip
_YARNS = ((0.45, 0.22, 0.1), (0.8, 0.6, 0.25), (0.75, 0.2, 0.12), (0.12, 0.09, 0.08), (0.85, 0.5, 0.6), (0.3, 0.35, 0.6))


def _head(frame: Frame, rng: np.random.Generator) -> Mask:
    """Silhouette of a bare head with ears."""
    top, wide = rng.uniform(1.6, 1.85), rng.uniform(1.14, 1.28)
    turn = np.linspace(np.pi, 2 * np.pi, 24)
    round_off = np.abs(np.sin(turn)) ** 0.85
    skull = np.stack([wide * np.cos(turn), -0.05 - (top - 0.05) * round_off], axis=1)
    jaw = np.array(
        [
            (wide * 0.99, 0.5),
            (wide * 0.9, 1.05),
            (0.72, 1.5),
            (0.34, 1.82),
            (-0.34, 1.82),
            (-0.72, 1.5),
            (-wide * 0.9, 1.05),
            (-wide * 0.99, 0.5),
        ]
    )
    ears = [frame.px(paint.ellipse((s * (wide + 0.02), 0.3), (0.15, 0), (s * 0.05, 0.33))) for s in (-1, 1)]
    return paint.shapes([paint.rounded(frame.px(np.vstack([skull, jaw])), 1), *ears])


def _neck(scene: Scene, frame: Frame, rng: np.random.Generator, bust: bool) -> Mask:
    """Neck of the same stuff: down into the collar, or on to a moulded bust."""
    if bust:
        shape = [
            (-0.68, 1.1),
            (0.68, 1.1),
            (0.72, 2.3),
            (1.3, 2.75),
            (2.6, 3.2),
            (2.8, 6.0),
            (-2.8, 6.0),
            (-2.6, 3.2),
            (-1.3, 2.75),
            (-0.72, 2.3),
        ]
        return paint.shapes([paint.rounded(frame.px(np.asarray(shape)), 2)])
    low = rng.uniform(2.3, 2.9)
    plain = paint.shapes(
        [
            paint.rounded(
                frame.px(np.array([(-0.68, 1.1), (0.68, 1.1), (0.72, low), (0.3, low + 0.2), (-0.3, low + 0.2), (-0.72, low)])),
                1,
            )
        ]
    )
    # A collar lies over the neck: leave what is plainly not skin below the chin.
    skin = skin_colour(scene, frame)
    off = np.abs(scene.image - skin).sum(axis=2) / max(float(skin.sum()), 0.2)
    bare = paint.blur(((0.75 - off) * 5).clip(0, 1), 1.0)
    return plain * np.maximum(bare, (frame.uv[..., 1] < 1.95).astype(np.float32))


def _without_person(scene: Scene, frame: Frame, head: Mask) -> FloatImage:
    """The scene with the person's own hair round the head gone: the background runs on behind it, blurred."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    near = ((u / 2.1) ** 2 + ((v + 0.15) / 2.4) ** 2 < 1) & (v < 2.1)
    matted = scene.matte.mean() < 0.97
    hair = scene.matte * near if matted else near.astype(np.float32)
    # The background's own colours, spread inwards from around; shoulders do not count as background.
    person = np.maximum(paint.blur(hair, 3.0), scene.matte if matted else 0.0)
    known = ((person < 0.05) & (v < 1.9)).astype(np.float32)
    if known.mean() < 0.02:
        return scene.image
    cells = CANVAS // _COARSE
    weighted = np.dstack([scene.image * known[..., None], known]).reshape(cells, _COARSE, cells, _COARSE, 4).mean(axis=(1, 3))
    spread = sum(
        trust * gaussian_filter(weighted, (radius, radius, 0)) for radius, trust in ((1.0, 1.0), (4.0, 1e-2), (14.0, 1e-4))
    )
    filled = spread[..., :3] / np.maximum(spread[..., 3:], 1e-9)
    picture = Image.fromarray((filled.clip(0, 1) * 255).astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    return paint.over(scene.image, np.asarray(picture, np.float32) / 255.0, paint.blur(hair * (1 - head), 1.2))


def _own_hair(scene: Scene, frame: Frame) -> Mask:
    """Where the person's hair hangs over the head: darker or otherwise unlike skin, above the brows and beside the face."""
    skin = skin_colour(scene, frame)
    off = np.abs(scene.image - skin).sum(axis=2) / max(float(skin.sum()), 0.2)
    unlike = ((off - 0.3) * 5).clip(0, 1)
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    above = ((-0.42 - v) * 8).clip(0, 1)
    beside = ((np.abs(u) - 0.98) * 10).clip(0, 1)
    return paint.blur(unlike * np.maximum(above, beside), 0.8)


def _wig_mask(frame: Frame, rng: np.random.Generator) -> Mask:
    long = rng.uniform(0.0, 2.8)
    cap = frame.px(paint.ellipse((0, -0.3), (rng.uniform(1.32, 1.55), 0), (0, rng.uniform(1.6, 1.9)), 2.2))
    sides = [
        frame.px(np.array([(s * 0.85, -0.6), (s * 1.5, -0.5), (s * 1.5, long * 0.6), (s * 1.3, long), (s * 0.95, long)]))
        for s in (-1, 1)
    ]
    sides = [paint.rounded(side, 2) for side in sides]
    top = rng.uniform(-1.0, -0.45)
    part = rng.uniform(-0.5, 0.5)
    face = np.array(
        [
            (-0.98, 0.2),
            (-0.9, -0.35),
            (part - 0.4, top + 0.08),
            (part, top - 0.12),
            (part + 0.4, top + 0.08),
            (0.9, -0.35),
            (0.98, 0.2),
            (0.95, 1.1),
            (0.5, 2.2),
            (-0.5, 2.2),
            (-0.95, 1.1),
        ]
    )
    if paint.chance(rng, 0.35):  # a straight fringe
        face[1:6, 1] = rng.uniform(-0.45, -0.35)
    return paint.shapes([cap, *sides], [paint.rounded(frame.px(face), 1)])


def _strands(scene: Scene, frame: Frame, rng: np.random.Generator, level: float) -> FloatImage:
    """Synthetic hair: even strands of one colour with a band of shine across."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    flow = u / (1 + 0.35 * np.abs(v + 0.2)) + 0.06 * smooth_noise(rng, cells=7)[..., 0]
    comb = rng.normal(0, 1, 260).astype(np.float32)
    comb = np.convolve(comb, [0.25, 0.5, 0.25], mode="same")
    lane = ((flow + 2.5) * 48).clip(0, 258).astype(np.int32)
    curl = np.sin(v * rng.uniform(6, 14) + 3 * flow) * rng.uniform(0.0, 0.3) if paint.chance(rng, 0.5) else np.zeros_like(v)
    shade = 0.75 + 0.2 * comb[lane] + 0.2 * curl
    band = np.exp(-(((v + 1.0 + 0.25 * u * u) / 0.22) ** 2)) * (0.5 + 0.5 * comb[lane]).clip(0, 1) * rng.uniform(0.1, 0.4)
    side = 1 + 0.25 * scene.light_xy[0] * u.clip(-1.4, 1.4) / 1.4
    tone = paint.colour(rng, _HAIR, 0.02)
    return ((tone * (shade * side)[..., None].clip(0.25, 1.6) + band[..., None]) * level).astype(np.float32)


def _moulded_hair(frame: Frame, rng: np.random.Generator) -> tuple[Mask, Plane]:
    """Hair cut into the material: where it is, and its grooves in pixels."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    line = -0.75 - rng.uniform(0.0, 0.25) + 0.55 * np.abs(u) ** 2
    where = ((line - v) * 12).clip(0, 1)
    swirl = np.sin(v * rng.uniform(10, 20) + u * rng.uniform(-18, 18) + 3 * smooth_noise(rng, cells=6)[..., 0])
    return where.astype(np.float32), (where * (0.08 + 0.045 * swirl) * frame.span).astype(np.float32)


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts a made head in the person's place.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with a mannequin; the box holds the whole head, hair or wig included.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 3, 3, 2, 2, 1, 3, 2, 2))
    frame = Frame(scene.landmarks)
    if name in _MADE:
        image, region, cues = _MADE[name](scene, frame, rng)
        return _attacked(image, region, cues, name, scene)
    level = moulded.exposure(scene, frame)
    kind = name.split("/")[1]
    matt = kind in ("plaster", "foam") or paint.chance(rng, 0.25)
    head = _head(frame, rng)
    bust = kind in ("plastic", "plaster", "dark-resin") and paint.chance(rng, 0.35)
    neck = _neck(scene, frame, rng, bust)
    made = np.maximum(head, neck)
    height = relief(frame, rng, strength=rng.uniform(0.7, 1.1) if kind == "foam" else rng.uniform(0.85, 1.3), spread=0.2)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    cues = [HEAD]

    tone = paint.colour(
        rng,
        {"plaster": _PALE, "foam": _PALE[:1], "dark-resin": _DARK}.get(kind, _FLESH if paint.chance(rng, 0.75) else _PALE),
        0.015,
    )
    albedo = np.broadcast_to(tone, (CANVAS, CANVAS, 3)).astype(np.float32)
    if kind == "plaster" and paint.chance(rng, 0.6):
        where, carved = _moulded_hair(frame, rng)
        height = height + carved
        cues.append(STIFF)
    blank = kind in ("plaster", "foam") or (kind == "dark-resin" and paint.chance(rng, 0.7))
    if not blank:
        albedo = moulded.painted_eyes(frame, albedo, rng)
        albedo = moulded.painted_brows(frame, albedo, rng, rng.uniform(0.05, 0.11))
        lips = paint.colour(rng, ((0.75, 0.2, 0.22), (0.8, 0.42, 0.4), (0.6, 0.25, 0.3), (0.7, 0.5, 0.42)), 0.03)
        albedo = moulded.painted_lips(frame, albedo, lips)
        spots = [frame.px(paint.ellipse((s * 0.62, 0.55), (0.26, 0), (0, 0.2))) for s in (-1, 1)]
        albedo = paint.over(
            albedo, tone * np.float32([1.0, 0.72, 0.7]), paint.blur(paint.shapes(spots), 0.1 * frame.span) * rng.uniform(0, 0.7)
        )
    cues += [BLANK] if blank else [PAINTED, LIPS]
    finish = moulded.Finish(
        gloss=rng.uniform(0.02, 0.1) if matt else rng.uniform(0.3, 0.85),
        shininess=rng.uniform(5, 10) if matt else rng.uniform(15, 60),
        hard=0.0 if matt else rng.uniform(0.0, 0.7),
        ambient=rng.uniform(0.3, 0.5),
        speckle=0.05 if kind == "foam" else 0.006,
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    cues.append({"foam": FOAM, "plaster": PLASTER}.get(kind, UNIFORM))
    if not matt:
        cues.append(GLOSS)
    surface = _under_chin(surface, scene, frame, head, neck, rng)
    if kind in ("plastic", "plaster") and paint.chance(rng, 0.2):  # where the halves of the mould met
        s = rng.choice([-1, 1]) * rng.uniform(0.85, 1.05)
        seam = paint.strokes(
            [paint.curve(frame.px(np.array([(s, -1.0), (s * 1.02, 0.3), (s * 0.75, 2.6)])))], max(1.0, 0.025 * frame.span)
        )
        surface = surface * (1 - 0.3 * seam[..., None])
        cues.append(SEAM)

    region = head
    if kind == "dressed":
        image, region = _dressed(scene, frame, surface.astype(np.float32), neck, _own_hair(scene, frame))
    else:
        image = paint.over(_without_person(scene, frame, made), surface.astype(np.float32), made)
        if kind == "wig":
            wig = _wig_mask(frame, rng)
            image = _wigged(image, frame, made, wig, _strands(scene, frame, rng, level))
            region = np.maximum(region, wig)
            cues.append(WIG)
        elif STIFF not in cues:
            cues.append(BALD)
        if bust:
            cues.append(BUST)
    return _attacked(image, region, cues, name, scene)


def _attacked(image: FloatImage, region: Mask, cues: list[str], name: str, scene: Scene) -> Attacked:
    box = bounding_box(region)
    boxes: tuple[Box, ...] = (box,) if box else ()
    return Attacked(image.clip(0, 1).astype(np.float32), boxes, paint.unique(cues), name, scene.landmarks)


def _ears(frame: Frame) -> list[np.ndarray]:
    return [frame.px(paint.ellipse((s * 1.13, 0.3), (0.14, 0), (s * 0.04, 0.3))) for s in (-1, 1)]


def _under_chin(
    surface: FloatImage, scene: Scene, frame: Frame, head: Mask, neck: Mask, rng: np.random.Generator
) -> FloatImage:
    """Under the chin it is dark, on plaster as on people."""
    chin = paint.blur(head, 0.04 * frame.span)
    below = paint.shifted(chin, -scene.light_xy[0] * 0.1 * frame.span, 0.28 * frame.span) * neck * (1 - chin)
    return surface * (1 - rng.uniform(0.3, 0.55) * below[..., None])


def _dressed(scene: Scene, frame: Frame, surface: FloatImage, neck: Mask, hair: Mask) -> tuple[FloatImage, Mask]:
    """Face and neck of `surface` amid the person's own `hair` and clothes; and where the head is."""
    face = paint.shapes([paint.rounded(frame.outline(1.04)), *_ears(frame)])
    shown = np.maximum(face, neck * (1 - face)) * (1 - hair)
    image = paint.over(scene.image, surface, shown)
    matted = scene.matte.mean() < 0.97
    crown = paint.shapes([frame.px(paint.ellipse((0, -0.1), (1.45 if matted else 1.2, 0), (0, 1.75 if matted else 1.55)))])
    return image, np.maximum(face, crown * (scene.matte > 0.5))


def _wigged(image: FloatImage, frame: Frame, made: Mask, wig: Mask, strands: FloatImage) -> FloatImage:
    """A wig put on, with its shadow on the head."""
    image = paint.over(image, image * np.float32(0.55), paint.blur(wig, 0.07 * frame.span) * made * (1 - wig))
    return paint.over(image, strands, paint.blur(wig, 0.7))


def _glass_eyes(surface: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    """Eyes of glass set in: a lit ball in the lids' shade, an iris with depth, one sharp reflection, lashes."""
    wide, high, gaze = rng.uniform(0.2, 0.25), rng.uniform(0.085, 0.125), rng.normal(0, 0.03)
    eyes = [moulded.almond(frame, side, wide, high) for side in (-1, 1)]
    opening = paint.shapes(eyes)

    def discs(radius: float, x: float = 0.0, y: float = 0.0) -> Mask:
        centres = [(side * 0.5 + gaze + x, 0.01 + y) for side in (-1, 1)]
        return paint.shapes([frame.px(paint.ellipse(centre, (radius, 0), (0, radius))) for centre in centres]) * opening

    size, iris = rng.uniform(0.1, 0.125), paint.colour(rng, moulded.IRIS, 0.04)
    ball = np.float32([0.9, 0.88, 0.85]) * np.float32(rng.uniform(0.8, 1.0) * level)
    out = paint.over(surface, ball, opening)
    out = paint.over(out, iris * np.float32(0.45 * level), discs(size))
    out = paint.over(out, iris * np.float32(1.15 * level), paint.blur(discs(size * 0.72), 0.03 * frame.span))
    out = paint.over(out, np.float32([0.02, 0.02, 0.02]), discs(size * 0.42))
    lid = opening * (1 - paint.shifted(opening, 0, 0.07 * frame.span))
    out = out * (1 - 0.55 * paint.blur(lid, 0.03 * frame.span) * opening)[..., None]
    x = float(rng.choice([-1, 1])) * rng.uniform(0.03, 0.06)
    out = paint.over(out, np.full(3, min(1.0, 1.1 * level), np.float32), discs(rng.uniform(0.02, 0.035), x, -0.045))
    line = np.float32([0.13, 0.08, 0.07]) * np.float32(level)
    return paint.over(out, line, paint.strokes([np.vstack([eye[18:], eye[:1]]) for eye in eyes], max(1.0, 0.035 * frame.span)))


def _wax(scene: Scene, frame: Frame, rng: np.random.Generator) -> _Made:
    """A waxwork of the person: smooth, the light that goes in comes out warm; glass eyes, and hair set in or a wig."""
    level = moulded.exposure(scene, frame)
    head, neck = _head(frame, rng), _neck(scene, frame, rng, False)
    made = np.maximum(head, neck)
    height = relief(frame, rng, strength=rng.uniform(0.6, 0.95), spread=0.15)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    height = height + smooth_noise(rng, cells=int(np.clip(1.5 * CANVAS / frame.span, 4, 40)))[..., 0] * np.float32(
        0.008 * frame.span
    )

    own = skin_colour(scene, frame) / np.float32(max(level, 0.3))
    tone = (paint.colour(rng, _FLESH, 0.03) * 0.6 + own * 0.4).clip(0, 1).astype(np.float32)
    face = paint.shapes([paint.rounded(frame.outline(0.94, 0.8))])
    picture = portrait_texture(scene, frame, within=face)
    picture = paint.blur_image(picture, rng.uniform(0.03, 0.055) * frame.span + 0.3)
    inside = picture[face > 0.5]
    mean = np.median(inside, axis=0) if len(inside) else np.float32([0.5, 0.5, 0.5])
    features = ((picture / np.maximum(mean, 0.05)).clip(0.25, 1.15) - 1) * np.float32(rng.uniform(0.5, 0.9))
    set_in = paint.blur(face, 0.1 * frame.span)[..., None] * face[..., None]
    albedo = tone * moulded.mottle(rng, rng.uniform(0.01, 0.05)) * (1 + features * set_in)
    spots = [
        frame.px(paint.ellipse(xy, (r, 0), (0, r))) for xy, r in (((-0.62, 0.55), 0.3), ((0.62, 0.55), 0.3), ((0, 0.62), 0.14))
    ]
    red = paint.blur(paint.shapes(spots), 0.13 * frame.span) * rng.uniform(0.1, 0.6)
    albedo = paint.over(albedo.astype(np.float32), tone * np.float32([1.0, 0.74, 0.72]), red)
    lips = tone * np.float32([0.92, 0.55, 0.55]) * np.float32(rng.uniform(0.8, 1.05))
    albedo = moulded.painted_lips(frame, albedo, lips, 0.05 * frame.span, rng.uniform(0.45, 0.8))
    finish = moulded.Finish(
        gloss=rng.uniform(0.1, 0.38),
        shininess=rng.uniform(6, 22),
        hard=rng.uniform(0, 0.2),
        ambient=rng.uniform(0.5, 0.65),
        wrap=0.6,
        speckle=0.004,
    )
    surface, _ = moulded.render(scene, frame, albedo, height, finish, rng)
    dark = (1 - surface @ paint.LUMA / max(float(tone @ paint.LUMA) * level, 0.05)).clip(0, 0.6)
    surface = surface * (1 + dark[..., None] * np.float32([0.3, 0.0, -0.08]))
    surface = _glass_eyes(surface.astype(np.float32), frame, level, rng)
    surface = moulded.painted_brows(frame, surface, rng, rng.uniform(0.06, 0.1)) if paint.chance(rng, 0.5) else surface
    surface = _under_chin(surface, scene, frame, head, neck, rng).astype(np.float32)
    cues = [HEAD, UNIFORM, PAINTED, LIPS, *([GLOSS] if finish.gloss > 0.2 else [])]
    if paint.chance(rng, 0.6):
        darker = (scene.image @ paint.LUMA < 0.8 * float(skin_colour(scene, frame) @ paint.LUMA)).astype(np.float32)
        return *_dressed(scene, frame, surface, neck, _own_hair(scene, frame) * paint.blur(darker, 0.8)), cues
    wig = _wig_mask(frame, rng)
    image = paint.over(_without_person(scene, frame, made), surface, made)
    return _wigged(image, frame, made, wig, _strands(scene, frame, rng, level)), np.maximum(head, wig), [*cues, WIG]


def _mirrored(scene: Scene, height: Plane, metal: moulded.Colour, rough: float, rng: np.random.Generator) -> FloatImage:
    """What polished metal shows: the room before it, bent over the relief, the lamp, and nothing of its own but the tint."""
    down, across = np.gradient(height)
    norm = 1 / np.sqrt(across * across + down * down + 1)
    x, y = -2 * across * norm * norm, -2 * down * norm * norm  # mirrored direction in the picture's plane
    room = np.asarray(
        Image.fromarray((scene.image * 255).astype(np.uint8)).resize((24, 24), Image.Resampling.BOX), np.float32
    ) / np.float32(255.0)
    room = 0.5 * gaussian_filter(room, (rough, rough, 0)) + 0.5 * room.mean(axis=2, keepdims=True)
    seen = bilinear(room, np.stack([(0.5 - 0.48 * x) * 23, (0.5 + 0.48 * y) * 23], axis=-1).astype(np.float32))
    spread = np.float32(0.05 + 0.08 * rough)
    lamps = np.zeros_like(height)
    for gain, lx, ly in ((1.0, *scene.light_xy), (rng.uniform(0.2, 0.6), *rng.uniform(-0.9, 0.9, 2))):
        lamps += np.float32(gain) * np.exp(-((x - np.float32(lx)) ** 2 + (y - np.float32(ly)) ** 2) / (2 * spread))
    above = np.float32(0.35) * (0.5 - 0.5 * y)
    return (
        metal * (0.7 * seen + (above + np.float32(0.08))[..., None]) + (0.35 + 0.65 * metal) * lamps[..., None] * 0.75
    ).astype(np.float32)


def _cast(frame: Frame, head: Mask, rng: np.random.Generator) -> tuple[Plane, bool]:
    """Height in pixels of a sculptor's head, uneven from the clay, with modelled lids; and whether it has modelled hair."""
    height = relief(frame, rng, strength=rng.uniform(0.9, 1.35), spread=0.25)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    cells = int(np.clip(rng.uniform(2, 5) * CANVAS / frame.span, 4, 60))
    height = height + smooth_noise(rng, cells=cells)[..., 0] * np.float32(rng.uniform(0.004, 0.02) * frame.span)
    stiff = paint.chance(rng, 0.7)
    if stiff:
        _, carved = _moulded_hair(frame, rng)
        height = height + carved * np.float32(rng.uniform(0.8, 1.5))
    lids = [moulded.almond(frame, s, 0.24, 0.11) for s in (-1, 1)]
    rims = [np.vstack([eye, eye[:2]]) for eye in lids] + [
        paint.curve(frame.px(np.array([(s * 0.25, -0.08), (s * 0.5, -0.17), (s * 0.8, -0.04)]))) for s in (-1, 1)
    ]
    height = height + moulded.grooves(frame, rims, 0.05, rng.uniform(0.1, 0.2))
    if paint.chance(rng, 0.4):  # pupils bored into the balls
        holes = [frame.px(paint.ellipse((s * 0.5, 0.01), (0.06, 0), (0, 0.06))) for s in (-1, 1)]
        height = height - paint.blur(paint.shapes(holes), 0.02 * frame.span) * np.float32(0.1 * frame.span)
    return height.astype(np.float32), stiff


def _bronze(scene: Scene, frame: Frame, rng: np.random.Generator) -> _Made:
    """A cast bust: dark in itself, it mirrors lamps and room; polished where hands touch it, patina where they do not."""
    level = moulded.exposure(scene, frame)
    head, bust = _head(frame, rng), paint.chance(rng, 0.4)
    neck = _neck(scene, frame, rng, bust)
    made = np.maximum(head, neck)
    height, stiff = _cast(frame, head, rng)
    metal = paint.colour(rng, _METALS, 0.03)
    rough = rng.uniform(0.3, 2.5)
    surface = _mirrored(scene, height, metal, rough, rng)
    small = height[::4, ::4]
    hollow = Image.fromarray(gaussian_filter(small, 0.045 * frame.span + 0.3) - small)
    depth = np.asarray(hollow.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC), np.float32) / np.float32(0.05 * frame.span)
    aged = (depth - 0.2 + 1.2 * smooth_noise(rng, cells=7)[..., 0] + np.float32(rng.uniform(-0.7, 0.5))).clip(0, 1)
    light, _ = shade(height, scene.light_xy, ambient=0.35)
    crust = paint.colour(rng, _PATINA, 0.03) * light[..., None] * np.float32(0.8)
    surface = paint.over(surface, crust, aged * np.float32(rng.uniform(0.1, 0.85)))
    surface = surface * (ambient_light(scene, frame) * (1 - 0.35 * depth.clip(0, 1)) * np.float32(level))[..., None]
    surface = surface * (1 + 0.015 * rng.standard_normal((CANVAS, CANVAS, 1), dtype=np.float32))
    surface = _under_chin(surface, scene, frame, head, neck, rng)
    image = paint.over(_without_person(scene, frame, made), surface.astype(np.float32), made)
    return image, head, [HEAD, BLANK, GLOSS, STIFF if stiff else BALD]


def _sewn(frame: Frame, line: list[tuple[float, float]], stitch: float) -> list[Points]:
    """Short stitches across a line in face coordinates, pixels."""
    along = paint.resample(paint.curve(frame.px(np.array(line)), 60), max(3, int(14 * stitch)))
    way = np.gradient(along, axis=0)
    side = np.stack([-way[:, 1], way[:, 0]], axis=1) / np.maximum(np.hypot(*way.T), 1e-6)[:, None] * 0.05 * frame.span
    return list(np.stack([along - side, along + side], axis=1).astype(np.float32))


def _doll_face(frame: Frame, albedo: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, Plane, list[str]]:
    """Eyes, nose and mouth as dolls have them: buttons, thread or textile paint; how far they stand out, in pixels; cues."""
    thread = paint.colour(rng, ((0.08, 0.07, 0.07), (0.08, 0.07, 0.07), (0.45, 0.12, 0.12), (0.3, 0.2, 0.14)), 0.02)
    fine, out, cues = max(1.1, rng.uniform(0.03, 0.055) * frame.span), np.zeros((CANVAS, CANVAS), np.float32), []
    kind, size = int(rng.integers(3)), rng.uniform(0.13, 0.22)
    if kind == 0:
        spots = paint.shapes([frame.px(paint.ellipse((s * 0.5, 0.02), (size, 0), (0, size))) for s in (-1, 1)])
        tone = paint.colour(
            rng, ((0.05, 0.05, 0.06), (0.3, 0.18, 0.1), (0.15, 0.25, 0.5), (0.85, 0.83, 0.78), (0.6, 0.12, 0.12)), 0.03
        )
        albedo = paint.over(albedo * (1 - 0.5 * paint.blur(spots, 0.04 * frame.span))[..., None], tone, spots)
        bored = [
            paint.ellipse((s * 0.5 + x, 0.02 + y), (0.022, 0), (0, 0.022), count=10)
            for s in (-1, 1)
            for x in (-0.045, 0.045)
            for y in (-0.045, 0.045)
        ]
        albedo = paint.over(albedo, tone * np.float32(0.3), paint.shapes([frame.px(hole) for hole in bored]))
        cross = [frame.px(np.array([(s * 0.5 - x, -0.025), (s * 0.5 + x, 0.065)])) for s in (-1, 1) for x in (-0.045, 0.045)]
        albedo = paint.over(albedo, thread, paint.strokes(cross, 0.6 * fine) * np.float32(0.8))
        out = paint.blur(spots, 0.02 * frame.span + 0.3) * np.float32(0.07 * frame.span)
    elif kind == 1:
        marks = [frame.px(np.array([(s * 0.5 - size, y), (s * 0.5 + size, -y)])) for s in (-1, 1) for y in (-size, size)]
        if paint.chance(rng, 0.5):  # closed lids
            marks = [paint.curve(frame.px(np.array([(s * 0.28, 0.0), (s * 0.5, 0.15), (s * 0.74, 0.0)]))) for s in (-1, 1)]
        albedo = paint.over(albedo, thread, paint.strokes(marks, 1.3 * fine))
        cues.append(PAINTED)
    else:
        albedo = moulded.painted_brows(frame, moulded.painted_eyes(frame, albedo, rng), rng, rng.uniform(0.04, 0.09))
        cues.append(PAINTED)
    bow, wide = rng.uniform(-0.05, 0.25), rng.uniform(0.3, 0.6)
    mouth = [(-wide, 1.12 - bow * 0.5), (0.0, 1.12 + bow), (wide, 1.12 - bow * 0.5)]
    if kind == 2 and paint.chance(rng, 0.6):
        albedo = moulded.painted_lips(frame, albedo, paint.colour(rng, ((0.75, 0.2, 0.2), (0.7, 0.4, 0.38)), 0.04))
        cues.append(LIPS)
    else:
        lines = [paint.curve(frame.px(np.array(mouth))), *(_sewn(frame, mouth, 1.0) if paint.chance(rng, 0.6) else [])]
        albedo = paint.over(albedo, thread, paint.strokes(lines, fine))
    if paint.chance(rng, 0.5):
        cheeks = paint.shapes([frame.px(paint.ellipse((s * 0.72, 0.65), (0.22, 0), (0, 0.22))) for s in (-1, 1)])
        albedo = paint.over(
            albedo, np.float32([0.85, 0.42, 0.4]), paint.blur(cheeks, rng.uniform(0.01, 0.08) * frame.span) * np.float32(0.5)
        )
    if paint.chance(rng, 0.6):
        nose = paint.shapes([frame.px(paint.ellipse((0, 0.55), (rng.uniform(0.08, 0.2), 0), (0, rng.uniform(0.08, 0.24))))])
        out = out + paint.blur(nose, 0.06 * frame.span) * np.float32(rng.uniform(0.08, 0.2) * frame.span)
    return albedo.astype(np.float32), out.astype(np.float32), cues


def _yarn(scene: Scene, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    """Hair of wool: thick twisted threads side by side."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    flow = (u / (1 + 0.3 * np.abs(v + 0.2)) + 0.08 * smooth_noise(rng, cells=7)[..., 0]) * np.float32(rng.uniform(7, 14))
    ply = 0.82 + 0.18 * np.sin(2 * np.pi * (v * np.float32(rng.uniform(6, 12)) + 0.5 * flow))
    dark = rng.uniform(0.75, 1.1, 64).astype(np.float32)[(flow + 32).astype(np.int32).clip(0, 63)]
    round_ = np.sqrt((1 - (2 * np.mod(flow, 1) - 1) ** 2).clip(0.06))
    side = 1 + 0.25 * np.float32(scene.light_xy[0]) * u.clip(-1.4, 1.4) / 1.4
    return (paint.colour(rng, _YARNS, 0.04) * (ply * dark * round_ * side * np.float32(level))[..., None]).astype(np.float32)


def _cloth(scene: Scene, frame: Frame, rng: np.random.Generator) -> _Made:
    """A stuffed doll's head: woven or felted cloth, lumpy, seams that pucker, sewn or drawn features, hair of yarn."""
    level = moulded.exposure(scene, frame)
    wide, top, chin = rng.uniform(1.15, 1.4), rng.uniform(1.5, 1.8), rng.uniform(1.75, 2.0)
    middle, tall = (chin - top) / 2, (chin + top) / 2
    ears = _ears(frame) if paint.chance(rng, 0.3) else []
    head = paint.shapes([frame.px(paint.ellipse((0, middle), (wide, 0), (0, tall), rng.uniform(2.0, 2.5))), *ears])
    neck = _neck(scene, frame, rng, False)
    made = np.maximum(head, neck)
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    ball = np.sqrt((1 - (u / (wide + 0.06)) ** 2 - ((v - middle) / (tall + 0.06)) ** 2).clip(0.02))
    height = np.maximum(rng.uniform(0.6, 0.9) * ball, 0.5 * np.sqrt((1 - (u / 0.8) ** 2).clip(0.02)) * (v > 1.2)) * np.float32(
        frame.span
    )
    lumps = int(np.clip(rng.uniform(0.8, 1.6) * CANVAS / frame.span, 3, 30))
    height = height + smooth_noise(rng, cells=lumps)[..., 0] * np.float32(rng.uniform(0.02, 0.07) * frame.span)

    tone = paint.colour(rng, _FABRICS, 0.03)
    pitch, coarse = rng.uniform(0.035, 0.1), rng.uniform(0.03, 0.14)
    warp = np.sin(2 * np.pi / np.float32(pitch) * (u * (1 + 0.06 * v)))
    weft = np.sin(2 * np.pi / np.float32(pitch) * (v + 0.05 * u * u))
    woven = 1 + np.float32(coarse) * warp * weft + 0.05 * smooth_noise(rng, cells=60)[..., 0]
    albedo, features, cues = _doll_face(frame, (tone * woven[..., None]).astype(np.float32), rng)
    seams = [[(0.0, -top), (rng.normal(0, 0.05), 0.3), (0.0, chin)]] if paint.chance(rng, 0.35) else []
    seams += [[(s * 0.75, -top), (s * 1.02, 0.2), (s * 0.7, chin)] for s in (-1, 1)] if paint.chance(rng, 0.4) else []
    tucks = [tuck for seam in seams for tuck in _sewn(frame, seam, 1.8)]
    height = height + moulded.grooves(frame, [paint.curve(frame.px(np.array(seam))) for seam in seams], 0.05, 0.2)
    height = height + features + moulded.grooves(frame, tucks, 0.03, 0.08)
    shown = paint.strokes(tucks, max(1.0, 0.025 * frame.span)) * np.float32(rng.uniform(0, 0.8))
    albedo = paint.over(albedo, tone * np.float32(rng.choice([0.35, 1.2])), shown)
    finish = moulded.Finish(gloss=0.0, shininess=5, ambient=rng.uniform(0.35, 0.5), wrap=0.2, speckle=rng.uniform(0.01, 0.03))
    surface, _ = moulded.render(scene, frame, albedo.clip(0, 1).astype(np.float32), height.astype(np.float32), finish, rng)
    surface = _under_chin(surface, scene, frame, head, neck, rng)
    image = paint.over(_without_person(scene, frame, made), surface.astype(np.float32), made)
    if paint.chance(rng, 0.35):
        return image, head, [HEAD, BALD, *cues]
    wig = _wig_mask(frame, rng)
    return _wigged(image, frame, made, wig, _yarn(scene, frame, level, rng)), np.maximum(head, wig), [HEAD, WIG, *cues]


_MADE: dict[str, Callable[[Scene, Frame, np.random.Generator], _Made]] = {
    "fakehead/wax": _wax,
    "fakehead/bronze": _bronze,
    "fakehead/cloth": _cloth,
}
