"""Pictures that the language model has read once, and any number of questions about them.

System sentence and picture are the same beginning of every question (Bunny's format), and nearly all of its tokens; they
are computed once and their keys and values kept. With PVTM at inference each question masks other tokens and so has a
beginning of its own. B = pictures, Q = questions, K = answers, T = vision tokens of all streams.
Use: `Reading(model, processor, *model.encode_images(pixels, savp)).answer(["Why?"], max_new_tokens=100)`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor


class Reading:
    """B pictures, read.

    Args:
        model: in eval mode.
        processor: its processor.
        features, joint: (B, T, Dv) each, of `model.encode_images`.
        seeds: (B,) of PVTM at inference; None = 0 for every picture, so that the same picture masks the same tokens.
    """

    def __init__(
        self,
        model: FaceShieldForConditionalGeneration,
        processor: FaceShieldProcessor,
        features: Tensor,
        joint: Tensor,
        seeds: Tensor | None = None,
    ) -> None:
        self.model, self.processor, self.features, self.joint = model, processor, features, joint
        self.seeds = torch.zeros(len(features), dtype=torch.long) if seeds is None else seeds
        self.prefix = processor.encode_prefix()
        self.masks_by_question = model.model.pvtm_is_on()
        self._beginnings: dict[str | None, DynamicCache] = {}

    @torch.inference_mode()
    def score(self, question: str, answers: Sequence[Sequence[int]]) -> Tensor:
        """(B, K) float32, log-probability of each fixed answer (`encode_answer`) to one question."""
        rest = self.processor.encode_question(question)[len(self.prefix) :]
        ids = torch.tensor([rest], device=self.model.device).expand(len(self.features), -1)
        return self.model.score_answers(answers, input_ids=ids, past_key_values=self._beginning(question))

    @torch.inference_mode()
    def answer(self, questions: Sequence[str], *, max_new_tokens: int) -> list[list[str]]:
        """Greedy answers: for each picture one text a question."""
        if not self.masks_by_question:
            return self._generate(questions, self._beginning(questions[0]), max_new_tokens) if questions else []
        columns = [self._generate([question], self._beginning(question), max_new_tokens) for question in questions]
        return [[answer for part in row for answer in part] for row in zip(*columns, strict=True)]

    def _beginning(self, question: str) -> DynamicCache:
        """Keys and values of system sentence and pictures; a copy, for what reads on makes it longer."""
        key = question if self.masks_by_question else None
        if key not in self._beginnings:
            rows, device = len(self.features), self.model.device
            cache = DynamicCache(config=self.model.config.text_config)
            self.model.model(
                input_ids=torch.tensor([self.prefix], device=device).expand(rows, -1),
                attention_mask=torch.ones(rows, len(self.prefix), dtype=torch.long, device=device),
                vision_features=self.features,
                vision_joint=self.joint,
                prompt_input_ids=self.processor.encode_prompts([question] * rows).to(device),
                pvtm_seeds=self.seeds,
                past_key_values=cache,
                use_cache=True,
            )
            self._beginnings[key] = cache
        return copy.deepcopy(self._beginnings[key])

    def _generate(self, questions: Sequence[str], cache: DynamicCache, max_new_tokens: int) -> list[list[str]]:
        processor, rows = self.processor, len(self.features)
        rests = [processor.encode_question(question)[len(self.prefix) :] for question in questions]
        batch = processor.collate(rests * rows)
        before = torch.tensor([self.prefix]).expand(len(batch["input_ids"]), -1)
        ids = torch.cat([before, batch["input_ids"]], dim=1).to(self.model.device)
        mask = torch.cat([torch.ones_like(before), batch["attention_mask"]], dim=1).to(self.model.device)
        cache.batch_repeat_interleave(len(questions))
        model: Any = self.model
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=processor.eos_token_id,
            pad_token_id=processor.pad_token_id,
        )
        texts = [processor.decode_answer(row[ids.shape[1] :]) for row in made]
        return [texts[start : start + len(questions)] for start in range(0, len(texts), len(questions))]
