"""The camera every class shares: sizes, determinism, and that it changes what it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from skimage.data import astronaut
from skimage.transform import resize

from faceshield.simulate.camera import capture, draw_settings
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
