"""Figures of the towers on development pictures: what their heads predict, and where PVTM's ranking points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def box_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) intersection over union of (N, 4) boxes, row by row, each as two corners in any order."""
    a, b = (np.concatenate([np.minimum(x[:, :2], x[:, 2:]), np.maximum(x[:, :2], x[:, 2:])], axis=1) for x in (a, b))
    width = np.clip(np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]), 0, None)
    height = np.clip(np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]), 0, None)
    areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
    overlap = width * height
    result: NDArray[np.float32] = overlap / np.maximum(areas[0] + areas[1] - overlap, 1e-6)
    return result


def tower_figures(found: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, Any]:
    """The figures logged for the development pictures.

    Args:
        found: per picture, (N,) or (N, C): type, head and text (indices of types, 0 bona fide), bonafide (0..1), iou, has_box,
            cues and cues_named, top_inside and base_inside (shares of tokens that lie in a true box).
        names: names of the types.
    """
    types, attack, has_box = found["type"], found["type"] > 0, found["has_box"]
    called_attack = found["bonafide"] < 0.5

    def share(values: NDArray[Any]) -> float | None:
        return float(values.mean()) if values.size else None

    apcer, bpcer = share(~called_attack[attack]), share(called_attack[~attack])
    return {
        "n": int(types.size),
        "fine": share(found["head"] == types),
        "fine_by_text": share(found["text"] == types),
        "coarse": share(called_attack == attack),
        "hter": None if apcer is None or bpcer is None else (apcer + bpcer) / 2,
        "apcer": apcer,
        "bpcer": bpcer,
        "box_50": share(found["iou"][has_box] >= 0.5),
        "pvtm_top": share(found["top_inside"][has_box]),
        "pvtm_base": share(found["base_inside"][has_box]),
        "cue_precision": share(found["cues"][found["cues_named"]]),
        "cue_recall": share(found["cues_named"][found["cues"]]),
        "recall": {
            name: round(float((found["head"][types == i] == i).mean()), 3) for i, name in enumerate(names) if (types == i).any()
        },
        "box_by_type": {
            name: round(float((found["iou"][has_box & (types == i)] >= 0.5).mean()), 3)
            for i, name in enumerate(names)
            if (has_box & (types == i)).any()
        },
    }
