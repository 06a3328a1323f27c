"""HiFiMask (Liu et al., TIFS 2022): folders `<complexion>_<subject>_<type>_<scene>_<light>_<sensor>` of frames."""

from __future__ import annotations

import re

from faceshield.datasets.patterns import FrameSet


class HiFiMask(FrameSet):
    name = "hifimask"
    types = {"0": "Bonafide", "1": "Rigid mask", "2": "Rigid mask", "3": "Rigid mask"}
    pattern = re.compile(r"(?P<complexion>\d)_(?P<subject>\d+)_(?P<label>[0-3])_(?P<scene>\d)_(?P<light>\d)_(?P<sensor>\d)$")
    expected = "<complexion>_<subject>_<type 0 live, 1 transparent, 2 plaster, 3 resin>_<scene>_<light>_<sensor>/<frame>"
