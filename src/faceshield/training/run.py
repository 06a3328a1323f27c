"""A training run that ends by count or by clock and resumes where it was stopped, bit for bit on a CPU.

The stages that build what the paper takes from others are such runs: towers and baselines (`picture_run`) and the tiny
language model. The paper's own two stages use transformers' Trainer (`trainer`).
Use: a subclass with `total` and `advance`, then `fit()`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from faceshield.config import Config
from faceshield.provenance import alone_in
from faceshield.training.precision import device
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.state import STATE_FILE, decay_groups, load_state, named_parameters, save_state
from faceshield.training.watch import Report, Watch


class RunConfig(Config):
    """Settings common to all runs.

    Attributes:
        out: checkpoint folder to write; also holds the log and the state to resume from.
        minutes: wall-clock limit, if the run's count is not reached first. With minutes the learning rate follows the clock,
            and a stopped run no longer resumes exactly.
        clip: norm to which gradients are clipped.
        save_minutes: minutes between two saved states.
        bf16: autocast to bfloat16; None = where that is faster, see `precision`.
    """

    out: Path
    minutes: float | None = Field(None, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.04, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    save_minutes: float = Field(3.0, gt=0)
    log_every: int = Field(20, ge=1)
    threads: int = Field(2, ge=1)
    bf16: bool | None = None
    seed: int = Field(0, ge=0)


class Run(ABC):
    """Trains modules; `fit` resumes from the state file if there is one.

    Args:
        config: the settings.
        modules: what is trained, by name; frozen parameters stay as they are.
        betas: AdamW's betas.
        report: called with every row of the log.

    Attributes:
        seen: progress towards `total`, in pictures or steps; step: optimizer updates so far; furthest: largest share 0..1 of
            the run that was done before an update, which does not shrink when the run is told to end later.
    """

    def __init__(
        self, config: RunConfig, modules: Mapping[str, nn.Module], *, betas: tuple[float, float], report: Report | None = None
    ) -> None:
        self.config, self.modules = config, dict(modules)
        self.device = device()
        self.watch = Watch(config.out, report, bar=False)
        self.trained = [value for value in named_parameters(self.modules).values() if value.requires_grad]
        groups = decay_groups(self.trained, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)
        self.seen, self.step, self.clock, self.furthest = 0, 0, Clock(), 0.0

    @property
    @abstractmethod
    def total(self) -> int:
        """The value of `seen` at which the run ends."""

    @abstractmethod
    def advance(self, done: float, rate: float) -> dict[str, float]:
        """Makes one `update`, at share `done` of the run; returns values for the log."""

    def look(self) -> bool:
        """Called after every update; returns True if it did other work than training, whose time the logged rate leaves out."""
        return False

    def update(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], rows: int, rate: float) -> dict[str, float]:
        """Makes one optimizer step on the weighted sum of the losses (weight 1 by default); returns the losses and the sum.

        Raises:
            FloatingPointError: the loss, or its gradient, is not finite; the state file still holds the last good weights.
        """
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip)
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            raise FloatingPointError(
                f"loss {values}, its gradient {float(norm)} at step {self.step} — expected finite numbers — begin again in "
                f"another folder with a lower learning_rate: {self.config.out / STATE_FILE} holds the last good weights"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seen += rows
        return values | {"loss": float(total.detach())}

    def fit(self) -> None:
        """Trains to the end, saving on the way.

        Raises:
            ValueError: another run is writing into the folder.
        """
        with alone_in(self.config.out):
            self._fit()

    def _fit(self) -> None:
        config = self.config
        self.clock = Clock()
        state = config.out / STATE_FILE
        if state.exists():
            saved = load_state(state, self.modules, self.optimizer)
            self.seen, self.step, self.clock = saved["seen"], saved["step"], Clock(saved["elapsed"])
            self.furthest = saved.get("furthest", 0.0)  # states of earlier versions lack it
            self.watch.report({"event": "resume", "seen": self.seen, "minutes": round(self.clock.elapsed() / 60, 1)})
        self.watch.forget_after(self.step)
        self.set_training(True)
        saved_at, since, seen_before = time.monotonic(), time.monotonic(), self.seen
        while (done := progress(self.seen, self.total, self.clock.elapsed(), config.minutes)) < 1:
            self.furthest = max(self.furthest, done)
            rate = config.learning_rate * cosine_rate(done, config.warmup)
            losses = self.advance(done, rate)
            if self.step % config.log_every == 0:
                per_second = (self.seen - seen_before) / (time.monotonic() - since)
                self.log({"event": "step", "rate": rate, "per_second": per_second, **losses})
                since, seen_before = time.monotonic(), self.seen
            if self.look():
                since, seen_before = time.monotonic(), self.seen
            if time.monotonic() - saved_at > 60 * config.save_minutes:
                self._save(state)
                saved_at = time.monotonic()
        self._save(state)

    def set_training(self, training: bool) -> None:
        """Puts all modules into training or evaluation mode."""
        for module in self.modules.values():
            module.train(training)

    def _save(self, path: Path) -> None:
        told = {"seen": self.seen, "step": self.step, "elapsed": self.clock.elapsed(), "furthest": self.furthest}
        save_state(path, self.modules, self.optimizer, told)

    def log(self, row: Mapping[str, Any]) -> None:
        """Sends a row, with the run's progress added, to the log and to `report`."""
        told = {"seen": self.seen, "step": self.step, "minutes": self.clock.elapsed() / 60, **row}
        self.watch.log({key: round(value, 5) if isinstance(value, float) else value for key, value in told.items()})
