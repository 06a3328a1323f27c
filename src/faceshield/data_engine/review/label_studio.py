"""Exports the queue to Label Studio and imports its decisions, for teams that review there.

Use: `write_tasks(queue, "tasks.json")` (import it and the labelling config beside it into a project), then
`read_decisions(queue, "export.json")` of that project's JSON export.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from faceshield.data_engine.contradictions import contradictions, true_regions
from faceshield.data_engine.review.queue import ReviewQueue, edited
from faceshield.datasets.boxes import from_percent, to_percent
from faceshield.provenance import write_json_atomic, write_text_atomic
from faceshield.records import rebase_image
from faceshield.taxonomy import ATTACK_TYPES, UNTYPED

_MOVED = 1.0  # pixels by which a box may differ before it counts as moved: tools round percentages


def write_tasks(queue: ReviewQueue, out: str | Path, *, image_prefix: str = "") -> int:
    """Writes the queue's dialogues as Label Studio tasks, and `OUT.config.xml`, the labelling config that shows them.

    Args:
        image_prefix: put before each picture's path, e.g. "/data/local-files/?d=photos/" for Label Studio's local storage.

    Returns:
        Number of tasks.
    """
    out, tasks = Path(out), []
    for position in queue.positions().values():
        dialogue = queue.item(position, "export").dialogue
        size_wh = dialogue.meta.get("size_wh")
        kind = str(dialogue.meta.get("presentation_type") or UNTYPED)
        data: dict[str, Any] = {"id": dialogue.id, "task": dialogue.task, "presentation_type": kind}
        data["image"] = image_prefix + rebase_image(dialogue.image, queue.dialogues, out)
        data |= dict(zip(_fields(len(dialogue.conversations)), dialogue.texts, strict=True))
        boxes = [to_percent(box, size_wh, kind) for box in true_regions(dialogue)] if size_wh else []
        tasks.append({"data": data, "predictions": [{"model_version": "label", "result": boxes}] if boxes else []})
    write_json_atomic(out, tasks)
    write_text_atomic(out.with_suffix(".config.xml"), _config(queue.most_pairs()))
    return len(tasks)


def _fields(turns: int) -> list[str]:
    """question, answer, question_2, answer_2, …"""
    names = ("question", "answer")
    return [names[i % 2] + (f"_{i // 2 + 1}" if i > 1 else "") for i in range(turns)]


def _config(pairs: int) -> str:
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in (*ATTACK_TYPES, UNTYPED))
    areas = "\n".join(
        f'  <Header value="{name}"/><TextArea name="{name}" toName="image" value="${name}" maxSubmissions="1" editable="true"/>'
        for name in _fields(2 * pairs)
    )
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <RectangleLabels name="label" toName="image">{labels}</RectangleLabels>\n'
        '  <Header value="$task: $presentation_type"/>\n'
        f"{areas}\n"
        '  <Choices name="verdict" toName="image" choice="single" required="true">'
        '<Choice value="accept" hotkey="a"/><Choice value="reject" hotkey="r"/></Choices>\n'
        '  <Header value="note"/><TextArea name="note" toName="image" maxSubmissions="1"/>\n</View>\n'
    )


def read_decisions(queue: ReviewQueue, source: str | Path) -> tuple[int, list[str]]:
    """Stores the decisions of a Label Studio JSON export in the queue, each under its reviewer's name.

    Returns:
        Number of decisions stored; and one sentence for each annotation that was not (unknown id, no verdict, an invalid edit,
        or a moved box, where the label is wrong and no edit of the text can repair it) or that was stored but contradicts the
        label or the box.

    Raises:
        ValueError: not a JSON export of Label Studio.
    """
    source = Path(source)
    try:
        tasks = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{source}: not JSON ({error}) — expected an export of Label Studio — export as JSON") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks):
        raise ValueError(f"{source}: no list of tasks — expected a JSON export of Label Studio — export as JSON")
    known = [(task["data"], task.get("annotations") or []) for task in tasks]
    places, stored, faults = queue.positions(), 0, []
    for data, made in known:
        for annotation in made:
            name = str(data.get("id"))
            if annotation.get("was_cancelled"):
                continue
            if name not in places:
                faults.append(f"{name}: not in this queue")
                continue
            problem, kept = _store(queue, places[name], annotation)
            stored += kept
            faults += [f"{name}: {problem}"] if problem else []
    return stored, faults


def _store(queue: ReviewQueue, position: int, annotation: Mapping[str, Any]) -> tuple[str, bool]:
    results = annotation.get("result") or []
    values = {row.get("from_name"): row.get("value", {}) for row in results if "rectanglelabels" not in row.get("value", {})}
    verdict = next(iter(values.get("verdict", {}).get("choices", [])), None)
    if verdict not in ("accept", "reject"):
        return "no verdict", False
    who = annotation.get("completed_by", "label-studio")
    who = str(who.get("email") or who.get("id") or "label-studio") if isinstance(who, dict) else f"label-studio {who}"
    dialogue = queue.item(position, who).dialogue
    drawn = sorted(from_percent(row) for row in results if row.get("type") == "rectanglelabels")
    true = sorted(true_regions(dialogue))
    moved = len(drawn) != len(true) or any(
        abs(a - b) > _MOVED for one, other in zip(drawn, true, strict=False) for a, b in zip(one, other, strict=True)
    )
    if verdict == "accept" and drawn and moved:
        return f"accepted, but its boxes differ from the label's, {true} — correct the sample, or reject", False
    turns = dialogue.texts
    for index, field in enumerate(_fields(len(turns))):
        written = values.get(field, {}).get("text")
        if written:
            turns[index] = "\n".join(written) if isinstance(written, list) else str(written)
    try:
        changed = edited(dialogue, turns)
    except ValueError as error:
        return str(error), False
    note = values.get("note", {}).get("text") or ""
    queue.decide(position, who, verdict, turns, "\n".join(note) if isinstance(note, list) else str(note))
    told = contradictions(changed) if verdict == "accept" and changed != dialogue else []
    return "; ".join(["edited against the label", *told]) if told else "", True
