"""Saving and resuming: one safetensors file, replaced atomically, holds weights, optimizer, random states and progress.

No pickle anywhere. If a file cannot be written (a full disk), the last good one stays. Sharded parameters (FSDP2) are
written unsharded, so that one process can read what several wrote.
Use: `save_state(path, modules, optimizer, {"seen": 96})`, later `load_state(path, modules, optimizer)`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from faceshield.provenance import written_whole

STATE_FILE = "state.safetensors"
RNG = "rng/"


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """An optimizer's parameter groups: matrices and kernels with weight decay, one-dimensional biases and norms without."""
    values = list(parameters)
    return [
        {"params": [value for value in values if value.ndim >= 2], "weight_decay": weight_decay},
        {"params": [value for value in values if value.ndim < 2], "weight_decay": 0.0},
    ]


def named_parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """All parameters as "module.name" -> parameter, in a fixed order."""
    return {f"{prefix}.{name}": value for prefix, module in modules.items() for name, value in module.named_parameters()}


def named_buffers(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What modules store besides parameters (running means, memories) as "module.name" -> tensor."""
    found: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        kept: dict[str, Tensor] = module.state_dict(keep_vars=True)
        found |= {f"{prefix}.{name}": value for name, value in kept.items() if not isinstance(value, nn.Parameter)}
    return found


def save_state(
    path: str | Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    *,
    rng: Mapping[str, Tensor] | None = None,
    write: bool = True,
) -> None:
    """Writes, atomically, all that resuming needs: trained parameters, their moments, buffers, random states, progress.

    Args:
        path: the `.safetensors` file.
        modules: what is trained, by name; frozen parameters are left out.
        optimizer: its per-parameter tensors are kept.
        progress: JSON values: pictures seen, seconds spent, ….
        rng: states of random generators, by name.
        write: False on all processes but one; all must call this, since sharded tensors are gathered.

    Raises:
        OSError: the file could not be written; an earlier one is untouched.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for name, parameter in named_parameters(modules).items():
        if not parameter.requires_grad:
            continue
        found = {f"weight/{name}": parameter}
        found |= {f"optimizer/{key}/{name}": value for key, value in optimizer.state.get(parameter, {}).items()}
        for key, value in found.items():
            whole = _whole(value)
            if write:
                tensors[key] = whole.cpu().contiguous()
    if not write:
        return
    tensors |= {f"buffer/{name}": value.detach().cpu().contiguous() for name, value in named_buffers(modules).items()}
    tensors |= {f"{RNG}{name}": value for name, value in (rng or {}).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with written_whole(path) as part:
            save_file(tensors, part, metadata={"progress": json.dumps(dict(progress))})
            with part.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path}: {error} — expected room to write it — free some space; the same command goes on from the last good "
            "checkpoint, which is still there"
        ) from error


def _whole(value: Tensor) -> Tensor:
    value = value.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


def load_state(path: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restores the modules and the optimizer from a saved state and returns its progress.

    Raises:
        ValueError: the file belongs to another model.
    """
    load_weights(path, modules)
    parameters = named_parameters(modules)
    # A fused optimizer keeps its step count on the parameter's device, others on the CPU.
    fused = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    with safe_open(path, framework="pt") as file:
        for full in file.keys():  # noqa: SIM118 (no mapping)
            if full.startswith("optimizer/"):
                _, key, name = full.split("/", 2)
                value, parameter = file.get_tensor(full), parameters[name]
                if value.shape == parameter.shape:
                    # In the parameter's own memory layout: fused optimizers walk both linearly.
                    value = _placed(value, torch.empty_like(parameter))
                elif fused:
                    value = value.to(parameter.device)
                optimizer.state[parameter][key] = value
    return read_progress(path)


def load_weights(path: str | Path, modules: Mapping[str, nn.Module]) -> None:
    """Restores the weights and buffers of a saved state, and nothing else; raises what `load_state` raises."""
    wanted: dict[str, Tensor] = {
        f"weight/{name}": value for name, value in named_parameters(modules).items() if value.requires_grad
    }
    wanted |= {f"buffer/{name}": value for name, value in named_buffers(modules).items()}
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        missing = sorted(name for name in wanted if name not in names)
        if missing:
            raise ValueError(f"{path} lacks {missing[:3]} — expected a state of this model — remove it to start afresh")
        for name, value in wanted.items():
            saved = file.get_tensor(name)
            if saved.shape != value.shape:
                raise ValueError(
                    f"{path}: {name} is {list(saved.shape)} — expected {list(value.shape)} — remove the file to start afresh"
                )
            _placed(saved, value)


@torch.no_grad()
def _placed(value: Tensor, target: Tensor) -> Tensor:
    """Copies the unsharded `value`, or this process's part of it, into `target` and returns that."""
    if isinstance(target, DTensor):
        value = value.to(target.device)
        value = distribute_tensor(value, target.device_mesh, target.placements)
    return target.copy_(value)


def read_progress(path: str | Path) -> dict[str, Any]:
    """The progress of a saved state."""
    with safe_open(path, framework="pt") as file:
        progress: dict[str, Any] = json.loads(file.metadata()["progress"])
    return progress


def read_rng(path: str | Path) -> dict[str, Tensor]:
    """The random generators' states in a saved state, by name."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(RNG)]  # noqa: SIM118 (no mapping)
        return {name.removeprefix(RNG): file.get_tensor(name) for name in names}
