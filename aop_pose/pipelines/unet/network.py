"""One U-Net for every preset: encoder blocks, a bottleneck, decoder blocks with skips, and one of three heads."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.yolo_body import YoloBody

POOL = 4
"""The coordinate head sees the bottleneck as at most POOL x POOL places."""
HIDDEN = 128


class Block(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, given: int, wanted: int, bias: bool):
        super().__init__(*_convolution(given, wanted, bias), *_convolution(wanted, wanted, bias))


def _convolution(given: int, wanted: int, bias: bool, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(given, wanted, 3, stride=stride, padding=1, bias=bias)
    return [convolution, nn.BatchNorm2d(wanted), nn.ReLU(inplace=True)]


class Gate(nn.Module):
    """Additive attention gate: the skip is weighed by how it fits what the decoder knows (Oktay et al. 2018, eq. 1)."""

    def __init__(self, width: int):
        super().__init__()
        between = max(1, width // 2)
        self.of_skip = nn.Conv2d(width, between, 1, bias=False)
        self.of_signal = nn.Conv2d(width, between, 1)
        self.share = nn.Conv2d(between, 1, 1)

    def forward(self, skip: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        fits = functional.relu(self.of_skip(skip) + self.of_signal(signal))
        return skip * torch.sigmoid(self.share(fits))


class Body(nn.Module):
    """Gray (B, 1, S, S) -> features of the bottleneck, and of the last decoder block at S / stem."""

    def __init__(self, config: UnetConfig, decoder: bool = True):
        super().__init__()
        self.channels = config.channels
        given: int = config.channels
        widths, bias = config.widths, config.bias
        halvings = int(math.log2(config.stem))
        stem: list[nn.Module] = []
        for number in range(halvings):
            wanted = max(1, widths[0] // 2 ** (halvings - 1 - number))
            stem += _convolution(given, wanted, bias, stride=2)
            given = wanted
        self.stem = nn.Sequential(*stem)
        self.encoder = nn.ModuleList()
        for width in widths:
            self.encoder.append(Block(given, width, bias))
            given = width
        self.bottleneck = Block(given, config.bottleneck, bias)
        self.up, self.gates, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        given = config.bottleneck
        for width in reversed(widths) if decoder else ():
            self.up.append(nn.ConvTranspose2d(given, width, 2, stride=2))
            self.gates.append(Gate(width) if config.attention else nn.Identity())
            self.decoder.append(Block(2 * width, width, bias))
            given = width

    def forward(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.stem(gray.expand(-1, self.channels, -1, -1))
        skips = []
        for block in self.encoder:
            features = block(features)
            skips.append(features)
            features = functional.max_pool2d(features, 2)
        features = deepest = self.bottleneck(features)
        for up, gate, block, skip in zip(self.up, self.gates, self.decoder, reversed(skips), strict=False):
            features = up(features)
            skip = gate(skip, features) if isinstance(gate, Gate) else skip
            features = block(torch.cat([skip, features], dim=1))
        return deepest, features


class HeatmapNetwork(nn.Module):
    """Gray (B, 1, S, S) -> raw maps (B, points [+ 1 region], map size, map size)."""

    def __init__(self, config: UnetConfig):
        super().__init__()
        self.config = config
        self.count = len(config.schema_of_points.points)
        width = config.widths[0]
        self.body = Body(config) if config.encoder == "unet" else YoloBody(config.encoder, width)
        self.out = nn.Conv2d(width, self.count + (config.region != "none"), 1)
        self.shrink = config.map_stride // config.stem

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        _, features = self.body(gray)
        maps = self.out(features)
        return functional.avg_pool2d(maps, self.shrink) if self.shrink > 1 else maps

    def answer(self, gray: torch.Tensor) -> torch.Tensor:
        """The maps of the points as the contract's head ``heatmap`` promises them, float32, 1 = as sure as taught."""
        maps = self.forward(gray)[:, : self.count].float()
        if self.config.activation == "softmax":
            # A Gaussian of that sigma whose sum is 1 peaks at 1 / (2 pi sigma^2).
            return functional.softmax(maps.flatten(2), dim=2).view_as(maps) * (2 * math.pi * self.config.sigma**2)
        return torch.sigmoid(maps) if self.config.activation == "sigmoid" else maps


class CoordinateNetwork(nn.Module):
    """Gray (B, 1, S, S) -> points (B, n, 2) as shares of the input: encoder, bottleneck, two linear layers."""

    def __init__(self, config: UnetConfig):
        super().__init__()
        self.config = config
        self.count = len(config.schema_of_points.points)
        self.body = Body(config, decoder=False)
        side = config.image_size // (config.stem * 2 ** len(config.widths))
        self.cell = max(1, side // POOL)
        places = (side // self.cell) ** 2
        self.out = nn.Sequential(
            nn.Linear(config.bottleneck * places, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, 2 * self.count)
        )

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        deepest, _ = self.body(gray)
        pooled = functional.avg_pool2d(deepest, self.cell).flatten(1).float()
        # In bfloat16 a share of the input would be a multiple of 1/256 of it.
        with torch.autocast(gray.device.type, enabled=False):
            return torch.sigmoid(self.out(pooled)).view(-1, self.count, 2)

    def answer(self, gray: torch.Tensor) -> torch.Tensor:
        """The points in pixels of the input, float32, as the contract's head ``coordinates`` promises them."""
        return self.forward(gray).float() * self.config.image_size - 0.5


class MaskedNetwork(nn.Module):
    """Gray (B, 1, S, S) with hidden patches -> the gray values (B, stem^2, S / stem, S / stem), unshuffled."""

    def __init__(self, config: UnetConfig):
        super().__init__()
        self.config = config
        self.body = Body(config)
        self.out = nn.Conv2d(config.widths[0], config.stem**2, 1)

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        _, features = self.body(gray)
        return self.out(features)


def build(config: UnetConfig) -> HeatmapNetwork | CoordinateNetwork:
    """The network that a configuration describes, with random weights."""
    return HeatmapNetwork(config) if config.head == "heatmap" else CoordinateNetwork(config)
