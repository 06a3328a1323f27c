"""Read published weights: a folder's safetensors, one file or several shards, tensor by tensor, with new names.

Use: `folder = TensorFolder("Phi-3-mini-4k-instruct")`, `used, strange = folder.named({"model.": "language_model."})`, then
`for name, tensor in folder.read(used): …`.
Pickled weights (`*.bin`, `*.pt`) are refused: opening one can run code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

Renames = Mapping[str, str | None]
"""Prefix of a tensor's name in the file -> its prefix in the model; None: known but not used."""


class WeightsError(ValueError):
    """Unusable weights; the message lists every fault."""


def read_json(file: Path) -> dict[str, Any]:
    """Reads a settings file of a model's folder.

    Raises:
        WeightsError: truncated, not JSON, or not an object.
        FileNotFoundError: no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no {file} — expected it in a model's folder — copy or download it")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{file}: {error} — expected whole JSON — copy or download the file again") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{file}: a {type(values).__name__} — expected an object — copy or download the file again")
    return values


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Opens a safetensors file; the error for a broken one names it and its size.

    Raises:
        WeightsError: truncated, or not a safetensors file.
        FileNotFoundError: no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no {file} — expected the weights that the folder's index names — copy or download it")
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise WeightsError(
            f"{file}: unreadable weights ({error}), {file.stat().st_size} bytes — expected a whole safetensors file — "
            "copy or download it again"
        ) from error


def refuse_pickles(folder: Path, stem: str = "") -> None:
    """Raises `WeightsError` if there are pickled weights named `stem*`; the message tells how to convert them."""
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES and path.name.startswith(stem))
    if pickles:
        target = Path(pickles[0]).with_suffix(".safetensors").name
        raise WeightsError(
            f"{folder}: weights as pickle ({', '.join(pickles)}) — expected *.safetensors, a pickle can run code — "
            "convert it where you trust it: python -c 'import torch, safetensors.torch as s; "
            f's.save_file({{k: v.contiguous() for k, v in torch.load("{pickles[0]}", weights_only=True).items()}}, '
            f'"{target}")\''
        )


class TensorFolder:
    """The tensors of a folder, listed at once and read later.

    Args:
        folder: holds `<stem>.safetensors`, or `<stem>.safetensors.index.json` and the shards that it names.
        stem: "model", "adapter_model", "non_lora_trainables".

    Attributes:
        shapes: name -> shape of every tensor.

    Raises:
        FileNotFoundError: no such file, or a shard is missing.
        WeightsError: pickled weights, a broken file, or a tensor of the index that is in no shard.
    """

    def __init__(self, folder: str | Path, stem: str = "model") -> None:
        self.folder = Path(folder)
        index, single = self.folder / f"{stem}.safetensors.index.json", self.folder / f"{stem}.safetensors"
        if index.is_file():
            named: dict[str, str] = read_json(index).get("weight_map", {})
            if not named:
                raise WeightsError(f"{index}: no weight_map — expected the shard of every tensor — download the file again")
            files = {self.folder / name for name in named.values()}
        elif single.is_file():
            named, files = {}, {single}
        else:
            if self.folder.is_dir():
                refuse_pickles(self.folder, "pytorch_model" if stem == "model" else stem)
            raise FileNotFoundError(f"no {single} and no {index.name} — expected the weights — copy them into the folder")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file: dict[str, Path] = {}
        for file in sorted(files):
            with opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    self.shapes[name] = tuple(tensors.get_slice(name).get_shape())
                    self._file[name] = file
        absent = sorted(set(named) - set(self.shapes))
        if absent:
            raise WeightsError(f"{index}: tensors that no shard holds: {', '.join(absent)} — download the folder again")

    def named(self, renames: Renames) -> tuple[dict[str, str], list[str]]:
        """Maps the tensors' names to the model's; the longest matching prefix in `renames` decides.

        Returns:
            File's name -> model's name for the tensors to use, and the names that no prefix matches.
        """
        used: dict[str, str] = {}
        strange: list[str] = []
        for name in self.shapes:
            fitting = [start for start in renames if name.startswith(start)]
            if not fitting:
                strange.append(name)
                continue
            start = max(fitting, key=len)
            replacement = renames[start]
            if replacement is not None:
                used[name] = replacement + name[len(start) :]
        return used, strange

    def beginning(self, name: str, count: int) -> Tensor:
        """The first `count` values of a tensor, as stored; only the rows that hold them are read."""
        shape = self.shapes[name]
        with opened(self._file[name]) as tensors:
            if not shape:
                return torch.as_tensor(tensors.get_tensor(name)).flatten()
            rows = -(-count // max(1, math.prod(shape[1:])))
            return torch.as_tensor(tensors.get_slice(name)[:rows]).flatten()[:count]

    def read(self, names: Mapping[str, str], dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
        """Yields (model's name, tensor) for every file's name in `names`; floating-point ones as `dtype` (None: as stored)."""
        for file in sorted({self._file[name] for name in names}):
            with opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    if name in names:
                        tensor = tensors.get_tensor(name)
                        yield names[name], tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
