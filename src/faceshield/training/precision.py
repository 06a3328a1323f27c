"""Device and precision of a run: a GPU if there is one, bfloat16 if the hardware supports it.

A CPU that has to emulate bfloat16 is forty times slower in it than in float32, so support is checked, not assumed.
Use: `with autocast(config.bf16): loss = model(**batch).loss`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(wanted: bool | None) -> bool:
    """Whether to compute in bfloat16: as wanted; None = if the hardware supports it."""
    if wanted is not None:
        return wanted
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def exact(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on a tensor's device: float32 products stay float32, which `.float()` alone cannot ensure."""
    return torch.autocast(like.device.type, enabled=False)


def autocast(wanted: bool | None) -> AbstractContextManager[object]:
    """A context of bfloat16 autocast on `device()`, or one that does nothing."""
    return torch.autocast(device().type, dtype=torch.bfloat16) if uses_bf16(wanted) else nullcontext()
