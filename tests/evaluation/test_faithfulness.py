"""Deletion: masks of equal area, a system that looks where it says and one that does not, failures that stay alone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceshield.chat import AssistantDown
from faceshield.cli import app
from faceshield.evaluation import predict
from faceshield.evaluation.faithfulness import (
    Deletion,
    boxes_mask,
    covered,
    delete,
    random_area,
    summarize,
    token_masks,
)
from faceshield.records import Sample, Truth, write_jsonl
from faceshield.tasks import boxes_in_words

SIZE = (60, 40)  # width, height
PLACE = (5, 5, 15, 15)  # where attacks have a dark patch


class Patch:
    """Finds the dark patch: its score is the share of PLACE that is not dark; it points at `points_at`."""

    def __init__(self, points_at: tuple[int, int, int, int]) -> None:
        self.points_at = points_at

    def score(self, image: Any) -> float:
        patch = np.asarray(image)[PLACE[1] : PLACE[3], PLACE[0] : PLACE[2]]
        return float((patch.mean(-1) > 60).mean())

    def ask(self, image: Any, prompt: str) -> str:
        if self.score(image) > 0.5:
            return "There is no attack region."
        return f"The attack is at {boxes_in_words([self.points_at], SIZE)}."

    def importance(self, image: Any, prompt: str, *, face: str) -> Any:
        grid = np.zeros((12, 12), np.float32)
        x0, y0, x1, y1 = (value // 5 for value in self.points_at)
        grid[y0 + 2 : y1 + 2, x0:x1] = 1
        return SimpleNamespace(of_rgb=grid / grid.sum(), of_savp=None)


@pytest.fixture
def marked(tmp_path: Path, make_sample: Any) -> Path:
    rng, rows = np.random.default_rng(0), []
    for index in range(12):
        attack = index % 3 != 0
        picture = rng.integers(150, 250, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
        if attack:
            picture[PLACE[1] : PLACE[3], PLACE[0] : PLACE[2]] = 10
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
        boxes = [tuple(map(float, PLACE))] if attack else []
        fields = {"id": f"s{index}", "image": f"{index}.png", "size_wh": SIZE, "boxes": boxes, "subject": f"p{index % 5}"}
        sample: Sample = make_sample("Tattoo" if attack else "Bonafide", **fields)
        rows.append(sample)
    write_jsonl(tmp_path / "samples.jsonl", rows)
    return tmp_path / "samples.jsonl"


def measured(marked: Path, asker: Patch, out: Path, **options: Any) -> dict[str, Any]:
    found = out.parent / f"{out.stem}.predictions.jsonl"
    predict(marked, asker, found, tasks=["localization", "coarse"])
    return summarize(delete(found, asker, out, seed=0, **options), np.random.default_rng(0), repeats=50)


def test_evidence_that_counts_and_evidence_that_does_not(marked: Path, tmp_path: Path) -> None:
    honest = measured(marked, Patch(PLACE), tmp_path / "a" / "d.jsonl")
    assert (honest["pictures"], honest["compared"], honest["left_out"]) == (8, 8, {})
    assert honest["evidence"]["value"] == 1.0 and honest["score"]["value"] == 0.0
    assert honest["contrast"]["value"] == 1.0 and honest["contrast"]["ci95"] is None, "every draw gives the same"
    assert honest["log_odds"]["contrast"]["value"] == pytest.approx(2 * np.log(1e6 - 1))
    assert honest["evidence_moves_more"]["value"] == 1.0 and honest["share"] == pytest.approx(100 / 2400, abs=0.01)
    other = measured(marked, Patch((40, 20, 55, 35)), tmp_path / "b" / "d.jsonl")
    assert other["evidence"]["value"] == 0.0 and other["contrast"]["value"] <= 0.0
    assert other["evidence_moves_more"]["value"] == 0.0


def test_the_places_that_the_ranking_puts_first(marked: Path, tmp_path: Path) -> None:
    asked = Patch((5, 5, 25, 20))  # 4 x 3 tokens of the 96 inside the picture: a tenth is 10 of them
    found = measured(marked, asked, tmp_path / "d.jsonl", hide="tokens", controls=2)
    assert found["compared"] == 8 and found["share"] == pytest.approx(10 / 96)
    assert found["evidence"]["value"] > 0.5 > found["random"]["value"]


def test_a_run_goes_on_and_is_the_same(marked: Path, tmp_path: Path) -> None:
    asker, found = Patch(PLACE), tmp_path / "p.jsonl"
    predict(marked, asker, found, tasks=["localization"])
    delete(found, asker, tmp_path / "whole.jsonl", seed=3)
    delete(found, asker, tmp_path / "d.jsonl", seed=3, limit=3)
    delete(found, asker, tmp_path / "d.jsonl", seed=3)
    assert (tmp_path / "d.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    with pytest.raises(ValueError, match="was begun with controls 4, now 2"):
        delete(found, asker, tmp_path / "d.jsonl", seed=3, controls=2)
    predict(marked, asker, tmp_path / "other.jsonl", tasks=["localization"], limit=4)
    with pytest.raises(ValueError, match="was begun with predictions"):
        delete(tmp_path / "other.jsonl", asker, tmp_path / "d.jsonl", seed=3)


def test_the_evidence_of_one_model_is_not_hidden_from_another(marked: Path, tmp_path: Path) -> None:
    asker, found = Patch(PLACE), tmp_path / "p.jsonl"
    predict(marked, asker, found, tasks=["localization"], options={"weights": "0123"})
    asker.settings = {"weights": "4567"}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="is of other weights than mine"):
        delete(found, asker, tmp_path / "d.jsonl", seed=3, system="mine")
    asker.settings = {"weights": "0123"}  # type: ignore[attr-defined]
    delete(found, asker, tmp_path / "d.jsonl", seed=3, system="mine")


def test_what_cannot_be_compared_is_counted(marked: Path, tmp_path: Path) -> None:
    large, found = Patch((0, 0, 60, 30)), tmp_path / "p.jsonl"
    predict(marked, large, found, tasks=["localization"])
    (tmp_path / "1.png").write_bytes(b"no picture")
    rows = delete(found, large, tmp_path / "d.jsonl", seed=0)
    summary = summarize(rows, np.random.default_rng(0))
    (failure,) = summary.pop("failures")
    assert summary == {"pictures": 8, "compared": 0, "left_out": {"failed": 1, "no equal area elsewhere": 7}}
    assert "1.png" in failure
    assert delete(found, large, tmp_path / "d.jsonl", seed=0, limit=3) == rows[:3], "only what was asked for is summarised"
    with pytest.raises(ValueError, match="none of them an attack"):
        predict(marked, large, tmp_path / "q.jsonl", tasks=["coarse"])
        delete(tmp_path / "q.jsonl", large, tmp_path / "e.jsonl", seed=0)
    with pytest.raises(ValueError, match="expected a model with PVTM"):
        delete(found, SimpleNamespace(score=large.score), tmp_path / "e.jsonl", seed=0, hide="tokens")


def test_a_system_that_cannot_be_reached_ends_the_run_and_failures_are_tried_again(marked: Path, tmp_path: Path) -> None:
    asker, found, out = Patch(PLACE), tmp_path / "p.jsonl", tmp_path / "d.jsonl"
    predict(marked, asker, found, tasks=["localization"])
    whole = delete(found, asker, tmp_path / "whole.jsonl", seed=0)

    class Failing(Patch):
        error: Exception = AssistantDown("no such host")

        def score(self, image: Any) -> float:
            assert isinstance(image, Image.Image), "pictures are what `load` makes of a path"
            raise self.error

    failing = Failing(PLACE)
    with pytest.raises(AssistantDown):
        delete(found, failing, out, seed=0)
    assert out.read_text() == ""
    failing.error = RuntimeError("out of memory")
    assert {row.left_out for row in delete(found, failing, out, seed=0)} == {"failed: RuntimeError: out of memory"}
    assert delete(found, asker, out, seed=0) == whole


@pytest.mark.parametrize("seed", range(20))
def test_random_areas_are_equal_and_elsewhere(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(value) for value in rng.integers(8, 60, 2))
    x0, y0 = rng.uniform(0, width / 2), rng.uniform(0, height / 2)
    evidence = boxes_mask([(x0, y0, x0 + width / 2.2, y0 + height / 2.2), (0.0, 0.0, 2.5, 1.0)], (height, width))
    area = random_area(evidence, rng)
    assert area.sum() == evidence.sum() and not (area & evidence).any()
    picture = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    hidden = covered(picture, area)
    assert (hidden[~area] == picture[~area]).all() and len(np.unique(hidden[area], axis=0)) == 1
    maps = SimpleNamespace(of_rgb=rng.random((6, 6)), of_savp=rng.random((6, 6)))
    first, others = token_masks(maps, (height, width), 3, rng)
    assert first.any() and not any((first & other).any() for other in others)


@pytest.mark.parametrize(("size_hw", "side"), [((120, 216), 12), ((216, 100), 12), ((96, 96), 6), ((40, 96), 6)])
def test_random_tokens_hide_as_much_as_the_first_ones(size_hw: tuple[int, int], side: int) -> None:
    """Of a picture that is no square the outer tokens see padding too: to hide one of them hides less."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        maps = SimpleNamespace(of_rgb=rng.random((side, side)), of_savp=None)
        first, others = token_masks(maps, size_hw, 3, rng)
        assert first.any() and {int(other.sum()) for other in others} == {int(first.sum())}


def test_log_odds_show_what_saturation_hides() -> None:
    row = Deletion(id="a", image="a", hide="boxes", share=0.1, score=1e-5, hidden=1e-3, controls=[1e-5], truth=Truth())
    found = summarize([row], np.random.default_rng(0), repeats=0)
    assert found["evidence"]["value"] < 0.001 and found["log_odds"]["contrast"]["value"] == pytest.approx(4.606, abs=0.01)


def test_the_verb(checkpoint: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    found = tmp_path / "p" / "predictions.jsonl"

    def run(verb: str, *arguments: object) -> Any:
        return CliRunner().invoke(app, [verb, *map(str, arguments), "--model", str(checkpoint)])

    result = run("predict", samples_jsonl, "--tasks", "coarse", "--limit", 4, "--out", found)
    assert result.exit_code == 0, result.output
    # A random model's words are no verdict: it is told which pictures to look at.
    rows = [{**json.loads(line), "status": "parsed", "is_attack": True} for line in found.read_text().splitlines()]
    found.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "d" / "deletions.jsonl"
    result = run("faithfulness", found, "--hide", "tokens", "--controls", 2, "--out", out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "4 of 4 pictures compared" in result.output and "contrast:" in result.output
    assert json.loads(out.with_suffix(".metrics.json").read_text())["compared"] == 4
    assert (out.parent / "run.json").exists()
