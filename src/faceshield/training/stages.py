"""The paper's two stages (§4.3) on one path: `pretrain` trains the projector, `sft` LoRA on the language
model and the projector.

The towers are frozen in both, so their features are computed once. Loss: next token, on the answers only (Eq.
9).
Use: `faceshield train configs/train/tiny-sft.yaml init=pretrain dialogues=[dialogues.jsonl] out=sft`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging as transformers_logging

from faceshield.config import Config
from faceshield.model import CheckpointInfo, FaceShieldConfig, attach, base_name, is_adapter, load, resolve_model, save
from faceshield.records import Sample, image_path, read_jsonl, write_run
from faceshield.training.dataset import DialogueRows
from faceshield.training.oversample import Oversample
from faceshield.training.trainer import StageTrainer
from faceshield.training.vision_cache import VisionCache

TRAINER_FOLDER = "trainer"

Report = Callable[[Mapping[str, Any]], None]


class StageConfig(Config):
    """Settings of the stages `pretrain` and `sft`; the defaults are the paper's, or Bunny's where the paper
    is silent.

    Attributes:
        init: checkpoint to start from: a folder, "tiny", or a hub id. Stage sft goes on with an adapter folder's
            adapter, of its own rank.
        dialogues: dialogues files.
        samples: samples files; dialogues about their pictures of other splits than "train" are left out.
        out: checkpoint folder to write; `out/trainer` holds what going on needs.
        cache: folder of the vision features; None = "cache" beside `out`.
        model: `use_savp` and PVTM's values of `FaceShieldConfig` in the place of those in `init`: {use_savp: false} is
            the ablation "without SAVP", {pvtm_mask_ratio: 0} "without PVTM".
        learning_rate: None = 5e-4 for pretrain, 2e-4 for sft (§5.2).
        projector_lr: of the projector in sft; None = learning_rate. Bunny's value is 2e-5.
        epochs, max_steps, minutes: what ends the run first; max_steps -1 = epochs.
        pack: one row a picture with all its dialogues, see `dataset`.
        oversample: how many times the rows of a presentation type are seen per epoch (1 where not named).
        crop_side: side in pixels of the training pictures; the predictor brings face crops to it.
        save: sft's result as a whole model ("merged"), or as "adapter": LoRA and projector alone, on `init`.
        save_dtype: of the weights in the final checkpoint.
    """

    stage: Literal["pretrain", "sft"]
    init: str
    dialogues: list[Path] = Field(min_length=1)
    samples: list[Path] = Field(default_factory=list)
    out: Path
    cache: Path | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    lora_r: int = Field(128, ge=1)
    lora_alpha: int = Field(256, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    epochs: float = Field(1.0, gt=0)
    max_steps: int = -1
    minutes: float | None = Field(None, gt=0)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    projector_lr: float | None = Field(None, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    pack: bool = False
    oversample: Oversample = Field(default_factory=dict)
    activation_checkpointing: bool = False
    save_steps: int = Field(200, ge=1)
    crop_side: int | None = Field(None, ge=32)
    save: Literal["merged", "adapter"] = "merged"
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    log_every: int = Field(20, ge=1)
    threads: int = Field(2, ge=1)
    bf16: bool = True
    seed: int = Field(0, ge=0)

    @field_validator("dialogues", "samples", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, Path)) else value


RATES = {"pretrain": 5e-4, "sft": 2e-4}


def train_stage(config: StageConfig, *, questions: Mapping[str, str] | None = None, report: Report | None = None) -> Path:
    """Trains one of the paper's stages and writes its checkpoint, whole or (`save`) as an adapter.

    Args:
        config: the settings.
        questions: the fixed question per task, kept in the checkpoint's `faceshield.json`.
        report: told every row of the log.

    Returns:
        The checkpoint's folder.

    Raises:
        SupervisionError: a dialogue without an answer, named.
        FloatingPointError: the loss is not finite.
    """
    report = report or (lambda row: None)
    torch.set_num_threads(config.threads)
    transformers_logging.disable_progress_bar()
    if config.learning_rate is None:
        config = config.model_copy(update={"learning_rate": RATES[config.stage]})
    checkpoint = load(resolve_model(config.init), merge=config.stage == "pretrain")
    model: Any = checkpoint.model
    processor = checkpoint.processor
    goes_on = config.stage == "sft" and is_adapter(checkpoint.path)
    adapted, model = model, model.get_base_model() if goes_on else model
    _configure(model, processor, config)
    rows = DialogueRows.read(
        config.dialogues,
        processor,
        pack=config.pack,
        oversample=config.oversample,
        seed=config.seed,
        pvtm=model.config.pvtm_mask_ratio > 0,
        left_out=_left_out(config.samples),
    )
    report({"event": "data", "rows": len(rows), "pictures": len(rows.paths), "longest": max(rows.lengths)})
    cache = _vision_cache(config, rows, model, processor, report)
    trained = adapted if goes_on else _trainable(config, model)
    folder = config.out / TRAINER_FOLDER
    trainer = StageTrainer(
        config=config,
        rows=rows,
        cache=cache,
        model=trained,
        processor=processor,
        folder=folder,
        report=report,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    info = CheckpointInfo(
        questions=dict(questions or checkpoint.info.questions),
        extra={**checkpoint.info.extra, "stage": config.stage, "steps": trainer.state.global_step}
        | ({"crop_side": config.crop_side} if config.crop_side else {}),
    )
    if config.stage == "sft" and config.save == "adapter":
        base = base_name(checkpoint.path) if goes_on else config.init
        save(trained.eval(), processor, config.out, info, base=base)
    else:
        model = trained.merge_and_unload() if config.stage == "sft" else model
        model.requires_grad_(True)
        save(model.eval(), processor, config.out, info, dtype=getattr(torch, config.save_dtype))
    write_run(config.out, config=config, seed=config.seed, inputs=[Path(checkpoint.path), *config.dialogues])
    return config.out


def _configure(model: Any, processor: Any, config: StageConfig) -> None:
    """Writes the ablations into the model's own config: a checkpoint says how it was trained."""
    changeable = {name for name in vars(model.config) if name == "use_savp" or name.startswith("pvtm_")}
    for name in sorted(set(config.model) - changeable):
        near = difflib.get_close_matches(name, changeable, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "the weights fix all else"
        raise ValueError(f"model.{name} — expected one of {', '.join(sorted(changeable))} — {hint}")
    if config.model.get("use_savp") and not model.config.use_savp:
        raise ValueError(f"use_savp=true, but {config.init} has no second stream — start from a checkpoint that has it")
    wanted = FaceShieldConfig(**{**model.config.to_dict(), **config.model})  # checks the values
    for name in config.model:
        setattr(model.config, name, getattr(wanted, name))
    processor.use_savp = model.config.use_savp
    projector = model.model.multi_modal_projector
    if model.config.pvtm_mask == "learned" and projector.mask_token is None:
        projector.add_mask_token()


def _left_out(files: list[Path]) -> set[Path]:
    """Pictures of other splits than "train"; by path: two files may number their samples alike."""
    pairs = ((sample, file) for file in files for sample in read_jsonl(file, Sample))
    return {image_path(sample, file).resolve() for sample, file in pairs if (sample.split or "train") != "train"}


def _vision_cache(config: StageConfig, rows: DialogueRows, model: Any, processor: Any, report: Report) -> VisionCache:
    def progress_row(done: int, total: int) -> None:
        if done == total or done % 1024 < 32:
            report({"event": "vision", "done": done, "total": total})

    folder = config.cache or config.out.parent / "cache"
    return VisionCache.build(
        rows.paths, model, processor, folder, bf16=config.bf16, threads=config.threads, progress=progress_row
    )


def _trainable(config: StageConfig, model: Any) -> Any:
    """Freezes all but the projector (stage 1), or wraps the language model in LoRA as well (stage 2)."""
    model.requires_grad_(False)
    if config.stage == "pretrain":
        model.model.multi_modal_projector.requires_grad_(True)
        return model
    return attach(model, r=config.lora_r, alpha=config.lora_alpha, dropout=config.lora_dropout, seed=config.seed)
