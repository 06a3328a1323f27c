"""Stage `foundation-towers`, the first of faceshield-tiny's foundation: from scratch, or from a checkpoint.

Use: `train_towers(TowersConfig.load("configs/train/tiny-towers.yaml", ["data=samples.jsonl", "out=towers"]), texts, corpus)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from faceshield.model import CheckpointInfo, build_tiny, grow_vision, load, resolve_model, train_tokenizer
from faceshield.provenance import BEGUN_FILE, read_json, write_run
from faceshield.training.foundation_towers import TowersConfig, TowerTexts, TowerTrainer
from faceshield.training.watch import Report, save_if_new

TOKENIZER_FOLDER = "tokenizer"


def tokenizer_for(folder: Path | None, out: Path, corpus: Iterable[str], vocab_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`; if None, that of the run that was begun in `out`, else a new one trained on the corpus."""
    kept = out / TOKENIZER_FOLDER
    begun = (out / BEGUN_FILE).is_file() and "stage" in read_json(out / BEGUN_FILE)  # else a start that failed left it
    source = folder or (kept if begun and (kept / "tokenizer.json").is_file() else None)
    if source is not None:
        if not (source / "tokenizer.json").is_file():
            raise FileNotFoundError(f"{source}/tokenizer.json — expected a tokenizer — leave `tokenizer` out to train one")
        return AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokenizer = train_tokenizer(corpus, vocab_size=vocab_size)
    tokenizer.save_pretrained(kept)
    return tokenizer


def train_towers(
    config: TowersConfig, texts: TowerTexts, corpus: Iterable[str], report: Report | None = None
) -> dict[str, Any]:
    """Runs stage `foundation-towers` and writes a complete checkpoint, its language model `init`'s or still random.

    Where the weights are those that `out` holds already, it stays as it is, including a threshold chosen since then.

    Args:
        config: the settings.
        texts: captions and questions.
        corpus: texts for the tokenizer, read only if one is trained.
        report: called with every row of the log.

    Returns:
        The final figures on the development pictures.
    """
    torch.set_num_threads(config.threads)
    config.out.mkdir(parents=True, exist_ok=True)
    info, inputs = CheckpointInfo(), list(config.data)
    if config.init:
        begun = load(resolve_model(config.init))
        model, processor = begun.model, begun.processor
        config = config.model_copy(update={"crop_side": config.crop_side or begun.info.crop_side})
        grow_vision(model, **vars(config.grow), seed=config.seed)
        processor.image_size = model.config.vision_config.image_size
        info, inputs = begun.info, [begun.path, *inputs]
    else:
        tokenizer = tokenizer_for(config.tokenizer, config.out, corpus, config.vocab_size)
        model, processor = build_tiny(tokenizer, seed=config.seed, **config.model)
    if config.crop_side:
        info = replace(info, extra={**info.extra, "crop_side": config.crop_side})
    figures = TowerTrainer(config, texts, model, processor, report).run()
    save_if_new(model, processor, config.out, info, report)
    write_run(config.out, config=config, seed=config.seed, inputs=inputs)
    return figures
