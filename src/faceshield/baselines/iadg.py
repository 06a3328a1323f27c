"""IADG: instance-aware domain generalisation. Zhou et al., CVPR 2023 (arXiv 2304.05640).

Three ideas: covariances of a picture's features that change with style are pushed to zero, more of them for bona fide
(asymmetric instance adaptive whitening); half of the channels pass through kernels generated from the picture itself (dynamic
kernel generator); styles of other pictures of the same class are mixed into new ones (categorical style assembly).
Simplified: a ResNet's first three stages, projected to `width` channels, replace the authors' extractor; styles of the last
`memory` pictures per class are kept, and base styles and covariance variances are updated during the run (theirs: recomputed
every epoch); one style change replaces two residual ones; a picture and its restyled version pass through the same layers
(theirs classify the former before the whitened layer); dynamic kernels are in the layers behind (theirs: in the extractor, as
their code runs) and normalisation is by batch (theirs: by instance); the target depth is a dome, as in `cdcn`. The loss is
weighted so that all domains count equally, instead of balanced loading. Our addition: a linear layer for the attack type.
Use: `faceshield train configs/baseline/iadg.yaml 'data=[a/samples.jsonl,b/samples.jsonl]' out=iadg`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from faceshield.baselines.backbone import BackboneBaseline, BackboneSettings
from faceshield.baselines.base import AttackTypes, Batch, Design, weighted_mean
from faceshield.baselines.cdcn import dome
from faceshield.training.precision import exact

_REFRESH = 20  # steps between two choices of base styles
_MOMENTUM = 0.1  # of the running variance of the covariances


class IadgSettings(BackboneSettings):
    """Settings of IADG.

    Attributes:
        width: channels of the whitened features. Published: 384.
        memory: pictures per class whose styles are kept; base_styles: how many of these styles are mixed. Published: 128.
        whiten_bonafide, whiten_attack: share of the covariance matrix that is pushed to zero.
        depth, whitening: weights of those losses.
    """

    width: int = Field(128, ge=4)
    memory: int = Field(128, ge=4)
    base_styles: int = Field(16, ge=2)
    whiten_bonafide: float = Field(0.003, ge=0, lt=0.5)
    whiten_attack: float = Field(0.0006, ge=0, lt=0.5)
    depth: float = Field(0.1, ge=0)
    whitening: float = Field(1.0, ge=0)


class DynamicKernels(nn.Module):
    """Passes half of the channels through 3x3 kernels generated from their own mean activations, half through learnt ones."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        half = channels // 2
        self.generate = nn.Linear(1, 9)
        self.static = nn.Conv2d(channels - half, channels - half, 3, padding=1)
        self.fuse = nn.Sequential(nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out), nn.ReLU())
        self.dynamic = half

    def forward(self, x: Tensor) -> Tensor:
        own, rest = x[:, : self.dynamic], x[:, self.dynamic :]
        kernels = self.generate(own.mean(dim=(2, 3))[..., None]).reshape(-1, 1, 3, 3)
        # All pictures side by side as channels: each channel of each picture has its own kernel.
        moved = functional.conv2d(own.flatten(0, 1)[None], kernels, padding=1, groups=len(kernels))
        return self.fuse(torch.cat([moved.reshape(own.shape), self.static(rest)], dim=1))  # type: ignore[no-any-return]


class Iadg(BackboneBaseline):
    """A feature extractor, the whitened layer, a classifier and a depth estimator."""

    Settings = IadgSettings
    heads = ("kinds.",)

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        told = self.told = IadgSettings(**design.settings)
        levels = list(design.parts["backbone"]["hidden_sizes"][:3])
        width = told.width
        self.join = nn.Sequential(nn.Conv2d(sum(levels), width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.whitened = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.embedder = nn.Sequential(
            DynamicKernels(width, 64), nn.MaxPool2d(2), DynamicKernels(64, 96), nn.MaxPool2d(2), DynamicKernels(96, 128)
        )
        self.verdict = nn.Linear(128, 2)
        self.depth = nn.Sequential(DynamicKernels(width, 32), nn.Conv2d(32, 1, 3, padding=1))
        self.kinds = AttackTypes(128, len(design.types))
        # For each class, bona fide first: styles (mean and deviation of each channel) of the last pictures, and the base
        # styles to mix; number of pictures so far; variance of each covariance, and how often it was measured.
        self.register_buffer("styles", torch.zeros(2, told.memory, 2 * width))
        self.register_buffer("bases", torch.zeros(2, told.base_styles, 2 * width))
        self.register_buffer("met", torch.zeros(2, dtype=torch.long))
        self.register_buffer("spread", torch.zeros(2, width, width))
        self.register_buffer("measured", torch.zeros(2, dtype=torch.long))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) in -1..1 -> (B, width, S/8, S/8): three stages, resized to the second and joined."""
        stages = self.backbone(self.normalised(pixels), output_hidden_states=True).hidden_states[1:4]
        size = stages[1].shape[-2:]
        same = [functional.interpolate(stage, size=size, mode="bilinear", align_corners=False) for stage in stages]
        return self.join(torch.cat(same, dim=1))  # type: ignore[no-any-return]

    def losses(self, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        features = self.features(batch.pixels)
        attack = (batch.types > 0).long()
        restyled = self._restyled(features, attack, rng)
        views = [self.whitened(view) for view in ([features] if restyled is None else [features, restyled])]
        weights = batch.weights * batch.domain_weights[batch.domains]
        target = dome(features.shape[-1], features.device) * batch.is_bonafide[:, None, None]
        losses = {name: features.new_zeros(()) for name in ("verdict", "depth", "whitening")}
        for view in views:
            embedded = self.embedder(view).mean(dim=(2, 3)).float()
            verdict = functional.cross_entropy(self.verdict(embedded), attack, reduction="none")
            losses["verdict"] = losses["verdict"] + weighted_mean(verdict, weights)
            depth = (self.depth(view).squeeze(1).float() - target).square().mean(dim=(1, 2))
            losses["depth"] = losses["depth"] + self.told.depth * weighted_mean(depth, weights)
            if view is views[0]:
                losses["kind"] = self.kinds.loss(embedded, batch)
        if restyled is not None:
            losses["whitening"] = self.told.whitening * self._whitening(views, attack)
        self._remember(features.detach(), attack)
        return losses

    def probabilities(self, pixels: Tensor) -> Tensor:
        embedded = self.embedder(self.whitened(self.features(pixels))).mean(dim=(2, 3)).float()
        return self.kinds.probabilities(self.verdict(embedded).softmax(dim=1)[:, 0], embedded)

    # -- categorical style assembly

    @torch.no_grad()
    def _remember(self, features: Tensor, attack: Tensor) -> None:
        """Store the pictures' styles, and choose base styles anew every `_REFRESH` steps."""
        styles, met, bases = (cast(Tensor, getattr(self, name)) for name in ("styles", "met", "bases"))
        seen = style_of(features)
        for kind in (0, 1):
            for style in seen[attack == kind]:
                styles[kind, met[kind] % self.told.memory] = style
                met[kind] += 1
        steps = cast(Tensor, self.steps)
        steps += 1
        if int(steps) % _REFRESH == 0:
            for kind in (0, 1):
                kept = min(int(met[kind]), self.told.memory)
                if kept >= self.told.base_styles:
                    bases[kind] = farthest(styles[kind, :kept], self.told.base_styles)

    def _restyled(self, features: Tensor, attack: Tensor, rng: np.random.Generator) -> Tensor | None:
        """The features with a new style of their class; None until both classes have base styles."""
        bases = cast(Tensor, self.bases)
        if not bool(bases.any(dim=2).all()):
            return None
        count = self.told.base_styles
        shares = rng.dirichlet([1 / count] * count, size=len(features)).astype(np.float32)
        mixed = torch.einsum("bk,bkc->bc", torch.from_numpy(shares).to(features.device), bases[attack])
        return with_style(features, mixed)

    # -- asymmetric instance adaptive whitening

    def _whitening(self, views: list[Tensor], attack: Tensor) -> Tensor:
        """Mean magnitude of the covariances that vary most with style: summed over views, averaged over classes."""
        spread, measured = cast(Tensor, self.spread), cast(Tensor, self.measured)
        with exact(views[0]):
            together = [covariances(view.float()) for view in views]
        total, kinds = together[0].new_zeros(()), 0
        for kind, share in enumerate((self.told.whiten_bonafide, self.told.whiten_attack)):
            rows = attack == kind
            if not rows.any():
                continue
            own = [one[rows] for one in together]
            with torch.no_grad():
                varies = torch.cat(own).var(dim=0, unbiased=False)
                step = 1.0 if int(measured[kind]) == 0 else _MOMENTUM
                spread[kind] += step * (varies - spread[kind])
                measured[kind] += 1
            mask = most_variable(spread[kind], share)
            total, kinds = total + sum(masked_size(one, mask) for one in own), kinds + 1
        return total / max(1, kinds)


def style_of(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2C): means, then deviations, of each channel of each picture."""
    flat = features.float().flatten(2)
    return torch.cat([flat.mean(dim=2), flat.var(dim=2, unbiased=False).add(1e-5).sqrt()], dim=1)


def with_style(features: Tensor, style: Tensor) -> Tensor:
    """(B, C, H, W), (B, 2C) -> the features with these means and deviations; their own are treated as constants."""
    own_mean, own_std = style_of(features.detach()).chunk(2, dim=1)
    mean, std = style.chunk(2, dim=1)
    moved: Tensor = (features - own_mean[..., None, None]) / own_std[..., None, None] * std[..., None, None]
    return moved + mean[..., None, None]


def farthest(points: Tensor, count: int) -> Tensor:
    """(N, C) -> (count, C): the point farthest from the mean, then repeatedly the one farthest from all chosen so far."""
    chosen = [int((points - points.mean(dim=0)).square().sum(dim=1).argmax())]
    distance = torch.full((len(points),), float("inf"), device=points.device)
    while len(chosen) < count:
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(dim=1))
        chosen.append(int(distance.argmax()))
    return points[chosen]


def covariances(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C) covariances of the channels over each picture's positions; only above the diagonal."""
    flat = features.flatten(2)
    flat = flat - flat.mean(dim=2, keepdim=True)
    return (flat @ flat.transpose(1, 2) / (flat.shape[2] - 1)).triu(diagonal=1)


def most_variable(spread: Tensor, share: float) -> Tensor:
    """(C, C) variance of each covariance -> (C, C) bool mask of the largest `share` of all C * C, at least one."""
    count = max(1, int(share * spread.numel()))
    mask = torch.zeros(spread.numel(), dtype=torch.bool, device=spread.device)
    mask[spread.flatten().topk(count).indices] = True
    return mask.reshape(spread.shape)


def masked_size(covariance: Tensor, mask: Tensor) -> Tensor:
    """(B, C, C), (C, C) bool -> mean absolute value of the masked covariances."""
    return covariance[:, mask].abs().mean()
