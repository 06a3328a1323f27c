"""What several tests of the recipes begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from faceshield.model import load, save
from faceshield.model.adapter import attach


@pytest.fixture
def trained(checkpoint: Path, tmp_path: Path) -> Path:
    """An adapter far from its base: LoRA's second factor and the projector moved at random."""
    begun = load(checkpoint)
    adapted = attach(begun.model, r=4, alpha=8)
    torch.manual_seed(0)
    with torch.no_grad():
        for value in (value for value in adapted.parameters() if value.requires_grad):
            value.add_(0.2 * torch.randn_like(value))
    return save(adapted, begun.processor, tmp_path / "trained", begun.info, base=checkpoint)
