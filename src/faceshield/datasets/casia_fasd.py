"""CASIA-FASD (Zhang et al., ICB 2012): `train_release/<subject>/<1-8, HR_1-4>.avi`."""

from __future__ import annotations

import re

from faceshield.datasets.patterns import PatternSet


class CasiaFasd(PatternSet):
    name = "casia-fasd"
    crop = "detect"
    types = {
        **dict.fromkeys(("1", "2", "HR_1"), "Bonafide"),
        **dict.fromkeys(("3", "4", "HR_2"), "Print"),
        **dict.fromkeys(("5", "6", "HR_3"), "Print"),
        **dict.fromkeys(("7", "8", "HR_4"), "Replay"),
    }
    pattern = re.compile(r"(?P<split>train|test)_release/(?P<number>\d+)/(?P<label>[1-8]|HR_[1-4])$")
    expected = "train_release/<subject>/<1-8 or HR_1-4>"

    def subject(self, groups: dict[str, str]) -> str:
        # Subjects are numbered from 1 in both halves, but are different people.
        return f"{groups['split']}-{groups.pop('number')}"
