"""One U-Net for every preset: encoder blocks, a bottleneck, decoder blocks with skips, and one of three heads."""

from __future__ import annotations

import difflib
import math
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from aop_pose.core.stances import STANCES
from aop_pose.errors import UsageError
from aop_pose.formats.label import CLASSES
from aop_pose.pipelines.isolation import isolate
from aop_pose.pipelines.start import Start
from aop_pose.pipelines.unet.config import YOLO, UnetConfig


def region_of(points: torch.Tensor, size: int, kind: str) -> torch.Tensor:
    """Mask (B, size, size) of 0 and 1, at the centres of the pixels, from points (B, n, 2) in pixels of the mask.

    ``triangle``: of the three points (Li et al., IUGC 2025, discussion and figure 6). ``ellipse``: with the axes OFD
    (points 0, 1) and BPD (points 2, 3), whose directions are taken from the OFD.
    """
    pixels = torch.arange(size, dtype=points.dtype, device=points.device)
    rows, columns = torch.meshgrid(pixels, pixels, indexing="ij")
    places = torch.stack([columns, rows], dim=2)[None]
    within = _triangle(points, places) if kind == "triangle" else _ellipse(points, places)
    return within.to(points.dtype)


def _triangle(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    corners = points[:, :, None, None]
    sides = []
    for begin, end in ((0, 1), (1, 2), (2, 0)):
        along, to_place = corners[:, end] - corners[:, begin], places - corners[:, begin]
        sides.append(along[..., 0] * to_place[..., 1] - along[..., 1] * to_place[..., 0])
    left = torch.stack(sides)
    return (left >= 0).all(dim=0) | (left <= 0).all(dim=0)


def _ellipse(points: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    long, short = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    half_long, half_short = long.norm(dim=1) / 2, short.norm(dim=1) / 2
    unit = long / (2 * half_long[:, None]).clamp_min(1e-6)
    from_centre = places - points.mean(dim=1)[:, None, None]
    along = (from_centre * unit[:, None, None]).sum(dim=3)
    across = from_centre[..., 1] * unit[:, None, None, 0] - from_centre[..., 0] * unit[:, None, None, 1]
    shares = along / half_long.clamp_min(1e-6)[:, None, None], across / half_short.clamp_min(1e-6)[:, None, None]
    return shares[0] ** 2 + shares[1] ** 2 <= 1


POOL = 4
"""Answers about a whole picture see its coarsest features as at most POOL x POOL places."""
FINE = 2
"""Ultralytics' number of the backbone's last layer at 4 input pixels per pixel."""


class PyramidBody(nn.Module):
    """Gray (B, 1, S, S) -> features of the coarsest scale, and features (B, width, S / 4, S / 4) for the maps.

    Four scales of another network (4, 8, 16 and 32 input pixels per pixel) are brought to one width by 1 x 1
    convolutions, enlarged and added; two 3 x 3 convolutions follow.
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def _add_head(self, width: int) -> None:
        """The layers that follow; called when those that give the scales are there."""
        self.width = width
        with torch.no_grad():
            outputs = self._outputs(torch.zeros(1, 1, 64, 64))
        self.depth, self.stride = outputs[-1].shape[1], 64 // outputs[-1].shape[2]
        self.lateral = nn.ModuleList(nn.Conv2d(output.shape[1], width, 1) for output in outputs)
        self.refine = nn.Sequential(
            nn.BatchNorm2d(width), nn.SiLU(inplace=True), *_yolo_convolution(width), *_yolo_convolution(width)
        )

    def _outputs(self, gray: torch.Tensor) -> list[torch.Tensor]:
        """The four scales, finest first."""
        raise AssertionError("a subclass gives it")

    def forward(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine, *scales = self._outputs(gray)
        near, *far = [lateral(scale) for lateral, scale in zip(self.lateral[1:], scales, strict=True)]
        for factor, features in zip((2.0, 4.0), far, strict=True):
            near = near + functional.interpolate(features, scale_factor=factor, mode="nearest")
        near = functional.interpolate(near, scale_factor=2.0, mode="bilinear", align_corners=False)
        return scales[-1], self.refine(near + self.lateral[0](fine))


REDUCTIONS = (4, 8, 16, 32)


class TimmBody(PyramidBody):
    """``PyramidBody`` on the feature maps of any network of timm that has those four scales.

    UsageError: timm is not installed, has no such network (the nearest name is told), or one without them.
    """

    def __init__(self, name: str, width: int):
        super().__init__(name)
        if find_spec("timm") is None:
            raise UsageError(
                f"encoder: {name} comes from timm, which is not installed; install it with: pip install timm"
            )
        import timm

        if not timm.is_model(name):
            known = ["unet", "yolo11n", *timm.list_models()]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(
                f"encoder: expected unet, yolo11n or the name of a timm network, found {name!r}; did you mean {near!r}?"
            )
        try:
            whole: Any = timm.create_model(name, pretrained=False, in_chans=1, features_only=True)
            found = whole.feature_info.reduction()
            places = tuple(found.index(reduction) for reduction in REDUCTIONS)
            body: Any = timm.create_model(name, pretrained=False, in_chans=1, features_only=True, out_indices=places)
        except (RuntimeError, AssertionError, TypeError, AttributeError, ValueError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UsageError(
                f"encoder: {name} gives no maps at 1/4, 1/8, 1/16 and 1/32 of the input ({said})"
            ) from None
        self.layers = body
        self._add_head(width)

    def _outputs(self, gray: torch.Tensor) -> list[torch.Tensor]:
        return list(self.layers(gray))


class YoloBody(PyramidBody):
    """``PyramidBody`` on the neck's three scales and the backbone's layer of 4 pixels of a YOLO."""

    def __init__(self, name: str, width: int):
        super().__init__(name)
        isolate()
        from ultralytics.nn.tasks import DetectionModel

        whole = DetectionModel(f"{name}.yaml", verbose=False)
        self.layers = whole.model[:-1]
        self.scales: list[int] = list(whole.model[-1].f)
        self.kept = {*whole.save, FINE, *self.scales}
        self._add_head(width)

    def _outputs(self, gray: torch.Tensor) -> list[torch.Tensor]:
        """The backbone's fine layer and the neck's scales, finest first."""
        features: list[torch.Tensor] = []
        value = gray.expand(-1, 3, -1, -1)
        for layer in self.layers:
            if isinstance(layer.f, list):
                value = layer([value if source == -1 else features[source] for source in layer.f])
            else:
                value = layer(value if layer.f == -1 else features[layer.f])
            features.append(value if layer.i in self.kept else value[:0])
        return [features[number] for number in (FINE, *self.scales)]

    def fill(self, start: Start) -> int:
        """Take backbone and neck from a network of Ultralytics; returns how many tensors that were.

        UsageError where one of them does not fit.
        """
        assert start.model is not None
        body: Any = start.model.float().model
        mine, given = self.layers.state_dict(), body[:-1].state_dict()
        wrong = [key for key, value in mine.items() if key not in given or given[key].shape != value.shape]
        if wrong:
            raise UsageError(
                f"--init: expected all {len(mine)} backbone and neck tensors, found {len(mine) - len(wrong)} in "
                f"{start.words} (first that does not fit: {wrong[0]})"
            )
        # A neck that ends before (tools/ablation_narrow.py) has no place for the rest.
        self.layers.load_state_dict({key: given[key] for key in mine})
        return len(mine)


def _yolo_convolution(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU(inplace=True)]


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
        self.depth, self.stride = config.bottleneck, config.stem * 2 ** len(config.widths)
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


def outline_maps(config: UnetConfig) -> slice:
    """Places of the outlines' maps among the raw ones of a heatmap network; those of the turns follow."""
    begin = len(config.schema_of_points.points) + (config.region != "none")
    return slice(begin, begin + (len(CLASSES) if config.outlines else 0))


def _body(config: UnetConfig, width: int) -> Body | PyramidBody:
    if config.encoder == "unet":
        return Body(config)
    return (YoloBody if config.encoder == YOLO else TimmBody)(config.encoder, width)


class HeatmapNetwork(nn.Module):
    """Gray (B, 1, S, S) -> raw maps (B, points [+ 1 region] [+ 2 outlines] [+ 8 turns], map size, map size).

    Those of the turns are the same everywhere: the whole picture is asked how it stands.
    """

    def __init__(self, config: UnetConfig):
        super().__init__()
        self.config = config
        self.count = len(config.schema_of_points.points)
        width = config.widths[0]
        self.body = _body(config, width)
        self.outlined = outline_maps(config)
        self.out = nn.Conv2d(width, self.outlined.start, 1)
        # A branch of its own: edges need other features than points do.
        self.outline = (
            nn.Sequential(*_yolo_convolution(width), nn.Conv2d(width, len(CLASSES), 1)) if config.outlines else None
        )
        # Where things lie tells how a picture stands: the coarsest features are kept apart by place.
        side = config.image_size // self.body.stride
        self.cell = max(1, side // POOL)
        places = (side // self.cell) ** 2
        self.turn = nn.Linear(self.body.depth * places, len(STANCES)) if config.turned else None
        self.shrink = config.map_stride // config.stem

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        maps, turns = self._seen(gray)
        return maps if turns is None else torch.cat([maps, _everywhere(turns, maps)], dim=1)

    def _seen(self, gray: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The raw maps without those of the turns, and the turns (B, 8, 1, 1)."""
        deepest, features = self.body(gray)
        maps = self.out(features)
        if self.outline is not None:
            maps = torch.cat([maps, self.outline(features)], dim=1)
        maps = functional.avg_pool2d(maps, self.shrink) if self.shrink > 1 else maps
        if self.turn is None:
            return maps, None
        pooled = functional.avg_pool2d(deepest, self.cell).flatten(1)
        return maps, self.turn(pooled)[:, :, None, None].to(maps.dtype)

    def answer(self, gray: torch.Tensor) -> torch.Tensor:
        """The maps as the contract's head ``heatmap`` promises them, float32: points, outlines, turns.

        Of a point 1 = as sure as taught; of an outline and of a turn a probability.
        """
        seen, turns = self._seen(gray)
        raw = seen.float()
        maps = raw[:, : self.count]
        if self.config.activation == "softmax":
            # A Gaussian of that sigma whose sum is 1 peaks at 1 / (2 pi sigma^2).
            maps = functional.softmax(maps.flatten(2), dim=2).view_as(maps) * (2 * math.pi * self.config.sigma**2)
        elif self.config.activation == "sigmoid":
            maps = torch.sigmoid(maps)
        parts = [maps]
        if self.config.outlines:
            parts.append(torch.sigmoid(raw[:, self.outlined]))
        if turns is not None:
            # Once a picture, and not at each of its places: that would be a thirtieth of the network's time.
            parts.append(_everywhere(functional.softmax(turns.float(), dim=1), maps))
        return torch.cat(parts, dim=1) if len(parts) > 1 else maps


def _everywhere(turns: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Values (B, n, 1, 1) as maps of the size of others."""
    return turns.expand(-1, -1, maps.shape[2], maps.shape[3])


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
