"""Config: overrides, and errors that name file, line and the near match, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from faceshield.config import Config, ConfigError


class Optimizer(Config):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


class Example(Config):
    stage: str = "sft"
    epochs: int = 1
    optimizer: Optimizer = Optimizer()
    projector: Optimizer | None = None
    tags: list[str] = []


def load(tmp_path: Path, text: str, *overrides: str) -> Example:
    path = tmp_path / "example.yaml"
    path.write_text(text)
    return Example.load(path, overrides)


def faults(tmp_path: Path, text: str, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return caught.value.faults


def test_defaults_file_and_overrides_in_this_order(tmp_path: Path) -> None:
    assert Example.load() == Example()
    assert load(tmp_path, "") == Example()
    config = load(tmp_path, "epochs: 2\noptimizer: {lr: 5e-4}\n", "optimizer.lr=1e-2", "tags=[a, b]", "stage=pre")
    assert config == Example(epochs=2, optimizer=Optimizer(lr=1e-2), tags=["a", "b"], stage="pre")


def test_a_group_that_is_absent_or_empty_can_be_overridden(tmp_path: Path) -> None:
    assert load(tmp_path, "projector:\n", "projector.lr=0.5").projector == Optimizer(lr=0.5)
    assert Example.load(None, ["projector.lr=2", "projector=null"]).projector is None


def test_a_number_is_finite(tmp_path: Path) -> None:
    """No JSON reader but Python's takes another, and run.json is to hold every setting."""
    for value in (".inf", ".nan"):
        (fault,) = faults(tmp_path, f"optimizer:\n  lr: {value}\n")
        assert "example.yaml:2: optimizer.lr" in fault and "finite" in fault


def test_all_faults_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    found = faults(tmp_path, "epoch: 2\nstage: sft\noptimizer:\n  lrr: 1\n  lr: fast\n", "tags=3", "nonsense")
    text = "\n".join(found)
    assert len(found) == 5
    assert "example.yaml:1: unknown key 'epoch' — did you mean 'epochs'?" in text
    assert "example.yaml:4: unknown key 'optimizer.lrr' — did you mean 'optimizer.lr'?" in text
    assert "example.yaml:5: optimizer.lr = 'fast'" in text
    assert "override 'tags=3': tags = 3" in text
    assert "override 'nonsense' — expected key=value" in text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimzer.lr=1", "unknown key 'optimzer' — did you mean 'optimizer'?"),
        ("lr=1", "unknown key 'lr' — did you mean 'optimizer.lr'?"),
        ("projector.rl=1", "did you mean 'projector.lr'?"),
        ("zzz=1", "expected one of stage, epochs, optimizer"),
        ("epochs.deep=1", "'epochs.deep=1'"),
        ("tags=[a", "its value is not YAML"),
        ("=1", "expected key=value"),
        ("a..b=1", "expected key=value"),
        ("optimizer.betas=[1]", "optimizer.betas"),
    ],
)
def test_a_wrong_override_says_what_to_do(tmp_path: Path, override: str, message: str) -> None:
    assert message in "\n".join(faults(tmp_path, "epochs: 1\n", override))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 1\nepochs: 2\n", "example.yaml:2: key 'epochs' twice — first at"),
        ("a: [1\n", "not YAML"),
        ("- a\n- b\n", "a list — expected `key: value` lines"),
        ("tags: [a, {b: 1}]\n", "tags.1"),
    ],
)
def test_a_wrong_file_says_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    assert message in "\n".join(faults(tmp_path, text))


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Example.load(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    assert "not YAML" in faults(tmp_path, "stage: !!python/object/apply:os.getcwd []\n")[0]
