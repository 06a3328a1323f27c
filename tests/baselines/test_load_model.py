"""What a `--model` is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faceshield.baselines import load_model
from faceshield.predictor import FaceShieldPredictor


def test_our_own_model_is_the_default_kind(checkpoint: Path) -> None:
    found = load_model(checkpoint, pvtm="paper")
    assert isinstance(found, FaceShieldPredictor) and found.settings == {"pvtm": "paper"}


def test_a_name_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected 'tiny', a folder or a hub id"):
        load_model(tmp_path / "nothing")
    (tmp_path / "baseline.json").write_text(json.dumps({"name": "of another version"}))
    with pytest.raises(ValueError, match="'of another version' — expected one of"):
        load_model(tmp_path)
