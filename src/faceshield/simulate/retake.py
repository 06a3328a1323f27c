"""Takes the pictures of a samples file again with a careless camera: rotated, cropped, with other light, noise and blur.

This does not change what a picture shows, so its type, person and split stay and its boxes move along; cues of colour or of a
sheet's edges go if the new picture no longer shows them. Training on both sets keeps a model from taking an unusual exposure
for an attack. An attack must stay in view, and a bona fide picture is framed as if it had one too; otherwise a narrow framing
would indicate bona fide. Copy j of picture i depends only on the samples, the seed, i and j: the number of workers, an
interruption or a second run changes nothing.

    retake(Path("samples.jsonl"), Path("retaken"), RetakeConfig(seed=1))
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from faceshield.images import load_rgb
from faceshield.provenance import begun, file_sha256, write_run
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.simulate.camera import jpeg
from faceshield.simulate.dataset import without_colour
from faceshield.simulate.portrait import LUMA, Box
from faceshield.simulate.processes import write_rows

_KEPT, _PLENTY = 0.6, 0.3
"""An attack is in view if at least the first share of its box is, or if it fills at least the second share of the new picture;
otherwise another framing is drawn."""
_DRAWS = 8
_SIDE = 224
"""Longer side in pixels to which `Retake.blur` refers: that of simulated pictures and of the tiny model's crops."""


@dataclass(frozen=True)
class Retake:
    """One careless exposure of a picture; the defaults only compress it again.

    Attributes:
        turn: rotation about the middle in degrees, counter-clockwise.
        seen: share of each side that stays in view, 0..1; it is enlarged to the old size.
        shift: offset of its middle as shares of what is cut away, -0.5..0.5 across and down.
        beyond: fill for what a rotation exposes outside the picture: "edge" (border pixels repeated), "mean" (mean colour) or
            "black".
        blur: standard deviation of a Gaussian, in pixels of a picture with a longer side of 224.
        gamma: tone curve exponent on 0..1; gain: exposure as a factor.
        balance: white balance, three factors.
        grey: how far colours are pulled to grey, 0..1.
        noise: standard deviation of white noise in levels of 255; chroma: share of its variance that is colour.
        quality: JPEG quality.
    """

    turn: float = 0.0
    seen: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    beyond: str = "edge"
    blur: float = 0.0
    gamma: float = 1.0
    gain: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    grey: float = 0.0
    noise: float = 0.0
    chroma: float = 0.0
    quality: int = 95


@dataclass(frozen=True)
class RetakeConfig:
    """What to make.

    Attributes:
        seed: source of all randomness.
        copies: exposures per picture.
    """

    seed: int = 0
    copies: int = 1


def draw_retake(rng: np.random.Generator) -> Retake:
    """Draws one exposure; each fault has its own chance, so that most pictures have two or three of them and some have none."""

    def perhaps(share: float) -> bool:
        return bool(rng.random() < share)

    how = Retake(quality=int(rng.integers(60, 97)))
    if perhaps(0.5):
        how = replace(how, turn=float(np.clip(rng.normal(0, 10), -30, 30)), beyond=str(rng.choice(["edge", "mean", "black"])))
    if perhaps(0.5):
        across, down = rng.uniform(-0.5, 0.5, 2)
        how = replace(how, seen=float(rng.uniform(0.68, 1.0)), shift=(float(across), float(down)))
    if perhaps(0.4):
        how = replace(how, gamma=float(np.exp(rng.normal(0, 0.4))), gain=float(np.exp(rng.normal(0, 0.12))))
    if perhaps(0.25):
        warm, green = rng.normal(0, 0.08), rng.normal(0, 0.03)
        how = replace(how, balance=(float(1 + warm), float(1 + green), float(1 - warm)))
    if perhaps(0.12):
        how = replace(how, grey=1.0 if perhaps(0.5) else float(rng.uniform(0.3, 1)))
    if perhaps(0.25):
        how = replace(how, blur=float(rng.uniform(0.4, 2.0)))
    if perhaps(0.45):
        how = replace(how, noise=float(min(rng.exponential(9), 28)), chroma=float(rng.uniform(0, 1)))
    return how


def expose(
    rgb: NDArray[np.uint8], boxes: Sequence[Box], how: Retake, rng: np.random.Generator, *, filled: bool = False
) -> tuple[NDArray[np.uint8], list[Box]]:
    """Takes one picture again.

    Args:
        rgb: (H, W, 3) uint8 RGB.
        boxes: xyxy in its pixels.
        how: what is changed; `rng` makes the noise.
        filled: whether the contents of the boxes fill their corners, as a sheet or a screen does.

    Returns:
        (H, W, 3) uint8 RGB as decoded from a JPEG, and the boxes in its pixels, clipped to it.
    """
    picture = _framed(rgb, how)
    if how.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(how.blur * max(rgb.shape[:2]) / _SIDE))
    light = np.asarray(picture, np.float32) / 255
    light = np.power(light, np.float32(how.gamma)) * np.float32(how.gain) * np.asarray(how.balance, np.float32)
    if how.grey:
        light += np.float32(how.grey) * ((light @ LUMA)[..., None] - light)
    if how.noise:
        luma = rng.standard_normal((*light.shape[:2], 1), dtype=np.float32)
        colour = rng.standard_normal(light.shape, dtype=np.float32)
        light += np.float32(how.noise / 255) * (math.sqrt(1 - how.chroma) * luma + math.sqrt(how.chroma) * colour)
    finished = Image.fromarray((light.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    size_wh = rgb.shape[1], rgb.shape[0]
    return np.asarray(jpeg(finished, how.quality)), [moved(box, how, size_wh, filled=filled)[0] for box in boxes]


def moved(box: Box, how: Retake, size_wh: tuple[int, int], *, filled: bool = False) -> tuple[Box, float]:
    """Where an xyxy box of a picture of `size_wh` pixels lies in the new one, to a tenth of a pixel, and its share in view.

    The new box encloses the rotated ellipse inscribed in the old box, whose corners are mostly empty, or, if they are `filled`,
    the rotated rectangle.
    """
    width, height = size_wh
    (across, down), (x, y) = _axes(how), _middle(how, size_wh)
    half_w, half_h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    off_x, off_y = (box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y
    new_x = width / 2 + (across * off_x + down * off_y) / how.seen
    new_y = height / 2 + (across * off_y - down * off_x) / how.seen
    pairs = [(abs(across * a), abs(down * b)) for a, b in ((half_w, half_h), (half_h, half_w))]
    new_w, new_h = ((sum(pair) if filled else math.hypot(*pair)) / how.seen for pair in pairs)
    x0, x1 = (min(max(value, 0.0), float(width)) for value in (new_x - new_w, new_x + new_w))
    y0, y1 = (min(max(value, 0.0), float(height)) for value in (new_y - new_h, new_y + new_h))
    share = (x1 - x0) * (y1 - y0) / (4 * new_w * new_h) if new_w * new_h > 0 else 0.0
    return (round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)), share


def in_view(box: Box, how: Retake, size_wh: tuple[int, int]) -> bool:
    """Whether an attack in an xyxy box of a picture of `size_wh` pixels can still be seen in the new one."""
    (x0, y0, x1, y1), share = moved(box, how, size_wh)
    return share >= _KEPT or (x1 - x0) * (y1 - y0) >= _PLENTY * size_wh[0] * size_wh[1]


def _axes(how: Retake) -> tuple[float, float]:
    return math.cos(math.radians(how.turn)), math.sin(math.radians(how.turn))


def _middle(how: Retake, size_wh: tuple[int, int]) -> tuple[float, float]:
    """The point of the old picture that becomes the new one's middle."""
    x, y = (side * (0.5 + (1 - how.seen) * share) for side, share in zip(size_wh, how.shift, strict=True))
    return x, y


def _framed(rgb: NDArray[np.uint8], how: Retake) -> Image.Image:
    if how.turn == 0 and how.seen == 1:
        return Image.fromarray(rgb)
    height, width = rgb.shape[:2]
    border = max(width, height) // 2  # no rotation exposes more
    if how.beyond == "edge":
        wide = np.pad(rgb, ((border, border), (border, border), (0, 0)), mode="edge")
    else:
        wide = np.empty((height + 2 * border, width + 2 * border, 3), np.uint8)
        wide[:] = rgb.mean(axis=(0, 1)) if how.beyond == "mean" else 0
        wide[border : border + height, border : border + width] = rgb
    (across, down), (x, y) = _axes(how), _middle(how, (width, height))
    a, b = how.seen * across, how.seen * down  # new pixel -> old pixel, as Pillow wants it
    place = (
        a, -b, x + border - a * width / 2 + b * height / 2,
        b, a, y + border - b * width / 2 - a * height / 2,
    )  # fmt: skip
    return Image.fromarray(wide).transform((width, height), Image.Transform.AFFINE, place, Image.Resampling.BICUBIC)


def retake(
    samples: Path, out: Path, config: RetakeConfig, *, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes `out/samples.jsonl` and `out/images/`; resumes an interrupted run of the same configuration.

    Args:
        samples: file whose pictures are taken again; crops, as written by `prepare` and `simulate`.
        out: another folder.
        config: seed and copies.
        workers: number of processes.
        progress: called with (done, total) after every picture.

    Returns:
        Path of the finished `samples.jsonl`; its rows are those of `samples`, copy after copy, with "-r0", "-r1", … appended to
        their ids and the exposure under meta.retake.

    Raises:
        ValueError: there are no samples, or `out` is the samples' own folder or holds something else.
        ImageError: a picture cannot be read; nearly everything made before it stays.
    """
    finished = out / "samples.jsonl"
    rows = read_jsonl(samples, Sample)
    if not rows:
        raise ValueError(f"{samples}: no samples — expected at least one row — write it with `faceshield simulate`")
    begun(out, "retake", {**asdict(config), "samples": file_sha256(samples)}, results=(finished.name, "images"))
    if finished.is_file():
        return finished
    write_rows(out, _Retaker(rows, samples, out, config), len(rows) * config.copies, workers, progress)
    write_run(finished, config=asdict(config), seed=config.seed, inputs=[samples])
    return finished


_SHEETS = ("Print", "Replay")
"""Types whose instrument fills the corners of its box."""
_AT_THE_EDGE = {
    "a visible paper edge", "a white paper border", "tape or pins", "fingers holding paper", "a screen bezel",
    "fingers holding screen",
}  # fmt: skip
"""Cues that a picture does not show when the edges of the sheet or screen are out of view."""


def _fills(box: Box, size_wh: tuple[int, int]) -> bool:
    """Whether a sheet extends beyond the picture on all sides."""
    return box[0] <= 1 and box[1] <= 1 and box[2] >= size_wh[0] - 1 and box[3] >= size_wh[1] - 1


class _Retaker:
    """Makes and saves picture i of the new set; a class, not a closure, because it is passed to worker processes."""

    def __init__(self, rows: Sequence[Sample], samples: Path, out: Path, config: RetakeConfig) -> None:
        self.rows, self.samples, self.out, self.config = rows, samples, out, config
        self.attacks = [row for row in rows if row.boxes]

    def __call__(self, index: int) -> Sample:
        copy, place = divmod(index, len(self.rows))
        row = self.rows[place]
        rng = np.random.default_rng([self.config.seed, copy, zlib.crc32(row.id.encode())])
        rgb = np.asarray(load_rgb(image_path(row, self.samples)))
        how = self._draw(row, rng)
        picture, boxes = expose(rgb, row.boxes, how, rng, filled=row.presentation_type in _SHEETS)
        name = f"images/{index:06d}.jpg"
        Image.fromarray(picture).save(self.out / name, quality=95, subsampling=0)
        meta = {**row.meta, "retake": asdict(how)}
        meta.pop("sha256", None)  # the old picture's
        if how.grey == 1 and "cues" in row.meta:
            meta["cues"] = list(without_colour(tuple(row.meta["cues"])))
        size = (rgb.shape[1], rgb.shape[0])
        cut = row.presentation_type in _SHEETS and bool(boxes) and _fills(boxes[0], size) and not _fills(row.boxes[0], size)
        if cut and "cues" in meta:
            meta["cues"] = [cue for cue in meta["cues"] if cue not in _AT_THE_EDGE] or meta["cues"]
        told = {"id": f"{row.id}-r{copy}", "image": name, "boxes": boxes, "size_wh": rgb.shape[1::-1], "meta": meta}
        return Sample.model_validate({**row.model_dump(), **told})

    def _draw(self, row: Sample, rng: np.random.Generator) -> Retake:
        shown = row
        if self.attacks and not row.boxes:  # framed for some attack, so that framing reveals nothing
            shown = self.attacks[int(rng.integers(len(self.attacks)))]
        how = draw_retake(rng)
        for _ in range(_DRAWS):
            if all(in_view(box, how, shown.size_wh) for box in shown.boxes):
                return how
            other = draw_retake(rng)
            how = replace(how, turn=other.turn, seen=other.seen, shift=other.shift, beyond=other.beyond)
        return replace(how, turn=0.0, seen=1.0, shift=(0.0, 0.0))


__all__ = ["Retake", "RetakeConfig", "draw_retake", "expose", "in_view", "moved", "retake"]
