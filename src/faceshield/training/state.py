"""Stop and go on: one safetensors file holds weights, optimizer moments and progress, and is replaced as a
whole.

No pickle anywhere. Use: `save_state(path, modules, optimizer, {"seen": 96})`, later `load_state(path,
modules, optimizer)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def named_parameters(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """All parameters as "module.name" -> parameter, in a fixed order."""
    return {f"{prefix}.{name}": value for prefix, module in modules.items() for name, value in module.named_parameters()}


def save_state(
    path: str | Path,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
) -> None:
    """Writes everything that going on needs, atomically.

    Args:
        path: the `.safetensors` file.
        modules: what is trained, by name.
        optimizer: its per-parameter tensors are kept.
        progress: JSON values: pictures seen, seconds spent, ….
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, parameter in named_parameters(modules).items():
        tensors[f"weight/{name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value.detach().contiguous()
    part = path.with_name(f".{path.name}.part")
    save_file(tensors, part, metadata={"progress": json.dumps(dict(progress))})
    part.replace(path)


def load_state(path: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Puts a saved state back into the modules and the optimizer and returns its progress.

    Raises:
        ValueError: the file belongs to another model.
    """
    parameters = named_parameters(modules)
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        missing = sorted(name for name in parameters if f"weight/{name}" not in names)
        if missing:
            raise ValueError(f"{path} lacks {missing[:3]} — expected a state of this model — remove it to start afresh")
        with torch.no_grad():
            for name, parameter in parameters.items():
                saved = file.get_tensor(f"weight/{name}")
                if saved.shape != parameter.shape:
                    raise ValueError(
                        f"{path}: {name} is {list(saved.shape)} — expected {list(parameter.shape)} — "
                        "remove the file to start afresh"
                    )
                parameter.copy_(saved)
        for full in names:
            if full.startswith("optimizer/"):
                _, key, name = full.split("/", 2)
                value, parameter = file.get_tensor(full), parameters[name]
                if value.shape == parameter.shape:
                    # In the parameter's own memory order: fused optimizers walk both linearly.
                    value = torch.empty_like(parameter).copy_(value)
                optimizer.state[parameter][key] = value
        progress: dict[str, Any] = json.loads(file.metadata()["progress"])
    return progress
