"""A client that asks a running service about photos, using only the standard library.

faceshield serve                                  # on another machine: give FACESHIELD_URL and FACESHIELD_API_KEY
python examples/client.py photo.jpg more.png      # once /readyz says so

The same with curl:
curl -H "Authorization: Bearer $FACESHIELD_API_KEY" -F image=@photo.jpg -F tasks=coarse,fine http://127.0.0.1:8000/v1/inspect

After a refusal with Retry-After (429, 503) it waits and tries again a few times; other refusals say what to do.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

URL = os.environ.get("FACESHIELD_URL", "http://127.0.0.1:8000")
TRIES = 5


def inspect(photo: Path, tasks: tuple[str, ...] = ("coarse", "fine"), url: str = URL) -> dict[str, Any]:
    """The report on one photo.

    Raises:
        RuntimeError: the service refused; the message is the service's own.
        OSError: no service answers at `url`.
    """
    data = base64.b64encode(photo.read_bytes()).decode()
    body = json.dumps({"image": f"data:application/octet-stream;base64,{data}", "tasks": list(tasks)}).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("FACESHIELD_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    for number in range(TRIES):
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/inspect", body, headers), timeout=150) as answer:
                return dict(json.load(answer)["reports"][0])
        except urllib.error.HTTPError as refusal:
            wait = refusal.headers.get("Retry-After", "")
            if not wait.isdigit() or number == TRIES - 1:
                raise RuntimeError(said(refusal)) from refusal
            time.sleep(float(wait))
    raise AssertionError("unreachable")


def said(refusal: urllib.error.HTTPError) -> str:
    """The service's own message, or the status if something in front of it (such as a proxy) answered."""
    try:
        return str(json.load(refusal)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{refusal.code} {refusal.reason}"


def main() -> int:
    failed = 0
    for name in sys.argv[1:]:
        try:
            report = inspect(Path(name))
        except (RuntimeError, OSError, ValueError, KeyError, http.client.HTTPException) as error:  # or a malformed answer
            print(f"{name}\terror: {error}")
            failed = 1
            continue
        score = "" if report["bonafide_score"] is None else f"{report['bonafide_score']:.3f}"
        verdict = {True: "attack", False: "bona fide", None: report["status"]}[report["is_attack"]]
        if report["quality_reasons"]:
            verdict += f" ({', '.join(report['quality_reasons'])}: do not rely on it)"
        if len(report["meta"].get("faces", [])) > 1:
            verdict += " (several faces: ask for a picture of one person alone)"
        accepted = "accepted" if report["accepted"] else "not accepted"
        print(f"{name}\t{accepted}\t{verdict}\t{score}\t{report['presentation_type'] or ''}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
