"""Reading published weights: a folder's safetensors, one file or many shards, tensor by tensor, renamed.

Use: `used, strange = folder.named({"model.": "language_model."})` of a `folder = TensorFolder("Phi-3-mini-4k-instruct")`, then
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
"""Beginning of a tensor's name -> what stands there in the model; None: known, and not used."""


class WeightsError(ValueError):
    """Weights that cannot be used; the message lists every fault."""


def read_json(file: Path) -> dict[str, Any]:
    """A settings file of a model's folder.

    Raises:
        WeightsError: cut off, or no object.
        FileNotFoundError: not there.
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
    """A safetensors file; a broken one is named with its size.

    Raises:
        WeightsError: truncated, or no safetensors file.
        FileNotFoundError: not there.
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
    """Raises `WeightsError` where weights named `stem*` are there as pickles; tells how to convert them."""
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
    """The tensors of a folder, listed now and read later.

    Args:
        folder: holds `<stem>.safetensors`, or `<stem>.safetensors.index.json` and the shards that it names.
        stem: "model", "adapter_model", "non_lora_trainables".

    Attributes:
        shapes: name -> shape of every tensor.

    Raises:
        FileNotFoundError: no such file, or a shard is missing.
        WeightsError: pickles, a broken file, or a shard without a tensor that the index names.
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
        """The longest beginning in `renames` decides.

        Returns:
            File's name -> model's name of what is used, and the names that no beginning fits.
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
        """The first `count` values of a tensor, as stored; no more of it is read than the rows that hold them."""
        shape = self.shapes[name]
        with opened(self._file[name]) as tensors:
            if not shape:
                return torch.as_tensor(tensors.get_tensor(name)).flatten()
            rows = -(-count // max(1, math.prod(shape[1:])))
            return torch.as_tensor(tensors.get_slice(name)[:rows]).flatten()[:count]

    def read(self, names: Mapping[str, str], dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
        """(model's name, tensor) for every file's name in `names`, as `dtype` (None: as stored)."""
        for file in sorted({self._file[name] for name in names}):
            with opened(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 (no mapping)
                    if name in names:
                        tensor = tensors.get_tensor(name)
                        yield names[name], tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
