"""`--engine ray`: the same files as a single-process run, byte for byte; kill -9 of a worker or the driver loses nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ray_cluster
from faceshield.data_engine.augment import AugmentConfig, augment
from faceshield.data_engine.backends import BackendConfig
from faceshield.data_engine.filter import FilterConfig, filter_dialogues
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.stage import AssistantDown
from faceshield.engines import Engine, start_engine
from faceshield.records import Sample, write_jsonl
from openai_server import OpenAIServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with ray_cluster.cluster(), start_engine("ray", workers=2) as started:
        yield started


@pytest.fixture
def many(samples_jsonl: Path, samples: list[Sample]) -> Path:
    """240 samples with different pictures; an assistant's answer about the same picture would come from the cache."""
    rows = []
    for turn in range(10):
        for sample in samples:
            image = sample.image.replace(".png", f"-{turn}.png")
            picture = (samples_jsonl.parent / sample.image).read_bytes()
            (samples_jsonl.parent / image).write_bytes(picture + bytes([turn]))
            rows.append(sample.model_copy(update={"id": f"{sample.id}-{turn}", "image": image}))
    path = samples_jsonl.parent / "many.jsonl"
    write_jsonl(path, rows)
    return path


def same(one: Path, other: Path) -> None:
    names = {path.name for path in one.glob("*.jsonl")}
    assert names == {path.name for path in other.glob("*.jsonl")} and names
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_three_stages_write_the_same_files(engine: Engine, many: Path, tmp_path: Path) -> None:
    for folder, options in ((tmp_path / "local", {}), (tmp_path / "ray", {"engine": engine})):
        generate(many, folder / "g.jsonl", GenerateConfig(per_task=2), seed=0, **options)
        filter_dialogues(folder / "g.jsonl", folder / "f.jsonl", FilterConfig(more_keywords=("paper",)), **options)
        augment(folder / "f.jsonl", folder / "a.jsonl", AugmentConfig(), seed=0, **options)
    same(tmp_path / "local", tmp_path / "ray")
    assert (tmp_path / "ray" / "f.rejects.jsonl").is_file()


def test_an_endpoint_gets_no_more_calls_at_once_and_none_twice(engine: Engine, samples_jsonl: Path, tmp_path: Path) -> None:
    with OpenAIServer(latency=0.05) as server:
        backend = BackendConfig(kind="openai", base_url=server.url, model="m", concurrency=5)
        config, cache = GenerateConfig(backend=backend), tmp_path / "answers.sqlite"
        result = generate(samples_jsonl, tmp_path / "ray" / "g.jsonl", config, seed=0, cache=cache, engine=engine)
        made = len(server.requests)
        assert made == result.rows == 24 * 4 and result.calls is None
        assert 1 < server.most_in_flight <= 5
        generate(samples_jsonl, tmp_path / "local" / "g.jsonl", config, seed=0, cache=cache)
        assert len(server.requests) == made
    same(tmp_path / "local", tmp_path / "ray")
    with OpenAIServer(status=401) as server:
        config = GenerateConfig(backend=backend.model_copy(update={"base_url": server.url}))
        with pytest.raises(AssistantDown, match="expected a known model and a valid key"):
            generate(samples_jsonl, tmp_path / "down.jsonl", config, seed=0, engine=engine)


def test_killed_workers_and_a_killed_driver_lose_and_double_nothing(many: Path, tmp_path: Path) -> None:
    out = tmp_path / "ray" / "g.jsonl"
    with OpenAIServer(latency=0.1) as server:
        assistant = ["--backend", "openai", "--base-url", server.url, "--model", "m", "--concurrency", "8", "--seed", "3"]
        command = [sys.executable, "-m", "faceshield", "generate", str(many), *assistant]
        on_ray = [*command, "--out", str(out), "--engine", "ray", "--workers", "2"]

        driver = subprocess.Popen(on_ray, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ray_cluster.wait_for(lambda: len(server.requests) > 100)
        below = ray_cluster.descendants(driver.pid)
        workers = [process for process in ray_cluster.processes("ray::_Worker") if process in below]
        assert len(workers) == 2
        ray_cluster.kill(workers[0])
        ray_cluster.wait_for(lambda: len(server.requests) > 400)
        assert driver.poll() is None
        ray_cluster.kill(driver.pid)
        driver.communicate(timeout=60)
        ray_cluster.wait_for(lambda: not set(below) & set(ray_cluster.processes("ray::_Worker")))
        assert not out.exists()

        again = subprocess.run(on_ray, capture_output=True, text=True, timeout=600, check=False)
        assert again.returncode == 0, again.stderr
        assert again.stdout.splitlines()[-1] == f"960 dialogues of 240 samples: {out}"
        # Only calls that were in flight when their process was killed are repeated.
        assert 960 <= len(server.requests) <= 960 + 2 * 8
        here = subprocess.run([*command, "--out", str(tmp_path / "local" / "g.jsonl")], capture_output=True, timeout=600)
        assert here.returncode == 0
    same(tmp_path / "local", tmp_path / "ray")
