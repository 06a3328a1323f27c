"""FaceShield's own service as the assistant behind the `openai` backend, end to end: answers, then the filter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs: pip install -e '.[dev]'")
pytest.importorskip("openai", reason="needs: pip install -e '.[dev]'")

from faceshield.data_engine.backends import BackendConfig
from faceshield.data_engine.filter import FilterConfig, filter_dialogues
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.stage import rejects_path
from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Dialogue, image_path, read_jsonl
from faceshield.simulate.dataset import SimulateConfig, simulate
from faceshield.tasks import TASKS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def address() -> Iterator[str]:
    command = [sys.executable, "-m", "faceshield", "serve", "--model", "tiny", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if line.startswith("{") and "addresses" in json.loads(line):
                yield f"http://{json.loads(line)['addresses'][0]}/v1"
                break
        else:
            pytest.fail("the server did not start")
    finally:
        server.terminate()
        server.communicate(timeout=60)


def test_the_service_writes_dialogues(address: str, tmp_path: Path) -> None:
    samples = simulate(tmp_path / "sim", SimulateConfig(faces="drawn", count=8, seed=3), workers=1)
    config = BackendConfig(
        kind="openai", base_url=address, model="tiny", style="answers", wording="plain", concurrency=4,
        extra_body={"face": "whole"},
    )  # fmt: skip
    asked = GenerateConfig(tasks=("coarse", "localization"), backend=config)
    result = generate(samples, tmp_path / "dialogues.jsonl", asked, seed=0, cache=tmp_path / "answers.sqlite")
    assert (result.rows, result.rejects) == (16, 0)
    rows = read_jsonl(result.out, Dialogue)
    shield = FaceShieldPredictor.from_pretrained("tiny")
    for row in rows[:2]:
        question, answer = (turn.value for turn in row.conversations)
        own = shield.ask(image_path(row, result.out), question.removeprefix("<image>\n"), face="whole")
        assert TASKS[row.task].read(own).is_attack == TASKS[row.task].read(answer).is_attack
    kept = filter_dialogues(result.out, tmp_path / "kept.jsonl", FilterConfig())
    assert kept.rows + kept.rejects == 16 and kept.rows >= 4
    if kept.rejects:
        dropped = [json.loads(line) for line in rejects_path(kept.out).read_text().splitlines()]
        assert {row["filter"] for row in dropped} == {"contradiction"}
