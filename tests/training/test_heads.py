"""The towers' losses point the right way and do not depend on how many pictures of a type there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from faceshield.training.heads import (
    AuxiliaryHeads,
    TowerOutput,
    TowerTargets,
    _coarse,
    giou_loss,
    tower_losses,
    type_weights,
)
from faceshield.training.tower_metrics import box_iou, tower_figures

WIDTH, TYPES, TOKENS, CUES = 16, 3, 8, 2


def batch(known: bool = True) -> tuple[TowerOutput, TowerTargets]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, requires_grad=True)

    output = TowerOutput(normal(4, WIDTH), normal(4, TOKENS, WIDTH), normal(4, TOKENS, WIDTH), normal(5, WIDTH))
    types = torch.tensor([0, 1, 2, 1])
    has_box = torch.tensor([False, True, True, False]) & known
    coverage = torch.zeros(4, TOKENS)
    coverage[1:3, :3] = 1.0
    matches = torch.zeros(4, 5, dtype=torch.bool)
    matches[torch.arange(4), types] = True
    target = TowerTargets(
        types=types,
        coverage=coverage,
        box=torch.tensor([[0.1, 0.1, 0.5, 0.6]] * 4),
        has_box=has_box,
        known=has_box | ((types == 0) & known),
        matches=matches,
        regional=torch.tensor([False, True, True, True, True]),
        questions=torch.tensor([False, False, False, True, True]),
        cues=torch.tensor([[False, False], [True, False], [False, False], [True, True]]),
        cued=torch.tensor([True, True, False, True]) & known,
    )
    return output, target


@pytest.mark.parametrize("known", [True, False])
def test_all_losses_are_finite_and_differentiable(known: bool) -> None:
    output, target = batch(known)
    heads = AuxiliaryHeads(WIDTH, TYPES, CUES)
    losses = tower_losses(heads, output, target, torch.ones(TYPES), 0.0)
    assert set(losses) == {"contrastive", "type", "coarse", "token", "box", "dense", "cue"}
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    assert torch.isfinite(output.image.grad).all()
    assert bool(output.joint.grad.abs().sum() > 0) == known


def test_training_on_the_losses_solves_a_batch() -> None:
    output, target = batch()
    heads = AuxiliaryHeads(WIDTH, TYPES, CUES)
    tensors = [output.image, output.feature, output.joint, output.text]
    optimizer = torch.optim.Adam([*tensors, *heads.parameters()], lr=0.05)
    first = {name: float(value.detach()) for name, value in losses_of(heads, output, target).items()}
    for _ in range(150):
        optimizer.zero_grad()
        torch.stack(list(losses_of(heads, output, target).values())).sum().backward()
        optimizer.step()
    last = {name: float(value.detach()) for name, value in losses_of(heads, output, target).items()}
    assert all(last[name] < 0.5 * first[name] for name in first), (first, last)
    # The question's nearest tokens are those of the attack: PVTM will protect them.
    near = torch.nn.functional.cosine_similarity(output.joint, output.text[3], dim=-1)
    assert near[1, :3].min() > near[1, 3:].max() and near[0].max() < near[1, :3].min()


def losses_of(heads: AuxiliaryHeads, output: TowerOutput, target: TowerTargets) -> dict[str, Tensor]:
    return tower_losses(heads, output, target, torch.ones(TYPES), 0.0)


def test_bona_fide_weighs_as_much_as_all_attacks() -> None:
    counts = torch.tensor([100.0, 10.0, 40.0, 0.0])
    weights = type_weights(counts)
    shares = weights * counts
    assert shares[0] == pytest.approx(float(shares[1:].sum()))
    assert shares[1] == pytest.approx(float(shares[2]))
    assert weights[3] == 0


def test_giou_loss() -> None:
    box = torch.tensor([[0.2, 0.2, 0.6, 0.6]])
    far = torch.tensor([[0.8, 0.8, 0.9, 0.9]])
    assert giou_loss(box, box).item() == pytest.approx(0, abs=1e-6)
    assert 1 < giou_loss(box, far).item() < 2
    assert giou_loss(box[:, [2, 3, 0, 1]], box).item() == pytest.approx(0, abs=1e-6)


def test_a_trace_on_one_token_is_found_and_unknown_traces_teach_nothing() -> None:
    output, target = batch()
    heads = AuxiliaryHeads(WIDTH, TYPES, CUES)
    loss = losses_of(heads, output, target)["cue"]
    loss.backward()
    assert output.feature.grad is not None
    assert output.feature.grad[2].abs().max() == 0 and output.feature.grad[1].abs().max() > 0
    feature = torch.zeros(1, TOKENS, WIDTH)
    with torch.no_grad():
        heads.token_cue.weight.zero_()
        heads.token_cue.bias.zero_()
        heads.token_cue.weight[0, 0] = 10.0
        absent = heads.cues(feature)
        feature[0, 5, 0] = 1.0
        present = heads.cues(feature)
    assert (absent < 0).all() and present[0, 0] > 0 > present[0, 1]


def test_without_cues_there_is_no_cue_loss() -> None:
    output, target = batch()
    assert losses_of(AuxiliaryHeads(WIDTH, TYPES), output, target)["cue"] == 0


def test_an_attack_without_a_box_teaches_no_token_what_it_is() -> None:
    """Its region is not known: told that every token is bona fide, they would learn the contrary."""
    heads, (output, target) = AuxiliaryHeads(WIDTH, TYPES, CUES), batch()
    assert target.known.tolist() == [True, True, True, False]
    tower_losses(heads, output, target, torch.ones(3), 0.0)["token"].backward()
    assert output.feature.grad is not None
    assert output.feature.grad[3].abs().max() == 0 and output.feature.grad[:3].abs().amax((1, 2)).min() > 0


def test_questions_are_no_captions() -> None:
    heads, (output, target) = AuxiliaryHeads(WIDTH, TYPES, CUES), batch()
    tower_losses(heads, output, target, torch.ones(3), 0.0)["contrastive"].backward()
    assert output.text.grad is not None
    assert output.text.grad[3:].abs().max() == 0 and output.text.grad[:3].abs().amax(1).min() > 0


def test_the_class_loss_is_weighted_by_type() -> None:
    heads, (output, target) = AuxiliaryHeads(WIDTH, TYPES, CUES), batch()
    first, second = (
        tower_losses(heads, output, target, torch.tensor(weights), 0.0) for weights in ([1.0, 1.0, 1.0], [9.0, 1.0, 0.1])
    )
    assert {name for name in first if not torch.equal(first[name], second[name])} == {"type"}


def test_both_sides_of_the_coarse_loss_weigh_the_same_however_many_they_are() -> None:
    few, many = torch.tensor([0, 1]), torch.tensor([0, *[1] * 9])
    logits = torch.tensor([[0.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    assert _coarse(logits[[0, *[1] * 9]], many) == pytest.approx(float(_coarse(logits, few)), abs=1e-6)


def test_figures_of_the_towers_by_hand() -> None:
    found = {
        "type": np.array([0, 0, 0, 0, 1, 1]), "head": np.array([0, 0, 0, 1, 1, 0]), "text": np.array([0, 0, 0, 0, 1, 1]),
        "bonafide": np.array([0.9, 0.9, 0.9, 0.1, 0.2, 0.8]), "has_box": np.array([False, False, False, False, True, True]),
        "iou": np.array([0.0, 0.9, 0.9, 0.9, 0.5, 0.2]), "top_inside": np.array([0, 0, 0, 0, 1.0, 0.5]),
        "base_inside": np.array([0, 0, 0, 0, 0.5, 0.1]),
        "cues": np.array([[False, True]] * 2 + [[False, False]] * 4),
        "cues_named": np.array([[True, True]] * 2 + [[False, True]] + [[False, False]] * 3),
    }  # fmt: skip
    figures = tower_figures(found, ("Bonafide", "Print"))
    assert (figures["apcer"], figures["bpcer"], figures["hter"]) == pytest.approx((0.5, 0.25, 0.375))
    assert (figures["fine"], figures["fine_by_text"], figures["coarse"]) == pytest.approx((4 / 6, 1, 4 / 6))
    assert (figures["box_50"], figures["pvtm_top"], figures["pvtm_base"]) == pytest.approx((0.5, 0.75, 0.3))
    assert (figures["cue_precision"], figures["cue_recall"]) == pytest.approx((0.4, 1.0))
    assert figures["recall"] == {"Bonafide": 0.75, "Print": 0.5} and figures["box_by_type"] == {"Print": 0.5}


def test_iou_of_boxes() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]], np.float32)
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3]], np.float32)
    assert box_iou(boxes, others) == pytest.approx([1, 1 / 3, 0])
