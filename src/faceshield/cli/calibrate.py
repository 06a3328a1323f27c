"""`faceshield calibrate`: a threshold chosen on one's own photographs, in a copy of the checkpoint, with its evidence."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceshield.cli.options import progress
from faceshield.inspection import FaceMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faceshield.records import Prediction


def calibrate(
    photos: Annotated[
        Path,
        typer.Argument(help="Folder with real/… and, if there are any, attack/<type>/…; or a samples.jsonl.", metavar="FOLDER"),
    ],
    out: Annotated[
        Path, typer.Option(help="The new checkpoint; scores go to OUT.calibration beside it, and are not made twice.")
    ],
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    criterion: Annotated[
        str, typer.Option(help="bpcerX: at most X percent of bona fide refused; apcerX: of attacks let in; or eer.")
    ] = "bpcer5",
    face: Annotated[
        FaceMode, typer.Option(help="Find the largest face, or judge the whole picture; as it will be used.")
    ] = "detect",
    keep_tokens: Annotated[
        int | None, typer.Option(help="Vision tokens that the language model reads, as it will be used: docs/speed.md.", min=1)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the photographs, for the evidence. Default: the folder's.")] = None,
) -> None:
    """Choose the threshold on your own photographs.

    Bona fide ones, better with attacks; it is written into a copy, the model is never touched.
    """
    from dataclasses import asdict

    from faceshield.evaluation.threshold import bpcer_limit
    from faceshield.model.checkpoint import read_info, resolve_model
    from faceshield.recipes.threshold import ThresholdConfig, store_threshold
    from faceshield.records import Prediction, read_jsonl

    bpcer_limit(criterion)
    source = resolve_model(model)
    if not photos.exists():
        raise FileNotFoundError(f"{photos} — expected a folder with real/… and attack/<type>/…, or a samples file")
    _check_out(out, source)
    work = out.with_name(f"{out.name}.calibration")
    predictions = _scored(photos, work, model, face, keep_tokens)
    rows = read_jsonl(predictions, Prediction)
    judged = [row for row in rows if row.bonafide_score is not None]
    if not any(row.truth.is_attack is False for row in judged):
        failed = next((row.error for row in rows if row.status == "error" and row.error), None)
        crops = ", or pass --face whole for face crops" if face == "detect" else ""
        why = f"no bona fide one could be judged ({failed})" if failed else "a face found in no bona fide one"
        raise ValueError(
            f"{photos}: {len(rows)} photographs, and {why} — expected bona fide photographs in real/… — add some{crops}"
        )

    with _copied(source, out) as fresh:
        dataset = name or photos.name
        config = ThresholdConfig(predictions=[predictions], out=fresh, criterion=criterion, dataset=dataset, unjudged=True)
        store_threshold(config)
    info, before = asdict(read_info(out)), read_info(source).threshold
    own = "" if before is None else f" (the model's own: {before:.4f})"
    typer.echo(f"threshold {info['threshold']:.4f}{own}, {criterion} on {info['threshold_source']['dataset']}")
    for line in _evidence(judged, info["threshold"]):
        typer.echo(line)
    for warning in _warnings(judged, len(rows) - len(judged), bpcer_limit(criterion)):
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    typer.echo(f"checkpoint: {out}; scores: {predictions}")


def _check_out(out: Path, source: Path) -> None:
    from faceshield.model.checkpoint import TINY_FOLDER

    inside = any(out.resolve().is_relative_to(folder) for folder in (source.resolve(), TINY_FOLDER.parent))
    if inside:
        raise ValueError(f"--out {out}: inside the model that is calibrated — expected a folder elsewhere — choose another")
    if out.exists():
        raise ValueError(f"--out {out} is there already — expected a new folder — remove it, or choose another")


def _scored(photos: Path, work: Path, model: str, face: FaceMode, keep_tokens: int | None) -> Path:
    """Samples and predictions of the photographs; what an earlier run has done is kept."""
    from faceshield.baselines import load_model
    from faceshield.baselines.looking import Looking
    from faceshield.datasets import DATASETS, PrepareConfig
    from faceshield.datasets import prepare as read
    from faceshield.evaluation.predict import predict
    from faceshield.images import read_rgb
    from faceshield.model.checkpoint import checkpoint_hash, resolve_model
    from faceshield.provenance import begun

    asked = {"model": checkpoint_hash(resolve_model(model)), "face": face, "keep_tokens": keep_tokens}
    begun(work, "calibrate", {"photos": str(photos.resolve()), **asked})
    samples = photos
    if not photos.is_file():
        samples = work / "samples.jsonl"
        summary = read(DATASETS["folder"](photos), PrepareConfig(out=samples, inspectable=True, workers=1))
        if not summary.rows:
            above = f"give {photos.parent}, or " if photos.name.lower() in ("real", "attack") else ""
            raise ValueError(
                f"{photos}: no photograph that can be used — expected a folder that holds real/… and attack/<type>/… — "
                f"{above}see {work / 'rejects.jsonl'}"
            )
        if summary.problems:
            found = ", ".join(f"{reason} {count}" for reason, count in sorted(summary.problems.items()))
            typer.echo(f"left out: {found}; see {work / 'rejects.jsonl'}", err=True)
    predictions = work / "predictions.jsonl"
    looking = Looking(load_model(model, keep_tokens=keep_tokens), face)
    with progress("calibrate", "photo") as advance:
        predict(
            samples,
            looking,
            predictions,
            tasks=("coarse",),
            system=model,
            options=looking.settings,
            batch_size=1,
            retry_errors=True,
            renew=True,
            load=read_rgb,
            progress=advance,
        )
    return predictions


@contextmanager
def _copied(source: Path, out: Path) -> Iterator[Path]:
    """A copy of the checkpoint that is there whole or not at all: made beside `out`, renamed at the end.

    What only a training that goes on needs stays behind; what is written protected becomes writable.
    """
    import os
    import shutil

    from faceshield.provenance import BEGUN_FILE

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


def _evidence(judged: Sequence[Prediction], threshold: float) -> Iterator[str]:
    """BPCER, APCER and each type's, with n and 95% interval."""
    import numpy as np

    from faceshield.evaluation.metrics.pad import correct_by_score, error_rates
    from faceshield.taxonomy import UNTYPED

    attack = [bool(row.truth.is_attack) for row in judged]
    right = correct_by_score(np.array([row.bonafide_score for row in judged], dtype=np.float64), attack, threshold)
    rates = error_rates(right, attack, [row.truth.presentation_type or UNTYPED for row in judged])
    named = [("BPCER", rates.bpcer), ("APCER", rates.apcer), *((f"  {key}", one) for key, one in rates.apcer_by_type.items())]
    for title, measured in named:
        if measured.value is None or measured.ci95 is None:
            yield f"{title:16} unknown  n=0"
        else:
            low, high = (100 * end for end in measured.ci95)
            yield f"{title:16} {100 * measured.value:5.1f}% [{low:.1f}, {high:.1f}]  n={measured.n}"


def _warnings(judged: Sequence[Prediction], missing: int, limit: float | None) -> Iterator[str]:
    from faceshield.evaluation.threshold import bona_fides_needed

    bonafide = [row for row in judged if not row.truth.is_attack]
    if limit is not None and 0 < limit < 1 and len(bonafide) < (needed := bona_fides_needed(limit)):
        yield (
            f"{len(bonafide)} bona fide photographs are too few for BPCER {100 * limit:g}%: refusing none of them would not "
            f"show it with 95% confidence — expected at least {needed} — add photographs, or ask for a higher rate"
        )
    subjects = {row.truth.subject for row in bonafide if row.truth.subject}
    if 0 < len(subjects) < len(bonafide):
        yield (
            f"{len(bonafide)} bona fide photographs show {len(subjects)} people: photographs of one person are alike, so the "
            "interval is wider than it says"
        )
    if not any(row.truth.is_attack for row in judged):
        yield "no attacks: what the threshold lets through is not known — add some as attack/<type>/…"
    if missing:
        yield f"{missing} photographs without a face, or unreadable, were not judged and are in no rate"
