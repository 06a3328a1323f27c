"""`faceshield ask`: a free question about one photo; the answer is the model's words, never the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from faceshield.inspection import FaceMode


def ask(
    photo: Annotated[Path, typer.Argument(help="A picture.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="'tiny', a checkpoint folder, or a hub id.")] = "tiny",
    face: Annotated[FaceMode, typer.Option(help="Show the model the largest face, or the whole picture.")] = "detect",
) -> None:
    """Ask the model a free question about one photo."""
    from faceshield.images import open_picture

    picture = open_picture(photo)  # before loading the model, so that a bad path is reported at once

    from faceshield.model import SMALL
    from faceshield.predictor import FaceShieldPredictor
    from faceshield.tasks import QUESTIONS

    shield = FaceShieldPredictor.from_pretrained(model)
    if question.strip() not in QUESTIONS.values() and shield.model.num_parameters() < SMALL:
        known = " ".join(QUESTIONS.values())
        typer.echo(f"a model of this size answers any question as if it were one of those it was taught: {known}", err=True)
    answer = shield.ask(picture, question, face=face)
    typer.echo("".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in answer))
