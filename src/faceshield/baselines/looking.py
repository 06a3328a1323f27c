"""A system as it is used in practice: it finds the face first, and a picture without one gets no score.

Use: ``Looking(load_model("tiny"), "detect").score(rgb)``; `evaluation.predict` accepts it.
"""

from __future__ import annotations

from typing import Any

from faceshield.face import BuiltInDetector
from faceshield.images import open_picture
from faceshield.inspection import FaceMode
from faceshield.looks import NO_FACE, how_looked, look_at
from faceshield.predictor import FaceShieldPredictor
from faceshield.tasks import COARSE, FINE
from faceshield.whole import Scores


class Looking:
    """Gives scores only: words and boxes would refer to the crop.

    Our own model looks as in `inspect`, twice if it was trained to; any other system gets the same crop of the largest face.

    Args:
        system: from `load_model`.
        face: "detect", or "whole": the pictures are face crops already.

    Raises:
        ValueError: a system that answers only in words.
    """

    def __init__(self, system: Any, face: FaceMode) -> None:
        if not hasattr(system, "score_many"):
            raise ValueError(f"face={face!r} of a {type(system).__name__} — expected a system that scores — leave it out")
        self._system, self._face = system, face
        self._detector = BuiltInDetector()
        self.tasks = getattr(system, "tasks", (COARSE.name, FINE.name))
        self.settings = {**system.settings, **how_looked(face, getattr(system, "surroundings", False))}

    def score(self, image: object) -> Scores:
        """The scores of one photograph; raises ValueError if no face is found in it."""
        if isinstance(self._system, FaceShieldPredictor):
            report = self._system.classify(image, face=self._face)
            if report.bonafide_score is None:
                raise ValueError(report.error or NO_FACE)
            return report.bonafide_score, report.type_scores
        crop = look_at(open_picture(image), self._face, self._detector).close
        if crop is None:
            raise ValueError(NO_FACE)
        return self._system.score_many([crop])[0]  # type: ignore[no-any-return]
