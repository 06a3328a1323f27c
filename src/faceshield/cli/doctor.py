"""`faceshield doctor`: what is installed, and whether the model and the face detector work here; for bug
reports."""

from __future__ import annotations

import platform
from typing import Annotated

import typer

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "scikit-image",
    "pillow",
    "numpy",
    "pydantic",
    "typer",
)


def doctor(
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
) -> None:
    """Print versions and try the model once; exit code 2 if something does not work."""
    from importlib.metadata import PackageNotFoundError, version

    from faceshield import __version__

    typer.echo(f"faceshield    {__version__}")
    typer.echo(f"python        {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        try:
            typer.echo(f"{package:13} {version(package)}")
        except PackageNotFoundError:
            typer.echo(f"{package:13} missing")

    import torch

    build = torch.version.cuda or "cpu"
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    typer.echo(
        f"torch build   {build}, {torch.get_num_threads()} threads, GPUs: {', '.join(devices) or 'none'}"
    )
    failures = _try_faces() + _try_model(model)
    if failures:
        raise typer.Exit(2)
    typer.echo("all well")


def _try_faces() -> int:
    import numpy as np
    from skimage.data import astronaut

    from faceshield.face import BuiltInDetector

    found = len(BuiltInDetector().detect(np.asarray(astronaut())))
    typer.echo(f"face detector {'works' if found == 1 else f'found {found} faces where there is one'}")
    return int(found != 1)


def _try_model(name: str) -> int:
    import time

    import numpy as np

    from faceshield.predictor import FaceShieldPredictor

    started = time.perf_counter()
    try:
        shield = FaceShieldPredictor.from_pretrained(name)
    except (ValueError, OSError) as error:
        typer.echo(f"model         {name} does not load: {error}")
        return 1
    loaded = time.perf_counter()
    grey = np.full((224, 224, 3), 127, np.uint8)
    report = shield.inspect(grey, face="whole")
    taken = time.perf_counter() - loaded
    info = shield.model_info
    typer.echo(
        f"model         {info['name']} ({info['hash']}), threshold {shield.threshold:.4f}, "
        f"loaded in {loaded - started:.1f} s, one picture in {taken:.2f} s"
    )
    return int(report.status != "ok")
