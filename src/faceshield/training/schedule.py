"""The progress of a run, and what follows from it: the learning rate, and when the run ends.

A run ends after a number of pictures or of minutes, whichever comes first; with minutes the schedule follows
the clock, so that the rate has decayed when time is up, however fast the machine is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faceshield.provenance import read_run


@dataclass
class Clock:
    """Seconds spent on a run, including those before it was stopped."""

    before: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return self.before + time.monotonic() - self.start


def progress(seen: int, total: int, elapsed: float, minutes: float | None) -> float:
    """Share 0..1 of the run that is done, by pictures or by the clock, whichever is further."""
    by_clock = elapsed / (60 * minutes) if minutes else 0.0
    return min(1.0, max(seen / total, by_clock))


def cosine_rate(done: float, warmup: float) -> float:
    """Factor 0..1 on the learning rate: linear warm-up over the share `warmup`, then a half cosine down to 0."""
    if done < warmup:
        return max(done / warmup, 1e-3)
    share = (done - warmup) / max(1e-9, 1 - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def check_end(out: Path, stage: str, ends: Mapping[str, float | None]) -> None:
    """Checks that a finished run is not told to end earlier than it did, which its weights cannot.

    Args:
        out: the run's folder; nothing is checked if it holds no finished run.
        stage: the run's stage.
        ends: settings of when it ends, by name; None or -1: not by this one.

    Raises:
        ValueError: the run that `out` holds ended later by one of them.
    """
    told = read_run(out).get("config", {})
    if told.get("stage") != stage:
        return
    for name, now in ends.items():
        before = told.get(name)
        if now is not None and before is not None and 0 < now < before:
            raise ValueError(
                f"{out} was trained to {name} {before:g}, now {now:g} — expected as much or more, for weights cannot be taken "
                "back — choose another folder"
            )
