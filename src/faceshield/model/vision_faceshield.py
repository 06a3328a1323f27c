"""FaceShield's small vision tower: SigLIP's with a convolutional stem as patch embedding.

The paper's size uses SigLIP itself; trained from scratch on a few tens of thousands of pictures, a single 16x16 convolution
learns no texture, but a few 3x3 ones do.
Use: `FaceShieldVisionModel(FaceShieldVisionConfig())(pixel_values).pooler_output`.
B = batch, C = channels, S = image size, D = hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoModel, ResNetConfig, SiglipVisionModel
from transformers import initialization as init
from transformers.models.resnet.modeling_resnet import ResNetEmbeddings, ResNetEncoder

from .configuration_faceshield import FaceShieldVisionConfig


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(norm(x)))), one normalisation per block, (B, C, H, W) -> the same."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        # Independent of the batch, so a picture's tokens never depend on other pictures, in training or later. One group is
        # as fast as BatchNorm; with more, torch's channels-last backward on CPUs is fifteen times slower.
        self.norm = nn.GroupNorm(groups, channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.ReLU()
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2.closes_block = True  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(self.act(self.conv_1(self.norm(x))))


class ResidualStem(nn.Module):
    """Stride-2 convolutions with residual blocks between: (B, 3, S, S) -> (B, D, S/patch, S/patch)."""

    def __init__(self, config: FaceShieldVisionConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = config.num_channels
        for stage, (channels, blocks) in enumerate(zip(config.stem_channels, config.stem_blocks, strict=True)):
            if stage:
                layers += [nn.GroupNorm(config.stem_norm_groups, width), nn.ReLU()]
            layers.append(nn.Conv2d(width, channels, 3, stride=2, padding=1))
            layers += [ResidualBlock(channels, config.stem_norm_groups) for _ in range(blocks)]
            width = channels
        self.layers = nn.Sequential(*layers)

    @property
    def weight(self) -> Tensor:
        """The first convolution's weight: SigLIP's embeddings read the patch embedding's dtype from here."""
        first = self.layers[0]
        assert isinstance(first, nn.Conv2d)
        return first.weight

    def forward(self, pixel_values: Tensor) -> Tensor:
        # Convolutions on CPUs and tensor cores are fastest in channels-last layout, which all layers then keep.
        return self.layers(pixel_values.contiguous(memory_format=torch.channels_last))


class ResNetStem(nn.Module):
    """transformers' ResNet of basic blocks up to its third stage: (B, 3, S, S) -> (B, D, S/patch, S/patch).

    Trained from scratch, it learns several times as fast as `ResidualStem` thanks to batch normalisation. A picture's tokens
    depend on others in its batch only while the stem itself is trained: once its weights are frozen, so are its statistics.
    """

    def __init__(self, config: FaceShieldVisionConfig) -> None:
        super().__init__()
        first, *widths = config.stem_channels
        resnet = ResNetConfig(
            num_channels=config.num_channels,
            embedding_size=first,
            hidden_sizes=widths,
            depths=config.stem_blocks[1:],
            layer_type="basic",
        )
        # Parts instead of the whole: transformers would look for attention in a model inside the tower, and it has none.
        self.embedder = ResNetEmbeddings(resnet)
        self.encoder = ResNetEncoder(resnet)

    @property
    def weight(self) -> Tensor:
        """As in `ResidualStem`."""
        return next(self.parameters())

    def forward(self, pixel_values: Tensor) -> Tensor:
        if self.training and not self.weight.requires_grad:
            self.eval()
        seen = self.embedder(pixel_values.contiguous(memory_format=torch.channels_last))
        return self.encoder(seen).last_hidden_state  # type: ignore[no-any-return]


STEMS = {"residual": ResidualStem, "resnet": ResNetStem}


class FaceShieldVisionModel(SiglipVisionModel):
    """SigLIP's vision model with one of `STEMS` as its patch embedding."""

    config: FaceShieldVisionConfig
    config_class = FaceShieldVisionConfig

    def __init__(self, config: FaceShieldVisionConfig) -> None:
        super().__init__(config)
        self.embeddings.patch_embedding = STEMS[config.stem](config)  # type: ignore[assignment]
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d):
            if getattr(module, "closes_block", False):
                # Every block starts close to the identity, which keeps training stable with so few normalisations.
                init.normal_(module.weight, std=1e-3)
            else:
                init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)


AutoModel.register(FaceShieldVisionConfig, FaceShieldVisionModel, exist_ok=True)

__all__ = ["STEMS", "FaceShieldVisionModel", "ResNetStem", "ResidualStem"]
