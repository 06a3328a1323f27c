"""Speed of SAVP against scikit-image on one core, and in batches: `python benchmarks/savp.py [--side 384] [--repeats 30]`.

Prints milliseconds (best of the repeats) for each descriptor, ours and scikit-image's, their ratio, and how well the two agree;
then the time per picture in a batch of 32 on two cores and, if there is one, on a GPU, against a single picture on one core in
the same run. Targets: 5 ms and 25 times scikit-image's speed for a single picture, 4 times that in a batch, so 100 times.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skimage import color, data, feature, transform

from faceshield.model.savp import gray, hog_picture, lbp, savp
from faceshield.model.savp_torch import savp_batch, savp_tensor


def best_ms(call: Callable[[], Any], repeats: int) -> float:
    """Shortest of `repeats` runs after a warm-up run, in milliseconds."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=384, help="pixels of the square picture")
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    rgb = (transform.resize(data.astronaut(), (options.side,) * 2) * 255).astype(np.uint8)
    level = gray(rgb)

    def oracle_lbp() -> np.ndarray:
        return feature.local_binary_pattern(level, 8, 1)

    def oracle_hog() -> np.ndarray:
        return feature.hog(level, 8, (8, 8), (1, 1), visualize=True)[1]

    def oracle_savp() -> np.ndarray:
        return np.stack([oracle_lbp(), color.rgb2gray(rgb), oracle_hog()], -1)

    rows: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        ("gray", lambda: gray(rgb), lambda: color.rgb2gray(rgb)),
        ("lbp", lambda: lbp(level), oracle_lbp),
        ("hog", lambda: hog_picture(level), oracle_hog),
        ("savp", lambda: savp(rgb), oracle_savp),
    ]
    print(f"{options.side} x {options.side} pixels, one core")
    print(f"{'':6}{'ours ms':>9}{'skimage ms':>12}{'ratio':>8}")
    for name, ours, theirs in rows:
        mine, other = best_ms(ours, options.repeats), best_ms(theirs, max(3, options.repeats // 10))
        print(f"{name:6}{mine:9.2f}{other:12.2f}{other / mine:8.1f}")
    oracle = other  # of the last row, savp
    same = (lbp(level) == oracle_lbp()).mean()
    together = np.corrcoef(hog_picture(level).ravel(), oracle_hog().ravel())[0, 1]
    off = np.abs(level - rgb @ np.array([0.299, 0.587, 0.114])).max()
    print(f"lbp equal on {same:.4%} of pixels, hog correlation {together:.5f}, gray within {off:.3f} of Eq. 4")

    torch.set_num_threads(2)
    batch = torch.from_numpy(np.stack([np.roll(rgb, shift, 1) for shift in range(32)]))
    single = best_ms(lambda: savp(rgb), options.repeats)
    ways: list[tuple[str, Callable[[], Any]]] = [
        ("CPU, two cores", lambda: savp_batch(batch)),
        ("CPU, torch's own operations", lambda: savp_tensor(batch, ("lbp", "gray", "hog"), "default", 8, 8)),
    ]
    if torch.cuda.is_available():
        there = batch.cuda()
        ways.append((torch.cuda.get_device_name(), lambda: savp_batch(there).sum().item()))
    for name, way in ways:
        each = best_ms(way, max(3, options.repeats // 10)) / len(batch)
        print(
            f"batch of 32, {name}: {each:.3f} ms a picture, {single / each:.1f} times one alone ({single:.2f} ms), "
            f"{oracle / each:.0f} times scikit-image"
        )


if __name__ == "__main__":
    main()
