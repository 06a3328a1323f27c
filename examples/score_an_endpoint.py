"""Scores a multimodal model behind an OpenAI-compatible endpoint under our protocols, zero-shot; its words decide.

python examples/score_an_endpoint.py http://127.0.0.1:8000/v1 Qwen2.5-VL test/samples.jsonl out
"""

import sys
from contextlib import closing

import numpy as np

from faceshield.baselines import load_model
from faceshield.evaluation import predict, score, table
from faceshield.records import Prediction, read_jsonl

address, name, samples, out = sys.argv[1:5]
with closing(load_model(name, endpoint=address)) as model:  # its prompts name the twelve types; concurrent calls are limited
    predict(samples, model, f"{out}/predictions.jsonl", system=name, options=model.settings)
rows = read_jsonl(f"{out}/predictions.jsonl", Prediction)
print(table({name: score(rows, threshold=None, rng=np.random.default_rng(0))}))
