"""FaceShield: decides whether a face picture is bona fide or a presentation attack, of which type, why and where.

An open implementation of FaceShield (arXiv 2505.09415). In one line:
`FaceShieldPredictor.from_pretrained("tiny").inspect("photo.jpg")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceshield.inspection import InspectionReport
    from faceshield.predictor import FaceShieldPredictor

__version__ = "0.1.0"
__all__ = ["FaceShieldPredictor", "InspectionReport", "__version__"]


def __getattr__(name: str) -> Any:
    # The predictor imports torch and transformers; `import faceshield` must stay light.
    if name == "FaceShieldPredictor":
        from faceshield.predictor import FaceShieldPredictor

        return FaceShieldPredictor
    if name == "InspectionReport":
        from faceshield.inspection import InspectionReport

        return InspectionReport
    raise AttributeError(f"module 'faceshield' has no attribute {name!r} — expected one of {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
