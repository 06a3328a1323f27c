"""The scene's light falls on what is worn as on the person, so that no light speaks for a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from faceshield.simulate.attacks import attack
from faceshield.simulate.attacks.heads import without_person
from faceshield.simulate.attacks.surface import Frame
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.portrait import CANVAS, FloatImage, Light, Scene
from faceshield.simulate.scene import Setting, _direction, compose_scene

WHOLE = np.ones((CANVAS, CANVAS, 3), np.float32)
WORN = (
    ("Fakehead", "fakehead/plaster"), ("Glasses", "glasses/drawn-eyes"), ("Paper mask", "paper-mask/card"),
    ("Paper mask", "paper-mask/fan"), ("Flexible mask", "flexible-mask/smooth"), ("Rigid mask", "rigid-mask/halloween"),
    ("Partial Eye", "partial-eye/strip"), ("Partial Mouth", "partial-mouth/piece"), ("Makeup", "makeup/white-face"),
    ("Tattoo", "tattoo/stars"),
)  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Scene:
    rng = np.random.default_rng(2)
    made = compose_scene(draw_portrait(np.random.default_rng(4), rng, "p"), rng, Setting(("wall",), face_height=(0.5, 0.5)))
    assert made.unlit is not None
    return lit(made, WHOLE)


def lit(scene: Scene, person: FloatImage) -> Scene:
    light = Light(person, WHOLE, np.zeros((CANVAS, CANVAS, 1), np.float32))
    assert scene.unlit is not None
    return replace(scene, light=light, image=light.on(scene.unlit, scene.matte).clip(0, 1))


@pytest.mark.parametrize(("kind", "variant"), WORN)
def test_coloured_and_half_dark_light_falls_on_what_is_worn(plain: Scene, kind: str, variant: str) -> None:
    bluish, half = WHOLE * np.asarray([0.7, 0.9, 1.0], np.float32), WHOLE.copy()
    half[:, : CANVAS // 2] = 0.4
    before, blue, dark = (
        attack(scene, kind, np.random.default_rng(7), variant=variant).image
        for scene in (plain, lit(plain, bluish), lit(plain, half))
    )
    worn = np.abs(before - plain.image).max(axis=2) > 0.2
    assert worn.sum() > 30
    assert np.median(blue[worn] / before[worn].clip(0.02), axis=0) == pytest.approx([0.7, 0.9, 1.0], abs=0.03)
    worn[:, CANVAS // 2 :] = False
    assert worn.any() and np.median(dark[worn] / before[worn].clip(0.02)) == pytest.approx(0.4, abs=0.03)


def test_where_a_head_takes_the_hair_s_place_the_room_keeps_its_own_light(plain: Scene) -> None:
    dark = lit(plain, WHOLE * np.float32(0.3))
    before, after = (attack(s, "Fakehead", np.random.default_rng(3), variant="fakehead/plaster") for s in (plain, dark))
    assert after.person is not None
    _, gone = without_person(plain, Frame(plain.landmarks), after.person)
    room = (gone > 0.95) & (after.person < 0.02)
    assert room.sum() > 50
    assert np.abs(after.image - before.image)[room].max() < 0.05


def test_a_drawn_face_and_what_it_wears_are_lit_from_one_side() -> None:
    """`Portrait.light_xy` is turned and mirrored with the face, and kept within the setting's range."""
    portrait = draw_portrait(np.random.default_rng(0), np.random.default_rng(0), "p")
    assert portrait.light_xy is not None
    portrait, rng = replace(portrait, light_xy=(0.8, 0.0)), np.random.default_rng(1)
    as_is, mirrored, turned = ([[1.0, 0, 9], [0, 1, 9]], [[-2.0, 0, 9], [0, 2, 9]], [[0.0, 1, 0], [-1, 0, 0]])
    for matrix, (x, y) in ((as_is, (0.8, 0)), (mirrored, (-0.8, 0)), (turned, (0, -0.8))):
        found = np.mean([_direction(portrait, np.array(matrix), rng, Setting()) for _ in range(60)], axis=0)
        assert found == pytest.approx([x, y], abs=0.06)
    narrow = [_direction(portrait, np.array(as_is), rng, Setting(light_x=(-0.2, 0.2))) for _ in range(20)]
    assert all(x == 0.2 for x, _ in narrow)
