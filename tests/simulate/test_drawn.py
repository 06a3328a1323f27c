"""Drawn faces: landmarks where the features are, one person across shots, truthful traits, repeatability."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest

from faceshield.simulate.drawn import SIZE, STYLES, View, draw_portrait
from faceshield.simulate.drawn_person import sample_identity, sample_shot, traits
from faceshield.simulate.portrait import LANDMARKS, N_LANDMARKS, OUTLINE, Portrait


def draw_anew(person: int, shot: int = 0, style: str = "skin") -> Portrait:
    return draw_portrait(np.random.default_rng(person), np.random.default_rng(shot), f"p{person}", style)  # type: ignore[arg-type]


draw = cache(draw_anew)  # several tests use the same portraits


@pytest.mark.parametrize("person", range(8))
def test_layout_and_ranges(person: int) -> None:
    portrait = draw(person, person + 100)
    assert portrait.image.shape == (SIZE, SIZE, 3) and portrait.image.dtype == np.float32
    assert portrait.matte.shape == (SIZE, SIZE) and portrait.matte.dtype == np.float32
    assert portrait.landmarks.shape == (N_LANDMARKS, 2) and portrait.landmarks.dtype == np.float32
    assert np.isfinite(portrait.image).all() and portrait.image.min() >= 0.0 and portrait.image.max() <= 1.0
    assert portrait.matte.min() >= 0.0 and portrait.matte.max() <= 1.0
    assert portrait.source == "drawn" and portrait.subject == f"p{person}"
    assert ((portrait.landmarks > 0) & (portrait.landmarks < SIZE)).all()
    corners = portrait.matte[:8, [0, -1]]
    assert corners.max() == 0.0 and portrait.matte[-1, SIZE // 2] > 0.99


@pytest.mark.parametrize("person", range(8))
def test_landmarks_are_in_anatomical_order(person: int) -> None:
    points = draw(person, person + 100).landmarks
    middle = {name: points[where].mean(axis=0) for name, where in LANDMARKS.items()}
    assert middle["left_brow"][1] < middle["left_eye"][1] < middle["nose"][1] < middle["mouth"][1] < points[18, 1]
    assert middle["right_brow"][1] < middle["right_eye"][1]
    assert middle["left_side"][0] < middle["left_eye"][0] < middle["nose"][0] < middle["right_eye"][0] < middle["right_side"][0]
    assert points[26, 0] < points[30, 0] < points[34, 0] < points[38, 0], "eye corners run from left to right"
    assert points[42, 0] < points[47, 0] < points[48, 0] < points[53, 0], "brows run from left to right"
    assert points[65, 0] < points[71, 0] and points[74, 1] > points[68, 1]
    x, y = points[OUTLINE].T
    area = 0.5 * (np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    assert area > 5000, "the outline runs clockwise in the picture"


def test_pupils_are_the_dark_of_open_eyes() -> None:
    darker = []
    for person in range(30):
        portrait = draw(person, person + 100)
        if "closed eyes" in portrait.traits or "glasses" in portrait.traits:
            continue
        grey = portrait.image.mean(axis=2)
        for x, y in portrait.landmarks[LANDMARKS["pupils"]].round().astype(int):
            darker.append(grey[y - 1 : y + 2, x - 1 : x + 2].mean() < np.median(grey[y - 12 : y + 18, x - 14 : x + 15]))
    assert len(darker) > 20 and np.mean(darker) > 0.95


@pytest.mark.parametrize("seed", range(6))
def test_picture_and_face_coordinates_undo_each_other(seed: int) -> None:
    view = View(sample_identity(np.random.default_rng(seed)), sample_shot(np.random.default_rng(seed + 50)))
    u, v = view.to_face()
    face = np.array([(0.0, 0.6), (-0.45, 0.0), (0.45, 0.0), (0.35, 1.0), (-0.9, 0.4), (0.0, 1.6)])
    for (a, b), (x, y) in zip(face, view.to_picture(face), strict=True):
        column, row = int(round(float(x))), int(round(float(y)))
        # rounding to whole pixels alone accounts for up to 0.5 pixels times the stretch of the near side
        assert abs(u[row, column] - a) * view.shot.scale < 1.3
        assert abs(v[row, column] - b) * view.shot.scale < 1.3


def test_bit_for_bit_from_its_seeds() -> None:
    first, second = draw_anew(3, 4), draw_anew(3, 4)
    for name in ("image", "matte", "landmarks"):
        assert (
            hashlib.sha256(getattr(first, name).tobytes()).digest() == hashlib.sha256(getattr(second, name).tobytes()).digest()
        )
    assert not np.array_equal(first.image, draw(3, 5).image)
    assert not np.array_equal(first.image, draw(4, 4).image)


def test_a_person_keeps_their_features_across_shots() -> None:
    one, other = sample_identity(np.random.default_rng(9)), sample_identity(np.random.default_rng(9))
    for name in ("age", "eye_u", "hair_style", "beard", "headscarf", "glasses"):
        assert getattr(one, name) == getattr(other, name)
    assert np.array_equal(one.skin, other.skin)


def test_variety_and_traits() -> None:
    found: dict[str, int] = {}
    count = 400
    for seed in range(count):
        who, shot = (
            sample_identity(np.random.default_rng(seed)),
            sample_shot(np.random.default_rng(seed + 10_000)),
        )
        for trait in traits(who, shot, "skin"):
            found[trait] = found.get(trait, 0) + 1
    assert 0.13 * count < found["glasses"] < 0.23 * count
    for trait in (
        "a beard",
        "stubble",
        "a moustache",
        "a headscarf",
        "a cap",
        "an open smile",
        "wrinkles",
        "a bald head",
    ):
        assert found[trait] >= 4, trait


def test_glasses_change_the_picture_around_the_eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = next(s for s in range(60) if sample_identity(np.random.default_rng(s)).glasses)
    with_glasses = draw_anew(seed, seed)
    assert "glasses" in with_glasses.traits
    monkeypatch.setattr("faceshield.simulate.drawn._lay_glasses", lambda *_: None)
    change = np.abs(with_glasses.image - draw_anew(seed, seed).image).max(axis=2)
    top, bottom = with_glasses.landmarks[LANDMARKS["left_eye"], 1].mean() + np.array([-45.0, 50.0])
    assert change.max() > 0.1
    assert change[: int(top)].max() == 0.0 and change[int(bottom) :].max() < 0.02


@pytest.mark.parametrize("style", STYLES[1:])
def test_unreal_heads_have_the_same_shape_and_another_surface(style: str) -> None:
    living, thing = draw(1, 1), draw(1, 1, style)
    assert np.abs(living.image - thing.image).mean() > 0.005
    assert np.allclose(living.landmarks[OUTLINE], thing.landmarks[OUTLINE], atol=0.01)
    assert not {"stubble", "a beard", "wrinkles"} & set(thing.traits)


def test_unknown_style_is_named() -> None:
    with pytest.raises(ValueError, match="'wax' is unknown — expected one of skin"):
        draw(0, 0, "wax")


def test_many_drawn_faces_are_found_by_the_bundled_detector() -> None:
    from skimage import data
    from skimage.feature import Cascade

    detector = Cascade(data.lbp_frontal_face_cascade_filename())
    hits, count = 0, 20
    for seed in range(count):
        portrait = draw(seed, seed + 100)
        scene = portrait.image + (0.62 - portrait.image) * (1.0 - portrait.matte[..., None])
        found = detector.detect_multi_scale((scene * 255).astype(np.uint8), 1.15, 1, (80, 80), (300, 300))
        x, y = portrait.landmarks[LANDMARKS["nose"]].mean(axis=0)
        hits += any(f["c"] < x < f["c"] + f["width"] and f["r"] < y < f["r"] + f["height"] for f in found)
    assert hits >= 0.7 * count
