"""FaceShield's model (paper §4, Fig. 4c): SigLIP on RGB and SAVP, PVTM, projector, Phi-3.

It joins transformers' own SigLIP and Phi-3 classes in the form of a transformers model, so `save_pretrained`, `generate`, PEFT
and Trainer work as for any other model.
Use: `model(**processor(images=picture, text=question)).logits`.
B = batch, T = vision tokens of all streams (one stream's, or twice that with SAVP), Dv / Dt = widths of the tower / language
model, L = sequence length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageTextToText, GenerationMixin, PreTrainedModel, SiglipTextModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling, ModelOutput
from transformers.utils.generic import can_return_tuple

from . import pvtm, vision_faceshield  # noqa: F401  (vision_faceshield registers the small tower)
from .configuration_faceshield import FaceShieldConfig

_REMEMBERED_PROMPTS = 1024
IMAGE_INPUTS = (
    "pixel_values", "savp_values", "savp_mask", "prompt_input_ids", "pvtm_seeds", "vision_features", "vision_joint",
)  # fmt: skip


@dataclass
class FaceShieldImageFeatures(BaseModelOutputWithPooling):
    """`pooler_output`, B tensors (T, Dt), shorter if a picture has no second stream; `last_hidden_state` (B, T, Dv) after
    PVTM; `attended`, B tensors (T,) bool, the tokens that may be attended to, None = all."""

    attended: list[Tensor] | None = None


@dataclass
class FaceShieldModelOutputWithPast(BaseModelOutputWithPast):
    """Language model outputs plus `image_hidden_states` (B, T, Dt), the projected vision tokens; 0 in place of a missing
    second stream."""

    image_hidden_states: Tensor | None = None


@dataclass
class FaceShieldCausalLMOutputWithPast(ModelOutput):
    """Loss, logits (B, L, vocabulary), cache, and `image_hidden_states` (B, T, Dt)."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor] | None = None
    attentions: tuple[Tensor] | None = None
    image_hidden_states: Tensor | None = None


class FaceShieldProjector(nn.Module):
    """Linear, GELU, Linear: (…, Dv) -> (…, Dt). Eq. 1. Holds PVTM's mask token, (Dv,), if it is learnt."""

    def __init__(self, config: FaceShieldConfig) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(config.vision_config.hidden_size, config.text_config.hidden_size)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(config.text_config.hidden_size, config.text_config.hidden_size)
        self.mask_token: nn.Parameter | None = None
        if config.pvtm_mask == "learned":
            self.add_mask_token()

    def add_mask_token(self) -> None:
        """Adds a learnable mask token that starts at zero, like the fixed one."""
        self.mask_token = nn.Parameter(self.linear_1.weight.new_zeros(self.linear_1.in_features))

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(self.act(self.linear_1(features)))


class FaceShieldPreTrainedModel(PreTrainedModel):
    config: FaceShieldConfig
    config_class = FaceShieldConfig
    base_model_prefix = "model"
    input_modalities = ["image", "text"]
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FaceShieldProjector) and module.mask_token is not None:
            init.zeros_(module.mask_token)  # a file without it would otherwise leave it uninitialised


class FaceShieldModel(FaceShieldPreTrainedModel):
    """Towers, projector and language model, without the language model's head."""

    def __init__(self, config: FaceShieldConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.prompt_tower = SiglipTextModel._from_config(config.prompt_config)
        self.multi_modal_projector = FaceShieldProjector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self._prompts: dict[tuple[int, ...], Tensor] = {}
        self._prompts_of: tuple[Any, ...] = ()
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def encode_images(
        self,
        pixel_values: Tensor,
        savp_values: Tensor | None = None,
        savp_mask: Tensor | None = None,
        *,
        with_joint: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Run the tower on both streams in one batch (Eq. 5-6).

        Args:
            pixel_values: (B, 3, S, S) RGB, normalised by the processor.
            savp_values: (B, 3, S, S) [LBP, Gray, HOG], or None if no picture has a second stream.
            savp_mask: (B,) bool, the pictures that have one; None = all. The tokens of a missing stream are 0.
            with_joint: If false, the tower runs only as far as the features.

        Returns:
            `features` (B, T, Dv), the hidden state that the projector reads, RGB's tokens first; `joint` (B, T, Dv), the same
            tokens in the prompt's space, for PVTM, or None. No gradient if the tower is frozen.
        """
        tower = self.vision_tower
        layer = self.config.vision_feature_layer
        trained = torch.is_grad_enabled() and any(p.requires_grad for p in tower.parameters())
        streams = [pixel_values]
        if savp_values is not None:
            streams.append(savp_values if savp_mask is None else savp_values[savp_mask])
        blocks = tower.encoder.layers
        needed = layer % (len(blocks) + 1)
        joint = None
        with torch.set_grad_enabled(trained):
            if with_joint or needed == len(blocks):
                outputs = tower(torch.cat(streams), output_hidden_states=[layer], return_dict=True)
                features = outputs.hidden_states[layer]
            else:
                features = tower.embeddings(torch.cat(streams))
                for block in blocks[:needed]:
                    features = block(features, None)
        if with_joint:
            with torch.no_grad():
                joint = pvtm.joint_tokens(tower, outputs.last_hidden_state, features, self.config.pvtm_space)

        def side_by_side(tokens: Tensor) -> Tensor:
            rgb, *second = tokens.split([stream.shape[0] for stream in streams])  # len() would become a constant in an export
            if savp_mask is not None and second:
                second = [torch.zeros_like(rgb).index_put((savp_mask,), second[0])]
            return torch.cat([rgb, *second], dim=1)

        return side_by_side(features), None if joint is None else side_by_side(joint)

    @torch.no_grad()
    def encode_prompts(self, prompt_input_ids: Tensor) -> Tensor:
        """Pool each prompt, (B, 64) ids -> (B, Dv), in the weights' precision; results of the frozen tower are cached."""
        weight = self.prompt_tower.head.weight
        version = sum(parameter._version for parameter in self.prompt_tower.parameters())
        state = (self.config.pvtm_pool, weight.device, weight.dtype, version)
        if state != self._prompts_of or len(self._prompts) > _REMEMBERED_PROMPTS:
            self._prompts_of, self._prompts = state, {}
        rows = [tuple(row) for row in prompt_input_ids.tolist()]
        new = list(dict.fromkeys(row for row in rows if row not in self._prompts))
        if new:
            with torch.autocast(weight.device.type, enabled=False):
                pooled = self._pool_prompts(torch.tensor(new, device=weight.device))
            self._prompts.update(zip(new, pooled, strict=True))
        return torch.stack([self._prompts[row] for row in rows])

    def _pool_prompts(self, ids: Tensor) -> Tensor:
        outputs = self.prompt_tower(input_ids=ids, return_dict=True)
        if self.config.pvtm_pool == "siglip":
            return outputs.pooler_output
        filled = (ids != self.config.prompt_config.pad_token_id).unsqueeze(-1)
        total = (outputs.last_hidden_state * filled).sum(1) / filled.sum(1).clamp(min=1)
        return self.prompt_tower.head(total)

    def mask_features(
        self,
        features: Tensor,
        joint: Tensor,
        prompt_input_ids: Tensor,
        seeds: Tensor | None = None,
        savp_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """PVTM (§4.2): replace the features of the masked tokens; the number of tokens and their positions never change.

        Args:
            features: (B, T, Dv) from `encode_images`.
            joint: (B, T, Dv) from `encode_images`.
            prompt_input_ids: (B, 64) ids of the question alone.
            seeds: (B,) integers or None, see `pvtm.mask_tokens`.
            savp_mask: (B,) bool, the pictures that have a second stream; None = all. The others' tokens are ranked and drawn
                as if there were only one stream.

        Returns:
            Masked features (B, T, Dv), and (B, T) bool, the tokens that were kept.
        """
        config = self.config
        batch, tokens, _ = features.shape
        if savp_mask is not None:
            features, keep = features.clone(), features.new_zeros((batch, tokens), dtype=torch.bool)
            for rows, length in ((savp_mask, tokens), (~savp_mask, config.tokens_per_stream)):
                if not rows.any():
                    continue
                some = None if seeds is None else seeds[rows.to(seeds.device)]
                part = self.mask_features(features[rows, :length], joint[rows, :length], prompt_input_ids[rows], some)
                features[rows, :length], keep[rows, :length] = part
            return features, keep
        scores = self.token_scores(features, joint, prompt_input_ids, seeds)
        if config.pvtm_scope == "per_stream":
            streams = max(1, tokens // config.tokens_per_stream)
            scores = scores.reshape(batch * streams, -1)
            if seeds is not None:
                seeds = (seeds.unsqueeze(1) * streams + torch.arange(streams, device=seeds.device)).flatten()
        exact = config.pvtm_draw == "exact"
        keep = pvtm.mask_tokens(scores, config.pvtm_keep_ratio, config.pvtm_mask_ratio, seeds, exact=exact)
        keep = keep.view(batch, tokens)
        # Paper is silent: what a masked token becomes; zero becomes projector(0), one trainable vector.
        if config.pvtm_mask == "attention":
            return features, keep
        filler = features.new_zeros(())
        if config.pvtm_mask == "mean":
            filler = features.mean(1, keepdim=True)
        elif (learned := self.multi_modal_projector.mask_token) is not None:
            filler = learned.to(features.dtype)
        return torch.where(keep.unsqueeze(-1), features, filler), keep

    def token_scores(self, features: Tensor, joint: Tensor, prompt_input_ids: Tensor, seeds: Tensor | None = None) -> Tensor:
        """(B, T) importance of each vision token for the question (Eq. 7-8), each row summing to 1; random numbers if
        `pvtm_ranking` is "random". Arguments as for `mask_features`."""
        config = self.config
        if config.pvtm_ranking == "random":
            batch, tokens, _ = features.shape
            scores = torch.rand(batch, tokens) if seeds is None else pvtm.seeded_uniform(seeds + 1, tokens)
            return scores.to(features.device)
        if config.pvtm_space == "llm_embed":
            joint = self.multi_modal_projector(features.to(_number_type(self.multi_modal_projector, features.dtype))).detach()
            text = self._embed_prompts(prompt_input_ids)
        else:
            text = self.encode_prompts(prompt_input_ids)
        if config.pvtm_ranking == "shuffled_prompt":
            text = text.roll(1, dims=0)
        return pvtm.importance(joint, text, config.pvtm_sign)

    @torch.no_grad()
    def _embed_prompts(self, prompt_input_ids: Tensor) -> Tensor:
        """(B, 64) ids of the language model's tokenizer -> (B, Dt), the mean embedding of all but padding."""
        filled = (prompt_input_ids != self.config.text_config.pad_token_id).unsqueeze(-1)
        embedded = self.get_input_embeddings()(prompt_input_ids) * filled
        return embedded.sum(1) / filled.sum(1).clamp(min=1)

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: Tensor | None = None,
        savp_values: Tensor | None = None,
        savp_mask: Tensor | None = None,
        prompt_input_ids: Tensor | None = None,
        pvtm_seeds: Tensor | None = None,
        vision_features: Tensor | None = None,
        vision_joint: Tensor | None = None,
        **kwargs: Any,
    ) -> FaceShieldImageFeatures:
        """Vision tokens as the language model reads them, after PVTM and the projector.

        Pass either `pixel_values` (and `savp_values`), or `vision_features` (and, for PVTM, `vision_joint`) as `encode_images`
        returned them; in both cases `savp_mask` (B,) bool tells which pictures have a second stream, None = all. PVTM is on if
        `prompt_input_ids` is given, `pvtm_mask_ratio` is above 0, and the model is training or `pvtm_inference` is "paper".
        Without seeds it draws from torch's global generator in training, and otherwise with `pvtm_seed` for every picture.
        """
        if vision_features is None:
            if pixel_values is None:
                raise ValueError("no picture given — expected pixel_values or vision_features — pass one of the two")
            masks = prompt_input_ids is not None and self.pvtm_is_on()
            given = (pixel_values, savp_values, savp_mask)
            vision_features, vision_joint = self.encode_images(*given, with_joint=masks)
        features, keep = vision_features, None
        batch, tokens, _ = features.shape
        if prompt_input_ids is not None and self.pvtm_is_on():
            if vision_joint is None:
                raise ValueError("vision_features without vision_joint — PVTM ranks by it — pass both")
            if pvtm_seeds is None and not self.training:
                pvtm_seeds = torch.full((batch,), self.config.pvtm_seed)
            features, keep = self.mask_features(features, vision_joint, prompt_input_ids, pvtm_seeds, savp_mask)
        lengths = [tokens] * batch
        if savp_mask is not None:
            lengths = [tokens if both else self.config.tokens_per_stream for both in savp_mask.tolist()]
        projector = self.multi_modal_projector
        dtype = _number_type(projector, features.dtype)
        # A list, as generation's code repeats and slices it.
        projected: Any = [row[:length] for row, length in zip(projector(features.to(dtype)), lengths, strict=True)]
        attended = None
        if keep is not None and self.config.pvtm_mask == "attention":
            attended = [row[:length] for row, length in zip(keep, lengths, strict=True)]
        return FaceShieldImageFeatures(last_hidden_state=features, pooler_output=projected, attended=attended)

    def pvtm_is_on(self) -> bool:
        """Whether tokens are masked at present: in training, or at inference if configured so."""
        return (self.training or self.config.pvtm_inference == "paper") and self.config.pvtm_mask_ratio > 0

    def _placeholders(self, input_ids: Tensor, projected: Sequence[Tensor]) -> Tensor:
        """(B, L) bool, True where a vision token goes; raises if a row's count differs from its picture's number of tokens."""
        mask = input_ids == self.config.image_token_id
        if not torch.compiler.is_compiling():
            counts, expected = mask.sum(1).tolist(), [len(row) for row in projected]
            if counts != expected:
                raise ValueError(
                    f"image placeholders per row {counts} — expected {expected}, one per vision token — use this "
                    "checkpoint's processor"
                )
        return mask

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        savp_values: Tensor | None = None,
        savp_mask: Tensor | None = None,
        prompt_input_ids: Tensor | None = None,
        pvtm_seeds: Tensor | None = None,
        vision_features: Tensor | None = None,
        vision_joint: Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> FaceShieldModelOutputWithPast:
        """See `FaceShieldForConditionalGeneration.forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("input_ids and inputs_embeds — expected exactly one of them — drop the other")
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        images = (mm_encoder_outputs or {}).get("image")
        if images is None and (pixel_values is not None or vision_features is not None):
            given = (pixel_values, savp_values, savp_mask, prompt_input_ids, pvtm_seeds, vision_features, vision_joint)
            images = self.get_image_features(*given, return_dict=True)
        image_hidden_states = None
        if images is not None:
            if input_ids is None:
                raise ValueError("pictures with inputs_embeds — expected input_ids, placeholders are found by id")
            projected: Any = images.pooler_output
            where = self._placeholders(input_ids, projected).unsqueeze(-1)
            inputs_embeds = inputs_embeds.masked_scatter(where, torch.cat(list(projected)).to(inputs_embeds))
            image_hidden_states = nn.utils.rnn.pad_sequence(list(projected), batch_first=True)
        if position_ids is None and attention_mask is not None and attention_mask.shape == inputs_embeds.shape[:2]:
            # No cache yet: a left-padded row gets the same positions as on its own.
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        attended = getattr(images, "attended", None)
        if attended is not None:
            attention_mask = pvtm.hide(attention_mask, where.squeeze(-1), torch.cat(attended))
        adds = self.language_model.config._attn_implementation == "eager"  # to the scores; a bool one as 0 and 1
        if adds and attention_mask is not None and attention_mask.ndim == 4 and attention_mask.dtype == torch.bool:
            hidden = torch.finfo(inputs_embeds.dtype).min
            attention_mask = inputs_embeds.new_zeros(attention_mask.shape).masked_fill(~attention_mask, hidden)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        return FaceShieldModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_hidden_states,
        )


class FaceShieldForConditionalGeneration(FaceShieldPreTrainedModel, GenerationMixin):
    """The whole model: picture and question in, answer out (Eq. 2)."""

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}

    def __init__(self, config: FaceShieldConfig) -> None:
        super().__init__(config)
        self.model = FaceShieldModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def encode_images(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """See `FaceShieldModel.encode_images`; pass the result as `vision_features` and `vision_joint`."""
        return self.model.encode_images(*args, **kwargs)

    def get_image_features(self, *args: Any, **kwargs: Any) -> BaseModelOutputWithPooling:
        """See `FaceShieldModel.get_image_features`."""
        return self.model.get_image_features(*args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        savp_values: Tensor | None = None,
        savp_mask: Tensor | None = None,
        prompt_input_ids: Tensor | None = None,
        pvtm_seeds: Tensor | None = None,
        vision_features: Tensor | None = None,
        vision_joint: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Any,
    ) -> FaceShieldCausalLMOutputWithPast:
        """Next-token logits, and the loss if `labels` are given.

        Args:
            input_ids: (B, L) with a placeholder for each vision token of the row's picture.
            attention_mask: (B, L); or, for packed rows, (B, 1, L, L) bool, True = may be attended to, with `position_ids`.
            pixel_values, savp_values: (B, 3, S, S); without SAVP the second is None.
            savp_mask: (B,) bool, the pictures that have a second stream; None = all that `savp_values` has.
            prompt_input_ids: (B, 64) ids of the question alone, for PVTM.
            pvtm_seeds: (B,) integers, one per sample.
            vision_features, vision_joint: (B, T, Dv), cached results of `encode_images`, instead of pixels.
            labels: (B, L), -100 where there is no loss.
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, pixel_values, savp_values, savp_mask,
            prompt_input_ids, pvtm_seeds, vision_features, vision_joint, mm_encoder_outputs, return_dict=True,
            **{key: value for key, value in kwargs.items() if key != "num_items_in_batch"},
        )  # fmt: skip
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs)
        return FaceShieldCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )

    def _prepare_multimodal_encoder_kwargs_for_generation(self, model_kwargs: dict[str, Any]) -> Any:
        # Generation pre-encodes pictures only if given pixels; cached features must take the same path.
        if model_kwargs.get("vision_features") is None:
            parent: Any = super()
            return parent._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)
        given = {name: model_kwargs.pop(name) for name in IMAGE_INPUTS if name in model_kwargs}
        encoded = self.model.get_image_features(**given, return_dict=True)
        model_kwargs["mm_encoder_outputs"] = {**(model_kwargs.get("mm_encoder_outputs") or {}), "image": encoded}
        return model_kwargs


def _number_type(module: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """The dtype in which a module computes: that of its first floating-point parameter; `otherwise` for quantised weights."""
    return next((parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()), otherwise)


AutoModel.register(FaceShieldConfig, FaceShieldModel, exist_ok=True)
AutoModelForImageTextToText.register(FaceShieldConfig, FaceShieldForConditionalGeneration, exist_ok=True)

__all__ = ["FaceShieldForConditionalGeneration", "FaceShieldModel", "FaceShieldPreTrainedModel"]
