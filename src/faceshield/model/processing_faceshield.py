"""FaceShield's processor: pictures to two pixel streams, texts to token ids (paper §4; Bunny's format).

All preprocessing constants live here. A conversation is assembled from tokenised pieces, so labels are known without searching
for them, and special tokens written in a question are harmless text.
Use: `inputs = processor(images=picture, text="Is this face bona fide?", return_tensors="pt")`.
S = image size, T = vision tokens of all streams, L = sequence length.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from .configuration_faceshield import FaceShieldConfig
from .savp import Channel, LbpMethod
from .savp import savp as descriptors

# Bunny's system sentence, word for word: the published weights were trained with it.
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
# SYSTEM and IMAGE are replaced by the checkpoint's own, as Jinja strings.
_CHAT_TEMPLATE = (
    "{%- macro words(content) %}{% if content is string %}{{ content }}{% else %}"
    "{% for part in content if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}{% endmacro -%}"
    "{{ SYSTEM }} {% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is not string %}{% for part in message['content'] if part['type'] == 'image' %}"
    "{{ IMAGE }}\n{% endfor %}{% endif %}{{ words(message['content']) }} ASSISTANT:"
    "{% elif message['role'] == 'assistant' %} {{ words(message['content']) }}{{ eos_token }}"
    "{% else %}{{ raise_exception('a turn of ' + message['role'] + ' - expected user and assistant - ask in the question') }}"
    "{% endif %}{% endfor %}"
)
IGNORED = -100
_WITHOUT_EFFECT = ("padding", "add_special_tokens")

ImageInput = Image.Image | np.ndarray


class FaceShieldProcessor(ProcessorMixin):
    """Turns pictures and texts into model inputs.

    Args:
        tokenizer: The language model's; it must have `image_token` as a single token.
        prompt_tokenizer: The prompt tower's; None = the same one.
        chat_template: Jinja template of the conversation format, for tools that use one; None = ours.
        image_size: S, the side of the square that the tower sees, in pixels.
        patch_size: Side of a vision token in pixels.
        use_savp: Whether to make the second stream (§4.1).
        image_token: The placeholder's text.
        system: Sentence before the conversation.
        prompt_length: Number of token ids of a prompt, SigLIP's 64.
        image_mean: Per-channel mean after scaling to 0..1; one value for all channels.
        image_std: Standard deviation, likewise.
        pad_level: Grey level 0-255 that fills a picture to a square.
        savp_channels: See `savp.savp`.
        savp_lbp_method: See `savp.savp`.
        savp_hog_orientations: See `savp.savp`.
        savp_hog_cell: See `savp.savp`.
        savp_hog_block: See `savp.savp`.
        savp_at: What descriptors are computed on: the `crop` as given, before padding and resizing, or the `square` that the
            tower sees.
    """

    prompt_tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt_tokenizer: PreTrainedTokenizerBase | None = None,
        chat_template: str | None = None,
        image_size: int = 384,
        patch_size: int = 14,
        use_savp: bool = True,
        image_token: str = "<image>",
        system: str = SYSTEM,
        prompt_length: int = 64,
        image_mean: float = 0.5,
        image_std: float = 0.5,
        pad_level: int = 127,
        savp_channels: Sequence[Channel] = ("lbp", "gray", "hog"),
        savp_lbp_method: LbpMethod = "default",
        savp_hog_orientations: int = 8,
        savp_hog_cell: int = 8,
        savp_hog_block: int | None = None,
        savp_at: Literal["crop", "square"] = "crop",
    ) -> None:
        image_token_id: Any = tokenizer.convert_tokens_to_ids(image_token)
        if image_token_id is None or image_token_id == tokenizer.unk_token_id:
            raise ValueError(
                f"tokenizer without the token {image_token!r} — expected one piece for it — add it with "
                f"tokenizer.add_special_tokens({{'additional_special_tokens': ['{image_token}']}})"
            )
        if tokenizer.eos_token_id is None:
            raise ValueError("tokenizer without an eos token — expected one to end answers — set tokenizer.eos_token")
        template = _CHAT_TEMPLATE.replace("SYSTEM", json.dumps(system)).replace("IMAGE", json.dumps(image_token))
        super().__init__(tokenizer, prompt_tokenizer or tokenizer, chat_template=chat_template or template)
        self.image_size, self.patch_size, self.use_savp = image_size, patch_size, use_savp
        self.image_token, self.system = image_token, system
        self.image_token_id: int = image_token_id
        self.prompt_length = prompt_length
        self.image_mean, self.image_std, self.pad_level = image_mean, image_std, pad_level
        self.savp_channels, self.savp_lbp_method = list(savp_channels), savp_lbp_method
        self.savp_hog_orientations, self.savp_hog_cell = savp_hog_orientations, savp_hog_cell
        self.savp_hog_block, self.savp_at = savp_hog_block, savp_at
        self.eos_token_id: int = tokenizer.eos_token_id
        pad = tokenizer.pad_token_id
        self.pad_token_id: int = self.eos_token_id if pad is None else pad
        self._pieces: dict[str, list[int]] = {}
        self.check_savp()

    def check_savp(self) -> None:
        """Checks SAVP's options; call it after changing them.

        Raises:
            ValueError: one of them is invalid.
        """
        if self.savp_at not in ("crop", "square"):
            raise ValueError(f"savp_at {self.savp_at!r} — expected 'crop' or 'square' — choose one of them")
        self._descriptors(np.zeros((8, 8, 3), np.uint8))

    # -- sizes

    @property
    def tokens_per_stream(self) -> int:
        """Vision tokens of one stream."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def image_seq_length(self) -> int:
        """T, the number of placeholders of one picture: `tokens_per_stream`, twice that with SAVP."""
        return self._placeholders(self.use_savp)

    def _placeholders(self, savp: bool) -> int:
        return self.tokens_per_stream * (2 if savp else 1)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "savp_values", "savp_mask", "prompt_input_ids"]

    # -- pictures

    def square_pixels(self, image: ImageInput, savp: bool | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """The two streams as the tower's squares before normalisation: (S, S, 3) uint8 each, small enough to cache.

        Args:
            image: PIL picture of any mode, or (H, W, 3) uint8 RGB.
            savp: Whether to make the second; None = `use_savp`.

        Returns:
            RGB square, and the SAVP square or None. SAVP is computed on the picture as given, reduced first if its longer side
            exceeds 2 S (or, with `savp_at` "square", on the RGB square). Both are padded with `pad_level` to a centred square
            and resized bicubically.
        """
        rgb = as_rgb(image)
        square = self._square(rgb)
        if not (self.use_savp if savp is None else savp):
            return square, None
        return square, self._square(self._descriptors(self._not_too_large(rgb) if self.savp_at == "crop" else square))

    def _not_too_large(self, rgb: np.ndarray) -> np.ndarray:
        # Paper is silent: how large the crop is. On a large one, most patterns would be camera noise, and would vanish when
        # the picture is reduced to the much smaller square.
        longest, side = max(rgb.shape[:2]), 2 * self.image_size
        if longest <= side:
            return rgb
        size_wh = tuple(max(1, round(length * side / longest)) for length in (rgb.shape[1], rgb.shape[0]))
        return np.asarray(Image.fromarray(rgb).resize(size_wh, Image.Resampling.BICUBIC))

    def _descriptors(self, rgb: np.ndarray) -> np.ndarray:
        return descriptors(
            rgb,
            channels=self.savp_channels,
            lbp_method=self.savp_lbp_method,
            hog_orientations=self.savp_hog_orientations,
            hog_cell=self.savp_hog_cell,
            hog_block=self.savp_hog_block,
        )

    def _square(self, picture: np.ndarray) -> np.ndarray:
        return to_square(picture, self.image_size, self.pad_level)

    def normalize(self, squares: np.ndarray | Tensor) -> Tensor:
        """(…, S, S, 3) uint8 -> (…, 3, S, S) float32, (x / 255 - mean) / std, here -1..1."""
        pixels = torch.as_tensor(squares).to(torch.float32).movedim(-1, -3)
        return (pixels * (1 / 255) - self.image_mean) / self.image_std

    def encode_image(self, image: ImageInput, savp: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """One picture -> `pixel_values`, `savp_values` or None, (3, S, S) float32; see `square_pixels`."""
        first, second = self.square_pixels(image, savp)
        return self.normalize(np.array(first)), None if second is None else self.normalize(np.array(second))

    # -- texts

    def _ids(self, text: str) -> list[int]:
        """Ids of plain text; special tokens written in it are encoded as ordinary text, never as special tokens."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        forbidden = {self.image_token_id, self.eos_token_id, self.pad_token_id}
        if forbidden.intersection(ids):
            # The tokenizer cannot split special tokens: a space after the first character makes them ordinary text.
            for token in sorted(self.tokenizer.all_special_tokens, key=len, reverse=True):
                text = text.replace(token, f"{token[:1]} {token[1:]}")
            ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return list(ids)

    def _cached(self, text: str) -> list[int]:
        if text not in self._pieces:
            self._pieces[text] = self._ids(text)
        return self._pieces[text]

    def _question_ids(self, question: str, *, first: bool, image: bool, savp: bool | None = None) -> list[int]:
        """Ids of one user turn, up to and including "ASSISTANT:"."""
        if image:
            # Like Bunny, we tokenise the pieces around the picture separately.
            return [*self.encode_prefix(savp=savp), *self._ids(f"\n{question} ASSISTANT:")]
        before = f"{self.system} USER: " if first else "USER: "
        return [*(self._start if first else []), *self._ids(f"{before}{question} ASSISTANT:")]

    @property
    def _start(self) -> list[int]:
        """The start token if the tokenizer itself adds one, as Phi-3's did until July 2024."""
        ids: list[int] = list(self.tokenizer("")["input_ids"])
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and ids[:1] == [bos] else []

    def encode_prefix(self, *, savp: bool | None = None) -> list[int]:
        """Ids of the system sentence and picture placeholders, the prefix of every question about a picture; `savp`: whether it
        has a second stream, None = `use_savp`."""
        places = self._placeholders(self.use_savp if savp is None else savp)
        return [*self._start, *self._cached(f"{self.system} USER: "), *[self.image_token_id] * places]

    def encode_question(self, question: str, *, image: bool = True, savp: bool | None = None) -> list[int]:
        """Ids of system sentence, placeholders (if `image`) and question, up to "ASSISTANT:"; `savp`: see `encode_prefix`."""
        return self._question_ids(question, first=True, image=image, savp=savp)

    def _question(self, text: str, image: bool) -> str:
        """Extracts the question from text made by the chat template; any other text is returned as the question itself."""
        start, end = f"{self.system} USER: ", " ASSISTANT:"
        if not text.startswith(start):
            return text
        place = f"{self.image_token}\n"
        rest = text[len(start) :]
        if rest.startswith(place) != image or not rest.endswith(end) or self.tokenizer.eos_token in rest:
            raise ValueError(
                f"text with {rest.count(end)} turns and {rest.count(place)} pictures in it — expected one question, "
                f"{'with' if image else 'without'} a picture as given — give the question alone"
            )
        return rest.removeprefix(place).removesuffix(end)

    def encode_answer(self, answer: str) -> list[int]:
        """Ids of an answer as a continuation of "ASSISTANT:", including the end token."""
        before, both = self._cached("ASSISTANT:"), self._ids(f"ASSISTANT: {answer}")
        if both[: len(before)] != before:
            raise ValueError(
                f"answer {answer!r} — the tokenizer joins it with 'ASSISTANT:' — expected one that splits before a space"
            )
        return [*both[len(before) :], self.eos_token_id]

    def decode_answer(self, ids: Sequence[int] | Tensor) -> str:
        """Text of generated or supervised ids: without special tokens, -100 and surrounding spaces."""
        listed = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return self.tokenizer.decode([i for i in listed if i >= 0], skip_special_tokens=True).strip()

    def encode_dialogue(self, turns: Sequence[Any]) -> tuple[list[int], list[int]]:
        """A conversation -> `input_ids` and `labels` of equal length; labels are -100 outside answers and their end tokens.

        Args:
            turns: Alternating human and gpt turns, as objects or LLaVA's dicts ({"from", "value"}); a leading "<image>" in the
                first human turn marks the place of the picture.

        Raises:
            ValueError: Not alternating, or without a supervised token.
        """
        ids: list[int] = []
        labels: list[int] = []
        for number, turn in enumerate(turns):
            speaker, value = _turn(turn)
            expected = "gpt" if number % 2 else "human"
            if speaker != expected:
                raise ValueError(f"turn {number} is from {speaker!r} — expected {expected!r}, they alternate — reorder them")
            if speaker == "human":
                image = number == 0 and value.startswith(self.image_token)
                question = value[len(self.image_token) :].lstrip("\n") if image else value
                piece = self._question_ids(question, first=number == 0, image=image)
                labels += [IGNORED] * len(piece)
            else:
                piece = self.encode_answer(value.strip()) if value.strip() else []
                labels += piece
            ids += piece
        if all(label == IGNORED for label in labels):
            raise ValueError(f"dialogue of {len(turns)} turns has no answer to learn — expected a gpt turn — drop the row")
        return ids, labels

    def encode_prompts(self, prompts: str | Sequence[str]) -> Tensor:
        """The bare questions for the prompt tower (§4.2): (B, prompt_length) int64, truncated or padded.

        SigLIP pools at the last position, so every prompt has full length and there is no mask.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        tokenizer = self.prompt_tokenizer
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        rows = torch.full((len(prompts), self.prompt_length), pad, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids = tokenizer(prompt, add_special_tokens=True, split_special_tokens=True)["input_ids"]
            if len(ids) > self.prompt_length:
                # The end token stays, as SigLIP pools there. The tokenizer's own truncation is not thread-safe.
                end = ids[-1:] if ids[-1] == tokenizer.eos_token_id else []
                ids = [*ids[: self.prompt_length - len(end)], *end]
            rows[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        return rows

    # -- both

    def collate(self, ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]] | None = None) -> dict[str, Tensor]:
        """Rows of ids to (B, L) tensors: padded on the left for inference, on the right with labels for training."""
        longest = max(map(len, ids))
        batch = {
            "input_ids": torch.full((len(ids), longest), self.pad_token_id, dtype=torch.long),
            "attention_mask": torch.zeros((len(ids), longest), dtype=torch.long),
        }
        if labels is not None:
            batch["labels"] = torch.full((len(ids), longest), IGNORED, dtype=torch.long)
        for row, sequence in enumerate(ids):
            place = slice(0, len(sequence)) if labels is not None else slice(longest - len(sequence), longest)
            batch["input_ids"][row, place] = torch.tensor(sequence, dtype=torch.long)
            batch["attention_mask"][row, place] = 1
            if labels is not None:
                batch["labels"][row, place] = torch.tensor(labels[row], dtype=torch.long)
        return batch

    def __call__(  # type: ignore[override]
        self,
        images: ImageInput | Sequence[ImageInput] | None = None,
        text: str | Sequence[str] | None = None,
        answers: str | Sequence[str] | None = None,
        savp: bool | Sequence[bool] | None = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Pictures and questions (and answers for training) -> model inputs.

        Args:
            images: One or B pictures, see `square_pixels`, or B lists of one each; None: questions without a picture.
            text: One question for all, or B questions; the conversation format is added here unless `apply_chat_template` has
                already done so.
            answers: B answers; adds `labels` and pads on the right.
            savp: Whether the pictures have a second stream, one value for all or one per picture; None = `use_savp`.
            return_tensors: "pt" only.
            kwargs: Options that transformers' own callers pass: `padding` and `add_special_tokens`, which have no effect, and
                anything that is None, such as `videos` and `audio`.

        Returns:
            `pixel_values`, `savp_values` (B, 3, S, S), `input_ids`, `attention_mask` (B, L), `prompt_input_ids` (B,
            prompt_length), and with answers `labels` (B, L). `savp_values` is present if any picture has a second stream,
            `savp_mask` (B,) bool if some but not all do; the others' `savp_values` are 0.
        """
        unknown = sorted(name for name in kwargs if kwargs[name] is not None and name not in _WITHOUT_EFFECT)
        if return_tensors != "pt" or unknown:
            raise ValueError(
                f"return_tensors={return_tensors!r}, {unknown} — expected 'pt' and no other option — leave them out"
            )
        pictures = None if images is None else _pictures(images)
        questions = [] if text is None else [self._question(one, pictures is not None) for one in _listed(text, (str,))]
        data: dict[str, Tensor] = {}
        if pictures is not None:
            second = self._second_streams(savp, len(pictures))
            encoded = [self.encode_image(picture, both) for picture, both in zip(pictures, second, strict=True)]
            data["pixel_values"] = torch.stack([rgb for rgb, _ in encoded])
            if any(second):
                data["savp_values"] = torch.stack([torch.zeros_like(rgb) if two is None else two for rgb, two in encoded])
                if not all(second):
                    data["savp_mask"] = torch.tensor(second)
            if len(questions) == 1:
                questions = questions * len(pictures)
            if questions and len(questions) != len(pictures):
                raise ValueError(f"{len(questions)} questions for {len(pictures)} pictures — expected one each, or one — match")
        if questions:
            if pictures is None:
                rows = [self.encode_question(question, image=False) for question in questions]
            else:
                rows = [self.encode_question(question, savp=both) for question, both in zip(questions, second, strict=True)]
            labels = None
            if answers is not None:
                listed = _listed(answers, (str,))
                if len(listed) != len(rows):
                    raise ValueError(f"{len(listed)} answers for {len(rows)} questions — expected one each — match them")
                ends = [self.encode_answer(answer) for answer in listed]
                labels = [[IGNORED] * len(row) + end for row, end in zip(rows, ends, strict=True)]
                rows = [row + end for row, end in zip(rows, ends, strict=True)]
            data.update(self.collate(rows, labels))
            data["prompt_input_ids"] = self.encode_prompts(questions)
        return BatchFeature(data)

    def _second_streams(self, savp: bool | Sequence[bool] | None, pictures: int) -> list[bool]:
        """For each picture, whether it has a second stream."""
        if savp is None or isinstance(savp, bool):
            return [self.use_savp if savp is None else savp] * pictures
        if len(savp) != pictures:
            raise ValueError(
                f"{len(savp)} savp values for {pictures} pictures — expected one each, or a single one — match them"
            )
        return [bool(both) for both in savp]


def to_square(picture: np.ndarray, image_size: int, pad_level: int = 127) -> np.ndarray:
    """(H, W, 3) uint8 padded to a square around its centre, then resized bicubically to (S, S, 3) uint8."""
    height, width = picture.shape[:2]
    side = max(height, width)
    if height != width:
        padded = np.full((side, side, 3), pad_level, np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        padded[top : top + height, left : left + width] = picture
        picture = padded
    if side != image_size:
        resized = Image.fromarray(picture).resize((image_size,) * 2, Image.Resampling.BICUBIC)
        picture = np.asarray(resized)
    return picture


def _listed(value: Any, single: tuple[type, ...]) -> list[Any]:
    return [value] if isinstance(value, single) else list(value)


def _pictures(images: Any) -> list[ImageInput]:
    """Accepts one picture, several, or the lists of one picture each that transformers makes from conversations."""
    rows = [list(one) if isinstance(one, (list, tuple)) else [one] for one in _listed(images, (Image.Image, np.ndarray))]
    if not rows or any(len(row) != 1 for row in rows):
        raise ValueError(f"pictures per question {[len(row) for row in rows]} — expected one each — ask about them one by one")
    return [row[0] for row in rows]


def _turn(turn: Any) -> tuple[str, str]:
    """(speaker, text) of a turn: a {"from", "value"} mapping, or an object with `speaker` and `value`."""
    if isinstance(turn, Mapping):
        return turn["from"], turn["value"]
    return turn.speaker, turn.value


def as_rgb(image: ImageInput) -> np.ndarray:
    """A PIL picture of any mode, or an (H, W, 3) uint8 RGB array, as an (H, W, 3) uint8 RGB array."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    picture = np.asarray(image)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"picture {picture.dtype} {picture.shape} — expected uint8 (H, W, 3) RGB or a PIL picture — convert it"
        )
    return picture


AutoProcessor.register(FaceShieldConfig, FaceShieldProcessor, exist_ok=True)

__all__ = ["IGNORED", "SYSTEM", "FaceShieldProcessor", "ImageInput", "as_rgb", "to_square"]
