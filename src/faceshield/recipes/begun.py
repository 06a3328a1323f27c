"""The same command goes on; another command in the same folder is refused instead of mixing two runs.

Use: `begun("out/seed-0", {"seed": 0, "epochs": 3})` before the work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceshield.records import write_text_atomic

BEGUN_FILE = "begun.json"


def begun(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Notes what a folder is begun with; where it was noted before, it must be the same.

    Args:
        folder: made where it is missing.
        settings: JSON values; all that decides the result.

    Raises:
        ValueError: begun with other settings; they are named.
    """
    file = Path(folder) / BEGUN_FILE
    now = json.loads(json.dumps(dict(settings), default=str))
    if not file.is_file():
        write_text_atomic(file, json.dumps(now, indent=1, ensure_ascii=False) + "\n")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    differs = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differs:
        shown = ", ".join(f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in differs[:3])
        raise ValueError(f"{folder} was begun with {shown} — expected the same — choose another folder, or remove this one")
