"""The scores of fixed answers as one ONNX graph, for use without torch or Python (§4; needs the extra `onnx`).

Towers, projector and language model run in one pass without a cache: the prefix with the picture and the tree of all questions
and answers form one row, in which every token id is a constant. The inputs are the processor's two tensors; docs/onnx.md
specifies to the pixel how to make them.
B = pictures, S = picture side, K = answers. Use: `export_scorer(model, processor, {question: answers}, Path("m.onnx"))`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .modeling_faceshield import FaceShieldForConditionalGeneration
from .processing_faceshield import FaceShieldProcessor
from .token_tree import TokenTree


class FixedScorer(nn.Module):
    """(B, 3, S, S) pixels, and SAVP's if the model uses it -> (B, K) probabilities per question.

    Args:
        model: in eval mode, float32.
        processor: its processor.
        asked: for each question, the token ids of its answers (`encode_answer`).
        score_map: (scale, offset) for the first question's log-odds (of its first answer against the second).
    """

    def __init__(
        self,
        model: FaceShieldForConditionalGeneration,
        processor: FaceShieldProcessor,
        asked: Mapping[str, Sequence[Sequence[int]]],
        score_map: tuple[float, float] = (1.0, 0.0),
    ) -> None:
        super().__init__()
        self.model = model
        scale, offset = score_map
        prefix = processor.encode_prefix()
        starts = {question: processor.encode_question(question)[len(prefix) :] for question in asked}
        sequences = [[*starts[question], *answer[:-1]] for question, answers in asked.items() for answer in answers]
        firsts = [len(starts[question]) - 1 for question, answers in asked.items() for _ in answers]
        spoken = [answer for answers in asked.values() for answer in answers]
        tree = TokenTree.of(sequences)
        length = len(prefix)
        visible = torch.ones(length + len(tree.tokens), length + len(tree.tokens)).tril().bool()
        visible[length:, length:] = torch.from_numpy(tree.visible)
        embed: Any = model.get_input_embeddings()
        before = prefix.index(processor.image_token_id)
        steps = [
            (length + node, token, number)
            for number, (path, first, answer) in enumerate(zip(tree.paths, firsts, spoken, strict=True))
            for node, token in zip(path[first:], answer, strict=True)
        ]
        nodes, wanted, owner = torch.tensor(steps).T
        places, which = nodes.unique(return_inverse=True)
        self.sizes = [len(answers) for answers in asked.values()]
        constants = {
            "before": embed(torch.tensor([prefix[:before]])).detach(),
            "after": embed(torch.from_numpy(tree.tokens)[None]).detach(),
            "mask": torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None],
            "positions": torch.cat([torch.arange(length), length + torch.from_numpy(tree.depth)])[None],
            "places": places,
            "pairs": which * model.config.text_config.vocab_size + wanted,
            "owners": nn.functional.one_hot(owner, len(spoken)).float(),
            "scale": torch.tensor([scale] * self.sizes[0] + [1.0] * sum(self.sizes[1:])),
            "offset": torch.tensor([offset] + [0.0] * (len(spoken) - 1)),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, pixel_values: Tensor, savp_values: Tensor | None = None) -> tuple[Tensor, ...]:
        inner: Any = self.model.model
        rows = pixel_values.shape[0]
        features, _ = inner.encode_images(pixel_values, savp_values, with_joint=False)
        vision = inner.multi_modal_projector(features)
        before, after = (self.get_buffer(name).expand(rows, -1, -1) for name in ("before", "after"))
        row = torch.cat([before, vision, after], dim=1)
        hidden = inner.language_model(
            inputs_embeds=row, attention_mask=self.mask, position_ids=self.positions, use_cache=False
        ).last_hidden_state
        chances = self.model.lm_head(hidden[:, self.places]).log_softmax(-1)
        totals = chances.flatten(1)[:, self.pairs] @ self.owners * self.scale + self.offset
        return tuple(part.softmax(-1) for part in totals.split(self.sizes, dim=1))


def export_scorer(
    model: FaceShieldForConditionalGeneration,
    processor: FaceShieldProcessor,
    asked: Mapping[str, Sequence[Sequence[int]]],
    file: Path,
    names: Sequence[str],
    metadata: Mapping[str, str],
    *,
    score_map: tuple[float, float] = (1.0, 0.0),
) -> Path:
    """Write the graph atomically; it accepts batches of any size.

    Args:
        model, processor, asked, score_map: see `FixedScorer`.
        file: `*.onnx`; it contains everything, including the weights.
        names: of the outputs, one per question.
        metadata: strings stored in the file.

    Raises:
        ModuleNotFoundError: without the extra `onnx`.
    """
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(f'{", ".join(missing)} not installed — expected for ONNX — pip install "faceshield[onnx]"')
    file.parent.mkdir(parents=True, exist_ok=True)
    own: Any = copy.deepcopy(model)  # the caller's model keeps its device and precision
    scorer = FixedScorer(own.to("cpu", torch.float32), processor, asked, score_map).eval()
    inputs = {"pixel_values": torch.zeros(2, 3, processor.image_size, processor.image_size)}
    if processor.use_savp:
        inputs["savp_values"] = inputs["pixel_values"].clone()
    rows = torch.export.Dim("batch", min=1, max=1024)
    with torch.inference_mode():
        program = torch.onnx.export(
            scorer,
            kwargs=inputs,
            dynamo=True,
            output_names=list(names),
            dynamic_shapes={name: {0: rows} for name in inputs},
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    part = file.with_name(f".{file.stem}.part.onnx")
    try:
        program.save(part, external_data=False)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file
