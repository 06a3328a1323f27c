"""The eleven attacks, one renderer per type: a scene goes in, an attacked scene comes out.

attacked = attack(scene, "Print", rng)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from faceshield.simulate.attacks import fakehead, glasses, makeup, masks, partial, print, replay, tattoo
from faceshield.simulate.attacks.places import seen_cues
from faceshield.simulate.attacks.surface import lit_as_the_person
from faceshield.simulate.holder import draw_holder
from faceshield.simulate.portrait import Attacked, Front, Scene
from faceshield.simulate.scene import ANYWHERE, Setting, draw_background
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
VARIANTS: dict[str, tuple[str, ...]] = {
    "Fakehead": fakehead.VARIANTS,
    "Print": print.VARIANTS,
    "Glasses": glasses.VARIANTS,
    "Replay": replay.VARIANTS,
    "Paper mask": masks.PAPER_VARIANTS,
    "Flexible mask": masks.FLEXIBLE_VARIANTS,
    "Rigid mask": masks.RIGID_VARIANTS,
    "Partial Eye": partial.EYE_VARIANTS,
    "Partial Mouth": partial.MOUTH_VARIANTS,
    "Makeup": makeup.VARIANTS,
    "Tattoo": tattoo.VARIANTS,
}
"""Variants that the renderer of each attack type offers."""
CUES: dict[str, tuple[str, ...]] = {
    "Fakehead": fakehead.CUES,
    "Print": print.CUES,
    "Glasses": glasses.CUES,
    "Replay": replay.CUES,
    "Paper mask": masks.PAPER_CUES,
    "Flexible mask": masks.FLEXIBLE_CUES,
    "Rigid mask": masks.RIGID_CUES,
    "Partial Eye": partial.CUES,
    "Partial Mouth": partial.CUES,
    "Makeup": makeup.CUES,
    "Tattoo": tattoo.CUES,
}
"""Phrases for every trace that the renderer of each attack type may leave, the most frequent and most obvious first."""


def typical_first(presentation_type: str, cues: Sequence[str]) -> tuple[str, ...]:
    """The cues of an attack in the order of `CUES`, so that the first few are the most reliable ones to name."""
    return tuple(sorted(cues, key=CUES[presentation_type].index))


def attack(
    scene: Scene,
    presentation_type: str,
    rng: np.random.Generator,
    *,
    variant: str | None = None,
    setting: Setting = ANYWHERE,
) -> Attacked:
    """Applies one presentation type to a scene; "Bonafide" only adds the scene's front, if it has one.

    Args:
        presentation_type: one of the twelve names, in any spelling `taxonomy.resolve` accepts.
        variant: variant of the type's renderer, e.g. "print/laser"; drawn from `rng` if None.
        setting: how often a print or a screen is held by a person or well made, which backgrounds lie behind it, and the
            smallest width of a tattoo.

    Raises:
        ValueError: unknown type, or a variant that the type does not have.
    """
    name = resolve(presentation_type)
    if name in _WORN:
        own = {"least": setting.least_ink} if name == "Tattoo" else {}
        bare = scene if scene.unlit is None else replace(scene, image=scene.unlit)
        return _beneath(scene.front, scene, _lit(bare, _WORN[name](bare, rng, variant=variant, **own)))
    phrases: tuple[str, ...] = ()
    if scene.front is not None:  # the first capture saw it too
        phrases = (scene.front.phrase,)
        scene = replace(scene, image=scene.front.over(scene.image))
    if name == BONAFIDE:
        return Attacked(scene.image, (), (), "bonafide/live", scene.landmarks, phrases=phrases)
    behind, _ = draw_background(rng, setting, scene.window)
    held = bool(setting.holder) and rng.random() < setting.holder
    holder = draw_holder(behind, rng, scene.window) if held else None
    good = bool(setting.good_copy) and rng.random() < setting.good_copy
    return replace(_SHOWN[name](scene, rng, behind, variant, holder, good=good), phrases=phrases)


def _lit(bare: Scene, attacked: Attacked) -> Attacked:
    """An attack on a scene that its light had not reached, in that light: it falls on what is worn as on the person."""
    if bare.light is None:
        return attacked
    person = lit_as_the_person(bare, attacked.image) if attacked.person is None else attacked.person
    return replace(attacked, image=bare.light.on(attacked.image, person).clip(0, 1), person=person)


_MOST_HIDDEN = 0.45


def _beneath(front: Front | None, scene: Scene, attacked: Attacked) -> Attacked:
    """The worn attack with the scene's front over it; without the front if that would hide nearly half of the attack."""
    if front is None:
        return attacked
    changed = np.abs(attacked.image - scene.image).max(axis=2) > 0.06
    hidden = float((changed & front.covers).sum()) / max(1, int(changed.sum()))
    if hidden > _MOST_HIDDEN:
        return attacked
    cues = seen_cues(attacked, ~front.covers)
    return replace(attacked, image=front.over(attacked.image), cues=cues, phrases=(front.phrase,))
