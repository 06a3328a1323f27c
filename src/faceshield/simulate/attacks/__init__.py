"""The eleven attacks, one function per type: a scene in, an attacked scene out.

attacked = attack(scene, "Print", rng)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceshield.simulate.attacks import fakehead, glasses, makeup, masks, partial, print, replay, tattoo
from faceshield.simulate.portrait import Attacked, FloatImage, Scene
from faceshield.simulate.scene import draw_background
from faceshield.taxonomy import BONAFIDE, resolve

Worn = Callable[..., Attacked]
_WORN: dict[str, Worn] = {
    "Fakehead": fakehead.apply,
    "Glasses": glasses.apply,
    "Paper mask": masks.apply_paper,
    "Flexible mask": masks.apply_flexible,
    "Rigid mask": masks.apply_rigid,
    "Partial Eye": partial.apply_eye,
    "Partial Mouth": partial.apply_mouth,
    "Makeup": makeup.apply,
    "Tattoo": tattoo.apply,
}
_SHOWN: dict[str, Callable[..., Attacked]] = {"Print": print.apply, "Replay": replay.apply}


def attack(scene: Scene, presentation_type: str, rng: np.random.Generator, *, background: FloatImage | None = None) -> Attacked:
    """Applies one presentation type to a scene; "Bonafide" leaves it as it is.

    Args:
        presentation_type: one of the twelve names, in any spelling `taxonomy.resolve` takes.
        background: (CANVAS, CANVAS, 3), what stands behind a printed or replayed picture; drawn from `rng` if None.
    """
    name = resolve(presentation_type)
    if name == BONAFIDE:
        return Attacked(scene.image, (), (), "bonafide/live", scene.landmarks)
    if name in _WORN:
        return _WORN[name](scene, rng)
    return _SHOWN[name](scene, rng, draw_background(rng)[0] if background is None else background)
