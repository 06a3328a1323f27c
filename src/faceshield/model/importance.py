"""Importance maps: how important PVTM finds each part of a picture for a question (paper §4.2, Eq. 7-8; Fig. 9).

Use: `maps = importance_maps(model, processor, rgb, "Is this face bona fide?")`, then `overlay(maps.rgb, maps.of_rgb)`.
S = image size, G = vision tokens along a side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor, ImageInput

_STRENGTH = 0.65  # opacity of the colours over the picture


@dataclass(frozen=True)
class ImportanceMaps:
    """What the tower sees of a picture, and the importance of each token.

    Attributes:
        rgb: (S, S, 3) uint8, the picture as the tower sees it.
        savp: (S, S, 3) uint8 [LBP, Gray, HOG], None without a second stream.
        of_rgb, of_savp: (G, G) float32 each; together they sum to 1, as all tokens are ranked together. A softmax of cosines
            is nearly flat; only the order matters.
    """

    rgb: NDArray[np.uint8]
    savp: NDArray[np.uint8] | None
    of_rgb: NDArray[np.float32]
    of_savp: NDArray[np.float32] | None


@torch.inference_mode()
def importance_maps(
    model: FaceShieldForConditionalGeneration, processor: FaceShieldProcessor, image: ImageInput, prompt: str
) -> ImportanceMaps:
    """The importance maps for one picture (see `FaceShieldProcessor.square_pixels`) and one question."""
    squares = [square for square in processor.square_pixels(image) if square is not None]
    pixels = [processor.normalize(np.array(square)[None]).to(model.device, model.dtype) for square in squares]
    features, joint = model.encode_images(*pixels)
    prompts = processor.encode_prompts(prompt).to(model.device)
    scores = model.model.token_scores(features, joint, prompts, torch.zeros(1, dtype=torch.long))
    side = processor.image_size // processor.patch_size
    first, *second = scores[0].float().cpu().numpy().reshape(len(squares), side, side)
    rgb, *savp = squares
    return ImportanceMaps(rgb, savp[0] if savp else None, first, second[0] if second else None)


def overlay(
    square: NDArray[np.uint8], importance: NDArray[np.float32], among: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """The picture overlaid with its map: dark violet = unimportant, yellow = important (matplotlib's viridis).

    Args:
        square: (S, S, 3) uint8 RGB.
        importance: (G, G).
        among: lowest and highest value of the colour scale; None: those of the map.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    from matplotlib import colormaps

    low, high = among or (float(importance.min()), float(importance.max()))
    scaled = (importance - low) / max(high - low, float(np.finfo(np.float32).tiny))
    size = (square.shape[1], square.shape[0])
    smooth = np.asarray(Image.fromarray(scaled.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    colours = colormaps["viridis"](np.clip(smooth, 0, 1))[..., :3] * 255
    return np.rint(square * (1 - _STRENGTH) + colours * _STRENGTH).astype(np.uint8)
