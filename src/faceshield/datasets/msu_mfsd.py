"""MSU-MFSD (Wen et al., TIFS 2015): `scene01/{real,attack}/{real,attack}_client001_<camera>_SD[_<medium>]_scene01`.

`{train,test}_sub_list.txt` name the clients of each half, one number per line.
"""

from __future__ import annotations

import re

from faceshield.datasets.base import Lists, list_lines
from faceshield.datasets.patterns import PatternSet


class MsuMfsd(PatternSet):
    name = "msu-mfsd"
    crop = "detect"
    types = {"real": "Bonafide", "printed_photo": "Print", "ipad_video": "Replay", "iphone_video": "Replay"}
    pattern = re.compile(
        r"(?:real_client(?=.*_SD_scene)|attack_client(?!.*_SD_scene))"
        r"(?P<subject>\d{3})_(?P<camera>android|laptop)_SD(?:_(?P<label>[a-z]+_[a-z]+))?_scene(?P<scene>\d\d)$"
    )
    unlabelled = "real"
    expected = "{real,attack}_client001_<android,laptop>_SD[_<medium>]_scene01"

    def listed_as(self, name: str, subject: str | None) -> str:
        return f"client{int(subject or 0):03}"

    def read_lists(self) -> Lists:
        lists = Lists()
        for split in ("train", "test"):
            for file in self.list_files(f"{split}_sub_list.txt"):
                for number, line in enumerate(list_lines(file), start=1):
                    if line.strip().isdigit():
                        lists.add(f"client{int(line):03}", "own", split)
                    elif line.strip():
                        lists.fault(f"{file.name}:{number}", f"{line.strip()!r} — expected a client's number")
        return lists
