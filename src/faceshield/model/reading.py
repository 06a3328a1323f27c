"""Read pictures once with the language model, then ask any number of questions about them.

System sentence and picture form the same prefix for every question (Bunny's format) and nearly all of its tokens; its keys and
values are computed once and kept. What follows is one row per picture: for scores, all questions with all their fixed answers
as one token tree; for answers in words, all questions side by side. With PVTM at inference each question masks other tokens and
so has its own prefix. B = pictures, Q = questions, K = answers, T = vision tokens of all streams, N = nodes of a tree.
Use: `Reading(model, processor, *model.encode_images(pixels, savp)).answer(["Why?"], max_new_tokens=100)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from .drafts import Drafts
from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor
from .token_tree import TokenTree

_FED = 32  # drafts per step, shared among all answers
_FEWEST = 4  # at least this many for each answer
_ROOM = 256  # tokens of spare room in a cache


class Words(str):
    """An answer; `cut`: it was stopped before its end; `tokens`: how many tokens it took, including its end token."""

    cut: bool = False
    tokens: int = 0


class _Answer:
    """An answer in progress.

    Attributes:
        said: its tokens so far.
        unread: tokens not yet fed to the model: at first the question, then the newest token.
        read: how many tokens have been fed after the prefix.
    """

    def __init__(self, question: list[int], end: int, most: int) -> None:
        self.end, self.most = end, most
        self.said: list[int] = []
        self.unread, self.read = question, 0

    @property
    def talking(self) -> bool:
        """Whether the answer is unfinished."""
        return self.said[-1:] != [self.end] and len(self.said) < self.most

    def grow(self, drafts: Drafts, guesses: int) -> TokenTree:
        """What to feed next: the unread tokens and drafts of what follows; nothing once the answer has ended."""
        if not self.talking:
            return TokenTree.of([])
        ahead = drafts.after(self.said, guesses, self.most - len(self.said) - 1)
        return TokenTree.of([self.unread, *([*self.unread, *guess] for guess in ahead)])

    def hear(self, tree: TokenTree, found: Sequence[int]) -> list[int]:
        """Appends the model's tokens `found`, as far as `tree` drafted them and one more; returns the nodes to keep."""
        nodes = list(tree.paths[0])
        while True:
            token = found[nodes[-1]]
            self.said.append(token)
            node = tree.children.get((nodes[-1], token))
            if node is None or not self.talking:
                self.unread, self.read = [token], self.read + len(nodes)
                return nodes
            nodes.append(node)


class Reading:
    """B pictures that the language model has read.

    Args:
        model: in eval mode.
        processor: its processor.
        features, joint: (B, T, Dv) each, from `model.encode_images`; `joint` may be None if PVTM is off.
        kept: (B, kept) indices, in rising order, of the vision tokens that the language model reads, each at its position among
            all T; None = all.
        drafts: for speculative decoding; None = off, one token per step. Answers are the same.

    Raises:
        ValueError: flash attention, which does not support custom masks, or `kept` together with PVTM's masks.
    """

    def __init__(
        self,
        model: FaceShieldForConditionalGeneration,
        processor: FaceShieldProcessor,
        features: Tensor,
        joint: Tensor | None = None,
        kept: Tensor | None = None,
        drafts: Drafts | None = None,
    ) -> None:
        if "flash" in str(model.model.language_model.config._attn_implementation):
            raise ValueError("flash attention cannot mask single tokens — expected sdpa or eager — set_attn_implementation")
        self.model, self.processor, self.drafts = model, processor, drafts or Drafts()
        self.seeds = torch.full((len(features),), model.config.pvtm_seed)  # for PVTM: alike, alone or in a batch
        self.savp = features.shape[1] > processor.tokens_per_stream
        self.prefix = processor.encode_prefix(savp=self.savp)
        self.masks_by_question = model.model.pvtm_is_on()
        rows, tokens, _ = features.shape
        self.positions = torch.arange(len(self.prefix)).expand(rows, -1)
        if kept is not None:
            if self.masks_by_question:
                raise ValueError("kept tokens with PVTM's masks — expected one of the two — set pvtm_inference 'off'")
            if model.config.text_config.sliding_window is not None:
                self.drafts = Drafts()  # drafts could reach beyond the window and raise where the answer does not
            kept = kept.cpu()
            features = features.gather(1, kept.to(features.device).unsqueeze(-1).expand(-1, -1, features.shape[-1]))
            before = len(self.prefix) - tokens
            self.positions = torch.cat([self.positions[:, :before], before + kept], dim=1)
        self.features, self.joint = features, joint
        self._beginnings: dict[str | None, Cache] = {}

    @torch.inference_mode()
    def score(self, asked: Mapping[str, Sequence[Sequence[int]]]) -> list[Tensor]:
        """Log-probability of fixed answers, in one pass for all questions.

        Args:
            asked: for each question, the token ids of its K answers (`encode_answer`).

        Returns:
            (B, K) float32 per question.
        """
        if self.masks_by_question:
            return [self._score({question: answers})[0] for question, answers in asked.items()]
        return self._score(asked)

    def _score(self, asked: Mapping[str, Sequence[Sequence[int]]]) -> list[Tensor]:
        sequences, spoken, owners = [], [], []
        wanted: list[int] = []
        for question, answers in asked.items():
            start = self._rest(question)
            for answer in answers:
                sequences.append([*start, *answer[:-1]])
                spoken.append(len(start) - 1)  # the first token whose logits predict the answer
                owners += [len(sequences) - 1] * len(answer)
                wanted += answer
        tree = TokenTree.of(sequences)
        cache = self._beginning(next(iter(asked)))
        length = cache.get_seq_length()
        depth = torch.from_numpy(tree.depth)[None]
        tokens = torch.from_numpy(tree.tokens).expand(len(self.features), -1)
        hidden = self._read_on(cache, tokens, depth, torch.from_numpy(tree.visible)[None], depth)
        _rewind(cache, length)
        nodes = torch.tensor([node for path, first in zip(tree.paths, spoken, strict=True) for node in path[first:]])
        places, which = nodes.unique(return_inverse=True)
        chances = self.model.lm_head(hidden[:, places]).float().log_softmax(-1)
        steps = chances[:, which, torch.tensor(wanted)]
        owner = torch.tensor(owners, device=steps.device)
        totals = steps.new_zeros(len(steps), len(sequences)).index_add(1, owner, steps)
        return list(totals.split([len(answers) for answers in asked.values()], dim=1))

    @torch.inference_mode()
    def answer(self, questions: Sequence[str], *, max_new_tokens: int) -> list[list[Words]]:
        """Greedy answers, the same as from `generate`: per picture one text per question, cut off after `max_new_tokens`."""
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={max_new_tokens} — expected 1 or more — correct it")
        if not questions:
            return [[] for _ in self.features]
        if not self.masks_by_question:
            return self._answer(questions, max_new_tokens)
        columns = [self._answer([question], max_new_tokens) for question in questions]
        return [[answer for part in row for answer in part] for row in zip(*columns, strict=True)]

    def _answer(self, questions: Sequence[str], max_new_tokens: int) -> list[list[Words]]:
        """Answers all questions about a picture in one row, masked from each other. Each step feeds, per question, the unread
        tokens (its words, then the newest token) and a tree of drafts, and keeps those that the model confirms."""
        end, rests = self.processor.eos_token_id, [self._rest(question) for question in questions]
        answers = [[_Answer(rest, end, max_new_tokens) for rest in rests] for _ in self.features]
        cache = reading = self._beginning(questions[0])
        length, left = cache.get_seq_length(), answers
        # Cache columns after the prefix: which of them each answer builds on, and their positions.
        stands = np.zeros((len(left), len(questions), 0), dtype=bool)
        depths = np.zeros((len(left), 0), dtype=np.int64)

        while alive := [place for place, row in enumerate(left) if any(answer.talking for answer in row)]:
            if 2 * len(alive) <= len(left):  # at least half of the pictures are done: drop them
                reading = _some(reading, torch.tensor(alive, device=self.model.device))
                left, stands, depths = [left[place] for place in alive], stands[alive], depths[alive]
            guesses = max(_FEWEST, _FED // (len(left) * len(questions)))
            trees = [[answer.grow(self.drafts, guesses) for answer in row] for row in left]
            tokens, depth, seen = _side_by_side(left, trees, stands)
            depths = np.concatenate([depths, depth], axis=1)
            hidden = self._read_on(reading, *(torch.from_numpy(part) for part in (tokens, depth, seen, depths)))
            found = self.model.lm_head(hidden).argmax(-1).tolist()
            kept = np.zeros((len(left), len(questions), tokens.shape[1]), dtype=bool)
            for place, row in enumerate(trees):
                start = 0
                for number, tree in enumerate(row):
                    if len(tree.tokens):
                        nodes = left[place][number].hear(tree, found[place][start : start + len(tree.tokens)])
                        kept[place, number, start + np.array(nodes)] = True
                    start += len(tree.tokens)
            stands = np.concatenate([stands, kept], axis=2)
        _rewind(cache, length)
        return [[self._words(answer.said) for answer in row] for row in answers]

    def _words(self, answer: list[int]) -> Words:
        ended = answer[-1] == self.processor.eos_token_id
        words = Words(self.processor.decode_answer(answer[:-1] if ended else answer))
        words.cut, words.tokens = not ended, len(answer)
        return words

    def _rest(self, question: str) -> list[int]:
        return self.processor.encode_question(question, savp=self.savp)[len(self.prefix) :]

    def _beginning(self, question: str) -> Cache:
        """Keys and values of the prefix with the pictures; callers rewind them after reading on."""
        key = question if self.masks_by_question else None
        if key not in self._beginnings:
            rows, device = len(self.features), self.model.device
            cache = _empty_cache(self.model.config.text_config.num_hidden_layers, stop_when_filled=True)
            length = self.positions.shape[1]
            with suppress(_Filled):
                self.model.model(
                    input_ids=torch.tensor([self.prefix[:length]], device=device).expand(rows, -1),
                    attention_mask=torch.ones(rows, length, dtype=torch.long, device=device),
                    position_ids=self.positions.to(device),
                    vision_features=self.features,
                    vision_joint=self.joint,
                    prompt_input_ids=self.processor.encode_prompts([question] * rows).to(device),
                    pvtm_seeds=self.seeds,
                    past_key_values=cache,
                    use_cache=True,
                )
            self._beginnings = {key: cache}  # only the latest: with PVTM there is one per question, each as large
        return self._beginnings[key]

    def _read_on(self, cache: Cache, tokens: Tensor, depth: Tensor, visible: Tensor, depths: Tensor) -> Tensor:
        """Feeds n tokens per row after the prefix and returns the last hidden states, (B, n, Dt).

        Args:
            cache: what was read, the prefix first; it is extended.
            tokens: (B, n) ids.
            depth: (B or 1, n) positions relative to the end of the prefix.
            visible: (B or 1, n, columns) bool, which tokens after the prefix each one attends to, itself included.
            depths: (B or 1, columns) their positions.
        """
        model, device, start = self.model.model, self.model.device, len(self.prefix)
        before = self.positions.shape[1]
        seen = torch.cat([torch.ones(*visible.shape[:2], before, dtype=torch.bool), visible], dim=2)
        window = self.model.config.text_config.sliding_window
        if window is not None and start + int(depth.max()) >= window:
            if before < start:
                raise ValueError(
                    f"more tokens than the sliding window of {window}, with keep_tokens — expected fewer — shorten the question"
                )
            columns = torch.cat([torch.arange(-start, 0).expand(len(depths), -1), depths], dim=1)
            seen &= depth.unsqueeze(2) - columns.unsqueeze(1) < window
        mask = torch.zeros(seen.shape, dtype=self.model.dtype).masked_fill(~seen, torch.finfo(self.model.dtype).min)
        outputs = model.language_model(
            inputs_embeds=model.get_input_embeddings()(tokens.to(device)),
            attention_mask=mask.to(device).unsqueeze(1),
            position_ids=(start + depth).to(device),
            past_key_values=cache,
            use_cache=True,
        )
        return outputs.last_hidden_state  # type: ignore[no-any-return]


def _side_by_side(
    answers: Sequence[Sequence[_Answer]], trees: Sequence[Sequence[TokenTree]], stands: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The input of a step: the trees of a picture's Q answers in one row, padded to the longest row.

    Args:
        answers, trees: B rows of Q.
        stands: (B, Q, columns) which of the columns after the prefix each answer builds on.

    Returns:
        Tokens and depths, (B, n) each, and the columns that each token attends to, (B, n, columns + n), this step's last.
    """
    rows, wide = len(trees), max(sum(len(tree.tokens) for tree in row) for row in trees)
    tokens, depth = (np.zeros((rows, wide), dtype=np.int64) for _ in range(2))
    past = np.zeros((rows, wide, stands.shape[2]), dtype=bool)
    new = np.broadcast_to(np.eye(wide, dtype=bool), (rows, wide, wide)).copy()  # padding sees only itself
    for place, row in enumerate(trees):
        start = 0
        for number, tree in enumerate(row):
            own = slice(start, start := start + len(tree.tokens))
            tokens[place, own], depth[place, own] = tree.tokens, answers[place][number].read + tree.depth
            past[place, own], new[place, own, own] = stands[place, number], tree.visible
    return tokens, depth, np.concatenate([past, new], axis=2)


class _Filled(Exception):
    """Raised once all layers hold the prefix's keys and values, as the last layer's output is not needed."""


class _Layer(DynamicLayer):
    """Keys and values of one layer with room to grow: new tokens are written in place, without copying the rest."""

    _rooms: tuple[Tensor, Tensor] | None = None
    stop_when_filled = False

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._rooms is None or end > self._rooms[0].shape[-2]:
            old = self._rooms
            batch, heads, _, width = key_states.shape
            shape = (batch, heads, end + _ROOM, width)
            self._rooms = key_states.new_empty(shape), value_states.new_empty(shape)
            if old is not None:
                for room, before in zip(self._rooms, old, strict=True):
                    room[:, :, :start] = before[:, :, :start]
        for room, new in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, start:end] = new
        self.keys, self.values = keys, values = self._rooms[0][:, :, :end], self._rooms[1][:, :, :end]
        if self.stop_when_filled:
            self.stop_when_filled = False
            raise _Filled
        return keys, values


def _empty_cache(layers: int, *, stop_when_filled: bool = False) -> Cache:
    """An empty cache with room to grow. All layers keep everything, even with a sliding window, because the prefix is reused.

    With `stop_when_filled`, the first pass ends with `_Filled` at the last layer's attention.
    """
    made: list[Any] = [_Layer() for _ in range(layers)]
    made[-1].stop_when_filled = stop_when_filled
    return Cache(layers=made)


def _rewind(cache: Cache, length: int) -> None:
    cache.crop(length - cache.get_seq_length())


def _some(cache: Cache, rows: Tensor) -> Cache:
    """A new cache with a copy of the given rows."""
    chosen = _empty_cache(len(cache.layers))
    for number, layer in enumerate(cache.layers):
        assert isinstance(layer, _Layer) and layer.keys is not None and layer.values is not None
        chosen.update(layer.keys[rows], layer.values[rows], number)
    return chosen
