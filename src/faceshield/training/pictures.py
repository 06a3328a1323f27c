"""Pictures for training: every file decoded and pre-processed once into one memory-mapped array of bytes.

The towers see each picture many times, and decoding, SAVP (paper §4.1) and resizing cost more than reading 220 kB from a
memory map.
Use: `pixels = cached_pixels(load_pictures(["samples.jsonl"], PRESENTATION_TYPES).paths, processor, "cache")`.
N = pictures, K = streams (RGB, SAVP), S = side of the processed square.
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
from PIL import Image, ImageOps

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


def pixel_settings(processor: Any) -> dict[str, Any]:
    """The settings of a `FaceShieldProcessor` that decide the bytes of its squares."""
    names = ("image_size", "use_savp", "pad_level")
    chosen = {name: getattr(processor, name) for name in names}
    chosen |= {name: value for name, value in vars(processor).items() if name.startswith("savp_")}
    return chosen


def clean(folder: Path) -> None:
    """Removes half-written cache files of stopped runs; files younger than an hour may belong to a run in progress."""
    for part in (*folder.glob(".*.part"), *folder.glob("*/.*.part")):
        if time.time() - part.stat().st_mtime > _LEFT_BEHIND:
            part.unlink(missing_ok=True)


def cached_pixels(
    paths: Sequence[Path],
    processor: Any,
    folder: str | Path,
    *,
    side: int | None = None,
    mirrored: bool = False,
    threads: int = 1,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """(N, K, S, S, 3) bytes of the processed squares as a read-only memory map, built by the first call and reused later.

    Args:
        paths: picture files.
        processor: a `FaceShieldProcessor`, or `RgbSquares`; its `square_pixels` makes both streams (K = 1 without SAVP).
        folder: where `pixels-<key>.npy` is kept.
        side: see `open_rgb`.
        mirrored: only the second streams (K = 1), of the pictures' mirror images, and mirrored back. They are others than those
            of the pictures: patterns number the neighbours of a pixel (Eq. 3), and once resized they cannot be renumbered.
        threads: decoding threads.
        progress: called with (done, total).

    Raises:
        PictureError: some files are not readable pictures; the message counts them all and names the first ten.
    """
    folder = Path(folder)
    told = ({"side": side} if side else {}) | ({"mirrored": True} if mirrored else {})
    key = pictures_key(paths, pixel_settings(processor) | told)
    target = folder / f"pixels-{key}.npy"
    if target.exists():
        return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]
    folder.mkdir(parents=True, exist_ok=True)
    clean(folder)

    def encode(path: Path) -> NDArray[np.uint8] | str:
        try:
            picture = open_rgb(path, side)
        except ImageError as error:
            return str(error)
        if mirrored:
            return processor.square_pixels(ImageOps.mirror(picture))[1][None, :, ::-1]  # type: ignore[no-any-return]
        return np.stack([square for square in processor.square_pixels(picture) if square is not None])

    # The file gets its name only when complete; concurrent runs each write their own, and the last one stays.
    store: np.memmap | None = None
    faults: list[str] = []
    with written_whole(target) as part:
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            for start in range(0, len(paths), BATCH):
                for index, pixels in enumerate(pool.map(encode, paths[start : start + BATCH]), start=start):
                    if isinstance(pixels, str):
                        faults.append(pixels)
                        continue
                    if store is None:
                        shape = (len(paths), *pixels.shape)
                        store = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
                    store[index] = pixels
                if progress is not None:
                    progress(min(start + BATCH, len(paths)), len(paths))
        if faults or store is None:
            raise _unreadable(faults, len(paths))
        store.flush()
    return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]
