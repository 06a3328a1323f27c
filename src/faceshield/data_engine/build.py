"""The whole data engine from one configuration: generate, filter, review, augment, report (paper Fig. 3).

Every step's output stays in the folder and is not made again; stop at any point and start the same command again.
Use: `faceshield build-dataset configs/data/sft45k.yaml samples=samples.jsonl out=sft45k`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from faceshield.config import Config
from faceshield.data_engine.augment import AugmentConfig, augment
from faceshield.data_engine.filter import FilterConfig, filter_dialogues
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.report import ReportConfig, report
from faceshield.data_engine.stage import StageResult
from faceshield.engines import LOCAL, Engine
from faceshield.provenance import file_sha256, read_json, read_run

Progress = Callable[[int, int], None]


class BuildConfig(Config):
    """A data set's whole recipe.

    Attributes:
        samples: samples.jsonl. out: folder; at the end it holds `dialogues.jsonl` and `README.md`, the card.
        seed: source of all randomness.
        filter, augment: None leaves out the step.
        review: stop before the augmentation until `faceshield review` has written `reviewed.jsonl` (without an augmentation,
            `dialogues.jsonl`).
    """

    samples: Path
    out: Path
    seed: int = Field(0, ge=0)
    generate: GenerateConfig = GenerateConfig()
    filter: FilterConfig | None = FilterConfig()
    review: bool = False
    augment: AugmentConfig | None = None
    report: ReportConfig = ReportConfig()


class ReviewOutstanding(ValueError):
    """People have to review first; the message has the command to type."""


@dataclass(frozen=True)
class Built:
    """What was made: the results of the steps by name, and the report's numbers."""

    steps: dict[str, StageResult]
    dialogues: Path
    card: Path
    numbers: dict[str, Any]


def build(
    config: BuildConfig,
    *,
    engine: Engine = LOCAL,
    progress: Callable[[str], AbstractContextManager[Progress | None]] | None = None,
) -> Built:
    """Runs every step that is not done.

    Args:
        engine: runs the steps' work.
        progress: from a step's name to a context with its progress function.

    Raises:
        ReviewOutstanding: the recipe requires a review that is missing, unfinished or of other dialogues.
        AssistantDown, RecordError, FileNotFoundError: as raised by the steps.
    """
    show = progress or (lambda name: nullcontext(None))
    out, last = config.out, config.out / "dialogues.jsonl"
    cache = out / "answers.sqlite"
    steps: dict[str, StageResult] = {}
    left = [name for name in ("generate", "filter", "augment") if name == "generate" or getattr(config, name)]
    names = {"generate": "generated.jsonl", "filter": "filtered.jsonl"}

    def target(name: str) -> Path:
        return last if name == left[-1] and not config.review else out / names.get(name, last.name)

    with show("generate") as advance:
        current = target("generate")
        steps["generate"] = generate(
            config.samples, current, config.generate, seed=config.seed, cache=cache, engine=engine, progress=advance
        )
    if config.filter is not None:
        with show("filter") as advance:
            steps["filter"] = filter_dialogues(
                current, target("filter"), config.filter, cache=cache, engine=engine, progress=advance
            )
            current = target("filter")
    if config.review:
        reviewed = out / "reviewed.jsonl" if config.augment else last
        if not reviewed.is_file():
            raise ReviewOutstanding(
                f"{reviewed} is not there — expected what people accepted of {current} — type: "
                f"faceshield review {current} --out {reviewed}, then the same command again"
            )
        _check_review(reviewed, current)
        current = reviewed
    if config.augment is not None:
        with show("augment") as advance:
            steps["augment"] = augment(
                current, last, config.augment, seed=config.seed, cache=cache, engine=engine, progress=advance
            )
    card = out / "README.md"
    numbers = report(last, card, config.report)
    return Built(steps, last, card, numbers)


def _check_review(reviewed: Path, current: Path) -> None:
    """Checks that what `faceshield review` wrote is of these dialogues and complete; other tools' files are not checked."""
    again = f"type: faceshield review {current} --out {reviewed}, then the same command again"
    inputs = read_run(reviewed).get("inputs") or [{}]
    if inputs[0].get("sha256") not in (None, file_sha256(current)):
        raise ReviewOutstanding(
            f"{reviewed} reviews other dialogues than {current} holds now — expected a review of these — {again}"
        )
    counts = reviewed.with_suffix(".review.json")
    left = read_json(counts)["open"] if counts.is_file() else 0
    if left:
        raise ReviewOutstanding(f"{reviewed}: {left:,} dialogues are still to be decided — expected none — {again}")
