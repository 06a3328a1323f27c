"""One stage of training, chosen by its name or by a config: what `faceshield train` runs, and `reproduce` for each step.

Use: `folder = train("configs/train/tiny-sft.yaml", ["init=one", "dialogues=[dialogues.jsonl]", "out=two"])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from faceshield.config import near, read_yaml

if TYPE_CHECKING:
    from faceshield.training.tower_config import TowerTexts
    from faceshield.training.watch import Report

_CORPUS_SAMPLES = 4000


def train(config: str | Path, overrides: Sequence[str] = (), *, report: Report = lambda row: None) -> Path:
    """Runs the stage that a config describes; the same call resumes a run that was stopped.

    Args:
        config: a YAML file with a `stage`, or a stage's name (then all values come from the overrides).
        overrides: "key=value", each replacing the file's value.
        report: called with every row of the log.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: no such stage, or a sweep, which has several; or settings that do not fit (`ConfigError`, all at once).
    """
    stage, source, given = stage_of(config, overrides)
    if stage == SWEEP:
        raise ValueError(f"{config} is a sweep — expected one of {', '.join(_RUN)} — use run_sweep")
    return _RUN[stage](source, given, report)


def stage_of(config: str | Path, overrides: Sequence[str] = ()) -> tuple[str, Path | None, list[str]]:
    """The stage that a config or a name denotes, the file to read (None for a name), and the overrides for it.

    Raises:
        ValueError: neither a stage's name nor a file that names one.
        FileNotFoundError: no such file.
    """
    if str(config) in STAGES and not Path(config).exists():
        return str(config), None, [*overrides, f"stage={config}"]
    stage = read_yaml(config).get("stage")
    for override in overrides:
        key, _, value = override.partition("=")  # a malformed override is reported later, with all other faults
        stage = value.strip() if key.strip() == "stage" else stage
    if stage not in STAGES:
        hint = near(str(stage), STAGES, "add the line `stage: …`")
        raise ValueError(f"{config}: stage {stage!r} — expected one of {', '.join(STAGES)} — {hint}")
    return str(stage), Path(config), list(overrides)


# -- the stages: each imports only what it needs, since one run is one stage -----------------------------------------------


def _towers(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.training.foundation import train_towers
    from faceshield.training.foundation_towers import TowersConfig

    config = TowersConfig.load(source, given)
    train_towers(config, tower_texts(), _corpus(config.data), report)
    return config.out


def _language(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.training.foundation_lm import LanguageConfig, train_language

    config = LanguageConfig.load(source, given)
    train_language(config, report)
    return config.out


def _paper(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.tasks import QUESTIONS
    from faceshield.training.settings import StageConfig
    from faceshield.training.stages import train_stage

    return train_stage(StageConfig.load(source, given), questions=QUESTIONS, report=report)


def _baseline(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.baselines.stage import BaselineConfig, train_baseline

    config = BaselineConfig.load(source, given)
    train_baseline(config, report)
    return config.out


def _threshold(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.recipes.threshold import ThresholdConfig, store_threshold

    config = ThresholdConfig.load(source, given)
    value = store_threshold(config).value
    report({"event": "threshold", "": f"{value:.6f}, stored in {config.out}/faceshield.json"})
    return config.out


def _average(source: Path | None, given: list[str], report: Report) -> Path:
    from faceshield.recipes.average import AverageConfig, average

    return average(AverageConfig.load(source, given), report)


_RUN: dict[str, Callable[[Path | None, list[str], Report], Path]] = {
    "foundation-towers": _towers,
    "foundation-lm": _language,
    "pretrain": _paper,
    "sft": _paper,
    "baseline": _baseline,
    "threshold": _threshold,
    "average": _average,
}
SWEEP = "sweep"
STAGES = (*_RUN, SWEEP)
"""What a config's `stage` may be."""


# -- the texts that the towers and the tokenizer learn from ----------------------------------------------------------------


def tower_texts() -> TowerTexts:
    """Captions of the types and of the coarse verdicts, and the fixed questions."""
    from faceshield.tasks import COARSE, FINE, QUESTIONS
    from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES, TAXONOMY
    from faceshield.training.tower_config import TowerTexts

    captions: list[tuple[str, tuple[str, ...]]] = []
    for row in TAXONOMY:
        only = (row.name,)
        captions += [(row.sentence, only), (FINE.templates[row.name], only), (row.name, only)]
        captions.append((f"A face with {', '.join(row.cues)}.", only))
    captions += [(text, ATTACK_TYPES) for text in (COARSE.templates["attack"], "A presentation attack.")]
    # The coarse wording of bona fide may equal the fine one; a repeated caption is harmless.
    captions += [(COARSE.templates["bonafide"], (BONAFIDE,)), ("A bona fide face.", (BONAFIDE,))]
    return TowerTexts(PRESENTATION_TYPES, tuple(captions), tuple(QUESTIONS.values()))


def _corpus(files: list[Path]) -> Iterator[str]:
    """Questions and answers about the samples, for the tokenizer."""
    from faceshield.data_engine import TASK_NAMES, generate_dialogues
    from faceshield.records import Sample, read_jsonl

    samples = [sample for file in files for sample in read_jsonl(file, Sample)]
    step = max(1, len(samples) // _CORPUS_SAMPLES)
    for dialogue in generate_dialogues(samples[::step], tasks=TASK_NAMES, seed=0):
        yield from dialogue.texts
