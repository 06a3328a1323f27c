"""Every YAML under configs/ loads through its real class, has no key that the class does not know, and says what it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted([*CONFIGS.rglob("*.yaml"), *CONFIGS.rglob("*.yml")])


def load_model(path: Path) -> None:
    from faceshield.model import FaceShieldConfig
    from faceshield.training.assembly import AssembleConfig

    config = AssembleConfig.load(path)
    # transformers takes unknown keys silently; a misspelt one would make another model than the file says.
    assert set(config.model) <= set(vars(FaceShieldConfig()))


def load_train(path: Path) -> None:
    from faceshield.recipes.train import STAGES

    stage = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stage")
    assert stage in STAGES
    if stage == "foundation-towers":
        from faceshield.training.foundation_towers import TowersConfig

        TowersConfig.load(path)
    elif stage == "foundation-lm":
        from faceshield.training.foundation_lm import LanguageConfig

        LanguageConfig.load(path)
    else:
        from faceshield.training.settings import StageConfig

        StageConfig.load(path)


def load_baseline(path: Path) -> None:
    from faceshield.baselines.stage import BaselineConfig

    if yaml.safe_load(path.read_text(encoding="utf-8")).get("stage") == "baseline":
        BaselineConfig.load(path)
    else:  # Bunny's rows are our own stages with SAVP and PVTM off
        load_train(path)


def load_data(path: Path) -> None:
    from faceshield.data_engine.build import BuildConfig

    BuildConfig.load(path)


def load_ablation(path: Path) -> None:
    """The sweep, and every stage of every run of it, against the real classes' own settings."""
    from faceshield.model import FaceShieldConfig, FaceShieldProcessor
    from faceshield.recipes.sweep import SweepConfig, plan

    config = SweepConfig.load(path)
    told = [override for name in config.stages for override in [f"stages.{name}.dialogues=[dialogues.jsonl]"]]
    runs = list(plan(SweepConfig.load(path, told)))
    assert len(runs) == len(config.all_variants()) > 1
    known = vars(FaceShieldConfig()), inspect.signature(FaceShieldProcessor.__init__).parameters
    for run in runs:
        for stage in run.stages.values():
            assert set(stage.model) <= set(known[0]) and set(stage.processor) <= set(known[1])
            FaceShieldConfig(**stage.model)


LOADERS: dict[str, Callable[[Path], None]] = {
    "ablation": load_ablation, "baseline": load_baseline, "data": load_data, "model": load_model, "train": load_train,
}  # fmt: skip


def test_there_are_configs() -> None:
    assert len(FILES) > 0
    assert {path.relative_to(CONFIGS).parts[0] for path in FILES} <= set(LOADERS), "a new folder — add its loader here"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_it_loads_through_its_real_class(path: Path) -> None:
    LOADERS[path.relative_to(CONFIGS).parts[0]](path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_it_says_in_its_first_line_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert path.suffix == ".yaml"
