"""Scores your own classifier under our protocols: any object with `score(image)` or `score_many(images)` will do.

python examples/score_a_classifier.py dev/samples.jsonl test/samples.jsonl out
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from faceshield.evaluation import check_apart, chosen_on, predict, score, table
from faceshield.records import Prediction, Sample, read_jsonl


class Sharpness:
    """A stand-in for your network: the blurrier, the likelier an attack. High = bona fide, 0..1."""

    def score(self, image: Image.Image) -> float:  # upright, RGB
        grey = np.asarray(image.convert("L"), dtype=float)
        return float(1 - np.exp(-np.abs(np.diff(grey, axis=1)).mean() / 10))


dev, test, out = map(Path, sys.argv[1:4])
told = check_apart(read_jsonl(dev, Sample), dev, read_jsonl(test, Sample), test)
for samples, name in ((dev, "dev"), (test, "test")):  # resume=False: a network may have changed since the last run
    predict(samples, Sharpness(), out / f"{name}.jsonl", system="sharpness", resume=False)
threshold = chosen_on([out / "dev.jsonl"], "eer", told=told)
rows = read_jsonl(out / "test.jsonl", Prediction)
print(table({"Sharpness": score(rows, threshold=threshold, rng=np.random.default_rng(0))}))
