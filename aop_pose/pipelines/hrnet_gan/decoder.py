"""From the encoder's last map to heatmaps (equations 6 and 7), or to coordinates (table 2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.layers.cbam import CbamModule
from torch import nn

POOL = 4
"""The coordinate decoder sees its block's map as at most about POOL x POOL places."""


class ConvCbam(nn.Sequential):
    """ConvCBAM2D (equation 6): 3 x 3 convolution, batch normalisation, ReLU and, with ``attention``, CBAM."""

    def __init__(self, given: int, wanted: int, attention: bool):
        layers = [
            nn.Conv2d(given, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted), nn.ReLU(inplace=True),
        ]  # fmt: skip
        super().__init__(*layers, *([CbamModule(wanted)] if attention else []))


class HeatmapDecoder(nn.Module):
    """Features (B, C, s, s) -> maps (B, points, 32 s, 32 s): five blocks, each before an upsampling (equation 7).

    The last upsampling and the 1 x 1 convolution after it are done the other way round: both are linear, and a weighted
    mean of pixels keeps a constant, so the maps are the same, and only as many channels are enlarged as there are
    points.
    """

    def __init__(self, given: int, widths: Sequence[int], points: int, attention: bool):
        super().__init__()
        self.blocks = nn.ModuleList()
        for width in widths:
            self.blocks.append(ConvCbam(given, width, attention))
            given = width
        self.out = nn.Conv2d(given, points, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[:-1]:
            features = self.up(block(features))
        return self.up(self.out(self.blocks[-1](features)))


class CoordinateDecoder(nn.Module):
    """Features (B, C, side, side) -> points (B, n, 2) as shares of the input: one block, pooling, a linear layer."""

    def __init__(self, given: int, width: int, points: int, attention: bool, side: int):
        super().__init__()
        self.points = points
        self.block = ConvCbam(given, width, attention)
        cell = max(1, side // POOL)
        self.pool = nn.AvgPool2d(cell)
        self.out = nn.Linear(width * (side // cell) ** 2, 2 * points)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(self.block(features)).flatten(1).float()
        # In bfloat16 a share of the input would be a multiple of 1/256 of it.
        with torch.autocast(features.device.type, enabled=False):
            return torch.sigmoid(self.out(pooled)).view(-1, self.points, 2)
