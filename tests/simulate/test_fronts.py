"""An object in front of a face hides what is behind it, for every class alike, and no cue names what is hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faceshield.simulate.attacks import attack
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.fronts import _FRONTS, HAND, HEADSET, HEALTH_MASK, draw_front
from faceshield.simulate.furnishings import desk, gallery
from faceshield.simulate.portrait import CANVAS, LANDMARKS, Scene
from faceshield.simulate.scene import ANYWHERE, Setting, compose_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(2)
    return compose_scene(draw_portrait(np.random.default_rng(1), rng, "p"), rng, Setting())


def before(scene: Scene, phrase: str, seed: int = 0) -> Scene:
    front = _FRONTS[phrase](scene.image, scene.landmarks, scene.light_xy, np.random.default_rng(seed))
    return replace(scene, front=front)


@pytest.mark.parametrize("phrase", [HEALTH_MASK, HAND, HEADSET])
def test_a_front_is_true_to_its_seed_and_covers_a_part(scene: Scene, phrase: str) -> None:
    for seed in range(6):
        front, again = before(scene, phrase, seed).front, before(scene, phrase, seed).front
        assert front is not None and again is not None and np.array_equal(front.add, again.add)
        assert front.keep.shape == (CANVAS, CANVAS, 3) and front.keep.min() >= -1e-6 and front.keep.max() <= 1 + 1e-6
        picture = front.over(scene.image)
        assert picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1
        assert 0.005 < front.covers.mean() < 0.4
        for eye in scene.landmarks[LANDMARKS["pupils"]].astype(int):
            assert not front.covers[eye[1], eye[0]], "the eyes stay free"


def test_a_health_mask_hides_the_mouth(scene: Scene) -> None:
    x, y = scene.landmarks[LANDMARKS["mouth"]].mean(axis=0).astype(int)
    for seed in range(6):
        front = before(scene, HEALTH_MASK, seed).front
        assert front is not None and front.covers[y, x]


def test_bona_fide_and_what_is_shown_have_it_in_the_first_capture(scene: Scene) -> None:
    masked = before(scene, HEALTH_MASK)
    live = attack(masked, "Bonafide", np.random.default_rng(0))
    assert live.phrases == (HEALTH_MASK,) and not np.array_equal(live.image, scene.image)
    assert attack(scene, "Bonafide", np.random.default_rng(0)).phrases == ()
    assert attack(masked, "Print", np.random.default_rng(0)).phrases == (HEALTH_MASK,)


def test_what_is_worn_lies_beneath_unless_nothing_of_it_were_left(scene: Scene) -> None:
    masked = before(scene, HEALTH_MASK)
    mouth = attack(masked, "Partial Mouth", np.random.default_rng(0))
    assert mouth.phrases == () and "a printed paper mouth" in mouth.cues
    glasses = attack(masked, "Glasses", np.random.default_rng(0))
    assert glasses.phrases == (HEALTH_MASK,)
    seen = []
    for seed in range(8):
        made = attack(masked, "Makeup", np.random.default_rng(seed))
        seen.append(made.phrases)
        if made.phrases:
            assert made.cues and "painted lips" not in made.cues
    assert (HEALTH_MASK,) in seen


def test_the_widest_setting_has_them_and_a_plain_one_never(scene: Scene) -> None:
    drawn = [draw_front(scene.image, scene.landmarks, scene.light_xy, np.random.default_rng(seed)) for seed in range(300)]
    assert 18 <= sum(front is not None for front in drawn) <= 52
    assert ANYWHERE.fronts == 1.0 and Setting().fronts == 0.0
    for share, setting in ((30.0, replace(ANYWHERE, fronts=30.0)), (0.0, Setting())):
        for seed in range(4):
            made = compose_scene(scene.portrait, np.random.default_rng(seed), setting)
            assert (made.front is not None) == (share > 0)


@pytest.mark.parametrize("draw", [gallery, desk])
def test_furnishings_fill_the_canvas(draw) -> None:  # type: ignore[no-untyped-def]
    for seed in range(25):
        image = draw(np.random.default_rng(seed))
        assert image.shape == (CANVAS, CANVAS, 3) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


def test_a_headset_is_bright_on_the_side_of_the_light(scene: Scene) -> None:
    from_left, from_right = (
        _FRONTS[HEADSET](scene.image, scene.landmarks, (side, 0.0), np.random.default_rng(4)) for side in (-1.0, 1.0)
    )
    covered = np.asarray(from_left.keep.max(axis=2) < 0.1, np.float32)
    slope = np.gradient(gaussian_filter(covered, 2), axis=1) * covered
    lit = (from_left.add - from_right.add).mean(axis=2)
    assert lit[slope > 0.05].mean() > 0 > lit[slope < -0.05].mean()
