"""Data sets whose paths say everything: what each path means, and what is no path of theirs."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from faceshield.datasets import DATASETS, PrepareConfig, Problem, Unit, prepare, rejects_path
from faceshield.records import Sample, read_jsonl

CASES = {
    "siw-mv2": [
        ("SiW-Mv2/Live/Live_889.mp4", "Live", "Bonafide", None, None),
        ("SiW-Mv2/Spoof/Partial_FunnyeyeGlasses/Partial_Funnyeye_3.mov", "Partial_Funnyeye", "Glasses", None, None),
        ("SiW-Mv2/Spoof/Partial_PaperGlasses/Partial_Paperglass_3.mov", "Partial_Paperglass", "Glasses", None, None),
        ("SiW-Mv2/Spoof/Paper/Paper_12.mov", "Paper", "Print", None, None),
        ("SiW-Mv2/Spoof/Print/Paper_13.mov", "Paper", "Print", None, None),
        ("Spoof/Mask_PaperMask/Mask_Paper_4.avi", "Mask_Paper", "Paper mask", None, None),
        ("Spoof/Mask_HalfMask/Mask_Half_4.mov", "Mask_Half", "Rigid mask", None, None),
        ("Spoof/Mask_TransparentMask/Mask_Trans_4.mov", "Mask_Trans", "Rigid mask", None, None),
        ("Spoof/Silicone/Mask_Silicone_4.mov", "Mask_Silicone", "Flexible mask", None, None),
        ("Spoof/Mask_MannequinHead/Mask_Mann_4.mov", "Mask_Mann", "Fakehead", None, None),
        ("Spoof/Makeup_Obfuscation/Makeup_Ob_4.mov", "Makeup_Ob", "Makeup", None, None),
        ("Live/Train/Live_4.mov", "Live", "Bonafide", None, "train"),
        ("SiW-M/Mask/HalfMask/whatever_4.mov", "Mask_Half", "Rigid mask", None, None),
        ("SiW-M/Live/Test/9.mov", "Live", "Bonafide", None, "test"),
        ("SiW-M/Paper/9.mov", "Paper", "Print", None, None),
    ],
    "oulu-npu": [
        ("OULU/Train_files/1_1_01_1.avi", "1", "Bonafide", "01", "train"),
        ("Dev_files/6_3_35_3.avi", "3", "Print", "35", "dev"),
        ("Test_files/2_1_55_5.avi", "5", "Replay", "55", "test"),
    ],
    "casia-fasd": [
        ("train_release/1/1.avi", "1", "Bonafide", "train-1", "train"),
        ("train_release/20/HR_2.avi", "HR_2", "Print", "train-20", "train"),
        ("test_release/1/6.avi", "6", "Print", "test-1", "test"),
        ("test_release/30/HR_4.avi", "HR_4", "Replay", "test-30", "test"),
    ],
    "replay-attack": [
        ("train/real/client001_session01_webcam_authenticate_adverse_1.mov", "real", "Bonafide", "001", "train"),
        (
            "devel/attack/fixed/attack_print_client003_session01_highdef_photo_adverse.mov",
            "print", "Print", "003", "dev",
        ),
        (
            "test/attack/hand/attack_mobile_client009_session01_mobile_video_controlled.mov",
            "mobile", "Replay", "009", "test",
        ),
    ],
    "msu-mfsd": [
        ("scene01/real/real_client001_android_SD_scene01.mp4", "real", "Bonafide", "001", None),
        ("scene01/attack/attack_client055_laptop_SD_ipad_video_scene01.mov", "ipad_video", "Replay", "055", None),
        ("scene01/attack/attack_client055_laptop_SD_printed_photo_scene01.mov", "printed_photo", "Print", "055", None),
    ],
    "siw": [
        ("Train/live/003/003-1-1-1-1.mov", "1", "Bonafide", "003", "train"),
        ("Test/spoof/165/165-2-3-4-1.mov", "3", "Replay", "165", "test"),
    ],
    "lcc-fasd": [
        ("LCC_FASD/LCC_FASD_training/real/real_1.png", "real", "Bonafide", None, "train"),
        ("LCC_FASD/LCC_FASD_evaluation/spoof/spoof_1.png", "spoof", "Replay", None, "test"),
    ],
    "hifimask": [
        ("HiFiMask/1_02_0_1_1_4/0001.png", "0", "Bonafide", "02", None),
        ("HiFiMask/3_25_3_6_4_7/0010.png", "3", "Rigid mask", "25", None),
    ],
    "cefa": [
        ("AF-300/1_001_1_1_1/profile/0026.jpg", "1", "Bonafide", "1_001", None),
        ("AF-300/1_001_3_1_2/profile/0026.jpg", "2", "Flexible mask", "1_001", None),
        ("CA-300/2_001_2_1_4/profile/0026.jpg", "4", "Replay", "2_001", None),
    ],
    "casia-surf": [
        ("Training/real_part/CLKJ_AS0137/real.rssdk/color/31.jpg", "real", "Bonafide", "CLKJ_AS0137", "train"),
        ("Training/fake_part/CLKJ_AS0005/01_enm_b.rssdk/color/101.jpg", "fake", "Print", "CLKJ_AS0005", "train"),
    ],
    "rose-youtu": [
        ("train/2/G_NT_5s_wg_2_1.mp4", "G", "Bonafide", "2", "train"),
        ("23/Mu_HS_wg_E_23_112.mp4", "Mu", "Paper mask", "23", None),
        ("test/23/Pq_HS_wg_E_23_112.mp4", "Pq", "Print", "23", "test"),
        ("test/23/Vm_HS_wg_E_23_112.mp4", "Vm", "Replay", "23", "test"),
    ],
}  # fmt: skip
ROWS = [(name, *row) for name, rows in CASES.items() for row in rows]


@pytest.mark.parametrize(("name", "path", "label", "kind", "subject", "split"), ROWS)
def test_what_a_path_says(
    name: str, path: str, label: str, kind: str, subject: str | None, split: str | None, tmp_path: Path
) -> None:
    data = DATASETS[name](tmp_path)
    found = data.look(PurePosixPath(path))
    assert isinstance(found, Unit), found
    assert (found.label, data.types[found.label], found.subject, found.split) == (label, kind, subject, split)
    assert found.path == path and found.id
    assert (found.video is None) == (name == "lcc-fasd")


@pytest.mark.parametrize("name", CASES)
def test_no_two_paths_are_one_sample(name: str, tmp_path: Path) -> None:
    data = DATASETS[name](tmp_path)
    ids = [found.id for row in CASES[name] if isinstance(found := data.look(PurePosixPath(row[0])), Unit)]
    assert len(set(ids)) == len(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_strange_names_are_problems_and_other_files_nobodys(name: str, tmp_path: Path) -> None:
    data = DATASETS[name](tmp_path)
    suffix = ".png" if "png" in CASES[name][0][0] or "jpg" in CASES[name][0][0] else ".mov"
    assert isinstance(data.look(PurePosixPath(f"train/holiday1{suffix}")), Problem)
    assert data.look(PurePosixPath("train/readme.pdf")) is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("replay-attack", "train/attack/fixed/client001_session01_highdef_photo_adverse.mov"),
        ("msu-mfsd", "scene01/attack/attack_client001_android_SD_scene01.mp4"),
        ("msu-mfsd", "scene01/real/real_client001_android_SD_printed_photo_scene01.mp4"),
        ("siw-mv2", "SiW-Mv2/Live/\u00b2.png"),
    ],
)
def test_an_attack_without_its_medium_is_not_taken_for_real(name: str, path: str, tmp_path: Path) -> None:
    assert not isinstance(DATASETS[name](tmp_path).look(PurePosixPath(path)), Unit)


def test_siw_mv2_of_extracted_frames(tmp_path: Path) -> None:
    """The authors' preprocessing: <stem>_<n>/<k>.png from 1, frames without a face missing."""
    for video in ("Live/Live_7", "Spoof/Mask_Paper_3"):
        for number in (1, 2, 3, 5, 10, 11):
            path = tmp_path / "cut" / video / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), (number, len(video), 9), np.uint8)).save(path)
            np.save(path.with_suffix(".npy"), np.zeros((68, 2), int))
    config = PrepareConfig(out=tmp_path / "samples.jsonl", workers=0)
    summary = prepare(DATASETS["siw-mv2"](tmp_path / "cut"), config)
    rows = read_jsonl(config.out, Sample)
    assert [(row.id, row.presentation_type, row.frame) for row in rows] == [
        *[(f"siw-mv2:Live_7:{n}", "Bonafide", n) for n in (2, 5, 11)],
        *[(f"siw-mv2:Mask_Paper_3:{n}", "Paper mask", n) for n in (2, 5, 11)],
    ]
    assert {row.video for row in rows} == {"Live_7", "Mask_Paper_3"}
    assert Path(rows[0].image) == (tmp_path / "cut/Live/Live_7/2.png").resolve()
    problems = [json.loads(line) for line in rejects_path(config.out).read_text().splitlines()]
    assert [(p["reason"], p["detail"]) for p in problems] == [("gap", "5 frame numbers are missing")] * 2
    assert dict(summary.ignored) == {".npy": 12}


def test_folders_of_frames_are_videos(tmp_path: Path) -> None:
    """Three frames of each, in the order of their numbers, of colour alone."""
    for number in (9, 10, 11, 100):
        for channel in ("profile", "depth", "ir"):
            path = tmp_path / "AF" / "1_001_1_1_3" / channel / f"{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), (number, 90, 9), np.uint8)).save(path)
    config = PrepareConfig(out=tmp_path / "samples.jsonl", workers=0)
    summary = prepare(DATASETS["cefa"](tmp_path / "AF"), config)
    rows = read_jsonl(config.out, Sample)
    assert [(row.frame, row.presentation_type, row.video) for row in rows] == [
        (n, "Print", "1_001_1_1_3/profile") for n in (9, 11, 100)
    ]
    assert dict(summary.ignored) == {".jpg": 8}
