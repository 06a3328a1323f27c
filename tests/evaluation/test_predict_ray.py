"""`predict --engine ray`: the rows of one process, each exactly once, whoever is killed."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import ray_cluster
from faceshield.baselines import load_model
from faceshield.engines import start_engine
from faceshield.evaluation import Elsewhere, predict
from faceshield.records import Prediction, Sample, read_jsonl, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def many(samples_jsonl: Path, samples: list[Sample]) -> Path:
    """120 samples beside their 24 pictures, one of which is broken."""
    rows = [sample.model_copy(update={"id": f"{sample.id}-{turn}"}) for turn in range(5) for sample in samples]
    (samples_jsonl.parent / rows[5].image).write_bytes(b"no picture")
    path = samples_jsonl.parent / "many.jsonl"
    write_jsonl(path, rows)
    return path


def test_two_workers_write_the_rows_of_one_process(samples_jsonl: Path, checkpoint: Path, tmp_path: Path) -> None:
    load = partial(load_model, str(checkpoint))
    asker = load()
    options = {"system": "toy", "options": asker.settings, "batch_size": 4}
    here = predict(samples_jsonl, asker, tmp_path / "here" / "p.jsonl", **options)
    with ray_cluster.cluster(), start_engine("ray", workers=2) as engine:
        elsewhere = Elsewhere(load, engine)
        assert elsewhere.settings == asker.settings
        there = predict(samples_jsonl, elsewhere, tmp_path / "there" / "p.jsonl", engine=engine, **options)
        with pytest.raises(FileNotFoundError, match="no-such-model"):
            Elsewhere(partial(load_model, str(tmp_path / "no-such-model")), engine)
    assert here == there and here.written == 24 * 4
    assert (tmp_path / "here" / "p.jsonl").read_bytes() == (tmp_path / "there" / "p.jsonl").read_bytes()


def test_killed_workers_and_a_killed_driver_lose_and_double_nothing(many: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "there" / "p.jsonl"
    command = [sys.executable, "-m", "faceshield", "predict", str(many), "--model", str(checkpoint), "--batch-size", "2"]
    on_ray = [*command, "--out", str(out), "--engine", "ray", "--workers", "2"]

    def rows() -> int:
        return len(out.read_bytes().splitlines()) if out.exists() else 0

    driver = subprocess.Popen(on_ray, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ray_cluster.wait_for(lambda: rows() > 50)
    below = ray_cluster.descendants(driver.pid)
    workers = [process for process in ray_cluster.processes("ray::_Worker") if process in below]
    assert len(workers) >= 2
    ray_cluster.kill(workers[0])
    at_kill = rows()
    ray_cluster.wait_for(lambda: rows() > at_kill + 100)
    assert driver.poll() is None and rows() < 480
    ray_cluster.kill(driver.pid)
    driver.communicate(timeout=60)
    ray_cluster.wait_for(lambda: not set(below) & set(ray_cluster.processes("ray::_Worker")))
    before = rows()
    assert before < 480

    again = subprocess.run(on_ray, capture_output=True, text=True, timeout=600, check=False)
    assert again.returncode == 2, again.stderr  # the broken picture's rows are errors
    found = read_jsonl(out, Prediction)  # an id that is there twice is a fault
    assert len(found) == 480
    local = [*command, "--out", str(tmp_path / "here" / "p.jsonl")]
    assert subprocess.run(local, capture_output=True, timeout=600, check=False).returncode == 2
    expected = {row.id: row for row in read_jsonl(tmp_path / "here" / "p.jsonl", Prediction)}
    assert {row.id for row in found} == set(expected)
    for row in found:
        other = expected[row.id]
        assert (row.answer, row.status, row.boxes, row.error) == (other.answer, other.status, other.boxes, other.error)
        assert row.bonafide_score == pytest.approx(other.bonafide_score, abs=1e-5)  # batches begin elsewhere after a stop
