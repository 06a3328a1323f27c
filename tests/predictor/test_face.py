"""Faces: the astronaut's is found, a wall has none, of two the larger is judged."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faceshield.face import Box, BuiltInDetector, CascadeDetector, FaceDetector, TemplateDetector, crop_box, surroundings_box

FACE = (175.0, 70.0, 268.0, 163.0)  # where scikit-image's own merging puts the astronaut's face


@pytest.fixture(scope="module")
def detector() -> CascadeDetector:
    return CascadeDetector()


def overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def scaled(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("side", [200, 512, 1500])
def test_the_astronaut_is_found_at_every_size(detector: CascadeDetector, face_photo: NDArray[np.uint8], side: int) -> None:
    faces = detector.detect(scaled(face_photo, side))
    assert len(faces) == 1
    box = tuple(value * 512 / side for value in faces[0].box)
    assert overlap(box, FACE) > 0.6  # type: ignore[arg-type]


def test_a_tight_crop_is_found(detector: CascadeDetector, face_photo: NDArray[np.uint8]) -> None:
    assert len(detector.detect(face_photo[55:185, 155:290])) == 1


@pytest.mark.parametrize(
    "picture",
    [
        np.full((300, 300, 3), 128, np.uint8),
        np.zeros((40, 3000, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8),
    ],
    ids=["grey", "long and black", "noise"],
)
def test_where_nobody_is_nobody_is_found(detector: CascadeDetector, picture: NDArray[np.uint8]) -> None:
    assert detector.detect(picture) == []


@pytest.mark.parametrize(
    ("face", "size_wh", "wanted"),
    [
        ((250, 200, 330, 280), (640, 480), (90, 40, 490, 440)),  # the face with twice its width on every side
        ((50, 200, 150, 300), (640, 480), (0, 0, 350, 480)),  # as far as the picture goes
        ((40, 40, 160, 160), (200, 200), (0, 0, 200, 200)),  # a face crop already
        ((900, 900, 1000, 1000), (110, 120), (0, 10, 110, 120)),  # of a detector that knows no bounds: the crop
    ],
)
def test_surroundings_reach_as_far_as_the_picture(face, size_wh, wanted) -> None:
    assert surroundings_box(face, size_wh) == wanted


def test_of_two_faces_the_larger_comes_first(detector: CascadeDetector, face_photo: NDArray[np.uint8]) -> None:
    two = np.full((512, 900, 3), 200, np.uint8)
    two[100:400, :300] = scaled(face_photo, 300)
    two[:, 388:] = face_photo
    faces = detector.detect(two)
    assert len(faces) == 2
    assert faces[0].area > faces[1].area
    assert faces[0].box[0] > 388 > faces[1].box[2]


def test_small_faces_are_looked_for_only_where_no_face_is_large(face_photo: NDArray[np.uint8]) -> None:
    class Watched(CascadeDetector):
        def __init__(self) -> None:
            super().__init__()
            self.shortest: list[int] = []

        def _windows(self, rgb: NDArray[np.uint8], shortest: int) -> NDArray[np.float64]:
            self.shortest.append(shortest)
            return super()._windows(rgb, shortest)

    picture = np.full((200, 300, 3), 200, np.uint8)
    picture[110:190, 210:290] = scaled(face_photo[20:220, 120:320], 80)  # a face a fifth as wide as the picture is high
    alone = Watched()
    assert len(alone.detect(picture)) == 1
    assert alone.shortest == [46, 46, 24, 24]  # the picture and its mirror image, twice
    picture[:, :200] = face_photo[20:220, 120:320]  # and one half as wide
    beside = Watched()
    assert len(beside.detect(picture)) == 1
    assert beside.shortest == [46, 46]


@pytest.mark.parametrize(("windows", "found"), [(1500, True), (1501, False)])
def test_a_pattern_of_faces_takes_no_gigabytes(windows: int, found: bool) -> None:
    """Of 100 kB of tiny portraits the cascade makes ten thousand windows, and comparing all of them took 4.6 GB."""

    class Pattern(CascadeDetector):
        def _windows(self, rgb: NDArray[np.uint8], shortest: int) -> NDArray[np.float64]:
            return np.tile([100.0, 100.0, 200.0], (windows, 1))

    detector = Pattern()
    tracemalloc.start()
    try:
        faces = detector.detect(np.zeros((400, 400, 3), np.uint8))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bool(faces) is found and most < 30_000_000


def test_a_face_with_hidden_eyes_is_found(face_photo: NDArray[np.uint8]) -> None:
    hidden = face_photo[:300, 60:400].copy()
    hidden[92:122, 120:202] = 220  # a strip of paper
    assert CascadeDetector().detect_large(hidden) == []
    face = (FACE[0] - 60, FACE[1], FACE[2] - 60, FACE[3])
    for detector in (TemplateDetector(), BuiltInDetector()):
        faces = detector.detect(hidden)
        assert len(faces) == 1
        assert overlap(faces[0].box, face) > 0.4


@pytest.mark.parametrize("make", [CascadeDetector, TemplateDetector, BuiltInDetector])
@pytest.mark.parametrize("shape", [(32, 32), (32, 700), (700, 32), (230, 310)])
def test_no_detector_minds_a_shape_or_sees_a_face_in_a_ramp(make: Callable[[], FaceDetector], shape: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    assert make().detect(np.repeat(ramp[..., None], 3, axis=-1)) == []


def test_a_missing_template_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TemplateDetector(tmp_path / "none.safetensors")


def test_the_same_picture_gives_the_same_faces(detector: CascadeDetector, face_photo: NDArray[np.uint8]) -> None:
    assert detector.detect(face_photo) == CascadeDetector().detect(face_photo.copy())


@pytest.mark.parametrize(
    ("face", "size_wh", "wanted"),
    [
        ((100, 100, 200, 200), (500, 400), (50, 50, 250, 250)),  # room on every side
        ((0, 10, 100, 110), (500, 400), (0, 0, 200, 200)),  # pushed back inside
        ((400, 300, 500, 400), (500, 400), (300, 200, 500, 400)),
        ((10, 10, 210, 210), (220, 300), (0, 0, 220, 220)),  # shrunk to the picture
        ((-5, -5, 40, 40), (32, 32), (0, 0, 32, 32)),
    ],
)
def test_the_crop_is_a_square_inside_the_picture(face: Box, size_wh: tuple[int, int], wanted: tuple[int, ...]) -> None:
    assert crop_box(face, size_wh, margin=0.5) == wanted


def test_a_detector_with_settings_of_its_own_keeps_them_in_a_copy() -> None:
    class Padded(BuiltInDetector):
        def __init__(self, pad: int) -> None:
            self.pad = pad

    found = copy.deepcopy(detector := Padded(5))
    assert found.pad == 5
    detector.detect(np.zeros((64, 64, 3), np.uint8))  # loads what cannot be copied
    assert copy.deepcopy(detector).pad == 5
