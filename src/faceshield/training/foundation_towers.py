"""faceshield-tiny's two towers from nothing: sigmoid contrastive loss on pictures and captions (SigLIP's),
auxiliary losses.

The paper starts from published SigLIP weights; the tiny model has none to start from. Both streams (RGB and
SAVP, paper §4.1) go through the same tower as one batch of twice the size. Use: `faceshield train
configs/train/tiny-towers.yaml`. B = batch, K = streams, T = tokens of all streams, Q = texts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faceshield.model import pvtm
from faceshield.training.augment import colour_jitter, flip_and_shift, largest_box, to_float, token_coverage
from faceshield.training.heads import AuxiliaryHeads, TowerOutput, TowerTargets, tower_losses, type_weights
from faceshield.training.oversample import repeats
from faceshield.training.pictures import Pictures, cached_pixels, load_pictures
from faceshield.training.precision import autocast, device
from faceshield.training.schedule import Clock, cosine_rate, progress
from faceshield.training.state import load_state, named_parameters, save_state
from faceshield.training.tower_config import TowersConfig, TowerTexts, text_bank
from faceshield.training.tower_metrics import box_iou, tower_figures

__all__ = ["TowerTexts", "TowerTrainer", "TowersConfig"]

Report = Callable[[Mapping[str, Any]], None]
"""Called with every row of the log."""

STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"


class TowerTrainer:
    """Trains the towers of a model; `run` goes on from the state file where there is one.

    Args:
        config: the settings.
        texts: captions and questions.
        model: a `FaceShieldForConditionalGeneration`; only its two towers change.
        processor: its processor.
        report: told every row of the log.
    """

    def __init__(
        self,
        config: TowersConfig,
        texts: TowerTexts,
        model: Any,
        processor: Any,
        report: Report | None = None,
    ) -> None:
        self.config, self.texts, self.model, self.processor = config, texts, model, processor
        self.report = report or (lambda row: None)
        self.device = device()
        self.types = len(texts.types)
        self.bank = text_bank(texts, processor).to(self.device)
        model.to(self.device)
        self.vision, self.prompt = model.model.vision_tower, model.model.prompt_tower
        self.grid = processor.image_size // processor.patch_size
        # Only towers and heads draw weights here, so the seed fixes them whatever was built before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.heads = AuxiliaryHeads(model.config.vision_config.hidden_size, self.types).to(self.device)
        self.modules: dict[str, nn.Module] = {
            "vision": self.vision,
            "prompt": self.prompt,
            "heads": self.heads,
        }
        self.vision.to(memory_format=torch.channels_last)
        self.optimizer = self._optimizer()
        self.seen, self.step, self.clock = 0, 0, Clock()

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = named_parameters(self.modules)
        decayed = [value for value in parameters.values() if value.ndim >= 2]
        plain = [value for value in parameters.values() if value.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": self.config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98), fused=True)

    # -- data -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Reads the samples and decodes the pictures (once; later runs find the cache)."""
        config = self.config
        self.pictures: Pictures = load_pictures(config.data, self.texts.types)
        self.train_rows = self.pictures.of_split("train")
        dev = self.pictures.of_split("dev")
        rng = np.random.default_rng([config.seed, 1])
        self.dev_rows = np.sort(rng.permutation(dev)[: config.eval_pictures])
        folder = config.cache or config.out.parent / "cache"

        def progress_row(done: int, total: int) -> None:
            if done == total or done % 1024 == 0:
                self.report({"event": "cache", "done": done, "total": total})

        self.pixels = cached_pixels(self.pictures.paths, self.processor, folder, threads=config.threads, progress=progress_row)
        self.train_types = [self.texts.types[index] for index in self.pictures.types[self.train_rows]]
        # Of the pictures as they are: a type that is seen more often shall also count more.
        counts = np.bincount(self.pictures.types[self.train_rows], minlength=self.types)
        self.type_weights = type_weights(torch.from_numpy(counts)).to(self.device)

    def _epoch_rows(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.config.seed, 2, epoch])
        times = repeats(self.train_types, self.config.oversample, rng)
        return rng.permutation(np.repeat(self.train_rows, times))

    def _batches(self) -> Any:
        """Endless batches of rows from picture `seen` on; the order depends on the seed alone, so a resumed
        run goes on.
        """
        epoch, skip = 0, self.seen
        while True:
            rows = self._epoch_rows(epoch)
            usable = len(rows) // self.config.batch_size * self.config.batch_size
            if usable == 0:
                raise ValueError(
                    f"{len(rows)} training pictures — expected at least batch_size={self.config.batch_size} — lower it"
                )
            if skip < usable:
                for start in range(skip, usable, self.config.batch_size):
                    yield rows[start : start + self.config.batch_size]
                skip = 0
            else:
                skip -= usable
            epoch += 1

    def _inputs(self, pixels: NDArray[np.uint8], size: int, rng: np.random.Generator | None) -> Tensor:
        """(B, K, S, S, 3) bytes -> (K * B, 3, size, size), streams one after the other."""
        streams = []
        for index in range(pixels.shape[1]):
            pictures = to_float(np.ascontiguousarray(pixels[:, index]), self.device)
            if rng is not None:
                pictures = colour_jitter(pictures, self.config.jitter if index == 0 else self.config.jitter / 3, rng)
            streams.append(pictures)
        both = torch.cat(streams)
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

    def train_step(self, rows: NDArray[np.int64], size: int, rate: float) -> dict[str, float]:
        """One optimizer step on these pictures; returns the losses by name.

        Raises:
            FloatingPointError: the loss is not finite; the state file still holds the last good weights.
        """
        config = self.config
        rng = np.random.default_rng([config.seed, 3, self.step])
        picked = np.sort(rows)
        pixels, boxes = flip_and_shift(self.pixels[picked], [self.pictures.boxes[row] for row in picked], config.max_shift, rng)
        streams = pixels.shape[1]
        captions = self._draw_captions(rng)
        output = self._forward(
            self._inputs(pixels, size, rng),
            torch.cat([self.bank.ids[captions], self.bank.questions]),
            streams,
        )
        target = self._targets(picked, boxes, size // self.processor.patch_size, streams, captions)
        with autocast(self.config.bf16):
            losses = tower_losses(self.heads, output, target, self.type_weights, config.label_smoothing)
        total = torch.stack([getattr(config, f"weight_{name}") * loss for name, loss in losses.items()]).sum()
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"loss {values} at step {self.step} — expected finite numbers — lower learning_rate: "
                f"{config.out / STATE_FILE} holds the last good weights"
            )
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(list(named_parameters(self.modules).values()), config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seen += len(rows)
        return values | {"loss": float(total.detach())}

    # -- evaluation -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self) -> dict[str, Any]:
        """Figures on the dev pictures: class head, zero-shot by captions, coarse at 0.5, boxes, and PVTM's
        direction.
        """
        for module in self.modules.values():
            module.eval()
        captions = np.concatenate(self.bank.own)
        owners = np.repeat(np.arange(self.types), [len(own) for own in self.bank.own])
        text_ids = torch.cat([self.bank.ids[captions], self.bank.questions])
        parts: list[dict[str, NDArray[Any]]] = []
        for start in range(0, len(self.dev_rows), self.config.batch_size):
            rows = self.dev_rows[start : start + self.config.batch_size]
            pixels = self.pixels[rows]
            output = self._forward(self._inputs(pixels, self.processor.image_size, None), text_ids, pixels.shape[1])
            parts.append(self._judge(rows, output, owners))
        for module in self.modules.values():
            module.train()
        return tower_figures({key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, self.texts.types)

    def _judge(self, rows: NDArray[np.int64], output: TowerOutput, owners: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        types = self.pictures.types[rows]
        boxes = [self.pictures.boxes[row] for row in rows]
        truth, has_box = largest_box(boxes)
        with autocast(self.config.bf16):
            class_logits = self.heads.type_head(output.image).float().cpu()
            predicted, _ = self.heads.boxes(output.feature)
        by_text = self.heads.similarity(output.image, output.text[: len(owners)]).cpu()
        by_type = torch.stack([by_text[:, torch.from_numpy(owners == t)].mean(dim=1) for t in range(self.types)], dim=1)
        coverage = torch.from_numpy(np.tile(token_coverage(boxes, self.grid), (1, output.joint.shape[1] // self.grid**2)))
        question = output.text[-len(self.bank.questions)].expand(len(rows), -1)
        order = pvtm.importance(output.joint, question).argsort(dim=1, descending=True).cpu()
        top = order[:, : max(1, round(0.1 * order.shape[1]))]
        return {
            "type": types,
            "head": class_logits.argmax(dim=1).numpy(),
            "text": by_type.argmax(dim=1).numpy(),
            "bonafide": class_logits.softmax(dim=1)[:, 0].numpy(),
            "iou": box_iou(predicted.float().cpu().numpy(), truth),
            "has_box": has_box,
            "top_inside": coverage.gather(1, top).mean(dim=1).numpy(),
            "base_inside": coverage.mean(dim=1).numpy(),
        }

    # -- the run --------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Trains to the end, saving on the way, and returns the last figures.

        Raises:
            ValueError: no pictures of split "train" or "dev", or a state of another model.
        """
        config = self.config
        self.load()
        self.clock = Clock()
        state = config.out / STATE_FILE
        if state.exists():
            saved = load_state(state, self.modules, self.optimizer)
            self.seen, self.step, self.clock = saved["seen"], saved["step"], Clock(saved["elapsed"])
            self.report({"event": "resume", "seen": self.seen, "minutes": round(self.clock.elapsed() / 60, 1)})
        for module in self.modules.values():
            module.train()
        batches = self._batches()
        saved_at, since, rows_since = time.monotonic(), time.monotonic(), 0
        next_eval = (self.seen // config.eval_every + 1) * config.eval_every
        while True:
            done = progress(self.seen, config.pictures, self.clock.elapsed(), config.minutes)
            if done >= 1.0:
                break
            size = config.low_size if done < config.low_share else self.processor.image_size
            rows = next(batches)
            rate = config.learning_rate * cosine_rate(done, config.warmup)
            losses = self.train_step(rows, size, rate)
            rows_since += len(rows)
            if self.step % config.log_every == 0:
                now = time.monotonic()
                self._log(
                    {
                        "event": "step",
                        "rate": rate,
                        "size": size,
                        "per_second": rows_since / (now - since),
                        **losses,
                    }
                )
                since, rows_since = now, 0
            if self.seen >= next_eval:
                self._log({"event": "dev", **self.evaluate()})
                next_eval += config.eval_every
                since, rows_since = time.monotonic(), 0
            if time.monotonic() - saved_at > 60 * config.save_minutes:
                self._save(state)
                saved_at = time.monotonic()
        self._save(state)
        figures = self.evaluate()
        self._log({"event": "end", **figures})
        return figures

    def _save(self, path: Path) -> None:
        save_state(
            path,
            self.modules,
            self.optimizer,
            {"seen": self.seen, "step": self.step, "elapsed": self.clock.elapsed()},
        )

    def _log(self, row: dict[str, Any]) -> None:
        row = {"seen": self.seen, "step": self.step, "minutes": self.clock.elapsed() / 60, **row}
        row = {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()}
        with (self.config.out / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        self.report(row)
