"""Accuracy and time when the language model reads fewer vision tokens, chosen by PVTM's ranking and by two controls.

faceshield simulate --count 300 --seed 23 --split test --out DIR
python benchmarks/keep_tokens.py --samples DIR/samples.jsonl [--model tiny] [--keep 144 72 29] [--out FILE]

The towers run once per picture; each setting then reads the picture anew and scores it. Tokens are ranked once, for the coarse
question, and the ranking is used for both questions. "reversed" keeps the least important tokens, "random" any; a ranking that
is good for pruning must beat both. Seconds are CPU seconds of this process, for the language model alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from faceshield import FaceShieldPredictor
from faceshield.images import open_picture
from faceshield.model.reading import Reading
from faceshield.records import Sample, read_jsonl
from faceshield.tasks import COARSE


def chosen(ranking: str, scores: Tensor, keep: int, generator: torch.Generator) -> Tensor:
    """(1, keep) indices of the kept tokens, in ascending order."""
    if ranking == "random":
        scores = torch.rand(scores.shape, generator=generator)
    return (-scores if ranking == "reversed" else scores).topk(keep).indices.sort().values


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the pruning of vision tokens.")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--keep", type=int, nargs="+", default=[144, 72, 29])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shield = FaceShieldPredictor.from_pretrained(options.model, device="cpu")
    model, processor = shield.model, shield.processor
    samples = list(read_jsonl(options.samples, Sample))
    prompts = processor.encode_prompts(COARSE.question)
    settings: list[tuple[str, int | None]] = [("all", None)]
    settings += [(ranking, keep) for keep in options.keep for ranking in ("pvtm", "reversed", "random")]
    scores: dict[Any, list[float]] = {setting: [] for setting in settings}
    types: dict[Any, int] = dict.fromkeys(settings, 0)
    taken: dict[Any, float] = dict.fromkeys(settings, 0.0)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for number, sample in enumerate(samples):
            crop = shield._resized(open_picture(options.samples.parent / sample.image).rgb)
            streams = [stream[None] for stream in processor.encode_image(crop) if stream is not None]
            features, joint = model.encode_images(*streams)
            ranks = model.model.token_scores(features, joint, prompts)
            for setting in settings:
                ranking, keep = setting
                started = time.process_time()
                kept = None if keep is None else chosen(ranking, ranks, keep, generator)
                evidence = shield._evidence(Reading(model, processor, features, kept=kept))
                bonafide, kinds = shield._scores(*evidence)[0]
                taken[setting] += time.process_time() - started
                scores[setting].append(bonafide)
                types[setting] += max(kinds, key=kinds.__getitem__) == sample.presentation_type
            if number % 50 == 49:
                print(f"{number + 1} of {len(samples)}", flush=True)
    attack = [sample.is_attack for sample in samples]
    rows = []
    for (ranking, keep), found in scores.items():
        said = [score < shield.threshold for score in found]
        apcer = sum(not s for s, a in zip(said, attack, strict=True) if a) / sum(attack)
        bpcer = sum(s for s, a in zip(said, attack, strict=True) if not a) / (len(attack) - sum(attack))
        whole = [score < shield.threshold for score in scores["all", None]]
        flips = sum(one != other for one, other in zip(said, whole, strict=True))
        rows.append(
            {
                "ranking": ranking,
                "keep": keep,
                "auc": roc_auc_score([not a for a in attack], found),
                "apcer": apcer,
                "bpcer": bpcer,
                "type_accuracy": types[ranking, keep] / len(samples),
                "other_verdicts": flips,
                "ms": 1000 * taken[ranking, keep] / len(samples),
            }
        )
    text = json.dumps({"model": options.model, "n": len(samples), "rows": rows}, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
