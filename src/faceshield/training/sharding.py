"""One model on several devices: FSDP2 shards every block of the language model, and the rest as one unit.

Plain `fully_shard`, so it runs on any backend, gloo on CPUs included.
Use: `shard(model, device)` under `torchrun`, before the optimizer is made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def shard(model: Any, device: torch.device) -> Any:
    """Shards a model's parameters, frozen ones too, over all processes, in place."""
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    for block in whole.model.language_model.layers:
        fully_shard(block, mesh=mesh)
    # PVTM reads single weights of the vision tower's head: in the root's unit they stay unsharded throughout the step.
    return fully_shard(model, mesh=mesh)
