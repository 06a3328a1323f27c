"""A data set's card: what is in `dialogues.jsonl`, what was left out and why, how varied the wording is.

Markdown with the hub's YAML header (`huggingface_hub.DatasetCard` reads it), the numbers beside it as JSON, pictures only on
request. Use: `report("dialogues.jsonl", "README.md")`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from faceshield.config import Config
from faceshield.data_engine.contradictions import contradictions
from faceshield.data_engine.generate import TASK_NAMES
from faceshield.images import open_picture
from faceshield.provenance import check_not_read, write_json_atomic, write_text_atomic
from faceshield.records import Dialogue, image_path, iter_jsonl
from faceshield.taxonomy import PRESENTATION_TYPES, UNTYPED

MARK = "<!-- written by faceshield report, which writes it again -->"
_BINS = (0, 5, 10, 15, 20, 30, 45, 60, 90, 120, 10**9)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
_TILE = 224
_ENOUGH = 20  # questions of one wording: so many hardly fall on one side by chance alone


class ReportConfig(Config):
    """What the card contains besides the numbers.

    Attributes:
        name: name of the data set.
        license: licence of the dialogues, an SPDX name that the hub knows; "other" if it depends on the pictures.
        examples: dialogues of each task quoted on the card.
        pictures: pictures on a sample sheet beside the card; 0: no sheet. Faces are personal data, hence only on request.
    """

    name: str = "FaceShield dialogues"
    license: str = "other"
    examples: int = 2
    pictures: int = 0


def report(dialogues: str | Path, out: str | Path, config: ReportConfig | None = None) -> dict[str, Any]:
    """Writes the card `out`, its numbers as .json and, on request, the sample sheet; returns the numbers.

    Rejects are counted from all `*.rejects.jsonl` beside the dialogues, and from `prepare`'s `rejects.jsonl`.

    Raises:
        RecordError, FileNotFoundError: the dialogues cannot be read.
        ValueError: there are none, or the card would overwrite them or another file.
    """
    config = config or ReportConfig()
    dialogues, out = Path(dialogues), Path(out)
    check_not_read([out, out.with_suffix(".json")], [dialogues])
    if out.is_file() and MARK not in out.read_text(encoding="utf-8", errors="replace"):
        raise ValueError(
            f"{out} was not written by `faceshield report` — expected a new file — give another --out, or remove it"
        )
    files = sorted(dialogues.parent.glob("*rejects.jsonl"))
    counted = _Counts(config.examples)
    for row in iter_jsonl(dialogues, Dialogue):
        counted.add(row)
    if not counted.rows:
        raise ValueError(f"{dialogues}: no dialogues — expected at least one row — write it with `faceshield generate`")
    numbers = {**counted.numbers(), "rejects": _rejects(files)}
    sheet = None
    if config.pictures:
        sheet = out.with_suffix(".sheet.jpg")
        _sheet(dialogues, sheet, config.pictures)
    write_text_atomic(out, _card(config, numbers, counted.examples, sheet))
    write_json_atomic(out.with_suffix(".json"), numbers)
    return numbers


def distinct(texts: Iterable[str], size: int) -> float:
    """Share of different word n-grams among all n-grams of the texts, 0..1; 0 if there are none."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        for start in range(len(words) - size + 1):
            total += 1
            seen.add(tuple(words[start : start + size]))
    return len(seen) / total if total else 0.0


class _Counts:
    """Everything that is counted in one pass over the dialogues."""

    def __init__(self, examples: int) -> None:
        self.rows = 0
        self.wanted = examples
        self.by: dict[str, Counter[str]] = defaultdict(Counter)
        self.table: Counter[tuple[str, str]] = Counter()
        self.questions: dict[str, dict[str, Counter[bool]]] = defaultdict(lambda: defaultdict(Counter))
        self.answers: dict[str, list[str]] = defaultdict(list)
        self.similarities: list[float] = []
        self.contradicting = 0
        self.pictures: set[str] = set()
        self.examples: dict[str, list[Dialogue]] = defaultdict(list)

    def add(self, row: Dialogue) -> None:
        self.rows += 1
        kind = _kind(row)
        self.by["task"][row.task] += 1
        self.by["type"][kind] += 1
        self.by["source"][str(row.meta.get("dataset", "unknown"))] += 1
        self.by["written by"][row.source] += 1
        self.table[kind, row.task] += 1
        self.pictures.add(row.image)
        self.contradicting += bool(contradictions(row))
        texts = row.texts
        for question in texts[::2]:
            self.questions[row.task][question][bool(row.meta.get("is_attack"))] += 1
        self.answers[row.task] += texts[1::2]
        if isinstance(row.meta.get("similarity"), float):
            self.similarities.append(row.meta["similarity"])
        if len(self.examples[row.task]) < self.wanted and all(_kind(one) != kind for one in self.examples[row.task]):
            self.examples[row.task].append(row)

    def numbers(self) -> dict[str, Any]:
        tasks = [task for task in TASK_NAMES if task in self.answers] + sorted(set(self.answers) - set(TASK_NAMES))
        words = {}
        for task in tasks:
            texts = self.answers[task]
            lengths = [len(text.split()) for text in texts]
            words[task] = {
                "question wordings": len(self.questions[task]),
                "of one side": sum(len(sides) == 1 and sides.total() >= _ENOUGH for sides in self.questions[task].values()),
                "answer wordings": len(set(texts)),
                **{f"distinct-{size}": round(distinct(texts, size), 4) for size in (1, 2, 4)},
                "mean words": round(float(np.mean(lengths)), 1),
                "lengths": np.histogram(lengths, _BINS)[0].tolist(),
            }
        shares = (0, 0.05, 0.25, 0.5, 0.75, 1)
        quantiles = np.quantile(self.similarities, shares).tolist() if self.similarities else []
        kinds = [*PRESENTATION_TYPES, *sorted(set(self.by["type"]) - set(PRESENTATION_TYPES))]
        return {
            "dialogues": self.rows,
            "pictures": len(self.pictures),
            "contradicting": self.contradicting,
            "counts": {name: dict(counter.most_common()) for name, counter in self.by.items()},
            "types by task": {
                kind: {task: self.table[kind, task] for task in tasks} for kind in kinds if self.by["type"][kind]
            },
            "words": words,
            "similarity quantiles": [round(float(value), 4) for value in quantiles],
        }


def _rejects(files: Sequence[Path]) -> dict[str, dict[str, int]]:
    found = {}
    for path in files:
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        names = Counter(str(row.get("filter") or row.get("reason")) for row in rows)  # `prepare` writes only reasons
        found[path.name.removesuffix("rejects.jsonl").rstrip(".") or "prepare"] = dict(names.most_common())
    return found


def _card(config: ReportConfig, numbers: dict[str, Any], examples: dict[str, list[Dialogue]], sheet: Path | None) -> str:
    size = next((name for limit, name in _SIZES if numbers["dialogues"] < limit), "n>1M")
    header = {
        "pretty_name": config.name,
        "license": config.license,
        "language": ["en"],
        "task_categories": ["visual-question-answering", "image-text-to-text"],
        "tags": ["face-anti-spoofing", "presentation-attack-detection", "faceshield"],
        "size_categories": [size],
    }
    tasks = list(numbers["words"])
    lines = [
        "---", yaml.safe_dump(header, sort_keys=False).strip(), "---", MARK, "",
        f"# {config.name}", "",
        f"{numbers['dialogues']:,} dialogues about {numbers['pictures']:,} pictures, in LLaVA's conversation form. Each row's "
        "`meta` holds the label, the boxes in pixels and who wrote it. Read back by the tasks' own readers, "
        f"{numbers['contradicting']} of them contradict their label or box.", "",
        "## Counts", "",
        *_table(["presentation type", *tasks, "all"], [
            [kind, *(row[task] for task in tasks), sum(row.values())] for kind, row in numbers["types by task"].items()
        ]),
    ]  # fmt: skip
    for name in ("source", "written by"):
        lines += [*_table([name, "dialogues"], [[key, value] for key, value in numbers["counts"][name].items()])]
    rejects = [[stage, name, count] for stage, row in numbers["rejects"].items() for name, count in row.items()]
    if rejects:
        lines += ["Left out, kept beside the dialogues with the reason:", "", *_table(["stage", "filter", "n"], rejects)]
    heads = ["question wordings", "of one side", "answer wordings", "distinct-1", "distinct-2", "distinct-4", "mean words"]
    lines += [
        "## Words", "",
        *_table(["task", *heads], [[task, *(row[head] for head in heads)] for task, row in numbers["words"].items()]),
        f"Of one side: wordings of {_ENOUGH} questions or more, all about attacks or all about bona fide faces: the question "
        "alone gives the answer away.", "",
        "Distinct-n is the share of different word n-grams among all n-grams of the task's answers. Words an answer:", "",
        *_table(["task", *_bin_names()], [[task, *row["lengths"]] for task, row in numbers["words"].items()]),
    ]  # fmt: skip
    if numbers["similarity quantiles"]:
        values = ", ".join(f"{value:.3f}" for value in numbers["similarity quantiles"])
        lines += [f"Picture-text cosine of what passed: least, 5%, 25%, 50%, 75%, most = {values}.", ""]
    lines += ["## Samples", ""]
    rows = [
        [row.task, _kind(row), *(_cell(turn.value) for turn in row.conversations[:2])]
        for task in tasks for row in examples.get(task, ())
    ]  # fmt: skip
    lines += _table(["task", "type", "question", "answer"], rows)
    if sheet is not None:
        lines += [f"![Pictures with their boxes]({sheet.name})", ""]
    return "\n".join(lines)


def _kind(row: Dialogue) -> str:
    """The presentation type; `UNTYPED` for an attack without one, "unknown" for anything else."""
    return str(row.meta.get("presentation_type") or (UNTYPED if row.meta.get("is_attack") else "unknown"))


def _bin_names() -> list[str]:
    return [f"{low}-{high - 1}" if high < 10**9 else f"{low}+" for low, high in zip(_BINS, _BINS[1:], strict=False)]


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    def line(cells: Iterable[Any]) -> str:
        return f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |"

    return [line(head), f"|{'---|' * len(head)}", *map(line, rows), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _sheet(dialogues: Path, path: Path, count: int) -> None:
    """Saves one JPEG of pictures with their boxes, of as many different types as possible."""
    chosen: dict[str, list[Dialogue]] = defaultdict(list)
    seen: set[str] = set()
    for row in iter_jsonl(dialogues, Dialogue):
        kind = _kind(row)
        if row.image not in seen and len(chosen[kind]) < -(-count // len(PRESENTATION_TYPES)):
            seen.add(row.image)
            chosen[kind].append(row)
    rows = [row for kind in sorted(chosen) for row in chosen[kind]][:count]
    columns = min(6, len(rows))
    sheet = Image.new("RGB", (columns * _TILE, -(-len(rows) // columns) * _TILE), "white")
    for index, row in enumerate(rows):
        picture = Image.fromarray(open_picture(image_path(row, dialogues)).rgb)
        pen = ImageDraw.Draw(picture)
        for box in row.meta.get("boxes") or ():
            pen.rectangle([float(value) for value in box], outline=(220, 40, 40), width=max(1, max(picture.size) // 100))
        picture.thumbnail((_TILE, _TILE))
        sheet.paste(picture, (index % columns * _TILE, index // columns * _TILE))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=90)
