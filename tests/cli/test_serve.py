"""`faceshield serve`: options that do not fit are one line each, before anything heavy is loaded."""

from __future__ import annotations

import importlib.util

import pytest
from typer.testing import CliRunner

from faceshield.cli import app

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--engine", "slurm"], "expected local or ray"),
        (["--replicas", "2"], "expected --engine ray"),
        (["--max-replicas", "2", "--replica-gpus", "1"], "expected --engine ray"),
        (["--host", "0.0.0.0"], "--without-keys"),
        (["--drain", "inf"], "drain_s inf"),
    ],
)
def test_options_that_do_not_fit(options: list[str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACESHIELD_API_KEYS", raising=False)
    error = CliRunner().invoke(app, ["serve", *options]).exception
    assert isinstance(error, ValueError) and says in str(error) and " — " in str(error)


@pytest.mark.parametrize("option", ["--max-body-mb", "--max-megapixels", "--timeout", "--drain", "--batch-wait-ms", "--queue"])
@pytest.mark.parametrize("value", ["nan", "-1", "0"])
def test_numbers_that_cannot_be_are_told_by_the_option_s_name(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["serve", option, value, "--port", "0", "--model", "nowhere"])
    wanted = f"Invalid value for '{option}'" if (option, value) != ("--batch-wait-ms", "0") else ""
    assert result.exit_code != 0 and wanted in result.output


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed here")
def test_without_ray_the_line_to_type_is_told() -> None:
    error = CliRunner().invoke(app, ["serve", "--engine", "ray"]).exception
    assert isinstance(error, ImportError) and 'pip install "faceshield[serve,ray]"' in str(error)


@pytest.mark.slow  # Ray takes seconds to import
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed — type: pip install -e '.[serve,ray]'")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--replicas", "3", "--max-replicas", "2"], "replicas 3, max_replicas 2"),
        (["--ui", "--max-replicas", "2"], "--ui with several replicas"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own classes, as it is imported
def test_replicas_that_do_not_fit(options: list[str], says: str) -> None:
    error = CliRunner().invoke(app, ["serve", "--engine", "ray", *options]).exception
    assert isinstance(error, ValueError) and says in str(error)
