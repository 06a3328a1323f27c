"""Small files of every kind that data sets come in, in one colour, whose three channels differ, so that a swap shows."""

from __future__ import annotations

from pathlib import Path

import av
import h5py
import numpy as np
from PIL import Image

Colour = tuple[int, int, int]
RED, SKY = (200, 30, 10), (20, 120, 220)


def picture(path: Path, colour: Colour = RED, size: tuple[int, int] = (40, 30), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.full((size[1], size[0], 3), colour, np.uint8)
    rgb[0, 0] = seed % 256, seed // 256, 0
    Image.fromarray(rgb).save(path)
    return path


def hdf5(path: Path, numbers: list[int], colour: Colour = RED) -> Path:
    """bob's FrameContainer; frames tell their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for number in numbers:
            frame = np.empty((3, 128, 128), np.uint8)
            frame[:] = np.array(colour, np.uint8)[:, None, None]
            frame[:, 0, 0] = number, len(path.stem), sum(map(ord, path.stem)) % 256
            file[f"Frame_{number}/array"] = frame
        file["FrameIndexes"] = [f"Frame_{number}".encode() for number in numbers]
    return path


def video(path: Path, frames: int = 10, colour: Colour = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 64, 48, "yuv420p", 1  # the same bytes everywhere
        for number in range(frames):
            rgb = np.full((48, 64, 3), colour, np.uint8)
            rgb[:, : 4 * number] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def stack(path: Path, colour: Colour, frames: int = 6) -> None:
    """HQ-WMCA: all frames in one data set, blue first."""
    with h5py.File(path, "w") as file:
        values = np.empty((frames, 3, 20, 12), np.uint8)
        values[:] = np.array(colour[::-1], np.uint8)[None, :, None, None]
        values[:, :, 0, 0] = np.arange(frames)[:, None]
        file["BASLER_BGR"] = values
        file["NIR"] = np.zeros((frames, 4))


def npz(path: Path, colour: Colour) -> None:
    """PADISI-Face: 22 channels as floats 0..1, blue first."""
    values = np.zeros((1, 22, 32, 24), np.float32)
    values[0, :3] = np.array(colour[::-1])[:, None, None] / 255
    np.savez(path, data=values)


WRITERS = {
    ".png": picture, ".jpg": picture, ".mov": video, ".mp4": video, ".avi": video, ".h5": stack, ".npz": npz,
    ".hdf5": lambda path, colour: hdf5(path, list(range(50)), colour),
}  # fmt: skip
