"""What can be seen of an attack and its scene: traces out of the picture, hidden, or too fine for the camera are not listed as
cues, and what the attack hides is not listed among the scene's phrases.

Use: `cues = seen_cues(attacked, visible)`, `phrases = seen_phrases(scene.phrases, attacked)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faceshield.simulate.attacks.surface import Frame
from faceshield.simulate.fronts import HEALTH_MASK
from faceshield.simulate.portrait import CANVAS, Attacked, Box, box_around

LEAST_SEEN = 0.35
"""Smallest share of a trace's area that must be visible."""
EDGE_BELOW = "a mask edge below"
# Face coordinates (the pupils lie at -0.5 and 0.5, the mouth at 1.1, the chin at 1.85): x0, y0, x1, y1.
_CROWN, _FOREHEAD, _BROWS = (-0.9, -1.9, 0.9, -1.1), (-0.7, -1.1, 0.7, -0.45), (-0.95, -0.45, 0.95, -0.1)
_EYES, _SIDES, _HEAD = (-0.8, -0.25, 0.8, 0.25), (-1.35, -0.4, 1.35, 0.3), (-1.3, -1.6, 1.3, 0.6)
_NOSE, _CHEEKS, _MOUTH = (-0.25, 0.2, 0.25, 0.8), (-0.9, 0.4, 0.9, 1.0), (-0.4, 0.95, 0.4, 1.3)
_CHIN, _NECK = (-0.6, 1.3, 0.6, 1.85), (-0.5, 2.0, 0.5, 2.5)
_STRAPS = ("a mask strap", "an elastic string")
PLACES: dict[str, Box] = {
    "painted lips": _MOUTH, "a mouth seam": _MOUTH, "a mouth slit": _MOUTH, "a printed paper mouth": _MOUTH,
    "a painted beard": _CHIN, "ink on the chin": _CHIN, "ink on the cheek": _CHEEKS, "strong cheek colour": _CHEEKS,
    "ink on the nose": _NOSE, "ink on the forehead": _FOREHEAD, "drawn thick brows": _BROWS, "seams at the eyes": _EYES,
    "painted eyes": _EYES, "moulded blank eyes": _EYES, "heavy eye shadow": _EYES, "black eye lines": _EYES,
    "dark painted sockets": _EYES, "deep eye holes": _EYES, "cut eye holes": _EYES, "a rubber scalp": _CROWN,
    "a bald smooth head": _CROWN, "stiff moulded hair": _CROWN, "a wig": _HEAD, "a plastic neck": _NECK,
    **dict.fromkeys(_STRAPS, _SIDES),
}  # fmt: skip
"""Areas of the traces with a fixed place; all other traces are wherever the attack is."""


def seen_cues(attacked: Attacked, visible: NDArray[np.bool_]) -> tuple[str, ...]:
    """The visible cues of an attack, in their original order; all of them if none is visible.

    Args:
        visible: (CANVAS, CANVAS), true where the canvas is in view and nothing lies in front of it.
    """
    frame = Frame(attacked.landmarks)
    return tuple(cue for cue in attacked.cues if _share(cue, attacked, frame, visible) >= LEAST_SEEN) or attacked.cues


def resolved_cues(attacked: Attacked, sensor: float) -> tuple[str, ...]:
    """The cues that a sensor with `sensor` pixels per canvas pixel resolves (two to a period); all if it resolves none."""
    return tuple(cue for cue in attacked.cues if attacked.finest.get(cue, np.inf) * sensor >= 2) or attacked.cues


_BEARDS, _LIPS = ("a beard", "stubble"), ("a moustache", "a goatee", "a smile", "an open smile", "an open mouth")
_EYEWEAR = ("glasses", "closed eyes")
_FACE = (*_BEARDS, *_LIPS, *_EYEWEAR, "wrinkles", "freckles")
_HATS = ("a bald head", "a fringe", "a headscarf", "a cap", "a knitted hat", "a hat")
_HIDDEN: dict[str, tuple[str, ...]] = {
    "fakehead": _FACE, "paper-mask": _FACE, "flexible-mask": _FACE, "rigid-mask": _FACE, "glasses": _EYEWEAR,
    "partial-eye": _EYEWEAR, "partial-mouth": _LIPS, "partial-mouth/lower-face": (*_BEARDS, *_LIPS),
    "flexible-mask/clear-skin": (), "rigid-mask/transparent": (), "rigid-mask/half": (), "partial-eye/one-eye": (),
}  # fmt: skip
"""Phrases of a portrait that an attack hides, by type or, first, variant; which half a half mask hides is not known here."""
_WHOLE_HEADS = ("fakehead/", "paper-mask/bag", "paper-mask/fan", "flexible-mask/printed-fabric", "flexible-mask/alien")
_OWN_HAIR = ("fakehead/dressed", "fakehead/wax")


def seen_phrases(phrases: Sequence[str], attacked: Attacked) -> tuple[str, ...]:
    """The phrases of a scene without those that the attack, or a health mask over it, hides."""
    variant = attacked.variant
    gone = set(_HIDDEN.get(variant, _HIDDEN.get(variant.split("/")[0], ())))
    if HEALTH_MASK in attacked.phrases:
        gone |= set(_LIPS)
    whole = "a rubber scalp" in attacked.cues or "a wig" in attacked.cues
    whole = whole or (variant.startswith(_WHOLE_HEADS) and variant not in _OWN_HAIR)
    return tuple(one for one in phrases if one not in gone and not (whole and (one in _HATS or one.endswith(" hair"))))


def _share(cue: str, attacked: Attacked, frame: Frame, visible: NDArray[np.bool_]) -> float:
    """Visible share of the trace's area, 0..1; 1 for a trace without a fixed place."""
    if cue in attacked.marks:
        return max(_in_view(box, visible) for box in attacked.marks[cue])
    if cue == EDGE_BELOW:
        row = int(max((box[3] for box in attacked.boxes), default=float(CANVAS)))
        return float(visible[row - 1].mean()) if 0 < row < CANVAS else 0.0  # no edge shows if it runs out of the canvas
    if cue not in PLACES:
        return 1.0
    x0, y0, x1, y1 = PLACES[cue]
    left, top, right, bottom = box_around(frame.px([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
    if cue in _STRAPS:  # beside the face, at least on one side
        wide = 0.3 * frame.span
        return max(_in_view(side, visible) for side in ((left, top, left + wide, bottom), (right - wide, top, right, bottom)))
    return _in_view((left, top, right, bottom), visible)


def _in_view(box: Box, visible: NDArray[np.bool_]) -> float:
    """Share of a box's area that is visible."""
    left, top, right, bottom = (math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3]))
    shown = visible[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    return float(shown.sum()) / max(1, (right - left) * (bottom - top))
