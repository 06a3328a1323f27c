"""LCC-FASD (Timoshenko et al., 2019): `LCC_FASD_<split>/{real,spoof}/*.png`; its spoofs are re-captured screens."""

from __future__ import annotations

import re

from faceshield.datasets.folder import PICTURES
from faceshield.datasets.patterns import PatternSet


class LccFasd(PatternSet):
    name = "lcc-fasd"
    types = {"real": "Bonafide", "spoof": "Replay"}
    pattern = re.compile(r"LCC_FASD_(?P<split>training|development|evaluation)/(?P<label>real|spoof)/[^/]+$")
    splits = {"training": "train", "development": "dev", "evaluation": "test"}
    suffixes = PICTURES
    expected = "LCC_FASD_<training,development,evaluation>/{real,spoof}/*.png"
