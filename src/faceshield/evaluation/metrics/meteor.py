"""METEOR 1.5 (Denkowski and Lavie 2014), for the paper's METEOR (§5.1, Table 4): the Java program counts, we add up.

Use: ``scores = MeteorScores(candidates, references); scores.score()``; needs the extra ``meteor`` and Java.

The program that coco-caption runs (``meteor-1.5.jar``, English, with its paraphrases) aligns each pair and
gives 23 counts; the score of a set follows from their sums, which is why resampling needs no second run.
The paper cites the METEOR of 2005 (Banerjee and Lavie), but its 53 beside a ROUGE-L of 83 is what 1.5 gives: that of 2005,
which NLTK implements, gives 84 where 1.5 gives 58 for the same texts. Hence there is no fallback to it.
"""

from __future__ import annotations

import importlib.util
import math
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceshield.evaluation.metrics.intervals import FloatArray
from faceshield.evaluation.metrics.text import tokenize
from faceshield.extras import missing

VERSION = "meteor-1.5 en"
# The English parameters of version 1.5: recall's weight, the penalty's form, content words against function
# words, and the weights of exact, stem, synonym and paraphrase matches.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
COUNTS = 23


class MeteorScores:
    """The counts of every pair, from which the score of all follows, resampled or not.

    Args:
        candidates: the model's texts; an empty one matches nothing and still counts.
        references: one text each.

    Raises:
        ValueError: where the two differ in length.
        FileNotFoundError, ImportError: Java or the extra is missing; the message says what to install.
        RuntimeError: the program failed or gave unexpected output, which the message quotes.
    """

    def __init__(self, candidates: Sequence[str], references: Sequence[str]) -> None:
        if len(candidates) != len(references):
            raise ValueError(f"{len(candidates)} texts for {len(references)} references — expected one each — pass equal lists")
        self._counts = count_matches(candidates, references)

    def score(self, weights: FloatArray | None = None) -> float:
        """METEOR in 0..1 of all pairs counted ``weights`` (n,) times; NaN for no pairs."""
        rows = np.ones(len(self._counts)) if weights is None else weights
        return meteor(rows @ self._counts) if rows.sum() else math.nan


def meteor(counts: FloatArray) -> float:
    """The score from (summed) counts.

    The (23,) counts: lengths and function words of candidate and reference, four stages of content and function matches of
    both, chunks, matched words of both.
    """
    length, true_length, function, true_function = counts[:4]
    stages = counts[4:20].reshape(4, 4)
    chunks, matched, true_matched = counts[20:]

    def share(content: FloatArray, functional: FloatArray, words: float, function_words: float) -> float:
        whole = DELTA * (words - function_words) + (1 - DELTA) * function_words
        return float(STAGES @ (DELTA * content + (1 - DELTA) * functional)) / whole if whole else 0.0

    precision = share(stages[:, 0], stages[:, 2], length, function)
    recall = share(stages[:, 1], stages[:, 3], true_length, true_function)
    if not precision or not recall:
        return 0.0
    mean = 1.0 / (ALPHA / recall + (1 - ALPHA) / precision)
    return float(mean * (1 - GAMMA * (2 * chunks / (matched + true_matched)) ** BETA))


def count_matches(candidates: Sequence[str], references: Sequence[str]) -> FloatArray:
    """(n, 23) counts of the pairs, from one run of the program on the texts as we tokenize them."""
    lines = [
        f"SCORE ||| {' '.join(tokenize(reference))} ||| {' '.join(tokenize(candidate))}\n"
        for candidate, reference in zip(candidates, references, strict=True)
    ]
    if not lines:
        return np.zeros((0, COUNTS))
    command = [_java(), "-Xmx2G", "-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
    done = subprocess.run(command, input="".join(lines), capture_output=True, text=True, encoding="utf-8", check=False)
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or len(rows) != len(lines) or any(len(row) != COUNTS for row in rows):
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1][:200]
        raise RuntimeError(f"meteor-1.5 gave {len(rows)} rows for {len(lines)} texts and said: {said}")
    counts = np.array(rows, dtype=np.float64)
    # As the program does when it sums up: a single chunk that covers both texts counts as no fragmentation.
    whole = (counts[:, 20] == 1) & (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1])
    counts[whole, 20] = 0
    return counts


def meteor_is_there() -> None:
    """Checks for Java and the program before anything long begins.

    Raises:
        FileNotFoundError, ImportError: Java or the program is missing; the message says how to get it.
    """
    _java()
    _jar()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise FileNotFoundError(
            "METEOR 1.5 is a Java program and there is no java — expected one on the PATH — install a Java "
            "runtime (openjdk-17-jre-headless, say), or leave --meteor out"
        )
    return java


def _jar() -> Path:
    # Located without importing the package, whose modules start programs and load what we do not need.
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        jar = Path(folder) / "meteor" / "meteor-1.5.jar"
        if jar.exists():
            return jar
    raise missing("METEOR 1.5", "meteor")
