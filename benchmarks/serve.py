"""Compares the service with the offline batch on the same weights: saturation, half load, overload, memory, a PNG bomb.

python benchmarks/serve.py [--model tiny] [--photos 24] [--overload-s 60] [--out FILE]
python benchmarks/serve.py --endurance 10000 [--model tiny]     (valid requests only: does memory grow?)
python benchmarks/serve.py --replicas [--model tiny]            (two replicas on Ray against one, of one thread each)

The service runs in its own process on 127.0.0.1; the clients are threads of this one. They compete for core time, just as the
offline run competes with its own input. Everything is bounded in count and in time.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import http.client
import io
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image, ImageEnhance
from skimage.data import astronaut

from faceshield import FaceShieldPredictor


def photos(count: int) -> list[bytes]:
    """JPEG files of the astronaut, each a little brighter than the previous one."""
    files, picture = [], Image.fromarray(astronaut())
    for number in range(count):
        buffer = io.BytesIO()
        ImageEnhance.Brightness(picture).enhance(0.8 + 0.4 * number / count).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def bomb(side: int) -> bytes:
    """A PNG file that claims side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b"")


class Service:
    """`faceshield serve` on a free port of this machine."""

    def __init__(self, model: str, *options: str) -> None:
        command = [sys.executable, "-m", "faceshield", "serve", "--model", model, "--port", "0", "--offline", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = ""
        for said in self.process.stderr:
            if found := re.search(r'127\.0\.0\.1:(\d+)"\]', said):
                break
        else:
            raise RuntimeError(f"the service ended before it listened: {said.strip()}")
        self.port = int(found[1])
        threading.Thread(target=self._swallow, daemon=True).start()
        for _ in range(600):
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.2)
        raise RuntimeError("the service was not ready after two minutes")

    def _swallow(self) -> None:
        assert self.process.stderr is not None
        for _ in self.process.stderr:
            continue

    def _ask(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, bytes, float]:
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read(), time.perf_counter() - started
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, bytes, float]:
        return self._ask("GET", path, b"", "text/plain")

    def inspect(self, photo: bytes) -> tuple[int, bytes, float]:
        """Status, body and seconds of one photo."""
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        return self._ask("POST", "/v1/inspect", head + photo + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")

    def resident_mib(self) -> float:
        found = re.search(r"^process_resident_memory_bytes (\S+)", self.get("/metrics")[1].decode(), re.MULTILINE)
        assert found is not None
        return float(found[1]) / 2**20

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(120)


def offline_rate(shield: FaceShieldPredictor, files: list[bytes], batch: int) -> float:
    """Photos per second with `inspect_many`."""
    started = time.perf_counter()
    reports = list(shield.inspect_many(files, batch_size=batch))
    assert all(report.status == "ok" for report in reports)
    return len(files) / (time.perf_counter() - started)


def saturate(service: Service, files: list[bytes], clients: int) -> float:
    """Photos per second with `clients` clients that always have the next photo ready."""
    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(service.inspect, files))
    assert all(status == 200 for status, _, _ in answers), Counter(status for status, _, _ in answers)
    return len(files) / (time.perf_counter() - started)


def arrive(service: Service, files: list[bytes], rate: float, seconds: float) -> list[tuple[int, float]]:
    """(status, seconds) of photos that arrive evenly at `rate` per second, whether or not earlier ones were answered."""
    count = max(1, int(rate * seconds))
    answers: list[tuple[int, float]] = []
    with ThreadPoolExecutor(min(count, 128)) as pool:
        started = time.perf_counter()
        waiting = []
        for number in range(count):
            time.sleep(max(0.0, started + number / rate - time.perf_counter()))
            waiting.append(pool.submit(service.inspect, files[number % len(files)]))
        for one in waiting:
            status, _, taken = one.result()
            answers.append((status, taken))
    return answers


@contextlib.contextmanager
def watched(service: Service, every_s: float = 5) -> Iterator[list[float]]:
    """Resident MiB of the service when the context is entered, every `every_s` seconds within it, and when it is left."""
    resident, over = [service.resident_mib()], threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
            resident.append(service.resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield resident
    finally:
        over.set()
        watcher.join()
        resident.append(service.resident_mib())


def endure(service: Service, files: list[bytes], count: int, clients: int) -> dict[str, Any]:
    """Resident MiB after every tenth of `count` valid requests; the first tenth is the warm-up."""
    resident, started = [], time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for _ in range(10):
            answers = list(pool.map(service.inspect, (files[number % len(files)] for number in range(count // 10))))
            assert all(status == 200 for status, _, _ in answers), Counter(status for status, _, _ in answers)
            resident.append(service.resident_mib())
    growth = resident[-1] / resident[0] - 1
    return {"n": count // 10 * 10, "seconds": time.perf_counter() - started, "resident_mib": resident, "growth": growth}


def replicate(files: list[bytes], options: argparse.Namespace) -> dict[str, Any]:
    """Photos per second of one replica and of two, alternating, each saturated; and the ratio of each round."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(2):
        for count, found in rates.items():
            many = ("--replicas", str(count), "--batch-size", str(options.batch), "--queue", str(max(16, 4 * options.batch)))
            service = Service(options.model, "--engine", "ray", *many)
            try:
                saturate(service, files[: 2 * options.batch], 2 * options.batch)
                found.append(saturate(service, files, 2 * options.batch * count))
            finally:
                service.stop()
    return {"per_s": rates, "two_over_one": [two / one for one, two in zip(rates[1], rates[2], strict=True)]}


def high(values: list[float], share: float) -> float:
    """The quantile; for few values, the next value above it."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(service: Service, files: list[bytes], options: argparse.Namespace) -> dict[str, Any]:
    """Measures saturation, half load, overload and the PNG bomb."""
    found: dict[str, Any] = {}
    shield = FaceShieldPredictor.from_pretrained(options.model)
    shield.inspect(files[0])
    gc.collect()
    gc.freeze()  # otherwise collections over torch's objects in this process would make answers seem 0.15 s late
    found["single_s"] = statistics.median([_timed(shield, photo) for photo in files[:5]])
    saturate(service, files[: options.batch], options.batch)
    # Twice, alternating: the machine's other load changes from minute to minute.
    rates = [(offline_rate(shield, files, options.batch), saturate(service, files, 2 * options.batch)) for _ in range(2)]
    found["offline_per_s"], found["service_per_s"] = (statistics.mean(column) for column in zip(*rates, strict=True))
    found["saturation_share"] = found["service_per_s"] / found["offline_per_s"]

    answers = arrive(service, files, found["service_per_s"] / 2, options.half_load_s)
    found["half_load"] = {"n": len(answers), "statuses": Counter(str(status) for status, _ in answers)}
    times = [taken for _, taken in answers]
    found["half_load"] |= {"p50_s": high(times, 0.5), "p99_s": high(times, 0.99)}
    found["half_load"]["p99_over_single"] = high(times, 0.99) / found["single_s"]

    with watched(service) as resident:
        answers = arrive(service, files, 10 * found["service_per_s"], options.overload_s)
    refused = [taken for status, taken in answers if status == 429]
    found["overload"] = {
        "n": len(answers),
        "statuses": Counter(str(status) for status, _ in answers),
        "refused_p50_ms": 1000 * high(refused, 0.5) if refused else None,
        "refused_p99_ms": 1000 * high(refused, 0.99) if refused else None,
        "refused_worst_ms": 1000 * max(refused) if refused else None,
        "refused_over_100_ms": sum(taken > 0.1 for taken in refused),
        "resident_mib": resident,
    }

    before, data = service.resident_mib(), bomb(30_000)
    status, _, taken = service.inspect(data)
    found["bomb"] = {"status": status, "ms": 1000 * taken, "more_mib": service.resident_mib() - before}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the service.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--overload-s", type=float, default=60)
    parser.add_argument("--half-load-s", type=float, default=60)
    parser.add_argument("--endurance", type=int, help="only this many good requests, watching memory")
    parser.add_argument("--replicas", action="store_true", help="two replicas on Ray against one alone, and nothing else")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is stopped too
    files = photos(options.photos)
    found: dict[str, Any] = {"model": options.model, "photos": options.photos, "batch": options.batch, "cores": os.cpu_count()}

    if options.replicas:
        found["replicas"] = replicate(files, options)
    else:
        service = Service(options.model, "--batch-size", str(options.batch), "--queue", str(max(16, 2 * options.batch)))
        try:
            if options.endurance:
                found["endurance"] = endure(service, files, options.endurance, 2 * options.batch)
            else:
                found |= measure(service, files, options)
        finally:
            found["exit_code"] = service.stop()
    found["load_at_the_end"] = os.getloadavg()[0]
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


def _timed(shield: FaceShieldPredictor, photo: bytes) -> float:
    started = time.perf_counter()
    shield.inspect(photo)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
