"""A system as it will be used: it looks for the face first, and a picture without one has no score.

Use: ``Looking(load_model("tiny"), "detect").score(rgb)``; `evaluation.predict` may ask it.
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
    """Scores alone: words and boxes would be of what is cut out.

    Our own model looks as `inspect` does, twice if it has learnt to; of any other the largest face is cut out likewise.

    Args:
        system: as `load_model` gives it.
        face: "detect", or "whole": the pictures are face crops already.

    Raises:
        ValueError: a system that answers in words alone.
    """

    def __init__(self, system: Any, face: FaceMode) -> None:
        if not hasattr(system, "score_many"):
            raise ValueError(f"face={face!r} of a {type(system).__name__} — expected a system that scores — leave it out")
        self._system, self._face = system, face
        self._detector = BuiltInDetector()
        self.tasks = getattr(system, "tasks", (COARSE.name, FINE.name))
        self.settings = {**system.settings, **how_looked(face, getattr(system, "surroundings", False))}

    def score(self, image: object) -> Scores:
        """Of one photograph; raises ValueError where no face is found in it."""
        if isinstance(self._system, FaceShieldPredictor):
            report = self._system.classify(image, face=self._face)
            if report.bonafide_score is None:
                raise ValueError(report.error or NO_FACE)
            return report.bonafide_score, report.type_scores
        crop = look_at(open_picture(image), self._face, self._detector).close
        if crop is None:
            raise ValueError(NO_FACE)
        return self._system.score_many([crop])[0]  # type: ignore[no-any-return]
