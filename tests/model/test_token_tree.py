"""Sequences as a tree: what they have in common is there once, and nobody sees a neighbour's branch."""

from __future__ import annotations

import numpy as np

from faceshield.model.token_tree import TokenTree


def test_a_tree_by_hand() -> None:
    tree = TokenTree.of([[5, 6, 7], [5, 6, 8], [9], [5], [5, 6, 7]])
    assert tree.tokens.tolist() == [5, 6, 7, 8, 9]
    assert tree.depth.tolist() == [0, 1, 2, 2, 0]
    assert tree.paths == ((0, 1, 2), (0, 1, 3), (4,), (0,), (0, 1, 2))
    wanted = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert tree.visible.astype(int).tolist() == wanted


def test_every_path_is_its_sequence_and_sees_itself_alone() -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 3, length).tolist() for length in range(1, 9) for _ in range(3)]
    tree = TokenTree.of(sequences)
    assert len(tree.tokens) < sum(map(len, sequences))
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert tree.tokens[list(path)].tolist() == sequence
        assert tree.depth[list(path)].tolist() == list(range(len(sequence)))
        assert [tree.children[parent, token] for parent, token in zip([-1, *path[:-1]], sequence, strict=True)] == list(path)
        assert np.flatnonzero(tree.visible[path[-1]]).tolist() == sorted(path)


def test_empty_sequences() -> None:
    tree = TokenTree.of([[], []])
    assert tree.paths == ((), ()) and len(tree.tokens) == 0 and tree.visible.shape == (0, 0)
