"""The service's JSON: requests, responses, and the examples in its OpenAPI document.

Use: `InspectRequest.model_validate_json(body)`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from faceshield.inspection import ALL_TASKS, FaceMode, Task, check_tasks
from faceshield.taxonomy import PRESENTATION_TYPES

_DATA_URL = "data:image/jpeg;base64,/9j/4AAQSkZJRg…"
_TASKS = "what is asked; the verdict (coarse) always is; without reasoning and localization no text is made"
_FACE = "detect: the largest face, with a margin; whole: the picture is a face crop already"


class InspectRequest(BaseModel):
    """One photo (`image`) or several (`images`), as data URLs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image": _DATA_URL}]})

    image: str | None = Field(None, description="a data URL; nothing is ever fetched")
    images: list[str] | None = Field(None, description="data URLs, 16 at most where the operator says nothing else")
    face: FaceMode = Field("detect", description=_FACE)
    tasks: tuple[Task, ...] = Field(ALL_TASKS, description=_TASKS)

    @field_validator("tasks", mode="before")
    @classmethod
    def _read_tasks(cls, value: Any) -> Any:
        if isinstance(value, str):  # from a form field
            value = value.split(",")
        return check_tasks(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else value


class Report(BaseModel):
    """What the model says of one photo, as in `faceshield inspect --json`; `image` is the photo's place in the request."""

    image: str = Field(examples=["images[0]"])
    status: Literal["ok", "no_face", "error"]
    error: str | None = Field(description="what was wrong — what was expected — what to do")
    is_attack: bool | None
    bonafide_score: float | None = Field(ge=0, le=1, description="high = bona fide")
    threshold: float | None = Field(description="an attack is bonafide_score < threshold")
    presentation_type: str | None = Field(examples=list(PRESENTATION_TYPES))
    type_scores: dict[str, float]
    boxes: list[list[float]] = Field(description="[x0, y0, x1, y1] in pixels of the upright photo")
    reasoning: str | None
    face: list[float] | None
    quality_reasons: list[str] = Field(description="why not to rely on the verdict: too_small, too_dark, over_exposed, …")
    model: dict[str, str]
    meta: dict[str, Any]
    accepted: bool = Field(
        description="whether to let the person in: status ok, no attack, no quality_reasons, and no second face"
    )


_REPORT: dict[str, Any] = {
    "image": "images[0]",
    "status": "ok",
    "error": None,
    "is_attack": True,
    "bonafide_score": 0.031,
    "threshold": 0.42,
    "presentation_type": "Print",
    "type_scores": {name: round(1 / len(PRESENTATION_TYPES), 4) for name in PRESENTATION_TYPES},
    "boxes": [[120.0, 80.0, 410.0, 460.0]],
    "reasoning": "A paper edge crosses the shoulder and the light is flat; it is an attack.",
    "face": [180.0, 120.0, 340.0, 300.0],
    "quality_reasons": [],
    "model": {"name": "tiny", "hash": "0123456789ab"},
    "meta": {"size_wh": [640, 480], "faces": [[180.0, 120.0, 340.0, 300.0]], "notes": []},
    "accepted": False,
}


class InspectResponse(BaseModel):
    """One report per photo, in the order of the request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"request_id": "4f1c…", "reports": [_REPORT]}]})

    request_id: str
    reports: list[Report]


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    message: str = Field(description="what — what was expected — what to do")
    type: str
    code: str
    request_id: str


class ErrorResponse(BaseModel):
    """The body of every refusal."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "message": "64 photos are waiting — expected fewer — try again in 12 s",
                        "type": "rate_limit_error",
                        "code": "queue_full",
                        "request_id": "4f1c…",
                    }
                }
            ]
        }
    )

    error: ErrorDetail
    reports: list[Report] | None = Field(None, description="where all photos were refused: why, one by one")


class Health(BaseModel):
    """State of the process (`/healthz`), or its readiness (`/readyz`)."""

    status: str


FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["image"],
    "properties": {
        "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "description": "one photo or several"},
        "face": {"type": "string", "enum": ["detect", "whole"], "default": "detect", "description": _FACE},
        "tasks": {"type": "string", "default": ",".join(ALL_TASKS), "description": _TASKS},
    },
}
