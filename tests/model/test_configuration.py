from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from faceshield.model import FaceShieldConfig, FaceShieldVisionConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "model"


def test_defaults_are_the_papers_sizes():
    config = FaceShieldConfig()
    assert config.tokens_per_stream == 729
    assert config.vision_config.model_type == "siglip_vision_model"
    assert (config.text_config.hidden_size, config.text_config.num_hidden_layers) == (3072, 32)
    assert (config.pvtm_keep_ratio, config.pvtm_mask_ratio, config.pvtm_sign) == (0.10, 0.05, 1)


def test_saved_config_comes_back_through_autoconfig(tmp_path, pair):
    model, _ = pair
    model.config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, FaceShieldConfig)
    assert isinstance(again.vision_config, FaceShieldVisionConfig)
    assert again.vision_config.stem_channels == model.config.vision_config.stem_channels
    assert again.tokens_per_stream == 16


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"pvtm_keep_ratio": 10.0}, "pvtm_keep_ratio 10.0"),
        ({"pvtm_mask_ratio": -0.1}, "pvtm_mask_ratio -0.1"),
        ({"pvtm_sign": 0}, "pvtm_sign 0"),
        ({"image_token_id": 99_999}, "image_token_id 99999"),
        ({"image_token_id": 32_000}, "another id than eos"),
        ({"vision_feature_layer": -40}, "vision_feature_layer -40"),
        ({"pvtm_space": "llm"}, "pvtm_space"),
        ({"answer_tokens": 5000}, "answer_tokens 5000"),
        ({"answer_tokens": 0}, "answer_tokens 0"),
        ({"pvtm_seed": -1}, "pvtm_seed -1"),
    ],
)
def test_wrong_values_are_named(values, said):
    with pytest.raises(Exception, match=said):
        FaceShieldConfig(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"stem_channels": [32, 64, 192]},  # three halvings make 8, not 16
        {"stem_channels": [32, 64, 96, 100]},  # last is not hidden_size
        {"stem_blocks": [0, 1]},
        {"stem_norm_groups": 5},
    ],
)
def test_wrong_stems_are_refused(values):
    with pytest.raises(ValueError, match="stem_"):
        FaceShieldVisionConfig(**values)


def test_a_part_of_a_sub_config_changes_only_that_part():
    """Another vocabulary must not turn the paper's text tower into SigLIP's base size."""
    paper, changed = FaceShieldConfig(), FaceShieldConfig(prompt_config={"vocab_size": 512}, text_config={"vocab_size": 32064})
    assert changed.prompt_config.vocab_size == 512
    assert changed.prompt_config.hidden_size == paper.prompt_config.hidden_size == 1152
    assert changed.text_config.sliding_window == paper.text_config.sliding_window == 2047
    assert changed.to_dict() == FaceShieldConfig(**changed.to_dict()).to_dict()


def test_what_is_written_is_what_differs(tmp_path):
    config = FaceShieldConfig(text_config={"vocab_size": 32064})
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written["text_config"]["vocab_size"] == 32064 and written["text_config"]["model_type"] == "phi3"
    for part in ("vision_config", "prompt_config", "text_config"):
        assert not {"id2label", "output_attentions", "_name_or_path", "transformers_version"} & written[part].keys(), part
    assert FaceShieldConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
