"""The outcome of a review: the accepted dialogues, the rejected ones with reviewer and reason, and how far reviewers agree.

Use: `export(queue, "accepted.jsonl").lines()`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.review.queue import Decision, ReviewQueue, edited
from faceshield.data_engine.stage import rejected, rejects_path
from faceshield.provenance import write_json_atomic, write_run
from faceshield.records import Dialogue, iter_jsonl, rebase_image, write_jsonl


@dataclass(frozen=True)
class Agreement:
    """Agreement of two reviewers on the dialogues that both decided: keep (accepted, edited or not) or reject.

    Attributes:
        n: number of dialogues that both decided.
        agreed: share of them with the same decision, 0..1.
        cohen_kappa: the same, corrected for chance; None if both only ever made one decision, which leaves it undefined.
    """

    reviewers: tuple[str, str]
    n: int
    agreed: float
    cohen_kappa: float | None


@dataclass(frozen=True)
class Summary:
    """Counts of a review; `unseen` dialogues passed because they were not in the sample, `open` ones are in no output yet.

    `contradicting` counts edits that were kept although they contradict the label or the box.
    """

    accepted: int
    edited: int
    rejected: int
    disputed: int
    open: int
    unseen: int
    contradicting: int
    reviewers: dict[str, int]
    agreement: list[Agreement]

    def lines(self) -> Iterator[str]:
        """The summary in words."""
        yield f"accepted {self.accepted:,} ({self.edited:,} of them edited), rejected {self.rejected:,}, open {self.open:,}"
        if self.unseen:
            yield f"not in the sample, passed unseen: {self.unseen:,}"
        if self.disputed:
            yield f"rejected by one reviewer and accepted by another: {self.disputed:,} (they count as rejected)"
        if self.contradicting:
            yield f"edits kept although they contradict label or box: {self.contradicting:,} (meta.review.contradicts)"
        for pair in self.agreement:
            kappa = "undefined (both only ever decided one way)" if pair.cohen_kappa is None else f"{pair.cohen_kappa:.3f}"
            yield f"{' and '.join(pair.reviewers)}: agree on {pair.agreed:.1%} of {pair.n:,}, Cohen's kappa {kappa}"


def export(queue: ReviewQueue, out: str | Path) -> Summary:
    """Writes the accepted and unseen dialogues in their file's order, `OUT.rejects.jsonl`, `OUT.review.json` and run.json.

    A dialogue that anybody rejected is rejected. Of several edits the last counts. `meta.review` of an accepted dialogue holds
    the verdict and the number of reviewers; their names are only in the queue, the rejects and `OUT.review.json`.
    """
    out = Path(out)
    decided, places = queue.decisions(), queue.positions()
    counts: Counter[str] = Counter()
    rejects: list[dict[str, Any]] = []

    def rows() -> Iterator[Dialogue]:
        for dialogue in iter_jsonl(queue.dialogues, Dialogue):
            moved = dialogue.model_copy(update={"image": rebase_image(dialogue.image, queue.dialogues, out)})
            place = places.get(dialogue.id)
            if place is None:
                counts["unseen"] += 1
                yield moved
                continue
            votes = decided.get(place)
            if not votes:
                counts["open"] += 1
                continue
            against = [vote for vote in votes if vote.verdict == "reject"]
            if against:
                counts["rejected"] += 1
                counts["disputed"] += len(against) < len(votes)
                rejects.append(_reject(moved, votes))
                continue
            counts["accepted"] += 1
            yield _accepted(moved, votes, counts)

    write_jsonl(out, rows())
    write_jsonl(rejects_path(out), rejects)
    people = Counter(vote.reviewer for votes in decided.values() for vote in votes)
    numbers = {key: counts[key] for key in ("accepted", "edited", "rejected", "disputed", "open", "unseen", "contradicting")}
    summary = Summary(**numbers, reviewers=dict(sorted(people.items())), agreement=agreement(decided))
    write_json_atomic(out.with_suffix(".review.json"), asdict(summary))
    config = {"dialogues": str(queue.dialogues), "queue": str(queue.path), **queue.config.model_dump()}
    write_run(out, config=config, seed=queue.config.seed, inputs=[queue.dialogues])
    return summary


def _accepted(dialogue: Dialogue, votes: Sequence[Decision], counts: Counter[str]) -> Dialogue:
    edits = [vote.turns for vote in votes if vote.turns is not None]
    note: dict[str, Any] = {"verdict": "edit" if edits else "accept", "reviewers": len(votes)}
    if edits:
        counts["edited"] += 1
        dialogue = edited(dialogue, edits[-1])
        if faults := contradictions(dialogue):
            counts["contradicting"] += 1
            note["contradicts"] = faults
    return dialogue.model_copy(update={"meta": {**dialogue.meta, "review": note}})


def _reject(dialogue: Dialogue, votes: Sequence[Decision]) -> dict[str, Any]:
    said = "; ".join(f"{vote.reviewer}: {vote.verdict}{f' ({vote.note})' if vote.note else ''}" for vote in votes)
    return rejected(dialogue, "review", said)


def agreement(decided: dict[int, list[Decision]]) -> list[Agreement]:
    """Agreement of every pair of reviewers with dialogues in common, sorted by name."""
    kept: dict[str, dict[int, bool]] = {}
    for place, votes in decided.items():
        for vote in votes:
            kept.setdefault(vote.reviewer, {})[place] = vote.verdict == "accept"
    found = []
    for one, other in itertools.combinations(sorted(kept), 2):
        common = sorted(kept[one].keys() & kept[other].keys())
        if common:
            left, right = ([kept[name][place] for place in common] for name in (one, other))
            agreed = sum(map(bool.__eq__, left, right)) / len(common)
            found.append(Agreement((one, other), len(common), agreed, _kappa(left, right)))
    return found


def _kappa(left: list[bool], right: list[bool]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    return None if len({*left, *right}) < 2 else float(cohen_kappa_score(left, right))
