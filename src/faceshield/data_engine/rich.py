"""The rich grammar: many wordings of every question and answer, each of them true of its sample (paper §3.2).

A rule is a list of alternatives in which `{name}` stands for another rule or for a fact of the sample; `expand` draws one. Only
the sample's own cues are stated as seen; if it has none, the taxonomy's are named as what such a face usually shows. Every
answer is read back by its task before it is returned. Use: `rich_pair("fine", sample, rng)`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from faceshield.data_engine.contradictions import answer_faults
from faceshield.data_engine.grammar import scene_phrases
from faceshield.data_engine.rich_rules import ANSWERS, PERSPECTIVES, QUESTIONS
from faceshield.records import Sample
from faceshield.tasks import MAX_CUES, TASKS, boxes_in_words
from faceshield.tasks.base import choose, join_phrases, noun_phrases, sentence_case
from faceshield.tasks.verdicts import find_type, find_verdict
from faceshield.taxonomy import describe

Rules = Mapping[str, Sequence[str]]
FIXED_QUESTION_RATE = 0.2
"""How often the task's fixed question is asked: scores depend on it, so it stays the most frequent wording."""

_SYMBOL = re.compile(r"\{(\w+)\}")
_DRAWS = 12  # draws for an answer that the task reads back; after that, its fixed answer is used
_PLACE = "{place}"  # where an attack lies; unknown without boxes


def rules_version() -> str:
    """Changes when any rule does, so that an interrupted run is not resumed under other rules."""
    content = json.dumps([QUESTIONS, ANSWERS, PERSPECTIVES, _PLACE])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def expand(rules: Rules, symbol: str, rng: np.random.Generator, facts: Mapping[str, str] | None = None) -> str:
    """Draws one text of a rule; `{Name}` with a capital begins a sentence.

    Raises:
        KeyError: a symbol that is neither a rule nor a fact.
    """
    known = facts or {}

    def fill(match: re.Match[str]) -> str:
        name = match.group(1)
        key = name if name in known or name in rules else name[:1].lower() + name[1:]
        text = known[key] if key in known else expand(rules, key, rng, known)
        return text if key == name else sentence_case(text)

    text = _SYMBOL.sub(fill, choose(rng, rules[symbol]))
    return re.sub(r" {2,}", " ", text).strip()


def rich_question(task: str, rng: np.random.Generator) -> str:
    """A question of the task; the fixed one is the most frequent."""
    if task in TASKS and rng.random() < FIXED_QUESTION_RATE:
        return TASKS[task].question
    return sentence_case(expand(QUESTIONS[task], "question", rng))


def rich_pair(task: str, sample: Sample, rng: np.random.Generator) -> tuple[str, str]:
    """A question and a true answer; the fixed question of a task whose answers are scored gets the fixed answer."""
    question = rich_question(task, rng)
    if task in TASKS and task != "reasoning" and question == TASKS[task].question:
        return question, TASKS[task].answer(sample)
    return question, rich_answer(task, sample, rng)


def rich_answer(task: str, sample: Sample, rng: np.random.Generator) -> str:
    """A true answer that the task's own reader reads back to the sample's label and boxes."""
    if task == "caption":
        return sentence_case(expand(ANSWERS["caption"], "answer", rng, _scene_facts(sample, rng)))
    rules = ANSWERS[task]
    if not sample.boxes:  # nothing is known of the place
        rules = {name: tuple(text for text in texts if _PLACE not in text) for name, texts in rules.items()}
    # The rules of localization name the type: an attack without one gets the fixed answer.
    for _ in range(_DRAWS if sample.presentation_type is not None or task != "localization" else 0):
        facts = _facts(sample, rng)
        if "clean" in rules:
            first, second = rng.permutation(len(rules["clean"]))[:2]
            for name, index in (("clean", first), ("also", second)):
                facts[name] = expand({**rules, name: (rules["clean"][index],)}, name, rng)
        symbol = "attack" if sample.is_attack else "bonafide"
        if f"{symbol}_seen" in rules and facts["cues"]:
            symbol += "_seen"
        text = sentence_case(expand(rules, symbol, rng, facts))
        if not answer_faults(
            task, text, is_attack=sample.is_attack, presentation_type=sample.presentation_type,
            boxes=sample.boxes, size_wh=sample.size_wh,
        ):  # fmt: skip
            return text
    return TASKS[task].answer(sample)


def seen_cues(sample: Sample) -> list[str]:
    """The sample's own cues, without those that read as a verdict or a type."""
    return [cue for cue in noun_phrases(sample, "cues") if find_verdict(cue) is None and find_type(cue) is None]


def place(sample: Sample) -> str:
    """Where the box around all boxes lies, in words that an answer may use beside the numbers; "" without boxes."""
    if not sample.boxes:
        return ""
    width, height = sample.size_wh
    x0, y0 = min(box[0] for box in sample.boxes) / width, min(box[1] for box in sample.boxes) / height
    x1, y1 = max(box[2] for box in sample.boxes) / width, max(box[3] for box in sample.boxes) / height
    if (x1 - x0) * (y1 - y0) >= 0.6:
        return "over most of the picture"
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    row = "upper" if y < 0.4 else "lower" if y > 0.6 else ""
    column = "left" if x < 0.4 else "right" if x > 0.6 else ""
    if row or column:
        return f"in the {' '.join(part for part in (row, column) if part)} part of the picture"
    return "around the middle of the picture"


def _some(phrases: Sequence[str], most: int, rng: np.random.Generator) -> list[str]:
    """At most `most` of the phrases in random order, at least one if there is one."""
    if not phrases:
        return []
    count = int(rng.integers(1, min(most, len(phrases)) + 1))
    return [phrases[i] for i in rng.permutation(len(phrases))[:count]]


def _facts(sample: Sample, rng: np.random.Generator) -> dict[str, str]:
    row = describe(sample.presentation_type)
    cues = _some(seen_cues(sample), MAX_CUES, rng)
    usual = [cue for cue in row.cues if find_verdict(cue) is None and find_type(cue) is None]
    scene = _scene_facts(sample, rng)
    return {
        "type": row.name,
        "sentence": row.sentence[:1].lower() + row.sentence[1:].rstrip("."),
        "cue": cues[0] if cues else "",
        "cues": join_phrases(cues),
        "aspects": _aspects(cues, rng),
        "usual": join_phrases(_some(usual, 3, rng)),
        "box": boxes_in_words(sample.boxes, sample.size_wh) if sample.boxes else "",
        "place": place(sample),
        "scene": scene["everything"],
    }


def _aspects(cues: Sequence[str], rng: np.random.Generator) -> str:
    """The cues as sentences, grouped by perspective (edges, surface, light, features)."""
    groups: dict[str, list[str]] = {}
    for cue in cues:
        words = set(re.findall(r"[a-z]+", cue.lower()))
        name = next((name for name, (keys, _) in PERSPECTIVES.items() if words & set(keys)), "picture")
        groups.setdefault(name, []).append(cue)
    sentences = []
    for name, members in groups.items():
        facts = {"cues": join_phrases(members)}
        sentences.append(sentence_case(expand({"sentence": PERSPECTIVES[name][1]}, "sentence", rng, facts)))
    return " ".join(sentences)


def _scene_facts(sample: Sample, rng: np.random.Generator) -> dict[str, str]:
    first, *others = scene_phrases(sample)
    rest = [others[i] for i in rng.permutation(len(others))]
    return {
        "first": first,
        "rest": join_phrases(rest) or "nothing else that stands out",
        "everything": join_phrases([first, *rest]),
    }
