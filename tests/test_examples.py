"""The examples for other people's systems, run as their readers run them."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceshield.records import Sample, read_jsonl, write_jsonl
from openai_server import OpenAIServer, words_of

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_a_classifier_of_ones_own(run: Run, samples_jsonl: Path, tmp_path: Path) -> None:
    rows = read_jsonl(samples_jsonl, Sample)
    bonafides, attacks = ([row for row in rows if row.is_attack == attack] for attack in (False, True))
    halves = [samples_jsonl.with_name(f"{name}.jsonl") for name in ("dev", "test")]
    for start, file in enumerate(halves):
        write_jsonl(file, [*bonafides[start::2], *attacks[start::2]])
    shown = run("score_a_classifier.py", *halves, tmp_path / "out")
    assert "score, t = " in shown and "Sharpness" in shown and "1 + 11" in shown
    assert "threshold" in shown and f"from dataset {tmp_path / 'out' / 'dev.jsonl'}" in shown
    assert "Fine-grained" not in shown, "it knows no types"
    with pytest.raises(ValueError, match="expected a development set apart from the test set"):
        run("score_a_classifier.py", halves[0], halves[0], tmp_path / "other")


def test_a_model_behind_an_endpoint(run: Run, samples_jsonl: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs: pip install -e '.[openai]'")

    def answer(body: dict[str, object]) -> str:
        words = words_of(body)
        if "one word" in words:
            return "attack"
        return "Print" if "name alone" in words else "So this is an attack at [0, 0, 9, 9]."

    with OpenAIServer(answer=answer) as server:
        shown = run("score_an_endpoint.py", server.url, "some-vlm", samples_jsonl, tmp_path / "out")
        assert len(server.requests) == 4 * 24
    coarse = next(line for line in shown.splitlines() if line.startswith("some-vlm") and "answer" in line)
    assert "91.67" in coarse and "50.00" in coarse  # all 22 attacks found, both bona fide faces called attacks


@pytest.mark.parametrize("name", ["score_a_classifier.py", "score_an_endpoint.py"])
def test_what_is_ours_in_them_stays_short(name: str) -> None:
    lines = (EXAMPLES / name).read_text().split('"""\n', 1)[1].splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("import", "from", "class"))]
    assert len(code) <= 15


def test_the_shortest_program(run: Run, face_photo: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(face_photo).save(tmp_path / "face.png")
    shown = run("quickstart.py", tmp_path / "face.png", tmp_path / "none.png")
    first, admitted, why, where, none = shown.splitlines()
    assert admitted.startswith("  admitted: ")
    assert (
        "(bona fide score 0." in first
        and why.startswith("  why: ")
        and "this face is" in why.lower()
        and where.startswith("  where: ")
    )
    assert none.endswith("no such file — expected a picture — check the path")
