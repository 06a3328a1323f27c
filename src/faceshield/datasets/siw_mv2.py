"""SiW-Mv2 (MSU): videos `Live/Live_<n>.mov` and `Spoof/<folder>/<stem>_<n>.mov`, or the frames extracted from them.

The stem of the file says the type, not the folder: they differ for ten of fourteen. Older copies have `Train` and `Test`
below `Live`, and other folders; extracted copies are `{Live,Spoof}/<stem>_<n>/<k>.png`.

The protocols come from the authors' lists (one `<stem>_<n>` a line), wherever below the root they lie: P1 (known attacks),
P2_<stem> (one attack unknown: every video of it is tested), P3 and P3_A … P3_E (across spoof, race, age, illumination). People
are not named, so a video is the finest unit of a split. Guo et al., ECCV 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Reader, Unit, gathered
from faceshield.datasets.folder import VIDEOS

_NAME = re.compile(r"(.+)_(\d+)")

TYPES: dict[str, str | None] = {
    "Live": "Bonafide",
    "Makeup_Co": "Makeup",
    "Makeup_Im": "Makeup",
    "Makeup_Ob": "Makeup",
    "Mask_Mann": "Fakehead",
    "Mask_Silicone": "Flexible mask",
    "Paper": "Print",
    "Replay": "Replay",
    "Partial_Funnyeye": "Glasses",
    "Partial_Paperglass": "Glasses",
    "Partial_Eye": "Partial Eye",
    "Partial_Mouth": "Partial Mouth",
    "Mask_Half": "Rigid mask",
    "Mask_Paper": "Paper mask",
    "Mask_Trans": "Rigid mask",
}

# A list's file -> the protocols and the split that it says.
_LISTS = {
    **dict.fromkeys(("trainlist_all", "trainlist_live"), (("P1",), "train")),
    **dict.fromkeys(("testlist_all", "testlist_live"), (("P1",), "test")),
    "train_A_pretrain": (("P3", "P3_A", "P3_B", "P3_C", "P3_D", "P3_E"), "train"),
    "test_A_pretrain": (("P3", "P3_A"), "test"),
    "test_B_spoof": (("P3", "P3_B"), "test"),
    "test_C_race": (("P3", "P3_C"), "test"),
    "test_D_age": (("P3", "P3_D"), "test"),
    **dict.fromkeys(("test_E_ill", "test_E_illu"), (("P3", "P3_E"), "test")),
}


class SiwMv2(DataSet):
    name = "siw-mv2"
    types = TYPES

    def walk(self) -> Iterator[Found]:
        return gathered(super().walk())

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() == ".png" and path.stem.isdigit():
            return self._unit(path.parent.name, path, {"frame": int(path.stem)})
        if path.suffix.lower() in VIDEOS:
            return self._unit(path.stem, path, {})
        return None

    def _unit(self, name: str, path: PurePosixPath, options: dict[str, int]) -> Found:
        match = _NAME.fullmatch(name)
        if match is None or match[1] not in self.types:
            return Problem("name", str(path), f"expected <stem>_<n> with one of {', '.join(self.types)}")
        reader: Reader = "picture" if options else "video"
        splits = self.lists.of(name)
        splits |= self._one_unknown(match[1], splits.get("P1")) if self.lists else {}
        meta = {"number": int(match[2])}
        return Unit(
            name, str(path), reader, match[1], video=name, split=splits.get("P1"), splits=splits, options=options, meta=meta
        )

    def _one_unknown(self, stem: str, split: str | None) -> dict[str, str]:
        """P2, by the file's own stem: the authors' substring also takes Mask_Paper for Paper."""
        if stem == "Live":
            return {f"P2_{unknown}": split for unknown in self.types if unknown != "Live" and split}
        others = {f"P2_{unknown}": "train" for unknown in self.types if unknown not in ("Live", stem) and split == "train"}
        return {**others, f"P2_{stem}": "test"}

    def read_lists(self) -> Lists:
        lists = Lists()
        for file in sorted(self.root.rglob("*.txt")):
            protocols, split = _LISTS.get(file.stem, ((), ""))
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if protocols else (), start=1):
                if _NAME.fullmatch(line.strip()):
                    for protocol in protocols:
                        lists.add(line.strip(), protocol, split)
                elif line.strip():
                    lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected <stem>_<n>")
        return lists
