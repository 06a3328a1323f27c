"""Colours and lighting of a drawn head: albedo, shading, then what is wet or recessed (eyes, teeth)."""

from __future__ import annotations

import numpy as np

from faceshield.simulate.drawn_person import Identity, Shot
from faceshield.simulate.drawn_skin import (
    COLUMNS,
    ROWS,
    TEXEL,
    U0,
    V0,
    Eye,
    Mouth,
    Plane,
    Strokes,
    U,
    V,
    arc,
    beard_mask,
    brow_curve,
    ease,
    linear,
    noise,
    pair,
    relief,
    soft,
    tint,
)

Texture = Plane
"""(ROWS, COLUMNS, 3) linear light."""


def _mix(base: Plane, colour: Plane, mask: Plane) -> None:
    """`colour` over `base`, in place."""
    base += (colour - base) * mask[..., None]


def _complexion(who: Identity, rng: np.random.Generator) -> tuple[Texture, Plane]:
    """Albedo of bare skin and its fine grain (the same grain roughens the relief)."""
    shape = (ROWS, COLUMNS)
    skin = linear(who.skin)
    red = (
        0.55
        * who.ruddy
        * (pair(0.58, 0.42, 0.26, 0.24, 1.0) + 1.1 * np.exp(-((U / 0.2) ** 2 + ((V - who.nose_length + 0.08) / 0.16) ** 2)))
    )
    red += (
        0.22 * who.ruddy * pair(1.05, 0.15, 0.16, 0.3, 1.0)
        + 0.08 * noise(rng, shape, (12, 8))
        + 0.05 * noise(rng, shape, (36, 24))
    )
    tired = pair(0.42, 0.12, 0.2, 0.07, 0.16 + 0.003 * who.age) + pair(0.36, -0.08, 0.22, 0.10, 0.14)
    dark = tired + 0.05 * noise(rng, shape, (9, 8)) + 0.05 * noise(rng, shape, (60, 40))
    grain = rng.standard_normal(shape, dtype=np.float32)
    mottle = noise(rng, shape, (120, 80))
    dark += who.roughness * (0.022 * grain + 0.035 * mottle)
    if not who.feminine and who.beard != "full":
        dark += beard_mask(who) * (0.05 if who.beard == "" else 0.0)
    if who.age > 50:
        dark += np.clip(noise(rng, shape, (26, 17)) - 1.1, 0.0, 0.5) * (who.age - 50.0) / 45.0
    if who.freckles:
        spots = np.clip(noise(rng, shape, (90, 60)) - 0.9, 0.0, 1.0)
        dark += who.freckles * 0.6 * spots * (pair(0.4, 0.3, 0.5, 0.35, 1.0))
    for _ in range(int(rng.integers(0, 4))):
        u, v, size = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 1.4), rng.uniform(0.010, 0.022)
        dark += 0.7 * np.exp(-(((U - u) ** 2 + (V - v) ** 2) / size**2))
    depth = float(np.clip(1.15 - 0.09 * who.skin_index, 0.4, 1.15))
    absorb = np.stack(
        [dark * 0.85 - red * 0.10, dark * 1.05 + red * 0.34 * depth, dark * 1.15 + red * 0.30 * depth],
        axis=-1,
    )
    return (skin * np.exp(-absorb)).astype(np.float32), (0.6 * grain + 0.9 * mottle).astype(np.float32)


def _lips(who: Identity, mouth: Mouth, albedo: Texture, rng: np.random.Generator, painted: bool) -> Plane:
    t = U / mouth.half
    top, _, _, bottom = mouth.curves(t)
    edge = 0.010 if painted else 0.022
    mask = ease(V - top, -edge, edge) * ease(bottom - V, -edge, edge) * ease(np.abs(t), 1.02, 0.94)
    skin = linear(who.skin)
    tone = skin * np.array([0.80, 0.50, 0.50]) if who.skin_index < 4.5 else skin * np.array([0.78, 0.58, 0.62])
    tone = tone * who.lip_red + skin * np.array([0.9, 0.68, 0.66]) * (1.0 - who.lip_red)
    if painted:
        tone = np.array([0.40, 0.07, 0.07]) * (0.6 + 0.5 * who.lip_red)
    elif who.makeup:
        tone = tone * (1.0 - 0.4 * who.makeup) + np.array([0.42, 0.09, 0.11]) * 0.4 * who.makeup
    if not painted:
        # creases of the lips run down, hence many more cells across than down
        mask = mask * (0.85 + 0.05 * noise(rng, (ROWS, COLUMNS), (30, 80)))
    _mix(albedo, tone.astype(np.float32), mask)
    return mask


def _hairs(who: Identity, shot: Shot, rng: np.random.Generator) -> Plane:
    """Mask of the brows, stroke by stroke."""
    strokes = Strokes()
    count = int(70 + 70 * who.brow_weight)
    spread = 0.052 * (0.55 + 0.6 * who.brow_weight)
    for side in (-1, 1):
        curve = brow_curve(who, shot, side)
        along = rng.uniform(0.0, 4.9, count)
        taper = 1.0 - 0.13 * along
        off = rng.uniform(-1.0, 1.0, count) * spread * taper
        length = rng.uniform(0.05, 0.085, count) * taper
        value = rng.uniform(0.45, 0.95, count)
        root = np.stack([np.interp(along, np.arange(6), curve[:, i]) for i in (0, 1)], axis=1)
        root[:, 1] += off
        rise = length * np.clip(0.75 - 0.22 * along, 0.1, None)
        tip = root + np.stack([side * length * np.clip(0.25 + 0.18 * along, None, 1.0), -rise], axis=1)
        for line, tone in zip(np.stack([root, tip], axis=1), value, strict=True):
            strokes.line(line, 0.012, tone)
    return strokes.mask()


def _eye(who: Identity, shot: Shot, eye: Eye, lit: Texture, glow: Plane, painted: bool, rng: np.random.Generator) -> None:
    """Paints one eye over the lit skin of `lit`, in a window around it."""
    cols = slice(int((eye.u - 0.30 - U0) * TEXEL), int((eye.u + 0.30 - U0) * TEXEL))
    rows = slice(int((-0.22 - V0) * TEXEL), int((0.18 - V0) * TEXEL))
    u, v, view = U[:, cols], V[rows], lit[rows, cols]
    t = (u - eye.u) / eye.half
    inside = np.abs(t) < 1.0
    up, low = eye.lids(np.clip(t, -1.0, 1.0))
    open_ = ease(v - up, -0.007, 0.007) * ease(low - v, -0.007, 0.007) * inside
    # lid crease, lid rim and lash lines come from the distance to the two lid curves
    crease = up - 0.035 - 0.03 * who.crease
    if not painted:
        view *= (1.0 - (0.25 + 0.25 * who.crease) * np.exp(-(((v - crease) / 0.013) ** 2)) * ease(np.abs(t), 1.15, 0.8))[
            ..., None
        ]
        if who.makeup:
            shade = ease(v, -0.15, -0.05) * ease(up - v, -0.01, 0.02) * ease(np.abs(t), 1.3, 0.8) * 0.35 * who.makeup
            _mix(view, view * np.array([0.55, 0.45, 0.5], dtype=np.float32), shade)
    ru, rv = u - eye.iris_u, v - eye.iris_v
    r = np.sqrt(ru * ru + rv * rv) / 0.082
    ball = 1.0 - 0.35 * np.clip(np.abs(t), 0.0, 1.0) ** 2
    white = linear((0.78, 0.75, 0.73)) * np.ones((1, 1, 1), dtype=np.float32) * ball[..., None]
    pink = np.exp(-((np.abs(t + eye.side * 0.95) / 0.20) ** 2)) + 0.10
    veins = np.clip(rng.standard_normal(r.shape, dtype=np.float32), 0, 2) * 0.03
    white = white * (1.0 - (pink + veins)[..., None] * np.array([0.10, 0.45, 0.42], dtype=np.float32))
    angle = np.arctan2(rv, ru)
    rays = 0.85 + 0.22 * np.sin(angle * 23 + 3 * np.sin(angle * 5)) * (0 if painted else 1)
    shade_iris = (0.75 + 0.55 * ease(rv / 0.082, -0.6, 0.9)) * rays * (1.0 - 0.65 * ease(r, 0.72, 1.0))
    colour = linear(who.iris) * shade_iris[..., None] * 1.25
    _mix(white, colour.astype(np.float32), ease(r, 1.06, 0.94))
    _mix(white, tint(0.004, 0.004, 0.004), ease(r, 0.48 if not painted else 0.40, 0.36))
    depth = 1.0 - 0.62 * ease(v - up, 0.045, -0.005) - (0.0 if painted else 0.12)
    white = white * (depth * (0.35 + 0.65 * glow[rows, cols]))[..., None]
    if not painted:
        for du, size, power in ((0.030 * np.sign(shot.light[0] + 1e-6), 0.016, 0.95), (-0.03, 0.010, 0.25)):
            spot = np.exp(-(((ru - du) / size) ** 2 + ((rv + 0.030) / size) ** 2)) * power
            _mix(white, tint(1.0, 1.0, 1.0), spot)
    _mix(view, white.astype(np.float32), open_)
    lash = np.exp(-(((v - up + 0.004) / (0.011 + 0.006 * who.makeup + (0.003 if who.feminine else 0.0))) ** 2)) * ease(
        np.abs(t), 1.12, 0.95
    )
    under = np.exp(-(((v - low - 0.003) / 0.008) ** 2)) * ease(np.abs(t), 1.05, 0.8) * 0.45
    outer = np.clip(0.62 + 0.38 * t * eye.side, 0.3, 1.0)
    ragged = 1.0 if painted else np.float32(0.8) + 0.25 * rng.standard_normal((1, u.shape[1]), dtype=np.float32)
    dark = tint(0.012, 0.009, 0.008)
    _mix(view, dark, np.clip((0.95 * lash + under) * outer * ragged, 0.0, 0.95).astype(np.float32))
    rim = np.exp(-(((v - low + 0.012) / 0.006) ** 2)) * inside * 0.25 * (not painted)
    _mix(view, tint(0.5, 0.30, 0.27) * glow[rows, cols][..., None], rim.astype(np.float32))


def _opening(shot: Shot, mouth: Mouth, lit: Texture, glow: Plane) -> None:
    """The parted mouth: dark inside, tongue, teeth; or the line between closed lips."""
    rows, cols = (
        slice(int((0.75 - V0) * TEXEL), int((1.40 - V0) * TEXEL)),
        slice(int((-0.55 - U0) * TEXEL), int((0.55 - U0) * TEXEL)),
    )
    u, v, view, light = U[:, cols], V[rows], lit[rows, cols], glow[rows, cols]
    t = u / mouth.half
    _, up, low, _ = mouth.curves(t)
    line = np.exp(-(((v - 0.5 * (up + low)) / 0.011) ** 2)) * ease(np.abs(t), 1.06, 0.9)
    if shot.open <= 0.05:
        _mix(view, view * tint(0.32, 0.22, 0.20), (0.85 * line).astype(np.float32))
        return
    gap = ease(v - up, -0.008, 0.008) * ease(low - v, -0.008, 0.008) * (np.abs(t) < 0.97)
    inside = np.zeros(view.shape, dtype=np.float32) + tint(0.030, 0.008, 0.007)
    _mix(inside, tint(0.22, 0.06, 0.055), ease(low - v, 0.06, 0.0) * ease(np.abs(t), 0.7, 0.3))
    edge = up + (0.075 if shot.smile > 0.3 else 0.045)
    teeth = (
        ease(v - up, -0.004, 0.008)
        * ease(edge - v + 0.012 * np.abs(np.sin(u * 31.0)), -0.006, 0.006)
        * ease(np.abs(t), 0.86, 0.7)
    )
    gaps = 1.0 - 0.45 * np.exp(-((np.sin(u * 31.0) / 0.18) ** 2)) * ease(np.abs(t), 1.0, 0.0)
    enamel = linear((0.90, 0.87, 0.80)) * (gaps * (1.0 - 0.55 * t * t) * (0.75 + 0.25 * ease(v - up, 0.0, 0.03)))[..., None]
    _mix(inside, enamel.astype(np.float32), teeth)
    _mix(view, inside * (0.35 + 0.75 * light)[..., None], gap.astype(np.float32))


def _shadow(height: Plane, light: Plane) -> Plane:
    """Self-shadow of the relief, 1 where it is lit, marched over every fourth texel."""
    small = height[::4, ::4]
    slope = float(light[2]) / max(float(np.hypot(light[0], light[1])), 1e-3)
    direction = light[:2] / max(float(np.hypot(light[0], light[1])), 1e-3)
    excess = np.zeros_like(small)
    for k in (1, 2, 3, 4, 6, 8):
        du, dv = int(round(k * direction[0])), int(round(k * direction[1]))
        over = np.roll(small, (-dv, -du), axis=(0, 1)) - small - slope * k * 4.0 / TEXEL
        excess = np.maximum(excess, over)
    shade = np.clip(excess * 9.0, 0.0, 1.0)
    return 1.0 - soft(np.ascontiguousarray(np.kron(shade, np.ones((4, 4), dtype=np.float32))), 5)


def paint_head(who: Identity, shot: Shot, light: Plane, view: Plane, style: str) -> tuple[Texture, Plane]:
    """Paints and lights the head on its texture.

    Args:
        light: (3,) unit vector to the key light in the frame of the face.
        view: (3,) unit vector to the camera in the frame of the face.
        style: "skin", "mannequin" or "resin".

    Returns:
        Linear colours (ROWS, COLUMNS, 3) and coverage (ROWS, COLUMNS).
    """
    rng, shot_rng = np.random.default_rng(who.seed), np.random.default_rng(shot.seed)
    unreal = style != "skin"
    height, inside = relief(who, shot, style)
    mouth = Mouth(who, shot)
    if unreal:
        albedo = np.empty((ROWS, COLUMNS, 3), dtype=np.float32)
        albedo[:] = linear(who.skin)
        grain = np.zeros((ROWS, COLUMNS), dtype=np.float32)
        if style == "resin":
            height = height + 0.0022 * np.sin(V * 150.0)
    else:
        albedo, grain = _complexion(who, rng)
    beard: Plane = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    gloss_lips: Plane | float = 0.0
    if style != "resin":
        gloss_lips = _lips(who, mouth, albedo, rng, unreal)
    if who.beard and not unreal:
        tufts = noise(rng, (ROWS, COLUMNS), (70, 100))
        grown = beard_mask(who) * (1.0 - np.asarray(gloss_lips))
        if who.beard == "stubble":
            beard = grown * np.clip(0.26 + 0.16 * grain + 0.08 * tufts, 0.0, 0.7)
        else:
            beard = np.clip(grown * (0.92 + 0.10 * tufts) * 1.15 - 0.06, 0.0, 0.96)
            height = height + beard * (0.03 + 0.016 * tufts)
        _mix(albedo, linear(who.hair) * (0.75 + 0.35 * np.clip(tufts, -1, 1))[..., None] + 0.006, beard)
    brows: Plane = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    if unreal and style == "mannequin":
        smooth = Strokes()
        for side in (-1, 1):
            smooth.line(brow_curve(who, shot, side), 0.05)
        brows = smooth.mask() * 0.9
    elif not unreal:
        brows = _hairs(who, shot, np.random.default_rng(who.seed ^ 0x77))
        brows = np.clip(brows * 0.6 + 1.05 * soft(brows, 4), 0.0, 0.93) * (0.72 + 0.25 * who.brow_weight)
    # brows are darker than the skin they grow on, whatever the hair
    brow_colour = np.minimum(linear(who.hair) * 0.8, linear(who.skin) * 0.45)
    _mix(albedo, brow_colour, brows)

    pores = height if unreal else height + who.roughness * 0.0011 * grain
    slope_v, slope_u = np.gradient(pores, 1.0 / TEXEL)
    norm = 1.0 / np.sqrt(1.0 + slope_u * slope_u + slope_v * slope_v)
    nx, ny, nz = -slope_u * norm, -slope_v * norm, norm
    cavity = np.clip(soft(height, 16) - height, -0.05, 0.14)
    occluded = np.clip(1.0 - 3.0 * np.clip(cavity, 0.0, None) - 0.3 * ease(inside, 0.12, 0.0), 0.3, 1.0)
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    shadow = 0.30 + 0.70 * _shadow(height, light)
    sky = (0.85 - 0.30 * ny) * occluded
    lit = np.empty_like(albedo)
    # light leaks further round a bend in red than in blue: skin is translucent
    wraps = (0.38, 0.22, 0.17) if style == "skin" else (0.12, 0.12, 0.12) if style == "mannequin" else (0.55, 0.50, 0.45)
    for c, wrap in enumerate(wraps):
        diffuse = np.clip((facing + wrap) * (1.0 / (1.0 + wrap)), 0.0, None)
        lit[..., c] = albedo[..., c] * (shot.ambient[c] * sky + shot.key[c] * diffuse * shadow)
    half = (light + view) / np.linalg.norm(light + view)
    highlight = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0.0, 1.0)
    rim = np.clip(1.0 - (nx * view[0] + ny * view[1] + nz * view[2]), 0.0, 1.0) ** 4
    if style == "skin":
        oily = 0.35 + 0.9 * np.exp(-((U / 0.28) ** 2)) + 0.4 * np.exp(-(((V + 0.7) / 0.35) ** 2))
        power = highlight**4
        wide, tight = power**3, power**9
        gloss = (
            (0.030 + 0.06 * shot.sweat)
            * (0.45 * wide + 0.9 * tight * (1.0 + 0.25 * grain))
            * oily
            * (1.0 - beard)
            * (1.0 - brows)
        )
        gloss = gloss + 0.10 * np.asarray(gloss_lips) * tight
    else:
        hard = 0.75 if style == "mannequin" else 0.16
        gloss = hard * highlight**70 + 0.05 * hard * highlight**8 + 0.10 * rim
    specular = np.clip(gloss, 0.0, None) * shadow * occluded
    lit += (specular + 0.03 * rim * occluded)[..., None] * shot.key
    glow = np.clip((0.4 * sky + 0.8 * np.clip(facing + 0.3, 0, None) * shadow), 0.2, 1.3).astype(np.float32)
    if style != "resin":
        for side in (-1, 1):
            _eye(who, shot, Eye(who, shot, side), lit, glow, unreal, shot_rng)
        _opening(shot, mouth, lit, glow)
    nostrils = Strokes()
    for mirror in (-1.0, 1.0):
        w, n = who.nose_width * mirror, who.nose_length
        nostrils.line(arc((w * 0.34, n + 0.035), (w * 0.56, n + 0.005), (w * 0.80, n + 0.03)), 0.042, 1.0)
        nostrils.line(arc((w * 1.02, n - 0.12), (w * 1.24, n - 0.04), (w * 1.02, n + 0.03)), 0.012, 0.45)
    holes = soft(nostrils.mask(), 3)
    _mix(lit, lit * tint(0.16, 0.09, 0.08), np.clip(holes * (0.9 if not unreal else 0.7), 0.0, 0.9))
    coverage = ease(inside, -0.012, 0.014)
    return lit, coverage
