"""Compares `inspect` (one look, four answers) with four `generate` calls: the same weights and crops, alternating.

python benchmarks/inspect_speed.py [--model tiny] [--samples DIR/samples.jsonl] [--photos 16] [--batch 8] [--out FILE]

The plain path is what a user of transformers would write: processor, `generate`, decode, once per question. Plain scores come
from the logits of the whole conversation, one forward pass per fixed answer, without any cache. The pictures are crops already
(face detection costs both sides the same). Without --samples they are the astronaut's head under varying light.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from skimage.data import astronaut

from faceshield import FaceShieldPredictor
from faceshield.images import open_picture
from faceshield.records import Sample, read_jsonl
from faceshield.tasks import COARSE, FINE, LOCALIZATION, REASONING, TASKS

RGB = NDArray[np.uint8]


def crops(samples: Path | None, count: int) -> list[RGB]:
    """Face crops: evenly spaced samples of a data set, or the astronaut's head."""
    if samples is None:
        head = Image.fromarray(astronaut()[20:230, 110:330])
        return [np.asarray(ImageEnhance.Brightness(head).enhance(0.6 + 0.8 * i / count)) for i in range(count)]
    rows = read_jsonl(samples, Sample)
    step = max(1, len(rows) // count)
    return [open_picture(samples.parent / row.image).rgb for row in rows[::step][:count]]


class Plain:
    """The plain path: one `generate` call per question."""

    def __init__(self, shield: FaceShieldPredictor) -> None:
        self.shield, self.model, self.processor = shield, shield.model, shield.processor

    @torch.inference_mode()
    def ask(self, crop: RGB, question: str) -> str:
        inputs = self.processor(images=self.shield._resized(crop), text=question)
        ends = {"eos_token_id": self.processor.eos_token_id, "pad_token_id": self.processor.pad_token_id}
        model: Any = self.model
        made = model.generate(**inputs, max_new_tokens=model.config.answer_tokens, do_sample=False, **ends)
        return self.processor.decode_answer(made[0, inputs["input_ids"].shape[1] :])

    def inspect(self, crop: RGB) -> dict[str, str]:
        return {name: self.ask(crop, task.question) for name, task in TASKS.items()}

    def two(self, crop: RGB) -> dict[str, str]:
        return {task.name: self.ask(crop, task.question) for task in (COARSE, FINE)}

    @torch.inference_mode()
    def score(self, crop: RGB) -> list[list[float]]:
        """Probabilities of the coarse answers and of the fine answers."""
        found = []
        for task in (COARSE, FINE):
            totals = []
            for answer in task.templates.values():
                inputs = self.processor(images=self.shield._resized(crop), text=task.question, answers=answer)
                labels = inputs.pop("labels")[0, 1:]
                chances = self.model(**inputs).logits[0, :-1].double().log_softmax(-1)
                spoken = labels != -100
                totals.append(chances[spoken].gather(-1, labels[spoken, None]).sum())
            chances = torch.stack(totals)
            if task is COARSE:
                scale, offset = self.shield.score_map
                score = torch.sigmoid(scale * (chances[0] - chances[1]) + offset).item()
                found.append([score, 1 - score])
            else:
                found.append(chances.softmax(0).tolist())
        return found


Taken = dict[str, list[float]]


def in_turns(work: dict[str, Callable[[int], object]], rounds: int, clock: Callable[[], float]) -> Taken:
    """Seconds of each, round by round, so that a shared machine's changing load affects all of them alike."""
    for one in work.values():
        one(0)
    taken: Taken = {name: [] for name in work}
    for number in range(rounds):
        for name, one in work.items():
            started = clock()
            one(number)
            taken[name].append(clock() - started)
    return taken


def times(taken: Taken, slow: str, fast: str) -> float:
    """How many times slower `slow` is than `fast`: the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(taken[slow], taken[fast], strict=True))


def same(shield: FaceShieldPredictor, plain: Plain, pictures: list[RGB]) -> dict[str, Any]:
    """How far the two paths differ: the number of answers that are not identical, and the largest difference of a score."""
    different, worst = 0, 0.0
    for crop in pictures:
        report, words, (coarse, fine) = shield.inspect(crop, face="whole"), plain.inspect(crop), plain.score(crop)
        different += report.reasoning != words[REASONING.name]
        different += report.meta["localization"] != words[LOCALIZATION.name]
        pairs = [(report.bonafide_score, coarse[0]), *zip(report.type_scores.values(), fine, strict=True)]
        worst = max(worst, *(abs(float(a or 0) - b) for a, b in pairs))
    return {"pictures": len(pictures), "answers": 2 * len(pictures), "different_answers": different, "worst_score_gap": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one look against four generate calls.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: of this process, on a shared machine")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    shield = FaceShieldPredictor.from_pretrained(options.model)
    plain, pictures = Plain(shield), crops(options.samples, options.photos)
    found: dict[str, Any] = {"model": options.model, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found["clock"] = options.clock
    found["same"] = same(shield, plain, pictures)

    taken = in_turns(
        {
            "plain": lambda i: plain.inspect(pictures[i]),
            "inspect": lambda i: shield.inspect(pictures[i], face="whole"),
            "classify": lambda i: shield.classify(pictures[i], face="whole"),
        },
        len(pictures),
        clock,
    )
    found["one_photo_s"] = {name: statistics.median(values) for name, values in taken.items()}
    found["inspection_times_faster"] = times(taken, "plain", "inspect")

    batch = (pictures * options.batch)[: options.batch]
    encoded = [shield.processor.encode_image(shield._resized(crop)) for crop in batch]
    pixels = torch.stack([first for first, _ in encoded])
    savp = torch.stack([second for _, second in encoded if second is not None]) if encoded[0][1] is not None else None
    streams = pixels if savp is None else torch.cat([pixels, savp])

    @torch.inference_mode()
    def towers(_: int) -> None:
        shield.model.model.vision_tower(streams)

    taken = in_turns(
        {
            "four_generate": lambda i: [plain.inspect(crop) for crop in batch],
            "two_generate": lambda i: [plain.two(crop) for crop in batch],
            "scores": lambda i: list(shield.inspect_many(batch, face="whole", tasks=["fine"], batch_size=options.batch)),
            "towers": towers,
            "inspect": lambda i: list(shield.inspect_many(batch, face="whole", batch_size=options.batch)),
        },
        max(3, len(pictures) // 4),
        clock,
    )
    found["batch"] = {"photos": len(batch)}
    found["batch"]["photos_per_s"] = {name: len(batch) / statistics.median(values) for name, values in taken.items()}
    found["batch"]["scores_times_four_generate"] = times(taken, "four_generate", "scores")
    found["batch"]["scores_times_two_generate"] = times(taken, "two_generate", "scores")
    found["batch"]["scores_over_towers"] = times(taken, "scores", "towers")
    found["batch"]["inspect_times_four_generate"] = times(taken, "four_generate", "inspect")
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
