from __future__ import annotations

import importlib.util
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from faceshield.evaluation.metrics import meteor
from faceshield.evaluation.metrics.meteor import COUNTS, MeteorScores

needs_meteor = pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None or shutil.which("java") is None,
    reason='METEOR 1.5 needs Java and: pip install -e ".[meteor]"',
)
WORDS = ["the", "a", "paper", "edge", "edges", "can", "could", "be", "seen", "is", "bright", "brightly", "screen", "on"]


def counts(**changes: float) -> np.ndarray:
    """A pair of 8 and 6 words, 5 and 3 of them function words; 3 content and 2 function words match exactly."""
    row = np.zeros(COUNTS)
    row[:8] = [8, 6, 5, 3, 3, 3, 2, 2]
    row[20:] = [3, 5, 5]
    for index, value in changes.items():
        row[int(index[1:])] = value
    return row


def test_a_score_by_hand() -> None:
    precision = (0.75 * 3 + 0.25 * 2) / (0.75 * 3 + 0.25 * 5)
    recall = (0.75 * 3 + 0.25 * 2) / (0.75 * 3 + 0.25 * 3)
    mean = precision * recall / (0.85 * precision + 0.15 * recall)
    assert meteor.meteor(counts()) == pytest.approx(mean * (1 - 0.6 * (3 / 5) ** 0.2), abs=1e-12)
    assert meteor.meteor(counts(i4=0, i5=0, i6=0, i7=0)) == 0.0
    assert meteor.meteor(np.zeros(COUNTS)) == 0.0


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor.shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="no java"):
        MeteorScores(["a"], ["a"])
    monkeypatch.setattr(meteor.shutil, "which", lambda name: "/usr/bin/java")
    monkeypatch.setattr(meteor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"faceshield\[meteor\]"):
        MeteorScores(["a"], ["a"])
    assert math.isnan(MeteorScores([], []).score())
    with pytest.raises(ValueError, match="expected one each"):
        MeteorScores(["a"], [])


def test_a_program_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho 'Error: no such heap' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(meteor, "_java", lambda: str(broken))
    monkeypatch.setattr(meteor, "_jar", lambda: tmp_path / "meteor.jar")
    with pytest.raises(RuntimeError, match="0 rows for 1 texts and said: Error: no such heap"):
        MeteorScores(["a"], ["a"])


@needs_meteor
@pytest.mark.slow  # Java reads 60 MB of paraphrases, twice
@pytest.mark.timeout(600)
def test_equals_the_program_and_coco_caption() -> None:
    """Every pair's own score and the whole set's, as pycocoevalcap's `Meteor` gives them."""
    oracle = pytest.importorskip("pycocoevalcap.meteor.meteor")
    rng = np.random.default_rng(0)
    references = [" ".join(rng.choice(WORDS, int(rng.integers(1, 25)))) for _ in range(300)]
    candidates = []
    for index, reference in enumerate(references):
        kept = [word for word in reference.split() if rng.random() < 0.8]
        candidates.append(" ".join(rng.permutation(kept) if index % 3 == 0 else [*kept, *["screen"] * (index % 2)]))
    candidates[0], candidates[1], candidates[2] = "", references[1], references[2] + " " + references[2]
    program = oracle.Meteor()
    keys = range(len(references))
    truth, given = {i: [references[i]] for i in keys}, {i: [candidates[i]] for i in keys}
    try:
        expected, each = program.compute_score(truth, given)
    finally:
        for stream in (program.meteor_p.stdin, program.meteor_p.stdout, program.meteor_p.stderr):
            stream.close()
        program.meteor_p.wait(timeout=60)
    scores = MeteorScores(candidates, references)
    assert scores.score() == pytest.approx(expected, abs=1e-9)
    ours = [scores.score(np.eye(len(references))[i]) for i in keys]
    assert ours == pytest.approx(each, abs=1e-9)
    assert ours[0] == 0.0 and ours[1] == 1.0
    assert np.mean([value > 0 for value in ours]) > 0.9
    weights = rng.integers(0, 3, len(references)).astype(float)
    repeated = [i for i in keys for _ in range(int(weights[i]))]
    again = MeteorScores([candidates[i] for i in repeated], [references[i] for i in repeated])
    assert scores.score(weights) == pytest.approx(again.score(), abs=1e-9)
