"""Several continuations of one prefix in one row: a tree of tokens, each attending to its ancestors and itself.

Questions about a picture start alike, as do the fixed answers to a question and the drafts of an answer; shared tokens become
one node. One forward pass over the nodes, with `visible` as its mask, gives every continuation the same logits as on its own.
N = nodes. Use: `tree = TokenTree.of([[5, 6, 7], [5, 6, 8]])` has the nodes 5, 6, 7, 8; `tree.paths[1]` is (0, 1, 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenTree:
    """Token sequences with shared prefixes stored once.

    Attributes:
        tokens: (N,) ids, int64; a parent comes before its children.
        depth: (N,) number of tokens before each node on its path, that is, its position after the prefix, int64.
        visible: (N, N) bool, [i, j] = node i attends to node j.
        paths: the nodes of each sequence, in order.
        children: (node, token) -> the next node; the first node of a sequence follows -1.
    """

    tokens: NDArray[np.int64]
    depth: NDArray[np.int64]
    visible: NDArray[np.bool_]
    paths: tuple[tuple[int, ...], ...]
    children: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> TokenTree:
        """Builds the tree of these sequences; equal ones share all their nodes."""
        children: dict[tuple[int, int], int] = {}
        paths = []
        for sequence in sequences:
            path, parent = [], -1
            for token in sequence:
                parent = children.setdefault((parent, token), len(children))
                path.append(parent)
            paths.append(tuple(path))
        depth = np.zeros(len(children), dtype=np.int64)
        visible = np.eye(len(children), dtype=bool)
        for (parent, _), node in children.items():
            if parent >= 0:
                depth[node] = depth[parent] + 1
                visible[node] |= visible[parent]
        return cls(np.array([token for _, token in children], dtype=np.int64), depth, visible, tuple(paths), children)
