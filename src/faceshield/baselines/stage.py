"""Stage `baseline` of `faceshield train`: train one of the paper's other rows (Tables 1 and 2) on samples files.

Pictures, splits, kinds of augmentation, schedule and stopping are the same as for our own towers (`training.picture_run`).
Use: `faceshield train configs/baseline/resnet.yaml 'data=[samples.jsonl]' out=resnet`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from sklearn.metrics import roc_auc_score

from faceshield.baselines import BASELINE_FILE
from faceshield.baselines.base import (
    COARSE_TYPES,
    METHODS,
    WEIGHTS_FILE,
    Baseline,
    Batch,
    Design,
    method,
    new_baseline,
    save_baseline,
)
from faceshield.model import resolve_model
from faceshield.provenance import file_sha256, write_run
from faceshield.records import Sample
from faceshield.taxonomy import PRESENTATION_TYPES
from faceshield.training.augment import to_float
from faceshield.training.picture_run import PictureConfig, PictureRun
from faceshield.training.pictures import Pictures, RgbSquares, load_pictures
from faceshield.training.precision import autocast, device
from faceshield.training.watch import Report, forget_choice


class BaselineConfig(PictureConfig):
    """Settings of the stage `baseline`; those of every run over pictures are in `PictureConfig`.

    Attributes:
        baseline: name of the method, one of `base.METHODS`.
        init: initial weights, for a fair start or the published size: a baseline of the same method, or what else the
            method's module names. A folder, or a hub id. None: random weights.
        labels: "types": the twelve presentation types; "coarse": only bona fide or attack, which admits attacks without a
            type too. A coarse baseline does not answer the fine question.
        image_size: side in pixels of the square it sees.
        model: values of the method's own `Settings`, see its module.
    """

    stage: Literal["baseline"] = "baseline"
    baseline: str
    labels: Literal["types", "coarse"] = "types"
    image_size: int = Field(128, ge=32)
    model: dict[str, Any] = Field(default_factory=dict)
    pictures: int = Field(20_000, ge=1)
    batch_size: int = Field(32, ge=2)
    max_shift: int = Field(6, ge=0)
    eval_every: int = Field(4000, ge=1)
    eval_pictures: int = Field(200, ge=1)
    threads: int = Field(1, ge=1)

    @field_validator("baseline")
    @classmethod
    def _is_there(cls, value: str) -> str:
        if value not in METHODS:
            raise ValueError(f"expected one of {', '.join(METHODS)}")
        return value

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        method(self.baseline).Settings.of(**self.model)
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """Names of the classes."""
        return PRESENTATION_TYPES if self.labels == "types" else COARSE_TYPES


def train_baseline(config: BaselineConfig, report: Report | None = None) -> dict[str, Any]:
    """Train a baseline and write its folder; if stopped, the same call resumes.

    Args:
        config: the settings.
        report: called with every row of the log.

    Returns:
        The final figures.

    Raises:
        ValueError: settings, data or `init` that do not fit; no attack, or no bona fide, to learn from.
        FileNotFoundError: no such `init`.
        OSError: a state could not be written; the last good one is kept.
    """
    torch.set_num_threads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    pictures = load_pictures(config.data, PRESENTATION_TYPES, untyped=config.labels == "coarse")
    rows = pictures.of_split("train")
    kinds = set((pictures.types[rows] > 0).tolist())
    if len(kinds) < 2:
        raise ValueError(
            f"{', '.join(map(str, config.data))}: only {'attacks' if True in kinds else 'bona fide'} in split 'train' — "
            "expected both — add the others' samples file to data"
        )
    by_camera = getattr(method(config.baseline).Settings.of(**config.model), "by_camera", False)
    domains = tuple(sorted({domain_of(pictures.samples[row], by_camera=by_camera) for row in rows}))
    init = None if config.init is None else resolve_model(config.init)
    design = Design(config.baseline, config.types, domains, config.image_size, config.model)
    model = new_baseline(design, init=init, seed=config.seed)
    figures = BaselineRun(config, model, pictures, report).run()
    before = _content(config.out)
    save_baseline(model, config.out)
    if _content(config.out) != before:
        forget_choice(config.out, report)
    write_run(config.out, config=config, seed=config.seed, inputs=[*([init] if init else []), *config.data])
    return figures


def _content(folder: Path) -> list[str]:
    """Hashes of the files that decide a baseline's scores."""
    return [file_sha256(file) for file in (folder / BASELINE_FILE, folder / WEIGHTS_FILE) if file.is_file()]


def domain_of(sample: Sample, *, by_camera: bool = False) -> str:
    """Where a picture comes from: its data set, the simulator's source and, if wanted, the camera, as far as they are known."""
    names = (sample.dataset, sample.meta.get("source"), sample.meta.get("camera") if by_camera else None)
    return "/".join(filter(None, names))


class BaselineRun(PictureRun):
    """Trains a baseline, see `PictureRun`."""

    config: BaselineConfig

    def __init__(self, config: BaselineConfig, model: Baseline, pictures: Pictures, report: Report | None = None) -> None:
        self.model = model.to(device())
        whole: Any = self.model
        whole.to(memory_format=torch.channels_last)
        squares = RgbSquares(model.design.image_size)
        super().__init__(config, model.design.types, {"model": self.model}, pictures, squares, report=report)
        order = {name: index for index, name in enumerate(model.design.domains)}
        # Development pictures may come from elsewhere; their domain is never used.
        by_camera = bool(model.design.settings.get("by_camera"))
        came_from = (domain_of(sample, by_camera=by_camera) for sample in pictures.samples)
        self.domains = np.array([order.get(name, 0) for name in came_from], dtype=np.int64)
        counts = np.bincount(self.domains[pictures.of_split("train")], minlength=len(order))
        weights = counts.sum() / (len(order) * np.maximum(counts, 1))
        self.domain_weights = torch.from_numpy(weights.astype(np.float32)).to(self.device)

    def truth(self, pictures: Pictures) -> NDArray[np.int64]:
        return pictures.types if len(self.types) > len(COARSE_TYPES) else np.minimum(pictures.types, 1)

    def dev(self) -> NDArray[np.int64]:
        return self.pictures.of_split(self.config.eval_split, needed=False)

    def train_step(self, rows: NDArray[np.int64], done: float, rate: float) -> dict[str, float]:
        rng = self.step_rng()
        picked = np.sort(rows)
        pixels, _ = self.squares(picked, rng)
        batch = Batch(
            to_float(pixels[:, 0], self.device),
            torch.from_numpy(self.classes[picked]).to(self.device),
            torch.from_numpy(self.domains[picked]).to(self.device),
            self.type_weights.float(),
            self.domain_weights,
        )
        with autocast(self.config.bf16):
            losses = self.model.losses(batch, rng)
        return self.update(losses, {}, len(rows), rate)

    def evaluate(self) -> dict[str, Any]:
        """Figures on the development pictures, if there are any."""
        return self._figures(self.dev_rows)

    def run(self) -> dict[str, Any]:
        """As `PictureRun.run`, with figures on training pictures, which show what was memorised, as "train_…"."""
        figures = super().run()
        rng = np.random.default_rng([self.config.seed, 4])
        seen = self._on(np.sort(rng.permutation(self.train_rows)[: self.config.eval_pictures]))
        self.log({"event": "train", **seen})
        return figures | {f"train_{name}": value for name, value in seen.items()}

    def _on(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        self.set_training(False)
        with torch.no_grad():
            return self._figures(rows)

    def _figures(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        if not rows.size:
            return {"n": 0}
        parts = []
        for start in range(0, len(rows), self.config.batch_size):
            pixels, _ = self.squares(rows[start : start + self.config.batch_size])
            with autocast(self.config.bf16):
                parts.append(self.model.probabilities(to_float(pixels[:, 0], self.device)).float().cpu().numpy())
        found, truth = np.concatenate(parts), self.classes[rows]
        attack, called = truth > 0, found[:, 0] < 0.5
        figures: dict[str, Any] = {"n": len(rows), "coarse": float((called == attack).mean())}
        if 0 < attack.sum() < len(rows):
            figures["auc"] = float(roc_auc_score(~attack, found[:, 0]))
            figures["hter"] = float(((~called[attack]).mean() + called[~attack].mean()) / 2)
        if len(self.types) > len(COARSE_TYPES):
            figures["fine"] = float((found.argmax(axis=1) == truth).mean())
        return figures
