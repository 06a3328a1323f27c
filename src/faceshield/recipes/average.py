"""Averages the weights of several models that share an origin, tensor by tensor.

Between models trained further from the same weights there is often one that errs less than either, above all on pictures
unlike the training data, and it costs no training (WiSE-FT: Wortsman et al., CVPR 2022; model soups: the same, ICML 2022).
Running statistics of batch normalisation (`stem: resnet`) are averaged too, which are not those that the averaged weights
would have produced: compare such an average with its parts before using it.
Use: `faceshield train average 'models=[tiny, runs/more/sft]' out=runs/more/half`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from faceshield.config import Config
from faceshield.model import (
    CheckpointInfo,
    FaceShieldProcessor,
    checkpoint_hash,
    count_parameters,
    grow_vision,
    load,
    read_config,
    read_info,
    resolve_model,
    save,
    working_dtype,
)
from faceshield.model.checkpoint import weights_folder
from faceshield.provenance import begun, read_run, write_run
from faceshield.training.card import write_card
from faceshield.training.watch import WEIGHTS, Report

_SAYS_NOTHING = {
    "dtype", "transformers_version", "_name_or_path", "architectures", "use_cache",  # how a file was written
    "answer_tokens", "pvtm_inference", "pvtm_seed",  # how a model is used
    "pvtm_mask_ratio", "pvtm_draw", "attention_dropout", "embd_pdrop", "resid_pdrop",  # noise in training
    "num_hidden_layers of vision_config", "stem_blocks of vision_config", "image_size of vision_config",  # grown first
}  # fmt: skip
"""Settings of a config.json that may differ, since they do not change what the weights mean."""


class AverageConfig(Config):
    """Settings of the step `average`.

    Attributes:
        models: two or more, as `resolve_model` takes them; an adapter is merged into its base first. They may differ in their
            weights and in the depth and input size of their vision towers, which are grown first (`model.grow_vision`, in one
            step: layers correspond only to those of a model that was grown in one step too). All else is the last model's: the
            processor, the draft tokens (`drafts`), the contents of `faceshield.json`.
        shares: weight of each model, above 0, adding up to 1; None = equal shares.
        out: the checkpoint to write. It has neither threshold nor calibration, since its scores are new.
        save_dtype: data type of the stored weights; None = float32 for a small model, bfloat16 for a large one.
    """

    stage: Literal["average"] = "average"
    models: list[str] = Field(min_length=2)
    shares: list[float] | None = None
    out: Path
    save_dtype: Literal["float32", "bfloat16"] | None = None

    @model_validator(mode="after")
    def _shares_of_a_whole(self) -> AverageConfig:
        shares = self.shares
        if shares is None:
            return self
        whole = len(shares) == len(self.models) and min(shares) > 0 and math.isclose(sum(shares), 1)
        if not whole:
            raise ValueError(
                f"shares {shares} of {len(self.models)} models — expected one above 0 for each, adding up to 1 — correct them"
            )
        return self


@torch.no_grad()
def average(config: AverageConfig, report: Report | None = None) -> Path:
    """Writes the average of `config.models` and returns its folder; an average that is already there is left as it is.

    Raises:
        FileNotFoundError: a model does not exist.
        ValueError: the models differ in kind, words or pictures, so that their weights mean different things; or `out` is one
            of them, or was begun by another run.
    """
    folders = [resolve_model(name) for name in config.models]
    read = list(dict.fromkeys(part for folder in folders for part in (folder, weights_folder(folder))))
    if config.out.resolve() in [part.resolve() for part in read]:
        raise ValueError(f"{config.out}: the average would overwrite one of its models — expected another folder")
    _check_alike(folders)
    growth = _largest(folders)
    shares = config.shares or [1 / len(folders)] * len(folders)
    made_of = [{"model": name, "weights": checkpoint_hash(part)} for name, part in zip(config.models, folders, strict=True)]
    told = {"models": [part["weights"] for part in made_of], "shares": shares, "save_dtype": config.save_dtype}
    begun(config.out, "stage", {"stage": config.stage, **told}, results=WEIGHTS)
    if read_run(config.out).get("config", {}).get("stage") == config.stage:
        if report is not None:
            report({"event": "finished", "": f"{config.out}: finished before — remove its run.json to write it again"})
        return config.out
    whole = torch.float32 if config.save_dtype == "float32" else None
    sums: dict[str, Tensor] = {}
    for folder, share in zip(folders, shares, strict=True):
        checkpoint = load(folder, dtype=whole or working_dtype(count_parameters(folder)))
        if growth:
            grow_vision(checkpoint.model, **growth)
        for name, value in _values(checkpoint.model):
            part = share * value.float()
            sums[name] = sums[name].add_(part) if name in sums else part
    for name, value in _values(checkpoint.model):
        value.copy_(sums[name])
    checkpoint.processor.image_size = checkpoint.model.config.vision_config.image_size
    extra = {**checkpoint.info.extra, "average": {"models": made_of, "shares": shares}}
    info = CheckpointInfo(questions=checkpoint.info.questions, extra=extra)
    dtype = working_dtype(checkpoint.model.num_parameters()) if config.save_dtype is None else getattr(torch, config.save_dtype)
    save(checkpoint.model, checkpoint.processor, config.out, info, dtype=dtype)
    checkpoint.drafts.save(config.out)
    write_run(config.out, config=config, seed=None, inputs=read)
    write_card(config.out)
    return config.out


def _values(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and floating-point buffer of a model, tied weights once."""
    yield from model.named_parameters()
    yield from ((name, value) for name, value in model.named_buffers() if value.is_floating_point())


def _largest(folders: list[Path]) -> dict[str, Any]:
    """The arguments with which `grow_vision` makes all vision towers alike; empty if they are."""
    towers = [read_config(folder).vision_config for folder in folders]
    growth: dict[str, Any] = {}
    for name in ("num_hidden_layers", "image_size"):
        if len(found := {getattr(tower, name) for tower in towers}) > 1:
            growth[name] = max(found)
    blocks = [getattr(tower, "stem_blocks", None) for tower in towers]
    if any(row != blocks[0] for row in blocks):
        growth["stem_blocks"] = [max(stage) for stage in zip(*blocks, strict=True)]
    return growth


def _check_alike(folders: list[Path]) -> None:
    last = folders[-1]
    told = _told(last)
    for folder in folders[:-1]:
        other = _told(folder)
        names = sorted(name for name in other.keys() | told.keys() if other.get(name) != told.get(name))
        if names:
            faults = "; ".join(f"{name} {_short(other.get(name))} against {_short(told.get(name))}" for name in names)
            raise ValueError(
                f"{folder} and {last} differ: {faults} — expected models that were trained on from the same weights, on "
                "pictures of one kind — average those alone"
            )


def _told(folder: Path) -> dict[str, Any]:
    """All that decides what a checkpoint's weights mean: settings of model and processor, vocabularies, fixed questions."""
    processor, info = FaceShieldProcessor.from_pretrained(folder, local_files_only=True), read_info(folder)
    of_processor = processor.to_dict()
    del of_processor["image_size"]  # that of the tower, which is grown
    return {
        **_settings(read_config(folder).to_dict()),
        **{f"{name} of the processor": value for name, value in of_processor.items() if not name.endswith("tokenizer")},
        "words of the tokenizer": processor.tokenizer.get_vocab(),
        "words of the prompt tokenizer": processor.prompt_tokenizer.get_vocab(),
        **{f"question of {name}": question for name, question in info.questions.items()},
        "crop_side": info.crop_side,
        "surroundings": info.surroundings,
    }


def _settings(config: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in config.items():
        full = f"{name} of {inside}" if inside else name
        if isinstance(value, Mapping) and name.endswith("_config"):
            told |= _settings(value, name)
        elif not {name, full} & _SAYS_NOTHING:
            told[full] = value
    return told


def _short(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, dict) else repr(value)
