"""The report on one picture: what `FaceShieldPredictor.inspect` returns and `faceshield inspect --json` prints.

Deliberately light (no torch): code that displays reports imports this module and not the predictor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the given (upright) picture, x1 and y1 exclusive."""

Status = Literal["ok", "no_face", "error"]

FaceMode = Literal["detect", "whole"]
"""What is judged: the largest detected face with a margin ("detect"), or the whole picture, already a face crop ("whole")."""

Task = Literal["coarse", "fine", "reasoning", "localization"]
"""A question about a picture; the verdict (coarse) is always computed."""

ALL_TASKS: tuple[Task, ...] = get_args(Task)


NOT_A_NUMBER = (
    "the model's scores are no number (NaN) — expected 0..1 — its weights are damaged, or overflow in this precision: "
    "try faceshield doctor --model …, or another dtype"
)
"""The only report error caused by the model and not by the picture."""


class QuestionError(ValueError):
    """A question that cannot be put to the model; the message says why."""


def check_face(face: str) -> None:
    """Raises ValueError if `face` is not a `FaceMode`."""
    if face not in get_args(FaceMode):
        raise ValueError(f"face {face!r} — expected 'detect' or 'whole' — correct it")


def check_tasks(names: Iterable[str]) -> tuple[Task, ...]:
    """The named tasks in the order of `ALL_TASKS`, without repetitions.

    Raises:
        ValueError: an unknown name, or one string in place of several names.
    """
    wanted = {names} if isinstance(names, str) else {str(name).strip() for name in names}
    if isinstance(names, str) or not wanted <= set(ALL_TASKS):
        shown = ", ".join(sorted(wanted - set(ALL_TASKS)) or wanted)
        raise ValueError(f"tasks {shown!r} — expected some of {', '.join(ALL_TASKS)} — correct it")
    return tuple(name for name in ALL_TASKS if name in wanted)


@dataclass(frozen=True)
class InspectionReport:
    """The model's findings on one picture; every field but `image`, `status` and `model` may be empty.

    Attributes:
        image: the path as given, or a description of the object.
        status: "ok"; "no_face": the picture is fine but no face was found, so there is no verdict; "error": see `error`.
        error: what was wrong, what was expected and what to do; None unless status is "error".
        is_attack: the verdict, `bonafide_score < threshold`.
        bonafide_score: 0..1, high = bona fide: probability of the fixed bona fide answer versus the fixed attack answer.
        threshold: stored with the model, chosen on its development set.
        presentation_type: one of the twelve names, always consistent with the verdict.
        type_scores: probability of each of the twelve names; they sum to 1.
        boxes: attack regions; empty if the verdict is bona fide or the model named none.
        reasoning: the model's own words; an explanation, never the source of the verdict.
        face: the face that was judged; None with `face="whole"`.
        quality_reasons: why the picture is too bad to rely on the verdict: "too_small", "too_dark", "over_exposed", "blurred",
            "turned_away"; empty for a good one. The status stays "ok" and the verdict is given, because a bad picture proves
            nothing; an access-control system should ask for another picture, as with "no_face".
        model: {"name", "hash"} of the checkpoint.
        meta: "size_wh" (pixels), "faces" (all that were found, largest first), "crop" (what the model was shown),
            "surroundings" (the second, mirrored view, used for the scores only; None for a model that was not trained on
            such views, and with `face="whole"`), "notes" (list of remarks), "localization" (the text that `boxes` were read
            from), "quality" (measurements behind `quality_reasons`, see `quality.Quality`).
    """

    image: str
    status: Status
    error: str | None = None
    is_attack: bool | None = None
    bonafide_score: float | None = None
    threshold: float | None = None
    presentation_type: str | None = None
    type_scores: dict[str, float] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)
    reasoning: str | None = None
    face: Box | None = None
    quality_reasons: list[str] = field(default_factory=list)
    model: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether to let the person in: the picture was judged, is bona fide, is good enough to rely on, and shows no second
        face (all four)."""
        return self.status == "ok" and self.is_attack is False and not self.quality_reasons and not self.several_faces

    @property
    def doubtful(self) -> bool:
        """Whether the verdict is bona fide, and yet the person is not to be let in; `advice` says why."""
        return self.is_attack is False and not self.accepted

    @property
    def several_faces(self) -> bool:
        """Whether more than one face was found; only the largest is judged, so another one may be who is asking."""
        return len(self.meta.get("faces", ())) > 1

    @property
    def advice(self) -> str | None:
        """For people: what to do if no face was found, the quality is poor or there are several faces; None if all is well."""
        if self.status == "no_face":
            return (
                "no face was found, nothing was judged: take another picture, frontal and nearer, or use face=whole if it is a "
                "face crop already"
            )
        found = []
        if self.quality_reasons:
            bad = ", ".join(reason.replace("_", " ") for reason in self.quality_reasons)
            found.append(f"the face is {bad}: do not rely on the verdict, take another picture")
        if self.several_faces:
            found.append("several faces were found, only the largest was judged: take a picture of one person alone")
        return "; ".join(found) or None

    @property
    def verdict(self) -> str:
        """For people: "bona fide", "attack", "no face", "error" or "not judged"."""
        if self.status != "ok":
            return self.status.replace("_", " ")
        if self.is_attack is None:
            return "not judged"
        return "attack" if self.is_attack else "bona fide"

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types, in the order of the attributes above, and `accepted`."""
        plain = asdict(self)
        plain["boxes"] = [list(box) for box in self.boxes]
        plain["face"] = None if self.face is None else list(self.face)
        return {**plain, "accepted": self.accepted}
