"""What do the towers know of the cues that the reasoning should name? A linear probe on their frozen tokens, beside the words.

The probe is the cue head of the towers' training (`training.heads`), which is discarded there, trained anew: one linear map on
the tokens that the language model reads. What it finds and the words do not name is lost in the language model, not in the
towers. Train it on simulated pictures that the towers were not trained on; a person must not be in both sets.
Use: `python benchmarks/cues.py --train drawn-train/samples.jsonl --test drawn-test/samples.jsonl --minutes 10 --model tiny
--predictions predictions.jsonl`, the last as `faceshield predict drawn-test/samples.jsonl --tasks reasoning` writes it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceshield.evaluation.metrics.cues import CueReader, CueScores, own_cues
from faceshield.model import load, resolve_model
from faceshield.records import Prediction, Sample, image_path, read_jsonl
from faceshield.taxonomy import TAXONOMY
from faceshield.training.heads import AuxiliaryHeads
from faceshield.training.precision import autocast
from faceshield.training.schedule import cosine_rate
from faceshield.training.vision_cache import LivePictures

BATCH = 48
RATE = 1e-2
LIMITS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


class Tokens:
    """Attacks and bona fides with their cues, and their tokens as the frozen tower gives them."""

    def __init__(self, files: Sequence[Path], checkpoint: Any, threads: int) -> None:
        rows = [(sample, image_path(sample, file)) for file in files for sample in read_jsonl(file, Sample)]
        self.cues = [tuple(sample.meta.get("cues", ())) for sample, _ in rows]
        side = checkpoint.info.crop_side
        self.model, self.live = checkpoint.model, LivePictures([path for _, path in rows], checkpoint.processor, side)
        self.pool = ThreadPoolExecutor(threads)

    @torch.no_grad()
    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        """(B, K * T, D) of these pictures, K streams one after the other."""
        squares = zip(*self.pool.map(self.live.squares, rows.tolist()), strict=True)
        with autocast(None):
            streams = [self.live.processor.normalize(np.stack(stream)) for stream in squares]
            return torch.cat([self.model.encode_images(pixels, with_joint=False)[0].float() for pixels in streams], dim=1)

    def bear(self, vocabulary: Sequence[str]) -> NDArray[np.bool_]:
        """(N, U) which cues of the vocabulary each picture shows."""
        return np.array([[cue in cues for cue in vocabulary] for cues in self.cues], dtype=bool)


def trained(data: Tokens, vocabulary: Sequence[str], minutes: float, seed: int) -> AuxiliaryHeads:
    """The probe after one pass over the pictures, or after so many minutes."""
    torch.manual_seed(seed)
    heads, truth = AuxiliaryHeads(data.model.config.vision_config.hidden_size, 1, len(vocabulary)), data.bear(vocabulary)
    assert heads.token_cue is not None
    optimizer = torch.optim.AdamW(heads.token_cue.parameters(), lr=RATE, weight_decay=1e-3)
    order, start, seen = np.random.default_rng(seed).permutation(len(truth)), time.monotonic(), 0
    for begin in range(0, len(order), BATCH):
        done = max(begin / len(order), (time.monotonic() - start) / (60 * minutes))
        if done >= 1:
            break
        rows = order[begin : begin + BATCH]
        logits = heads.cues(data[rows])
        assert logits is not None
        target = torch.from_numpy(truth[rows]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.param_groups[0]["lr"] = RATE * cosine_rate(done, 0.0)
        optimizer.step()
        seen += len(rows)
    print(f"trained on {seen:,} of {len(order):,} pictures, {len(vocabulary)} cues")
    return heads


@torch.no_grad()
def judged(heads: AuxiliaryHeads, data: Tokens) -> NDArray[np.float64]:
    """(N, U) the probe's probabilities."""
    parts = []
    for rows in np.array_split(np.arange(len(data.cues)), -(-len(data.cues) // BATCH)):
        logits = heads.cues(data[rows])
        assert logits is not None
        parts.append(logits.sigmoid().double().numpy())
    return np.concatenate(parts)


def line(name: str, right: float, named: float, true: float, answers: int) -> str:
    share = "-" if not named else f"{100 * right / named:.1f}"
    return f"{name:28} {share:>9} {100 * right / true:7.1f} {named / answers:11.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare what the towers know of the cues with what the words say.")
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--predictions", type=Path, nargs="*", default=[])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = load(resolve_model(options.model), dtype=torch.float32)
    checkpoint.model.eval()
    train, test = (Tokens(files, checkpoint, options.threads) for files in (options.train, options.test))
    vocabulary = sorted({cue for cues in (*train.cues, *test.cues) for cue in cues})
    probabilities = judged(trained(train, vocabulary, options.minutes, options.seed), test)
    attacks = np.array([bool(cues) for cues in test.cues])
    truth = test.bear(vocabulary)[attacks]
    print(f"on {int(attacks.sum()):,} attacks with {truth.sum() / len(truth):.2f} cues each, in percent:")
    print(f"{'':28} {'precision':>9} {'recall':>7} {'per picture':>11}")
    for limit in LIMITS:
        named = probabilities[attacks] > limit
        print(line(f"probe, probability > {limit}", (named & truth).sum(), named.sum(), truth.sum(), len(truth)))
    rows = [row for file in options.predictions for row in read_jsonl(file, Prediction) if row.task == "reasoning"]
    rows = [row for row in rows if own_cues(row)]
    if rows:
        reader = CueReader([*vocabulary, *(cue for kind in TAXONOMY for cue in kind.cues)])  # as in `score`: bona fides' too
        words = CueScores(reader, [row.answer or "" for row in rows], [own_cues(row) for row in rows])
        print(line("words", words.right.sum(), words.named.sum(), words.true.sum(), len(rows)))


if __name__ == "__main__":
    main()
