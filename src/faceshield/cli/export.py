"""`faceshield export`: verdict and type scores as one ONNX file, for phones and for services without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    out: Annotated[Path, typer.Option(help="The file to write, *.onnx.")],
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
) -> None:
    """Write the scorer as ONNX.

    docs/onnx.md specifies its input to the pixel.
    """
    if out.suffix != ".onnx":
        raise ValueError(f"--out {out} — expected a name that ends in .onnx — rename it")
    from faceshield.predictor import FaceShieldPredictor

    shield = FaceShieldPredictor.from_pretrained(model, device="cpu")
    size = shield.export_onnx(out).stat().st_size / 2**20
    whole = shield.chosen_with.get("face") == "whole"
    of = " of a face crop as it is" if whole else " of two (docs/onnx.md)" if shield.surroundings else ""
    typer.echo(
        f"{out} written, {size:.1f} MiB: coarse[:, 0] is bonafide_score of one look, an attack is below "
        f"{shield.threshold:.6f}{of}"
    )
