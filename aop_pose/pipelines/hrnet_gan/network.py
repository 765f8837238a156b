"""The generator, which is what is exported: an encoder and one of two decoders; and its losses.

Losses are those of equations 8 and 11 to 17. Maps are (B, n, h, w), points (B, n, 2); each returns a scalar.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
import timm
import torch
from timm.layers.cbam import CbamModule
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.inference.decode import encode
from aop_pose.pipelines.hrnet_gan.config import REDUCTION, HrnetConfig
from aop_pose.pipelines.losses import coordinate_error, soft_argmax, squared_error

TEMPERATURE = 10.0
"""The authors' code takes the softmax of so many times the map."""


def shares_of(maps: torch.Tensor, rule: str) -> torch.Tensor:
    """Equation 8: points (B, n, 2) as shares of the map, 0 at its left and upper edge and 1 at the opposite ones.

    ``relu`` divides what is positive by its sum, so that a map of one Gaussian returns its centre; ``softmax10`` takes
    the softmax of ten times the map, whose tail over all the other pixels draws every point towards the middle.
    """
    if rule == "relu":
        weights = functional.relu(maps)
    else:
        weights = functional.softmax(TEMPERATURE * maps.flatten(2), dim=2).view_as(maps)
    size = torch.tensor([maps.shape[3], maps.shape[2]], dtype=maps.dtype, device=maps.device)
    return (soft_argmax(weights) + 0.5) / size


def heatmap_loss(maps: torch.Tensor, targets: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    """Equation 13: the squared error, mean over points and pixels; of points by ``trust`` (B, n), None = all alike."""
    return functional.mse_loss(maps, targets) if trust is None else _trusted(squared_error(maps, targets), trust)


def _trusted(each: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    """The mean of (B, n), each counting ``trust`` (B, n)."""
    return (each * trust).sum() / trust.sum().clamp_min(1.0)


def coordinate_loss(shares: torch.Tensor, targets: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Equation 14: the squared distance, mean over the points by how much they count, ``seen`` (B, n): 0 = not."""
    return _trusted(coordinate_error(shares, targets), seen)


def entropy(maps: torch.Tensor, trust: torch.Tensor | None = None) -> torch.Tensor:
    """Equations 15 and 16: Shannon entropy of the softmax of each map in nats, mean over the points by ``trust``."""
    logs = functional.log_softmax(maps.flatten(2), dim=2)
    each = -(logs.exp() * logs).sum(dim=2)
    return each.mean() if trust is None else _trusted(each, trust)


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor, kind: str) -> torch.Tensor:
    """Equation 11 (``lsgan``), or the authors' code (``bce``): half for each kind of map."""
    return (_distance(real, 1.0, kind) + _distance(fake, 0.0, kind)) / 2


def adversarial_loss(fake: torch.Tensor, kind: str) -> torch.Tensor:
    """Equation 12 (``lsgan``, with its half), or the authors' code (``bce``, without)."""
    return _distance(fake, 1.0, kind) / (2 if kind == "lsgan" else 1)


def _distance(scores: torch.Tensor, wanted: float, kind: str) -> torch.Tensor:
    target = torch.full_like(scores, wanted)
    if kind == "lsgan":
        return functional.mse_loss(scores, target)
    return functional.binary_cross_entropy_with_logits(scores, target)


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


class Encoder(nn.Module):
    """Gray (B, 1, S, S) -> the last feature map (B, channels, S / 32, S / 32), with random weights.

    ``hrnet_w48`` gives 1024 x 16 x 16 at 512 pixels (Krishna and Khan, section 2.1): the fourth branch of stage 4,
    and, where ``widened``, through the first part of HRNet's classification head, as timm's features are.

    Raises:
        UsageError: timm has no such network (the nearest name is told), or one without such a map.
    """

    def __init__(self, name: str, widened: bool = True):
        super().__init__()
        if not timm.is_model(name):
            near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
            raise UsageError(f"encoder: expected the name of a timm network, found {name!r}; did you mean {near!r}?")
        options: dict[str, Any] = {} if widened else {"feature_location": ""}
        try:
            body: Any = timm.create_model(
                name, pretrained=False, in_chans=1, features_only=True, out_indices=(-1,), **options
            )
        except (RuntimeError, AssertionError, TypeError, AttributeError, ValueError) as error:
            raise UsageError(f"encoder: {name} gives no feature maps ({str(error).splitlines()[0]})") from None
        reduction = body.feature_info.reduction()[-1]
        if reduction != REDUCTION:
            raise UsageError(
                f"encoder: expected a last map at 1/{REDUCTION} of the input, found 1/{reduction} of {name}"
            )
        self.name = name
        self.body, self.channels = body, int(body.feature_info.channels()[-1])
        branches = getattr(body, "incre_modules", None)
        if branches is not None:
            # HRNet widens all four branches; only the last is asked for.
            for branch in range(len(branches) - 1):
                branches[branch] = nn.Identity()

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.body(gray)[-1]


def encoder_of(config: HrnetConfig, size: int | None = None) -> Encoder:
    """The encoder of a configuration.

    UsageError where it does not take gray pictures of ``size`` (None = ``image_size``) or gives maps with other axes:
    networks of one size only, or with the channels last.
    """
    encoder = Encoder(config.encoder, config.widened)
    _check_maps(encoder, config.encoder, size or config.image_size)
    return encoder


def _check_maps(encoder: Encoder, name: str, size: int) -> None:
    """By shapes alone: nothing is calculated."""
    side = size // REDUCTION
    expected = (1, encoder.channels, side, side)
    values = {key: value.to("meta") for key, value in (*encoder.named_parameters(), *encoder.named_buffers())}
    encoder.eval()
    try:
        with torch.no_grad():
            found = functional_call(encoder, values, torch.zeros(1, 1, size, size, device="meta")).shape
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"encoder: {name} takes no gray picture of {size} x {size} ({str(error).splitlines()[0]}); choose another"
        ) from None
    encoder.train()
    if found != expected:
        raise UsageError(
            f"encoder: expected maps {expected} of a picture of {size} x {size}, found {tuple(found)} of {name}; "
            "choose another"
        )


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
        """The contract's output, float32: maps whose peak is 1 as they were taught, or points in pixels."""
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
