"""The doctor: a healthy model passes; every kind of fault is found, named, and told how to mend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.doctor import Result, examine
from faceshield.model import train_tokenizer
from faceshield.model.checkpoint import TINY_FOLDER
from faceshield.records import Dialogue, Sample, write_jsonl

NAMES = ["packages", "torch", "GPU", "faces", "files", "memory", "weights", "tokens", "answers"]


@pytest.fixture
def model(tmp_path: Path, checkpoint: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


@pytest.fixture
def dialogues(tmp_path: Path, samples: list[Sample], samples_jsonl: Path) -> Path:
    rows = [
        Dialogue(
            id=f"d{number}",
            image=str(samples_jsonl.parent / sample.image),
            conversations=[{"from": "human", "value": "<image>\nWhy?"}, {"from": "gpt", "value": "This is a bona fide face."}],
            task="reasoning",
            source="test",
        )
        for number, sample in enumerate(samples[:4])
    ]
    write_jsonl(tmp_path / "dialogues.jsonl", rows)
    return tmp_path / "dialogues.jsonl"


def results(model: object, *data: Path, **options: Any) -> dict[str, Result]:
    found = list(examine(str(model), data, **options))
    assert [result.number for result in found] == list(range(1, len(found) + 1))
    return {result.name: result for result in found}


def test_a_healthy_model_and_data_pass(model: Path, dialogues: Path, samples_jsonl: Path) -> None:
    found = results(model, dialogues, samples_jsonl)
    assert list(found) == [*NAMES, dialogues.name, samples_jsonl.name]
    assert {result.state for result in found.values()} == {"ok"}, found
    assert "tokens to learn" in found[dialogues.name].found and "samples" in found[samples_jsonl.name].found


def test_the_command_prints_and_ends_with_the_right_code(model: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(app, ["doctor", "--model", str(model)])
    assert result.exit_code == 0 and result.output.endswith("all well\n")
    result = run(app, ["doctor", "--model", str(tmp_path / "gone"), "--json"])
    assert result.exit_code == 2
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["number"] for row in rows] == list(range(1, 10))
    states = {row["name"]: row["state"] for row in rows}
    assert states["files"] == "failed" and states["weights"] == states["answers"] == "skipped"
    assert rows[6]["found"] == "needs check 5"


def shards(model: Path) -> None:
    """The same weights in two files with an index."""
    state = load_file(model / "model.safetensors")
    names = sorted(state)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        save_file({name: state[name] for name in part}, model / f"model-{number}.safetensors", metadata={"format": "pt"})
        where |= dict.fromkeys(part, f"model-{number}.safetensors")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def lose_a_shard(model: Path) -> None:
    shards(model)
    (model / "model-2.safetensors").unlink()


def cut_the_weights(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def lose_a_tensor(model: Path) -> None:
    state = load_file(model / "model.safetensors")
    state.pop("lm_head.weight")
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})


def forget_the_image_token(model: Path) -> None:
    tokenizer = train_tokenizer(["words"], vocab_size=300)
    values = json.loads(tokenizer.backend_tokenizer.to_str().replace("<image>", "<other>"))
    (model / "tokenizer.json").write_text(json.dumps(values))
    config = json.loads((model / "tokenizer_config.json").read_text().replace("<image>", "<other>"))
    (model / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "check", "words"),
    [
        (lose_a_shard, "files", "model-2.safetensors"),
        (cut_the_weights, "files", "unreadable weights"),
        (lose_a_tensor, "weights", "missing lm_head.weight"),
        (forget_the_image_token, "weights", "without the token '<image>'"),
    ],
)
def test_a_spoilt_checkpoint(model: Path, spoil: Callable[[Path], None], check: str, words: str) -> None:
    spoil(model)
    found = results(model)
    assert found[check].state == "failed" and words in found[check].found and found[check].remedy
    assert found["answers"].state == "skipped"
    assert {result.state for result in found.values()} == {"ok", "failed", "skipped"}


def test_weights_that_are_no_numbers(model: Path) -> None:
    state = load_file(model / "model.safetensors")
    state["model.multi_modal_projector.linear_1.weight"][0, 0] = float("nan")
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    found = results(model)["answers"]
    assert found.state == "failed" and "no number" in found.found


def test_shards_are_whole(model: Path) -> None:
    shards(model)
    assert results(model)["answers"].state == "ok"


def test_without_a_threshold_it_warns_and_goes_on(model: Path) -> None:
    (model / "faceshield.json").unlink()
    found = results(model)
    assert found["files"].state == "warning" and "no threshold" in found["files"].found
    assert found["answers"].state == "ok"


def test_a_threshold_of_other_looks_is_not_a_broken_copy(model: Path) -> None:
    info = json.loads((model / "faceshield.json").read_text())
    info["threshold_source"] |= {"face": "detect", "looks": "0.5"}
    (model / "faceshield.json").write_text(json.dumps(info))
    found = results(model)
    assert found["weights"].state == "failed" and "the looks (crop margins) '0.5'" in found["weights"].found
    assert "calibrate" in str(found["weights"].remedy)


def test_too_little_memory_stops_before_loading(model: Path) -> None:
    found = results(model, memory=1000)
    assert found["memory"].state == "failed" and "GiB needed, 0.00 GiB free" in found["memory"].found
    assert found["weights"].state == "skipped"


def lines(file: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    edit(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: rows[1].pop("image"), "dialogues.jsonl:2"),
        (lambda rows: rows[2].update(image="gone.png"), "1 of 4 pictures are missing"),
        (lambda rows: rows[0]["conversations"][1].update(value=" "), "has no answer to learn"),
        (lambda rows: rows.clear(), "no rows"),
    ],
)
def test_spoilt_data(model: Path, dialogues: Path, edit: Callable[[Any], object], words: str) -> None:
    lines(dialogues, edit)
    found = results(model, dialogues)[dialogues.name]
    assert found.state == "failed" and words in found.found and found.remedy


def test_a_broken_picture_and_a_missing_file(model: Path, dialogues: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    lines(dialogues, lambda rows: rows[0].update(image="broken.png"))
    found = results(model, dialogues, tmp_path / "gone.jsonl")
    assert "broken.png" in found[dialogues.name].found and found["gone.jsonl"].state == "failed"


def test_rows_that_tell_another_size_than_their_pictures_have(model: Path, samples_jsonl: Path) -> None:
    """Boxes are read against that size, so every target would be wrong."""
    lines(samples_jsonl, lambda rows: rows[0].update(size_wh=[2000, 2000]))
    found = results(model, samples_jsonl)[samples_jsonl.name]
    assert found.state == "failed" and "its row says [2000, 2000]" in found.found


def test_the_last_line_does_not_hide_a_warning(model: Path) -> None:
    (model / "faceshield.json").unlink()
    result = CliRunner().invoke(app, ["doctor", "--model", str(model)])
    assert result.exit_code == 0 and "1 warning above" in result.output and "all well" not in result.output


def test_long_dialogues_are_counted(model: Path, dialogues: Path) -> None:
    lines(dialogues, lambda rows: rows[0]["conversations"][1].update(value="why " * 2000))
    found = results(model, dialogues)[dialogues.name]
    assert found.state == "warning" and "1 longer than the model's 1024" in found.found


def test_the_shipped_model_is_healthy(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(TINY_FOLDER, copy)
    assert {result.state for result in results(copy).values()} == {"ok"}
