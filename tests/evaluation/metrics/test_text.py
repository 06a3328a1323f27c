from __future__ import annotations

import importlib.util
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


def corpora():
    """250 sets of 1 to 12 pairs: empty answers, single words, copies, much and little in common."""
    rng = np.random.default_rng(0)
    words = ["a", "the", "paper", "edge", "screen", "is", "seen", "so", "this", "face", "attack", "bona", "fide"]
    for case in range(250):
        references, candidates = [], []
        for _ in range(int(rng.integers(1, 13))):
            reference = rng.choice(words, int(rng.integers(1, 20)))
            kept = [word for word in reference if rng.random() < (0.9, 0.5, 1.0)[case % 3]]
            guess = [*kept, *rng.choice(words, int(rng.integers(0, 4)))] if case % 5 else []
            references.append(" ".join(reference))
            candidates.append(" ".join(guess) if rng.random() < 0.9 else "")
        yield candidates, references


def test_bleu_equals_sacrebleu() -> None:
    from sacrebleu.metrics import BLEU

    nonzero = 0
    for candidates, references in corpora():
        ours = TextScores(candidates, references).summary()
        for order in (1, 2, 3, 4):
            oracle = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True)
            expected = oracle.corpus_score(candidates, [references]).score / 100
            assert ours[f"bleu{order}"] == pytest.approx(expected, abs=1e-9)
            nonzero += expected > 0
    assert nonzero > 500


@pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason='coco-caption\'s own code needs: pip install -e ".[meteor]"'
)
def test_bleu_and_rouge_equal_coco_caption() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    for candidates, references in corpora():
        truth = {i: [text] for i, text in enumerate(references)}
        given = {i: [text] for i, text in enumerate(candidates)}
        ours = TextScores(candidates, references).summary()
        # Of two empty texts, or a single space, it makes one empty word in common; a reference is never empty here.
        assert ours["rouge_l"] == pytest.approx(Rouge().compute_score(truth, given)[0], abs=1e-9)
        for order, expected in enumerate(Bleu(4).compute_score(truth, given, verbose=0)[0], start=1):
            # It adds 1e-15 to no match at all, which the fourth root makes 2e-4: those sets are sacrebleu's.
            if ours[f"bleu{order}"]:
                assert ours[f"bleu{order}"] == pytest.approx(expected, abs=1e-9, rel=2e-9)
