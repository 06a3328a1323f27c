"""The results of an entry as a table with the paper's numbers beside ours (text, Markdown, JSON), and a report on all.

For one training, a cell is a percentage with its 95% interval over pictures; for several, mean ± standard deviation over
trainings, and the mean of their intervals. Use: `print(grid(entry, outcomes).render("text"))`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faceshield.evaluation.table import NONE, Grid
from faceshield.provenance import read_json, write_json_atomic, write_text_atomic
from faceshield.recipes.reproduce.paper import CROSS, Entry, Metric, Number
from faceshield.recipes.reproduce.reproduction import TIMES_FILE, Outcome

BEGIN, END = "<!-- begin: faceshield reproduce -->", "<!-- end: faceshield reproduce -->"


def estimate(metrics: Mapping[str, Any], metric: Metric, decided: str) -> Mapping[str, Any] | None:
    """A metric's {"value", "n", "ci95"} in one run's `metrics.json`, None if it was not measured."""
    found: Any = metrics["overall"]
    for key in metric.place:
        name = {"words": "by_answer", "half": "by_half", "score": "by_score"}[decided] if key == "*" else key
        found = (found or {}).get(name)
    return found


def values(outcome: Outcome, metric: Metric) -> list[float]:
    """A metric's values in all trainings, in per cent."""
    found = [estimate(run, metric, outcome.row.decided) for run in outcome.runs]
    return [100 * one["value"] for one in found if one and one.get("value") is not None]


def cell(outcome: Outcome, metric: Metric) -> str:
    """A cell of the table: "93.10 ± 0.40 [91.0, 94.8]", or "–" for nothing."""
    numbers = values(outcome, metric)
    if not numbers:
        return NONE
    spread = f" ± {statistics.stdev(numbers):.2f}" if len(numbers) > 1 else ""
    found = [estimate(run, metric, outcome.row.decided) for run in outcome.runs]
    intervals = [one["ci95"] for one in found if one and one.get("ci95")]
    text = f"{statistics.fmean(numbers):.2f}{spread}"
    if not intervals:
        return text
    low, high = (100 * statistics.fmean(bounds) for bounds in zip(*intervals, strict=True))
    return f"{text} [{low:.1f}, {high:.1f}]"


def printed(number: Number) -> str:
    """A number of the paper as printed there, "–" for none."""
    if number is None:
        return NONE
    value, spread = number if isinstance(number, tuple) else (number, None)
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"


def tested(outcome: Outcome) -> str:
    """How many bona fide pictures and attacks a row was tested on."""
    if not outcome.runs:
        return NONE
    section = outcome.runs[0]["overall"]["coarse"]
    return f"{section['n_bonafide']} + {section['n_attack']}"


def grid(entry: Entry, outcomes: Sequence[Outcome]) -> Grid:
    """The entry's table."""
    header = ["Method"]
    for metric in entry.metrics:
        header += [metric.heading, "paper"]
    rows = []
    protocol = None
    for outcome in outcomes:
        row = outcome.row
        if outcome.reason and row.decided == "score":  # the row above has said so
            continue
        if row.protocol in CROSS and row.protocol != protocol:
            protocol = row.protocol
            rows.append([CROSS[protocol], *[""] * (len(header))])
        cells = [row.label]
        for place, metric in enumerate(entry.metrics):
            cells += [cell(outcome, metric), printed(row.paper[place] if row.paper else None)]
        if outcome.reason:
            cells[1] = "not available"
        rows.append([*cells, tested(outcome)])
    return Grid(entry.title, [*header, "bona fide + attack"], rows)


def notes(entry: Entry, outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader of the table has to know."""
    found = [entry.about] if entry.about else []
    reasons: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        if outcome.reason:
            reasons.setdefault(outcome.reason, {}).setdefault(outcome.row.system, outcome.row.label)
    found += [f"Not available: {', '.join(labels.values())}: {reason}." for reason, labels in reasons.items()]
    if old := [
        one.row.label for one in outcomes if one.runs and one.row.decided == "half" and not values(one, entry.metrics[0])
    ]:
        found.append(
            f"Without a decision at 0.5, scored by an earlier version: {', '.join(dict.fromkeys(old))}. Remove metrics.json of "
            "their scores and repeat the command."
        )
    lost: dict[str, float] = {}
    for outcome in outcomes:
        shares = [run["overall"].get(why, {}).get("value") or 0.0 for run in outcome.runs for why in ("unparsed", "error")]
        lost[outcome.row.label] = max([lost.get(outcome.row.label, 0.0), *shares])
    if unread := [f"{label} {share:.1%}" for label, share in lost.items() if share >= 0.001]:
        found.append(
            f"Answers that failed or could not be read, at most in one training, counted as errors: {', '.join(unread)}."
        )
    trainings = max((len(outcome.runs) for outcome in outcomes), default=0)
    if trainings > 1:
        fewer = [f"{one.row.label} {len(one.runs)}" for one in outcomes if 0 < len(one.runs) < trainings]
        but = f" (but {', '.join(dict.fromkeys(fewer))})" if fewer else ""
        found.append(
            f"Mean ± standard deviation of {trainings} trainings{but}, [mean of their 95% intervals over test pictures]."
        )
    elif trainings:
        found.append("One training, [95% interval over test pictures].")
    return found


def write(folder: Path, entry: Entry, outcomes: Sequence[Outcome], about: Mapping[str, Any], told: Sequence[str]) -> None:
    """Writes `ENTRY.json` and `ENTRY.md`, with the lines `told` below the table."""
    rows = [
        {
            "system": outcome.row.system,
            "label": outcome.row.label,
            "protocol": outcome.row.protocol,
            "decided": outcome.row.decided,
            "reason": outcome.reason or None,
            "values": {metric.heading: values(outcome, metric) for metric in entry.metrics},
            "paper": list(outcome.row.paper),
        }
        for outcome in outcomes
    ]
    content = {"entry": entry.name, "title": entry.title, **about, "rows": rows}
    table = grid(entry, outcomes).render("markdown") if entry.metrics else f"**{entry.title}**"
    write_text_atomic(folder / f"{entry.name}.md", table + "\n\n" + "".join(f"- {line}\n" for line in told))
    write_json_atomic(folder / f"{entry.name}.json", content)


def seconds(out: Path) -> dict[str, float]:
    """Seconds spent on every step, by its name."""
    file = out / TIMES_FILE
    found: dict[str, float] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["step"]] = found.get(row["step"], 0.0) + row["seconds"]
    return found


def machine() -> str:
    """The hardware in words."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file() and (named := re.search(r"model name\s*:\s*(.+)", cpu.read_text(encoding="utf-8"))):
        model = named[1].strip()
    return f"{os.cpu_count()} cores, {model}"


def report(out: Path, entries: Sequence[Entry], about: Mapping[str, Any]) -> str:
    """The entries found in a folder, whichever commands made them, and how they were made, as Markdown."""
    times = seconds(out)
    made = [entry for entry in entries if (out / f"{entry.name}.json").is_file()]
    commands: dict[str, list[str]] = {}
    for entry in made:
        content = read_json(out / f"{entry.name}.json")
        commands.setdefault(f"`{content['command']}`", []).append(entry.name)
    said = [command + (f" ({', '.join(names)})" if len(commands) > 1 else "") for command, names in commands.items()]
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    lines = ["  \n".join(said), "", f"Hardware: {machine()}. {described}."]
    lines.append(f"Time of all steps in the folder ({TIMES_FILE} has each): {sum(times.values()) / 60:.0f} minutes.")
    for entry in made:
        lines += ["", (out / f"{entry.name}.md").read_text(encoding="utf-8").strip()]
    return "\n".join(lines) + "\n"


def put_into(file: Path, text: str) -> None:
    """Writes a report into a document, between two marks, which are appended if missing."""
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    block = f"{BEGIN}\n{text}{END}"
    if BEGIN in before and END in before:
        head, _, rest = before.partition(BEGIN)
        after = head + block + rest.partition(END)[2]
    else:
        after = f"{before.rstrip()}\n\n{block}\n".lstrip("\n")
    write_text_atomic(file, after)
