"""Every way a picture can be unusual or broken: opened as upright RGB, or refused with one clear line."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from bombs import gif_that_grows, jpeg_of_scans, tiled
from faceshield.images import MAX_PIXELS, ImageError, Picture, check_picture, list_pictures, load_rgb, open_picture, source_name


def gradient(width: int = 60, height: int = 40) -> NDArray[np.uint8]:
    """Red grows to the right, green downwards, blue is 64."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 64)], -1).astype(np.uint8)


RGB = gradient()
GREY = RGB[..., 0]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A well-formed PNG header for a huge picture with next to no pixels behind it."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def half_transparent(mode: str) -> Image.Image:
    alpha = Image.fromarray(np.where(np.arange(60) < 30, 0, 255).astype(np.uint8)[None].repeat(40, 0))
    image = Image.fromarray(RGB).convert("RGB" if mode == "RGBA" else "L")
    image.putalpha(alpha)
    assert image.mode == mode
    return image


def animation(kind: str) -> bytes:
    first, second = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (60, 40), "blue")
    return encoded(first, kind, save_all=True, append_images=[second], duration=50)


def sixteen_bit(kind: str) -> bytes:
    return encoded(Image.fromarray(GREY.astype(np.uint16) * 257), kind)


def is_near(got: NDArray[np.uint8], wanted: NDArray[np.uint8], tolerance: int = 0) -> bool:
    return got.shape == wanted.shape and int(np.abs(got.astype(int) - wanted.astype(int)).max()) <= tolerance


GREY_RGB = np.repeat(GREY[..., None], 3, -1)
RED = np.broadcast_to(np.array([255, 0, 0], np.uint8), RGB.shape)

# name, the file's bytes, the pixels wanted, tolerance, a part of the note wanted ("" = no notes)
GOOD: list[tuple[str, bytes, NDArray[np.uint8], int, str]] = [
    ("png", encoded(Image.fromarray(RGB), "PNG"), RGB, 0, ""),
    ("jpeg", encoded(Image.fromarray(RGB), "JPEG", quality=98, subsampling=0), RGB, 8, ""),
    ("webp", encoded(Image.fromarray(RGB), "WEBP", lossless=True), RGB, 0, ""),
    ("bmp", encoded(Image.fromarray(RGB), "BMP"), RGB, 0, ""),
    ("tiff", encoded(Image.fromarray(RGB), "TIFF"), RGB, 0, ""),
    ("grey png", encoded(Image.fromarray(GREY), "PNG"), GREY_RGB, 0, ""),
    ("grey jpeg", encoded(Image.fromarray(GREY), "JPEG", quality=98), GREY_RGB, 8, ""),
    ("one bit", encoded(Image.fromarray(GREY > 127), "PNG"), np.where(GREY_RGB > 127, 255, 0), 0, ""),
    ("palette", encoded(Image.new("RGB", (60, 40), "red").quantize(4), "PNG"), RED, 0, ""),
    ("16-bit png", sixteen_bit("PNG"), GREY_RGB, 0, "8 bits"),
    ("16-bit tiff", sixteen_bit("TIFF"), GREY_RGB, 0, "8 bits"),
    ("32-bit tiff", encoded(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"), GREY_RGB, 0, "8 bits"),
    ("float tiff", encoded(Image.fromarray(GREY / np.float32(255)), "TIFF"), GREY_RGB, 0, "8 bits"),
    ("cmyk jpeg", encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=98), RGB, 12, "CMYK"),
    ("cmyk tiff", encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB, 2, "CMYK"),
    ("opaque rgba", encoded(Image.fromarray(RGB).convert("RGBA"), "PNG"), RGB, 0, ""),
    ("animated gif", animation("GIF"), RED, 0, "the first was taken"),
    ("animated webp", animation("WEBP"), RED, 4, "the first was taken"),
    ("animated png", animation("PNG"), RED, 0, "the first was taken"),
    ("two pages", animation("TIFF"), RED, 0, "the first was taken"),
]


def test_pages_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow counts those of a TIFF in time by the square of their number: five megabytes of them took twenty seconds."""
    sought: list[int] = []
    seek = TiffImageFile.seek
    monkeypatch.setattr(TiffImageFile, "seek", lambda self, frame: (sought.append(frame), seek(self, frame))[1])
    pages = [Image.new("L", (40, 40), level) for level in range(20)]
    picture = open_picture(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert picture.rgb.max() == 0 and picture.notes and max(sought) == 1


@pytest.mark.parametrize(("name", "data", "wanted", "tolerance", "note"), GOOD, ids=[row[0] for row in GOOD])
def test_unusual_pictures_become_rgb(
    name: str, data: bytes, wanted: NDArray[np.uint8], tolerance: int, note: str, tmp_path: Path
) -> None:
    path = tmp_path / "picture.dat"  # the content decides, not the suffix
    path.write_bytes(data)
    picture = open_picture(path)
    assert picture.rgb.dtype == np.uint8
    assert is_near(picture.rgb, wanted, tolerance)
    assert bool(picture.notes) == bool(note)
    assert note in " ".join(picture.notes)
    assert picture.name == str(path)
    assert np.array_equal(open_picture(data).rgb, picture.rgb)
    assert np.array_equal(np.asarray(load_rgb(path)), picture.rgb)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    picture = open_picture(encoded(half_transparent(mode), "PNG"))
    assert (picture.rgb[:, :30] == 255).all()
    assert is_near(
        picture.rgb[:, 30:],
        (RGB if mode == "RGBA" else np.asarray(half_transparent("LA"))[..., :1].repeat(3, -1))[:, 30:],
    )
    assert "white" in picture.notes[0]


def test_a_picture_of_a_data_set_may_be_small_but_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(RGB[:9, :7]).save(path)
    assert np.array_equal(np.asarray(load_rgb(path)), RGB[:9, :7])
    path.write_bytes(path.read_bytes()[:60])
    for broken in (path, tmp_path / "none.png"):
        with pytest.raises(ImageError, match=str(broken)):
            load_rgb(broken)


def test_a_palette_with_a_transparent_colour_is_laid_over_white() -> None:
    image = Image.new("P", (60, 40), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (30, 0, 60, 40))
    picture = open_picture(encoded(image, "PNG", transparency=0))
    assert (picture.rgb[:, :30] == 255).all()
    assert (picture.rgb[:, 30:] == (0, 0, 255)).all()


# what a camera stores so that a viewer, turning it as told, sees RGB
STORED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_undone(orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](RGB))
    data = encoded(Image.fromarray(stored), "PNG", exif=exif(orientation))
    picture = open_picture(data)
    assert np.array_equal(picture.rgb, RGB)
    assert picture.size_wh == (60, 40)
    assert picture.notes == (() if orientation == 1 else (f"turned upright by its EXIF orientation {orientation}",))
    assert np.array_equal(open_picture(Image.open(io.BytesIO(data))).rgb, RGB)


def test_an_unknown_orientation_is_left_alone() -> None:
    assert np.array_equal(open_picture(encoded(Image.fromarray(RGB), "PNG", exif=exif(77))).rgb, RGB)


PHOTO = encoded(Image.fromarray(gradient(200, 200)), "JPEG")

# name, bytes, words that the error must hold
BAD: list[tuple[str, bytes, tuple[str, ...]]] = [
    ("empty", b"", ("empty", "0 bytes")),
    ("one byte", b"\xff", ("not a picture",)),
    ("text", b"this is not a picture at all, just words\n" * 5, ("not a picture", "JPEG")),
    ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', ("not a picture",)),
    ("eps, a format not allowed", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\n", ("not a picture",)),
    ("ppm, a format not allowed", b"P6 60 40 255 " + bytes(60 * 40 * 3), ("not a picture",)),
    ("truncated jpeg", PHOTO[: len(PHOTO) // 2], ("truncated",)),
    ("jpeg header only", PHOTO[:30], ("copy, download or export it again",)),
    ("truncated png", encoded(Image.fromarray(RGB), "PNG")[:80], ("truncated",)),
    ("png signature only", b"\x89PNG\r\n\x1a\n", ()),
    ("broken gif", animation("GIF")[:40], ()),
    ("broken webp", encoded(Image.fromarray(RGB), "WEBP")[:40], ()),
    ("broken tiff", b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(40), ()),
    ("not finite", encoded(Image.fromarray(np.full((40, 60), np.nan, np.float32)), "TIFF"), ("finite",)),
    ("1 x 1", encoded(Image.new("RGB", (1, 1)), "PNG"), ("1 x 1", "too small", "32 x 32")),
    ("one row", encoded(Image.new("RGB", (500, 1)), "PNG"), ("500 x 1", "too small")),
    ("20,000 x 20,000", png_claiming(20_000, 20_000), ("20,000 x 20,000", "too large", "resize")),
    ("one long side", png_claiming(60_000, 100), ("60,000 x 100", "too large")),
    ("beyond all", png_claiming(2**31 - 1, 2**31 - 1), ("too large",)),
    ("a tile beyond its picture", tiled(16_000), ("16,000 x 16,000", "too large")),
    ("tiles that are no number", tiled(16, kind=12), ("damaged",)),
]


@pytest.mark.parametrize(("name", "data", "words"), BAD, ids=[row[0] for row in BAD])
def test_bad_files_are_refused_in_one_clear_line(name: str, data: bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        open_picture(path)
    error = caught.value
    assert error.name == str(path)
    assert str(error) == f"{path}: {error.problem}"
    assert error.problem.count("—") == 2, "what — expected — do this"
    assert "\n" not in str(error)
    for word in words:
        assert word in error.problem


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_decoding(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    with pytest.raises(ImageError, match="too large"):
        open_picture(png_claiming(20_000, 20_000))


def test_what_follows_the_first_frame_does_not_make_it_larger() -> None:
    """Pillow would lend the first frame the second one's size: of 150 bytes hundreds of millions of pixels."""
    data = gif_that_grows(9000)
    assert check_picture(data) == (64, 64)
    picture = open_picture(data)
    assert picture.size_wh == (64, 64) and picture.notes == ("animation or several pages: the first was taken",)


def test_a_tile_counts_as_what_it_takes() -> None:
    """The whole tile is decoded, however little of it is picture; `check_picture` knows before that."""
    assert open_picture(tiled(256)).size_wh == (64, 64)
    assert check_picture(tiled(256)) == (64, 64)
    with pytest.raises(ImageError, match="256 x 256 pixels is too large"):
        check_picture(tiled(256), max_pixels=128 * 128)


def test_a_jpeg_of_many_scans_or_segments_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Each scan visits every pixel again: 400 kB of them would hold the decoder for minutes, and 16 MB of segments Pillow."""
    assert open_picture(jpeg_of_scans(64, 100)).size_wh == check_picture(jpeg_of_scans(64, 100)) == (64, 64)
    file = tmp_path / "many.jpg"
    usual = encoded(Image.fromarray(RGB), "JPEG", progressive=True)
    for data in (jpeg_of_scans(64, 101), usual[:2] + b"\xff\xe1\0\2" * 10_000 + usual[2:]):
        file.write_bytes(data)
        for refused, source in ((open_picture, data), (check_picture, data), (open_picture, file)):
            with pytest.raises(ImageError, match="more than 100 scans or 10,000 segments — expected about ten scans"):
                refused(source)  # type: ignore[operator]


def test_only_a_jpegs_own_scans_count() -> None:
    """Neither those of a thumbnail in a segment, nor what a phone's film behind the picture happens to contain."""
    rubbish = b"\xff\xda" * 300
    usual = encoded(Image.fromarray(RGB), "JPEG", progressive=True, comment=rubbish)
    assert check_picture(usual + rubbish) == open_picture(usual + rubbish).size_wh == (60, 40)


def test_sixteen_bits_are_scaled_as_each_level_alone() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = open_picture(encoded(Image.fromarray(levels), "PNG")).rgb[..., 0]
    assert np.array_equal(found, np.rint(levels / 257.0).astype(np.uint8))


def test_float_levels_that_overshoot_white_are_not_black() -> None:
    levels = GREY / np.float32(255) * np.float32(1.02)
    picture = open_picture(encoded(Image.fromarray(levels), "TIFF"))
    assert is_near(picture.rgb, np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8)[..., None].repeat(3, -1), 1)
    assert picture.notes == ("16-bit or wider grey levels were scaled to 8 bits, 1 as white",)


def test_twelve_bits_stored_in_sixteen_are_told() -> None:
    """No file says that they are; scaled by their own contrast, a night's picture would become a day's."""
    picture = open_picture(encoded(Image.fromarray(GREY.astype(np.uint16) * 16), "PNG"))
    assert "65535 as white, though none is above" in picture.notes[0] and picture.rgb.max() < 17


def test_the_limit_does_not_hang_on_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # would make Image.open warn or raise
    assert open_picture(encoded(Image.fromarray(RGB), "PNG")).size_wh == (60, 40)
    assert MAX_PIXELS > 108_000_000


def test_random_damage_never_escapes_as_another_error() -> None:
    rng = np.random.default_rng(5)
    for _, data, *_ in GOOD:
        for _ in range(12):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 6):
                damaged[int(place)] = int(rng.integers(256))
            try:
                open_picture(bytes(damaged[: int(rng.integers(20, len(data) + 1))]))
            except ImageError as error:
                assert error.problem


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "missing.jpg", "no such file"),
        (lambda folder: folder, "is a folder"),
        (lambda folder: str(folder / "nul\0l.jpg"), "cannot be opened"),
        (lambda folder: folder / ("x" * 400), "cannot be opened"),
    ],
    ids=["missing", "folder", "null in the path", "too long"],
)
def test_paths_that_lead_nowhere(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words):
        open_picture(make(tmp_path))


@pytest.mark.parametrize(
    "argument",
    [None, 7, ["a.jpg"], RGB.astype(np.float32), RGB[..., 0], RGB[None], np.zeros((40, 60, 4), np.uint8)],
    ids=["None", "number", "list", "float array", "grey array", "batch", "four channels"],
)
def test_another_kind_of_argument_is_a_type_error(argument: object) -> None:
    with pytest.raises(TypeError, match="expected"):
        open_picture(argument)


def test_arrays_and_pil_images_and_pictures_are_taken() -> None:
    assert open_picture(RGB).name == "<array 40x60x3>"
    assert np.array_equal(open_picture(RGB[:, ::-1]).rgb, RGB[:, ::-1])
    assert open_picture(Image.fromarray(RGB)).name == "<PIL image 60x40>"
    picture = Picture(RGB, "mine")
    assert open_picture(picture) is picture
    assert source_name(object()) == "<object>"
    with pytest.raises(ImageError, match="too small"):
        open_picture(RGB[:3])


def test_an_open_animation_stays_at_its_frame() -> None:
    image = Image.open(io.BytesIO(animation("GIF")))
    image.seek(1)
    assert (open_picture(image).rgb == (0, 0, 255)).all()


def test_folders_are_listed_by_name_without_what_is_no_picture(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "d.jfif", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png", "b.JPG", "d.jfif"]
    (tmp_path / "c.HEIC").write_bytes(b"as a phone saves them")  # refused by name, and not passed over
    assert [path.name for path in list_pictures(tmp_path)] == ["a.png", "b.JPG", "c.HEIC", "d.jfif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no pictures"):
        list_pictures(tmp_path / "empty")


def test_a_pipe_is_as_good_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, data = tmp_path / "pipe", encoded(Image.fromarray(RGB), "PNG")

    def through(read: Callable[[Path], object]) -> object:
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(data,))
        writer.start()
        try:
            return read(pipe)
        finally:
            writer.join()
            pipe.unlink()

    found = through(open_picture)
    assert isinstance(found, Picture) and np.array_equal(found.rgb, RGB)
    assert np.array_equal(np.asarray(through(load_rgb)), RGB)
    monkeypatch.setattr("faceshield.images.MAX_STREAM", len(data) - 1)
    with pytest.raises(ImageError, match="more than .* bytes from a pipe"):
        through(open_picture)
