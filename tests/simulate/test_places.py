"""A trace is told where it can be seen: in the view, and with nothing before it."""

from __future__ import annotations

import numpy as np
import pytest

from faceshield.simulate.attacks import CUES
from faceshield.simulate.attacks.places import EDGE_BELOW, PLACES, seen_cues
from faceshield.simulate.attacks.recapture import cast_shadow
from faceshield.simulate.mean_shape import MEAN_SHAPE
from faceshield.simulate.portrait import CANVAS, LANDMARKS, Portrait
from faceshield.simulate.scene import _place

FACE = (MEAN_SHAPE * 0.5 * CANVAS + 0.25 * CANVAS).astype(np.float32)
EVERYWHERE = np.ones((CANVAS, CANVAS), bool)


def test_every_place_is_of_a_trace_that_a_renderer_leaves() -> None:
    assert {*PLACES, EDGE_BELOW} <= {cue for cues in CUES.values() for cue in cues}


def test_all_is_told_of_a_head_in_view() -> None:
    cues = (*PLACES, EDGE_BELOW, "smooth waxy skin")
    assert seen_cues(cues, FACE, [(60, 60, 220, 240)], EVERYWHERE) == cues


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
    told = seen_cues((*cues, EDGE_BELOW, "smooth waxy skin"), FACE, [(60, 60, 220, 240)], visible)
    assert not gone & set(told) and {"ink on the nose", "smooth waxy skin"} <= set(told)


def test_a_mask_that_runs_out_below_has_no_edge_there() -> None:
    assert seen_cues((EDGE_BELOW, "rubber folds"), FACE, [(60, 60, 220, CANVAS)], EVERYWHERE) == ("rubber folds",)
    assert seen_cues((EDGE_BELOW,), FACE, [(60, 60, 220, CANVAS)], EVERYWHERE) == (EDGE_BELOW,), "one is left"


def test_a_strap_is_seen_on_one_side_and_not_behind_a_front() -> None:
    visible = EVERYWHERE.copy()
    visible[:, : CANVAS // 2] = False
    cues = ("a mask strap", "hard plastic skin")
    assert seen_cues(cues, FACE, [], visible) == cues
    x0, x1 = FACE[:, 0].min(), FACE[:, 0].max()
    between = np.zeros_like(EVERYWHERE)
    between[:, round(float(x0)) : round(float(x1))] = True
    assert seen_cues(cues, FACE, [], between) == ("hard plastic skin",)


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
    """A dot on each pupil is where the points say, mirrored or not."""
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
