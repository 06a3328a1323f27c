"""Which parts of a photo are judged: the face close up and, for models trained on it, a mirrored second look at more around it.

Use: `look_at(open_picture("photo.jpg"), "detect", BuiltInDetector(), twice=True).close`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceshield.face import CROP_MARGIN, SURROUNDINGS_MARGIN, Face, FaceDetector, crop_box, surroundings_box
from faceshield.images import Picture
from faceshield.inspection import Box, FaceMode, check_face
from faceshield.quality import Quality, assess

HOW_SCORED = ("face", "looks", "keep_tokens", "pvtm", "pvtm_seed", "score_map")
"""Settings that affect a score besides weights, picture and question; a threshold holds only for scores made with the same."""

_USUAL = {"face": "whole", "keep_tokens": "all", "pvtm": "off", "pvtm_seed": "0", "score_map": "none"}

NO_FACE = "no face was found — expected a frontal face — if the picture is a face crop, use face=whole"

Part = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels of a picture, x1 and y1 exclusive."""


@dataclass(frozen=True)
class Look:
    """A photograph and which parts of it are judged.

    Attributes:
        picture: the photograph.
        faces: those found, largest first; empty if none were searched for.
        crop: what is judged; None if a face was searched for and none was found.
        surroundings: what the second look shows (mirrored); None if there is only one look.
    """

    picture: Picture
    faces: tuple[Box, ...]
    crop: Part | None
    surroundings: Part | None = None

    @property
    def face(self) -> Box | None:
        """The face that is judged, if one was searched for and found."""
        return self.faces[0] if self.faces else None

    @cached_property
    def close(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of `crop`."""
        return None if self.crop is None else self._cut(self.crop)

    @cached_property
    def around(self) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of `surroundings`, mirrored, so that the two looks' errors are less correlated."""
        return None if self.surroundings is None else np.ascontiguousarray(self._cut(self.surroundings)[:, ::-1])

    def _cut(self, part: Part) -> NDArray[np.uint8]:
        x0, y0, x1, y1 = part
        return np.ascontiguousarray(self.picture.rgb[y0:y1, x0:x1])

    @cached_property
    def quality(self) -> Quality | None:
        """Quality of the judged face; None if nothing is judged."""
        return None if self.crop is None else assess(self.picture.rgb, self.crop, self.face)

    def meta(self) -> dict[str, Any]:
        """The entries of a report's `meta` about this look."""
        notes = list(self.picture.notes)
        if len(self.faces) > 1:
            notes.append(f"{len(self.faces)} faces were found; the largest was judged")
        return {
            "size_wh": list(self.picture.size_wh),
            "faces": [list(box) for box in self.faces],
            "crop": None if self.crop is None else list(self.crop),
            "surroundings": None if self.surroundings is None else list(self.surroundings),
            "notes": notes,
            **({} if self.quality is None else {"quality": self.quality.to_dict()}),
        }


def look_at(picture: Picture, face: FaceMode, detector: FaceDetector, *, twice: bool = False) -> Look:
    """Choose which parts of a photograph are judged.

    Args:
        face: "detect": the largest face with a margin; "whole": the whole picture, already a face crop.
        detector: used with "detect" only.
        twice: whether a detected face gets a second look.

    Raises:
        ValueError: unknown `face`.
    """
    check_face(face)
    if face == "whole":
        return Look(picture, (), (0, 0, *picture.size_wh))
    found = sorted(_inside(detector.detect(picture.rgb), picture.size_wh), key=lambda one: -one.area)
    if not found:
        return Look(picture, (), None)
    faces = tuple(_rounded(one.box) for one in found)
    around = surroundings_box(found[0].box, picture.size_wh) if twice else None
    return Look(picture, faces, crop_box(found[0].box, picture.size_wh), around)


def _inside(faces: Iterable[Face], size_wh: tuple[int, int]) -> Iterator[Face]:
    """Faces with boxes clipped to the picture, as any detector may be in use; empty and non-finite boxes are dropped."""
    width, height = size_wh
    for one in faces:
        if np.isfinite(one.box).all():
            x0, x1 = (min(max(one.box[side], 0.0), float(width)) for side in (0, 2))
            y0, y1 = (min(max(one.box[side], 0.0), float(height)) for side in (1, 3))
            if x0 < x1 and y0 < y1:
                yield replace(one, box=(x0, y0, x1, y1))


def how_looked(face: FaceMode, twice: bool) -> dict[str, str]:
    """How `look_at` chooses, for the records of scores and thresholds, which are comparable only if this agrees."""
    if face == "whole":
        return {"face": face}
    return {"face": face, "looks": f"{CROP_MARGIN}, {SURROUNDINGS_MARGIN} mirrored" if twice else f"{CROP_MARGIN}"}


def how_calibrated(score_map: tuple[float, float]) -> dict[str, str]:
    """Like `how_looked`, for the (scale, offset) of a checkpoint's calibration; empty for uncalibrated log-odds."""
    return {} if score_map == (1.0, 0.0) else {"score_map": "{}, {}".format(*score_map)}


def made_otherwise(
    scores: Mapping[str, Any], chosen: Mapping[str, Any], names: Iterable[str] = HOW_SCORED
) -> dict[str, tuple[str, str]]:
    """Settings in which scores differ from those that a threshold was chosen on: name -> (the scores', the threshold's).

    Args:
        scores, chosen: their records; a missing setting counts as the default, or is not compared if it has none.
        names: settings to compare.
    """
    found = {}
    for name in names:
        theirs, wanted = (str(told.get(name) or _USUAL.get(name, "")) for told in (scores, chosen))
        if theirs and wanted and theirs != wanted:
            found[name] = theirs, wanted
    return found


def _rounded(box: Box) -> Box:
    x0, y0, x1, y1 = (round(float(value), 1) for value in box)
    return x0, y0, x1, y1
