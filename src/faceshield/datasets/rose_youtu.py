"""Rose-Youtu (Li et al., TIFS 2018): `{train,test}/<subject>/<code>_….mp4`; the first letters give the type."""

from __future__ import annotations

import re

from faceshield.datasets.patterns import PatternSet


class RoseYoutu(PatternSet):
    name = "rose-youtu"
    crop = "detect"
    types = {
        "G": "Bonafide",
        **dict.fromkeys(("Ps", "Pq"), "Print"),
        **dict.fromkeys(("Vl", "Vm"), "Replay"),
        **dict.fromkeys(("Mc", "Mf", "Mu"), "Paper mask"),
    }
    pattern = re.compile(r"(?:(?P<split>train|test)/)?_?(?P<subject>\d+)/(?P<label>G|Ps|Pq|Vl|Vm|Mc|Mf|Mu)_[^/]+$")
    expected = "<subject>/<G,Ps,Pq,Vl,Vm,Mc,Mf,Mu>_…"
