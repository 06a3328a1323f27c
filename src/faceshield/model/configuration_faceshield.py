"""FaceShield's configuration (paper §4): SigLIP, prompt tower, projector, Phi-3, and PVTM's options.

The defaults are the paper's sizes (SigLIP-so400m-14-384, Phi-3-mini); `build.TINY` is the tiny model.
Use: `FaceShieldConfig(pvtm_mask_ratio=0.0)` is the ablation "without PVTM".
"""

# No `from __future__ import annotations` here: `strict` checks values against annotations, but skips those that are strings.
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig

SIGLIP_SO400M: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
}

PAPER: dict[str, dict[str, Any]] = {
    "vision_config": {"model_type": "siglip_vision_model", **SIGLIP_SO400M, "image_size": 384, "patch_size": 14},
    "prompt_config": {
        "model_type": "siglip_text_model",
        **SIGLIP_SO400M,
        "vocab_size": 32000,
        "max_position_embeddings": 64,
        "bos_token_id": None,
        "eos_token_id": None,
    },
    "text_config": {"model_type": "phi3", "sliding_window": 2047},
}


@strict
class FaceShieldVisionConfig(SiglipVisionConfig):
    """SigLIP's vision tower with a convolutional stem instead of the single patch convolution.

    Args:
        stem: See `vision_faceshield`: `residual`, which normalises each picture on its own, or `resnet`, transformers' ResNet
            with batch normalisation.
        stem_channels: Channels of the stem's stages; each stage halves the map, so `2 ** len(stem_channels)`
            must be `patch_size` and the last entry `hidden_size`.
        stem_blocks: Residual blocks after each stage's halving (same length); a `resnet` has 0 in the first stage, its 7x7
            convolution, and at least 1 in every other.
        stem_norm_groups: Groups of the GroupNorm in `residual`; must divide every entry of `stem_channels`.
    """

    model_type = "faceshield_vision"
    base_config_key = "vision_config"

    hidden_size: int = 192
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 3
    image_size: int = 192
    patch_size: int = 16
    stem: Literal["residual", "resnet"] = "residual"
    stem_channels: list[int] | tuple[int, ...] = (32, 64, 96, 192)
    stem_blocks: list[int] | tuple[int, ...] = (0, 1, 1, 1)
    stem_norm_groups: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        self.stem_channels = list(self.stem_channels)
        self.stem_blocks = list(self.stem_blocks)
        faults = []
        if 2 ** len(self.stem_channels) != self.patch_size:
            faults.append(
                f"stem_channels {self.stem_channels} halve the picture {len(self.stem_channels)} times — "
                f"expected patch_size {self.patch_size} = 2**stages — add or drop a stage"
            )
        if not self.stem_channels or self.stem_channels[-1] != self.hidden_size:
            faults.append(
                f"stem_channels {self.stem_channels} — expected the last to be hidden_size {self.hidden_size} — change one"
            )
        if len(self.stem_blocks) != len(self.stem_channels):
            faults.append(
                f"stem_blocks {self.stem_blocks} — expected one number per stage of {self.stem_channels} — match them"
            )
        elif self.stem == "resnet" and (len(self.stem_blocks) < 2 or self.stem_blocks[0] or 0 in self.stem_blocks[1:]):
            faults.append(f"stem_blocks {self.stem_blocks} of a resnet — expected 0 in the first stage and some in every other")
        if any(width % self.stem_norm_groups for width in self.stem_channels):
            faults.append(
                f"stem_norm_groups {self.stem_norm_groups} — expected a divisor of every width in {self.stem_channels}"
            )
        if faults:
            raise ValueError("; ".join(faults))
        super().__post_init__(**kwargs)


@strict
class FaceShieldConfig(PreTrainedConfig):
    """The whole model's configuration.

    A sub-config given as a dict without `model_type` overrides values of the paper's.

    Args:
        vision_config: `SiglipVisionConfig` (paper) or `FaceShieldVisionConfig` (tiny).
        prompt_config: `SiglipTextConfig` of the tower that reads the question for PVTM.
        text_config: `Phi3Config`.
        image_token_id: Placeholder that vision tokens replace; within the vocabulary, never an eos id.
        vision_feature_layer: Index into the tower's hidden states whose tokens the projector reads.
        use_savp: Whether the checkpoint was trained with the second stream (§4.1).
        pvtm_keep_ratio: Share (0..1) of vision tokens, the most important ones, that are never masked (§4.2, k).
        pvtm_mask_ratio: Probability (0..1) of masking each of the other tokens (§4.2, p); 0 turns PVTM off.
        pvtm_space: How vision tokens are mapped into the text's space, see `pvtm.joint_tokens`; `llm_embed` = through the
            projector, compared with the mean of the language model's embeddings of the question.
        pvtm_pool: Text pooling: `siglip` = the tower's own pooled output, `mean` = mean of its tokens.
        pvtm_sign: +1 protects the tokens most similar to the prompt, -1 the least similar.
        pvtm_scope: Rank both streams' tokens together (`joint`) or each stream separately (`per_stream`).
        pvtm_mask: What a masked token's feature becomes: `zero`, the `mean` of the picture's own tokens, or `learned` (one
            vector, trained and saved with the projector); with `attention`, the token is excluded from attention instead.
        pvtm_draw: `bernoulli` = each token independently; `exact` = always the same number of tokens.
        pvtm_ranking: `prompt` (the paper), or the controls `random`, `shuffled_prompt` (another row's).
        pvtm_inference: `off`, or `paper` = masking stays on when the model is not training.
        pvtm_seed: Of the random numbers drawn at inference, the same for every picture.
        answer_tokens: Maximum length of an answer; anything beyond it is lost, even a concluding verdict.
    """

    model_type = "faceshield"
    sub_configs = {name: AutoConfig for name in ("vision_config", "prompt_config", "text_config")}

    vision_config: Any = None
    prompt_config: Any = None
    text_config: Any = None
    image_token_id: int = 32011
    vision_feature_layer: int = -2
    projector_hidden_act: str = "gelu"
    use_savp: bool = True
    pvtm_keep_ratio: float | int = 0.10
    pvtm_mask_ratio: float | int = 0.05
    # Paper is silent: which space, pooling, sign and mask; docs/paper_map.md gives the reasons.
    pvtm_space: Literal["map_head", "map_head_no_mlp", "trim_literal", "raw", "llm_embed"] = "map_head"
    pvtm_pool: Literal["siglip", "mean"] = "siglip"
    pvtm_sign: int = 1
    pvtm_scope: Literal["joint", "per_stream"] = "joint"
    pvtm_mask: Literal["zero", "mean", "learned", "attention"] = "zero"
    pvtm_draw: Literal["bernoulli", "exact"] = "bernoulli"
    pvtm_ranking: Literal["prompt", "random", "shuffled_prompt"] = "prompt"
    pvtm_inference: Literal["off", "paper"] = "off"
    pvtm_seed: int = 0
    answer_tokens: int = 160  # the longest plain answers need about 130; on some pictures a small model never stops
    tie_word_embeddings: bool = False

    def to_diff_dict(self) -> dict[str, Any]:
        """As in transformers, but for the sub-configs too: defaults are not written."""
        parts = {name: getattr(self, name).to_diff_dict() for name in self.sub_configs}
        for part in parts.values():
            part.pop("transformers_version", None)  # the outer config states it
        return super().to_diff_dict() | parts

    def __post_init__(self, **kwargs: Any) -> None:
        for name, paper in PAPER.items():
            given = getattr(self, name) or {}
            if isinstance(given, dict):
                setattr(self, name, AutoConfig.for_model(**(given if "model_type" in given else {**paper, **given})))
        super().__post_init__(**kwargs)
        faults = []
        for name in ("pvtm_keep_ratio", "pvtm_mask_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                faults.append(f"{name} {getattr(self, name)} — expected a share between 0 and 1 — 10% is 0.10")
        if self.pvtm_mask == "attention" and self.pvtm_inference != "off":
            faults.append(
                "pvtm_mask 'attention' with pvtm_inference 'paper' — expected 'off', generation attends to every "
                "token that it keeps — take another mask"
            )
        if self.pvtm_ranking == "shuffled_prompt" and self.pvtm_inference != "off":
            faults.append(
                "pvtm_ranking 'shuffled_prompt' with pvtm_inference 'paper' — expected 'off', all pictures are asked the same "
                "question and there is no other to rank by — take 'random'"
            )
        if self.pvtm_seed < 0:
            faults.append(f"pvtm_seed {self.pvtm_seed} — expected 0 or more — correct it")
        context = self.text_config.max_position_embeddings
        if not 0 < self.answer_tokens < context:
            faults.append(f"answer_tokens {self.answer_tokens} — expected 1 or more, less than the text's {context} positions")
        if self.pvtm_sign not in (-1, 1):
            faults.append(f"pvtm_sign {self.pvtm_sign} — expected +1 or -1 — correct it")
        vocabulary = self.text_config.vocab_size
        if not 0 <= self.image_token_id < vocabulary:
            faults.append(
                f"image_token_id {self.image_token_id} — expected an id below text_config.vocab_size "
                f"{vocabulary} — use the tokenizer's id of its image token"
            )
        ends = self.text_config.eos_token_id
        if self.image_token_id in (ends if isinstance(ends, list) else [ends]):
            faults.append(f"image_token_id {self.image_token_id} — expected another id than eos — add an image token")
        layers = self.vision_config.num_hidden_layers + 1
        if not -layers <= self.vision_feature_layer < layers:
            faults.append(
                f"vision_feature_layer {self.vision_feature_layer} — expected {-layers}..{layers - 1} — take -2, as the paper"
            )
        if self.vision_config.hidden_size != self.prompt_config.projection_size:
            faults.append(
                f"prompt_config.projection_size {self.prompt_config.projection_size} — expected "
                f"vision_config.hidden_size {self.vision_config.hidden_size}, PVTM compares the two — make "
                "them equal"
            )
        if faults:
            raise ValueError("; ".join(faults))

    @classmethod
    def checked(cls, **values: Any) -> "FaceShieldConfig":
        """The configuration from user-supplied values.

        Raises:
            ValueError: one of them is invalid.
        """
        try:
            return cls(**values)
        except StrictDataclassError as error:
            raise ValueError(f"{error.__cause__ or error} — correct it") from None

    @property
    def tokens_per_stream(self) -> int:
        """Vision tokens of one stream (RGB or SAVP): 729 for the paper's tower, 144 for the tiny one."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2


AutoConfig.register(FaceShieldVisionConfig.model_type, FaceShieldVisionConfig, exist_ok=True)
AutoConfig.register(FaceShieldConfig.model_type, FaceShieldConfig, exist_ok=True)

__all__ = ["FaceShieldConfig", "FaceShieldVisionConfig"]
