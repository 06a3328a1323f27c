"""Open a picture from any source as upright RGB uint8; refuse harmful or unusable ones with a reason.

Use: `picture = open_picture("photo.jpg")`, then `picture.rgb` is (H, W, 3) uint8 RGB.

A picture is treated as hostile until it is decoded: only the formats below are tried, its size is read from the header and
checked before any pixel is decoded, and the only metadata used is the orientation. Anything wrong with the *content* is an
`ImageError`; a wrong *kind of argument* is a `TypeError`.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

RGB = NDArray[np.uint8]
"""(H, W, 3) uint8, in the order red, green, blue."""

ImageSource = str | Path | bytes | Image.Image | RGB
"""What can be inspected: a path, the bytes of a picture file, a PIL image, or an (H, W, 3) uint8 RGB array."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
UNREAD = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng"})
"""Photo formats that cannot be read; such files are still listed, so that they are reported rather than silently missed."""
MAX_STREAM = 512 * 1024**2
"""Most bytes read from a pipe; of a file, only what its header calls for is read."""
MAX_PIXELS = 120_000_000
"""More than a phone's 108-megapixel photo, less than what fills a small machine's memory."""
MAX_SIDE = 12_500
"""The model pads to a square, so one long side costs as much as two."""
MIN_SIDE = 32
MAX_SCANS, MAX_SEGMENTS = 100, 10_000
"""Of a JPEG. Its decoder visits every pixel again for each scan, though 40 bytes make one, and Pillow takes a while for each
segment, of 4 bytes or more. Usual files have about ten scans and a few dozen segments; libtiff has the same limit on scans."""

# Pillow's decoders raise nearly everything on broken bytes; all of it means "this picture cannot be read".
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # only if the user turned warnings into errors
)

_ORIENTATION_TAG = 0x0112
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")  # those with a length behind them, and the end; never inside a scan
_SCAN, _END = 0xDA, 0xD9
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """A picture that cannot be used.

    Attributes:
        name: which picture.
        problem: what is wrong, what was expected and what to do.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        rgb: (H, W, 3) uint8 RGB, upright. The boxes of every report are in pixels of this array.
        name: the path as given, or a description such as "<array 480x640>".
        notes: what was done to it ("turned upright by its EXIF orientation 6", …); empty for a plain RGB photo.
    """

    rgb: RGB
    name: str
    notes: tuple[str, ...] = ()

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[0])


def source_name(source: object) -> str:
    """A name for reports: the path as given, or a description of the object. Never raises."""
    if isinstance(source, Picture):
        return source.name
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image.Image):
        path = getattr(source, "filename", "")
        return str(path) if path else f"<PIL image {source.width}x{source.height}>"
    if isinstance(source, np.ndarray):
        return f"<array {'x'.join(map(str, source.shape))}>"
    if isinstance(source, bytes | bytearray):
        return f"<{len(source)} bytes>"
    return f"<{type(source).__name__}>"


def open_picture(source: object) -> Picture:
    """Read `source` (see `ImageSource`) into an upright RGB picture.

    Wider levels are scaled to 8 bits, grey and palette pictures become RGB, transparency is laid over white, and the first
    frame of an animation is taken. Noted is all but the plain conversion of grey and palette pictures and what Pillow's
    decoders do by themselves (16-bit colours to 8 bits, a TIFF turned upright). A `Picture` is returned unchanged.

    Raises:
        ImageError: missing, unreadable, truncated, not a picture, too large, too small, or a JPEG of too many scans or
            segments.
        TypeError: `source` is of none of these kinds, or an array of another shape or type.
    """
    name = source_name(source)
    if isinstance(source, Picture):
        return source
    if isinstance(source, np.ndarray):
        return Picture(_check_array(source), name)
    if isinstance(source, Image.Image):
        return _decode(_of_fair_size(source, name), name, from_file=False)
    if isinstance(source, str | Path):
        with _open_file(Path(source)) as stream:
            return _decode(_of_fair_size(_read_header(stream, name), name), name, from_file=True)
    if isinstance(source, bytes | bytearray):
        return _decode(_of_fair_size(_read_header(io.BytesIO(source), name), name), name, from_file=True)
    raise TypeError(
        f"picture is a {type(source).__name__} — expected a path, bytes, a PIL image or an (H, W, 3) uint8 "
        "RGB array — convert it first"
    )


def load_rgb(path: str | Path) -> Image.Image:
    """A picture file as upright 8-bit RGB: the same pixels as `open_picture`, without its size limits.

    For the pictures of a data set: a model must be trained on the same pixels that it is shown in use.

    Raises:
        ImageError: missing, unreadable, truncated, or not a picture.
    """
    with _open_file(Path(path)) as stream:
        return Image.fromarray(_decode(_read_header(stream, str(path)), str(path), from_file=True).rgb)


def read_rgb(path: str | Path) -> RGB:
    """(H, W, 3) uint8 RGB of a picture file to be judged; raises as `open_picture`."""
    return open_picture(path).rgb


def to_side(rgb: RGB, side: int | None) -> RGB:
    """(H, W, 3) uint8 RGB with its longer side resized to `side` pixels (bicubic); None: unchanged.

    Training and inference share this function, because descriptors are computed from single pixels.
    """
    longest = max(rgb.shape[:2])
    if side is None or side == longest:
        return rgb
    size_wh = tuple(max(1, round(length * side / longest)) for length in (rgb.shape[1], rgb.shape[0]))
    return np.asarray(Image.fromarray(rgb).resize(size_wh, Image.Resampling.BICUBIC))


def check_picture(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in pixels from the header of a picture file, given as bytes; no pixel is decoded.

    Raises:
        ImageError: not a picture, a broken header, too large (also if over `max_pixels`), too small, or too many scans or
            segments.
    """
    name = source_name(data)
    with _read_header(io.BytesIO(data), name) as image:
        _of_fair_size(image, name, min(max_pixels, MAX_PIXELS))
        return image.width, image.height


def is_picture(path: PurePath) -> bool:
    """Whether a file's suffix is that of a picture, `UNREAD` ones included."""
    return path.suffix.lower() in SUFFIXES or path.suffix.lower() in UNREAD


def list_pictures(folder: Path) -> list[Path]:
    """Files directly inside `folder` with a picture's suffix, `UNREAD` ones included, sorted by name, without hidden ones.

    Raises:
        ImageError: there are none, or the folder cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if is_picture(path) and not path.name.startswith("."))
    except OSError as error:
        raise ImageError(str(folder), f"the folder cannot be read ({error.strerror}) — check its permissions") from error
    if not found:
        kinds = " ".join(sorted(SUFFIXES))
        raise ImageError(str(folder), f"no pictures in this folder — expected {kinds} directly inside it — give another")
    return found


def _open_file(path: Path) -> IO[bytes]:
    try:
        stream = path.open("rb")
        if stream.seekable():
            return stream
        with stream:  # a pipe
            data = stream.read(MAX_STREAM + 1)
        if len(data) > MAX_STREAM:
            raise ImageError(str(path), f"more than {MAX_STREAM:,} bytes from a pipe — expected one picture — give a file")
        return io.BytesIO(data)
    except ImageError:
        raise
    except FileNotFoundError as error:
        if re.match(r"https?:/", str(path)):
            raise ImageError(str(path), "an address — expected a file: nothing is fetched — download it first") from error
        raise ImageError(str(path), "no such file — expected a picture — check the path") from error
    except IsADirectoryError as error:
        raise ImageError(str(path), "is a folder — expected one picture — give the pictures inside it") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(str(path), f"cannot be opened ({reason}) — check its permissions") from error


def _read_header(stream: IO[bytes], name: str) -> Image.Image:
    """Recognise one of `FORMATS` and parse its header; no pixel is decoded.

    `Image.open` is avoided because it warns about or refuses large pictures by process-wide settings; we set our own limit.
    """
    Image.init()
    try:
        prefix = stream.read(16)
        if not prefix:
            raise ImageError(name, "the file is empty (0 bytes) — expected a picture — copy or download it again")
        for format_name in FORMATS:
            factory, accept = Image.OPEN[format_name]
            if accept is not None and accept(prefix) is not True:
                continue
            stream.seek(0)
            if format_name == "JPEG":
                _check_jpeg(stream.read(MAX_STREAM), name)
                stream.seek(0)
            try:
                return factory(stream, "")
            except (SyntaxError, LookupError, TypeError, ArithmeticError, struct.error):
                continue
    except ImageError:
        raise
    except _DECODER_ERRORS as error:
        raise ImageError(name, _unreadable(error)) from error
    raise ImageError(name, f"not a picture that can be read — expected {', '.join(FORMATS)} — convert it to JPEG or PNG")


def _check_jpeg(data: bytes, name: str) -> None:
    """Refuse a JPEG of too many scans or segments, counted as the decoder meets them, up to the end of the picture: inside a
    segment, or behind the picture, may be anything, such as a thumbnail or a phone's film."""
    place, scans, segments = 0, 0, 0
    while (found := _JPEG_MARKER.search(data, place)) and (marker := data[found.end() - 1]) != _END:
        scans += marker == _SCAN
        segments += 1
        if scans > MAX_SCANS or segments > MAX_SEGMENTS:
            raise ImageError(
                name,
                f"a JPEG of more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments — expected about ten scans and "
                "a few dozen segments — save it again",
            )
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2])


def _unreadable(error: BaseException) -> str:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return f"damaged or truncated ({reason}) — expected a whole picture file — copy, download or export it again"


def check_size(name: str, width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Checks that a picture's size is within the limits.

    Raises:
        ImageError: the picture `name` is too large or too small.
    """
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageError(
            name,
            f"{width:,} x {height:,} pixels is too large — expected at most {max_pixels:,} pixels and "
            f"{MAX_SIDE:,} a side — resize it",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            name,
            f"{width} x {height} pixels is too small — expected at least {MIN_SIDE} x {MIN_SIDE} — give a larger picture",
        )


def _check_array(array: NDArray[Any]) -> RGB:
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise TypeError(
            f"array has shape {array.shape} and type {array.dtype} — expected (H, W, 3) uint8 RGB — "
            "convert it, or pass a PIL image"
        )
    check_size(source_name(array), array.shape[1], array.shape[0])
    return np.ascontiguousarray(array)


def _of_fair_size(image: Image.Image, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The still undecoded image, after `check_size` of it and, for TIFF, of the tile that would be decoded at once."""
    check_size(name, image.width, image.height, max_pixels)
    if isinstance(image, TiffImageFile):  # a whole tile is decoded, however little of it is picture
        tile = [image.tag_v2.get(tag, 1) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
        if not all(isinstance(side, int) for side in tile):
            raise ImageError(name, _unreadable(ValueError(f"tiles of {tile}")))
        width, height = (max(pair) for pair in zip(image.size, tile, strict=True))
        check_size(name, width, height, max_pixels)
    return image


def _decode(image: Image.Image, name: str, *, from_file: bool) -> Picture:
    """Decode, turn upright and convert."""
    notes: list[str] = []
    try:
        image.load()
        orientation = _orientation(image)
        rgb_image = _to_rgb(image, notes)
        if orientation in _UPRIGHT:
            rgb_image = rgb_image.transpose(_UPRIGHT[orientation])
            notes.append(f"turned upright by its EXIF orientation {orientation}")
        rgb = np.array(rgb_image, dtype=np.uint8)
        # A phone's MPO holds the same photo twice, which is no animation; an image given open stays at its frame. Checked only
        # now that the pixels are copied: seeking the next frame may change the image's size.
        if from_file and image.format != "MPO" and _goes_on(image):
            notes.insert(0, "animation or several pages: the first was taken")
        return Picture(rgb, name, tuple(notes))
    except _DECODER_ERRORS as error:
        raise ImageError(name, _unreadable(error)) from error


def _goes_on(image: Image.Image) -> bool:
    """Whether there is a second frame; a TIFF's frames are not counted, which would take quadratic time."""
    if image.format != "TIFF":
        return bool(getattr(image, "is_animated", False))
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODER_ERRORS:  # broken metadata is no reason to refuse the picture
        return 1


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I") or mode == "F":
        grey, scaling = _to_eight_bits(np.asarray(image), mode)
        notes.append(scaling)
        return Image.fromarray(grey).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent parts were laid over white")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return rgba.convert("RGB")
    if mode not in ("L", "1", "P"):
        notes.append(f"converted from {mode} to RGB without its colour profile")
    return image.convert("RGB")


def _to_eight_bits(levels: NDArray[Any], mode: str) -> tuple[NDArray[np.uint8], str]:
    """Scale grey levels by the range they are stored in (never by their own contrast, which would change the picture), and say
    so."""
    if not np.isfinite(levels).all():
        raise ValueError("grey levels are not finite")
    highest, full_scale = float(levels.max()), 65535.0
    if mode == "F":  # states no range: the smallest usual one, which filters may have overshot, and nearly black ones are rare
        full_scale = next((usual for usual in (1.0, 255.0, 65535.0) if highest <= 2 * usual), highest)
    elif not mode.startswith("I;16"):
        full_scale = next((usual for usual in (255.0, 65535.0) if highest <= usual), highest)
    scaled = np.empty(levels.shape, np.uint8)
    for row, line in enumerate(levels):  # row by row: eight bytes per level add up in a large picture
        scaled[row] = np.clip(np.rint(line.astype(np.float64) * (255.0 / full_scale)), 0, 255)
    note = f"16-bit or wider grey levels were scaled to 8 bits, {full_scale:g} as white"
    dark = (
        f", though none is above {highest:g}: if those are all it should have, scale them before"
        if highest < full_scale / 8
        else ""
    )
    return scaled, note + dark
