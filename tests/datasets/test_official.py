"""Official protocols from a user's lists to train, dev and test: WMCA's eight, PADISI's folds, SiW-Mv2's P1 to P3."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from faceshield.datasets import DATASETS, PrepareConfig, SplitConfig, prepare, split
from faceshield.datasets.siw_mv2 import TYPES
from faceshield.records import Sample, read_jsonl
from media_files import hdf5, npz, video

WMCA_ATTACKS = {
    "fakehead": "2_01", "flexiblemask": "2_80", "glasses": "1_05", "papermask": "2_09", "prints": "3_01", "replay": "4_02",
    "rigidmask": "2_14",
}  # fmt: skip
WORDS = {"train": "train", "dev": "dev", "test": "eval"}


def prepared(name: str, root: Path, out: Path) -> Path:
    summary = prepare(DATASETS[name](root), PrepareConfig(out=out, workers=0, frames_per_video=1))
    assert not summary.lost
    return out


def held(folder: Path, samples: Path, name: str) -> dict[str, set[str]]:
    """Split -> own labels, or videos."""
    split([samples], SplitConfig(out=folder, protocol="official", name=name, dev_share=0.0))
    found = defaultdict(set)
    for file in folder.glob("*.jsonl"):
        found[file.stem] = {row.video or row.id.split("_")[-1] for row in read_jsonl(file, Sample)}
    return found


@pytest.fixture(scope="module")
def wmca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bona fide video and one of each attack in each of the three parts, and the eight lists."""
    root = tmp_path_factory.mktemp("wmca")
    lists: dict[str, list[str]] = defaultdict(list)
    for place, (part, word) in enumerate(WORDS.items()):
        codes = {"bonafide": "0_00", **WMCA_ATTACKS}
        for number, (attack, code) in enumerate(codes.items()):
            stem = f"0{place}{number}_01_000_{code}"
            hdf5(root / "WMCA_preprocessed_RGB/WMCA/face-station/01.02.18" / f"{stem}.hdf5", [0], (10 * number, 60 * place, 99))
            line = f"face-station/01.02.18/{stem},{int(attack != 'bonafide')},{attack},{word}"
            lists["grandtest"].append(line)
            for left_out in WMCA_ATTACKS:
                # The attack is in eval alone, and there with bona fide alone.
                if attack == "bonafide" or (attack == left_out) == (part == "test"):
                    lists[f"LOO_{left_out}"].append(line)
    for name, lines in lists.items():
        (root / f"PROTOCOL-{name}.csv").write_text("\n".join(lines))
    return prepared("wmca", root, root / "out" / "samples.jsonl")


@pytest.mark.parametrize("name", ["grandtest", *(f"LOO_{attack}" for attack in WMCA_ATTACKS)])
def test_wmca(wmca: Path, tmp_path: Path, name: str) -> None:
    found = {part: {"_".join(video.split("_")[3:]) for video in videos} for part, videos in held(tmp_path, wmca, name).items()}
    every = {"0_00", *WMCA_ATTACKS.values()}
    if name == "grandtest":
        assert found == {"train": every, "dev": every, "test": every}
    else:
        unknown = WMCA_ATTACKS[name.removeprefix("LOO_")]
        assert found == {"train": every - {unknown}, "dev": every - {unknown}, "test": {"0_00", unknown}}


def test_padisi(tmp_path: Path) -> None:
    tables = tmp_path / "face_partitions"
    tables.mkdir()
    trials = [f"{n:08x}" for n in range(6)]
    for number, trial in enumerate(trials):
        npz(tmp_path / f"ID_{number:040x}_{trial}_FACE.npz", (30 * number, 90, 10))
    rows = [f"t,{trial},FACE,COLOR,{'m50901' if n % 2 else 'm00000'},{n}" for n, trial in enumerate(trials)]
    head = "transaction_id,trial_id,trial_name,modality,ground_truth,participant_id"
    (tables / "padisi_USC_FACE_ground_truth.csv").write_text("\n".join([head, *rows]))
    words = ("train", "valid", "test")
    for name, part_of in {**{f"3folds_part{k}": lambda n, k=k: words[(n + k) % 3] for k in range(3)},
                          "all_test": lambda n: "test"}.items():  # fmt: skip
        rows = [f"t,{trial},FACE,{part_of(n)}" for n, trial in enumerate(trials)]
        file = tables / f"padisi_USC_FACE_dataset_partition_{name}.csv"
        file.write_text("\n".join(["transaction_id,trial_id,trial_name,partition_name", *rows]) + "\n")
    samples = prepared("padisi", tmp_path, tmp_path / "out" / "samples.jsonl")
    for fold in range(3):
        split([samples], SplitConfig(out=tmp_path / f"{fold}", protocol="official", name=f"3folds_part{fold}"))
        for place, part in enumerate(("train", "dev", "test")):
            found = {row.meta["trial_id"] for row in read_jsonl(tmp_path / f"{fold}" / f"{part}.jsonl", Sample)}
            assert found == {trial for n, trial in enumerate(trials) if (n + fold) % 3 == place}
    report = split([samples], SplitConfig(out=tmp_path / "all", protocol="official", name="all_test"))
    assert {part: sum(counts.values()) for part, counts in report.counts.items()} == {"test": 6}


@pytest.fixture(scope="module")
def siw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each kind, of which the first is trained on; the lists repeat names, as the authors' do."""
    root = tmp_path_factory.mktemp("siw")
    lists: dict[str, list[str]] = defaultdict(list)
    stems = [stem for stem, kind in TYPES.items() if kind]
    for place, stem in enumerate(stems):
        for number, part in ((1, "train"), (2, "test")):
            folder = root / ("Live" if stem == "Live" else f"Spoof/{stem}")
            video(folder / f"{stem}_{number}.mov", frames=2, colour=(15 * place, 100 * number, 20))
            lists[f"{part}list_{'live' if stem == 'Live' else 'all'}"] += [f"{stem}_{number}"] * (5 if part == "train" else 1)
    lists["train_A_pretrain"], lists["test_A_pretrain"] = ["Live_1", "Paper_1"], ["Live_2", "Replay_1"]
    for place, name in enumerate(("test_B_spoof", "test_C_race", "test_D_age", "test_E_ill")):
        lists[name] = [f"{stems[place + 1]}_2"]
    (root / "pro_3_text").mkdir()
    for name, lines in lists.items():
        (root / "pro_3_text" / f"{name}.txt").write_text("\n".join(lines))
    return prepared("siw-mv2", root, root / "out" / "samples.jsonl")


def test_siw_mv2_known_and_across(siw: Path, tmp_path: Path) -> None:
    stems = {stem for stem, kind in TYPES.items() if kind}
    assert held(tmp_path / "1", siw, "P1") == {
        "train": {f"{stem}_1" for stem in stems}, "test": {f"{stem}_2" for stem in stems},
    }  # fmt: skip
    a, letters = {"Live_2", "Replay_1"}, {"A": {"Live_2", "Replay_1"}}
    for letter, stem in zip("BCDE", [stem for stem in TYPES if stem != "Live"], strict=False):
        letters[letter] = {f"{stem}_2"}
    for letter, tested in letters.items():
        assert held(tmp_path / letter, siw, f"P3_{letter}") == {"train": {"Live_1", "Paper_1"}, "test": tested}
    everything = held(tmp_path / "3", siw, "P3")
    assert everything["test"] == set().union(a, *letters.values()) and everything["train"] == {"Live_1", "Paper_1"}


@pytest.mark.parametrize("stem", [stem for stem, kind in TYPES.items() if kind not in ("Bonafide", None)])
def test_siw_mv2_one_unknown(siw: Path, tmp_path: Path, stem: str) -> None:
    """Every video of the unknown attack is tested, those of the training list too; no other attack is."""
    others = {other for other, kind in TYPES.items() if kind} - {stem}
    assert held(tmp_path, siw, f"P2_{stem}") == {
        "train": {f"{other}_1" for other in others}, "test": {f"{stem}_1", f"{stem}_2", "Live_2"},
    }  # fmt: skip
