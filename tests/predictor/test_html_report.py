"""The page: self-contained, well-formed, everything escaped; and the annotated pictures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import typer
from PIL import Image

from faceshield.annotate import COLOURS, annotate
from faceshield.cli.inspect import Table
from faceshield.html_report import Page, render
from faceshield.inspection import InspectionReport
from faceshield.taxonomy import PRESENTATION_TYPES

VOID = {"meta", "img", "rect"}
EVIL = "<script>alert('x')</script>\"><img src=x onerror=y>&"
PICTURE = np.full((100, 200, 3), 90, np.uint8)


def attack(**changes: object) -> InspectionReport:
    scores = {name: 0.01 for name in PRESENTATION_TYPES} | {"Print": 0.89}
    values: dict[str, object] = {
        "image": "photo.jpg",
        "status": "ok",
        "is_attack": True,
        "bonafide_score": 0.1234,
        "threshold": 0.6,
        "presentation_type": "Print",
        "type_scores": scores,
        "boxes": [(20.0, 10.0, 120.0, 90.0)],
        "reasoning": "A paper edge can be seen.",
        "face": (50.0, 20.0, 100.0, 70.0),
        "model": {"name": "tiny", "hash": "0123abcd"},
        "meta": {"faces": [[50.0, 20.0, 100.0, 70.0]], "notes": ["turned upright"], "size_wh": [200, 100]},
    }
    return InspectionReport(**{**values, **changes})  # type: ignore[arg-type]


class Checker(HTMLParser):
    """Fails on tags that do not close; collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_card_shows_everything() -> None:
    page = Checker(render([(PICTURE, attack())]))
    for words in (
        "photo.jpg", "Attack: Print", "0.1234", "0.6000", "89.0%", "A paper edge can be seen.",
        "[20, 10, 120, 90]", "turned upright", "1 picture: 1 attack", "tiny (0123abcd)", *PRESENTATION_TYPES,
    ):  # fmt: skip
        assert words in page.words
    box = [rect for rect in page.named("rect") if rect["class"] == "box"]
    assert box == [{"class": "box", "x": "20.0", "y": "10.0", "width": "100.0", "height": "80.0"}]
    assert page.named("svg")[0]["viewbox"] == "0 0 200 100"
    score, mark = page.named("i")[0], page.named("b")[0]
    assert score["style"] == "width:12.34%" and mark["style"] == "left:60.00%"


def test_the_page_is_self_contained() -> None:
    text = render([(PICTURE, attack())])
    page = Checker(text)
    sources = [image["src"] or "" for image in page.named("img")]
    assert len(sources) == 1 and sources[0].startswith("data:image/jpeg;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0].split(",")[1])))
    assert picture.size == (200, 100)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<iframe", text.replace(sources[0], ""))
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_everything_is_escaped() -> None:
    report = attack(
        image=EVIL,
        reasoning=EVIL,
        presentation_type=EVIL,
        type_scores={EVIL: 1.0},
        model={"name": EVIL, "hash": EVIL},
        meta={"faces": [], "notes": [EVIL]},
    )
    error = InspectionReport(EVIL, "error", error=EVIL)
    page = Checker(render([(PICTURE, report), (None, error)], title=EVIL))
    assert page.named("script") == [] and len(page.named("img")) == 1
    assert page.words.count(EVIL) == 11  # title, heading, model and hash, 2 x name, badge, type, reasoning, note, error
    assert not any("onerror" in attributes for _, attributes in page.tags)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (InspectionReport("a.jpg", "no_face", meta={"faces": [], "notes": []}), "No face was found"),
        (
            InspectionReport("a.jpg", "error", error="empty — expected a picture — copy it"),
            "expected a picture",
        ),
        (attack(is_attack=False, presentation_type="Bonafide", boxes=[], bonafide_score=0.9), "Bona fide"),
        (InspectionReport("a.jpg", "ok", is_attack=True, bonafide_score=0.2, threshold=0.5), "Attack"),
    ],
    ids=["no face", "error", "bona fide", "verdict alone"],
)
def test_every_status_has_a_card(report: InspectionReport, words: str) -> None:
    page = Checker(render([(None if report.status == "error" else PICTURE, report)]))
    assert words in page.words
    assert not [rect for rect in page.named("rect") if rect["class"] == "box"]


DOUBTFUL = [{"quality_reasons": ["blurred"]}, {"meta": {"faces": [[50.0, 20.0, 100.0, 70.0], [1.0, 1.0, 9.0, 9.0]]}}]


@pytest.mark.parametrize("why", DOUBTFUL, ids=["poor", "two faces"])
def test_only_what_is_accepted_is_green(why: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    good = attack(is_attack=False, presentation_type="Bonafide", boxes=[], bonafide_score=0.9)
    bad = replace(good, **why)  # type: ignore[arg-type]
    page = Checker(render([(PICTURE, good), (PICTURE, bad)]))
    assert [tag["class"] for tag in page.named("p") if "badge" in (tag.get("class") or "")] == ["badge bonafide", "badge "]
    assert [tag["class"] for tag in page.named("i") if tag.get("class") is not None] == ["bonafide", ""]
    assert "Bona fide, but not accepted" in page.words and "2 pictures: 2 bona fide; 1 accepted" in page.words
    assert has_colour(annotate(PICTURE, good), COLOURS["bona fide"])
    assert not has_colour(annotate(PICTURE, bad), COLOURS["bona fide"])
    monkeypatch.setenv("FORCE_COLOR", "1")
    green, yellow = (typer.style("bona fide ", fg=colour, bold=True) for colour in (typer.colors.GREEN, typer.colors.YELLOW))
    assert green in Table(["x"]).row(good) and yellow in Table(["x"]).row(bad)


def test_large_pictures_are_embedded_small_and_an_empty_page_stands() -> None:
    large = np.zeros((2000, 3000, 3), np.uint8)
    assert len(render([(large, attack())])) < 40_000
    assert "0 pictures" in Checker(Page().html()).words


def test_the_same_reports_make_the_same_page() -> None:
    assert render([(PICTURE, attack())]) == render([(PICTURE.copy(), attack())])


def has_colour(picture: Image.Image, colour: str) -> bool:
    wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return bool((np.asarray(picture) == wanted).all(axis=-1).any())


def test_the_box_is_drawn_where_it_is() -> None:
    picture = annotate(PICTURE, attack())
    assert picture.mode == "RGB" and picture.size == (720, 360 + 64)
    scale = 720 / 200
    frame = np.asarray(picture)
    red = tuple(int(COLOURS["attack"][i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(frame[round(50 * scale), round(20 * scale) + 1]) == red  # left edge
    assert tuple(frame[round(90 * scale) - 1, round(70 * scale)]) == red  # lower edge
    assert tuple(frame[round(85 * scale), round(30 * scale)]) == (90, 90, 90)  # inside it is untouched


@pytest.mark.parametrize(
    ("report", "strip"),
    [
        (attack(), "#c5352b"),
        (attack(is_attack=False, presentation_type="Bonafide", boxes=[]), "#2b7a4b"),
        (InspectionReport("a.jpg", "no_face"), "#5b6470"),
    ],
)
def test_the_strip_has_the_verdicts_colour(report: InspectionReport, strip: str) -> None:
    assert has_colour(annotate(PICTURE, report), strip)


@pytest.mark.parametrize("shape", [(32, 32, 3), (1000, 40, 3), (40, 1000, 3), (900, 1600, 3)])
def test_any_shape_can_be_annotated(shape: tuple[int, int, int]) -> None:
    box = (0.0, 0.0, float(shape[1]), float(shape[0]))
    report = attack(boxes=[box, (5.0, 5.0, 5.0, 5.0)], face=box, meta={"faces": [list(box)], "notes": []})
    picture = annotate(np.zeros(shape, np.uint8), report)
    assert picture.width >= 360 and max(picture.size) <= 720 + 64
