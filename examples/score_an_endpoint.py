"""A multimodal model behind an endpoint of OpenAI's protocol, zero-shot, under our protocols; words decide.

python examples/score_an_endpoint.py http://127.0.0.1:8000/v1 Qwen2.5-VL test/samples.jsonl out
"""

import sys

import numpy as np

from faceshield.baselines import load_model
from faceshield.evaluation import predict, score, table
from faceshield.images import open_picture
from faceshield.records import Prediction, read_jsonl

address, name, samples, out = sys.argv[1:5]
model = load_model(name, endpoint=address)  # asked in words that tell it the twelve types; calls are bounded
try:
    rgb = lambda path: open_picture(path).rgb  # noqa: E731
    predict(samples, model, f"{out}/predictions.jsonl", system=name, options=model.settings, load=rgb)
finally:
    model.close()
rows = read_jsonl(f"{out}/predictions.jsonl", Prediction)
print(table({name: score(rows, threshold=None, rng=np.random.default_rng(0))}))
