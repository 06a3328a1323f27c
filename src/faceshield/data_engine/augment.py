"""`dialogues.jsonl` -> `dialogues.jsonl` with new wordings beside every dialogue (paper §3.2: the golden seed set is enlarged).

A language model or the grammar writes two new pairs per dialogue; label and box must survive, which the tasks' own readers
check. Use: `augment("accepted.jsonl", "dialogues.jsonl", AugmentConfig(), seed=0)`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from faceshield.config import Config
from faceshield.data_engine.backends import Backend, BackendConfig, NoAnswer, NoCall, lent_backend
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.stage import NO_CALL, Outcome, StageResult, rejected, run_stage
from faceshield.engines import LOCAL, Engine
from faceshield.records import Dialogue, conversation, read_jsonl, rebase_image

_NEW = ":new"


class AugmentConfig(Config):
    """How much is added.

    Attributes:
        pairs: new pairs per dialogue; two, as in the paper's figure.
        backend: who writes them.
    """

    pairs: int = Field(2, ge=1)
    backend: BackendConfig = BackendConfig()


def augment(
    dialogues: str | Path,
    out: str | Path,
    config: AugmentConfig,
    *,
    seed: int,
    cache: str | Path | None = None,
    backend: Backend | None = None,
    engine: Engine = LOCAL,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Writes every dialogue, followed by its new wordings; resumable, see `stage.run_stage`.

    A dialogue that gets no new wording is kept and named in the rejects; what an earlier run added stays as it is.

    Args:
        cache, backend, engine, progress: as for `generate.generate`.

    Raises:
        RecordError, FileNotFoundError: the dialogues cannot be read.
        ValueError: there are none.
        AssistantDown: the assistant cannot be used; what was done is kept.
    """
    dialogues, out = Path(dialogues), Path(out)
    rows = read_jsonl(dialogues, Dialogue)
    if not rows:
        raise ValueError(f"{dialogues}: no dialogues — expected at least one row — write it with `faceshield generate`")
    earlier: dict[str, int] = {}  # highest number among a dialogue's new wordings
    for row in rows:
        if origin := row.meta.get("augmented_from"):
            number = row.id.removeprefix(f"{origin}{_NEW}")
            earlier[origin] = max(earlier.get(origin, 0), int(number) if number.isdigit() else 0)
    described = {"pairs": config.pairs}
    here, there = dialogues.absolute(), out.absolute()
    with lent_backend(config.backend, engine, cache=cache, given=backend) as (writer, engine):

        def work(row: Dialogue) -> Outcome:
            moved = row.model_copy(update={"image": rebase_image(row.image, here, there)})
            if "augmented_from" in row.meta:
                return Outcome(rows=[moved])
            return reworded(moved, config.pairs, writer, seed, first=earlier.get(row.id, 0) + 1)

        return run_stage(
            out, rows, work,
            config=described, seed=seed, inputs=[dialogues], backend=writer, engine=engine, progress=progress,
        )  # fmt: skip


def reworded(row: Dialogue, count: int, backend: Backend, seed: int, first: int = 1) -> Outcome:
    """A dialogue and `count` new ones that say the same, numbered from `first`."""
    outcome = Outcome(rows=[row])
    try:
        pairs = backend.rewrite(row, count, seed=seed + first - 1)  # other words than in an earlier run
    except (NoAnswer, NoCall) as error:
        name = "no-answer" if isinstance(error, NoAnswer) else NO_CALL
        outcome.rejects.append({"id": f"{row.id}:new", "filter": name, "reason": str(error)})
        outcome.up = isinstance(error, NoAnswer)
        return outcome
    outcome.up = True
    for number, pair in enumerate(pairs, start=first):
        new = Dialogue(
            id=f"{row.id}{_NEW}{number}",
            image=row.image,
            conversations=conversation([pair.question, pair.answer]),
            task=row.task,
            source=backend.name,
            meta={**row.meta, "generator": backend.kind, "seed": seed, "augmented_from": row.id},
        )
        faults = contradictions(new)
        if faults:
            outcome.rejects.append(rejected(new, "contradiction", "; ".join(faults)))
        else:
            outcome.rows.append(new)
    return outcome
