"""Records: what they refuse, and that files are read and written whole or not at all."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from faceshield.provenance import check_not_read, file_sha256, read_run, write_run, write_text_atomic, written_whole
from faceshield.records import (
    Dialogue,
    JsonlWriter,
    Prediction,
    RecordError,
    Sample,
    Truth,
    Turn,
    image_path,
    iter_jsonl,
    read_jsonl,
    rebase_image,
    write_jsonl,
)


def dialogue(**changes) -> Dialogue:
    turns = [Turn(speaker="human", value="<image>\nWhy?"), Turn(speaker="gpt", value="So.")]
    values = {"id": "d", "image": "a.png", "conversations": turns, "task": "coarse", "source": "grammar"}
    return Dialogue(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_attack": False}, "contradicts presentation_type"),
        ({"is_attack": 1}, "boolean"),
        ({"presentation_type": "Prnt"}, "did you mean 'Print'"),
        ({"boxes": [(0, 0, 65, 10)]}, "clip it"),
        ({"boxes": [(10, 0, 5, 10)]}, "x0 < x1"),
        ({"boxes": [(-1, 0, 5, 10)]}, "0 <= x0"),
        ({"boxes": [(0, 0, float("nan"), 10)]}, "finite"),
        ({"boxes": [(0, 0, 5)]}, "Field required"),
        ({"size_wh": (0, 10), "boxes": []}, "two positive integers"),
        ({"id": ""}, "at least 1"),
        ({"label": 1}, "Extra inputs"),
    ],
)
def test_a_sample_refuses_what_contradicts(make_sample, changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_sample("Print", **changes)


def test_bona_fide_has_no_attack_boxes(make_sample) -> None:
    with pytest.raises(ValidationError, match="boxes are attack regions"):
        make_sample(boxes=[(0, 0, 5, 5)])


def test_a_sample_is_immutable_and_keeps_the_canonical_type(make_sample) -> None:
    sample = make_sample("Print", presentation_type="paper_mask")
    assert sample.presentation_type == "Paper mask"
    with pytest.raises(ValidationError, match="frozen"):
        sample.id = "other"


def test_a_box_may_touch_the_edge(make_sample) -> None:
    assert make_sample("Print", boxes=[(0, 0, 64.0001, 80)]).boxes[0][2] == pytest.approx(64, abs=1e-3)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("gpt", "a"), ("human", "b")], "reorder"),
        ([("human", "<image>\na"), ("gpt", "b"), ("human", "c")], "reorder"),
        ([("human", "a"), ("gpt", "b")], "expected it to start with"),
        ([("human", "<image>\na")], "at least 2"),
    ],
)
def test_a_dialogue_refuses_disorder(turns: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        dialogue(conversations=[Turn(speaker=who, value=what) for who, what in turns])


def test_a_dialogue_is_written_as_llava_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "dialogues.jsonl"
    write_jsonl(path, [dialogue()])
    row = json.loads(path.read_text())
    assert row["conversations"] == [
        {"from": "human", "value": "<image>\nWhy?"},
        {"from": "gpt", "value": "So."},
    ]
    assert read_jsonl(path, Dialogue) == [dialogue()]


@pytest.mark.parametrize("changes", [{"bonafide_score": 1.5}, {"status": "maybe"}, {"bonafide_score": float("nan")}])
def test_a_prediction_refuses_nonsense(changes: dict) -> None:
    values = {
        "id": "s:coarse",
        "sample_id": "s",
        "image": "a.png",
        "task": "coarse",
        "question": "q",
        "status": "parsed",
    }
    assert Prediction(**values).truth == Truth()
    with pytest.raises(ValidationError):
        Prediction(**{**values, **changes})


def test_samples_survive_a_round_trip(samples: list[Sample], samples_jsonl: Path) -> None:
    assert read_jsonl(samples_jsonl, Sample) == samples == list(iter_jsonl(samples_jsonl, Sample))
    for row in samples:
        assert image_path(row, samples_jsonl).is_file()


def test_byte_order_mark_and_blank_lines_are_passed_over(samples_jsonl: Path, samples: list[Sample]) -> None:
    samples_jsonl.write_bytes(b"\xef\xbb\xbf" + samples_jsonl.read_bytes().replace(b"\n", b"\r\n\n"))
    assert read_jsonl(samples_jsonl, Sample) == samples


def test_all_faults_are_collected_with_file_and_line(samples_jsonl: Path, samples: list[Sample]) -> None:
    good = samples[0].model_dump_json()
    broken = json.loads(samples[1].model_dump_json())
    broken["is_attack"] = "perhaps"
    del broken["dataset"]
    samples_jsonl.write_text("\n".join([good, "{not json", json.dumps(broken), good, "[1]"]) + "\n")
    with pytest.raises(RecordError) as caught:
        read_jsonl(samples_jsonl, Sample)
    text = str(caught.value)
    for where in (":2: ", ":3: is_attack", ":3: dataset", ":4: id 's000'", ":5: "):
        assert f"{samples_jsonl}{where}" in text
    assert "line 1" in text
    with pytest.raises(RecordError, match="jsonl:2: "):
        list(iter_jsonl(samples_jsonl, Sample))


def test_many_faults_are_counted_not_all_printed(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("nothing\n" * 50)
    with pytest.raises(RecordError, match="and 30 more") as caught:
        read_jsonl(path, Sample)
    assert len(caught.value.faults) == 50


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_jsonl(tmp_path / "none.jsonl", Sample)


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, [{"id": "old"}]) == 1

    def rows():
        yield {"id": "new"}
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_jsonl(path, rows())
    assert json.loads(path.read_text()) == {"id": "old"}
    assert os.listdir(tmp_path) == ["rows.jsonl"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    reference.touch()
    assert write_text_atomic(tmp_path / "a" / "b.txt", "x").stat().st_mode == reference.stat().st_mode


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(tmp_path / "rows.jsonl", [{"id": "a", "value": float("nan")}])


def test_the_writer_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    with JsonlWriter(path) as writer:
        writer.write({"id": "a"})
        writer.write(dialogue(id="b"))
    with path.open("a") as out:
        out.write('{"id": "half')
    with JsonlWriter(path, resume=True) as writer:
        assert writer.ids == {"a", "b"}
        writer.write({"id": "c"})
        assert "c" in writer.ids
        assert len(path.read_text().splitlines()) == 3  # flushed row by row
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["a", "b", "c"]
    with JsonlWriter(path) as writer:
        assert writer.ids == set()
    assert path.read_text() == ""


def test_the_writer_refuses_a_file_it_cannot_continue(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("no json\n")
    with pytest.raises(RecordError, match="rows.jsonl:1"):
        JsonlWriter(path, resume=True)
    assert path.read_text() == "no json\n"


def test_images_are_found_from_another_folder(samples: list[Sample], samples_jsonl: Path, tmp_path: Path) -> None:
    target = tmp_path / "other" / "place" / "dialogues.jsonl"
    moved = rebase_image(samples[0].image, samples_jsonl, target)
    assert moved == "../../data/images/000.png"
    target.parent.mkdir(parents=True)
    assert image_path(dialogue(image=moved), target).resolve() == image_path(samples[0], samples_jsonl).resolve()
    absolute = str(tmp_path / "x.png")
    assert rebase_image(absolute, samples_jsonl, target) == absolute
    assert image_path(dialogue(image=absolute), target) == Path(absolute)


def test_run_json_says_how_an_output_came_to_be(samples_jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "dialogues.jsonl"
    write_run(out, config={"tasks": ["coarse"]}, seed=3, inputs=[samples_jsonl])
    run = json.loads((out.parent / "run.json").read_text())
    assert run["output"] == "dialogues.jsonl" and run["seed"] == 3 and run["config"] == {"tasks": ["coarse"]}
    assert run["inputs"] == [{"path": str(samples_jsonl), "sha256": file_sha256(samples_jsonl)}]
    assert {"python", "numpy", "pydantic"} - run["versions"].keys() <= {"pydantic"}
    assert "earlier" not in run


def test_run_json_keeps_the_runs_of_other_outputs(tmp_path: Path) -> None:
    for name, seed in (("a.jsonl", 1), ("b.jsonl", 2), ("a.jsonl", 3)):
        write_run(tmp_path / name, config={}, seed=seed, inputs=[])
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["output"], run["seed"]) == ("a.jsonl", 3)
    assert {name: row["seed"] for name, row in run["earlier"].items()} == {"b.jsonl": 2}
    (tmp_path / "run.json").write_text("broken")
    write_run(tmp_path, config={}, seed=None, inputs=[])
    assert json.loads((tmp_path / "run.json").read_text())["output"] == "."


def test_the_hash_of_a_folder_follows_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-linked")
    elsewhere.mkdir()
    (elsewhere / "back").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(elsewhere)
    before = file_sha256(tmp_path)
    assert before == file_sha256(tmp_path)
    (elsewhere / "new.png").write_bytes(b"1")
    assert before != file_sha256(tmp_path), "a linked folder's files count"
    (elsewhere / "new.png").unlink()
    (tmp_path / ".DS_Store").write_text("a desktop's")
    (tmp_path / ".Trashes").mkdir(mode=0)
    assert file_sha256(tmp_path) == before, "hidden files are nobody's data"
    (tmp_path / "b.txt").write_text("two")
    assert file_sha256(tmp_path) != before


def test_stages_that_end_together_in_one_folder_all_keep_their_records(tmp_path: Path) -> None:
    names = [f"{number}.jsonl" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: write_run(tmp_path / name, config={"of": name}, seed=0, inputs=[]), names))
    assert all(read_run(tmp_path / name)["config"] == {"of": name} for name in names)


@pytest.mark.parametrize(
    "box", [(-1, 0, 5, 5), (0, -1, 5, 5), (0, 0, 65, 5), (0, 0, 5, 81), (5, 0, 5, 5), (0, 5, 5, 5), (9, 0, 5, 5), (0, 9, 5, 5)]
)
def test_a_box_lies_inside_on_every_side(make_sample, box) -> None:
    with pytest.raises(ValueError, match="clip it to the picture"):
        make_sample("Print", boxes=[box])


def test_people_of_one_name_in_two_data_sets_are_drawn_apart() -> None:
    units = {Truth(dataset=name, subject="01", video="v").resampling_unit("p") for name in ("wmca", "padisi")}
    units |= {Truth(dataset=name, video="v").resampling_unit("p") for name in ("wmca", "padisi")}
    assert len(units) == 4


@pytest.mark.parametrize(
    ("name", "said"), [("run.json", "record is written"), ("folder", "is a folder"), ("read.jsonl", "would be overwritten")]
)
def test_where_an_output_may_not_be_written(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match=said):
        check_not_read([tmp_path / name], [None, tmp_path / "read.jsonl"])


def test_a_link_to_a_file_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "shared.json").write_text("old")
    (tmp_path / "here.json").symlink_to(tmp_path / "shared.json")
    write_text_atomic(tmp_path / "here.json", "new")
    assert (tmp_path / "here.json").is_symlink() and (tmp_path / "shared.json").read_text() == "new"


def test_a_file_has_its_name_once_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    with pytest.raises(OSError, match="full"), written_whole(target) as part:
        part.write_text("half")
        raise OSError("the disk is full")
    assert list(tmp_path.iterdir()) == []
    with written_whole(target) as part:
        part.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"] and target.read_text() == "whole"


@pytest.mark.parametrize(
    "changes",
    [
        {"presentation_type": "Prnt"}, {"truth": {"presentation_type": "Prnt"}},
        {"truth": {"is_attack": False, "presentation_type": "Print"}},
    ],
)  # fmt: skip
def test_predictions_of_types_that_there_are_not_are_refused(changes: dict[str, Any]) -> None:
    row = {"id": "a:fine", "sample_id": "a", "image": "a.png", "task": "fine", "question": "?", "status": "parsed"}
    assert Prediction.model_validate({**row, "presentation_type": "print"}).presentation_type == "Print"
    with pytest.raises(ValueError, match=r"Prnt|contradicts"):
        Prediction.model_validate({**row, **changes})


def test_a_file_of_another_kind_is_told_once(samples_jsonl: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecordError, match="a file of samples — expected one of dialogues, as `faceshield generate` writes"
    ) as told:
        read_jsonl(samples_jsonl, Dialogue)
    assert len(told.value.faults) == 1
    write_jsonl(tmp_path / "d.jsonl", [dialogue()])
    with pytest.raises(RecordError, match="a file of dialogues — expected one of samples"):
        list(iter_jsonl(tmp_path / "d.jsonl", Sample))
