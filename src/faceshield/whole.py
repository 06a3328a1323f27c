"""A model that scores and answers questions on whole pictures (face crops) in batches; without a threshold, so no verdict.

Use: `WholePictures(model, processor).score_many([rgb])` -> [(bonafide_score, type_scores)]. `evaluation.predict` can use it;
its subclass `predictor.FaceShieldPredictor` also finds faces and gives verdicts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceshield.images import open_picture, to_side
from faceshield.inspection import QuestionError
from faceshield.looks import how_calibrated
from faceshield.tasks import COARSE, FINE

if TYPE_CHECKING:
    from faceshield.model import FaceShieldForConditionalGeneration, FaceShieldProcessor
    from faceshield.model.drafts import Drafts
    from faceshield.model.reading import Reading, Words

Scores = tuple[float, dict[str, float]]
"""bonafide_score and type_scores."""
Evidence = tuple[Tensor, Tensor]
"""(B,) log-odds of bona fide, and (B, 12) log-probabilities of the types up to a constant; float64."""
Encoded = tuple[Tensor, Tensor | None]
"""Features, and where tokens are ranked (PVTM or `keep_tokens`) the joint tokens, of a picture or a batch."""

_TOKEN_CHARACTERS = 16  # per token: more than in any text
_REMEMBERED = 32  # pictures whose encodings are kept between the questions of an evaluation
_EVALUATION_BATCH = 16


class WholePictures:
    """A model with its processor, for pictures that are already face crops.

    Args:
        model: as returned by `faceshield.model.load`.
        processor: the one saved with the model.
        score_map: (scale, offset) applied to the log-odds, fitted on a development set; the default leaves them unchanged.
        name: of the checkpoint, for reports.
        model_hash: hash of the checkpoint's content, for reports.
        crop_side: longer side in pixels to which a crop is resized first, as in training; None: no resizing. A model trained on
            pictures of one size should see that size, because SAVP is computed from single pixels.
        keep_tokens: number of vision tokens that the language model reads: those most important for the coarse question in
            PVTM's ranking (§4.2); None: all. Fewer are faster but change scores slightly (docs/speed.md), so choose a new
            threshold.
        drafts: draft tokens for speculative decoding, which makes answers faster but never different; None: off.
    """

    def __init__(
        self,
        model: FaceShieldForConditionalGeneration,
        processor: FaceShieldProcessor,
        *,
        score_map: tuple[float, float] = (1.0, 0.0),
        name: str = "",
        model_hash: str = "",
        crop_side: int | None = None,
        keep_tokens: int | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        if keep_tokens is not None and (keep_tokens != int(keep_tokens) or keep_tokens < 1):
            raise ValueError(f"keep_tokens {keep_tokens} — expected a whole number of at least 1 — correct it")
        if keep_tokens is not None and model.config.pvtm_inference != "off":
            raise ValueError(f"keep_tokens {keep_tokens} with PVTM on at inference — expected off — give pvtm='off'")
        there = processor.tokens_per_stream * (2 if processor.use_savp else 1)
        self.keep_tokens = None if keep_tokens is None or keep_tokens >= there else keep_tokens
        self.drafts = drafts
        self.model = model.eval()
        self.processor = processor
        self.score_map = score_map
        self.model_info = {"name": name, "hash": model_hash}
        self.crop_side = crop_side
        self._templates = {
            task.question: [processor.encode_answer(answer) for answer in task.templates.values()] for task in (COARSE, FINE)
        }
        self._remembered: OrderedDict[bytes, Encoded] = OrderedDict()

    @property
    def settings(self) -> dict[str, str]:
        """Everything besides the name that determines the answers, for a run's record; it includes the weights' hash, because
        a retrained model may keep its name."""
        kept = {} if self.keep_tokens is None else {"keep_tokens": str(self.keep_tokens)}
        weights = {"weights": self.model_info["hash"]} if self.model_info["hash"] else {}
        config = self.model.config
        drawn = {"pvtm_seed": str(config.pvtm_seed)} if config.pvtm_inference != "off" else {}
        return {"pvtm": config.pvtm_inference, **drawn, **weights, **kept, **how_calibrated(self.score_map)}

    def score_many(self, images: Sequence[object]) -> list[Scores]:
        """(bonafide_score, type_scores) of each whole picture; raises ImageError for one that cannot be read."""
        found: list[Scores] = []
        with torch.inference_mode():
            for batch in batches(images, _EVALUATION_BATCH):
                found += self._scores(*self._evidence(self._reading(self._encode_remembered(batch))))
        return found

    def ask_many(self, images: Sequence[object], prompt: str) -> list[Words]:
        """The answer to one question about each whole picture.

        Raises:
            ImageError: a picture cannot be read.
            QuestionError: the question is empty, too long or not valid text.
        """
        self._check_question(prompt)
        answers: list[Words] = []
        with torch.inference_mode():
            for batch in batches(images, _EVALUATION_BATCH):
                reading = self._reading(self._encode_remembered(batch))
                answers += [row[0] for row in reading.answer([prompt], max_new_tokens=self._answer_tokens)]
        return answers

    # -- internals -----------------------------------------------------------------------------------------

    @property
    def _answer_tokens(self) -> int:
        return int(self.model.config.answer_tokens)

    def _read(self, crops: Sequence[NDArray[np.uint8]]) -> Reading:
        return self._reading(self._encode(crops))

    def _reading(self, encoded: Encoded) -> Reading:
        from faceshield.model.reading import Reading

        features, joint = encoded
        kept = None
        if self.keep_tokens is not None:
            assert joint is not None
            prompts = self.processor.encode_prompts([COARSE.question] * len(features)).to(features.device)
            ranks = self.model.model.token_scores(features, joint, prompts, torch.zeros(len(features), dtype=torch.long))
            kept = ranks.topk(self.keep_tokens).indices.sort().values
        return Reading(self.model, self.processor, features, joint, kept=kept, drafts=self.drafts)

    def _encode(self, crops: Sequence[NDArray[np.uint8]]) -> Encoded:
        """(H, W, 3) uint8 RGB crops -> the tower's features and, if tokens are ranked, joint tokens, (B, T, Dv) each."""
        pixels, descriptors = [], []
        for crop in crops:
            first, second = self.processor.encode_image(self._resized(crop))
            pixels.append(first)
            if second is not None:
                descriptors.append(second)
        device, dtype = self.model.device, self.model.dtype
        savp = torch.stack(descriptors).to(device, dtype) if descriptors else None
        ranked = self.keep_tokens is not None or self.model.model.pvtm_is_on()
        return self.model.encode_images(torch.stack(pixels).to(device, dtype), savp, with_joint=ranked)

    def _resized(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return to_side(crop, self.crop_side)

    def _encode_remembered(self, images: Sequence[object]) -> Encoded:
        """As `_encode`, for whole pictures, with a cache of the most recent ones."""
        crops = [open_picture(image).rgb for image in images]
        # If tokens are to be left out, features cached without their joint tokens cannot be used.
        asked_for = f"{self.keep_tokens is not None}".encode()
        keys = [hashlib.sha256(asked_for + repr(crop.shape).encode() + crop.tobytes()).digest() for crop in crops]
        new = {key: crop for key, crop in zip(keys, crops, strict=True) if key not in self._remembered}
        if new:
            features, joint = self._encode(list(new.values()))
            joints = [None] * len(new) if joint is None else list(joint)
            self._remembered.update(zip(new, zip(features, joints, strict=True), strict=True))
        rows = [self._remembered[key] for key in keys]
        for key in keys:
            self._remembered.move_to_end(key)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        asked = [row[1] for row in rows if row[1] is not None]
        return torch.stack([row[0] for row in rows]), torch.stack(asked) if asked else None

    def _evidence(self, reading: Reading) -> Evidence:
        """Evidence from the fixed answers, in one pass whatever is asked for, so a picture always gives the same bits."""
        coarse, fine = (chances.double() for chances in reading.score(self._templates))
        return coarse[:, 0] - coarse[:, 1], fine

    def _scores(self, odds: Tensor, types_odds: Tensor) -> list[Scores]:
        """Calibrated probability of the fixed bona fide answer, and probabilities of the types."""
        scale, offset = self.score_map
        scores = torch.sigmoid(scale * odds + offset).tolist()
        types = types_odds.softmax(-1).tolist()
        return [(score, dict(zip(FINE.templates, row, strict=True))) for score, row in zip(scores, types, strict=True)]

    def _check_question(self, prompt: str) -> None:
        if not isinstance(prompt, str) or not prompt.strip():
            raise QuestionError(f"question {prompt!r} — expected some words — ask something")
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise QuestionError(f"question {prompt!r} — expected text, it has bytes that are none — pass it as UTF-8")
        room = self.model.config.text_config.max_position_embeddings - self._answer_tokens
        if len(prompt) > room * _TOKEN_CHARACTERS:  # not even tokenised: megabytes would take a minute
            raise QuestionError(
                f"question of {len(prompt)} characters — expected at most {room * _TOKEN_CHARACTERS} — shorten it"
            )
        length = len(self.processor.encode_question(prompt))
        if length > room:
            raise QuestionError(
                f"question of {len(prompt)} characters makes {length} tokens with the picture — expected at "
                f"most {room} — shorten it"
            )


def batches(items: Iterable[object], size: int) -> Iterator[list[object]]:
    """The items in order, `size` at a time; the last batch may be smaller."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
