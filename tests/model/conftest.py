"""The real classes at toy size: 64-pixel pictures, 16 tokens a stream, 48 wide."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from faceshield.model import (
    FaceShieldForConditionalGeneration,
    FaceShieldProcessor,
    build_tiny,
    train_tokenizer,
)
from faceshield.model.build import TINY_SYSTEM

TEXTS = [
    f"{TINY_SYSTEM} USER: ASSISTANT:",
    "Is this face bona fide or an attack?",
    "This is a bona fide face.",
    "This is a presentation attack.",
    "The attack is at [12, 34, 567, 890].",
    "What type of presentation is this?",
]

Pair = tuple[FaceShieldForConditionalGeneration, FaceShieldProcessor]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS * 10, vocab_size=400)


@pytest.fixture(scope="session")
def make_pair(tokenizer, toy_sizes):
    """Gives a small (model, processor) of one's own; keyword arguments are `FaceShieldConfig` values."""
    built: dict[str, Pair] = {}

    def make(*, seed: int = 0, **values) -> Pair:
        key = repr((seed, values))
        if key not in built:
            built[key] = build(seed, values)
        return copy.deepcopy(built[key])

    def build(seed: int, values) -> Pair:
        merged = {**toy_sizes, **values}
        for name in toy_sizes:
            merged[name] = {**toy_sizes[name], **values.get(name, {})}
        model, processor = build_tiny(tokenizer, seed=seed, **merged)
        # Untrained logits are nearly flat; spread them, so that a difference between two ways shows.
        with torch.no_grad():
            model.lm_head.weight.mul_(20)
        return model.eval(), processor

    return make


@pytest.fixture
def pair(make_pair) -> Pair:
    return make_pair()


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """Three pictures of three shapes: a smooth one, noise, and a tall one."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    return [
        ramp,
        rng.integers(0, 256, (70, 90, 3), dtype=np.uint8),
        rng.integers(0, 256, (91, 40, 3), dtype=np.uint8),
    ]
