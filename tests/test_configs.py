"""Every YAML under configs/ loads through its real class, has no key that the class does not know, and says
what it is.
"""

from __future__ import annotations

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
    from faceshield.cli.train import STAGES

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


def load_data(path: Path) -> None:
    from faceshield.data_engine.build import BuildConfig

    BuildConfig.load(path)


LOADERS: dict[str, Callable[[Path], None]] = {"model": load_model, "train": load_train, "data": load_data}


def test_there_are_configs() -> None:
    assert len(FILES) > 0
    assert {path.relative_to(CONFIGS).parts[0] for path in FILES} <= set(LOADERS), (
        "a new folder — add its loader here"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_it_loads_through_its_real_class(path: Path) -> None:
    LOADERS[path.relative_to(CONFIGS).parts[0]](path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_it_says_in_its_first_line_what_it_is(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert path.suffix == ".yaml"
