"""The discriminator of heatmaps: a PatchGAN with spectral normalisation (equations 9 and 10)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
"""Of the leaky ReLU."""


class PatchDiscriminator(nn.Module):
    """Maps (B, points, S, S) -> a score a patch (B, 1, S / 8 - 2, S / 8 - 2): 62 x 62 for 512 x 512.

    Four spectrally normalised 4 x 4 convolutions with strides 2, 2, 2, 1 and a plain one with stride 1; every padding
    is 1. (Equation 10's last two strides have to be 1: its output is 62 x 62.)
    """

    def __init__(self, points: int, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        given = points
        for factor, stride in ((1, 2), (2, 2), (4, 2), (8, 1)):
            convolution = nn.Conv2d(given, factor * width, 4, stride=stride, padding=1)
            layers += [spectral_norm(convolution), nn.LeakyReLU(SLOPE, inplace=True)]
            given = factor * width
        self.layers = nn.Sequential(*layers, nn.Conv2d(given, 1, 4, padding=1))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.layers(maps)
