"""transformers' Trainer, with what the two stages need: a rate of its own for the projector, a clock, and
guards.

Use: `StageTrainer(config=config, rows=rows, cache=cache, model=model, processor=processor, …).train()`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler

from faceshield.model.adapter import PROJECTOR
from faceshield.training.dataset import DialogueRows, collate
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.vision_cache import VisionCache

CLOCK_FILE = "clock.json"


Report = Callable[[Mapping[str, Any]], None]


class _Budget(TrainerCallback):
    """Ends the run when the clock says so, keeps the clock over restarts, moves the epoch, reports."""

    def __init__(self, folder: Path, minutes: float | None, rows: DialogueRows, report: Report) -> None:
        self.file, self.minutes, self.rows, self.report = folder / CLOCK_FILE, minutes, rows, report
        before = json.loads(self.file.read_text(encoding="utf-8"))["elapsed"] if self.file.exists() else 0.0
        self.clock = Clock(before)
        self.since, self.step = time.monotonic(), 0

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.rows.epoch = int(state.epoch or 0)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if progress(state.global_step, state.max_steps, self.clock.elapsed(), self.minutes) >= 1:
            control.should_training_stop = True
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.file.write_text(json.dumps({"elapsed": self.clock.elapsed()}), encoding="utf-8")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        now = time.monotonic()
        rate = (state.global_step - self.step) * args.train_batch_size / max(1e-9, now - self.since)
        self.since, self.step = now, state.global_step
        row = {
            "event": "step",
            "step": state.global_step,
            "of": state.max_steps,
            "rows_per_second": round(rate, 2),
        }
        self.report({**row, "minutes": round(self.clock.elapsed() / 60, 2), **(logs or {})})


class StageTrainer(Trainer):
    """Trainer for the stages `pretrain` and `sft`.

    Args:
        config: a `StageConfig`.
        rows: what to train on.
        cache: the vision features of its pictures.
        model: the model, with adapters in stage 2; parameters that need no gradient stay as they are.
        processor: saved beside every checkpoint.
        folder: where Trainer keeps its own checkpoints.
        report: told every row of the log.
    """

    def __init__(
        self,
        *,
        config: Any,
        rows: DialogueRows,
        cache: VisionCache,
        model: nn.Module,
        processor: Any,
        folder: Path,
        report: Report,
    ) -> None:
        self.config, self.rows = config, rows
        arguments = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.accumulate,
            num_train_epochs=config.epochs,
            max_steps=config.max_steps,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            warmup_steps=config.warmup,
            max_grad_norm=config.clip,
            bf16=config.bf16,
            use_cpu=not torch.cuda.is_available(),
            activation_checkpointing=config.activation_checkpointing,
            logging_steps=config.log_every,
            save_strategy="steps",
            save_steps=config.save_steps,
            save_total_limit=1,
            seed=config.seed,
            data_seed=config.seed,
            remove_unused_columns=False,
            dataloader_num_workers=0,
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to=[],
            disable_tqdm=True,
        )
        folder.mkdir(parents=True, exist_ok=True)
        self.budget = _Budget(folder, config.minutes, rows, report)
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=lambda items: collate(items, cache, processor.pad_token_id),
            processing_class=processor,
            callbacks=[self.budget],
        )
        self.remove_callback(PrinterCallback)  # its line per log would be a second one to ours

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with two rates: the projector's (`projector_lr`, None = the same) and everything else's."""
        if self.optimizer is None:
            owner = model if model is not None else self.model
            assert owner is not None
            trained = [(name, p) for name, p in owner.named_parameters() if p.requires_grad]
            projector = [p for name, p in trained if PROJECTOR in name]
            others = [p for name, p in trained if PROJECTOR not in name]
            rate, decay = self.args.learning_rate, self.args.weight_decay
            groups = [
                {"params": projector, "lr": self.config.projector_lr or rate, "weight_decay": decay},
                {"params": others, "lr": rate, "weight_decay": decay},
            ]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.999), eps=1e-8
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Cosine over the steps, or over the minutes where those run out first."""
        if self.lr_scheduler is None:
            stepped = optimizer or self.create_optimizer()

            def factor(step: int) -> float:
                done = progress(step, num_training_steps, self.budget.clock.elapsed(), self.config.minutes)
                return cosine_rate(done, self.config.warmup)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(stepped, factor)
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        generator = torch.Generator().manual_seed(self.args.seed + self.rows.epoch)
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(size, lengths=self.rows.lengths, generator=generator)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As Trainer's, but a loss that is not finite ends the run instead of spoiling the weights."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss {float(loss.detach())} at step {self.state.global_step} — expected a finite number — "
                "lower learning_rate; the same command goes on "
                f"from the last checkpoint in {self.args.output_dir}"
            )
        return loss
