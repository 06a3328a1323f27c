"""The camera that all classes share: sizes, determinism, and the effect of each setting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from skimage.data import astronaut
from skimage.transform import resize

from faceshield.simulate.camera import capture, draw_settings, draw_severity
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
