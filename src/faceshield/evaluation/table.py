"""From metrics.json files to tables in the paper's shape (Tables 1-5), as plain text or Markdown.

Use: ``print(table({"FaceShield": metrics}))``. Numbers are percentages with their 95% intervals; "–" is "not measured".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from faceshield.evaluation.score import LIMITS
from faceshield.taxonomy import PRESENTATION_TYPES

Form = Literal["text", "markdown"]
Metrics = Mapping[str, Any]
NONE = "–"
FORMS = ("text", "markdown")


@dataclass(frozen=True)
class Grid:
    """A titled table of strings; the first column is left-aligned, the others right-aligned."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def render(self, form: Form) -> str:
        """The table in one of the two forms."""
        if form == "markdown":
            lines = [
                f"**{self.title}**",
                "",
                _bars(self.header),
                _bars(["---", *["---:"] * (len(self.header) - 1)]),
            ]
            return "\n".join([*lines, *map(_bars, self.rows)])
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [_padded(row, widths) for row in (self.header, *self.rows)]
        return "\n".join([self.title, lines[0], "-" * len(lines[0]), *lines[1:]])


def table(systems: Mapping[str, Metrics], *, form: Form = "text") -> str:
    """All tables that the metrics have numbers for, one line per system (and per group, if scored with ``--by``).

    Args:
        systems: name -> content of a ``metrics.json``.
        form: ``text`` or ``markdown``.

    Raises:
        ValueError: no systems, an unknown form, or an object that is not a ``metrics.json``.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} — expected one of {', '.join(FORMS)}")
    if not systems:
        raise ValueError("no metrics — expected at least one metrics.json — make one with faceshield score")
    for name, metrics in systems.items():
        overall = metrics.get("overall") if isinstance(metrics, Mapping) else None
        if not isinstance(overall, Mapping) or not {"rows", "unparsed", "error"} <= overall.keys():
            raise ValueError(
                f"{name}: no 'overall' of a score in it — expected a metrics.json — make one with faceshield score"
            )
    groups = [(name, metrics) for system, content in systems.items() for name, metrics in _groups(system, content)]
    grids = [_coarse(groups), _detection(groups), _operating_points(groups), _fine(groups), _recall(groups)]
    grids += [*_confusions(groups), _reasoning(groups)]
    grids += [_cues(groups), _localization(groups), _unread(groups)]
    parts = [grid.render(form) for grid in grids if grid.rows]
    return "\n\n".join(parts + _footnotes(systems)) + "\n"


def _groups(system: str, metrics: Metrics) -> Iterator[tuple[str, Metrics]]:
    yield system, metrics["overall"]
    for name, group in metrics.get("by", {}).get("groups", {}).items():
        yield f"{system} [{name}]", group


def percent(estimate: Metrics | None) -> str:
    """``{"value": .972, "ci95": [.964, .979]}`` -> "97.20 [96.4, 97.9]"; "–" for no value.

    With "std", from several trainings (see `repeats`): "97.20 ± 0.06".
    """
    if estimate is None or estimate.get("value") is None:
        return NONE
    text = f"{100 * estimate['value']:.2f}"
    if estimate.get("std") is not None:
        return f"{text} ± {100 * estimate['std']:.2f}"
    if estimate.get("ci95") is None:
        return text
    low, high = estimate["ci95"]
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _decisions(section: Metrics) -> Iterator[tuple[str, Metrics]]:
    if section.get("by_answer"):
        yield "answer", section["by_answer"]
    if section.get("by_half"):
        yield f"score, t = {section['by_half']['threshold']}, chosen on nothing", section["by_half"]
    if section.get("by_score"):
        yield f"score, t = {_threshold(section['by_score']['threshold'])}", section["by_score"]


def _threshold(chosen: Metrics, digits: int = 4) -> str:
    """A threshold's value; for several trainings, which each chose their own, mean ± standard deviation."""
    spread = "" if chosen.get("std") is None else f" ± {chosen['std']:.2g}"
    return f"{chosen['value']:.{digits}g}{spread}"


def _coarse(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    rows = [
        [name, decision, percent(rates["acc"]), percent(rates["hter"]), _counts(group["coarse"])]
        for name, group in groups
        for decision, rates in _decisions(group.get("coarse", {}))
    ]
    header = ["Method", "decided by", "ACC(%) ↑", "HTER(%) ↓", "bona fide + attack"]
    return Grid("Coarse-grained classification", header, rows)


def _counts(section: Metrics) -> str:
    return f"{section['n_bonafide']} + {section['n_attack']}"


def _detection(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    rows = []
    for name, group in groups:
        section = group.get("coarse", {})
        ranking = section.get("ranking", {})
        own = [percent(ranking.get(key)) for key in ("eer", "auc")]
        own += [percent(section.get("calibration", {}).get("ece"))]
        for decision, rates in _decisions(section):
            worst = rates["apcer_worst"]
            shown = percent(worst) + (f" {worst['type']}" if worst["type"] and worst["value"] else "")
            ranked = own if decision != "answer" else [NONE] * len(own)
            rows.append([name, decision, shown, percent(rates["bpcer"]), percent(rates["acer"]), *ranked])
        if ranking and not {"by_score", "by_half"} & section.keys():
            rows.append([name, "score, no threshold", NONE, NONE, NONE, *own])
    header = ["Method", "decided by", "APCER(%) worst type ↓", "BPCER(%) ↓", "ACER(%) ↓"]
    header += ["EER(%) ↓", "AUC(%) ↑", "calibration error(%) ↓"]
    return Grid("Presentation attack detection, after ISO/IEC 30107-3; worst: by type", header, rows)


def _operating_points(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    """Each rate at limits of the other, on the scored set itself; APCER pooled and, in a row below, of the worst type (ISO)."""
    rows = []
    for name, group in groups:
        ranking = group.get("coarse", {}).get("ranking")
        for label, key in (("all attacks", "apcer"), ("worst type", "apcer_worst")):
            if ranking and f"bpcer_at_{key}1" in ranking:
                held = [percent(ranking[f"{key}_at_bpcer{limit}"]) for limit in LIMITS]
                rows.append([name, label, *held, *(percent(ranking[f"bpcer_at_{key}{limit}"]) for limit in LIMITS)])
    header = ["Method", "APCER of", *(f"APCER@BPCER{limit}%(%) ↓" for limit in LIMITS)]
    return Grid("Operating points", [*header, *(f"BPCER@APCER{limit}%(%) ↓" for limit in LIMITS)], rows)


def _confusions(groups: Sequence[tuple[str, Metrics]]) -> Iterator[Grid]:
    """One matrix per method, without types that never occur in the answers (columns) or in the truth (rows)."""
    for name, group in groups:
        matrix = group.get("fine", {}).get("confusion")
        if matrix:
            kept = [i for i, column in enumerate(zip(*matrix["counts"], strict=True)) if any(column)]
            counts = [
                [kind, *(str(counts[i]) for i in kept)]
                for kind, counts in zip(matrix["rows"], matrix["counts"], strict=True)
                if any(counts)
            ]
            header = ["True type \\ answered", *(matrix["columns"][i] for i in kept)]
            yield Grid(f"Confusion matrix: {name}", header, counts)


def _fine(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    rows = [
        [name, percent(fine["acc"]), percent(fine["macro_f1"]), str(fine["acc"]["n"])]
        for name, group in groups
        if (fine := group.get("fine"))
    ]
    return Grid("Fine-grained classification", ["Method", "ACC(%) ↑", "macro-F1(%) ↑", "n"], rows)


def _recall(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    recalls = {name: group["fine"]["recall_by_type"] for name, group in groups if group.get("fine")}
    kinds = [kind for kind in PRESENTATION_TYPES if any(kind in recall for recall in recalls.values())]
    rows = [[kind, *(_recall_cell(recall.get(kind)) for recall in recalls.values())] for kind in kinds]
    return Grid("Recall of each presentation type (%)", ["Type", *recalls], rows)


def _recall_cell(estimate: Metrics | None) -> str:
    return NONE if estimate is None else f"{percent(estimate)} (n={estimate['n']})"


def _reasoning(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    keys = ["bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "meteor"]
    rows = []
    for name, group in groups:
        section = group.get("reasoning")
        if section:
            answer = section.get("by_answer") or {}
            texts = [percent(section.get(key)) for key in keys]
            compared, judged = ((section.get("bleu1") or {}).get("n", 0), (answer.get("acc") or {}).get("n", 0))
            n = f"{compared} texts, {judged} verdicts" if compared and compared != judged else str(judged)
            rows.append([name, *texts, percent(answer.get("acc")), percent(answer.get("hter")), n])
    names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "METEOR", "ACC"]
    return Grid("Reasoning", ["Method", *(f"{name}(%) ↑" for name in names), "HTER(%) ↓", "n"], rows)


def _cues(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    rows = []
    for name, group in groups:
        if section := group.get("cues"):
            shares = [percent(section[key]) for key in ("precision", "precision_strict", "recall")]
            best = section["recall_of_the_true_answers"]
            attainable = NONE if best is None else f"{100 * best:.1f}"
            counts = [f"{section[key]:.2f}" for key in ("named_per_answer", "unrecognised_per_answer")]
            false = section["false_cues_on_bonafide"]
            n = f"{section['names_none']['n']} + {false['n']}"
            rows.append([name, *shares, attainable, *counts, percent(false), n])
    header = ["Method", "precision(%) ↑", "strict precision(%) ↑", "recall(%) ↑", "recall of the true answers(%)"]
    header += ["named an answer", "unrecognised", "false cues on bona fide(%) ↓", "attack + bona fide"]
    return Grid("Cues that the reasoning names, against those that were rendered", header, rows)


def _localization(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    keys = ["ap40", "ap50", "mean_iou", "recall40", "recall50", "hit40", "hit50", "false_boxes"]
    rows = [
        [
            name,
            *(percent(section.get(key)) for key in keys),
            f"{section['hit50']['n']} + {section['false_boxes']['n']}",
        ]
        for name, group in groups
        if (section := group.get("localization"))
    ]
    header = ["Method", "AP@40(%) ↑", "AP@50(%) ↑", "mean IoU(%) ↑", "recall@.4(%) ↑"]
    header += ["recall@.5(%) ↑", "hit@.4(%) ↑", "hit@.5(%) ↑"]
    return Grid("Attack localization", [*header, "false boxes on bona fide(%) ↓", "attack + bona fide"], rows)


def _unread(groups: Sequence[tuple[str, Metrics]]) -> Grid:
    rows = [
        [name, percent(group["unparsed"]), percent(group["error"]), percent(group.get("cut")), str(group["rows"])]
        for name, group in groups
    ]
    header = ["Method", "unparsed(%) ↓", "failed(%) ↓", "cut off, read as it is(%) ↓", "n"]
    return Grid("Answers that count as errors, and answers that were cut off", header, rows)


def _footnotes(systems: Mapping[str, Metrics]) -> list[str]:
    notes: list[str] = []
    for name, metrics in systems.items():
        if metrics.get("runs", 1) > 1:
            notes.append(f"{name}: mean ± standard deviation of {metrics['runs']} runs (trainings, or draws of PVTM's masks).")
        if metrics.get("threshold"):
            source = ", ".join(
                f"{key} {_rounded(value)}" for key, value in metrics["threshold"]["source"].items() if key != "predictions"
            )
            notes.append(f"{name}: threshold {_threshold(metrics['threshold'], 6)} from {source}.")
        ranked = metrics["overall"].get("localization", {}).get("ranked_by")
        if ranked:
            notes.append(f"{name}: boxes ranked for AP by {ranked}.")
        notes += [f"{name}: {note}" for note in metrics.get("notes", [])]
    return ["\n".join(notes)] if notes else []


def _bars(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = [
        cell.ljust(width) if index == 0 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join([first, *others]).rstrip()


def _rounded(value: Any) -> str:
    """A value of a threshold's origin, with floats to three digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
