"""docs/paper_map.md names every option of SAVP and PVTM with all its values, and whose words each decision follows."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from faceshield.model import FaceShieldConfig, FaceShieldProcessor
from faceshield.model.savp import Channel, LbpMethod

TEXT = (Path(__file__).parents[1] / "docs" / "paper_map.md").read_text(encoding="utf-8")
SECTION = TEXT.split("## Decisions where the paper is silent: the model")[1].split("\n## ")[0]
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in SECTION.splitlines() if line.startswith("| ")][1:]
KINDS = FaceShieldConfig.__annotations__
OPTIONS = [name for name in KINDS if name.startswith("pvtm_")] + ["use_savp", "vision_feature_layer"]
OPTIONS += [name for name in inspect.signature(FaceShieldProcessor).parameters if name.startswith("savp_")]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_listed_with_its_values(name: str) -> None:
    listed = " ".join(row[-1] for row in ROWS if re.search(rf"\b{name}\b", row[-1]))
    assert listed, name
    values = {"savp_lbp_method": get_args(LbpMethod), "savp_at": ("crop", "square")}.get(name, get_args(KINDS.get(name)))
    if name == "savp_channels":
        listed, values = SECTION.lower(), get_args(Channel)
    for value in values:
        if isinstance(value, str):
            assert re.search(rf"\b{value}\b", listed), (name, value)


def test_every_decision_says_whose_it_is() -> None:
    assert len(ROWS) >= 20 and {len(row) for row in ROWS} == {5}
    for row in ROWS:
        assert re.match(r"(paper|figure|Bunny|ours)\b", row[2]), row
