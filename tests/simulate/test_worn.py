"""Worn and painted attacks: every variant is deterministic, visible, boxed where it lies, and described by its own cues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from faceshield.simulate import paint
from faceshield.simulate.attacks import fakehead, glasses, makeup, masks, partial, surface, tattoo
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.portrait import CANVAS, LANDMARKS, OUTLINE, Attacked, Scene, bounding_box, fill_polygon
from faceshield.simulate.scene import compose_scene

Apply = Callable[..., Attacked]
GROUPS: tuple[tuple[str, Apply, tuple[str, ...], tuple[str, ...]], ...] = (
    ("fakehead", fakehead.apply, fakehead.VARIANTS, fakehead.CUES),
    ("glasses", glasses.apply, glasses.VARIANTS, glasses.CUES),
    ("paper-mask", masks.apply_paper, masks.PAPER_VARIANTS, masks.PAPER_CUES),
    ("flexible-mask", masks.apply_flexible, masks.FLEXIBLE_VARIANTS, masks.FLEXIBLE_CUES),
    ("rigid-mask", masks.apply_rigid, masks.RIGID_VARIANTS, masks.RIGID_CUES),
    ("partial-eye", partial.apply_eye, partial.EYE_VARIANTS, partial.CUES),
    ("partial-mouth", partial.apply_mouth, partial.MOUTH_VARIANTS, partial.CUES),
    ("makeup", makeup.apply, makeup.VARIANTS, makeup.CUES),
    ("tattoo", tattoo.apply, tattoo.VARIANTS, tattoo.CUES),
)
CASES = [(apply, variant, cues) for _, apply, variants, cues in GROUPS for variant in variants]
WHOLE_FACE = tuple(f"{name}/" for name, *_ in GROUPS if name.endswith("-mask") or name == "fakehead")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Drawn people, framed and lit at random; the last one is dark, close, partly out of the picture, and has no matte."""
    people = [draw_portrait(np.random.default_rng(i), np.random.default_rng(i + 50), f"p{i}") for i in range(3)]
    drawn = [compose_scene(person, np.random.default_rng(i)) for i, person in enumerate(people)]
    first = drawn[0]
    shift = np.array([CANVAS * 0.5, CANVAS * 0.45], np.float32) - first.landmarks[OUTLINE].mean(axis=0)
    hard = replace(
        first,
        image=(np.roll(first.image, tuple(int(v) for v in shift[::-1]), axis=(0, 1)) * np.float32(0.4)),
        matte=np.ones_like(first.matte),
        landmarks=(first.landmarks + shift - CANVAS / 2) * np.float32(2.2) + np.float32(CANVAS / 2),
    )
    return [*drawn, hard]


@pytest.mark.parametrize(("apply", "variant", "cues"), CASES, ids=[case[1] for case in CASES])
def test_every_variant_is_true_to_its_seed_says_what_it_did_and_can_be_seen_in_its_box(
    scenes: list[Scene], apply: Apply, variant: str, cues: tuple[str, ...]
) -> None:
    for seed, scene in enumerate(scenes):
        before = scene.image.copy()
        first = apply(scene, np.random.default_rng(seed + 10), variant=variant)
        assert np.array_equal(scene.image, before)
        assert first.variant == variant
        assert first.image.shape == (CANVAS, CANVAS, 3) and first.image.dtype == np.float32
        assert np.isfinite(first.image).all() and first.image.min() >= 0 and first.image.max() <= 1
        assert first.cues and len(first.cues) <= 8 and len(set(first.cues)) == len(first.cues) and set(first.cues) <= set(cues)
        assert len(first.boxes) == 1
        x0, y0, x1, y1 = first.boxes[0]
        assert 0 <= x0 < x1 <= CANVAS and 0 <= y0 < y1 <= CANVAS
        if seed == 0:
            again = apply(scene, np.random.default_rng(seed + 10), variant=variant)
            assert np.array_equal(again.image, first.image) and again.boxes == first.boxes and again.cues == first.cues
            other = apply(scene, np.random.default_rng(99), variant=variant)
            assert not np.array_equal(other.image, first.image)
        if scene is not scenes[-1]:
            check_what_changed(scene, first, variant)
            if variant.startswith(WHOLE_FACE):
                check_cover(scene, first, variant)


def check_what_changed(scene: Scene, attacked: Attacked, variant: str) -> None:
    """The box contains the attack, and the attack is visible."""
    change = np.abs(attacked.image - scene.image).max(axis=2)
    x0, y0, x1, y1 = (int(v) for v in attacked.boxes[0])
    inside = change[y0:y1, x0:x1]
    assert (inside > 0.06).mean() > (0.04 if variant.startswith(("tattoo", "makeup")) else 0.10)
    # Only shadows, strings, hands, a neck and removed hair may lie outside the box.
    if variant.startswith(("tattoo", "glasses", "makeup")):
        change[max(0, y0 - 12) : y1 + 12, max(0, x0 - 12) : x1 + 12] = 0
        assert (change > 0.1).sum() <= 0.03 * inside.size


def check_cover(scene: Scene, attacked: Attacked, variant: str) -> None:
    """A mask covers most of the face, a half mask at least a quarter."""
    box, face = attacked.boxes[0], bounding_box(fill_polygon(scene.landmarks[OUTLINE]))
    assert face is not None
    width, height = min(box[2], face[2]) - max(box[0], face[0]), min(box[3], face[3]) - max(box[1], face[1])
    share = width * height / ((face[2] - face[0]) * (face[3] - face[1]))
    assert share > (0.25 if variant.endswith("half") else 0.75)


@pytest.mark.parametrize(
    ("apply", "parts"),
    [
        (glasses.apply, ("left_eye", "right_eye")),
        (partial.apply_mouth, ("mouth",)),
        (masks.apply_flexible, ("mouth", "left_eye")),
        (fakehead.apply, ("mouth", "left_brow", "right_eye")),
    ],
)
def test_the_box_lies_on_the_right_part(scenes: list[Scene], apply: Apply, parts: tuple[str, ...]) -> None:
    for seed, scene in enumerate(scenes[:3]):
        x0, y0, x1, y1 = apply(scene, np.random.default_rng(seed)).boxes[0]
        for part in parts:
            x, y = scene.landmarks[LANDMARKS[part]].mean(axis=0)
            assert x0 <= x <= x1 and y0 <= y <= y1, part


def test_every_group_has_variants_under_its_own_name_and_takes_a_random_one(scenes: list[Scene]) -> None:
    for name, apply, variants, cues in GROUPS:
        assert len(variants) >= 3 and all(variant.startswith(name + "/") for variant in variants)
        assert all(2 <= len(cue.split()) <= 4 or cue == "a wig" for cue in cues)
        drawn = {apply(scenes[1], np.random.default_rng(seed)).variant for seed in range(6)}
        assert len(drawn) >= 2 and drawn <= set(variants)
        with pytest.raises(ValueError, match="unknown variant 'nothing'"):
            apply(scenes[0], np.random.default_rng(0), variant="nothing")


def test_the_frame_finds_its_way_there_and_back(scenes: list[Scene]) -> None:
    frame = surface.Frame(scenes[0].landmarks)
    error = np.linalg.norm(frame.px(surface.MEAN_UV) - scenes[0].landmarks, axis=1)
    assert error.mean() < 0.15 * frame.span
    x, y = frame.px((0.3, 0.6)).round().astype(int)
    assert np.abs(frame.uv[y, x] - (0.3, 0.6)).max() < 0.1


def test_light_from_the_right_lights_the_right(scenes: list[Scene]) -> None:
    frame = surface.Frame(scenes[0].landmarks)
    height = surface.relief(frame, np.random.default_rng(0))
    diffuse, specular = surface.shade(height, (1.0, 0.0))
    u, v = frame.uv[..., 0], frame.uv[..., 1]
    cheeks = np.abs(v - 0.4) < 0.4
    assert diffuse[cheeks & (u > 0.4) & (u < 1.0)].mean() > diffuse[cheeks & (u < -0.4) & (u > -1.0)].mean() + 0.2
    assert specular.min() >= 0 and specular.max() <= 1


def test_paint_helpers_keep_to_their_ranges() -> None:
    square = paint.shapes([[(50, 50), (150, 50), (150, 150), (50, 150)]])
    assert square.max() == 1 and square.min() == 0 and abs(square.sum() - 100 * 100) < 500
    assert abs(paint.blur(square, 12).sum() / square.sum() - 1) < 0.05  # 8 bits lose the faint tail
    assert paint.shifted(square, 10, 0)[100, 155] == 1 and paint.shifted(square, 10, 0)[100, 55] == 0
    assert paint.blur(np.zeros_like(square), 3).max() == 0
    base = np.zeros((CANVAS, CANVAS, 3), np.float32)
    assert paint.over(base, np.ones(3, np.float32), square)[100, 100].min() == 1 and base.max() == 0
