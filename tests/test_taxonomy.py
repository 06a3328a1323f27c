"""The twelve types: names, order, spellings and near matches."""

from __future__ import annotations

import pytest

from faceshield.taxonomy import ATTACK_TYPES, BONAFIDE, PRESENTATION_TYPES, TAXONOMY, describe, resolve


def test_the_twelve_names_are_the_papers() -> None:
    assert PRESENTATION_TYPES == (
        "Bonafide",
        "Fakehead",
        "Print",
        "Glasses",
        "Replay",
        "Paper mask",
        "Flexible mask",
        "Rigid mask",
        "Partial Eye",
        "Partial Mouth",
        "Makeup",
        "Tattoo",
    )
    assert BONAFIDE == "Bonafide"
    assert PRESENTATION_TYPES[1:] == ATTACK_TYPES


@pytest.mark.parametrize("row", TAXONOMY, ids=lambda row: row.name)
def test_every_row_is_complete(row) -> None:
    assert row.sentence.endswith(".")
    assert len(row.cues) >= 2 and len(set(row.cues)) == len(row.cues)
    assert row.is_attack == (row.name != BONAFIDE)
    for cue in row.cues:
        assert cue == cue.strip() and cue[0].islower() and not cue.endswith(".")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Paper mask", "Paper mask"),
        ("paper_mask", "Paper mask"),
        ("PAPER-MASK", "Paper mask"),
        (" papermask ", "Paper mask"),
        ("bona fide", "Bonafide"),
        ("Bona-Fide", "Bonafide"),
        ("partial eye", "Partial Eye"),
        ("make-up", "Makeup"),
        ("fake head", "Fakehead"),
    ],
)
def test_resolve_takes_any_spelling(given: str, name: str) -> None:
    assert resolve(given) == name
    assert describe(given).name == name


@pytest.mark.parametrize("name", PRESENTATION_TYPES)
def test_resolve_is_idempotent(name: str) -> None:
    assert resolve(resolve(name.upper().replace(" ", "_"))) == name


@pytest.mark.parametrize(("given", "near"), [("replai", "Replay"), ("Prints", "Print"), ("riggid mask", "Rigid mask")])
def test_an_unknown_type_names_its_near_match(given: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{near}'"):
        resolve(given)


@pytest.mark.parametrize("given", ["", "???", "hologram"])
def test_an_unknown_type_without_a_near_match_lists_them_all(given: str) -> None:
    with pytest.raises(ValueError, match="expected one of Bonafide, Fakehead"):
        resolve(given)
