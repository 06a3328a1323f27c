"""PADISI-Face in both products, at both sizes that there have been: blue first, floats, one picture a sample."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image

from faceshield.datasets import PrepareConfig, prepare, rejects_path
from faceshield.datasets.padisi import Padisi
from faceshield.records import Sample, read_jsonl

CODES = ["m00000", "m50101", "m50105", "m50201", "m50301", "m50401", "m50507", "m50601", "m50701", "m50802", "m50901"]
KINDS = [
    "Bonafide", "Glasses", "Glasses", "Print", "Fakehead", "Rigid mask", "Rigid mask", "Makeup", "Flexible mask", "Glasses",
    "Tattoo",
]  # fmt: skip


def identifier(number: int) -> str:
    return f"ID_{number:040x}_{number:08x}_FACE_NEUTRAL_WITHOUT_GLASS"


def tables(root: Path, rows: int) -> None:
    folder = root / "PADISI_USC_Dataset" / "data" / "face_partitions"
    folder.mkdir(parents=True)
    head = "transaction_id,trial_id,trial_name,modality,ground_truth,participant_id,gender,ethnicity,race,age"
    lines = [f"{n:040x},{n:08x},FACE_1,COLOR,{CODES[n]},{700 + n // 2},f,x,y,30" for n in range(rows)]
    (folder / "padisi_USC_FACE_ground_truth.csv").write_text("\n".join([head, *lines]) + "\n")
    lines = [f"{n:040x},{n:08x},FACE_1,it is attack {n},a face with plastic" for n in range(rows)]
    head = "transaction_id,trial_id,trial_name,des0,des1"
    (folder / "padisi_USC_FACE_descriptions.csv").write_text("\n".join([head, *lines]) + "\n")
    head = "transaction_id,trial_id,trial_name,partition_name"
    for part in range(3):
        lines = [f"{n:040x},{n:08x},FACE_1,{('train', 'valid', 'test')[(n + part) % 3]}" for n in range(rows)]
        (folder / f"padisi_USC_FACE_dataset_partition_3folds_part{part}.csv").write_text("\n".join([head, *lines]) + "\n")


def pixels(number: int, channels: int, size: tuple[int, int]) -> np.ndarray:
    values = np.zeros((channels, *size), np.float16 if channels > 3 else np.float32)
    values[0], values[1], values[2] = 0.2, 0.4, 0.8  # blue, green, red
    values[:3, 0, 0] = number / 255
    return values


def run(data: Padisi, out: Path) -> tuple[list[Sample], list[dict[str, str]]]:
    prepare(data, PrepareConfig(out=out, workers=0))
    return read_jsonl(out, Sample), [json.loads(line) for line in rejects_path(out).read_text().splitlines()]


def check(samples: list[Sample], folder: Path, size_wh: tuple[int, int]) -> None:
    assert [s.original_label for s in samples] == CODES and [s.presentation_type for s in samples] == KINDS
    assert [s.subject for s in samples] == [str(700 + n // 2) for n in range(len(CODES))]
    assert [s.split for s in samples[:3]] == ["train", "dev", "test"]
    assert samples[0].meta["splits"] == {"3folds_part0": "train", "3folds_part1": "dev", "3folds_part2": "test"}
    assert {s.original_label for s in samples if "flag" in s.meta} == {"m50105", "m50507"}
    for sample in samples:
        stored = np.asarray(Image.open(folder / sample.image))
        assert sample.size_wh == size_wh and tuple(stored[5, 5]) == (204, 102, 51)


@pytest.mark.parametrize("size", [(320, 256), (160, 80)])
def test_multi_spectral(tmp_path: Path, size: tuple[int, int]) -> None:
    root = tmp_path / "padisi"
    tables(root, len(CODES))
    (root / "npz").mkdir()
    for number in range(len(CODES)):
        np.savez_compressed(root / "npz" / f"{identifier(number)}.npz", data=pixels(number, 22, size)[None])
    (root / "npz" / f"{identifier(99)}.npz").write_bytes(b"x")
    (root / "npz" / "thing.npz").write_bytes(b"x")
    whole = (root / "npz" / f"{identifier(3)}.npz").read_bytes()
    samples, problems = run(Padisi(root), tmp_path / "samples.jsonl")
    check(samples, tmp_path, (size[1], size[0]))
    assert sorted(p["reason"] for p in problems) == ["name", "unlisted"]
    assert samples[2].meta["descriptions"] == ["it is attack 2", "a face with plastic"] and samples[2].frame is None
    (root / "npz" / f"{identifier(3)}.npz").write_bytes(whole[: len(whole) // 2])
    samples, problems = run(Padisi(root), tmp_path / "again.jsonl")
    assert len(samples) == len(CODES) - 1 and [p["reason"] for p in problems].count("unreadable") == 1


def test_the_colour_dump_is_opened_only_when_told_to(tmp_path: Path) -> None:
    root = tmp_path / "padisi"
    tables(root, len(CODES))
    dump = {
        "data": np.stack([pixels(number, 3, (80, 64)) for number in range(len(CODES))]),
        "identifiers": [identifier(number) for number in range(len(CODES))],
        "labels": [code != "m00000" for code in CODES],
        "pai_codes": CODES,
    }
    joblib.dump(dump, root / "padisi_USC_FACE_preprocessed.bz2", compress=("bz2", 1))
    samples, problems = run(Padisi(root), tmp_path / "refused.jsonl")
    assert not samples and problems[0]["reason"] == "pickle" and "--trust-pickle" in problems[0]["detail"]
    samples, problems = run(Padisi(root, trust_pickle=True, scratch=tmp_path), tmp_path / "samples.jsonl")
    check(samples, tmp_path, (64, 80))
    assert not problems and not list(tmp_path.glob(".padisi-colour*"))  # what it kept beside the output is gone
    # Both products in one folder are one data set.
    np.savez_compressed(root / f"{identifier(0)}.npz", data=pixels(0, 22, (80, 64))[None])
    samples, problems = run(Padisi(root, trust_pickle=True, scratch=tmp_path), tmp_path / "both.jsonl")
    assert len(samples) == len(CODES) and not problems
    dump["labels"][3] = not dump["labels"][3]
    joblib.dump(dump, root / "padisi_USC_FACE_preprocessed.bz2", compress=("bz2", 1))
    samples, problems = run(Padisi(root, trust_pickle=True, scratch=tmp_path), tmp_path / "odd.jsonl")
    assert len(samples) == len(CODES) - 1 and [p["reason"] for p in problems] == ["label"]
    (root / "padisi_USC_FACE_preprocessed.bz2").write_bytes(b"BZh9 cut off")
    samples, problems = run(Padisi(root, trust_pickle=True, scratch=tmp_path), tmp_path / "broken.jsonl")
    assert len(samples) == 1 and problems[0]["reason"] == "unreadable"
    assert [p["reason"] for p in problems[1:]] == ["absent"] * (len(CODES) - 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace(",", ";"), r"partition_3folds_part0.csv:1: no column trial_id"),
        (lambda text: text.replace("\n", ",more\n").replace(",more\n", "\n", 1), r"part0.csv:2: more cells than columns"),
    ],
    ids=["semicolons", "an unquoted comma"],
)
def test_a_broken_table_is_named_with_its_line(tmp_path: Path, spoil: Callable[[str], str], said: str) -> None:
    tables(tmp_path / "padisi", 2)
    (file,) = tmp_path.rglob("*partition_3folds_part0.csv")
    file.write_text(spoil(file.read_text()))
    with pytest.raises(ValueError, match=said):
        Padisi(tmp_path / "padisi").read_lists()
