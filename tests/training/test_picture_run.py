"""A run over pictures: its order, its randomness, its rate, and that a stopped one goes on where it was."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from faceshield.model import Checkpoint, load
from faceshield.provenance import alone_in
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.picture_run import PictureConfig, PictureRun
from faceshield.training.pictures import load_pictures
from faceshield.training.schedule import Clock, cosine_rate


class Toy(PictureRun):
    """One linear layer, drawn towards nothing."""

    told: list[tuple[list[int], float, float, float, bool]]
    left: list[Any]

    def train_step(self, rows: Any, done: float, rate: float) -> dict[str, float]:
        self.told.append((rows.tolist(), done, rate, float(self.step_rng().random()), self.modules["a"].training))
        loss = 1e3 * self.modules["a"](torch.ones(1, 3)).pow(2).sum()
        found = self.update({"x": loss}, {}, len(rows), rate)
        self.left = [value.grad for value in self.trained]
        return found

    def evaluate(self) -> dict[str, Any]:
        return {"n": len(self.dev_rows)}


@pytest.fixture
def toy(toy_folder: Path) -> Checkpoint:
    return load(toy_folder)


def made(data: Path, out: Path, toy: Checkpoint, **changes: Any) -> Toy:
    values: dict[str, Any] = {
        "data": data, "out": out, "cache": out.parent / "cache", "pictures": 36, "batch_size": 6, "eval_every": 12,
        "threads": 1, "save_minutes": 9.0, "log_every": 1, "weight_decay": 0.0, "learning_rate": 1e-2,
    }  # fmt: skip
    config = PictureConfig(**{**values, **changes})
    torch.manual_seed(0)
    run = Toy(config, PRESENTATION_TYPES, {"a": nn.Linear(3, 2)}, load_pictures([data], PRESENTATION_TYPES), toy.processor)
    run.told = []
    return run


def test_a_run_that_goes_on_in_a_later_epoch_sees_what_comes_next(splits_jsonl: Path, toy: Checkpoint, tmp_path: Path) -> None:
    """16 pictures in steps of 6: four of every epoch are not seen."""
    run = made(splits_jsonl, tmp_path / "out", toy)
    run.load()
    whole = [rows.tolist() for rows in itertools.islice(run._batches(), 7)]
    for step, wanted in enumerate(whole):
        run.seen = 6 * step
        assert next(run._batches()).tolist() == wanted
    assert whole[:2] != whole[2:4] != whole[4:6], "every epoch has its own order"
    assert set(sum(whole, [])) <= set(run.train_rows.tolist())


def test_a_run_steps_by_its_schedule_with_new_randomness_and_no_old_gradients(
    splits_jsonl: Path, toy: Checkpoint, tmp_path: Path
) -> None:
    run = made(splits_jsonl, tmp_path / "out", toy, warmup=0.4)
    run.run()
    rows, done, rates, drawn, training = zip(*run.told, strict=True)
    assert rates == pytest.approx([1e-2 * cosine_rate(share, 0.4) for share in done]) and max(rates[:2]) < 0.6e-2
    assert len(set(drawn)) == len(rows) == 6 and all(training), "evaluation at 12 and 24 pictures leaves no trace"
    assert run.left == [None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_runs_do_not_write_into_one_folder(splits_jsonl: Path, toy: Checkpoint, tmp_path: Path) -> None:
    run = made(splits_jsonl, tmp_path / "out", toy)
    with alone_in(tmp_path / "out"), pytest.raises(ValueError, match=f"{tmp_path / 'out'}: another run is writing it"):
        run.run()
    run.run()
    assert not list((tmp_path / "out").glob(".run*"))


def test_gradients_of_a_run_are_clipped(splits_jsonl: Path, toy: Checkpoint, tmp_path: Path) -> None:
    """To so little that Adam's eps swallows them."""
    run = made(splits_jsonl, tmp_path / "out", toy, clip=1e-13)
    before = [value.detach().clone() for value in run.trained]
    run.run()
    assert all(float((old - new.detach()).abs().max()) < 1e-5 for old, new in zip(before, run.trained, strict=True))


def test_what_is_seen_more_often_counts_more(splits_jsonl: Path, toy: Checkpoint, tmp_path: Path) -> None:
    plain, more = (made(splits_jsonl, tmp_path / "out", toy, oversample=told) for told in ({}, {"Print": 3.0}))
    for run in (plain, more):
        run.load()
    assert torch.equal(plain.type_weights, more.type_weights)
    assert len(more._epoch_rows(0)) > len(plain._epoch_rows(0))


def test_the_minutes_before_a_stop_count(splits_jsonl: Path, toy: Checkpoint, tmp_path: Path) -> None:
    first = made(splits_jsonl, tmp_path / "out", toy, pictures=6)
    first.run()
    first.clock = Clock(3600.0)
    first._save(tmp_path / "out/state.safetensors")
    again = made(splits_jsonl, tmp_path / "out", toy, minutes=30.0)
    again.run()
    assert again.seen == 6 and again.told == []
