"""Prompt-guided vision token masking (paper §4.2, Eq. 7-8): which vision tokens may be masked, and which are.

Pure functions on tensors; `FaceShieldModel.mask_features` combines them.
B = batch, T = vision tokens of all streams, D = width of the joint text-image space.
Use: `keep = mask_tokens(importance(joint, text), keep_ratio=0.10, mask_ratio=0.05, seeds=seeds)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def joint_tokens(tower: Any, last: Tensor, feature: Tensor, space: str) -> Tensor:
    """Map every vision token on its own into the space of the text tower's pooled output.

    Args:
        tower: A SigLIP vision model with its pooling head.
        last: (B, T, D) last hidden state after the tower's `post_layernorm`.
        feature: (B, T, D) hidden state that the projector reads.
        space: `map_head` = the pooling head applied to each token alone (softmax over one key is 1, which leaves value
            projection, output projection and the residual MLP); `map_head_no_mlp` = without that MLP; `trim_literal` =
            `map_head` on the layer-normed feature; `raw` = the feature itself (Eq. 7 taken literally); `llm_embed` = also the
            feature, because that space is reached only after the projector.

    Raises:
        ValueError: Unknown `space`, or a tower without a head.
    """
    # Paper is silent: the space of Eq. 7; only the head's output was trained against text.
    if space in ("raw", "llm_embed"):
        return feature
    head = getattr(tower, "head", None)
    if head is None:
        raise ValueError(f"pvtm_space {space!r} needs the tower's pooling head — expected vision_use_head=True — or 'raw'")
    if space == "trim_literal":
        last = tower.post_layernorm(feature)
    elif space not in ("map_head", "map_head_no_mlp"):
        raise ValueError(f"pvtm_space {space!r} — expected map_head, map_head_no_mlp, trim_literal, raw or llm_embed")
    attention = head.attention
    width = last.shape[-1]
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    pooled = attention.out_proj(nn.functional.linear(last, weight, bias))
    return pooled if space == "map_head_no_mlp" else pooled + head.mlp(head.layernorm(pooled))


def importance(joint: Tensor, text: Tensor, sign: int = 1) -> Tensor:
    """Softmax over the tokens of `sign` times their cosine with the prompt (Eq. 7-8).

    Args:
        joint: (B, T, D) vision tokens in the joint space.
        text: (B, D) pooled prompt.
        sign: +1 = tokens similar to the prompt are important (as the paper says); -1 = dissimilar ones are.

    Returns:
        (B, T) float32, each row positive and summing to 1. Softmax keeps the order of the cosines.
    """
    joint, text = joint.float(), text.float()
    cosine = nn.functional.cosine_similarity(joint, text.unsqueeze(1), dim=-1)
    return torch.softmax(sign * cosine, dim=-1)


def mask_tokens(
    importance: Tensor,
    keep_ratio: float,
    mask_ratio: float,
    seeds: Tensor | None = None,
    *,
    exact: bool = False,
) -> Tensor:
    """Choose the tokens to keep: the top `keep_ratio`, and each of the others with probability 1 - `mask_ratio`.

    Args:
        importance: (B, T), higher = more important. In a tie, the earlier token wins.
        keep_ratio: Share 0..1; `round(keep_ratio * T)` tokens are never masked.
        mask_ratio: Probability 0..1, drawn independently for each of the others.
        seeds: (B,) integers, one random stream per row, the same on every device; None draws from torch's global generator,
            as dropout does.
        exact: Mask exactly `round(mask_ratio * others)` tokens of every row instead of drawing each independently.

    Returns:
        (B, T) bool, True = kept.
    """
    batch, tokens = importance.shape
    kept = round(keep_ratio * tokens)
    order = importance.argsort(dim=-1, descending=True, stable=True)
    protected = torch.zeros_like(importance, dtype=torch.bool)
    protected.scatter_(1, order[:, :kept], True)
    if seeds is None:
        draw = torch.rand(batch, tokens, device=importance.device)
    else:
        draw = seeded_uniform(seeds, tokens).to(importance.device)
    if exact:
        masked = round(mask_ratio * (tokens - kept))
        lowest = draw.masked_fill(protected, 2.0).argsort(dim=-1, stable=True)[:, :masked]
        return torch.ones_like(protected).scatter_(1, lowest, False)
    # Paper is silent: "randomly masked with a probability of p%" is read as one Bernoulli draw per token.
    return protected | (draw >= mask_ratio)


def hide(attention_mask: Tensor | None, where: Tensor, attended: Tensor) -> Tensor:
    """The attention mask without the masked vision tokens, which no other token then attends to.

    Args:
        attention_mask: (B, L), or (B, 1, L, L) bool; None = everything is attended to.
        where: (B, L) bool, the vision tokens.
        attended: (N,) bool from `mask_tokens`, in the order of `where`.
    """
    visible = torch.ones_like(where).masked_scatter(where, attended)
    if attention_mask is None:
        return visible.long()
    if attention_mask.ndim == 2:
        return attention_mask * visible
    itself = torch.eye(where.shape[1], dtype=torch.bool, device=where.device)
    return attention_mask & (visible[:, None, None, :] | itself)  # `itself`, because an empty row would become NaN


def seeded_uniform(seeds: Tensor, tokens: int) -> Tensor:
    """(B, tokens) uniform numbers in [0, 1) on the CPU, row b from a generator seeded with `seeds[b]`."""
    generator = torch.Generator()
    return torch.stack([torch.rand(tokens, generator=generator.manual_seed(int(seed))) for seed in seeds.tolist()])
