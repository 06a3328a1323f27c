"""Mannequin and model heads in place of a person: plastic, plaster, resin, foam, with a wig or with the person's own hair and
clothes; waxworks, cast metal, sewn dolls.
"""

from __future__ import annotations

import numpy as np

from faceshield.simulate import paint
from faceshield.simulate.attacks import heads, moulded
from faceshield.simulate.attacks.fakehead_worked import WORKED
from faceshield.simulate.attacks.heads import (
    BALD,
    BLANK,
    BUST,
    FOAM,
    GLOSS,
    HEAD,
    LIPS,
    PAINTED,
    PLASTER,
    SEAM,
    STIFF,
    UNIFORM,
    WIG,
)
from faceshield.simulate.attacks.surface import Frame, relief
from faceshield.simulate.portrait import CANVAS, Attacked, Scene

VARIANTS: tuple[str, ...] = (
    "fakehead/plastic", "fakehead/wig", "fakehead/dressed", "fakehead/plaster", "fakehead/dark-resin", "fakehead/foam",
    *WORKED,
)  # fmt: skip
CUES: tuple[str, ...] = (HEAD, UNIFORM, PAINTED, LIPS, GLOSS, BALD, BLANK, WIG, BUST, PLASTER, FOAM, STIFF, SEAM)

_PALE = ((0.94, 0.93, 0.9), (0.85, 0.82, 0.76), (0.9, 0.87, 0.84), (0.72, 0.7, 0.68))
_DARK = ((0.1, 0.1, 0.11), (0.25, 0.2, 0.17), (0.6, 0.5, 0.22), (0.5, 0.52, 0.55), (0.35, 0.2, 0.12))


def apply(scene: Scene, rng: np.random.Generator, *, variant: str | None = None) -> Attacked:
    """Puts an artificial head in the person's place.

    Args:
        variant: one of `VARIANTS`, random if None.

    Returns:
        The scene with the artificial head; the box holds the whole head, hair or wig included.

    Raises:
        ValueError: unknown variant.
    """
    name = paint.pick(rng, VARIANTS, variant, (3, 3, 3, 2, 2, 1, 3, 2, 2))
    frame = Frame(scene.landmarks)
    if name in WORKED:
        image, region, cues, gone = WORKED[name](scene, frame, rng)
        return moulded.attacked(image, region, cues, name, scene, gone)
    level = moulded.exposure(scene, frame)
    kind = name.split("/")[1]
    matt = kind in ("plaster", "foam") or paint.chance(rng, 0.25)
    head = heads.bare_head(frame, rng)
    bust = kind in ("plastic", "plaster", "dark-resin") and paint.chance(rng, 0.35)
    neck = heads.neck_of(scene, frame, rng, bust)
    made = np.maximum(head, neck)
    height = relief(frame, rng, strength=rng.uniform(0.7, 1.1) if kind == "foam" else rng.uniform(0.85, 1.3), spread=0.2)
    height = height + paint.blur(head, 0.06 * frame.span) * np.float32(0.3 * frame.span)
    cues = [HEAD]

    tone = paint.colour(
        rng,
        {"plaster": _PALE, "foam": _PALE[:1], "dark-resin": _DARK}.get(kind, heads.FLESH if paint.chance(rng, 0.75) else _PALE),
        0.015,
    )
    albedo = np.broadcast_to(tone, (CANVAS, CANVAS, 3)).astype(np.float32)
    if kind == "plaster" and paint.chance(rng, 0.6):
        where, carved = heads.moulded_hair(frame, rng)
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
            albedo,
            tone * np.array([1.0, 0.72, 0.7], np.float32),
            paint.blur(paint.shapes(spots), 0.1 * frame.span) * rng.uniform(0, 0.7),
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
    surface = heads.under_chin(surface, scene, frame, head, neck, rng)
    if kind in ("plastic", "plaster") and paint.chance(rng, 0.2):  # where the halves of the mould met
        s = rng.choice([-1, 1]) * rng.uniform(0.85, 1.05)
        seam = paint.strokes(
            [paint.curve(frame.px(np.array([(s, -1.0), (s * 1.02, 0.3), (s * 0.75, 2.6)])))], max(1.0, 0.025 * frame.span)
        )
        surface = surface * (1 - 0.3 * seam[..., None])
        cues.append(SEAM)

    region, gone = head, None
    if kind == "dressed":
        image, region = heads.dressed(scene, frame, surface.astype(np.float32), neck, heads.own_hair(scene, frame))
    else:
        room, gone = heads.without_person(scene, frame, made)
        image = paint.over(room, surface.astype(np.float32), made)
        if kind == "wig":
            wig = heads.wig_on(frame, rng)
            image = heads.wigged(image, frame, made, wig, heads.strands(scene, frame, rng, level))
            region = np.maximum(region, wig)
            cues.append(WIG)
        elif STIFF not in cues:
            cues.append(BALD)
        if bust and kind == "plastic":
            cues.append(BUST)
    return moulded.attacked(image, region, cues, name, scene, gone)
