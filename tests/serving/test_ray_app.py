"""`serve --engine ray`: the plain service's answers, keys and limits; a killed replica loses nobody; nothing sent is logged."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ray_cluster

pytest.importorskip("grpc", reason="Ray Serve is not installed — type: pip install -e '.[serve,ray]'")

import httpx2 as httpx

if TYPE_CHECKING:
    from faceshield.predictor import FaceShieldPredictor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
KEY = "a-key-of-the-tests-0123"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
MAX_BODY = 200_000
OPTIONS = {"queue": 16, "max_body": MAX_BODY, "max_pixels": 220 * 220}


@dataclass
class Served:
    """A running `faceshield serve --engine ray`."""

    process: subprocess.Popen[bytes]
    url: str
    logs: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=WITH_KEY, timeout=300)

    def replicas(self) -> list[int]:
        below = ray_cluster.descendants(self.process.pid)
        return sorted(found for found in ray_cluster.processes("ray::ServeReplica") if found in below)


@contextmanager
def running(*arguments: str) -> Iterator[Served]:
    """Python with these arguments, once it listens; its cluster's files are in a folder of their own."""
    logs = Path(tempfile.mkdtemp(prefix="fs-ray-"))  # short: Ray puts sockets below it
    environment = {**os.environ, "RAY_TMPDIR": str(logs)}
    environment.setdefault("RAY_worker_register_timeout_seconds", "600")  # this machine may do other things as well
    said = logs / "said"

    def listening() -> list[Any]:
        return [line for line in map(json.loads, said.read_text().splitlines()) if line["event"] == "listening"]

    process = None
    try:
        # Ray gives its own processes half a minute to start, which is too little on a busy machine.
        while process is None or (process.poll() is not None and "Ray does not start" in said.read_text()):
            with said.open("w") as out:
                process = subprocess.Popen([sys.executable, *arguments], stderr=out, env=environment)
            ended = process.poll
            ray_cluster.wait_for(lambda ended=ended: ended() is not None or "listening" in said.read_text(), 1200)
        assert process.poll() is None, said.read_text()
        (line,) = listening()  # and every other line is JSON too
        yield Served(process, f"http://{line['addresses'][0]}", logs)
    finally:
        if process is not None:
            if process.poll() is None:
                process.terminate()
            process.wait(300)
        shutil.rmtree(logs, ignore_errors=True)


@pytest.fixture(scope="module")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(KEY)
    command = [
        *("-m", "faceshield", "serve", "--engine", "ray", "--replicas", "2", "--port", "0", "--offline"),
        *("--model", str(checkpoint), "--api-keys", str(keys), "--queue", str(OPTIONS["queue"])),
        *("--max-body-mb", str(MAX_BODY / 2**20), "--max-megapixels", str(OPTIONS["max_pixels"] / 1e6)),
    ]
    with running(*command) as found:
        yield found


def data_url(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def test_answers_are_the_predictors_own(served: Served, shield: FaceShieldPredictor, face_jpeg: bytes) -> None:
    expected = {**shield.inspect(face_jpeg).to_dict(), "image": "images[0]"}
    expected["model"] = {**expected["model"], "name": "toy"}
    with served.client() as client:
        form = client.post("/v1/inspect", files={"image": ("Jane Doe.jpg", face_jpeg)})
        assert form.status_code == 200 and form.json()["reports"] == [expected]
        sent = client.post("/v1/inspect", json={"image": data_url(face_jpeg)}, headers={"X-Request-ID": "mine-1"})
        assert sent.json() == {"request_id": "mine-1", "reports": [expected]}
        assert sent.headers.get_list("x-request-id") == ["mine-1"] and sent.headers["cache-control"] == "no-store"
        question = {"type": "text", "text": "Is there a paper edge?"}
        photo = {"type": "image_url", "image_url": {"url": data_url(face_jpeg)}}
        asked = {"model": "toy", "messages": [{"role": "user", "content": [question, photo]}]}
        answer = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
        assert answer == shield.ask(face_jpeg, question["text"], face="detect")
        with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as streamed:
            events = [line.removeprefix("data: ") for line in streamed.iter_lines() if line]
        pieces = [json.loads(event)["choices"] for event in events[:-1]]
        assert events[-1] == "[DONE]"
        assert "".join(piece[0]["delta"].get("content") or "" for piece in pieces if piece) == answer


def test_keys_limits_and_refusals_are_the_plain_services(
    served: Served, make_client: Callable[..., Any], face_jpeg: bytes, wall_png: bytes
) -> None:
    from faceshield.serving.settings import hash_key

    plain = make_client(keys=(hash_key(KEY),), **OPTIONS)
    photo = {"image": ("a", wall_png)}
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/inspect", {"files": photo, "headers": {"Authorization": "Bearer wrong"}}),
        ("GET", "/metrics", {"headers": {"Authorization": ""}}),
        ("GET", "/Jane Doe", {"headers": {"Authorization": ""}}),
        ("GET", "/Jane Doe", {}),
        ("GET", "/v1/inspect", {}),
        ("POST", "/v1/inspect", {"files": {"image": ("a", b"no picture")}}),
        ("POST", "/v1/inspect", {"files": [("image", ("a", wall_png))] * 17}),
        ("POST", "/v1/inspect", {"files": photo, "data": {"size": "all"}}),
        ("POST", "/v1/inspect", {"json": {"image": "https://example.org/a.jpg"}}),
        ("POST", "/v1/inspect", {"content": b"{", "headers": {"Content-Type": "application/json"}}),
        ("POST", "/v1/inspect", {"content": b"--y\r\nrubbish", "headers": broken}),
        ("POST", "/v1/inspect", {"content": wall_png, "headers": {"Content-Type": "image/png"}}),
        ("POST", "/v1/inspect", {"files": {"image": ("a", face_jpeg)}, "headers": {"X-Request-ID": "Jane Doe"}}),
    ]
    statuses = []
    with served.client() as client:
        for method, path, options in asks:
            found = client.request(method, path, **options)
            expected = plain.request(method, path, **{**options, "headers": {**WITH_KEY, **options.get("headers", {})}})
            statuses.append(found.status_code)
            assert (found.status_code, without_id(found)) == (expected.status_code, without_id(expected)), (method, path)
            assert found.headers.get_list("x-request-id") != ["Jane Doe"] and len(found.headers.get_list("x-request-id")) == 1
        assert set(statuses) == {200, 400, 401, 404, 405, 413, 415, 422}
        # A body that is too long is refused by its head.
        raw = http.client.HTTPConnection(*served.url.removeprefix("http://").split(":"), timeout=300)
        raw.putrequest("POST", "/v1/inspect")
        raw.putheader("Content-Length", str(MAX_BODY + 1))
        raw.endheaders()
        answer = raw.getresponse()
        assert answer.status == 413 and json.loads(answer.read())["error"]["code"] == "body_too_large"
        raw.close()
        assert client.get("/healthz", headers={"Authorization": ""}).json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}


def without_id(response: Any) -> Any:
    body = response.json()
    body.get("error", body).pop("request_id")
    return body


def test_the_numbers_are_those_of_all_replicas(served: Served, wall_png: bytes) -> None:
    def counts() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def photos(found: dict[str, float]) -> float:
        return sum(value for name, value in found.items() if name.startswith("faceshield_photos_total{") and "no face" in name)

    with served.client() as client:
        before = photos(counts())
        for _ in range(4):
            assert client.post("/v1/inspect", files=[("image", ("a", wall_png))] * 2).status_code == 200
        found = counts()
    assert photos(found) == before + 8
    assert len([name for name in found if name.startswith("faceshield_queue_photos{replica=")]) == 2


class Load:
    """Clients that ask one after another until told to stop; what became of each request."""

    def __init__(self, served: Served, photo: bytes, clients: int = 6) -> None:
        self.outcomes: list[tuple[float, str, Any]] = []
        self._stop = threading.Event()
        self._served, self._photo = served, photo
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        while not self._stop.is_set():
            self.outcomes.append(self._ask())

    def _ask(self) -> tuple[float, str, Any]:
        started = time.monotonic()
        try:
            with self._served.client() as client:
                answer = client.post("/v1/inspect", files={"image": ("a", self._photo)})
            code = "ok" if answer.status_code == 200 else answer.json()["error"]["code"]
            return started, f"{answer.status_code} {code}", answer.json()
        except httpx.TransportError as error:
            return started, type(error).__name__, None

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(400)
        assert not any(thread.is_alive() for thread in self._threads), "a request hangs"

    def answered(self) -> int:
        return sum(kind == "200 ok" for _, kind, _ in self.outcomes)


def test_a_killed_replica_loses_nobody_and_another_takes_its_place(
    served: Served, shield: FaceShieldPredictor, face_jpeg: bytes
) -> None:
    expected = shield.inspect(face_jpeg).to_dict()
    with Load(served, face_jpeg) as load:
        ray_cluster.wait_for(lambda: load.answered() >= 10, 600)
        victim, other = served.replicas()
        ray_cluster.kill(victim)
        killed = time.monotonic()
        ray_cluster.wait_for(lambda: load.answered() >= 20, 600)
        ray_cluster.wait_for(lambda: len(served.replicas()) == 2 and victim not in served.replicas(), 600)
        with served.client() as client:
            ray_cluster.wait_for(lambda: client.get("/metrics").text.count("faceshield_queue_photos{") == 2, 600)
        back = load.answered()
        ray_cluster.wait_for(lambda: load.answered() >= back + 20, 600)
    kinds = Counter(kind for _, kind, _ in load.outcomes)
    # Every request has an answer or an error in our words; those that the victim had say so.
    assert set(kinds) <= {"200 ok", "503 replica_lost"}, kinds
    assert 1 <= kinds["503 replica_lost"] <= 6
    for started, kind, body in load.outcomes:
        if kind == "200 ok":
            assert body["reports"][0]["bonafide_score"] == pytest.approx(expected["bonafide_score"], abs=1e-5)
            assert body["reports"][0]["reasoning"] == expected["reasoning"]
        else:
            assert started <= killed + 30
    assert other in served.replicas()


def test_nothing_that_was_sent_is_in_rays_files(served: Served, face_jpeg: bytes) -> None:
    with served.client() as client:
        named = {"image": ("Jane Doe.jpg", face_jpeg)}
        assert client.post("/v1/inspect?who=Jane+Doe", files=named, headers={"X-Request-ID": "Jane/Doe"}).status_code == 200
        assert client.get("/Jane/Doe").status_code == 404
    files = [path for path in served.logs.rglob("*") if path.is_file()]
    text = [path.read_bytes() for path in files]
    assert sum(b'"route": "/v1/inspect"' in part for part in text) >= 2  # our own lines are there, of both replicas
    marks = [b"Jane", face_jpeg[200:232], base64.b64encode(face_jpeg)[300:332], KEY.encode()]
    assert not [(path, mark) for path, part in zip(files, text, strict=True) for mark in marks if mark in part]


def test_photos_are_not_put_into_the_object_store_which_spills_to_disk(served: Served) -> None:
    def created() -> list[str]:
        """Bytes ever put there, as Ray tells once a minute."""
        (file,) = served.logs.rglob("raylet.out")
        return re.findall(r"num bytes created total: (\d+)", file.read_text(errors="replace"))

    with served.client() as client:
        for _ in range(4):
            large = {"image": ("a", os.urandom(MAX_BODY - 1000))}
            assert client.post("/v1/inspect", files=large).status_code == 422
    told = len(created())
    ray_cluster.wait_for(lambda: len(created()) > told, 200)
    # Ray and Serve put a few things of their own there (115 kB in all), but nothing as large as one of the four photos.
    assert max(map(int, created())) < MAX_BODY - 1000


def test_at_the_end_what_was_accepted_is_answered(served: Served, face_jpeg: bytes) -> None:
    with Load(served, face_jpeg) as load:
        ray_cluster.wait_for(lambda: load.answered() >= 10, 600)
        time.sleep(1.5)  # for what is begun more than a second before the end must be answered, and a fast machine had none
        served.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        ray_cluster.wait_for(lambda: served.process.poll() is not None, 300)
    assert served.process.returncode == 0
    before = Counter(kind for started, kind, _ in load.outcomes if started < told - 1)
    assert set(before) == {"200 ok"}, before
    after = Counter(kind for started, kind, _ in load.outcomes if started >= told - 1)
    gone = {"ConnectError", "ReadError", "RemoteProtocolError"}
    assert set(after) <= {"200 ok", "503 no_replica", "503 replica_lost"} | gone, after
    assert not served.replicas()


SCALING = """
import sys
from faceshield.serving import Settings
from faceshield.serving.ray_app import Scale, run
scale = Scale(1, 2, target_requests=1, upscale_delay_s=1, downscale_delay_s=1)
run(sys.argv[1], Settings(batch_size=1), scale, host="127.0.0.1", port=0)
"""


def test_more_replicas_come_with_load_and_go_without_losing_a_request(checkpoint: Path, face_jpeg: bytes) -> None:
    with running("-c", SCALING, str(checkpoint)) as served:
        assert len(served.replicas()) == 1
        with Load(served, face_jpeg, clients=1) as one:
            with Load(served, face_jpeg, clients=6) as more:
                ray_cluster.wait_for(lambda: len(served.replicas()) == 2, 600)
            ray_cluster.wait_for(lambda: len(served.replicas()) == 1, 900)
            after = one.answered()
            ray_cluster.wait_for(lambda: one.answered() > after + 3)
    kinds = Counter(kind for load in (one, more) for _, kind, _ in load.outcomes)
    assert set(kinds) == {"200 ok"}, kinds


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceshield", "serve", "--engine", "ray", "--port", "0", "--model", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "none") in line and " — " in line
