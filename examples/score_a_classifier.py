"""Scores your own classifier under our protocols: any object with `score(image)` or `score_many(images)` will do.

python examples/score_a_classifier.py dev/samples.jsonl test/samples.jsonl out
"""

import sys

import numpy as np
from PIL import Image

from faceshield.evaluation import choose_threshold, predict, score, table
from faceshield.records import Prediction, read_jsonl


class Sharpness:
    """A stand-in for your network: the blurrier, the likelier an attack. High = bona fide, 0..1."""

    def score(self, image: Image.Image) -> float:  # upright, RGB
        grey = np.asarray(image.convert("L"), dtype=float)
        return float(1 - np.exp(-np.abs(np.diff(grey, axis=1)).mean() / 10))


dev, test, out = sys.argv[1:4]
for samples, name in ((dev, "dev"), (test, "test")):  # resume=False: a network may have changed since the last run
    predict(samples, Sharpness(), f"{out}/{name}.jsonl", system="sharpness", resume=False)
known = [row for row in read_jsonl(f"{out}/dev.jsonl", Prediction) if row.task == "coarse"]
scores, truth = np.array([row.bonafide_score for row in known]), np.array([row.truth.is_attack for row in known])
threshold = choose_threshold(scores, truth, "eer", dataset=dev)
rows = read_jsonl(f"{out}/test.jsonl", Prediction)
print(table({"Sharpness": score(rows, threshold=threshold, rng=np.random.default_rng(0))}))
