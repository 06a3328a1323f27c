"""Who a drawn face is (identity) and how it is seen (shot): every free parameter, sampled here.

Lengths are in face units: 1 is half the width of the face, (0, 0) the point between the eyes, u right, v down, z to the viewer.
Colours are sRGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]

SKINS = np.asarray(
    [
        (0.95, 0.79, 0.72), (0.92, 0.74, 0.65), (0.89, 0.69, 0.57), (0.83, 0.62, 0.48), (0.74, 0.52, 0.38),
        (0.62, 0.42, 0.29), (0.49, 0.32, 0.22), (0.37, 0.24, 0.17), (0.28, 0.18, 0.14),
    ],
    dtype=np.float32,
)  # fmt: skip
HAIRS: dict[str, tuple[float, float, float]] = {
    "black": (0.10, 0.09, 0.09),
    "dark": (0.19, 0.13, 0.10),
    "brown": (0.33, 0.22, 0.14),
    "light brown": (0.47, 0.35, 0.24),
    "blond": (0.72, 0.58, 0.38),
    "red": (0.50, 0.24, 0.12),
    "grey": (0.55, 0.54, 0.53),
    "white": (0.84, 0.83, 0.81),
}
IRISES = np.asarray(
    [
        (0.20, 0.11, 0.06),
        (0.30, 0.18, 0.09),
        (0.40, 0.30, 0.16),
        (0.34, 0.40, 0.28),
        (0.36, 0.48, 0.58),
        (0.45, 0.50, 0.54),
    ],
    dtype=np.float32,
)
HAIR_STYLES = ("short", "cropped", "long", "curly", "fringe", "updo", "receding", "bald")
CLOTH_PATTERNS = ("plain", "stripes", "checks", "dots", "knit", "bands")
NECKLINES = ("crew", "vee", "shirt", "turtle", "suit")


@dataclass(frozen=True, eq=False)
class Identity:
    """What two portraits of one person share."""

    seed: int
    feminine: bool
    age: float
    """Years, about 18 to 85."""
    skin: Colour
    skin_index: float
    ruddy: float
    freckles: float
    roughness: float
    cheek: float
    jaw: float
    chin: float
    skull: float
    fullness: float
    asymmetry: float
    eye_u: float
    eye_half: float
    eye_open: float
    eye_tilt: float
    crease: float
    iris: Colour
    brow_v: float
    brow_weight: float
    brow_arch: float
    nose_width: float
    nose_length: float
    nose_height: float
    mouth_v: float
    mouth_half: float
    lip_upper: float
    lip_lower: float
    lip_red: float
    makeup: float
    hair_style: str
    hair_name: str
    hair: Colour
    hair_line: float
    hair_part: float
    hair_length: float
    hair_volume: float
    beard: str
    """One of "", "stubble", "moustache", "goatee", "full"."""
    headscarf: bool
    scarf: Colour
    glasses: bool
    lens: tuple[float, float, float, float]
    """Half width, half height, exponent of the superellipse, thickness of the frame."""
    frame: Colour
    neck: float


@dataclass(frozen=True, eq=False)
class Shot:
    """What changes from picture to picture of one person."""

    seed: int
    yaw: float
    pitch: float
    roll: float
    """Radians; yaw > 0 turns the nose to the viewer's right, pitch > 0 lifts it, roll > 0 is clockwise."""
    scale: float
    centre: tuple[float, float]
    light: NDArray[np.float32]
    """(3,) unit vector towards the key light: x right, y down, z to the viewer."""
    key: Colour
    ambient: Colour
    smile: float
    open: float
    eye_open: float
    brow_lift: float
    gaze: tuple[float, float]
    hat: str
    """One of "", "cap", "beanie", "brimmed"."""
    hat_colour: Colour
    cloth: Colour
    cloth_second: Colour
    pattern: str
    neckline: str
    wear_glasses: bool
    sweat: float


def _colour(rng: np.random.Generator) -> Colour:
    """A cloth colour: often dark or muted, sometimes bright."""
    hue, value = rng.random(), rng.uniform(0.06, 0.9)
    saturation = rng.random() ** 2 * 0.85
    wheel = np.clip(np.abs((hue + np.array([0.0, 2 / 3, 1 / 3])) % 1.0 * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return np.asarray(value * (1.0 - saturation * (1.0 - wheel)), dtype=np.float32)


def _hair(rng: np.random.Generator, age: float, skin_index: float) -> tuple[str, Colour]:
    grey = rng.random() < np.clip((age - 42.0) / 38.0, 0.0, 0.9)
    if grey:
        name = "white" if rng.random() < (age - 45.0) / 50.0 else "grey"
    else:
        dark = np.array([0.14, 0.24, 0.24, 0.14, 0.16, 0.08])
        shift = np.clip((skin_index - 2.0) / 2.0, 0.0, 1.0)
        weights = dark * (1.0 - shift) + np.array([0.68, 0.26, 0.05, 0.005, 0.003, 0.002]) * shift
        name = str(rng.choice(["black", "dark", "brown", "light brown", "blond", "red"], p=weights / weights.sum()))
    tint = np.asarray(HAIRS[name]) * rng.uniform(0.82, 1.18) + rng.normal(0.0, 0.012, 3)
    return name, np.clip(tint, 0.03, 0.95).astype(np.float32)


def sample_identity(rng: np.random.Generator) -> Identity:
    """Draws a person."""
    feminine = bool(rng.random() < 0.5)
    age = float(np.clip(18.0 + 67.0 * rng.beta(1.2, 1.6), 18.0, 85.0))
    skin_index = float(rng.uniform(0.0, len(SKINS) - 1.0))
    low = int(min(skin_index, len(SKINS) - 2))
    skin = SKINS[low] + (SKINS[low + 1] - SKINS[low]) * (skin_index - low)
    skin = np.clip(skin * rng.normal(1.0, 0.02, 3), 0.1, 0.97).astype(np.float32)
    hair_name, hair = _hair(rng, age, skin_index)
    if feminine:
        weights = np.array([0.10, 0.03, 0.38, 0.17, 0.14, 0.16, 0.0, 0.02])
    else:
        old = float(np.clip((age - 30.0) / 40.0, 0.0, 1.0))
        weights = np.array([0.38, 0.20, 0.07, 0.12, 0.05, 0.01, 0.02 + 0.16 * old, 0.06 + 0.12 * old])
    style = str(rng.choice(HAIR_STYLES, p=weights / weights.sum()))
    beard = (
        "" if feminine else str(rng.choice(["", "stubble", "moustache", "goatee", "full"], p=[0.44, 0.22, 0.08, 0.08, 0.18]))
    )
    dark_iris = rng.random() < np.clip(0.3 + skin_index * 0.25, 0.0, 1.0)
    iris = IRISES[int(rng.integers(0, 2 if dark_iris else len(IRISES)))] * rng.uniform(0.8, 1.2)
    frame_kind = rng.random()
    frame = (0.05, 0.05, 0.06) if frame_kind < 0.5 else ((0.35, 0.33, 0.30) if frame_kind < 0.75 else (0.30, 0.16, 0.08))
    frame_colour = _colour(rng) if rng.random() < 0.15 else np.asarray(frame, dtype=np.float32)
    thin = rng.random() < 0.45
    sign = 1.0 if feminine else -1.0
    return Identity(
        seed=int(rng.integers(1 << 62)),
        feminine=feminine,
        age=age,
        skin=skin,
        skin_index=skin_index,
        ruddy=float(rng.uniform(0.3, 1.0)),
        freckles=float(rng.uniform(0.3, 1.0)) if skin_index < 3 and rng.random() < 0.2 else 0.0,
        roughness=float(rng.uniform(0.5, 1.2)),
        cheek=float(rng.normal(1.0, 0.03)),
        jaw=float(rng.normal(1.0 - 0.02 * sign, 0.045)),
        chin=float(rng.normal(0.0 - 0.02 * sign, 0.05)),
        skull=float(rng.normal(0.0, 0.04)),
        fullness=float(rng.uniform(-0.6, 1.0)),
        asymmetry=float(rng.normal(0.0, 0.012)),
        eye_u=float(rng.normal(0.45, 0.018)),
        eye_half=float(rng.normal(0.198, 0.011)),
        eye_open=float(rng.normal(0.080 + 0.005 * sign, 0.009)),
        eye_tilt=float(rng.normal(0.015, 0.03)),
        crease=float(rng.uniform(0.0, 1.0)),
        iris=np.clip(iris, 0.04, 0.7).astype(np.float32),
        brow_v=float(rng.normal(-0.29, 0.025)),
        brow_weight=float(rng.uniform(0.45, 1.0) - 0.1 * sign),
        brow_arch=float(rng.uniform(0.02, 0.09)),
        nose_width=float(np.clip(rng.normal(0.215 + 0.010 * skin_index / 2, 0.022), 0.16, 0.31)),
        nose_length=float(rng.normal(0.63, 0.03)),
        nose_height=float(rng.uniform(0.75, 1.2)),
        mouth_v=float(rng.normal(0.985, 0.025)),
        mouth_half=float(rng.normal(0.375, 0.022)),
        lip_upper=float(np.clip(rng.normal(0.078 + 0.005 * skin_index, 0.018), 0.04, 0.14)),
        lip_lower=float(np.clip(rng.normal(0.118 + 0.006 * skin_index, 0.02), 0.06, 0.17)),
        lip_red=float(rng.uniform(0.4, 1.0)),
        makeup=float(rng.uniform(0.2, 0.8)) if feminine and rng.random() < 0.4 else 0.0,
        hair_style=style,
        hair_name=hair_name,
        hair=hair,
        hair_line=float(rng.normal(-1.03, 0.05)),
        hair_part=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.0, 0.5)),
        hair_length=float(rng.uniform(1.3, 3.4)),
        hair_volume=float(rng.uniform(0.6, 1.4)),
        beard=beard,
        headscarf=bool(feminine and rng.random() < 0.11),
        scarf=_colour(rng),
        glasses=bool(rng.random() < 0.2),
        lens=(
            float(rng.uniform(0.32, 0.40)), float(rng.uniform(0.22, 0.33)),
            float(rng.choice([2.0, 2.6, 3.5, 5.0])),
            float(rng.uniform(0.018, 0.028)) if thin else float(rng.uniform(0.035, 0.065)),
        ),
        frame=frame_colour,
        neck=float(rng.normal(0.62 - 0.06 * sign, 0.025)),
    )  # fmt: skip


def sample_shot(rng: np.random.Generator) -> Shot:
    """Draws pose, light, expression and clothes."""
    side, up = float(rng.normal(0.0, 0.55)), float(rng.uniform(-0.9, 0.05))
    light = np.array([side, up, rng.uniform(0.6, 1.3)])
    warmth = float(rng.normal(0.0, 0.05))
    contrast = float(rng.uniform(0.0, 1.0))
    mood = rng.random()
    smile = float(rng.uniform(0.45, 1.0)) if mood < 0.4 else float(rng.normal(0.05, 0.12))
    opened = float(rng.uniform(0.35, 1.0)) if mood < 0.24 else (float(rng.uniform(0.3, 1.0)) if mood > 0.93 else 0.0)
    hat = rng.random()
    return Shot(
        seed=int(rng.integers(1 << 62)),
        yaw=float(np.clip(rng.normal(0.0, 0.19), -0.44, 0.44)),
        pitch=float(np.clip(rng.normal(0.0, 0.08), -0.2, 0.2)),
        roll=float(np.clip(rng.normal(0.0, 0.06), -0.16, 0.16)),
        scale=float(rng.uniform(53.0, 58.0)),
        centre=(160.0 + float(rng.normal(0.0, 3.0)), 130.0 + float(rng.normal(0.0, 3.0))),
        light=(light / np.linalg.norm(light)).astype(np.float32),
        key=(np.array([1.0 + warmth, 1.0, 1.0 - warmth]) * (0.80 + 0.42 * contrast)).astype(np.float32),
        ambient=(np.array([1.0 - warmth, 1.0, 1.0 + warmth]) * (0.34 - 0.20 * contrast)).astype(np.float32),
        smile=smile,
        open=opened,
        eye_open=0.0 if rng.random() < 0.02 else float(rng.normal(1.0, 0.1)),
        brow_lift=float(rng.normal(0.0, 0.03)),
        gaze=(float(rng.normal(0.0, 0.018)), float(rng.normal(0.0, 0.008))),
        hat="cap" if hat < 0.04 else "beanie" if hat < 0.07 else "brimmed" if hat < 0.095 else "",
        hat_colour=_colour(rng),
        cloth=_colour(rng),
        cloth_second=_colour(rng),
        pattern=str(rng.choice(CLOTH_PATTERNS, p=[0.5, 0.12, 0.1, 0.06, 0.14, 0.08])),
        neckline=str(rng.choice(NECKLINES, p=[0.34, 0.16, 0.22, 0.1, 0.18])),
        wear_glasses=bool(rng.random() < 0.9),
        sweat=float(rng.uniform(0.1, 1.0)),
    )


def traits(who: Identity, shot: Shot, style: str) -> tuple[str, ...]:
    """Noun phrases for what the drawing shows, without a verdict."""
    found: list[str] = []
    covered = who.headscarf or bool(shot.hat)
    if who.headscarf:
        found.append("a headscarf")
    elif shot.hat:
        found.append({"cap": "a cap", "beanie": "a knitted hat", "brimmed": "a hat"}[shot.hat])
    if not covered:
        shade = "dark" if who.hair_name in ("black", "dark") else who.hair_name
        shape = {"long": "long ", "curly": "curly ", "short": "short ", "cropped": "short "}.get(who.hair_style, "")
        found.append("a bald head" if who.hair_style == "bald" else f"{shape}{shade} hair")
        if who.hair_style == "fringe":
            found.append("a fringe")
    if style == "skin" and who.beard:
        found.append(
            {"full": "a beard", "goatee": "a goatee"}.get(who.beard, who.beard if who.beard == "stubble" else "a moustache")
        )
    if who.glasses and shot.wear_glasses:
        found.append("glasses")
    if style == "skin":
        if who.age > 62:
            found.append("wrinkles")
        if who.freckles > 0.3:
            found.append("freckles")
    if shot.open > 0.2:
        found.append("an open smile" if shot.smile > 0.4 else "an open mouth")
    elif shot.smile > 0.4:
        found.append("a smile")
    if shot.eye_open < 0.2 and style != "resin":
        found.append("closed eyes")
    return tuple(found)
