"""An adapter at a share of the way from its base: the weights between both, the share that ranks best."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from faceshield.model import is_adapter, load
from faceshield.predictor import FaceShieldPredictor
from faceshield.provenance import write_run
from faceshield.recipes.keep import keep_best
from faceshield.records import Sample, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    rng, rows = np.random.default_rng(1), []
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        attack = number % 2 == 0
        rows.append(
            Sample(
                id=str(number), image=f"{number}.png", dataset="toy", is_attack=attack, original_label="?", size_wh=(80, 80),
                presentation_type="Print" if attack else "Bonafide", split="dev", boxes=[],
            )
        )  # fmt: skip
    write_jsonl(tmp_path / "dev.jsonl", rows)
    return tmp_path / "dev.jsonl"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_weights_lie_between_base_and_adapter(
    checkpoint: Path, trained: Path, dev: Path, tmp_path: Path, share: float
) -> None:
    found = keep_best(trained, tmp_path / "kept", dev=dev, shares=[share])
    assert found["share"] == share and is_adapter(tmp_path / "kept")
    ends = load(checkpoint).model.state_dict(), load(trained).model.state_dict()
    kept = load(tmp_path / "kept")
    assert kept.drafts.table == load(trained).drafts.table
    assert kept.info.extra["kept"] == share
    moved = 0
    for name, value in kept.model.state_dict().items():
        base, learnt = ends[0][name], ends[1][name]
        torch.testing.assert_close(value, torch.lerp(base.float(), learnt.float(), share).to(value.dtype), atol=1e-5, rtol=1e-4)
        moved += not torch.equal(base, learnt)
    assert moved > 4


def test_what_was_kept_is_known_though_predictions_lie_beside_it(
    checkpoint: Path, trained: Path, dev: Path, tmp_path: Path
) -> None:
    found = keep_best(trained, tmp_path / "kept", dev=dev, shares=[0.25])
    (tmp_path / "kept" / "p.jsonl").write_text("")
    write_run(tmp_path / "kept" / "p.jsonl", config={"stage": "predict"}, seed=None, inputs=[])
    assert keep_best(trained, tmp_path / "kept", dev=dev) == found


def test_the_share_that_ranks_best_is_kept_as_it_was_seen(checkpoint: Path, trained: Path, dev: Path, tmp_path: Path) -> None:
    found = keep_best(trained, tmp_path / "kept", dev=dev)
    assert [one["share"] for one in found["tried"]] == [0, 0.25, 0.5, 0.75, 1]
    assert max(one["auc"] for one in found["tried"]) == next(x["auc"] for x in found["tried"] if x["share"] == found["share"])
    rows = [json.loads(line) for line in dev.read_text().splitlines()]
    for share, model in ((0.0, checkpoint), (found["share"], tmp_path / "kept"), (1.0, trained)):
        shield = FaceShieldPredictor.from_pretrained(model, device="cpu", threshold=0.5)
        scores = [score for score, _ in shield.score_many([dev.parent / row["image"] for row in rows])]
        right = np.array([1 - score if row["is_attack"] else score for score, row in zip(scores, rows, strict=True)])
        attack = np.array([row["is_attack"] for row in rows])
        loss = -(np.log(right[attack]).mean() + np.log(right[~attack]).mean()) / 2
        seen = next(one["log_loss"] for one in found["tried"] if one["share"] == share)
        assert seen == pytest.approx(loss, rel=1e-3), share

    stamp = (tmp_path / "kept/run.json").stat().st_mtime_ns
    assert keep_best(trained, tmp_path / "kept", dev=dev) == found
    assert (tmp_path / "kept/run.json").stat().st_mtime_ns == stamp
