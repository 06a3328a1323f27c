"""Times one photo: all four tasks after loading, face detection alone, a cold command, and `--help`.

python benchmarks/inspect_photo.py [--model tiny] [--repeats 10]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from skimage.data import astronaut

from faceshield import FaceShieldPredictor
from faceshield.face import BuiltInDetector


def timed(work: Callable[[], object], repeats: int) -> str:
    """Median and worst of `repeats` runs after a warm-up run, in seconds."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return f"median {statistics.median(taken):.3f} s, worst {max(taken):.3f} s of {repeats}"


def command(*arguments: str) -> Callable[[], object]:
    """A cold run of the command line, with its output discarded."""
    return lambda: subprocess.run([sys.executable, "-m", "faceshield", *arguments], check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time one photo.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    photo, detector = astronaut(), BuiltInDetector()
    close = photo[:256, 96:352]  # here the face takes two fifths of the width; in `photo`, less than a fifth
    shield = FaceShieldPredictor.from_pretrained(options.model, detector=detector)
    print(f"threads: {torch.get_num_threads()}, model {shield.model_info['name']} ({shield.model_info['hash']})")
    print(f"one photo, all four tasks (target 1.5 s): {timed(lambda: shield.inspect(photo), options.repeats)}")
    print(f"one photo, verdict alone:                 {timed(lambda: shield.detect(photo), options.repeats)}")
    print(f"finding a small face alone:               {timed(lambda: detector.detect(photo), options.repeats)}")
    print(f"finding a large face alone:               {timed(lambda: detector.detect(close), options.repeats)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.png"
        Image.fromarray(photo).save(path)
        cold = command("inspect", str(path), "--model", options.model, "--json")
        print(f"cold `faceshield inspect` (target 6 s):   {timed(cold, 3)}")
    print(f"`faceshield --help` (target 0.5 s):       {timed(command('--help'), 5)}")


if __name__ == "__main__":
    main()
