"""ResNet: a classifier of whole pictures. He et al., Deep Residual Learning for Image Recognition, CVPR 2016.

Simplified: by default half of ResNet-18's width with random weights; `init` gives ResNet-18 or -50 with published weights.
One cross-entropy over the presentation types, weighted so that bona fide counts as much as all attacks; bonafide_score is the
probability of the bona fide class.
Use: `faceshield train configs/baseline/resnet.yaml 'data=[samples.jsonl]' out=resnet`.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faceshield.baselines.backbone import BackboneBaseline, BackboneSettings
from faceshield.baselines.base import Batch, Design


class ResNetSettings(BackboneSettings):
    """Settings of the ResNet; `label_smoothing` 0..1 is that of its cross-entropy."""

    label_smoothing: float = Field(0.05, ge=0, lt=1)


class ResNet(BackboneBaseline):
    """A backbone and one linear layer."""

    Settings = ResNetSettings
    heads = ("head.",)

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.label_smoothing = ResNetSettings(**design.settings).label_smoothing
        self.head = nn.Linear(self.width, len(design.types))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> (B, C) logits."""
        return self.head(self.backbone(self.normalised(pixels)).pooler_output.flatten(1))  # type: ignore[no-any-return]

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        logits = self(batch.pixels).float()
        smoothing = self.label_smoothing
        return {"type": functional.cross_entropy(logits, batch.types, batch.type_weights, label_smoothing=smoothing)}

    def probabilities(self, pixels: Tensor) -> Tensor:
        return self(pixels).float().softmax(dim=1)  # type: ignore[no-any-return]
