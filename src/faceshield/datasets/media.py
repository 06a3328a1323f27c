"""Read frames from files: pictures, videos, HDF5, npz and arrays, as (H, W, 3) uint8 RGB.

Runs in worker processes (`workers`), as a broken file may crash its decoder. A broken part of a file costs only that part.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceshield.datasets.base import Unit
from faceshield.extras import missing
from faceshield.images import RGB, ImageError, load_rgb

Frame = tuple[int | None, "RGB | Path"]
"""Frame number (None for a single picture), and its pixels or the path of a picture file to use in place."""

_PACKAGES = {"video": "av", "hdf5": "h5py", "stack": "h5py"}


class MediaError(ValueError):
    """A file has no usable frame; the message says why."""


@dataclass(frozen=True)
class Fault:
    """A fault in a part of a file, the rest of which is read.

    Attributes:
        reason: as in `Problem`.
        number: the frame that it costs, if any.
    """

    reason: str
    detail: str
    number: int | None = None


def need(reader: str) -> None:
    """Check that a reader's package is installed.

    Raises:
        ImportError: it is not; the message says how to install it.
    """
    package = _PACKAGES.get(reader)
    if package is not None and importlib.util.find_spec(package) is None:
        raise missing(f"reading {reader} files", "data")


def evenly(numbers: Sequence[int], count: int) -> list[int]:
    """`count` of the numbers, evenly spaced: the middles of equal parts; all if `count` is 0 or there are no more."""
    if count <= 0 or count >= len(numbers):
        return list(numbers)
    return [numbers[int((2 * place + 1) * len(numbers) / (2 * count))] for place in range(count)]


def gaps(numbers: Collection[int]) -> Iterator[Fault]:
    """Yield a fault if numbers are missing between the first and the last."""
    missing = max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0
    if missing:
        yield Fault("gap", f"{missing} frame numbers are missing")


def read(unit: Unit, root: Path, count: int) -> Iterator[Frame | Fault]:
    """Yield up to `count` frames of a unit (0 = all) and the faults of its parts.

    One frame is in memory at a time; of a video, all `count` frames are.

    Raises:
        MediaError: there is no usable frame, or reading stopped before the end.
    """
    path = root / unit.path
    if unit.reader == "picture":
        yield None, path
        return
    if unit.reader == "pictures":
        names: Mapping[int, str] = unit.options["frames"]
        yield from gaps(names)
        yield from ((number, path / names[number]) for number in evenly(sorted(names), count))
        return
    readers = {"video": _video, "hdf5": _hdf5, "stack": _stack, "npz": _npz, "array": _array}
    found = None
    for found in readers[unit.reader](path, count, unit.options):
        yield found
    if found is None:
        raise MediaError("no frame in it — expected at least one")


def as_rgb(values: NDArray[Any], *, order: str, of: int | None = None) -> RGB:
    """Convert an array from a container to (H, W, 3) uint8 RGB.

    Args:
        values: (C, H, W), or (H, W, C) if only its last axis can be channels; uint8, uint16, or float 0..1.
        order: "rgb" or "bgr".
        of: required number of channels, of which the first three are the colours; None = three or more.

    Raises:
        MediaError: another shape, type or range.
    """
    if values.ndim != 3:
        raise MediaError(f"array of shape {values.shape} — expected channels, height, width")
    if values.shape[-1] in (3, 4) and not 3 <= values.shape[0] <= 32:
        values = values.transpose(2, 0, 1)
    if values.shape[0] < 3 or (of is not None and values.shape[0] != of):
        raise MediaError(f"array of shape {values.shape} — expected {of or 'at least 3'} channels, height, width")
    picked = values[:3].transpose(1, 2, 0)
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
    """Read a whole picture file, upright.

    Raises:
        MediaError: not a picture, or truncated.
    """
    try:
        return np.asarray(load_rgb(path))
    except ImageError as error:
        raise MediaError(f"not a readable picture ({error.problem})") from error


def _video(path: Path, count: int, options: Mapping[str, Any]) -> Iterator[Frame | Fault]:
    import av

    if path.stat().st_size == 0:
        raise MediaError("empty file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("no video stream")
            # Headers give no frame count, or a wrong one; packets are counted without decoding, and mostly each is one frame.
            total = 0
            with suppress(av.FFmpegError):  # the file may be truncated
                for packet in container.demux(container.streams.video[0]):
                    total += packet.size > 0
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"not a readable video ({error})") from error
    if not count:
        yield from _decoded(av, path, range(sys.maxsize))
        return
    found = list(_decoded(av, path, evenly(range(total), count)))
    if sum(isinstance(one, tuple) for one in found) < min(count, total):
        there = sum(isinstance(one, tuple) for one in _decoded(av, path, range(total), pixels=False))
        found = list(_decoded(av, path, evenly(range(there), count)))
    yield from found


_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


def _decoded(av: Any, path: Path, wanted: Sequence[int], *, pixels: bool = True) -> Iterator[Frame | Fault]:
    """Yield the wanted frames of a video, upright; what cannot be decoded is skipped, and reported at the end."""
    number, lost, last = 0, 0, wanted[-1] if wanted else -1
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        packets = container.demux(stream)
        while number <= last:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except av.FFmpegError:
                lost += 1
                continue
            for frame in frames:
                if number in wanted:
                    turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)) if pixels else _NO_PIXELS
                    yield number, np.ascontiguousarray(turned)
                number += 1
    if lost:
        yield Fault("unreadable", f"{lost} pieces of it could not be decoded")


_FRAME = re.compile(r"Frame_(\d+)")


def _hdf5(path: Path, count: int, options: Mapping[str, Any]) -> Iterator[Frame | Fault]:
    """bob's FrameContainer: groups `Frame_<n>` with a data set `array`; anything else is skipped."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = {int(match[1]): name for name in file if (match := _FRAME.fullmatch(name))}
            names = {number: name for number, name in names.items() if "array" in file[name]}
            yield from gaps(names)
            for number in evenly(sorted(names), count):
                try:
                    yield number, as_rgb(file[names[number]]["array"][()], order=options["order"], of=3)
                except (OSError, TypeError, MediaError) as error:
                    yield Fault("unreadable", str(error), number)
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        raise MediaError(f"not a readable HDF5 file ({error})") from error


def _stack(path: Path, count: int, options: Mapping[str, Any]) -> Iterator[Frame | Fault]:
    """All frames in one data set of an HDF5 file, (frames, channels, height, width); only the wanted frames are read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            values = file[options["member"]]
            if len(values.shape) != 4:
                raise MediaError(f"{options['member']} of shape {values.shape} — expected frames, channels, height, width")
            for number in evenly(range(len(values)), count):
                yield number, as_rgb(values[number], order=options["order"], of=3)
    except (OSError, KeyError, RuntimeError, AttributeError) as error:
        raise MediaError(f"not a readable HDF5 file with {options['member']} ({error})") from error


def _npz(path: Path, count: int, options: Mapping[str, Any]) -> Iterator[Frame | Fault]:
    """The one picture in a .npz file, (channels, height, width), optionally with a leading axis of length 1."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            values = file[options["key"]]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise MediaError(f"not a readable npz file ({error})") from error
    yield None, as_rgb(values[0] if values.ndim == 4 and len(values) == 1 else values, order=options["order"])


def _array(path: Path, count: int, options: Mapping[str, Any]) -> Iterator[Frame | Fault]:
    """One row of a large .npy array, memory-mapped."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    yield None, as_rgb(np.asarray(values[options["row"]]), order=options["order"])
