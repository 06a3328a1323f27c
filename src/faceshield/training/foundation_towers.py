"""Trains faceshield-tiny's two towers from scratch, with SigLIP's sigmoid contrastive loss and auxiliary losses.

The paper starts from published SigLIP weights; the tiny model has none to start from. Both streams (RGB and SAVP, paper §4.1)
go through the same tower as one batch of twice the size.
Use: `faceshield train configs/train/tiny-towers.yaml`. B = batch, K = streams, T = tokens of all streams, Q = texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceshield.model import pvtm
from faceshield.records import Prediction, Truth, write_jsonl
from faceshield.training.augment import largest_box, to_float, token_coverage
from faceshield.training.heads import AuxiliaryHeads, TowerOutput, TowerTargets, tower_losses
from faceshield.training.picture_run import PictureRun
from faceshield.training.pictures import load_pictures
from faceshield.training.precision import autocast, device
from faceshield.training.tower_config import TowersConfig, TowerTexts, text_bank
from faceshield.training.tower_metrics import box_iou, tower_figures
from faceshield.training.watch import Report

PREDICTIONS_FILE = "predictions.jsonl"

__all__ = ["TowerTexts", "TowerTrainer", "TowersConfig"]


class TowerTrainer(PictureRun):
    """Trains the towers of a model; `run` resumes from the state file if there is one.

    Args:
        config: the settings.
        texts: captions and questions.
        model: a `FaceShieldForConditionalGeneration`; only its two towers change.
        processor: its processor.
        report: called with every row of the log.
    """

    config: TowersConfig

    def __init__(
        self,
        config: TowersConfig,
        texts: TowerTexts,
        model: Any,
        processor: Any,
        report: Report | None = None,
    ) -> None:
        if config.low_share and (config.low_size % processor.patch_size or config.low_size > processor.image_size):
            raise ValueError(
                f"low_size {config.low_size} — expected at most the tower's {processor.image_size} pixels, and a multiple of "
                f"its patches' {processor.patch_size} — correct it, or low_share=0"
            )
        if (processor.image_mean, processor.image_std) != (0.5, 0.5):  # what `augment.to_float` does
            raise ValueError(
                f"pictures normalised by {processor.image_mean} and {processor.image_std} — expected 0.5 and 0.5, the "
                "only ones that towers are trained with here — start from another checkpoint"
            )
        self.texts, self.model = texts, model
        model.to(device())
        self.bank = text_bank(texts, processor).to(device())
        self.vision, self.prompt = model.model.vision_tower, model.model.prompt_tower
        self.grid = processor.image_size // processor.patch_size
        pictures = load_pictures(config.data, texts.types)
        named = [sample.meta.get("cues", ()) for sample in pictures.samples]
        self.cues = sorted({cue for cues in named for cue in cues})
        self.bears = np.array([[cue in cues for cue in self.cues] for cues in named], dtype=bool)
        # Seeded apart, so that the heads' initial weights do not depend on what was built before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.heads = AuxiliaryHeads(model.config.vision_config.hidden_size, len(texts.types), len(self.cues)).to(device())
        self.vision.to(memory_format=torch.channels_last)
        modules = {"vision": self.vision, "prompt": self.prompt, "heads": self.heads}
        super().__init__(
            config, texts.types, modules, pictures, processor, side=config.crop_side, betas=(0.9, 0.98), report=report
        )
        if self.device.type == "cpu":
            # With a few hundred tokens per stream, fused attention's backward pass costs a third of a step on a CPU.
            self.vision.set_attn_implementation("eager")

    # -- data -----------------------------------------------------------------------------------------------

    def _inputs(self, pixels: NDArray[np.uint8], size: int) -> Tensor:
        """(B, K, S, S, 3) bytes -> (K * B, 3, size, size), streams one after the other."""
        both = to_float(np.concatenate([pixels[:, stream] for stream in range(pixels.shape[1])]), self.device)
        if size != both.shape[-1]:
            both = nn.functional.interpolate(both, size=(size, size), mode="bilinear", antialias=True)
        return both.contiguous(memory_format=torch.channels_last)

    def _targets(
        self,
        rows: NDArray[np.int64],
        boxes: Sequence[NDArray[np.float32]],
        grid: int,
        streams: int,
        captions: NDArray[np.int64],
    ) -> TowerTargets:
        types = self.pictures.types[rows]
        coverage = np.tile(token_coverage(boxes, grid), (1, streams))
        box, has_box = largest_box(boxes)
        questions = len(self.bank.questions)
        matches = np.concatenate([self.bank.truth[captions][:, types].T, np.zeros((len(rows), questions), dtype=bool)], axis=1)
        is_question = np.arange(matches.shape[1]) >= len(captions)
        of_attack = np.concatenate([~self.bank.truth[captions][:, 0], np.ones(questions, dtype=bool)])
        return TowerTargets(
            types=torch.from_numpy(types),
            coverage=torch.from_numpy(coverage),
            box=torch.from_numpy(box),
            has_box=torch.from_numpy(has_box),
            known=torch.from_numpy(has_box | (types == 0)),
            matches=torch.from_numpy(matches),
            regional=torch.from_numpy(of_attack),
            questions=torch.from_numpy(is_question),
            cues=torch.from_numpy(self.bears[rows]),
            cued=torch.from_numpy((types == 0) | self.bears[rows].any(axis=1)),
        ).to(self.device)

    # -- one step -------------------------------------------------------------------------------------------

    def _forward(self, inputs: Tensor, text_ids: Tensor, streams: int) -> TowerOutput:
        layer = self.model.config.vision_feature_layer
        other_size = inputs.shape[-1] != self.processor.image_size
        with autocast(self.config.bf16):
            seen = self.vision(inputs, output_hidden_states=[layer], interpolate_pos_encoding=other_size, return_dict=True)
            feature = seen.hidden_states[layer]
            joint = pvtm.joint_tokens(self.vision, seen.last_hidden_state, feature, self.model.config.pvtm_space)
            text = self.prompt(input_ids=text_ids, return_dict=True).pooler_output
        side_by_side = [torch.cat(x.chunk(streams), dim=1) for x in (feature, joint)]
        image = seen.pooler_output.float().unflatten(0, (streams, -1)).mean(dim=0)
        return TowerOutput(image, side_by_side[0], side_by_side[1], text)

    def _draw_captions(self, rng: np.random.Generator) -> NDArray[np.int64]:
        chosen = [rng.choice(own, self.config.captions_per_type) for own in self.bank.own]
        if len(self.bank.shared):
            chosen.append(rng.choice(self.bank.shared, 2))
        return np.concatenate(chosen)

    def train_step(self, rows: NDArray[np.int64], done: float, rate: float) -> dict[str, float]:
        config = self.config
        size = config.low_size if self.furthest < config.low_share else self.processor.image_size
        rng = self.step_rng()
        picked = np.sort(rows)
        pixels, boxes = self.squares(picked, rng)
        streams = pixels.shape[1]
        captions = self._draw_captions(rng)
        output = self._forward(
            self._inputs(pixels, size),
            torch.cat([self.bank.ids[captions], self.bank.questions]),
            streams,
        )
        target = self._targets(picked, boxes, size // self.processor.patch_size, streams, captions)
        with autocast(config.bf16):
            losses = tower_losses(self.heads, output, target, self.type_weights, config.label_smoothing)
        weights = {name: getattr(config, f"weight_{name}") for name in losses}
        return {"size": size, **self.update(losses, weights, len(rows), rate)}

    # -- evaluation -----------------------------------------------------------------------------------------

    def evaluate(self) -> dict[str, Any]:
        """Figures on the dev pictures: class head, zero-shot by captions, coarse at 0.5, boxes, cues, and PVTM's ranking."""
        captions = np.concatenate(self.bank.own)
        owners = np.repeat(np.arange(len(self.types)), [len(own) for own in self.bank.own])
        text_ids = torch.cat([self.bank.ids[captions], self.bank.questions])
        parts: list[dict[str, NDArray[Any]]] = []
        for start in range(0, len(self.dev_rows), self.config.batch_size):
            rows = self.dev_rows[start : start + self.config.batch_size]
            pixels, boxes = self.squares(rows)
            output = self._forward(self._inputs(pixels, self.processor.image_size), text_ids, pixels.shape[1])
            parts.append(self._judge(rows, boxes, output, owners))
        found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        self.dev_scores = found["bonafide"]
        return tower_figures(found, self.texts.types)

    def run(self) -> dict[str, Any]:
        """As `PictureRun.run`; also writes the class head's scores of the development pictures to `predictions.jsonl`."""
        figures = super().run()
        write_jsonl(self.config.out / PREDICTIONS_FILE, self._predictions())
        return figures

    def _predictions(self) -> Iterator[Prediction]:
        for row, score in zip(self.dev_rows, self.dev_scores, strict=True):
            sample = self.pictures.samples[row]
            image = str(self.pictures.paths[row].resolve())
            yield Prediction(
                id=f"{image}:coarse", sample_id=sample.id, image=image, task="coarse", question="",
                bonafide_score=float(score), status="parsed", truth=Truth.of(sample),
            )  # fmt: skip

    def _judge(
        self,
        rows: NDArray[np.int64],
        boxes: Sequence[NDArray[np.float32]],
        output: TowerOutput,
        owners: NDArray[np.int64],
    ) -> dict[str, NDArray[Any]]:
        types = self.pictures.types[rows]
        truth, has_box = largest_box(boxes)
        with autocast(self.config.bf16):
            class_logits = self.heads.type_head(output.image).float().cpu()
            predicted, _ = self.heads.boxes(output.feature)
            cues = self.heads.cues(output.feature)
        by_text = self.heads.similarity(output.image, output.text[: len(owners)]).cpu()
        by_type = torch.stack([by_text[:, torch.from_numpy(owners == t)].mean(dim=1) for t in range(len(self.types))], dim=1)
        coverage = torch.from_numpy(np.tile(token_coverage(boxes, self.grid), (1, output.joint.shape[1] // self.grid**2)))
        question = output.text[-len(self.bank.questions)].expand(len(rows), -1)
        ranking = self.model.config
        order = pvtm.importance(output.joint, question, ranking.pvtm_sign).argsort(dim=1, descending=True).cpu()
        top = order[:, : max(1, round(ranking.pvtm_keep_ratio * order.shape[1]))]
        return {
            "type": types,
            "head": class_logits.argmax(dim=1).numpy(),
            "text": by_type.argmax(dim=1).numpy(),
            "bonafide": class_logits.softmax(dim=1)[:, 0].numpy(),
            "iou": box_iou(predicted.float().cpu().numpy(), truth),
            "has_box": has_box,
            "cues": self.bears[rows],
            "cues_named": np.zeros_like(self.bears[rows]) if cues is None else (cues > 0).cpu().numpy(),
            "top_inside": coverage.gather(1, top).mean(dim=1).numpy(),
            "base_inside": coverage.mean(dim=1).numpy(),
        }
