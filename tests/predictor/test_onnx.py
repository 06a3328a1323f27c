"""The exported graph gives the scores of the predictor; its input is what docs/onnx.md says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from faceshield.model.onnx import FixedScorer
from faceshield.predictor import FaceShieldPredictor

NEEDS_ONNX = 'pip install -e ".[onnx]"'
# docs/onnx.md's table: the pixels (row, column) of each direction's stroke in a cell.
STROKES = [
    [(1, 4), (2, 4), (3, 4), (4, 3), (5, 3), (6, 3)],
    [(1, 5), (2, 4), (3, 4), (4, 3), (5, 3), (6, 2)],
    [(2, 6), (3, 4), (3, 5), (4, 2), (4, 3), (5, 1)],
    [(3, 4), (3, 5), (3, 6), (4, 1), (4, 2), (4, 3)],
    [(3, 1), (3, 2), (3, 3), (4, 4), (4, 5), (4, 6)],
    [(2, 1), (3, 2), (3, 3), (4, 4), (4, 5), (5, 6)],
    [(1, 2), (2, 3), (3, 3), (4, 4), (5, 4), (6, 5)],
    [(1, 3), (2, 3), (3, 3), (4, 4), (5, 4), (6, 4)],
]


def crops(photo: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(crop) for crop in (photo[40:190, 140:300], photo[::-1], photo[:100, 300:])]


def tensors(shield: FaceShieldPredictor, pictures: list[np.ndarray]) -> list[torch.Tensor]:
    encoded = [shield.processor.encode_image(shield._resized(picture)) for picture in pictures]
    return [torch.stack(stream) for stream in zip(*encoded, strict=True) if stream[0] is not None]


@pytest.mark.parametrize("score_map", [(1.0, 0.0), (0.7, -1.3)])
def test_the_graph_scores_as_the_predictor(
    shield: FaceShieldPredictor, face_photo: np.ndarray, score_map: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shield, "score_map", score_map)
    pictures = crops(face_photo)
    with torch.inference_mode():
        scorer = FixedScorer(shield.model, shield.processor, shield._templates, score_map)
        coarse, fine = scorer(*tensors(shield, pictures))
    for row, picture in enumerate(pictures):
        wanted = shield.classify(picture, face="whole")
        assert float(coarse[row, 0]) == pytest.approx(wanted.bonafide_score, abs=1e-5)
        assert fine[row].tolist() == pytest.approx(list(wanted.type_scores.values()), abs=1e-5)


def test_the_preprocessing_is_what_the_document_says(shield: FaceShieldPredictor, face_photo: np.ndarray) -> None:
    """Numpy and Pillow alone, by the steps of docs/onnx.md; not one pixel may differ."""
    crop = np.ascontiguousarray(face_photo[30:230, 120:300])
    height, width = crop.shape[:2]
    side = shield.crop_side
    assert side is not None
    scale = side / max(height, width)
    size_wh = round(width * scale), round(height * scale)
    crop = np.asarray(Image.fromarray(crop).resize(size_wh, Image.Resampling.BICUBIC))
    grey = np.asarray(Image.fromarray(crop).convert("L")).astype(int)
    padded = np.pad(grey, 1)
    rows, columns = grey.shape

    def at(down: int, right: int) -> np.ndarray:
        return padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]

    axes, corners = [(0, 1), (-1, 0), (0, -1), (1, 0)], [(-1, 1), (-1, -1), (1, -1), (1, 1)]
    lbp = np.zeros_like(grey)
    for i in range(4):
        lbp |= (at(*axes[i]) >= grey).astype(int) << 2 * i
        between = 239 * (at(*axes[i]) + at(*axes[(i + 1) % 4])) + 577 * at(*corners[i])
        lbp |= (between >= (2 * 239 + 577) * grey).astype(int) << 2 * i + 1
    down, right = np.zeros(grey.shape), np.zeros(grey.shape)
    down[1:-1], right[:, 1:-1] = grey[2:] - grey[:-2], grey[:, 2:] - grey[:, :-2]
    direction = np.minimum(np.rad2deg(np.arctan2(down, right)) % 180 // 22.5, 7).astype(int)
    glyphs = np.zeros((8, 8, 8), np.float32)
    for number, stroke in enumerate(STROKES):
        for row, column in stroke:
            glyphs[number, row, column] = 1
    drawn = np.zeros(grey.shape, np.float32)
    for top in range(0, rows - 7, 8):
        for left in range(0, columns - 7, 8):
            cell = slice(top, top + 8), slice(left, left + 8)
            shares = np.bincount(direction[cell].ravel(), np.hypot(down, right)[cell].ravel(), minlength=8)
            drawn[cell] = np.tensordot(shares.astype(np.float32), glyphs, 1)
    hog = np.floor(drawn * np.float32(255 / float(drawn.max())) + np.float32(0.5))
    second = np.stack([lbp, grey, hog], axis=-1).astype(np.uint8)
    found = []
    for picture in (crop, second):
        longest = max(rows, columns)
        square = np.full((longest, longest, 3), 127, np.uint8)
        top, left = (longest - rows) // 2, (longest - columns) // 2
        square[top : top + rows, left : left + columns] = picture
        small = Image.fromarray(square).resize((shield.processor.image_size,) * 2, Image.Resampling.BICUBIC)
        found.append((np.asarray(small).transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.5)
    rgb, savp = tensors(shield, [face_photo[30:230, 120:300]])
    assert np.abs(found[0] - rgb[0].numpy()).max() < 1e-6
    assert np.abs(found[1] - savp[0].numpy()).max() < 1e-6


def test_a_threshold_of_other_scores_is_not_exported(make_shield: Callable[..., FaceShieldPredictor], tmp_path: Path) -> None:
    for chosen, told in ({"keep_tokens": "8"}, "keep_tokens 8"), ({"pvtm": "paper"}, "pvtm paper"):
        shield = make_shield()
        shield.chosen_with = {"dataset": "dev", **chosen}
        with pytest.raises(ValueError, match=f"the threshold was chosen with {told}, but the graph scores every token"):
            shield.export_onnx(tmp_path / "scorer.onnx")


def test_without_the_extra_the_line_to_type_is_said(
    shield: FaceShieldPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceshield.model.onnx.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "faceshield\[onnx\]"'):
        shield.export_onnx(tmp_path / "scorer.onnx")


def test_exporting_leaves_the_model_as_it_is_and_no_half_file(
    make_shield: Callable[..., FaceShieldPredictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []

    class Program:
        model = SimpleNamespace(metadata_props={})

        def save(self, file: Path, *, external_data: bool) -> None:
            file.write_text("half")
            if not saved:
                saved.append("not yet")
                raise OSError("no room")

    def export(scorer: FixedScorer, **_: Any) -> Program:
        assert next(scorer.model.parameters()).dtype == torch.float32
        return Program()

    monkeypatch.setattr("faceshield.model.onnx.find_spec", lambda name: True)
    monkeypatch.setattr(torch.onnx, "export", export)
    shield, file = make_shield(), tmp_path / "new" / "scorer.onnx"
    shield.model.to(torch.bfloat16)
    with pytest.raises(OSError, match="no room"):
        shield.export_onnx(file)
    assert list(file.parent.iterdir()) == []
    assert shield.export_onnx(file).read_text() == "half"
    assert Program.model.metadata_props["looks"] == "0.75"
    shield.chosen_with = {"face": "whole"}
    shield.export_onnx(file)
    assert Program.model.metadata_props["looks"] == "whole"
    assert next(shield.model.parameters()).dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_onnx_runtime_gives_the_same_scores(
    make_shield: Callable[..., FaceShieldPredictor], face_photo: np.ndarray, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason=NEEDS_ONNX)
    runtime: Any = pytest.importorskip("onnxruntime", reason=NEEDS_ONNX)
    shield = make_shield()
    file = shield.export_onnx(tmp_path / "scorer.onnx")
    session = runtime.InferenceSession(file)
    names = [one.name for one in session.get_inputs()]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["threshold_source"]) == dict(shield.chosen_with)
    assert float(metadata["threshold"]) == shield.threshold and len(metadata["types"].split(", ")) == 12
    pictures = crops(face_photo)
    for some in (pictures[:1], pictures):
        given = dict(zip(names, (stream.numpy() for stream in tensors(shield, some)), strict=True))
        coarse, fine = session.run(["coarse", "fine"], given)
        for row, picture in enumerate(some):
            wanted = shield.classify(picture, face="whole")
            assert float(coarse[row, 0]) == pytest.approx(wanted.bonafide_score, abs=1e-5)
            assert fine[row].tolist() == pytest.approx(list(wanted.type_scores.values()), abs=1e-5)
