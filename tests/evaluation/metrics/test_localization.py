from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest

from faceshield.evaluation.metrics.localization import AveragePrecision, box_iou, region_iou

A = (0.0, 0.0, 10.0, 10.0)
B = (0.0, 0.0, 10.0, 5.0)  # half of A: IoU .5
C = (20.0, 0.0, 30.0, 10.0)  # apart from both
D = (2.0, 0.0, 12.0, 10.0)  # 8 x 10 of 12 x 10: IoU 2/3 with A


def test_overlaps_by_hand() -> None:
    assert box_iou(A, A) == 1.0
    assert box_iou(A, B) == 0.5
    assert box_iou(A, C) == 0.0
    assert box_iou(A, D) == pytest.approx(2 / 3)
    assert box_iou(A, (10.0, 0.0, 20.0, 10.0)) == 0.0  # they touch
    assert box_iou((5.0, 5.0, 5.0, 9.0), A) == 0.0  # empty


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([A], [A], 1.0),
        ([A], [D], 2 / 3),  # one box each: their IoU
        ([], [A], 0.0),
        ([A], [], 0.0),
        ([], [], 0.0),
        ([A, A, B], [A], 1.0),  # overlapping boxes cover no more
        ([A], [A, C], 0.5),  # one of two missed
        ([A, C], [A], 0.5),  # one too many
        ([C, A], [A, C], 1.0),  # order does not matter
    ],
)
def test_region_overlap(found: list, true: list, expected: float) -> None:
    assert region_iou(found, true) == pytest.approx(expected)
    assert region_iou(true, found) == pytest.approx(expected)


def test_region_overlap_equals_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        masks, lists = [], []
        for _ in range(2):
            corners = rng.integers(0, 20, (int(rng.integers(1, 4)), 4))
            boxes = [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners.tolist()]
            mask = np.zeros((22, 22), bool)
            for x0, y0, x1, y1 in boxes:
                mask[y0:y1, x0:x1] = True
            masks.append(mask)
            lists.append(boxes)
        expected = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
        assert region_iou(*lists) == pytest.approx(expected, abs=1e-12)


def test_average_precision_by_hand() -> None:
    # Two true boxes; ranked: a hit (precision 1, recall .5), a miss, a hit (precision 2/3, recall 1).
    found, true = [[A], [C], [A]], [[A], [], [A]]
    curve = AveragePrecision(found, [0.9, 0.8, 0.7], true, iou=0.5)
    assert curve() == pytest.approx((51 * 1.0 + 50 * 2 / 3) / 101, abs=1e-12)
    # The miss ranked first: precision 1/2 at recall .5 and 2/3 at 1, so the envelope is 2/3 throughout.
    assert AveragePrecision(found, [0.8, 0.9, 0.7], true, iou=0.5)() == pytest.approx(2 / 3, abs=1e-12)
    # With the miss last it costs nothing.
    assert AveragePrecision(found, [0.9, 0.1, 0.7], true, iou=0.5)() == 1.0


def test_an_overlap_just_at_the_threshold_counts() -> None:
    assert AveragePrecision([[B]], [1.0], [[A]], iou=0.5)() == 1.0
    assert AveragePrecision([[B]], [1.0], [[A]], iou=0.5001)() == 0.0


def test_nothing_true_nothing_found() -> None:
    assert math.isnan(AveragePrecision([], [], [], iou=0.5)())
    assert math.isnan(AveragePrecision([[A]], [1.0], [[]], iou=0.5)())
    assert AveragePrecision([[]], [1.0], [[A]], iou=0.5)() == 0.0


def coco(found: list, confidences: list[float], true: list, ious: list[float]) -> tuple[list[float], list[float]]:
    """The oracle's AP and recall: faster-coco-eval, bit-identical to pycocotools; -1 without a true box."""
    from faster_coco_eval import COCO, COCOeval_faster

    def entry(number: int, picture: int, box: tuple[float, ...]) -> dict:
        x0, y0, x1, y1 = box
        area = (x1 - x0) * (y1 - y0)
        return {"id": number, "image_id": picture, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": area, "iscrowd": 0}  # fmt: skip

    truths = [(picture, box) for picture, boxes in enumerate(true, 1) for box in boxes]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "info": {},
            "images": [{"id": picture, "width": 100, "height": 100} for picture in range(1, len(true) + 1)],
            "categories": [{"id": 1, "name": "attack"}],
            "annotations": [entry(n, picture, box) for n, (picture, box) in enumerate(truths, 1)],
        }
        ground.createIndex()
        results = [
            {key: value for key, value in entry(0, picture, box).items() if key not in ("id", "area", "iscrowd")}
            | {"score": confidences[picture - 1]}
            for picture, boxes in enumerate(found, 1)
            for box in boxes
        ]
        guesses = ground.loadRes(results) if results else COCO()
        if not results:
            guesses.dataset = {**ground.dataset, "annotations": []}
            guesses.createIndex()
        run = COCOeval_faster(ground, guesses, "bbox")
        run.params.iouThrs = np.array(ious)
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, 0, 0, -1]
    recall = run.eval["recall"][:, 0, 0, -1]
    return [float(row.mean()) for row in precision], [float(value) for value in recall]


def test_average_precision_equals_coco() -> None:
    rng = np.random.default_rng(4)
    empty = 0
    for case in range(250):
        pictures = int(rng.integers(1, 12))
        true, found = [], []
        for _ in range(pictures):
            count = int(rng.integers(0, 3)) if case % 20 else 0  # no true box anywhere
            corners = rng.integers(0, 60, (count, 2))
            sizes = rng.integers(5, 40, (count, 2))
            boxes = [(float(x), float(y), float(x + w), float(y + h)) for (x, y), (w, h) in zip(corners, sizes, strict=True)]
            true.append(boxes)
            near = [tuple(np.array(box) + rng.integers(-4, 5, 4) * [1, 1, 0, 0]) for box in boxes if rng.random() < 0.8]
            far = [(70.0, 70.0, 90.0, 95.0)] * int(rng.integers(0, 2))
            found.append([tuple(map(float, box)) for box in near + far] if case % 15 else [])  # no box found
        empty += not any(true) or not any(found)
        levels = 3 if case % 2 else 1000  # ties in every other case
        confidences = [float(value) for value in rng.integers(0, levels, pictures) / levels]
        precision, recall = coco(found, confidences, true, [0.4, 0.5])
        ours = [AveragePrecision(found, confidences, true, iou=iou) for iou in (0.4, 0.5)]
        if not any(true):
            assert all(math.isnan(curve()) and math.isnan(curve.recall()) for curve in ours)
            assert set(precision) == {-1.0}
            continue
        assert [curve() for curve in ours] == pytest.approx(precision, abs=1e-12)
        assert [curve.recall() for curve in ours] == pytest.approx(recall, abs=1e-12)
    assert empty > 20


def test_weights_count_like_repeated_pictures() -> None:
    found, true = [[A], [C], [B]], [[A], [A], [A]]
    weighted = AveragePrecision(found, [0.9, 0.8, 0.7], true, iou=0.5)(np.array([2.0, 0.0, 1.0]))
    repeated = AveragePrecision([[A], [A], [B]], [0.9, 0.9, 0.7], [[A]] * 3, iou=0.5)()
    assert weighted == pytest.approx(repeated, abs=1e-12)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="expected one each a picture"):
        AveragePrecision([[A]], [1.0, 2.0], [[A]], iou=0.5)
    with pytest.raises(ValueError, match="NaN"):
        AveragePrecision([[A]], [math.nan], [[A]], iou=0.5)
