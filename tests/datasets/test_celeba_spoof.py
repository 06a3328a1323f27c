"""CelebA-Spoof: kinds out of 44 numbers, faces on their grid, lists that name too much and too little."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceshield.datasets import DATASETS, PrepareConfig, celeba_spoof, prepare, rejects_path
from faceshield.records import Sample, read_jsonl


def numbers(kind: int) -> list[int]:
    return [0] * 40 + [kind, 1, 0, int(kind > 0)]


@pytest.mark.parametrize("block", [1 << 20, 64])
def test_celeba_spoof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(celeba_spoof, "_BLOCK", block)
    root = tmp_path / "CelebA_Spoof"
    labels: dict[str, dict[str, list[int]]] = {"train": {}, "test": {}}
    for kind in range(11):
        split, side = ("train", "test")[kind % 2], "spoof" if kind else "live"
        path = root / "Data" / split / f"{kind + 4}" / side / f"{kind:06}.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((20, 10, 3), (kind, 5, 9), np.uint8)).save(path)
        path.with_name(f"{path.stem}_BB.txt").write_text("10 20 100 112 0.99\n")
        labels[split][f"Data/{split}/{kind + 4}/{side}/{path.name}"] = numbers(kind)
    labels["train"]["Data/train/9999/live/000001.jpg"] = numbers(0)
    extra = root / "Data" / "train" / "4" / "live"
    Image.fromarray(np.full((20, 10, 3), 77, np.uint8)).save(extra / "000100.png")
    Image.fromarray(np.full((20, 10, 3), 78, np.uint8)).save(extra / "000101.png")
    labels["train"]["Data/train/4/live/000101.png"] = numbers(3)
    (root / "metas" / "intra_test").mkdir(parents=True)
    for split, rows in labels.items():
        (root / "metas" / "intra_test" / f"{split}_label.json").write_text(json.dumps(rows))
    config = PrepareConfig(out=tmp_path / "samples.jsonl", workers=0)
    summary = prepare(DATASETS["celeba-spoof"](root), config)
    rows = {int(Path(row.image).stem): row for row in read_jsonl(config.out, Sample)}
    assert sorted(rows) == list(range(11))
    kinds = ["Bonafide", "Print", "Print", "Print", *["Paper mask"] * 3, *["Replay"] * 3, "Rigid mask"]
    assert [rows[kind].presentation_type for kind in range(11)] == kinds
    assert rows[10].original_label == "3d mask" and rows[10].split == "train" and rows[10].subject == "14"
    assert not rows[3].boxes  # a face is no attack region
    cropped = PrepareConfig(out=tmp_path / "faces.jsonl", workers=0, crop="boxes", margin=0.0)
    prepare(DATASETS["celeba-spoof"](root), cropped)
    assert {row.size_wh for row in read_jsonl(cropped.out, Sample)} == {(10, 10)}  # of 10 x 20: around 0.4 to 4.9, 1.8 to 11.8
    problems = [json.loads(line) for line in rejects_path(config.out).read_text().splitlines()]
    assert sorted((p["reason"], Path(p["path"]).stem) for p in problems) == [
        ("absent", "000001"), ("label", "000101"), ("unlisted", "000100"),
    ]  # fmt: skip
    assert dict(summary.ignored) == {".txt": 11, ".json": 2}
