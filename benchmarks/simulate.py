"""Pictures per second of `faceshield simulate` on two cores, for drawn faces and (given a folder) for photographs.

    python benchmarks/simulate.py [--faces FOLDER] [--count 400] [--workers 2]

Loading the portraits is timed separately: it happens once per data set.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from faceshield.simulate.dataset import SimulateConfig, simulate

TARGET = 25.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast pictures are simulated.")
    parser.add_argument("--faces", help="a folder of bona fide photographs, besides the drawn faces")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for faces in filter(None, ("drawn", options.faces)):
        first: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            simulate(
                Path(folder), SimulateConfig(faces, options.count, 1), workers=options.workers,
                progress=lambda done, total, first=first: first.append(time.perf_counter()),  # type: ignore[misc]
            )  # fmt: skip
        waiting = 8 * options.workers  # this many are done when the first is reported
        rate = (len(first) - waiting) / (first[-1] - first[waiting - 1])
        name = "drawn faces" if faces == "drawn" else "photographs"
        print(f"{name}: {rate:.1f} pictures/s (target {TARGET:.0f}), first picture after {first[0] - start:.1f} s")


if __name__ == "__main__":
    main()
