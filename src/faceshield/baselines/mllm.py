"""General multimodal language models, used without training: LLaVA, Qwen-VL … (paper §5.3, Tables 1, 3-5, "zero-shot").

As in the paper (§5.3.2, on the fine task), the prompt names the twelve presentation types. Paper is silent: the wording of its
prompts; these are our own.
Use: `Mllm(make_chat(ChatConfig(model="llava-folder", temperature=0))).ask_many([rgb], question)`.

The score is the probability of the first verdict word: at the first token of the coarse answer that begins a verdict word, it
is P(bona fide words) / (P(bona fide words) + P(attack words)) among the likeliest tokens that the model reports (as in Lin et
al., "Evaluating text-to-visual generation with image-to-text generation", 2024, for yes and no). If a model reports none, or
its answer as a whole says otherwise, there is no score; its words still decide.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from faceshield.chat import Chat, Completion, Request, spoken
from faceshield.tasks import COARSE, FINE, LOCALIZATION, REASONING, TASKS
from faceshield.taxonomy import ATTACK_TYPES, PRESENTATION_TYPES, TAXONOMY

PromptStyle = Literal["zero-shot", "plain"]
ALTERNATIVES = 20  # the most that OpenAI's protocol returns

_WHAT = (
    "The picture was taken by the camera of a face recognition system. The face in it is real if a live person stands before "
    "the camera with nothing between them. It is a presentation attack if something else is shown to the camera."
)
_TYPES = "\n".join(f"- {kind.name}: {kind.sentence}" for kind in TAXONOMY)
_QUESTIONS = {
    COARSE.name: (
        f"{_WHAT} Attacks are of these types: {', '.join(ATTACK_TYPES)}.\nIs this face real or an attack? "
        "Answer with one word, real or attack."
    ),
    FINE.name: (
        f"{_WHAT} There are {len(PRESENTATION_TYPES)} presentation types:\n{_TYPES}\n"
        "Which presentation type does the picture show? Answer with the type's name alone, as it is written in the list."
    ),
    REASONING.name: (
        f"{_WHAT} There are {len(PRESENTATION_TYPES)} presentation types:\n{_TYPES}\n"
        "Why is this face real or an attack? Name in one sentence what can be seen in the picture that shows it. Then conclude "
        'with "so this face is bona fide." or with "so this is a presentation attack of type", and the type\'s name.'
    ),
    LOCALIZATION.name: (
        f"{_WHAT}\nWhere in the picture is the attack? Answer with its box alone, as [x0, y0, x1, y1]: the left, top, right "
        "and bottom edge, integers from 0 (left or top edge of the picture) to 999 (right or bottom edge). If the face is "
        'real, answer "There is no attack region."'
    ),
}
_VERDICT_WORDS = {
    "bonafide": ("real", "bona", "genuine", "live"),
    "attack": ("attack", "presentation", "spoof", "fake"),
}
_PADDING = 127  # grey, as the processors of the LLaVA family pad


class _Words(str):
    """An answer without the model's thoughts; `cut`: the model was stopped before its end."""

    cut: bool | None = None

    @classmethod
    def of(cls, text: str, cut: bool | None) -> _Words:
        words = cls(spoken(text))
        words.cut = cut
        return words


class Mllm:
    """A chat model, asked the tasks' questions in words that need no training.

    Args:
        chat: the model; its temperature should be 0.
        prompt: "zero-shot", or "plain": the tasks' own questions, for a model trained on them (fine-tuned elsewhere, or our
            own behind an endpoint).
    """

    def __init__(self, chat: Chat, prompt: PromptStyle = "zero-shot") -> None:
        if prompt not in ("zero-shot", "plain"):
            raise ValueError(f"prompt {prompt!r} — expected 'zero-shot' or 'plain'")
        self.chat, self.prompt = chat, prompt
        self.workers = chat.workers

    def question(self, task: str) -> str:
        """The wording of a task's question."""
        return _QUESTIONS[task] if self.prompt == "zero-shot" else TASKS[task].question

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its answers: not the model's address, nor retries, timeouts and concurrency."""
        config: Any = getattr(self.chat, "config", None)
        kept = ("model", "temperature", "max_tokens", "image_side", "extra_body")
        told = {key: getattr(config, key) for key in kept if hasattr(config, key)}
        return {"prompt": self.prompt, "questions": _digest(self), **told}

    def ask_many(self, images: Sequence[Any], question: str) -> list[tuple[str, float | None]]:
        """The answer to one question about each picture, and bonafide_score if the question is the coarse one.

        Pictures are upright RGB, arrays or PIL images. If the question asks for boxes, they are padded to a square, the frame
        in which boxes are read.
        """
        boxes, scored = question == self.question(LOCALIZATION.name), question == self.question(COARSE.name)
        pictures = [squared(np.asarray(image)) if boxes else image for image in images]
        wanted = ALTERNATIVES if scored else 0
        answers = self.chat.complete_many([Request(question, picture=one, alternatives=wanted) for one in pictures])
        return [(_Words.of(answer.text, answer.cut), verdict_score(answer) if scored else None) for answer in answers]

    def close(self) -> None:
        self.chat.close()


class ZeroShot:
    """Our own model with the general models' prompts, which name the twelve types; its words decide, and it has no score.

    For a checkpoint that was not trained on the tasks: Bunny, as `faceshield assemble` makes it (paper Tables 1, 3, 4 and 5).

    Args:
        shield: a `FaceShieldPredictor`.

    Raises:
        ValueError: the questions are longer than its context allows.
    """

    def __init__(self, shield: Any) -> None:
        self.shield = shield
        for name in TASKS:
            shield.ask_many([], self.question(name))

    def question(self, task: str) -> str:
        """The wording of a task's question."""
        return _QUESTIONS[task]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides its answers beyond its name."""
        return {"prompt": "zero-shot", "questions": _digest(self), **self.shield.settings}

    def ask_many(self, images: Sequence[Any], question: str) -> list[_Words]:
        """The answer to one question about each picture; the processor pads it to the square in which boxes are read."""
        return [_Words.of(answer, answer.cut) for answer in self.shield.ask_many(images, question)]


def _digest(asker: Mllm | ZeroShot) -> str:
    words = json.dumps([asker.question(task) for task in TASKS])
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def verdict_score(answer: Completion) -> float | None:
    """bonafide_score of a coarse answer, 0..1; None if the model reports no probabilities or contradicts itself."""
    said = COARSE.read(spoken(answer.text)).is_attack
    pieces = [token.chosen for token in answer.tokens]
    start = max((place + 1 for place, piece in enumerate(pieces) if "</think>" in piece), default=0)
    for place in range(start, len(pieces)):
        word = _letters("".join(pieces[place:]))
        side = next((side for side, words in _VERDICT_WORDS.items() if word.startswith(words)), None)
        if side is None:
            continue
        if said is None or said != (side == "attack"):
            return None
        mass = {"bonafide": 0.0, "attack": 0.0}
        chosen = pieces[place]
        for piece, logarithm in answer.tokens[place].alternatives:
            # The chosen token is known to begin its word, however short it is.
            of = side if piece == chosen else _side(piece, least=min(2, len(_letters(chosen))))
            if of is not None:
                mass[of] += math.exp(logarithm)
        total = sum(mass.values())
        return mass["bonafide"] / total if total > 0 else None
    return None


def _side(piece: str, least: int) -> str | None:
    """The verdict that a token begins to state: at least `least` letters, which match words of one verdict only."""
    letters = _letters(piece)
    if len(letters) < max(1, least):
        return None
    sides = [
        side
        for side, words in _VERDICT_WORDS.items()
        if any(word.startswith(letters) or letters.startswith(word) for word in words)
    ]
    return sides[0] if len(sides) == 1 else None


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def squared(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 -> the picture in the centre of a grey square, the frame in which boxes are written as 0-999."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), _PADDING, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square
