"""transformers' Trainer with what the two stages need: a separate projector rate, a clock, exact resumption, and guards.

Use: `StageTrainer(config, arguments, rows=rows, vision=vision, model=model, processor=processor, report=report).run()`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from faceshield.model.adapter import PROJECTOR
from faceshield.training.collate import ABOUT, collate
from faceshield.training.dataset import DialogueRows, EpochOrder
from faceshield.training.precision import uses_bf16
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.settings import StageConfig
from faceshield.training.state import STATE_FILE, decay_groups, load_state, load_weights, read_progress, read_rng, save_state
from faceshield.training.vision_cache import Vision
from faceshield.training.watch import Report, Watch

TRAINER_FOLDER = "trainer"


def arguments_of(config: StageConfig) -> TrainingArguments:
    """Trainer's arguments; making them joins the other processes under `torchrun` or `accelerate launch`."""
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(config.out / TRAINER_FOLDER),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        learning_rate=config.learning_rate or 0.0,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup,
        max_grad_norm=config.clip,
        bf16=uses_bf16(config.bf16),
        use_cpu=not cuda,
        ddp_find_unused_parameters=False,
        activation_checkpointing=config.activation_checkpointing,
        logging_steps=config.log_every,
        save_strategy="steps",
        save_steps=config.save_steps,
        seed=config.seed,
        data_seed=config.seed,
        remove_unused_columns=False,
        dataloader_num_workers=config.workers,
        dataloader_pin_memory=cuda,
        report_to=reporters(config.report_to),
        disable_tqdm=True,
    )
    # One process uses one GPU: on several, Trainer would wrap the model in nn.DataParallel and multiply the batch by their
    # number, unknown to `begun.json`. Several GPUs are several processes.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def reporters(wanted: list[str] | None) -> list[str]:
    """Trainer's names of the integrations that receive the log.

    Raises:
        ValueError: one is not installed.
    """
    from transformers.integrations import get_available_reporting_integrations

    there = get_available_reporting_integrations()
    if wanted is None:
        return ["tensorboard"] if "tensorboard" in there else []
    if absent := sorted(set(wanted) - set(there)):
        raise ValueError(f"report_to {', '.join(absent)} — expected it installed — pip install {' '.join(absent)}")
    return wanted


class _Pace(TrainerCallback):
    """Advances the epoch, ends the run when its time is up, and shows its progress."""

    def __init__(self, trainer: StageTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Not those of the run that was stopped.
        state.save_steps, state.logging_steps = self.trainer.config.save_steps, self.trainer.config.log_every
        self.trainer.go_on_logging()

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.rows.epoch = int((state.epoch or 0) + 1e-6)

    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.look_at_the_clock()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        trainer = self.trainer
        trainer.watch.step(state.global_step, state.max_steps)
        if trainer.share_done(state.global_step, state.max_steps) >= 1:
            control.should_training_stop = control.should_save = True
            control.should_log = True  # a row for the steps since the last one

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any) -> None:
        trainer, values = self.trainer, dict(logs or {})
        if "loss" not in values:  # Trainer's final summary, which counts from the last start
            return
        trainer.watch.log(
            {"event": "step", "step": state.global_step, "of": state.max_steps, **trainer.watch.rates()}
            | {"minutes": round(trainer.clock.elapsed() / 60, 2), **values}
        )


class StageTrainer(Trainer):
    """Trainer for the stages `pretrain` and `sft`.

    Args:
        config: settings of the stage.
        arguments: see `arguments_of`.
        rows: what to train on.
        vision: source of their pictures.
        model: the model, with adapters in stage 2; frozen parameters stay as they are.
        processor: the model's processor.
        report: called with every row of the log.
    """

    def __init__(
        self,
        config: StageConfig,
        arguments: TrainingArguments,
        *,
        rows: DialogueRows,
        vision: Vision,
        model: nn.Module,
        processor: Any,
        report: Report,
    ) -> None:
        self.config, self.rows, self.folder = config, rows, Path(str(arguments.output_dir))
        main = arguments.process_index == 0
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in self.folder.glob(".*.part"):
                shutil.rmtree(part)
        self.watch = Watch(config.out if main else None, report)
        self.last = get_last_checkpoint(str(self.folder)) if self.folder.is_dir() else None
        self.before = read_progress(Path(self.last) / STATE_FILE) if self.last else {}
        self.watch.forget_after(self.before.get("step", 0))
        self.clock = Clock(self.before.get("elapsed", 0.0))
        self.seconds = self.clock.before
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=partial(collate, vision=vision, pad_token_id=processor.pad_token_id),
            processing_class=processor,
            callbacks=[_Pace(self)],
        )
        self.remove_callback(PrinterCallback)  # it would print every log row a second time
        # A sharded model does its own placement and reduction: accelerate must not wrap it again.
        self.is_distributed_loading_by_transformers = config.fsdp and arguments.world_size > 1

    def run(self) -> int:
        """Trains to the end, from the last checkpoint if there is one; returns the number of steps done."""
        self.train(resume_from_checkpoint=self.last)
        self.watch.bar.close()
        return self.state.global_step

    # -- what is optimized ------------------------------------------------------------------------------------------------

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with two rates: the projector's (`projector_lr`, in stage sft; None = the same) and that of all else."""
        if self.optimizer is None:
            owner = model if model is not None else self.model
            assert owner is not None
            trained = [(name, p) for name, p in owner.named_parameters() if p.requires_grad]
            projector = [p for name, p in trained if PROJECTOR in name]
            others = [p for name, p in trained if PROJECTOR not in name]
            rate, decay = self.args.learning_rate, self.args.weight_decay
            own = self.config.projector_lr if self.config.stage == "sft" else None
            parts = ((projector, own or rate), (others, rate))
            groups = [{**group, "lr": its} for part, its in parts for group in decay_groups(part, decay)]
            self.optimizer = torch.optim.AdamW(
                [group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.999), eps=1e-8
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Cosine schedule over the steps, or over the minutes if those run out first."""
        if self.lr_scheduler is None:
            stepped = optimizer or self.create_optimizer()

            def factor(step: int) -> float:
                return cosine_rate(self.share_done(step, num_training_steps), self.config.warmup)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(stepped, factor)
        return self.lr_scheduler

    def look_at_the_clock(self) -> None:
        """Reads the first process's clock for all, once per update: with different rates or ends the weights would diverge."""
        if self.config.minutes:
            self.seconds = broadcast_object_list([self.clock.elapsed()])[0]

    def share_done(self, step: int, steps: int) -> float:
        """Share 0..1 of the run that is done, by steps or by minutes, whichever is further."""
        return progress(step, steps, self.seconds, self.config.minutes)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return EpochOrder(self.rows, self.args.train_batch_size * self.args.world_size, self.args.seed)

    # -- guards -----------------------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As Trainer's, but a loss that is not finite ends the run before it spoils the weights, and the batch is saved."""
        about = inputs.pop(ABOUT)
        self.newest = dict(inputs), about
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._check_finite("loss", loss)
        world = self.args.world_size
        self.watch.count(len(about["ids"]) * world, about["dialogues"] * world, about["tokens"] * world)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """As Trainer's, but a norm that is not finite ends the run before the step; finite losses can have such a gradient."""
        norm = super()._get_grad_norm(model, grad_norm)
        self._check_finite("norm of the gradient", norm)
        return norm

    def _check_finite(self, what: str, value: Tensor | float) -> None:
        number = float(value.detach() if isinstance(value, Tensor) else value)
        if not math.isfinite(number):
            raise FloatingPointError(
                f"{what} {number} at step {self.state.global_step} — expected a finite number — the batch is in "
                f"{self._keep(*self.newest)}; begin again in another folder with a lower learning_rate; the same command goes "
                f"on from the last checkpoint in {self.args.output_dir}"
            )

    def _keep(self, batch: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
        path = self.folder / f"not-finite-step-{self.state.global_step}-rank-{self.args.process_index}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Copies, since two names may share a tensor (features that PVTM ranks by themselves), which safetensors refuses.
        tensors = {name: value.cpu().contiguous().clone() for name, value in batch.items() if isinstance(value, Tensor)}
        save_file(tensors, path, metadata={"ids": json.dumps(about["ids"])})
        return path

    # -- resuming: one safetensors file, in a folder that gets its name only when complete -----------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        target = self.folder / f"checkpoint-{self.state.global_step}"
        part = target.with_name(f".{target.name}.part")
        done = {
            "step": self.state.global_step,
            "elapsed": self.clock.elapsed(),
            "loss_since_log": self._tr_loss.item(),
            "last_log": self._globalstep_last_logged,
        }
        writes = self.args.process_index == 0 and not target.is_dir()
        if writes:
            part.mkdir(exist_ok=True)
        try:
            save_state(
                part / STATE_FILE,
                {"model": self.accelerator.unwrap_model(self.model)},
                self.create_optimizer(),
                done,
                rng=self._random_states(),
                write=writes,
            )
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        if writes:
            self.state.save_to_json(str(part / TRAINER_STATE_NAME))
            os.replace(part, target)
            for other in self.folder.glob("checkpoint-*"):
                if other != target:
                    shutil.rmtree(other)
        self.accelerator.wait_for_everyone()

    def _random_states(self) -> dict[str, Tensor]:
        """States of torch's generators, of all processes."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        found: dict[str, Tensor] = {}
        for name, state in states.items():
            every = self.accelerator.gather(state.to(self.args.device).unsqueeze(0)).cpu()
            found |= {f"{name}/{rank}": own for rank, own in enumerate(every)}
        return found

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_weights(Path(resume_from_checkpoint) / STATE_FILE, {"model": self.accelerator.unwrap_model(self.model)})

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        load_state(Path(checkpoint) / STATE_FILE, {"model": self.accelerator.unwrap_model(self.model)}, self.create_optimizer())
        scheduler: Any = self.lr_scheduler
        scheduler.last_epoch = self.state.global_step
        factors = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        scheduler._last_lr = [base * factor(scheduler.last_epoch) for base, factor in factors]
        for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        states, rank = read_rng(Path(checkpoint) / STATE_FILE), self.args.process_index
        torch.set_rng_state(states[f"cpu/{rank}"])
        if torch.cuda.is_available() and f"cuda/{rank}" in states:
            torch.cuda.set_rng_state(states[f"cuda/{rank}"])

    def go_on_logging(self) -> None:
        """Makes the next logged mean loss include the steps between the last log row and the stop."""
        if self.before:
            self._tr_loss += self.before["loss_since_log"]
            self._globalstep_last_logged = self.before["last_log"]
