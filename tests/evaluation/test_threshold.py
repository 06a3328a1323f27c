from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from faceshield.evaluation import Threshold, choose_threshold
from faceshield.evaluation.development import check_apart, chosen_on
from faceshield.evaluation.metrics.pad import ScoreCurve, correct_by_score
from faceshield.evaluation.threshold import highest_rate, pictures_needed
from faceshield.records import Prediction, write_jsonl


def test_separable_scores_are_parted_in_the_middle_of_the_gap() -> None:
    chosen = choose_threshold([0.1, 0.2, 0.6, 0.9], [True, True, False, False], "eer", dataset="dev")
    assert chosen.value == pytest.approx(0.4)
    assert chosen.to_dict()["source"] == {
        "dataset": "dev",
        "criterion": "eer",
        "n": 4,
        "n_bonafide": 2,
        "n_attack": 2,
        "apcer": 0.0,
        "apcer_ci95": [0.0, pytest.approx(0.6576, abs=1e-4)],
        "bpcer": 0.0,
        "bpcer_ci95": [0.0, pytest.approx(0.6576, abs=1e-4)],
    }
    json.dumps(chosen.to_dict(), allow_nan=False)


def test_the_threshold_makes_the_decisions_its_evidence_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 50))
        attack = rng.random(n) < 0.5
        attack[:2] = [True, False]
        scores = np.round(rng.random(n) + 0.3 * ~attack, int(rng.integers(1, 4))) / 1.4
        for criterion in ("eer", "bpcer5", "bpcer20"):
            chosen = choose_threshold(scores, attack, criterion, dataset="dev")
            wrong = ~correct_by_score(scores, attack, chosen.value)
            assert wrong[attack].mean() == pytest.approx(chosen.source["apcer"], abs=1e-12)
            assert wrong[~attack].mean() == pytest.approx(chosen.source["bpcer"], abs=1e-12)
        assert chosen.source["bpcer"] <= 0.2 + 1e-12
        assert chosen.source["apcer"] == pytest.approx(ScoreCurve(scores, attack).apcer_at_bpcer(0.2))


def test_bpcer_spends_no_bona_fide_that_buys_nothing() -> None:
    scores, attack = [0.1] + [0.5 + i / 100 for i in range(40)], [True] + [False] * 40
    chosen = choose_threshold(scores, attack, "bpcer5", dataset="dev")
    assert chosen.value == pytest.approx(0.3) and chosen.source["bpcer"] == 0.0


def test_bona_fides_alone_give_the_highest_threshold_allowed() -> None:
    scores = [i / 100 for i in range(1, 41)]
    chosen = choose_threshold(scores, [False] * 40, "bpcer5", dataset="mine")
    assert chosen.value == pytest.approx(0.025) and chosen.source["bpcer"] == pytest.approx(0.05)
    assert chosen.source["apcer"] is None and chosen.source["apcer_ci95"] is None and chosen.source["n_attack"] == 0
    low, high = chosen.source["bpcer_ci95"]
    assert low < 0.05 < high
    with pytest.raises(ValueError, match="0 bona fide rows — expected some of the latter"):
        choose_threshold(scores, [True] * 40, "bpcer5", dataset="mine")


def test_how_many_pictures_a_rate_needs() -> None:
    """59 and 299 are the textbook figures; one fewer is not enough."""
    assert [pictures_needed(rate) for rate in (0.05, 0.01, 0.1)] == [59, 299, 29]
    for rate in (0.05, 0.01, 0.1):
        n = pictures_needed(rate)
        assert 1 - (1 - rate) ** n >= 0.95 > 1 - (1 - rate) ** (n - 1)
    with pytest.raises(ValueError, match="more than 0"):
        pictures_needed(0.0)


def test_the_highest_rate_that_the_errors_allow() -> None:
    """Clopper and Pearson: with that rate, so few errors or fewer have a chance of 5%; none in 59 is Wilks's case."""
    for errors, n in ((0, 59), (3, 80), (48, 967)):
        high = highest_rate(errors, n)
        fewer = sum(math.comb(n, k) * high**k * (1 - high) ** (n - k) for k in range(errors + 1))
        assert fewer == pytest.approx(0.05)
    assert highest_rate(0, 58) > 0.05 > highest_rate(0, 59)
    assert highest_rate(4, 4) == 1.0


def test_a_rate_of_others_is_below_the_bound_in_19_of_20_calibrations() -> None:
    """Also where the threshold is chosen on the very pictures; with uniform scores the true BPCER is the threshold itself."""
    rng, n = np.random.default_rng(0), 100
    chosen = [choose_threshold(rng.random(n), [False] * n, "bpcer5", dataset="dev") for _ in range(2000)]
    assert np.mean([threshold.value > 0.05 for threshold in chosen]) > 0.3, "the limit itself often does not hold for others"
    above = [threshold.value > highest_rate(round(threshold.source["bpcer"] * n), n) for threshold in chosen]
    assert 0.01 < np.mean(above) < 0.06


def test_neighbouring_floats_and_everything_rejected() -> None:
    low = 0.5
    high = math.nextafter(low, 1)
    assert choose_threshold([low, high], [True, False], "eer", dataset="dev").value == high
    # An attack scores highest: only above all scores is it an attack.
    chosen = choose_threshold([0.9, 0.1], [True, False], "bpcer100", dataset="dev")
    assert chosen.value > 0.9 and math.isfinite(chosen.value)


def test_polarity_flip_is_seen_in_the_evidence() -> None:
    flipped = choose_threshold([0.9, 0.8, 0.3, 0.1], [True, True, False, False], "eer", dataset="dev")
    assert flipped.source["apcer"] == flipped.source["bpcer"] == 1.0


@pytest.mark.parametrize("criterion", ["", "hter", "bpcer", "bpcer101", "BPCER5", "eer5"])
def test_unknown_criteria_are_refused(criterion: str) -> None:
    with pytest.raises(ValueError, match="criterion"):
        choose_threshold([0.1, 0.9], [True, False], criterion, dataset="dev")


@pytest.mark.parametrize(
    ("scores", "attack", "said"),
    [
        ([0.1, 0.9], [True, True], "2 attack and 0 bona fide rows"),
        ([0.1, 0.9], [False, False], "0 attack and 2 bona fide rows"),
        ([], [], "0 attack and 0 bona fide rows"),
        ([0.1, math.nan], [True, False], "1 of 2"),
        ([0.1, math.inf], [True, False], "infinite"),
    ],
)
def test_sets_that_cannot_choose_are_refused(scores: list[float], attack: list[bool], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choose_threshold(scores, attack, "eer", dataset="dev")


def test_a_threshold_needs_a_source_and_a_number() -> None:
    with pytest.raises(ValueError, match="without a source"):
        Threshold(0.5)
    with pytest.raises(ValueError, match="finite"):
        Threshold(math.nan, {"dataset": "dev"})


def test_an_apcer_limit_holds_the_attacks_and_not_the_bona_fides() -> None:
    scores = [0.9, 0.8, 0.7, 0.35, 0.6, 0.3, 0.2, 0.1]
    attack = [False] * 4 + [True] * 4
    held = choose_threshold(scores, attack, "apcer0", dataset="dev")
    assert 0.6 < held.value < 0.7 and (held.source["apcer"], held.source["bpcer"]) == (0.0, 0.25)
    other = choose_threshold(scores, attack, "bpcer0", dataset="dev")
    assert 0.3 < other.value < 0.35 and (other.source["apcer"], other.source["bpcer"]) == (0.25, 0.0)
    for wrong in ("apcer101", "apcer", "xpcer5"):
        with pytest.raises(ValueError, match="expected eer, or bpcerX or apcerX"):
            choose_threshold(scores, attack, wrong, dataset="dev")


def test_a_picture_of_both_sets_is_one_from_wherever_it_is_told(make_sample, tmp_path: Path) -> None:
    """Each list writes it as seen from its own folder."""
    dev, test = (tmp_path / name / "samples.jsonl" for name in ("dev", "test"))
    for file in (dev, test):
        file.parent.mkdir()
    shared = [make_sample("Print").model_copy(update={"image": "../images/1.png", "id": name}) for name in ("a", "b")]
    with pytest.raises(ValueError, match="1 pictures of .* are in .* too"):
        check_apart(shared[:1], dev, shared[1:], test)
    other = shared[1].model_copy(update={"image": "images/1.png"})
    check_apart(shared[:1], dev, [other], test)
    copies = [row.model_copy(update={"meta": {"sha256": "c0ffee"}}) for row in (shared[0], other)]
    with pytest.raises(ValueError, match=r"1 pictures of .* are in .* too \(a, …\)"):
        check_apart(copies[:1], dev, copies[1:], test)


def test_words_alone_choose_no_threshold(tmp_path: Path) -> None:
    rows = [
        Prediction(
            id=f"{n}:coarse", sample_id=str(n), image="0.png", task="coarse", question="?", answer="attack", status="parsed",
            is_attack=True, truth={"is_attack": n == 1},
        )
        for n in range(2)
    ]  # fmt: skip
    write_jsonl(tmp_path / "dev.jsonl", rows)
    with pytest.raises(ValueError, match="answers in words, no scores .* score --answer"):
        chosen_on([tmp_path / "dev.jsonl"], "eer")


def test_drawn_people_are_in_one_set_alone(tmp_path: Path) -> None:
    """Two sets of one seed and split show the same people, whatever else they differ in."""

    def of(dataset: str, subject: str) -> list[Prediction]:
        truth = {"is_attack": False, "dataset": dataset, "subject": subject}
        return [
            Prediction(
                id=f"{dataset}-0:coarse", sample_id=f"{dataset}-0", image=f"{dataset}/0.png", task="coarse", question="?",
                status="parsed", bonafide_score=0.5, truth=truth,
            )
        ]  # fmt: skip

    dev, test = tmp_path / "dev.jsonl", tmp_path / "test.jsonl"
    with pytest.raises(ValueError, match=r"the same 1 drawn people \(drawn-7-3, …\) — expected other people in each"):
        check_apart(of("sim-drawn-7-a430", "drawn-7-3"), dev, of("sim-drawn-7-00a8", "drawn-7-3"), test)
    both = of("sim-drawn-5-a430", "drawn-5-1")
    with pytest.raises(ValueError, match="drawn-7-3"):
        check_apart([*both, *of("sim-drawn-7-a430", "drawn-7-3")], dev, [*both, *of("sim-drawn-7-00a8", "drawn-7-3")], test)
    check_apart(of("sim-drawn-7-a430", "drawn-7-3"), dev, of("sim-drawn-7-00a8", "drawn-7-test-3"), test)
    another = [row.model_copy(update={"image": "sim-drawn-5-a430/1.png"}) for row in both]
    check_apart(both, dev, another, test)  # one folder, divided
    again = [row.model_copy(update={"image": "again/0.png"}) for row in both]  # taken again, under the set's own name
    with pytest.raises(ValueError, match="drawn-5-1"):
        check_apart(both, dev, again, test)
