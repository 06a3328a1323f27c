"""Find faces: scikit-image's bundled cascade, and a template of our own for faces whose eyes are hidden.

Use: `faces = BuiltInDetector().detect(rgb)`, then `crop_box(faces[0].box, size_wh)`.

The cascade (scikit-image's trained LBP cascade for frontal faces, shipped in its wheel, so nothing is downloaded) fires on
dozens of neighbouring windows around a real face but on only one or two on a wall, so the number of agreeing windows is the
score. The picture and its mirror image are searched on a small working copy, so that the cost does not depend on the photo's
size, and for large faces first, which takes a fifth of the work because most windows are small. But the cascade relies on
eyes, and attacks hide eyes: where it finds nothing, a linear template over oriented gradients, trained on simulated attacks by
`runs/face_template.py`, looks for a head. Any object that implements `FaceDetector` can replace them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from faceshield.inspection import Box

CROP_MARGIN = 0.75
"""Margin added on every side of the face, as a share of its longer side: it shows hair, chin, and the edge of a paper or screen
if there is one. Like `SURROUNDINGS_MARGIN`, chosen on simulated development pictures (docs/tiny.md)."""

SURROUNDINGS_MARGIN = 2.0
"""The same for the second look at a face, which shows more of its surroundings and less of its skin."""

# Limits of the working copy's shorter and longer side; the second is generous because wide pictures show several people.
_WORKING_SHORT, _WORKING_LONG = 256, 400
_FINER = 2.0  # a second, finer search for small faces, only if the first finds nothing
_MIN_WINDOW = 24  # the side of the window the cascade was trained on
_PADDING = 0.1  # of the shorter side: a face that fills the picture lacks the border the cascade expects
_SCALE_STEP = 1.15
_SAME_FACE_IOU = 0.4
_LARGE_FACE = 0.25  # of the picture's shorter side
_LARGE_WINDOW = 0.18  # likewise: the smallest window searched for such faces
_VOTES_AT_ONCE = 9  # of a large face in the search for large faces, to make the full search unnecessary
_VOTES_LARGE = 6  # of a large face in the full search
_VOTES_SMALL = 12  # small windows fire on texture far more often than large ones
_MOST_WINDOWS = 3000  # a face takes 20 to 100; where there are more there is a pattern, and this search finds no face
_VOTES_SHARE = 0.25  # of the best face's votes: faces with fewer are dropped

TEMPLATE_FILE = Path(__file__).resolve().parent / "assets" / "face-template.safetensors"
TEMPLATE_CELLS = 12  # the template's side
CELL = 6  # pixels
ORIENTATIONS = 9
TEMPLATE_FACE = 45.0  # pixels: the face inside the template of 72, which also covers hair and shoulders
_TEMPLATE_STEP = 1.12
_TEMPLATE_PADDING = 0.35  # of the face
_TEMPLATE_SMALLEST, _TEMPLATE_LARGEST = 0.2, 1.1  # a face's side, as a share of the picture's longer and shorter side


@dataclass(frozen=True)
class Face:
    """A detected face: its box in pixels of the searched picture, and a score (higher is surer; the detector's own unit)."""

    box: Box
    score: float

    @property
    def area(self) -> float:
        """Area of the box, in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


class FaceDetector(Protocol):
    """The interface of a face detector; pass your own (YuNet, MediaPipe, …) to the predictor as `detector=`."""

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, the largest first; an empty list if there is none."""
        ...


class CascadeDetector:
    """scikit-image's frontal-face cascade; deterministic, CPU only, about 0.05 s per photo, 0.2 s if no large face is found."""

    def __init__(self) -> None:
        from skimage.data import lbp_frontal_face_cascade_filename
        from skimage.feature import Cascade

        self._cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, largest first; small ones only if none is large; boxes lie inside it."""
        return self.detect_large(rgb) or self.detect_small(rgb)

    def detect_large(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Confident faces of at least a quarter of the picture's shorter side; if there are none, all from about a tenth."""
        scale = _working_scale(rgb)
        return self._search(rgb, scale, only_large=True) or self._search(rgb, scale)

    def detect_small(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Searches a working copy twice as fine, at four times the cost; an empty list if the picture has too few pixels."""
        scale = _working_scale(rgb) * _FINER
        return self._search(rgb, scale) if scale <= 1 else []

    def _search(self, rgb: NDArray[np.uint8], scale: float, *, only_large: bool = False) -> list[Face]:
        height, width = rgb.shape[:2]
        small_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = np.asarray(Image.fromarray(rgb).resize(small_wh, Image.Resampling.BILINEAR, reducing_gap=2.0))
        margin = round(_PADDING * min(small_wh))
        padded = np.pad(small, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        shortest = max(_MIN_WINDOW, round(_LARGE_WINDOW * min(small_wh))) if only_large else _MIN_WINDOW
        windows = self._windows(padded, shortest)
        mirrored = self._windows(np.ascontiguousarray(padded[:, ::-1]), shortest)
        mirrored[:, 0] = padded.shape[1] - mirrored[:, 0] - mirrored[:, 2]
        if len(windows) + len(mirrored) > _MOST_WINDOWS:
            return []
        faces = []
        for x, y, side, votes in _group(np.concatenate([windows, mirrored])):
            is_large = side >= _LARGE_FACE * min(small_wh)
            if only_large and not is_large:
                continue
            needed = _VOTES_SMALL if not is_large else _VOTES_AT_ONCE if only_large else _VOTES_LARGE
            x0, y0 = (x - margin) / scale, (y - margin) / scale
            box = _clip((x0, y0, x0 + side / scale, y0 + side / scale), width, height)
            if votes >= needed and box[0] < box[2] and box[1] < box[3]:
                faces.append(Face(box, float(votes)))
        best = max((face.score for face in faces), default=0.0)
        sure = [face for face in faces if face.score >= _VOTES_SHARE * best]
        return sorted(sure, key=lambda face: (-face.area, face.box))

    def _windows(self, rgb: NDArray[np.uint8], shortest: int) -> NDArray[np.float64]:
        """All windows of side `shortest` or more that pass the cascade, unmerged: (N, 3) of x, y, side, in a fixed order."""
        largest = min(rgb.shape[:2])
        if largest < shortest:
            return np.zeros((0, 3))
        found = self._cascade.detect_multi_scale(
            img=rgb,
            scale_factor=_SCALE_STEP,
            step_ratio=1,
            min_size=(shortest, shortest),
            max_size=(largest, largest),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # unreachable: the cascade's own merging would hide the votes
        )
        rows = sorted((d["c"], d["r"], d["width"]) for d in found)
        return np.asarray(rows, dtype=np.float64).reshape(-1, 3)


class TemplateDetector:
    """One linear template over oriented gradients (Dalal and Triggs' descriptor); about 0.02 s per photo.

    It recognises a head by its outline, so it finds faces with covered eyes, masks and mannequin heads, but only faces of at
    least a fifth of the picture's longer side. Its score is the value of the linear decision function.

    Args:
        file: weights as `runs/face_template.py` writes them: "weights" (12, 12, 9), "bias", "least" (the minimum score of a
            face).

    Raises:
        FileNotFoundError: no such file.
    """

    def __init__(self, file: Path = TEMPLATE_FILE) -> None:
        stored = load_file(file)
        self._weights = stored["weights"].astype(np.float32)
        self._bias, self._least = stored["bias"].item(), stored["least"].item()

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, the largest first; boxes are clipped to the picture."""
        found = [candidate for candidate in self.candidates(rgb) if candidate[3] >= self._least]
        windows = np.asarray([candidate[:3] for candidate in found]).reshape(-1, 3)
        same = _agree(windows, _SAME_FACE_IOU / 2)
        left, faces = np.ones(len(found), dtype=bool), []
        for best in sorted(range(len(found)), key=lambda i: (-found[i][3], found[i])):
            if left[best]:
                left &= ~same[best]
                x, y, side, score = found[best]
                faces.append(Face(_clip((x, y, x + side, y + side), rgb.shape[1], rgb.shape[0]), score))
        return sorted(faces, key=lambda face: (-face.area, face.box))

    def candidates(self, rgb: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
        """For each size, all windows whose score makes them faces, or else the best one, as (x, y, side, score)."""
        found = []
        for cells, scale, margin in gradient_pyramid(rgb):
            scores = self.scores(cells)
            places = np.argwhere(scores >= min(self._least, float(scores.max())))
            for row, column in places:
                x, y, side = template_window(int(row), int(column), scale, margin)
                found.append((x, y, side, float(scores[row, column])))
        return found

    def scores(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of the template at every position of a cell map (h, w, 9): (h - 11, w - 11)."""
        size = TEMPLATE_CELLS
        height, width = cells.shape[0] - size + 1, cells.shape[1] - size + 1
        products = cells @ self._weights.reshape(size * size, ORIENTATIONS).T
        scores = np.full((height, width), self._bias, dtype=np.float32)
        for index in range(size * size):
            row, column = divmod(index, size)
            scores += products[row : row + height, column : column + width, index]
        return scores


class BuiltInDetector:
    """The predictor's default detector: the cascade, then the template, then the cascade on a finer copy.

    Its parts load when first used, and are left out of copies and pickles.
    """

    def __getstate__(self) -> dict[str, Any]:
        loaded = ("_cascade", "_template")  # cannot be pickled
        return {name: value for name, value in vars(self).items() if name not in loaded}

    @cached_property
    def _cascade(self) -> CascadeDetector:
        return CascadeDetector()

    @cached_property
    def _template(self) -> TemplateDetector:
        return TemplateDetector()

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an (H, W, 3) uint8 RGB picture, largest first; small ones only if none is large; boxes lie inside it."""
        return self._cascade.detect_large(rgb) or self._template.detect(rgb) or self._cascade.detect_small(rgb)


def crop_box(face: Box, size_wh: tuple[int, int], margin: float = CROP_MARGIN) -> tuple[int, int, int, int]:
    """The square to judge: the face with `margin` times its longer side added on every side, in whole pixels.

    A square that would extend beyond the picture is shifted back inside, and shrunk only if the picture is smaller.
    """
    width, height = size_wh
    wanted = max(face[2] - face[0], face[3] - face[1]) * (1 + 2 * margin)
    side = int(min(max(round(wanted), 1), width, height))
    x0 = min(max(round((face[0] + face[2]) / 2 - side / 2), 0), width - side)
    y0 = min(max(round((face[1] + face[3]) / 2 - side / 2), 0), height - side)
    return x0, y0, x0 + side, y0 + side


def surroundings_box(face: Box, size_wh: tuple[int, int], margin: float = SURROUNDINGS_MARGIN) -> tuple[int, int, int, int]:
    """The face with `margin` times its longer side added on every side, clipped to the picture.

    In whole pixels; it always contains `crop_box`.
    """
    reach = max(face[2] - face[0], face[3] - face[1]) * (0.5 + margin)
    x, y = (face[0] + face[2]) / 2, (face[1] + face[3]) / 2
    left, top, right, bottom = crop_box(face, size_wh)
    return (
        min(max(round(x - reach), 0), left),
        min(max(round(y - reach), 0), top),
        max(min(round(x + reach), size_wh[0]), right),
        max(min(round(y + reach), size_wh[1]), bottom),
    )


def gradient_pyramid(rgb: NDArray[np.uint8], step: float = _TEMPLATE_STEP) -> Iterator[tuple[NDArray[np.float32], float, int]]:
    """Maps of gradient cells for faces of every size: (cells, working pixels per picture pixel, margin in working pixels)."""
    height, width = rgb.shape[:2]
    grey = Image.fromarray(rgb).convert("L")
    side = max(_TEMPLATE_SMALLEST * max(height, width), 20.0)
    margin = round(_TEMPLATE_PADDING * TEMPLATE_FACE)
    while side <= _TEMPLATE_LARGEST * min(height, width):
        scale = TEMPLATE_FACE / side
        size_wh = (max(8, round(width * scale)), max(8, round(height * scale)))
        small = grey.resize(size_wh, Image.Resampling.BILINEAR, reducing_gap=2.0)
        padded = np.pad(np.asarray(small, dtype=np.float32), margin, mode="edge")
        if min(padded.shape) >= TEMPLATE_CELLS * CELL:
            yield gradient_cells(padded), scale, margin
        side *= step


def gradient_cells(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Oriented gradients of an (H, W) grey picture, 0..255, in cells of 6 pixels: (H // 6, W // 6, 9), 0..0.6.

    Each cell's histogram is normalised by the energy of its 3 x 3 neighbourhood, so that lighting matters little.
    """
    root = np.sqrt(grey)
    down, right = np.zeros_like(root), np.zeros_like(root)
    down[1:-1] = root[2:] - root[:-2]
    right[:, 1:-1] = root[:, 2:] - root[:, :-2]
    rows, columns = grey.shape[0] // CELL, grey.shape[1] // CELL
    inside = slice(rows * CELL), slice(columns * CELL)
    strength = np.hypot(right, down)[inside]
    angle = (np.arctan2(down, right)[inside] % np.pi) * (ORIENTATIONS / np.pi)
    low = np.floor(angle).astype(np.intp)
    share = angle - low
    cell = (np.arange(rows * CELL) // CELL)[:, None] * columns + (np.arange(columns * CELL) // CELL)[None]
    total = np.zeros(rows * columns * ORIENTATIONS)
    for orientation, weight in ((low % ORIENTATIONS, 1 - share), ((low + 1) % ORIENTATIONS, share)):
        index = (cell * ORIENTATIONS + orientation).ravel()
        total += np.bincount(index, (strength * weight).ravel(), minlength=len(total))
    histogram = total.reshape(rows, columns, ORIENTATIONS)
    energy = np.pad((histogram**2).sum(axis=-1), 1, mode="edge")
    shifted = [energy[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    around = np.mean(shifted, axis=0)
    floor = 0.01 * around.mean() + 1e-6
    return np.minimum(histogram / np.sqrt(around + floor)[..., None], 0.6).astype(np.float32)


def template_window(row: int, column: int, scale: float, margin: int) -> tuple[float, float, float]:
    """The face (x, y, side), in picture pixels, of a template at cell (`row`, `column`) of a map from `gradient_pyramid`."""
    inset = (TEMPLATE_CELLS * CELL - TEMPLATE_FACE) / 2
    x, y = (column * CELL + inset - margin) / scale, (row * CELL + inset - margin) / scale
    return x, y, TEMPLATE_FACE / scale


def _working_scale(rgb: NDArray[np.uint8]) -> float:
    height, width = rgb.shape[:2]
    return min(_WORKING_SHORT / min(height, width), _WORKING_LONG / max(height, width))


def _clip(box: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def _group(windows: NDArray[np.float64]) -> list[tuple[float, float, float, int]]:
    """Merge windows that show the same face: (mean x, mean y, mean side, votes), most votes first."""
    groups: list[tuple[float, float, float, int]] = []
    same = _agree(windows, _SAME_FACE_IOU)
    left = np.ones(len(windows), dtype=bool)
    votes = same.sum(axis=1)
    while left.any():
        seed = np.lexsort((np.arange(len(windows)), -windows[:, 2], -votes * left))[0]
        members = same[seed] & left
        votes -= same[members].sum(axis=0)
        x, y, side = windows[members].mean(axis=0)
        groups.append((float(x), float(y), float(side), int(members.sum())))
        left &= ~members
    return groups


def _agree(windows: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """(N, N): whether two square windows, given as x, y, side, have an intersection over union above `least`.

    Row by row: the numbers of all pairs at once would take forty times the memory.
    """
    low, side = windows[:, :2], windows[:, 2]
    high, area = low + side[:, None], side**2
    agree = np.zeros((len(windows), len(windows)), dtype=np.bool_)
    for row in range(len(windows)):
        overlap = np.minimum(high[row], high) - np.maximum(low[row], low)
        common = overlap.clip(min=0).prod(axis=-1)
        agree[row] = common / (area[row] + area - common) > least
    return agree
