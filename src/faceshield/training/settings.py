"""What the paper's two stages are told (§4.3, §5.2), and where each value came from.

Use: `config, origins = inherited(StageConfig.load("configs/train/sft.yaml", ["out=sft"]))`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from faceshield.config import Config, Paths
from faceshield.model import is_adapter, read_info, resolve_model
from faceshield.model.adapter import ADAPTER_CONFIG, read_settings
from faceshield.model.checkpoint import INFO_FILE
from faceshield.provenance import read_run
from faceshield.training.oversample import Oversample

STAGES = ("pretrain", "sft")
RATES = {"pretrain": 5e-4, "sft": 2e-4}
# Of the data and the machine; what makes a stage that stage (rate, epochs, batch, rows) is never inherited.
INHERITED = (
    "samples", "cache", "cache_features", "processor", "crop_side", "oversample", "activation_checkpointing", "fsdp",
    "liger", "workers", "report_to", "save_dtype", "threads", "bf16", "seed",
)  # fmt: skip
# Of an adapter that goes on: under PEFT's names, and ours.
ADAPTED = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
# Of the machine and of what is shown; two runs that differ in these alone are the same run.
MACHINE = {"threads", "workers", "report_to", "log_every", "save_steps", "cache", "liger"}
# What ends a run: told to end later, it goes on to there.
ENDS = {"epochs", "max_steps", "minutes"}


class StageConfig(Config):
    """Settings of the stages `pretrain` and `sft`; the defaults are the paper's, or Bunny's where the paper is silent.

    Attributes:
        init: checkpoint to start from: a folder, "tiny", or a hub id. Stage sft goes on with an adapter folder's
            adapter, of its own rank.
        dialogues: dialogues files; those that say that they are of another split than "train" are left out.
        samples: samples files, for dialogues that do not say: those about their pictures of other splits are left out too.
        out: checkpoint folder to write; `out/trainer` holds what going on needs, `out/log.jsonl` the loss.
        cache_features: compute the frozen tower's features once and read them from disk; else in every step.
        cache: folder of those; None = "cache" beside `out`.
        model: `use_savp` and PVTM's values of `FaceShieldConfig` in the place of those in `init`: {use_savp: false} is
            the ablation "without SAVP", {pvtm_mask_ratio: 0} "without PVTM".
        processor: SAVP's values (`savp_…`) of `FaceShieldProcessor` in the place of those in `init`.
        learning_rate: None = 5e-4 for pretrain, 2e-4 for sft (§5.2).
        projector_lr: of the projector in sft; None = learning_rate. Bunny's value is 2e-5.
        epochs, max_steps, minutes: what ends the run first; max_steps -1 = epochs. With minutes the rate follows the
            clock, and a run that was stopped no longer goes on exactly.
        batch_size, accumulate: rows a step and process, and steps an update; times the processes = the global batch.
        pack: one row a picture with all its dialogues, see `dataset`.
        oversample: how many times the rows of a presentation type are seen per epoch (1 where not named).
        activation_checkpointing: compute activations again in the backward pass instead of keeping them.
        fsdp: with several processes, shard parameters (FSDP2) instead of copying them (DDP).
        liger: Liger's kernels in the language model; None = where installed and on a GPU.
        workers: processes that decode pictures without `cache_features`.
        report_to: what else is told the log ("tensorboard", "wandb", …); None = TensorBoard where installed.
        crop_side: side in pixels of the training pictures; the predictor brings face crops to it.
        surroundings: whether the training pictures show faces from close and with much around them too, as the simulator's do:
            the predictor then looks at a face in both ways.
        save: sft's result as a whole model ("merged"), or as "adapter": LoRA and projector alone, on `init`.
        save_dtype: of the weights in the final checkpoint; None = float32 for a small model, bfloat16 for a large.
        bf16: autocast to bfloat16; None = where the hardware has it.
    """

    stage: Literal["pretrain", "sft"]
    init: str
    dialogues: Paths = Field(min_length=1)
    samples: Paths = Field(default_factory=list)
    out: Path
    cache_features: bool = False
    cache: Path | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    processor: dict[str, Any] = Field(default_factory=dict)
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
    fsdp: bool = False
    liger: bool | None = None
    workers: int = Field(0, ge=0)
    save_steps: int = Field(200, ge=1)
    crop_side: int | None = Field(None, ge=32)
    surroundings: bool = False
    save: Literal["merged", "adapter"] = "merged"
    save_dtype: Literal["float32", "bfloat16"] | None = None
    log_every: int = Field(20, ge=1)
    report_to: list[str] | None = None
    threads: int = Field(2, ge=1)
    bf16: bool | None = None
    seed: int = Field(0, ge=0)


def inherited(config: StageConfig) -> tuple[StageConfig, dict[str, str]]:
    """The settings with what was not told taken from the run of `init`, where that was one of the two stages; else
    (its `run.json` is gone, or an average's) the pictures' side alone, from its `faceshield.json`. An adapter that goes on
    is of its own rank, alpha and dropout.

    Returns:
        The whole settings, and per name where its value came from.

    Raises:
        ValueError: told another rank, alpha or dropout than those of the adapter that goes on.
    """
    origins = {name: config.where(name) for name in type(config).model_fields}
    folder = resolve_model(config.init)
    record = folder / "run.json"
    earlier: dict[str, Any] = read_run(record.parent).get("config") or {}
    if earlier.get("stage") not in STAGES:  # as of the shipped one: how large its pictures were it says all the same
        record = record.with_name(INFO_FILE)
        earlier = {name: value for name, value in read_info(record.parent).extra.items() if name in ("stage", "crop_side")}
    values: dict[str, Any] = {}
    if earlier.get("stage") in STAGES:
        for name in INHERITED:
            if origins[name] == "default" and name in earlier:
                values[name], origins[name] = earlier[name], f"{record} (stage {earlier['stage']})"
    if config.stage == "sft" and is_adapter(folder):
        settings = read_settings(folder)
        for name, ours in ADAPTED.items():
            of_adapter = settings[name]
            if origins[ours] != "default" and getattr(config, ours) != of_adapter:
                raise ValueError(
                    f"{ours} {getattr(config, ours)} ({origins[ours]}), but {config.init} is an adapter of {of_adapter} that "
                    f"goes on as it is — expected the same — give {ours}={of_adapter}, or leave it out"
                )
            values[ours], origins[ours] = of_adapter, f"{folder / ADAPTER_CONFIG}, which goes on"
    if config.learning_rate is None:
        values["learning_rate"], origins["learning_rate"] = RATES[config.stage], f"the paper's of stage {config.stage}"
    if values.get("cache", config.cache) is None:
        values["cache"], origins["cache"] = config.out.parent / "cache", "beside out"
    told = {name: getattr(config, name) for name in config.model_fields_set}
    return type(config).of(**{**told, **values}), origins
