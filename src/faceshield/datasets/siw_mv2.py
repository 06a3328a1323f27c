"""SiW-Mv2 (MSU): videos `Live/Live_<n>.mov` and `Spoof/<folder>/<stem>_<n>.mov`, or the frames extracted from them.

The stem of the file says the type, not the folder: they differ for ten of fourteen. Older copies have `Train` and `Test`
below `Live`, and other folders; extracted copies are `{Live,Spoof}/<stem>_<n>/<k>.png`. Guo et al., ECCV 2022.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Problem, Reader, Unit, gathered
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
        return Unit(name, str(path), reader, match[1], video=name, options=options, meta={"number": int(match[2])})
