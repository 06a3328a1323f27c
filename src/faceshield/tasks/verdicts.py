"""Finds verdicts and presentation types in free text, with their negations; shared by the tasks' readers.

Use: `find_verdict("This is not an attack.") is False`.
"""

from __future__ import annotations

import re

from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES

_SEPARATOR = r"[\s_\-]*"
_SPELLINGS = {"Fakehead": ("fake", "head"), "Makeup": ("make", "up"), "Bonafide": ("bona", "fide")}


def _name_pattern(name: str) -> str:
    words = _SPELLINGS.get(name, tuple(name.lower().split()))
    return _SEPARATOR.join(words) + "s?"


_TYPE = "|".join(f"(?P<t{i}>{_name_pattern(name)})" for i, name in enumerate(PRESENTATION_TYPES))
_TYPE_MENTION = re.compile(rf"(?<![a-z])(?:{_TYPE})(?![a-z])")
_ATTACK_TYPE = "|".join(_name_pattern(name) for name in ATTACK_TYPES)

_VERDICT = re.compile(
    r"(?<![a-z])(?:"
    rf"(?P<attack>(?:(?:{_ATTACK_TYPE}){_SEPARATOR})?attack(?:s|ed|er)?|spoof(?:s|ed|ing)?|"
    rf"fake(?!{_SEPARATOR}head)|forged|impostor)"
    rf"|(?P<bonafide>bona{_SEPARATOR}fide|genuine|authentic|real|live)"
    r")(?![a-z])"
)
_NEGATION = re.compile(r"(?<![a-z])(?:not|no|non|never|without|neither|nor|cannot|\w+n't|nothing|free of)(?![a-z])")
_NEGATION_REACH = 4  # words between a negation and what it denies: "no sign of an attack"
_NEGATION_WINDOW = 200  # characters looked back; keeps long texts linear
_HEDGE = re.compile(
    r"(?<![a-z])(?:unsure|uncertain|unclear|unknown|undecided|not (?:sure|certain|clear)|"
    r"(?:cannot|can't|can not|could not|couldn't|impossible to|hard to|unable to|not possible to) "
    r"(?:tell|say|determine|decide|judge|see|assess))(?![a-z])"
)
_CLAUSE_END = re.compile(r"[.,;:!?\n]|(?<![a-z])but(?![a-z])")
_NAMED_ATTACK = re.compile(rf"{_SEPARATOR}(?:presentation{_SEPARATOR})?attack")
_OF_TYPE = re.compile(r"\b(?:type|class|category|kind)(?: is| of attack is|\s?[:=])?(?: an?)? ?'?$")
_OF_TYPE_WINDOW = 40  # characters looked back, more than the longest of these


def normalise(text: str) -> str:
    """Lower case, plain apostrophes and dashes, single spaces (line ends stay)."""
    text = text.lower().replace("’", "'").replace("–", "-").replace("—", ", ").replace("*", "").replace('"', "")
    return re.sub(r"[^\S\n]+", " ", text).strip()


def is_negated(text: str, start: int) -> bool:
    """Whether what begins at `start` of a normalised text is denied by its clause; two negations cancel."""
    clause = _CLAUSE_END.split(text[max(start - _NEGATION_WINDOW, 0) : start])[-1]
    words = clause.split()
    near = " ".join(words[-_NEGATION_REACH:])
    near = re.sub(r"\bnot (?:only|just)\b", "", near)
    return len(_NEGATION.findall(near)) % 2 == 1


def _verdicts(text: str) -> set[bool]:
    """The verdicts that a normalised text affirms: True for an attack, False for bona fide."""
    verdicts = set()
    for mention in _VERDICT.finditer(text):
        negated = is_negated(text, mention.start())
        attack = mention.group("attack") is not None
        if attack and negated and _TYPE_MENTION.match(mention.group("attack")):
            continue
        verdicts.add(attack != negated)
    return verdicts


def find_verdict(text: str) -> bool | None:
    """True: an attack; False: bona fide; None: not said, both said, or in doubt.

    A denied attack of a named type ("not a Print attack") says nothing of other types and is no verdict.
    """
    text = normalise(text)
    verdicts = _verdicts(text)
    return verdicts.pop() if len(verdicts) == 1 and not _HEDGE.search(text) else None


def _mentions(text: str) -> list[tuple[str, int, int]]:
    found = []
    for mention in _TYPE_MENTION.finditer(text):
        index = int((mention.lastgroup or "t0")[1:])
        if not is_negated(text, mention.start()):
            found.append((PRESENTATION_TYPES[index], mention.start(), mention.end()))
    return found


def find_type(text: str) -> str | None:
    """The one presentation type that a text affirms, or None where it names none, several, or is in doubt.

    "X attack", "of type X" and a bona fide verdict weigh more than a bare noun: a print attack on a person
    with glasses is a print attack.
    """
    text = normalise(text)
    verdicts = _verdicts(text)
    if len(verdicts) == 2 or _HEDGE.search(text):
        return None
    mentions = _mentions(text)
    stated = {
        name
        for name, start, end in mentions
        if name == BONAFIDE or _NAMED_ATTACK.match(text, end) or _OF_TYPE.search(text[max(start - _OF_TYPE_WINDOW, 0) : start])
    }
    if False in verdicts:
        stated.add(BONAFIDE)
    named = stated or {name for name, _, _ in mentions}
    return named.pop() if len(named) == 1 else None
