"""Local models: small random instances of the real classes, saved to folders as CLIP, SigLIP and LLaVA models are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from faceshield.data_engine.backends import BackendConfig
from faceshield.data_engine.filter import FilterConfig, filter_dialogues
from faceshield.data_engine.generate import GenerateConfig, generate
from faceshield.data_engine.similarity import PictureTextSimilarity, SimilarityConfig
from faceshield.data_engine.stage import rejects_path
from faceshield.records import Dialogue, Sample, image_path, read_jsonl, write_jsonl
from toy_llava import teach, toy_llava

pytestmark = pytest.mark.slow

SMALL = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer(length: int) -> Any:
    from faceshield.model.tokenizer import train_tokenizer

    made = train_tokenizer(["this is a face before a wall"], vocab_size=300)
    made.model_max_length = length
    return made


@pytest.fixture(params=["clip", "siglip"])
def two_towers(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    import torch
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    torch.manual_seed(0)
    words = tokenizer(16)
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 16, "projection_dim": 32, "projection_size": 32}
    text |= {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id, "bos_token_id": 0}
    seen = {**SMALL, "image_size": 32, "patch_size": 16}
    folder = tmp_path / request.param
    if request.param == "clip":
        CLIPModel(CLIPConfig(text_config=text, vision_config=seen, projection_dim=32)).save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    else:
        SiglipModel(SiglipConfig(text_config=text, vision_config=seen)).save_pretrained(folder)
        SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_similarity_of_pictures_and_texts(two_towers: Path, samples: list[Sample], samples_jsonl: Path) -> None:
    paths = [image_path(sample, samples_jsonl) for sample in samples[:4]]
    texts = ["A face.", "A wall before a face, and much more than sixteen pieces of text can hold at all.", "x", "y"]
    measure = PictureTextSimilarity(SimilarityConfig(model=str(two_towers)))
    scores = measure.scores(paths, texts)
    assert len(scores) == 4 and all(-1 <= score <= 1 for score in scores)
    alone = [measure.scores([path], [text])[0] for path, text in zip(paths, texts, strict=True)]
    assert alone == pytest.approx(scores, abs=1e-5), "a batch changes nothing"
    assert measure.threshold == {"clip": 0.15, "siglip": 0.02}[two_towers.name]


def test_the_similarity_filter_drops_below_the_threshold(two_towers: Path, samples_jsonl: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    generate(samples_jsonl, captions, GenerateConfig(tasks=("caption", "coarse")), seed=0)
    rows = read_jsonl(captions, Dialogue)
    measure = PictureTextSimilarity(SimilarityConfig(model=str(two_towers)))
    told = [row for row in rows if row.task == "caption"]
    scores = measure.scores([image_path(row, captions) for row in told], [row.conversations[1].value for row in told])
    limit = sorted(scores)[len(scores) // 2]
    config = FilterConfig(similarity=SimilarityConfig(model=str(two_towers), threshold=limit), duplicates=None)
    Image.new("RGB", (64, 64)).save(samples_jsonl.parent / "extra.png")
    result = filter_dialogues(captions, tmp_path / "kept.jsonl", config)
    dropped = [json.loads(line) for line in rejects_path(result.out).read_text().splitlines()]
    assert {row["filter"] for row in dropped} == {"similarity"} and 0 < len(dropped) < len(told)
    kept = read_jsonl(result.out, Dialogue)
    assert sum(row.task == "coarse" for row in kept) == 24, "verdicts describe no picture"
    assert all(row.meta["similarity"] >= limit - 1e-3 for row in kept if row.task == "caption")


@pytest.fixture
def local_model(tmp_path: Path) -> Path:
    return toy_llava(tmp_path / "llava")


def test_a_local_model_answers_and_the_same_seed_answers_the_same(
    local_model: Path, samples: list[Sample], samples_jsonl: Path, tmp_path: Path
) -> None:
    write_jsonl(samples_jsonl, samples[:3])
    teach(local_model, [(Image.new("RGB", (32, 32), shade), "this is a face", "before a wall") for shade in ("black", "white")])
    config = BackendConfig(kind="transformers", model=str(local_model), style="answers", max_tokens=24, device="cpu")
    asked = GenerateConfig(tasks=("coarse", "caption"), backend=config)
    first = generate(samples_jsonl, tmp_path / "a.jsonl", asked, seed=0)
    second = generate(samples_jsonl, tmp_path / "b.jsonl", asked, seed=0)
    assert first.rows + first.rejects == 6 and first.rows > 0
    assert first.out.read_bytes() == second.out.read_bytes()
    rows = read_jsonl(first.out, Dialogue)
    assert {row.source for row in rows} == {str(local_model)} and rows[0].meta["generator"] == "transformers"


def test_what_was_cut_off_becomes_no_dialogue(
    local_model: Path, samples: list[Sample], samples_jsonl: Path, tmp_path: Path
) -> None:
    """A model that never learnt to stop writes up to the token limit, and half a sentence must not become training data."""
    write_jsonl(samples_jsonl, samples[:2])
    config = BackendConfig(kind="transformers", model=str(local_model), style="answers", max_tokens=3, asks=2, device="cpu")
    result = generate(samples_jsonl, tmp_path / "a.jsonl", GenerateConfig(tasks=("coarse",), backend=config), seed=0)
    assert (result.rows, result.rejects) == (0, 2)
    assert "cut off after 3 tokens" in rejects_path(result.out).read_text()


def test_what_a_local_model_cannot_write_is_a_reject(
    local_model: Path, samples: list[Sample], samples_jsonl: Path, tmp_path: Path
) -> None:
    write_jsonl(samples_jsonl, samples[:2])
    teach(local_model, [(Image.new("RGB", (32, 32)), "this is a face", "before a wall")])
    config = BackendConfig(kind="transformers", model=str(local_model), max_tokens=24, asks=2, temperature=0, device="cpu")
    asked = GenerateConfig(tasks=("fine",), backend=config)
    result = generate(samples_jsonl, tmp_path / "a.jsonl", asked, seed=0, cache=tmp_path / "c.sqlite")
    assert (result.rows, result.rejects) == (0, 2)
    assert "asked 2 times; not the JSON asked for" in rejects_path(result.out).read_text()
