"""Each data set in the layout in which it lies: every sample with all that is known of it, in its true colours; no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from faceshield.datasets import DATASETS, PrepareConfig, prepare, rejects_path
from faceshield.records import Sample, image_path, read_jsonl
from media_files import WRITERS


class File(NamedTuple):
    """A file, and what is known of its samples."""

    path: str
    label: str
    kind: str
    subject: str | None = None
    split: str | None = None


def trial(number: int) -> str:
    return f"ID_{number:040x}_{number:08x}_FACE_NEUTRAL_WITHOUT_GLASS"


WMCA = "WMCA_preprocessed_RGB/WMCA/face-station/31.01.18"
TREES: dict[str, list[File]] = {
    "wmca": [
        File(f"{WMCA}/001_01_000_0_00.hdf5", "0_00", "Bonafide", "001", "train"),
        File(f"{WMCA}/514_01_035_1_05.hdf5", "1_05", "Glasses", "514", "test"),
        File("WMCA/preprocessed-face-station_RGB/01.02.18/002_01_035_3_05.hdf5", "3_05", "Replay", "002"),
        File("WMCA/preprocessed-face-station_RGB/face-station/01.02.18/003_01_035_3_04.hdf5", "3_04", "Print", "003"),
    ],
    "siw-mv2": [
        File("SiW-Mv2/Live/Live_1.mov", "Live", "Bonafide", None, "train"),
        File("SiW-Mv2/Live/Live_889.mp4", "Live", "Bonafide", None, "test"),
        File("SiW-Mv2/Spoof/Paper/Paper_3.mov", "Paper", "Print", None, "train"),
        File("SiW-Mv2/Spoof/Print/Paper_4.mov", "Paper", "Print"),
        File("SiW-Mv2/Spoof/Partial_FunnyeyeGlasses/Partial_Funnyeye_4.avi", "Partial_Funnyeye", "Glasses"),
        File("older/Live/Test/Live_17.mov", "Live", "Bonafide", None, "test"),
        File("older/Spoof/Mask_MannequinHead/Mask_Mann_5.mov", "Mask_Mann", "Fakehead"),
        File("cut/Train/spoof/Mask_Half_9/1.png", "Mask_Half", "Rigid mask", None, "train"),
        File("SiW-M/Makeup/Obfuscation/clip_8.mov", "Makeup_Ob", "Makeup"),
    ],
    "padisi": [
        File(f"MULTI_SPECTRAL/{trial(0)}.npz", "m00000", "Bonafide", "700", "train"),
        File(f"MULTI_SPECTRAL/{trial(1)}.npz", "m50901", "Tattoo", "701", "dev"),
    ],
    "celeba-spoof": [
        File("CelebA_Spoof/Data/train/4/live/000001.jpg", "live", "Bonafide", "4", "train"),
        File("CelebA_Spoof/Data/test/5/spoof/000002.png", "pad", "Replay", "5", "test"),
    ],
    "oulu-npu": [
        File("OULU/Train_files/1_1_01_1.avi", "1", "Bonafide", "01", "train"),
        File("OULU/Test_files/6_3_55_4.avi", "4", "Replay", "55", "test"),
    ],
    "casia-fasd": [
        File("train_release/1/HR_1.avi", "HR_1", "Bonafide", "train-1", "train"),
        File("test_release/1/5.avi", "5", "Print", "test-1", "test"),
    ],
    "replay-attack": [
        File("train/real/client001_session01_webcam_authenticate_adverse_1.mov", "real", "Bonafide", "001", "train"),
        File(
            "devel/attack/hand/attack_highdef_client003_session01_highdef_video_controlled.mov",
            "highdef", "Replay", "003", "dev",
        ),
    ],
    "msu-mfsd": [
        File("scene01/real/real_client001_android_SD_scene01.mp4", "real", "Bonafide", "001", "train"),
        File(
            "scene01/attack/attack_client055_laptop_SD_printed_photo_scene01.mov",
            "printed_photo", "Print", "055", "test",
        ),
    ],
    "siw": [
        File("Train/live/003/003-1-1-1-1.mov", "1", "Bonafide", "003", "train"),
        File("Test/spoof/165/165-2-3-4-1.mov", "3", "Replay", "165", "test"),
    ],
    "casia-surf": [
        File("Training/real_part/CLKJ_AS0137/real.rssdk/color/31.jpg", "real", "Bonafide", "CLKJ_AS0137", "train"),
        File("Val/0007/007243-color.jpg", "fake", "Print", None, "dev"),
        File("Val/0008/007244-color.jpg", "real", "Bonafide", None, "dev"),
    ],
    "cefa": [
        File("AF-300/1_001_1_1_1/profile/0026.jpg", "1", "Bonafide", "1_001"),
        File("AF-300/1_001_3_1_2/profile/0026.jpg", "2", "Flexible mask", "1_001"),
    ],
    "hifimask": [
        File("HiFiMask/1_02_0_1_1_4/0001.png", "0", "Bonafide", "02"),
        File("HiFiMask/3_25_3_6_4_7/0010.png", "3", "Rigid mask", "25"),
    ],
    "hq-wmca": [
        File("HQ-WMCA/1_01_0002_0000_00_00_000-5a1b2c3d.h5", "00_00", "Bonafide", "0002"),
        File("HQ-WMCA/1_02_0009_0003_03_01_012-0badcafe.h5", "03_01", "Print", "0009"),
    ],
    "lcc-fasd": [
        File("LCC_FASD/LCC_FASD_training/real/real_1.png", "real", "Bonafide", None, "train"),
        File("LCC_FASD/LCC_FASD_development/spoof/spoof_1.png", "spoof", "Replay", None, "dev"),
    ],
    "nuaa": [
        File("raw/ClientRaw/0001/0001_00_00_01_0.jpg", "ClientRaw", "Bonafide", "0001", "train"),
        File("raw/ImposterRaw/0002/0002_00_00_01_0.jpg", "ImposterRaw", "Print", "0002", "test"),
    ],
    "rose-youtu": [
        File("train/2/G_NT_5s_wg_2_1.mp4", "G", "Bonafide", "2", "train"),
        File("test/_23/Mu_HS_wg_E_23_112.mp4", "Mu", "Paper mask", "23", "test"),
    ],
    "uniattack": [
        File("Data/live/0001/1.png", "live", "Bonafide"),
        File("phase1/p2.1/dev/7.png", "1", "Print", None, "dev"),
    ],
    "folder": [
        File("real/anna/a.jpg", "Bonafide", "Bonafide", "anna"),
        File("attack/paper-mask/ben/b.mp4", "Paper mask", "Paper mask", "ben"),
    ],
}  # fmt: skip

LISTS: dict[str, dict[str, str]] = {
    "wmca": {
        "protocols/PROTOCOL-grandtest.csv": "face-station/31.01.18/001_01_000_0_00,0,bonafide,train\n"
        "face-station/31.01.18/514_01_035_1_05,1,attack/3D/glasses,eval\n"
        "face-station/01.02.18/002_01_035_3_05,1,attack/2D/replay,none\n"
    },
    "siw-mv2": {"pro_3_text/trainlist_all.txt": "Paper_3\n" * 9, "pro_3_text/trainlist_live.txt": "Live_1",
                "pro_3_text/testlist_live.txt": "Live_889\n"},
    "padisi": {
        "face_partitions/padisi_USC_FACE_ground_truth.csv": "transaction_id,trial_id,trial_name,modality,ground_truth,"
        "participant_id\n" + f"t,{0:08x},F,COLOR,m00000,700\nt,{1:08x},F,COLOR,m50901,701\n",
        "face_partitions/padisi_USC_FACE_dataset_partition_3folds_part0.csv": "transaction_id,trial_id,trial_name,"
        f"partition_name\nt,{0:08x},F,train\nt,{1:08x},F,valid\n",
    },
    "celeba-spoof": {
        "CelebA_Spoof/metas/intra_test/train_label.json": json.dumps({"Data/train/4/live/000001.jpg": [0] * 44}),
        "CelebA_Spoof/metas/intra_test/test_label.json": json.dumps({"Data/test/5/spoof/000002.png": [0] * 40 + [8, 1, 0, 1]}),
    },
    "msu-mfsd": {"train_sub_list.txt": "01\n02\n", "test_sub_list.txt": "55"},
    "casia-surf": {
        "train_list.txt": "Training/real_part/CLKJ_AS0137/real.rssdk/color/31.jpg d i 1\n",
        "val_private_list.txt": "Val/0007/007243-ir.jpg Val/0007/007243-color.jpg Val/0007/007243-depth.jpg 0\n"
        "Val/0008/007244-ir.jpg Val/0008/007244-color.jpg Val/0008/007244-depth.jpg 1\n",
        # The challenge's: paths alone, and read last.
        "val_public_list.txt": "Val/0008/007244-color.jpg Val/0008/007244-depth.jpg Val/0008/007244-ir.jpg\n",
    },
    "nuaa": {"raw/client_train_raw.txt": "0001\\0001_00_00_01_0.jpg\r\n", "raw/imposter_test_raw.txt":
             "0002\\0002_00_00_01_0.jpg\r\n"},
    "uniattack": {"phase1/p2.1/dev_label.txt": "p2.1/dev/7.png 1\n"},
}  # fmt: skip
TYPES = {"hq-wmca": {"00_00": "Bonafide", "03_01": "Print"}, "uniattack": {"1": "Print"}}
PICTURES = {"padisi", "celeba-spoof", "lcc-fasd", "nuaa", "uniattack"}


def colour(number: int) -> tuple[int, int, int]:
    return 220 - 12 * number, 40 + 6 * number, 10


def grow(root: Path, name: str) -> None:
    for number, file in enumerate(TREES[name]):
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        WRITERS[Path(file.path).suffix](root / file.path, colour=colour(number))
    (root / "readme.pdf").write_text("of nobody")
    (root / ".DS_Store").write_text("hidden")


def test_no_data_set_is_left_out() -> None:
    assert set(TREES) == set(DATASETS) and len(DATASETS) == 18


@pytest.mark.parametrize(("name", "beside"), [*((name, False) for name in TREES), *((name, True) for name in LISTS)])
def test_every_sample_and_no_other(name: str, beside: bool, tmp_path: Path) -> None:
    """Its lists below the root, or in a folder of their own."""
    root, lists = tmp_path / "copy", tmp_path / "lists" if beside else tmp_path / "copy"
    grow(root, name)
    for path, words in LISTS.get(name, {}).items():
        (lists / path).parent.mkdir(parents=True, exist_ok=True)
        (lists / path).write_bytes(words.encode())
    config = PrepareConfig(out=tmp_path / "samples.jsonl", workers=0, types=TYPES.get(name, {}))
    summary = prepare(DATASETS[name](root, lists=lists if beside else None), config)
    rows: dict[Any, list[Sample]] = {}
    for row in read_jsonl(config.out, Sample):
        stored = np.asarray(Image.open(image_path(row, config.out)).convert("RGB")).astype(int)
        assert row.size_wh == stored.shape[1::-1] and not row.boxes and row.dataset == name
        # The colour says which file it came from: a swap of channels would be of none.
        seen = stored[stored.shape[0] // 2, stored.shape[1] - 2]
        near = [n for n in range(len(TREES[name])) if np.abs(seen - colour(n)).max() <= 5]
        assert len(near) == 1, (row.id, seen)
        rows.setdefault(near[0], []).append(row)
    assert sorted(rows) == list(range(len(TREES[name]))), rejects_path(config.out).read_text()
    for number, own in rows.items():
        file = TREES[name][number]
        several = Path(file.path).suffix in (".hdf5", ".h5", ".mov", ".mp4", ".avi")
        assert len(own) == (3 if several else 1) and len({row.frame for row in own}) == len(own)
        for row in own:
            found = (row.original_label, row.presentation_type, row.subject, row.split)
            assert found == (file.label, file.kind, file.subject, file.split), file
            single = file.path.endswith((".jpg", ".png", ".npz")) and (name in PICTURES or "color" in Path(file.path).stem)
            assert (row.video is None) == (single or (name == "folder" and not several))
    lost = [json.loads(line) for line in rejects_path(config.out).read_text().splitlines()]
    assert not [problem for problem in lost if problem["dropped"]]
    assert summary.ignored[".pdf"] == 1 and ".ds_store" not in summary.ignored
