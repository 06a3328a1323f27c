"""The service's web page: a Gradio app on the same model and queue as the API (`faceshield serve --ui`).

It loads nothing from other hosts. Photos reach the model through the service's own queue. An uploaded file is deleted as soon
as it is read; its bytes stay in the visitor's session alone, until the tab is closed.
Use: `add_page(create_app(predictor), examples=[("print attack", rgb)])`; the page is at `/ui/`.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from faceshield.extras import missing
from faceshield.html_report import CARD_STYLE, COLOURS, card
from faceshield.images import open_picture
from faceshield.inspection import FaceMode, InspectionReport
from faceshield.serving.refusals import Refusal
from faceshield.serving.service import Service

# Gradio reads both variables at import. Uploads go to a temporary folder of our own, removed when the process ends.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
_UPLOADS = tempfile.TemporaryDirectory(prefix="faceshield-ui-")
os.environ["GRADIO_TEMP_DIR"] = _UPLOADS.name
try:
    import gradio as gr
except ImportError as error:
    raise missing("the page", "serve,ui") from error

PATH = "/ui"
Example = tuple[str, NDArray[np.uint8]]
"""A label of what the picture shows, and the picture as (H, W, 3) uint8 RGB."""

_MOST_PHOTOS = 200
_FORGOTTEN_S = 60  # how often, and from what age, Gradio deletes uploads that no handler read because the visitor left
_DEFAULT_QUESTION = "Is this face bona fide or an attack?"
_FONT = ["system-ui", "sans-serif"]
_COLUMNS = ("photo", "accepted", "verdict", "bonafide_score", "threshold", "presentation_type", "boxes_xyxy", "problem")

_STYLE = (
    COLOURS
    + """
.gradio-container { max-width: 78rem !important; margin: 0 auto !important; padding: .75rem !important }
#head h1 { font-size: 1.35rem; margin: 0 } #head p { margin: .15rem 0 0; opacity: .8; font-size: .92rem }
#said p { margin: 0; border-left: 4px solid var(--attack); padding: .25rem .75rem }
.streams { display: grid; grid-template-columns: 1fr 1fr; gap: .75rem; max-width: 34rem }
.streams figure { margin: 0 } .streams img { width: 100%; display: block; border-radius: .4rem }
.streams figcaption { font-size: .85rem; opacity: .85; margin-top: .2rem }
#many-result { overflow-x: auto } #many-result table { border-collapse: collapse; width: 100%; font-size: .92rem }
#many-result td, #many-result th { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line) }
#many-result a { display: inline-block; margin: .6rem 0; padding: .55rem 1rem; border-radius: .5rem; background: var(--bar);
  color: #fff; text-decoration: none }
button:focus-visible, textarea:focus-visible, input:focus-visible, a:focus-visible {
  outline: 3px solid #4da3ff !important; outline-offset: 2px }
footer { display: none !important }
.shield { """
    + CARD_STYLE
    + """ .card { border: 0; margin: 0; padding: .25rem; display: block; background: none }
  .card h2 { display: none } figure { max-width: 22rem } }
@media (max-width: 44rem) { .gradio-container { padding: .25rem !important }
  .gradio-container:has(#result .badge) #examples { display: none } }
"""
)
_HEAD = f"<style>{_STYLE}</style><script>document.documentElement.lang = 'en'</script>"


def add_page(app: FastAPI, *, examples: Sequence[Example] = ()) -> FastAPI:
    """Add the page to an application at `/ui/`, and redirect `/` to it; return the application.

    If API keys are configured, the page asks for a login: any name, with a key as the password.

    Args:
        app: the application from `create_app`.
        examples: pictures for visitors to try.

    Raises:
        ImportError: Gradio is not installed (raised when this module is imported).
    """
    service: Service = app.state.service
    settings = service.settings

    @app.get("/", include_in_schema=False)
    @app.get(PATH, include_in_schema=False)
    async def to_page() -> RedirectResponse:
        return RedirectResponse(f"{PATH}/")

    gr.mount_gradio_app(
        app,
        build(service, examples),
        path=PATH,
        auth=(lambda name, key: settings.admits(key)) if settings.keys else None,
        auth_message="Any name, and an API key of this service as the password." if settings.keys else None,
        max_file_size=settings.max_body,
        head=_HEAD,
        theme=gr.themes.Base(font=_FONT, font_mono=["ui-monospace", "monospace"]),
        footer_links=[],
        ssr_mode=False,
        show_error=True,
        run_history=False,
    )
    mounted: Any = next(route for route in app.routes if isinstance(route, Mount) and route.path == PATH)
    page = mounted.app
    service.at_drain = page.stop_event.set  # otherwise the server would wait for the connection of every open page
    if settings.keys:
        mounted.app = _Heartbeats(page)
    return app


class _Heartbeats:
    """Wraps Gradio's application: its endless heartbeat streams, which Gradio serves to anybody, require a login here."""

    def __init__(self, page: Any) -> None:
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "/heartbeat/" in scope["path"]:
            cookies = Request(scope).cookies
            if not any(name.startswith("access-token") and value in self.page.tokens for name, value in cookies.items()):
                await Response("sign in first", 401)(scope, receive, send)
                return
        await self.page(scope, receive, send)


def build(service: Service, examples: Sequence[Example]) -> gr.Blocks:
    """The Gradio page for a service."""
    with gr.Blocks(title="FaceShield", analytics_enabled=False, delete_cache=(_FORGOTTEN_S, _FORGOTTEN_S)) as page:
        gr.HTML(_head(service), elem_id="head")
        with gr.Tab("One photo"):
            photo = gr.State(None)  # bytes of the current photo's file
            with gr.Row():
                with gr.Column(scale=5, min_width=300):
                    drop = gr.Image(
                        label="A face picture: drop a file, or use the camera", sources=["upload", "webcam", "clipboard"],
                        type="filepath", image_mode=None, height=260, elem_id="drop",
                    )  # fmt: skip
                    # Pass the file on as uploaded: the service checks its header before decoding anything, and reports what is
                    # wrong. Patched on the instance, because for a subclass Gradio would write a .pyi beside this file.
                    drop.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
                    whole = gr.Checkbox(label="The picture is a face crop already: do not look for the face", elem_id="whole")
                    if examples:
                        shown = gr.Gallery(
                            [(picture, label) for label, picture in examples], label="Examples (drawn faces)", columns=3,
                            height="auto", allow_preview=False, elem_id="examples", object_fit="cover",
                        )  # fmt: skip
                with gr.Column(scale=6, min_width=300):
                    said = gr.HTML(elem_id="said")
                    result = gr.HTML(elem_id="result")
                    with gr.Group(visible=False) as more:
                        question = gr.Textbox(
                            _DEFAULT_QUESTION, label="A question of your own", max_length=300, elem_id="question",
                            info="The answer is words, not a verdict: that is the score's alone.",
                        )  # fmt: skip
                        with gr.Row():
                            ask = gr.Button("Ask", variant="primary", elem_id="ask")
                            maps = gr.Button("Show what is important for it", elem_id="maps")
                        answer = gr.HTML(elem_id="answer")
                        streams = gr.HTML(elem_id="streams")
        with gr.Tab("Many photos"):
            files = gr.File(label=f"Up to {_MOST_PHOTOS} photos", file_count="multiple", file_types=["image"], elem_id="files")
            many_whole = gr.Checkbox(label="The pictures are face crops already")
            table = gr.HTML(elem_id="many-result")

        def face(is_crop: bool) -> FaceMode:
            return "whole" if is_crop else "detect"

        async def look(data: bytes | None, is_crop: bool) -> list[Any]:
            """Values for [said, result, photo, more, answer, streams]."""
            if data is None:
                return ["", "", None, gr.update(visible=False), "", ""]
            try:
                report = (await service.inspect(None, [data], face(is_crop)))[0]
            except Refusal as refusal:
                return [_told(refusal.message), gr.skip(), data, gr.skip(), "", ""]
            usable = report.status != "error"
            return ["", await service.read(_result, data, report), data if usable else None, gr.update(visible=usable), "", ""]

        async def uploaded(path: str | None, is_crop: bool) -> list[Any]:
            return [*await look(_take(path), is_crop), None]

        async def chosen(is_crop: bool, event: gr.SelectData) -> list[Any]:
            return await look(_png(examples[event.index][1]), is_crop)

        async def asked(data: bytes | None, text: str, is_crop: bool) -> list[Any]:
            """Values for [said, answer]."""
            if data is None:
                return [_told("No photo is open: give one first."), ""]
            try:
                words, _ = await service.ask(None, data, text, face(is_crop))
            except Refusal as refusal:
                return [_told(refusal.message), ""]
            return ["", f'<div class="shield"><h3>Answer</h3><blockquote>{escape(words)}</blockquote></div>']

        async def mapped(data: bytes | None, text: str, is_crop: bool) -> list[Any]:
            """Values for [said, streams]."""
            if data is None:
                return [_told("No photo is open: give one first."), ""]
            try:
                return ["", await service.read(_streams, await service.importance(None, data, text, face(is_crop)))]
            except Refusal as refusal:
                return [_told(refusal.message), ""]

        async def all_of(paths: list[str] | None, is_crop: bool) -> AsyncIterator[list[Any]]:
            """Values for [table, files], after each batch."""
            names = [Path(path).name for path in paths or []]
            rows: list[tuple[str, InspectionReport]] = []
            step = min(service.settings.batch_size, service.settings.max_photos)
            with _held(paths or []) as held:
                if len(names) > _MOST_PHOTOS:
                    told = f"{len(names)} photos are too many: at most {_MOST_PHOTOS}. For more, use: faceshield predict"
                    yield [_told(told), None]
                    return
                for start in range(0, len(names), step):
                    data = [_take(path) or b"" for path in held[start : start + step]]
                    try:
                        ask = partial(service.inspect, None, data, face(is_crop))
                        reports = await _patiently(ask, service.settings.timeout_s)
                    except Refusal as refusal:
                        yield [_told(refusal.message) + _table(rows, len(names)), None]
                        return
                    rows += zip(names[start:], reports, strict=False)
                    yield [_table(rows, len(names)), gr.skip()]
            if names:
                yield [_table(rows, len(names)), None]

        seen = [said, result, photo, more, answer, streams]
        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        drop.input(uploaded, [drop, whole], [*seen, drop], **hidden)
        whole.input(look, [photo, whole], seen, **hidden)
        if examples:
            shown.select(chosen, [whole], seen, **hidden)
        gr.on([ask.click, question.submit], asked, [photo, question, whole], [said, answer], **hidden)
        maps.click(mapped, [photo, question, whole], [said, streams], **hidden)
        files.upload(all_of, [files, many_whole], [table, files], **hidden)
    page.queue(default_concurrency_limit=None, api_open=False)
    return page


async def _patiently(ask: Callable[[], Awaitable[list[InspectionReport]]], patience_s: float) -> list[InspectionReport]:
    """Call `ask`; while the queue is full, retry after the delay it names, for at most `patience_s` seconds."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return await ask()
        except Refusal as refusal:
            wait = float(refusal.headers.get("Retry-After", "0"))
            if refusal.code != "queue_full" or time.monotonic() + wait > until:
                raise
            await asyncio.sleep(wait)


def _take(path: str | None) -> bytes | None:
    """Read an uploaded file and delete it."""
    if path is None:
        return None
    file = Path(path)
    data = file.read_bytes()
    _forget(file)
    return data


def _forget(file: Path) -> None:
    if file.is_relative_to(Path(_UPLOADS.name).resolve()) or file.is_relative_to(_UPLOADS.name):
        file.unlink()


@contextmanager
def _held(paths: Sequence[str]) -> Iterator[list[str]]:
    """Move uploaded files to a folder of our own, one file each; what is left there is deleted on exit.

    Gradio clears its own files while the model is still busy with the first ones, and gives two uploads of the same picture a
    single path.
    """
    with tempfile.TemporaryDirectory(dir=_UPLOADS.name, prefix="held-") as folder:
        held = [str(Path(folder, str(number))) for number in range(len(paths))]
        for path, own in zip(paths, held, strict=True):
            try:
                os.link(path, own)
            except OSError:  # a file system without hard links, or a different one
                shutil.copyfile(path, own)
        for path in set(paths):
            _forget(Path(path))
        yield held


def _head(service: Service) -> str:
    model = f"{service.model_name} ({service.predictor.model_info.get('hash', '')[:12]})"
    return (
        f"<h1>FaceShield</h1><p>A person, or a picture, a screen, a mask of one? Model {escape(model)}. Photos stay on the "
        "machine that serves this page and are forgotten with it. A verdict on one picture proves nothing about a person.</p>"
    )


def _told(message: str) -> str:
    return f"<p role='alert'>{escape(message)}</p>"


def _result(data: bytes, report: InspectionReport) -> str:
    rgb = None if report.status == "error" else open_picture(data).rgb  # what was refused is not decoded after all
    return f'<div class="shield" role="status">{card(rgb, report)}</div>'


def _streams(maps: Any) -> str:
    from faceshield.model.importance import overlay

    pictures = [("Colour", maps.rgb, maps.rgb, maps.of_rgb)]
    if maps.savp is not None:
        grey = np.repeat(maps.savp.mean(axis=-1, keepdims=True), 3, axis=-1).astype(np.uint8)
        pictures.append(("SAVP (LBP, grey, HOG)", maps.savp, grey, maps.of_savp))
    every = np.concatenate([importance.ravel() for *_, importance in pictures])
    among = (float(every.min()), float(every.max()))
    figures = [
        f'<figure><img alt="{caption}" src="{_data_url(shown)}"><figcaption>{caption}</figcaption></figure>'
        for label, square, below, importance in pictures
        for caption, shown in ((label, square), (f"{label}: importance", overlay(below, importance, among)))
    ]
    legend = "Yellow is important for the question; the tokens of all pictures are ranked together."
    return f'<div class="streams">{"".join(figures)}</div><p>{legend}</p>'


def _data_url(rgb: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(rgb)).decode("ascii")


def _png(rgb: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def _table(rows: Sequence[tuple[str, InspectionReport]], total: int) -> str:
    """The reports as an HTML table and, once complete, a CSV download link; nothing is written to disk."""
    lines = [_cells(name, report) for name, report in rows]
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    head = "".join(f"<th>{escape(column)}</th>" for column in _COLUMNS)
    link = ""
    if len(rows) == total:
        text = io.StringIO()
        csv.writer(text).writerows([_COLUMNS, *([_harmless(cell) for cell in line] for line in lines)])
        encoded = base64.b64encode(text.getvalue().encode("utf-8-sig")).decode("ascii")
        link = f'<a id="csv" download="faceshield.csv" href="data:text/csv;base64,{encoded}">Save as CSV</a>'
    return f"<p>{len(rows)} of {total}</p>{link}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(name: str, report: InspectionReport) -> list[str]:
    numbers = ["" if value is None else f"{value:.4f}" for value in (report.bonafide_score, report.threshold)]
    boxes = "; ".join(" ".join(f"{value:.0f}" for value in box) for box in report.boxes)
    accepted = "yes" if report.accepted else "no"
    return [
        name,
        accepted,
        report.verdict,
        *numbers,
        report.presentation_type or "",
        boxes,
        report.error or report.advice or "",
    ]


def _harmless(cell: str) -> str:
    """Quote a cell that a spreadsheet would take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
