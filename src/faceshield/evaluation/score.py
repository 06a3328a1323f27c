"""From predictions.jsonl to metrics.json: every number with its n and 95% interval (paper §5.1, Tables 1-5).

Use: ``score(read_jsonl("predictions.jsonl", Prediction), threshold=threshold, rng=np.random.default_rng(0))``.

An answer that cannot be read, and a picture without an answer, count as errors in every metric and have rates of their own.
Rates are in 0..1. Counted rates carry Wilson intervals. AUC, AP, F1, BLEU and the like carry bootstrap intervals over people
(over recordings where people are not known, else over pictures), or none if all draws agree (AUC then Wilson's). HTER, ACER,
EER and the operating points carry an interval that holds both kinds, as the bootstrap is too narrow for few errors. The
calibration error carries none, since resampling only adds to it. EER, AUC and APCER@BPCER describe the ranking of the scores
on the scored set itself: their thresholds are used for nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceshield.evaluation.metrics.calibration import BINS, Calibration
from faceshield.evaluation.metrics.cues import CueReader, CueScores, own_cues
from faceshield.evaluation.metrics.fine import COLUMNS, FineScores
from faceshield.evaluation.metrics.intervals import (
    Estimate,
    FloatArray,
    Interval,
    bootstrap_intervals,
    mean_of_rates_interval,
    rate,
    rate_of,
    wider,
)
from faceshield.evaluation.metrics.localization import AveragePrecision, region_iou
from faceshield.evaluation.metrics.meteor import VERSION as METEOR
from faceshield.evaluation.metrics.meteor import MeteorScores
from faceshield.evaluation.metrics.pad import (
    BoolArray,
    ScoreCurve,
    WeightedErrors,
    correct_by_answer,
    correct_by_score,
    error_rates,
)
from faceshield.evaluation.metrics.text import TOKENIZER, TextScores
from faceshield.evaluation.threshold import Threshold
from faceshield.records import Prediction
from faceshield.tasks import COARSE
from faceshield.taxonomy import BONAFIDE, PRESENTATION_TYPES, TAXONOMY, UNTYPED, describe

FORMAT = 1
REPEATS = 1000
LIMITS = (1, 5, 10)  # percent; of APCER@BPCER and BPCER@APCER
IOUS = (40, 50)  # percent
HALF = 0.5
"""Threshold of a system without words, chosen on nothing: where a classifier's likelier class changes."""
_KNOWN = ("dataset", "presentation_type", "original_label", "subject", "video")  # fields of a truth that rows can be grouped by

Rows = Sequence[Prediction]
Section = dict[str, Any]


def score(
    predictions: Rows,
    *,
    threshold: Threshold | None,
    rng: np.random.Generator,
    by: str | None = None,
    repeats: int = REPEATS,
    meteor: bool = False,
) -> Section:
    """All metrics of a file of predictions, over all rows and, with ``by``, also for each value of a key.

    Args:
        predictions: rows of one system; those whose truth is unknown are counted and left out.
        threshold: judges ``bonafide_score``; None to judge by the answers' words alone.
        rng: for the bootstrap.
        by: ``meta.KEY`` or KEY (a key of the samples' meta, "source" say), ``dataset``, ``subject``, ``video``,
            ``original_label`` or ``presentation_type``.
        repeats: number of bootstrap draws.
        meteor: whether to score the reasoning by METEOR 1.5 too, which needs Java and the extra ``meteor``.

    Returns:
        What ``metrics.json`` holds: format, threshold, overall{coarse, fine, reasoning, localization, cues, …}, by, notes.

    Raises:
        ValueError: no rows with a truth, or none of them has the key ``by``.
        FileNotFoundError, ImportError: METEOR is wanted but not available.
    """
    known = [row for row in predictions if row.truth.is_attack is not None]
    if not known:
        raise ValueError(f"{len(predictions)} predictions, none with a truth — expected some — predict samples that have one")
    # From the whole file, so that every group has the same vocabulary: the samples' cues and the taxonomy's.
    cues = CueReader([cue for row in known for cue in own_cues(row)] + [cue for kind in TAXONOMY for cue in kind.cues])
    how = _How(
        threshold=threshold,
        draws=_Bootstrap(int(rng.integers(2**63)), repeats),
        cues=cues,
        meteor=meteor,
        speaks=_speaks(known),
        scores=any(row.bonafide_score is not None for row in known if row.task == COARSE.name),
    )
    result: Section = {
        "format": FORMAT,
        "threshold": None if threshold is None else threshold.to_dict(),
        "unlabelled_rows": len(predictions) - len(known),
        "bootstrap": {"over": "people, else recordings, else pictures", "repeats": repeats},
        "overall": _score_group(known, how),
    }
    if by is not None:
        groups: dict[str, list[Prediction]] = defaultdict(list)
        for row in known:
            groups[group_of(row, by)].append(row)
        if set(groups) == {"(none)"}:
            keys = [
                *(key for key in _KNOWN if any(group_of(row, key) != "(none)" for row in known)),
                *sorted({f"meta.{key}" for row in known for key in row.truth.meta}),
            ]
            raise ValueError(f"no prediction has {by!r} — expected one of {', '.join(keys) or 'none, these name nothing'}")
        result["by"] = {
            "key": by,
            "groups": {name: _score_group(groups[name], how) for name in sorted(groups)},
        }
    result["notes"] = _notes(result)
    return result


def group_of(row: Prediction, by: str) -> str:
    """The value of a breakdown's key for one row, "(none)" if it has none; KEY may mean ``meta.KEY``."""
    value = getattr(row.truth, by) if by in _KNOWN else None
    value = row.truth.meta.get(by.removeprefix("meta.")) if value is None else value
    return "(none)" if value is None else str(value)


@dataclass(frozen=True)
class _Bootstrap:
    """Resamples whole people (`Truth.resampling_unit`) `repeats` times.

    Each statistic starts at the same seed, so that its interval does not depend on what else is measured.
    """

    seed: int
    repeats: int

    def intervals(self, statistic: Callable[..., Mapping[str, float]], rows: Rows) -> Mapping[str, Interval | None]:
        """The 95% interval of each of the statistic's numbers."""
        units = [row.truth.resampling_unit(row.sample_id) for row in rows]
        return bootstrap_intervals(units, statistic, np.random.default_rng(self.seed), repeats=self.repeats) if rows else {}

    def __call__(
        self, statistic: Callable[..., Mapping[str, float]], rows: Rows, n: Mapping[str, int] | None = None
    ) -> Section:
        """The statistic's numbers, each with its n (by default the number of rows) and interval."""
        drawn, counts = self.intervals(statistic, rows), n or {}
        return {name: _estimate(value, counts.get(name, len(rows)), drawn.get(name)) for name, value in statistic().items()}


@dataclass(frozen=True)
class _How:
    """What all groups of a file are measured with.

    Attributes:
        threshold, meteor: see `score`.
        draws: the bootstrap.
        cues: the reader of the whole file's vocabulary.
        speaks: tasks that the system answers in words. scores: whether it gives scores. Both by the whole file: in a group, all
            calls may have failed.
    """

    threshold: Threshold | None
    draws: _Bootstrap
    cues: CueReader
    meteor: bool
    speaks: frozenset[str]
    scores: bool


def _speaks(rows: Rows) -> frozenset[str]:
    """Tasks with an answer, and those in which every call failed, so that nothing says that there are no words."""
    tasks = {row.task for row in rows}
    silent = {row.task for row in rows if row.status != "error"}
    return frozenset(tasks - silent | {row.task for row in rows if row.answer is not None or row.is_attack is not None})


def _score_group(rows: Rows, how: _How) -> Section:
    draws = how.draws
    by_task: dict[str, list[Prediction]] = defaultdict(list)
    # In the order of ids, so that no number depends on the order in which the rows were written.
    for row in sorted(rows, key=lambda row: row.id):
        by_task[row.task].append(row)
    group: Section = {
        "samples": len({row.sample_id for row in rows}),
        "rows": len(rows),
        **_readability(rows),
    }
    if coarse := by_task.get("coarse"):
        group["coarse"] = _coarse(coarse, how)
    if fine := by_task.get("fine"):
        group["fine"] = _fine(fine, draws)
    if reasoning := by_task.get("reasoning"):
        group["reasoning"] = _reasoning(reasoning, how)
    if localization := by_task.get("localization"):
        scores = {row.sample_id: row.bonafide_score for row in by_task.get("coarse", [])}
        group["localization"] = _localization(localization, scores, draws)
    if any(own_cues(row) for row in by_task.get("reasoning", [])):
        group["cues"] = _cues(by_task["reasoning"], how.cues, draws)
    return group


def _readability(rows: Rows) -> Section:
    cut = [row.cut for row in rows if row.cut is not None]
    return {
        "unparsed": rate(sum(row.status == "unparsed" for row in rows), len(rows)).to_dict(),
        "error": rate(sum(row.status == "error" for row in rows), len(rows)).to_dict(),
        "cut": rate(sum(cut), len(cut)).to_dict(),
    }


def _coarse(rows: Rows, how: _How) -> Section:
    attack, draws = _attacks(rows), how.draws
    section: Section = {
        **_readability(rows),
        "n_bonafide": int((~attack).sum()),
        "n_attack": int(attack.sum()),
        "by_answer": _by_answer(rows, how),
    }
    scores = np.array([math.nan if row.bonafide_score is None else row.bonafide_score for row in rows])
    if how.scores:
        section["missing_scores"] = int(np.isnan(scores).sum())
        section["missing_scores_bonafide"] = int(np.isnan(scores[~attack]).sum())
        if how.threshold is not None:
            correct = correct_by_score(scores, attack, how.threshold.value)
            section["by_score"] = {"threshold": how.threshold.to_dict(), **_errors(correct, rows, draws)}
        if section["by_answer"] is None:
            section["by_half"] = {"threshold": HALF, **_errors(correct_by_score(scores, attack, HALF), rows, draws)}
    if not np.isnan(scores).all():
        curve = ScoreCurve(scores, attack, _types(rows))
        section["ranking"] = _ranking(curve, rows, draws)
        section["curve"] = {
            name: [None if math.isinf(value) else float(value) for value in values]
            for name, values in zip(("threshold", "apcer", "bpcer"), curve.corners(), strict=True)
        }
        section["calibration"] = _calibration(Calibration(scores, attack), rows, draws)
    return section


def _by_answer(rows: Rows, how: _How) -> Section | None:
    """The rates of the answers' own decisions; None for a system without words."""
    if rows[0].task not in how.speaks:
        return None
    decisions = [row.is_attack if row.status == "parsed" else None for row in rows]
    correct = correct_by_answer(decisions, _attacks(rows))
    return {"threshold": "answer", **_errors(correct, rows, how.draws)}


def _errors(correct: BoolArray, rows: Rows, draws: _Bootstrap) -> Section:
    attack, types = _attacks(rows), _types(rows)
    found = error_rates(correct, attack, types)
    drawn = draws.intervals(WeightedErrors(correct, attack, types), rows)
    hter_ci = wider(drawn.get("hter"), mean_of_rates_interval(found.apcer, found.bpcer))
    acer_ci = wider(drawn.get("acer"), mean_of_rates_interval(found.apcer_worst, found.bpcer))
    return {
        "acc": found.acc.to_dict(),
        "hter": _estimate(found.hter.value, found.hter.n, hter_ci),
        "apcer": found.apcer.to_dict(),
        "apcer_worst": {"type": found.worst_type, **found.apcer_worst.to_dict()},
        "apcer_by_type": {name: value.to_dict() for name, value in found.apcer_by_type.items()},
        **_by_species(correct, rows),
        "bpcer": found.bpcer.to_dict(),
        "acer": _estimate(found.acer.value, found.acer.n, acer_ci),
    }


def _by_species(correct: BoolArray, rows: Rows) -> Section:
    """APCER of each species and of the worst; empty if no data set's own label is known."""
    if not any(row.truth.is_attack and row.truth.original_label for row in rows):
        return {}
    found = error_rates(correct, _attacks(rows), _species(rows))
    return {
        "apcer_worst_species": {"species": found.worst_type, **found.apcer_worst.to_dict()},
        "apcer_by_species": {name: value.to_dict() for name, value in found.apcer_by_type.items()},
    }


def _ranking(curve: ScoreCurve, rows: Rows, draws: _Bootstrap) -> Section:
    """AUC, EER and operating points, with intervals that allow for few errors.

    By the bootstrap alone, few errors or none would look certain; a count of that size is not. For the worst type, n is that
    of the rarest type, since which type is the worst may change from draw to draw.
    """
    found = draws(lambda weights=None: curve.summary(LIMITS, weights), rows)
    attacks, bonafides = (int(counts.sum()) for counts in curve.counts())
    fewest = min(Counter(row.truth.presentation_type for row in rows if row.truth.is_attack).values(), default=0)
    for name, told in found.items():
        value, drawn = told["value"], told["ci95"] and tuple(told["ci95"])
        kind, _, _ = name.partition("_at_")
        if value is None or (kind == "auc" and drawn):
            continue
        if kind == "eer":
            apcer, bpcer = (rate(round(value * n), n) for n in (attacks, bonafides))
            counted = Estimate(value, attacks + bonafides, mean_of_rates_interval(apcer, bpcer))
        else:
            n = {"auc": min(attacks, bonafides), "apcer": attacks, "bpcer": bonafides, "apcer_worst": fewest}[kind]
            counted = rate(round(value * n), n)
        found[name] = _estimate(value, told["n"] if kind == "auc" else counted.n, wider(drawn, counted.ci95))
    return found


def _calibration(calibration: Calibration, rows: Rows, draws: _Bootstrap) -> Section:
    """Calibration error, Brier score and bins; the error has no interval.

    In a resample, bins are uneven by chance: even perfectly calibrated scores have an error in every draw, and in most draws
    a larger one than in the rows themselves.
    """
    scored = len(rows) - sum(row.bonafide_score is None for row in rows)
    count, score, share = calibration.bins()
    bins = {"n": count.astype(int).tolist(), "mean_score": score.tolist(), "share_bonafide": share.tolist()}
    brier = draws(lambda weights=None: {"brier": calibration.brier(weights)}, rows, {"brier": scored})
    return {"ece": _estimate(calibration.error(), scored, None), **brier, "bins": {"equal_width": BINS, **bins}}


def _fine(rows: Rows, draws: _Bootstrap) -> Section:
    typed = [row for row in rows if row.truth.presentation_type is not None]
    fine = FineScores(_types(typed), [row.presentation_type if row.status == "parsed" else None for row in typed])
    f1 = draws(lambda weights=None: {"macro_f1": fine.macro_f1(weights)}, typed)
    return {
        **_readability(typed),
        "acc": fine.accuracy().to_dict(),
        **f1,
        "recall_by_type": {name: value.to_dict() for name, value in fine.recall_by_type().items()},
        "confusion": {
            "rows": list(PRESENTATION_TYPES),
            "columns": list(COLUMNS),
            "counts": fine.confusion().astype(int).tolist(),
        },
    }


def _reasoning(rows: Rows, how: _How) -> Section:
    section: Section = {**_readability(rows), "by_answer": _by_answer(rows, how)}
    referenced = [row for row in rows if row.truth.answer]
    if referenced:
        pair = [row.answer or "" for row in referenced], [row.truth.answer or "" for row in referenced]
        section |= {"tokenizer": TOKENIZER, **how.draws(TextScores(*pair).summary, referenced)}
        if how.meteor:
            meteor = MeteorScores(*pair)
            found = how.draws(lambda weights=None: {"meteor": meteor.score(weights)}, referenced)
            section |= {"meteor_version": METEOR, **found}
    return section


def _localization(rows: Rows, coarse_scores: Mapping[str, float | None], draws: _Bootstrap) -> Section:
    """Localization metrics; attacks that nobody annotated are left out (and counted), since any box in them may be right.

    Boxes of equal confidence are ranked by a hash of their ids: by the ids themselves "attack/…" would come before "real/…".
    """
    annotated = [row for row in rows if row.truth.boxes or not row.truth.is_attack]
    annotated.sort(key=lambda row: hashlib.sha256(row.id.encode()).digest())
    attack = _attacks(annotated)
    found = [row.boxes if row.status == "parsed" else [] for row in annotated]
    true = [row.truth.boxes for row in annotated]
    own = [coarse_scores.get(row.sample_id) if row.bonafide_score is None else row.bonafide_score for row in annotated]
    scored = any(value is not None for value in own)
    confidences = [-1.0 if value is None else 1.0 - value for value in own]
    curves = {f"ap{iou}": AveragePrecision(found, confidences, true, iou=iou / 100) for iou in IOUS}
    # What a model that only answers in words could reach with these boxes: it has nothing to rank them by.
    unranked = {f"ap{iou}_unranked": AveragePrecision(found, [0.0] * len(found), true, iou=iou / 100) for iou in IOUS}
    overlap = np.array([region_iou(boxes, true_boxes) for boxes, true_boxes in zip(found, true, strict=True)])
    attacked = [row for row in annotated if row.truth.is_attack]
    on_attacks = overlap[attack]

    def mean_iou(weights: FloatArray | None = None) -> dict[str, float]:
        return {"mean_iou": float(np.average(on_attacks, weights=weights)) if len(on_attacks) else math.nan}

    def precisions(weights: FloatArray | None = None) -> dict[str, float]:
        recalls = {f"recall{iou}": curves[f"ap{iou}"].recall(weights) for iou in IOUS}
        return {**{name: curve(weights) for name, curve in {**curves, **unranked}.items()}, **recalls}

    # On a bona fide face, "no box" is right only if the answer says so: an unreadable answer is an error too.
    false_boxes = np.array([row.status != "parsed" or bool(row.boxes) for row in annotated], dtype=bool)[~attack]
    types = np.array(_types(attacked), dtype=object)
    return {
        **_readability(annotated),
        "unannotated_attacks": len(rows) - len(annotated),
        "ranked_by": "1 - bonafide_score" if scored else "nothing (equal confidences)",
        **draws(precisions, annotated, {f"recall{iou}": sum(map(len, true)) for iou in IOUS}),
        **draws(mean_iou, attacked),
        **{f"hit{iou}": rate_of(on_attacks >= iou / 100).to_dict() for iou in IOUS},
        "hit50_by_type": {name: rate_of(on_attacks[types == name] >= 0.5).to_dict() for name in sorted(set(types))},
        "false_boxes": rate_of(false_boxes).to_dict(),
    }


def _cues(rows: Rows, reader: CueReader, draws: _Bootstrap) -> Section:
    """The cues that the reasoning names against those rendered, on attacks with known cues; false cues on bona fide faces."""
    attacks = [row for row in rows if row.truth.is_attack and own_cues(row)]
    named = CueScores(reader, [row.answer or "" for row in attacks], [own_cues(row) for row in attacks])
    told = CueScores(reader, [row.truth.answer or "" for row in attacks], [own_cues(row) for row in attacks])
    live = [row for row in rows if not row.truth.is_attack and "cues" in row.truth.meta]
    usual = describe(BONAFIDE).cues
    alarms = CueScores(reader, [row.answer or "" for row in live], [own_cues(row) or usual for row in live])
    types = np.array(_types(attacks), dtype=object)
    kinds = sorted(set(types))
    counts = {"precision": int(named.named.sum()), "recall": int(named.true.sum())}
    counts["precision_strict"] = counts["precision"] + int(named.unrecognised.sum())
    # Cues of a wrong type are hardly ever there: this separates errors of the type from errors of the cues themselves.
    typed = np.array([row.presentation_type == row.truth.presentation_type for row in attacks], dtype=bool)
    return {
        **draws(named.summary, attacks, counts),
        "recall_of_the_true_answers": told.summary()["recall"] if attacks else None,
        "named_per_answer": named.mean_named,
        "unrecognised_per_answer": named.mean_unrecognised,
        "names_none": rate_of(named.named == 0).to_dict(),
        "precision_where_type_is_right": rate(int(named.right[typed].sum()), int(named.named[typed].sum())).to_dict(),
        "precision_by_type": {
            kind: rate(int(named.right[types == kind].sum()), int(named.named[types == kind].sum())).to_dict() for kind in kinds
        },
        "recall_by_type": {
            kind: rate(int(named.right[types == kind].sum()), int(named.true[types == kind].sum())).to_dict() for kind in kinds
        },
        "false_cues_on_bonafide": rate_of(alarms.named > alarms.right).to_dict(),
    }


def _estimate(value: float | None, n: int, interval: tuple[float, float] | None) -> Section:
    if value is None or math.isnan(value):
        return Estimate(None, n).to_dict()
    return Estimate(value, n, interval).to_dict()


def _attacks(rows: Rows) -> BoolArray:
    return np.array([bool(row.truth.is_attack) for row in rows], dtype=bool)


def _types(rows: Rows) -> list[str]:
    return [row.truth.presentation_type or UNTYPED for row in rows]


def _species(rows: Rows) -> list[str]:
    """The presentation attack instrument species (ISO/IEC 30107-3) of each row, as far as the data set's own label tells.

    Several data sets are kept apart, since two may call different things "2".
    """
    several = len({row.truth.dataset for row in rows}) > 1
    own = [f"{kind}/{row.truth.original_label or 'unknown'}" for kind, row in zip(_types(rows), rows, strict=True)]
    return [f"{row.truth.dataset}: {name}" for name, row in zip(own, rows, strict=True)] if several else own


def _notes(result: Section) -> list[str]:
    notes: list[str] = []
    coarse = result["overall"].get("coarse", {})
    auc = coarse.get("ranking", {}).get("auc", {}).get("value")
    if auc is not None and auc < 0.5:
        notes.append(f"AUC {auc:.3f} is below 0.5: is bonafide_score upside down? High must mean bona fide.")
    if result["threshold"] is not None and "coarse" in result["overall"] and "by_score" not in coarse:
        notes.append("No row has a bonafide_score: the threshold judged nothing.")
    if coarse.get("missing_scores"):
        every, bonafide = coarse["missing_scores"], coarse["missing_scores_bonafide"]
        notes.append(
            f"{every} rows have no bonafide_score ({bonafide} bona fide, {every - bonafide} attacks; no face, say) and count "
            "as errors. A system that refuses such pictures lets none of those attacks in: its APCER is lower."
        )
    errors: Section = coarse.get("by_answer") or coarse.get("by_score") or coarse.get("by_half") or {}
    if set(errors.get("apcer_by_type", {})) == {UNTYPED}:
        notes.append("No attack has a type: the worst type is all attacks together.")
    if result["unlabelled_rows"]:
        notes.append(f"{result['unlabelled_rows']} rows have no truth and were left out.")
    return notes
