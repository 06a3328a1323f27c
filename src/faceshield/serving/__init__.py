"""The HTTP service: one model behind a queue that batches photos across requests.

Use: `faceshield serve`, or `create_app(FaceShieldPredictor.from_pretrained("tiny"))` in your own ASGI server.
"""

from __future__ import annotations

from faceshield.extras import missing

try:
    from faceshield.serving.app import create_app
    from faceshield.serving.settings import Settings
except ModuleNotFoundError as error:
    if (error.name or "").split(".")[0] not in ("fastapi", "starlette", "uvicorn", "prometheus_client", "python_multipart"):
        raise
    raise missing("the service", "serve") from error

__all__ = ["Settings", "create_app"]
