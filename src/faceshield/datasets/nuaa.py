"""NUAA photograph imposter: single pictures from webcams, `raw/{ClientRaw,ImposterRaw}/<subject>/*.jpg`.

The lists `{client,imposter}_{train,test}_raw.txt` say which half a picture belongs to; their paths have backslashes.
Tan et al., ECCV 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Problem, Unit


class Nuaa(DataSet):
    name = "nuaa"
    types = {"ClientRaw": "Bonafide", "ImposterRaw": "Print"}

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() not in (".jpg", ".png", ".bmp") or len(path.parts) < 3 or path.parts[-3] not in self.types:
            return None
        label, subject = path.parts[-3:-1]
        key = f"{label}/{subject}/{path.name}"
        split = self._splits.pop(key.lower(), None)
        return Unit(f"{label}/{subject}/{path.stem}", str(path), "picture", label, subject=subject, split=split)

    @cached_property
    def _splits(self) -> dict[str, str]:
        """Listed picture -> split; what is met is taken out, so that the rest is absent."""
        found = {}
        for stem, label in (("client", "ClientRaw"), ("imposter", "ImposterRaw")):
            for split in ("train", "test"):
                for file in sorted(self.root.rglob(f"{stem}_{split}_raw.txt")):
                    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
                        if line.strip():
                            found[f"{label}/{line.strip().replace(chr(92), '/')}".lower()] = split
        return found

    def absent(self) -> Iterator[Problem]:
        for key, split in sorted(self._splits.items()):
            yield Problem("absent", key, f"listed in {split}, not there", dropped=False)
