"""Filters: each drops only what it should, with its name and a reason; a resumed run writes the same file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faceshield.data_engine import filter as filters
from faceshield.data_engine.backends import Judgement, NoAnswer
from faceshield.data_engine.contradictions import answer_faults, contradictions, question_faults
from faceshield.data_engine.duplicates import DuplicateConfig, DuplicateIndex
from faceshield.data_engine.filter import FilterConfig, filter_dialogues
from faceshield.data_engine.similarity import SimilarityConfig
from faceshield.data_engine.stage import rejects_path
from faceshield.records import Dialogue, Turn, image_path, read_jsonl, write_jsonl


def answered(row: Dialogue, answer: str, question: str | None = None) -> Dialogue:
    asked = row.conversations[0].value if question is None else f"<image>\n{question}"
    turns = [Turn(speaker="human", value=asked), Turn(speaker="gpt", value=answer)]
    return row.model_copy(update={"conversations": turns})


def rejects_of(out: Path) -> dict[str, tuple[str, str]]:
    path = rejects_path(out)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["id"]: (row["filter"], row["reason"]) for row in rows}


def test_the_grammar_passes_and_pictures_are_found_from_another_folder(dialogues_jsonl: Path, tmp_path: Path) -> None:
    out = tmp_path / "else" / "kept.jsonl"
    result = filter_dialogues(dialogues_jsonl, out, FilterConfig(duplicates=None))
    rows = read_jsonl(out, Dialogue)
    assert result.rejects == 0 and len(rows) == result.rows == 2 * 4 * 24
    assert all(image_path(row, out).is_file() for row in rows)
    assert [row.id for row in rows] == [row.id for row in read_jsonl(dialogues_jsonl, Dialogue)]


@pytest.mark.parametrize(
    ("task", "question", "gives_away"),
    [
        ("reasoning", "What shows that this picture is a Print attack and not a live person?", "Print"),
        ("reasoning", "What speaks for a live person?", "bona fide"),
        ("fine", "This Replay attack was shown on a phone. Which presentation type is it?", "Replay"),
        ("coarse", "This face is bona fide, is it not?", "bona fide"),
        ("localization", "Where is the Print attack?", "Print"),
        ("fine", "What type of attack is this?", None),
        ("fine", "Is this a Print attack, a Replay attack or bona fide?", None),
        ("coarse", "Is this face bona fide?", None),
        ("coarse", "Say whether the face is genuine.", None),
        ("localization", "Where is the attack?", None),
        ("caption", "What does the genuine face look like?", None),
        ("coarse", "How likely is it that this face is bona fide?", None),
        ("coarse", "What is the probability that the face is genuine?", None),
        ("coarse", "Tell me: is this face real?", None),
        ("fine", "Now, is this a print attack?", None),
        ("coarse", "Look closely. Real?", None),
        ("coarse", "The person wears glasses. Is it an attack?", None),
        ("fine", "Choose from: Print, Replay, bona fide.", None),
        ("reasoning", "Why is this face bona fide or an attack?", None),
        ("reasoning", "What speaks for a live person or against it?", None),
        ("reasoning", "Can you explain why this is a print attack?", "Print"),
        ("reasoning", "Could you describe why the face is bona fide?", "bona fide"),
        ("reasoning", "Does this Print attack show a moire pattern?", "Print"),
        ("reasoning", "If you look at this replay attack, what do you see?", "Replay"),
        ("fine", "This is a paper mask attack, what gives it away?", "Paper mask"),
        ("reasoning", "Why is this face bona fide?", "bona fide"),
        ("reasoning", "Why is this print not genuine?", "Print"),
        ("reasoning", "How do we know this is a genuine person?", "bona fide"),
        ("localization", "Where does the paper mask end?", "Paper mask"),
        ("reasoning", "Why is this face not bona fide?", "an attack"),
        ("reasoning", "Why is this face an attack?", "an attack"),
        ("coarse", "Explain what shows that this is a presentation attack.", "an attack"),
        ("fine", "Why is this an attack, and of which type?", None),
        ("reasoning", "Which cues show that this is a live person?", "bona fide"),
        ("reasoning", "Describe the signs that show this picture is genuine.", "bona fide"),
        ("reasoning", "Why can this face be trusted as live?", "bona fide"),
        ("reasoning", "Which cues show whether this is a live person?", None),
        ("reasoning", "Which signs of a presentation attack can you see?", None),
        ("reasoning", "Are there any signs that indicate a presentation attack?", None),
        ("coarse", "What evidence suggests spoofing, if any?", None),
        ("coarse", "Does the picture have features that indicate an attack?", None),
        ("coarse", "What features indicate an attack?", "an attack"),
        ("reasoning", "How can one tell if this face is genuine?", None),
    ],
)
def test_a_question_that_gives_the_answer_away_is_a_fault(task: str, question: str, gives_away: str | None) -> None:
    assert question_faults(task, question) == ([f"the question says {gives_away}"] if gives_away else [])


def test_a_type_that_the_words_name_is_compared_whatever_was_asked() -> None:
    truth = {"is_attack": True, "presentation_type": "Replay", "boxes": [(10, 20, 60, 70)], "size_wh": (100, 100)}
    wrong = ["the answer says Print; the label says Replay"]
    assert answer_faults("coarse", "This is a Print attack on paper.", **truth) == wrong
    assert answer_faults("localization", "The Print attack is at [100, 200, 600, 700].", **truth) == wrong
    assert answer_faults("coarse", "This is a Replay attack.", **truth) == []
    printed = truth | {"presentation_type": "Print"}
    for text in (
        "This is a presentation attack, since a paper edge crosses the glasses.",
        "Yes, an attack: the makeup looks flat.",
    ):
        assert answer_faults("coarse", text, **printed) == []
    assert answer_faults("localization", "The attack is at [100, 200, 600, 700], around the glasses.", **printed) == []
    said = ["the answer says Glasses; the label says Print"]
    assert answer_faults("coarse", "This is a Glasses attack.", **printed) == said
    real = {"is_attack": False, "presentation_type": "Bonafide", "size_wh": (100, 100)}
    assert answer_faults("coarse", "This face is bona fide, no print.", **real) == []


@pytest.mark.parametrize("is_attack", [True, False])
def test_a_description_may_speak_of_real_and_fake_things_around_the_face(is_attack: bool) -> None:
    truth = {"is_attack": is_attack, "presentation_type": "Replay" if is_attack else "Bonafide"}
    for text in (
        "A man with glasses in front of real plants.",
        "A fake plant stands behind a man.",
        "A man at a live concert.",
    ):
        assert answer_faults("caption", text, **truth) == []
    real = ("The man before the plants is real.", "A real young woman before a wall.", "The face looks genuine here.")
    for wrong in real if is_attack else ("A fake face on a screen.", "This face is fake under the lamp."):
        assert len(answer_faults("caption", wrong, **truth)) == 1


def test_nobody_learns_from_such_a_question(dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = read_jsonl(dialogues_jsonl, Dialogue)
    row = next(row for row in rows if row.task == "fine" and row.meta["presentation_type"] == "Print")
    told = answered(row, row.conversations[1].value, "This is a Print attack. Of which type is it?")
    write_jsonl(tmp_path / "in.jsonl", [told])
    filter_dialogues(tmp_path / "in.jsonl", tmp_path / "out.jsonl", FilterConfig(duplicates=None))
    assert "the question says" in rejects_of(tmp_path / "out.jsonl")[row.id][1]


@pytest.mark.parametrize(
    ("task", "kind", "answer", "name", "reason"),
    [
        ("coarse", "Print", "As an AI language model, this is a presentation attack.", "keyword", "'as an ai'"),
        ("coarse", "Print", "It is difficult to determine, but this is an attack.", "keyword", "difficult to determine"),
        ("coarse", "Print", "This face is bona fide.", "contradiction", "says bona fide; the label says an attack"),
        ("coarse", "Bonafide", "This is a presentation attack.", "contradiction", "the label says bona fide"),
        ("coarse", "Print", "A nice day.", "contradiction", "cannot be read"),
        ("fine", "Print", "This is a Replay attack.", "contradiction", "says Replay; the label says Print"),
        ("reasoning", "Print", "I see a screen, so this is an attack of type Replay.", "contradiction", "Replay"),
        ("localization", "Print", "There is no attack region.", "contradiction", "bona fide"),
        ("localization", "Print", "The attack is at [300, 200, 600, 700].", "contradiction", "[300, 200, 600, 700]"),
        ("localization", "Print", "It is at the eyes.", "contradiction", "cannot be read"),
        ("localization", "Bonafide", "The attack is at [1, 2, 300, 400].", "contradiction", "an attack"),
        ("caption", "Print", "A bona fide face before a wall.", "contradiction", "bona fide"),
        ("caption", "Print", "A face before a wall.", None, ""),
        ("coarse", "Print", "A spoof, as a language modeller would say.", None, ""),
    ],
)
def test_words_and_contradictions(task, kind, answer, name, reason, dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = read_jsonl(dialogues_jsonl, Dialogue)
    like = "coarse" if task == "caption" else task
    row = next(row for row in rows if row.task == like and row.meta["presentation_type"] == kind)
    good = next(row for row in rows if row.task == "fine" and row.meta["presentation_type"] == "Tattoo")
    source, out = dialogues_jsonl.parent / "one.jsonl", tmp_path / "kept.jsonl"
    write_jsonl(source, [answered(row, answer).model_copy(update={"task": task}), good])
    filter_dialogues(source, out, FilterConfig())
    found = rejects_of(out)
    if name is None:
        assert not found and len(read_jsonl(out, Dialogue)) == 2
    else:
        assert found[row.id][0] == name and reason in found[row.id][1]
        assert [row.id for row in read_jsonl(out, Dialogue)] == [good.id]
        kept = json.loads(rejects_path(out).read_text())["dialogue"]
        assert Dialogue.model_validate(kept).conversations[1].value == answer, "a drop can be taken back"


def test_own_phrases_and_switches(dialogues_jsonl: Path, tmp_path: Path) -> None:
    rows = [answered(row, "Lorem ipsum, a face.") for row in read_jsonl(dialogues_jsonl, Dialogue)[:3]]
    source = dialogues_jsonl.parent / "own.jsonl"
    write_jsonl(source, rows)
    off = FilterConfig(contradiction=False, duplicates=None)
    assert filter_dialogues(source, tmp_path / "a.jsonl", off).rows == 3
    own = FilterConfig(contradiction=False, duplicates=None, more_keywords=("lorem ipsum",))
    assert filter_dialogues(source, tmp_path / "b.jsonl", own).rejects == 3


class Judge:
    """Rejects about every third dialogue and gives no answer for about every seventh; can stop at a given call."""

    name = kind = "judge"
    workers, calls = 3, 0
    settings = {"kind": "judge"}

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def judge(self, dialogue: Dialogue) -> Judgement:
        number = sum(dialogue.id.encode())
        if self.stop_at is not None and self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.calls += 1
        if number % 7 == 0:
            raise NoAnswer("asked 3 times; nothing")
        return Judgement(number % 3 != 0, "off the topic")


def test_a_judge_decides_and_a_stopped_run_goes_on(dialogues_jsonl: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(filters, "_CHUNK", 5)
    config = FilterConfig(duplicates=DuplicateConfig(similarity=0.25))
    filter_dialogues(dialogues_jsonl, tmp_path / "a.jsonl", config, judge=Judge())
    found = rejects_of(tmp_path / "a.jsonl")
    assert {name for name, _ in found.values()} == {"judge", "duplicate"}
    assert {"off the topic", "gave no judgement: asked 3 times; nothing"} <= {reason for _, reason in found.values()}
    for stop in (30, 60, 90):
        with pytest.raises(KeyboardInterrupt):
            filter_dialogues(dialogues_jsonl, tmp_path / "b.jsonl", config, judge=Judge(stop))
    filter_dialogues(dialogues_jsonl, tmp_path / "b.jsonl", config, judge=Judge())
    for end in (".jsonl", ".rejects.jsonl"):
        assert (tmp_path / f"a{end}").read_bytes() == (tmp_path / f"b{end}").read_bytes()


WORDS = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."


@pytest.mark.parametrize("scope", ["picture", "file"])
def test_near_duplicates(scope: str, dialogues_jsonl: Path) -> None:
    row = answered(read_jsonl(dialogues_jsonl, Dialogue)[0], WORDS, "Q?")
    elsewhere = {**row.meta, "sample_id": "another"}
    index = DuplicateIndex(DuplicateConfig(similarity=0.8, scope=scope))  # type: ignore[arg-type]
    assert index.add(row.model_copy(update={"id": "a"})) is None
    assert index.add(row.model_copy(update={"id": "b"})) == "a"
    assert index.add(answered(row, WORDS.upper().replace(".", "!"), "Q").model_copy(update={"id": "c"})) == "a"
    assert index.add(answered(row, WORDS.replace("seven", "7"), "Q?").model_copy(update={"id": "d"})) is None
    assert index.add(row.model_copy(update={"id": "e", "task": "fine"})) is None, "another task"
    twin = index.add(row.model_copy(update={"id": "f", "meta": elsewhere}))
    assert twin == ("a" if scope == "file" else None)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Describe it.", "I’m sorry, a face before a wall.", '"i\'m sorry"'),
        ("You told me of a face. Describe it.", "A face before a wall.", "'you told me'"),
    ],
)
def test_phrases_in_questions_and_with_typographic_apostrophes(
    question: str, answer: str, reason: str, dialogues_jsonl: Path, tmp_path: Path
) -> None:
    row = read_jsonl(dialogues_jsonl, Dialogue)[0]
    source, out = dialogues_jsonl.parent / "one.jsonl", tmp_path / "kept.jsonl"
    write_jsonl(source, [answered(row, answer, question).model_copy(update={"task": "caption"})])
    filter_dialogues(source, out, FilterConfig())
    assert rejects_of(out)[row.id] == ("keyword", f"says {reason}")


def test_every_answer_of_a_conversation_is_held_against_the_label(dialogues_jsonl: Path) -> None:
    rows = read_jsonl(dialogues_jsonl, Dialogue)
    row = next(row for row in rows if row.task == "coarse" and row.meta["is_attack"])
    more = [Turn(speaker="human", value="Are you sure?"), Turn(speaker="gpt", value="No, this face is bona fide.")]
    assert contradictions(row) == []
    longer = row.model_copy(update={"conversations": [*row.conversations, *more]})
    assert contradictions(longer) == ["the answer says bona fide; the label says an attack"]


@pytest.mark.parametrize(("off", "wrong"), [(0, False), (1, False), (2, True), (20, True)])
def test_a_box_is_the_true_one_to_a_unit(off: int, wrong: bool) -> None:
    truth = {"is_attack": True, "presentation_type": "Print", "boxes": [(100.0, 200.0, 600.0, 700.0)], "size_wh": (999, 999)}
    found = answer_faults("localization", f"The attack is at [{100 + off}, 200, 600, 700].", **truth)
    assert bool(found) is wrong


def test_a_stopped_run_still_knows_what_it_let_pass(
    dialogues_jsonl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "_CHUNK", 1)
    rows = read_jsonl(dialogues_jsonl, Dialogue)[:3]
    twin = rows[0].model_copy(update={"id": "twin"})
    source, out = dialogues_jsonl.parent / "twins.jsonl", tmp_path / "kept.jsonl"
    write_jsonl(source, [*rows, twin])

    class All(Judge):
        workers = 1

        def judge(self, dialogue: Dialogue) -> Judgement:
            if self.stop_at is not None and self.calls == self.stop_at:
                raise KeyboardInterrupt
            self.calls += 1
            return Judgement(True, "")

    with pytest.raises(KeyboardInterrupt):
        filter_dialogues(source, out, FilterConfig(), judge=All(2))
    filter_dialogues(source, out, FilterConfig(), judge=All())
    assert rejects_of(out) == {"twin": ("duplicate", f"nearly repeats {rows[0].id}")}


def test_a_similarity_that_judged_nothing_says_so(dialogues_jsonl: Path, tmp_path: Path) -> None:
    captionless = [row for row in read_jsonl(dialogues_jsonl, Dialogue) if row.task != "caption"]
    write_jsonl(tmp_path / "in.jsonl", captionless)
    config = FilterConfig(similarity=SimilarityConfig(model="never-opened"), duplicates=None)
    result = filter_dialogues(tmp_path / "in.jsonl", tmp_path / "out.jsonl", config)
    assert result.note == "similarity judged none: no dialogue is of caption"
    again = filter_dialogues(tmp_path / "in.jsonl", tmp_path / "out.jsonl", FilterConfig(duplicates=None))
    assert "was there, from other settings" in again.note and (tmp_path / "out.jsonl.before").is_file()
    write_jsonl(tmp_path / "in.jsonl", [])
    with pytest.raises(ValueError, match="no dialogues — expected at least one"):
        filter_dialogues(tmp_path / "in.jsonl", tmp_path / "none.jsonl", FilterConfig())
