"""bfloat16 is chosen where it is faster, by what the processor has."""

from __future__ import annotations

import pytest
import torch

from faceshield.training.precision import uses_bf16


@pytest.mark.parametrize(
    ("machine", "bf16", "tiles", "products", "used"),
    [
        ("x86_64", True, True, True, True),
        ("x86_64", True, False, True, True),  # AVX512_BF16 alone, as AMD's processors have it
        ("x86_64", True, False, False, False),  # AVX-512 without instructions for bfloat16: oneDNN emulates it
        ("AMD64", True, False, False, False),
        ("AMD64", True, False, True, True),
        ("x86_64", False, False, False, False),
        ("aarch64", True, False, False, True),
        ("arm64", False, False, False, False),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, machine: str, bf16: bool, tiles: bool, products: bool, used: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: products)
    assert uses_bf16(None) is used
    assert uses_bf16(True) is True and uses_bf16(False) is False


def test_a_torch_that_cannot_be_asked_for_instructions_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert uses_bf16(None) is False
