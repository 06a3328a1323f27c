from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from faceshield.evaluation import Threshold, score
from faceshield.evaluation.metrics.intervals import wilson
from faceshield.records import Prediction, Truth

BOX = (0.0, 0.0, 10.0, 10.0)
HALF = (0.0, 0.0, 10.0, 5.0)
DEV = Threshold(0.5, {"dataset": "dev", "criterion": "eer", "n": 10})


def row(sample: str, task: str, kind: str, *, source: str = "drawn", reference: str | None = None, **fields: Any) -> Prediction:
    attack = kind != "Bonafide"
    return Prediction(
        id=f"{sample}:{task}",
        sample_id=sample,
        image=f"{sample}.png",
        task=task,
        question="?",
        status=fields.pop("status", "parsed"),
        truth=Truth(
            is_attack=attack,
            presentation_type=kind,
            boxes=[BOX] if attack else [],
            size_wh=(20, 20),
            answer=reference,
            dataset="sim",
            subject=f"person-{sample}",
            meta={"source": source},
        ),
        **fields,
    )


def coarse(sample: str, kind: str, says: bool | None, value: float | None, **more: Any) -> Prediction:
    status = "parsed" if says is not None else "unparsed"
    return row(sample, "coarse", kind, is_attack=says, answer="…", bonafide_score=value, status=status, **more)


COARSE = [
    # sample, truth, the answer says attack, bonafide_score
    coarse("a", "Bonafide", False, 0.9),
    coarse("b", "Bonafide", False, 0.5),  # on the threshold: bona fide
    coarse("c", "Bonafide", None, 0.8, source="photo"),  # unread answer, good score
    coarse("d", "Bonafide", True, 0.2, source="photo"),
    coarse("e", "Print", True, 0.1),
    coarse("f", "Print", False, 0.5),  # on the threshold: bona fide, wrong
    coarse("g", "Replay", True, 0.3, source="photo"),
    coarse("h", "Replay", True, None, source="photo"),  # good answer, no score
]


def scored(rows: list[Prediction], threshold: Threshold | None = DEV, **options: Any) -> dict[str, Any]:
    result = score(rows, threshold=threshold, rng=np.random.default_rng(0), repeats=50, **options)
    json.dumps(result, allow_nan=False)
    return result


def test_coarse_by_answer_and_by_score_by_hand() -> None:
    section = scored(COARSE)["overall"]["coarse"]
    by_answer, by_score = section["by_answer"], section["by_score"]
    assert by_answer["threshold"] == "answer"
    assert by_score["threshold"] == {"value": 0.5, "source": {"dataset": "dev", "criterion": "eer", "n": 10}}
    # answers: c unread and d wrong of 4 bona fides, f wrong of 4 attacks
    assert by_answer["acc"]["value"] == pytest.approx(5 / 8)
    assert by_answer["bpcer"]["value"] == pytest.approx(2 / 4)
    assert by_answer["apcer"]["value"] == pytest.approx(1 / 4)
    assert by_answer["apcer_worst"] == {"type": "Print", **by_answer["apcer_by_type"]["Print"]}
    assert by_answer["hter"]["value"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert by_answer["acer"]["value"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    # scores: d of 4 bona fides, f and h (no score) of 4 attacks
    assert by_score["acc"]["value"] == pytest.approx(5 / 8)
    assert by_score["bpcer"]["value"] == pytest.approx(1 / 4)
    assert by_score["hter"]["value"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert (section["missing_scores"], section["missing_scores_bonafide"]) == (1, 0)
    # Pairs won of 4 x 4: a 3, b 2.5, c 3, d 1 (d beats e alone; b ties f); none against h.
    assert section["ranking"]["auc"]["value"] == pytest.approx((3 + 2.5 + 3 + 1) / 16)
    assert section["unparsed"]["value"] == pytest.approx(1 / 8)
    for value in (by_answer["acc"], by_answer["hter"], section["ranking"]["auc"]):
        assert value["n"] == 8 and value["ci95"][0] <= value["value"] <= value["ci95"][1]


def test_a_flipped_score_is_seen_and_noted() -> None:
    flipped = [
        item.model_copy(update={"bonafide_score": None if item.bonafide_score is None else 1 - item.bonafide_score})
        for item in COARSE[:7]
    ]
    right, wrong = scored(COARSE[:7]), scored(flipped)
    assert right["overall"]["coarse"]["by_score"]["acc"]["value"] > 0.7
    assert wrong["overall"]["coarse"]["by_score"]["acc"]["value"] < 0.5
    assert any("upside down" in note for note in wrong["notes"])
    assert not any("upside down" in note for note in right["notes"])


def test_without_a_threshold_scores_judge_nothing() -> None:
    result = scored(COARSE, None)
    assert result["threshold"] is None and "by_score" not in result["overall"]["coarse"]
    assert result["overall"]["coarse"]["ranking"]["eer"]["value"] is not None


def test_groups_are_scored_apart() -> None:
    for key in ("source", "meta.source"):
        by = scored(COARSE, by=key)["by"]
        assert by["key"] == key and set(by["groups"]) == {"drawn", "photo"}
        assert by["groups"]["drawn"]["coarse"]["by_answer"]["acc"]["value"] == pytest.approx(3 / 4)
        assert by["groups"]["photo"]["coarse"]["by_answer"]["acc"]["value"] == pytest.approx(2 / 4)
    with pytest.raises(ValueError, match="expected one of dataset, presentation_type, subject, meta.source"):
        scored(COARSE, by="video")


def test_attacks_without_a_type_are_noted() -> None:
    untyped = [item.model_copy(update={"truth": Truth(is_attack=item.truth.is_attack)}) for item in COARSE]
    assert any("No attack has a type" in note for note in scored(untyped)["notes"])
    assert not any("No attack has a type" in note for note in scored(COARSE)["notes"])
    with pytest.raises(ValueError, match="no prediction has 'presentation_type' — expected one of none"):
        scored(untyped, by="presentation_type")


def test_the_order_of_rows_changes_nothing() -> None:
    assert scored(COARSE) == scored(COARSE[::-1])


def test_one_class_has_its_rate_and_no_hter() -> None:
    section = scored(COARSE[:4])["overall"]["coarse"]
    assert section["by_score"]["bpcer"]["value"] == pytest.approx(1 / 4)
    assert section["by_score"]["hter"] == {"value": None, "n": 4, "ci95": None}
    assert section["by_score"]["apcer_worst"] == {"type": None, "value": None, "n": 0, "ci95": None}
    assert section["ranking"]["auc"]["value"] is None


def test_fine_by_hand() -> None:
    rows = [
        row("a", "fine", "Bonafide", answer="…", is_attack=False, presentation_type="Bonafide"),
        row("b", "fine", "Print", answer="…", is_attack=True, presentation_type="Print"),
        row("c", "fine", "Print", answer="…", is_attack=True, presentation_type="Replay"),
        row("d", "fine", "Replay", answer="?!", status="unparsed"),
    ]
    fine = scored(rows)["overall"]["fine"]
    assert fine["acc"]["value"] == pytest.approx(2 / 4)
    assert {name: value["value"] for name, value in fine["recall_by_type"].items()} == {
        "Bonafide": 1.0,
        "Print": 0.5,
        "Replay": 0.0,
    }
    # F1: Bonafide 1, Print 2/3, Replay 0
    assert fine["macro_f1"]["value"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    counts = np.array(fine["confusion"]["counts"])
    names, columns = fine["confusion"]["rows"], fine["confusion"]["columns"]
    assert counts.sum() == 4 and counts[names.index("Replay"), columns.index("unparsed")] == 1


def test_reasoning_has_words_and_a_verdict() -> None:
    text = "A paper edge can be seen, so this is a presentation attack of type Print."
    rows = [
        row("a", "reasoning", "Print", answer=text, reference=text, is_attack=True),
        row("b", "reasoning", "Bonafide", answer=None, reference="x y z", status="error", error="no picture"),
    ]
    section = scored(rows)["overall"]["reasoning"]
    assert section["by_answer"]["acc"]["value"] == 0.5
    assert section["rouge_l"]["value"] == pytest.approx(0.5)
    assert section["bleu1"]["value"] == pytest.approx(np.exp(1 - 18 / 15))  # all 15 right, 3 missing
    assert section["error"]["value"] == 0.5 and section["tokenizer"]


def test_localization_by_hand() -> None:
    unannotated = row("e", "localization", "Makeup", answer="…", is_attack=True, boxes=[BOX])
    unannotated = unannotated.model_copy(update={"truth": unannotated.truth.model_copy(update={"boxes": []})})
    rows = [
        row("a", "localization", "Print", answer="…", is_attack=True, boxes=[BOX], bonafide_score=0.1),
        row("b", "localization", "Print", answer="…", is_attack=True, boxes=[HALF], bonafide_score=0.2),
        row("c", "localization", "Bonafide", answer="…", is_attack=True, boxes=[BOX], bonafide_score=0.15),
        row("d", "localization", "Bonafide", answer="??", status="unparsed", bonafide_score=0.9),
        row("f", "localization", "Bonafide", answer="…", is_attack=False, bonafide_score=0.9),
        row("g", "localization", "Replay", answer="??", status="unparsed", bonafide_score=0.3),
        unannotated,
    ]
    section = scored(rows)["overall"]["localization"]
    assert section["unannotated_attacks"] == 1
    assert section["mean_iou"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert section["hit50"]["value"] == pytest.approx(2 / 3) and section["hit50"]["n"] == 3
    assert section["hit50_by_type"]["Replay"]["value"] == 0.0
    assert section["false_boxes"]["value"] == pytest.approx(2 / 3)  # c has one, d cannot be read
    # Ranked a (hit), c (miss), b (hit), of three true boxes: precision 1 to recall 1/3, 2/3 to 2/3, 0 beyond.
    assert section["ap50"]["value"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101, abs=1e-12)
    assert section["ranked_by"] == "1 - bonafide_score"


def test_boxes_are_ranked_by_the_coarse_score_where_they_have_none() -> None:
    boxes = [
        row("a", "localization", "Print", answer="…", is_attack=True, boxes=[BOX]),
        row("b", "localization", "Bonafide", answer="…", is_attack=True, boxes=[BOX]),
    ]
    first = [coarse("a", "Print", True, 0.1), coarse("b", "Bonafide", True, 0.4)]
    last = [coarse("a", "Print", True, 0.9), coarse("b", "Bonafide", True, 0.4)]
    assert scored(boxes + first)["overall"]["localization"]["ap50"]["value"] == 1.0
    assert scored(boxes + last)["overall"]["localization"]["ap50"]["value"] == pytest.approx(0.5)
    assert "equal" in scored(boxes)["overall"]["localization"]["ranked_by"]


def test_boxes_of_equal_confidence_are_not_ranked_by_how_ids_are_spelt() -> None:
    """A folder's "attack/…" comes before "real/…": all true boxes would be ranked first."""
    found = []
    for attack, real in (("attack", "real"), ("spoof", "live")):
        rows = [row(f"{attack}/{n}", "localization", "Print", answer="…", is_attack=True, boxes=[BOX]) for n in range(50)]
        rows += [row(f"{real}/{n}", "localization", "Bonafide", answer="…", is_attack=True, boxes=[BOX]) for n in range(50)]
        found.append(scored(rows)["overall"]["localization"]["ap50"]["value"])
    assert all(0.4 < value < 0.75 for value in found)  # half of the boxes are right


def test_where_every_call_failed_every_decision_is_an_error() -> None:
    lost = {"answer": None, "is_attack": None, "bonafide_score": None, "status": "error"}
    silent = [item.model_copy(update={"answer": None, "is_attack": None, "status": "parsed"}) for item in COARSE[1:]]
    one_lost = scored([COARSE[0].model_copy(update=lost), *silent])["overall"]["coarse"]
    assert one_lost["by_answer"] is None  # of a system that only scores
    section = scored([item.model_copy(update=lost) for item in COARSE], None)["overall"]["coarse"]
    assert section["by_answer"]["acc"]["value"] == 0.0 and section["by_answer"]["hter"]["value"] == 1.0


def test_no_error_among_few_pictures_is_not_certain() -> None:
    rows = [coarse(f"r{n}", "Bonafide", False, 0.9) for n in range(20)]
    rows += [coarse(f"a{n}", "Print" if n < 10 else "Replay", True, 0.1) for n in range(40)]
    ranking = scored(rows)["overall"]["coarse"]["ranking"]
    of_attacks, of_bonafides, of_prints = (wilson(0, n)[1] for n in (40, 20, 10))
    for name, upper in (
        ("apcer_at_bpcer5", of_attacks), ("bpcer_at_apcer1", of_bonafides), ("bpcer_at_apcer_worst1", of_bonafides),
        ("apcer_worst_at_bpcer1", of_prints), ("eer", np.hypot(of_attacks, of_bonafides) / 2),
    ):  # fmt: skip
        assert ranking[name]["value"] == 0 and ranking[name]["ci95"] == pytest.approx([0, upper]), name
    assert ranking["auc"]["value"] == 1 and ranking["auc"]["ci95"] == pytest.approx([1 - of_bonafides, 1])
    counts = [ranking[name]["n"] for name in ("eer", "apcer_at_bpcer5", "bpcer_at_apcer5", "apcer_worst_at_bpcer5")]
    assert counts == [60, 40, 20, 10]
    one_person = [item.model_copy(update={"truth": item.truth.model_copy(update={"subject": "s"})}) for item in rows]
    alone = scored(one_person)["overall"]["coarse"]["ranking"]
    assert alone["eer"]["ci95"] == ranking["eer"]["ci95"], "a count of that size is there all the same"


def test_scores_that_are_perfectly_calibrated_get_no_interval_that_denies_it() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(300)
    rows = [coarse(f"{n}", "Bonafide" if rng.random() < v else "Print", True, float(v)) for n, v in enumerate(values)]
    rows.append(coarse("no face", "Bonafide", None, None))
    error = scored(rows)["overall"]["coarse"]["calibration"]["ece"]
    assert error["ci95"] is None and error["n"] == 300 and 0 < error["value"] < 0.15


def test_frames_of_one_recording_are_drawn_together_where_nobody_is_named() -> None:
    """Thirty frames of one video are one presentation: as thirty, the interval would be several times too narrow."""

    def frames(video: str | None) -> list[Prediction]:
        rows = []
        for number in range(20):
            kind, right = ("Bonafide", number % 4 != 0) if number % 2 else ("Print", number % 5 != 0)
            score = 0.9 if (kind == "Bonafide") == right else 0.1
            for frame in range(15):
                one = coarse(f"v{number}-{frame}", kind, score < 0.5, score)
                truth = {"subject": None, "video": video and f"v{number}"}
                rows.append(one.model_copy(update={"truth": one.truth.model_copy(update=truth)}))
        return rows

    def width(rows: list[Prediction]) -> float:
        low, high = scored(rows)["overall"]["coarse"]["ranking"]["auc"]["ci95"]
        return float(high - low)

    assert width(frames("named")) > 2 * width(frames(None))


def test_the_worst_species_is_another_than_the_worst_type() -> None:
    def of(label: str, attack: Prediction) -> Prediction:
        return attack.model_copy(update={"truth": attack.truth.model_copy(update={"original_label": label})})

    rows = [coarse("a", "Bonafide", False, 0.9), coarse("r", "Replay", True, 0.1)]
    rows += [of("paper glasses", coarse(f"p{n}", "Glasses", n > 1, 0.9 if n < 2 else 0.1)) for n in range(3)]
    rows += [of("funny eyes", coarse(f"f{n}", "Glasses", True, 0.1)) for n in range(5)]
    found = scored(rows)["overall"]["coarse"]["by_answer"]
    assert found["apcer_worst"]["type"] == "Glasses" and found["apcer_worst"]["value"] == pytest.approx(2 / 8)
    assert found["apcer_worst_species"]["species"] == "Glasses/paper glasses"
    assert found["apcer_worst_species"]["value"] == pytest.approx(2 / 3) and found["apcer_worst_species"]["n"] == 3
    assert set(found["apcer_by_species"]) == {"Glasses/funny eyes", "Glasses/paper glasses", "Replay/unknown"}
    groups = scored(rows, by="original_label")["by"]["groups"]
    assert set(groups) == {"(none)", "funny eyes", "paper glasses"}
    assert "apcer_by_species" not in scored(COARSE)["overall"]["coarse"]["by_answer"]


def test_two_data_sets_may_call_different_things_alike() -> None:
    def of(dataset: str, attack: Prediction) -> Prediction:
        return attack.model_copy(update={"truth": attack.truth.model_copy(update={"original_label": "3", "dataset": dataset})})

    rows = [coarse("a", "Bonafide", False, 0.9), *(of("casia-fasd", coarse(f"c{n}", "Print", False, 0.9)) for n in range(2))]
    rows += [of("oulu-npu", coarse(f"o{n}", "Print", True, 0.1)) for n in range(18)]
    worst = scored(rows)["overall"]["coarse"]["by_answer"]["apcer_worst_species"]
    assert (worst["species"], worst["value"], worst["n"]) == ("casia-fasd: Print/3", 1.0, 2)


def test_boxes_are_also_judged_as_of_a_model_that_has_no_score() -> None:
    rows = []
    for number in range(40):
        right = number % 2 == 0
        rows.append(coarse(f"s{number}", "Print", True, 0.1 if right else 0.6))
        rows.append(row(f"s{number}", "localization", "Print", boxes=[BOX if right else (15.0, 15.0, 20.0, 20.0)]))
    found = scored(rows)["overall"]["localization"]
    silent = [item.model_copy(update={"bonafide_score": None}) for item in rows]
    alone = scored(silent)["overall"]["localization"]
    assert found["ap50"]["value"] > found["ap50_unranked"]["value"] + 0.1
    assert alone["ap50"]["value"] == pytest.approx(found["ap50_unranked"]["value"])


def test_a_system_without_words_is_decided_at_a_half_too_and_has_no_decisions_by_answer() -> None:
    rows = [item.model_copy(update={"answer": None, "is_attack": None, "status": "parsed"}) for item in COARSE]
    strict = Threshold(0.95, {"dataset": "dev"})
    silent, spoken = (scored(given, strict)["overall"]["coarse"] for given in (rows, COARSE))
    assert silent["by_answer"] is None and "by_half" not in spoken
    half, at_half = silent["by_half"], scored(COARSE)["overall"]["coarse"]["by_score"]
    assert half["threshold"] == at_half["threshold"]["value"] == 0.5 and half["bpcer"] == at_half["bpcer"]
    assert half["apcer_by_type"] == at_half["apcer_by_type"] and half["bpcer"] != silent["by_score"]["bpcer"]


def test_rows_without_truth_are_counted_and_left_out() -> None:
    blind = COARSE[0].model_copy(update={"id": "z:coarse", "truth": Truth()})
    result = scored([*COARSE, blind])
    assert result["unlabelled_rows"] == 1 and result["overall"]["rows"] == 8
    for rows in ([], [blind]):
        with pytest.raises(ValueError, match="none with a truth"):
            scored(rows)


def test_boxes_of_a_picture_without_a_score_are_ranked_last() -> None:
    rows = [
        row("a", "localization", "Bonafide", answer="…", is_attack=True, boxes=[BOX]),
        row("b", "localization", "Print", answer="…", is_attack=True, boxes=[BOX], bonafide_score=0.9),
    ]
    assert scored(rows)["overall"]["localization"]["ap50"]["value"] == 1.0


def test_a_type_beside_an_answer_that_failed_is_an_error() -> None:
    """A system that scores has a type for it, and no answer."""
    rows = [row("a", "fine", "Print", status="error", presentation_type="Print")]
    rows += [row("b", "fine", "Print", answer="…", presentation_type="Print")]
    assert scored(rows)["overall"]["fine"]["acc"]["value"] == 0.5


def test_a_group_in_which_every_call_failed_is_one_of_the_same_system() -> None:
    """A classifier without words has none in any group, and its decisions by score are shown for all."""
    rows = [
        row(f"a{n}", "coarse", kind, bonafide_score=0.9 - 0.8 * n, source="one") for n, kind in enumerate(("Bonafide", "Print"))
    ]
    rows += [row(f"b{n}", "coarse", kind, status="error", source="two") for n, kind in enumerate(("Bonafide", "Print"))]
    groups = scored(rows, by="source")["by"]["groups"]
    for name, acc in (("one", 1.0), ("two", 0.0)):
        coarse = groups[name]["coarse"]
        assert coarse["by_answer"] is None
        assert coarse["by_half"]["acc"]["value"] == coarse["by_score"]["acc"]["value"] == acc
    assert "ranking" not in groups["two"]["coarse"]


def test_no_interval_depends_on_what_else_is_measured() -> None:
    fine = [
        row(name, "fine", kind, presentation_type=kind) for name, kind in (("a", "Bonafide"), ("e", "Print"), ("g", "Replay"))
    ]
    assert scored([*COARSE, *fine])["overall"]["coarse"] == scored(COARSE)["overall"]["coarse"]


def test_a_bona_fide_faces_own_cues_are_no_false_alarm() -> None:
    told = "The picture shows pores on the skin, so this face is bona fide."
    live = row("a", "reasoning", "Bonafide", answer=told, reference=told, is_attack=False)
    live = live.model_copy(update={"truth": live.truth.model_copy(update={"meta": {"cues": ["pores on the skin"]}})})
    attack = row("e", "reasoning", "Print", answer="A paper edge, so this is an attack.", is_attack=True)
    attack = attack.model_copy(update={"truth": attack.truth.model_copy(update={"meta": {"cues": ["a paper edge"]}})})
    assert scored([live, attack])["overall"]["cues"]["false_cues_on_bonafide"]["value"] == 0.0
