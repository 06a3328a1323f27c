"""Find faces: scikit-image's bundled cascade, its votes counted, the largest face with a margin.

One line of use: `faces = CascadeDetector().detect(rgb)`, then `crop_box(faces[0].box, size_wh)`.

The cascade (scikit-image's own trained LBP cascade for frontal faces, inside its wheel: nothing is
downloaded) fires on dozens of neighbouring windows of a real face and on one or two of a wall, so the number
of windows that agree is the score. The picture and its mirror image are searched on a small working copy,
which makes the cost independent of the photo's size. Anything with the `FaceDetector` shape may take its
place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, x1 and y1 exclusive."""

CROP_MARGIN = 0.5
"""Added on every side of the face, as a share of its width: hair, chin, and the edge of a paper or a screen
if there is one."""

_WORKING_SHORT, _WORKING_LONG = (
    256,
    400,
)  # limits of the working copy's sides: wide pictures hold several people
_FINER = 2.0  # a second, finer search for small faces, only if the first finds nothing
_MIN_WINDOW = 24  # the side of the window the cascade was trained on
_PADDING = 0.1  # of the shorter side: a face that fills the picture lacks the surround the cascade expects
_SCALE_STEP = 1.15
_SAME_FACE_IOU = 0.4
_LARGE_FACE = 0.25  # of the picture's shorter side
_VOTES_LARGE = 6
_VOTES_SMALL = 12  # texture fires on small windows far more often than on large ones
_VOTES_SHARE = 0.25  # of the best face's votes


@dataclass(frozen=True)
class Face:
    """A face that was found: its box in pixels of the searched picture, and a score (more is surer;
    detector's own unit)."""

    box: Box
    score: float

    @property
    def area(self) -> float:
        """Pixels squared."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class FaceDetector(Protocol):
    """What the predictor needs of a face detector; pass your own (YuNet, MediaPipe, …) as `detector=`."""

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, the largest first; an empty list if there is none."""
        ...


class CascadeDetector:
    """scikit-image's frontal-face cascade; deterministic, CPU only, about 0.15 s a photo."""

    def __init__(self) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        self._cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, the largest first; boxes are clipped to the picture."""
        height, width = rgb.shape[:2]
        scale = min(_WORKING_SHORT / min(height, width), _WORKING_LONG / max(height, width))
        return self._search(rgb, scale) or (self._search(rgb, scale * _FINER) if scale * _FINER <= 1 else [])

    def _search(self, rgb: NDArray[np.uint8], scale: float) -> list[Face]:
        height, width = rgb.shape[:2]
        small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(rgb).resize(small_wh, Image.Resampling.BILINEAR, reducing_gap=2.0))
        margin = round(_PADDING * min(small_wh))
        padded = np.pad(small, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        windows = self._windows(padded)
        mirrored = self._windows(np.ascontiguousarray(padded[:, ::-1]))
        mirrored[:, 0] = padded.shape[1] - mirrored[:, 0] - mirrored[:, 2]
        faces = []
        for x, y, side, votes in _group(np.concatenate([windows, mirrored])):
            needed = _VOTES_LARGE if side >= _LARGE_FACE * min(small_wh) else _VOTES_SMALL
            x0, y0 = (x - margin) / scale, (y - margin) / scale
            box = _clip((x0, y0, x0 + side / scale, y0 + side / scale), width, height)
            if votes >= needed and box[0] < box[2] and box[1] < box[3]:
                faces.append(Face(box, float(votes)))
        best = max((face.score for face in faces), default=0.0)
        sure = [face for face in faces if face.score >= _VOTES_SHARE * best]
        return sorted(sure, key=lambda face: (-face.area, face.box))

    def _windows(self, rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Every window that passes the cascade, unmerged: (N, 3) of x, y, side, in a fixed order."""
        largest = min(rgb.shape[:2])
        if largest < _MIN_WINDOW:
            return np.zeros((0, 3))
        found = self._cascade.detect_multi_scale(
            img=rgb,
            scale_factor=_SCALE_STEP,
            step_ratio=1,
            min_size=(_MIN_WINDOW, _MIN_WINDOW),
            max_size=(largest, largest),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # out of reach: the cascade's own merging would hide the votes
        )
        rows = sorted((d["c"], d["r"], d["width"]) for d in found)
        return np.asarray(rows, dtype=np.float64).reshape(-1, 3)


def crop_box(face: Box, size_wh: tuple[int, int], margin: float = CROP_MARGIN) -> tuple[int, int, int, int]:
    """The square to judge: the face with `margin` times its longer side added on every side, in whole pixels.

    A square that would leave the picture is pushed back inside, and shrunk only if the picture is smaller
    than it.
    """
    width, height = size_wh
    wanted = max(face[2] - face[0], face[3] - face[1]) * (1 + 2 * margin)
    side = int(min(max(round(wanted), 1), width, height))
    x0 = min(max(round((face[0] + face[2]) / 2 - side / 2), 0), width - side)
    y0 = min(max(round((face[1] + face[3]) / 2 - side / 2), 0), height - side)
    return x0, y0, x0 + side, y0 + side


def _clip(box: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def _group(windows: NDArray[np.float64]) -> list[tuple[float, float, float, int]]:
    """Merge windows that show the same face: (mean x, mean y, mean side, votes), most votes first."""
    groups: list[tuple[float, float, float, int]] = []
    same = _iou(windows) > _SAME_FACE_IOU
    left = np.ones(len(windows), dtype=bool)
    while left.any():
        votes = (same & left).sum(axis=1) * left
        seed = np.lexsort((np.arange(len(windows)), -windows[:, 2], -votes))[0]
        members = same[seed] & left
        x, y, side = windows[members].mean(axis=0)
        groups.append((float(x), float(y), float(side), int(members.sum())))
        left &= ~members
    return groups


def _iou(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) intersection over union of square windows given as x, y, side."""
    low, side = windows[:, :2], windows[:, 2]
    high = low + side[:, None]
    overlap = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    common = overlap.clip(min=0).prod(axis=-1)
    area = side**2
    return np.asarray(common / (area[:, None] + area[None] - common))
