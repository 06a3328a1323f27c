"""transformers' ResNet as the backbone of several baselines: small with random weights, or any size from a folder.

For the paper's size, `init=microsoft/resnet-50` (or resnet-18): a hub id or a folder in transformers' layout. For a fair start,
`init` is one of our baselines that was trained on other pictures.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from transformers import ResNetConfig, ResNetModel

from faceshield.baselines.base import Baseline, Design, is_baseline, normalisation, read_design, read_weights
from faceshield.config import Config
from faceshield.model.checkpoint import quiet
from faceshield.model.tensor_files import TensorFolder

SMALL: dict[str, Any] = {
    "embedding_size": 32, "hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 2, 2], "layer_type": "basic",
}  # fmt: skip
"""ResNet-18 at half the width: 2.8 M parameters."""
_NAMES = (
    "num_channels", "embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act", "downsample_in_first_stage",
    "downsample_in_bottleneck",
)  # fmt: skip
_BACKBONE = "backbone."


class BackboneSettings(Config):
    """Settings of a baseline with a ResNet.

    Attributes:
        backbone: values of `transformers.ResNetConfig`; not allowed with `init`, which has its own.
    """

    backbone: dict[str, Any] = Field(default_factory=lambda: dict(SMALL))

    @field_validator("backbone")
    @classmethod
    def _known(cls, values: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(values) - set(_NAMES)):
            raise ValueError(f"{', '.join(unknown)} — expected some of {', '.join(_NAMES)}")
        return values


class BackboneBaseline(Baseline):
    """A baseline around a ResNet, `self.backbone`."""

    Settings = BackboneSettings

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.backbone = ResNetModel(ResNetConfig(**design.parts["backbone"]))

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return int(self.design.parts["backbone"]["hidden_sizes"][-1])

    @classmethod
    def planned(cls, design: Design, init: Path | None) -> Design:
        if init is None:
            values = cls.Settings(**design.settings).backbone  # type: ignore[attr-defined]
            return replace(design, parts={"backbone": _listed(ResNetConfig(**values))})
        if "backbone" in design.settings:
            raise ValueError(f"init={init} with model.backbone — the folder has its own — leave one of them out")
        if is_baseline(init):
            return super().planned(design, init)
        mean, std = normalisation(init)
        return replace(design, parts={"backbone": _listed(_config(init))}, mean=mean, std=std)

    def start_from(self, init: Path) -> None:
        """Load all weights of a baseline of the same method, or only the backbone of another baseline with a ResNet or of a
        folder in transformers' layout; raises as `Baseline.start_from`."""
        if not is_baseline(init):
            _config(init)
            folder = TensorFolder(init)
            # A classifier's file prefixes the backbone with "resnet." and has a head too; a bare backbone's file has neither.
            prefix = "resnet." if any(name.startswith("resnet.") for name in folder.shapes) else ""
            names, _ = folder.named({prefix: _BACKBONE, "classifier.": None})
            backbone = dict(folder.read(names))
            self.take(backbone, f"init={init}", _BACKBONE)
        elif read_design(init).name == self.design.name:
            super().start_from(init)
        else:
            self.take(read_weights(init), f"init={init}", _BACKBONE)


def _config(folder: Path) -> ResNetConfig:
    file = folder / "config.json"
    kind = json.loads(file.read_text(encoding="utf-8")).get("model_type") if file.is_file() else None
    if kind != "resnet":
        raise ValueError(f"init={folder}: model_type {kind!r} — expected 'resnet', or a baseline of ours — give such a folder")
    with quiet():
        return ResNetConfig.from_pretrained(folder, local_files_only=True)


def _listed(config: ResNetConfig) -> dict[str, Any]:
    return {name: list(value) if isinstance(value := getattr(config, name), tuple) else value for name in _NAMES}
