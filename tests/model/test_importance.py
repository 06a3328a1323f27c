from __future__ import annotations

import numpy as np
import pytest
import torch

from faceshield.model.importance import importance_maps, overlay


@pytest.mark.parametrize("use_savp", [True, False])
def test_maps_are_the_scores_that_pvtm_ranks_by(make_pair, pictures, use_savp):
    model, processor = make_pair(use_savp=use_savp, pvtm_mask_ratio=1.0, pvtm_keep_ratio=0.25)
    question = "What type of presentation is this?"
    maps = importance_maps(model, processor, pictures[2], question)
    assert maps.rgb.shape == (64, 64, 3) and maps.of_rgb.shape == (4, 4) and (maps.savp is None) == (not use_savp)
    flat = np.concatenate([one.ravel() for one in (maps.of_rgb, maps.of_savp) if one is not None])
    assert flat.sum() == pytest.approx(1, abs=1e-5)

    inputs = processor(images=pictures[2], text=question)
    encoded = model.encode_images(*(inputs[name] for name in ("pixel_values", "savp_values") if name in inputs))
    _, keep = model.model.mask_features(*encoded, inputs["prompt_input_ids"], torch.zeros(1, dtype=torch.long))
    assert set(np.flatnonzero(keep[0])) == set(np.argsort(-flat, kind="stable")[: len(flat) // 4])


def test_overlay_marks_the_important_place():
    square, importance = np.full((64, 64, 3), 128, np.uint8), np.zeros((4, 4), np.float32)
    importance[1, 2] = 1
    shown = overlay(square, importance).astype(int)
    assert shown.shape == square.shape
    brightness = shown.sum(-1)
    assert np.unravel_index(brightness.argmax(), brightness.shape)[0] // 16 == 1
    assert np.unravel_index(brightness.argmax(), brightness.shape)[1] // 16 == 2
    assert np.array_equal(overlay(square, importance, (0, 1)), overlay(square, importance))
    assert overlay(square, np.zeros((4, 4), np.float32)).std(axis=(0, 1)).max() == 0  # a flat map divides by nothing
