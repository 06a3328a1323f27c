"""Chooses a threshold on one's own photographs and stores it, with its evidence, in a copy of the checkpoint.

Use: `found = calibrate("my-photos", "calibrated", criterion="bpcer5")`, then `found.rates["BPCER"]`.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceshield.baselines import load_model
from faceshield.baselines.looking import Looking
from faceshield.datasets import DATASETS, PrepareConfig, prepare
from faceshield.evaluation import Threshold, predict
from faceshield.evaluation.development import picture_keys
from faceshield.evaluation.metrics.intervals import Estimate, rate
from faceshield.evaluation.metrics.pad import correct_by_score, error_rates
from faceshield.evaluation.threshold import highest_rate, pictures_needed, rate_limit
from faceshield.images import read_rgb
from faceshield.inspection import FaceMode
from faceshield.looks import NO_FACE
from faceshield.model import checkpoint_hash, read_info, resolve_model
from faceshield.model.checkpoint import TINY_FOLDER
from faceshield.provenance import BEGUN_FILE, begun, write_text_atomic
from faceshield.recipes.threshold import ThresholdConfig, store_threshold
from faceshield.records import Prediction, Sample, iter_jsonl, read_jsonl
from faceshield.tasks import COARSE
from faceshield.taxonomy import UNTYPED

MEASURABLE = 0.05
"""Photographs of a class that are too few to show that its error rate is at most this are too few to measure it."""


@dataclass(frozen=True)
class Calibrated:
    """The result of a calibration.

    Attributes:
        model: the new checkpoint.
        threshold: the threshold chosen, with its origin. before: the model's own, None if it had none.
        rates: "BPCER", "APCER" and the APCER of each attack type, at the threshold, on the photographs it was chosen on; and
            where some were not judged, "BPNRR" and "APNRR", their share of all bona fide ones and attacks (ISO/IEC 30107-3's
            non-response rates): a login refuses those too.
        predictions: the file of the scores.
        warnings: caveats: what the rate of others may be, if more than was asked for; too few photographs, several of one
            person or of nobody known, copies, several splits, no attacks, some not judged.
    """

    model: Path
    threshold: Threshold
    before: float | None
    rates: dict[str, Estimate]
    predictions: Path
    warnings: tuple[str, ...]


def calibrate(
    photos: str | Path,
    out: str | Path,
    *,
    model: str = "tiny",
    criterion: str = "bpcer5",
    face: FaceMode = "detect",
    keep_tokens: int | None = None,
    name: str | None = None,
    tell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibrated:
    """Chooses a threshold on photographs; the model itself is never changed.

    Args:
        photos: folder with `real/…` and, if there are any, `attack/<type>/…`; or a samples file.
        out: the new checkpoint; scores go to `OUT.calibration` beside it, and a repeated call reuses them.
        model: "tiny", a checkpoint folder, or a hub id.
        criterion: "bpcerX" or "apcerX", X in percent, or "eer".
        face, keep_tokens: as the model will be used.
        name: name of the photographs, for the evidence; None = the folder's.
        tell: called with a line on what is left out.
        progress: called with (photographs done, photographs in all).

    Raises:
        ValueError: `out` exists or lies in the model; no photograph can be used, or no bona fide one can be judged; the
            criterion is unknown, or only a threshold above every score meets it.
        FileNotFoundError: no such photographs or model.
    """
    photos, out = Path(photos), Path(out)
    limit = rate_limit(criterion)
    source = resolve_model(model)
    if not photos.exists():
        raise FileNotFoundError(f"{photos} — expected a folder with real/… and attack/<type>/…, or a samples file")
    _check_out(out, source)
    work = out.with_name(f"{out.name}.calibration")
    asked = {"model": checkpoint_hash(source), "face": face, "keep_tokens": keep_tokens}
    begun(work, "calibrate", {"photos": str(photos.resolve()), **asked})
    samples = photos if photos.is_file() else _prepared(photos, work, tell)
    predictions = work / "predictions.jsonl"
    looking = Looking(load_model(model, keep_tokens=keep_tokens), face)
    predict(
        samples, looking, predictions, tasks=(COARSE.name,), system=model, options=looking.settings, batch_size=1,
        retry_errors=True, renew=True, load=read_rgb, progress=progress,
    )  # fmt: skip
    rows = read_jsonl(predictions, Prediction)
    judged = [row for row in rows if row.bonafide_score is not None]
    if not any(row.truth.is_attack is False for row in judged):
        failed = next((row.error for row in rows if row.error and NO_FACE not in row.error), None)
        crops = ", or judge them as they are (--face whole) if they are face crops" if face == "detect" else ""
        why = f"no bona fide one could be judged ({failed})" if failed else "no face was found in any bona fide one"
        raise ValueError(
            f"{photos}: {len(rows)} photographs, and {why} — expected bona fide photographs in real/… — add some{crops}"
        )
    with _copied(source, out) as fresh:
        dataset = name or Path(os.path.abspath(photos)).name  # also of "."; a link keeps its own name
        config = ThresholdConfig(predictions=[predictions], out=fresh, criterion=criterion, dataset=dataset, unjudged=True)
        threshold = store_threshold(config)
        _say_so(fresh / "README.md", threshold, model)
    rates, splits = _rates(rows, threshold.value), {sample.split for sample in iter_jsonl(samples, Sample)}
    warnings = (*_uncertain(rates, limit), *_dependent(judged, predictions), *_mixed(splits), *_missing(rows))
    return Calibrated(out, threshold, read_info(source).threshold, rates, predictions, warnings)


def _check_out(out: Path, source: Path) -> None:
    if any(out.resolve().is_relative_to(folder) for folder in (source.resolve(), TINY_FOLDER.parent)):
        raise ValueError(f"out {out}: inside the model that is calibrated — expected a folder elsewhere — choose another")
    if out.exists():
        raise ValueError(f"out {out} is there already — expected a new folder — remove it, or choose another")


def _prepared(photos: Path, work: Path, tell: Callable[[str], None]) -> Path:
    """The samples of a folder; what an earlier call has read is reused."""
    samples = work / "samples.jsonl"
    summary = prepare(DATASETS["folder"](photos), PrepareConfig(out=samples, inspectable=True, workers=1))
    if not summary.rows:
        above = f"give {photos.parent}, or " if photos.name.lower() in ("real", "attack") else ""
        raise ValueError(
            f"{photos}: no photograph that can be used — expected a folder that holds real/… and attack/<type>/… — "
            f"{above}see {work / 'rejects.jsonl'}"
        )
    if summary.problems:
        found = ", ".join(f"{reason} {count}" for reason, count in sorted(summary.problems.items()))
        tell(f"left out: {found}; see {work / 'rejects.jsonl'}")
    if summary.ignored:
        found = ", ".join(f"{suffix} {count}" for suffix, count in sorted(summary.ignored.items()))
        tell(f"passed over, as no pictures by their names: {found}")
    return samples


@contextmanager
def _copied(source: Path, out: Path) -> Iterator[Path]:
    """A copy of the checkpoint that appears at `out` complete or not at all: made beside it, renamed at the end.

    Files needed only to resume training are not copied; write-protected files and folders become writable.
    """
    fresh = out.with_name(f".{out.name}.part")

    def opened() -> None:
        for folder, _, _ in os.walk(fresh):
            os.chmod(folder, os.stat(folder).st_mode | 0o700)

    def removed() -> None:
        opened()
        shutil.rmtree(fresh, ignore_errors=True)

    removed()
    try:
        left = shutil.ignore_patterns("trainer", "state.safetensors", BEGUN_FILE)
        shutil.copytree(source, fresh, copy_function=shutil.copyfile, ignore=left)
        opened()
        yield fresh
        os.replace(fresh, out)
    finally:
        removed()


def _say_so(card: Path, threshold: Threshold, model: str) -> None:
    """Says at the top of the copied model card, if there is one, what in it is no longer true."""
    if not card.is_file():
        return
    told = threshold.source
    note = (
        f"> **A copy of `{model}` with another threshold**: {threshold.value:.4f}, chosen for {told['criterion']} on "
        f"{told['dataset']} (n = {told['n']}: {told['n_bonafide']} bona fide, {told['n_attack']} attacks) with "
        f"`face={told['face']}`. Load it by its folder. What is said below of a threshold and its error rates, and of "
        "loading, is of the original.\n"
    )
    text = card.read_text(encoding="utf-8")
    front = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    start = front.end() if front else 0
    write_text_atomic(card, f"{text[:start]}{note}\n{text[start:]}")


def _rates(rows: Sequence[Prediction], threshold: float) -> dict[str, Estimate]:
    judged = [row for row in rows if row.bonafide_score is not None]
    attack = [bool(row.truth.is_attack) for row in judged]
    right = correct_by_score(np.array([row.bonafide_score for row in judged], dtype=np.float64), attack, threshold)
    rates = error_rates(right, attack, [row.truth.presentation_type or UNTYPED for row in judged])
    found = {"BPCER": rates.bpcer, "APCER": rates.apcer, **rates.apcer_by_type}
    if len(judged) < len(rows):
        for name, attacks in (("BPNRR", False), ("APNRR", True)):
            silent = [row.bonafide_score is None for row in rows if bool(row.truth.is_attack) == attacks]
            found[name] = rate(sum(silent), len(silent))
    return found


def _uncertain(rates: Mapping[str, Estimate], limit: tuple[str, float] | None) -> Iterator[str]:
    """What the measured rates leave open about other photographs."""
    for name, kind in (("BPCER", "bona fide photographs"), ("APCER", "attacks")):
        asked = limit[1] if limit and limit[0].upper() == name else None
        measured = rates[name]
        if measured.value is None:
            yield f"no {kind}: what the threshold lets through is not known — add some as attack/<type>/…"
            continue
        n, errors = measured.n, round(measured.value * measured.n)
        highest = highest_rate(errors, n)
        shown = f"they show at most {100 * highest:.1f}% of others (with 95% confidence; {errors} errors in {n})"
        if asked is None:
            if n < (needed := pictures_needed(MEASURABLE)):
                yield f"{n} {kind} are too few to measure {name}: {shown} — expected at least {needed} — add some"
        elif 0 < asked < 1 and n < (needed := pictures_needed(asked)):
            yield (
                f"{n} {kind} are too few to show {name} {100 * asked:g}% of others, which takes {needed} without an error: "
                f"{shown} — add some, or be content with that"
            )
        elif highest > asked > 0:
            allowed = max(fewer for fewer in range(errors) if highest_rate(fewer, n) <= asked)
            lower = f"{name.lower()}{math.floor(1000 * allowed / n) / 10:g}"
            met = ", if a threshold meets that" if name == "APCER" else ""  # none does if an attack scores highest
            wanted = f"{100 * asked:g}%"
            yield f"{name} is at most {wanted} of these {n} {kind}, but {shown} — {lower} would show {wanted}{met}"
        elif highest > asked:
            yield f"no number of {kind} shows {name} 0% of others: {shown}"


def _dependent(judged: Sequence[Prediction], file: Path) -> Iterator[str]:
    """Photographs that are less evidence than their number."""
    for kind, attacks in (("bona fide photographs", False), ("attacks", True)):
        rows = [row for row in judged if bool(row.truth.is_attack) == attacks]
        units = {row.truth.resampling_unit(row.sample_id) for row in rows}
        if len(units) < len(rows):
            yield (
                f"{len(rows)} {kind} are of {len(units)} people or recordings: those of one are alike, so the rates are less "
                "certain than their intervals say"
            )
    if nameless := sum(row.truth.subject is None and row.truth.video is None for row in judged):
        yield (
            f"{nameless} of {len(judged)} photographs do not say whom they show: if several show one person, the rates are "
            "less certain than their intervals say — put each person's into real/<person>/… or attack/<type>/<person>/…"
        )
    met: set[Path | str] = set()
    copies = []
    for row in judged:
        keys = picture_keys(row, file)
        if not met.isdisjoint(keys):
            copies.append(row.sample_id)
        met |= keys
    if copies:
        yield f"{len(copies)} photographs are copies of others and count again ({_some(copies)}) — remove them"


def _mixed(splits: Set[str | None]) -> Iterator[str]:
    """Parts of a data set that a threshold must not be chosen on, or not together."""
    if len(splits) > 1 or not splits.isdisjoint({"test", "train"}):
        named = ", ".join([*sorted(split for split in splits if split), *(["none"] if None in splits else [])])
        yield (
            f"the photographs are of the splits {named}: those that the model was trained on flatter it, and a test set that "
            "chose the threshold measures nothing afterwards — expected a development set"
        )


def _missing(rows: Sequence[Prediction]) -> Iterator[str]:
    if missing := [row.sample_id for row in rows if row.bonafide_score is None]:
        yield (
            f"{len(missing)} photographs without a face, or unreadable, were not judged ({_some(missing)}): BPCER and APCER "
            "are of the others; a login refuses these"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
