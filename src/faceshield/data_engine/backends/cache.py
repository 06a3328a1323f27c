"""Answers of assistants, kept in SQLite, so that nothing is asked twice; safe for threads, processes and kill -9.

Use: `cache = AnswerCache("answers.sqlite")`, `cache.get(key)`, `cache.put(key, model, answer)`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
import threading
from pathlib import Path
from typing import Any


def cache_key(**parts: Any) -> str:
    """The key of a call: model, prompt version and words, parameters, the picture's hash and so on, in any order."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class AnswerCache:
    """One table of answers by key; it holds no pictures and no API keys."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self.path, timeout=60, check_same_thread=False, isolation_level=None)
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, model TEXT NOT NULL, answer TEXT NOT NULL, "
                "made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
            )
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(f"{self.path}: {error} — expected a cache of answers (SQLite) — give another --cache") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return _on_this_machine, (self.path.absolute(), platform.node())

    def get(self, key: str) -> str | None:
        """The answer of an earlier call, or None."""
        with self._lock:
            row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, model: str, answer: str) -> None:
        """Stores an answer at once."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO answers (key, model, answer) VALUES (?, ?, ?)", (key, model, answer)
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _on_this_machine(path: Path, home: str) -> AnswerCache:
    """The cache for a worker: each machine has its own file, since SQLite's log is not safe on network folders."""
    here = platform.node()
    return AnswerCache(path if here == home else path.with_name(f"{path.stem}-{here}{path.suffix}"))
