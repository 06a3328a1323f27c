"""Draw a report onto its picture: the judged face, the attack's boxes, and the verdict in a strip below.

In one line: `annotate(picture.rgb, report).save("inspected.png")`. Only the verdict, its scores and the type are written,
never a file name or the model's free text, so no outside text can end up in the picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from faceshield.inspection import Box, InspectionReport

COLOURS = {"attack": "#c5352b", "bona fide": "#2b7a4b"}
NEUTRAL = "#5b6470"

_SHOWN_SIDE = 720  # pixels, longer side of the drawn picture: small crops are enlarged so that labels are legible
_MOST_ENLARGED = 4.0
_LEAST_WIDTH = 360
_STRIP = 64


def annotate(rgb: NDArray[np.uint8], report: InspectionReport) -> Image.Image:
    """Draws the report onto its picture.

    Args:
        rgb: (H, W, 3) uint8 RGB, the upright picture that `report` describes.

    Returns:
        An RGB image: the picture, its longer side 720 pixels (enlarged at most four times), above a strip with the verdict.
    """
    height, width = rgb.shape[:2]
    scale = min(_SHOWN_SIDE / max(height, width), _MOST_ENLARGED)
    shown_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = Image.fromarray(rgb).resize(shown_wh, Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (max(shown_wh[0], _LEAST_WIDTH), shown_wh[1] + _STRIP), "#14181d")
    canvas.paste(shown, ((canvas.width - shown_wh[0]) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    left = (canvas.width - shown_wh[0]) // 2

    def place(box: Box) -> tuple[float, float, float, float]:
        x0, y0, x1, y1 = (value * scale for value in box)
        return x0 + left, y0, min(x1, shown_wh[0] - 1) + left, min(y1, shown_wh[1] - 1)

    for face in report.meta.get("faces", []):
        judged = report.face is not None and tuple(face) == tuple(report.face)
        _frame(draw, place(tuple(face)), "#ffffff" if judged else "#b8bec6", 2 if judged else 1)
    for box in report.boxes:
        placed = place(box)
        _frame(draw, placed, COLOURS["attack"], 4)
        _tag(draw, placed, report.presentation_type or "attack", shown_wh[1])
    _strip(draw, report, canvas.size)
    return canvas


def _frame(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], colour: str, width: int) -> None:
    if box[0] > box[2] or box[1] > box[3]:
        return
    dark = (
        box[0] - 1,
        box[1] - 1,
        box[2] + 1,
        box[3] + 1,
    )  # a dark rim keeps the frame visible on every background
    draw.rectangle(dark, outline="#101418", width=width + 2)
    draw.rectangle(box, outline=colour, width=width)


def _tag(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], text: str, bottom: int) -> None:
    font = ImageFont.load_default(size=17)
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    wide, high = x1 - x0 + 14, y1 + 9
    left = max(min(box[0], draw.im.size[0] - wide), 0)
    top = box[1] - high if box[1] >= high else min(box[1], bottom - high)
    draw.rectangle((left, top, left + wide, top + high), fill=COLOURS["attack"])
    draw.text((left + 7, top + 3), text, font=font, fill="white")


def _strip(draw: ImageDraw.ImageDraw, report: InspectionReport, size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    top = height - _STRIP
    draw.rectangle((0, top, width, height), fill=NEUTRAL if report.doubtful else COLOURS.get(report.verdict, NEUTRAL))
    title = report.verdict.capitalize() + (", but not accepted" if report.doubtful else "")
    if report.is_attack and report.presentation_type:
        title = f"{title}: {report.presentation_type}"
    draw.text((16, top + 8), title, font=ImageFont.load_default(size=24), fill="white")
    if report.bonafide_score is not None and report.threshold is not None:
        detail = f"bona fide score {report.bonafide_score:.3f}, threshold {report.threshold:.3f}"
    else:
        detail = "no verdict"
    draw.text((16, top + 38), detail, font=ImageFont.load_default(size=15), fill="#ffffffd9")
