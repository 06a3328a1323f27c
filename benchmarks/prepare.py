"""Measures `faceshield prepare`: its memory at ten times the samples, and its speed-up with a second core.

    python benchmarks/prepare.py [--small 10000] [--large 100000] [--videos 60] [--folder SCRATCH]

Memory is the peak of a run's largest process, over single pictures of 8 x 8 pixels in folders of a thousand. The cores are
compared on videos, where decoding takes most of the time: the same files with one worker and with two, in one run.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

GOAL = 1.3


def pictures(root: Path, count: int) -> None:
    """Writes `count` PNG files, all different."""
    rgb = np.zeros((8, 8, 3), np.uint8)
    for number in range(count):
        folder = root / ("real" if number % 2 else "attack/Print") / f"{number // 2000:04}"
        if number % 2000 < 2:
            folder.mkdir(parents=True)
        rgb[0, 0] = number & 255, number >> 8 & 255, number >> 16
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, "PNG", compress_level=0)
        (folder / f"{number:07}.png").write_bytes(buffer.getvalue())


def videos(root: Path, count: int) -> None:
    """Writes `count` videos of 60 frames, 320 x 240 pixels."""
    import av

    noise = np.random.default_rng(0)
    (root / "real").mkdir(parents=True)
    for number in range(count):
        with av.open(str(root / "real" / f"{number:03}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            base = noise.integers(0, 255, (240, 320, 3), np.uint8)
            for step in range(60):
                frame = av.VideoFrame.from_ndarray(np.roll(base, 4 * step, axis=1), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


def prepared(root: Path, out: Path, workers: int) -> tuple[float, float]:
    """Runs `faceshield prepare folder`: seconds, and peak MiB of its largest process."""
    command = [sys.executable, "-m", "faceshield", "prepare", "folder", str(root), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"faceshield prepare ended with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the memory and the cores of `faceshield prepare`.")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        peaks = []
        for count in (options.small, options.large):
            pictures(folder / str(count), count)
            seconds, peak = prepared(folder / str(count), folder / f"{count}.jsonl", workers=2)
            peaks.append(peak)
            print(f"{count:9,} pictures: peak {peak:.0f} MiB, {count / seconds:.0f} pictures/s", flush=True)
        print(f"memory: {peaks[1] / peaks[0]:.2f} times at {options.large / options.small:g} times the pictures (goal {GOAL})")
        videos(folder / "videos", options.videos)
        one, two = (prepared(folder / "videos", folder / f"w{workers}" / "v.jsonl", workers)[0] for workers in (1, 2))
        print(f"{options.videos} videos: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
