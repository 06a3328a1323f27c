"""How much of what an adapter has learnt to keep: the best point between its base and the adapter, on a development set.

Weights between a model and its fine-tuned version are often better than either (WiSE-FT, Wortsman et al. 2022), and on few
pictures an adapter overfits. Nothing is trained here: each share costs one evaluation on the development set, and 0, the base
as it was, is among them. Use: `shares = keep_best("trained", "model", dev="dev.jsonl")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from faceshield.evaluation.metrics.pad import ScoreCurve
from faceshield.model import count_parameters, load, save, working_dtype
from faceshield.model.adapter import PROJECTOR, read_settings
from faceshield.provenance import read_run, write_run
from faceshield.records import Sample, image_path, read_jsonl
from faceshield.training.precision import device
from faceshield.whole import WholePictures

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
ADAPTER = "default"  # PEFT's name for the only adapter


def keep_best(trained: str | Path, out: str | Path, *, dev: str | Path, shares: Sequence[float] = SHARES) -> dict[str, Any]:
    """Writes the adapter at the share that ranks the development pictures best, and returns what was found.

    Args:
        trained: an adapter's folder.
        out: folder of the adapter to write; if it was written before, it is left as it is.
        dev: samples with bona fides and attacks, of none of the people trained on.
        shares: shares to try, 0..1 of the way from the base to the adapter.

    Returns:
        `share`, and `tried`: share, AUC and log loss (each class counts half) of each. The best AUC wins, then the lowest
        loss.
    """
    trained, out, dev = Path(trained), Path(out), Path(dev)
    if found := read_run(out).get("config"):
        return dict(found)
    loaded = load(trained, dtype=working_dtype(count_parameters(trained)), merge=False)
    adapted: Any = loaded.model
    adapted.to(device())
    scaled = _Scaled(adapted)
    asked = WholePictures(adapted.get_base_model(), loaded.processor, crop_side=loaded.info.crop_side)
    rows = read_jsonl(dev, Sample)
    attack = np.array([row.is_attack for row in rows])
    even = compute_sample_weight("balanced", attack)
    tried = []
    for share in shares:
        scaled.to(share)
        scores = np.array([score for score, _ in asked.score_many([image_path(row, dev) for row in rows])])
        loss = float(log_loss(~attack, scores, sample_weight=even))
        tried.append({"share": share, "auc": ScoreCurve(scores, attack).auc(), "log_loss": loss})
    best = min(tried, key=lambda one: (-one["auc"], one["log_loss"]))
    scaled.to(best["share"])
    scaled.settle()
    info = replace(loaded.info, extra={**loaded.info.extra, "kept": best["share"]})
    save(adapted, loaded.processor, out, info, base=read_settings(trained)["base_model_name_or_path"])
    loaded.drafts.save(out)
    told = {"stage": "keep", "share": best["share"], "tried": tried}
    write_run(out, config=told, seed=None, inputs=[trained, dev])
    return told


class _Scaled:
    """A model at any share of the way from base to adapter: LoRA scales linearly, and both ends of the projector are kept."""

    def __init__(self, adapted: Any) -> None:
        self.layers = [module for module in adapted.modules() if ADAPTER in getattr(module, "lora_B", {})]
        self.whole = [layer.scaling[ADAPTER] for layer in self.layers]
        self.share = 1.0
        wrapper = next(module for name, module in adapted.named_modules() if name.endswith(PROJECTOR))
        self.base = list(wrapper.original_module.parameters())
        self.now = list(wrapper.modules_to_save[ADAPTER].parameters())
        self.learnt = [value.detach().clone() for value in self.now]

    @torch.no_grad()
    def to(self, share: float) -> None:
        self.share = share
        for layer, whole in zip(self.layers, self.whole, strict=True):
            layer.scaling[ADAPTER] = share * whole
        for now, base, learnt in zip(self.now, self.base, self.learnt, strict=True):
            now.copy_(base.lerp(learnt, share))

    @torch.no_grad()
    def settle(self) -> None:
        """Moves the share from LoRA's scale, which an adapter file does not store, into its second factor."""
        for layer, whole in zip(self.layers, self.whole, strict=True):
            layer.lora_B[ADAPTER].weight.mul_(self.share)
            layer.scaling[ADAPTER] = whole
