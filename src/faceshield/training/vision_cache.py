"""What the frozen towers say about every picture, computed once and read from a memory map in every epoch.

Each stream (RGB, SAVP) has a file of its own, so "without SAVP" reads the same files, only fewer. Values are
bfloat16: half the space, and `torch.cat` of float16 is refused under autocast on CPUs.
Use: `cache = VisionCache.build(paths, model, processor, folder)`, then `features, joint = cache.rows([0,
    5])`.
N = pictures, T = tokens of a stream, D = width of the tower.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceshield.training.pictures import PictureError, Progress, open_rgb, pictures_key, pixel_settings

STREAMS = ("rgb", "savp")


def tower_key(model: Any) -> str:
    """Hash of the vision tower's weights and of what is read from it: equal keys mean equal features."""
    digest = hashlib.sha256(f"{model.config.vision_feature_layer} {model.config.pvtm_space}".encode())
    for name, value in sorted(model.model.vision_tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class VisionCache:
    """Features (what the projector reads) and joint vectors (what PVTM ranks by) of N pictures.

    Args:
        streams: per stream (N, 2, T, D) int16 bit patterns of bfloat16; index 0 = features, 1 = joint.
    """

    def __init__(self, streams: Sequence[NDArray[np.int16]]) -> None:
        self.streams = tuple(streams)

    def __len__(self) -> int:
        return len(self.streams[0])

    def rows(self, indices: Sequence[int], *, joint: bool = True) -> tuple[Tensor, Tensor | None]:
        """(B, K * T, D) bfloat16 features, and joint vectors of the same shape or None."""
        parts = [torch.from_numpy(np.stack([stream[i] for i in indices])).view(torch.bfloat16) for stream in self.streams]
        features = torch.cat([part[:, 0] for part in parts], dim=1)
        return features, torch.cat([part[:, 1] for part in parts], dim=1) if joint else None

    @classmethod
    def build(
        cls,
        paths: Sequence[Path],
        model: Any,
        processor: Any,
        folder: str | Path,
        *,
        bf16: bool = True,
        batch_size: int = 32,
        threads: int = 1,
        progress: Progress | None = None,
    ) -> VisionCache:
        """Opens the cache of these pictures under this tower; what is missing is computed first.

        Args:
            paths: picture files.
            model: a `FaceShieldForConditionalGeneration`.
            processor: its processor; with `use_savp` False only the RGB stream is made and read.
            folder: where the files are kept.
            bf16: compute under bfloat16 autocast.
            batch_size: pictures a tower pass.
            threads: decoding threads.
            progress: called with (done, total) while computing.

        Raises:
            PictureError: a file that is no picture.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**pixel_settings(processor), "use_savp": True, "tower": tower_key(model), "bf16": bf16}
        key = pictures_key(paths, settings)
        wanted = STREAMS if processor.use_savp else STREAMS[:1]
        files = [folder / f"vision-{key}-{name}.npy" for name in wanted]
        if not all(file.exists() for file in files):
            _compute(paths, model, processor, files, bf16, batch_size, threads, progress)
        return cls([np.load(file, mmap_mode="r") for file in files])


def _compute(
    paths: Sequence[Path],
    model: Any,
    processor: Any,
    files: Sequence[Path],
    bf16: bool,
    batch_size: int,
    threads: int,
    progress: Progress | None,
) -> None:
    def squares(path: Path) -> list[NDArray[np.uint8]]:
        try:
            return [square for square in processor.square_pixels(open_rgb(path)) if square is not None]
        except OSError as error:
            raise PictureError(f"{path}: {error} — expected a picture — repair or remove it") from error

    config = model.config
    tokens, width = config.tokens_per_stream, config.vision_config.hidden_size
    parts = [file.with_name(f".{file.name}.part") for file in files]
    stores = [
        np.lib.format.open_memmap(part, mode="w+", dtype=np.int16, shape=(len(paths), 2, tokens, width)) for part in parts
    ]
    was_training = model.training
    model.eval()
    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool, torch.no_grad(), autocast:
        for start in range(0, len(paths), batch_size):
            pictures = list(pool.map(squares, paths[start : start + batch_size]))
            for index, store in enumerate(stores):
                pixels = processor.normalize(np.stack([picture[index] for picture in pictures]))
                found = torch.stack(model.encode_images(pixels), dim=1).to(torch.bfloat16)
                store[start : start + len(pictures)] = found.view(torch.int16).numpy()
            if progress is not None:
                progress(min(start + batch_size, len(paths)), len(paths))
    model.train(was_training)
    for store in stores:
        store.flush()
    for part, file in zip(parts, files, strict=True):
        part.replace(file)
