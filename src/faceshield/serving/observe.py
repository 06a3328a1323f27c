"""What an operator sees: Prometheus metrics and one JSON log line per request, never its pictures, names or words.

Use: `meters = Meters(waiting=lambda: 0)`, `meters.exposition()`; `log_json_lines()` once per process.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from faceshield.inspection import InspectionReport

LOG = logging.getLogger("faceshield.serving")
EXPOSITION = CONTENT_TYPE_LATEST
DROPPED = Counter("faceshield_connections_dropped", "Connections ended below the application.", ["why"], registry=None)
"""Of the whole process, as connections belong to no application: `bad_http`, `slow_head`, `too_many`."""
for _why in ("bad_http", "slow_head", "too_many"):
    DROPPED.labels(_why)
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120)


class Meters:
    """The metrics of one application, in a registry of their own.

    Args:
        waiting: returns the number of photos in the queue.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(DROPPED)
        self.requests = Counter("faceshield_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.refusals = Counter("faceshield_refusals", "Requests refused, by the error's code.", ["code"], registry=registry)
        self.abandoned = Counter("faceshield_clients_gone", "Clients that disconnected before the response.", registry=registry)
        self.photos = Counter("faceshield_photos", "Photos inspected, by verdict.", ["verdict", "accepted"], registry=registry)
        self.reasons = Counter(
            "faceshield_quality_reasons", "Photos too bad to rely on the verdict, by reason.", ["reason"], registry=registry
        )
        self.seconds = Histogram(
            "faceshield_request_seconds",
            "Seconds from a request's head to its response.",
            ["route", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_photos = Histogram(
            "faceshield_batch_photos", "Photos of one batch.", buckets=(1, 2, 4, 8, 16, 32), registry=registry
        )
        self.batch_seconds = Histogram(
            "faceshield_batch_seconds", "Of one batch in the model.", buckets=_SECONDS, registry=registry
        )
        queue = Gauge("faceshield_queue_photos", "Photos that wait for the model.", registry=registry)
        queue.set_function(lambda: float(waiting()))

    def report(self, report: InspectionReport) -> None:
        """Record an inspected photo."""
        self.photos.labels(report.verdict, "yes" if report.accepted else "no").inc()
        for reason in report.quality_reasons:
            self.reasons.labels(reason).inc()

    def batch(self, photos: int, seconds: float) -> None:
        """Record a finished batch."""
        self.batch_photos.observe(photos)
        self.batch_seconds.observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in Prometheus text format; the media type is `EXPOSITION`."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; pass further fields as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Logs an exception's type and source lines, but not its message, which may repeat what a client sent."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            entry["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        return json.dumps(entry, ensure_ascii=True)


def log_json_lines() -> None:
    """Send the logs of the service and of uvicorn to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in ("faceshield.serving", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name != "uvicorn.error" else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(logging.INFO)
    for name in ("python_multipart", "PIL", "asyncio"):  # their messages may repeat what a client sent
        logging.getLogger(name).setLevel(logging.CRITICAL)
