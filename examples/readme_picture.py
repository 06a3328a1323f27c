"""Makes docs/report.png: four drawn faces, one bona fide and three attacked, inspected and annotated by the shipped model.

Use: `python examples/readme_picture.py [--model tiny] [--out docs/report.png] [--seed 4]`. With seeds 1 to 6
all verdicts are right; with 1 and 6 the mask is called make-up and a paper mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from faceshield import FaceShieldPredictor
from faceshield.annotate import annotate
from faceshield.simulate.attacks import attack
from faceshield.simulate.camera import capture, draw_settings
from faceshield.simulate.drawn import draw_portrait
from faceshield.simulate.scene import compose_scene

TYPES = ("Bonafide", "Print", "Rigid mask", "Glasses")
SIDE = 448


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the README's picture from drawn faces.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--out", type=Path, default=Path("docs/report.png"))
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    shield = FaceShieldPredictor.from_pretrained(options.model)
    panels = []
    for index, name in enumerate(TYPES):
        rng = np.random.default_rng([options.seed, index])
        scene = compose_scene(draw_portrait(rng, rng, f"drawn-{index}"), rng)
        attacked = attack(scene, name, rng)
        photo = capture(attacked.image, rng, size=SIDE, settings=draw_settings(rng, severity=0.4))
        panels.append(annotate(photo, shield.inspect(photo, face="whole")))
    height = 460
    panels = [panel.resize((round(panel.width * height / panel.height), height)) for panel in panels]
    sheet = Image.new("RGB", (sum(panel.width + 8 for panel in panels) - 8, height), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, 0))
        left += panel.width + 8
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(200).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
