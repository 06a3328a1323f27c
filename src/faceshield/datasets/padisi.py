"""PADISI-Face (USC/ISI): one picture per sample, from the multi-spectral archive (npz) or the colour one (a joblib dump).

Labels, people and splits come from the tables of the authors' repository (`data/face_partitions/*.csv`), which must be below
the root too, or in `lists`; the colour dump has its own labels. Five human-written sentences about each sample go to `meta`, if
the copy has them. Colours are stored blue first, as floats 0..1, at the size of the release. The dump is a pickle, and opening
one can run code, so it is read only with `trust_pickle`. Rostami et al., ICCV 2021.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Reader, Unit, opened
from faceshield.provenance import write_json_atomic

_IDENTIFIER = re.compile(r"ID_[0-9a-f]{40}_(?P<trial>[0-9a-f]{8})_(?P<name>\w+)")
_DUMP = "padisi_USC_FACE_preprocessed.bz2"
_TRUTH = "ground truth"

# Paper is silent: the first two digits after "m5" decide, even for two instruments whose descriptions say otherwise.
_GROUPS = {
    "01": "Glasses", "02": "Print", "03": "Fakehead", "04": "Rigid mask", "05": "Rigid mask", "06": "Makeup",
    "07": "Flexible mask", "08": "Glasses", "09": "Tattoo",
}  # fmt: skip
FLAGGED = {"m50105": "a fake head with an attached eye", "m50507": "a fabric mask"}


class Padisi(DataSet):
    """See the module.

    Args:
        root: the folder with the archive's files.
        lists: the folder with the repository's tables, if not below the root.
        trust_pickle: whether the colour dump may be opened.
        scratch: folder for the dump's array during a run, so that workers read its rows without opening the dump again.
    """

    name = "padisi"
    crop = "as-is"
    types = {
        "m00000": "Bonafide",
        **{f"m5{group}{species:02}": kind for group, kind in _GROUPS.items() for species in range(1, 31)},
    }

    def __init__(
        self,
        root: str | Path,
        *,
        lists: str | Path | None = None,
        trust_pickle: bool = False,
        scratch: str | Path | None = None,
    ) -> None:
        super().__init__(root, lists=lists)
        self._of_dump: set[str] = set()
        self._people: dict[str, str] = {}
        self._sentences: dict[str, list[str]] = {}
        self.trust_pickle, self.scratch = trust_pickle, Path(scratch or root)

    def find(self) -> Iterator[Found]:
        self._of_dump = set()
        for dump in (path for path in self.files() if path.name == _DUMP):
            yield from self._dump(dump)
        yield from super().find()

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix != ".npz":
            return None
        match = _IDENTIFIER.fullmatch(path.stem)
        if match is None:
            return Problem("name", str(path), "expected ID_<40 hex>_<8 hex>_<name>.npz")
        if path.stem in self._of_dump:
            self.lists.of(match["trial"])
            return None  # the same frame, read from the colour dump already
        code = self.labels.get(match["trial"])
        if code is None:
            return Problem("unlisted", str(path), f"trial {match['trial']} is in no ground truth table — see --lists")
        return self._unit(path.stem, str(path), code, {"key": "data", "order": "bgr"}, reader="npz")

    def _unit(self, identifier: str, path: str, code: str, options: dict[str, Any], *, reader: Reader) -> Unit:
        match = _IDENTIFIER.fullmatch(identifier)
        trial = match["trial"] if match else identifier
        meta: dict[str, Any] = {"trial": match["name"] if match else None, "trial_id": trial}
        if code in FLAGGED:
            meta["flag"] = FLAGGED[code]
        if trial in self._sentences:
            meta["descriptions"] = self._sentences[trial]
        splits = self.lists.of(trial)
        splits.pop(_TRUTH, None)
        return Unit(
            id=identifier,
            path=path,
            reader=reader,
            label=code,
            subject=self._people.get(trial),
            split=splits.get("3folds_part0"),
            splits=splits,
            options=options,
            meta=meta,
        )

    # -- the colour dump ---------------------------------------------------------------------------------------------------

    @property
    def _array(self) -> Path:
        return self.scratch / ".padisi-colour.npy"

    def close(self) -> None:
        for file in (self._array, self._array.with_suffix(".json")):
            file.unlink(missing_ok=True)

    def _dump(self, path: PurePosixPath) -> Iterator[Found]:
        if not self.trust_pickle:
            why = "a joblib dump is a pickle, and opening one can run code — expected --trust-pickle where you trust the copy"
            yield Problem("pickle", str(path), why)
            return
        try:
            rows = self._rows_of(self.root / path)
        except Exception as error:  # whatever a pickle may raise
            yield Problem("unreadable", str(path), f"not a readable joblib dump ({type(error).__name__}: {error})")
            return
        for row, (identifier, code, is_attack) in enumerate(rows):
            self._of_dump.add(identifier)
            unit = self._unit(identifier, str(self._array.resolve()), code, {"row": row, "order": "bgr"}, reader="array")
            if is_attack == (code != "m00000"):
                yield unit
            else:
                yield Problem("label", f"{path}, {identifier}", f"code {code} with attack={is_attack} — expected them to agree")

    def _rows_of(self, dump: Path) -> list[tuple[str, str, bool]]:
        """Identifier, code and is_attack of each row; their pixels are saved in the scratch file, once per run."""
        state = dump.stat()
        stamp, beside = [state.st_size, state.st_mtime_ns], self._array.with_suffix(".json")
        if beside.exists():
            kept = json.loads(beside.read_text(encoding="utf-8"))
            if kept["stamp"] == stamp:
                return [tuple(row) for row in kept["rows"]]
        import joblib

        loaded = joblib.load(dump)
        columns = (loaded["identifiers"], loaded["pai_codes"], loaded["labels"], loaded["data"])
        rows = [(str(identifier), str(code), bool(label)) for identifier, code, label, _ in zip(*columns, strict=True)]
        self.scratch.mkdir(parents=True, exist_ok=True)
        np.save(self._array, loaded["data"])
        write_json_atomic(beside, {"stamp": stamp, "rows": rows})
        return rows

    # -- the repository's tables -------------------------------------------------------------------------------------------

    def read_lists(self) -> Lists:
        """Read labels, people, sentences and splits; a trial has one label in all modalities, and one split per partition."""
        lists = Lists()
        self.labels, self._people, self._sentences = {}, {}, {}
        for row in self._rows("*FACE_ground_truth.csv"):
            self.labels[row["trial_id"]] = row["ground_truth"]
            self._people[row["trial_id"]] = row["participant_id"]
            lists.add(row["trial_id"], _TRUTH, "test")
        for row in self._rows("*FACE*_descriptions.csv"):
            self._sentences[row["trial_id"]] = [row[key] for key in sorted(row) if re.fullmatch(r"des\d", key) and row[key]]
        for file in self.list_files("*FACE*_partition_*.csv"):
            fold = file.stem.split("partition_", 1)[1]
            for row in _read(file):
                lists.add(row["trial_id"], fold, {"valid": "dev"}.get(row["partition_name"], row["partition_name"]))
        return lists

    def _rows(self, pattern: str) -> Iterator[dict[str, str]]:
        for file in self.list_files(pattern):
            yield from _read(file)


def _read(file: Path) -> Iterator[dict[str, str]]:
    with opened(file) as lines:
        rows = csv.DictReader(lines)
        if "trial_id" not in (rows.fieldnames or ()):
            raise ValueError(f"{file}:1: no column trial_id, or no commas between — expected the repository's table")
        for row in rows:
            if None in row:
                raise ValueError(f"{file}:{rows.line_num}: more cells than columns — expected quotes around text with commas")
            yield row
