"""Several continuations of one beginning in one row: a tree of tokens, each of which sees its ancestors and itself.

Questions about a picture begin alike, and so do the fixed answers to one; what is alike is a node once. One forward pass
over the nodes, with `visible` as its mask, gives every continuation the logits that it has alone.
N = nodes. Use: `tree = TokenTree.of([[5, 6, 7], [5, 6, 8]])` has the nodes 5, 6, 7, 8; `tree.paths[1]` is (0, 1, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenTree:
    """Token sequences with what they have in common shared.

    Attributes:
        tokens: (N,) ids; a parent comes before its children.
        depth: (N,) tokens before each node on its path, so its position after the beginning.
        visible: (N, N) bool, [i, j] = node i attends to node j.
        paths: the nodes of each sequence, in order.
    """

    tokens: Tensor
    depth: Tensor
    visible: Tensor
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTree:
        """The tree of some sequences; equal ones share all their nodes."""
        nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
        paths = []
        for sequence in sequences:
            path, parent = [], -1
            for token in sequence:
                parent = nodes.setdefault((parent, token), len(nodes))
                path.append(parent)
            paths.append(tuple(path))
        depth = torch.zeros(len(nodes), dtype=torch.long)
        visible = torch.eye(len(nodes), dtype=torch.bool)
        for (parent, _), node in nodes.items():
            if parent >= 0:
                depth[node] = depth[parent] + 1
                visible[node] |= visible[parent]
        return cls(torch.tensor([token for _, token in nodes], dtype=torch.long), depth, visible, tuple(paths))
