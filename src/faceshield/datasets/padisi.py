"""PADISI-Face (USC/ISI): one picture a sample, from the multi-spectral archive (npz) or the colour one (a joblib dump).

Labels, people and splits come from the tables of the authors' repository (`data/face_partitions/*.csv`), which must lie
below the root too; the colour dump has its own labels. Colours are stored blue first, as floats 0..1, in whatever size the
release has. The dump is a pickle: opening one can run code, so it is read only when told to. Rostami et al., ICCV 2021.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceshield.datasets.base import DataSet, Found, Problem, Unit

_IDENTIFIER = re.compile(r"ID_[0-9a-f]{40}_(?P<trial>[0-9a-f]{8})_(?P<name>\w+)")
_DUMP = "padisi_USC_FACE_preprocessed.bz2"

# The first two digits after "m5" decide, but for two instruments that look like another class in their own descriptions.
_GROUPS = {
    "01": "Glasses", "02": "Print", "03": "Fakehead", "04": "Rigid mask", "05": "Rigid mask", "06": "Makeup",
    "07": "Flexible mask", "08": "Glasses", "09": "Tattoo",
}  # fmt: skip
FLAGGED = {"m50105": "a fake head with an attached eye", "m50507": "a fabric mask"}


class Padisi(DataSet):
    """See the module.

    Args:
        root: holds the archive's files and the repository's tables.
        trust_pickle: whether the colour dump may be opened.
        scratch: folder for the dump's array, so that workers read rows of it without opening it again.
    """

    name = "padisi"
    types = {
        "m00000": "Bonafide",
        **{f"m5{group}{species:02}": kind for group, kind in _GROUPS.items() for species in range(1, 31)},
    }

    def __init__(self, root: str | Path, *, trust_pickle: bool = False, scratch: str | Path | None = None) -> None:
        super().__init__(root)
        self._of_dump: set[str] = set()
        self.trust_pickle, self.scratch = trust_pickle, Path(scratch) if scratch is not None else None

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix != ".npz":
            return None
        match = _IDENTIFIER.fullmatch(path.stem)
        if match is None:
            return Problem("name", str(path), "expected ID_<40 hex>_<8 hex>_<name>.npz")
        if path.stem in self._of_dump:
            return None  # the same frame, read from the colour dump already
        row = self._truth.get(match["trial"])
        if row is None:
            return Problem("unlisted", str(path), f"trial {match['trial']} is in no ground truth table below {self.root.name}")
        return self._unit(path.stem, str(path), row["ground_truth"], {"key": "data", "order": "bgr"}, reader="npz")

    def walk(self) -> Iterator[Found]:
        dumps = sorted(self.root.rglob(_DUMP))
        if dumps:
            yield from self._dump(dumps[0])
        yield from super().walk()

    def _unit(self, identifier: str, path: str, code: str, options: dict[str, Any], *, reader: Any) -> Unit:
        match = _IDENTIFIER.fullmatch(identifier)
        trial = match["trial"] if match else identifier
        row = self._truth.get(trial, {})
        meta: dict[str, Any] = {"trial": match["name"] if match else None, "trial_id": trial}
        if code in FLAGGED:
            meta["flag"] = FLAGGED[code]
        splits = self._splits.get(trial, {})
        return Unit(
            id=identifier,
            path=path,
            reader=reader,
            label=code,
            subject=row.get("participant_id"),
            split=splits.get("3folds_part0"),
            splits=splits,
            options=options,
            meta=meta,
        )

    def _dump(self, dump: Path) -> Iterator[Found]:
        path = dump.relative_to(self.root).as_posix()
        if not self.trust_pickle:
            yield Problem(
                "pickle",
                path,
                "a joblib dump is a pickle, and opening one can run code — expected --trust-pickle where you trust the copy",
            )
            return
        import joblib

        loaded = joblib.load(dump)
        target = (self.scratch or self.root) / ".padisi-colour.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, loaded["data"])
        self._of_dump = set(loaded["identifiers"])
        for row, (identifier, code) in enumerate(zip(loaded["identifiers"], loaded["pai_codes"], strict=True)):
            yield self._unit(identifier, str(target.resolve()), code, {"row": row, "order": "bgr"}, reader="array")

    @cached_property
    def _truth(self) -> dict[str, dict[str, str]]:
        """Trial -> its row of the ground truth; a trial has one label in every modality."""
        return {row["trial_id"]: row for row in self._rows("*FACE_ground_truth.csv")}

    @cached_property
    def _splits(self) -> dict[str, dict[str, str]]:
        """Trial -> fold -> train, dev or test."""
        found: dict[str, dict[str, str]] = {}
        for file in sorted(self.root.rglob("*FACE_dataset_partition_*.csv")):
            fold = file.stem.split("partition_", 1)[1]
            for row in _read(file):
                found.setdefault(row["trial_id"], {})[fold] = {"valid": "dev"}.get(row["partition_name"], row["partition_name"])
        return found

    def _rows(self, pattern: str) -> Iterator[dict[str, str]]:
        for file in sorted(self.root.rglob(pattern)):
            yield from _read(file)


def _read(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)
