"""POST /v1/inspect, health, keys and limits, through the whole application with a toy model."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import math
import re
import runpy
import struct
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='pip install -e ".[dev]"')

import torch
from fastapi.testclient import TestClient
from PIL import Image
from starlette.requests import Request

from faceshield.inspection import InspectionReport
from faceshield.predictor import FaceShieldPredictor
from faceshield.serving import create_app
from faceshield.serving.batching import Abandoned
from faceshield.serving.observe import JsonLines, Meters
from faceshield.serving.refusals import Refusal
from faceshield.serving.service import Service
from faceshield.serving.settings import Settings, hash_key, read_keys
from faceshield.serving.uploads import BodyBudget, discard_body

MakeClient = Callable[..., Any]
KEY, OTHER_KEY = "k" * 24, "another-key-of-24-chars!"


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file that claims to be so large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(5000))) + chunk(b"IEND", b"")


def refused(response: Any, status: int, code: str) -> str:
    """Checks a refusal and returns what it says; every one says what to do."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code and error["request_id"] == response.headers["x-request-id"]
    assert " — " in error["message"]
    return str(error["message"])


def test_a_form_and_json_give_the_predictors_own_report(
    client: TestClient, shield: FaceShieldPredictor, face_jpeg: bytes
) -> None:
    expected = {**shield.inspect(face_jpeg).to_dict(), "image": "images[0]"}
    expected["model"] = {**expected["model"], "name": "toy"}  # never the folder of the operator's machine
    form = client.post("/v1/inspect", files={"image": ("Jane Doe.jpg", face_jpeg)})
    assert form.status_code == 200 and form.json()["reports"] == [expected]
    sent = client.post("/v1/inspect", json={"image": data_url(face_jpeg)}, headers={"X-Request-ID": "mine-1"})
    assert sent.json() == {"request_id": "mine-1", "reports": [expected]}
    assert sent.headers["x-request-id"] == "mine-1" and sent.headers["cache-control"] == "no-store"


def test_only_what_is_asked_for_is_answered(client: TestClient, shield: FaceShieldPredictor, face_jpeg: bytes) -> None:
    wanted = shield.inspect(face_jpeg, tasks=["coarse", "reasoning"])
    for sent in (
        client.post("/v1/inspect", files={"image": face_jpeg}, data={"tasks": "reasoning, coarse"}),
        client.post("/v1/inspect", json={"image": data_url(face_jpeg), "tasks": ["reasoning"]}),
        client.post("/v1/inspect", json={"image": data_url(face_jpeg), "tasks": "reasoning"}),
    ):
        report = sent.json()["reports"][0]
        assert report["reasoning"] == wanted.reasoning and not report["type_scores"]
        assert report["bonafide_score"] == wanted.bonafide_score and "localization" not in report["meta"]
    for wrong in ("why", ["coarse", "why"], 3, [3]):
        sent = client.post("/v1/inspect", json={"image": data_url(face_jpeg), "tasks": wrong})
        assert "tasks" in refused(sent, 422, "bad_fields")
    refused(client.post("/v1/inspect", files={"image": face_jpeg}, data={"tasks": "why"}), 422, "bad_fields")


def test_a_model_that_computes_no_number_is_not_the_photos_fault(checkpoint: Path, face_jpeg: bytes, wall_png: bytes) -> None:
    broken = FaceShieldPredictor.from_pretrained(checkpoint)
    app = create_app(broken)
    with TestClient(app) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        with torch.no_grad():
            broken.model.model.multi_modal_projector.linear_1.weight[0, 0] = math.nan
        sent = client.post("/v1/inspect", files={"image": face_jpeg}, data={"face": "whole"})
        assert client.get("/readyz").status_code == 503, "nobody should be sent here"
        with torch.no_grad():
            broken.model.model.multi_modal_projector.linear_1.weight[0, 0] = 0.0
        assert client.post("/v1/inspect", files={"image": face_jpeg}, data={"face": "whole"}).status_code == 200
        assert client.get("/readyz").status_code == 200
    assert "no number" in refused(sent, 500, "no_number")
    assert sent.json()["reports"][0]["status"] == "error"


def test_a_model_that_hangs_is_not_ready_until_it_goes_on(checkpoint: Path, face_jpeg: bytes) -> None:
    shield = FaceShieldPredictor.from_pretrained(checkpoint)
    many, free = shield.inspect_many, threading.Event()

    def hangs(*args: Any, **kwargs: Any) -> Any:
        assert free.wait(30)
        return many(*args, **kwargs)

    with TestClient(create_app(shield)) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        service = client.app.state.service  # type: ignore[attr-defined]
        service.batcher._patience_s = 0.2
        shield.inspect_many = hangs  # type: ignore[method-assign]
        asked = threading.Thread(target=client.post, args=("/v1/inspect",), kwargs={"files": {"image": face_jpeg}})
        asked.start()
        until = time.monotonic() + 30
        while (said := client.get("/readyz")).status_code == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert said.status_code == 503 and "busy with one batch" in said.json()["status"]
        free.set()
        asked.join()
        assert client.get("/readyz").status_code == 200


def test_a_model_that_fails_on_everything_is_not_ready_and_one_that_fails_on_a_photo_is(
    checkpoint: Path, face_jpeg: bytes
) -> None:
    shield = FaceShieldPredictor.from_pretrained(checkpoint)
    many, one = shield.inspect_many, shield.inspect

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with TestClient(create_app(shield), raise_server_exceptions=False) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        shield.inspect_many = fails  # type: ignore[method-assign]
        assert client.post("/v1/inspect", files={"image": face_jpeg}).status_code == 500
        assert client.get("/readyz").status_code == 200, "the photo's fault: the grey one is judged"
        shield.inspect = fails  # type: ignore[method-assign]
        assert client.post("/v1/inspect", files={"image": face_jpeg}).status_code == 500
        assert client.get("/readyz").status_code == 503
        shield.inspect_many, shield.inspect = many, one  # type: ignore[method-assign]
        until = time.monotonic() + 30  # nobody is sent here any longer: whoever asks for readiness has it tried again
        while client.get("/readyz").status_code != 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/inspect", files={"image": face_jpeg}).status_code == 200


def test_a_form_that_is_cut_is_no_form(client: TestClient, face_jpeg: bytes, wall_png: bytes) -> None:
    """One photo less would be answered than was sent."""
    request = client.build_request("POST", "/v1/inspect", files=[("images", ("a", wall_png)), ("images", ("b", face_jpeg))])
    whole, kind = request.read(), {"Content-Type": request.headers["content-type"]}
    assert len(client.post("/v1/inspect", content=whole, headers=kind).json()["reports"]) == 2
    for cut in (3, 30, 100, len(face_jpeg)):
        refused(client.post("/v1/inspect", content=whole[:-cut], headers=kind), 400, "bad_form")


def test_some_balancers_ask_for_the_head_alone(client: TestClient) -> None:
    assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200


def test_several_photos_come_back_in_order_and_a_bad_one_stops_no_other(
    client: TestClient, face_jpeg: bytes, wall_png: bytes
) -> None:
    photos = [wall_png, b"no picture", face_jpeg, face_jpeg[: len(face_jpeg) // 2], wall_png]
    answer = client.post("/v1/inspect", files=[("images", ("a", photo)) for photo in photos])
    assert answer.status_code == 200
    reports = answer.json()["reports"]
    assert [report["status"] for report in reports] == ["no_face", "error", "ok", "error", "no_face"]
    assert [report["image"] for report in reports] == [f"images[{number}]" for number in range(5)]
    assert "expected" in reports[1]["error"] and "truncated" in reports[3]["error"]


def test_whole_is_asked_for_in_both_ways(client: TestClient, wall_png: bytes) -> None:
    form = client.post("/v1/inspect", files={"image": ("a", wall_png)}, data={"face": "whole"})
    sent = client.post("/v1/inspect", json={"images": [data_url(wall_png)], "face": "whole"})
    assert form.json()["reports"] == sent.json()["reports"]
    assert form.json()["reports"][0]["status"] == "ok" and form.json()["reports"][0]["face"] is None


def test_what_is_refused(make_client: MakeClient, face_jpeg: bytes, wall_png: bytes) -> None:
    client = make_client(max_photos=2, max_body=200_000, max_pixels=220 * 220 - 1)
    photo = {"image": ("a", wall_png)}
    assert "48,399 pixels" in refused(client.post("/v1/inspect", files={"image": ("a", face_jpeg)}), 422, "bad_photo")
    refused(client.post("/v1/inspect", files=[("image", ("a", wall_png))] * 3), 413, "too_many_photos")
    refused(client.post("/v1/inspect", files=photo, data={"size": "all"}), 422, "unknown_field")
    refused(client.post("/v1/inspect", files={"x": ("a", wall_png)}), 422, "unknown_field")
    refused(client.post("/v1/inspect", files=photo, data={"face": "left"}), 422, "bad_fields")
    refused(client.post("/v1/inspect", files=photo, data={"tasks": ["coarse", "fine"]}), 422, "repeated_field")
    refused(client.post("/v1/inspect", files={"image": (None, b"abc")}), 422, "photo_as_text")
    refused(client.post("/v1/inspect", json={"images": []}), 422, "no_photo")
    refused(client.post("/v1/inspect", json={"image": "https://example.org/a.jpg"}), 422, "no_data_url")
    refused(client.post("/v1/inspect", json={"image": "file:///etc/passwd"}), 422, "no_data_url")
    refused(client.post("/v1/inspect", json={"image": "data:image/png;base64,@@"}), 422, "bad_data_url")
    refused(client.post("/v1/inspect", content=b"{", headers={"content-type": "application/json"}), 422, "bad_fields")
    deep = b'{"image":' + b"[" * 90_000
    refused(client.post("/v1/inspect", content=deep, headers={"content-type": "application/json"}), 422, "bad_fields")
    refused(client.post("/v1/inspect", content=wall_png, headers={"content-type": "image/png"}), 415, "bad_media_type")
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; boundary=" + "x" * 999):
        response = client.post("/v1/inspect", content=b"--y\r\nrubbish", headers={"content-type": kind})
        refused(response, 400, "bad_form")
    refused(client.get("/v1/inspect"), 405, "no_method")
    refused(client.get("/docs"), 404, "no_route")


def test_bytes_are_counted_whether_announced_or_not(make_client: MakeClient) -> None:
    client = make_client(max_body=5000)
    refused(client.post("/v1/inspect", content=bytes(5001)), 413, "body_too_large")

    def pieces() -> Iterator[bytes]:
        yield from [bytes(1000)] * 6

    refused(client.post("/v1/inspect", content=pieces()), 413, "body_too_large")
    assert client.app.state.service.bodies.held == 0  # type: ignore[attr-defined]


def test_a_length_beside_chunks_is_not_believed() -> None:
    """By HTTP the chunks decide: with `Content-Length: 1` beside them, any number of bodies would fit into the budget."""
    headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    budget = BodyBudget(Settings(max_body=5000, max_bodies=6000))
    with budget.hold(Request({"type": "http", "headers": headers})):
        assert budget.held == 5000


def test_of_a_refused_body_nothing_is_kept() -> None:
    """Whoever has no key could else fill the memory, which no budget counts."""
    left = 64

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": bytes(100_000), "more_body": left > 0}

    request = Request({"type": "http", "headers": []}, receive)
    tracemalloc.start()
    try:
        asyncio.run(discard_body(request, Settings()))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert left == 0 and most < 1_000_000


def test_a_key_with_a_number_sign_is_taken_whole(tmp_path: Path) -> None:
    """Cut off there, a shorter key would let people in, and the one that was given would not."""
    file = tmp_path / "keys.txt"
    file.write_text(f"# ours\n{KEY}#tail  # of the door\n\t# theirs\n")
    assert read_keys(file, {}) == (hash_key(f"{KEY}#tail"),)


def test_a_bomb_is_refused_by_its_header(client: TestClient) -> None:
    response = client.post("/v1/inspect", files={"image": ("a", png_header(30_000, 30_000))})
    assert "30,000 x 30,000 pixels is too large" in refused(response, 422, "bad_photo")
    assert response.json()["reports"][0]["status"] == "error"


def test_every_route_but_health_wants_a_key(make_client: MakeClient, wall_png: bytes) -> None:
    client = make_client(keys=(hash_key(KEY), hash_key(OTHER_KEY)))
    paths = {route.path for route in client.app.routes}  # type: ignore[attr-defined]
    assert {"/v1/inspect", "/metrics", "/openapi.json", "/healthz", "/readyz"} <= paths
    for path in (paths | {"/none"}) - {"/healthz", "/readyz"}:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}, {"X-API-Key": KEY[:-1]}):
            refused(client.get(path, headers=headers), 401, "unauthorized")
    assert client.get("/healthz").json() == {"status": "ok"}
    photo = {"image": ("a", wall_png)}
    refused(client.post("/v1/inspect", files=photo), 401, "unauthorized")
    for headers in ({"Authorization": f"bearer {OTHER_KEY}"}, {"X-API-Key": KEY}):
        assert client.post("/v1/inspect", files=photo, headers=headers).status_code == 200


def test_logs_tell_what_happened_and_nothing_that_was_sent(
    client: TestClient, wall_png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe in EXIF"
    buffer = io.BytesIO()
    Image.open(io.BytesIO(wall_png)).save(buffer, "JPEG", exif=exif)
    with caplog.at_level(logging.DEBUG):
        client.post("/v1/inspect?who=Jane+Doe", files={"image": ("Jane Doe.jpg", buffer.getvalue())})
        client.get("/Jane Doe")
        client.post("/v1/inspect", json={"image": "Jane Doe"})
    ours = [record for record in caplog.records if record.name.startswith(("faceshield", "uvicorn", "python_multipart"))]
    lines = [json.loads(JsonLines().format(record)) for record in ours]
    asked = [line for line in lines if line["event"] == "request" and line["route"] == "/v1/inspect"]
    assert [(line["status"], line.get("photos")) for line in asked] == [(200, 1), (422, None)]
    assert all(line["request_id"] and line["ms"] > 0 for line in asked)
    assert "Jane" not in json.dumps(lines)


def test_the_counters_count(client: TestClient, wall_png: bytes) -> None:
    def counts() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    before = counts()
    client.post("/v1/inspect", files=[("image", ("a", wall_png)), ("image", ("b", wall_png))])
    client.post("/v1/inspect", files={"image": ("a", b"")})
    after = counts()
    assert after["faceshield_queue_photos"] == 0 and after["process_resident_memory_bytes"] > 1e6
    for name, more in {
        'faceshield_requests_total{route="/v1/inspect",status="200"}': 1,
        'faceshield_requests_total{route="/v1/inspect",status="422"}': 1,
        'faceshield_refusals_total{code="bad_photo"}': 1,
        'faceshield_photos_total{accepted="no",verdict="no face"}': 2,
        'faceshield_photos_total{accepted="no",verdict="error"}': 1,
        'faceshield_request_seconds_count{route="/v1/inspect",status="200"}': 1,
        'faceshield_request_seconds_count{route="/v1/inspect",status="422"}': 1,
        "faceshield_batch_photos_count": 1,  # both together
        "faceshield_batch_photos_sum": 2,
    }.items():
        assert after[name] - before.get(name, 0) == more, name


def test_a_bona_fide_photo_that_is_not_accepted_counts_as_such_with_its_reasons() -> None:
    meters = Meters(lambda: 0)
    for reasons in ([], ["blurred", "too_dark"], ["blurred"]):
        meters.report(InspectionReport("", "ok", is_attack=False, quality_reasons=reasons))
    lines = meters.exposition().decode().splitlines()
    for line in (
        'faceshield_photos_total{accepted="yes",verdict="bona fide"} 1.0',
        'faceshield_photos_total{accepted="no",verdict="bona fide"} 2.0',
        'faceshield_quality_reasons_total{reason="blurred"} 2.0',
        'faceshield_quality_reasons_total{reason="too_dark"} 1.0',
    ):
        assert line in lines


def test_headers_are_read_two_at_a_time(wall_png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small PNG's may take 64 MiB, which no budget counts: twenty at once took 958."""
    reading: list[int] = []
    lock, running = threading.Lock(), [0]

    def problem(photo: bytes, settings: Settings) -> str:
        with lock:
            running[0] += 1
            reading.append(running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return "no — such — picture"

    class Nobody:
        model_info = {"name": "nobody"}

        def failed(self, error: Exception) -> InspectionReport:
            return InspectionReport("", "error", error=str(error))

    async def story() -> None:
        service = Service(Nobody(), Settings())  # type: ignore[arg-type]
        asked = [service.inspect(None, [wall_png], "whole") for _ in range(6)]
        await asyncio.gather(*asked, service.ask(None, wall_png, "Why?", "whole"), return_exceptions=True)

    monkeypatch.setattr("faceshield.serving.service.problem_of", problem)
    asyncio.run(story())
    assert len(reading) == 7 and max(reading) == 2


def test_a_threshold_that_does_not_hold_is_told_at_the_start(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    shield = FaceShieldPredictor.from_pretrained(checkpoint)
    shield.chosen_with = {"face": "detect", "keep_tokens": "3"}

    async def story() -> None:
        service = Service(shield, Settings())
        service.start()
        await service.stop()
        with contextlib.suppress(Abandoned):
            await service._warm

    with caplog.at_level(logging.INFO):
        asyncio.run(story())
    told = [json.loads(JsonLines().format(record)) for record in caplog.records if record.message == "threshold"]
    assert [line["level"] for line in told] == ["warning"] and "chosen with keep_tokens 3:" in told[0]["note"]


@pytest.mark.parametrize("prefix", ["/face", "/ui"])
def test_below_a_proxys_prefix_the_same_routes_want_a_key(make_client: MakeClient, prefix: str) -> None:
    app = make_client(keys=(hash_key(KEY),)).app
    below = TestClient(app, root_path=prefix)
    assert below.get(f"{prefix}/healthz").status_code == 200
    for path in ("/metrics", "/v1/inspect", "/openapi.json"):
        refused(below.get(prefix + path), 401, "unauthorized")
    assert below.get(f"{prefix}/metrics", headers={"X-API-Key": KEY}).status_code == 200


def test_openapi_describes_every_answer_with_examples(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    asked = schema["paths"]["/v1/inspect"]["post"]
    assert set(asked["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "400", "401", "408", "413", "415", "422", "429", "503"} <= set(asked["responses"])
    for name in ("InspectResponse", "ErrorResponse"):
        assert schema["components"]["schemas"][name]["examples"]
    keys = list(InspectionReport("images[0]", "no_face").to_dict())
    assert schema["components"]["schemas"]["Report"]["required"] == keys and keys[-1] == "accepted"
    assert "accepted" in schema["components"]["schemas"]["InspectResponse"]["examples"][0]["reports"][0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_bodies": 2**20}, "max_bodies 1048576 — expected at least max_body"),
        ({"queue": 15}, "queue 15 — expected at least 16"),
        ({"max_pixels": 10**9}, "max_pixels 1000000000 — expected at most"),
        ({"batch_wait_s": 1.5}, "batch_wait_s 1.5"),
        ({"timeout_s": 0.0}, "timeout_s 0.0"),
        ({"batch_size": 0}, "batch_size 0"),
    ],
)
def test_limits_that_would_refuse_everybody_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**options)


def test_at_the_end_who_waits_is_told_within_the_time_to_drain(wall_png: bytes) -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow:
        model_info = {"name": "slow"}

        def threshold_notes(self) -> list[str]:
            return []

        def inspect_many(self, items: list[Any], **_: Any) -> list[Any]:
            begun.set()
            go.wait(20)
            return items

    async def story() -> None:
        service = Service(Slow(), Settings(drain_s=1.2))  # type: ignore[arg-type]
        service.start()  # with the first picture, which warms it up, it is busy to the end
        await asyncio.to_thread(begun.wait, 20)
        waits = asyncio.ensure_future(service.inspect(None, [wall_png], "whole"))
        while not service.batcher.waiting:
            await asyncio.sleep(0.01)
        service.drain()
        try:
            with pytest.raises(Refusal, match="this service is stopping"):
                await asyncio.wait_for(waits, 5)
        finally:
            go.set()
            await service.stop()
            with contextlib.suppress(Abandoned):
                await service._warm

    asyncio.run(story())


def test_the_example_of_a_client(
    make_client: Callable[..., TestClient], face_jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """`examples/client.py`, its requests as it makes them, answered by the application itself."""
    client = make_client(keys=(hash_key("secret"),))

    def answered(request: urllib.request.Request, timeout: float) -> io.BytesIO:
        path = request.full_url.removeprefix("http://127.0.0.1:8000")
        answer = client.post(path, content=request.data, headers=dict(request.header_items()))
        if answer.status_code >= 400:
            raise urllib.error.HTTPError(path, answer.status_code, "", answer.headers, io.BytesIO(answer.content))
        return io.BytesIO(answer.content)

    photo = tmp_path / "face.jpg"
    photo.write_bytes(face_jpeg)
    monkeypatch.setattr(urllib.request, "urlopen", answered)
    monkeypatch.setattr(sys, "argv", ["client.py", str(photo)])
    example = Path(__file__).parents[2] / "examples" / "client.py"
    for key, code, shown in (
        ("wrong", 1, r"error: .*key"),
        ("secret", 0, r"face\.jpg\t(not )?accepted\t(attack|bona fide).*\t0\.\d{3}\t"),
    ):
        monkeypatch.setenv("FACESHIELD_API_KEY", key)
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(example), run_name="__main__")
        assert ended.value.code == code
        assert re.search(shown, capsys.readouterr().out)
    gateway = urllib.error.HTTPError("/", 502, "Bad Gateway", {}, io.BytesIO(b"<html>"))  # type: ignore[arg-type]
    assert runpy.run_path(str(example))["said"](gateway) == "502 Bad Gateway"
