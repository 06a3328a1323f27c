"""The application around the toy predictor."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from faceshield.predictor import FaceShieldPredictor

MakeClient = Callable[..., "TestClient"]


@pytest.fixture(scope="session")
def make_client(shield: FaceShieldPredictor) -> Iterator[MakeClient]:
    """A client of a running application; keyword arguments are `Settings`'. Ready when it comes."""
    from fastapi.testclient import TestClient

    from faceshield.serving import Settings, create_app

    with ExitStack() as stack:

        def make(**options: object) -> TestClient:
            client = stack.enter_context(TestClient(create_app(shield, Settings(**options))))  # type: ignore[arg-type]
            for _ in range(1200):
                if client.get("/readyz").status_code == 200:
                    return client
                time.sleep(0.05)
            raise AssertionError("not ready")

        yield make


@pytest.fixture(scope="session")
def client(make_client: MakeClient) -> TestClient:
    """A client of an application with the default settings."""
    return make_client()


@pytest.fixture(scope="session")
def face_jpeg(face_photo: np.ndarray) -> bytes:
    """The astronaut's head as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(face_photo[:220, 110:330]).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def wall_png() -> bytes:
    """A small grey wall as a PNG file; no face."""
    buffer = io.BytesIO()
    Image.new("RGB", (48, 40), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
