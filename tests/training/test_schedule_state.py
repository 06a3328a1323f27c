"""A run ends by pictures or by the clock, and a stopped one goes on with the very same state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from faceshield.provenance import write_run
from faceshield.training.schedule import check_end, cosine_rate, progress
from faceshield.training.state import decay_groups, load_state, save_state


def test_progress_takes_what_is_further() -> None:
    assert progress(50, 100, 0, None) == 0.5
    assert progress(50, 100, 45, 1) == 0.75
    assert progress(10, 100, 600, 1) == 1.0


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [cosine_rate(i / 100, 0.1) for i in range(101)]
    assert rates[0] > 0 and max(rates) == pytest.approx(1.0) and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[:10] == sorted(rates[:10]) and rates[11:] == sorted(rates[11:], reverse=True)
    assert cosine_rate(0.0, 0.0) == 1.0


def steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        module(torch.ones(2, 3)).pow(2).sum().backward()
        optimizer.step()


def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    return module, torch.optim.AdamW(module.parameters(), lr=0.1)


def test_a_saved_run_continues_as_if_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    whole, optimizer = fresh()
    steps(whole, optimizer, 6)
    half, optimizer = fresh()
    steps(half, optimizer, 3)
    save_state(path, {"a": half}, optimizer, {"seen": 3})
    again, optimizer = fresh()
    assert load_state(path, {"a": again}, optimizer) == {"seen": 3}
    steps(again, optimizer, 3)
    for expected, value in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(expected, value)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    module, optimizer = fresh()
    save_state(path, {"a": module}, optimizer, {})
    with pytest.raises(ValueError, match="lacks"):
        load_state(path, {"b": module}, optimizer)
    other = nn.Linear(3, 4)
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        load_state(path, {"a": other}, torch.optim.AdamW(other.parameters()))


def test_moments_take_the_parameters_memory_order(tmp_path: Path) -> None:
    """A fused optimizer pairs weight and moment by their place in memory."""
    module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    module(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    save_state(tmp_path / "state.safetensors", {"a": module}, optimizer, {})
    moments = optimizer.state[module.weight]["exp_avg"].clone()
    load_state(tmp_path / "state.safetensors", {"a": module}, optimizer)
    loaded = optimizer.state[module.weight]["exp_avg"]
    assert torch.equal(loaded, moments) and loaded.stride() == module.weight.stride()


def test_buffers_go_on_too(tmp_path: Path) -> None:
    module = nn.BatchNorm1d(2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.rand(8, 2) + 5)
    save_state(tmp_path / "state.safetensors", {"a": module}, optimizer, {})
    fresh = nn.BatchNorm1d(2)
    load_state(tmp_path / "state.safetensors", {"a": fresh}, torch.optim.AdamW(fresh.parameters()))
    assert torch.equal(fresh.running_mean, module.running_mean) and fresh.num_batches_tracked == 1


def test_a_state_that_cannot_be_written_leaves_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, path = nn.Linear(3, 2), tmp_path / "state.safetensors"
    optimizer = torch.optim.AdamW(module.parameters())
    save_state(path, {"a": module}, optimizer, {"seen": 3})

    def half(tensors: Any, target: Path, metadata: Any = None) -> None:
        Path(target).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("faceshield.training.state.save_file", half)
    with pytest.raises(OSError, match="free some space"):
        save_state(path, {"a": module}, optimizer, {"seen": 4})
    assert load_state(path, {"a": module}, optimizer) == {"seen": 3} and list(tmp_path.iterdir()) == [path]


def test_biases_and_norms_do_not_decay() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 2))
    decayed, kept = decay_groups(module.parameters(), 0.05)
    assert [value.ndim for value in decayed["params"]] == [4, 2] and decayed["weight_decay"] == 0.05
    assert {value.ndim for value in kept["params"]} == {1} and len(kept["params"]) == 4 and kept["weight_decay"] == 0


def test_the_rate_falls_as_half_a_cosine() -> None:
    assert [cosine_rate(done, 0.2) for done in (0.1, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0.5, 1, 0.853553, 0.5, 0], abs=1e-6)


@pytest.mark.gpu
def test_a_fused_optimizer_goes_on_where_its_parameters_lie(tmp_path: Path) -> None:
    """There it counts its steps on the device; a number on the host would be read as an address there."""
    module = nn.Linear(3, 2, device="cuda")
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    module(torch.ones(2, 3, device="cuda")).sum().backward()
    optimizer.step()
    save_state(tmp_path / "state.safetensors", {"a": module}, optimizer, {})
    again = torch.optim.AdamW(module.parameters(), lr=0.1, fused=True)
    load_state(tmp_path / "state.safetensors", {"a": module}, again)
    assert {value.device.type for state in again.state.values() for value in state.values()} == {"cuda"}
    again.step()


def test_a_finished_run_does_not_end_earlier(tmp_path: Path) -> None:
    check_end(tmp_path, "sft", {"epochs": 1.0})
    write_run(tmp_path, config={"stage": "sft", "epochs": 2.0, "minutes": None, "max_steps": -1}, seed=0, inputs=[])
    with pytest.raises(ValueError, match="was trained to epochs 2, now 1 — expected as much or more"):
        check_end(tmp_path, "sft", {"epochs": 1.0, "minutes": 3.0, "max_steps": -1})
    check_end(tmp_path, "sft", {"epochs": 2.5, "minutes": 3.0, "max_steps": 5})
    check_end(tmp_path, "pretrain", {"epochs": 1.0})
