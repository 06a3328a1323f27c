"""Device and precision of a run: a GPU if there is one, bfloat16 where that is faster than float32.

A CPU that has to emulate bfloat16 is forty times slower in it, so the hardware is asked. Of x86 CPUs those with AMX gain most,
and AMD's with AVX512_BF16 take half the time (`benchmarks/towers.py`); an Intel CPU with AVX512_BF16 alone, which is rare,
gains nothing.
Use: `with autocast(config.bf16): loss = model(**batch).loss`.
"""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bf16(wanted: bool | None) -> bool:
    """Whether to compute in bfloat16: as wanted; None = where a GPU or CPU has instructions for it (x86: AMX, AVX512_BF16)."""
    if wanted is not None:
        return wanted
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    # oneDNN calls bfloat16 supported on every x86 CPU with AVX-512, but without such instructions it is slower than float32.
    native = not x86 or _has(torch.cpu, "_is_amx_tile_supported") or _has(torch.cpu, "_is_avx512_bf16_supported")
    return _has(torch.ops.mkldnn, "_is_mkldnn_bf16_supported") and native


def _has(module: Any, question: str) -> bool:
    """The answer to one of torch's private questions about the CPU; False where this torch cannot be asked."""
    ask = getattr(module, question, None)
    return bool(ask and ask())


def exact(like: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on a tensor's device: float32 products stay float32, which `.float()` alone cannot ensure."""
    return torch.autocast(like.device.type, enabled=False)


def autocast(wanted: bool | None) -> AbstractContextManager[object]:
    """A context of bfloat16 autocast on `device()`, or one that does nothing."""
    return torch.autocast(device().type, dtype=torch.bfloat16) if uses_bf16(wanted) else nullcontext()
