"""scikit-image is the oracle of the descriptors."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut
from skimage.feature import hog, local_binary_pattern

from faceshield.model.savp import block_factors, gray, hog_histograms, hog_picture, lbp, plgf, savp


def _pictures() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:120, :97]
    smooth = np.stack([x * 2, y * 2, (x + y)], -1).astype(np.uint8)
    blurred = rng.integers(0, 256, (140, 150, 3)).astype(float)
    for _ in range(3):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, 1, 1) + np.roll(blurred, -1, 1)) / 4
    return {
        "photo": astronaut()[:200, 120:304],
        "noise": rng.integers(0, 256, (101, 77, 3), dtype=np.uint8),
        "ramp": smooth,
        "texture": blurred.astype(np.uint8),
        "steps": (np.indices((64, 64)).sum(0) // 9 % 2 * 200)[..., None].repeat(3, 2).astype(np.uint8),
    }


PICTURES = _pictures()


def _is_tie(level: np.ndarray) -> np.ndarray:
    """Where some interpolated neighbour equals the centre exactly: scikit-image's last bit decides there."""
    padded = np.pad(level.astype(np.int64), 1)
    centre = padded[1:-1, 1:-1]
    height, width = level.shape

    def at(row: int, column: int) -> np.ndarray:
        return padded[1 + row : 1 + row + height, 1 + column : 1 + column + width] - centre

    ties = np.zeros(level.shape, bool)
    for row in (-1, 1):
        for column in (-1, 1):
            ties |= 29289 * (at(row, 0) + at(0, column)) + 70711 * at(row, column) == 0
    return ties


@pytest.mark.parametrize("name", PICTURES)
def test_gray_is_equation_4(name):
    picture = PICTURES[name]
    exact = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(gray(picture) - exact).max() <= 0.5 + 0.01


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("method", ["default", "uniform", "nri_uniform", "ror"])
def test_lbp_equals_the_oracle(name, method):
    level = gray(PICTURES[name])
    wanted = local_binary_pattern(level, 8, 1, method)
    if "uniform" in method:
        wanted = np.round(wanted * 255 / (9 if method == "uniform" else 58))
    same = lbp(level, method) == wanted
    assert same[~_is_tie(level)].mean() >= 0.999
    if name in ("photo", "noise", "texture"):
        assert same.mean() >= 0.999


def test_lbp_of_a_flat_picture_counts_equal_neighbours_as_ones():
    assert lbp(np.full((5, 5), 90, np.uint8))[2, 2] == 255  # s(0) = 1 in Eq. 3


def test_lbp_bits_follow_equation_3():
    level = np.zeros((3, 3), np.uint8)
    # Right is bit 0, up is bit 2; between them bit 1, interpolated from those two, the centre and the corner.
    level[1, 1], level[1, 2], level[0, 1], level[0, 2] = 100, 200, 200, 50
    assert lbp(level)[1, 1] == 0b00000111
    level[0, 2] = 10
    assert lbp(level)[1, 1] == 0b00000101


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("orientations", "cell"), [(8, 8), (9, 8), (6, 5), (9, 16)])
def test_hog_picture_equals_the_oracle(name, orientations, cell):
    level = gray(PICTURES[name])
    _, wanted = hog(level, orientations, (cell, cell), (1, 1), visualize=True)
    ours = hog_picture(level, orientations, cell)
    assert np.corrcoef(ours.ravel(), wanted.ravel())[0, 1] >= 0.99
    assert ours.max() == 255


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("orientations", "cell"), [(8, 8), (9, 8), (6, 5), (9, 16)])
def test_every_cells_histogram_equals_the_oracle(name, orientations, cell):
    """scikit-image gives the means of magnitudes, each cell divided by its sum and a little more."""
    level = gray(PICTURES[name])
    wanted = hog(level, orientations, (cell, cell), (1, 1), block_norm="L1", feature_vector=False)[:, :, 0, 0]
    ours = hog_histograms(level, orientations, cell) / cell**2
    normed = ours / (ours.sum(-1, keepdims=True) + 1e-5)
    assert normed.shape == wanted.shape and normed.max() > 0.1
    np.testing.assert_allclose(normed, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("block", [1, 2, 3])
def test_cells_by_blocks_equal_the_oracle(name, block):
    """scikit-image gives every block's normalised cells; a cell of ours is the mean over the blocks that it lies in."""
    level = gray(PICTURES[name])
    wanted = hog(level, 8, (8, 8), (block, block), block_norm="L2", feature_vector=False)
    histograms = hog_histograms(level, 8, 8) / 64
    total, count = np.zeros_like(histograms), np.zeros(histograms.shape[:2])
    for row in range(wanted.shape[0]):
        for column in range(wanted.shape[1]):
            total[row : row + block, column : column + block] += wanted[row, column]
            count[row : row + block, column : column + block] += 1
    ours = histograms * block_factors(histograms, block)[..., None]
    np.testing.assert_allclose(ours, total / count[..., None], rtol=0, atol=1e-6)


def test_by_blocks_a_strong_edge_elsewhere_changes_nothing():
    level = np.random.default_rng(0).integers(100, 130, (96, 96), dtype=np.uint8)
    other = level.copy()
    other[60:80, 60:80] = np.indices((20, 20)).sum(0) // 4 % 2 * 255
    away = np.s_[:40, :40]
    assert np.array_equal(hog_picture(level, block=2)[away] > 0, hog_picture(other, block=2)[away] > 0)
    assert hog_picture(other, block=2)[away].mean() > 0.7 * hog_picture(level, block=2)[away].mean()
    assert hog_picture(other)[away].mean() < 0.4 * hog_picture(level)[away].mean()
    assert not hog_picture(np.zeros((5, 40), np.uint8), block=2).any()
    with pytest.raises(ValueError, match="HOG block 0"):
        hog_picture(level, block=0)


def test_plgf_is_its_formula():
    level = np.random.default_rng(1).integers(0, 256, (9, 7), dtype=np.uint8)
    values = np.pad(level.astype(float) + 1, 1, mode="edge")
    for row, column in ((0, 0), (4, 3), (8, 6)):
        pull = np.zeros(2)
        for y in (-1, 0, 1):
            for x in (-1, 0, 1):
                if y or x:
                    angle, distance = np.arctan2(y, x), y * y + x * x
                    pull += values[row + 1 + y, column + 1 + x] * np.array([np.cos(angle), np.sin(angle)]) / distance
        expected = np.arctan(np.hypot(*pull) / values[row + 1, column + 1]) / (np.pi / 2) * 255
        assert abs(float(plgf(level)[row, column]) - expected) <= 0.51
    assert (plgf(np.full((5, 5), 90, np.uint8)) == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 40), (7, 7), (8, 17)])
def test_smallest_pictures_have_descriptors(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert savp(picture).shape == picture.shape


def test_channels_come_in_the_order_asked():
    picture = PICTURES["noise"]
    stacked = savp(picture)
    level = gray(picture)
    for channel, wanted in enumerate((lbp(level), level, hog_picture(level))):
        np.testing.assert_array_equal(stacked[..., channel], wanted)
    np.testing.assert_array_equal(savp(picture, channels=("red", "green", "blue")), picture)
    assert (savp(picture, channels=("gray",) * 3) == level[..., None]).all()
    np.testing.assert_array_equal(savp(picture, channels=("gray", "hog", "plgf"))[..., 2], plgf(level))


def test_input_is_left_alone():
    picture = PICTURES["noise"].copy()
    savp(picture)
    np.testing.assert_array_equal(picture, PICTURES["noise"])


@pytest.mark.parametrize(
    ("picture", "options", "said"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"\(H, W, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"\(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), {}, "uint8"),
        (np.zeros((4, 4, 3), np.uint8), {"channels": ("lbp", "hog")}, "channels"),
        (np.zeros((4, 4, 3), np.uint8), {"channels": ("lbp", "grey", "hog")}, "channels"),
        (np.zeros((4, 4, 3), np.uint8), {"lbp_method": "rotated"}, "LBP method 'rotated'"),
        (np.zeros((4, 4, 3), np.uint8), {"hog_cell": 2}, "cell 2"),
    ],
)
def test_wrong_input_is_refused(picture, options, said):
    with pytest.raises(ValueError, match=said):
        savp(picture, **options)
