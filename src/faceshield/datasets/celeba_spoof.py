"""CelebA-Spoof: pictures `Data/{train,test}/<subject>/{live,spoof}/<6 digits>.{jpg,png}` and labels in JSON.

`metas/intra_test/{train,test}_label.json` gives 44 numbers a picture, of which the 41st is the kind of spoof. The face's box
lies beside a picture in `<same>_BB.txt`, on a grid of 224; it goes to `meta`. Zhang et al., ECCV 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from faceshield.datasets.base import DataSet, Found, Problem, Unit
from faceshield.datasets.folder import PICTURES

# In the order of the labels' numbers.
KINDS = ("live", "photo", "poster", "a4", "face mask", "upper body mask", "region mask", "pc", "pad", "phone", "3d mask")
_KIND, _ENTRY = 40, re.compile(rb'"([^"]+)"\s*:\s*\[([^\]]*)\]')
_BLOCK = 1 << 20


class CelebaSpoof(DataSet):
    name = "celeba-spoof"
    types = {
        "live": "Bonafide",
        **dict.fromkeys(("photo", "poster", "a4"), "Print"),
        **dict.fromkeys(("face mask", "upper body mask", "region mask"), "Paper mask"),  # printed and cut out
        **dict.fromkeys(("pc", "pad", "phone"), "Replay"),
        "3d mask": "Rigid mask",
    }

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._kinds: dict[str, int] = {}

    def walk(self) -> Iterator[Found]:
        self._kinds = self._read_kinds()
        yield from super().walk()
        for key in sorted(self._kinds):
            yield Problem("absent", f"Data/{key}", "listed in the labels, not there", dropped=False)

    def look(self, path: PurePosixPath) -> Found | None:
        parts = path.parts
        if path.suffix.lower() not in PICTURES or len(parts) < 4 or parts[-2] not in ("live", "spoof"):
            return None
        split, subject, side = parts[-4:-1]
        key = f"{split}/{subject}/{side}/{path.name}"
        kind = self._kinds.pop(key, None)
        if kind is None:
            return Problem("unlisted", str(path), "in no label file")
        if kind >= len(KINDS) or (kind == 0) != (side == "live"):
            return Problem(
                "label", str(path), f"kind {kind} in the folder {side!r} — expected 0 for live alone, at most {len(KINDS) - 1}"
            )
        return Unit(
            f"{split}/{subject}/{side}/{path.stem}",
            str(path),
            "picture",
            KINDS[kind],
            subject=subject,
            split=split,
            meta=self._face(path),
        )

    def _face(self, path: PurePosixPath) -> dict[str, list[float]]:
        beside = self.root / path.with_name(f"{path.stem}_BB.txt")
        try:
            return {"face_224": [float(word) for word in beside.read_text(encoding="ascii").split()[:4]]}
        except (OSError, ValueError):
            return {}

    def _read_kinds(self) -> dict[str, int]:
        """Picture -> kind, read in blocks: as one JSON document half a million lists would fill the memory."""
        found: dict[str, int] = {}
        for file in sorted(self.root.rglob("intra_test/*_label.json")):
            rest = b""
            with file.open("rb") as blocks:
                while block := blocks.read(_BLOCK):
                    rest += block
                    end = 0
                    for match in _ENTRY.finditer(rest):
                        numbers = match[2].split(b",")
                        if len(numbers) > _KIND:
                            name = "/".join(PurePosixPath(match[1].decode()).parts[-4:])
                            found[name] = int(numbers[_KIND])
                        end = match.end()
                    rest = rest[end:]
        return found
