"""CASIA-SURF CeFA (Liu et al., WACV 2021): `<race>_<subject>_<n>_<n>_<kind>/profile/<frame>.jpg`; only colour is read."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from faceshield.datasets.base import Found
from faceshield.datasets.patterns import FrameSet


class Cefa(FrameSet):
    name = "cefa"
    crop = "as-is"
    types = {"1": "Bonafide", "2": "Flexible mask", "3": "Print", "4": "Replay"}
    pattern = re.compile(r"(?P<race>\d)_(?P<subject>\d+)_(?P<acquisition>\d)_(?P<session>\d)_(?P<label>[1-4])/profile$")
    expected = "<race>_<subject>_<n>_<n>_<1 live, 2 cloth mask, 3 photo, 4 screen>/profile/<frame>.jpg"

    def look(self, path: PurePosixPath) -> Found | None:
        return None if path.parent.name in ("depth", "ir") else super().look(path)

    def subject(self, groups: dict[str, str]) -> str:
        return f"{groups['race']}_{groups.pop('subject')}"
