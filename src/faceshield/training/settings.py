"""Settings of the paper's two stages (§4.3, §5.2), and where each value came from.

Use: `config, origins = inherited(StageConfig.load("configs/train/sft.yaml", ["out=sft"]))`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from faceshield.config import Config, Paths
from faceshield.model import is_adapter, read_info, resolve_model
from faceshield.model.adapter import ADAPTER_CONFIG, read_settings
from faceshield.model.checkpoint import INFO_FILE
from faceshield.provenance import RUN_FILE, read_run
from faceshield.training.oversample import Oversample

STAGES = ("pretrain", "sft")
RATES = {"pretrain": 5e-4, "sft": 2e-4}
# Settings of the data and the machine; those that define a stage (rate, epochs, batch, rows) are never inherited.
INHERITED = (
    "samples", "cache", "cache_features", "processor", "crop_side", "oversample", "activation_checkpointing", "fsdp",
    "liger", "workers", "report_to", "save_dtype", "threads", "bf16", "seed",
)  # fmt: skip
# Settings kept when an adapter is trained further: PEFT's name -> ours.
ADAPTED = {"r": "lora_r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
# Settings of the machine and of the log; two runs that differ in these alone are the same run.
MACHINE = {"threads", "workers", "report_to", "log_every", "save_steps", "cache", "liger"}
# Settings of when a run ends: given a later end, the run is continued up to it.
ENDS = {"epochs", "max_steps", "minutes"}


class StageConfig(Config):
    """Settings of the stages `pretrain` and `sft`; the defaults are the paper's, or Bunny's where the paper is silent.

    Attributes:
        init: checkpoint to start from: a folder, "tiny", or a hub id. If it is an adapter folder, stage sft trains that
            adapter further, at its own rank.
        dialogues: dialogues files; dialogues marked with a split other than "train" are left out.
        samples: samples files, for dialogues without such a mark: those about pictures of other splits are left out too.
        out: checkpoint folder to write; `out/trainer` holds what resuming needs, `out/log.jsonl` the loss.
        cache_features: compute the frozen tower's features once and read them from disk, instead of in every step.
        cache: folder of these features; None = "cache" beside `out`.
        model: `use_savp` and PVTM's values of `FaceShieldConfig`, replacing those of `init`: {use_savp: false} is the
            ablation "without SAVP", {pvtm_mask_ratio: 0} "without PVTM".
        processor: SAVP's values (`savp_…`) of `FaceShieldProcessor`, replacing those of `init`.
        learning_rate: None = 5e-4 for pretrain, 2e-4 for sft (§5.2).
        projector_lr: learning rate of the projector in sft; None = learning_rate. Bunny's value is 2e-5.
        epochs, max_steps, minutes: the run ends after `epochs`, or after `max_steps` updates instead (-1 = by epochs), or
            after `minutes` if that is earlier. With minutes the learning rate follows the clock, and a stopped run no longer
            resumes exactly.
        batch_size, accumulate: rows per step and process, and steps per update; their product times the number of processes
            is the global batch size.
        pack: pack a picture's dialogues into one row, see `dataset`.
        oversample: how many times the rows of a presentation type are seen per epoch (1 for types not named).
        activation_checkpointing: recompute activations in the backward pass instead of storing them.
        fsdp: with several processes, shard parameters (FSDP2) instead of copying them (DDP).
        liger: Liger's kernels in the language model; None = if installed and on a GPU.
        workers: processes that decode pictures, without `cache_features`.
        report_to: where else the log goes ("tensorboard", "wandb", …); None = TensorBoard if installed.
        crop_side: longer side in pixels of the training pictures, to which the predictor resizes face crops too.
        surroundings: whether the training pictures show faces both close and with much around them, as the simulator's do:
            the predictor then looks at a face in both ways.
        save: sft's result as a complete model ("merged"), or as "adapter": LoRA and projector alone, on `init`.
        save_dtype: data type of the final checkpoint's weights; None = float32 for a small model, bfloat16 for a large one.
        bf16: autocast to bfloat16; None = where that is faster, see `precision`.
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

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.stage == "pretrain" and self.save == "adapter":
            raise ValueError(
                "save=adapter in stage pretrain, which trains the projector alone — expected merged — leave it out, or give it "
                "to stage sft"
            )
        if self.max_steps < 1 and self.max_steps != -1:
            raise ValueError(f"max_steps={self.max_steps} — expected at least 1, or -1 to end by epochs — correct it")
        return self


def inherited(config: StageConfig) -> tuple[StageConfig, dict[str, str]]:
    """Completes the settings from what `init` says of itself.

    Settings in `INHERITED` that are not given are taken from its `run.json`, if that is of one of the two stages; else (it is
    missing, or of an average or a foundation) only `crop_side` is, from its `faceshield.json`. An adapter that is trained
    further keeps its rank, alpha and dropout. Of what is then still open, `learning_rate` is the paper's, and `cache` lies
    beside `out`.

    Returns:
        The complete settings, and for each name where its value came from.

    Raises:
        ValueError: a rank, alpha or dropout is given that differs from that of the adapter to be trained further.
    """
    origins = {name: config.where(name) for name in type(config).model_fields}
    folder = resolve_model(config.init)
    record = folder / RUN_FILE
    earlier: dict[str, Any] = read_run(record.parent).get("config") or {}
    if earlier.get("stage") not in STAGES:  # as with the shipped one, which still says how large its pictures were
        record = record.with_name(INFO_FILE)
        earlier = {name: value for name, value in read_info(record.parent).extra.items() if name in ("stage", "crop_side")}
    values: dict[str, Any] = {}
    told_by = f"{record} (stage {earlier['stage']})" if "stage" in earlier else str(record)
    for name in INHERITED:
        if origins[name] == "default" and name in earlier:
            values[name], origins[name] = earlier[name], told_by
    if config.stage == "sft" and is_adapter(folder):
        settings = read_settings(folder)
        for name, ours in ADAPTED.items():
            of_adapter = settings[name]
            if origins[ours] != "default" and getattr(config, ours) != of_adapter:
                raise ValueError(
                    f"{ours} {getattr(config, ours)} ({origins[ours]}), but {config.init} is an adapter of {of_adapter}, "
                    f"which stays — expected the same — give {ours}={of_adapter}, or leave it out"
                )
            values[ours], origins[ours] = of_adapter, f"{folder / ADAPTER_CONFIG}, which goes on"
    if config.learning_rate is None:
        values["learning_rate"], origins["learning_rate"] = RATES[config.stage], f"the paper's of stage {config.stage}"
    if values.get("cache", config.cache) is None:
        values["cache"], origins["cache"] = config.out.parent / "cache", "beside out"
    told = {name: getattr(config, name) for name in config.model_fields_set}
    return type(config).of(**{**told, **values}), origins
