"""A cue is listed only if its trace is visible: inside the view and not covered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from faceshield.simulate.attacks import CUES, attack, masks, partial, replay
from faceshield.simulate.attacks import print as print_attack
from faceshield.simulate.attacks.places import EDGE_BELOW, PLACES, resolved_cues, seen_cues, seen_phrases
from faceshield.simulate.attacks.recapture import cast_shadow
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.drawn_person import sample_identity, sample_shot, traits
from faceshield.simulate.mean_shape import MEAN_SHAPE
from faceshield.simulate.portrait import CANVAS, LANDMARKS, Attacked, Box, Portrait, Scene
from faceshield.simulate.scene import _place, compose_scene

FACE = (MEAN_SHAPE * 0.5 * CANVAS + 0.25 * CANVAS).astype(np.float32)
EVERYWHERE = np.ones((CANVAS, CANVAS), bool)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    people = [draw_portrait(np.random.default_rng(i), np.random.default_rng(i + 50), f"p{i}") for i in range(3)]
    return [compose_scene(person, np.random.default_rng(i)) for i, person in enumerate(people)]


def told(
    cues: tuple[str, ...], visible: NDArray[np.bool_] = EVERYWHERE, low: float = 240, **marks: tuple[Box, ...]
) -> tuple[str, ...]:
    """Cues that remain of a worn attack whose box ends at row `low`."""
    image = np.zeros((CANVAS, CANVAS, 3), np.float32)
    return seen_cues(Attacked(image, ((60, 60, 220, low),), cues, "x/y", FACE, marks=marks), visible)


def test_every_place_is_of_a_trace_that_a_renderer_leaves() -> None:
    assert {*PLACES, EDGE_BELOW} <= {cue for cues in CUES.values() for cue in cues}


def test_all_is_told_of_a_head_in_view() -> None:
    cues = (*PLACES, EDGE_BELOW, "smooth waxy skin")
    assert told(cues) == cues


@pytest.mark.parametrize(
    ("rows", "gone"),
    [
        (slice(0, 172), {"painted lips", "a painted beard", "a plastic neck", EDGE_BELOW}),
        (slice(110, CANVAS), {"a bald smooth head", "ink on the forehead"}),
    ],
)
def test_what_lies_outside_the_view_is_not_told(rows: slice, gone: set[str]) -> None:
    visible = np.zeros_like(EVERYWHERE)
    visible[rows] = True
    cues = ("painted lips", "a painted beard", "a plastic neck", "a bald smooth head", "ink on the forehead", "ink on the nose")
    left = told((*cues, EDGE_BELOW, "smooth waxy skin"), visible)
    assert not gone & set(left) and {"ink on the nose", "smooth waxy skin"} <= set(left)


def test_a_mask_that_runs_out_below_has_no_edge_there() -> None:
    assert told((EDGE_BELOW, "rubber folds"), low=CANVAS) == ("rubber folds",)
    assert told((EDGE_BELOW,), low=CANVAS) == (EDGE_BELOW,), "one is left"


def test_a_strap_is_seen_on_one_side_and_not_behind_a_front() -> None:
    visible = EVERYWHERE.copy()
    visible[:, : CANVAS // 2] = False
    cues = ("a mask strap", "hard plastic skin")
    assert told(cues, visible) == cues
    x0, x1 = FACE[:, 0].min(), FACE[:, 0].max()
    between = np.zeros_like(EVERYWHERE)
    between[:, round(float(x0)) : round(float(x1))] = True
    assert told(cues, between) == ("hard plastic skin",)


def test_a_mark_is_told_where_one_of_its_places_is_seen() -> None:
    visible = EVERYWHERE.copy()
    visible[:, 100:] = False
    assert told(("tape", "flat"), visible, tape=((10, 10, 40, 40), (200, 10, 240, 40))) == ("tape", "flat")
    assert told(("tape", "flat"), visible, tape=((150, 10, 180, 40), (200, 10, 240, 40))) == ("flat",)


@pytest.mark.parametrize("apply", [partial.apply_eye, partial.apply_mouth, masks.apply_paper])
def test_renderers_say_where_tape_and_fingers_are(apply: Callable[..., Attacked], scenes: list[Scene]) -> None:
    """Every tape or finger cue comes with boxes, none empty and none half as wide as the picture."""
    found = set()
    for seed in range(30):
        made = apply(scenes[seed % len(scenes)], np.random.default_rng(seed))
        assert set(made.marks) == {cue for cue in made.cues if cue in ("tape on the paper", "fingers holding paper")}
        for cue, boxes in made.marks.items():
            found.add(cue)
            assert boxes and all(x0 < x1 and y0 < y1 and x1 - x0 < CANVAS / 2 for x0, y0, x1, y1 in boxes)
    assert "tape on the paper" in found


def test_a_shadow_that_leaves_the_picture_does_not_come_in_again() -> None:
    mask = np.zeros((CANVAS, CANVAS), np.float32)
    mask[200:, 60:220] = 1
    white = np.ones((CANVAS, CANVAS, 3), np.float32)
    for seed in range(20):
        lit = cast_shadow(white, mask, np.random.default_rng(seed), (0.0, -1.0))
        assert lit[:60].min() > 0.999 and lit[240, 140].max() < 0.95


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.6])
def test_a_placed_portrait_lies_under_its_landmarks(mirror: float, scale: float) -> None:
    """A dot on each pupil lies where the landmarks say, mirrored or not."""
    landmarks = (MEAN_SHAPE * 120 + 50).astype(np.float32)
    yy, xx = np.mgrid[0:220, 0:220].astype(np.float32)
    dots = sum(np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 18) for x, y in landmarks[LANDMARKS["pupils"]])
    portrait = Portrait(
        np.repeat(dots[..., None], 3, 2).astype(np.float32), landmarks, np.ones((220, 220), np.float32), "p", "drawn"
    )
    matrix = np.array([[mirror * scale, 0, CANVAS / 2 - mirror * scale * 110], [0, scale, CANVAS / 2 - scale * 110]])
    image, _, points = _place(portrait, matrix)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    for point in points[LANDMARKS["pupils"]]:
        near = image[..., 0] * (np.hypot(x - point[0], y - point[1]) < 10 * scale)
        found = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        assert np.abs(found - point).max() < 0.25


def test_what_the_camera_does_not_resolve_is_not_told() -> None:
    image = np.zeros((CANVAS, CANVAS, 3), np.float32)
    made = Attacked(image, (), ("visible paper edges", "printing dots"), "x/y", FACE, finest={"printing dots": 3.0})
    assert resolved_cues(made, 0.7) == made.cues and resolved_cues(made, 0.6) == made.cues[:1]
    alone = replace(made, cues=made.cues[1:])
    assert resolved_cues(alone, 0.6) == alone.cues, "the only trace is still named"


@pytest.mark.parametrize(("kind", "variant", "cue"), [("Print", "print/magazine", "DOTS"), ("Replay", "replay/lamps", "GRID")])
def test_prints_and_screens_say_how_fine_they_are(scenes: list[Scene], kind: str, variant: str, cue: str) -> None:
    word = {"DOTS": print_attack.DOTS, "GRID": replay.GRID}[cue]
    made = [attack(scenes[seed % 3], kind, np.random.default_rng(seed), variant=variant) for seed in range(8)]
    periods = [one.finest[word] for one in made if word in one.cues]
    assert periods and all(2 < period < 7 for period in periods)


@pytest.mark.parametrize(
    ("variant", "cues", "left"),
    [
        ("bonafide/live", (), {"a beard", "glasses", "a smile", "brown hair", "freckles"}),
        ("fakehead/plastic", (), set()),
        ("fakehead/dressed", (), {"brown hair"}),
        ("fakehead/wax", (), {"brown hair"}),
        ("fakehead/wax", ("a wig",), set()),
        ("paper-mask/photo", (), {"brown hair"}),
        ("paper-mask/bag", (), set()),
        ("flexible-mask/latex", ("a rubber scalp",), set()),
        ("flexible-mask/clear-skin", (), {"a beard", "glasses", "a smile", "brown hair", "freckles"}),
        ("glasses/party", (), {"a beard", "a smile", "brown hair", "freckles"}),
        ("partial-mouth/piece", (), {"a beard", "glasses", "brown hair", "freckles"}),
        ("print/card", (), {"a beard", "glasses", "a smile", "brown hair", "freckles"}),
    ],
)
def test_what_the_attack_hides_is_not_told_of_the_scene(variant: str, cues: tuple[str, ...], left: set[str]) -> None:
    phrases = ("a face before a plain wall", "a beard", "glasses", "a smile", "brown hair", "freckles")
    made = Attacked(np.zeros((CANVAS, CANVAS, 3), np.float32), (), cues, variant, FACE)
    assert set(seen_phrases(phrases, made)) == {phrases[0], *left}
    masked = set(seen_phrases(phrases, replace(made, phrases=("a health mask",))))
    assert masked == {phrases[0], *left} - {"a smile"}


def test_what_can_be_hidden_is_spelt_as_portraits_spell_it(scenes: list[Scene]) -> None:
    from faceshield.simulate.attacks import VARIANTS, places

    known = {name for names in VARIANTS.values() for name in names}
    for name in (*places._HIDDEN, *places._WHOLE_HEADS, *places._OWN_HAIR):
        assert any(variant == name or variant.startswith(name.rstrip("/") + "/") for variant in known), name
    told = {
        trait
        for age in range(40)
        for trait in traits(sample_identity(np.random.default_rng(age)), sample_shot(np.random.default_rng(age)), "skin")
    }
    assert told <= {*places._FACE, *places._HATS} | {trait for trait in told if trait.endswith(" hair")}


def test_only_a_plastic_bust_has_a_plastic_neck(scenes: list[Scene]) -> None:
    for variant, named in (("fakehead/plastic", True), ("fakehead/plaster", False), ("fakehead/dark-resin", False)):
        made = [attack(scenes[0], "Fakehead", np.random.default_rng(seed), variant=variant).cues for seed in range(12)]
        assert any("a plastic neck" in cues for cues in made) == named, variant
