"""Every way an answer can be malformed, task by task: read right or "unparsed", and never an exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faceshield.tasks import COARSE, FINE, LOCALIZATION, REASONING, TASKS
from faceshield.tasks.verdicts import find_type, find_verdict
from faceshield.taxonomy import PRESENTATION_TYPES

ATTACK, BONAFIDE, UNPARSED = True, False, None


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        # as trained
        ("This is a bona fide face.", BONAFIDE),
        ("This is a presentation attack.", ATTACK),
        # spelling, case, spaces, marks
        ("this is a presentation attack", ATTACK),
        ("THIS IS A BONA FIDE FACE", BONAFIDE),
        ("Thisisapresentationattack.", UNPARSED),
        ("bonafide", BONAFIDE),
        ("Bona-fide.", BONAFIDE),
        ("  **Bona fide**  ", BONAFIDE),
        ("attack", ATTACK),
        ("It's a spoof!", ATTACK),
        ("The face is fake.", ATTACK),
        ("a live face", BONAFIDE),
        ("The face is real.", BONAFIDE),
        ("genuine", BONAFIDE),
        ("This is a\npresentation\nattack", ATTACK),
        # negations
        ("This is not an attack.", BONAFIDE),
        ("This is not a presentation attack.", BONAFIDE),
        ("This isn't an attack.", BONAFIDE),
        ("This isn’t an attack.", BONAFIDE),
        ("There is no sign of an attack.", BONAFIDE),
        ("The face is not real.", ATTACK),
        ("This is not a bona fide face.", ATTACK),
        ("Not bona fide, but a presentation attack.", ATTACK),
        ("This is not an attack, it is a bona fide face.", BONAFIDE),
        ("This is a bona fide face, not an attack.", BONAFIDE),
        ("This is an attack, not a bona fide face.", ATTACK),
        ("This is a non-attack.", BONAFIDE),
        ("It is not only an attack.", ATTACK),
        ("It is never not an attack.", ATTACK),
        # both words
        ("bona fide attack", UNPARSED),
        ("Is this face bona fide or a presentation attack?", UNPARSED),
        ("This is a bona fide face. This is a presentation attack.", UNPARSED),
        ("Neither bona fide nor an attack.", UNPARSED),
        # doubt and refusal
        ("I am not sure if this is an attack.", UNPARSED),
        ("I cannot tell whether this is an attack.", UNPARSED),
        ("It is unclear.", UNPARSED),
        ("I can't help with that.", UNPARSED),
        ("Yes.", UNPARSED),
        ("No", UNPARSED),
        # types in the place of the verdict
        ("Print", ATTACK),
        ("This is a Rigid mask.", ATTACK),
        ("This is a Print attack.", ATTACK),
        ("Fakehead", ATTACK),
        ("This is not a Print attack.", UNPARSED),
        # truncated, empty, noise
        ("This is a presentation att", UNPARSED),
        ("This is a", UNPARSED),
        ("", UNPARSED),
        ("   \n\t ", UNPARSED),
        ("[12, 30, 400, 500]", UNPARSED),
        ("attackers' really realistic delivery", UNPARSED),
        ("\x00\ufffd🙂", UNPARSED),
    ],
)
def test_coarse(text: str, verdict: bool | None) -> None:
    answer = COARSE.read(text)
    assert answer.is_attack is verdict
    assert answer.status == ("unparsed" if verdict is None else "parsed")
    assert answer.presentation_type == ("Bonafide" if verdict is BONAFIDE else None)
    assert answer.text == text and answer.boxes == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("This is a Print attack.", "Print"),
        ("This is a bona fide face.", "Bonafide"),
        ("Bonafide", "Bonafide"),
        ("This is a Rigid mask attack.", "Rigid mask"),
        ("this is a rigid_mask attack", "Rigid mask"),
        ("RIGIDMASK", "Rigid mask"),
        ("partial-eye", "Partial Eye"),
        ("The type is Partial Mouth.", "Partial Mouth"),
        ("Type: 'Replay'", "Replay"),
        ("a make-up attack", "Makeup"),
        ("A fake head attack", "Fakehead"),
        ("This is a Fakehead attack.", "Fakehead"),
        ("This is a presentation attack of type Flexible mask.", "Flexible mask"),
        ("It is not bona fide, it is a Tattoo attack.", "Tattoo"),
        ("It is not a Print attack, it is a Replay attack.", "Replay"),
        ("a Print attack on a person with glasses", "Print"),
        ("This face is bona fide and wears glasses.", "Bonafide"),
        ("This is not an attack.", "Bonafide"),
        ("Print attack. Print attack.", "Print"),
        ("Tattoos", "Tattoo"),
        # several, none, unknown, doubt
        ("This is a Print attack or a Replay attack.", None),
        ("Print, Replay", None),
        ("This is a presentation attack.", None),
        ("This is a mask attack.", None),
        ("This is a hologram attack.", None),
        ("This is not a Print attack.", None),
        ("I cannot tell if it is a Print attack.", None),
        ("This is a bona fide face. This is a Print attack.", None),
        ("This is a Pri", None),
        ("This is a Rigid", None),
        ("printed", None),
        ("", None),
        ("42", None),
    ],
)
def test_fine(text: str, name: str | None) -> None:
    answer = FINE.read(text)
    assert answer.presentation_type == name
    assert answer.status == ("unparsed" if name is None else "parsed")
    assert answer.is_attack is (None if name is None else name != "Bonafide")


@pytest.mark.parametrize(
    ("text", "verdict", "name"),
    [
        ("A paper edge can be seen, so this is a presentation attack of type Print.", ATTACK, "Print"),
        ("Natural skin can be seen, so this face is bona fide.", BONAFIDE, "Bonafide"),
        ("I see a screen. So this is a presentation attack.", ATTACK, None),
        ("A bona fide face has depth. This one is flat, so this is a presentation attack.", ATTACK, None),
        (
            "An attack would show an edge. There is none, therefore this face is bona fide.",
            BONAFIDE,
            "Bonafide",
        ),
        ("There is no moire. The face is bona fide.", BONAFIDE, "Bonafide"),
        ("The face is a Replay attack because of the screen border.", ATTACK, "Replay"),
        ("So far so good, hence this is an attack of type Rigid mask", ATTACK, "Rigid mask"),
        ("He wears glasses and has a tattoo, so this face is bona fide.", BONAFIDE, "Bonafide"),
        ("A paper edge and flat light can be seen, so this is a presentation attack of ty", ATTACK, None),
        ("A paper edge and flat light can be seen, so this", UNPARSED, None),
        ("A paper edge can be seen.", UNPARSED, None),
        ("It could be an attack or a bona fide face.", UNPARSED, None),
        ("so so so so", UNPARSED, None),
        ("so", UNPARSED, None),
        ("", UNPARSED, None),
    ],
)
def test_reasoning(text: str, verdict: bool | None, name: str | None) -> None:
    answer = REASONING.read(text)
    assert (answer.is_attack, answer.presentation_type) == (verdict, name)
    assert answer.status == ("unparsed" if verdict is None else "parsed")


SIZE = (999, 999)  # one pixel a number


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("The attack is at [10, 20, 30, 40].", [(10, 20, 30, 40)]),
        ("[10,20,30,40]", [(10, 20, 30, 40)]),
        ("[10 20 30 40]", [(10, 20, 30, 40)]),
        ("Theattackisat[10,20,30,40].", [(10, 20, 30, 40)]),
        ("The attack is at (10, 20, 30, 40)", [(10, 20, 30, 40)]),
        ("The attack is at 10, 20, 30, 40.", [(10, 20, 30, 40)]),
        ("at [10; 20; 30; 40]", [(10, 20, 30, 40)]),
        ("at [10, 20, 30, 40", []),  # cut off: the last number may have lost digits
        ("at [10, 20, 30, 40.", [(10, 20, 30, 40)]),
        ("at [10, 20, 30", []),
        ("at [10, 20, 30]", []),
        ("at [10, 20, 30, 40, 50]", []),
        ("at []", []),
        ("[30, 40, 10, 20]", [(10, 20, 30, 40)]),
        ("[30, 20, 10, 40]", [(10, 20, 30, 40)]),
        ("[10.0, 20.5, 30.25, 40.]", [(10, 20.5, 30.25, 40)]),
        ("[0.1, 0.2, 0.3, 0.4]", [(99.9, 199.8, 299.7, 399.6)]),
        ("[-5, 20, 30, 40]", [(0, 20, 30, 40)]),
        ("[10, 20, 30, 4000]", [(10, 20, 30, 999)]),
        ("[1500, 1500, 1600, 1700]", []),
        ("[10, 20, 10, 40]", []),
        ("[10, 20, 30, 20]", []),
        ("[10, 20, 30, 40] and [50, 60, 70, 80].", [(10, 20, 30, 40), (50, 60, 70, 80)]),
        ("[10,20,30,40]and[50,60,70,80]", [(10, 20, 30, 40), (50, 60, 70, 80)]),
        ("[[10, 20, 30, 40], [50, 60, 70, 80]]", [(10, 20, 30, 40), (50, 60, 70, 80)]),
        ("10, 20, 30, 40 and 50, 60, 70, 80", [(10, 20, 30, 40), (50, 60, 70, 80)]),
        ("[10, 20, 30, 40] and [50, 60, 7", [(10, 20, 30, 40)]),
        ("[10, 20, 30, 40] and [10, 20, 30, 40]", [(10, 20, 30, 40)]),
        ("[10, 20, 30, 40] and [5, 5, 5, 5]", [(10, 20, 30, 40)]),
        ("from (10, 20) to (30, 40)", [(10, 20, 30, 40)]),
        ("[(10, 20), (30, 40)]", [(10, 20, 30, 40)]),
        ("<box>10, 20, 30, 40</box>", [(10, 20, 30, 40)]),
        ("x0=10, y0=20, x1=30, y1=40", [(10, 20, 30, 40)]),
        ('{"bbox_2d": [10, 20, 30, 40], "label": "attack"}', [(10, 20, 30, 40)]),
        ("1. The attack is at [10, 20, 30, 40].", [(10, 20, 30, 40)]),
        ("There are 2 regions: [10, 20, 30, 40], [50, 60, 70, 80].", [(10, 20, 30, 40), (50, 60, 70, 80)]),
        ("[10px, 20px, 30px, 40px]", [(10, 20, 30, 40)]),
        ("[1e1, 2e1, 3e1, 4e1]", []),
        ("[ten, 20, 30, 40]", []),
        ("The attack is at the eyes.", []),
        ("There is no attack region at [10, 20, 30, 40].", []),
        ("This face is bona fide: [10, 20, 30, 40]", []),
        ("I am not sure.", []),
        ("", []),
        ("99999999999999999999999999 1 2 3", [(2, 1, 999, 3)]),
    ],
)
def test_localization_boxes(text: str, boxes: list[tuple[float, ...]]) -> None:
    answer = LOCALIZATION.read(text, SIZE)
    assert answer.status == ("parsed" if boxes else "unparsed")
    assert answer.is_attack is (True if boxes else None)
    assert np.allclose(answer.boxes, boxes) if boxes else answer.boxes == []


@pytest.mark.parametrize(
    "text",
    [
        "There is no attack region.",
        "there is no attack",
        "No region.",
        "None.",
        "No.",
        "[]",
        "none",
        "This is a bona fide face.",
        "No attack region was found.",
        "There isn't an attack.",
    ],
)
def test_localization_none(text: str) -> None:
    answer = LOCALIZATION.read(text, SIZE)
    assert (answer.status, answer.is_attack, answer.boxes) == ("parsed", False, [])
    assert answer.presentation_type == "Bonafide"


def test_localization_in_the_padding_is_no_region() -> None:
    assert LOCALIZATION.read("[0, 0, 999, 100]", (100, 50)).status == "unparsed"
    assert LOCALIZATION.read("[0, 0, 999, 999]", (100, 50)).boxes == [(0, 0, 100, 50)]


def test_without_a_size_boxes_stay_in_the_square() -> None:
    assert LOCALIZATION.read("[10, 20, 30, 40]").boxes == [(10, 20, 30, 40)]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_no_text_makes_a_reader_raise(task) -> None:
    rng = np.random.default_rng(0)
    pieces = [
        *PRESENTATION_TYPES, "attack", "bona fide", "not", "no", "n't", "so", "type", "\x00", "é", "\\",
        "[", "]", "(", ")", ",", ".", " ", "\n", "10", "999", "-", "0.5", "{}", "{name}", "%s", "<image>",
    ]  # fmt: skip
    for _ in range(300):
        text = "".join(pieces[i] for i in rng.integers(len(pieces), size=rng.integers(0, 25)))
        answer = task.read(text, (37, 91))
        assert answer.status in ("parsed", "unparsed")
        assert (answer.is_attack is None) == (answer.status == "unparsed")
        for x0, y0, x1, y1 in answer.boxes:
            assert 0 <= x0 < x1 <= 37 and 0 <= y0 < y1 <= 91


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "denial",
    [
        "This is not {}.",
        "This does not appear to be {}.",
        "The face in this picture does not seem to be {}.",
        "I do not think this is {}.",
        "I don’t believe that this is {}.",
        "It is unlikely that this is {}.",
        "This is not likely to be {}.",
        "There is no indication that this is {}.",
        "There is no evidence to suggest that this is {}.",
        "There is nothing to suggest that this is {}.",
        "There are no clear signs that would indicate {}.",
        "This fails to look like {}.",
        "It is far from being {}.",
        "I doubt that this is {}.",
    ],
)
@pytest.mark.parametrize(
    ("what", "read"),
    [
        ("a real face", ATTACK),
        ("a live person", ATTACK),
        ("a bona fide face", ATTACK),
        ("a presentation attack", BONAFIDE),
        ("a spoof", BONAFIDE),
    ],
)
def test_a_denial_is_read_however_far_it_is_from_what_it_denies(denial: str, what: str, read: object) -> None:
    assert COARSE.read(denial.format(what)).is_attack is read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("There is no paper edge in this picture of a real person.", BONAFIDE),
        ("The skin lacks depth and looks fake.", ATTACK),
        ("There is no natural texture so this is an attack.", ATTACK),
        ("The face has no shadows and it is a spoof.", ATTACK),
        ("There is no doubt that this is a real face.", BONAFIDE),
        ("Without a doubt, this is an attack.", ATTACK),
        ("This is not real because spoof traces can be seen.", ATTACK),
        ("This face is real rather than an attack.", BONAFIDE),
        ("This is a spoof instead of a live person.", ATTACK),
        ("An attack can be ruled out; the face is real.", BONAFIDE),
        ("The face is probably real.", BONAFIDE),
    ],
)
def test_a_denial_of_something_else_is_none(text: str, read: object) -> None:
    answer = COARSE.read(text)
    assert (answer.is_attack if answer.status == "parsed" else UNPARSED) == read


SENTENCES = [line.split("\t") for line in (Path(__file__).parent / "verdicts.tsv").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("means", "text"), SENTENCES)
def test_sentences_as_language_models_write_them(means: str, text: str) -> None:
    """Those that are known to be misread are in the list too: reading one rightly is to be noted there."""
    wanted = {"attack": True, "bona fide": False, "neither": None}[means.removesuffix(", misread")]
    assert (find_verdict(text) is wanted) != means.endswith(", misread")


@pytest.mark.parametrize(
    "text",
    [
        "I cannot verify that this is a real face.",
        "I can't confirm whether the person is real.",
        "As an AI, I cannot verify whether the face belongs to a real person.",
        "I'm unable to reliably verify whether this is a live person.",
        "I'm not able to confirm that this is a genuine face.",
        "I'm sorry, I can't help with identifying real people.",
        "It could be a real face or a mask.",
        "This might also be a spoof.",
        "It's difficult to say if this is real.",
    ],
)
def test_a_refusal_is_no_verdict(text: str) -> None:
    assert COARSE.read(text).status == "unparsed" and FINE.read(text).status == "unparsed"


@pytest.mark.parametrize("piece", ["1, ", "[", "not ", "so, ", "bona ", " ", "attack ", "not print attack ", "so x. "])
def test_long_texts_are_read_in_time(piece: str) -> None:
    for task in TASKS.values():
        task.read(piece * 3000, (100, 100))


@pytest.mark.timeout(30)
def test_a_model_that_is_stuck_on_new_lines_is_read_in_time() -> None:
    assert LOCALIZATION.read("1" + "\n" * 300_000 + "z", (100, 100)).status == "unparsed"
    assert LOCALIZATION.read("[1,\n 2,\n\n3,\t4]").boxes == [(1, 2, 3, 4)]


def test_verdicts_and_types_alone() -> None:
    assert find_verdict("") is None and find_type("") is None
    assert [find_type(f"{name} attack") for name in PRESENTATION_TYPES[1:]] == list(PRESENTATION_TYPES[1:])


@pytest.mark.parametrize(
    ("text", "is_attack"),
    [
        ("A man with glasses.", None), ("A woman wearing makeup.", None), ("She has a tattoo on her cheek.", None),
        ("Glasses.", True), ("a tattoo", True), ("This is of type Makeup.", True), ("A Glasses attack.", True),
        ("A paper mask.", True), ("The face is real-looking but printed.", None), ("A live-looking face on a screen.", None),
    ],
)  # fmt: skip
def test_what_people_wear_is_no_verdict(text: str, is_attack: bool | None) -> None:
    assert COARSE.read(text).is_attack is is_attack and REASONING.read(text).is_attack is is_attack


def test_whole_numbers_are_no_fractions() -> None:
    assert TASKS["localization"].read("[0, 0, 1, 1]", (999, 999)).boxes == [(0, 0, 1, 1)]
    assert TASKS["localization"].read("[0.0, 0.0, 1, 1]", (999, 999)).boxes == [(0, 0, 999, 999)]
