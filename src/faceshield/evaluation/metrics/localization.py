"""Attack localization: AP at an IoU as COCO defines it, and the overlap of regions (paper §5.1, Table 5).

Use: ``ap = AveragePrecision(found, confidences, true, iou=0.5); ap(), ap.recall()``, and ``region_iou(found[0], true[0])``.

Boxes are xyxy in pixels of one picture; x1 and y1 are edges, not last pixels, so areas take no "+1".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from faceshield.evaluation.metrics.intervals import FloatArray, ratio

Box = Sequence[float]
MAX_BOXES = 100  # COCO's maxDets: further boxes of a picture are ignored


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 where either is empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    area = (first[2] - first[0]) * (first[3] - first[1]) + (second[2] - second[0]) * (second[3] - second[1])
    return inter / (area - inter)


def region_iou(found: Sequence[Box], true: Sequence[Box]) -> float:
    """IoU of the areas that two lists of boxes cover, overlaps counted once; for one box each, their IoU; for none, 0.

    One number per picture, symmetric, and lowered by a missed box as much as by a superfluous one.
    """
    both = [*found, *true]
    xs = sorted({value for box in both for value in (box[0], box[2])})
    ys = sorted({value for box in both for value in (box[1], box[3])})
    inter = union = 0.0
    for x0, x1 in pairwise(xs):
        for y0, y1 in pairwise(ys):
            in_found, in_true = _covers(found, x0, y0, x1, y1), _covers(true, x0, y0, x1, y1)
            area = (x1 - x0) * (y1 - y0)
            inter += area * (in_found and in_true)
            union += area * (in_found or in_true)
    return inter / union if union else 0.0


def _covers(boxes: Sequence[Box], x0: float, y0: float, x1: float, y1: float) -> bool:
    return any(box[0] <= x0 and box[1] <= y0 and x1 <= box[2] and y1 <= box[3] for box in boxes)


class AveragePrecision:
    """COCO's 101-point average precision of one class at one IoU, over pictures with and without true boxes.

    Boxes are ranked by confidence over all pictures, ties in the order of the pictures and, within one, as written; each takes
    the free true box it overlaps most (of equal overlaps the last), if by at least ``iou``.

    Paper is silent: what ranks the boxes of a text model. We give all boxes of a picture one confidence, the
    caller's (docs/paper_map.md); if all confidences are equal, AP depends on the order of the pictures.

    Args:
        found: a list of boxes per picture.
        confidences: one number per picture, for all of its boxes.
        true: a list of boxes per picture, empty for a bona fide one.
        iou: the overlap that counts as found, 0..1.

    Raises:
        ValueError: where the three lists differ in length, or a confidence is NaN.
    """

    def __init__(
        self,
        found: Sequence[Sequence[Box]],
        confidences: Sequence[float],
        true: Sequence[Sequence[Box]],
        *,
        iou: float,
    ) -> None:
        if not len(found) == len(confidences) == len(true):
            raise ValueError(
                f"{len(found)} lists of found boxes, {len(confidences)} confidences, {len(true)} lists of "
                "true boxes — expected one each a picture — pass equal lists"
            )
        if any(math.isnan(value) for value in confidences):
            raise ValueError("a confidence is NaN — expected a number a picture — give pictures without one the lowest")
        pictures: list[int] = []
        hits: list[bool] = []
        for picture, (boxes, true_boxes) in enumerate(zip(found, true, strict=True)):
            hits += _match(boxes[:MAX_BOXES], true_boxes, iou)
            pictures += [picture] * min(len(boxes), MAX_BOXES)
        self._picture: NDArray[np.int64] = np.array(pictures, dtype=np.int64)
        order = np.argsort(-np.asarray(confidences, dtype=np.float64)[self._picture], kind="stable")
        self._picture = self._picture[order]
        self._hit = np.array(hits, dtype=bool)[order]
        self._true_counts = np.array([len(boxes) for boxes in true], dtype=np.float64)

    def __call__(self, weights: FloatArray | None = None) -> float:
        """The AP in 0..1 of pictures counted ``weights`` (pictures,) times; NaN without a true box."""
        rows = np.ones(len(self._true_counts)) if weights is None else weights
        wanted = float(rows @ self._true_counts)
        if not wanted:
            return math.nan
        drawn = rows[self._picture]
        hits, misses = np.cumsum(drawn * self._hit), np.cumsum(drawn * ~self._hit)
        recall = hits / wanted
        precision = hits / np.maximum(hits + misses, np.spacing(1))
        # The precision at a recall is the best one at that recall or a higher one.
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        return float(envelope[np.searchsorted(recall, np.linspace(0.0, 1.0, 101), side="left")].mean())

    def recall(self, weights: FloatArray | None = None) -> float:
        """The share 0..1 of the true boxes that were found, at whatever rank; NaN without a true box."""
        rows = np.ones(len(self._true_counts)) if weights is None else weights
        return ratio(float((rows[self._picture] * self._hit).sum()), float(rows @ self._true_counts))


def _match(found: Sequence[Box], true: Sequence[Box], iou: float) -> list[bool]:
    free = list(range(len(true)))
    hits: list[bool] = []
    for box in found:
        best, chosen = min(iou, 1 - 1e-10), None
        for index in free:
            overlap = box_iou(box, true[index])
            if overlap >= best:
                best, chosen = overlap, index
        if chosen is not None:
            free.remove(chosen)
        hits.append(chosen is not None)
    return hits
