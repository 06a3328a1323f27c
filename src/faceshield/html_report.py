"""`report.html`: a self-contained page on a set of inspected pictures, to open, print or send.

In one line: `Path("report.html").write_text(render([(picture.rgb, report), …]), encoding="utf-8")`.
Pictures are embedded, nothing is loaded from elsewhere (the page's content security policy forbids it), and there are no
scripts. Every string is escaped.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.inspection import Box, InspectionReport

_SHOWN_SIDE = 640

MADE_BY = "faceshield inspect"
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_FOOTER = (
    "The verdict compares the bona fide score (0 to 1, high = bona fide) with a threshold that was stored "
    "with the model; the reasoning is the model's own text and does not decide. A single picture proves "
    "nothing: do not use this page alone to accuse or refuse a person."
)

COLOURS = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1a1f26; --soft: #5a6370;
  --line: #dde1e6; --track: #e8ebef; --attack: #c5352b; --bonafide: #2b7a4b; --other: #5b6470;
  --bar: #4a6fa5 }
@media (prefers-color-scheme: dark) { :root { --page: #12161b; --card: #1b2027; --ink: #e9ecf0;
  --soft: #a2abb7; --line: #303741; --track: #2a313a; --attack: #d9534a; --bonafide: #3d9a63;
  --other: #6f7986; --bar: #6f95cc } }
"""
"""Definitions of the colour variables that `CARD_STYLE` uses."""

CARD_STYLE = """
h3 { font-size: .78rem; text-transform: uppercase; letter-spacing: .06em;
  color: var(--soft);
  margin: 1.1rem 0 .35rem }
p { margin: .25rem 0 }
.soft { color: var(--soft); font-size: .9rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.25rem;
  margin: 1.25rem 0; display: grid; grid-template-columns: minmax(0, 5fr) minmax(0, 6fr); gap: 1.5rem;
  break-inside: avoid }
.card.plain { display: block }
figure { margin: 0; position: relative; align-self: start }
figure img { display: block; width: 100%; border-radius: .4rem }
figure svg { position: absolute; inset: 0; width: 100%; height: 100% }
rect { fill: none; vector-effect: non-scaling-stroke }
rect.face { stroke: #fff; stroke-width: 1.5; stroke-dasharray: 5 4 }
rect.halo { stroke: #101418; stroke-width: 6; stroke-opacity: .55 }
rect.box { stroke: var(--attack); stroke-width: 3.5 }
.badge { display: inline-block; margin: .6rem 0 0; padding: .3rem .85rem; border-radius: 2rem; color: #fff;
  font-weight: 600; background: var(--other) }
.badge.attack { background: var(--attack) }
.badge.bonafide { background: var(--bonafide) }
.score { position: relative; height: .85rem; border-radius: .5rem; background: var(--track);
  margin: .2rem 0 .4rem }
.score i { position: absolute; inset: 0 auto 0 0; border-radius: .5rem; background: var(--other) }
.score i.attack { background: var(--attack) }
.score i.bonafide { background: var(--bonafide) }
.score b { position: absolute; top: -.3rem; bottom: -.3rem; width: 2px; background: var(--ink) }
.types { display: grid; grid-template-columns: max-content 1fr max-content; gap: .15rem .7rem;
  align-items: center;
  font-size: .88rem; font-variant-numeric: tabular-nums }
.types span { background: var(--track); border-radius: .3rem; height: .6rem; overflow: hidden }
.types span i { display: block; height: 100%; background: var(--bar) }
.types .top { font-weight: 600 }
blockquote { margin: 0; padding: .1rem 0 .1rem .9rem; border-left: 3px solid var(--line) }
blockquote, .card p, li { overflow-wrap: anywhere }
ul { margin: .2rem 0; padding-left: 1.1rem }
code { font-size: .88em }
"""
"""Styles for the output of `card`, without the page around it."""

_STYLE = f"""{COLOURS}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem }}
h2 {{ font-size: 1rem; margin: 0; overflow-wrap: anywhere }}
{CARD_STYLE}footer {{ border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem }}
@media (max-width: 44rem) {{ .card {{ grid-template-columns: 1fr }} }}
@media print {{
  :root {{ color-scheme: light; --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb;
  --track: #e4e4e4;
    --attack: #b3261e; --bonafide: #1f6b3d; --bar: #444 }}
  body {{ max-width: none; padding: 0; font-size: 11pt; print-color-adjust: exact;
  -webkit-print-color-adjust: exact }}
}}
"""


class Page:
    """The page, filled picture by picture; only the small embedded copies are kept."""

    def __init__(self, title: str = "FaceShield report") -> None:
        self._title = title
        self._cards: list[str] = []
        self._verdicts: Counter[str] = Counter()
        self._accepted = 0
        self._models: dict[str, None] = {}

    def add(self, rgb: NDArray[np.uint8] | None, report: InspectionReport) -> None:
        """Adds a card; `rgb` is the upright (H, W, 3) uint8 RGB picture, None if it could not be read."""
        self._cards.append(card(rgb, report))
        self._verdicts[report.verdict] += 1
        self._accepted += report.accepted
        if report.model:
            self._models[f"{report.model.get('name', '')} ({report.model.get('hash', '')})"] = None

    def html(self) -> str:
        """The whole page as text."""
        total = sum(self._verdicts.values())
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self._verdicts.items()))
        summary = f"{total} picture{'' if total == 1 else 's'}" + (f": {counts}; {self._accepted} accepted" if counts else "")
        title = escape(self._title)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="generator" content="{MADE_BY}">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body>"
            f"<header><h1>{title}</h1><p>{escape(summary)}</p>"
            f'<p class="soft">Model {escape("; ".join(self._models) or "unknown")}</p></header>'
            f"<main>{''.join(self._cards)}</main>"
            f'<footer class="soft"><p>{_FOOTER}</p></footer></body></html>\n'
        )


def render(items: Iterable[tuple[NDArray[np.uint8] | None, InspectionReport]], *, title: str = "FaceShield report") -> str:
    """The page for these (picture, report) pairs, see `Page.add`."""
    page = Page(title)
    for rgb, report in items:
        page.add(rgb, report)
    return page.html()


def card(rgb: NDArray[np.uint8] | None, report: InspectionReport) -> str:
    """A report next to its picture, as an HTML section; every string is escaped."""
    body = f"<h2>{escape(report.image)}</h2>" + _badge(report) + _details(report)
    if rgb is None:
        return f'<section class="card plain">{body}</section>'
    return f'<section class="card">{_figure(rgb, report)}<div>{body}</div></section>'


def _badge(report: InspectionReport) -> str:
    text = report.verdict.capitalize()
    if report.is_attack and report.presentation_type:
        text += f": {report.presentation_type}"
    elif report.doubtful:
        text += ", but not accepted"
    return f'<p class="badge {_colour(report)}">{escape(text)}</p>'


def _colour(report: InspectionReport) -> str:
    """The class of the badge and of the score's bar: green only for what is accepted."""
    return "bonafide" if report.accepted else "attack" if report.is_attack else ""


def _details(report: InspectionReport) -> str:
    parts: list[str] = []
    if report.error:
        parts.append(f"<p>{escape(report.error)}</p>")
    if report.advice:
        parts.append(f'<p class="advice">{escape(report.advice.capitalize())}.</p>')
    if report.bonafide_score is not None and report.threshold is not None:
        parts.append(
            f'<h3>Bona fide score</h3><div class="score">'
            f'<i class="{_colour(report)}" style="width:{_percent(report.bonafide_score)}"></i>'
            f'<b style="left:{_percent(report.threshold)}"></b></div>'
            f'<p class="soft">{report.bonafide_score:.4f}, threshold {report.threshold:.4f} '
            "(the mark); below it is an attack</p>"
        )
    if report.type_scores:
        parts.append("<h3>Presentation type</h3>" + _types(report))
    if report.reasoning:
        parts.append(f"<h3>Reasoning</h3><blockquote>{escape(report.reasoning)}</blockquote>")
    if report.boxes:
        regions = "".join(f"<li><code>{escape(_coordinates(box))}</code></li>" for box in report.boxes)
        parts.append(f"<h3>Attack region, pixels</h3><ul>{regions}</ul>")
    notes = [str(note) for note in report.meta.get("notes", [])]
    if notes:
        parts.append("<h3>Notes</h3><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    return "".join(parts)


def _types(report: InspectionReport) -> str:
    rows = []
    for name, probability in sorted(report.type_scores.items(), key=lambda item: (-item[1], item[0])):
        top = ' class="top"' if name == report.presentation_type else ""
        rows.append(
            f'<div{top}>{escape(name)}</div><span><i style="width:{_percent(probability)}"></i></span>'
            f"<div{top}>{100 * probability:.1f}%</div>"
        )
    return f'<div class="types">{"".join(rows)}</div>'


def _figure(rgb: NDArray[np.uint8], report: InspectionReport) -> str:
    height, width = rgb.shape[:2]
    frames = []
    for face in report.meta.get("faces", []):
        frames.append(_rect(tuple(face), "face"))
    for box in report.boxes:
        frames.append(_rect(box, "halo") + _rect(box, "box"))
    return (
        f'<figure><img alt="" src="{_data_url(rgb)}">'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(frames)}</svg></figure>"
    )


def _rect(box: Box, kind: str) -> str:
    x0, y0, x1, y1 = box
    width, height = max(x1 - x0, 0), max(y1 - y0, 0)
    return f'<rect class="{kind}" x="{x0:.1f}" y="{y0:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _data_url(rgb: NDArray[np.uint8]) -> str:
    image = Image.fromarray(rgb)
    image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _coordinates(box: Box) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in box) + "]"


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
