"""The twelve presentation types of the paper (§3.1), in a table with a sentence and the usual visible cues for each.

Every data set's labels are mapped to these names. Use: `resolve("paper_mask") == "Paper mask"`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

BONAFIDE = "Bonafide"
UNTYPED = "attack"
"""Name of an attack of unknown type in labels, tables and folders; in a record, its type is None."""


@dataclass(frozen=True)
class PresentationType:
    """One row of the table.

    Attributes:
        name: canonical spelling, used in records, answers and tables.
        sentence: what it is, for people.
        cues: noun phrases for what can often be seen; used if a sample has no cues of its own.
    """

    name: str
    sentence: str
    cues: tuple[str, ...]

    @property
    def is_attack(self) -> bool:
        return self.name != BONAFIDE


TAXONOMY: tuple[PresentationType, ...] = (
    PresentationType(
        BONAFIDE,
        "A live person in front of the camera, with nothing between them.",
        ("natural skin", "soft shadows with depth", "clear live eyes"),
    ),
    PresentationType(
        "Fakehead",
        "A mannequin or model head shown instead of a person.",
        ("smooth plastic skin", "painted eyes", "stiff hair"),
    ),
    PresentationType(
        "Print",
        "A photo of the face printed on paper.",
        ("a paper edge", "faded colours", "flat light on the face"),
    ),
    PresentationType(
        "Glasses",
        "Opaque or fake glasses that hide or replace the eyes.",
        ("a thick frame over the eyes", "glasses that hide the eyes"),
    ),
    PresentationType(
        "Replay",
        "The face shown on the screen of a phone, tablet or monitor.",
        ("a screen border", "a bright screen reflection", "a screen pattern"),
    ),
    PresentationType(
        "Paper mask",
        "A mask of printed paper worn on the face.",
        ("paper folds on the face", "a cut paper edge around the face", "flat printed skin"),
    ),
    PresentationType(
        "Flexible mask",
        "A soft mask of silicone, latex or cloth worn on the face.",
        ("smooth rubber skin", "loose folds near the mouth", "a mask edge around the eyes"),
    ),
    PresentationType(
        "Rigid mask",
        "A hard mask of plastic, resin or plaster worn on the face.",
        ("hard shiny skin", "a stiff mask edge", "eyes deep in the mask"),
    ),
    PresentationType(
        "Partial Eye",
        "A cut-out of somebody else's eyes laid over the eyes.",
        ("a paper strip over the eyes", "eyes with another light"),
    ),
    PresentationType(
        "Partial Mouth",
        "A cut-out of somebody else's mouth laid over the mouth.",
        ("a paper piece over the mouth", "a mouth with another light"),
    ),
    PresentationType(
        "Makeup",
        "Heavy make-up that changes who the person seems to be.",
        ("heavy colour around the eyes", "painted lines on the skin", "strong lip colour"),
    ),
    PresentationType(
        "Tattoo",
        "A painted or glued tattoo on the face that changes how it looks.",
        ("dark ink on the skin", "a drawn pattern on the face"),
    ),
)

PRESENTATION_TYPES: tuple[str, ...] = tuple(row.name for row in TAXONOMY)
ATTACK_TYPES: tuple[str, ...] = tuple(row.name for row in TAXONOMY if row.is_attack)

_BY_NAME = {row.name: row for row in TAXONOMY}
_UNTYPED_ROW = PresentationType(UNTYPED, "Something else than a live person in front of the camera.", ())


def key(name: str) -> str:
    """A name without case, spaces, hyphens and underscores: the same for all its spellings."""
    return re.sub(r"[\W_]+", "", name).lower()


_BY_KEY = {key(name): name for name in PRESENTATION_TYPES}


def resolve(name: str) -> str:
    """Canonical name of a presentation type, regardless of case, spaces, hyphens and underscores.

    Raises:
        ValueError: unknown type; the message names the nearest one.
    """
    plain = key(name)
    if plain in _BY_KEY:
        return _BY_KEY[plain]
    near = difflib.get_close_matches(plain, _BY_KEY, n=1, cutoff=0.5)
    hint = f"did you mean {_BY_KEY[near[0]]!r}?" if near else "use one of them"
    raise ValueError(f"unknown presentation type {name!r} — expected one of {', '.join(PRESENTATION_TYPES)} — {hint}")


def describe(name: str | None) -> PresentationType:
    """The table's row for a type, in any spelling that `resolve` accepts; None: an attack of unknown type.

    Raises:
        ValueError: unknown type, as `resolve`.
    """
    return _UNTYPED_ROW if name is None else _BY_NAME[resolve(name)]
