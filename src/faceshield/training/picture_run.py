"""A run over labelled pictures that ends by count or by clock and goes on where it was stopped, bit for bit on a CPU.

The stages `foundation-towers` and `baseline` are such runs; each brings its modules, one step and its figures.
Use: a subclass with `train_step` and `evaluate`, then `run()`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from faceshield.config import Config, Paths
from faceshield.model import checkpoint_hash, resolve_model
from faceshield.provenance import begun, file_sha256
from faceshield.training.heads import type_weights
from faceshield.training.oversample import Oversample, repeats
from faceshield.training.pictures import Pictures, cached_pixels
from faceshield.training.precision import device
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.state import STATE_FILE, decay_groups, load_state, named_parameters, save_state
from faceshield.training.watch import Report, Watch

# Of the machine, of what is shown, and what ends a run; a run that differs in these alone goes on.
FREE = {"out", "cache", "threads", "pictures", "minutes", "eval_every", "eval_pictures", "save_minutes", "log_every"}


class PictureConfig(Config):
    """What every run over pictures is told.

    Attributes:
        data: samples files; their splits "train" and `eval_split` are used.
        init: checkpoint to start from, see the stage; None: from nothing.
        out: checkpoint folder to write; also holds the log and the state to go on from.
        cache: folder of the decoded pictures; None = "cache" beside `out`.
        pictures: pictures to see in all; minutes: wall clock after which to stop, whichever comes first. With minutes
            the rate follows the clock, and a run that was stopped no longer goes on exactly.
        oversample: how many times a type's pictures are seen per epoch (1 where not named); its weight in the
            class loss stays that of its own pictures, so it counts more in all.
        max_shift: pixels of the square by which a picture is shifted at most; jitter: strength 0..1 of colour changes.
        eval_every: pictures between two looks at (at most `eval_pictures`) pictures of split `eval_split`. "test" is for
            measuring alone, as when attacks are left out of training (runs/leave_one_out.py): nothing is chosen on the way.
        bf16: autocast to bfloat16; None = where the hardware has it.
    """

    data: Paths = Field(min_length=1)
    init: str | None = None
    out: Path
    cache: Path | None = None
    pictures: int = Field(120_000, ge=1)
    minutes: float | None = Field(None, gt=0)
    batch_size: int = Field(48, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.04, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    max_shift: int = Field(10, ge=0)
    jitter: float = Field(0.12, ge=0, lt=1)
    oversample: Oversample = Field(default_factory=dict)
    eval_every: int = Field(6000, ge=1)
    eval_pictures: int = Field(600, ge=1)
    eval_split: Literal["dev", "test"] = "dev"
    save_minutes: float = Field(3.0, gt=0)
    log_every: int = Field(20, ge=1)
    threads: int = Field(2, ge=1)
    bf16: bool | None = None
    seed: int = Field(0, ge=0)


class PictureRun(ABC):
    """Trains modules on pictures; `run` goes on from the state file where there is one.

    Args:
        config: the settings.
        types: names of the classes, bona fide first.
        modules: what is trained and evaluated, by name; parameters that need no gradient stay as they are.
        pictures: of `config.data`, see `pictures.load_pictures`.
        processor: makes their squares, see `pictures.cached_pixels`.
        betas: of AdamW.
        report: told every row of the log.
    """

    def __init__(
        self,
        config: PictureConfig,
        types: Sequence[str],
        modules: Mapping[str, nn.Module],
        pictures: Pictures,
        processor: Any,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        report: Report | None = None,
    ) -> None:
        self.config, self.types, self.modules = config, tuple(types), dict(modules)
        self.pictures, self.processor = pictures, processor
        self.classes = self.truth(pictures)
        self.device = device()
        self.watch = Watch(config.out, report, bar=False)
        self.trained = [value for value in named_parameters(self.modules).values() if value.requires_grad]
        groups = decay_groups(self.trained, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)
        self.seen, self.step, self.clock = 0, 0, Clock()

    @abstractmethod
    def train_step(self, rows: NDArray[np.int64], done: float, rate: float) -> dict[str, float]:
        """One optimizer step on these pictures, at the share `done` of the run; returns what the log shall say."""

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """Figures on the development pictures."""

    # -- data

    side: int | None = None
    """Pixels of the longer side that pictures are brought to before anything else; None = as they are."""

    def truth(self, pictures: Pictures) -> NDArray[np.int64]:
        """(N,) class of each picture."""
        return pictures.types

    def dev(self) -> NDArray[np.int64]:
        """Pictures of the split that is looked at."""
        return self.pictures.of_split(self.config.eval_split)

    def load(self) -> None:
        """Decodes the pictures (once; later runs find the cache)."""
        config = self.config
        self.train_rows = self.pictures.of_split("train")
        rng = np.random.default_rng([config.seed, 1])
        self.dev_rows = np.sort(rng.permutation(self.dev())[: config.eval_pictures])
        folder = config.cache or config.out.parent / "cache"

        def progress_row(done: int, total: int) -> None:
            if done == total or done % 1024 == 0:
                self.watch.report({"event": "cache", "done": done, "total": total})

        self.pixels = cached_pixels(
            self.pictures.paths, self.processor, folder, side=self.side, threads=config.threads, progress=progress_row
        )
        # Of the pictures as they are: a type that is seen more often shall also count more.
        counts = np.bincount(self.classes[self.train_rows], minlength=len(self.types))
        self.type_weights = type_weights(torch.from_numpy(counts)).to(self.device)

    def _epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.config.seed, 2, epoch])
        names = [self.pictures.samples[row].presentation_type for row in self.train_rows]
        times = repeats(names, self.config.oversample, rng)
        return rng.permutation(np.repeat(self.train_rows, times))

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """Endless batches of rows from picture `seen` on; the order depends on the seed alone, so a resumed run goes on."""
        epoch, skip, size = 0, self.seen, self.config.batch_size
        while True:
            rows = self._epoch_rows(epoch)
            usable = len(rows) // size * size
            if usable == 0:
                raise ValueError(f"{len(rows)} training pictures — expected at least batch_size={size} — lower it")
            if skip < usable:
                for start in range(skip, usable, size):
                    yield rows[start : start + size]
                skip = 0
            else:
                skip -= usable
            epoch += 1

    # -- one step

    def step_rng(self) -> np.random.Generator:
        """Randomness of the coming step; it depends on seed and step alone."""
        return np.random.default_rng([self.config.seed, 3, self.step])

    def update(self, losses: Mapping[str, Tensor], weights: Mapping[str, float], rows: int, rate: float) -> dict[str, float]:
        """Steps the optimizer down the weighted sum of the losses (weight 1 where not named); returns them and the sum.

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

    # -- the run

    def set_training(self, training: bool) -> None:
        """Training or evaluation mode of all modules."""
        for module in self.modules.values():
            module.train(training)

    def run(self) -> dict[str, Any]:
        """Trains to the end, saving on the way, and returns the last figures.

        Raises:
            ValueError: no pictures of a split that is needed, or `out` was begun with other settings or data.
        """
        config = self.config
        weights = config.init and checkpoint_hash(resolve_model(config.init))
        content = {"init": weights, "data": [file_sha256(file) for file in config.data]}
        settings = config.model_dump(mode="json", exclude=FREE) | content
        begun(config.out, "stage", settings, note=False)
        self.load()
        begun(config.out, "stage", settings)
        self.clock = Clock()
        state = config.out / STATE_FILE
        if state.exists():
            saved = load_state(state, self.modules, self.optimizer)
            self.seen, self.step, self.clock = saved["seen"], saved["step"], Clock(saved["elapsed"])
            self.watch.report({"event": "resume", "seen": self.seen, "minutes": round(self.clock.elapsed() / 60, 1)})
        self.watch.forget_after(self.step)
        self.set_training(True)
        batches = self._batches()
        saved_at, since, rows_since = time.monotonic(), time.monotonic(), 0
        next_eval = (self.seen // config.eval_every + 1) * config.eval_every
        while True:
            done = progress(self.seen, config.pictures, self.clock.elapsed(), config.minutes)
            if done >= 1.0:
                break
            rows = next(batches)
            rate = config.learning_rate * cosine_rate(done, config.warmup)
            losses = self.train_step(rows, done, rate)
            rows_since += len(rows)
            if self.step % config.log_every == 0:
                now = time.monotonic()
                self.log({"event": "step", "rate": rate, "per_second": rows_since / (now - since), **losses})
                since, rows_since = now, 0
            if self.seen >= next_eval:
                self.log({"event": "dev", **self.figures()})
                next_eval += config.eval_every
                since, rows_since = time.monotonic(), 0
            if time.monotonic() - saved_at > 60 * config.save_minutes:
                self._save(state)
                saved_at = time.monotonic()
        self._save(state)
        figures = self.figures()
        self.log({"event": "end", **figures})
        return figures

    def figures(self) -> dict[str, Any]:
        """`evaluate` in evaluation mode, without gradients."""
        self.set_training(False)
        with torch.no_grad():
            found = self.evaluate()
        self.set_training(True)
        return found

    def _save(self, path: Path) -> None:
        told = {"seen": self.seen, "step": self.step, "elapsed": self.clock.elapsed()}
        save_state(path, self.modules, self.optimizer, told)

    def log(self, row: Mapping[str, Any]) -> None:
        """One row to the log and to `report`, with where the run is."""
        told = {"seen": self.seen, "step": self.step, "minutes": self.clock.elapsed() / 60, **row}
        self.watch.log({key: round(value, 5) if isinstance(value, float) else value for key, value in told.items()})
