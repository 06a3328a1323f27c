"""A second device without a GPU: its tensors compute on the CPU and say that they are elsewhere.

Inside `second_device()` the device "meta" holds values, and what a GPU refuses is refused: an operand left on the CPU, a CPU
generator, `numpy()` without `cpu()`. Code that runs there places its tensors as a GPU needs them; its results are the CPU's.
Use: `with second_device() as device: model.to(device)(pixels.to(device))`; or, for existing tests, `pytest -p second_device
FILES`, which puts every training, predictor and Trainer there. `torch.inference_mode` is `no_grad` then, as wrappers need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")
_HERE = torch.device("cpu")
_aten = torch.ops.aten
_MOVES = {_aten.to, _aten._to_copy, _aten.copy_}
_INDEXES = {_aten.index, _aten._unsafe_index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}


class Elsewhere(Tensor):
    """A tensor of the second device; `here` has its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Elsewhere:
        layout = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        made: Elsewhere = Tensor._make_wrapper_subclass(cls, here.shape, device=ELSEWHERE, **layout)  # type: ignore[attr-defined]
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.here})"

    def tolist(self) -> Any:
        return self.here.tolist()


def _computed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The operation on the values, and its result where a GPU would have it.

    Raises:
        RuntimeError: a GPU would refuse it.
    """
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    told = given.get("device")
    if told is not None:
        there = torch.device(told) == ELSEWHERE
    elif func.overloadpacket in _MOVES | _INDEXES:
        there = isinstance(args[0], Elsewhere)
    else:
        there = any(isinstance(leaf, Elsewhere) for leaf in tree_leaves(given))
    _check_devices(func, given, there)
    args = tuple(_HERE if name == "device" and told is not None else value for name, value in zip(names, args, strict=False))
    kwargs = {name: _HERE if name == "device" and told is not None else value for name, value in kwargs.items()}
    found = func(*tree_map(_values, args), **tree_map(_values, kwargs))
    if func._schema.is_mutable and args and found is _values(args[0]):
        return args[0]
    return tree_map(lambda one: Elsewhere(one) if there and isinstance(one, Tensor) else one, found)


def _check_devices(func: Any, given: Mapping[str, Any], there: bool) -> None:
    tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
    if any(one.device == ELSEWHERE and not isinstance(one, Elsewhere) for one in tensors):
        raise RuntimeError(f"{func}: a tensor without values — expected one of the second device — teach it how that is made")
    if there and given.get("generator") is not None:
        raise RuntimeError(f"{func}: the CPU's generator for tensors of the second device")
    if func.overloadpacket in _MOVES:
        return
    if func.overloadpacket in _INDEXES:  # indices may stay on the CPU
        indices = [one for one in given["indices"] if one is not None]
        if not there and any(isinstance(one, Elsewhere) for one in indices):
            raise RuntimeError(f"{func}: indices on the second device of a tensor on the CPU")
        tensors = [one for one in tensors if not any(one is index for index in indices)]
    left = [one for one in tensors if one.dim() and not isinstance(one, Elsewhere)]
    if left and any(isinstance(one, Elsewhere) for one in tensors):
        raise RuntimeError(f"{func}: a CPU tensor of shape {tuple(left[0].shape)} beside tensors of the second device")


def _values(value: Any) -> Any:
    return value.here if isinstance(value, Elsewhere) else value


class _Operations(TorchDispatchMode):
    """Operations without a tensor of the second device among their arguments, such as those that make one."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _FromValues(TorchFunctionMode):
    """What turns Python values into tensors does so below the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or _HERE) == ELSEWHERE:
            return func(*args, **{**kwargs, "device": _HERE}).to(ELSEWHERE)
        if func is Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], dtype=kwargs.get("dtype", args[0].dtype)).to(ELSEWHERE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Elsewhere):
            args = (args[0], _as_tensors(args[1]), *args[2:])
        return func(*args, **kwargs)


def _as_tensors(index: Any) -> Any:
    """An index whose lists are tensors; those may be of the CPU."""
    if isinstance(index, tuple):
        return tuple(map(_as_tensors, index))
    return torch.tensor(index) if isinstance(index, list) else index


@contextmanager
def second_device() -> Iterator[torch.device]:
    """The second device, as long as the block lasts."""
    with _FromValues(), _Operations():
        yield ELSEWHERE


# -- for existing tests ------------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Before anything of ours is imported, as decorators take what they find."""

    class NoGrad(torch.no_grad):
        def __init__(self, mode: bool = True) -> None:
            super().__init__()

    torch.inference_mode = NoGrad  # type: ignore[misc, assignment]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every training, predictor and Trainer on the second device; no autocast and no fused optimizer, which need a real one."""
    import accelerate
    import transformers

    from faceshield.predictor import FaceShieldPredictor

    for module in (
        "training.run",
        "training.foundation_lm",
        "training.foundation_towers",
        "baselines.classifier",
        "baselines.stage",
    ):
        monkeypatch.setattr(importlib.import_module(f"faceshield.{module}"), "device", lambda: ELSEWHERE)
    monkeypatch.setattr(torch, "autocast", _without(torch.autocast))
    monkeypatch.setattr(torch.optim, "AdamW", lambda *args, fused=None, made=torch.optim.AdamW, **kwargs: made(*args, **kwargs))
    monkeypatch.setattr(accelerate.Accelerator, "device", property(lambda self: ELSEWHERE))
    where = property(lambda self: (self._setup_devices, ELSEWHERE)[1])  # reading it is what starts the process group
    monkeypatch.setattr(transformers.TrainingArguments, "device", where)
    made = FaceShieldPredictor.__init__

    def moved(self: FaceShieldPredictor, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.model.to(ELSEWHERE)

    monkeypatch.setattr(FaceShieldPredictor, "__init__", moved)
    with second_device():
        yield


def _without(autocast: Callable[..., Any]) -> Callable[..., Any]:
    def chosen(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == ELSEWHERE.type else autocast(device_type, *args, **kwargs)

    return chosen
