"""Replay-Attack (Chingovska et al., BIOSIG 2012): `<train,devel,test>/real/…` and `…/attack/<fixed,hand>/attack_…`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from faceshield.datasets.base import Found
from faceshield.datasets.patterns import PatternSet


class ReplayAttack(PatternSet):
    name = "replay-attack"
    crop = "detect"
    types = {"real": "Bonafide", "print": "Print", "mobile": "Replay", "highdef": "Replay"}
    pattern = re.compile(
        r"(?P<split>train|devel|test)/(?:real/|attack/(?P<support>fixed|hand)/attack_(?P<label>print|mobile|highdef)_)"
        r"client(?P<subject>\d{3})_session(?P<session>\d\d)_[a-z0-9_]+$"
    )
    unlabelled = "real"
    expected = "<train,devel,test>/real/client001_session01_… or …/attack/<fixed,hand>/attack_<print,mobile,highdef>_client…"

    def look(self, path: PurePosixPath) -> Found | None:
        return None if "enroll" in path.parts else super().look(path)  # enrolment videos, for face recognition
