"""CDCN: central difference convolutions that estimate a depth map, flat for attacks. Yu et al., CVPR 2020 (arXiv 2003.04092).

A central difference convolution is (1 - theta) conv(x) + theta * the same kernel on differences to the centre pixel.
Simplified: three blocks of three convolutions as published, but narrow (`width` 16; published 64); the target depth of a bona
fide picture is a dome in its middle, not a map from a 3D face model; no ReLU at the end, which can die at this size. Our
addition: a linear layer for the attack type, as CDCN only tells bona fide from attack.
Use: `faceshield train configs/baseline/cdcn.yaml 'data=[samples.jsonl]' out=cdcn`.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faceshield.baselines.base import AttackTypes, Baseline, Batch, Design, weighted_mean
from faceshield.config import Config
from faceshield.training.precision import exact


class CentralDifferenceConv(nn.Conv2d):
    """3x3 convolution of Eq. 4, sum_n w_n x_n - theta * x_centre * sum_n w_n, as one convolution with less centre weight."""

    def __init__(self, channels: int, out: int, theta: float) -> None:
        super().__init__(channels, out, 3, padding=1, bias=False)
        self.theta = theta

    def forward(self, x: Tensor) -> Tensor:
        centre = functional.pad(self.weight.sum(dim=(2, 3), keepdim=True), (1, 1, 1, 1))
        return functional.conv2d(x, self.weight - self.theta * centre, padding=1)


class CdcnSettings(Config):
    """Settings of CDCN.

    Attributes:
        width: channels of the first convolution; the others are 2 and 3 times as many. Published: 64. A multiple of 16 is
            what vector units like: 16 trains 1.5 times as fast as 12 on a CPU with AMX.
        theta: share 0..1 of the central differences.
    """

    width: int = Field(16, ge=4)
    theta: float = Field(0.7, ge=0, le=1)


class Cdcn(Baseline):
    """Three blocks, whose outputs are joined at an eighth of the input's side, then three convolutions to a depth map."""

    Settings = CdcnSettings
    heads = ("kinds.",)

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        told = CdcnSettings(**design.settings)
        if design.image_size % 8:
            raise ValueError(f"image_size {design.image_size} — expected a multiple of 8 for cdcn — such as 128")
        width, self.side = told.width, design.image_size // 8

        def layer(channels: int, out: int) -> nn.Sequential:
            return nn.Sequential(CentralDifferenceConv(channels, out, told.theta), nn.BatchNorm2d(out), nn.ReLU())

        def block(channels: int) -> nn.Sequential:
            return nn.Sequential(
                layer(channels, 2 * width), layer(2 * width, 3 * width), layer(3 * width, 2 * width), nn.MaxPool2d(3, 2, 1)
            )

        self.stem = layer(3, width)
        self.blocks = nn.ModuleList([block(width), block(2 * width), block(2 * width)])
        self.joined = nn.Sequential(layer(6 * width, 2 * width), layer(2 * width, width))
        self.last = CentralDifferenceConv(width, 1, told.theta)
        self.kinds = AttackTypes(6 * width, len(design.types))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in -1..1 -> depth (B, S/8, S/8), and (B, 6 width) features."""
        x, levels = self.stem(self.normalised(pixels)), []
        for block in self.blocks:
            x = block(x)
            levels.append(functional.interpolate(x, size=(self.side, self.side), mode="bilinear", align_corners=False))
        together = torch.cat(levels, dim=1)
        return self.last(self.joined(together)).squeeze(1).float(), together.float().mean(dim=(2, 3))

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        depth, features = self(batch.pixels)
        target = dome(self.side, depth.device) * batch.is_bonafide[:, None, None]
        contrast = contrasts(depth) - contrasts(target)
        return {
            "depth": weighted_mean((depth - target).square().mean(dim=(1, 2)), batch.weights),
            "contrast": weighted_mean(contrast.square().mean(dim=(1, 2, 3)), batch.weights),
            "kind": self.kinds.loss(features, batch),
        }

    def probabilities(self, pixels: Tensor) -> Tensor:
        depth, features = self(pixels)
        return self.kinds.probabilities(height_score(depth), features)


def dome(side: int, device: torch.device | str = "cpu") -> Tensor:
    """(side, side) target depth of a bona fide face: an ellipsoid, 1 in the middle and falling to 0, taller than wide."""
    line = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
    return (1 - (line[None, :] / 0.8).square() - line[:, None].square()).clamp(min=0).sqrt()


def height_score(depth: Tensor) -> Tensor:
    """(B, s, s) -> (B,) bonafide_score: the map's mean (the published score) as a share of the dome's, through a logistic.

    No dome gives 0.02, half a dome 0.5, a whole one 0.98; maps below zero or above a whole dome keep their order.
    """
    share = depth.mean(dim=(1, 2)) / dome(depth.shape[-1], depth.device).mean()
    return (8 * (share - 0.5)).sigmoid()


def contrasts(depth: Tensor) -> Tensor:
    """(B, s, s) -> (B, 8, s, s) each of the eight neighbours minus the pixel, 0 beyond the edge (contrastive depth loss)."""
    kernels = depth.new_zeros(8, 1, 3, 3)
    for index, place in enumerate(place for place in range(9) if place != 4):
        kernels[index, 0, place // 3, place % 3] = 1
        kernels[index, 0, 1, 1] = -1
    with exact(depth):  # neighbours differ by less than a step of half precision
        return functional.conv2d(depth[:, None].float(), kernels.float(), padding=1)
