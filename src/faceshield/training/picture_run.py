"""A run over labelled pictures: what the stages `foundation-towers` and `baseline` have in common.

Each supplies its modules, its training step and its figures. Use: a subclass with `train_step` and `evaluate`, then `run()`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from faceshield.config import Paths
from faceshield.model import checkpoint_hash, resolve_model
from faceshield.provenance import begun, file_sha256
from faceshield.training import augment
from faceshield.training.heads import type_weights
from faceshield.training.oversample import Oversample, repeats
from faceshield.training.pictures import CachedPictures, Pictures, cached_pictures
from faceshield.training.run import Run, RunConfig
from faceshield.training.schedule import check_end
from faceshield.training.watch import WEIGHTS, Report

# Settings of the machine, of the log, and of when a run ends: a run may be resumed with other values of these.
FREE = {"out", "cache", "threads", "pictures", "minutes", "eval_every", "eval_pictures", "save_minutes", "log_every"}


class PictureConfig(RunConfig):
    """Settings of every run over pictures; see also `RunConfig`.

    Attributes:
        data: samples files; their splits "train" and `eval_split` are used.
        init: checkpoint to start from, see the stage; None: from scratch.
        cache: folder of the decoded pictures; None = "cache" beside `out`.
        pictures: pictures to train on in all, repeats included, unless the clock ends the run first.
        oversample: how many times a type's pictures are seen per epoch (1 for types not named); its class weight
            stays that of its distinct pictures, so it counts more in all.
        max_shift: largest shift of a picture, in pixels of the processed square; jitter: strength 0..1 of colour changes, see
            `augment.colour_levels`.
        eval_every: training pictures between two evaluations on (at most `eval_pictures`) pictures of split `eval_split`.
            "test" is for measuring alone, as when attacks are left out of training (runs/leave_one_out.py): nothing is
            chosen by these figures.
    """

    data: Paths = Field(min_length=1)
    init: str | None = None
    cache: Path | None = None
    pictures: int = Field(120_000, ge=1)
    batch_size: int = Field(48, ge=2)
    max_shift: int = Field(10, ge=0)
    jitter: float = Field(0.12, ge=0, lt=1)
    oversample: Oversample = Field(default_factory=dict)
    eval_every: int = Field(6000, ge=1)
    eval_pictures: int = Field(600, ge=1)
    eval_split: Literal["dev", "test"] = "dev"


class PictureRun(Run):
    """Trains modules on pictures; `run` resumes from the state file if there is one.

    Args:
        config: the settings.
        types: names of the classes, bona fide first.
        modules: what is trained and evaluated, by name; frozen parameters stay as they are.
        pictures: the pictures of `config.data`, see `pictures.load_pictures`.
        processor: makes their squares, a `FaceShieldProcessor` or `RgbSquares`.
        side: longer side in pixels to which pictures are resized first; None = no resizing.
        betas: AdamW's betas.
        report: called with every row of the log.
    """

    config: PictureConfig

    def __init__(
        self,
        config: PictureConfig,
        types: Sequence[str],
        modules: Mapping[str, nn.Module],
        pictures: Pictures,
        processor: Any,
        *,
        side: int | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        report: Report | None = None,
    ) -> None:
        super().__init__(config, modules, betas=betas, report=report)
        self.types, self.pictures, self.processor, self.side = tuple(types), pictures, processor, side
        self._pool = ThreadPoolExecutor(config.threads)
        self.classes = self.truth(pictures)

    @abstractmethod
    def train_step(self, rows: NDArray[np.int64], done: float, rate: float) -> dict[str, float]:
        """Makes one optimizer step on these pictures, at share `done` of the run; returns values for the log."""

    @abstractmethod
    def evaluate(self) -> dict[str, Any]:
        """Figures on the development pictures."""

    # -- data

    def truth(self, pictures: Pictures) -> NDArray[np.int64]:
        """(N,) class of each picture."""
        return pictures.types

    def dev(self) -> NDArray[np.int64]:
        """Indices of the pictures of `eval_split`."""
        return self.pictures.of_split(self.config.eval_split)

    def load(self) -> None:
        """Decodes the pictures; later runs reuse the cache."""
        self.train_rows = self.pictures.of_split("train")
        rng = np.random.default_rng([self.config.seed, 1])
        self.dev_rows = np.sort(rng.permutation(self.dev())[: self.config.eval_pictures])
        self.crops = self._crops()
        # From the distinct pictures: a type that is seen more often is meant to count more.
        counts = np.bincount(self.classes[self.train_rows], minlength=len(self.types))
        self.type_weights = type_weights(torch.from_numpy(counts)).to(self.device)

    def _crops(self) -> CachedPictures:
        config = self.config

        def progress_row(done: int, total: int) -> None:
            if done == total or done % 1024 == 0:
                self.watch.report({"event": "cache", "done": done, "total": total})

        # Larger pictures are reduced once more than in use: descriptors would be in any case, an RGB square changes by half a
        # level on average. `crop_side` makes both alike.
        return cached_pictures(
            self.pictures.paths, config.cache or config.out.parent / "cache", side=self.side,
            largest=2 * self.processor.image_size, threads=config.threads, progress=progress_row,
        )  # fmt: skip

    def squares(
        self, rows: NDArray[np.int64], rng: np.random.Generator | None = None
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.float32]]]:
        """(B, K, S, S, 3) bytes of these pictures, K streams each, and their (k, 4) boxes in 0..1 of the square.

        With `rng` each picture is changed at random first, see `augment`; without, the squares are those of inference (of
        pictures larger than twice the square, nearly).
        """

        def square(row: int, own: np.random.Generator | None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            picture, boxes = self.crops[row], self.pictures.boxes[row]
            if own is not None:
                shift = self.config.max_shift * max(picture.shape) / self.processor.image_size
                picture, boxes = augment.augmented(picture, boxes, shift, self.config.jitter, own)
            return np.stack([stream for stream in self.processor.square_pixels(picture) if stream is not None]), boxes

        made = list(self._pool.map(square, rows, [None] * len(rows) if rng is None else rng.spawn(len(rows))))
        return np.stack([streams for streams, _ in made]), [boxes for _, boxes in made]

    def _epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.config.seed, 2, epoch])
        names = [self.pictures.samples[row].presentation_type for row in self.train_rows]
        times = repeats(names, self.config.oversample, rng)
        return rng.permutation(np.repeat(self.train_rows, times))

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """Endless batches of rows from picture `seen` on; their order depends on the seed alone, so a resumed run keeps it."""
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

    def step_rng(self) -> np.random.Generator:
        """Random generator for the next step; depends on seed and step alone."""
        return np.random.default_rng([self.config.seed, 3, self.step])

    # -- the run

    @property
    def total(self) -> int:
        return self.config.pictures

    def advance(self, done: float, rate: float) -> dict[str, float]:
        return self.train_step(next(self._rows), done, rate)

    def look(self) -> bool:
        """Evaluates on the development pictures every `eval_every` training pictures; returns whether it did."""
        every = self.config.eval_every
        due = self.seen // every > (self.seen - self.config.batch_size) // every
        if due:
            self.log({"event": "dev", **self.figures()})
        return due

    def run(self) -> dict[str, Any]:
        """Trains to the end, saving on the way, and returns the final figures.

        Raises:
            ValueError: no pictures of a split that is needed, or `out` was begun with other settings or data.
        """
        config = self.config
        weights = config.init and checkpoint_hash(resolve_model(config.init))
        content = {"init": weights, "data": [file_sha256(file) for file in config.data], "augmentation": augment.VERSION}
        settings = config.model_dump(mode="json", exclude=FREE) | content
        begun(config.out, "stage", settings, note=False, results=WEIGHTS)
        check_end(config.out, str(settings.get("stage")), {"pictures": config.pictures, "minutes": config.minutes})
        self.load()
        begun(config.out, "stage", settings)
        self._rows = self._batches()  # lazy: reads `seen` at the first batch, once `fit` has restored it
        self.fit()
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
