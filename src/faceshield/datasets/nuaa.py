"""NUAA photograph imposter: single pictures from webcams, `raw/{ClientRaw,ImposterRaw}/<subject>/*.jpg`.

The lists `{client,imposter}_{train,test}_raw.txt` say which half a picture belongs to; their paths have backslashes.
Tan et al., ECCV 2010.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Lists, Unit


class Nuaa(DataSet):
    name = "nuaa"
    crop = "detect"
    types = {"ClientRaw": "Bonafide", "ImposterRaw": "Print"}

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() not in (".jpg", ".png", ".bmp") or len(path.parts) < 3 or path.parts[-3] not in self.types:
            return None
        label, subject = path.parts[-3:-1]
        splits = self.lists.of(f"{label}/{subject}/{path.name}".lower())
        name = f"{label}/{subject}/{path.stem}"
        return Unit(name, str(path), "picture", label, subject=subject, split=splits.get("raw"), splits=splits)

    def read_lists(self) -> Lists:
        lists = Lists()
        for stem, label in (("client", "ClientRaw"), ("imposter", "ImposterRaw")):
            for split in ("train", "test"):
                for file in self.list_files(f"{stem}_{split}_raw.txt"):
                    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
                        if line.strip():
                            lists.add(f"{label}/{line.strip().replace(chr(92), '/')}".lower(), "raw", split)
        return lists
