"""Pictures for training: every file decoded once into one memory-mapped file of bytes.

The towers see each picture many times, and reading a file, above all a large one, costs more than reading its bytes from a
memory map. Squares and descriptors (paper §4.1) are made of what is read, anew each time: they depend on the augmentation.
Use: `crops = cached_pictures(load_pictures(["samples.jsonl"], PRESENTATION_TYPES).paths, "cache", side=224)`, then `crops[0]`.
N = pictures, S = side of the processed square.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.images import ImageError, load_rgb, to_side
from faceshield.model.processing_faceshield import ImageInput, as_rgb, to_square
from faceshield.provenance import written_whole
from faceshield.records import Sample, image_path, read_jsonl

BATCH = 64
_LEFT_BEHIND = 3600.0  # seconds; writing a cache file takes a fraction of that
_FAULTS_SHOWN = 10

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class PictureError(ValueError):
    """Pictures of a training set that cannot be read; the message lists them."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of some `samples.jsonl` files with their ground truth, in file order.

    Attributes:
        ids: sample ids.
        paths: the picture files.
        types: (N,) index into the list of presentation types, 0 = bona fide; the list's length for an attack without a type.
        boxes: per picture (k, 4) xyxy in 0..1 of the centre-padded square.
        splits: per picture the split's name, "" where there is none.
        samples: per picture the row that it was read from.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    types: NDArray[np.int64]
    boxes: tuple[NDArray[np.float32], ...]
    splits: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def of_split(self, split: str, *, needed: bool = True) -> NDArray[np.int64]:
        """Indices of the pictures of a split.

        Raises:
            ValueError: there are none, and some are needed.
        """
        found = np.flatnonzero(np.array([name == split for name in self.splits], dtype=bool))
        if needed and not found.size:
            have = ", ".join(sorted({name or "no split" for name in self.splits}))
            raise ValueError(
                f"no picture of split {split!r}, only of {have} — expected some — divide them with faceshield split, or "
                f"simulate with --split {split}"
            )
        return found


def square_boxes(boxes: Sequence[Sequence[float]], size_wh: tuple[int, int]) -> NDArray[np.float32]:
    """xyxy pixels of a picture -> (k, 4) in 0..1 of the square to which the processor pads it, centred."""
    width, height = size_wh
    side = max(width, height)
    offset = np.array([(side - width) // 2, (side - height) // 2] * 2, dtype=np.float32)
    return (np.asarray(boxes, dtype=np.float32).reshape(-1, 4) + offset) / np.float32(side)


def load_pictures(files: Sequence[str | Path], types: Sequence[str], *, untyped: bool = False) -> Pictures:
    """Reads samples files, whose ids may overlap; `untyped` admits attacks without a type.

    Raises:
        RecordError: a file with faults.
        ValueError: no rows, or attacks without a type that are not admitted.
    """
    rows: list[tuple[Sample, Path]] = []
    for file in files:
        rows += [(sample, image_path(sample, file)) for sample in read_jsonl(file, Sample)]
    without = [sample.id for sample, _ in rows if sample.presentation_type is None]
    if without and not untyped:
        raise ValueError(
            f"{len(without)} attacks without a type ({without[0]}, …) — expected one for each, as types are learnt — leave "
            "them out; or fine-tune with them (faceshield finetune), or train a baseline with labels=coarse"
        )
    if not rows:
        raise ValueError(f"no samples in {', '.join(map(str, files))} — expected at least one row — simulate some first")
    order: dict[str | None, int] = {name: index for index, name in enumerate([*types, None])}
    return Pictures(
        ids=tuple(sample.id for sample, _ in rows),
        paths=tuple(path for _, path in rows),
        types=np.array([order[sample.presentation_type] for sample, _ in rows], dtype=np.int64),
        boxes=tuple(square_boxes(sample.boxes, sample.size_wh) for sample, _ in rows),
        splits=tuple(sample.split or "" for sample, _ in rows),
        samples=tuple(sample for sample, _ in rows),
    )


@dataclass(frozen=True)
class RgbSquares:
    """RGB squares for systems without our processor, byte for byte those of `FaceShieldProcessor`."""

    image_size: int
    pad_level: int = 127
    use_savp: bool = False

    def square_pixels(self, image: ImageInput) -> tuple[NDArray[np.uint8], None]:
        """The (S, S, 3) square of a PIL picture or an (H, W, 3) uint8 RGB array; there is no second stream."""
        return to_square(as_rgb(image), self.image_size, self.pad_level), None


def pictures_key(paths: Sequence[Path], settings: dict[str, Any]) -> str:
    """A short cache key for these files (path, size, modification time) and settings; equal keys mean equal bytes."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            raise FileNotFoundError(f"{path} — expected a picture — check the image entries of the samples file") from None
        digest.update(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def open_rgb(path: Path, side: int | None = None) -> Image.Image:
    """A picture file as read by `images.load_rgb`; with `side`, its longer side is resized to that, as in the predictor."""
    return Image.fromarray(to_side(np.asarray(load_rgb(path)), side))


def check_pictures(paths: Sequence[Path]) -> None:
    """Checks that every file exists and has a picture's header, a quick check before a long run.

    Raises:
        PictureError: some files are missing or not pictures; the message counts them all and names the first ten.
    """
    faults = []
    for path in paths:
        try:
            with Image.open(path):
                pass
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            faults.append(f"{path}: {getattr(error, 'strerror', None) or 'no picture'}")
    if faults:
        raise _unreadable(faults, len(paths))


def _unreadable(faults: Sequence[str], count: int) -> PictureError:
    shown = "\n".join(faults[:_FAULTS_SHOWN]) + (f"\n… {len(faults)} in all" if len(faults) > _FAULTS_SHOWN else "")
    return PictureError(f"{len(faults)} of {count} pictures cannot be read — repair or remove them:\n{shown}")


def clean(folder: Path) -> None:
    """Removes half-written cache files of stopped runs, and whole ones of earlier versions, which nothing reads; files younger
    than an hour may belong to a run in progress."""
    for part in (*folder.glob(".*.part"), *folder.glob("*/.*.part"), *folder.glob("pixels-*.npy")):
        if time.time() - part.stat().st_mtime > _LEFT_BEHIND:
            part.unlink(missing_ok=True)


class CachedPictures:
    """N decoded pictures in one file: `pictures[row]` is (H, W, 3) uint8 RGB, a read-only view of the memory map."""

    def __init__(self, file: Path, sizes: NDArray[np.int64]) -> None:
        """`sizes`: (N, 2) height and width of each picture; `file`: their bytes, one after the other."""
        self.sizes = sizes
        self._ends = np.cumsum(sizes.prod(axis=1) * 3)
        self._bytes = np.memmap(file, np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        height, width = self.sizes[row]
        end = self._ends[row]
        return self._bytes[end - height * width * 3 : end].reshape(height, width, 3)


def cached_pictures(
    paths: Sequence[Path],
    folder: str | Path,
    *,
    side: int | None = None,
    largest: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> CachedPictures:
    """The decoded pictures, read by the first call, and reused from `folder` later.

    Args:
        paths: picture files.
        folder: where `pictures-<key>.rgb` and `.npy` (their sizes) are kept.
        side: see `open_rgb`.
        largest: longer side in pixels to which larger pictures are reduced, if there is no `side`.
        threads: decoding threads.
        progress: called with (done, total).

    Raises:
        PictureError: some files are not readable pictures; the message counts them all and names the first ten.
    """
    folder = Path(folder)
    key = pictures_key(paths, {"side": side, "largest": None if side else largest})
    target, sizes = folder / f"pictures-{key}.rgb", folder / f"pictures-{key}.npy"
    if sizes.exists() and target.exists():
        return CachedPictures(target, np.load(sizes))
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)

    def decode(path: Path) -> NDArray[np.uint8] | str:
        try:
            picture = np.asarray(open_rgb(path, side))
        except ImageError as error:
            return str(error)
        return to_side(picture, largest) if largest and not side and max(picture.shape) > largest else picture

    # The files get their names only when complete; concurrent runs each write their own, and the last ones stay.
    found: list[tuple[int, int]] = []
    faults: list[str] = []
    with written_whole(target) as part, part.open("wb") as file, ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for start in range(0, len(paths), BATCH):
            for picture in pool.map(decode, paths[start : start + BATCH]):
                if isinstance(picture, str):
                    faults.append(picture)
                else:
                    file.write(picture.tobytes())
                    found.append((picture.shape[0], picture.shape[1]))
            if progress is not None:
                progress(min(start + BATCH, len(paths)), len(paths))
        if faults:
            raise _unreadable(faults, len(paths))
    with written_whole(sizes) as part, part.open("wb") as file:
        np.save(file, np.array(found, dtype=np.int64))
    return CachedPictures(target, np.load(sizes))
