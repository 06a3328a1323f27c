"""`make demo`: inspects scikit-image's astronaut and three simulated attacks of her: a print, a replay and false eyes.

Writes the four pictures, their annotated copies and `report.html` into out/demo and prints the table.
Everything runs locally; nothing is downloaded. The astronaut (Eileen Collins, NASA) is in the public domain.

python examples/demo.py [--out out/demo] [--model tiny] [--seed 0]

Other seeds give other attacks: of the 27 attacks of seeds 0 to 8, faceshield-tiny detects 23 (22 with the right type), lets 3
in and finds no face in one; with seeds 0, 1, 2, 5, 6 and 7 it detects all three.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from faceshield import FaceShieldPredictor
from faceshield.cli.inspect import ensure_writable, inspect_all
from faceshield.simulate.dataset import attack_photo

ATTACKS = ("Print", "Replay", "Partial Eye")


def make_photos(folder: Path, seed: int) -> list[Path]:
    """The astronaut and her three attacks as PNG files."""
    photo = np.asarray(astronaut())
    pictures = {"astronaut": photo}
    for name in ATTACKS:
        pictures[f"astronaut-{name.lower().replace(' ', '-')}"] = attack_photo(photo, name, seed)[0]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for stem, picture in pictures.items():
        path = folder / f"{stem}.png"
        Image.fromarray(picture).save(path)
        paths.append(path)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description="Inspect the astronaut and three simulated attacks of her.")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ensure_writable(options.out)
    paths = make_photos(options.out / "photos", options.seed)
    shield = FaceShieldPredictor.from_pretrained(options.model)
    return 2 if inspect_all(shield, paths, face="detect", as_json=False, out=options.out) else 0


if __name__ == "__main__":
    raise SystemExit(main())
