"""SiW-Mv2 (MSU): videos `Live/Live_<n>.mov` and `Spoof/<folder>/<stem>_<n>.mov`, or the frames extracted from them.

The stem of the file gives the type, not the folder: they differ for ten of fourteen. Older copies have `Train` and `Test`
below `Live`, and other folders; if a file's name has no such stem, as in SiW-M, the folder gives the type. Extracted copies are
`{Live,Spoof}/<stem>_<n>/<k>.png`, also below `Train` and `Test`.

The protocols come from the authors' lists (one `<stem>_<n>` per line), anywhere below the root: P1 (known attacks), P2_<stem>
(one attack unknown: every video of it is tested), P3 and P3_A … P3_E (across spoof, race, age, illumination). People are not
named, so splits can only keep videos together. Guo et al., ECCV 2022.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from faceshield.datasets.base import DataSet, Found, Lists, Problem, Reader, Unit, list_lines
from faceshield.datasets.folder import PICTURES, VIDEOS

_NAME = re.compile(r"(.+)_(\d+)")

TYPES: dict[str, str | None] = {
    "Live": "Bonafide",
    "Makeup_Co": "Makeup",
    "Makeup_Im": "Makeup",
    "Makeup_Ob": "Makeup",  # Paper is silent: lines drawn on the face, which could be Tattoo
    "Mask_Mann": "Fakehead",
    "Mask_Silicone": "Flexible mask",
    "Paper": "Print",
    "Replay": "Replay",
    "Partial_Funnyeye": "Glasses",
    "Partial_Paperglass": "Glasses",
    "Partial_Eye": "Partial Eye",
    "Partial_Mouth": "Partial Mouth",
    "Mask_Half": "Rigid mask",  # Paper is silent, here and for transparent masks; both are hard
    "Mask_Paper": "Paper mask",
    "Mask_Trans": "Rigid mask",
    "Partial_Papercut": None,  # SiW-M: a cut piece of paper over the eyes or the mouth, but nothing says which
}

_ATTACKS = [stem for stem, kind in TYPES.items() if kind not in ("Bonafide", None)]

# Folders of SiW-M, the data set's first version -> the stem of the same type.
_FOLDERS = {
    "Live/Train": "Live", "Live/Test": "Live", "Makeup/Cosmetic": "Makeup_Co", "Makeup/Impersonation": "Makeup_Im",
    "Makeup/Obfuscation": "Makeup_Ob", "Mask/HalfMask": "Mask_Half", "Mask/MannequinHead": "Mask_Mann",
    "Mask/PaperMask": "Mask_Paper", "Mask/SiliconeMask": "Mask_Silicone", "Mask/TransparentMask": "Mask_Trans",
    "Partial/FunnyeyeGlasses": "Partial_Funnyeye", "Partial/PaperGlasses": "Partial_Paperglass",
    "Partial/PaperCut": "Partial_Papercut",
}  # fmt: skip
_SPLITS = {"Train": "train", "Test": "test"}

# List file -> the protocols and the split that it defines.
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
    crop = "detect"
    types = TYPES

    def look(self, path: PurePosixPath) -> Found | None:
        if path.suffix.lower() in PICTURES and path.stem.isdecimal():
            return self._unit(path.parent.name, path, {"frame": int(path.stem)})
        if path.suffix.lower() in VIDEOS:
            return self._unit(path.stem, path, {})
        return None

    def _unit(self, name: str, path: PurePosixPath, options: dict[str, int]) -> Found:
        match = _NAME.fullmatch(name)
        folder = (path.parent.parent if options else path.parent).parts[-2:]
        if match is None or match[1] not in self.types:
            stem = _FOLDERS.get("/".join(folder)) or next((own for own in ("Paper", "Replay") if folder[-1:] == (own,)), None)
            if stem is None:
                return Problem("name", str(path), f"expected <stem>_<n> with one of {', '.join(self.types)}")
            name = f"{'/'.join(folder)}/{name}"
        else:
            stem = match[1]
        reader: Reader = "picture" if options else "video"
        splits = self.lists.of(name)
        splits |= self._one_unknown(stem, splits.get("P1")) if self.lists else {}
        split = splits.get("P1") or next((_SPLITS[part] for part in path.parts if part in _SPLITS), None)
        return Unit(name, str(path), reader, stem, video=name, split=split, splits=splits, options=options)

    def _one_unknown(self, stem: str, split: str | None) -> dict[str, str]:
        """Splits of P2, by the file's own stem: the authors match a substring, which also takes Mask_Paper for Paper."""
        if stem == "Live":
            return {f"P2_{unknown}": split for unknown in _ATTACKS if split}
        others = {f"P2_{unknown}": "train" for unknown in _ATTACKS if unknown != stem and split == "train"}
        return {**others, f"P2_{stem}": "test"}

    def read_lists(self) -> Lists:
        lists = Lists()
        for file in self.list_files("*.txt"):
            protocols, split = _LISTS.get(file.stem, ((), ""))
            for number, line in enumerate(list_lines(file) if protocols else (), start=1):
                if _NAME.fullmatch(line.strip()):
                    for protocol in protocols:
                        lists.add(line.strip(), protocol, split)
                elif line.strip():
                    lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected <stem>_<n>")
        return lists
