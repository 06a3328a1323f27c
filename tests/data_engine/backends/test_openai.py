"""The `openai` backend against a misbehaving server: nothing lost or duplicated, bounded, cached, and no key leaks."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from openai_server import OpenAIServer, truthful

pytest.importorskip("openai", reason="needs: pip install -e '.[openai]'")

from faceshield.data_engine.backends import BackendConfig, make_backend
from faceshield.data_engine.backends.assistant import _clean
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.stage import AssistantDown, rejects_path
from faceshield.records import Dialogue, Sample, read_jsonl, write_jsonl
from faceshield.taxonomy import ATTACK_TYPES

FOUR, FEW = 4 * 24, 4 * 5  # calls: four tasks per sample


@pytest.fixture
def few(samples_jsonl: Path, samples: list[Sample]) -> Path:
    write_jsonl(samples_jsonl, samples[:5])
    return samples_jsonl


def config(server: OpenAIServer, **changes) -> BackendConfig:
    values = {"kind": "openai", "base_url": server.url, "model": "m", "concurrency": 6, "timeout": 0.5, **changes}
    return BackendConfig(**values)


def run(server: OpenAIServer, samples: Path, folder: Path, cache: Path | None = None, **changes):
    with closing(make_backend(config(server, **changes), cache=cache or folder / "answers.sqlite")) as backend:
        result = generate(samples, folder / "dialogues.jsonl", GenerateConfig(per_task=2), seed=0, backend=backend)
    return result, backend


def test_every_sample_ends_as_dialogues_or_a_named_reject(samples_jsonl: Path, tmp_path: Path) -> None:
    with OpenAIServer(faults=0.2, broken=0.05, hang=0.8) as server:
        result, backend = run(server, samples_jsonl, tmp_path / "a")
        assert {"429", "500", "hang", "cut", "broken"} <= set(server.kinds)
        assert server.most_in_flight <= 6 + server.kinds["hang"], "a call that timed out still sleeps in the server"
        made = len(server.requests)
        rows = read_jsonl(tmp_path / "a" / "dialogues.jsonl", Dialogue)
        lost = rejects_path(result.out)
        rejects = [json.loads(line) for line in lost.read_text().splitlines()] if lost.exists() else []
        assert len({row.id for row in rows}) == len(rows)
        asked = Counter(f"{row.meta['sample_id']}:{row.task}" for row in rows) + Counter(row["id"] for row in rejects)
        assert len(asked) == FOUR and len(rows) + 2 * len(rejects) == 2 * FOUR
        assert all(row["filter"] in ("no-call", "no-answer") and row["reason"] for row in rejects)
        assert {row.source for row in rows} == {"m"} and rows[0].meta["generator"] == "openai"
        # The same run into another folder: all answers come from the cache.
        again, second = run(server, samples_jsonl, tmp_path / "b", cache=tmp_path / "a" / "answers.sqlite")
        assert len(server.requests) == made + len([r for r in rejects if r["filter"] == "no-call"])
        assert second.calls == 0 or rejects
        texts = [[turn.value for turn in row.conversations] for row in rows]
        assert [[t.value for t in row.conversations] for row in read_jsonl(again.out, Dialogue)] == texts


def test_what_is_sent(few: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-place")
    with OpenAIServer() as server:
        run(server, few, tmp_path)
    body = next(body for body in server.requests if "localization" in str(body["messages"]) and "Print" in str(body))
    system, user = body["messages"]
    picture, words = user["content"]
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,") and system["role"] == "system"
    assert "- presentation type: Print: A photo of the face printed on paper." in words["text"]
    assert "- box of the attack: [" in words["text"] and "Examples" in words["text"]
    assert body["response_format"]["json_schema"]["schema"]["properties"]["pairs"]
    assert "sk-of-another-place" not in str(server.headers) and "org-mine" not in str(server.headers)


def test_captions_are_asked_for_without_any_label(few: Path, tmp_path: Path) -> None:
    with OpenAIServer() as server:
        generate(few, tmp_path / "c.jsonl", GenerateConfig(tasks=["caption"], backend=config(server)), seed=0)
    assert server.requests
    for body in server.requests:
        system, user = body["messages"]
        words = f"{system['content']} {user['content'][1]['text']}"
        assert "told the truth" not in words and "truth about the picture" not in words
        assert not [name for name in ATTACK_TYPES if name in words]


def test_broken_answers_end_as_rejects_within_the_bound(few: Path, tmp_path: Path) -> None:
    with OpenAIServer(answer=lambda body: '{"pairs": [{"question": "Why?"}]}') as server:
        result, backend = run(server, few, tmp_path, asks=2)
        assert backend.calls == 2 * FEW and (result.rows, result.rejects) == (0, FEW)
        reject = json.loads(rejects_path(result.out).read_text().splitlines()[0])
        assert reject["filter"] == "no-answer" and "asked 2 times" in reject["reason"] and "answer" in reject["reason"]
        _, second = run(server, few, tmp_path / "b", cache=tmp_path / "answers.sqlite", asks=2)
        assert second.calls == 0


def test_a_pair_that_an_assistant_gave_is_kept_though_it_gives_no_second(few: Path, tmp_path: Path) -> None:
    same = {"question": "What is this?", "answer": "This is a face."}
    with OpenAIServer(answer=lambda body: json.dumps({"pairs": [same, same]})) as server:
        result, backend = run(server, few, tmp_path, asks=2)
    assert backend.calls == 2 * FEW and (result.rows, result.rejects) == (FEW, 0)


def test_an_answer_in_a_code_fence_is_read_and_marks_are_taken_out(few: Path, tmp_path: Path) -> None:
    def fenced(body) -> str:
        return f"<think>hm</think>```json\n{truthful(body).replace('This', '<image><|end|>This')}\n```"

    with OpenAIServer(answer=fenced) as server:
        result, _ = run(server, few, tmp_path)
    assert result.rejects == 0
    for row in read_jsonl(result.out, Dialogue):
        assert "<" not in row.conversations[1].value


def test_an_assistant_that_only_answers(few: Path, tmp_path: Path) -> None:
    with OpenAIServer(answer=lambda body: "This is a presentation attack.") as server:
        asked = GenerateConfig(tasks=["coarse"], backend=config(server, style="answers"))
        result = generate(few, tmp_path / "d.jsonl", asked, seed=0)
    assert {row.conversations[1].value for row in read_jsonl(result.out, Dialogue)} == {"This is a presentation attack."}
    assert all(len(body["messages"]) == 1 and "response_format" not in body for body in server.requests)


def test_thoughts_and_answers_that_were_cut_off_are_no_answers(few: Path, tmp_path: Path) -> None:
    """Also if the chat template opens the thought, so that the answer contains only its closing tag."""

    def said(answer: str, finish: str = "stop", **changes):
        with OpenAIServer(answer=lambda body: answer, finish=finish) as server:
            asked = GenerateConfig(tasks=["caption"], backend=config(server, style="answers", asks=2, **changes))
            return generate(few, tmp_path / f"{len(answer)}{finish}.jsonl", asked, seed=0), len(server.requests)

    result, _ = said("Okay, the user wants words.</think>\n\nA face before a wall.")
    assert {row.conversations[1].value for row in read_jsonl(result.out, Dialogue)} == {"A face before a wall."}
    result, made = said("The picture shows a man who holds a pho", "length")
    assert result.rows == 0 and made == 2 * result.rejects
    assert "asked 2 times; cut off after" in rejects_path(result.out).read_text()
    result, _ = said("<think>it does not end")
    assert result.rows == 0 and "an empty answer" in rejects_path(result.out).read_text()


def test_half_an_envelope_is_repeated_and_never_taken_for_words(few: Path, tmp_path: Path) -> None:
    with (
        OpenAIServer(half=True, answer=lambda body: "A face.") as server,
        pytest.raises(AssistantDown, match="answers are broken"),
    ):
        run(server, few, tmp_path, retries=1, concurrency=1, style="answers")
    assert len(server.requests) >= 2 * 20 and not (tmp_path / "dialogues.jsonl").exists()


def test_a_filter_of_contents_refuses_single_pictures(few: Path, tmp_path: Path) -> None:
    """Even if the very first pictures are refused: the endpoint itself works."""
    with OpenAIServer(refusal=lambda body: "rejected by the content filter") as server:
        result, _ = run(server, few, tmp_path, retries=0, concurrency=1)
    assert (result.rows, result.rejects) == (0, FEW) and "content filter" in rejects_path(result.out).read_text()


def test_a_key_is_taken_out_before_a_message_is_shortened(few: Path, tmp_path: Path, monkeypatch) -> None:
    secret = "sk-" + "0123456789abcdef" * 4
    monkeypatch.setenv("MY_KEY", secret)
    told = "x" * 170 + f" the content filter of {secret}"
    with OpenAIServer(refusal=lambda body: told) as server:
        result, _ = run(server, few, tmp_path, api_key_env="MY_KEY", retries=0)
    assert "sk-" not in rejects_path(result.out).read_text()


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_stops_at_once(status: int, few: Path, tmp_path: Path) -> None:
    with OpenAIServer(status=status) as server, pytest.raises(AssistantDown, match="expected a known model"):
        run(server, few, tmp_path, concurrency=1)
    assert len(server.requests) == 1


def test_an_endpoint_that_is_not_there_stops_the_run(few: Path, tmp_path: Path) -> None:
    with OpenAIServer() as server:
        pass
    with pytest.raises(AssistantDown, match="the connection fails"):
        run(server, few, tmp_path, retries=0)
    with OpenAIServer() as server:  # the address differs, the dialogues are the same
        result, _ = run(server, few, tmp_path)
    assert (result.rows, result.rejects) == (2 * FEW, 0)


def test_a_picture_that_cannot_be_read_is_a_reject(samples: list[Sample], few: Path, tmp_path: Path) -> None:
    (few.parent / samples[0].image).write_bytes(b"no picture")
    (few.parent / samples[1].image).unlink()
    with OpenAIServer() as server:
        result, _ = run(server, few, tmp_path)
    assert (result.rows, result.rejects) == (2 * (FEW - 8), 8)
    assert "cannot be read" in rejects_path(result.out).read_text()


@pytest.mark.parametrize("status", [None, 400, 401])
def test_the_key_is_sent_and_never_kept(status, few: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    secret = "sk-proj-0123456789abcdef"
    monkeypatch.setenv("MY_KEY", secret)
    caplog.set_level(logging.DEBUG)
    with OpenAIServer(status=status) as server:
        try:
            run(server, few, tmp_path, api_key_env="MY_KEY", retries=0)
            message = ""
        except AssistantDown as error:
            message = str(error)
    assert server.headers["authorization"] == f"Bearer {secret}"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert secret.encode() not in path.read_bytes(), path
    assert secret not in message and secret not in caplog.text


def test_a_named_key_must_be_there(monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ValueError, match="'NO_SUCH_KEY' is not set"):
        make_backend(BackendConfig(kind="openai", base_url="http://127.0.0.1:1/v1", model="m", api_key_env="NO_SUCH_KEY"))


@pytest.mark.parametrize(("values", "message"), [({"model": "m"}, "base_url"), ({"base_url": "http://x"}, "without a model")])
def test_an_endpoint_that_is_not_configured_is_refused(values, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BackendConfig(kind="openai", **values)


def test_redirects_are_not_followed(few: Path, tmp_path: Path) -> None:
    """Pictures go only to the configured address, never to one that it redirects to."""
    with OpenAIServer(status=307) as server, pytest.raises(AssistantDown):
        run(server, few, tmp_path, retries=0)


def command(server: OpenAIServer, samples: Path, folder: Path, concurrency: int) -> list[str]:
    return [
        sys.executable, "-m", "faceshield", "generate", str(samples), "--out", str(folder / "dialogues.jsonl"), "--backend",
        "openai", "--base-url", server.url, "--model", "m", "--concurrency", str(concurrency), "--per-task", "2",
    ]  # fmt: skip


@pytest.mark.slow
def test_kill_9_at_any_moment_and_resume_gives_the_same_file(few: Path, tmp_path: Path) -> None:
    concurrency = 4
    with OpenAIServer(latency=0.03, broken=0.05) as server:
        subprocess.run(command(server, few, tmp_path / "whole", concurrency), check=True, capture_output=True)
        needed = len(server.requests)
        server.requests.clear()
        kills = 0
        for share in (0.1, 0.3, 0.5, 0.8):
            running = subprocess.Popen(
                command(server, few, tmp_path / "cut", concurrency), stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            while len(server.requests) < share * needed and running.poll() is None:
                time.sleep(0.005)
            os.kill(running.pid, signal.SIGKILL)
            running.communicate()
            kills += 1
            assert not (tmp_path / "cut" / "dialogues.jsonl").exists()
        time.sleep(0.1)
        subprocess.run(command(server, few, tmp_path / "cut", concurrency), check=True, capture_output=True)
        assert needed <= len(server.requests) <= needed + kills * concurrency
    for name in ("dialogues.jsonl", "dialogues.rejects.jsonl"):
        whole, cut = tmp_path / "whole" / name, tmp_path / "cut" / name
        assert whole.exists() == cut.exists()
        assert not whole.exists() or whole.read_bytes() == cut.read_bytes()


def test_marks_that_only_join_once_others_are_gone_are_gone_too() -> None:
    assert _clean("An <im<image>age>attack<|<|x|>end|>.") == "An attack."
