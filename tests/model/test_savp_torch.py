"""SAVP of a batch equals SAVP of each picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from faceshield.model.savp import savp
from faceshield.model.savp_torch import savp_batch, savp_tensor

DEFAULTS: dict[str, Any] = {
    "channels": ("lbp", "gray", "hog"), "lbp_method": "default", "hog_orientations": 8, "hog_cell": 8, "hog_block": None,
}  # fmt: skip
OPTIONS: list[dict[str, Any]] = [
    {},
    {"lbp_method": "uniform"},
    {"lbp_method": "nri_uniform"},
    {"lbp_method": "ror"},
    {"hog_orientations": 9, "hog_cell": 16},
    {"hog_block": 2},
    {"hog_cell": 4, "hog_block": 5},
    {"channels": ("gray", "hog", "plgf")},
    {"channels": ("blue", "red", "lbp")},
]
SHAPES = [(1, 1), (2, 3), (7, 5), (8, 8), (17, 33), (120, 97)]


def pictures(shape: tuple[int, int], count: int = 3) -> np.ndarray:
    """Noise, a ramp, and a flat picture."""
    rng = np.random.default_rng(shape[0])
    rows = rng.integers(0, 256, (count, *shape, 3), dtype=np.uint8)
    rows[1] = (np.indices(shape).sum(0)[..., None] * np.array([2, 3, 1])).astype(np.uint8)
    rows[2] = 90
    return rows


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_equals_numpy(shape: tuple[int, int], options: dict[str, Any]) -> None:
    rgb = pictures(shape)
    chosen = {**DEFAULTS, **options}
    expected = np.stack([savp(picture, **chosen) for picture in rgb])
    found = savp_tensor(torch.from_numpy(rgb), **chosen).numpy()
    assert found.dtype == np.uint8
    for place, name in enumerate(chosen["channels"]):
        difference = np.abs(found[..., place].astype(int) - expected[..., place])
        if name in ("hog", "plgf"):  # sums in another order: now and then the last bit decides a level
            assert difference.max() <= 1 and (difference > 0).mean() <= 1e-3
        else:
            assert difference.max() == 0, name
    np.testing.assert_array_equal(savp_batch(torch.from_numpy(rgb), **chosen).numpy(), expected)


def test_every_pair_of_differences_falls_on_the_same_side() -> None:
    """Small weights for exact float32: all sums of two axes (-510..510) and all corners (-255..255)."""
    s, d = np.mgrid[-510:511, -255:256].astype(np.int64)
    np.testing.assert_array_equal(np.sign(239 * s + 577 * d), np.sign(29289 * s + 70711 * d))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu() -> None:
    rgb = torch.from_numpy(pictures((384, 384)))
    found, expected = savp_batch(rgb.cuda()).cpu().int(), savp_batch(rgb).int()
    assert torch.equal(found[..., :2], expected[..., :2])
    assert (found - expected).abs().max() <= 1 and (found != expected).float().mean() <= 1e-3


@pytest.mark.parametrize(
    ("rgb", "options", "said"),
    [
        (torch.zeros(4, 4, 3, dtype=torch.uint8), {}, r"\(B, H, W, 3\)"),
        (torch.zeros(1, 4, 4, 3), {}, "uint8"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {"channels": ("lbp", "hog")}, "channels"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {"lbp_method": "rotated"}, "LBP method 'rotated'"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {"hog_cell": 2}, "cell 2"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {"hog_block": 0}, "block 0"),
    ],
)
def test_wrong_input_is_refused(rgb: torch.Tensor, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        savp_batch(rgb, **options)
    if rgb.ndim == 4 and rgb.dtype == torch.uint8:
        with pytest.raises(ValueError, match=said):
            savp_tensor(rgb, **{**DEFAULTS, **options})
    assert savp_batch(torch.zeros(0, 8, 8, 3, dtype=torch.uint8)).shape == (0, 8, 8, 3)
