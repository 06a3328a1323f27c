from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from faceshield.evaluation import predict, score, table
from faceshield.records import Dialogue, JsonlWriter, Prediction, RecordError, Sample, image_path, read_jsonl, write_jsonl
from faceshield.tasks import COARSE, FINE, TASKS


class Oracle:
    """Answers by the picture's mean brightness: bright pictures are bona fide. Counts what it is asked."""

    def __init__(self, *, broken: tuple[int, ...] = ()) -> None:
        self.asked: list[str] = []
        self.batches: list[int] = []
        self.broken = broken

    def _bright(self, image: Image.Image) -> bool:
        assert isinstance(image, Image.Image) and image.mode == "RGB"
        level = int(np.asarray(image).mean())
        if level in self.broken:
            raise RuntimeError(f"cannot look at level {level}")
        return level > 100

    def ask_many(self, images: list[Image.Image], prompt: str) -> list[str]:
        self.batches.append(len(images))
        answers = [self._answer(self._bright(image), prompt) for image in images]
        self.asked += [prompt] * len(answers)
        return answers

    def _answer(self, bright: bool, prompt: str) -> str:
        if prompt == COARSE.question:
            return COARSE.templates["bonafide" if bright else "attack"]
        if prompt == FINE.question:
            return FINE.templates["Bonafide" if bright else "Print"]
        if prompt == TASKS["localization"].question:
            return "There is no attack region." if bright else "The attack is at [0, 0, 499, 999]."
        return "so this face is bona fide." if bright else "A paper edge, so this is a presentation attack of type Print."

    def score_many(self, images: list[Image.Image]) -> list[tuple[float, dict[str, float]]]:
        return [(0.9, {"Bonafide": 1.0}) if self._bright(image) else (0.1, {"Print": 1.0}) for image in images]


LEVELS = (200, 20, 210, 30, 220)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    rows = []
    for index, level in enumerate(LEVELS):
        Image.new("RGB", (40, 40), (level,) * 3).save(tmp_path / f"{index}.png")
        attack = level < 100
        rows.append(
            Sample(
                id=f"s{index}",
                image=f"{index}.png",
                dataset="drawn",
                is_attack=attack,
                presentation_type="Print" if attack else "Bonafide",
                original_label="x",
                subject=f"p{index // 2}",
                boxes=[(0.0, 0.0, 20.0, 40.0)] if attack else [],
                size_wh=(40, 40),
                meta={"source": "drawn", "cues": ["a paper edge"]},
            )
        )
    write_jsonl(tmp_path / "samples.jsonl", rows)
    return tmp_path / "samples.jsonl"


def test_every_task_of_every_sample_gets_a_row(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "predictions.jsonl"
    seen: list[tuple[int, int]] = []
    summary = predict(samples, Oracle(), out, system="oracle", batch_size=2, progress=lambda *n: seen.append(n))
    assert (summary.written, summary.kept, summary.errors, summary.unparsed) == (20, 0, 0, 0)
    assert seen == [(0, 5), (2, 5), (4, 5), (5, 5)]
    rows = read_jsonl(out, Prediction)
    assert [row.id for row in rows[:4]] == ["s0:coarse", "s0:fine", "s0:reasoning", "s0:localization"]
    by_id = {row.id: row for row in rows}
    assert by_id["s1:coarse"].is_attack is True and by_id["s1:coarse"].bonafide_score == 0.1
    assert by_id["s1:fine"].presentation_type == "Print" and by_id["s1:fine"].type_scores == {"Print": 1.0}
    assert by_id["s1:localization"].boxes[0] == pytest.approx((0, 0, 20, 40), abs=0.05)  # pixels, not 0-999
    truth = by_id["s1:reasoning"].truth
    assert truth.answer == "A paper edge can be seen, so this is a presentation attack of type Print."
    assert (truth.dataset, truth.subject, truth.meta["source"]) == ("drawn", "p0", "drawn")
    assert image_path(rows[0], out).resolve() == (tmp_path / "0.png").resolve()
    run = json.loads((out.parent / "run.json").read_text())
    assert run["config"]["system"] == "oracle" and run["inputs"][0]["path"].endswith("samples.jsonl")


def test_texts_are_scored_against_dialogues_where_they_are_given(samples: Path, tmp_path: Path) -> None:
    """A system that has learnt other words than the tasks' plain ones is to be compared with those."""

    def dialogue(sample: str, answer: str, task: str = "reasoning") -> Dialogue:
        turns = [{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": answer}]
        meta = {"sample_id": sample}
        return Dialogue(id=f"{sample}:{task}:{answer}", image="x.png", conversations=turns, task=task, source="g", meta=meta)

    told, more, out = tmp_path / "dialogues.jsonl", tmp_path / "more.jsonl", tmp_path / "predictions.jsonl"
    write_jsonl(told, [dialogue("s0", "Seen closely, skin. So it is bona fide."), dialogue("s0", "another wording")])
    write_jsonl(more, [dialogue("s1", "Paper, hence a print."), dialogue("s1", "Print", "fine")])
    predict(samples, Oracle(), out, system="oracle", references=[told, more])
    rows = read_jsonl(out, Prediction)
    assert all(row.truth.answer for row in rows if row.task == "coarse"), "of which they say nothing"
    answers = {row.id: row.truth.answer for row in rows if row.truth.answer and row.task in ("reasoning", "fine")}
    assert answers == {
        "s0:reasoning": "Seen closely, skin. So it is bona fide.", "s1:reasoning": "Paper, hence a print.", "s1:fine": "Print",
    }  # fmt: skip
    assert predict(samples, Oracle(), out, system="oracle", references=[told, more]).kept == 20
    with pytest.raises(ValueError, match="was begun with references"):
        predict(samples, Oracle(), out, system="oracle", references=[told])
    write_jsonl(told, [dialogue("elsewhere", "Skin.")])
    with pytest.raises(ValueError, match="no dialogue whose meta.sample_id"):
        predict(samples, Oracle(), tmp_path / "other.jsonl", system="oracle", references=[told])


def test_a_stopped_run_goes_on_and_a_torn_line_is_mended(samples: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.jsonl", tmp_path / "predictions.jsonl"
    predict(samples, Oracle(), whole, system="oracle")

    class Stopped(Oracle):
        def ask_many(self, images: list[Image.Image], prompt: str) -> list[str]:
            if len(self.asked) >= 8:
                raise KeyboardInterrupt
            return super().ask_many(images, prompt)

    with pytest.raises(KeyboardInterrupt):
        predict(samples, Stopped(), out, system="oracle", batch_size=1)
    lines = out.read_bytes().splitlines(keepends=True)
    assert len(lines) == 8
    out.write_bytes(b"".join(lines)[:-25])
    again = Oracle()
    summary = predict(samples, again, out, system="oracle", batch_size=2)
    assert (summary.written, summary.kept, len(again.asked)) == (13, 7, 13)
    assert sorted(out.read_text().splitlines()) == sorted(whole.read_text().splitlines())
    assert predict(samples, Oracle(), out, system="oracle").written == 0


def test_a_file_of_nobody_is_not_continued(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    predict(samples, Oracle(), out, system="one", tasks=["coarse"])
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match=r"no run\.json beside it says whose"):
        predict(samples, Oracle(), out, system="one", tasks=["coarse"])


def test_a_file_is_not_continued_by_another_system(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    predict(samples, Oracle(), out, system="one", tasks=["coarse"], options={"pvtm": "off"})
    before = out.read_bytes()
    with pytest.raises(ValueError, match="begun with system 'one', now 'two', pvtm 'off', now None"):
        predict(samples, Oracle(), out, system="two")
    with pytest.raises(ValueError, match="begun with pvtm 'off', now 'paper' — expected"):
        predict(samples, Oracle(), out, system="one", options={"pvtm": "paper"})
    assert out.read_bytes() == before
    predict(samples, Oracle(), tmp_path / "p.jsonl", system="mine", tasks=["coarse"], options={"weights": "1234"})
    again = predict(samples, Oracle(), tmp_path / "p.jsonl", system="./mine", tasks=["coarse"], options={"weights": "1234"})
    assert again.written == 0 and again.kept, "a folder has many names; the weights say which model it is"
    with pytest.raises(ValueError, match="begun with weights '1234', now '5678' — expected"):
        predict(samples, Oracle(), tmp_path / "p.jsonl", system="mine", tasks=["coarse"], options={"weights": "5678"})
    predict(samples, Oracle(), out, system="two", tasks=["coarse"], limit=2, resume=False)
    assert len(read_jsonl(out, Prediction)) == 2


def test_a_file_goes_on_with_more_samples_and_not_with_others(samples: Path, tmp_path: Path) -> None:
    out, rows = tmp_path / "predictions.jsonl", read_jsonl(samples, Sample)
    write_jsonl(samples, rows[:3])
    predict(samples, Oracle(), out, tasks=["coarse"])
    write_jsonl(samples, rows)
    assert predict(samples, Oracle(), out, tasks=["coarse"]).kept == 3
    before = out.read_bytes()
    relabelled = rows[1].model_copy(update={"is_attack": False, "presentation_type": "Bonafide", "boxes": []})
    replaced = rows[1].model_copy(update={"meta": {**rows[1].meta, "sha256": "0123456789abcdef"}})
    cut = rows[1].model_copy(update={"size_wh": (99, 99)})
    someone = rows[1].model_copy(update={"subject": "someone else"})
    moved = rows[1].model_copy(update={"image": f"elsewhere/{rows[1].image}"})
    # One is gone, has another truth, or is another picture: its old answer would be scored.
    for changed in (rows[1:], *([rows[0], other, *rows[2:]] for other in (relabelled, replaced, cut, someone, moved))):
        write_jsonl(samples, changed)
        with pytest.raises(ValueError, match="1 answers to samples that are not in .* any more, or are others there"):
            predict(samples, Oracle(), out, tasks=["coarse"])
    assert out.read_bytes() == before
    write_jsonl(samples, [rows[0], relabelled, *rows[2:-1]])
    renewed = predict(samples, Oracle(), out, tasks=["coarse"], renew=True)
    assert (renewed.kept, renewed.written) == (len(rows) - 2, 1)
    assert {row.sample_id: row.truth.is_attack for row in read_jsonl(out, Prediction)}[relabelled.id] is False
    write_jsonl(samples, rows)
    assert predict(samples, Oracle(), out, tasks=["coarse"], resume=False).written == 5


def test_one_bad_picture_spoils_only_itself(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    (tmp_path / "4.png").unlink()
    out = tmp_path / "predictions.jsonl"
    asker = Oracle(broken=(30,))
    summary = predict(samples, asker, out, tasks=["coarse", "fine"], batch_size=5)
    assert (summary.written, summary.errors) == (10, 6)
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    assert {row.sample_id for row in rows.values() if row.status == "error"} == {"s2", "s3", "s4"}
    assert rows["s0:coarse"].status == rows["s1:fine"].status == "parsed"
    assert "cannot look at level 30" in (rows["s3:coarse"].error or "")
    assert rows["s3:coarse"].answer is None and rows["s3:coarse"].truth.is_attack is True
    assert "no such file" in (rows["s4:fine"].error or "")


def test_an_answer_that_was_cut_off_is_marked_and_counted(samples: Path, tmp_path: Path) -> None:
    class Long(str):
        cut = True

    class Talker:
        def ask(self, image: Image.Image, prompt: str) -> str:
            bright = np.asarray(image).mean() > 110
            answer = "This is a bona fide face." if bright else "This is a presentation attack."
            return answer if bright else Long(answer)

    predict(samples, Talker(), tmp_path / "p.jsonl", tasks=["coarse"])
    rows = read_jsonl(tmp_path / "p.jsonl", Prediction)
    assert {row.cut for row in rows} == {None, True} and all(row.status == "parsed" for row in rows)
    overall = score(rows, threshold=None, rng=np.random.default_rng(0), repeats=2)["overall"]
    known = sum(row.cut is not None for row in rows)
    assert overall["cut"]["value"] == 1.0 and overall["cut"]["n"] == overall["coarse"]["cut"]["n"] == known > 0
    assert "cut off" in table({"talker": {"overall": overall}})


def test_what_cannot_be_read_or_is_no_answer_is_a_row(samples: Path, tmp_path: Path) -> None:
    class Odd:
        def ask(self, image: Image.Image, prompt: str) -> str | None:
            return None if np.asarray(image).mean() > 215 else "I would rather not say."

        def score(self, image: Image.Image) -> float:
            return 1.5 if np.asarray(image).mean() < 100 else 0.7

    out = tmp_path / "predictions.jsonl"
    summary = predict(samples, Odd(), out, tasks=["coarse"])
    assert (summary.unparsed, summary.errors) == (4, 1)
    rows = {row.sample_id: row for row in read_jsonl(out, Prediction)}
    assert rows["s0"].status == "unparsed" and rows["s0"].is_attack is None and rows["s0"].bonafide_score == 0.7
    # The score is out of range: the answer stays what it is, the missing score counts by itself.
    assert rows["s1"].status == "unparsed" and rows["s1"].bonafide_score is None
    assert "expected a number in 0..1" in (rows["s1"].error or "")
    assert rows["s4"].status == "error" and "NoneType" in (rows["s4"].error or "")


def test_an_answer_that_was_cut_inside_a_letter_is_a_row(samples: Path, tmp_path: Path) -> None:
    """As an endpoint that escapes its JSON gives it where `max_tokens` fell between the halves of an emoji."""
    half = SimpleNamespace(ask=lambda image, prompt: "This face is bona fide. \ud83d")
    assert predict(samples, half, tmp_path / "p.jsonl", tasks=["coarse"]).errors == 0
    rows = read_jsonl(tmp_path / "p.jsonl", Prediction)
    assert rows and {row.answer for row in rows if row.status == "parsed"} == {"This face is bona fide. ?"}


def test_a_system_that_only_scores(samples: Path, tmp_path: Path) -> None:
    class Classifier:
        def score_many(self, images: list[Image.Image]) -> list[tuple[float, dict[str, float]]]:
            return [(0.25, {"Bonafide": 0.25, "Replay": 0.5, "Print": 0.25}) for _ in images]

    out = tmp_path / "predictions.jsonl"
    summary = predict(samples, Classifier(), out)
    assert (summary.written, summary.errors) == (len(LEVELS), 0), "of a system that only scores, types may be unknown"
    summary = predict(samples, Classifier(), out, tasks=["coarse", "fine"])
    assert (summary.written, summary.errors) == (len(LEVELS), 0)
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    assert rows["s0:coarse"].answer is None and rows["s0:coarse"].is_attack is None
    assert rows["s0:fine"].presentation_type == "Replay"
    with pytest.raises(ValueError, match="localization, reasoning of a system that only scores"):
        predict(samples, Classifier(), out, tasks=list(TASKS))


def test_types_in_any_spelling_and_types_that_are_none(samples: Path, tmp_path: Path) -> None:
    given: list[object] = [(0.25, {"bonafide": 0.25, "paper-mask": 0.75}), (0.4, {"live": 0.4, "spoof": 0.6}), 0.3]

    class Classifier:
        tasks = ("coarse", "fine")

        def score(self, image: Image.Image) -> object:
            return given[int(np.asarray(image).mean()) % 3]

    out = tmp_path / "predictions.jsonl"
    predict(samples, Classifier(), out)
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    own = {index: f"s{position}" for position, level in enumerate(LEVELS) for index in [level % 3]}
    named, foreign, untyped = (rows[f"{own[index]}:fine"] for index in range(3))
    assert named.presentation_type == "Paper mask" and set(named.type_scores or ()) == {"Bonafide", "Paper mask"}
    assert foreign.status == "error" and "unknown presentation type 'live'" in str(foreign.error)
    assert untyped.status == "error" and "scores without type_scores" in str(untyped.error)
    assert rows[f"{own[2]}:coarse"].bonafide_score == 0.3 and rows[f"{own[2]}:coarse"].error is None


def test_answers_to_another_question_are_not_mixed(samples: Path, tmp_path: Path) -> None:
    class Reworded(Oracle):
        wording = "Is this face real?"

        def question(self, task: str) -> str:
            return self.wording

        def ask_many(self, images: list[Image.Image], prompt: str) -> list[str]:
            self.asked.append(prompt)
            return [COARSE.templates["attack"]] * len(images)

    out, asker = tmp_path / "predictions.jsonl", Reworded()
    predict(samples, asker, out, tasks=["coarse"], limit=2)
    asker.wording = "Is this face bona fide?"
    with pytest.raises(ValueError, match="or to other questions"):
        predict(samples, asker, out, tasks=["coarse"])
    predict(samples, asker, out, tasks=["coarse"], renew=True)
    assert {row.question for row in read_jsonl(out, Prediction)} == {"Is this face bona fide?"}
    asker.wording = "Bona fide?"
    predict(samples, asker, out, tasks=["fine"], renew=True)
    kept = [row.question for row in read_jsonl(out, Prediction) if row.task == "coarse"]
    assert kept == ["Is this face bona fide?"] * len(LEVELS), "what is not asked now is not taken out"


def test_a_failed_call_is_not_blamed_on_missing_types(samples: Path, tmp_path: Path) -> None:
    class Failing:
        def ask(self, image: Image.Image, prompt: str) -> str:
            raise RuntimeError("boom")

        def score(self, image: Image.Image) -> float:
            return 0.5

    predict(samples, Failing(), tmp_path / "p.jsonl", tasks=["fine"])
    assert {row.error for row in read_jsonl(tmp_path / "p.jsonl", Prediction)} == {"RuntimeError: boom"}


def test_wrong_arguments_are_all_named_at_once(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        predict(samples, object(), tmp_path / "p.jsonl", tasks=["coarse", "fin"], batch_size=0, limit=0)
    text = str(caught.value)
    for part in ("'fin'", "batch size 0", "limit 0", "ask_many"):
        assert part in text
    assert not (tmp_path / "p.jsonl").exists()
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(RecordError, match="bad.jsonl:1"):
        predict(tmp_path / "bad.jsonl", Oracle(), tmp_path / "p.jsonl")


def test_an_archive_without_labels(samples: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "b").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b/c.PNG", "b/broken.jpg", "notes.txt", ".hidden.png")):
        (tmp_path / f"{index}.png").rename(archive / name)
    (archive / "b" / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out" / "p.jsonl"
    summary = predict(archive, Oracle(), out)
    assert (summary.written, summary.errors) == (12, 4)
    rows = {row.id: row for row in read_jsonl(out, Prediction)}
    assert list(rows)[::4] == ["a.png:coarse", "b/broken.jpg:coarse", "b/c.PNG:coarse"]
    found = rows["b/c.PNG:localization"]
    assert found.boxes[0] == pytest.approx((0, 0, 20, 40), abs=0.05) and found.truth.size_wh == (40, 40)
    assert found.truth.is_attack is None and found.truth.answer is None
    assert image_path(found, out).resolve() == archive / "b" / "c.PNG"
    assert predict(archive, Oracle(), out).written == 0

    listed = tmp_path / "list.txt"
    listed.write_text(f"archive/a.png\n\n{archive / 'b' / 'c.PNG'}\narchive/a.png\n")
    predict(listed, Oracle(), tmp_path / "l.jsonl", tasks=["coarse"])
    rows = {row.id: row for row in read_jsonl(tmp_path / "l.jsonl", Prediction)}
    assert list(rows) == ["archive/a.png:coarse", f"{archive / 'b' / 'c.PNG'}:coarse"]
    assert {row.status for row in rows.values()} == {"parsed"}
    listed.write_text("\n")
    with pytest.raises(ValueError, match="no pictures"):
        predict(listed, Oracle(), tmp_path / "l2.jsonl")
    with pytest.raises(FileNotFoundError):
        predict(tmp_path / "none.parquet", Oracle(), tmp_path / "l2.jsonl")


def test_what_an_archive_holds_is_never_left_out_in_silence(samples: Path, tmp_path: Path) -> None:
    archive, elsewhere = tmp_path / "archive", tmp_path / "elsewhere"
    for folder in (archive / ".thumbnails", elsewhere):
        folder.mkdir(parents=True)
    for index, place in enumerate((archive / "a.png", archive / ".thumbnails" / "t.png", elsewhere / "linked.png")):
        (tmp_path / f"{index}.png").rename(place)
    (archive / "phone.heic").write_bytes(b"of a phone")
    (archive / "link").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(archive)
    names = ["a.png", "link/linked.png", "phone.heic"]
    try:
        (archive / os.fsdecode(b"\xff.jpg")).write_bytes(b"no text")
        names.insert(3, "\\xff.jpg")
    except OSError:  # a file system whose names are text
        pass
    predict(archive, Oracle(), tmp_path / "p.jsonl", tasks=["coarse"])
    rows = read_jsonl(tmp_path / "p.jsonl", Prediction)
    assert sorted(row.sample_id for row in rows) == sorted(names)
    assert {row.sample_id for row in rows if row.status == "error"} == set(names[2:])
    (tmp_path / "list.txt").write_bytes(b"archive/a.png\narchive/\xe9.png\n")
    with pytest.raises(RecordError, match=r"list.txt:2: .* is not UTF-8"):
        predict(tmp_path / "list.txt", Oracle(), tmp_path / "l.jsonl", tasks=["coarse"])


def test_another_archive_does_not_get_the_answers_of_the_first(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    for index, folder in enumerate(("A", "B")):
        (tmp_path / folder).mkdir()
        (tmp_path / f"{index}.png").rename(tmp_path / folder / "1.png")
    assert predict(tmp_path / "A", Oracle(), out, tasks=["coarse"]).written == 1
    assert predict(tmp_path / "A", Oracle(), out, tasks=["coarse"]).kept == 1
    with pytest.raises(ValueError, match="1 answers to samples"):
        predict(tmp_path / "B", Oracle(), out, tasks=["coarse"])
    (tmp_path / "2.png").rename(tmp_path / "A" / "1.png")
    with pytest.raises(ValueError, match="1 answers to samples"):
        predict(tmp_path / "A", Oracle(), out, tasks=["coarse"])
    assert predict(tmp_path / "A", Oracle(), out, tasks=["coarse"], renew=True).written == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_two_runs_do_not_write_one_file(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    predict(samples, Oracle(), out, tasks=["coarse"], limit=2)
    before = out.read_bytes()
    with JsonlWriter(out, resume=True):
        for options in ({}, {"retry_errors": True}, {"resume": False}):
            with pytest.raises(ValueError, match="another run is writing it"):
                predict(samples, Oracle(), out, tasks=["coarse"], **options)
    assert out.read_bytes() == before
    assert predict(samples, Oracle(), out, tasks=["coarse"]).kept == 2


def test_an_archive_in_a_parquet_table(samples: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed — type: pip install pyarrow")
    from pyarrow import parquet

    table = tmp_path / "archive.parquet"
    parquet.write_table(arrow.table({"n": [1, 2, 3], "path": ["0.png", "1.png", "0.png"]}), table)
    predict(table, Oracle(), tmp_path / "p.jsonl", tasks=["coarse"])
    assert [row.id for row in read_jsonl(tmp_path / "p.jsonl", Prediction)] == ["0.png:coarse", "1.png:coarse"]
    parquet.write_table(arrow.table({"file": ["0.png"]}), table)
    with pytest.raises(RecordError, match="columns file — expected image or path"):
        predict(table, Oracle(), tmp_path / "p2.jsonl", tasks=["coarse"])
