"""What is learnt is what was to be learnt: over a whole set of every type, task and wording, and every batch of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from faceshield.data_engine.backends.grammar import GrammarBackend
from faceshield.data_engine.generate import TASK_NAMES, write_sample
from faceshield.model import FaceShieldProcessor, resolve_model
from faceshield.records import Dialogue, Sample, write_jsonl
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES
from faceshield.training.collate import ABOUT, collate
from faceshield.training.dataset import DialogueRows, EpochOrder
from faceshield.training.settings import StageConfig
from faceshield.training.show import check_answers, supervised
from faceshield.training.stages import train_stage
from faceshield.training.trainer import reporters
from faceshield.training.watch import LOG_FILE, read_log

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
PICTURES = 96


class NoPictures:
    """In the place of a stage's pictures, where only words are looked at."""

    def inputs(self, pictures: Any, *, joint: bool) -> dict[str, torch.Tensor]:
        return {}


@pytest.fixture(scope="module")
def processor() -> FaceShieldProcessor:
    return FaceShieldProcessor.from_pretrained(resolve_model("tiny"), local_files_only=True)


@pytest.mark.parametrize(("wording", "pack"), [("plain", True), ("rich", False)])
def test_every_batch_of_a_set_learns_its_answers_word_for_word(
    make_sample: Callable[..., Sample], processor: FaceShieldProcessor, tmp_path: Path, wording: str, pack: bool
) -> None:
    backend, wanted = GrammarBackend(wording), dict.fromkeys(TASK_NAMES, 1)
    dialogues: list[Dialogue] = []
    for number in range(PICTURES):
        kind = PRESENTATION_TYPES[number % len(PRESENTATION_TYPES)]
        x, y = number % 23, number % 31
        boxes = [] if kind == BONAFIDE else [(float(x), float(y), x + 20.0, y + 30.0)]
        sample = make_sample(kind, id=f"s{number}", image=f"{number}.png", boxes=boxes, split="train")
        dialogues += write_sample(sample, wanted, backend, 3, tmp_path / "none.png").rows
    write_jsonl(tmp_path / "dialogues.jsonl", dialogues)
    rows = DialogueRows.read([tmp_path / "dialogues.jsonl"], processor, pack=pack)
    assert len(dialogues) == PICTURES * len(TASK_NAMES) == sum(len(row.answers) for row in rows.rows)
    assert check_answers(rows, processor) == [] and min(map(supervised, rows.rows)) > 1

    order, seen = list(EpochOrder(rows, 8, 0)), 0
    for start in range(0, len(order), 8):
        batch = collate([rows[index] for index in order[start : start + 8]], NoPictures(), processor.pad_token_id)
        assert (batch["labels"] >= 0).any(1).all()
        seen += len(batch[ABOUT]["ids"])
    assert set(order) == set(range(len(rows))) and seen == len(order)


def test_a_wrong_answer_is_seen(make_sample: Callable[..., Sample], processor: FaceShieldProcessor, tmp_path: Path) -> None:
    (dialogue,) = write_sample(make_sample("Print", split=None), {"coarse": 1}, GrammarBackend("plain"), 0, tmp_path).rows
    write_jsonl(tmp_path / "dialogues.jsonl", [dialogue])
    rows = DialogueRows.read([tmp_path / "dialogues.jsonl"], processor, pack=False)
    (row,) = rows.rows
    last = max(index for index, label in enumerate(row.labels) if label >= 0)
    first = min(index for index, label in enumerate(row.labels) if label >= 0)
    cut = (*row.labels[:first], -100, *row.labels[first + 1 : last + 1])
    rows.rows[0] = type(row)(**{**vars(row), "labels": cut + row.labels[last + 1 :]})
    assert check_answers(rows, processor) == [row.id]


def settings(toy: Path, dialogues: Path, out: Path, **changes: Any) -> StageConfig:
    values: dict[str, Any] = {
        "stage": "sft", "init": str(toy), "dialogues": dialogues, "out": out, "max_steps": 2, "batch_size": 2, "log_every": 1,
        "threads": 1, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "pack": True, "bf16": False, "report_to": [],
    }  # fmt: skip
    return StageConfig(**{**values, **changes})


def test_activations_computed_again_are_the_same(
    toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradient checkpointing: every layer of the language model runs twice a step, and nothing else differs."""
    from transformers.models.phi3.modeling_phi3 import Phi3MLP

    forward, calls = Phi3MLP.forward, [0]

    def counted(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Phi3MLP, "forward", counted)
    losses, counts, weights = [], [], []
    for again in (False, True):
        calls[0] = 0
        out = train_stage(settings(toy_folder, dialogues_jsonl, tmp_path / str(again), activation_checkpointing=again))
        losses.append([row["loss"] for row in read_log(out / LOG_FILE)])
        counts.append(calls[0])
        weights.append(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
    assert losses[0] == losses[1] and weights[0] == weights[1]
    assert counts[1] == 2 * counts[0] > 0


def test_tensorboard_is_told_the_log(toy_folder: Path, dialogues_jsonl: Path, tmp_path: Path) -> None:
    if "tensorboard" not in reporters(None):
        with pytest.raises(ValueError, match="report_to tensorboard — expected it installed — pip install tensorboard"):
            train_stage(settings(toy_folder, dialogues_jsonl, tmp_path / "out", report_to=["tensorboard"]))
        pytest.skip('tensorboard is not installed: pip install -e ".[tensorboard]"')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train_stage(settings(toy_folder, dialogues_jsonl, tmp_path / "out", report_to=None))
    (file,) = out.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file.parent))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert told == [(row["step"], pytest.approx(row["loss"])) for row in read_log(out / LOG_FILE)]
