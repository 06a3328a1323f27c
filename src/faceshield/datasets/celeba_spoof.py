"""CelebA-Spoof: pictures `Data/{train,test}/<subject>/{live,spoof}/<6 digits>.{jpg,png}` and labels in JSON.

`metas/intra_test/{train,test}_label.json` gives 44 numbers per picture; the 41st is the kind of spoof. The face's box is
beside a picture in `<same>_BB.txt`; `--crop boxes` crops to it. Zhang et al., ECCV 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Unit
from faceshield.datasets.folder import PICTURES
from faceshield.records import Box

# In the order of the labels' numbers.
KINDS = ("live", "photo", "poster", "a4", "face mask", "upper body mask", "region mask", "pc", "pad", "phone", "3d mask")
_KIND, _ENTRY = 40, re.compile(rb'"([^"]+)"\s*:\s*\[([^\]]*)\]')
_BLOCK, _GRID = 1 << 20, 224


class CelebaSpoof(DataSet):
    name = "celeba-spoof"
    crop = "boxes"
    types = {
        "live": "Bonafide",
        **dict.fromkeys(("photo", "poster", "a4"), "Print"),
        **dict.fromkeys(("face mask", "upper body mask", "region mask"), "Paper mask"),  # printed and cut out
        **dict.fromkeys(("pc", "pad", "phone"), "Replay"),
        "3d mask": "Rigid mask",
    }

    def find(self) -> Iterator[Found]:
        yield from super().find()
        for key in sorted(self.labels):
            yield Problem("absent", f"Data/{key}", "listed in the labels, not there", dropped=False)

    def look(self, path: PurePosixPath) -> Found | None:
        parts = path.parts
        if path.suffix.lower() not in PICTURES or len(parts) < 4 or parts[-2] not in ("live", "spoof"):
            return None
        split, subject, side = parts[-4:-1]
        key = f"{split}/{subject}/{side}/{path.name}"
        label = self.labels.pop(key, None)
        if label is None:
            return Problem("unlisted", str(path), "in no label file")
        if label not in KINDS or (label == "live") != (side == "live"):
            return Problem("label", str(path), f"{label} in the folder {side!r} — expected live there alone, or a known kind")
        return Unit(
            f"{split}/{subject}/{side}/{path.stem}",
            str(path),
            "picture",
            label,
            subject=subject,
            split=split,
            face=self._face(path),
        )

    def _face(self, path: PurePosixPath) -> Box | None:
        """The face's box as fractions; its file has x y w h and a score, on a grid of 224 x 224 whatever the picture's size."""
        beside = self.root / path.with_name(f"{path.stem}_BB.txt")
        try:
            x, y, width, height = (float(word) / _GRID for word in beside.read_text(encoding="ascii").split()[:4])
        except (OSError, ValueError):
            return None
        return x, y, x + width, y + height

    def read_lists(self) -> Lists:
        """Read picture -> kind in blocks: as one JSON document, half a million lists would fill the memory."""
        self.labels = {}
        for file in self.list_files("intra_test/*_label.json"):
            rest = b""
            with file.open("rb") as blocks:
                while block := blocks.read(_BLOCK):
                    rest += block
                    end = 0
                    for match in _ENTRY.finditer(rest):
                        numbers = match[2].split(b",")
                        if len(numbers) > _KIND:
                            name = "/".join(PurePosixPath(match[1].decode()).parts[-4:])
                            kind = int(numbers[_KIND])
                            self.labels[name] = KINDS[kind] if kind < len(KINDS) else f"kind {kind}"
                        end = match.end()
                    rest = rest[end:]
        return Lists()
