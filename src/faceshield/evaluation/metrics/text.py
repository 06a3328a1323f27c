"""BLEU-1..4 and ROUGE-L as coco-caption defines them (paper §5.1, Table 4), with one reference per answer.

Use: ``scores = TextScores(candidates, references); scores.summary()``.

BLEU is computed over the whole corpus (clipped n-gram counts and lengths summed before dividing); ROUGE-L is the
F-measure with beta 1.2 of each pair, averaged. The tokenizer is ours: lower case, runs of letters or digits, inner
apostrophes, hyphens and decimal points kept, punctuation dropped — which is what coco-caption's PTB tokenizer
leaves of plain sentences. METEOR 1.5 needs Java and has a file of its own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from faceshield.evaluation.metrics.intervals import FloatArray, ratio

TOKENIZER = "faceshield-words-1"
ROUGE_BETA = 1.2
ORDERS = 4
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+|(?<=\d)\.\d+)*")


def tokenize(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


class TextScores:
    """The counts of every pair, from which the corpus scores follow, resampled or not.

    Args:
        candidates: the model's texts; an empty one (no answer) matches nothing and still counts.
        references: one text each.

    Raises:
        ValueError: where the two differ in length.
    """

    def __init__(self, candidates: Sequence[str], references: Sequence[str]) -> None:
        if len(candidates) != len(references):
            raise ValueError(f"{len(candidates)} texts for {len(references)} references — expected one each — pass equal lists")
        self.n = len(candidates)
        # Columns: matches of order 1..4, n-grams of order 1..4, length of candidate and reference.
        self._counts = np.zeros((self.n, 2 * ORDERS + 2))
        self._rouge = np.zeros(self.n)
        for row, (candidate, reference) in enumerate(zip(candidates, references, strict=True)):
            words, true_words = tokenize(candidate), tokenize(reference)
            for order in range(1, ORDERS + 1):
                grams, true_grams = _ngrams(words, order), _ngrams(true_words, order)
                self._counts[row, order - 1] = (grams & true_grams).total()
                self._counts[row, ORDERS + order - 1] = grams.total()
            self._counts[row, -2:] = len(words), len(true_words)
            self._rouge[row] = rouge_l(words, true_words)

    def summary(self, weights: FloatArray | None = None) -> dict[str, float]:
        """``bleu1..bleu4, rouge_l`` in 0..1 over rows counted ``weights`` (n,) times; NaN for no rows."""
        rows = np.ones(self.n) if weights is None else weights
        totals = rows @ self._counts
        scores = {f"bleu{i}": math.nan for i in range(1, ORDERS + 1)} if not rows.sum() else _bleu(totals)
        scores["rouge_l"] = ratio(float(rows @ self._rouge), float(rows.sum()))
        return scores


def _bleu(totals: FloatArray) -> dict[str, float]:
    matches, guesses = totals[:ORDERS], totals[ORDERS : 2 * ORDERS]
    length, true_length = float(totals[-2]), float(totals[-1])
    if length == 0:
        return {f"bleu{i}": 0.0 for i in range(1, ORDERS + 1)}
    brevity = 1.0 if length >= true_length else math.exp(1.0 - true_length / length)
    scores: dict[str, float] = {}
    product = 1.0
    for order in range(1, ORDERS + 1):
        product *= ratio(matches[order - 1], guesses[order - 1]) if guesses[order - 1] else 0.0
        scores[f"bleu{order}"] = brevity * product ** (1.0 / order)
    return scores


def rouge_l(words: Sequence[str], true_words: Sequence[str]) -> float:
    """F-measure of the longest common subsequence, beta 1.2; 0 if nothing is common or either side is empty."""
    common = lcs_length(words, true_words)
    if common == 0:
        return 0.0
    precision, recall = common / len(words), common / len(true_words)
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit-parallel rows (2004)."""
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | (1 << index)
    full = (1 << len(first)) - 1
    row = full
    for word in second:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(first) - row.bit_count()


def _ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[i:] for i in range(order)), strict=False))
