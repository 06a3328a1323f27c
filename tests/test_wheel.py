"""What `pip install` gets: a wheel that has everything inspection, service and simulator need, and no picture of anybody."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_a_wheel_holds_the_model_and_its_credits(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools to build without fetching it")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("faceshield-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tiny = "faceshield/assets/faceshield-tiny"
    wanted = [
        f"{tiny}/{name}" for name in ("model.safetensors", "drafts.safetensors", "prompt_tokenizer/tokenizer.json", "README.md")
    ]
    wanted += ["faceshield/py.typed", "faceshield/assets/face-template.safetensors", "faceshield/cli/inspect.py"]
    assert set(wanted) <= set(names)
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if Path(name).suffix in (".jpg", ".jpeg", ".png", ".pkl", ".pt", ".bin")]
    assert wheel.stat().st_size < 25 * 2**20
