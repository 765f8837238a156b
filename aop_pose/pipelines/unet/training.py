"""The module that Lightning trains: loss of a batch, errors of the checked frames, optimiser and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import v2

from aop_pose.core.keypoints import to_centres, to_edges
from aop_pose.core.letterbox import PAD_VALUE, fit
from aop_pose.core.stances import STANCES, UPRIGHT
from aop_pose.formats.label import CLASSES
from aop_pose.inference.predictor import Contract
from aop_pose.phantom.burnt_in import BURNT_IN
from aop_pose.phantom.burnt_in import Kind as Mark
from aop_pose.phantom.looks import LOOKS, cut, paint_out
from aop_pose.pipelines.data import RING, Example, FrameDataset, any_spread, ends_of, inside, number_of
from aop_pose.pipelines.lightning import PointTraining, Schedule, Training, rate_factor
from aop_pose.pipelines.losses import (
    angle_error,
    axis_error,
    coordinate_error,
    cross_entropy,
    encode,
    inside_rings,
    least_over_swaps,
    outline_error,
    position_error,
    squared_error,
    stance_of,
    widened,
)
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.network import MaskedNetwork, outline_maps, region_of

BLURRED = 0.25
"""Share of the frames that are blurred, where any is."""


class Augmentation:
    """Draws one change of picture and points; every kind is off at 0.

    torchvision's affine map counts a key point from the picture's edge and its mirrors count it from the centre of the
    first pixel, so that points change over between the two here.
    """

    def __init__(self, config: UnetConfig):
        self.config = config
        moves = config.degrees or config.translate or config.scale or config.shear
        self.affines = [
            v2.RandomAffine(
                config.degrees,
                translate=(config.translate, config.translate),
                scale=(1 - config.scale, 1 + config.scale),
                shear=config.shear or None,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill=fill,
            )
            # What comes in from outside is black as around the sector, or gray as around a letterboxed picture.
            for fill in (0.0, PAD_VALUE / 255)
        ] if moves else []  # fmt: skip
        self.mirrors = [
            mirror(probability)
            for mirror, probability in (
                (v2.RandomHorizontalFlip, config.flip), (v2.RandomVerticalFlip, config.flip_vertical),
            ) if probability
        ]  # fmt: skip
        changes = config.brightness or config.contrast
        blur = v2.GaussianBlur(2 * math.ceil(2 * config.blur) + 1, (0.3, max(0.3, config.blur)))
        self.blur = v2.RandomApply([blur], p=BLURRED) if config.blur else None
        self.jitter = v2.ColorJitter(config.brightness, config.contrast) if changes else None

    def __call__(self, gray: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gray (1, S, S) in [0, 1] and points (n, 2) in its pixels -> the same, changed."""
        gray, gone = self._without_a_structure(gray, points)
        gray, points = self._as_saved(gray, points)
        size = (gray.shape[-2], gray.shape[-1])
        picture, places = tv_tensors.Image(gray), tv_tensors.KeyPoints(points, canvas_size=size)
        for mirror in self.mirrors:
            picture, places = mirror(picture, places)
        if self.affines:
            edges = tv_tensors.KeyPoints(to_edges(places.numpy()), canvas_size=size)
            picture, edges = self.affines[int(torch.randint(2, ()))](picture, edges)
            places = torch.from_numpy(to_centres(edges.numpy()))
        if self.jitter is not None:
            picture = self.jitter(picture)
        if self.blur is not None:
            picture = self.blur(picture)
        # What is gone lies beyond the picture: it is learned as no place and no area.
        shown = places.as_subclass(torch.Tensor).masked_fill(gone[:, None], -2.0 * max(size))
        return self._varied(picture.as_subclass(torch.Tensor)), shown

    def _without_a_structure(self, gray: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Perhaps with one painted out, and the rows (n,) bool of its ring and of the points that went with it.

        Where the symphysis is gone, no tangent begins at it: FH1 is gone, too.
        """
        gone = torch.zeros(len(points), dtype=torch.bool)
        rows = points[DRAWN_AT:][: len(CLASSES) * RING]
        # A frame without labels, as pre-training has them, has no rings.
        if not self.config.painted or len(rows) < len(CLASSES) * RING or not torch.rand(()) < self.config.painted:
            return gray, gone
        rings = rows.unflatten(0, (len(CLASSES), RING))
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        structure = int(rng.integers(len(CLASSES)))
        if not rings[structure].isfinite().all():
            return gray, gone
        region = np.zeros(gray.shape[-2:], np.uint8)
        cv2.fillPoly(region, [rings[structure].round().int().numpy()], 1)
        pixels = paint_out((gray[0] * 255).round().to(torch.uint8).numpy(), region > 0, rng)
        gone[DRAWN_AT - 1 if structure else 0 : DRAWN_AT] = True
        gone[DRAWN_AT + structure * RING : DRAWN_AT + (structure + 1) * RING] = True
        return torch.from_numpy(pixels)[None].float() / 255, gone

    def _as_saved(self, gray: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As a scanner or a person may have left the picture: with marks, in another look, mirrored or turned.

        Marks come before or after a turn: a mirrored file has mirrored text, a mirrored probe does not.
        """
        config = self.config
        shares = torch.tensor([config.looks, config.burnt_in, config.turned, config.cut, 0.5])
        if not shares[:-1].any():
            return gray, points
        looked, marked, turned, cut_out, early = (torch.rand(5) < shares).tolist()
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        pixels, places = (gray[0] * 255).round().to(torch.uint8).numpy(), points.numpy().astype(np.float64)
        if looked:
            pixels, places = _draw(rng, LOOKS)(pixels, places, rng)
        marks = [_draw(rng, BURNT_IN) for _ in range(int(rng.integers(1, 4)))] if marked else []
        if early:
            pixels = _marked(pixels, places, marks, rng)
            marks = []
        if turned:
            stance = STANCES[int(rng.integers(1, len(STANCES)))]
            pixels = stance.apply(pixels)
            places = stance.points_back(places, pixels.shape)
        pixels = _marked(pixels, places, marks, rng)
        if cut_out:
            pixels, places = cut(pixels, places, rng)
            pixels, box = fit(pixels, gray.shape[-1])
            places = box.forward(places)
        return torch.from_numpy(pixels)[None].float() / 255, torch.from_numpy(places)

    def _varied(self, gray: torch.Tensor) -> torch.Tensor:
        if self.config.gamma:
            limit = np.log1p(self.config.gamma)
            gray = gray ** torch.empty(1).uniform_(-limit, limit).exp()
        if self.config.speckle:
            strength = torch.empty(1).uniform_(0, self.config.speckle)
            gray = (gray * (1 + strength * torch.randn_like(gray))).clamp(0, 1)
        return gray


Maker = TypeVar("Maker")


def _draw(rng: np.random.Generator, makers: Mapping[str, Maker]) -> Maker:
    return list(makers.values())[int(rng.integers(len(makers)))]


def _marked(pixels: np.ndarray, places: np.ndarray, marks: Sequence[Mark], rng: np.random.Generator) -> np.ndarray:
    for mark in marks:
        pixels = mark(pixels, places[:DRAWN_AT], rng)
    return pixels


DRAWN_AT = 3
"""The first rows are PS1, PS2, FH1, about which people draw."""


def frames_of(config: UnetConfig, examples: Sequence[Example], seed: int, ends: bool = False) -> FrameDataset:
    """Examples as the network sees them; ``ends``: with the uncertainty of their labels."""
    rows = partial(rows_of, config, ends=ends)
    return FrameDataset(examples, config.image_size, Augmentation(config), seed, rows=rows)


AXES = 3
"""Rows that say how a picture stands: its middle, a place to the right of it and one below."""


def rows_of(config: UnetConfig, example: Example, ends: bool = False) -> np.ndarray:
    """All that moves with a picture, (n, 2) in its pixels: points, rings of outlines, ends of points, the ``AXES``."""
    rows = [example.points]
    if config.outlines and (example.outlines is not None or example.weights is not None):
        # A frame with pseudo-labels has none drawn, and as many rows.
        drawn = np.full((len(CLASSES), RING, 2), np.nan) if example.outlines is None else example.outlines
        rows.append(drawn.reshape(-1, 2))
    if ends:
        rows.append(ends_of(example))
    if config.turned:
        height, width = example.pixels.shape
        middle, reach = np.array([(width - 1) / 2, (height - 1) / 2]), max(width, height) / 4
        rows.append(middle + reach * np.array([[0, 0], [1, 0], [0, 1]]))
    return np.concatenate(rows)


class UnetTraining(Training):
    """The ground of both stages of the U-Net: one optimiser and its schedule."""

    method = "unet"
    config: UnetConfig

    def rate(self, epoch: int) -> float:
        return self.config.lr * rate_of(self.config, epoch)

    def configure_optimizers(self) -> Any:
        kind = torch.optim.AdamW if self.config.optimizer == "AdamW" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: rate_of(self.config, epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


class LandmarkTraining(UnetTraining, PointTraining):
    """Learns the points of labelled frames."""

    def __init__(
        self, config: UnetConfig, network: nn.Module, seed: int, examples: Sequence[Example], checks: Sequence[Example],
        contract: Contract,
    ):  # fmt: skip
        self.uncertain = any_spread([*examples, *checks])
        frames, checked = (frames_of(config, given, seed, self.uncertain) for given in (examples, checks))
        super().__init__(config, Schedule.of(config, config.batch), network, seed, frames, checked, contract)
        self.config = config

    def loss_of(
        self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor, trust: torch.Tensor | None = None
    ) -> torch.Tensor:
        config, raw = self.config, network(gray).float()
        rows, points = points, points[:, : len(self.schema.points)]
        seen = inside(points, config.image_size)
        if config.head == "coordinates":
            shares = (points + 0.5) / config.image_size
            return least_over_swaps(coordinate_error, raw, shares, self.pairs, seen if trust is None else seen * trust)
        loss, taught = torch.zeros((), device=raw.device), torch.ones_like(seen[:, 0])
        if config.turned:
            stances = stance_of(rows[:, -AXES:])
            loss = loss + config.turn_weight * functional.cross_entropy(raw[:, -len(STANCES) :, 0, 0], stances)
            # Of a frame that stands otherwise only that is learned.
            taught = (stances == STANCES.index(UPRIGHT)).float()
        counts = taught[:, None].expand_as(seen) if trust is None else taught[:, None] * trust
        behind = rows[:, : rows.shape[1] - AXES] if config.turned else rows
        ends = behind[:, behind.shape[1] - points.shape[1] :] if self.uncertain else points[:, :0]
        sigma = widened(config.sigma, points, ends, 1 / config.map_stride)
        loss = loss + self._loss_of_points(raw, points, seen * counts, counts, sigma)
        if config.outlines:
            rings = rows[:, points.shape[1] :][:, : len(CLASSES) * RING].unflatten(1, (len(CLASSES), RING))
            shares = inside_rings(rings, config.image_size, config.map_stride)
            drawn = torch.isfinite(rings).all(dim=(2, 3)).float() * taught[:, None]
            loss = loss + config.outline_weight * outline_error(raw[:, outline_maps(config)], shares, drawn)
        return loss

    def _loss_of_points(
        self, raw: torch.Tensor, points: torch.Tensor, seen: torch.Tensor, counts: torch.Tensor,
        sigma: float | torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """``counts`` (B, n): how much a point counts, 0 of a frame that stands otherwise; ``seen``: 0 outside, too."""
        config = self.config
        places = (points + 0.5) / config.map_stride - 0.5
        targets = encode(places, config.map_size, sigma)
        count = points.shape[1]
        maps = raw[:, :count]
        if config.loss == "mse":
            maps = torch.sigmoid(maps) if config.activation == "sigmoid" else maps
            # A point that augmentation moved out of the picture has an empty map, which is right to learn.
            loss = least_over_swaps(squared_error, maps, targets, self.pairs, counts)
        else:
            loss = least_over_swaps(cross_entropy, maps, targets, self.pairs, seen)
        for weight, error in (
            (config.coordinate_weight, position_error), (config.angle_weight, angle_error),
            (config.axis_weight, axis_error),
        ):  # fmt: skip
            if weight:
                loss = loss + weight * error(maps, places, seen)
        if config.region != "none":
            region = region_of(places, config.map_size, config.region)
            weights = counts.mean(dim=1)[:, None, None].expand_as(region)
            off = functional.binary_cross_entropy_with_logits(raw[:, count], region, weights)
            loss = loss + config.region_weight * off
        return loss


class MaskedTraining(UnetTraining):
    """Learns to fill in hidden patches of frames without labels: masked autoencoding (He et al. 2022) by the U-Net.

    The loss is the squared error over the hidden patches alone.
    """

    checked = ("val/loss",)

    def __init__(
        self, config: UnetConfig, network: MaskedNetwork, seed: int, examples: Sequence[Example],
        checks: Sequence[Example],
    ):  # fmt: skip
        frames, checked = frames_of(config, examples, seed), frames_of(config, checks, seed)
        super().__init__(config, Schedule.of(config, config.batch), network, seed, frames, checked)
        self.config = config

    def loss_of(
        self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor, trust: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._masked_error(network, gray, self.training_masks(len(gray)))

    def training_masks(self, frames: int) -> torch.Tensor:
        """1 where a patch is hidden, (frames, 1, patches, patches); drawn from (seed, epoch, batch)."""
        generator = torch.Generator().manual_seed(number_of(self.seed, self.current_epoch, len(self.losses)))
        return hidden_patches(self.config, frames, generator)

    def validation_step(self, batch: Any, number: int) -> None:
        gray, _, indices = batch
        # The same patches in every epoch, so that epochs can be compared.
        masks = [hidden_patches(self.config, 1, torch.Generator().manual_seed(index)) for index in indices.tolist()]
        self.share("val/loss", float(self._masked_error(self.kept, gray, torch.cat(masks))), len(gray))

    def _masked_error(self, network: nn.Module, gray: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        mask = hidden.to(gray.device).repeat_interleave(self.config.mask_patch, 2)
        mask = mask.repeat_interleave(self.config.mask_patch, 3)
        seen = (gray * (1 - mask)).contiguous(memory_format=torch.channels_last)
        told = functional.pixel_shuffle(network(seen).float(), self.config.stem)
        return ((told - gray) ** 2 * mask).sum() / mask.sum()


def hidden_patches(config: UnetConfig, frames: int, generator: torch.Generator) -> torch.Tensor:
    """(frames, 1, p, p) float: 1 for ``mask_share`` of the patches of each frame, drawn without replacement."""
    side = config.image_size // config.mask_patch
    hidden = max(1, round(config.mask_share * side**2))
    ranks = torch.rand(frames, side**2, generator=generator).argsort(dim=1).argsort(dim=1)
    return (ranks < hidden).float().view(frames, 1, side, side)


def rate_of(config: UnetConfig, epoch: int) -> float:
    """Learning rate of an epoch (from 0) over the first one."""
    if config.schedule == "step" and epoch >= config.warmup_epochs:
        return config.step_factor ** (epoch // config.step_epochs)
    return rate_factor(config.schedule, epoch, config.epochs, config.warmup_epochs)
