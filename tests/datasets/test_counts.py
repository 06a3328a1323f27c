"""The published name lists, re-created by their counts: every name is read, and the twelve classes come out as they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path, PurePosixPath

import pytest

from faceshield.datasets import DATASETS, DataSet, Unit
from faceshield.datasets.base import Found

# Videos of each code or group of codes, counted in the lists.
WMCA = {
    ("0_00",): 240, ("0_01",): 98, ("0_02",): 9, ("1_01", "1_04", "1_05", "1_06", "1_07"): 55, ("1_15", "1_16"): 20,
    ("1_02",): 12, ("1_13", "1_14"): 20, tuple(f"2_{n:02}" for n in range(1, 8)): 122,
    tuple(f"2_{n:02}" for n in range(8, 12)): 71, tuple(f"2_{n:02}" for n in range(12, 18)): 105,
    ("2_18", *(f"2_{n}" for n in range(75, 100))): 379, tuple(f"3_{n:02}" for n in range(1, 15) if n % 5): 200,
    ("3_05", "3_10", "3_15"): 59, tuple(f"4_{n:02}" for n in range(1, 19)): 289,
}  # fmt: skip
SIW_MV2 = {
    "Live/Live": 785, "Makeup_Cosmetic/Makeup_Co": 52, "Makeup_Impersonation/Makeup_Im": 61, "Makeup_Obfuscation/Makeup_Ob": 22,
    "Mannequin/Mask_Mann": 40, "Silicone/Mask_Silicone": 17, "Paper/Paper": 135, "Replay/Replay": 98,
    "Partial_FunnyeyeGlasses/Partial_Funnyeye": 179, "Partial_PaperGlasses/Partial_Paperglass": 76,
    "Partial_Eye/Partial_Eye": 57, "Partial_Mouth/Partial_Mouth": 29, "Mask_HalfMask/Mask_Half": 72,
    "Mask_PaperMask/Mask_Paper": 17, "Mask_TransparentMask/Mask_Trans": 60,
}  # fmt: skip
PADISI = {
    "m00000": 1105, "m501": 140, "m502": 56, "m503": 71, "m504": 27, "m505": 232, "m506": 206, "m507": 33, "m508": 66,
    "m509": 93,
}  # fmt: skip

# type: W, S, P
CLASSES = {
    "Bonafide": (347, 785, 1105), "Fakehead": (122, 40, 71), "Print": (200, 135, 56), "Glasses": (75, 255, 206),
    "Replay": (348, 98, 0), "Paper mask": (71, 17, 0), "Flexible mask": (379, 17, 33), "Rigid mask": (137, 132, 259),
    "Partial Eye": (0, 57, 0), "Partial Mouth": (0, 29, 0), "Makeup": (0, 135, 206), "Tattoo": (0, 0, 93),
}  # fmt: skip


def counted(data: DataSet, found: list[Found | None]) -> Counter[str | None]:
    assert all(isinstance(one, Unit) for one in found), [one for one in found if not isinstance(one, Unit)][:3]
    units = [one for one in found if isinstance(one, Unit)]
    assert len({unit.id for unit in units}) == len(units)
    return Counter(data.types[unit.label] for unit in units)


def check(counts: Counter[str | None], place: int, total: int) -> None:
    assert counts == Counter({kind: numbers[place] for kind, numbers in CLASSES.items() if numbers[place]})
    assert sum(counts.values()) == total


def test_wmca(tmp_path: Path) -> None:
    data, found, number = DATASETS["wmca"](tmp_path), [], 0
    for codes, videos in WMCA.items():
        for code, _ in zip(cycle(codes), range(videos), strict=False):
            number += 1
            name = f"{number % 500:03}_{number // 500:02}_000_{code}.hdf5"
            found.append(data.look(PurePosixPath(f"WMCA_preprocessed_RGB/WMCA/face-station/31.01.18/{name}")))
    check(counted(data, found), 0, 1679)
    assert data.types["1_08"] is None and data.types["5_861"] == "Makeup"  # wigs are of no type; make-up is not in the release


def test_siw_mv2(tmp_path: Path) -> None:
    data = DATASETS["siw-mv2"](tmp_path)
    found = [
        data.look(PurePosixPath(f"{'' if 'Live' in stem else 'Spoof/'}{stem}_{number}.{'mp4' if number == 889 else 'mov'}"))
        for stem, videos in SIW_MV2.items()
        for number in range(1, videos + 1)
    ]
    check(counted(data, found), 1, 1700)


@pytest.mark.parametrize("sevens", [0, 19])
def test_padisi(tmp_path: Path, sevens: int) -> None:
    """Also with the fabric mask, m50507, put where its look would have it."""
    codes = [code if len(code) == 6 else f"{code}{1 + n % 2:02}" for code, count in PADISI.items() for n in range(count)]
    fabric = [place for place, code in enumerate(codes) if code.startswith("m505")][:sevens]
    for place in fabric:
        codes[place] = "m50507"
    head = "transaction_id,trial_id,trial_name,modality,ground_truth,participant_id,gender,ethnicity,race,age"
    rows = [f"{n:040x},{n:08x},FACE_1,COLOR,{code},{n % 300},f,x,y,30" for n, code in enumerate(codes)]
    (tmp_path / "padisi_USC_FACE_ground_truth.csv").write_text("\n".join([head, *rows]) + "\n")
    data = DATASETS["padisi"](tmp_path)
    data.read_lists()
    found = [data.look(PurePosixPath(f"ID_{n:040x}_{n:08x}_FACE_WITH_GLASS_1.npz")) for n in range(len(codes))]
    check(counted(data, found), 2, 2029)
    mapping: Mapping[str, str | None] = {**data.types, "m50507": "Flexible mask"}
    moved = Counter(mapping[unit.label] for unit in found if isinstance(unit, Unit))
    assert moved["Flexible mask"] == 33 + sevens
