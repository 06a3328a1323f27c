"""OULU-NPU (Boulkenafet et al., FG 2017): `<Train,Dev,Test>_files/<phone>_<session>_<user>_<file>.avi`.

Its protocols 1, 2, 3_1 … 3_6, 4_1 … 4_6 are read from `Protocol_<k>[_<i>]/<Train,Dev,Test>[_<i>].txt`.
"""

from __future__ import annotations

import re

from faceshield.datasets.base import Lists, list_lines
from faceshield.datasets.patterns import PatternSet


class OuluNpu(PatternSet):
    name = "oulu-npu"
    crop = "detect"
    types = {"1": "Bonafide", "2": "Print", "3": "Print", "4": "Replay", "5": "Replay"}
    pattern = re.compile(
        r"(?P<split>Train|Dev|Test)_files/(?P<phone>[1-6])_(?P<session>[1-3])_(?P<subject>\d{1,2})_(?P<label>[1-5])$"
    )
    expected = "Train_files/<phone 1-6>_<session 1-3>_<user>_<file 1-5>"
    _list = re.compile(
        r"^(?:.*/)?Protocol_(?P<protocol>\d)(?:[/_](?P<fold>\d))?/(?P<split>Train|Dev|Test)(?:_(?P<part>\d))?\.txt$"
    )
    _file = re.compile(r"[1-6]_[1-3]_\d{2}_[1-5]")

    def read_lists(self) -> Lists:
        lists = Lists()
        for file in self.list_files("*.txt"):
            match = self._list.search(file.as_posix())
            if match is None:
                continue
            fold = match["part"] or match["fold"]
            protocol = match["protocol"] + (f"_{fold}" if fold else "")
            for number, line in enumerate(list_lines(file), start=1):
                sign, _, name = line.replace(" ", "").partition(",")
                if self._file.fullmatch(name) and (sign == "+1") == name.endswith("_1"):
                    lists.add(name, protocol, self.splits[match["split"].lower()])
                elif line.strip():
                    lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected +1 or another number, a comma, a name")
        return lists
