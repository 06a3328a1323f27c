"""Sources of a training step's pictures: the files, through the frozen tower, or features computed once.

`LivePictures` decodes the files, and the model runs its tower in every step. `VisionCache` reads the tower's outputs (what the
projector reads, and what PVTM ranks by) from memory-mapped safetensors. Both give `collate` the model inputs for some pictures,
and with both PVTM masks within the step. Features are keyed by the content of the picture file, the tower's weights and the
preprocessing: moved files are found again, and features of another tower or other SAVP settings are never reused.
Use: `vision = VisionCache.build(paths, model, processor, folder)`, then `inputs = vision.inputs([0, 5], joint=True)`.
T = tokens of a stream, D = width of the tower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faceshield.images import ImageError
from faceshield.provenance import write_text_atomic, written_whole
from faceshield.training.pictures import PictureError, Progress, open_rgb

STREAMS = ("rgb", "savp")
KINDS = ("features", "joint")
SHARD_BYTES = 256 << 20


class Vision(Protocol):
    """Source of a batch's pictures."""

    def inputs(self, pictures: Sequence[int], *, joint: bool) -> dict[str, Tensor]:
        """Model inputs for some pictures.

        Args:
            pictures: their indices in the list of paths.
            joint: whether PVTM will rank their tokens.
        """
        ...


class LivePictures:
    """Pictures decoded on demand.

    Args:
        paths: picture files.
        processor: a `FaceShieldProcessor`.
        crop_side: longer side in pixels to which pictures are resized first; None = no resizing.
    """

    def __init__(self, paths: Sequence[Path], processor: Any, crop_side: int | None = None) -> None:
        self.paths, self.processor, self.crop_side = list(paths), processor, crop_side

    def squares(self, picture: int) -> list[NDArray[np.uint8]]:
        """One picture's streams as squares of bytes.

        Raises:
            PictureError: the file is not a readable picture.
        """
        path = self.paths[picture]
        try:
            found = self.processor.square_pixels(open_rgb(path, self.crop_side))
        except ImageError as error:
            raise PictureError(str(error)) from error
        return [square for square in found if square is not None]

    def inputs(self, pictures: Sequence[int], *, joint: bool) -> dict[str, Tensor]:
        """`pixel_values` and, with SAVP, `savp_values`, (B, 3, S, S) each."""
        streams = zip(*(self.squares(picture) for picture in pictures), strict=True)
        names = ("pixel_values", "savp_values")
        return {name: self.processor.normalize(np.stack(rows)) for name, rows in zip(names, streams, strict=False)}


class Shards:
    """Tensors by name in a folder's safetensors files, read through memory maps; new tensors go into a new file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file = safe_open(path, framework="pt").__enter__()
            self._files |= dict.fromkeys(file.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)  # type: ignore[no-any-return]

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Writes these tensors into a new file, which gets its name only when complete.

        Raises:
            OSError: it cannot be written, for want of room for instance.
        """
        if not tensors:
            return
        # Named after its tensors: runs that compute the same pictures write the same file, other runs another one.
        held = hashlib.sha256("".join(sorted(tensors)).encode()).hexdigest()[:16]
        target = self.folder / f"{held}.safetensors"
        try:
            with written_whole(target) as part:
                save_file(dict(tensors), part)
        except (OSError, SafetensorError) as error:
            raise OSError(f"{target}: {error} — expected room for the features — free some, or cache_features=false") from error


class VisionCache:
    """Features (what the projector reads) and joint vectors (what PVTM ranks by) of pictures.

    Args:
        names: `content_name` of each picture.
        stores: the (T, D) tensors of each stream and kind.
    """

    def __init__(self, names: Sequence[str], stores: Mapping[tuple[str, str], Shards]) -> None:
        self.names, self.stores = list(names), dict(stores)
        self.streams = [stream for stream in STREAMS if (stream, KINDS[0]) in stores]

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, pictures: Sequence[int], kind: str = "features") -> Tensor:
        """(B, K * T, D), the streams one after the other."""
        parts = [
            torch.stack([self.stores[stream, kind][self.names[picture]] for picture in pictures]) for stream in self.streams
        ]
        return torch.cat(parts, dim=1)

    def inputs(self, pictures: Sequence[int], *, joint: bool) -> dict[str, Tensor]:
        """`vision_features` and, if wanted, `vision_joint`, (B, K * T, D) each."""
        found = {"vision_features": self.rows(pictures)}
        if joint:
            same = all((stream, "joint") not in self.stores for stream in self.streams)
            found["vision_joint"] = found["vision_features"] if same else self.rows(pictures, "joint")
        return found

    @classmethod
    def build(
        cls,
        paths: Sequence[Path],
        model: Any,
        processor: Any,
        folder: str | Path,
        *,
        bf16: bool = True,
        crop_side: int | None = None,
        joint: bool = True,
        batch_size: int = 32,
        threads: int = 1,
        rank: int = 0,
        world: int = 1,
        progress: Progress | None = None,
    ) -> VisionCache:
        """Opens the cache of these pictures for this tower, computing this process's share of what is missing first.

        Args:
            paths: picture files.
            model: a `FaceShieldForConditionalGeneration` on the device to compute on.
            processor: its processor; with `use_savp` False only the RGB stream is made and read.
            folder: where the files are kept.
            bf16: compute and store in bfloat16; else in float32.
            crop_side: see `LivePictures`.
            joint: whether PVTM's vectors are wanted too.
            batch_size: pictures per pass through the tower.
            threads: decoding threads.
            rank, world: this process's rank, and the number of processes; with several, all must be done before `opened` is
                called.
            progress: called with (done, total) while computing.

        Raises:
            PictureError: a file is not a readable picture.
            FileNotFoundError: there is no such file.
            OSError: the features cannot be written, for want of room for instance.
        """
        live = LivePictures(paths, processor, crop_side)
        with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
            names = list(pool.map(content_name, paths))
            stores = {key: Shards(place) for key, place in _places(model, live, Path(folder), bf16, joint).items()}
            first = {name: picture for picture, name in enumerate(names)}
            missing = [(name, at) for name, at in first.items() if any(name not in store for store in stores.values())]
            # Divided by content, not by position in the list: another process may already have written some of it.
            mine = [(name, at) for name, at in missing if int(name, 16) % world == rank]
            if mine:
                _compute(mine, live, model, stores, bf16, batch_size, pool, progress)
        return cls(names, stores).opened() if world == 1 else cls(names, stores)

    def opened(self) -> VisionCache:
        """The same cache, with what has been written since."""
        return VisionCache(self.names, {key: Shards(store.folder) for key, store in self.stores.items()})


def content_name(path: Path) -> str:
    """Name of a picture file's content.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} — expected a picture — check the image entries of the dialogues file") from None


def tower_hash(model: Any) -> str:
    """Hash of the vision tower's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.model.vision_tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _places(model: Any, live: LivePictures, folder: Path, bf16: bool, joint: bool) -> dict[tuple[str, str], Path]:
    """Folder of every stream and kind, named by a hash of all that decides its values; its `settings.json` lists that."""
    processor, config = live.processor, model.config
    settings: dict[str, Any] = {
        "tower": tower_hash(model),
        "layer": config.vision_feature_layer,
        "dtype": "bfloat16" if bf16 else "float32",
        "crop_side": live.crop_side,
        "mean_std": [processor.image_mean, processor.image_std],
    }
    pixels = _pixel_settings(processor)
    own = {
        "rgb": {name: value for name, value in pixels.items() if not name.startswith("savp_") and name != "use_savp"},
        "savp": {name: value for name, value in pixels.items() if name != "use_savp"},
    }
    kinds: dict[str, dict[str, Any]] = {"features": {}}
    if joint and config.pvtm_space not in ("raw", "llm_embed"):  # in those, PVTM ranks by the features themselves
        kinds["joint"] = {"space": config.pvtm_space}
    places = {}
    for stream in STREAMS[: 2 if processor.use_savp else 1]:
        for kind, more in kinds.items():
            told = json.dumps({**settings, **own[stream], **more}, sort_keys=True, default=str)
            place = folder / f"{stream}-{kind}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
            place.mkdir(parents=True, exist_ok=True)
            if not (place / "settings.json").is_file():
                write_text_atomic(place / "settings.json", told + "\n")
            places[stream, kind] = place
    return places


def _compute(
    missing: Sequence[tuple[str, int]],
    live: LivePictures,
    model: Any,
    stores: Mapping[tuple[str, str], Shards],
    bf16: bool,
    batch_size: int,
    pool: ThreadPoolExecutor,
    progress: Progress | None,
) -> None:
    streams = [stream for stream in STREAMS if (stream, KINDS[0]) in stores]
    waiting: dict[tuple[str, str], dict[str, Tensor]] = {key: {} for key in stores}
    size, was_training, device = 0, model.training, model.device
    kept = torch.bfloat16 if bf16 else torch.float32

    def write() -> None:
        for key, tensors in waiting.items():
            stores[key].write(tensors)
            tensors.clear()

    model.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            pictures = list(pool.map(live.squares, [at for _, at in batch]))
            for index, stream in enumerate(streams):
                pixels = live.processor.normalize(np.stack([picture[index] for picture in pictures]))
                encoded = model.encode_images(pixels.to(device, model.dtype), with_joint=(stream, "joint") in stores)
                for kind, values in zip(KINDS, encoded, strict=True):
                    if (stream, kind) not in stores:
                        continue
                    for (name, _), value in zip(batch, values.to("cpu", kept), strict=True):
                        if name not in stores[stream, kind]:
                            waiting[stream, kind][name] = value.clone()
                            size += value.nbytes
            if size > SHARD_BYTES:
                write()
                size = 0
            if progress is not None:
                progress(min(start + batch_size, len(missing)), len(missing))
    write()
    model.train(was_training)


def _pixel_settings(processor: Any) -> dict[str, Any]:
    """The settings of a `FaceShieldProcessor` that decide the bytes of its squares."""
    names = ("image_size", "use_savp", "pad_level")
    chosen = {name: getattr(processor, name) for name in names}
    chosen |= {name: value for name, value in vars(processor).items() if name.startswith("savp_")}
    return chosen
