"""SiW (Liu et al., CVPR 2018): `{Train,Test}/{live,spoof}/<subject>/<subject>-<sensor>-<type>-<medium>-<session>`."""

from __future__ import annotations

import re

from faceshield.datasets.patterns import PatternSet


class Siw(PatternSet):
    name = "siw"
    crop = "detect"
    types = {"1": "Bonafide", "2": "Print", "3": "Replay"}
    pattern = re.compile(
        r"(?P<split>Train|Test)/(?:live|spoof)/\d+/(?P<subject>\d+)-(?P<sensor>\d+)-(?P<label>[123])-(?P<medium>\d+)-(?P<session>\d+)(?:\.m)?$"
    )
    expected = "{Train,Test}/{live,spoof}/<subject>/<subject>-<sensor>-<1 live, 2 print, 3 replay>-<medium>-<session>"
