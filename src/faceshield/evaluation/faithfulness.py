"""Deletion: does the score depend on what the system points at? (not in the paper; Samek et al. 2017, Petsiuk et al. 2018)

In every picture that a system called an attack, the evidence (the boxes of its own localization answer, or the places that
PVTM ranks first) is hidden under the picture's mean colour and, separately, an equal random area elsewhere. An explanation is
faithful if `bonafide_score` moves further towards bona fide for the evidence than for the random area.
Use: ``summarize(delete("predictions.jsonl", shield, "deletions.jsonl", seed=0), np.random.default_rng(0))``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.evaluation.asking import bonafide_scores
from faceshield.evaluation.metrics.intervals import Estimate, FloatArray, bootstrap_intervals, rate
from faceshield.evaluation.predict import UNREACHED, Load, check_same_system
from faceshield.images import load_rgb
from faceshield.provenance import file_sha256, run_options, write_run
from faceshield.records import Box, JsonlWriter, Prediction, Record, Truth, image_path, read_jsonl, rebase_image, remove_rows
from faceshield.tasks import COARSE

Hide = Literal["boxes", "tokens"]
TASK_OF = {"boxes": "localization", "tokens": "coarse"}
"""The task whose rows select the pictures: those that its answer called attacks."""
TOKEN_SHARE = 0.10  # the paper's keep ratio (§4.2)
FAILED = "failed"  # what `left_out` begins with if something went wrong, which another run may mend
LARGEST = 0.5  # share of the picture; beyond it there is no equal area elsewhere
_CLIP = 1e-6  # of scores, before their log-odds are taken

Mask = NDArray[np.bool_]
Rgb = NDArray[np.uint8]


class Deletion(Record):
    """One picture with its evidence hidden.

    Attributes:
        share: share of the picture's area that was hidden.
        score: bonafide_score of the whole picture; None if something failed, see `left_out`.
        hidden: score with the evidence hidden. controls: scores with random areas of the same size hidden instead.
        left_out: why there is nothing to compare; None if there is something.
        truth: the sample's.
    """

    id: str
    image: str
    hide: Hide
    share: float
    score: float | None = None
    hidden: float | None = None
    controls: list[float] = []
    left_out: str | None = None
    truth: Truth


def delete(
    predictions: str | Path,
    asker: Any,
    out: str | Path,
    *,
    seed: int,
    hide: Hide = "boxes",
    controls: int = 4,
    limit: int | None = None,
    system: str = "unnamed",
    load: Load = load_rgb,
    progress: Callable[[int, int], None] | None = None,
) -> list[Deletion]:
    """Hides the evidence in every picture called an attack and writes a `Deletion` for each; continues a file begun before.

    Pictures on which something failed are tried again then.

    Args:
        predictions: the same system's predictions: localization rows for "boxes", coarse rows for "tokens".
        asker: as for ``predict``; it must give a bonafide_score. For "tokens" it has ``importance(image, question, face=…)``,
            giving `of_rgb` and perhaps `of_savp`, (G, G) maps of the picture centre-padded to a square.
        seed: seed of the random areas; those of a picture do not depend on the other pictures.
        controls: random areas per picture.
        limit: use only the first so many pictures.

    Returns:
        The rows of these pictures, in the order of the predictions.

    Raises:
        ValueError: no such rows, or rows of other weights; an asker without what is needed; or a file begun with other
            settings.
        NoCall, AssistantDown: the system cannot be reached; what it answered is kept.
    """
    predictions, out = Path(predictions), Path(out)
    if hide not in TASK_OF or controls < 1:
        raise ValueError(f"hide {hide!r}, controls {controls} — expected {' or '.join(TASK_OF)}, and at least 1")
    if hide == "tokens" and not hasattr(asker, "importance"):
        raise ValueError(f"a {type(asker).__name__} ranks no tokens — expected a model with PVTM — hide boxes instead")
    every = [row for row in read_jsonl(predictions, Prediction) if row.task == TASK_OF[hide]]
    rows = [row for row in every if row.status == "parsed" and row.is_attack and (row.boxes or hide == "tokens")][:limit]
    if not rows:
        raise ValueError(
            f"{predictions}: {len(every)} {TASK_OF[hide]} rows, none of them an attack — expected some — predict that task"
        )
    own = dict(getattr(asker, "settings", {}))
    of = run_options(predictions).get("weights")
    if of and own.get("weights") and of != own["weights"]:
        raise ValueError(f"{predictions} is of other weights than {system} — expected its own predictions — name the model")
    options = {"hide": hide, "controls": controls, "seed": seed, "predictions": file_sha256(predictions), **own}
    config = {"stage": "faithfulness", "system": system, "options": options}
    check_same_system(out, config)
    remove_rows(out, Deletion, lambda kept: (kept.left_out or "").startswith(FAILED))
    with JsonlWriter(out, resume=True) as writer:
        write_run(out, config=config, seed=seed, inputs=[predictions])
        for done, row in enumerate(rows):
            if progress is not None:
                progress(done, len(rows))
            if row.id not in writer.ids:
                image = rebase_image(row.image, predictions, out)
                writer.write(_deletion(row, image, predictions, asker, hide, controls, seed, load))
    if progress is not None:
        progress(len(rows), len(rows))
    known = {row.id: row for row in read_jsonl(out, Deletion)}
    return [known[row.id] for row in rows]


def summarize(rows: Sequence[Deletion], rng: np.random.Generator, *, repeats: int = 1000) -> dict[str, Any]:
    """How far scores move when evidence or random areas are hidden, with 95% intervals over people.

    Returns:
        pictures, compared, left_out{reason: count}, failures (the first three different errors), share (mean hidden area), and
        over those compared: score, evidence, random and contrast (means; a shift is the score with the area hidden minus the
        score, so above 0 is towards bona fide; contrast is the evidence's shift minus the random areas'), log_odds{the shifts
        in log-odds, where a saturated score does not hide them}, and evidence_moves_more (share of pictures).
    """
    compared = sorted((row for row in rows if row.left_out is None), key=lambda row: row.id)
    reasons = [row.left_out.split(":")[0] for row in rows if row.left_out is not None]
    result: dict[str, Any] = {
        "pictures": len(rows),
        "compared": len(compared),
        "left_out": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        "failures": list(dict.fromkeys(row.left_out for row in rows if (row.left_out or "").startswith(FAILED)))[:3],
    }
    if not compared:
        return result
    units = [row.truth.resampling_unit(row.id) for row in compared]
    before = np.array([row.score for row in compared], dtype=float)
    hidden = np.array([row.hidden for row in compared], dtype=float)
    controls = np.array([row.controls for row in compared], dtype=float)

    def shifts(scale: Callable[[FloatArray], FloatArray]) -> dict[str, FloatArray]:
        evidence = scale(hidden) - scale(before)
        random = (scale(controls) - scale(before)[:, None]).mean(axis=1)
        return {"evidence": evidence, "random": random, "contrast": evidence - random}

    def means(columns: dict[str, FloatArray]) -> dict[str, Any]:
        def statistic(weights: FloatArray | None = None) -> dict[str, float]:
            return {name: float(np.average(column, weights=weights)) for name, column in columns.items()}

        drawn = bootstrap_intervals(units, statistic, rng, repeats=repeats)
        return {name: Estimate(value, len(compared), drawn.get(name)).to_dict() for name, value in statistic().items()}

    plain = shifts(lambda scores: scores)
    return {
        **result,
        "share": float(np.mean([row.share for row in compared])),
        **means({"score": before, **plain}),
        "log_odds": means(shifts(_log_odds)),
        "evidence_moves_more": rate(int((plain["contrast"] > 0).sum()), len(compared)).to_dict(),
    }


def _deletion(
    row: Prediction, image: str, predictions: Path, asker: Any, hide: Hide, controls: int, seed: int, load: Load
) -> Deletion:
    common: dict[str, Any] = {"id": row.id, "image": image, "hide": hide, "share": 0.0, "truth": row.truth}
    try:
        loaded = load(image_path(row, predictions))
        picture, of_its_kind = np.asarray(loaded), Image.fromarray if isinstance(loaded, Image.Image) else np.asarray
        digest = hashlib.sha256(f"{seed}:{row.id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        if hide == "boxes":
            evidence = boxes_mask(row.boxes, picture.shape[:2])
            areas = [random_area(evidence, rng) for _ in range(controls)] if 0 < evidence.mean() <= LARGEST else []
        else:
            evidence, areas = token_masks(
                asker.importance(picture, COARSE.question, face="whole"), picture.shape[:2], controls, rng
            )
        common["share"] = float(evidence.mean())
        if not areas:
            return Deletion(**common, left_out="no equal area elsewhere")
        shown = [picture, *(covered(picture, mask) for mask in (evidence, *areas))]
        scores = bonafide_scores(asker, [of_its_kind(one) for one in shown])
    except UNREACHED:
        raise
    except Exception as error:  # any picture, any model: a picture's failure concerns that picture alone
        return Deletion(**common, left_out=f"{FAILED}: {type(error).__name__}: {error}")
    if any(score is None for score in scores):
        return Deletion(**common, left_out="no bonafide_score")
    before, hidden, *others = (float(score) for score in scores if score is not None)
    return Deletion(**common, score=before, hidden=hidden, controls=others)


def boxes_mask(boxes: Sequence[Box], size_hw: tuple[int, int]) -> Mask:
    """(H, W) bool: pixels inside any of the boxes, whose edges are rounded outwards."""
    mask = np.zeros(size_hw, dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[max(0, math.floor(y0)) : math.ceil(y1), max(0, math.floor(x0)) : math.ceil(x1)] = True
    return mask


def random_area(evidence: Mask, rng: np.random.Generator) -> Mask:
    """As many pixels as the evidence has, outside it: those nearest to a random place, so that the area is compact."""
    ys, xs = np.nonzero(~evidence)
    place = int(rng.integers(len(ys)))
    nearest = np.argsort((ys - ys[place]) ** 2 + (xs - xs[place]) ** 2, kind="stable")[: int(evidence.sum())]
    mask = np.zeros_like(evidence)
    mask[ys[nearest], xs[nearest]] = True
    return mask


def token_masks(maps: Any, size_hw: tuple[int, int], controls: int, rng: np.random.Generator) -> tuple[Mask, list[Mask]]:
    """The places that PVTM ranks first, `TOKEN_SHARE` of those inside the picture, and as many random other places.

    With two streams, a place ranks as the better of its two tokens. Places that lie partly in the padding are in neither set,
    since they would hide less of the picture; if fewer than three places lie wholly inside, all count.
    """
    grid = np.maximum(maps.of_rgb, maps.of_rgb if maps.of_savp is None else maps.of_savp)
    side, (height, width) = grid.shape[0], size_hw
    longest = max(size_hw)
    # The token that sees each pixel of the picture, which lies in the middle of its square.
    rows = (np.arange(height) + (longest - height) // 2) * side // longest
    columns = (np.arange(width) + (longest - width) // 2) * side // longest
    tokens = rows[:, None] * side + columns[None, :]
    pixels = np.bincount(np.arange(longest) * side // longest, minlength=side)
    whole = [np.flatnonzero((np.bincount(axis, minlength=side) == pixels) & (pixels > 0)) for axis in (rows, columns)]
    inside = (whole[0][:, None] * side + whole[1][None, :]).ravel()
    if len(inside) < 3:
        inside = np.unique(tokens)
    count = max(1, round(TOKEN_SHARE * len(inside)))
    order = inside[np.argsort(-grid.ravel()[inside], kind="stable")]
    first, others = order[:count], order[count:]
    return np.isin(tokens, first), [np.isin(tokens, rng.choice(others, count, replace=False)) for _ in range(controls)]


def covered(picture: Rgb, mask: Mask) -> Rgb:
    """The picture with its mean colour over the mask."""
    hidden = picture.copy()
    hidden[mask] = np.rint(picture.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    return hidden


def _log_odds(scores: FloatArray) -> FloatArray:
    clipped = np.clip(scores, _CLIP, 1 - _CLIP)
    return np.log(clipped / (1 - clipped))
