"""A scene keeps its face: framed, lit, sometimes mirrored, with landmarks that still mark the right features."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from faceshield.simulate import scene as scenes
from faceshield.simulate import skin_marks
from faceshield.simulate.attacks import attack, tattoo
from faceshield.simulate.clothes import below_the_face, dress, shoulders
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.furnishings import company, disorder
from faceshield.simulate.holder import Holder, draw_holder
from faceshield.simulate.portrait import (
    CANVAS,
    LANDMARKS,
    OUTLINE,
    WHOLE_CANVAS,
    Box,
    FloatImage,
    Scene,
    room_for_a_face,
    smooth_noise,
)
from faceshield.simulate.scene import ANYWHERE, Setting, _dapples, compose_scene, draw_background


def compose(seed: int) -> Scene:
    portrait = draw_portrait(np.random.default_rng(seed), np.random.default_rng(seed + 1), f"p{seed}")
    return compose_scene(portrait, np.random.default_rng(seed + 2))


scene = cache(compose)  # several tests use the same scenes


@pytest.mark.parametrize("seed", range(12))
def test_face_is_framed_and_left_stays_left(seed: int) -> None:
    made = scene(seed)
    assert made.image.shape == (CANVAS, CANVAS, 3) and made.image.dtype == np.float32
    assert made.image.min() >= 0 and made.image.max() <= 1
    outline = made.landmarks[OUTLINE]
    assert 0.25 < np.ptp(outline[:, 1]) / room_for_a_face(made.window) < 1.3
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


def test_windows_are_of_many_shapes_and_hold_the_face() -> None:
    shapes = []
    for seed in range(24):
        made = scene(seed)
        x0, y0, x1, y1 = made.window
        assert max(x1 - x0, y1 - y0) == CANVAS and all(value == int(value) for value in made.window)
        middle = made.landmarks[OUTLINE].mean(axis=0)
        assert x0 < middle[0] < x1 and y0 < middle[1] < y1
        shapes.append((x1 - x0) / (y1 - y0))
    assert min(shapes) < 0.8 and max(shapes) > 1.25 and 2 <= shapes.count(1.0) <= 16
    assert all(compose_scene(scene(0).portrait, np.random.default_rng(s), Setting()).window == WHOLE_CANVAS for s in range(6))


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


def test_another_shirt_covers_the_body_and_leaves_the_face() -> None:
    made = scene(1)
    dressed = [dress(made.image, made.matte, made.landmarks, np.random.default_rng(seed)) for seed in range(8)]
    changed = np.mean([np.abs(image - made.image).max(axis=2) > 0.03 for image in dressed], axis=0)
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    along, _ = below_the_face(columns, rows, made.landmarks)
    assert changed[(along > 0.4) & (made.matte > 0.9)].mean() > 0.6
    assert changed[along < 0].max() == 0 and changed[made.matte == 0].max() == 0


def test_shoulders_fall_away_from_the_neck_and_end() -> None:
    along, across = np.meshgrid(np.linspace(-0.5, 3, 36), np.linspace(-2, 2, 81), indexing="ij")
    body = shoulders(along.astype(np.float32), across.astype(np.float32))
    assert body[along < 0].max() == 0 and body[np.abs(across) > 1.7].max() == 0
    assert body[(along > 1) & (np.abs(across) < 1)].min() == 1
    highest = [along[:, column][body[:, column] > 0.5].min() for column in (40, 55, 65)]  # neck, shoulder, end of the shoulder
    assert highest[0] < highest[1] < highest[2]


def test_disorder_has_edges_at_every_scale() -> None:
    """Shrunk to a quarter, steps between neighbouring pixels grow clearly less than those of smooth noise do."""

    def growth(images: list[np.ndarray]) -> float:
        small = [image.reshape(CANVAS // 4, 4, CANVAS // 4, 4, 3).mean(axis=(1, 3)) for image in images]
        fine, coarse = (np.mean([np.abs(np.diff(image, axis=1)).mean() for image in each]) for each in (images, small))
        return float(coarse / fine)

    drawn = growth([disorder(np.random.default_rng(seed)) for seed in range(8)])
    smooth = growth([smooth_noise(np.random.default_rng(seed), channels=3) for seed in range(8)])
    assert drawn < 0.9 * smooth


@pytest.mark.parametrize("kind", skin_marks._KINDS)
def test_marks_lie_on_the_skin_and_change_little(kind) -> None:
    """Marks on a bona fide face are deterministic per seed and small: they do not hide the person's identity."""
    made = scene(4)
    skin = skin_marks._Skin(made.image, made.landmarks)
    first, again = (kind(made.image, skin, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again) and first.dtype == np.float32 and first.min() >= 0 and first.max() <= 1
    changed = np.abs(first - made.image).max(axis=2) > 0.02
    face = np.ptp(made.landmarks[OUTLINE], axis=0).prod()
    assert 0 < changed.sum() < 0.25 * face


def test_a_face_out_of_view_bears_no_mark() -> None:
    made = scene(4)
    away = made.landmarks + 3 * CANVAS
    assert skin_marks.draw_marks(made.image, away, np.random.default_rng(0)) is made.image


def test_dapples_darken_in_places() -> None:
    for seed in range(6):
        factor = _dapples(np.random.default_rng(seed))
        assert factor.shape == (CANVAS, CANVAS) and factor.dtype == np.float32
        assert 0.3 < factor.min() < 0.9 < factor.max() <= 1


@pytest.mark.parametrize("variant", tattoo.VARIANTS)
def test_a_tattoo_is_large_enough_for_the_camera(variant: str) -> None:
    """However small the face, its tattoo is visible; without `least` it shrinks with the face."""
    setting = Setting(face_height=(0.28, 0.3))
    portrait = scene(1).portrait
    widest = {0.0: [], ANYWHERE.least_ink: []}
    for seed in range(4):
        made = compose_scene(portrait, np.random.default_rng(seed), setting)
        for least, found in widest.items():
            inked = tattoo.apply(made, np.random.default_rng(seed), variant=variant, least=least)
            found.append(max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in inked.boxes) / CANVAS)
    assert min(widest[ANYWHERE.least_ink]) > 0.11 and min(widest[0.0]) < min(widest[ANYWHERE.least_ink])


def test_people_further_back_leave_the_room_around_them_as_it_is() -> None:
    """A room of noise stays noise: nearly all that has changed are figures in even colours."""
    noise: FloatImage = np.random.default_rng(0).uniform(0, 1, (CANVAS, CANVAS, 3)).astype(np.float32)
    even = []
    for seed in range(12):
        with_people = company(noise, np.random.default_rng(seed))
        changed = np.abs(with_people - noise).max(axis=2) > 0.02
        even.append((np.abs(np.diff(with_people, axis=0)).max(axis=2) < 0.02).sum() / changed.sum())
    assert np.mean(even) > 0.75


def test_somebody_close_behind_stands_in_the_window_as_a_holder_does(monkeypatch: pytest.MonkeyPatch) -> None:
    windows: list[Box] = []

    def seen(room: FloatImage, rng: np.random.Generator, window: Box) -> Holder:
        windows.append(window)
        return draw_holder(room, rng, window)

    monkeypatch.setattr(scenes, "draw_holder", seen)
    portrait, setting = scene(0).portrait, Setting(("close-by",), other_shapes=1.0)
    made = [compose_scene(portrait, np.random.default_rng(seed), setting) for seed in range(4)]
    assert windows == [one.window for one in made] and len(set(windows)) > 1
    attack(made[0], "Print", np.random.default_rng(0), setting=setting)
    assert windows[-1] == made[0].window, "what lies behind a print is seen through the same window"
