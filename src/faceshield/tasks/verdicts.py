"""Find verdicts and presentation types in free text, taking negations into account; shared by the tasks' parsers.

Use: `find_verdict("This is not an attack.") is False`.
"""

from __future__ import annotations

import re

from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES

_SEPARATOR = r"[\s_\-]*"
_WORN = ("Glasses", "Makeup", "Tattoo")
_SPELLINGS = {"Fakehead": ("fake", "head"), "Makeup": ("make", "up"), "Bonafide": ("bona", "fide")}


def _name_pattern(name: str) -> str:
    words = _SPELLINGS.get(name, tuple(name.lower().split()))
    return _SEPARATOR.join(words) + "s?"


_TYPE = "|".join(f"(?P<t{i}>{_name_pattern(name)})" for i, name in enumerate(PRESENTATION_TYPES))
_TYPE_MENTION = re.compile(rf"(?<![a-z])(?:{_TYPE})(?![a-z])")
ATTACK_NAMES = "|".join(_name_pattern(name) for name in ATTACK_TYPES)
"""Regular expression for the attack types' names in normalised text."""

_VERDICT = re.compile(
    r"(?<![a-z])(?:"
    rf"(?P<attack>(?:(?:{ATTACK_NAMES}){_SEPARATOR})?attack(?:s|ed|er)?|spoof(?:s|ed|ing)?|"
    rf"fake(?!{_SEPARATOR}head)|forged|impostor)"
    rf"|(?P<bonafide>bona{_SEPARATOR}fide|genuine|authentic|real|live)"
    r")(?![a-z]|[ -]looking)"
)
_NEGATION = re.compile(
    r"(?<![a-z])(?:"
    # What is missing, or the case elsewhere: if a verb then states what that implies, the denial goes no further.
    r"(?P<missing>without|with no|free of|lack(?:s|ed|ing)?|absence of|far from(?! the)|rather than|instead of|"
    r"inconsistent with|doubtful)|"
    r"not|no|non|none(?! other)|never|neither|nor|cannot|\w+n't|nothing|unlikely|hardly|scarcely|hard to (?:believe|imagine)|"
    r"(?<!a )(?<!the )(?<!this )little(?= (?:doubt|evidence|indication|sign|reason|proof|to|(?:suggest|indicate|point)s?)\b)|"
    r"(?<!beyond )(?<!beyond any )(?<!beyond a )(?<!shadow of a )(?<!reasonable )doubt(?:s|ed)?|fail(?:s|ed|ing)? to"
    r")(?![a-z])"
)
_NO_DENIAL = re.compile(
    r"\b(?:not (?:only|just)|without (?:a |any )?doubt|no doubt|nothing (?:other|more|less) than|nothing but|not be more)\b"
)
_FOLLOWS = re.compile(
    r"(?<!that )(?<!which )(?<!to )(?<!would )(?<![a-z])"
    r"(?:(?:indicat|suggest|show|mean|point|prov|impl|reveal)(?:s|es|ies|ing)|is)(?![a-z])"
)
_NEGATION_REACH = 4  # with fewer words in between, a negation always counts: "no sign of an attack"
_NEGATION_WINDOW = 200  # characters searched before and after; keeps the cost linear in the text
# Words that carry a negation over any distance: "there is no evidence to suggest that this picture shows an attack".
_HANDS_ON = re.compile(
    r"an?|the|this|that|these|those|its?|s?he|they|there|here|i|we|one|any|anything|all|some|of|in|on|to|at|from|with|for|by|as|"
    r"if|whether|which|what|is|are|was|were|be|been|being|do|does|did|has|have|had|would|will|can|could|should|may|might|must|"
    r"(?:seem|appear|look|suggest|indicate|point|show|prove|support|mean|belong|detect|notice|observe)(?:s|d|ed|ing)?|"
    r"indicating|proving|sound|sees?|think|believe|consider|say|conclude|find|found|feel|expect|suspect|convinced|evidence|"
    r"proof|artifacts?|(?:indication|indicator|sign|hint|trace|reason|clue|cue)s?|implies|imply|like|likely|possible|way|"
    r"consistent|clear|clearly|obvious|visible|apparent|convincing|whatsoever|actual|actually|really|truly|such|kind|type|sort|"
    r"form|part|person|human|individual|subject|face|picture|image|photo|photograph|presentation|seen|shown|present|taken"
)
# A denial after the phrase: "an attack can be ruled out", "attack: no".
_DENIED_AFTER = re.compile(
    r" ?(?:attacks?|attempts?|faces?|persons?)?(?: (?:is|are|was|were|can be|could be|seems?|appears?))? "
    r"(?:(?:very|highly|rather|quite) )?(?:unlikely|ruled out|excluded|(?:not|nowhere) (?:visible|present|seen|apparent|"
    r"detected|found|likely|possible|plausible|the case|there|here))(?![a-z])|(?: attacks?)?[:?] ?no(?:ne)?(?![a-z])"
)
_HEDGE = re.compile(
    r"(?<![a-z])(?:i'm sorry|i am sorry|i apologi[sz]e|as an ai|(?:ai )?language model|no way to tell|"
    r"unsure|undecided|not (?:sure|certain|clear|able|comfortable)|"
    r"(?:cannot|can't|can not|could not|couldn't|impossible to|hard to|difficult to|unable to|not possible to) "
    r"(?:\w+ly )?(?:tell|say|determine|decide|judge|assess|verify|confirm|identify|assist|comment|know|answer|"
    r"see (?:if|whether)|help(?! but)))(?![a-z])"
)
# A doubt about one thing: it counts only in a clause with a verdict or a type.
_MAYBE = re.compile(
    r"(?<![a-z])(?:uncertain|unclear|unknown|(?:might|may|could)(?: (?:also|well|still|either|just|not))* be(?! more))(?![a-z])"
)
_CLAUSE_END = re.compile(
    r"[.,;:!?\n(/=]| ->? |(?<![a-z])(?:but|so|therefore|thus|hence|because|which(?= (?:shows|means|indicates|suggests) )|"
    r"and(?= (?:so|therefore|thus|hence|it|it's|this|is|are|was|looks?|appears?|seems?|the (?:face|picture|image)) ))(?![a-z])"
)
_AFTER_ALTHOUGH = re.compile(
    r"^\s*(?:although|though|even though|since|as|while)\b.* (?=(?:it|this|the (?:face|picture|image)) )"
)
# Words that mention a class without saying that the picture is of it, should the text say something else elsewhere: what
# another picture would show ("a real face would have pores", "if it were an attack") …
_WOULD = re.compile(r"(?: [a-z'-]+){0,4} (?:would|should)(?![a-z])")
_IF = re.compile(r"^\s*(?:if|were (?:it|this|the \w+)|unlike|compared (?:to|with)|in contrast to)\b")
# … and the person whom an attack depicts or who carries it out ("a photo of a real person", "a live person wears a mask").
_DEPICTED = re.compile(r"(?<![a-z])(?:of|by|from) (?:an?|the|some(?:one|body))(?: [a-z-]+)? $")
_CARRIER = re.compile(
    r" (?:persons?|people|man|woman|men|women|humans?|individuals?|subjects?|users?|faces?|skin)"
    r"(?:'s?|(?: (?:who|that))?(?: (?:is|are))? (?:wear|hold|present|hid)(?:s|ing|es)?)(?![a-z])"
)
# Attacks in general ("attacks usually show moire"), and signs of one that the sentence then calls missing.
_SIGNS = (  # after and before the attack
    re.compile(
        r"(?: (?:presentation )?attacks?)? (?:artifact|cue|sign|indicator|indication|trace|feature|mark|pattern)s?(?![a-z])"
    ),
    re.compile(
        r"(?<![a-z])(?:sign|trace|indication|indicator|evidence|cue|artifact|hint|mark|feature)s? of (?:(?:an?|any|the) )?"
        r"(?:presentation )?$"
    ),
)
_MISSING = re.compile(
    r"[^.;!?\n]*(?<![a-z])(?:absent|missing|lacking|not (?:seen|visible|present|found|apparent|there))(?![a-z])"
)
_NAMED_ATTACK = re.compile(rf"{_SEPARATOR}(?:presentation{_SEPARATOR})?attack")
_OF_TYPE = re.compile(r"\b(?:type|class|category|kind)(?: is| of attack is|\s?[:=])?(?: an?)? ?'?$")
_OF_TYPE_WINDOW = 40  # characters searched before, more than the longest match


def normalise(text: str) -> str:
    """Lower case, plain apostrophes and dashes, no asterisks or double quotes, single spaces (line ends stay)."""
    text = text.lower().replace("’", "'").replace("–", "-").replace("—", ", ").replace("*", "").replace('"', "")
    return re.sub(r"[^\S\n]+", " ", text).strip()


def is_negated(text: str, start: int, end: int | None = None) -> bool:
    """Whether the phrase from `start` (to `end`) in a normalised text is denied by its clause; two negations cancel.

    A negation counts if at most three words separate it from the phrase, or if all the words between carry it on. With `end`,
    denials after the phrase count too ("an attack can be ruled out").
    """
    clause = _CLAUSE_END.split(text[max(start - _NEGATION_WINDOW, 0) : start])[-1]
    clause = _NO_DENIAL.sub("", _AFTER_ALTHOUGH.sub("", clause))
    denials = int(end is not None and _DENIED_AFTER.match(text, end, end + _NEGATION_WINDOW) is not None)
    for negation in _NEGATION.finditer(clause):
        rest = clause[negation.end() :]
        if negation.group("missing") and _FOLLOWS.search(rest):
            continue
        between = rest.split()
        near = len(between) < _NEGATION_REACH
        denials += near or all(_HANDS_ON.fullmatch(word) or _NEGATION.fullmatch(word) for word in between)
    return denials % 2 == 1


def _verdicts(text: str) -> set[bool]:
    """The verdicts that a normalised text affirms: True for an attack, False for bona fide.

    Only the mentions of the greatest `_weight` count: "an attack, as a real face would have pores" is one verdict.
    """
    found: dict[int, set[bool]] = {}
    for mention in _VERDICT.finditer(text):
        negated = is_negated(text, mention.start(), mention.end())
        attack = mention.group("attack") is not None
        if attack and negated and _TYPE_MENTION.match(mention.group("attack")):
            continue
        found.setdefault(_weight(text, mention, attack), set()).add(attack != negated)
    return found[max(found)] if found else set()


def _weight(text: str, mention: re.Match[str], attack: bool) -> int:
    """How much a mention of a class says of this picture: 0 if it is of other pictures, 1 if it is of the person whom an attack
    may depict or hide, else 2."""
    before = _CLAUSE_END.split(text[max(mention.start() - _NEGATION_WINDOW, 0) : mention.start()])[-1]
    if _WOULD.match(text, mention.end()) or _IF.search(before):
        return 0
    if attack:
        follows, precedes = _SIGNS
        signs = follows.match(text, mention.end()) or precedes.search(before)
        missing = signs and _MISSING.match(text, mention.end(), mention.end() + _NEGATION_WINDOW)
        return 0 if mention.group().endswith("s") or missing else 2
    return 1 if _DEPICTED.search(before) or _CARRIER.match(text, mention.end()) else 2


def _in_doubt(text: str) -> bool:
    """Whether a normalised text refuses to answer or is in doubt, or a clause with a verdict or a type expresses doubt."""
    if _HEDGE.search(text):
        return True
    clauses = _CLAUSE_END.split(text)
    return any(_MAYBE.search(one) and (_VERDICT.search(one) or _TYPE_MENTION.search(one)) for one in clauses)


def find_verdict(text: str) -> bool | None:
    """True: an attack; False: bona fide; None: neither, both, or in doubt.

    The denial of an attack of a named type ("not a Print attack") says nothing about other types and is no verdict.
    """
    text = normalise(text)
    verdicts = _verdicts(text)
    return verdicts.pop() if len(verdicts) == 1 and not _in_doubt(text) else None


def _mentions(text: str) -> list[tuple[str, int, int]]:
    found = []
    for mention in _TYPE_MENTION.finditer(text):
        index = int((mention.lastgroup or "t0")[1:])
        if not is_negated(text, mention.start()):
            found.append((PRESENTATION_TYPES[index], mention.start(), mention.end()))
    return found


def find_type(text: str) -> str | None:
    """The one presentation type that a text affirms, or None if it names none or several, or is in doubt.

    "X attack", "of type X" and a bona fide verdict take precedence over a bare noun: a print attack on a person with glasses
    is a print attack.
    """
    stated, mentioned = _types(text)
    named = stated or mentioned
    return named.pop() if len(named) == 1 else None


def find_stated_type(text: str) -> str | None:
    """As `find_type`, but glasses, make-up and tattoos count only if stated as the verdict: live people wear them."""
    stated, mentioned = _types(text)
    named = stated or mentioned.difference(_WORN)
    return named.pop() if len(named) == 1 else None


def find_verdict_or_type(text: str) -> bool | None:
    """`find_verdict`, or else the verdict implied by the one type that a text affirms.

    Merely mentioning glasses, make-up or tattoos implies nothing, because live people wear them: "a man with glasses" is no
    verdict, but "glasses" as the whole answer is one.
    """
    verdict, name = find_verdict(text), find_type(text)
    if verdict is not None or name is None:
        return verdict
    if name in _WORN and not _types(text)[0] and not re.fullmatch(rf"(?:an? )?(?:{_name_pattern(name)})[.!]?", normalise(text)):
        return None
    return name != BONAFIDE


def _types(text: str) -> tuple[set[str], set[str]]:
    """The types that a text states as its verdict ("X attack", "of type X", bona fide), and all that it mentions; none if it is
    in doubt or contradicts itself."""
    text = normalise(text)
    verdicts = _verdicts(text)
    if len(verdicts) == 2 or _in_doubt(text):
        return set(), set()
    mentions = _mentions(text)
    stated = {
        name
        for name, start, end in mentions
        if name == BONAFIDE or _NAMED_ATTACK.match(text, end) or _OF_TYPE.search(text[max(start - _OF_TYPE_WINDOW, 0) : start])
    }
    if False in verdicts:
        stated.add(BONAFIDE)
    return stated, {name for name, _, _ in mentions}
