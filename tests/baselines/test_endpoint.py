"""`predict --endpoint` against a local server that misbehaves: bounded, resumable, nothing lost, no key anywhere."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.baselines import load_model
from faceshield.chat import AssistantDown
from faceshield.cli import app
from faceshield.evaluation import predict as ask_all
from faceshield.evaluation.predict import MAX_UNREACHED_IN_A_ROW
from faceshield.records import Prediction, Sample, read_jsonl, write_jsonl
from openai_server import OpenAIServer, words_of

pytest.importorskip("openai", reason="needs: pip install -e '.[openai]'")

PICTURES = 30


@pytest.fixture
def samples(tmp_path: Path, make_sample: Any) -> Path:
    """Dark pictures are prints, bright ones bona fide; no two are of one brightness."""
    rows = []
    for index in range(PICTURES):
        attack = index % 2 == 1
        Image.new("RGB", (48, 64), (index + (20 if attack else 150),) * 3).save(tmp_path / f"{index}.png")
        kind, boxes = ("Print", [(4.0, 4.0, 40.0, 40.0)]) if attack else ("Bonafide", [])
        rows.append(make_sample(kind, id=f"s{index:02d}", image=f"{index}.png", size_wh=(48, 64), boxes=boxes))
    write_jsonl(tmp_path / "samples.jsonl", rows)
    return tmp_path / "samples.jsonl"


def seen(body: dict[str, Any]) -> Image.Image:
    url = body["messages"][-1]["content"][0]["image_url"]["url"]
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def level(body: dict[str, Any]) -> int:
    picture = np.asarray(seen(body))
    return int(picture[picture.shape[0] // 2, picture.shape[1] // 2].mean().round())


def answer(body: dict[str, Any]) -> str:
    words, attack = words_of(body), level(body) < 100
    if "one word" in words:
        return "attack" if attack else "Real"
    if "name alone" in words:
        return "Print" if attack else "Bonafide"
    if "box alone" in words:
        return "[188, 62, 749, 624]" if attack else "There is no attack region."
    return "Flat light, so this is a presentation attack of type Print." if attack else "so this face is bona fide."


def logprobs(body: dict[str, Any]) -> list[dict[str, Any]]:
    real = level(body) / 255
    told = [{"token": piece, "logprob": math.log(p)} for piece, p in (("Real", real * 0.9), ("attack", (1 - real) * 0.9))]
    chosen = told[0 if level(body) >= 100 else 1]
    return [{**chosen, "top_logprobs": told}]


def run(server: OpenAIServer, samples: Path, out: Path, *options: object) -> Any:
    arguments = ["predict", samples, "--out", out, "--endpoint", server.url, "--model", "m", "--set", "timeout=2", *options]
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_endpoint_is_asked_scored_and_told_the_types(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    with OpenAIServer(answer=answer, logprobs=logprobs, latency=0.005) as server:
        result = run(server, samples, out, "--concurrency", 3)
        assert result.exit_code == 0, (result.output, result.exception)
        assert 1 < server.most_in_flight <= 3 and len(server.requests) == 4 * PICTURES
        assert f"{4 * PICTURES} answers written" in result.output
        fine = next(body for body in server.requests if "name alone" in words_of(body))
        assert "- Paper mask: A mask of printed paper worn on the face." in words_of(fine)
        assert fine["temperature"] == 0 and "logprobs" not in fine and len(fine["messages"]) == 1
        boxed = next(body for body in server.requests if "box alone" in words_of(body))
        assert seen(boxed).size == (64, 64) and seen(fine).size == (48, 64)
        assert run(server, samples, out).exit_code == 0 and len(server.requests) == 4 * PICTURES, "all was there"
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    assert len(rows) == 4 * PICTURES and {row.status for row in rows.values()} == {"parsed"}
    assert rows["s01:fine"].presentation_type == "Print" and "Tattoo" in rows["s01:fine"].question
    assert rows["s01:localization"].boxes[0] == pytest.approx((4, 4, 40, 40), abs=0.1)
    assert rows["s01:coarse"].bonafide_score == pytest.approx(21 / 255, abs=0.01)
    metrics = tmp_path / "metrics.json"
    scored = CliRunner().invoke(app, ["score", str(out), "--answer", "--out", str(metrics), "--repeats", "10"])
    assert scored.exit_code == 0, scored.output
    overall = json.loads(metrics.read_text())["overall"]
    assert overall["coarse"]["by_answer"]["hter"]["value"] == 0 and overall["coarse"]["ranking"]["auc"]["value"] == 1
    assert overall["localization"]["ap50"]["value"] == 1


def test_without_probabilities_the_words_decide(samples: Path, tmp_path: Path) -> None:
    def refusal(body: dict[str, Any]) -> str | None:
        return "logprobs are not supported by this model" if "logprobs" in body else None

    out = tmp_path / "out" / "predictions.jsonl"
    with OpenAIServer(answer=answer, refusal=refusal) as server:
        assert run(server, samples, out, "--tasks", "coarse", "--limit", 10, "--concurrency", 1).exit_code == 0
        assert len(server.requests) <= 10 + 3, "asked once for each that was on its way"
    rows = read_jsonl(out, Prediction)
    assert all(row.bonafide_score is None and row.status == "parsed" and row.error is None for row in rows)


def test_every_failure_is_a_row_and_can_be_asked_again(samples: Path, tmp_path: Path) -> None:
    ill = {21, 23, 25}  # brightness of s01, s03, s05

    def refusal(body: dict[str, Any]) -> str | None:
        return "a picture like this cannot be processed" if level(body) in ill else None

    out = tmp_path / "out" / "predictions.jsonl"
    with OpenAIServer(answer=answer, refusal=refusal) as server:
        result = run(server, samples, out, "--set", "retries=0", "--concurrency", 2)
        assert result.exit_code == 2 and "12 failed" in result.output
        rows = {row.id: row for row in read_jsonl(out, Prediction)}
        failed = [row for row in rows.values() if row.status == "error"]
        assert len(rows) == 4 * PICTURES and {row.sample_id for row in failed} == {"s01", "s03", "s05"}
        assert all("cannot be processed" in (row.error or "") and row.truth.is_attack for row in failed)
        ill.clear()
        made = len(server.requests)
        assert run(server, samples, out).exit_code == 0 and len(server.requests) == made, "kept as they are"
        with out.open("a", encoding="utf-8") as torn:
            torn.write('{"id": "s00:co')
        result = run(server, samples, out, "--retry-errors")
        assert result.exit_code == 0 and len(server.requests) == made + 12, result.output
    again = {row.id: row for row in read_jsonl(out, Prediction)}
    assert again.keys() == rows.keys() and all(row.status == "parsed" for row in again.values())
    assert all(again[name] == rows[name] for name in rows if rows[name].status != "error")


class Outage(OpenAIServer):
    """Well for so many calls, then down."""

    def __init__(self, after: int, status: int = 503, **options: Any) -> None:
        super().__init__(answer=answer, logprobs=logprobs, **options)
        self.after, self.gone = after, status

    def _kind(self, body: dict[str, Any]) -> str:
        return str(self.gone) if len(self.requests) > self.after else super()._kind(body)


@pytest.mark.parametrize(("after", "status"), [(0, 503), (19, 503), (19, 401)])
def test_an_endpoint_that_stays_down_stops_the_run_and_loses_nothing(
    after: int, status: int, samples: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    with Outage(after, status) as server:
        result = run(server, samples, out, "--set", "retries=0", "--concurrency", 2)
        assert isinstance(result.exception, AssistantDown), result.output
        text = str(result.exception)
        assert ("401" if status == 401 else "in a row got no answer (last: NoCall: the endpoint answers 503") in text
        assert "start the same command again" in text.replace("\n", " ")
        calls = len(server.requests)
        assert calls <= after + 2 * MAX_UNREACHED_IN_A_ROW < 4 * PICTURES  # those under way count too: far from all
        rows = read_jsonl(out, Prediction)
        # What was answered is there; a picture cut in the middle has its failed rows as errors, or is asked next time.
        assert len([row for row in rows if row.status == "parsed"]) == after
        assert len([row for row in rows if row.status == "error"]) <= calls - after
        server.after = 10**6
        assert run(server, samples, out, "--retry-errors").exit_code == 0
        assert len(server.requests) == calls + 4 * PICTURES - after, "what was answered is not asked again"
    assert len(read_jsonl(out, Prediction)) == 4 * PICTURES


def test_a_hiccup_is_no_outage(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    with OpenAIServer(answer=answer, faults=0.15, hang=0.3, seed=3) as server:
        result = run(server, samples, out, "--set", "timeout=0.25", "--tasks", "coarse,fine")
        assert result.exit_code == 0, (result.output, result.exception)
        assert {"429", "500", "hang", "cut"} <= set(server.kinds)
    assert len(read_jsonl(out, Prediction)) == 2 * PICTURES


def test_no_key_is_kept_and_a_named_one_must_be_there(samples: Path, tmp_path: Path, monkeypatch: Any) -> None:
    secret, out = "sk-proj-0123456789abcdef", tmp_path / "out" / "predictions.jsonl"
    options = ["--api-key-env", "MY_KEY", "--tasks", "coarse", "--limit", 2, "--set", "retries=0"]
    with OpenAIServer(answer=answer, status=500) as server:
        missing = run(server, samples, out, *options)
        assert "'MY_KEY' is not set" in str(missing.exception) and not out.exists() and not server.requests
        monkeypatch.setenv("MY_KEY", secret)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-place")
        result = run(server, samples, out, *options)
        assert server.headers["authorization"] == f"Bearer {secret}"
    assert isinstance(result.exception, AssistantDown)
    told = str(result.exception) + result.output + "".join(path.read_text() for path in out.parent.iterdir())
    assert secret not in told and "another-place" not in told


def test_pictures_go_nowhere_unless_an_endpoint_is_named(samples: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(FileNotFoundError, match="expected 'tiny', a folder or a hub id"):
        load_model("gpt-4o")


@pytest.mark.parametrize("name", ["/data/𠮷田/llava", "a: b # c", '"quoted"'])
def test_a_model_may_have_any_name(name: str) -> None:
    with closing(load_model(name, endpoint="http://127.0.0.1:9/v1")) as asker:
        assert asker.settings["model"] == name


def test_the_settings_say_what_decides_and_not_where_it_stands(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    with OpenAIServer(answer=answer) as server:
        assert run(server, samples, out, "--tasks", "coarse", "--limit", 2).exit_code == 0
    with OpenAIServer(answer=answer) as server:  # another port
        assert run(server, samples, out, "--tasks", "coarse", "--limit", 3, "--concurrency", 2).exit_code == 0
        assert len(server.requests) == 1
        changed = run(server, samples, out, "--limit", 3, "--prompt", "plain")
        assert "was begun with prompt" in str(changed.exception)
        taken_out = "extra_body={max_tokens: null, max_completion_tokens: 9}"
        other = run(server, samples, tmp_path / "x" / "p.jsonl", "--limit", 1, "--set", taken_out)
        assert other.exit_code == 0 and server.requests[-1]["max_completion_tokens"] == 9
        assert "max_tokens" not in server.requests[-1]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_our_own_service_gives_our_own_words(samples: Path, tmp_path: Path) -> None:
    """A model behind `faceshield serve`, asked in plain words, answers as it does here."""
    pytest.importorskip("fastapi", reason="needs: pip install -e '.[serve]'")
    command = [sys.executable, "-m", "faceshield", "serve", "--model", "tiny", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as service:
        try:
            assert service.stdout is not None
            lines = (json.loads(line) for line in service.stdout if line.startswith("{"))
            address = next(line["addresses"][0] for line in lines if "addresses" in line)
            settings = ["extra_body={face: whole}", "timeout=60"]
            asker = load_model("tiny", endpoint=f"http://{address}/v1", prompt="plain", settings=settings)
            with closing(asker):
                ask_all(samples, asker, tmp_path / "a" / "p.jsonl", limit=3)
        finally:
            service.terminate()
            service.communicate(timeout=60)
    ask_all(samples, load_model("tiny"), tmp_path / "b" / "p.jsonl", limit=3)
    there, here = (read_jsonl(tmp_path / name / "p.jsonl", Prediction) for name in "ab")
    # Boxes are asked of the picture padded to a square, whose descriptors see the padding: its answer may be another one.
    own, served = ({row.id: row.answer for row in rows if row.task != "localization"} for rows in (here, there))
    assert own and served == own


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_9_at_any_moment_loses_what_was_in_flight_alone(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "predictions.jsonl"
    command = [sys.executable, "-m", "faceshield", "predict", str(samples), "--out", str(out), "--model", "m"]
    with OpenAIServer(answer=answer, latency=0.03) as server:
        command += ["--endpoint", server.url, "--concurrency", "2"]
        kills = 0
        for share in (0.2, 0.5, 0.8):
            running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(server.requests) < share * 4 * PICTURES and running.poll() is None:
                time.sleep(0.005)
            os.kill(running.pid, signal.SIGKILL)
            running.communicate()
            kills += 1
        time.sleep(0.1)
        subprocess.run(command, check=True, capture_output=True)
        assert 4 * PICTURES <= len(server.requests) <= 4 * PICTURES + kills * 4 * 4
    rows: list[Sample] | list[Prediction] = read_jsonl(out, Prediction)
    assert len(rows) == 4 * PICTURES
