from __future__ import annotations

import pytest

from faceshield.evaluation import table
from faceshield.evaluation.repeats import collected
from faceshield.evaluation.table import percent


def number(value: float | None, n: int = 100) -> dict:
    return {"value": value, "n": n, "ci95": None if value is None else [value - 0.01, value + 0.01]}


def metrics() -> dict:
    rates = {
        "acc": number(0.972),
        "hter": number(0.03),
        "apcer": number(0.02),
        "apcer_worst": {"type": "Makeup", **number(0.2)},
        "apcer_by_type": {},
        "bpcer": number(0.04),
        "acer": number(0.12),
    }
    threshold = {"value": 0.4321, "source": {"dataset": "sim-dev", "criterion": "eer"}}
    coarse = {
        "n_bonafide": 60,
        "n_attack": 40,
        "by_answer": {"threshold": "answer", **rates},
        "by_score": {"threshold": threshold, **rates, "acc": number(0.99)},
        "ranking": {"auc": number(0.999), "eer": number(0.025), "apcer_at_bpcer5": number(0.01)},
    }
    fine = {
        "acc": number(0.9),
        "macro_f1": number(0.88),
        "recall_by_type": {"Bonafide": number(1.0, 60), "Tattoo": number(0.5, 40)},
    }
    group = {"rows": 200, "unparsed": number(0.005), "error": number(0.0), "coarse": coarse, "fine": fine}
    return {"overall": group, "threshold": threshold, "notes": ["3 rows have no truth."]}


def test_numbers_are_percentages_with_intervals() -> None:
    assert percent(number(0.972)) == "97.20 [96.2, 98.2]"
    assert percent(number(None)) == percent(None) == "–"


def test_markdown_has_the_papers_columns_and_every_group() -> None:
    content = metrics()
    content["by"] = {"key": "source", "groups": {"photo": {**content["overall"]}}}
    text = table({"FaceShield": content}, form="markdown")
    assert "| Method | decided by | ACC(%) ↑ | HTER(%) ↓ | bona fide + attack |" in text
    assert "| FaceShield | answer | 97.20 [96.2, 98.2] | 3.00 [2.0, 4.0] | 60 + 40 |" in text
    assert "| FaceShield [photo] | score, t = 0.4321 | 99.00 [98.0, 100.0] |" in text
    assert "20.00 [19.0, 21.0] Makeup" in text
    assert "| Tattoo | 50.00 [49.0, 51.0] (n=40) |" in text
    assert "threshold 0.4321 from dataset sim-dev, criterion eer" in text and "3 rows have no truth." in text
    assert "Reasoning" not in text  # not measured, not shown


def test_plain_text_columns_line_up() -> None:
    block = table({"a": metrics(), "a much longer name": metrics()}).split("\n\n")[0].splitlines()
    assert block[0] == "Coarse-grained classification"
    assert len({len(line) for line in block[1:]}) == 1


def test_what_is_no_metrics_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no metrics"):
        table({})
    with pytest.raises(ValueError, match="x: no 'overall'"):
        table({"x": {"acc": 1}})
    with pytest.raises(ValueError, match="form 'html'"):
        table({"x": metrics()}, form="html")  # type: ignore[arg-type]


def test_a_few_texts_are_not_called_as_many_as_the_verdicts() -> None:
    content = metrics()
    verdicts = content["overall"]["coarse"]["by_answer"]
    content["overall"]["reasoning"] = {"by_answer": verdicts, "bleu1": number(0.7, 10)}
    assert "10 texts, 100 verdicts" in table({"FaceShield": content})


@pytest.mark.parametrize(("change", "what"), [({"threshold": None}, "threshold"), ({"rows": 100}, "test set")])
def test_runs_that_differ_in_more_than_their_seed_have_no_mean(change: dict, what: str) -> None:
    one, other = metrics(), metrics()
    (other if "threshold" in change else other["overall"]).update(change)
    assert collected([one, metrics()])["runs"] == 2
    with pytest.raises(ValueError, match=f"differ in their {what}"):
        collected([one, other])
