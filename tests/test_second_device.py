"""Nothing stays behind on the CPU: inspection, trainings and baselines on a second device, as a GPU is one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from faceshield.predictor import FaceShieldPredictor
from second_device import second_device

ROOT = Path(__file__).resolve().parents[1]


def test_the_device_computes_and_refuses_what_a_gpu_refuses() -> None:
    here = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with second_device() as device:
        there = here.to(device)
        weight = torch.ones(3, 2, device=device, requires_grad=True)
        functional.linear(there, weight).sum().backward()
        assert weight.grad is not None and weight.grad.tolist() == [[4.0, 6.0]] * 3 and weight.grad.device == device
        assert there[torch.tensor([1])].cpu().tolist() == [[3.0, 4.0]] and there[there > 2].tolist() == [3.0, 4.0]
        assert (there + torch.tensor(1.0)).sum().item() == 14.0 and there.new_tensor([2.0]).device == device
        there[:, 0] = 0.0
        assert there.tolist() == [[0.0, 2.0], [0.0, 4.0]]
        for mixed in (
            lambda: there + torch.ones(2), lambda: torch.cat([there, here]), lambda: torch.where(there > 0, there, here),
            lambda: here[torch.tensor([1], device=device)], lambda: there.numpy(),
            lambda: torch.rand(2, device=device, generator=torch.Generator()),
            lambda: functional.embedding(torch.tensor([0]), weight),
        ):  # fmt: skip
            with pytest.raises((RuntimeError, TypeError)):
                mixed()


def test_a_report_is_the_same_on_a_second_device(
    shield: FaceShieldPredictor, make_shield: Callable[..., FaceShieldPredictor], face_photo: np.ndarray
) -> None:
    wanted, other = shield.inspect(face_photo, face="whole"), make_shield()
    with second_device() as device:
        other.model.to(device)
        found = other.inspect(face_photo, face="whole")
        assert next(other.model.parameters()).device == device
    assert (found.bonafide_score, found.type_scores) == (wanted.bonafide_score, wanted.type_scores)
    assert (found.reasoning, found.boxes) == (wanted.reasoning, wanted.boxes)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (("training/test_foundation.py", "training/test_picture_run.py"), ""),
        (("training/test_stages.py",), "stage_1_trains or stage_2 or stopped or losses_are or ablations or gradient"),
        (("baselines/test_stage.py", "baselines/test_methods.py", "baselines/test_classifier.py"), ""),
        (("predictor/test_predictor.py",), "pvtm or fewer or importance or ask or detect or classify or quality"),
    ],
)
def test_what_passes_on_the_cpu_passes_on_a_second_device(files: tuple[str, ...], chosen: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "second_device", "-q", "-n0", "-m", "not slow and not gpu", "-k", chosen]
    done = subprocess.run([*command, *(str(ROOT / "tests" / file) for file in files)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
