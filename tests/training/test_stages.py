"""The paper's two stages at toy size: rows, masks, seeds, guards, adapters, ablations, resuming."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.optim import AdamW
from transformers import Trainer, TrainingArguments
from transformers.training_args import ParallelMode
from typer.testing import CliRunner

from faceshield import FaceShieldPredictor
from faceshield.cli import app
from faceshield.config import ConfigError
from faceshield.model import Checkpoint, base_name, is_adapter, load, read_info, save
from faceshield.model.checkpoint import INFO_FILE
from faceshield.provenance import BEGUN_FILE, alone_in, read_run, write_run, write_text_atomic
from faceshield.records import Dialogue, Sample, image_path, read_jsonl, write_jsonl
from faceshield.training.collate import ABOUT, apart, collate
from faceshield.training.dataset import MAX_PACKED, DialogueRows, EpochOrder, SupervisionError, make_row, seed_of
from faceshield.training.pictures import PictureError, clean
from faceshield.training.settings import StageConfig, inherited
from faceshield.training.stages import read_rows, train_stage
from faceshield.training.state import STATE_FILE
from faceshield.training.trainer import StageTrainer, arguments_of
from faceshield.training.vision_cache import LivePictures, Shards, VisionCache
from faceshield.training.watch import LOG_FILE, read_log

# Released libraries warn about their own next version; the product silences or avoids what it can.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def toy(toy_folder: Path) -> Checkpoint:
    return load(toy_folder)


def stage(name: str, init: Path, dialogues: Path, out: Path, **changes: Any) -> StageConfig:
    values: dict[str, Any] = {
        "stage": name, "init": str(init), "dialogues": dialogues, "out": out, "max_steps": 3, "batch_size": 4,
        "log_every": 1, "save_steps": 2, "threads": 1, "lora_r": 4, "lora_alpha": 8, "learning_rate": 1e-2,
        "cache_features": True, "cache": out.parent / "cache", "report_to": [],
    }  # fmt: skip
    return StageConfig(**{**values, **changes})


def grouped(path: Path) -> list[list[Dialogue]]:
    groups: dict[str, list[Dialogue]] = {}
    for row in read_jsonl(path, Dialogue):
        groups.setdefault(row.image, []).append(row)
    return list(groups.values())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_packed_row_equals_its_dialogues_apart(
    toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path, attention: str
) -> None:
    """Same loss and same logits: the questions of a row cannot see each other."""
    toy.model.set_attn_implementation({"text_config": attention})
    dialogues = grouped(dialogues_jsonl)[1]
    paths = [image_path(dialogues[0], dialogues_jsonl)]
    cache = VisionCache.build(paths, toy.model, toy.processor, tmp_path / "cache", bf16=False)

    def run(packs: list[list[Dialogue]]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [make_row(pack, 0, toy.processor) for pack in packs]
        dataset = DialogueRows(rows, paths, toy.processor, pvtm=False)
        batch = collate([dataset[i] for i in range(len(rows))], cache, toy.processor.pad_token_id)
        del batch[ABOUT]
        with torch.no_grad():
            output = toy.model(**batch)
        supervised = batch["labels"][:, 1:] >= 0
        return output.loss, output.logits[:, :-1][supervised]

    loss, logits = run([dialogues])
    loss_apart, logits_apart = run([[dialogue] for dialogue in dialogues])
    assert len(dialogues) == 5
    torch.testing.assert_close(loss, loss_apart, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits, logits_apart, atol=1e-4, rtol=1e-4)


def test_apart() -> None:
    mask = apart(torch.tensor([[0, 0, 1, 2, 2, -1]]))[0, 0]
    seen = [[int(k) for k in row.nonzero()[:, 0]] for row in mask]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 3, 4], [5]]


def test_the_cache_is_encode_images_and_serves_both_ablations(toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True)
    build = dict(bf16=False, batch_size=7)
    cache = VisionCache.build(rows.paths, toy.model, toy.processor, tmp_path / "cache", **build)  # type: ignore[arg-type]
    inputs = cache.inputs([3, 9], joint=True)
    pixels = LivePictures(rows.paths, toy.processor).inputs([3, 9], joint=True)
    with torch.no_grad():
        expected = toy.model.encode_images(**pixels)
    for found, truth in zip(inputs.values(), expected, strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-5)
    files = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert {file.parent.name.rsplit("-", 1)[0] for file in files} == {
        "rgb-features", "rgb-joint", "savp-features", "savp-joint",
    }  # fmt: skip
    toy.processor.use_savp = False
    rgb = VisionCache.build(rows.paths, toy.model, toy.processor, tmp_path / "cache", **build).inputs([3, 9], joint=False)  # type: ignore[arg-type]
    assert set(rgb) == {"vision_features"} and torch.equal(rgb["vision_features"], inputs["vision_features"][:, :16])
    assert sorted((tmp_path / "cache").rglob("*.safetensors")) == files


def test_pvtm_draws_depend_on_row_epoch_and_seed_alone(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True, seed=1)
    first = rows[0]["pvtm_seed"]
    assert rows[0]["pvtm_seed"] == first == seed_of(rows.rows[0].id, 0, 1) and rows[1]["pvtm_seed"] != first
    rows.epoch = 1
    assert rows[0]["pvtm_seed"] != first
    assert rows[0]["prompt_input_ids"].shape == (64,)
    assert "pvtm_seed" not in DialogueRows.read([dialogues_jsonl], toy.processor, pack=True, pvtm=False)[0]


def test_a_row_without_an_answer_is_named(toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=False)
    item = rows[7]
    hollow = type(item["row"])(**{**vars(item["row"]), "labels": (-100,) * len(item["row"].labels)})
    with pytest.raises(SupervisionError, match=hollow.id):
        collate([rows[0], {**item, "row": hollow}], VisionCache([], {}), 0)


def test_dialogues_of_other_splits_are_left_out(
    toy_folder: Path, dialogues_jsonl: Path, splits_jsonl: Path, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "a", samples=splits_jsonl, max_steps=1)
    train_stage(config, report=lambda row: events.append(dict(row)))
    assert next(row for row in events if row["event"] == "data")["pictures"] == 16


def test_stage_1_trains_the_projector_alone(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    out = train_stage(
        stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one"), questions={"coarse": "Is it?"},
        report=lambda row: events.append(dict(row)),
    )  # fmt: skip
    before, after = load(toy_folder), load(out)
    new = after.model.state_dict()
    changed = {k for k, v in before.model.state_dict().items() if not torch.equal(v, new[k])}
    assert changed and all("multi_modal_projector" in name for name in changed)
    assert after.info.questions == {"coarse": "Is it?"} and after.info.extra["steps"] == 3
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in events if "loss" in row)
    assert json.loads((out / "run.json").read_text())["config"]["stage"] == "pretrain"


def test_stage_2_merges_lora_and_keeps_the_towers(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    config = stage("sft", toy_folder, dialogues_jsonl, tmp_path / "two", pack=True, projector_lr=5e-3)
    out = train_stage(config)
    before, after = load(toy_folder), load(out)
    assert before.model.state_dict().keys() == after.model.state_dict().keys()
    told = [json.loads((folder / "config.json").read_text()).keys() for folder in (toy_folder, out)]
    assert told[0] == told[1], "a setting of Trainer's own is kept"
    new = after.model.state_dict()
    changed = {k for k, v in before.model.state_dict().items() if not torch.equal(v, new[k])}
    assert not any("tower" in name for name in changed)
    for part in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "multi_modal_projector"):
        assert any(part in name for name in changed), part
    assert "lm_head.weight" not in changed and not any("embed_tokens" in name for name in changed)
    answer = next(turn.value for turn in read_jsonl(dialogues_jsonl, Dialogue)[0].conversations if turn.speaker == "gpt")
    ids = after.processor.encode_answer(answer)
    assert after.drafts.after(ids[:2], 1, 1) == [(ids[2],)], "how answers go on is learnt from the same dialogues"


def test_biases_and_norms_do_not_decay(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def adamw(groups: Any, **settings: Any) -> torch.optim.AdamW:
        made.extend((values.ndim, group["weight_decay"]) for group in groups for values in group["params"])
        return AdamW(groups, **settings)

    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one", max_steps=1, weight_decay=0.1))
    assert set(made) == {(1, 0.0), (2, 0.1)}


def test_stage_2_as_an_adapter_and_on_from_there(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    first = train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "first", save="adapter"))
    assert is_adapter(first) and not list(first.glob("model*.safetensors"))
    with pytest.raises(ValueError, match=r"lora_r 7 \(given\), but .* is an adapter of 4, which stays .* give lora_r=4"):
        train_stage(stage("sft", first, dialogues_jsonl, tmp_path / "second", save="adapter", max_steps=1, lora_r=7))
    told = stage("sft", first, dialogues_jsonl, tmp_path / "second", save="adapter", max_steps=1)
    silent = {name: getattr(told, name) for name in told.model_fields_set if not name.startswith("lora_")}
    second = train_stage(StageConfig(**silent))
    assert json.loads((second / "run.json").read_text())["config"]["lora_r"] == 4, "the adapter's own"
    assert base_name(second) == base_name(first) == str(toy_folder)
    whole = train_stage(stage("sft", second, dialogues_jsonl, tmp_path / "whole", max_steps=1))
    models = [load(folder).model.state_dict() for folder in (toy_folder, first, second, whole)]
    changed = {name for name in models[0] if len({tuple(m[name].flatten().tolist()) for m in models}) == len(models)}
    assert any("multi_modal_projector" in name for name in changed) and any("qkv_proj" in name for name in changed)
    assert not any("tower" in name or "norm" in name or "embed" in name for name in changed)


def test_a_stopped_stage_goes_on_with_the_same_command(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(row: Any) -> None:
        if row.get("event") == "step" and row["step"] == 3:
            raise Stop

    options = {"max_steps": 4, "pack": True, "lora_dropout": 0.1}
    whole = train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "whole", **options))
    again = stage("sft", toy_folder, dialogues_jsonl, tmp_path / "again", **options)
    with pytest.raises(Stop):
        train_stage(again, report=stop)
    steps: list[int] = []
    train_stage(again, report=lambda row: steps.append(row["step"]) if row.get("event") == "step" else None)
    assert steps[0] == 3
    first, second = (load(folder).model.state_dict() for folder in (whole, again.out))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    losses = [[row["loss"] for row in read_log(out / LOG_FILE)] for out in (whole, again.out)]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_a_finished_run_is_left_as_it_is_with_the_threshold_that_was_chosen(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "done", max_steps=2)
    out = train_stage(config)
    chosen = replace(
        read_info(out), threshold=0.4, threshold_source={"dataset": "dev"}, calibration={"scale": 2.0, "offset": 0.1}
    )
    (out / INFO_FILE).write_text(json.dumps(asdict(chosen)))
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    rows: list[Any] = []
    train_stage(config.model_copy(update={"threads": 2, "log_every": 5}), report=rows.append)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert any("finished before" in row.get("", "") for row in rows)
    out.rename(tmp_path / "moved")
    rows.clear()
    train_stage(config.model_copy(update={"out": tmp_path / "moved"}), report=rows.append)
    assert any("finished before" in row.get("", "") for row in rows), "wherever it lies now, and however that is spelt"
    (tmp_path / "moved").rename(out)
    longer: list[Any] = []
    train_stage(config.model_copy(update={"max_steps": 3}), report=longer.append)
    assert read_info(out).threshold is None and not read_info(out).calibration, "other weights, other scores"
    assert json.loads((out / f"{INFO_FILE}.before").read_text())["threshold"] == 0.4
    assert any(f"{INFO_FILE}.before" in row.get("", "") for row in longer)
    before = {file: file.read_bytes() for file in out.glob("*.safetensors")}
    next(iter(before)).unlink()
    train_stage(config.model_copy(update={"max_steps": 3}))
    assert {file: file.read_bytes() for file in out.glob("*.safetensors")} == before, "what is lost is made again"


def test_what_lies_beside_a_stages_own_record_hides_it_from_nobody(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    one = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one", max_steps=1, crop_side=64))
    write_run(write_text_atomic(one / "predictions.jsonl", "\n"), config={"stage": "predict"}, seed=None, inputs=[])
    told, origins = inherited(stage("sft", one, dialogues_jsonl, tmp_path / "two", max_steps=1))
    assert told.crop_side == 64 and "pretrain" in origins["crop_side"]


def test_another_run_never_goes_on_from_this_ones_state(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=2, save_steps=1)
    train_stage(config)
    files = {file: file.read_bytes() for file in config.out.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="begun with learning_rate 0.01, now 0.02"):
        train_stage(config.model_copy(update={"learning_rate": 0.02}))
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("\n".join(dialogues_jsonl.read_text().splitlines()[1:]) + "\n")
    with pytest.raises(ValueError, match="begun with dialogues"):
        train_stage(config.model_copy(update={"dialogues": [fewer]}))
    other = load(toy_folder)
    with torch.no_grad():
        next(other.model.model.vision_tower.parameters()).add_(1e-3)
    save(other.model, other.processor, toy_folder, other.info)
    with pytest.raises(ValueError, match="begun with init"):
        train_stage(config)
    assert {file: file.read_bytes() for file in config.out.rglob("*") if file.is_file()} == files


def test_ablations_are_written_into_the_checkpoint(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    config = stage(
        "sft", toy_folder, dialogues_jsonl, tmp_path / "bare", max_steps=1,
        model={"use_savp": False, "pvtm_mask_ratio": 0.0},
        save_dtype="bfloat16",
    )  # fmt: skip
    found = load(train_stage(config))
    assert not found.model.config.use_savp and not found.processor.use_savp
    assert found.model.config.pvtm_mask_ratio == 0
    back = stage("sft", config.out, dialogues_jsonl, tmp_path / "back", model={"use_savp": True})
    with pytest.raises(ValueError, match="has no second stream"):
        train_stage(back)


@pytest.mark.parametrize(
    ("group", "options", "told"),
    [
        ("model", {"pvtm_mask": "foo"}, "'pvtm_mask' expected one of"),
        ("model", {"use_savp": "maybe"}, "'use_savp' expected bool"),
        ("model", {"pvtm_ranking": "shuffled_prompt"}, "with batch_size 1"),
        ("processor", {"savp_at": "face"}, "savp_at 'face'"),
        ("processor", {"savp_channels": ["lbp"]}, "expected three of"),
    ],
)
def test_an_ablation_that_does_not_exist_is_told_before_anything_is_trained(
    group: str, options: dict[str, Any], told: str, toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "out", batch_size=1, **{group: options}))
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_ends_the_run(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, toy: Checkpoint
) -> None:
    from faceshield.model import save

    with torch.no_grad():
        toy.model.model.multi_modal_projector.linear_1.weight.fill_(float("nan"))
    save(toy.model, toy.processor, tmp_path / "broken")
    with pytest.raises(FloatingPointError, match="expected a finite number"):
        train_stage(stage("pretrain", tmp_path / "broken", dialogues_jsonl, tmp_path / "out"))
    (kept,) = (tmp_path / "out/trainer").glob("not-finite-*.safetensors")
    with safe_open(kept, framework="pt") as file:
        assert len(json.loads(file.metadata()["ids"])) == len(file.get_tensor("labels")) == 4


def test_the_last_step_is_logged_however_few_there_were(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    out = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=3, log_every=20))
    assert [row["step"] for row in read_log(out / LOG_FILE)] == [3] and (out / "loss.png").is_file()
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=5, log_every=20))
    assert [row["step"] for row in read_log(out / LOG_FILE)] == [3, 5]


def test_a_gradient_that_is_not_finite_leaves_the_weights(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a finite loss: the last good checkpoint stays, and the same command goes on from it."""
    step = Trainer.training_step

    def spoilt(self: Trainer, model: Any, inputs: Any, items: Any = None) -> Any:
        loss = step(self, model, inputs, items)
        if self.state.global_step == 2:
            next(p.grad for p in model.parameters() if p.grad is not None).flatten()[0] = torch.inf
        return loss

    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=4, save_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", spoilt)
        with pytest.raises(FloatingPointError, match="norm of the gradient inf at step 2"):
            train_stage(config)
    assert [path.name for path in (tmp_path / "out/trainer").glob("checkpoint-*")] == ["checkpoint-2"]
    train_stage(config)
    assert all(value.isfinite().all() for value in load(tmp_path / "out").model.state_dict().values())
    assert [row["step"] for row in read_log(tmp_path / "out" / LOG_FILE)] == [1, 2, 3, 4]


@pytest.mark.skipif(os.name == "nt", reason="no such locks")
def test_two_runs_of_a_stage_do_not_share_a_folder(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one", max_steps=1)
    half_written = config.out / "trainer" / ".checkpoint-1.part"
    half_written.mkdir(parents=True)
    with alone_in(config.out), pytest.raises(ValueError, match="another run is writing it"):
        train_stage(config)
    assert half_written.exists() and not (config.out / LOG_FILE).exists()
    assert train_stage(config) == config.out and not half_written.exists()


def test_another_number_of_processes_does_not_go_on(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps would be of other rows, and the end would come at another share of them."""
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out")
    train_stage(config)
    monkeypatch.setattr(TrainingArguments, "world_size", 2)
    with pytest.raises(ValueError, match="begun with rows an update 4, now 8"):
        train_stage(config)


def test_a_process_uses_one_gpu_of_several(toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer would copy the model onto all of them and multiply the batch, unknown to `rows an update`."""
    made = TrainingArguments.__post_init__

    def with_four(self: TrainingArguments) -> None:
        made(self)
        self._n_gpu = 4

    monkeypatch.setattr(TrainingArguments, "__post_init__", with_four)
    arguments = arguments_of(stage("pretrain", toy_folder, tmp_path / "d.jsonl", tmp_path / "out", batch_size=3))
    assert (arguments.n_gpu, arguments.train_batch_size, arguments.parallel_mode) == (1, 3, ParallelMode.NOT_PARALLEL)


def test_stage_1_has_no_adapter_to_save(tmp_path: Path) -> None:
    told = ["init=tiny", "dialogues=d.jsonl", f"out={tmp_path}", "save=adapter"]
    with pytest.raises(ConfigError, match="save=adapter in stage pretrain, .* expected merged — leave it out"):
        StageConfig.load(None, ["stage=pretrain", *told])
    assert StageConfig.load(None, ["stage=sft", *told]).save == "adapter"


@pytest.mark.parametrize(("name", "rate"), [("pretrain", 5e-4), ("sft", 2e-4)])
def test_the_papers_rates_are_the_defaults(
    name: Literal["pretrain", "sft"], rate: float, toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    config, _ = inherited(StageConfig(stage=name, init=str(toy_folder), dialogues=dialogues_jsonl, out=tmp_path))
    assert config.learning_rate == rate
    config = StageConfig(stage="sft", init="x", dialogues="d.jsonl", out=tmp_path)
    assert (config.lora_r, config.lora_alpha, config.epochs) == (128, 256, 1.0)


def test_losses_are_the_same_without_the_cache(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    """PVTM on, two dialogues of packed rows, stage 2: features from disk or from the tower in every step."""
    losses = []
    for cached in (True, False):
        out = tmp_path / str(cached)
        train_stage(
            stage("sft", toy_folder, dialogues_jsonl, out, cache_features=cached, pack=True, bf16=False, lora_dropout=0.0)
        )
        losses.append([row["loss"] for row in read_log(out / LOG_FILE)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and len(losses[0]) == 3


def test_stage_2_inherits_and_says_from_where(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    one = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one", max_steps=1, crop_side=64, seed=3))
    path = tmp_path / "two.yaml"
    path.write_text(f"stage: sft\ninit: {one}\ndialogues: [{dialogues_jsonl}]\nbatch_size: 2\n")
    config, origins = inherited(StageConfig.load(path, [f"out={tmp_path / 'two'}", "bf16=false"]))
    assert (config.crop_side, config.seed, config.cache, config.batch_size, config.bf16) == (
        64, 3, tmp_path / "cache", 2, False,
    )  # fmt: skip
    assert origins["crop_side"] == f"{one / 'run.json'} (stage pretrain)"
    assert origins["batch_size"] == f"{path}:4" and origins["bf16"] == "override 'bf16=false'"
    assert origins["epochs"] == "default" and config.learning_rate == 2e-4 and "the paper's" in origins["learning_rate"]
    card = (one / "README.md").read_text()
    (one / "run.json").rename(tmp_path / "run.json")  # as of the shipped checkpoint
    alone, origins = inherited(StageConfig.load(path, [f"out={tmp_path / 'two'}"]))
    assert (alone.crop_side, alone.seed) == (64, 0)
    assert origins["crop_side"] == f"{one / 'faceshield.json'} (stage pretrain)"
    assert "stage 1 of the paper" in card and "crop_side | `64`" in card and (one / "loss.png").stat().st_size > 1000


def test_a_size_that_is_given_up_is_not_kept(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    one = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "one", max_steps=1, crop_side=64))
    record = one / "run.json"
    record.write_text(record.read_text().replace('"samples": []', '"samples": ["gone.jsonl"]'))
    with pytest.raises(FileNotFoundError, match=r"no samples file gone.jsonl \(.*run.json \(stage pretrain\)\)"):
        train_stage(stage("sft", one, dialogues_jsonl, tmp_path / "two", max_steps=1))
    two = train_stage(stage("sft", one, dialogues_jsonl, tmp_path / "two", max_steps=1, crop_side=None, samples=[]))
    assert read_info(one).extra["crop_side"] == 64 and "crop_side" not in read_info(two).extra


def test_pictures_that_are_none_are_told_together_before_training(
    toy_folder: Path, dialogues_jsonl: Path, dialogue_rows: list[Dialogue], tmp_path: Path
) -> None:
    paths = sorted({image_path(row, dialogues_jsonl) for row in dialogue_rows if row.meta["split"] == "train"})
    paths[0].unlink()
    paths[1].write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"2 of \d+ pictures cannot be read") as told:
        train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", cache_features=False))
    assert str(paths[0]) in str(told.value) and str(paths[1]) in str(told.value)


@pytest.mark.parametrize("surroundings", [True, False])
def test_whether_the_predictor_looks_twice_is_the_training_pictures_matter(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, surroundings: bool
) -> None:
    begun = train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=1, surroundings=True))
    out = train_stage(stage("sft", begun, dialogues_jsonl, tmp_path / "b", max_steps=1, surroundings=surroundings))
    assert FaceShieldPredictor.from_pretrained(begun, threshold=0.5).surroundings
    assert FaceShieldPredictor.from_pretrained(out, threshold=0.5).surroundings == surroundings


def test_the_cache_follows_the_content(toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path) -> None:
    paths = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True).paths[:4]
    build = dict(bf16=False, joint=False)
    first = VisionCache.build(paths, toy.model, toy.processor, tmp_path / "cache", **build)  # type: ignore[arg-type]
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in paths]
    done: list[int] = []
    again = VisionCache.build(
        moved,
        toy.model,
        toy.processor,
        tmp_path / "cache",
        progress=lambda n, _: done.append(n),
        **build,  # type: ignore[arg-type]
    )
    assert not done and torch.equal(first.rows([0, 3]), again.rows([0, 3]))
    with torch.no_grad():
        next(toy.model.model.vision_tower.parameters()).add_(0.1)
    VisionCache.build(
        moved,
        toy.model,
        toy.processor,
        tmp_path / "cache",
        progress=lambda n, _: done.append(n),
        **build,  # type: ignore[arg-type]
    )
    assert done == [4]


def test_no_picture_is_left_out_where_a_process_comes_late(toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path) -> None:
    paths = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True).paths[:8]
    for rank in (0, 1):  # one after the other: the second finds the first one's part done
        cache = VisionCache.build(paths, toy.model, toy.processor, tmp_path, bf16=False, joint=False, rank=rank, world=2)
    assert cache.opened().rows(range(8)).shape[0] == 8


def test_the_order_is_the_same_for_any_number_of_processes(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=False)
    one, four = (list(EpochOrder(rows, step, 0)) for step in (8, 4))
    assert one[: len(rows)] == four[: len(rows)] and len(one) % 8 == 0 and set(one) == set(range(len(rows)))
    rows.epoch = 1
    assert list(EpochOrder(rows, 8, 0)) != one
    rows.epoch = 0
    other = list(EpochOrder(rows, 8, 1))
    rows.epoch = 1
    assert list(EpochOrder(rows, 8, 0)) != other, "seed 0's second epoch is not seed 1's first"


def test_what_says_that_it_is_of_another_split_is_not_trained_on(
    toy: Checkpoint, dialogues_jsonl: Path, dialogue_rows: list[Dialogue], tmp_path: Path
) -> None:
    """Without the samples' file, and told how many."""
    parts = ("train", "test", "dev", None)
    metas = ({**row.meta, "split": parts[number % 4]} for number, row in enumerate(dialogue_rows))
    rows = [row.model_copy(update={"meta": meta}) for row, meta in zip(dialogue_rows, metas, strict=True)]
    write_jsonl(dialogues_jsonl, rows)
    kept = DialogueRows.read([dialogues_jsonl], toy.processor, pack=False)
    assert {row.id for row in kept.rows} == {row.id for row in rows if row.meta["split"] in ("train", None)}
    assert kept.set_aside == len(rows) - len(kept) > 0
    write_jsonl(dialogues_jsonl, [row for row in rows if row.meta["split"] == "test"])
    with pytest.raises(ValueError, match=r"no dialogue to train on .* \(\d+ belong to other splits\)"):
        DialogueRows.read([dialogues_jsonl], toy.processor, pack=False)


def test_a_step_is_of_every_question(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    """Rows sorted by length are sorted by question and class: a step of one kind alone learns worse."""
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=False)
    kinds = np.array([row.questions[0] for row in rows.rows])[list(EpochOrder(rows, 8, 0))].reshape(-1, 8)
    lengths = np.array(rows.lengths)[list(EpochOrder(rows, 8, 0))].reshape(-1, 8)
    assert np.mean([len(set(step)) for step in kinds]) > 0.7 * min(8, len(set(kinds.ravel())))
    assert lengths.mean(axis=1).std() < 0.6 * lengths.std()


@pytest.mark.parametrize("told", [["average"], ["threshold"], ["foundation-towers"], ["sweep"], ["sft", "--repeat", "2"]])
def test_show_batch_of_what_has_no_rows_trains_nothing(told: list[str]) -> None:
    result = CliRunner().invoke(app, ["train", *told, "--show-batch"])
    assert isinstance(result.exception, ValueError) and "expected one training of pretrain or sft" in str(result.exception)


def test_show_batch_marks_what_is_learnt(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    given = [f"init={toy_folder}", f"dialogues=[{dialogues_jsonl}]", f"out={tmp_path / 'out'}", "pack=true"]
    result = CliRunner().invoke(app, ["train", "sft", *given, "--show-batch"])
    assert result.exception is None, result.exception
    rows = read_jsonl(dialogues_jsonl, Dialogue)
    answers = [row.conversations[1].value for row in rows if row.meta["split"] == "train"]
    assert f"[[ {answers[0]}<" in result.output and "<image x 32>" in result.output
    assert f"{len(answers)} dialogues in 16 rows: 0 rows without a supervised token, 0 whose" in result.output
    assert not (tmp_path / "out").exists()


def test_two_runs_that_fill_a_cache_at_once_keep_each_others_features(tmp_path: Path) -> None:
    """Both looked into the empty folder before either wrote: neither may replace the other's file."""
    first, second = Shards(tmp_path), Shards(tmp_path)
    first.write({"a": torch.zeros(2), "b": torch.ones(2)})
    second.write({"b": torch.ones(2), "c": torch.full((2,), 2.0)})
    second.write({"b": torch.ones(2), "c": torch.full((2,), 2.0)})  # once more is no other file
    both = Shards(tmp_path)
    assert [float(both[name][0]) for name in "abc"] == [0.0, 1.0, 2.0]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_only_what_was_left_behind_long_ago_is_cleaned_away(tmp_path: Path) -> None:
    old, young = tmp_path / "rgb" / ".x.safetensors.1-0.part", tmp_path / "rgb" / ".y.safetensors.2-0.part"
    old.parent.mkdir()
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, 0))
    pixels = tmp_path / ".pixels-x.npy.1.part"  # of a whole training set: gigabytes
    pixels.write_bytes(b"half")
    os.utime(pixels, (0, 0))
    clean(tmp_path)
    assert young.is_file() and not old.exists() and not pixels.exists()


class Numbered:
    """In the place of a stage's pictures: their numbers."""

    def inputs(self, pictures: Any, *, joint: bool) -> dict[str, torch.Tensor]:
        return {"vision_features": torch.tensor(list(pictures))}


def test_every_row_of_a_batch_has_its_own_picture_and_draw(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True)
    items = [rows[index] for index in (5, 2, 9)]
    batch = collate(items, Numbered(), toy.processor.pad_token_id)
    assert batch["vision_features"].tolist() == [item["row"].picture for item in items] == [5, 2, 9]
    assert batch["pvtm_seeds"].tolist() == [item["pvtm_seed"] for item in items]
    assert len(set(batch["pvtm_seeds"].tolist())) == 3


def test_a_packed_row_stays_apart_beside_a_row_of_one_dialogue(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    first, second = grouped(dialogues_jsonl)[:2]
    rows = [make_row(first, 0, toy.processor), make_row(second[:1], 1, toy.processor)]
    batch = collate([{"row": row} for row in rows], Numbered(), toy.processor.pad_token_id)
    mask, length = batch["attention_mask"], len(rows[0].input_ids)
    assert mask.shape == (2, 1, length, length)
    assert torch.equal(mask[0], apart(torch.tensor([rows[0].segments]))[0])


def test_a_packed_rows_tokens_are_ranked_by_each_of_its_questions_in_turn(toy: Checkpoint, dialogues_jsonl: Path) -> None:
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True)
    asked = set()
    for rows.epoch in range(40):
        asked.add(tuple(rows[0]["prompt_input_ids"].tolist()))
    assert len(asked) == len(set(rows.rows[0].questions)) > 1


@pytest.mark.parametrize("pack", [True, False])
def test_of_many_dialogues_about_a_picture_none_is_lost(
    pack: bool, toy: Checkpoint, dialogues_jsonl: Path, dialogue_rows: list[Dialogue]
) -> None:
    of_one = [row for row in dialogue_rows if row.image == dialogue_rows[0].image]
    many = [row.model_copy(update={"id": f"{row.id}-{time}", "meta": {}}) for time in range(4) for row in of_one]
    write_jsonl(dialogues_jsonl, many)
    rows = DialogueRows.read([dialogues_jsonl], toy.processor, pack=pack)
    assert sum(len(row.questions) for row in rows.rows) == len(many) > 2 * MAX_PACKED
    assert max(len(row.questions) for row in rows.rows) == (MAX_PACKED if pack else 1)


def test_dialogues_that_do_not_say_their_split_are_left_out_by_their_samples(
    toy_folder: Path, toy: Checkpoint, dialogues_jsonl: Path, splits_jsonl: Path, split_samples: list[Sample],
    dialogue_rows: list[Dialogue], tmp_path: Path,
) -> None:  # fmt: skip
    write_jsonl(dialogues_jsonl, [row.model_copy(update={"meta": {}}) for row in dialogue_rows])
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", samples=splits_jsonl)
    rows = read_rows(config, toy.processor, pvtm=False)
    wanted = {image_path(row, splits_jsonl).resolve() for row in split_samples if row.split == "train"}
    assert set(rows.paths) == wanted and rows.set_aside == sum(
        image_path(row, dialogues_jsonl).resolve() not in wanted for row in dialogue_rows
    )
    config = config.model_copy(update={"max_steps": 1})
    train_stage(config)
    rows_said: list[Any] = []
    train_stage(config, report=rows_said.append)
    assert any("finished before" in row.get("", "") for row in rows_said)
    two, origins = inherited(stage("sft", config.out, dialogues_jsonl, tmp_path / "two"))
    assert two.samples == [splits_jsonl] and "pretrain" in origins["samples"]
    write_jsonl(splits_jsonl, [row.model_copy(update={"split": "train"}) for row in split_samples])
    with pytest.raises(ValueError, match="was begun with samples"):  # divided anew, its rows are others
        train_stage(config)


def test_other_crops_patterns_spaces_or_precision_are_other_features(
    toy: Checkpoint, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    """Found again by mistake, an ablation would train on the features of another one."""
    paths = DialogueRows.read([dialogues_jsonl], toy.processor, pack=True).paths[:2]

    def features(**options: Any) -> dict[str, torch.Tensor]:
        cache = VisionCache.build(paths, toy.model, toy.processor, tmp_path / "cache", **{"bf16": False, **options})
        return cache.inputs([0, 1], joint=True)

    first = features()
    assert not torch.equal(features(crop_side=40)["vision_features"], first["vision_features"])
    assert features(bf16=True)["vision_features"].dtype == torch.bfloat16
    toy.processor.savp_channels = ["gray"] * 3
    other = features()["vision_features"]
    assert torch.equal(other[:, :16], first["vision_features"][:, :16])
    assert not torch.equal(other[:, 16:], first["vision_features"][:, 16:])
    toy.processor.savp_channels = ["lbp", "gray", "hog"]
    toy.model.config.pvtm_space = "map_head_no_mlp"
    assert not torch.equal(features()["vision_joint"], first["vision_joint"])


def moved(before: Path, after: Path, part: str) -> float:
    first, second = (load(folder).model.state_dict() for folder in (before, after))
    return max(float((value - second[name]).abs().max()) for name, value in first.items() if part in name)


def test_the_projector_has_its_own_rate(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    out = train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=2, projector_lr=1e-9))
    assert moved(toy_folder, out, "multi_modal_projector") < 1e-6 < 1e-4 < moved(toy_folder, out, "qkv_proj")
    out = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "b", max_steps=2, projector_lr=1e-9))
    assert moved(toy_folder, out, "multi_modal_projector") > 1e-4, "a value of stage sft, which a sweep tells both"


def test_gradients_are_clipped(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    """To so little that Adam's eps swallows them."""
    out = train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=2, clip=1e-13))
    assert moved(toy_folder, out, "multi_modal_projector") < 1e-5


def test_steps_that_are_accumulated_are_one_of_all_their_rows(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    losses = []
    for size, times in ((4, 1), (2, 2)):
        config = stage(
            "sft", toy_folder, dialogues_jsonl, tmp_path / str(size), batch_size=size, accumulate=times, max_steps=2,
            pack=True, lora_dropout=0.0, bf16=False,
        )  # fmt: skip
        losses.append([row["loss"] for row in read_log(train_stage(config) / LOG_FILE)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and len(losses[0]) == 2


def test_an_adapter_has_the_rank_and_the_alpha_that_were_told(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    out = train_stage(stage("sft", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=1, save="adapter"))
    told = json.loads((out / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"]) == (4, 8)


def test_every_epoch_has_its_own_order_and_draws(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, str]] = []
    real = DialogueRows.__getitem__

    def noted(self: DialogueRows, index: int) -> dict[str, Any]:
        seen.append((self.epoch, self.rows[index].id))
        return real(self, index)

    monkeypatch.setattr(DialogueRows, "__getitem__", noted)
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=8, pack=True))
    assert [epoch for epoch, _ in seen] == [0] * 16 + [1] * 16
    first, second = ([name for epoch, name in seen if epoch == number] for number in (0, 1))
    assert sorted(first) == sorted(second) and first != second


def test_the_minutes_before_a_stop_count(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    """Told to end by the clock, a run whose time is up ends at its next step, however many are left."""
    config = stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "a", max_steps=1)
    state = train_stage(config) / "trainer/checkpoint-1" / STATE_FILE
    with safe_open(state, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        done = json.loads(file.metadata()["progress"])
    save_file(tensors, state, metadata={"progress": json.dumps({**done, "elapsed": 3600.0})})
    out = train_stage(config.model_copy(update={"max_steps": 6, "minutes": 30.0}))
    assert read_info(out).extra["steps"] == 2


def test_an_earlier_end_or_a_foreign_model_is_refused(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out"))
    with pytest.raises(ValueError, match="was trained to max_steps 3, now 2"):
        train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=2))
    assert read_run(tmp_path / "out")["config"]["max_steps"] == 3
    foreign = Path(shutil.copytree(toy_folder, tmp_path / "foreign"))
    (foreign / BEGUN_FILE).unlink(missing_ok=True)
    with pytest.raises(ValueError, match="foreign holds model.safetensors of another run"):
        train_stage(stage("pretrain", toy_folder, dialogues_jsonl, foreign))


def test_how_often_a_resumed_run_saves_and_logs_is_as_told_now(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=2, log_every=2))
    saved: list[int] = []
    save_checkpoint = StageTrainer._save_checkpoint

    def count(self: StageTrainer, model: Any, trial: Any) -> None:
        saved.append(self.state.global_step)
        save_checkpoint(self, model, trial)

    monkeypatch.setattr(StageTrainer, "_save_checkpoint", count)
    train_stage(stage("pretrain", toy_folder, dialogues_jsonl, tmp_path / "out", max_steps=5, save_steps=1, log_every=1))
    assert saved == [3, 4, 5]
    assert [row["step"] for row in read_log(tmp_path / "out" / LOG_FILE)] == [2, 3, 4, 5]


def test_no_step_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_steps=0 — expected at least 1, or -1"):
        StageConfig.load(None, ["stage=sft", "init=tiny", "dialogues=d.jsonl", f"out={tmp_path}", "max_steps=0"])
