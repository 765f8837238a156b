"""The generator, which is what is exported: an encoder and one of two decoders."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from aop_pose.heatmaps import encode
from aop_pose.pipelines.hrnet_gan.config import REDUCTION, HrnetConfig
from aop_pose.pipelines.hrnet_gan.decoder import CoordinateDecoder, HeatmapDecoder
from aop_pose.pipelines.hrnet_gan.encoder import encoder_of
from aop_pose.pipelines.hrnet_gan.losses import TEMPERATURE
from aop_pose.schemas import AOP

POINTS = len(AOP.points)


class Generator(nn.Module):
    """Gray (B, 1, S, S) -> maps (B, 3, S, S), or points (B, 3, 2) as shares of the input (``output: coordinates``)."""

    def __init__(self, config: HrnetConfig):
        super().__init__()
        self.config = config
        self.encoder = encoder_of(config)
        self.decoder: nn.Module
        if config.output == "heatmaps":
            self.decoder = HeatmapDecoder(self.encoder.channels, config.decoder, POINTS, config.attention)
        else:
            self.decoder = CoordinateDecoder(
                self.encoder.channels, config.decoder[0], POINTS, config.attention, config.image_size // REDUCTION
            )
        self.scale = 1 / taught_peak(config) if config.coordinate_rule == "softmax10" else 1.0

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(gray))

    def answer(self, gray: torch.Tensor) -> torch.Tensor:
        """What the contract's head promises, float32: maps whose peak is 1 as they were taught, or points in pixels."""
        output = self.forward(gray).float()
        if self.config.output == "coordinates":
            return output * self.config.image_size - 0.5
        if self.config.coordinate_rule == "softmax10":
            # The mean position of these is the point that was taught.
            return functional.softmax(TEMPERATURE * output.flatten(2), dim=2).view_as(output) * self.scale
        return output


def taught_peak(config: HrnetConfig) -> float:
    """The highest value of the softmax of ten times a perfect map, its point at the centre of a pixel."""
    size = config.image_size
    perfect = encode(np.full((1, 2), float(size // 2)), (size, size), config.sigma)
    grown = np.exp(TEMPERATURE * perfect)
    return float(grown.max() / grown.sum())
