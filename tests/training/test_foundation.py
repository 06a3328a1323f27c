"""Towers and language model from nothing, at toy size: they learn, stop, go on, write checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from faceshield.model import CheckpointInfo, load, read_info, save
from faceshield.model.checkpoint import INFO_FILE
from faceshield.recipes.train import tower_texts
from faceshield.records import Dialogue, Prediction, Sample, read_jsonl, write_jsonl
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training import augment, foundation_towers
from faceshield.training.dataset import make_row
from faceshield.training.foundation import train_towers
from faceshield.training.foundation_lm import LanguageConfig, token_stream, train_language
from faceshield.training.foundation_towers import TowersConfig, TowerTexts
from faceshield.training.pictures import cached_pictures, load_pictures
from faceshield.training.settings import StageConfig, inherited
from faceshield.training.stages import train_stage
from faceshield.training.state import STATE_FILE, read_progress
from faceshield.training.watch import LOG_FILE, read_log

from .conftest import TOY

CORPUS = [caption for caption, _ in tower_texts().captions]


def config(data: Path, out: Path, **changes: Any) -> TowersConfig:
    values: dict[str, Any] = {
        "data": data,
        "out": out,
        "model": TOY,
        "vocab_size": 300,
        "pictures": 32,
        "batch_size": 8,
        "low_size": 32,
        "low_share": 0.5,
        "eval_every": 16,
        "threads": 1,
        "max_shift": 2,
        "save_minutes": 1e-6,
        "log_every": 1,
    }
    return TowersConfig(**{**values, **changes})


def test_towers_train_and_write_a_checkpoint(splits_jsonl: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    figures = train_towers(config(splits_jsonl, tmp_path / "towers"), tower_texts(), CORPUS, lambda row: rows.append(dict(row)))
    assert figures["n"] == 8 and 0 <= figures["fine"] <= 1 and 0 <= figures["box_50"] <= 1
    assert [row["size"] for row in rows if row["event"] == "step"] == [32, 32, 64, 64]
    assert [row["seen"] for row in rows if row["event"] == "dev"] == [16, 32]
    logged = [json.loads(line) for line in (tmp_path / "towers/log.jsonl").read_text().splitlines()]
    assert logged[-1]["event"] == "end" and logged[-1]["seen"] == 32
    checkpoint = load(tmp_path / "towers")
    assert checkpoint.model.config.tokens_per_stream == 16
    assert (tmp_path / "towers/run.json").exists()
    said = read_jsonl(tmp_path / "towers/predictions.jsonl", Prediction)
    assert len(said) == 8 and all(0 <= row.bonafide_score <= 1 and row.truth.is_attack is not None for row in said)  # type: ignore[operator]
    assert all(Path(row.image).is_file() and Path(row.image).is_absolute() for row in said), "whatever folder it is read from"
    assert all(row.is_attack is None for row in said), "a head says nothing; its scores have no threshold yet"
    wrong = sum((row.bonafide_score < 0.5) != row.truth.is_attack for row in said)  # type: ignore[operator]
    assert figures["coarse"] == pytest.approx(1 - wrong / 8)
    files = {file.suffix for file in (tmp_path / "towers").rglob("*") if file.is_file()}
    assert files <= {".json", ".jsonl", ".safetensors", ".jinja"}, "no pickle"


@pytest.mark.parametrize("stem", ["residual", "resnet"])
def test_a_stopped_run_of_towers_goes_on_to_the_same_weights(splits_jsonl: Path, tmp_path: Path, stem: str) -> None:
    texts = tower_texts()
    model = {**TOY, "vision_config": {**TOY["vision_config"], "stem": stem, "stem_blocks": [0, 1, 1, 1]}}
    train_towers(config(splits_jsonl, tmp_path / "whole", low_share=0, model=model), texts, CORPUS)

    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        if row.get("event") == "step" and row["step"] == 3:
            raise Stop

    again = config(splits_jsonl, tmp_path / "again", low_share=0, model=model)
    with pytest.raises(Stop):
        train_towers(again, texts, CORPUS, stop)
    events: list[str] = []
    train_towers(again, texts, CORPUS, lambda row: events.append(row["event"]))
    assert "resume" in events
    first, second = (load(tmp_path / name).model.model.vision_tower.state_dict() for name in ("whole", "again"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4)


def test_towers_of_other_settings_or_pictures_are_refused(splits_jsonl: Path, tmp_path: Path) -> None:
    train_towers(config(splits_jsonl, tmp_path / "towers", pictures=8), tower_texts(), CORPUS)
    with pytest.raises(ValueError, match="begun with learning_rate .*, now 0.5"):
        train_towers(config(splits_jsonl, tmp_path / "towers", pictures=8, learning_rate=0.5), tower_texts(), CORPUS)
    splits_jsonl.write_text("\n".join(splits_jsonl.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="begun with data"):
        train_towers(config(splits_jsonl, tmp_path / "towers", pictures=8), tower_texts(), CORPUS)


def test_a_second_cycle_goes_on_from_a_checkpoints_towers(splits_jsonl: Path, toy_folder: Path, tmp_path: Path) -> None:
    own = load(toy_folder)
    chosen = replace(own.info, threshold=0.4, threshold_source={"dataset": "dev"}, questions={"coarse": "Is it?"})
    begun = save(own.model, own.processor, tmp_path / "begun", chosen)
    settings = config(splits_jsonl, tmp_path / "second", init=str(begun), model={}, pictures=8, low_share=0)
    train_towers(settings, tower_texts(), [])
    first, second = load(begun), load(tmp_path / "second")
    before, after = first.model.state_dict(), second.model.state_dict()
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"vision_tower", "prompt_tower"}
    # One step moves a weight by at most about the learning rate: the towers went on from where they were.
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 10 * settings.learning_rate
    assert second.info.threshold is None and second.info.questions == {"coarse": "Is it?"}
    with pytest.raises(ValueError, match="leave one of them out"):
        config(splits_jsonl, tmp_path / "third", init=str(begun))


def test_a_further_cycle_may_begin_deeper_and_says_so_in_its_checkpoint(
    splits_jsonl: Path, toy_folder: Path, tmp_path: Path
) -> None:
    deeper = {"num_hidden_layers": 3, "stem_blocks": [1, 1, 1, 2], "image_size": 2 * load(toy_folder).processor.image_size}
    settings = config(splits_jsonl, tmp_path / "deeper", init=str(toy_folder), model={}, grow=deeper, pictures=8, low_share=0)
    train_towers(settings, tower_texts(), [])
    before, after = load(toy_folder).model, load(tmp_path / "deeper").model
    told = after.config.vision_config
    assert told.num_hidden_layers == 3 > before.config.vision_config.num_hidden_layers and told.stem_blocks == [1, 1, 1, 2]
    assert told.image_size == load(tmp_path / "deeper").processor.image_size == 2 * before.config.vision_config.image_size
    new = after.model.vision_tower.encoder.layers[1]
    assert new.mlp.fc2.weight.abs().max() > 0, "what began as nothing was not learnt"
    with pytest.raises(ValueError, match="grow without init"):
        config(splits_jsonl, tmp_path / "none", grow=deeper)


@pytest.mark.parametrize("low_size", [24, 128])
def test_a_size_that_the_tower_cannot_see_is_told_before_it_is_trained(
    splits_jsonl: Path, tmp_path: Path, low_size: int
) -> None:
    with pytest.raises(ValueError, match=f"low_size {low_size} — expected at most the tower's 64 pixels"):
        train_towers(config(splits_jsonl, tmp_path / "towers", low_size=low_size, low_share=0.5), tower_texts(), CORPUS)


def choose(out: Path) -> None:
    """Writes a threshold into a checkpoint, as `train threshold` does."""
    info = replace(read_info(out), threshold=0.4, threshold_source={"dataset": "dev"}, calibration={"scale": 2.0})
    (out / INFO_FILE).write_text(json.dumps(asdict(info)))


def check_a_choice_lasts_as_long_as_its_weights(train: Callable[[bool], list[str]], out: Path) -> None:
    """`train` (whether longer) returns what was reported."""
    train(False)
    choose(out)
    before = {file: file.read_bytes() for file in out.iterdir() if file.name in (INFO_FILE, "model.safetensors")}
    assert not any("choose a new threshold" in told for told in train(False))
    assert {file: file.read_bytes() for file in before} == before and len(before) == 2
    assert any("choose a new threshold" in told for told in train(True))
    assert read_info(out).threshold is None and not read_info(out).calibration
    assert json.loads((out / f"{INFO_FILE}.before").read_text())["threshold"] == 0.4


def test_a_threshold_of_towers_lasts_as_long_as_their_weights(splits_jsonl: Path, tmp_path: Path) -> None:
    def train(longer: bool) -> list[str]:
        told: list[str] = []
        settings = config(splits_jsonl, tmp_path / "towers", pictures=24 if longer else 16)
        train_towers(settings, tower_texts(), CORPUS, lambda row: told.append(str(row.get(""))))
        return told

    check_a_choice_lasts_as_long_as_its_weights(train, tmp_path / "towers")


def test_a_threshold_of_a_language_model_lasts_as_long_as_its_weights(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    def train(longer: bool) -> list[str]:
        told: list[str] = []
        train_language(
            language(toy_folder, dialogues_jsonl, tmp_path / "lm", steps=3 if longer else 2),
            lambda row: told.append(str(row.get(""))),
        )
        return told

    check_a_choice_lasts_as_long_as_its_weights(train, tmp_path / "lm")


def language(init: Path, dialogues: Path, out: Path, **changes: Any) -> LanguageConfig:
    values: dict[str, Any] = {
        "init": init, "dialogues": [dialogues], "out": out, "steps": 2, "batch_size": 4, "block": 32, "held_out": 0.1,
        "threads": 1,
    }  # fmt: skip
    return LanguageConfig(**{**values, **changes})


def test_the_pictures_side_is_recorded_from_the_towers_to_the_papers_stages(
    splits_jsonl: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    """By it the predictor resizes faces: lost on the way, it would show the towers descriptors of another scale."""
    towers = config(splits_jsonl, tmp_path / "towers", pictures=8, low_share=0, crop_side=48)
    train_towers(towers, tower_texts(), CORPUS)
    train_language(language(towers.out, dialogues_jsonl, tmp_path / "lm"))
    told = StageConfig(
        stage="pretrain", init=str(tmp_path / "lm"), dialogues=dialogues_jsonl, out=tmp_path / "one", max_steps=1, batch_size=4,
        threads=1, report_to=[],
    )  # fmt: skip
    completed, origins = inherited(told)
    assert completed.crop_side == 48 and origins["crop_side"] == str(tmp_path / "lm" / INFO_FILE)
    train_stage(told)
    assert [read_info(tmp_path / name).extra["crop_side"] for name in ("towers", "lm", "one")] == [48] * 3
    other = config(
        splits_jsonl, tmp_path / "other", init=str(tmp_path / "one"), model={}, pictures=8, low_share=0, crop_side=40
    )
    train_towers(other, tower_texts(), [])
    assert read_info(other.out).extra == {**read_info(tmp_path / "one").extra, "crop_side": 40}
    bare = {**TOY, "use_savp": False}
    train_towers(config(splits_jsonl, tmp_path / "none", pictures=8, low_share=0, model=bare), tower_texts(), CORPUS)
    assert not read_info(tmp_path / "none").extra, "and where there is none, none is told"


def test_what_a_language_model_begins_from_is_kept(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    own = load(toy_folder)
    save(own.model, own.processor, toy_folder, replace(own.info, questions={"coarse": "Is it?"}, extra={"crop_side": 48}))
    choose(toy_folder)
    train_language(language(toy_folder, dialogues_jsonl, tmp_path / "lm"))
    assert read_info(tmp_path / "lm") == CheckpointInfo(questions={"coarse": "Is it?"}, extra={"crop_side": 48})


def test_small_squares_that_are_over_do_not_return(splits_jsonl: Path, tmp_path: Path) -> None:
    sizes: list[int] = []

    def noted(row: Any) -> None:
        if row["event"] == "step":
            sizes.append(row["size"])

    train_towers(config(splits_jsonl, tmp_path / "towers", pictures=16), tower_texts(), CORPUS, noted)
    train_towers(config(splits_jsonl, tmp_path / "towers", pictures=48), tower_texts(), CORPUS, noted)
    assert sizes == [32, 64, 64, 64, 64, 64]


def test_a_state_of_an_earlier_version_goes_on(splits_jsonl: Path, tmp_path: Path) -> None:
    settings = config(splits_jsonl, tmp_path / "towers", pictures=16)
    train_towers(settings, tower_texts(), CORPUS)
    state = settings.out / STATE_FILE
    with safe_open(state, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    earlier = {name: value for name, value in read_progress(state).items() if name != "furthest"}
    save_file(tensors, state, metadata={"progress": json.dumps(earlier)})
    train_towers(settings.model_copy(update={"pictures": 24}), tower_texts(), CORPUS)
    assert (read_progress(state)["seen"], read_progress(state)["furthest"]) == (24, 2 / 3)


def test_towers_that_go_on_see_pictures_of_the_size_that_the_predictor_makes(
    splits_jsonl: Path, toy_folder: Path, tmp_path: Path
) -> None:
    """Their descriptors are of single pixels: at another scale they are others."""
    own = load(toy_folder)
    begun = save(own.model, own.processor, tmp_path / "begun", replace(own.info, extra={"crop_side": 48}))
    settings = config(splits_jsonl, tmp_path / "second", init=str(begun), model={}, pictures=8, low_share=0)
    train_towers(settings, tower_texts(), [])
    pictures = load_pictures([splits_jsonl], PRESENTATION_TYPES)
    assert json.loads((settings.out / "run.json").read_text())["config"]["crop_side"] == 48
    cache = tmp_path / "cache"
    before = sorted(cache.iterdir())
    crops = cached_pictures(pictures.paths, cache, side=48, largest=128)
    assert sorted(cache.iterdir()) == before and len(before) == 2, "the run's own cache"
    assert [max(crops[row].shape) for row in range(3)] == [48] * 3 != [max(size.size_wh) for size in pictures.samples[:3]]


def test_the_clock_ends_a_run(splits_jsonl: Path, tmp_path: Path) -> None:
    figures = train_towers(config(splits_jsonl, tmp_path / "towers", pictures=10**9, minutes=1e-4), tower_texts(), CORPUS)
    assert figures["n"] == 8


def test_texts_need_a_caption_a_type() -> None:
    with pytest.raises(ValueError, match="no caption describes only Print"):
        TowerTexts(("Bonafide", "Print"), (("Real.", ("Bonafide",)),), ("Is it?",))


def test_language_model_learns_the_wording(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    settings = language(toy_folder, dialogues_jsonl, tmp_path / "lm", steps=30, learning_rate=5e-3, log_every=1)
    final = train_language(settings, lambda row: rows.append(dict(row)))
    losses = [row["loss"] for row in rows if row["event"] == "step"]
    assert len(losses) == 30 and final["loss"] < losses[0] - 0.8
    before, after = load(toy_folder).model.state_dict(), load(tmp_path / "lm").model.state_dict()
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"language_model", "weight"}
    # A finished stage started again does nothing more.
    rows.clear()
    train_language(settings, lambda row: rows.append(dict(row)))
    assert [row["event"] for row in rows] == ["resume", "end"]
    # Killed after step 32, last saved at 30: what is done again is logged once.
    log = settings.out / LOG_FILE
    with log.open("a") as lines:
        lines.writelines(json.dumps({"step": step, "event": "step", "loss": 9.0}) + "\n" for step in (31, 32))
    train_language(settings.model_copy(update={"steps": 33}))
    steps = [row["step"] for row in read_log(log) if row["event"] == "step"]
    assert steps == list(range(1, 34)) and 9.0 not in [row.get("loss") for row in read_log(log)]


def test_a_steps_boxes_and_classes_are_of_its_own_pictures(
    splits_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = read_jsonl(splits_jsonl, Sample)
    boxed = ({"boxes": [(float(number), 10.0, 40.0, 60.0)] if row.is_attack else []} for number, row in enumerate(rows))
    write_jsonl(splits_jsonl, [row.model_copy(update=update) for row, update in zip(rows, boxed, strict=True)])
    seen: list[Any] = []
    told: list[Any] = []
    change, targets = augment.augmented, foundation_towers.TowerTrainer._targets
    inputs = foundation_towers.TowerTrainer._inputs

    def changed(picture: Any, boxes: Any, *rest: Any) -> Any:
        out = change(picture, boxes, *rest)
        seen.append((picture.copy(), boxes, *out))
        return out

    def targeted(self: Any, picked: Any, boxes: Any, *rest: Any) -> Any:
        told[-1] += (picked.tolist(), list(boxes), targets(self, picked, boxes, *rest))
        return told[-1][-1]

    def fed(self: Any, pixels: Any, size: int) -> Any:
        told.append((pixels.copy(),))
        return inputs(self, pixels, size)

    monkeypatch.setattr(augment, "augmented", changed)
    monkeypatch.setattr(foundation_towers.TowerTrainer, "_targets", targeted)
    monkeypatch.setattr(foundation_towers.TowerTrainer, "_inputs", fed)
    train_towers(config(splits_jsonl, tmp_path / "towers", pictures=16, eval_every=100, threads=1), tower_texts(), CORPUS)
    pictures = load_pictures([splits_jsonl], PRESENTATION_TYPES)
    processor = load(tmp_path / "towers").processor
    crops = cached_pictures(pictures.paths, tmp_path / "cache", largest=128)
    steps = [step for step in told if len(step) == 4]
    assert len(seen) == 16 and len(steps) == 2
    for number, (pixels, picked, boxes, target) in enumerate(steps):
        for place, row in enumerate(picked):
            before, own, after, moved = seen[8 * number + place]
            assert np.array_equal(before, crops[row]) and np.array_equal(own, pictures.boxes[row])
            assert np.array_equal(boxes[place], moved) and not np.array_equal(before, after)
            assert np.array_equal(pixels[place], processor.square_pixels(after)), "both streams are of the changed picture"
            assert target.types[place] == pictures.types[row]


def test_the_language_model_learns_the_very_tokens_that_later_stages_use(toy_folder: Path, dialogues_jsonl: Path) -> None:
    """A question's first word is another token behind a picture's line end than behind a space."""
    processor = load(toy_folder).processor
    rows = read_jsonl(dialogues_jsonl, Dialogue)[:6]
    later = [token for row in rows for token in make_row([row], 0, processor).input_ids if token != processor.image_token_id]
    assert token_stream(rows, processor).tolist() == later


def test_the_words_of_a_start_that_failed_are_not_gone_on_with(splits_jsonl: Path, tmp_path: Path) -> None:
    out, train_only = tmp_path / "towers", splits_jsonl.with_name("train.jsonl")
    write_jsonl(train_only, [row for row in read_jsonl(splits_jsonl, Sample) if row.split == "train"])
    with pytest.raises(ValueError, match="no picture of split 'dev'"):
        train_towers(config(train_only, out), tower_texts(), CORPUS)
    train_towers(config(splits_jsonl, out, vocab_size=350, pictures=8), tower_texts(), CORPUS)
    assert len(load(out).processor.prompt_tokenizer) > 310
