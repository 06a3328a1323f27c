"""What the operator of a service decides: limits, timeouts, API keys.

Use: `Settings(queue=64, keys=read_keys(Path("keys.txt"), os.environ))`.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from faceshield.images import MAX_PIXELS

KEYS_VARIABLE = "FACESHIELD_API_KEYS"
_MIN_KEY = 16  # characters


@dataclass(frozen=True)
class Settings:
    """Limits of a service; the defaults suit a few CPU cores.

    Attributes:
        batch_size: photos that go through the model together.
        batch_wait_s: seconds that an idle model waits for more photos to fill a batch.
        queue: most photos waiting; further ones are refused with 429.
        timeout_s: most seconds from the end of a request's body to its answer.
        body_timeout_s: most seconds for a client to send its body.
        drain_s: seconds for accepted requests to finish after SIGTERM.
        max_body: most bytes in one request.
        max_bodies: most bytes in all requests being read or waiting; beyond that, requests are refused with 429.
        max_photos: most photos in one request.
        max_pixels: most pixels in one photo, read from its header before anything is decoded.
        keys: SHA-256 of the API keys; if empty, no key is needed.
    """

    batch_size: int = 8
    batch_wait_s: float = 0.01
    queue: int = 64
    timeout_s: float = 120.0
    body_timeout_s: float = 30.0
    drain_s: float = 30.0
    max_body: int = 16 * 2**20
    max_bodies: int = 256 * 2**20
    max_photos: int = 16
    max_pixels: int = 25_000_000
    keys: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        faults = [
            f"{name} {getattr(self, name)} — expected at least {least}"
            for name, least in (("batch_size", 1), ("max_photos", 1), ("max_body", 1024), ("max_pixels", 1024))
            if getattr(self, name) < least
        ]
        faults += [
            f"{name} {getattr(self, name)} — expected more than 0 seconds"
            for name in ("timeout_s", "body_timeout_s", "drain_s")
            if not 0 < getattr(self, name) < math.inf
        ]
        if not 0 <= self.batch_wait_s <= 1:
            faults.append(f"batch_wait_s {self.batch_wait_s} — expected 0..1 seconds")
        if self.queue < self.max_photos:
            faults.append(f"queue {self.queue} — expected at least {self.max_photos}, the photos of one request")
        if self.max_bodies < self.max_body:
            faults.append(f"max_bodies {self.max_bodies} — expected at least max_body, {self.max_body}")
        if self.max_pixels > MAX_PIXELS:
            faults.append(f"max_pixels {self.max_pixels} — expected at most {MAX_PIXELS}")
        if faults:
            raise ValueError("; ".join(faults))

    def admits(self, key: str | None) -> bool:
        """Whether a request with this key is admitted; the check takes equally long for wrong keys and right ones."""
        if not self.keys:
            return True
        given = hash_key(key or "")
        return bool(sum(hmac.compare_digest(given, known) for known in self.keys))


def hash_key(key: str) -> bytes:
    """The SHA-256 of a key, which is all that is kept of it; always of the same length."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(file: Path | None, environment: Mapping[str, str]) -> tuple[bytes, ...]:
    """Read API keys from a file (one per line) and from FACESHIELD_API_KEYS (separated by commas); return their hashes.

    In the file, `#` begins a comment only at the start of a line or after a space, so a key may contain one.

    Raises:
        ValueError: a key that is too short, not ASCII or has spaces inside, or a file that is not UTF-8 or has no key; the
            message does not repeat the key.
        OSError: the file cannot be read.
    """
    found: list[tuple[str, str]] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"{file}: not UTF-8 — expected keys, one a line — save it so") from None
        found += [(f"{file}:{number}", re.split(r"(?:^|\s)#", line)[0].strip()) for number, line in enumerate(lines, 1)]
        found = [(place, key) for place, key in found if key]
        if not found:
            raise ValueError(f"{file}: no key in it — expected one a line — add one, or leave the option out")
    parts = environment.get(KEYS_VARIABLE, "").split(",")
    found += [(f"{KEYS_VARIABLE}, key {number}", key.strip()) for number, key in enumerate(parts, 1) if key.strip()]
    bad = [place for place, key in found if len(key) < _MIN_KEY or len(key.split()) > 1 or not key.isascii()]
    if bad:
        raise ValueError(
            f"{'; '.join(bad)}: not a usable key — expected at least {_MIN_KEY} ASCII characters without spaces — "
            "make one with: openssl rand -hex 24"
        )
    return tuple(dict.fromkeys(hash_key(key) for _, key in found))
