"""What surrounds a drawn face: hair, headwear, spectacles, neck and clothes, as layers of the picture.

Planes here are sampled at the pixels of the picture; `u` and `v` are the face coordinates of each pixel.
A layer is (linear colour (H, W, 3), coverage (H, W)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faceshield.simulate.drawn_person import Identity, Shot
from faceshield.simulate.drawn_skin import CENTRE_V, Plane, angle_index, ease, linear, noise, outline, tint

Layer = tuple[Plane, Plane]


class Around:
    """Polar coordinates of the pixels about the centre of the head, shared by the layers around it."""

    def __init__(self, who: Identity, u: Plane, v: Plane) -> None:
        self.u, self.v = u, v
        self.rho = np.hypot(u, v - CENTRE_V)
        self.index = angle_index(np.arctan2(v - CENTRE_V, u))
        self.radius = outline(who)[self.index]
        self.outside = self.rho - self.radius


def dome(around: Around, shot: Shot, reach: float = 1.12) -> Plane:
    """Brightness of an ellipsoid around the head under the shot's light, about 0.2 to 1.3."""
    x = np.clip(around.u / reach, -0.97, 0.97)
    y = np.clip((around.v + 0.1) / 1.75, -0.97, 0.97)
    z = np.sqrt(np.clip(1.0 - x * x - y * y, 0.03, 1.0))
    facing = x * shot.light[0] + y * shot.light[1] + z * shot.light[2]
    return np.asarray(0.30 + 0.75 * np.clip(facing, 0.0, 1.0) + 0.12 * np.clip(-y, 0.0, 1.0), dtype=np.float32)


def _strands(who: Identity, around: Around, rng: np.random.Generator) -> Plane:
    """Hair texture, mean about 0, deviation about 1: streaks along the fall of the hair, or curls."""
    u, v = around.u, around.v
    if who.hair_style == "curly":
        shape = (256, 256)
        curls = (
            0.9
            - 1.3 * np.abs(noise(rng, shape, (46, 46)))
            + 0.6 * noise(rng, shape, (90, 90))
            + 0.5 * noise(rng, shape, (14, 14))
        )
        return curls[((v + 2.0) * 60).astype(np.int32) % 256, ((u + 2.2) * 60).astype(np.int32) % 256]
    if who.hair_style == "cropped":
        fuzz = 0.7 * rng.standard_normal((256, 256), dtype=np.float32) + 0.5 * noise(rng, (256, 256), (90, 90))
        return fuzz[((v + 2.0) * 64).astype(np.int32) % 256, ((u + 2.2) * 56).astype(np.int32) % 256]
    wave = 0.05 * np.sin(v * 5.0 + who.hair_part * 9) if who.hair_style == "long" else 0.03 * np.sin(v * 9.0)
    angle = np.arctan2(u - who.hair_part * 0.8 + wave, np.abs(v + 1.32) + 0.30) * (1 if who.hair_style != "updo" else 1.4)
    table = 0.75 * noise(rng, (64, 768), (7, 380)) + 0.6 * noise(rng, (64, 768), (4, 90))
    down = np.clip(np.hypot(u, v + 1.3) * 17, 0, 63).astype(np.int32)
    return table[down, (angle * 235.0 + 384.0).astype(np.int32) % 768]


def hair(who: Identity, shot: Shot, around: Around, style: str) -> tuple[Layer, Layer] | None:
    """(behind, in front): the hair behind neck and head, and the hair in front of them; None for a bald head."""
    if who.hair_style == "bald":
        return None
    rng = np.random.default_rng(who.seed ^ 0x3A)
    u, v, kind = around.u, around.v, who.hair_style
    a = np.abs(u)
    strands = _strands(who, around, rng)
    volume = who.hair_volume
    lift = {
        "short": 0.17,
        "cropped": 0.04,
        "long": 0.15,
        "curly": 0.30,
        "fringe": 0.16,
        "updo": 0.10,
        "receding": 0.06,
    }[kind] * volume
    high = ease(v, 0.3, -0.9)
    puff = lift * (0.45 + 0.55 * high) * (1.0 + 0.25 * np.sin(u * 2.0 + who.hair_part * 4))
    rough = {"curly": 0.034, "cropped": 0.008}.get(kind, 0.018)
    reach = puff + rough * strands - around.outside
    below = kind == "long" or (kind in ("fringe", "curly") and who.feminine)
    length = who.hair_length if kind != "curly" else 0.6 + 0.35 * who.hair_length
    if below:
        width = 1.07 + 0.13 * volume + (0.22 * volume if kind == "curly" else 0.0) + 0.05 * np.sin(v * 2.2 + who.hair_part * 7)
        end = length + 0.12 * strands - 0.25 * a
        width = width - 0.45 * ease(v, 0.6, -0.9)
        side = np.minimum(np.minimum(width + rough * strands - a, (end - v) * 0.8), (v + 0.9) * 0.5)
        reach = np.maximum(side, reach - 2.0 * np.clip(v - 0.1, 0.0, None))
    else:
        reach = reach - 1.2 * np.clip(v - 0.30, 0.0, None)
    if shot.hat:
        # a hat presses the hair down
        reach = np.minimum(reach, np.where(v < -0.5, 0.03 - around.outside, 1.0))
    outer = ease(reach, -0.02, 0.03)
    # the opening of the face: positive where skin shows
    line = who.hair_line + 0.05 * u * u
    if kind == "fringe":
        line = np.float32(-0.50) + 0.16 * (u - who.hair_part) ** 2
    elif kind == "receding":
        line = np.float32(-1.12) - 0.35 * ease(a, 0.1, 0.5)
    elif kind in ("short", "long"):
        line = line + 0.13 * ease(u * float(np.sign(who.hair_part)), 0.1, 0.8)
    temple = 0.86 if kind in ("long", "fringe") else 0.92 if kind != "receding" else 0.97
    if below:
        wall = np.interp(v, [-0.3, 0.3, 1.0, 1.5, 1.9, 3.4], [temple, 0.93, 0.94, 0.74, 0.72, 0.85]).astype(np.float32)
    else:
        wall = np.interp(v, [-0.3, 0.0, 0.28, 0.40], [temple, temple + 0.02, temple + 0.06, 1.6]).astype(np.float32)
    top = np.clip((-0.3 - v) / np.maximum(-0.3 - line, 0.05), 0.0, None)
    openness = 1.0 - np.power(a / wall, 3.0) - np.power(top, 3.0)
    jag = 0.30 if kind == "fringe" else 0.16 if kind != "cropped" else 0.10
    skin_open = ease(openness + jag * strands, -0.28, 0.16) if kind != "cropped" else ease(openness, -0.6, 0.5)
    front = outer * (1.0 - skin_open)
    if kind == "receding":
        front = front * ease(a, 0.55, 0.85) * ease(v, -1.25, -0.8)
    if kind == "cropped":
        front = front * (0.78 + 0.12 * strands)
    if kind == "updo":
        bun = 0.42 * volume - np.hypot(u * 0.9 - 0.1 * who.hair_part, (v + 1.62) * 1.1)
        outer = np.maximum(outer, ease(bun + 0.02 * strands, -0.02, 0.03))
        front = np.maximum(front, ease(bun + 0.02 * strands, -0.02, 0.03))
    shade = dome(around, shot, 1.2)
    contrast = (0.24 if kind == "curly" else 0.32) if style == "skin" else 0.18
    light = shade * (0.85 + contrast * strands)
    grey_mix = 0.0
    if style == "skin" and who.age > 38 and who.hair_name not in ("grey", "white", "blond"):
        grey_mix = 0.22 * np.clip((who.age - 38) / 30, 0, 1)
    base = linear(who.hair)
    colour = base * np.clip(light, 0.12, None)[..., None]
    if grey_mix:
        colour = colour + np.clip(strands - 0.4, 0.0, 1.0)[..., None] * np.float32(grey_mix * 0.35)
    gloss_band = (
        np.exp(-(((around.rho - 1.22 - 0.15 * shot.light[1]) / 0.16) ** 2)) * ease(v, 0.0, -0.5) * np.clip(shade - 0.35, 0, 1)
    )
    shine = (0.05 if style == "skin" else 0.16) * gloss_band * np.clip(0.8 + 0.8 * strands, 0.0, 2.0)
    if kind in ("curly", "cropped"):
        shine = shine * 0.3
    colour = (colour * (0.5 * shot.ambient + 0.75 * shot.key) + shine[..., None]).astype(np.float32)
    edge = 1.0 - 0.35 * ease(openness, -0.5, 0.1)
    colour *= edge[..., None]
    behind = outer if below else outer * ease(v, 0.9, 0.3)
    return (colour * 0.42, behind), (colour, front.astype(np.float32))


def hat(shot: Shot, around: Around) -> Layer:
    """A cap, knitted hat or brimmed hat."""
    u, v = around.u, around.v
    rng = np.random.default_rng(shot.seed ^ 0x1F)
    weave = noise(rng, u.shape, (80, 80))
    shade = dome(around, shot, 1.25)
    colour = linear(shot.hat_colour) + 0.01
    crown = ease(0.13 + 0.05 * ease(v, -0.9, -1.5) - around.outside, -0.01, 0.02)
    if shot.hat == "beanie":
        edge = -0.62 + 0.10 * u * u
        cover = crown * ease(edge - v, -0.015, 0.015)
        ribs = 0.80 + 0.25 * np.cos(u * 62.0 * (1 + 0.15 * u * u))
        cuff = 1.0 - 0.35 * np.exp(-(((v - edge + 0.34) / 0.03) ** 2))
        tone = shade * ribs * cuff * (1.0 + 0.10 * weave)
    elif shot.hat == "cap":
        edge = -0.78 + 0.16 * u * u
        dome_part = crown * ease(edge - v, -0.015, 0.015)
        peak = 1.0 - (u / 1.02) ** 2 - ((v + 0.80) / 0.36) ** 2
        visor = ease(peak, -0.03, 0.05) * ease(v - 0.12 * u * u, -0.88, -0.84)
        cover = np.maximum(dome_part, visor)
        seam = 1.0 - 0.22 * np.exp(-((np.abs(np.abs(u) - 0.33 * (v + 1.9)) / 0.015) ** 2)) - 0.2 * np.exp(-((u / 0.012) ** 2))
        tone = (
            shade
            * np.where(
                visor > 0.5,
                1.05 - 1.2 * (v + 0.84) - 0.5 * np.exp(-(((v + 0.86 - 0.12 * u * u) / 0.03) ** 2)),
                seam,
            )
            * (1.0 + 0.07 * weave)
        )
    else:
        crown = crown * ease(v, -0.72, -0.78)
        brim = ease(1.0 - (u / 1.62) ** 2 - ((v + 0.74 - 0.10 * u * u) / 0.21) ** 2, -0.03, 0.05)
        cover = np.maximum(crown, brim)
        band = 1.0 - 0.7 * ease(v, -1.08, -1.05) * (brim < 0.5)
        tone = shade * band * (1.0 + 0.06 * weave) * np.where(brim > 0.5, 0.9 - 0.8 * (v + 0.74), 1.0)
    lit = colour * tone[..., None] * (0.55 * shot.ambient + 0.85 * shot.key)
    return lit.astype(np.float32), cover.astype(np.float32)


def headscarf(who: Identity, shot: Shot, around: Around) -> tuple[Layer, Layer]:
    """(behind, in front): a scarf around the face and over the shoulders, with an oval opening."""
    u, v = around.u, around.v
    rng = np.random.default_rng(shot.seed ^ 0x2B)
    a = np.abs(u)
    side = np.interp(v, [-0.3, 0.2, 1.2, 1.8, 2.6, 3.5], [0.85, 1.10, 1.13, 1.16, 1.6, 1.9]).astype(np.float32)
    reach = np.maximum(np.where(v > -0.3, side - a, -1.0), 0.13 - around.outside)
    outer = ease(reach, -0.02, 0.03)
    low = 1.60 + who.chin
    oval = 1.0 - np.power(a / 0.90, 2.8) - np.power(np.abs(v - 0.32) / np.where(v < 0.32, 1.17, low - 0.32), 2.6)
    cover = outer * ease(oval, 0.03, -0.03)
    ring = np.hypot(u * 1.1, v - 0.3)
    warp = noise(rng, u.shape, (5, 5))
    folds = 0.5 * np.sin(ring * 15.0 + 2.2 * warp + 1.2 * u) + 0.5 * np.sin(ring * 7.0 - 2.0 * u + 1.5 * warp)
    folds = folds * (0.25 + 0.75 * ease(v, 0.4, 1.5))
    colour = linear(who.scarf) + 0.012
    weave = noise(rng, u.shape, (110, 110))
    tone = dome(around, shot, 1.25) * (1.0 + 0.28 * folds) * (1.0 - 0.45 * ease(oval, -0.35, 0.0)) + 0.02 * weave
    lit = colour * np.clip(tone, 0.08, None)[..., None] * (0.55 * shot.ambient + 0.85 * shot.key)
    return (lit.astype(np.float32) * 0.35, outer), (lit.astype(np.float32), cover.astype(np.float32))


def spectacles(who: Identity, shot: Shot, u: Plane, v: Plane, hinge: NDArray[np.float32]) -> tuple[Layer, Plane, Plane]:
    """Ordinary glasses with clear lenses.

    Args:
        u, v: face coordinates of the pixels on the plane of the lenses, not on the face.
        hinge: (4, 2) pixels: left hinge, left ear, right hinge, right ear, for the temples.

    Returns:
        The frame's layer, the glare to add (H, W), and the mask of the lenses (H, W).
    """
    half, tall, power, thick = who.lens
    frame = np.zeros(u.shape, dtype=np.float32)
    lenses = np.zeros(u.shape, dtype=np.float32)
    for side in (-1.0, 1.0):
        x, y = np.abs(u - side * 0.455) / half, np.abs(v - 0.05) / tall
        r = np.power(np.power(x, power) + np.power(y, power), 1.0 / power)
        d = (r - 1.0) * 0.5 * (half + tall)
        lenses = np.maximum(lenses, ease(d, 0.01, -0.01))
        frame = np.maximum(frame, ease(np.abs(d) - thick * 0.5, 0.012, -0.008))
    bridge = np.abs(v + 0.03 + 0.5 * u * u) - max(thick * 0.55, 0.012)
    frame = np.maximum(frame, ease(bridge, 0.012, -0.008) * ease(np.abs(u), 0.475 - half + 0.02, 0.455 - half))
    canvas = Image.new("L", (u.shape[1] * 2, u.shape[0] * 2), 0)
    draw = ImageDraw.Draw(canvas)
    for k in (0, 2):
        draw.line(
            [tuple(float(c) * 2 for c in hinge[k]), tuple(float(c) * 2 for c in hinge[k + 1])],
            fill=255,
            width=max(2, int(110 * thick)),
        )
    temples = np.asarray(canvas.reduce(2), dtype=np.float32) / 255.0
    frame = np.maximum(frame, temples)
    rng = np.random.default_rng(who.seed ^ 0x99)
    mottled = 1.0 + 0.25 * noise(rng, u.shape, (40, 40))
    bevel = np.gradient(frame, axis=0)
    tone = (0.55 + 0.5 * np.clip(bevel * 1.5, -0.6, 1.2)) * mottled
    colour = (linear(who.frame) + 0.008) * tone[..., None] + 0.10 * np.clip(bevel, 0.0, 1.0)[..., None]
    tilt = u * 0.7 + v + 0.35 * shot.light[0]
    glare = lenses * (0.030 + 0.10 * shot.sweat * np.exp(-(((tilt - 0.1) / 0.10) ** 2))) * (1.0 - frame)
    return (colour.astype(np.float32), frame), glare.astype(np.float32), lenses


def body(who: Identity, shot: Shot, x: Plane, y: Plane, chin: float) -> tuple[Layer, Layer]:
    """(neck and chest, clothes); x from the middle of the neck, y down from the eyes, in face units."""
    rng = np.random.default_rng(shot.seed ^ 0x44)
    a = np.abs(x)
    base = chin + 0.25
    broad = 1.0 if not who.feminine else 0.90
    knots = np.array([0.0, 0.55, 0.75, 1.1, 1.7, 2.1, 2.35, 2.5]) * broad
    slope = np.interp(a, knots, np.array([0.0, 0.06, 0.24, 0.36, 0.52, 0.72, 1.05, 1.9])).astype(np.float32)
    torso = ease(y - base - slope, -0.015, 0.02)
    neck_half = who.neck * (1.0 + 0.12 * ease(y, base - 0.35, base + 0.15) + 0.05 * ease(y, base - 0.3, chin - 0.5))
    neck = ease(neck_half - a, -0.012, 0.02) * ease(y, 0.7, 0.8) * (y < base + 0.4)
    skin_cover = np.maximum(neck, torso)
    xn = np.clip(x / neck_half, -0.98, 0.98)
    z = np.sqrt(1.0 - xn * xn)
    facing = xn * shot.light[0] * 0.9 + z * shot.light[2] - 0.15 * shot.light[1]
    # the jaw shades the neck, and the two cords of the neck run to the pit between the collar bones
    under = 1.0 - 0.55 * ease(y, chin + 0.30, chin - 0.1)
    cords = 1.0 + 0.06 * np.cos((a - 0.36 * ease(y, base + 0.35, chin - 0.3)) * 16.0) * ease(a, 0.75, 0.5)
    bones = 1.0 - 0.16 * np.exp(-(((y - base - 0.23 - 0.10 * a) / 0.05) ** 2)) * ease(a, 0.12, 0.3)
    grain = 1.0 + 0.05 * noise(rng, x.shape, (70, 70)) + 0.015 * rng.standard_normal(x.shape, dtype=np.float32)
    bright = under * cords * bones * grain
    lit = 0.75 * shot.ambient + shot.key * np.clip(facing, 0.05, 1.0)[..., None] * 0.85
    skin = linear(who.skin) * tint(0.97, 0.92, 0.90) * lit * bright[..., None]
    return (skin.astype(np.float32), skin_cover), _clothes(shot, rng, x, y, torso, base, neck_half)


def _clothes(shot: Shot, rng: np.random.Generator, x: Plane, y: Plane, torso: Plane, base: float, neck_half: Plane) -> Layer:
    a = np.abs(x)
    first, second = linear(shot.cloth) + 0.01, linear(shot.cloth_second) + 0.01
    folds = noise(rng, x.shape, (5, 9)) + 0.6 * noise(rng, x.shape, (14, 14))
    cloth = np.empty((*x.shape, 3), dtype=np.float32)
    cloth[:] = first
    bend = x + 0.03 * folds
    drop = y - 0.16 * a * a + 0.03 * folds
    if shot.pattern == "stripes":
        mask = ease(np.sin(bend * 24.0), -0.3, 0.3) * 0.8
    elif shot.pattern == "bands":
        mask = ease(np.sin(drop * 17.0), -0.2, 0.2) * 0.9
    elif shot.pattern == "checks":
        mask = 0.5 * ease(np.sin(bend * 20.0), -0.2, 0.2) + 0.5 * ease(np.sin(drop * 20.0), -0.2, 0.2)
    elif shot.pattern == "dots":
        mask = ease(np.sin(bend * 26.0) * np.sin(drop * 26.0), 0.55, 0.75)
    elif shot.pattern == "knit":
        mask = 0.25 + 0.2 * np.sin(bend * 60.0 + 2.5 * np.sin(drop * 55.0))
    else:
        mask = None
    if mask is not None:
        cloth += (second - cloth) * mask[..., None].astype(np.float32)
    cover = torso
    edge = np.zeros_like(x)
    if shot.neckline == "crew":
        hole = 1.0 - (a / 0.72) ** 2 - ((y - base + 0.02) / 0.36) ** 2
        edge = np.exp(-(((hole + 0.10) / 0.07) ** 2))
    elif shot.neckline == "turtle":
        hole = np.full_like(x, -1.0)
        tube = ease(neck_half * 1.12 - a, -0.012, 0.02) * ease(y - base + 0.22 + 0.12 * x * x, -0.012, 0.012) * (y < base + 0.5)
        cover = np.maximum(cover, tube)
        edge = 0.6 * np.exp(-(((y - base - 0.08) / 0.05) ** 2)) * (a < 0.8)
    elif shot.neckline == "vee":
        hole = (base + 0.85 - y) * 0.80 - a
        edge = np.exp(-(((hole + 0.05) / 0.035) ** 2))
    else:
        hole = (base + (0.55 if shot.neckline == "shirt" else 0.35) - y) * 0.85 - a
    cover = cover * ease(hole, 0.012, -0.012)
    if shot.neckline in ("shirt", "suit"):
        wing = (
            (hole < 0.0)
            & (hole > -0.30 + 0.10 * a)
            & (y > base - 0.24 + 0.35 * np.clip(a - 0.45, 0, 1))
            & (y < base + 0.62)
            & (a < 0.95)
        )
        ring = (
            ease(neck_half * 1.16 - a, -0.012, 0.02)
            * ease(y - base + 0.10 + 0.2 * hole * (hole > 0), -0.012, 0.012)
            * (hole < 0.02)
            * (y < base + 0.5)
        )
        cover = np.maximum(cover, ring.astype(np.float32))
        collar = (wing | (ring > 0.5)).astype(np.float32)
        if shot.neckline == "suit":
            jacket = linear(np.clip(shot.cloth * 0.25 + 0.03, 0, 1))
            lapel = a - (base + 1.9 - y) * 0.36
            shirt = second * 0.3 + 0.55
            inner = ease(lapel, 0.01, -0.01)
            cloth[:] = jacket
            cloth += (shirt - cloth) * np.maximum(inner, collar)[..., None]
            tie = ease(0.09 + 0.05 * (y - base - 0.3) - a, -0.01, 0.01) * ease(y, base + 0.30, base + 0.34)
            cloth += (first - cloth) * tie[..., None]
            edge = 0.8 * np.exp(-((lapel / 0.02) ** 2)) * (y > base + 0.4) + 0.5 * np.exp(
                -(((a - 0.33 * (y - base + 0.9)) / 0.02) ** 2)
            ) * (lapel > 0)
        else:
            cloth *= (1.0 + 0.12 * collar)[..., None]
            edge = 0.9 * np.exp(-((x / 0.012) ** 2)) * (y > base + 0.5)
        edge = edge + 0.5 * np.exp(-(((hole + 0.31 - 0.10 * a) / 0.025) ** 2)) * (y < base + 0.62) * (y > base - 0.1) * (
            a < 0.95
        )
    weave = rng.standard_normal(x.shape, dtype=np.float32)
    across = np.clip(x / 2.6, -0.95, 0.95)
    facing = across * shot.light[0] + np.sqrt(1 - across * across) * shot.light[2] - 0.35 * shot.light[1]
    tone = (1.0 + 0.16 * folds + 0.030 * weave) * (1.0 - 0.35 * edge)
    lit = cloth * tone[..., None] * (0.70 * shot.ambient + shot.key * np.clip(facing, 0.1, 1.0)[..., None] * 0.85)
    return lit.astype(np.float32), cover.astype(np.float32)
