"""The U-Net of ScribblePrompt, in torch; imported only by what trains or loads a torch checkpoint.

Wong et al., "ScribblePrompt: Fast and Flexible Interactive Segmentation for Any Biomedical Image", ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aop_pose.scribbles.segmenters.interface import CHANNELS

OFFICIAL_FEATURES = (192, 192, 192, 192)
"""Features per level of the published checkpoint."""


def build_network(features: Sequence[int] = OFFICIAL_FEATURES) -> Any:
    """A ``torch.nn.Module``: (B, 5, S, S) -> logits (B, 1, S, S), S a multiple of 2 to the number of levels.

    The keys of its state dict are those of the official checkpoint: ``downs.N.conv.0`` (convolution) and
    ``downs.N.conv.1`` (PReLU), ``ups.N.conv.…`` at odd N (the even ones are upsamplings without weights),
    ``bottleneck.conv.…`` and ``final_conv.conv.0``.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        """A convolution that keeps the size, then PReLU; the last one of the network goes without."""

        def __init__(self, inside: int, outside: int, kernel: int = 3, activation: bool = True) -> None:
            super().__init__()
            layers: list[nn.Module] = [nn.Conv2d(inside, outside, kernel, padding=kernel // 2)]
            self.conv = nn.Sequential(*layers, *([nn.PReLU()] if activation else []))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x)

    class PromptedUNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [len(CHANNELS), *features]
            self.downs = nn.ModuleList(Block(above, below) for above, below in zip(widths, features, strict=False))
            self.bottleneck = Block(features[-1], features[-1])
            self.ups = nn.ModuleList()
            for width in reversed(features):
                # Twice the width: the skip connection comes first, what was upsampled after it.
                self.ups.extend([nn.UpsamplingBilinear2d(scale_factor=2), Block(2 * width, width)])
            self.final_conv = Block(features[0], 1, kernel=1, activation=False)
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            skips = []
            for down in self.downs:
                skips.append(down(x))
                x = self.pool(skips[-1])
            x = self.bottleneck(x)
            for enlarge, block in zip(self.ups[::2], self.ups[1::2], strict=True):
                x = block(torch.cat([skips.pop(), enlarge(x)], dim=1))
            return self.final_conv(x)

    return PromptedUNet()
