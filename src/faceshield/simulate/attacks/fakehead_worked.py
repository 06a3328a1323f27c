"""Hand-made heads: a waxwork of the person, a bust of cast metal, a sewn doll."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from faceshield.simulate import paint
from faceshield.simulate.attacks import heads, moulded
from faceshield.simulate.attacks.heads import BALD, BLANK, GLOSS, HEAD, LIPS, PAINTED, STIFF, UNIFORM, WIG
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
from faceshield.simulate.portrait import CANVAS, LUMA, FloatImage, Mask, Points, Scene, smooth_noise

Replaced = tuple[FloatImage, Mask, list[str], Mask | None]
"""A picture with the head in it, the head's mask, its cues, and where the background has taken the person's place."""
_METALS = ((0.55, 0.38, 0.22), (0.42, 0.29, 0.19), (0.34, 0.28, 0.21), (0.3, 0.27, 0.24), (0.6, 0.5, 0.33), (0.92, 0.72, 0.36),
           (0.75, 0.46, 0.34), (0.78, 0.79, 0.82))  # fmt: skip
_PATINA = ((0.35, 0.58, 0.5), (0.28, 0.45, 0.38), (0.12, 0.1, 0.08), (0.2, 0.14, 0.1))
_FABRICS = ((0.9, 0.8, 0.68), (0.93, 0.86, 0.78), (0.85, 0.65, 0.53), (0.6, 0.42, 0.3), (0.66, 0.54, 0.38), (0.92, 0.91, 0.88),
            (0.75, 0.55, 0.6), (0.45, 0.3, 0.22))  # fmt: skip
_YARNS = ((0.45, 0.22, 0.1), (0.8, 0.6, 0.25), (0.75, 0.2, 0.12), (0.12, 0.09, 0.08), (0.85, 0.5, 0.6), (0.3, 0.35, 0.6))


def _glass_eyes(surface: FloatImage, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    """Sets in glass eyes: a lit ball in the lids' shade, an iris with depth, one sharp reflection, a dark lash line."""
    wide, high, gaze = rng.uniform(0.2, 0.25), rng.uniform(0.085, 0.125), rng.normal(0, 0.03)
    eyes = [moulded.almond(frame, side, wide, high) for side in (-1, 1)]
    opening = paint.shapes(eyes)

    def discs(radius: float, x: float = 0.0, y: float = 0.0) -> Mask:
        centres = [(side * 0.5 + gaze + x, 0.01 + y) for side in (-1, 1)]
        return paint.shapes([frame.px(paint.ellipse(centre, (radius, 0), (0, radius))) for centre in centres]) * opening

    size, iris = rng.uniform(0.1, 0.125), paint.colour(rng, moulded.IRIS, 0.04)
    ball = np.array([0.9, 0.88, 0.85], np.float32) * np.float32(rng.uniform(0.8, 1.0) * level)
    out = paint.over(surface, ball, opening)
    out = paint.over(out, iris * np.float32(0.45 * level), discs(size))
    out = paint.over(out, iris * np.float32(1.15 * level), paint.blur(discs(size * 0.72), 0.03 * frame.span))
    out = paint.over(out, np.array([0.02, 0.02, 0.02], np.float32), discs(size * 0.42))
    lid = opening * (1 - paint.shifted(opening, 0, 0.07 * frame.span))
    out = out * (1 - 0.55 * paint.blur(lid, 0.03 * frame.span) * opening)[..., None]
    x = float(rng.choice([-1, 1])) * rng.uniform(0.03, 0.06)
    out = paint.over(out, np.full(3, min(1.0, 1.1 * level), np.float32), discs(rng.uniform(0.02, 0.035), x, -0.045))
    line = np.array([0.13, 0.08, 0.07], np.float32) * np.float32(level)
    return paint.over(out, line, paint.strokes([np.vstack([eye[18:], eye[:1]]) for eye in eyes], max(1.0, 0.035 * frame.span)))


def _wax(scene: Scene, frame: Frame, rng: np.random.Generator) -> Replaced:
    """A waxwork of the person: smooth, with warm subsurface scattering, glass eyes, and the person's hair or a wig."""
    level = moulded.exposure(scene, frame)
    head, neck = heads.bare_head(frame, rng), heads.neck_of(scene, frame, rng, False)
    made = np.maximum(head, neck)
    height = relief(frame, rng, strength=rng.uniform(0.6, 0.95), spread=0.15)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    height = height + smooth_noise(rng, cells=int(np.clip(1.5 * CANVAS / frame.span, 4, 40)))[..., 0] * np.float32(
        0.008 * frame.span
    )

    own = skin_colour(scene, frame) / np.float32(max(level, 0.3))
    tone = (paint.colour(rng, heads.FLESH, 0.03) * 0.6 + own * 0.4).clip(0, 1).astype(np.float32)
    face = paint.shapes([paint.rounded(frame.outline(0.94, 0.8))])
    picture = portrait_texture(scene, frame, within=face)
    picture = paint.blur_image(picture, rng.uniform(0.03, 0.055) * frame.span + 0.3)
    inside = picture[face > 0.5]
    mean = np.median(inside, axis=0) if len(inside) else np.array([0.5, 0.5, 0.5], np.float32)
    features = ((picture / np.maximum(mean, 0.05)).clip(0.25, 1.15) - 1) * np.float32(rng.uniform(0.5, 0.9))
    set_in = paint.blur(face, 0.1 * frame.span)[..., None] * face[..., None]
    albedo = tone * moulded.mottle(rng, rng.uniform(0.01, 0.05)) * (1 + features * set_in)
    spots = [
        frame.px(paint.ellipse(xy, (r, 0), (0, r))) for xy, r in (((-0.62, 0.55), 0.3), ((0.62, 0.55), 0.3), ((0, 0.62), 0.14))
    ]
    red = paint.blur(paint.shapes(spots), 0.13 * frame.span) * rng.uniform(0.1, 0.6)
    albedo = paint.over(albedo.astype(np.float32), tone * np.array([1.0, 0.74, 0.72], np.float32), red)
    lips = tone * np.array([0.92, 0.55, 0.55], np.float32) * np.float32(rng.uniform(0.8, 1.05))
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
    dark = (1 - surface @ LUMA / max(float(tone @ LUMA) * level, 0.05)).clip(0, 0.6)
    surface = surface * (1 + dark[..., None] * np.array([0.3, 0.0, -0.08], np.float32))
    surface = _glass_eyes(surface.astype(np.float32), frame, level, rng)
    surface = moulded.painted_brows(frame, surface, rng, rng.uniform(0.06, 0.1)) if paint.chance(rng, 0.5) else surface
    surface = heads.under_chin(surface, scene, frame, head, neck, rng).astype(np.float32)
    cues = [HEAD, UNIFORM, PAINTED, LIPS, *([GLOSS] if finish.gloss > 0.2 else [])]
    if paint.chance(rng, 0.6):
        darker = (scene.image @ LUMA < 0.8 * float(skin_colour(scene, frame) @ LUMA)).astype(np.float32)
        image, region = heads.dressed(scene, frame, surface, neck, heads.own_hair(scene, frame) * paint.blur(darker, 0.8))
        return image, region, cues, None
    wig = heads.wig_on(frame, rng)
    room, gone = heads.without_person(scene, frame, made)
    image = heads.wigged(paint.over(room, surface, made), frame, made, wig, heads.strands(scene, frame, rng, level))
    return image, np.maximum(head, wig), [*cues, WIG], gone


def _mirrored(scene: Scene, height: Plane, metal: moulded.Colour, rough: float, rng: np.random.Generator) -> FloatImage:
    """What polished metal shows: the room in front of it, distorted by the relief, and lamps; its own tint is all it adds."""
    down, across = np.gradient(height)
    norm = 1 / np.sqrt(across * across + down * down + 1)
    x, y = -2 * across * norm * norm, -2 * down * norm * norm  # reflected direction in the image plane
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
    """Height in pixels of a sculpted head, uneven from the clay, with modelled lids; and whether it has modelled hair."""
    height = relief(frame, rng, strength=rng.uniform(0.9, 1.35), spread=0.25)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    cells = int(np.clip(rng.uniform(2, 5) * CANVAS / frame.span, 4, 60))
    height = height + smooth_noise(rng, cells=cells)[..., 0] * np.float32(rng.uniform(0.004, 0.02) * frame.span)
    stiff = paint.chance(rng, 0.7)
    if stiff:
        _, carved = heads.moulded_hair(frame, rng)
        height = height + carved * np.float32(rng.uniform(0.8, 1.5))
    lids = [moulded.almond(frame, s, 0.24, 0.11) for s in (-1, 1)]
    rims = [np.vstack([eye, eye[:2]]) for eye in lids] + [
        paint.curve(frame.px(np.array([(s * 0.25, -0.08), (s * 0.5, -0.17), (s * 0.8, -0.04)]))) for s in (-1, 1)
    ]
    height = height + moulded.grooves(frame, rims, 0.05, rng.uniform(0.1, 0.2))
    if paint.chance(rng, 0.4):  # pupils drilled into the eyeballs
        holes = [frame.px(paint.ellipse((s * 0.5, 0.01), (0.06, 0), (0, 0.06))) for s in (-1, 1)]
        height = height - paint.blur(paint.shapes(holes), 0.02 * frame.span) * np.float32(0.1 * frame.span)
    return height.astype(np.float32), stiff


def _bronze(scene: Scene, frame: Frame, rng: np.random.Generator) -> Replaced:
    """A cast bust: metal that reflects lamps and room, polished where hands touch it, with a patina where they do not."""
    level = moulded.exposure(scene, frame)
    head, bust = heads.bare_head(frame, rng), paint.chance(rng, 0.4)
    neck = heads.neck_of(scene, frame, rng, bust)
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
    around = ambient_light(scene, frame, shaded=True) * np.float32(level)
    surface = surface * (around * (1 - 0.35 * depth.clip(0, 1)))[..., None]
    surface = surface * (1 + 0.015 * rng.standard_normal((CANVAS, CANVAS, 1), dtype=np.float32))
    surface = heads.under_chin(surface, scene, frame, head, neck, rng)
    room, gone = heads.without_person(scene, frame, made)
    image = paint.over(room, surface.astype(np.float32), made)
    return image, head, [HEAD, BLANK, GLOSS, STIFF if stiff else BALD], gone


def _sewn(frame: Frame, line: list[tuple[float, float]], stitch: float) -> list[Points]:
    """Short stitches, in pixels, across a line in face coordinates."""
    along = paint.resample(paint.curve(frame.px(np.array(line)), 60), max(3, int(14 * stitch)))
    way = np.gradient(along, axis=0)
    side = np.stack([-way[:, 1], way[:, 0]], axis=1) / np.maximum(np.hypot(*way.T), 1e-6)[:, None] * 0.05 * frame.span
    return list(np.stack([along - side, along + side], axis=1).astype(np.float32))


def _doll_face(frame: Frame, albedo: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, Plane, list[str]]:
    """The cloth with a doll's eyes, nose and mouth (buttons, thread or textile paint), their height in pixels, and cues."""
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
            albedo,
            np.array([0.85, 0.42, 0.4], np.float32),
            paint.blur(cheeks, rng.uniform(0.01, 0.08) * frame.span) * np.float32(0.5),
        )
    if paint.chance(rng, 0.6):
        nose = paint.shapes([frame.px(paint.ellipse((0, 0.55), (rng.uniform(0.08, 0.2), 0), (0, rng.uniform(0.08, 0.24))))])
        out = out + paint.blur(nose, 0.06 * frame.span) * np.float32(rng.uniform(0.08, 0.2) * frame.span)
    return albedo.astype(np.float32), out.astype(np.float32), cues


def _yarn(scene: Scene, frame: Frame, level: float, rng: np.random.Generator) -> FloatImage:
    """Hair of yarn: thick twisted threads side by side."""
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    flow = (u / (1 + 0.3 * np.abs(v + 0.2)) + 0.08 * smooth_noise(rng, cells=7)[..., 0]) * np.float32(rng.uniform(7, 14))
    ply = 0.82 + 0.18 * np.sin(2 * np.pi * (v * np.float32(rng.uniform(6, 12)) + 0.5 * flow))
    dark = rng.uniform(0.75, 1.1, 64).astype(np.float32)[(flow + 32).astype(np.int32).clip(0, 63)]
    round_ = np.sqrt((1 - (2 * np.mod(flow, 1) - 1) ** 2).clip(0.06))
    side = 1 + 0.25 * np.float32(scene.light_xy[0]) * u.clip(-1.4, 1.4) / 1.4
    return (paint.colour(rng, _YARNS, 0.04) * (ply * dark * round_ * side * np.float32(level))[..., None]).astype(np.float32)


def _cloth(scene: Scene, frame: Frame, rng: np.random.Generator) -> Replaced:
    """A stuffed doll's head: lumpy woven cloth, often with puckered seams, sewn or drawn features, often yarn hair."""
    level = moulded.exposure(scene, frame)
    wide, top, chin = rng.uniform(1.15, 1.4), rng.uniform(1.5, 1.8), rng.uniform(1.75, 2.0)
    middle, tall = (chin - top) / 2, (chin + top) / 2
    ears = heads.ears_of(frame) if paint.chance(rng, 0.3) else []
    head = paint.shapes([frame.px(paint.ellipse((0, middle), (wide, 0), (0, tall), rng.uniform(2.0, 2.5))), *ears])
    neck = heads.neck_of(scene, frame, rng, False)
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
    surface = heads.under_chin(surface, scene, frame, head, neck, rng)
    room, gone = heads.without_person(scene, frame, made)
    image = paint.over(room, surface.astype(np.float32), made)
    if paint.chance(rng, 0.35):
        return image, head, [HEAD, BALD, *cues], gone
    wig = heads.wig_on(frame, rng)
    image = heads.wigged(image, frame, made, wig, _yarn(scene, frame, level, rng))
    return image, np.maximum(head, wig), [HEAD, WIG, *cues], gone


WORKED: dict[str, Callable[[Scene, Frame, np.random.Generator], Replaced]] = {
    "fakehead/wax": _wax,
    "fakehead/bronze": _bronze,
    "fakehead/cloth": _cloth,
}
