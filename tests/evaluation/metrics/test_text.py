from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from faceshield.evaluation.metrics.text import TextScores, lcs_length, rouge_l, tokenize


def test_words() -> None:
    assert tokenize("A paper edge, and flat light: so it's a Print-out.") == [
        "a", "paper", "edge", "and", "flat", "light", "so", "it's", "a", "print-out",
    ]  # fmt: skip
    assert tokenize("skin.So it is 0.5") == ["skin", "so", "it", "is", "0.5"]
    assert tokenize("… !") == []


def test_bleu_by_hand() -> None:
    # Papineni et al. 2002, example 2: "the" is clipped to its two in the reference.
    scores = TextScores(["the the the the the the the"], ["the cat is on the mat"]).summary()
    assert scores["bleu1"] == pytest.approx(2 / 7)
    assert scores["bleu2"] == 0.0
    # 4 of 5 words, 3 of 4 pairs, 2 of 3, 1 of 2; one word shorter than the reference.
    scores = TextScores(["a b c d x"], ["a b c d e f"]).summary()
    brevity = math.exp(1 - 6 / 5)
    assert scores["bleu1"] == pytest.approx(brevity * 4 / 5)
    assert scores["bleu2"] == pytest.approx(brevity * math.sqrt(4 / 5 * 3 / 4))
    assert scores["bleu4"] == pytest.approx(brevity * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_bleu_is_of_the_corpus_not_the_mean_of_sentences() -> None:
    scores = TextScores(["a b c d", "x"], ["a b c d", "y z"]).summary()
    assert scores["bleu1"] == pytest.approx(math.exp(1 - 6 / 5) * 4 / 5)


def test_rouge_l_by_hand() -> None:
    # Lin 2004: "police killed the gunman" / "police kill the gunman" have 3 of 4 in order; P = R = 3/4 = F.
    words, true_words = ["police", "kill", "the", "gunman"], ["police", "killed", "the", "gunman"]
    assert rouge_l(words, true_words) == pytest.approx(3 / 4)
    precision, recall = 2 / 3, 2 / 5  # "a c" of "a x c" and "a b c d e"
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(list("axc"), list("abcde")) == pytest.approx(expected)
    assert rouge_l([], ["a"]) == rouge_l(["a"], []) == rouge_l(["a"], ["b"]) == 0.0


def test_common_subsequence_equals_the_textbook_recursion() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        first, second = ("".join(rng.choice(list("abcd"), int(rng.integers(0, 12)))) for _ in range(2))

        @cache
        def longest(i: int, j: int, first: str = first, second: str = second) -> int:
            if i == len(first) or j == len(second):
                return 0
            if first[i] == second[j]:
                return 1 + longest(i + 1, j + 1)
            return max(longest(i + 1, j), longest(i, j + 1))

        assert lcs_length(list(first), list(second)) == longest(0, 0)
        assert lcs_length(list(second), list(first)) == longest(0, 0)


def test_the_same_text_is_perfect_and_no_text_is_nothing() -> None:
    text = "A paper edge can be seen, so this is an attack."
    assert set(TextScores([text], [text.upper()]).summary().values()) == {1.0}
    assert set(TextScores(["", ""], [text, text]).summary().values()) == {0.0}
    assert TextScores([text, ""], [text, text]).summary()["rouge_l"] == 0.5
    assert all(math.isnan(value) for value in TextScores([], []).summary().values())
    with pytest.raises(ValueError, match="expected one each"):
        TextScores(["a"], [])


def test_weights_count_like_repeated_rows() -> None:
    candidates = ["a b c d e", "a a b", "x y z w v"]
    references = ["a b c e d", "a b b c", "x y z w"]
    weighted = TextScores(candidates, references).summary(np.array([2.0, 0.0, 1.0]))
    repeated = TextScores([candidates[i] for i in (0, 0, 2)], [references[i] for i in (0, 0, 2)]).summary()
    assert weighted == pytest.approx(repeated)
