"""One model of several that began as one: the average of their weights, tensor by tensor.

Where models were trained on from the same weights, what lies between them often errs less than either, on pictures unlike the
training's most of all, and costs no training (WiSE-FT: Wortsman et al., CVPR 2022; model soups: the same, ICML 2022).
Use: `faceshield train average 'models=[tiny, runs/more/sft]' out=runs/more/half`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator

from faceshield.config import Config
from faceshield.model import Checkpoint, CheckpointInfo, count_parameters, grow_vision, load, resolve_model, save, working_dtype
from faceshield.model.checkpoint import set_info_aside
from faceshield.provenance import write_run


class AverageConfig(Config):
    """Settings of the step `average`.

    Attributes:
        models: two or more, as `resolve_model` takes them; an adapter counts merged into its base. They differ in weights alone
            and in the depth of their vision towers: a shallower one is grown first, which changes none of its answers. Tokens
            that are guessed ahead (`drafts`) are the last one's.
        shares: of each model, adding up to 1; None = equal ones.
        out: the checkpoint to write. It has neither threshold nor calibration: its scores are new.
        save_dtype: of the stored weights; None = float32 for a small model, bfloat16 for a large one.
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
        if len(shares) != len(self.models) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"shares {shares} of {len(self.models)} models — expected one above 0 for each, adding up to 1 — correct them"
            )
        return self


@torch.no_grad()
def average(config: AverageConfig) -> Path:
    """Writes the average of `config.models` and returns its folder.

    Raises:
        FileNotFoundError: a model that is not there.
        ValueError: models of different kinds or words, whose weights mean different things, or `out` among them.
    """
    folders = [resolve_model(name) for name in config.models]
    if config.out.resolve() in [folder.resolve() for folder in folders]:
        raise ValueError(f"{config.out}: the average would replace a model that it is made of — expected another folder")
    shares = config.shares or [1 / len(folders)] * len(folders)
    loaded = [load(folder, dtype=working_dtype(count_parameters(folder))) for folder in folders]
    depth = max(_depth(checkpoint) for checkpoint in loaded)
    for checkpoint in loaded:
        if _depth(checkpoint) < depth:
            grow_vision(checkpoint.model, num_hidden_layers=depth)
    _check_alike(loaded)
    whole, states = loaded[-1], [checkpoint.model.state_dict() for checkpoint in loaded]
    for name, value in states[-1].items():
        if value.is_floating_point():
            parts = [share * state[name].double() for share, state in zip(shares, states, strict=True)]
            value.copy_(torch.stack(parts).sum(dim=0))
    set_info_aside(config.out)
    extra = {**whole.info.extra, "average": {"models": config.models, "shares": shares}}
    info = CheckpointInfo(questions=whole.info.questions, extra=extra)
    dtype = working_dtype(whole.model.num_parameters()) if config.save_dtype is None else getattr(torch, config.save_dtype)
    save(whole.model, whole.processor, config.out, info, dtype=dtype)
    whole.drafts.save(config.out)
    write_run(config.out, config=config, seed=None, inputs=folders)
    return config.out


def _depth(checkpoint: Checkpoint) -> int:
    return int(checkpoint.model.config.vision_config.num_hidden_layers)


def _check_alike(loaded: list[Checkpoint]) -> None:
    last = loaded[-1]
    words, settings, shapes = _words(last), _settings(last.model.config.to_dict()), _shapes(last)
    for other in loaded[:-1]:
        mine = _settings(other.model.config.to_dict())
        names = sorted(name for name in mine.keys() | settings.keys() if mine.get(name) != settings.get(name))
        faults = [f"{name} {mine.get(name)} against {settings.get(name)}" for name in names]
        faults += [] if faults or _shapes(other) == shapes else ["tensors of other shapes"]
        faults += [f"other words in {kind}" for kind, known in _words(other).items() if known != words[kind]]
        if faults:
            raise ValueError(
                f"{other.path} and {last.path} differ: {'; '.join(faults)} — expected models that were trained on from "
                "the same weights — average those alone"
            )


def _settings(config: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Every setting that says what a weight means, by its path; not how a file was written."""
    told: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            told |= _settings(value, f"{inside}{name}.")
        elif name not in ("dtype", "transformers_version", "_name_or_path", "architectures", "use_cache"):
            told[f"{inside}{name}"] = value
    return told


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in checkpoint.model.state_dict().items()}


def _words(checkpoint: Checkpoint) -> dict[str, dict[str, int]]:
    processor = checkpoint.processor
    return {"tokenizer": processor.tokenizer.get_vocab(), "prompt tokenizer": processor.prompt_tokenizer.get_vocab()}
