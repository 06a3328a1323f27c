"""`dialogues.jsonl` -> `dialogues.jsonl` without the wrong ones; every drop is kept with the filter's name and the reason
(paper §3.2: CLIP score, keywords, checks by a language model; Fig. 3).

The filters run from cheap to expensive: keywords, contradiction with the label or the box, picture-text similarity, a judge,
and near-duplicates of what passed before. Use: `filter_dialogues("dialogues.jsonl", "kept.jsonl", FilterConfig())`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from faceshield.config import Config
from faceshield.data_engine.backends import Backend, BackendConfig, NoAnswer, NoCall, lent_backend
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.duplicates import DuplicateConfig, DuplicateIndex
from faceshield.data_engine.similarity import PictureTextSimilarity, SimilarityConfig
from faceshield.data_engine.stage import NO_CALL, Outcome, StageResult, rejected, run_stage
from faceshield.engines import LOCAL, Engine
from faceshield.images import ImageError
from faceshield.records import Dialogue, Record, image_path, read_jsonl, rebase_image

KEYWORDS: tuple[str, ...] = (
    "as an ai",
    "as a language model",
    "ai language model",
    "i'm sorry",
    "i am sorry",
    "i apologize",
    "i cannot assist",
    "i can't assist",
    "i cannot help",
    "i can't help",
    "i cannot determine",
    "i cannot verify",
    "i can't verify",
    "i cannot confirm",
    "i can't confirm",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "it is difficult to determine",
    "it is not possible to",
    "it's not possible to",
    "it is impossible to",
    "cannot be determined",
    "without more information",
    "without additional context",
    "the label says",
    "according to the label",
    "the given information",
    "you told me",
    "the truth about the picture",
)
"""Refusals, doubts, and phrases that reveal that the label was given; lower case, matched as whole words."""

_CHUNK = 32  # dialogues processed together, so that a similarity model gets batches


class FilterConfig(Config):
    """What is dropped.

    Attributes:
        keywords: phrases that no question or answer may contain. more_keywords: further ones in addition.
        contradiction: drop dialogues with `contradictions`: unreadable answers, answers against label or box, questions that
            give the answer away.
        similarity: drop pictures and texts that do not belong together; None: not checked.
        judge: who decides whether the answer answers the question; None: nobody.
        duplicates: drop what nearly repeats an earlier dialogue; None: nothing.
    """

    keywords: tuple[str, ...] = KEYWORDS
    more_keywords: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    contradiction: bool = True
    similarity: SimilarityConfig | None = None
    judge: BackendConfig | None = None
    duplicates: DuplicateConfig | None = Field(default_factory=DuplicateConfig)


def filter_dialogues(
    dialogues: str | Path,
    out: str | Path,
    config: FilterConfig,
    *,
    cache: str | Path | None = None,
    judge: Backend | None = None,
    engine: Engine = LOCAL,
    progress: Callable[[int, int], None] | None = None,
) -> StageResult:
    """Writes the dialogues that pass every filter, in the input's order; resumable, see `stage.run_stage`.

    Args:
        cache: SQLite file of the judge's answers.
        judge: used instead of the configured one; it is not closed.
        engine, progress: see `run_stage`.

    Raises:
        RecordError, FileNotFoundError: the dialogues cannot be read.
        ValueError: there are none.
        AssistantDown: the judge cannot be used; what was done is kept.
    """
    dialogues, out = Path(dialogues), Path(out)
    rows = read_jsonl(dialogues, Dialogue)
    if not rows:
        raise ValueError(f"{dialogues}: no dialogues — expected at least one row — write it with `faceshield generate`")
    described = config.model_dump(mode="json", exclude={"judge"})
    with contextlib.ExitStack() as stack:
        if config.judge is not None:
            judge, engine = stack.enter_context(lent_backend(config.judge, engine, cache=cache, given=judge))
        size = _CHUNK if config.similarity else 1
        result = run_stage(
            out,
            [rows[start : start + size] for start in range(0, len(rows), size)],
            FilterWork(config, dialogues.absolute(), out.absolute(), judge),
            config=described, seed=None, inputs=[dialogues], backend=judge, engine=engine, progress=progress,
            admission=NoRepeats(config.duplicates) if config.duplicates else None,
        )  # fmt: skip
    told = ""
    if config.similarity is not None and not any(row.task in config.similarity.tasks for row in rows):
        told = f"similarity judged none: no dialogue is of {', '.join(config.similarity.tasks)}"
    return replace(result, note="; ".join(filter(None, [result.note, told])))


class FilterWork:
    """All filters that judge a dialogue on its own, applied to a chunk of dialogues."""

    def __init__(self, config: FilterConfig, source: Path, out: Path, judge: Backend | None) -> None:
        self.config, self.source, self.out, self.judge = config, source, out, judge
        phrases = [re.escape(phrase.lower()) for phrase in (*config.keywords, *config.more_keywords) if phrase.strip()]
        self.phrases = re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)") if phrases else None
        self.similarity = PictureTextSimilarity(config.similarity) if config.similarity else None

    def __call__(self, chunk: Sequence[Dialogue]) -> Outcome:
        outcome = Outcome()
        kept: list[Dialogue] = []
        for row in chunk:
            row = row.model_copy(update={"image": rebase_image(row.image, self.source, self.out)})
            fault = self._by_words(row)
            if fault is None:
                kept.append(row)
            else:
                outcome.rejects.append(rejected(row, *fault))
        kept = self._by_similarity(kept, outcome)
        outcome.rows += self._by_judge(kept, outcome)
        return outcome

    def _by_words(self, row: Dialogue) -> tuple[str, str] | None:
        if self.phrases is not None:
            for turn in row.conversations:
                found = self.phrases.search(" ".join(turn.value.lower().replace("’", "'").split()))
                if found:
                    return "keyword", f"says {found.group()!r}"
        if self.config.contradiction:
            faults = contradictions(row)
            if faults:
                return "contradiction", "; ".join(faults)
        return None

    def _by_similarity(self, rows: list[Dialogue], outcome: Outcome) -> list[Dialogue]:
        if self.similarity is None:
            return rows
        asked = [row for row in rows if row.task in self.similarity.config.tasks]
        scores: dict[str, float] = {}
        readable: list[Dialogue] = []
        for row in asked:
            try:
                self.similarity.check(image_path(row, self.out))
                readable.append(row)
            except ImageError as error:
                outcome.rejects.append(rejected(row, "picture", error.problem))
        if readable:
            pictures = [image_path(row, self.out) for row in readable]
            found = self.similarity.scores(pictures, [row.conversations[1].value for row in readable])
            scores = dict(zip((row.id for row in readable), found, strict=True))
        kept = []
        for row in rows:
            if row.task not in self.similarity.config.tasks:
                kept.append(row)
            elif row.id in scores:
                score, least = scores[row.id], self.similarity.threshold
                if score < least:
                    outcome.rejects.append(rejected(row, "similarity", f"{score:.4f} is below {least:g}"))
                else:
                    kept.append(row.model_copy(update={"meta": {**row.meta, "similarity": round(score, 4)}}))
        return kept

    def _by_judge(self, rows: list[Dialogue], outcome: Outcome) -> list[Dialogue]:
        if self.judge is None:
            return rows
        kept = []
        for row in rows:
            try:
                judgement = self.judge.judge(row)
            except NoCall as error:
                outcome.up = False
                outcome.rejects.append(rejected(row, NO_CALL, str(error)))
                continue
            except NoAnswer as error:
                outcome.rejects.append(rejected(row, "judge", f"gave no judgement: {error}"))
            else:
                if judgement.keep:
                    kept.append(row)
                else:
                    outcome.rejects.append(rejected(row, "judge", judgement.reason))
            outcome.up = True
        return kept


class NoRepeats:
    """Admits dialogues that do not nearly repeat one that passed before, in the input's order."""

    def __init__(self, config: DuplicateConfig) -> None:
        self.index = DuplicateIndex(config)

    def admit(self, outcome: Outcome) -> Outcome:
        passed: list[Record | dict[str, Any]] = []
        rejects = list(outcome.rejects)
        for row in outcome.rows:
            dialogue = row if isinstance(row, Dialogue) else Dialogue.model_validate(row)
            twin = self.index.add(dialogue)
            if twin is None:
                passed.append(dialogue)
            else:
                rejects.append(rejected(dialogue, "duplicate", f"nearly repeats {twin}"))
        return Outcome(passed, rejects, outcome.up)

    def recall(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self.index.add(Dialogue.model_validate(row))
