"""`faceshield review`: people accept, reject and edit dialogues, in the browser or in Label Studio."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceshield.cli.options import LOOPBACK

if TYPE_CHECKING:
    from faceshield.data_engine.review import ReviewQueue


def review(
    dialogues: Annotated[Path, typer.Argument(help="dialogues.jsonl.")],
    out: Annotated[Path, typer.Option(help="Accepted dialogues to write; rejected ones lie beside it.")],
    queue: Annotated[Path | None, typer.Option(help="SQLite file of the decisions. [default: OUT.review.sqlite]")] = None,
    sample: Annotated[str, typer.Option(help="Share that is reviewed, as 5% or 0.05; the rest passes unseen.")] = "100%",
    overlap: Annotated[str, typer.Option(help="Share of it that two reviewers see; their agreement is reported.")] = "0%",
    seed: Annotated[int, typer.Option(help="Another seed, another sample.")] = 0,
    reviewer: Annotated[str, typer.Option(help="Your name; the page asks where none is given.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on; others than this machine need a password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7861,
    lease_minutes: Annotated[
        float, typer.Option(min=0.01, help="Minutes after which a dialogue left alone goes to another reviewer.")
    ] = 10.0,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page, or only write what is decided.")] = True,
    to_label_studio: Annotated[Path | None, typer.Option(help="Write the queue as Label Studio tasks.")] = None,
    from_label_studio: Annotated[Path | None, typer.Option(help="Import the decisions of a Label Studio JSON export.")] = None,
    image_prefix: Annotated[str, typer.Option(help="Put before pictures' paths in Label Studio tasks.")] = "",
) -> None:
    """Review dialogues in the browser.

    Every decision is stored at once. Ctrl-C writes OUT.
    """
    from faceshield.data_engine.review import ReviewConfig, ReviewQueue, export, label_studio
    from faceshield.data_engine.stage import rejects_path
    from faceshield.provenance import check_not_read

    queue = queue or out.with_suffix(".review.sqlite")
    written = [out, rejects_path(out), out.with_suffix(".review.json"), queue, *filter(None, [to_label_studio])]
    check_not_read(written, [dialogues, from_label_studio])  # the queue depends on the dialogues as they are
    if page and to_label_studio is from_label_studio is None:
        _check_host(host)
    config = ReviewConfig.of(sample=_share(sample), overlap=_share(overlap), seed=seed)
    work = ReviewQueue(dialogues, queue, config, lease_s=60 * lease_minutes)
    if to_label_studio is not None:
        count = label_studio.write_tasks(work, to_label_studio, image_prefix=image_prefix)
        typer.echo(f"{count:,} tasks: {to_label_studio}, labelling config: {to_label_studio.with_suffix('.config.xml')}")
        return
    if from_label_studio is not None:
        stored, faults = label_studio.read_decisions(work, from_label_studio)
        for fault in faults:
            typer.echo(fault, err=True)
        typer.echo(f"{stored:,} decisions of {from_label_studio}, {len(faults):,} remarks")
    elif page:
        _serve(work, reviewer, host, port)
    summary = export(work, out)
    for line in summary.lines():
        typer.echo(line)
    typer.echo(f"accepted: {out} ({summary.accepted + summary.unseen:,}), rejected: {rejects_path(out)}")


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"share {text!r} — expected a percentage as 5% or a share as 0.05 — correct it") from None


def _check_host(host: str) -> str:
    """The password; raises ValueError if there is none and other machines can open the page."""
    import os

    password = os.environ.get("FACESHIELD_REVIEW_PASSWORD", "")
    if host not in LOOPBACK and not password:
        raise ValueError(
            f"--host {host} shows faces to the network — expected a password — set FACESHIELD_REVIEW_PASSWORD, or omit --host"
        )
    return password


def _serve(queue: ReviewQueue, reviewer: str, host: str, port: int) -> None:
    import hmac
    import signal
    import threading

    password = _check_host(host)
    from faceshield.data_engine.review.page import LAUNCH, build
    from faceshield.images import read_rgb

    app = build(queue, read_rgb, reviewer=reviewer)
    auth = (lambda name, given: hmac.compare_digest(given.encode(), password.encode())) if password else None
    app.launch(server_name=host, server_port=port, auth=auth, prevent_thread_lock=True, **LAUNCH)
    typer.echo(f"review page: http://{host}:{port} (Ctrl-C ends it and writes the output)")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    app.close(verbose=False)
