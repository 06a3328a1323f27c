"""Where a run computes and in which precision: a GPU where there is one, bfloat16 where the hardware has it.

A processor that must emulate bfloat16 is forty times slower in it than in float32, so it is asked, not assumed.
Use: `with autocast(config.bf16): loss = model(**batch).loss`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def device() -> torch.device:
    """The first GPU, or the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(wanted: bool | None) -> bool:
    """Whether to compute in bfloat16: as told, else where the hardware does."""
    if wanted is not None:
        return wanted
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported and supported())


def exact(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on a tensor's device: products of float32 are float32 there, which `.float()` alone is not."""
    return torch.autocast(like.device.type, enabled=False)


def autocast(wanted: bool | None) -> AbstractContextManager[object]:
    """A context of bfloat16 autocast on `device()`, or one that does nothing."""
    return torch.autocast(device().type, dtype=torch.bfloat16) if uses_bf16(wanted) else nullcontext()
