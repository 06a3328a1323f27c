"""A scene keeps its face: framed, lit, mirrored now and then, with landmarks that still name what they name."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.furnishings import company
from faceshield.simulate.portrait import CANVAS, LANDMARKS, OUTLINE, Scene
from faceshield.simulate.scene import compose_scene, draw_background


def compose(seed: int) -> Scene:
    portrait = draw_portrait(np.random.default_rng(seed), np.random.default_rng(seed + 1), f"p{seed}")
    return compose_scene(portrait, np.random.default_rng(seed + 2))


scene = cache(compose)  # several tests look at the same ones


@pytest.mark.parametrize("seed", range(12))
def test_face_is_framed_and_left_stays_left(seed: int) -> None:
    made = scene(seed)
    assert made.image.shape == (CANVAS, CANVAS, 3) and made.image.dtype == np.float32
    assert made.image.min() >= 0 and made.image.max() <= 1
    outline = made.landmarks[OUTLINE]
    assert 0.25 * CANVAS < np.ptp(outline[:, 1]) < 1.1 * CANVAS
    left, right = made.landmarks[LANDMARKS["pupils"]]
    assert left[0] < right[0]
    for name, pupil in (("left_eye", left), ("right_eye", right)):
        assert np.linalg.norm(made.landmarks[LANDMARKS[name]].mean(axis=0) - pupil) < 0.06 * CANVAS
    mouth = made.landmarks[LANDMARKS["mouth"]]
    assert mouth[0, 0] < mouth[6, 0] and mouth[1:6, 1].mean() < mouth[7:, 1].mean()


def test_some_scenes_are_mirrored_and_spectacled_and_the_same_seed_gives_the_same() -> None:
    many = [scene(seed) for seed in range(24)]
    assert any("glasses" in made.phrases and "glasses" not in made.portrait.traits for made in many)
    assert len({made.phrases[0] for made in many}) >= 4
    assert np.array_equal(compose(3).image, many[3].image)


def test_bodies_reach_the_lower_edge() -> None:
    reached = [scene(seed).matte[-1].max() > 0.9 for seed in range(12)]
    assert all(reached)


def test_backgrounds_fill_the_canvas() -> None:
    for seed in range(20):
        image, phrase = draw_background(np.random.default_rng(seed))
        assert image.shape == (CANVAS, CANVAS, 3) and np.isfinite(image).all() and phrase


def test_other_people_stand_beside_and_not_where_the_face_is() -> None:
    room = np.full((CANVAS, CANVAS, 3), 0.5, np.float32)
    filled = [company(room, np.random.default_rng(seed)) for seed in range(40)]
    changed = np.mean([np.abs(image - room).max(axis=2) > 0.02 for image in filled], axis=0)
    middle, sides = changed[:, CANVAS * 2 // 5 : CANVAS * 3 // 5].mean(), changed[:, : CANVAS // 5].mean()
    assert sides > 0.2 and middle < sides
