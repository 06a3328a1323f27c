"""WMCA (Idiap), the preprocessed release: one HDF5 file per video, faces of 128 x 128 pixels.

All three layouts of existing copies are read, as only the file's name and its folder's date count:
`…/face-station/<dd.mm.yy>/<client>_<session>_<presenter>_<type>_<instrument>.hdf5`. The other channels' archive (CDIT) and
the illustration lists are not samples. The protocols are read from `PROTOCOL-<name>.csv`, if a copy has them: path, 0 for bona
fide, kind of attack, and `train`, `dev` or `eval`. George et al., TIFS 2020.
"""

from __future__ import annotations

import csv
import re
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Unit, opened

_NAME = re.compile(r"(\d{3})_(\d{2})_(\d{3})_(\d)_(\d{2,3})")
_SPLITS = {"train": "train", "dev": "dev", "eval": "test"}
_DATE = re.compile(r"\d{2}\.\d{2}\.\d{2}")


def _codes(kind: int, first: int, last: int) -> list[str]:
    return [f"{kind}_{code:02}" for code in range(first, last + 1)]


# As in Idiap's own converter, code by code: neither the type nor the instrument alone decides (3_05 is a photo on a screen).
TYPES: dict[str, str | None] = {
    **dict.fromkeys(_codes(0, 0, 2), "Bonafide"),
    **dict.fromkeys([*_codes(1, 1, 1), *_codes(1, 3, 7), *_codes(1, 15, 16)], "Glasses"),
    **dict.fromkeys(_codes(1, 8, 12), None),  # wigs
    **dict.fromkeys(["1_02", "1_13", "1_14", *_codes(2, 12, 17)], "Rigid mask"),
    **dict.fromkeys(_codes(2, 1, 7), "Fakehead"),
    **dict.fromkeys(_codes(2, 8, 11), "Paper mask"),
    **dict.fromkeys(["2_18", *_codes(2, 75, 99)], "Flexible mask"),
    **dict.fromkeys(_codes(3, 1, 15), "Print"),
    **dict.fromkeys(["3_05", "3_10", "3_15", *_codes(4, 1, 18)], "Replay"),
    **dict.fromkeys(_codes(5, 861, 999), "Makeup"),
}


class Wmca(DataSet):
    name = "wmca"
    crop = "as-is"
    types = TYPES

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix != ".hdf5" or not _DATE.fullmatch(path.parent.name) or any("CDIT" in part for part in path.parts):
            return None
        match = _NAME.fullmatch(path.stem)
        if match is None:
            return Problem("name", str(path), "expected client_session_presenter_type_instrument.hdf5, as 514_01_035_1_05.hdf5")
        client, session, presenter, kind, instrument = match.groups()
        splits = self.lists.of(path.stem)
        # An attack's client is the person it imitates, or the instrument itself; the presenter is the person present, if any.
        shown = client if kind == "0" else None if presenter == "000" else presenter
        return Unit(
            id=path.stem,
            path=str(path),
            reader="hdf5",
            label=f"{kind}_{instrument}",
            subject=client,
            video=path.stem,
            split=splits.get("grandtest"),
            splits=splits,
            options={"order": "rgb"},
            meta={"session": session, "presenter": shown, "date": path.parent.name},
        )

    def read_lists(self) -> Lists:
        lists = Lists()
        for file in self.list_files("PROTOCOL-*.csv"):
            protocol = file.stem.removeprefix("PROTOCOL-")
            with opened(file) as lines:
                for number, row in enumerate(csv.reader(lines), start=1):
                    name = PurePosixPath(row[0].strip()).name if row else ""
                    match = _NAME.fullmatch(name)
                    if len(row) < 3 or match is None or (split := _SPLITS.get(row[-1].strip())) is None:
                        if row and number > 1:  # some copies have a header row
                            lists.fault(f"{file.name}:{number}", f"{','.join(row)!r} — expected path, 0 or not, kind, split")
                        continue
                    lists.add(name, protocol, split)
                    if (row[1].strip() == "0") != (match[4] == "0"):
                        lists.fault(f"{file.name}:{number}", f"{name} is {row[1].strip()!r} there; the file's name decides")
        return lists
