"""The review queue: no dialogue goes to two people, no decision is lost, and the export is correct."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.data_engine import generate_dialogues
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.report import report
from faceshield.data_engine.review import Decision, ReviewConfig, ReviewQueue, agreement, export, label_studio
from faceshield.data_engine.review.queue import edited
from faceshield.datasets.boxes import to_percent
from faceshield.records import Dialogue, Sample, image_path, read_jsonl, write_jsonl
from faceshield.tasks import TASKS


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dialogues(samples_jsonl: Path, samples: list[Sample]) -> Path:
    path = samples_jsonl.with_name("dialogues.jsonl")
    write_jsonl(path, generate_dialogues(samples[:12], tasks=list(TASKS), seed=0))
    return path


@pytest.fixture
def few(dialogues: Path) -> Path:
    rows = read_jsonl(dialogues, Dialogue)[:6]
    dialogues.write_text("\ufeff\n" + "\n\n".join(row.model_dump_json(by_alias=True) for row in rows), encoding="utf-8")
    return dialogues


def leased(queue: ReviewQueue, reviewer: str) -> int:
    item = queue.lease(reviewer)
    assert item is not None
    return item.position


def test_a_dialogue_is_with_one_reviewer_until_the_lease_runs_out(few: Path, tmp_path: Path) -> None:
    clock = Clock()
    queue = ReviewQueue(few, tmp_path / "q.sqlite", lease_s=60, clock=clock)
    assert [leased(queue, name) for name in ("ann", "ben", "ann", "ben")] == [0, 1, 0, 1]  # a reload shows the same one
    clock.now += 50
    queue.renew(0, "ann")
    clock.now += 20
    assert [leased(queue, name) for name in ("cleo", "ann")] == [1, 0]  # ben's lease ran out, ann's was renewed
    queue.decide(1, "ben", "accept")  # late, but kept
    queue.decide(1, "cleo", "reject", note="blurred")
    assert [(vote.reviewer, vote.verdict) for vote in queue.decisions()[1]] == [("ben", "accept"), ("cleo", "reject")]
    assert leased(queue, "cleo") == 2 and queue.progress("cleo").own == 1 and queue.progress().finished == 1


def test_later_back_and_a_second_thought(few: Path, tmp_path: Path) -> None:
    queue = ReviewQueue(few, tmp_path / "q.sqlite")
    assert leased(queue, "ann") == 0
    queue.skip(0, "ann")
    for place in range(1, 6):
        assert leased(queue, "ann") == place
        queue.decide(place, "ann", "accept")
    assert leased(queue, "ann") == 0
    last = queue.back("ann")
    assert last is not None and last.position == 5 and last.earlier is not None and last.earlier.verdict == "accept"
    before = queue.back("ann", last.position)
    assert before is not None and before.position == 4
    queue.decide(5, "ann", "reject")
    queue.decide(0, "ann", "accept")
    assert queue.lease("ann") is None and queue.back("ben") is None
    assert queue.progress("ann").finished == queue.progress("ann").own == 6
    assert [vote.verdict for vote in queue.decisions()[5]] == ["reject"]


_WORKER = """
import sys
from faceshield.data_engine.review import ReviewQueue
queue = ReviewQueue(sys.argv[1], sys.argv[2])
while (item := queue.lease(sys.argv[3])) is not None:
    queue.decide(item.position, sys.argv[3], "accept")
    sys.stdout.write(f"{item.position}\\n")
    sys.stdout.flush()
"""


def worker(dialogues: Path, queue: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WORKER, str(dialogues), str(queue), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_a_queue_and_a_killed_one_loses_nothing(dialogues: Path, tmp_path: Path) -> None:
    path = tmp_path / "q.sqlite"
    total = ReviewQueue(dialogues, path).progress().total
    victim = worker(dialogues, path, "victim")
    assert victim.stdout is not None
    told = [int(victim.stdout.readline()) for _ in range(5)]
    os.kill(victim.pid, signal.SIGKILL)
    told += [int(line) for line in victim.communicate()[0].split()]
    workers = [worker(dialogues, path, name) for name in ("ann", "ben")]
    done = [[int(line) for line in process.communicate(timeout=60)[0].split()] for process in workers]
    assert [process.returncode for process in workers] == [0, 0] and not set(done[0]) & set(done[1])
    decided = ReviewQueue(dialogues, path).decisions()
    assert set(told) <= {place for place, votes in decided.items() if votes[0].reviewer == "victim"}
    assert all(len(votes) == 1 for votes in decided.values())
    # If the victim held another dialogue when it died, that one is still leased to it.
    assert total - 1 <= len(decided) <= total
    held = ReviewQueue(dialogues, path).lease("victim")
    assert (held is None) == (len(decided) == total)


def test_another_file_or_sample_is_refused_and_a_changed_file_seen(few: Path, tmp_path: Path) -> None:
    queue = ReviewQueue(few, tmp_path / "q.sqlite")
    with pytest.raises(ValueError, match="another config"):
        ReviewQueue(few, tmp_path / "q.sqlite", ReviewConfig(sample=0.5))
    with pytest.raises(ValueError, match="expected a review queue"):
        ReviewQueue(few, few)
    with pytest.raises(ValueError, match="reviewer ''"):
        queue.lease(" ")
    with pytest.raises(ValueError, match="not in this queue"):
        queue.item(77, "ann")
    few.write_text(few.read_text(encoding="utf-8").replace("\n\n", "\n"), encoding="utf-8")
    with pytest.raises(ValueError, match="changed during the review"):
        queue.item(3, "ann")
    with pytest.raises(ValueError, match="another dialogues sha256"):
        ReviewQueue(few, tmp_path / "q.sqlite")
    few.write_text("")
    with pytest.raises(ValueError, match="no dialogues"):
        ReviewQueue(few, tmp_path / "new.sqlite")


def test_a_sample_is_seeded_and_part_of_it_goes_to_two(dialogues: Path, tmp_path: Path) -> None:
    def chosen(seed: int, name: str) -> list[int]:
        queue = ReviewQueue(dialogues, tmp_path / name, ReviewConfig(sample=0.25, overlap=0.5, seed=seed))
        return list(queue.positions().values())

    assert chosen(1, "a") == chosen(1, "b") != chosen(2, "c")
    queue = ReviewQueue(dialogues, tmp_path / "a", ReviewConfig(sample=0.25, overlap=0.5, seed=1))
    total = queue.progress().total
    assert total == round(0.25 * len(read_jsonl(dialogues, Dialogue)))
    for name in ("ann", "ben", "cleo"):
        while (item := queue.lease(name)) is not None:
            queue.decide(item.position, name, "accept" if name == "ann" or item.position % 2 else "reject")
        waiting = queue.progress().waiting
    assert waiting == 0 and queue.progress().finished == total
    votes = [len(found) for found in queue.decisions().values()]
    assert sorted(votes) == [1] * (total - round(total / 2)) + [2] * round(total / 2)
    summary = export(queue, tmp_path / "out.jsonl")
    assert summary.unseen + summary.accepted == len(read_jsonl(tmp_path / "out.jsonl", Dialogue))
    assert summary.disputed == summary.rejected > 0 and "Cohen's kappa" in "\n".join(summary.lines())


def test_agreement_is_cohens_kappa(tmp_path: Path) -> None:
    # 20 accepted by both, 5 only by ann, 10 only by ben, 15 by neither: the textbook example of Cohen's kappa, 0.4.
    pairs = [("accept", "accept")] * 20 + [("accept", "reject")] * 5 + [("reject", "accept")] * 10 + [("reject", "reject")] * 15
    decided = {
        place: [Decision(place, name, verdict, None, "", 0.0) for name, verdict in zip(("ann", "ben"), pair, strict=True)]
        for place, pair in enumerate(pairs)
    }  # fmt: skip
    (found,) = agreement(decided)  # type: ignore[arg-type]
    assert (found.n, found.agreed, found.cohen_kappa) == (50, 0.7, pytest.approx(0.4))
    (same,) = agreement({place: votes for place, votes in decided.items() if place < 20})  # type: ignore[arg-type]
    assert same.agreed == 1 and same.cohen_kappa is None


def test_export_keeps_the_order_and_rechecks_edits(few: Path, tmp_path: Path) -> None:
    rows = read_jsonl(few, Dialogue)
    queue = ReviewQueue(few, tmp_path / "q.sqlite")
    queue.decide(4, "ann", "accept")
    queue.decide(0, "ann", "accept", ["Is it real?", "This is a presentation attack."])  # the sample is bona fide
    queue.decide(3, "ben", "reject", note="dark")
    queue.decide(1, "ben", "accept", rows[1].texts)  # unchanged, so not an edit
    out = tmp_path / "made" / "accepted.jsonl"
    assert export(queue, out).contradicting == 1
    kept = read_jsonl(out, Dialogue)
    assert [row.id for row in kept] == [rows[0].id, rows[1].id, rows[4].id]
    assert kept[0].conversations[0].value == "<image>\nIs it real?" and all(image_path(row, out).is_file() for row in kept)
    assert kept[0].meta["review"]["contradicts"] == ["the answer says an attack; the label says bona fide"]
    assert kept[1].meta["review"] == {"verdict": "accept", "reviewers": 1}
    (reject,) = [json.loads(line) for line in out.with_suffix(".rejects.jsonl").read_text().splitlines()]
    assert (reject["id"], reject["filter"], reject["reason"]) == (rows[3].id, "review", "ben: reject (dark)")
    assert json.loads((out.parent / "run.json").read_text())["output"] == "accepted.jsonl"
    for bad, why in ((["a"], "1 texts"), (["a", " "], "none of them"), (["a", "<image>"], "<image>")):
        with pytest.raises(ValueError, match=why):
            queue.decide(2, "ann", "accept", bad)
    assert 2 not in queue.decisions()


def test_contradictions_are_what_the_readers_say(dialogues: Path, make_sample: Callable[..., Sample]) -> None:
    assert not [fault for row in read_jsonl(dialogues, Dialogue) for fault in contradictions(row)]
    (located,) = generate_dialogues([make_sample("Print")], tasks=["localization"], seed=0)
    x0, y0, x1, y1 = (int(value) for value in located.texts[1].split("[")[1].split("]")[0].split(","))

    def faults(answer: str) -> str:
        return "; ".join(contradictions(edited(located, ["Where?", answer])))

    assert not faults(f"The attack is at [{x0}, {y0}, {x1}, {y1}].")
    assert "boxes" in faults(f"The attack is at [{x0 + 5}, {y0}, {x1}, {y1}].")
    assert "boxes" in faults(f"[{x0}, {y0}, {x1}, {y1}] and [1, 1, 900, 900]")
    assert "bona fide; the label" in faults("There is no attack region.") and "cannot be read" in faults("Hm.")
    (fine,) = generate_dialogues([make_sample("Print")], tasks=["fine"], seed=0)
    replay = edited(fine, ["Which?", "This is a Replay attack."])
    assert contradictions(replay) == ["the answer says Replay; the label says Print"]
    (caption,) = generate_dialogues([make_sample("Print")], tasks=["caption"], seed=0)
    assert not contradictions(caption) and contradictions(edited(caption, ["?", "A bona fide face."]))


def test_label_studio_there_and_back(few: Path, tmp_path: Path) -> None:
    queue = ReviewQueue(few, tmp_path / "q.sqlite")
    assert label_studio.write_tasks(queue, tmp_path / "tasks.json", image_prefix="/data/local-files/?d=") == 6
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert (
        tasks[0]["data"]["image"].startswith("/data/local-files/?d=")
        and '<Choices name="verdict"' in (tmp_path / "tasks.config.xml").read_text()
    )
    attack = next(task for task in tasks if task["predictions"])
    boxes = attack["predictions"][0]["result"]

    def choice(verdict: str) -> dict[str, object]:
        return {"type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [verdict]}}

    def text(name: str, value: str) -> dict[str, object]:
        return {"type": "textarea", "from_name": name, "to_name": "image", "value": {"text": [value]}}

    moved = to_percent((1, 1, 20, 20), (64, 80), "Print")
    annotations = {
        tasks[0]["data"]["id"]: [
            {"completed_by": {"email": "ann"}, "result": [choice("accept"), text("answer", "An attack.")]},
        ],
        tasks[1]["data"]["id"]: [
            {"completed_by": 3, "result": [choice("reject"), text("note", "dark")]}, {"was_cancelled": True},
        ],
        attack["data"]["id"]: [
            {"completed_by": 1, "result": [*boxes, choice("accept")]}, {"completed_by": 2, "result": [moved, choice("accept")]},
            {"completed_by": 4, "result": []},
        ],
    }  # fmt: skip
    done = [{"data": task["data"], "annotations": annotations.get(task["data"]["id"], [])} for task in tasks]
    done.append({"data": {"id": "gone"}, "annotations": [{"result": [choice("accept")]}]})
    (tmp_path / "done.json").write_text(json.dumps(done))
    stored, faults = label_studio.read_decisions(queue, tmp_path / "done.json")
    assert stored == 3 and len(faults) == 4
    assert [word in "\n".join(faults) for word in ("edited against", "its boxes differ", "no verdict", "not in this")] == [
        True
    ] * 4
    people = {vote.reviewer for votes in queue.decisions().values() for vote in votes}
    assert people == {"ann", "label-studio 3", "label-studio 1"}
    (tmp_path / "done.json").write_text('[{"data": {"id": "x"}}]')
    assert label_studio.read_decisions(queue, tmp_path / "done.json") == (0, []), "nobody has judged it yet"
    for content, said in (("[1]", "no list of tasks"), ("{}", "no list of tasks"), ("[", "not JSON")):
        (tmp_path / "done.json").write_text(content)
        with pytest.raises(ValueError, match=said):
            label_studio.read_decisions(queue, tmp_path / "done.json")


def test_an_attack_whose_type_nobody_noted_is_called_one(few: Path, tmp_path: Path) -> None:
    """A box named "None" is not in the labelling config, so Label Studio would reject it."""
    rows = read_jsonl(few, Dialogue)
    attack = next(row for row in rows if row.meta["boxes"])
    write_jsonl(few, [attack.model_copy(update={"meta": {**attack.meta, "presentation_type": None}})])
    label_studio.write_tasks(ReviewQueue(few, tmp_path / "q.sqlite"), tmp_path / "tasks.json")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    (name,) = task["predictions"][0]["result"][0]["value"]["rectanglelabels"]
    assert name == task["data"]["presentation_type"] == "attack"
    assert f'<Label value="{name}"/>' in (tmp_path / "tasks.config.xml").read_text()
    assert set(report(few, tmp_path / "card.md")["counts"]["type"]) == {"attack"}


def test_the_verb_without_a_page(few: Path, tmp_path: Path) -> None:
    def run(*more: object):
        return CliRunner().invoke(app, ["review", str(few), "--out", str(tmp_path / "a.jsonl"), *map(str, more)])

    assert run("--to-label-studio", tmp_path / "t.json").stdout.startswith("6 tasks")
    ReviewQueue(few, tmp_path / "a.review.sqlite").decide(0, "ann", "accept")
    result = run("--no-page")
    assert result.exit_code == 0 and result.stdout.splitlines()[0] == "accepted 1 (0 of them edited), rejected 0, open 5"
    assert "read too and would be overwritten" in str(run("--out", few).exception)
    assert "5O%" in str(run("--sample", "5O%").exception) and "password" in str(run("--host", "0.0.0.0").exception)
