"""faceshield-tiny's language model from nothing: next token on the text of the dialogues, without pictures.

The paper starts from Phi-3-mini; the tiny Phi-3 only has to know the wording before the two stages teach it to look.
Use: `faceshield train configs/train/tiny-lm.yaml init=towers dialogues=[dialogues.jsonl] out=lm`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from faceshield.config import Config, Paths
from faceshield.model import checkpoint_hash, load, save
from faceshield.provenance import begun, file_sha256, write_run
from faceshield.records import Dialogue, read_jsonl
from faceshield.training.dataset import to_train_on
from faceshield.training.precision import autocast, device
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.state import STATE_FILE, decay_groups, load_state, save_state
from faceshield.training.watch import Report, Watch


class LanguageConfig(Config):
    """Settings of the stage `foundation-lm`.

    Attributes:
        init: checkpoint folder whose language model is trained (the towers' stage wrote it).
        dialogues: dialogues files; those of another split than "train" are left out, pictures are not read.
        out: checkpoint folder to write.
        steps: optimizer steps; minutes: wall clock after which to stop, whichever comes first.
        block: tokens a row; dialogues follow each other across row ends.
        held_out: share of the dialogues that is only measured on.
        bf16: autocast to bfloat16; None = where the hardware has it.
    """

    stage: Literal["foundation-lm"] = "foundation-lm"
    init: Path
    dialogues: Paths = Field(min_length=1)
    out: Path
    steps: int = Field(1500, ge=1)
    minutes: float | None = Field(None, gt=0)
    batch_size: int = Field(32, ge=1)
    block: int = Field(192, ge=8)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    held_out: float = Field(0.02, gt=0, lt=1)
    log_every: int = Field(50, ge=1)
    save_minutes: float = Field(3.0, gt=0)
    threads: int = Field(2, ge=1)
    bf16: bool | None = None
    seed: int = Field(0, ge=0)


def token_stream(dialogues: Iterable[Dialogue], processor: Any) -> NDArray[np.int64]:
    """Ids of all dialogues one after the other, in the conversation format without picture placeholders."""
    ids: list[int] = []
    for dialogue in dialogues:
        speakers = [turn.speaker for turn in dialogue.conversations]
        turns = [{"from": speaker, "value": text} for speaker, text in zip(speakers, dialogue.texts, strict=True)]
        ids += processor.encode_dialogue(turns)[0]
    return np.array(ids, dtype=np.int64)


def train_language(config: LanguageConfig, report: Report | None = None) -> dict[str, Any]:
    """Stage `foundation-lm`: writes a checkpoint with the towers of `init` and a language model that knows the wording.

    Returns:
        {"loss", "perplexity"} per token on the held-out dialogues.

    Raises:
        ValueError: too little text for one batch.
        FloatingPointError: the loss is not finite.
    """
    torch.set_num_threads(config.threads)
    settings = config.model_dump(mode="json", exclude={"threads", "log_every", "save_minutes", "steps", "minutes", "out"})
    content = {"init": checkpoint_hash(config.init), "dialogues": [file_sha256(file) for file in config.dialogues]}
    begun(config.out, "stage", settings | content, note=False)
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
            f"{len(stream)} + {len(held_out)} tokens — expected more than block={config.block} each — give more dialogues"
        )
    begun(config.out, "stage", settings | content)
    modules = {"language": model.model.language_model, "head": model.lm_head}
    final = _fit(config, model, modules, stream, held_out, Watch(config.out, report, bar=False))
    save(model.eval(), processor, config.out)
    write_run(config.out, config=config, seed=config.seed, inputs=[config.init, *config.dialogues])
    return final


def _fit(
    config: LanguageConfig,
    model: Any,
    modules: Mapping[str, nn.Module],
    stream: NDArray[np.int64],
    held_out: NDArray[np.int64],
    watch: Watch,
) -> dict[str, Any]:
    parameters = [value for module in modules.values() for value in module.parameters()]
    groups = decay_groups(parameters, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
    state, step, clock = config.out / STATE_FILE, 0, Clock()
    if state.exists():
        saved = load_state(state, modules, optimizer)
        step, clock = saved["step"], Clock(saved["elapsed"])
    watch.forget_after(step)
    saved_at = time.monotonic()

    def log(row: dict[str, Any]) -> None:
        watch.log({"step": step, "minutes": round(clock.elapsed() / 60, 2), **row})

    while (done := progress(step, config.steps, clock.elapsed(), config.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * cosine_rate(done, config.warmup)
        rng = np.random.default_rng([config.seed, 2, step])
        loss = _loss(config, model, _blocks(stream, config, rng))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, config.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FloatingPointError(
                f"loss {float(loss.detach())}, norm of its gradient {float(norm)} at step {step} — expected finite numbers — "
                "begin again in another folder with a lower learning_rate"
            )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % config.log_every == 0:
            log({"event": "step", "loss": round(float(loss.detach()), 4)})
        if time.monotonic() - saved_at > 60 * config.save_minutes:
            save_state(state, modules, optimizer, {"step": step, "elapsed": clock.elapsed()})
            saved_at = time.monotonic()
    save_state(state, modules, optimizer, {"step": step, "elapsed": clock.elapsed()})
    with torch.no_grad():
        rng = np.random.default_rng([config.seed, 3])
        measured = float(np.mean([float(_loss(config, model, _blocks(held_out, config, rng))) for _ in range(4)]))
    final = {"loss": round(measured, 4), "perplexity": round(math.exp(measured), 3)}
    log({"event": "end", **final})
    return final


def _blocks(stream: NDArray[np.int64], config: LanguageConfig, rng: np.random.Generator) -> torch.Tensor:
    starts = rng.integers(0, len(stream) - config.block, size=config.batch_size)
    return torch.from_numpy(stream[starts[:, None] + np.arange(config.block + 1)])


def _loss(config: LanguageConfig, model: Any, ids: torch.Tensor) -> torch.Tensor:
    ids = ids.to(model.device)
    with autocast(config.bf16):
        logits = model(input_ids=ids[:, :-1]).logits
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
