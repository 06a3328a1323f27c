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
_NEGATION = re.compile(
    r"(?<![a-z])(?:not|no|non|never|without|neither|nor|cannot|\w+n't|nothing|little|free of|unlikely|hardly|scarcely|"
    r"doubt(?:s|ed|ful)?|fail(?:s|ed|ing)? to|lack(?:s|ed|ing)?|absence of|far from|rather than|instead of|ruled? out|"
    r"inconsistent with)(?![a-z])"
)
_NEGATION_REACH = 4  # words between a negation and what it denies, whatever they are: "no sign of an attack"
_NEGATION_WINDOW = 200  # characters looked back; keeps long texts linear
# Words that hand a negation on however many they are: "there is no evidence to suggest that this picture shows an attack".
_HANDS_ON = re.compile(
    r"an?|the|this|that|these|those|its?|s?he|they|there|here|i|we|one|any|all|some|of|in|on|to|at|from|with|for|by|as|if|"
    r"whether|which|what|is|are|was|were|be|been|being|do|does|did|has|have|had|would|will|can|could|should|may|might|must|"
    r"(?:seem|appear|look|suggest|indicate|point|show|prove|support|mean|belong)(?:s|ed|ing)?|indicating|proving|sound|"
    r"think|believe|consider|say|conclude|find|found|feel|expect|suspect|evidence|proof|artifacts?|"
    r"(?:indication|indicator|sign|hint|trace|reason|clue)s?|implies|imply|like|likely|consistent|clear|clearly|obvious|visible|"
    r"apparent|convincing|actual|actually|really|truly|such|kind|type|sort|form|part|person|human|individual|subject|"
    r"face|picture|image|photo|photograph|presentation|seen|shown|present|taken"
)
_HEDGE = re.compile(
    r"(?<![a-z])(?:unsure|uncertain|unclear|unknown|undecided|not (?:sure|certain|clear|able|comfortable)|"
    r"(?:might|may|could)(?: (?:also|well|still|either|just))* be|i'm sorry|i am sorry|i apologi[sz]e|as an ai|"
    r"(?:ai )?language model|no way to tell|"
    r"(?:cannot|can't|can not|could not|couldn't|impossible to|hard to|difficult to|unable to|not possible to) "
    r"(?:\w+ly )?(?:tell|say|determine|decide|judge|see|assess|verify|confirm|identify|assist|help|comment|know|answer))"
    r"(?![a-z])"
)
_CLAUSE_END = re.compile(
    r"[.,;:!?\n]|(?<![a-z])(?:but|so|therefore|thus|hence|because|"
    r"and(?= (?:so|therefore|thus|hence|it|this|is|are|was|looks?|appears?|seems?|the (?:face|picture|image)) ))(?![a-z])"
)
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
    clause = re.sub(r"\bnot (?:only|just)\b", "", clause)
    denials = 0
    for negation in _NEGATION.finditer(clause):
        between = clause[negation.end() :].split()
        denials += len(between) < _NEGATION_REACH or all(
            _HANDS_ON.fullmatch(word) or _NEGATION.fullmatch(word) for word in between
        )
    return denials % 2 == 1


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
