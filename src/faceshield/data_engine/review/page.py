"""The review page: a Gradio app on the queue that works by keyboard and on a phone, and is served to this machine by default.

It loads nothing from other hosts: system fonts, no analytics. A click carries the position of the dialogue that was on the
screen, so a late click can never decide the next one. Use: `build(queue, load).launch(**LAUNCH, server_port=7861)`.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceshield.data_engine.contradictions import contradictions, said_regions, true_regions
from faceshield.data_engine.review.queue import Item, Progress, ReviewQueue, edited
from faceshield.extras import missing
from faceshield.records import Box, image_path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
try:
    import gradio as gr
except ImportError as error:
    raise missing("the review page", "ui") from error

Load = Callable[[str], NDArray[np.uint8]]
"""Path -> (H, W, 3) uint8 RGB, upright; raises ValueError, OSError or TypeError for what it cannot read."""

_SHOWN_SIDE = 960
_RENEW_S = 30.0

_STYLE = """
.gradio-container { max-width: 78rem !important; margin: 0 auto !important; padding: .75rem !important }
#top p, #top h1 { margin: 0 } #top h1 { font-size: 1.15rem }
#top .row { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; align-items: baseline; justify-content: space-between }
#top progress { width: 100%; height: .5rem; appearance: none; border: 0; margin-top: .35rem }
#top progress::-webkit-progress-bar { background: #8a919b55; border-radius: .25rem }
#top progress::-webkit-progress-value { background: #2b7a4b; border-radius: .25rem }
#top progress::-moz-progress-bar { background: #2b7a4b }
#status { min-height: 1.5rem; margin: -.75rem 0 } #status p { margin: 0 } #name { max-width: 22rem }
#status .told { border-left: 4px solid #b3261e; padding: .25rem .75rem }
#picture figure { position: relative; margin: 0 auto; --tall: 68vh;
  width: min(100%, var(--tall) * var(--ratio), 4px * var(--wide)) }
#picture img { display: block; width: 100%; border-radius: .5rem }
#picture svg { position: absolute; inset: 0; width: 100%; height: 100% }
#picture rect { fill: none; vector-effect: non-scaling-stroke }
#picture .halo { stroke: #101418; stroke-opacity: .6; stroke-width: 6 }
#picture .true { stroke: #e0483d; stroke-width: 3 }
#picture .said { stroke: #4da3ff; stroke-width: 3; stroke-dasharray: 7 5 }
.facts { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0; padding: 0; list-style: none }
.facts li { border-radius: 1rem; padding: .15rem .7rem; border: 1px solid var(--border-color-primary); overflow-wrap: anywhere }
.facts .attack { background: #b3261e; border-color: #b3261e; color: #fff }
.facts .bonafide { background: #1f6b3d; border-color: #1f6b3d; color: #fff }
.legend { margin: .4rem 0 0; text-align: center; opacity: .8; font-size: .92em }
.legend b { font-weight: 600 } .legend .true { color: #c5352b } .legend .said { color: #2b7fd0 }
#buttons { gap: .5rem }
#buttons button { min-height: 2.9rem; min-width: 6.5rem; flex: 1 1 6.5rem; padding: .3rem;
  font-size: 1rem; white-space: nowrap }
#accept { background: #1f6b3d; color: #fff } #reject { background: #b3261e; color: #fff }
button:focus-visible, textarea:focus-visible, input:focus-visible { outline: 3px solid #4da3ff !important; outline-offset: 2px }
kbd { border: 1px solid var(--border-color-primary); border-radius: .25rem; padding: 0 .35rem; font-size: .85em }
footer { display: none !important }
@media (max-width: 44rem) {
  .gradio-container { padding: .25rem .25rem 5rem !important }
  #picture figure { --tall: 24vh } #buttons { position: fixed; inset: auto 0 0; z-index: 1000; padding: .5rem;
  margin: 0; box-shadow: 0 -1px 4px #0003;
  background: var(--body-background-fill) } #buttons button { min-width: 0; flex-basis: 22%; font-size: .85rem }
}
"""

_SCRIPT = """
<script>
(() => {
  const KEYS = {a: 'accept', r: 'reject', s: 'skip', u: 'undo'};
  const click = (id) => { const found = document.getElementById(id); if (found && !found.disabled) found.click(); };
  document.addEventListener('keydown', (event) => {
    const typing = ['TEXTAREA', 'INPUT'].includes(event.target.tagName);
    if (typing && event.key === 'Escape') { event.target.blur(); event.preventDefault(); return; }
    if ((event.ctrlKey || event.metaKey) && event.key === 'Enter' && document.getElementById('picture')) {
      event.target.blur(); setTimeout(() => click('accept'), 50); event.preventDefault(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const key = event.key.toLowerCase();
    if (key in KEYS) { click(KEYS[key]); event.preventDefault(); }
    const field = {e: '.answer textarea', q: '.question textarea', n: '#note textarea'}[key];
    if (field) { document.querySelector(field)?.focus(); event.preventDefault(); }
  });
  new MutationObserver(() => {
    const status = document.getElementById('status');
    if (status && !status.hasAttribute('aria-live')) {
      status.setAttribute('role', 'status'); status.setAttribute('aria-live', 'polite'); }
    const name = document.querySelector('#top [data-reviewer]')?.dataset.reviewer;
    const url = new URL(location.href);
    if (name && url.searchParams.get('reviewer') !== name) {
      url.searchParams.set('reviewer', name); history.replaceState(null, '', url); }
  }).observe(document.documentElement, {childList: true, subtree: true});
  document.documentElement.lang = 'en';
})();
</script>
"""

_KEYS_HELP = (
    '<p class="legend"><kbd>A</kbd> accept · <kbd>R</kbd> reject · <kbd>E</kbd> edit the answer · <kbd>Q</kbd> the question · '
    "<kbd>N</kbd> note · <kbd>S</kbd> later · <kbd>U</kbd> back · in a text: <kbd>Ctrl</kbd>+<kbd>Enter</kbd> accept, "
    "<kbd>Esc</kbd> leave it</p>"
)

_FONT = ["system-ui", "sans-serif"]
LAUNCH: dict[str, Any] = {
    "css": _STYLE,
    "head": _SCRIPT,
    "theme": gr.themes.Base(font=_FONT, font_mono=["ui-monospace", "monospace"]),
    "quiet": True,
    "share": False,
    "footer_links": [],
    "ssr_mode": False,
    "show_error": True,
}
"""Arguments that the page's `launch` must be given."""


def build(queue: ReviewQueue, load: Load, *, reviewer: str = "") -> gr.Blocks:
    """Builds the page of a queue.

    Args:
        load: reads a picture.
        reviewer: name used if nobody is logged in and the address has no `?reviewer=NAME`; if empty, the page asks for one.
    """
    pairs = queue.most_pairs()
    with gr.Blocks(title="FaceShield review", analytics_enabled=False) as page:
        place, who, told = gr.Number(visible=False), gr.Textbox(visible=False), gr.Textbox(visible=False)
        top = gr.HTML(elem_id="top")
        with gr.Group(visible=False) as door:
            name = gr.Textbox(label="Your name", info="Decisions are stored under it.", elem_id="name", max_length=60)
            enter = gr.Button("Start", variant="primary", elem_id="start")
        status = gr.HTML(elem_id="status")
        with gr.Row(visible=False) as desk:
            with gr.Column(scale=6, min_width=320):
                picture = gr.HTML(elem_id="picture")
            with gr.Column(scale=5, min_width=320):
                facts = gr.HTML()
                boxes = []
                for pair in range(pairs):
                    tail = f" {pair + 1}" if pairs > 1 else ""
                    boxes.append(gr.Textbox(label=f"Question{tail}", lines=1, max_lines=8, elem_classes="question"))
                    boxes.append(gr.Textbox(label=f"Answer{tail}", lines=3, max_lines=20, elem_classes="answer"))
                note = gr.Textbox(label="Note (kept with the decision)", lines=1, elem_id="note")
                with gr.Row(elem_id="buttons"):
                    accept = gr.Button("Accept (A)", elem_id="accept")
                    reject = gr.Button("Reject (R)", elem_id="reject")
                    skip = gr.Button("Later (S)", elem_id="skip")
                    undo = gr.Button("Back (U)", elem_id="undo")
                gr.HTML(_KEYS_HELP)
        screen = [place, who, told, top, door, status, desk, picture, facts, *boxes, note]

        def show(person: str, item: Item | None, message: str) -> list[Any]:
            head = _top(queue.progress(person), person)
            if item is None:
                done = queue.progress(person)
                message += " Everything is reviewed: thank you." if done.finished == done.total else (
                    " Nothing is left for you now; what others have open may come back: reload the page later.")  # fmt: skip
                hidden = [gr.skip()] * (2 + len(boxes) + 1)
                return [None, person, "", head, gr.update(visible=False), _said(message), gr.update(visible=False), *hidden]
            own = item.earlier
            written = list(own.turns) if own and own.turns else item.dialogue.texts
            fields = [
                gr.update(value=written[i], visible=True) if i < len(written) else gr.update(value="", visible=False)
                for i in range(len(boxes))
            ]
            return [
                item.position, person, "", head, gr.update(visible=False), _said(message), gr.update(visible=True),
                _picture(queue, item, load), _facts(item), *fields, own.note if own else "",
            ]  # fmt: skip

        def ask_name(message: str) -> list[Any]:
            rest = [gr.skip()] * (2 + len(boxes) + 1)
            head = "<h1>FaceShield review</h1>"
            return [None, "", "", head, gr.update(visible=True), _said(message), gr.update(visible=False), *rest]

        def begin(request: gr.Request) -> list[Any]:
            person = request.username or request.query_params.get("reviewer") or reviewer
            return start(person, request) if person.strip() else ask_name("")

        def start(person: str, request: gr.Request) -> list[Any]:
            person = request.username or person
            try:
                return show(person, queue.lease(person), "")
            except ValueError as error:
                return ask_name(str(error))

        def decide(verdict: str, position: int, person: str, warned: str, note: str, *turns: str) -> list[Any]:
            item = queue.item(int(position), person)
            given = list(turns[: len(item.dialogue.conversations)])
            if verdict == "reject":
                queue.decide(item.position, person, "reject", None, note)
                return show(person, queue.lease(person), "Rejected.")
            try:
                changed = edited(item.dialogue, given)
            except ValueError as error:
                return stay(person, warned, str(error))
            # The faults of an untouched dialogue are shown already; only an edit is questioned.
            faults = contradictions(changed) if changed.texts != [text.strip() for text in item.dialogue.texts] else []
            if faults and warned != "\0".join(given):
                ask = "; ".join(faults)
                return stay(person, "\0".join(given), f"Not stored yet: {ask}. Accept again to keep it all the same.")
            queue.decide(item.position, person, "accept", given, note)
            edit = changed.texts != [text.strip() for text in item.dialogue.texts]
            return show(person, queue.lease(person), "Edited and accepted." if edit else "Accepted.")

        def stay(person: str, warned: str, message: str) -> list[Any]:
            rest = [gr.skip()] * (2 + len(boxes) + 1)
            return [gr.skip(), person, warned, gr.skip(), gr.skip(), _said(message, told=True), gr.skip(), *rest]

        def later(position: int, person: str) -> list[Any]:
            queue.skip(int(position), person)
            return show(person, queue.lease(person), "Put off.")

        def back(position: int | None, person: str) -> list[Any]:
            item = queue.back(person, None if position is None else int(position))
            if item is None:
                return stay(person, "", "You decided nothing before this.")
            return show(person, item, "Your earlier decision.")

        def renew(position: int | None, person: str) -> str | Any:
            if not person:
                return gr.skip()
            if position is not None:
                queue.renew(int(position), person)
            return _top(queue.progress(person), person)

        page.load(begin, None, screen, show_progress="hidden")
        gr.on([enter.click, name.submit], start, [name], screen, show_progress="hidden")
        for button, verdict in ((accept, "accept"), (reject, "reject")):
            button.click(
                lambda *given, verdict=verdict: decide(verdict, *given), [place, who, told, note, *boxes], screen,
                show_progress="hidden", concurrency_limit=None,
            )  # fmt: skip
        skip.click(later, [place, who], screen, show_progress="hidden")
        undo.click(back, [place, who], screen, show_progress="hidden")
        gr.Timer(_RENEW_S).tick(renew, [place, who], [top], show_progress="hidden")
    return page


def _said(message: str, *, told: bool = False) -> str:
    return f'<p class="{"told" if told else ""}">{escape(message.strip())}</p>'


def _top(progress: Progress, person: str) -> str:
    waiting = f", {progress.waiting:,} wait for a second reviewer" if progress.waiting else ""
    line = f"{progress.finished:,} of {progress.total:,} reviewed{waiting} · {progress.own:,} by you"
    return (
        f'<div class="row" data-reviewer="{escape(person, quote=True)}"><h1>FaceShield review</h1>'
        f"<p>{escape(person)} · {line}</p></div>"
        f'<progress aria-label="{line}" value="{progress.finished}" max="{progress.total}"></progress>'
    )


def _facts(item: Item) -> str:
    dialogue, meta = item.dialogue, item.dialogue.meta
    attack = bool(meta["is_attack"]) if "is_attack" in meta else None
    verdict = {True: ("attack", "attack"), False: ("bonafide", "bona fide"), None: ("", "no label")}[attack]
    said = [f'<li class="{verdict[0]}">{verdict[1]}</li>']
    said += [f"<li>{escape(str(meta['presentation_type']))}</li>"] if attack and meta.get("presentation_type") else []
    said += [f"<li>{escape(text)}</li>" for text in (dialogue.task, dialogue.source, dialogue.id)]
    faults = "".join(f'<p class="told">Contradiction: {escape(fault)}.</p>' for fault in contradictions(dialogue))
    earlier = f"<p>You decided: {item.earlier.verdict}.</p>" if item.earlier else ""
    return f'<ul class="facts" aria-label="What is known of this picture">{"".join(said)}</ul>{faults}{earlier}'


def _picture(queue: ReviewQueue, item: Item, load: Load) -> str:
    path = image_path(item.dialogue, queue.dialogues)
    try:
        rgb = load(str(path))
    except (ValueError, OSError, TypeError) as error:
        return f'<p class="told">The picture cannot be shown: {escape(str(error))}</p>'
    height, width = rgb.shape[:2]
    shown = Image.fromarray(rgb)
    shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    shown.save(data, "JPEG", quality=90)
    url = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    true, said = true_regions(item.dialogue), said_regions(item.dialogue)
    frames = "".join(_rect(box, "halo") + _rect(box, "true") for box in true) + "".join(_rect(box, "said") for box in said)
    legend = [f'<b class="true">solid: the label\'s box</b> ({len(true)})'] if true else ["no box is known"]
    legend += [f'<b class="said">dashed: the answer\'s box</b> ({len(said)})'] if said else []
    return (
        f'<figure style="--ratio: {width / height:.4f}; --wide: {width}">'
        f'<img alt="Picture of dialogue {escape(item.dialogue.id, quote=True)}; attack boxes drawn: {len(true)}" '
        f'src="{url}"><svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'aria-hidden="true">{frames}</svg></figure><p class="legend">{", ".join(legend)}</p>'
    )


def _rect(box: Box, kind: str) -> str:
    x0, y0, x1, y1 = box
    return f'<rect class="{kind}" x="{x0:.1f}" y="{y0:.1f}" width="{max(x1 - x0, 0):.1f}" height="{max(y1 - y0, 0):.1f}"/>'
