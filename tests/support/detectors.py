"""Detectors of faces that are no detectors: `--detector detectors:Middle` in the tests of `faceshield prepare`."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from faceshield.face import Face


class Middle:
    """A face in the middle half of every picture."""

    def detect(self, rgb: np.ndarray[Any, Any]) -> list[Face]:
        height, width = rgb.shape[:2]
        return [Face((width / 4, height / 4, width * 3 / 4, height * 3 / 4), 1.0)]


class DiesOfDark(Middle):
    """As a decoder dies of a broken video: the whole process, without a word."""

    def detect(self, rgb: np.ndarray[Any, Any]) -> list[Face]:
        if rgb.mean() < 10:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().detect(rgb)
