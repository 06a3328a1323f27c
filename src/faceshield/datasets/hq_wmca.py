"""HQ-WMCA (Mostaani et al., 2020): `<site>_<session>_<client>_<presenter>_<type>_<subtype>_<instrument>-<hash>.h5`.

Colour is the stack `BASLER_BGR`, (frames, 3, height, width), blue first. The meaning of the type numbers is in the
documentation that comes with the data, which we did not have: the label is `<type>_<subtype>`, and `--types` must map it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import ClassVar

from faceshield.datasets.base import Found, Unit
from faceshield.datasets.patterns import PatternSet


class HqWmca(PatternSet):
    name = "hq-wmca"
    crop = "detect"
    types: ClassVar[Mapping[str, str | None]] = {}
    pattern = re.compile(
        r"(?P<site>\d+)_(?P<session>\d+)_(?P<subject>\d+)_(?P<presenter>\d+)_(?P<label>\d+_\d+)_(?P<instrument>\d+)-\w+$"
    )
    suffixes = (".h5", ".hdf5")
    expected = "<site>_<session>_<client>_<presenter>_<type>_<subtype>_<instrument>-<hash>.h5"

    def look(self, path: PurePosixPath) -> Found | None:
        found = super().look(path)
        if not isinstance(found, Unit):
            return found
        return replace(found, reader="stack", video=found.id, options={"member": "BASLER_BGR", "order": "bgr"})
