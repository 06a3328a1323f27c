"""People review dialogues before any model is trained on them (paper §3.2: human review of both sets).

`queue` keeps what is to be reviewed, who has it and what was decided, in one SQLite file; `page` shows it in a browser;
`export` writes what was accepted; `label_studio` exports the queue to that tool and imports its decisions.
Use: `faceshield review dialogues.jsonl --out accepted.jsonl`.
"""

from __future__ import annotations

from faceshield.data_engine.review.export import Summary, agreement, export
from faceshield.data_engine.review.queue import Decision, Item, Progress, ReviewConfig, ReviewQueue

__all__ = ["Decision", "Item", "Progress", "ReviewConfig", "ReviewQueue", "Summary", "agreement", "export"]
