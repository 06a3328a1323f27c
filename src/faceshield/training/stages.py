"""The paper's two stages (§4.3): `pretrain` trains the projector, `sft` the projector and LoRA on the language model.

The towers are frozen in both, so their features can be computed once. Loss: next token (§4.3), on the answers only (Bunny).
Runs in one process or, under `torchrun`, in several (DDP, or FSDP2 with `fsdp`).
Use: `faceshield train configs/train/tiny-sft.yaml init=pretrain dialogues=[dialogues.jsonl] out=sft`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import logging as transformers_logging

from faceshield.config import near
from faceshield.model import (
    Checkpoint,
    CheckpointInfo,
    FaceShieldConfig,
    attach,
    base_name,
    checkpoint_hash,
    is_adapter,
    load,
    resolve_model,
    save,
)
from faceshield.model.checkpoint import count_parameters, working_dtype
from faceshield.model.drafts import Drafts
from faceshield.provenance import alone_in, begun, file_sha256, read_run, write_run
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.training.card import write_card
from faceshield.training.dataset import DialogueRows
from faceshield.training.pictures import check_pictures, clean
from faceshield.training.precision import uses_bf16
from faceshield.training.schedule import check_end
from faceshield.training.settings import ENDS, MACHINE, StageConfig, inherited
from faceshield.training.sharding import shard
from faceshield.training.state import STATE_FILE, load_weights
from faceshield.training.trainer import StageTrainer, arguments_of
from faceshield.training.vision_cache import LivePictures, Vision, VisionCache
from faceshield.training.watch import WEIGHTS, Report, forget_choice, loss_figure

__all__ = ["StageConfig", "read_rows", "train_stage"]


@dataclass(frozen=True)
class Trainee:
    """A checkpoint prepared for a stage.

    Attributes:
        checkpoint: the checkpoint as loaded.
        model: the whole model.
        trained: what Trainer trains: `model`, or PEFT's model around it.
        adapts: the base that a saved adapter names as its own.
    """

    checkpoint: Checkpoint
    model: Any
    trained: Any
    adapts: str

    @property
    def processor(self) -> Any:
        return self.checkpoint.processor


def train_stage(config: StageConfig, *, questions: Mapping[str, str] | None = None, report: Report | None = None) -> Path:
    """Trains one of the paper's stages and writes its checkpoint, complete or (`save`) as an adapter.

    A finished run is left as it is, including a threshold or calibration chosen since. If other weights replace it, these
    are moved to `faceshield.json.before`.

    Args:
        config: the settings; some of those not given come from the run of `init`, see `settings.inherited`.
        questions: the fixed question per task, kept in the checkpoint's `faceshield.json`.
        report: called with every row of the log.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: `out` was begun with other settings, dialogues, samples or `init`, or with another number of rows per
            update (over all processes); settings do not fit; or another run is writing into `out`.
        SupervisionError: a dialogue has no answer; the message names it.
        FloatingPointError: the loss, or its gradient, is not finite; the batch is saved.
        OSError: a checkpoint could not be written; the last good one is kept.
    """
    config, origins = inherited(config)
    torch.set_num_threads(config.threads)
    transformers_logging.disable_progress_bar()
    arguments = arguments_of(config)
    report = report if report is not None and arguments.process_index == 0 else lambda row: None
    if gone := [file for file in config.samples if not file.is_file()]:
        raise FileNotFoundError(
            f"no samples file {gone[0]} ({origins['samples']}) — expected it, to leave out dialogues about pictures of other "
            "splits — give samples=[FILE], or samples=[] where they are marked themselves"
        )
    dialogues, samples = ([file_sha256(file) for file in files] for files in (config.dialogues, config.samples))
    rows_an_update = config.batch_size * config.accumulate * arguments.world_size
    content = {"init": checkpoint_hash(resolve_model(config.init)), "dialogues": dialogues, "rows an update": rows_an_update}
    content |= {"samples": samples} if samples else {}
    settings = config.model_dump(mode="json", exclude=MACHINE | ENDS | {"out"}) | content
    begun(config.out, "stage", settings, note=False, results=WEIGHTS)
    by_steps = config.max_steps > 0
    check_end(
        config.out, config.stage,
        {"minutes": config.minutes, "max_steps": config.max_steps, "epochs": None if by_steps else config.epochs},
    )  # fmt: skip
    if _finished(config, [*dialogues, *samples]):
        report({"event": "finished", "": f"{config.out}: finished before — remove its run.json to write it again"})
        return config.out
    for name, origin in origins.items():
        report({"event": "setting", name: getattr(config, name), "from": origin})
    trainee = _prepared(config)
    trainee.model.to(arguments.device)
    rows = read_rows(config, trainee.processor, pvtm=trainee.model.config.pvtm_mask_ratio > 0)
    aside = {"of other splits, left out": rows.set_aside} if rows.set_aside else {}
    report({"event": "data", "rows": len(rows), "pictures": len(rows.paths), "longest": max(rows.lengths), **aside})
    vision = _vision(config, arguments, rows, trainee, report)
    _faster(config, trainee.model)
    first = arguments.process_index == 0
    with alone_in(config.out) if first else nullcontext():
        if first:
            begun(config.out, "stage", settings)
        sharded = config.fsdp and arguments.world_size > 1
        trainer = StageTrainer(
            config,
            arguments,
            rows=rows,
            vision=vision,
            model=shard(trainee.trained, arguments.device) if sharded else trainee.trained,
            processor=trainee.processor,
            report=report,
        )
        steps = trainer.run()
        if first:
            if sharded:  # the last state holds the unsharded weights
                trainee = _prepared(config)
                state = trainer.folder / f"checkpoint-{steps}" / STATE_FILE
                load_weights(state, {"model": trainee.trained})
            if config.stage == "sft":
                answers = (answer for row in rows.rows for answer in row.answers)
                Drafts.learn(map(trainee.processor.encode_answer, answers)).save(config.out)
            _finish(config, trainee, steps, questions, report)
        trainer.accelerator.wait_for_everyone()
    return config.out


def read_rows(config: StageConfig, processor: Any, *, pvtm: bool) -> DialogueRows:
    """The rows of a stage; raises as `DialogueRows.read`."""
    return DialogueRows.read(
        config.dialogues,
        processor,
        pack=config.pack,
        oversample=config.oversample,
        seed=config.seed,
        pvtm=pvtm,
        left_out=_left_out(config.samples),
    )


def _left_out(files: list[Path]) -> set[Path]:
    """Pictures of splits other than "train", by path, since ids may overlap between files."""
    pairs = ((sample, file) for file in files for sample in read_jsonl(file, Sample))
    return {image_path(sample, file).resolve() for sample, file in pairs if (sample.split or "train") != "train"}


def _prepared(config: StageConfig) -> Trainee:
    """Loads `init` with only the projector (stage 1), or the projector and LoRA on the language model (stage 2), trainable."""
    path = resolve_model(config.init)
    checkpoint = load(path, dtype=working_dtype(count_parameters(path)), merge=config.stage == "pretrain")
    goes_on = config.stage == "sft" and is_adapter(checkpoint.path)
    loaded: Any = checkpoint.model
    model = loaded.get_base_model() if goes_on else loaded
    _configure(model, checkpoint.processor, config)
    trained = loaded
    if config.stage == "pretrain":
        model.requires_grad_(False)
        model.model.multi_modal_projector.requires_grad_(True)
    elif not goes_on:
        trained = attach(model, r=config.lora_r, alpha=config.lora_alpha, dropout=config.lora_dropout, seed=config.seed)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.model.multi_modal_projector.float()  # an adapter's untrained copy too, which decides the dtype of its input
    return Trainee(checkpoint, model, trained, base_name(checkpoint.path) if goes_on else config.init)


def _configure(model: Any, processor: Any, config: StageConfig) -> None:
    """Writes ablations into the settings of model and processor, so that the checkpoint says how it was trained."""
    of_model = {name for name in vars(model.config) if name in ("use_savp", "answer_tokens") or name.startswith("pvtm_")}
    of_processor = {name for name in vars(processor) if name.startswith("savp_")}
    for group, wanted, changeable in (("model", config.model, of_model), ("processor", config.processor, of_processor)):
        for name in sorted(set(wanted) - changeable):
            hint = near(name, changeable, "the weights fix all else")
            raise ValueError(f"{group}.{name} — expected one of {', '.join(sorted(changeable))} — {hint}")
    if config.model.get("use_savp") and not model.config.use_savp:
        raise ValueError(f"use_savp=true, but {config.init} has no second stream — start from a checkpoint that has it")
    checked = FaceShieldConfig.checked(**{**model.config.to_dict(), **config.model})
    for name in config.model:
        setattr(model.config, name, getattr(checked, name))
    if checked.pvtm_ranking == "shuffled_prompt" and config.batch_size == 1:
        raise ValueError(
            "pvtm_ranking shuffled_prompt with batch_size 1 — expected at least 2, as each row is ranked by another's "
            "question — raise batch_size and lower accumulate"
        )
    if checked.pvtm_space == "llm_embed" and processor.prompt_tokenizer.get_vocab() != processor.tokenizer.get_vocab():
        raise ValueError(
            f"pvtm_space llm_embed, but {config.init} has a prompt tokenizer of its own — expected one tokenizer, for prompts "
            "are looked up in the language model's embeddings — choose another space"
        )
    for name, value in config.processor.items():
        setattr(processor, name, value)
    processor.check_savp()
    processor.use_savp = model.config.use_savp
    projector = model.model.multi_modal_projector
    if model.config.pvtm_mask == "learned" and projector.mask_token is None:
        projector.add_mask_token()


def _vision(config: StageConfig, arguments: TrainingArguments, rows: DialogueRows, trainee: Trainee, report: Report) -> Vision:
    check_pictures(rows.paths)
    if not config.cache_features:
        return LivePictures(rows.paths, trainee.processor, config.crop_side)

    def progress_row(done: int, total: int) -> None:
        if done == total or done % 1024 < 32:
            report({"event": "vision", "done": done, "total": total})

    assert config.cache is not None
    if arguments.process_index == 0:
        clean(config.cache)
    if arguments.world_size > 1:
        torch.distributed.barrier()  # nobody may write before the clean-up is over
    cache = VisionCache.build(
        rows.paths,
        trainee.model,
        trainee.processor,
        config.cache,
        bf16=uses_bf16(config.bf16),
        crop_side=config.crop_side,
        joint=rows.pvtm,
        threads=config.threads,
        rank=arguments.process_index,
        world=arguments.world_size,
        progress=progress_row,
    )
    if arguments.world_size > 1:
        torch.distributed.barrier()
    return cache.opened()


def _faster(config: StageConfig, model: Any) -> None:
    """Applies Liger's kernels to the language model, if wanted or, on a GPU, if installed.

    Raises:
        ImportError: wanted but not installed.
    """
    if config.liger is False or (config.liger is None and not torch.cuda.is_available()):
        return
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_phi3
    except ImportError as error:
        if config.liger:
            raise ImportError("liger=true without liger-kernel — expected it installed — pip install liger-kernel") from error
        return
    # The loss stays our own: with a packed row's masks and num_items_in_batch it is computed outside Phi-3's class.
    apply_liger_kernel_to_phi3(cross_entropy=False, fused_linear_cross_entropy=False, model=model.model.language_model)


def _finished(config: StageConfig, files: list[str]) -> bool:
    """Whether `out`, however its path is spelt, holds the complete result of these settings and files of this content."""
    try:
        run = read_run(config.out)
        told, read = run["config"], [one["sha256"] for one in run["inputs"][1:]]
        count_parameters(config.out)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    now = config.model_dump(mode="json")
    return read == files and all(told.get(name) == now[name] for name in now.keys() - MACHINE - {"out"})


def _finish(config: StageConfig, trainee: Trainee, steps: int, questions: Mapping[str, str] | None, report: Report) -> None:
    checkpoint, processor, trained = trainee.checkpoint, trainee.processor, trainee.trained
    vars(trainee.model.config).pop("use_cache", None)  # set by Trainer for the length of its run
    info = CheckpointInfo(
        questions=dict(questions or checkpoint.info.questions),
        extra={name: value for name, value in checkpoint.info.extra.items() if name != "crop_side"}
        | {"stage": config.stage, "steps": steps, "surroundings": config.surroundings}
        | ({"crop_side": config.crop_side} if config.crop_side else {}),
    )
    forget_choice(config.out, report)
    if config.stage == "sft" and config.save == "adapter":
        save(trained.eval(), processor, config.out, info, base=trainee.adapts)
    else:
        model = trained.merge_and_unload() if config.stage == "sft" else trainee.model
        model.requires_grad_(True)
        small = working_dtype(sum(parameter.numel() for parameter in model.parameters()))
        save(model.eval(), processor, config.out, info, dtype=getattr(torch, config.save_dtype) if config.save_dtype else small)
    write_run(config.out, config=config, seed=config.seed, inputs=[Path(checkpoint.path), *config.dialogues, *config.samples])
    loss_figure(config.out)
    write_card(config.out)
