"""The average of models that began as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from faceshield.cli import app
from faceshield.model import checkpoint_hash, grow_vision, load, read_info, save
from faceshield.predictor import FaceShieldPredictor
from faceshield.provenance import read_run
from faceshield.recipes.average import AverageConfig, average
from faceshield.training.settings import StageConfig, inherited


def moved(checkpoint: Path, out: Path, *, by: float, layers: int | None = None) -> Path:
    """The same model with every weight moved at random, its tower deeper first if told."""
    begun = load(checkpoint)
    if layers:
        grow_vision(begun.model, num_hidden_layers=layers)
    torch.manual_seed(7)
    with torch.no_grad():
        for value in begun.model.parameters():
            value.add_(by * torch.randn_like(value))
    info = replace(begun.info, extra={**begun.info.extra, "stage": "sft"})
    return save(begun.model, begun.processor, out, info)


@pytest.mark.parametrize("shares", [None, [0.25, 0.75]])
def test_every_weight_lies_between(checkpoint: Path, tmp_path: Path, shares: list[float] | None) -> None:
    other = moved(checkpoint, tmp_path / "other", by=0.1)
    out = average(AverageConfig(models=[str(checkpoint), str(other)], shares=shares, out=tmp_path / "half"))
    first, second, found = (load(folder).model.state_dict() for folder in (checkpoint, other, out))
    share = 0.5 if shares is None else shares[1]
    assert found.keys() == second.keys()
    for name, value in found.items():
        assert torch.allclose(value, torch.lerp(first[name], second[name], share), atol=1e-6), name
        assert not torch.equal(first[name], second[name])


def test_a_shallower_tower_is_grown_and_says_what_it_said(checkpoint: Path, tmp_path: Path) -> None:
    """Beside the same model, grown: the average is that model again."""
    deeper = moved(checkpoint, tmp_path / "deeper", by=0.0, layers=4)
    out = average(AverageConfig(models=[str(checkpoint), str(deeper)], out=tmp_path / "half"))
    assert load(out).model.config.vision_config.num_hidden_layers == 4
    picture = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    scores = [FaceShieldPredictor.from_pretrained(folder, threshold=0.5).score_many([picture]) for folder in (checkpoint, out)]
    assert scores[0][0][0] == pytest.approx(scores[1][0][0], abs=1e-5)


def test_it_has_no_threshold_and_says_what_it_is_made_of(checkpoint: Path, tmp_path: Path) -> None:
    other = moved(checkpoint, tmp_path / "other", by=0.1)
    words = ["train", "average", f"models=[{checkpoint},{other}]", f"out={tmp_path / 'half'}", "save_dtype=bfloat16"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    info = read_info(tmp_path / "half")
    assert info.threshold is None and not info.calibration
    assert info.questions == read_info(checkpoint).questions and info.extra["crop_side"] == 80
    made_of = [{"model": str(part), "weights": checkpoint_hash(part)} for part in (checkpoint, other)]
    assert info.extra["average"] == {"models": made_of, "shares": [0.5, 0.5]}
    assert [entry["sha256"] for entry in read_run(tmp_path / "half")["inputs"]]
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 0.6 * (other / "model.safetensors").stat().st_size
    assert (tmp_path / "half" / "config.json").read_text() == (other / "config.json").read_text()
    card = (tmp_path / "half" / "README.md").read_text()
    assert f"Made of 0.5 of `{checkpoint}`, 0.5 of `{other}`, written" in card and "nothing was trained" in card
    assert "updates" not in card and "last step" not in card
    before = sorted((file, file.stat().st_mtime_ns) for file in (tmp_path / "half").glob("*"))
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert sorted((file, file.stat().st_mtime_ns) for file in (tmp_path / "half").glob("*")) == before, "done before"
    with pytest.raises(ValueError, match="was begun with"):
        average(AverageConfig(models=[str(other), str(checkpoint)], out=tmp_path / "half"))
    settings, origins = inherited(StageConfig(stage="sft", init=str(tmp_path / "half"), dialogues=["d"], out=tmp_path / "next"))
    assert settings.crop_side == 80 and "faceshield.json" in origins["crop_side"], (
        "what is trained on from it sees such pictures"
    )


def test_a_stem_is_grown_too(checkpoint: Path, tmp_path: Path) -> None:
    begun = load(checkpoint)
    before = list(begun.model.config.vision_config.stem_blocks)
    grow_vision(begun.model, stem_blocks=[*before[:-1], before[-1] + 1])
    deeper = save(begun.model, begun.processor, tmp_path / "deeper", begun.info)
    out = average(AverageConfig(models=[str(deeper), str(checkpoint)], out=tmp_path / "half"))
    picture = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    scores = [FaceShieldPredictor.from_pretrained(folder, threshold=0.5).score_many([picture]) for folder in (checkpoint, out)]
    assert scores[0][0][0] == pytest.approx(scores[1][0][0], abs=1e-5)


def test_a_tower_of_smaller_squares_is_grown_too(checkpoint: Path, tmp_path: Path) -> None:
    """Beside the same model, grown: the average is that model, and its processor makes the larger squares."""
    begun = load(checkpoint)
    side = 2 * begun.processor.image_size
    grow_vision(begun.model, image_size=side)
    begun.processor.image_size = side
    larger = save(begun.model, begun.processor, tmp_path / "larger", begun.info)
    for name, models in (("last", [checkpoint, larger]), ("first", [larger, checkpoint])):
        out = load(average(AverageConfig(models=[str(model) for model in models], out=tmp_path / name)))
        assert out.processor.image_size == out.model.config.vision_config.image_size == side
        for key, value in out.model.state_dict().items():
            assert torch.allclose(value, begun.model.state_dict()[key], atol=1e-6), key


def test_tied_weights_are_averaged_once(checkpoint: Path, tmp_path: Path) -> None:
    folders = []
    for number in range(2):
        begun = load(checkpoint)
        begun.model.config.tie_word_embeddings = True
        begun.model.tie_weights()
        torch.manual_seed(number)
        with torch.no_grad():
            begun.model.lm_head.weight.copy_(torch.randn_like(begun.model.lm_head.weight))
        folders.append(save(begun.model, begun.processor, tmp_path / f"tied-{number}", begun.info))
    out = average(AverageConfig(models=[str(folder) for folder in folders], out=tmp_path / "half"))
    first, second, found = (load(folder).model.lm_head.weight for folder in (*folders, out))
    assert torch.allclose(found, (first + second) / 2, atol=1e-6)


def test_an_adapter_counts_merged_and_its_base_is_not_replaced(checkpoint: Path, trained: Path, tmp_path: Path) -> None:
    other = moved(checkpoint, tmp_path / "other", by=0.1)
    with pytest.raises(ValueError, match="expected another folder"):
        average(AverageConfig(models=[str(other), str(trained)], out=checkpoint))
    out = average(AverageConfig(models=[str(other), str(trained)], out=tmp_path / "half"))
    first, second, found = (load(folder).model.state_dict() for folder in (other, trained, out))
    assert all(torch.allclose(value, (first[name] + second[name]) / 2, atol=1e-6) for name, value in found.items())
    assert [Path(entry["path"]) for entry in read_run(out)["inputs"]] == [other, trained, checkpoint]


def test_what_does_not_belong_together_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = moved(checkpoint, tmp_path / "other", by=0.1)
    with pytest.raises(ValueError, match="expected another folder"):
        average(AverageConfig(models=[str(checkpoint), str(other)], out=other))
    begun = load(checkpoint)
    begun.model.config.pvtm_sign = -1
    strange = save(begun.model, begun.processor, tmp_path / "strange", begun.info)
    with pytest.raises(ValueError, match=r"differ: pvtm_sign -1 against 1 — expected"):
        average(AverageConfig(models=[str(strange), str(checkpoint)], out=tmp_path / "half"))
    for change in ({"questions": {"coarse": "Is it?"}}, {"extra": {"crop_side": 64}}):
        begun = load(checkpoint)
        strange = save(begun.model, begun.processor, tmp_path / "strange", replace(begun.info, **change))
        with pytest.raises(ValueError, match="differ: (question of|crop_side)"):
            average(AverageConfig(models=[str(strange), str(checkpoint)], out=tmp_path / "half"))
    assert not (tmp_path / "half").exists()
    begun.model.config.answer_tokens, begun.model.config.pvtm_seed = 20, 3  # of use: no weight means anything else for them
    told = load(checkpoint).info
    told = replace(told, extra={**told.extra, "surroundings": False})  # as where it does not say
    used = save(begun.model, begun.processor, tmp_path / "used", told)
    average(AverageConfig(models=[str(used), str(checkpoint)], out=tmp_path / "half"))
    for shares in ([1.0], [1.0, 0.5], [0.0, 1.0]):
        with pytest.raises(ValueError, match="adding up to 1"):
            AverageConfig(models=["a", "b"], shares=shares, out=tmp_path)
    with pytest.raises(ValueError, match="models"):
        AverageConfig(models=["a"], out=tmp_path)


def test_a_model_that_it_did_not_write_is_not_replaced(checkpoint: Path, tmp_path: Path) -> None:
    other, kept = moved(checkpoint, tmp_path / "other", by=0.1), moved(checkpoint, tmp_path / "kept", by=0.2)
    (kept / "begun.json").unlink(missing_ok=True)
    before = (kept / "faceshield.json").read_bytes()
    with pytest.raises(ValueError, match="kept holds model.safetensors of another run"):
        average(AverageConfig(models=[str(checkpoint), str(other)], out=kept))
    assert (kept / "faceshield.json").read_bytes() == before
