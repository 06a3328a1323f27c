"""What each table and figure of the paper holds: rows, protocol, metrics, and the numbers printed there (paper §5).

Tables are data: a new row is a line here. Figures whose values the paper only draws have no numbers.
Use: `ENTRIES["table2"].rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Number = float | tuple[float, float] | None
"""In per cent, alone or with its standard deviation over ten repeats; None if the paper has none."""
Kind = Literal["table", "sweep", "gain", "maps"]

INTRA = "W+S+P"
CROSS = {"W+S>P": "W & S → P", "W+P>S": "W & P → S", "S+P>W": "S & P → W"}


@dataclass(frozen=True)
class Metric:
    """One column: its heading, and the path of its estimate below "overall" in a `metrics.json`; "*": how a row is decided."""

    heading: str
    place: tuple[str, ...]


ACC, HTER = Metric("ACC(%) ↑", ("coarse", "*", "acc")), Metric("HTER(%) ↓", ("coarse", "*", "hter"))
FINE = Metric("fine ACC(%) ↑", ("fine", "acc"))
WHY_ACC = Metric("reasoning ACC(%) ↑", ("reasoning", "by_answer", "acc"))
WHY_HTER = Metric("reasoning HTER(%) ↓", ("reasoning", "by_answer", "hter"))
AP40, AP50 = Metric("AP@40(%) ↑", ("localization", "ap40")), Metric("AP@50(%) ↑", ("localization", "ap50"))
UNRANKED = Metric("AP@50(%) ↑, boxes unranked", ("localization", "ap50_unranked"))
WORDS = tuple(
    Metric(f"{name}(%) ↑", ("reasoning", key))
    for name, key in (
        ("BLEU-1", "bleu1"), ("BLEU-2", "bleu2"), ("BLEU-3", "bleu3"), ("BLEU-4", "bleu4"), ("ROUGE-L", "rouge_l"),
        ("METEOR", "meteor"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class System:
    """What is evaluated: our model, a trained baseline, or a general model that is only asked.

    Attributes:
        changes: for ours: settings of both stages.
        baseline: name of its config, configs/baseline/NAME.yaml.
        init: what a baseline starts from: "itself", trained on the foundation's pictures, or our "towers", trained on the same.
        general: a published model, asked without training; its weights or an endpoint have to be given.
        stage: for ours: the stage whose checkpoint is asked.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None
    init: Literal["itself", "towers"] = "itself"
    general: bool = False
    stage: Literal["pretrain", "sft"] = "sft"


RGB_ONLY = {"model.use_savp": False, "model.pvtm_mask_ratio": 0.0}
MASK_RATIOS, KEEP_RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3), (0.0, 0.1, 0.2, 0.3)
SYSTEMS: dict[str, System] = {
    "FaceShield": System(),
    "RGB-only": System(RGB_ONLY),
    "RGB-only before": System(RGB_ONLY, stage="pretrain"),
    "SAVP": System({"model.pvtm_mask_ratio": 0.0}),
    "PVTM": System({"model.use_savp": False}),
    **{f"p={p:g}": System({"model.pvtm_mask_ratio": p}) for p in MASK_RATIOS if p not in (0.0, 0.05)},
    **{f"k={k:g}": System({"model.pvtm_keep_ratio": k}) for k in KEEP_RATIOS if k != 0.1},
    "ResNet": System(baseline="resnet"),
    "PatchNet": System(baseline="patchnet"),
    "CoOp": System(baseline="coop", init="towers"),
    "IADG": System(baseline="iadg"),
    "CDCN": System(baseline="cdcn"),
    **{name: System(general=True) for name in ("LLaVA", "Qwen-VL", "Minigpt4", "Bunny", "Lenna", "Sphinx")},
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        system: a name in `SYSTEMS`.
        label: what the paper calls it.
        paper: its numbers there, in the order of the entry's metrics; empty: the paper has no such row.
        protocol: "W+S>P" is trained on W and S and tested on P; "W+S+P" is trained on all and tested on all.
        decided: "words", by the answer's own verdict, as in the paper; "half", by the likelier class of a classifier, which has
            no words; "score", by the score, at a threshold from the development split.
        at: in a sweep: the setting's value.
    """

    system: str
    label: str
    paper: tuple[Number, ...] = ()
    protocol: str = INTRA
    decided: Literal["words", "half", "score"] = "words"
    at: float | None = None


@dataclass(frozen=True)
class Entry:
    """A table or a figure."""

    name: str
    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]
    kind: Kind = "table"
    about: str = ""


def _classifier(system: str, *paper: Number, protocol: str = INTRA) -> tuple[Row, Row]:
    return Row(system, system, paper, protocol, decided="half"), _by_score(system, protocol=protocol)


def _by_score(system: str, label: str | None = None, protocol: str = INTRA) -> Row:
    return Row(system, f"{label or system}, by score", (), protocol, decided="score")


def _cross(protocol: str, resnet: Any, patchnet: Any, iadg: Any, ours: Any) -> tuple[Row, ...]:
    return (
        *_classifier("ResNet", *resnet, protocol=protocol),
        *_classifier("PatchNet", *patchnet, protocol=protocol),
        *_classifier("IADG", *iadg, protocol=protocol),
        *_classifier("CDCN", protocol=protocol),
        Row("FaceShield", "FaceShield", ours, protocol),
        _by_score("FaceShield", protocol=protocol),
    )


def _sweep(letter: str, values: tuple[float, ...], known: Mapping[float, str]) -> tuple[Row, ...]:
    return tuple(Row(known.get(value, f"{letter}={value:g}"), f"{letter} = {100 * value:g}%", at=value) for value in values)


_NOT_THE_PAPERS = (
    "FaceShield and Bunny are decided by their words, a classifier by its likelier class; by score: at the threshold of equal "
    "error on the sources' development pictures. Decisions by score and CDCN are not in the paper."
)
ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "table1", "Table 1: intra-dataset, coarse-grained classification", (ACC, HTER),
            (
                *_classifier("ResNet", 97.55, 2.32),
                *_classifier("PatchNet", 98.22, 1.78),
                *_classifier("CoOp", 98.73, 1.27),
                *_classifier("CDCN"),
                Row("LLaVA", "LLaVA", (65.54, 27.76)),
                Row("Qwen-VL", "Qwen-VL", (51.94, 38.70)),
                Row("Minigpt4", "Minigpt4", (26.86, 65.50)),
                Row("Bunny", "Bunny", (81.20, 17.87)),
                Row("RGB-only", "Bunny (fine-tuned): ours, RGB alone", (98.23, 1.52)),
                _by_score("RGB-only", "the same"),
                Row("FaceShield", "FaceShield", ((99.41, 0.06), (0.53, 0.06))),
                _by_score("FaceShield"),
            ),
            about=_NOT_THE_PAPERS,
        ),
        Entry(
            "table2", "Table 2: cross-dataset, coarse-grained classification", (ACC, HTER),
            (
                *_cross("W+S>P", (46.12, 50.00), (77.18, 22.87), (72.96, 27.01), ((93.17, 0.22), (6.37, 0.21))),
                *_cross("W+P>S", (53.36, 49.16), (56.16, 45.37), (57.20, 42.81), ((89.93, 0.15), (10.3, 0.14))),
                *_cross("S+P>W", (74.01, 29.75), (78.15, 41.50), (78.55, 26.27), ((92.56, 0.08), (5.71, 0.08))),
            ),
            about=_NOT_THE_PAPERS,
        ),
        Entry(
            "table3", "Table 3: fine-grained classification", (FINE,),
            (
                Row("LLaVA", "LLaVA", (16.39,)),
                Row("Qwen-VL", "Qwen-VL", (16.55,)),
                Row("Minigpt4", "Minigpt4", (19.51,)),
                Row("Bunny", "Bunny", (27.03,)),
                Row("RGB-only", "Bunny (fine-tuned): ours, RGB alone", (94.43,)),
                Row("FaceShield", "FaceShield", ((95.81, 0.11),)),
            ),
        ),
        Entry(
            "table4", "Table 4: reasoning", (*WORDS, WHY_ACC, WHY_HTER),
            (
                Row("LLaVA", "LLaVA", (45.05, 31.75, 23.42, 17.80, 30.51, 25.52, 37.84, 50.11)),
                Row("Minigpt4", "Minigpt4", (17.85, 7.85, 3.53, 1.94, 27.54, 21.88, 33.86, 50.00)),
                Row("Qwen-VL", "Qwen-VL", (20.92, 14.53, 11.01, 8.77, 21.45, 12.49, 47.64, 41.49)),
                Row("Bunny", "Bunny", (33.64, 27.12, 22.65, 19.33, 36.74, 19.12, 50.68, 39.73)),
                Row("RGB-only", "Bunny (fine-tuned): ours, RGB alone", (89.57, 86.96, 84.91, 81.29, 80.15, 51.64, 98.56, 1.16)),
                Row("FaceShield", "FaceShield", ((90.89, 0.14), (88.02, 0.15), (85.75, 0.17), (83.98, 0.19), (82.98, 0.20),
                                                 (53.10, 0.16), (99.29, 0.04), (0.57, 0.04))),
            ),
            about="METEOR needs Java: `--meteor`, or `faceshield score PREDICTIONS --answer --meteor`.",
        ),
        Entry(
            "table5", "Table 5: attack localization", (AP40, AP50, UNRANKED),
            (
                Row("Qwen-VL", "Qwen-VL", (2.07, 1.49, None)),
                Row("Lenna", "Lenna", (37.77, 35.41, None)),
                Row("Sphinx", "Sphinx", (47.86, 46.30, None)),
                Row("Bunny", "Bunny", (73.50, 71.65, None)),
                Row("RGB-only", "Bunny (fine-tuned): ours, RGB alone", (92.30, 89.71, None)),
                Row("FaceShield", "FaceShield", ((97.78, 0.21), (95.60, 0.19), None)),
            ),
            about="Boxes are ranked by 1 - bonafide_score where a system has one. One that only speaks has nothing to rank "
            "them by: compare it in the last columns, where nobody's are ranked.",
        ),
        Entry(
            "table6", "Table 6: SAVP and PVTM", (ACC, HTER, FINE, WHY_ACC, WHY_HTER, AP40, AP50),
            (
                Row("RGB-only", "neither", (98.23, 1.52, 94.43, 98.56, 1.16, 92.30, 89.71)),
                Row("SAVP", "SAVP", (98.73, 1.06, 94.59, 99.41, 0.48, 97.09, 95.21)),
                Row("PVTM", "PVTM"),
                Row("FaceShield", "SAVP and PVTM", ((99.41, 0.06), (0.53, 0.06), (95.81, 0.11), (99.29, 0.04), (0.57, 0.04),
                                                    (97.78, 0.21), (95.6, 0.19))),
            ),
            # The printed header has eight names, one HTER too many, for seven numbers; text and Table 4 tell which is which.
            about="PVTM without SAVP is not in the paper.",
        ),
        Entry(
            "fig6", "Figure 6: what the instruction data give a model of RGB alone", (ACC, FINE, WHY_ACC),
            (
                Row("RGB-only before", "before: stage 1 alone", (81.20, 27.03, 50.68)),
                Row("RGB-only", "after: stage 2", (98.23, 94.43, 98.56)),
            ),
            kind="gain",
            about="The paper's numbers are Bunny's, from Tables 1, 3, 4 and 6; LLaVA's after training are only drawn there. "
            "Before, ours knows the four tasks from D's pictures, and descriptions of the sources'.",
        ),
        Entry(
            "fig7", "Figure 7: p, the share of unimportant tokens that PVTM masks (k = 10%)", (ACC, FINE, WHY_ACC, AP40, AP50),
            _sweep("p", MASK_RATIOS, {0.0: "SAVP", 0.05: "FaceShield"}),
            kind="sweep",
            about="The paper's curves are drawn without numbers; best there: p = 5%.",
        ),
        Entry(
            "fig8", "Figure 8: k, the share of important tokens that PVTM keeps (p = 5%)", (ACC, FINE, WHY_ACC, AP40, AP50),
            _sweep("k", KEEP_RATIOS, {0.1: "FaceShield"}),
            kind="sweep",
            about="The paper's curves are drawn without numbers; best there: k = 10%.",
        ),
        Entry(
            "fig9", "Figure 9: importance of RGB and SAVP tokens", (), (Row("FaceShield", "FaceShield"),), kind="maps",
            about="In the paper RGB tokens gather on the face for classification, SAVP tokens on the attack for localization.",
        ),
    )
}  # fmt: skip
