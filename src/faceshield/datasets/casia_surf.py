"""CASIA-SURF (Zhang et al., CVPR 2019): only colour is read; all attacks are printed faces with parts cut out.

In the training part, folders say what is real: `Training/{real,fake}_part/CLKJ_<subject>/<clip>.rssdk/color/<n>.jpg`. The
other parts are single pictures, `{Val,Testing}/<n>/<n>-color.jpg`, labelled only in the lists (`*list*.txt`: the paths of three
channels in any order, then a number); the lines for the training part show which number means real.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from faceshield.datasets.base import Found, Lists, Problem, Unit, list_lines
from faceshield.datasets.patterns import FrameSet


class CasiaSurf(FrameSet):
    name = "casia-surf"
    crop = "as-is"
    types = {"real": "Bonafide", "fake": "Print"}
    pattern = re.compile(r"(?P<label>real|fake)_part/(?P<subject>CLKJ_\w+)/(?P<clip>[\w.]+)\.rssdk/color$")
    expected = "{real,fake}_part/CLKJ_<subject>/<clip>.rssdk/color/<n>.jpg or {Val,Testing}/<n>/<n>-color.jpg"
    _single = re.compile(r"(?P<split>Val|Testing)/\d+/\d+-color$")

    def look(self, path: PurePosixPath) -> Found | None:
        if path.parent.name in ("depth", "ir") or path.stem.endswith(("-depth", "-ir")):
            return None
        single = self._single.search(str(path.with_suffix("")))
        if single is None or path.suffix.lower() not in self.suffixes:
            found = super().look(path)
            return replace(found, split="train") if isinstance(found, Unit) else found
        label = self.labels.get(single[0])
        if label is None:
            return Problem("unlisted", str(path), "in no *list*.txt that says what it is, or the training list is missing")
        split = {"Val": "dev", "Testing": "test"}[single["split"]]
        return Unit(single[0], str(path), "picture", label, split=split)

    def read_lists(self) -> Lists:
        lists = Lists()
        numbers: dict[str, str] = {}
        real: set[str] = set()
        for file in self.list_files("*list*.txt"):
            for line in list_lines(file):
                words = line.split()
                colour = next((word for word in words if re.search(r"(/color/|-color\.)", word)), "")
                if not colour or "/" in words[-1]:  # the public lists of the challenge have only paths
                    continue
                number = words[-1]
                if "_part/" in colour:
                    real |= {number} if "real_part/" in colour else set()
                    continue
                match = self._single.search(str(PurePosixPath(colour).with_suffix("")))
                if match and numbers.setdefault(match[0], number) != number:
                    lists.fault(match[0], f"{numbers[match[0]]} in one list, {number} in {file.name}; the first is kept")
        known = len(real) == 1
        self.labels = {name: "real" if number in real else "fake" for name, number in numbers.items() if known}
        return lists
