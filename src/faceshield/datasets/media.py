"""Frames out of files: pictures, videos, HDF5, npz and arrays, as (H, W, 3) uint8 RGB.

Runs in worker processes (`workers`), for a broken file may crash its decoder. Optional packages are imported where they
are needed and named with the line to type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from faceshield.datasets.base import Unit

RGB = NDArray[np.uint8]
Frame = tuple[int | None, "RGB | Path"]
"""Frame number (None for a picture that is no frame) and its pixels, or a picture file to use where it lies."""


class MediaError(ValueError):
    """A file without a frame that can be used; the message says why."""


def evenly(numbers: Sequence[int], count: int) -> list[int]:
    """`count` of the numbers, evenly spaced over those there are: the middles of equal parts; all if there are fewer."""
    if count <= 0 or count >= len(numbers):
        return list(numbers)
    return [numbers[int((2 * place + 1) * len(numbers) / (2 * count))] for place in range(count)]


def gaps(numbers: Sequence[int]) -> int:
    """How many numbers are missing between the first and the last."""
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def read(unit: Unit, root: Path, count: int) -> tuple[list[Frame], int]:
    """Up to `count` frames of a unit (0 = all), and how many numbers are missing among its frames.

    Raises:
        MediaError: nothing that can be used.
    """
    path = root / unit.path
    if unit.reader == "picture":
        return [(None, path)], 0
    if unit.reader == "pictures":
        names: Mapping[int, str] = unit.options["frames"]
        chosen = evenly(sorted(names), count)
        return [(number, path / names[number]) for number in chosen], gaps(list(names))
    readers = {"video": _video, "hdf5": _hdf5, "stack": _stack, "npz": _npz, "array": _array}
    frames, missing = readers[unit.reader](path, count, unit.options)
    if not frames:
        raise MediaError("no frame in it — expected at least one")
    return frames, missing


def as_rgb(values: NDArray[Any], *, order: str, channels: Sequence[int] = (0, 1, 2)) -> RGB:
    """An array of a container as (H, W, 3) uint8 RGB.

    Args:
        values: (C, H, W), or (H, W, C) if only its last axis can be channels; uint8, uint16, or float 0..1.
        order: "rgb" or "bgr".
        channels: which of C are the colours.
    """
    if values.ndim != 3:
        raise MediaError(f"array of shape {values.shape} — expected channels, height, width")
    if values.shape[-1] in (3, 4) and not max(channels) < values.shape[0] <= 32:
        values = values.transpose(2, 0, 1)
    if values.shape[0] < max(channels) + 1:
        raise MediaError(f"array of shape {values.shape} — expected at least {max(channels) + 1} channels")
    picked = values[list(channels)].transpose(1, 2, 0)
    if picked.dtype == np.uint16:
        picked = (picked >> 8).astype(np.uint8)
    elif np.issubdtype(picked.dtype, np.floating):
        if not np.isfinite(picked).all() or picked.min() < -1e-3 or picked.max() > 1 + 1e-3:
            raise MediaError(f"float values {picked.min():g}..{picked.max():g} — expected 0..1")
        picked = np.round(picked.clip(0, 1) * 255).astype(np.uint8)
    elif picked.dtype != np.uint8:
        raise MediaError(f"values of type {picked.dtype} — expected uint8, uint16 or float")
    return np.ascontiguousarray(picked[..., ::-1] if order == "bgr" else picked)


def open_upright(path: Path) -> RGB:
    """A picture file, whole, as the eye sees it.

    Raises:
        MediaError: not a picture, or cut off.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(f"not a readable picture ({error})") from error


def _video(path: Path, count: int, options: Mapping[str, Any]) -> tuple[list[Frame], int]:
    av = _need("av", "videos")
    if path.stat().st_size == 0:
        raise MediaError("empty file")
    try:
        total = _count(av, path)
        wanted = evenly(range(total), count)
        frames: list[Frame] = []
        for number, frame in _decoded(av, path):
            if number in wanted:
                frames.append((number, frame.to_ndarray(format="rgb24")))
            if len(frames) == len(wanted):
                break
        return frames, 0
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"not a readable video ({error})") from error


def _decoded(av: Any, path: Path) -> Iterator[tuple[int, Any]]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video stream")
        stream = container.streams.video[0]
        stream.thread_count = 1
        yield from enumerate(container.decode(stream))


def _count(av: Any, path: Path) -> int:
    """Frames that can be decoded, whatever the header says: many headers say nothing, some lie."""
    return sum(1 for _ in _decoded(av, path))


_FRAME = re.compile(r"Frame_(\d+)")


def _hdf5(path: Path, count: int, options: Mapping[str, Any]) -> tuple[list[Frame], int]:
    """bob's FrameContainer: groups `Frame_<n>` with a data set `array`; what else there may be is passed over."""
    h5py = _need("h5py", "HDF5 files")
    try:
        with h5py.File(path, "r") as file:
            names = {int(match[1]): name for name in file if (match := _FRAME.fullmatch(name))}
            names = {number: name for number, name in names.items() if "array" in file[name]}
            frames: list[Frame] = [
                (number, as_rgb(file[names[number]]["array"][()], order=options["order"]))
                for number in evenly(sorted(names), count)
            ]
            return frames, gaps(list(names))
    except (OSError, KeyError, RuntimeError) as error:
        raise MediaError(f"not a readable HDF5 file ({error})") from error


def _stack(path: Path, count: int, options: Mapping[str, Any]) -> tuple[list[Frame], int]:
    """All frames in one data set of an HDF5 file, (frames, channels, height, width); only what is wanted is read."""
    h5py = _need("h5py", "HDF5 files")
    try:
        with h5py.File(path, "r") as file:
            values = file[options["member"]]
            if len(values.shape) != 4:
                raise MediaError(f"{options['member']} of shape {values.shape} — expected frames, channels, height, width")
            return [(n, as_rgb(values[n], order=options["order"])) for n in evenly(range(len(values)), count)], 0
    except (OSError, KeyError, RuntimeError, AttributeError) as error:
        raise MediaError(f"not a readable HDF5 file with {options['member']} ({error})") from error


def _npz(path: Path, count: int, options: Mapping[str, Any]) -> tuple[list[Frame], int]:
    import zipfile
    import zlib

    try:
        with np.load(path, allow_pickle=False) as file:
            values = file[options["key"]]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise MediaError(f"not a readable npz file ({error})") from error
    values = values[None] if values.ndim == 3 else values
    numbers = evenly(range(len(values)), count)
    return [(number, as_rgb(values[number], order=options["order"])) for number in numbers], 0


def _array(path: Path, count: int, options: Mapping[str, Any]) -> tuple[list[Frame], int]:
    """One row of a large .npy array, memory-mapped."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    return [(None, as_rgb(np.asarray(values[options["row"]]), order=options["order"]))], 0


def _need(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MediaError(f"{what} need the package {module} — pip install {module}") from error
