"""The review queue: one SQLite file that several reviewers, pages and processes work on at once.

A dialogue is leased to a reviewer for some minutes, so that nobody else is shown it meanwhile. A decision is one row, on disk
before `decide` returns; rows are only ever added, and each reviewer's last one counts. The dialogues themselves stay in their
file, whose hash the queue stores. Use: `item = queue.lease("ann")`, `queue.decide(item.position, "ann", "accept")`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from faceshield.config import Config
from faceshield.provenance import file_sha256
from faceshield.records import Dialogue, RecordError, conversation, read_jsonl

Verdict = Literal["accept", "reject"]

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE items (
  position INTEGER PRIMARY KEY,  -- in the file, from 0
  id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, pairs INTEGER NOT NULL,
  start INTEGER NOT NULL,        -- byte in the file
  missing INTEGER NOT NULL       -- reviewers that are still wanted
);
CREATE INDEX unfinished ON items (position) WHERE missing > 0;
CREATE TABLE leases (
  position INTEGER NOT NULL, reviewer TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (position, reviewer)
);
CREATE TABLE skips (position INTEGER NOT NULL, reviewer TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (position, reviewer));
CREATE TABLE decisions (
  number INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL, reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('accept', 'reject')),
  turns TEXT,                    -- JSON list of the new texts, NULL where nothing was changed
  note TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX who ON decisions (position, reviewer, number);
"""
_LAST = "number IN (SELECT max(number) FROM decisions GROUP BY position, reviewer)"
_WAIT = 60.0  # seconds that one writer waits for another


class ReviewConfig(Config):
    """What is reviewed, and by how many.

    Attributes:
        sample: share of the dialogues that are reviewed, 0..1; the others pass unseen.
        overlap: share of those, 0..1, that go to two reviewers, to measure their agreement.
        seed: decides which dialogues are sampled.
    """

    sample: float = Field(default=1.0, gt=0.0, le=1.0)
    overlap: float = Field(default=0.0, ge=0.0, le=1.0)
    seed: int = 0


@dataclass(frozen=True)
class Decision:
    """A reviewer's decision on a dialogue; `turns` are the texts of the conversation if they were changed, else None."""

    position: int
    reviewer: str
    verdict: Verdict
    turns: tuple[str, ...] | None
    note: str
    at: float


@dataclass(frozen=True)
class Item:
    """A dialogue of the queue, and the earlier decision on it by the reviewer who asked (None: none)."""

    position: int
    dialogue: Dialogue
    earlier: Decision | None = None


@dataclass(frozen=True)
class Progress:
    """Counts of dialogues: in the queue, finished, waiting for a second reviewer, and decided by the reviewer who asked."""

    total: int
    finished: int
    waiting: int
    own: int


class ReviewQueue:
    """The queue of one dialogues file.

    Args:
        dialogues: dialogues.jsonl.
        path: the SQLite file; created if it does not exist, otherwise continued.
        config: must be the one that the file was created with.
        lease_s: seconds for which a dialogue stays reserved for an inactive reviewer.
        clock: seconds since the epoch, for the leases.

    Raises:
        RecordError: the dialogues cannot be read.
        ValueError: `path` is no review queue or belongs to other dialogues or another config, or there is nothing to review.
    """

    def __init__(
        self,
        dialogues: str | Path,
        path: str | Path,
        config: ReviewConfig | None = None,
        *,
        lease_s: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.dialogues, self.path, self.config = Path(dialogues), Path(path), config or ReviewConfig()
        self.lease_s, self._clock = lease_s, clock
        about = {"format": "1", "dialogues_sha256": file_sha256(self.dialogues), "config": self.config.model_dump_json()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._write() as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
                self._fill(db, about)
            else:
                self._check(dict(db.execute("SELECT key, value FROM about")), about)

    def _fill(self, db: sqlite3.Connection, about: dict[str, str]) -> None:
        rows = read_jsonl(self.dialogues, Dialogue)
        if not rows:
            raise ValueError(f"{self.dialogues}: no dialogues — expected at least one row — write them with `generate`")
        ids = {place: row.id for place, row in enumerate(rows)}
        chosen = _share(ids, self.config.sample, self.config.seed, "sample")
        twice = set(_share({place: ids[place] for place in chosen}, self.config.overlap, self.config.seed, "overlap"))
        starts = _starts(self.dialogues)
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
        db.executemany("INSERT INTO about VALUES (?, ?)", about.items())
        db.executemany(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)",
            [(i, rows[i].id, rows[i].task, len(rows[i].conversations) // 2, starts[i], 2 if i in twice else 1) for i in chosen],
        )

    def _check(self, found: dict[str, str], expected: dict[str, str]) -> None:
        for key, value in expected.items():
            if found.get(key) != value:
                raise ValueError(
                    f"{self.path}: holds a review with another {key.replace('_', ' ')} ({found.get(key)}) — expected {value} — "
                    "use the same file and options, or another --queue"
                )

    # -- work --------------------------------------------------------------------------------------------------------------

    def lease(self, reviewer: str) -> Item | None:
        """The next dialogue for a reviewer: the one they already hold, else the first free one; those they skipped come last.

        None: nothing is left for this reviewer now; what others hold may become free again.
        """
        reviewer = _named(reviewer)
        with self._write() as db:
            now = self._clock()
            held = db.execute(
                "SELECT position FROM leases WHERE reviewer = ? AND until > ? ORDER BY until DESC LIMIT 1", (reviewer, now)
            ).fetchone()
            row = held or self._free(db, reviewer, now)
            if row is None:
                return None
            self._hold(db, row[0], reviewer, now)
            return self._item(db, row[0], reviewer)

    def _free(self, db: sqlite3.Connection, reviewer: str, now: float) -> tuple[int] | None:
        free = """
            SELECT i.position FROM items i LEFT JOIN skips s ON s.position = i.position AND s.reviewer = :reviewer
            WHERE i.missing > 0 AND s.at IS {null} NULL
              AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.position = i.position AND d.reviewer = :reviewer)
              AND (SELECT count(*) FROM leases l
                   WHERE l.position = i.position AND l.reviewer <> :reviewer AND l.until > :now) < i.missing
            ORDER BY s.at, i.position LIMIT 1"""
        for null in ("", "NOT"):
            row: tuple[int] | None = db.execute(free.format(null=null), {"reviewer": reviewer, "now": now}).fetchone()
            if row is not None:
                return row
        return None

    def renew(self, position: int, reviewer: str) -> None:
        """Extends the lease of a reviewer who is still looking at a dialogue, unless it has run out."""
        with self._write() as db:
            now = self._clock()
            db.execute(
                "UPDATE leases SET until = ? WHERE position = ? AND reviewer = ? AND until > ?",
                (now + self.lease_s, position, _named(reviewer), now),
            )

    def decide(
        self, position: int, reviewer: str, verdict: Verdict, turns: Sequence[str] | None = None, note: str = ""
    ) -> None:
        """Stores a decision, which is on disk when this returns, and ends the lease; if that ran out, nothing is lost.

        Args:
            turns: the conversation's texts if the reviewer changed them, without "<image>"; None: unchanged.

        Raises:
            ValueError: no such dialogue, or `turns` do not make a conversation.
        """
        reviewer = _named(reviewer)
        with self._write() as db:
            item = self._item(db, position, reviewer)
            if turns is not None:
                given = edited(item.dialogue, turns).texts
                turns = None if given == [text.strip() for text in item.dialogue.texts] else given
            now = self._clock()
            db.execute(
                "INSERT INTO decisions (position, reviewer, verdict, turns, note, at) VALUES (?, ?, ?, ?, ?, ?)",
                (position, reviewer, verdict, turns and json.dumps(turns, ensure_ascii=False), note.strip(), now),
            )
            if item.earlier is None:
                db.execute("UPDATE items SET missing = max(missing - 1, 0) WHERE position = ?", (position,))
            for table in ("leases", "skips"):
                db.execute(f"DELETE FROM {table} WHERE position = ? AND reviewer = ?", (position, reviewer))

    def skip(self, position: int, reviewer: str) -> None:
        """Postpones a dialogue: this reviewer is shown it again after all others, and others may be given it."""
        reviewer = _named(reviewer)
        with self._write() as db:
            db.execute("DELETE FROM leases WHERE position = ? AND reviewer = ?", (position, reviewer))
            db.execute("INSERT OR REPLACE INTO skips VALUES (?, ?, ?)", (position, reviewer, self._clock()))

    def back(self, reviewer: str, before: int | None = None) -> Item | None:
        """The dialogue that a reviewer decided last (or before the one at `before`), to decide it again; None: there is none.

        Its decision stands until a new one is stored.
        """
        reviewer = _named(reviewer)
        with self._write() as db:
            rows = db.execute(
                f"SELECT position, number FROM decisions WHERE reviewer = ? AND {_LAST} ORDER BY number DESC", (reviewer,)
            ).fetchall()
            places = [position for position, _ in rows]
            later = places.index(before) + 1 if before in places else 0
            if later >= len(places):
                return None
            return self._item(db, places[later], reviewer)

    # -- state -------------------------------------------------------------------------------------------------------------

    def item(self, position: int, reviewer: str) -> Item:
        """A dialogue by its position.

        Raises:
            ValueError: it is not in the queue.
        """
        with self._read() as db:
            return self._item(db, position, _named(reviewer))

    def progress(self, reviewer: str | None = None) -> Progress:
        """How far the queue has been worked through."""
        own_name = None if reviewer is None else _named(reviewer)
        with self._read() as db:
            total, finished = db.execute("SELECT count(*), coalesce(sum(missing = 0), 0) FROM items").fetchone()
            (waiting,) = db.execute(
                "SELECT count(*) FROM items i WHERE missing > 0"
                " AND EXISTS (SELECT 1 FROM decisions d WHERE d.position = i.position)"
            ).fetchone()
            (own,) = db.execute("SELECT count(DISTINCT position) FROM decisions WHERE reviewer = ?", (own_name,)).fetchone()
        return Progress(total, finished, waiting, own)

    def decisions(self) -> dict[int, list[Decision]]:
        """The decisions that count, by position of the dialogue: the last one of each reviewer, earliest first."""
        found: dict[int, list[Decision]] = {}
        with self._read() as db:
            for row in db.execute(f"SELECT {_COLUMNS} FROM decisions WHERE {_LAST} ORDER BY number"):
                found.setdefault(row[0], []).append(_decision(row))
        return found

    def positions(self) -> dict[str, int]:
        """Ids of the queue's dialogues and their positions in the file."""
        with self._read() as db:
            return dict(db.execute("SELECT id, position FROM items ORDER BY position"))

    def most_pairs(self) -> int:
        """Number of question-answer pairs in the longest dialogue."""
        with self._read() as db:
            (longest,) = db.execute("SELECT max(pairs) FROM items").fetchone()
        return int(longest)

    # -- inside ------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        # One connection per call: a server's threads and other processes may share the file, never a connection.
        try:
            db = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
            db.execute("PRAGMA synchronous = FULL")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path}: {error} — expected a review queue — give another --queue") from error
        try:
            yield db
        finally:
            db.close()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._read() as db:
            db.execute("BEGIN IMMEDIATE")  # locks before anything is read: two cannot lease one dialogue
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _hold(self, db: sqlite3.Connection, position: int, reviewer: str, now: float) -> None:
        db.execute("DELETE FROM leases WHERE reviewer = ? OR until <= ?", (reviewer, now))
        db.execute("INSERT INTO leases VALUES (?, ?, ?)", (position, reviewer, now + self.lease_s))

    def _item(self, db: sqlite3.Connection, position: int, reviewer: str) -> Item:
        row = db.execute("SELECT start, id FROM items WHERE position = ?", (position,)).fetchone()
        if row is None:
            raise ValueError(f"dialogue {position} — not in this queue — expected one that was leased")
        with self.dialogues.open("rb") as lines:
            lines.seek(row[0])
            try:
                dialogue = Dialogue.model_validate_json(lines.readline())
            except ValueError:
                dialogue = None
        if dialogue is None or dialogue.id != row[1]:
            raise RecordError([f"{self.dialogues}: was changed during the review — restore the old file, or start a new queue"])
        earlier = db.execute(
            f"SELECT {_COLUMNS} FROM decisions WHERE position = ? AND reviewer = ? ORDER BY number DESC LIMIT 1",
            (position, reviewer),
        ).fetchone()
        return Item(position, dialogue, earlier and _decision(earlier))


_COLUMNS = "position, reviewer, verdict, turns, note, at"


def _decision(row: tuple[Any, ...]) -> Decision:
    position, reviewer, verdict, turns, note, at = row
    return Decision(position, reviewer, verdict, None if turns is None else tuple(json.loads(turns)), note, at)


def edited(dialogue: Dialogue, turns: Sequence[str]) -> Dialogue:
    """The dialogue with other texts.

    Args:
        turns: as many as `dialogue.texts`.

    Raises:
        ValueError: a wrong number of texts, an empty one, or one that contains "<image>".
    """
    given = [text.strip() for text in turns]
    if len(given) != len(dialogue.conversations) or not all(given):
        raise ValueError(
            f"edit of {dialogue.id!r}: {sum(map(bool, given))} texts — expected {len(dialogue.conversations)}, none of them "
            "empty — write them, or reject the dialogue"
        )
    if any("<image>" in text for text in given):
        raise ValueError(
            f"edit of {dialogue.id!r}: has '<image>' in a text — expected none, it is added before the first — remove it"
        )
    return dialogue.model_copy(update={"conversations": conversation(given)})


def _named(reviewer: str) -> str:
    name = " ".join(reviewer.split())
    if not name or len(name) > 60:
        raise ValueError(f"reviewer {name[:60]!r} — expected a name of 1 to 60 characters — give one")
    return name


def _share(ids: Mapping[int, str], share: float, seed: int, purpose: str) -> list[int]:
    """A seeded choice of a share of the positions, in order: by hash of their ids, so it depends on nothing else."""
    count = max(round(share * len(ids)), 1) if share > 0 else 0

    def rank(place: int) -> bytes:
        return hashlib.sha256(f"{seed}\0{purpose}\0{ids[place]}".encode()).digest()

    return sorted(sorted(ids, key=rank)[:count])


def _starts(path: Path) -> list[int]:
    """Byte offset of each row of a JSONL file; blank lines are skipped."""
    starts, at = [], 0
    with path.open("rb") as lines:
        for raw in lines:
            mark = len(raw) - len(raw.removeprefix(b"\xef\xbb\xbf")) if at == 0 else 0
            if raw[mark:].strip():
                starts.append(at + mark)
            at += len(raw)
    return starts
