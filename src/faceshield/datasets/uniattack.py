"""UniAttackData (Fang et al., 2024), as a whole: `Data/{live,spoof,…}/…`, or the challenge's folders and labels.

Attacks that do not show an object held up or worn (adversarial, generated, swapped faces) are of none of the twelve types and
are left out. `spoof` does not name the instrument, and we did not have the meaning of the challenge's numbers
(`<train,dev,test>_label.txt`: path and number): `--types` must map them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar

from faceshield.datasets.base import Found, Lists, Problem, Unit, list_lines
from faceshield.datasets.folder import PICTURES, VIDEOS
from faceshield.datasets.patterns import PatternSet


class UniAttack(PatternSet):
    name = "uniattack"
    types: ClassVar[Mapping[str, str | None]] = {
        "live": "Bonafide",
        **dict.fromkeys(("adv-attacks", "DaGAN", "FaceDancer", "InsightFace", "OneShotTH", "SAFA", "simswap"), None),
    }
    pattern = re.compile(r"(?:^|/)(?:Data/(?P<label>[\w-]+)/.+|p\d(?:\.\d)?/(?P<split>train|dev|test)/[^/]+)$")
    suffixes = (*PICTURES, *VIDEOS)
    unlabelled = ""
    expected = "Data/<live, spoof, …>/… or p<1, 2.1, 2.2>/<train,dev,test>/<name>.png"

    def look(self, path: PurePosixPath) -> Found | None:
        found = super().look(path)
        if not isinstance(found, Unit) or found.label:
            return found
        number = self.labels.get("/".join(path.parts[-3:]))
        if number is None:
            return Problem("unlisted", str(path), "in no label file — expected <train,dev,test>_label.txt beside the folders")
        return replace(found, label=number)

    def read_lists(self) -> Lists:
        self.labels = {}
        for file in self.list_files("*_label.txt"):
            for line in list_lines(file):
                name, _, number = line.strip().rpartition(" ")
                if name:
                    parts = (file.parent.name, *PurePosixPath(name.strip()).parts)
                    self.labels["/".join(parts[-3:])] = number
        return Lists()
