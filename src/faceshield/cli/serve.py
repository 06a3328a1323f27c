"""`faceshield serve`: serve the model over HTTP, for programs (docs/serving.md)."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceshield.cli.options import LOOPBACK, Replicas, spread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EXAMPLES = ("Bonafide", "Print", "Replay", "Rigid mask", "Partial Eye", "Makeup")


@spread
def serve(
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.", min=0, max=65535)] = 8000,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of API keys, one a line; also FACESHIELD_API_KEYS, separated by commas.")
    ] = None,
    without_keys: Annotated[bool, typer.Option("--without-keys", help="Let everybody ask, also from other machines.")] = False,
    batch_size: Annotated[int, typer.Option(help="Photos that go through the model together.", min=1)] = 8,
    batch_wait_ms: Annotated[
        float, typer.Option(help="How long an idle model waits for photos to fill a batch.", min=0, max=1000)
    ] = 10,
    queue: Annotated[int, typer.Option(help="Photos that may wait; more are refused with 429.", min=16)] = 64,
    timeout: Annotated[float, typer.Option(help="Seconds a request may take.", min=0.1)] = 120,
    body_timeout: Annotated[float, typer.Option(help="Seconds in which a client must have sent its body.", min=0.1)] = 30,
    drain: Annotated[float, typer.Option(help="Seconds that accepted requests have after SIGTERM.", min=0.1)] = 30,
    max_body_mb: Annotated[
        float,
        typer.Option(help="Largest request body, in MiB; all that wait at once: 256, or four times this.", min=0.001, max=4096),
    ] = 16,
    max_megapixels: Annotated[
        float, typer.Option(help="Largest photo; read from its header, before anything is decoded.", min=0.002, max=120)
    ] = 25,
    keep_tokens: Annotated[
        int | None, typer.Option(help="Vision tokens that the language model reads; fewer are faster: docs/speed.md.", min=1)
    ] = None,
    ui: Annotated[bool, typer.Option("--ui", help="Also a page for people, at /ui/ (needs the extra ui).")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Never reach for a hub, not even for the model.")] = False,
    *,
    replicas: Replicas,
) -> None:
    """Answer over HTTP.

    POST /v1/inspect, POST /v1/chat/completions, /healthz, /readyz, /metrics, /openapi.json.
    """
    if offline:  # before anything imports the hub's client
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

    from faceshield.serving import Settings, create_app
    from faceshield.serving.settings import KEYS_VARIABLE, read_keys

    scale = replicas.scale()
    keys = read_keys(api_keys, os.environ)
    if not keys and host not in LOOPBACK and not without_keys:
        raise ValueError(
            f"--host {host} without API keys — expected keys where other machines can ask — give --api-keys FILE or "
            f"{KEYS_VARIABLE}, or say --without-keys"
        )
    settings = Settings(
        batch_size=batch_size,
        batch_wait_s=batch_wait_ms / 1000,
        queue=queue,
        timeout_s=timeout,
        drain_s=drain,
        max_body=int(max_body_mb * 2**20),
        body_timeout_s=body_timeout,
        max_bodies=max(256 * 2**20, 4 * int(max_body_mb * 2**20)),
        max_pixels=int(max_megapixels * 1e6),
        keys=keys,
    )

    add_page = None
    if ui:
        if scale and scale.most > 1:
            raise ValueError(
                "--ui with several replicas — expected one: a visitor's photos live in one process — leave out --replicas and "
                "--max-replicas, or serve the page by another command"
            )
        from faceshield.serving import page

        add_page = functools.partial(page.add_page, examples=_examples())
    if scale:
        from faceshield.model import resolve_model
        from faceshield.serving import ray_app

        resolve_model(model)  # report a missing model at once: Ray would only say that no replica starts
        ray_app.run(model, settings, scale, host=host, port=port, keep_tokens=keep_tokens, add_page=add_page, offline=offline)
        return

    from faceshield.predictor import FaceShieldPredictor
    from faceshield.serving.server import check_free, run

    check_free(host, port)
    app = create_app(FaceShieldPredictor.from_pretrained(model, keep_tokens=keep_tokens), settings)
    run(app if add_page is None else add_page(app), host=host, port=port)


def _examples() -> list[tuple[str, NDArray[np.uint8]]]:
    """Drawn faces, one bona fide and five attacks: (type, picture)."""
    import tempfile

    import numpy as np
    from PIL import Image

    from faceshield.records import Sample, image_path, read_jsonl
    from faceshield.simulate.dataset import SimulateConfig, simulate

    config = SimulateConfig("drawn", count=len(_EXAMPLES), seed=4, types=_EXAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        samples = simulate(Path(folder), config, workers=1)
        rows = read_jsonl(samples, Sample)
        pictures = {row.presentation_type: np.asarray(Image.open(image_path(row, samples)).convert("RGB")) for row in rows}
    return [(name, pictures[name]) for name in _EXAMPLES]
