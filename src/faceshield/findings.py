"""What the model found in one face, and its boxes and notes for the report.

Use: check `findings.finite`, then `findings.boxes(crop)` and `findings.notes()`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from faceshield.inspection import Box
from faceshield.looks import Part
from faceshield.tasks import REASONING
from faceshield.tasks.base import Answer


@dataclass
class Findings:
    """The model's answers about one crop; what was not asked for is empty.

    Attributes:
        bonafide_score, is_attack, type_scores, presentation_type, reasoning: as in `InspectionReport`.
        located: the answer to the localization question, boxes in pixels of the crop.
        cut: tasks whose answers were cut off at the model's limit.
    """

    bonafide_score: float
    is_attack: bool
    type_scores: dict[str, float] = field(default_factory=dict)
    presentation_type: str | None = None
    reasoning: str | None = None
    located: Answer | None = None
    cut: list[str] = field(default_factory=list)

    @property
    def finite(self) -> bool:
        """Whether all scores are finite: NaN is below no threshold, so its picture would be accepted."""
        return all(map(math.isfinite, (self.bonafide_score, *self.type_scores.values())))

    def boxes(self, crop: Part) -> list[Box]:
        """The attack's boxes in pixels of the given picture; empty if the verdict is bona fide."""
        if self.located is None or not self.is_attack:
            return []
        left, top = crop[:2]
        return [
            (round(x0 + left, 1), round(y0 + top, 1), round(x1 + left, 1), round(y1 + top, 1))
            for x0, y0, x1, y1 in self.located.boxes
        ]

    def notes(self) -> list[str]:
        """Remarks where the model's text contradicts the verdict (the score decides), and where an answer was cut off."""
        found = []
        if self.reasoning is not None:
            said = REASONING.read(self.reasoning).is_attack
            if said is not None and said != self.is_attack:
                found.append("the model's reasoning comes to the other verdict; the score decides")
        if self.located is not None and self.located.boxes and not self.is_attack:
            found.append("the model also named an attack region, left out because the verdict is bona fide")
        if self.located is not None and not self.located.boxes and self.is_attack:
            found.append("the model named no attack region")
        found += [f"the answer to {task} was cut off at the model's length limit" for task in self.cut]
        return found
