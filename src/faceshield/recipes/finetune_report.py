"""The report on a fine-tuning, a Markdown page: the parts, the scores before and after, and what is still judged wrongly.

Use: `write_text_atomic(out / "report.md", "\\n".join(report_lines(config, parts, kept, metrics)) + "\\n")`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceshield.evaluation.table import table
from faceshield.model import read_info, resolve_model
from faceshield.provenance import read_json
from faceshield.records import Prediction, Sample, iter_jsonl, read_jsonl
from faceshield.tasks import COARSE
from faceshield.taxonomy import UNTYPED

if TYPE_CHECKING:
    from faceshield.recipes.finetune import FinetuneConfig


def report_lines(
    config: FinetuneConfig, parts: Mapping[str, Path], kept: Mapping[str, Any], metrics: Mapping[str, dict[str, Any]]
) -> Iterator[str]:
    """The page's lines.

    Args:
        config: the settings.
        parts: the samples files of "train", "dev" and "test".
        kept: what `keep_best` returned on the shares tried.
        metrics: metrics of the test part, "before" and "after", see `Finetuned`.
    """
    model, trained = config.out / "model", config.out / "trained"
    named = {f"{config.init} as it was" if name == "before" else "fine-tuned": found for name, found in metrics.items()}
    yield f"# {config.folder.name}, fine-tuned from {config.init}"
    yield ""
    for name, file in parts.items():
        kinds = Counter(row.presentation_type or UNTYPED for row in iter_jsonl(file, Sample))
        yield f"- {name}: {kinds.total()} pictures ({', '.join(f'{kind} {kinds[kind]}' for kind in sorted(kinds))})"
    yield ""
    if warning := unnamed_people(parts):
        yield f"**{warning}**"
        yield ""
    yield f"Scored on the part test{_apart(config.out / 'data')}."
    yield f"Both thresholds are chosen on the part dev ({config.criterion})."
    yield verdict(metrics)
    if read_info(resolve_model(config.init)).surroundings:
        yield (
            f"Both were asked here as the fine-tuned one looks, once. `inspect --model {config.init}` looks twice, and on our "
            "tests erred less for it: before you change, compare with "
            f"`faceshield calibrate PHOTOS --model {config.init} --out before`."
        )
    yield _share(kept, config.init)
    yield "Numbers are percent with 95% intervals; of few pictures the intervals are wide, and they are what to believe."
    yield ""
    yield table(named, form="markdown")
    yield "## What it got wrong"
    yield ""
    wrong = list(_wrong(config.out / "scores" / "after" / "test.jsonl", metrics["after"]))
    yield from wrong or ["Nothing of the part test."]
    yield ""
    yield "## Next"
    yield ""
    whole = " --face whole" if config.folder.is_file() or config.face == "whole" else ""  # as its threshold was chosen
    yield f"- look at pictures: `faceshield inspect PHOTO… --model {model}{whole} --out look`"
    yield f"- another working point: `faceshield calibrate PHOTOS --model {model}{whole} --out another`"
    yield f"- serve it: `faceshield serve --model {model}`; how it was trained: `{trained}/README.md`"


def _share(kept: Mapping[str, Any], init: str) -> str:
    """Says what share of the training the adapter holds, and why."""
    seen = ", ".join(f"{100 * one['share']:g}%: {100 * one['auc']:.1f}" for one in kept["tried"])
    if kept["share"] == 0:
        return (
            f"**Nothing of what was learnt is kept: the adapter is {init}, looking at each face once** (AUC on the part dev by "
            f"the share that is kept: {seen}). Use {init} itself, with a threshold of your own (`faceshield calibrate`)."
        )
    return (
        f"Of what was learnt {100 * kept['share']:g}% is kept: the weights between the checkpoint and its trained self that "
        f"rank the part dev best (AUC {seen})."
    )


def verdict(metrics: Mapping[str, dict[str, Any]]) -> str:
    """Says whether training has helped on the test part, by the half total error rate (HTER) at each model's threshold."""
    before, after = (metrics[name]["overall"]["coarse"]["by_score"]["hter"]["value"] for name in ("before", "after"))
    told = f"HTER {100 * before:.1f}% as it was, {100 * after:.1f}% fine-tuned"
    if after < before:
        return f"Training has helped here: {told}."
    return f"**Training has not helped here: {told}.** More pictures of more people may; `faceshield calibrate` needs fewer."


def _apart(data: Path) -> str:
    """Says whether people or pictures of the test part are in another part too, as far as names and contents show."""
    shared = read_json(data / "splits.json")["shared"]
    touched = {pair.split("+")[0]: found["affected"] for pair, found in shared.items() if pair.endswith("+test")}
    told = [f"{count} of its pictures show somebody, or are pictures, of {name}" for name, count in touched.items() if count]
    return f"; **{', '.join(told)}, so the scores may be too good**" if told else ", nobody of train or dev by name"


def unnamed_people(parts: Mapping[str, Path]) -> str | None:
    """A warning for pictures whose person is unknown; None if all are known."""
    rows = [row for file in parts.values() for row in iter_jsonl(file, Sample)]
    unnamed = sum(row.subject is None for row in rows)
    if not unnamed:
        return None
    return (
        f"Who is shown is not known of {unnamed} of {len(rows)} pictures: each, or its video, counted as a person, so one "
        "person may be in train and in test, and the scores may be too good. A folder a person (real/<person>/…) rules it out."
    )


def _wrong(predictions: Path, metrics: Mapping[str, Any]) -> Iterator[str]:
    threshold = metrics["threshold"]["value"]
    for row in read_jsonl(predictions, Prediction):
        if row.task != COARSE.name:
            continue
        if row.bonafide_score is None:
            yield f"- no score, which counts as an error ({row.error}): `{row.image}`"
        elif (row.bonafide_score < threshold) != row.truth.is_attack:
            truth = row.truth.presentation_type or UNTYPED
            yield f"- {truth}, score {row.bonafide_score:.3f} (threshold {threshold:.3f}): `{row.image}`"
