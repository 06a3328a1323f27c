"""PatchNet: recognise material and camera from a small patch. Wang et al., CVPR 2022 (arXiv 2203.14325).

Two patches of a picture, cut without resizing, are each classified into fine classes (presentation type x data set, for the
paper's material x capture device) by an angular-margin softmax whose margin is larger for bona fide (asymmetric); a
self-supervised term draws the two patches' embeddings together. A picture's score is the mean over nine patches.
Simplified: the data set stands for the camera, unless `by_camera` is set and samples name theirs; margins 0.4 and 0.1 and
scale 30 are those of public implementations; half of ResNet-18's width with random weights, unless `init` is given; patches of
160 pixels of a square of 224 (published: 160 of the original picture).
Use: `faceshield train configs/baseline/patchnet.yaml 'data=[samples.jsonl]' out=patchnet`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faceshield.baselines.backbone import BackboneBaseline, BackboneSettings
from faceshield.baselines.base import Batch, Design, weighted_mean
from faceshield.training.precision import exact


class PatchNetSettings(BackboneSettings):
    """Settings of PatchNet.

    Attributes:
        patch_size: side of a patch in pixels of the square; None: five sevenths of the square's side, at least 32. The
            smaller the patch, the more pictures it takes to learn anything (docs/baselines.md).
        margin_bonafide, margin_attack: subtracted from the cosine of the true class.
        scale: factor on the cosines.
        similarity: weight of the self-supervised term.
        by_camera: whether fine classes are types x cameras (``meta.camera``), as the paper's, and not types x data sets. With
            few pictures for each it learns much more slowly (docs/baselines.md).
    """

    patch_size: int | None = Field(None, ge=32)
    margin_bonafide: float = Field(0.4, ge=0, lt=1)
    margin_attack: float = Field(0.1, ge=0, lt=1)
    scale: float = Field(30.0, gt=0)
    similarity: float = Field(1.0, ge=0)
    by_camera: bool = False


class PatchNet(BackboneBaseline):
    """A backbone and one direction per fine class; class d * C + t is type t of domain d."""

    Settings = PatchNetSettings
    heads = ("directions",)

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.told = PatchNetSettings(**design.settings)
        self.patch_size = self.told.patch_size or _patch_size(design)
        if self.patch_size > design.image_size:
            raise ValueError(f"patch_size {self.patch_size} of a square of {design.image_size} — expected at most that")
        # Of unit length: AdamW's steps do not grow with a vector, and would hardly turn a long one.
        start = torch.randn(len(design.types) * max(1, len(design.domains)), self.width)
        self.directions = nn.Parameter(functional.normalize(start, dim=1))

    @classmethod
    def planned(cls, design: Design, init: Path | None) -> Design:
        # Stored, as a later version may change the default.
        patch = design.settings.get("patch_size") or _patch_size(design)
        return super().planned(replace(design, settings={**design.settings, "patch_size": patch}), init)

    def embed(self, patches: Tensor) -> Tensor:
        """(N, 3, P, P) in -1..1 -> (N, width) of unit length."""
        return functional.normalize(self.backbone(self.normalised(patches)).pooler_output.flatten(1).float(), dim=1)

    def cosines(self, embedded: Tensor) -> Tensor:
        """(N, width) -> (N, D * C) cosines with the classes' directions."""
        with exact(embedded):
            return embedded @ functional.normalize(self.directions.float(), dim=1).T

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        told = self.told
        views = torch.cat([self._random_patches(batch.pixels, rng) for _ in range(2)])
        first, second = self.embed(views).chunk(2)
        margin = torch.where(batch.types == 0, told.margin_bonafide, told.margin_attack)
        fine = batch.domains * len(self.design.types) + batch.types
        recognition = [margin_softmax(self.cosines(view), fine, margin, told.scale, batch.weights) for view in (first, second)]
        alike = (first - second).square().sum(dim=1).mean()
        return {"patch": recognition[0] + recognition[1], "similarity": told.similarity * alike}

    def _random_patches(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        side = self.patch_size
        corners = rng.integers(0, pixels.shape[-1] - side + 1, size=(len(pixels), 2))
        return torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in zip(pixels, corners, strict=True)])

    def probabilities(self, pixels: Tensor) -> Tensor:
        side = self.patch_size
        corners = np.linspace(0, pixels.shape[-1] - side, 3).round().astype(int)
        patches = torch.cat([pixels[:, :, y : y + side, x : x + side] for y in corners for x in corners])
        fine = (self.cosines(self.embed(patches)) * self.told.scale).softmax(dim=1)
        return fine.unflatten(1, (-1, len(self.design.types))).sum(dim=1).unflatten(0, (9, -1)).mean(dim=0)


def _patch_size(design: Design) -> int:
    return max(32, round(design.image_size * 5 / 7))


def margin_softmax(cosines: Tensor, truth: Tensor, margin: Tensor, scale: float, weights: Tensor) -> Tensor:
    """Weighted cross-entropy of scale * cosines, after subtracting the margin from the true class's cosine.

    Args:
        cosines: (N, K).
        truth: (N,) class of each row.
        margin: (N,) margin of each row.
        scale: factor on the cosines.
        weights: (N,) weight of each row.
    """
    less = functional.one_hot(truth, cosines.shape[1]) * margin[:, None]
    return weighted_mean(functional.cross_entropy(scale * (cosines - less), truth, reduction="none"), weights)
