"""The service against its own OpenAPI document: schemathesis invents requests, good and bad, for every route."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='pip install -e ".[dev]"')
schemathesis: Any = pytest.importorskip("schemathesis", reason="pip install schemathesis")

import uvicorn  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402

from faceshield.predictor import FaceShieldPredictor  # noqa: E402
from faceshield.serving import Settings, create_app  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.filterwarnings("ignore")]  # its own warnings


@pytest.fixture(scope="module")
def url(shield: FaceShieldPredictor) -> Iterator[str]:
    """Of a running service."""
    app = create_app(shield, Settings(timeout_s=600))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


def test_every_answer_is_one_that_the_document_describes(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    checks = schemathesis.checks
    wanted = [
        checks.not_a_server_error,
        checks.load_all_checks() or checks.CHECKS.get_one("status_code_conformance"),
        checks.CHECKS.get_one("content_type_conformance"),
        checks.CHECKS.get_one("response_schema_conformance"),
    ]
    seen = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
        def ask(case: Any) -> None:
            response = case.call_and_validate(checks=wanted)
            seen.append((operation.label, response.status_code))  # noqa: B023

        ask()
    assert {label for label, _ in seen} >= {"POST /v1/inspect", "POST /v1/chat/completions", "GET /healthz", "GET /metrics"}
    assert not [one for one in seen if one[1] >= 500]
