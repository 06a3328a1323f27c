"""The camera that all classes share: sizes, determinism, and the effect of each setting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.data import astronaut
from skimage.transform import resize

from faceshield.simulate.camera import _motion_blur, capture, draw_settings, draw_severity
from faceshield.simulate.portrait import CANVAS, FloatImage


def scene() -> FloatImage:
    return resize(astronaut(), (CANVAS, CANVAS)).astype(np.float32)


def test_same_generator_same_picture_and_another_seed_another() -> None:
    first = capture(scene(), np.random.default_rng(7))
    assert first.shape == (224, 224, 3) and first.dtype == np.uint8
    assert np.array_equal(first, capture(scene(), np.random.default_rng(7)))
    assert not np.array_equal(first, capture(scene(), np.random.default_rng(8)))


def test_severity_zero_is_nearly_perfect() -> None:
    settings = draw_settings(np.random.default_rng(0), severity=0.0)
    settings = replace(settings, motion=0.0)
    picture = capture(scene(), np.random.default_rng(0), size=CANVAS, settings=settings)
    assert np.abs(picture / 255.0 - scene()).mean() < 0.01


def test_each_setting_does_what_it_says() -> None:
    clean = replace(draw_settings(np.random.default_rng(0), severity=0.0), motion=0.0)

    def shot(**changed: float) -> FloatImage:
        settings = replace(clean, **changed)  # type: ignore[arg-type]
        return capture(scene(), np.random.default_rng(1), settings=settings).astype(np.float32)

    base = shot()
    sharpness = lambda image: np.abs(np.diff(image, axis=0)).mean()  # noqa: E731
    assert sharpness(shot(defocus=2.0)) < 0.8 * sharpness(base)
    assert sharpness(shot(resolution=0.4)) < 0.9 * sharpness(base)
    assert sharpness(shot(motion=8.0, motion_angle=np.pi / 2)) < 0.8 * sharpness(base)
    assert sharpness(shot(noise=0.08)) > 1.2 * sharpness(base)
    assert shot(gain=1.4).mean() > base.mean() + 5
    assert np.ptp(shot(saturation=0.0), axis=2).mean() < 2
    assert shot(vignette=0.6)[:20, :20].mean() < base[:20, :20].mean() - 5
    assert shot(lift=0.2).min() > base.min() + 20
    faint = lambda image: np.median(np.abs(np.diff(image, axis=0)))  # noqa: E731
    assert faint(shot(noise=0.03, smoothing=1.0)) < 0.8 * faint(shot(noise=0.03))
    toned = shot(saturation=0.0, balance=(1.2, 1.0, 0.8)).mean(axis=(0, 1))
    assert toned[0] > 1.1 * toned[1] > 1.2 * toned[2]


def test_rare_faults_have_their_shares() -> None:
    drawn = [draw_settings(np.random.default_rng(seed)) for seed in range(1500)]
    shares = {
        "colourless": np.mean([one.saturation == 0 for one in drawn]),
        "cast": np.mean([abs(one.balance[0] - 1) > 0.2 for one in drawn]),
        "strong JPEG": np.mean([one.quality < 36 for one in drawn]),
        "enlarged": np.mean([one.resolution < 0.42 for one in drawn]),
        "over-exposed": np.mean([one.gain > 1.7 for one in drawn]),
        "smoothed": np.mean([one.smoothing > 0 for one in drawn]),
    }
    assert 0.09 < shares["colourless"] < 0.15 and 0.07 < shares["cast"] < 0.16 and 0.05 < shares["strong JPEG"] < 0.12
    assert 0.03 < shares["enlarged"] < 0.10 and shares["over-exposed"] > 0.005 and 0.08 < shares["smoothed"] < 0.16
    plain = draw_settings(np.random.default_rng(3), severity=0.0)
    assert plain.resolution == 1 and plain.saturation == 1 and plain.balance == (1, 1, 1) and plain.smoothing == 0


def test_four_of_ten_cameras_are_good_ones() -> None:
    rng = np.random.default_rng(0)
    severities = np.array([draw_severity(rng) for _ in range(2000)])
    good = severities < 1
    assert 0.36 < good.mean() < 0.44 and severities[good].min() >= 0.2 and severities[good].max() <= 0.6
    mild, full = (np.mean([draw_settings(np.random.default_rng(i), hard).noise for i in range(200)]) for hard in (0.4, 1))
    assert mild < 0.5 * full


@pytest.mark.parametrize("length", [0.3, 1.01, 2.0, 3.7, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.6, 2.2])
def test_motion_blurs_along_a_line_through_the_pixel_itself(length: float, angle: float) -> None:
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    smeared = _motion_blur(point, length, angle)[..., 0]
    y, x = np.mgrid[-20:21, -20:21]
    assert smeared.sum() == pytest.approx(1, abs=1e-3) and smeared[20, 20] == smeared.max() < 1
    assert (smeared * x).sum() == pytest.approx(0, abs=1e-3) and (smeared * y).sum() == pytest.approx(0, abs=1e-3)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    assert length**2 / 12 < (smeared * along**2).sum() < length**2 / 12 + 0.25  # a line, and the pixels' own width
    assert (smeared * across**2).sum() < 0.25


def test_motion_of_less_than_a_pixel_shows() -> None:
    settings = replace(draw_settings(np.random.default_rng(0), severity=0.0), motion=0.0, motion_angle=0.0)
    still, moved = (
        capture(scene(), np.random.default_rng(1), settings=replace(settings, motion=length)) for length in (0.0, 0.8)
    )
    assert np.abs(np.diff(moved.astype(float), axis=1)).mean() < 0.97 * np.abs(np.diff(still.astype(float), axis=1)).mean()


def test_noise_is_as_strong_with_any_grain_and_colour_and_is_developed_with_the_picture() -> None:
    grey = np.full((CANVAS, CANVAS, 3), 0.5, np.float32)
    clean = replace(draw_settings(np.random.default_rng(0), severity=0.0), motion=0.0, noise=0.05)

    def shot(**changed: float) -> FloatImage:
        settings = replace(clean, **changed)  # type: ignore[arg-type]
        return capture(grey, np.random.default_rng(1), settings=settings).astype(np.float32)

    spreads = [shot(grain=grain, chroma=0.5)[..., 1].std() for grain in (0.0, 0.9)]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.15)
    assert shot(chroma=0.9).std() == pytest.approx(shot(chroma=0.5).std(), rel=0.2)
    assert np.ptp(shot(chroma=0.9, saturation=0.0), axis=2).mean() < 2, "a picture without colour has no coloured noise"
    assert shot(contrast=1.6).std() > 1.3 * shot().std()
