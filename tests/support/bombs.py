"""Small files whose header names a small picture, and which take a large one's memory where a reader is not careful."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def tiled(side: int, kind: int = 4) -> bytes:
    """A TIFF of 64 x 64 grey pixels in one tile of side x side; `kind`: the type that the tile's sides have in the file."""
    data = zlib.compress(bytes(side * side))
    sides = {4: struct.pack("<I", side), 12: struct.pack("<f", side)}[kind]
    tags = [
        (256, 64),
        (257, 64),
        (258, 8),
        (259, 8),
        (262, 1),
        (277, 1),
        (322, side),
        (323, side),
        (324, None),
        (325, len(data)),
    ]
    start = 8 + 2 + 12 * len(tags) + 4
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        if tag in (322, 323) and kind == 12:
            head += struct.pack("<HHI", tag, 11, 1) + sides
        else:
            head += struct.pack("<HHII", tag, 4, 1, start if value is None else value)
    return head + struct.pack("<I", 0) + data


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A grey progressive JPEG of side x side pixels and so many scans, all but the first of them for nothing."""

    def segment(marker: int, body: bytes) -> bytes:
        return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body

    head = segment(0xDB, b"\0" + bytes([1] * 64)) + segment(0xC2, struct.pack(">BHHB3B", 8, side, side, 1, 1, 0x11, 0))
    codes = segment(0xC4, b"\x00\x01" + bytes(15) + b"\x00") + segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + b"\0"
    return b"\xff\xd8" + head + codes + first + segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) * (scans - 1) + b"\xff\xd9"


def gif_that_grows(side: int) -> bytes:
    """A 64 x 64 GIF whose second frame claims side x side pixels."""
    buffer = io.BytesIO()
    Image.new("P", (64, 64)).save(buffer, "GIF")
    first = buffer.getvalue()[:-1]
    control = b"\x21\xf9\x04\x08\0\0\0\0"  # what it leaves behind is to be filled with the background
    return first + control + b"\x2c" + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;"
