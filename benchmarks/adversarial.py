"""How many verdicts does a small white-box adversarial perturbation flip?

    python benchmarks/adversarial.py samples.jsonl [--model tiny] [--count 12] [--budgets 1 2 4] [--steps 5]

Projected gradient descent (Madry et al., 2018) in the maximum norm, with budgets in levels of 255, moves the difference of the
two fixed answers' log-probabilities away from the true class. The gradient flows through the RGB stream only: the descriptors
(SAVP) have none, but are recomputed at each step. The verdict is on the picture rounded to 8 bits, through the whole pipeline.
Only pictures that are judged correctly when unchanged count, half bona fide and half attacks as far as available. Noise of the
same budget (a random sign at every value) is the control.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from faceshield.evaluation.metrics.intervals import rate
from faceshield.images import load_rgb
from faceshield.predictor import FaceShieldPredictor
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.tasks import COARSE

Picture = NDArray[np.uint8]


def margin(shield: FaceShieldPredictor, rgb: Tensor) -> Tensor:
    """Log-probability of the bona fide answer minus that of the attack answer; rgb (1, 3, H, W) in 0..255, with gradient."""
    processor, model = shield.processor, shield.model
    side, (height, width) = processor.image_size, rgb.shape[2:]
    longer = max(height, width)
    top, left = (longer - height) // 2, (longer - width) // 2
    padded = functional.pad(rgb, (left, longer - width - left, top, longer - height - top), value=127.0)  # as in the processor
    square = functional.interpolate(padded, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    pixels = processor.normalize(square[0].movedim(0, -1))[None]
    as_bytes = rgb.detach().round().clamp(0, 255).to(torch.uint8)[0].movedim(0, -1).numpy()
    second = processor.encode_image(as_bytes)[1]
    features, joint = model.encode_images(pixels, None if second is None else second[None])
    question = processor.encode_question(COARSE.question)
    scores = []
    for name in ("bonafide", "attack"):
        answer = processor.encode_answer(COARSE.templates[name])
        ids = torch.tensor([[*question, *answer]])
        logits = model(
            input_ids=ids, attention_mask=torch.ones_like(ids), vision_features=features, vision_joint=joint,
            prompt_input_ids=processor.encode_prompts([COARSE.question]), logits_to_keep=len(answer) + 1,
        ).logits  # fmt: skip
        told = logits[0, :-1].float().log_softmax(-1)
        scores.append(told.gather(1, torch.tensor(answer)[:, None]).sum())
    return scores[0] - scores[1]


def perturbed(shield: FaceShieldPredictor, rgb: Picture, is_attack: bool, budget: float, steps: int) -> Picture:
    """The picture, changed within the budget so that its true class becomes less likely."""
    start = torch.from_numpy(rgb.astype(np.float32)).movedim(-1, 0)[None]
    moved, wanted = start.clone(), 1.0 if is_attack else -1.0
    for _ in range(steps):
        moved.requires_grad_(True)
        (gradient,) = torch.autograd.grad(wanted * margin(shield, moved), moved)
        step = moved.detach() + 2.5 * budget / steps * gradient.sign()
        moved = (start + (step - start).clamp(-budget, budget)).clamp(0, 255)
    return moved.round()[0].movedim(0, -1).to(torch.uint8).numpy()


def shaken(rgb: Picture, budget: float, rng: np.random.Generator) -> Picture:
    """The picture with noise of the same budget."""
    return (rgb + budget * rng.choice([-1.0, 1.0], rgb.shape)).round().clip(0, 255).astype(np.uint8)


def judged_rightly(
    shield: FaceShieldPredictor, samples: Path, count: int, rng: np.random.Generator
) -> list[tuple[Picture, bool]]:
    """(picture, is_attack) of correctly judged pictures, half of each kind as far as available."""
    rows = read_jsonl(samples, Sample)
    found: dict[bool, list[tuple[Picture, bool]]] = {False: [], True: []}
    for index in rng.permutation(len(rows)):
        row = rows[index]
        if len(found[row.is_attack]) >= (count + 1) // 2:
            continue
        rgb = np.asarray(load_rgb(image_path(row, samples)))
        if shield.detect(rgb, face="whole").is_attack == row.is_attack:
            found[row.is_attack].append((rgb, row.is_attack))
        if sum(map(len, found.values())) >= count:
            break
    return found[False] + found[True]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--model", default="tiny", help="tiny, a checkpoint folder or a hub id")
    parser.add_argument("--count", type=int, default=12, help="pictures to perturb")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[1, 2, 4], help="largest changes of a value, in levels of 255"
    )
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shield = FaceShieldPredictor.from_pretrained(options.model, device="cpu")
    shield.model.requires_grad_(True)  # otherwise the towers pass no gradient on, not even to the picture
    rng = np.random.default_rng(options.seed)
    pictures = judged_rightly(shield, options.samples, options.count, rng)
    print(f"{options.samples}: model {options.model}, {len(pictures)} pictures judged rightly, {options.steps} steps")
    print(f"{'budget':>6} {'':8} {'bona fide refused%':>26} {'attacks let in%':>26}")
    for budget in options.budgets:
        for name in ("noise", "PGD"):
            wrong: dict[bool, list[bool]] = {False: [], True: []}
            for rgb, is_attack in pictures:
                noisy = name == "noise"
                changed = shaken(rgb, budget, rng) if noisy else perturbed(shield, rgb, is_attack, budget, options.steps)
                wrong[is_attack].append(shield.detect(changed, face="whole").is_attack != is_attack)
            cells = []
            for kind in (False, True):
                found = rate(sum(wrong[kind]), len(wrong[kind]))
                low, high = found.ci95 or (0.0, 1.0)
                cells.append(f"{100 * (found.value or 0):6.1f} [{100 * low:4.1f}, {100 * high:5.1f}] n={found.n}")
            print(f"{budget:6g} {name:8} {cells[0]:>26} {cells[1]:>26}", flush=True)


if __name__ == "__main__":
    main()
