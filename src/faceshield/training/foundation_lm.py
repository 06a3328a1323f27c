"""Trains faceshield-tiny's language model from scratch: next-token prediction on the dialogues' text, without pictures.

The paper starts from Phi-3-mini; the tiny Phi-3 only has to know the wording before the two stages teach it to look.
Use: `faceshield train configs/train/tiny-lm.yaml init=towers dialogues=[dialogues.jsonl] out=lm`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from faceshield.config import Paths
from faceshield.model import checkpoint_hash, load
from faceshield.provenance import begun, file_sha256, write_run
from faceshield.records import Dialogue, read_jsonl
from faceshield.training.dataset import to_train_on
from faceshield.training.precision import autocast, device
from faceshield.training.run import Run, RunConfig
from faceshield.training.schedule import check_end
from faceshield.training.watch import WEIGHTS, Report, save_if_new


class LanguageConfig(RunConfig):
    """Settings of the stage `foundation-lm`; see also `RunConfig`.

    Attributes:
        init: checkpoint folder whose language model is trained (the towers' stage wrote it).
        dialogues: dialogues files; dialogues of splits other than "train" are left out, and pictures are not read.
        steps: optimizer steps, unless the clock ends the run first.
        block: tokens per row; dialogues run on across row boundaries.
        held_out: share of the dialogues held out to measure on.
    """

    stage: Literal["foundation-lm"] = "foundation-lm"
    init: Path
    dialogues: Paths = Field(min_length=1)
    steps: int = Field(1500, ge=1)
    batch_size: int = Field(32, ge=1)
    block: int = Field(192, ge=8)
    learning_rate: float = Field(2e-3, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    held_out: float = Field(0.02, gt=0, lt=1)
    log_every: int = Field(50, ge=1)


def token_stream(dialogues: Iterable[Dialogue], processor: Any) -> NDArray[np.int64]:
    """Token ids of all dialogues, concatenated: those of the later stages' rows, without the placeholders of pictures.

    A question is tokenised as behind its picture, for its first word is another token there than after a space.
    """
    ids: list[int] = []
    for dialogue in dialogues:
        row, _ = processor.encode_dialogue(dialogue.conversations)
        ids += [token for token in row if token != processor.image_token_id]
    return np.array(ids, dtype=np.int64)


def train_language(config: LanguageConfig, report: Report | None = None) -> dict[str, Any]:
    """Runs stage `foundation-lm` and writes a checkpoint with `init`'s towers and a language model that knows the wording.

    Where the weights are those that `out` holds already, it stays as it is, including a threshold chosen since then.

    Returns:
        {"loss", "perplexity"} per token on the held-out dialogues.

    Raises:
        ValueError: too little text for one batch.
        FloatingPointError: the loss is not finite.
    """
    torch.set_num_threads(config.threads)
    settings = config.model_dump(mode="json", exclude={"threads", "log_every", "save_minutes", "steps", "minutes", "out"})
    content = {"init": checkpoint_hash(config.init), "dialogues": [file_sha256(file) for file in config.dialogues]}
    content |= {"tokens": "as behind a picture"}  # not those of earlier versions, which this run would not go on with
    begun(config.out, "stage", settings | content, note=False, results=WEIGHTS)
    check_end(config.out, config.stage, {"steps": config.steps, "minutes": config.minutes})
    checkpoint = load(config.init)
    model: Any = checkpoint.model
    model.to(device())
    processor = checkpoint.processor
    rows = [row for file in config.dialogues for row in read_jsonl(file, Dialogue) if to_train_on(row)]
    order = np.random.default_rng([config.seed, 1]).permutation(len(rows))
    kept = max(1, int(len(rows) * config.held_out))
    held_out = token_stream((rows[i] for i in order[:kept]), processor)
    stream = token_stream((rows[i] for i in order[kept:]), processor)
    if min(len(stream), len(held_out)) <= config.block:
        raise ValueError(
            f"{len(stream)} tokens to train on and {len(held_out)} held out — expected more than block={config.block} of each "
            "— give more dialogues"
        )
    begun(config.out, "stage", settings | content)
    final = LanguageRun(config, model, stream, report).run(held_out)
    save_if_new(model, processor, config.out, checkpoint.info, report)
    write_run(config.out, config=config, seed=config.seed, inputs=[config.init, *config.dialogues])
    return final


class LanguageRun(Run):
    """Trains the language model of `model` on a stream of token ids, see `Run`."""

    config: LanguageConfig

    def __init__(self, config: LanguageConfig, model: Any, stream: NDArray[np.int64], report: Report | None = None) -> None:
        modules = {"language": model.model.language_model, "head": model.lm_head}
        super().__init__(config, modules, betas=(0.9, 0.95), report=report)
        self.model, self.stream = model, stream

    @property
    def total(self) -> int:
        return self.config.steps

    def advance(self, done: float, rate: float) -> dict[str, float]:
        rng = np.random.default_rng([self.config.seed, 2, self.step])
        return self.update({"loss": _loss(self.config, self.model, _blocks(self.stream, self.config, rng))}, {}, 1, rate)

    def run(self, held_out: NDArray[np.int64]) -> dict[str, Any]:
        """Trains to the end; returns the loss and the perplexity per token on the held-out ids."""
        self.fit()
        self.set_training(False)
        rng = np.random.default_rng([self.config.seed, 3])
        with torch.no_grad():
            losses = [float(_loss(self.config, self.model, _blocks(held_out, self.config, rng))) for _ in range(4)]
        measured = float(np.mean(losses))
        final = {"loss": round(measured, 4), "perplexity": round(math.exp(measured), 3)}
        self.log({"event": "end", **final})
        return final


def _blocks(stream: NDArray[np.int64], config: LanguageConfig, rng: np.random.Generator) -> torch.Tensor:
    starts = rng.integers(0, len(stream) - config.block, size=config.batch_size)
    return torch.from_numpy(stream[starts[:, None] + np.arange(config.block + 1)])


def _loss(config: LanguageConfig, model: Any, ids: torch.Tensor) -> torch.Tensor:
    ids = ids.to(model.device)
    with autocast(config.bf16):
        logits = model(input_ids=ids[:, :-1]).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
