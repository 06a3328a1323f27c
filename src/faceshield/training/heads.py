"""The losses that train the towers from scratch: a sigmoid contrastive loss, and auxiliary losses whose heads are discarded.

The contrastive loss alone stays at chance for a small tower and a few tens of thousands of pictures. What makes training work
is a class loss on the pooled vector, class and box losses on the tokens that the language model will read
(`hidden_states[-2]`), and a patch-text loss in PVTM's space, without which PVTM (paper §4.2) ranks the background first. A cue
loss on the same tokens teaches the cues that reasoning will name, where they are known.
B = batch, T = tokens of all streams, D = width, C = presentation types (0 = bona fide), Q = texts, U = cues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceshield.training.precision import exact

_CUES_ARE_RARE = 3.0  # initial log-odds against a cue
_CELL_OF_ATTACK = 0.5  # a token must predict the box if more than this share of its cell lies inside an attack box


@dataclass(frozen=True)
class TowerOutput:
    """The towers' outputs for a batch.

    Attributes:
        image: (B, D) pooled embedding, mean over streams.
        feature: (B, T, D) tokens that the projector reads.
        joint: (B, T, D) tokens in PVTM's space, each projected on its own.
        text: (Q, D) pooled texts.
    """

    image: Tensor
    feature: Tensor
    joint: Tensor
    text: Tensor


@dataclass(frozen=True)
class TowerTargets:
    """The truth for a batch.

    Attributes:
        types: (B,) long.
        coverage: (B, T) share of each token's cell inside an attack box.
        box: (B, 4) xyxy 0..1, the largest box; `has_box` (B,) says where there is one.
        known: (B,) bool, whether the attack's region is known: bona fide, or an attack with a box.
        matches: (B, Q) bool, whether the text is true of the picture; questions are true of none.
        regional: (Q,) bool, texts that belong to the attack's region: attack captions and questions.
        questions: (Q,) bool, texts that are questions.
        cues: (B, U) bool, the cues that a picture shows.
        cued: (B,) bool, whether its cues are known: bona fide, or an attack with at least one.
    """

    types: Tensor
    coverage: Tensor
    box: Tensor
    has_box: Tensor
    known: Tensor
    matches: Tensor
    regional: Tensor
    questions: Tensor
    cues: Tensor
    cued: Tensor

    def to(self, device: torch.device) -> TowerTargets:
        return TowerTargets(**{name: value.to(device) for name, value in vars(self).items()})


class AuxiliaryHeads(nn.Module):
    """Everything trainable besides the two towers."""

    def __init__(self, width: int, types: int, cues: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.type_head = nn.Linear(width, types)
        self.token_type = nn.Linear(width, types)
        self.token_weight = nn.Linear(width, 1)
        self.token_box = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))
        self.token_cue = nn.Linear(width, cues) if cues else None
        # Initial values for the two sigmoid losses: scale 10, and a bias near the log-odds of a random pair.
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-3.0))
        self.dense_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.dense_bias = nn.Parameter(torch.tensor(0.0))

    def cues(self, feature: Tensor) -> Tensor | None:
        """(B, T, D) -> (B, U) logits: a picture shows a cue if some of its tokens do; None without cues."""
        if self.token_cue is None:
            return None
        return self.token_cue(self.norm(feature)).float().logsumexp(dim=1) - math.log(feature.shape[1]) - _CUES_ARE_RARE

    def boxes(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, D) -> one box per picture (B, 4) and each token's own prediction (B, T, 4); xyxy in 0..1."""
        normed = self.norm(feature)
        token_boxes = torch.sigmoid(self.token_box(normed).float())
        weight = torch.softmax(self.token_weight(normed).float(), dim=1)
        return (weight * token_boxes).sum(dim=1), token_boxes

    def similarity(self, image: Tensor, text: Tensor) -> Tensor:
        """(B, D), (Q, D) -> (B, Q) logits that picture and text match."""
        with exact(image):
            cosine = functional.normalize(image.float(), dim=-1) @ functional.normalize(text.float(), dim=-1).T
        return cosine * self.scale.exp() + self.bias


def type_weights(counts: Tensor) -> Tensor:
    """(C,) class weights: bona fide counts as much as all attacks together, and every attack type the same."""
    counts = counts.float()
    present = counts > 0
    share = torch.full_like(counts, 0.5) / max(1, int(present[1:].sum()))
    share[0] = 0.5
    return torch.where(present, share / counts.clamp(min=1) * counts.sum(), torch.zeros_like(share))


def giou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """(N, 4), (N, 4) xyxy -> (N,) one minus the generalised intersection over union, 0..2."""
    x0, y0 = torch.minimum(predicted[:, 0], predicted[:, 2]), torch.minimum(predicted[:, 1], predicted[:, 3])
    x1, y1 = torch.maximum(predicted[:, 0], predicted[:, 2]), torch.maximum(predicted[:, 1], predicted[:, 3])
    width = (torch.minimum(x1, target[:, 2]) - torch.maximum(x0, target[:, 0])).clamp(min=0)
    height = (torch.minimum(y1, target[:, 3]) - torch.maximum(y0, target[:, 1])).clamp(min=0)
    overlap = width * height
    union = (x1 - x0) * (y1 - y0) + (target[:, 2] - target[:, 0]) * (target[:, 3] - target[:, 1]) - overlap
    hull = (torch.maximum(x1, target[:, 2]) - torch.minimum(x0, target[:, 0])) * (
        torch.maximum(y1, target[:, 3]) - torch.minimum(y0, target[:, 1])
    )
    return 1 - overlap / union.clamp(min=1e-6) + (hull - union) / hull.clamp(min=1e-6)


def tower_losses(
    heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets, weights: Tensor, label_smoothing: float
) -> dict[str, Tensor]:
    """The losses by name, unweighted: contrastive, type, coarse, token, box, dense, cue.

    Args:
        heads: the auxiliary heads.
        output: the towers' outputs.
        target: the truth.
        weights: (C,) from `type_weights`.
        label_smoothing: for the class loss on the pooled vector.
    """
    losses = {"contrastive": _contrastive(heads, output, target)}
    logits = heads.type_head(output.image).float()
    losses["type"] = functional.cross_entropy(logits, target.types, weights, label_smoothing=label_smoothing)
    losses["coarse"] = _coarse(logits, target.types)
    losses["token"] = _token(heads, output, target)
    losses["box"] = _box(heads, output, target)
    losses["dense"] = _dense(heads, output, target)
    losses["cue"] = _cue(heads, output, target)
    return losses


def _contrastive(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> Tensor:
    captions = ~target.questions
    logits = heads.similarity(output.image, output.text[captions])
    sign = target.matches[:, captions].float() * 2 - 1
    return -functional.logsigmoid(sign * logits).sum(dim=1).mean()


def _coarse(logits: Tensor, types: Tensor) -> Tensor:
    attack = logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    truth = (types > 0).float()
    balance = torch.where(truth > 0, 0.5 / truth.mean().clamp(min=1e-3), 0.5 / (1 - truth).mean().clamp(min=1e-3))
    return (functional.binary_cross_entropy_with_logits(attack, truth, reduction="none") * balance).mean()


def _token(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> Tensor:
    if not target.known.any():
        return output.feature.sum() * 0
    log_p = heads.token_type(heads.norm(output.feature[target.known])).float().log_softmax(dim=-1)
    coverage, types = target.coverage[target.known], target.types[target.known]
    inside = log_p.gather(2, types[:, None, None].expand(-1, log_p.shape[1], 1)).squeeze(2)
    return _balanced(-inside, coverage, -log_p[..., 0], 1 - coverage)


def _balanced(inside: Tensor, inside_weight: Tensor, outside: Tensor, outside_weight: Tensor) -> Tensor:
    """Half of the loss from inside the attacks and half from outside, however small the regions are."""
    first = (inside * inside_weight).sum() / inside_weight.sum().clamp(min=1)
    second = (outside * outside_weight).sum() / outside_weight.sum().clamp(min=1)
    return 0.5 * (first + second)


def _box(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> Tensor:
    if not target.has_box.any():
        return output.feature.sum() * 0
    truth = target.box[target.has_box]
    pooled, tokens = heads.boxes(output.feature[target.has_box])
    loss = functional.l1_loss(pooled, truth) * 4 + giou_loss(pooled, truth).mean()
    inside = target.coverage[target.has_box] > _CELL_OF_ATTACK
    if inside.any():
        rows = truth[:, None].expand_as(tokens)[inside]
        loss = loss + functional.l1_loss(tokens[inside], rows) * 4
    return loss


def _dense(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> Tensor:
    regional = target.regional
    if not target.known.any() or not regional.any():
        return output.joint.sum() * 0
    with exact(output.joint):
        joint = functional.normalize(output.joint[target.known].float(), dim=-1)
        text = functional.normalize(output.text[regional].float(), dim=-1)
        cosine = joint @ text.T
    logits = cosine * heads.dense_scale.exp() + heads.dense_bias
    true_text = (target.matches | target.questions[None])[target.known][:, regional]
    positive = target.coverage[target.known][:, :, None] * true_text[:, None].float()
    return _balanced(-functional.logsigmoid(logits), positive, -functional.logsigmoid(-logits), 1 - positive)


def _cue(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> Tensor:
    logits = heads.cues(output.feature[target.cued]) if target.cued.any() else None
    if logits is None:
        return output.feature.sum() * 0
    truth = target.cues[target.cued].float()
    return functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(dim=1).mean()
