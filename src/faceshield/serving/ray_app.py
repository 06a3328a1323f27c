"""The service on Ray Serve: replicas of the same application behind Ray's HTTP proxies.

Each replica has its own model, queue, batches and limits. Ray sends each request to the less busy of two replicas, replaces
replicas that die, and starts more under load. /metrics collects from all of them.
Use: `run("tiny", Settings(), Scale(replicas=2), host="127.0.0.1", port=8000)`; returns after SIGTERM or SIGINT.
"""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from faceshield.engines import join_ray
from faceshield.extras import missing
from faceshield.serving import Settings, create_app
from faceshield.serving.door import LIMITS_VARIABLE
from faceshield.serving.observe import LOG, log_json_lines
from faceshield.serving.server import check_free
from faceshield.serving.service import Service, keep_what_is_loaded

try:
    import ray
    from ray import serve
except ImportError as error:
    raise missing("replicas", "serve,ray") from error

NAME = "faceshield"
_PATIENCE_S = 5  # how much longer a proxy waits than its replicas
_WATCH_S = 5
_SLOW_START_S = 120
_NUMBERS_S = 10


@dataclass(frozen=True)
class Scale:
    """How many replicas there are, and what each gets.

    Attributes:
        replicas: number at the start, and the least at any time.
        max_replicas: most replicas under load; None: always `replicas`.
        target_requests: requests per replica, running and queued, that scaling aims for; None: the photos of one batch.
        upscale_delay_s: seconds of higher load before replicas are added.
        downscale_delay_s: seconds of lower load before replicas are removed.
        cpus: cores of each replica; its torch uses that many threads.
        gpus: GPUs of each replica; with a fraction, replicas share one.
    """

    replicas: int = 1
    max_replicas: int | None = None
    target_requests: float | None = None
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.replicas <= self.most:
            raise ValueError(
                f"replicas {self.replicas}, max_replicas {self.most} — expected 1 or more, and no more than the maximum — "
                "correct one of them"
            )

    @property
    def most(self) -> int:
        """Most replicas at any time."""
        return self.replicas if self.max_replicas is None else self.max_replicas


class _Replica:
    """What Ray and other replicas call on a replica, apart from requests."""

    app: FastAPI  # from `serve.ingress`

    async def check_health(self) -> None:
        """Called before the first request and then periodically; a replica that raises is replaced."""
        service: Service = self.app.state.service
        await service.ready()
        keep_what_is_loaded()

    async def numbers(self) -> tuple[str, str]:
        """The replica's id, and its own metrics in Prometheus text format."""
        service: Service = self.app.state.service
        return serve.get_replica_context().replica_id.unique_id, service.meters.exposition().decode()


def application(
    model: str,
    settings: Settings,
    scale: Scale,
    *,
    keep_tokens: int | None = None,
    add_page: Callable[[FastAPI], FastAPI] | None = None,
) -> serve.Application:
    """The application to pass to `serve.run`.

    Args:
        model: "tiny", a checkpoint folder (under this path on every machine), or a hub id.
        settings: API keys, and the limits of each replica.
        scale: how many replicas.
        keep_tokens: see `FaceShieldPredictor`.
        add_page: called with each replica's application; returns it with the page.
    """

    def build() -> FastAPI:
        from faceshield.predictor import FaceShieldPredictor

        log_json_lines()
        app = create_app(FaceShieldPredictor.from_pretrained(model, keep_tokens=keep_tokens), settings, exposition=_all_numbers)
        return app if add_page is None else add_page(app)

    if scale.max_replicas is None:
        count: dict[str, Any] = {"num_replicas": scale.replicas}
    else:
        count = {
            "autoscaling_config": {
                "min_replicas": scale.replicas,
                "max_replicas": scale.max_replicas,
                "target_ongoing_requests": scale.target_requests or settings.batch_size,
                "upscale_delay_s": scale.upscale_delay_s,
                "downscale_delay_s": scale.downscale_delay_s,
            }
        }
    room = settings.queue + settings.batch_size  # photos, and so requests at most; a replica's own limit refuses before
    deployment = serve.deployment(
        serve.ingress(build)(_Replica),
        name=NAME,
        max_ongoing_requests=2 * room,  # includes requests whose body is still arriving
        max_queued_requests=room,
        backpressure_config={"status_code": 429},
        graceful_shutdown_timeout_s=settings.drain_s,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        max_constructor_retry_count=3,
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
        **count,
    )
    return deployment.bind()


async def _all_numbers() -> bytes:
    handle = serve.get_deployment_handle(NAME, NAME)
    found = await handle.broadcast("numbers").results_async(timeout_s=_NUMBERS_S, return_exceptions=True)
    return merge_expositions(dict(one for one in found if not isinstance(one, BaseException)))


def merge_expositions(texts: Mapping[str, str]) -> bytes:
    """Merge the Prometheus texts of several replicas; every sample gets the label `replica`."""
    families: dict[str, Metric] = {}
    for replica, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            merged.samples += [sample._replace(labels={**sample.labels, "replica": replica}) for sample in family.samples]

    class Collector:
        def collect(self) -> Iterator[Metric]:
            yield from families.values()

    registry = CollectorRegistry()
    registry.register(Collector())  # type: ignore[arg-type]
    return generate_latest(registry)


def run(
    model: str,
    settings: Settings,
    scale: Scale,
    *,
    host: str,
    port: int,
    keep_tokens: int | None = None,
    add_page: Callable[[FastAPI], FastAPI] | None = None,
    offline: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; then accept nothing new and give each replica `drain_s` to finish what it accepted.

    Runs on the cluster of RAY_ADDRESS, where replicas outlive a killed command, or else on a cluster of its own.

    Raises:
        ValueError: no replica starts, there is no such GPU, or the address or port cannot be used.
        OSError: no cluster answers.
    """
    log_json_lines()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if Path(model).is_dir():
        model = str(Path(model).resolve())  # workers may have another working directory
    ours = not os.environ.get("RAY_ADDRESS")
    if ours:  # Ray's own proxies would share a port that is taken already
        check_free(host, port)
        port = port or _any_port(host)
    with join_ray(cores=math.ceil(scale.most * scale.cpus), gpus=scale.gpus, variables=_variables(settings, scale, offline)):
        if serve.status().proxies:
            LOG.warning("joined", extra={"fields": {"what": "Serve runs here already: its address and limits hold, not ours"}})
        serve.start(
            http_options={
                "host": host,
                "port": port,
                "request_timeout_s": settings.body_timeout_s + settings.timeout_s + _PATIENCE_S,
                "keep_alive_timeout_s": 20,
            },
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        with _signals() as stop:
            try:
                serve.run(application(model, settings, scale, keep_tokens=keep_tokens, add_page=add_page), name=NAME)
            except RuntimeError as error:
                raise ValueError(
                    f"no replica could start: {_cause(str(error))} — expected {scale.replicas} — fix the cause and start again"
                ) from error
            LOG.info("listening", extra={"fields": {"addresses": [f"{host}:{port}"], "replicas": scale.replicas}})
            _watch(stop)
            LOG.info("draining")
            serve.delete(NAME, _blocking=False)
            end = time.monotonic() + settings.drain_s + 2 * _PATIENCE_S
            while NAME in serve.status().applications and time.monotonic() < end:
                time.sleep(0.2)


def _variables(settings: Settings, scale: Scale, offline: bool) -> dict[str, str]:
    """Environment variables for proxies and replicas."""
    bodies = settings.max_bodies * scale.most
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "faceshield.serving.door:middlewares",
        LIMITS_VARIABLE: f"{settings.max_body},{bodies}",
        # Keep photos in messages between processes: larger ones would go through Ray's object store, which spills to disk.
        "RAY_max_direct_call_object_size": str(2 * settings.max_body),
        "RAY_task_rpc_inlined_bytes_limit": str(2 * settings.max_body),
        # On a busy machine a proxy takes longer to load Python than the few seconds after which Ray would kill it.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": str(_SLOW_START_S),
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": str(_SLOW_START_S),
        # Time for a replica to report its queue length to a proxy while its Python process is busy with the model.
        "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "1",
        **({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"} if offline else {}),
    }


def _any_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        return int(found.getsockname()[1])


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(stop: threading.Event) -> None:
    """Log changes of the application's status, until `stop` is set or somebody else has deleted the application."""
    told = "RUNNING"
    while not stop.wait(_WATCH_S):
        try:
            found = serve.status().applications.get(NAME)
        except ray.exceptions.RayError:  # Ray is restarting its controller
            continue
        status = "DELETED" if found is None else str(found.status.value)
        if status != told:
            LOG.warning("status", extra={"fields": {"from": told, "to": status}})
            told = status
        if found is None:
            return


def _cause(words: str) -> str:
    """The line of the last error in a report from Ray that contains tracebacks."""
    lines = re.findall(r"^[ ]*((?:\w+\.)*\w*(?:Error|Exception): .+)$", words, re.MULTILINE)
    return str(lines[-1]) if lines else words.strip().splitlines()[-1]
