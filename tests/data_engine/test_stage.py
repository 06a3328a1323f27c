"""Stages: the output depends only on the input, whatever finishes first and wherever a run is interrupted."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.stage import AssistantDown, Outcome, run_stage
from faceshield.records import Dialogue, image_path, read_jsonl

ITEMS = list(range(40))


class Work:
    """Doubles numbers and rejects multiples of seven; can stop at a given item and be slow for every fifth."""

    def __init__(self, stop_at: int | None = None, slow: float = 0.0) -> None:
        self.stop_at, self.slow, self.done = stop_at, slow, []
        self.now = self.most = 0
        self.lock = threading.Lock()

    def __call__(self, item: int) -> Outcome:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if self.slow and item % 5 == 0:
            time.sleep(self.slow)
        with self.lock:
            self.now -= 1
            self.done.append(item)
        if item == self.stop_at:
            raise KeyboardInterrupt
        if item % 7 == 0:
            return Outcome(rejects=[{"id": str(item), "filter": "seven", "reason": "é"}])
        return Outcome(rows=[{"id": str(item), "value": 2 * item}])


def stage(folder: Path, work, **options):
    source = folder / "in.txt"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("in")
    return run_stage(folder / "out.jsonl", ITEMS, work, config={"a": 1}, seed=0, inputs=[source], **options)


def test_its_own_input_is_no_output(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("in")
    with pytest.raises(ValueError, match="read too and would be overwritten"):
        run_stage(source, ITEMS, Work(), config={}, seed=0, inputs=[source])
    assert source.read_text() == "in"


def test_order_is_the_inputs_and_concurrency_is_bounded(tmp_path: Path) -> None:
    one, many = Work(), Work(slow=0.02)
    result = stage(tmp_path / "one", one)
    stage(tmp_path / "many", many, backend=SimpleNamespace(workers=4, settings=None, calls=0))
    for name in ("out.jsonl", "out.rejects.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    assert (result.rows, result.rejects) == (34, 6) and many.most <= 4
    assert not list(tmp_path.glob("*/*.journal"))
    run = json.loads((tmp_path / "one" / "run.json").read_text())
    assert run["output"] == "out.jsonl" and run["config"]["a"] == 1


@pytest.mark.parametrize("stop_at", [0, 1, 17, 39])
def test_a_stopped_run_goes_on_and_writes_the_same_file(tmp_path: Path, stop_at: int) -> None:
    stage(tmp_path / "whole", Work())
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "cut", Work(stop_at))
    assert not (tmp_path / "cut" / "out.jsonl").exists()
    again = Work()
    stage(tmp_path / "cut", again)
    assert again.done == ITEMS[stop_at:], "nothing is done twice"
    for name in ("out.jsonl", "out.rejects.jsonl"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_an_output_whose_pictures_lie_elsewhere_now_is_not_there_before(samples_jsonl: Path, tmp_path: Path) -> None:
    """Image paths in the output are relative to it and lead to the input's pictures."""
    out = tmp_path / "out" / "d.jsonl"
    moved = samples_jsonl.parent.with_name("moved")
    assert not generate(samples_jsonl, out, GenerateConfig(), seed=0).reused
    assert generate(samples_jsonl, out, GenerateConfig(), seed=0).reused
    samples_jsonl.parent.rename(moved)
    assert not generate(moved / samples_jsonl.name, out, GenerateConfig(), seed=0).reused
    assert image_path(read_jsonl(out, Dialogue)[0], out).is_file()


def test_a_journal_cut_in_the_middle_of_a_line_loses_that_line_alone(tmp_path: Path) -> None:
    stage(tmp_path / "whole", Work())
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path / "cut", Work(20))
    journal = tmp_path / "cut" / "out.jsonl.journal"
    data = journal.read_bytes()
    for cut in (len(data) - 3, len(data) // 2, 5, 0):
        journal.write_bytes(data[:cut])
        with pytest.raises(KeyboardInterrupt):
            stage(tmp_path / "cut", Work(30))
        stage(tmp_path / "cut", Work())
        assert (tmp_path / "whole" / "out.jsonl").read_bytes() == (tmp_path / "cut" / "out.jsonl").read_bytes()
        (tmp_path / "cut" / "out.jsonl").unlink()


def test_a_finished_run_is_not_done_again_but_another_one_is(tmp_path: Path) -> None:
    stage(tmp_path, Work())
    again = Work()
    assert stage(tmp_path, again).reused and not again.done
    source = tmp_path / "in.txt"
    other = Work()
    result = run_stage(tmp_path / "out.jsonl", ITEMS, other, config={"a": 2}, seed=0, inputs=[source])
    assert not result.reused and other.done == ITEMS


def test_an_assistant_that_is_down_stops_the_run_and_rejects_nothing(tmp_path: Path) -> None:
    down = True

    def work(item: int) -> Outcome:
        if down and item >= 10:
            return Outcome(rejects=[{"id": str(item), "filter": "no-call", "reason": "refused"}], up=False)
        return Outcome(rows=[{"id": str(item)}])

    with pytest.raises(AssistantDown, match="20 calls in a row got no answer .last: refused."):
        stage(tmp_path, work)
    down = False
    result = stage(tmp_path, work)
    assert (result.rows, result.rejects) == (40, 0)


def test_single_failures_between_answers_are_rejects_in_their_place(tmp_path: Path) -> None:
    def work(item: int) -> Outcome:
        if item in (3, 4, 39):
            return Outcome(rejects=[{"id": str(item), "filter": "no-call", "reason": "hang"}], up=False)
        return Outcome(rows=[{"id": str(item)}], up=None if item == 5 else True)

    assert (stage(tmp_path, work).rows, stage(tmp_path, work).rejects) == (37, 3)


def test_nothing_at_all_answers_and_the_input_is_short(tmp_path: Path) -> None:
    def work(item: int) -> Outcome:
        return Outcome(rejects=[{"id": "x", "filter": "no-call", "reason": "refused"}], up=False)

    with pytest.raises(AssistantDown, match="2 calls"):
        run_stage(tmp_path / "o.jsonl", [1, 2], work, config={}, seed=0, inputs=[])


def test_an_assistant_that_is_down_when_a_run_goes_on_costs_nothing(tmp_path: Path) -> None:
    down = False

    def work(item: int) -> Outcome:
        if item == 30 and not down:
            raise KeyboardInterrupt
        if item % 5 == 1:
            return Outcome(rows=[{"id": str(item)}])  # no call was made, so it says nothing about the assistant
        if down:
            return Outcome(rejects=[{"id": str(item), "filter": "no-call", "reason": "refused"}], up=False)
        return Outcome(rows=[{"id": str(item)}], up=True)

    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, work)
    down = True
    with pytest.raises(AssistantDown, match="8 calls"):  # earlier runs' answers do not show that it is up now
        stage(tmp_path, work)
    result = stage(tmp_path, lambda item: Outcome(rows=[{"id": str(item)}], up=True))
    assert (result.rows, result.rejects, result.items) == (40, 0, 40)


def test_calls_are_counted_not_items(tmp_path: Path) -> None:
    lost = [{"id": str(number), "filter": "no-call", "reason": "refused"} for number in range(10)]
    seen: list[int] = []

    def work(item: int) -> Outcome:
        seen.append(item)
        return Outcome(rejects=lost, up=False) if item else Outcome(rows=[{"id": "0"}], up=True)

    with pytest.raises(AssistantDown, match="20 calls"):
        stage(tmp_path, work)
    assert seen == [0, 1, 2]


def test_two_runs_do_not_write_one_output(tmp_path: Path) -> None:
    def work(item: int) -> Outcome:
        if item == 7:
            with pytest.raises(ValueError, match="another run is writing it"):
                stage(tmp_path, Work())
        return Outcome(rows=[{"id": str(item)}])

    assert stage(tmp_path, work).rows == len(ITEMS)
    assert [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [str(n) for n in ITEMS]


def test_another_runs_answers_are_set_aside(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, Work(stop_at=17))
    journal = tmp_path / "out.jsonl.journal"
    before = journal.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "out.jsonl", ITEMS, Work(stop_at=3), config={"a": 2}, seed=0, inputs=[tmp_path / "in.txt"])
    assert (tmp_path / "out.jsonl.journal.before").read_bytes() == before and journal.read_bytes() != before
