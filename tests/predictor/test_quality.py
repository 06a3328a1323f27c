"""A bad picture of a face has a name, a good one has none, whatever the skin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.cli.inspect import Table
from faceshield.face import BuiltInDetector, crop_box
from faceshield.html_report import render
from faceshield.inspection import Box
from faceshield.predictor import FaceShieldPredictor
from faceshield.quality import BLURRED, LIMITS, OVER_EXPOSED, TOO_DARK, TOO_SMALL, TURNED_AWAY, Quality, assess

RGB = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face(face_photo: RGB) -> Box:
    return BuiltInDetector().detect(face_photo)[0].box


def measure(rgb: RGB, face: Box) -> Quality:
    return assess(rgb, crop_box(face, (rgb.shape[1], rgb.shape[0])), face)


def exposed(rgb: RGB, factor: float) -> RGB:
    return (((rgb / 255.0) ** 2.2 * factor).clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def turned(rgb: RGB, face: Box, radians: float) -> RGB:
    """The face as on an upright cylinder."""
    columns, middle, radius = np.arange(rgb.shape[1]), (face[0] + face[2]) / 2, 0.62 * (face[2] - face[0])
    across = (columns - middle) / radius
    angle = (np.arcsin(across.clip(-1, 1)) - radians).clip(-np.pi / 2, np.pi / 2)
    source = np.where(np.abs(across) < 1, middle + radius * np.sin(angle), columns)
    return rgb[:, source.round().astype(int)]


def blurred(rgb: RGB, radius: float) -> RGB:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        (TOO_DARK, lambda rgb, face: exposed(rgb, 0.01)),
        (OVER_EXPOSED, lambda rgb, face: exposed(rgb, 12.0)),
        (BLURRED, lambda rgb, face: blurred(rgb, 0.04 * (face[2] - face[0]))),
    ],
)
def test_each_fault_has_its_name(reason: str, change: Callable[[RGB, Box], RGB], face_photo: RGB, face: Box) -> None:
    assert measure(face_photo, face).reasons == ()
    assert reason in measure(change(face_photo, face), face).reasons


def test_a_turned_face_has_lost_its_symmetry(face_photo: RGB, face: Box) -> None:
    plain = measure(face_photo, face)
    for radians in (-0.7, 0.5):
        side = measure(turned(face_photo, face, radians), face)
        assert side.symmetry is not None and plain.symmetry is not None and side.symmetry < 0.4 * plain.symmetry
    assert replace(plain, symmetry=LIMITS["symmetry"] - 0.01).reasons == (TURNED_AWAY,)
    assert replace(plain, symmetry=None).reasons == ()


def test_small_is_counted_in_pixels_of_the_given_picture(face_photo: RGB, face: Box) -> None:
    factor = 0.7 * LIMITS["side"] / (face[2] - face[0])
    small = np.asarray(Image.fromarray(face_photo).resize([round(side * factor) for side in face_photo.shape[1::-1]]))
    assert TOO_SMALL in measure(small, tuple(value * factor for value in face)).reasons  # type: ignore[arg-type]


def test_dark_skin_in_good_light_is_not_too_dark(face_photo: RGB, face: Box) -> None:
    """Skin reflects a sixth as much; eyes, teeth and highlights stay as they are."""
    light = (face_photo / 255.0) ** 2.2
    skin = light.max(axis=2, keepdims=True) < 0.62
    dark = ((np.where(skin, light * 0.16, light)) ** (1 / 2.2) * 255).astype(np.uint8)
    assert TOO_DARK not in measure(dark, face).reasons


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (40, 7)])
def test_any_picture_can_be_measured(shape: tuple[int, int]) -> None:
    found = assess(np.full((*shape, 3), 128, np.uint8), (0, 0, shape[1], shape[0]))
    assert TOO_SMALL in found.reasons and found.symmetry is None
    assert all(value is None or np.isfinite(value) for value in found.to_dict().values())


def test_the_report_the_table_and_the_page_say_it(shield: FaceShieldPredictor, face_photo: RGB) -> None:
    good, bad = shield.detect(face_photo), shield.detect(exposed(face_photo, 0.006), face="whole")
    assert good.quality_reasons == [] and set(good.meta["quality"]) == set(LIMITS)
    assert bad.status == "ok" and bad.is_attack is not None and TOO_DARK in bad.quality_reasons
    assert bad.to_dict()["quality_reasons"] == bad.quality_reasons
    assert "too dark" in Table(["x"]).row(bad) and "do not rely" not in Table(["x"]).row(good)
    assert "too dark" in render([(face_photo, bad)]) and "do not rely" not in render([(face_photo, good)])
