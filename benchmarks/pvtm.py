"""The cost of PVTM at the paper's size, in floating-point operations, relative to the vision tower's two streams.

No weights are needed: the model is built on the meta device, and its operations are counted as it runs.

    python benchmarks/pvtm.py
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from faceshield.model import FaceShieldConfig, FaceShieldForConditionalGeneration, pvtm


def main() -> None:
    config = FaceShieldConfig()
    with torch.device("meta"):
        model = FaceShieldForConditionalGeneration(config).eval().model
        side = config.vision_config.image_size
        streams = torch.empty(2, 3, side, side)
        tokens = torch.empty(2, config.tokens_per_stream, config.vision_config.hidden_size)
        prompt = torch.zeros(1, config.prompt_config.max_position_embeddings, dtype=torch.long)

    def operations(run) -> int:  # type: ignore[no-untyped-def]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    towers = operations(lambda: model.vision_tower(streams, output_hidden_states=[-2]))
    joint = operations(lambda: pvtm.joint_tokens(model.vision_tower, tokens, tokens, config.pvtm_space))
    text = operations(lambda: model.prompt_tower(input_ids=prompt))
    width, count = config.vision_config.hidden_size, 2 * config.tokens_per_stream
    rank = 2 * count * width  # one dot product per token; sorting and random draws are not counted
    print(f"vision tower, two streams   {towers / 1e12:8.4f} TFLOP")
    print(f"PVTM, per picture           {(joint + rank) / 1e12:8.4f} TFLOP   {(joint + rank) / towers:.2%} of the towers")
    print(f"PVTM, once per question     {text / 1e12:8.4f} TFLOP   {text / towers:.2%}, kept for every other picture")


if __name__ == "__main__":
    main()
