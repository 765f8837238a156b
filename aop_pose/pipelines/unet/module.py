"""What Lightning trains: the loss of a batch, the errors of the checked frames, the optimiser and its schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from aop_pose.evaluation.metrics import align_interchangeable
from aop_pose.geometry import angle_of_progression
from aop_pose.pipelines.heatmap_losses import (
    angle_error,
    coordinate_error,
    cross_entropy,
    encode,
    least_over_swaps,
    position_error,
    squared_error,
)
from aop_pose.pipelines.unet.config import UnetConfig
from aop_pose.pipelines.unet.data import Example, FrameDataset, inside, number_of, order_of
from aop_pose.pipelines.unet.network import CoordinateNetwork, HeatmapNetwork, MaskedNetwork, build
from aop_pose.pipelines.unet.region import region_of
from aop_pose.runtime import Contract, read_output

CHECK_BATCH = 16


class Training(LightningModule):
    """The base of both stages: a network, the mean of its weights, one data loader an epoch."""

    checked: tuple[str, ...]
    """Columns of metrics.csv that the checked frames fill; the first decides which epoch is kept."""

    def __init__(
        self, config: UnetConfig, network: nn.Module, seed: int, examples: Sequence[Example], checks: Sequence[Example]
    ):
        super().__init__()
        self.config, self.seed = config, seed
        self.network = network.to(memory_format=torch.channels_last)
        self.averaged: AveragedModel | None = None
        if config.averaging:
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True).requires_grad_(False)
        self.frames = FrameDataset(examples, config, seed)
        self.checks = FrameDataset(checks, config, seed)
        self.losses: list[float] = []

    @property
    def kept(self) -> nn.Module:
        """The network that is checked and kept."""
        return self.network if self.averaged is None else self.averaged.module

    @torch.no_grad()
    def _average(self, means: Any, values: Any, count: Any) -> None:
        # Early the mean follows closely: it would else hold on to the random start.
        decay = min(self.config.averaging, (1 + float(count)) / (10 + float(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(value)

    def loss_of(self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Scalar loss of a batch."""
        raise AssertionError("a subclass gives it")

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        order = order_of(len(self.frames), self.seed, self.current_epoch)
        # A last batch of one frame would leave batch normalisation at 1 x 1 nothing to normalise.
        alone = len(order) % self.config.batch == 1 and len(order) > 1
        return DataLoader(self.frames, self.config.batch, sampler=order, drop_last=alone)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.checks, CHECK_BATCH)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        gray, points, _ = batch
        loss = self.loss_of(self.network, gray.contiguous(memory_format=torch.channels_last), points)
        self.losses.append(float(loss.detach()))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def share(self, name: str, value: float, frames: int, total: bool = False) -> None:
        """Log what a batch of checked frames gives: the mean over frames and processes, or the sum."""
        self.log(
            name, float(value), on_epoch=True, on_step=False, batch_size=frames, sync_dist=True,
            reduce_fx="sum" if total else "mean",
        )  # fmt: skip

    def configure_optimizers(self) -> Any:
        kind = torch.optim.AdamW if self.config.optimizer == "AdamW" else torch.optim.Adam
        optimizer = kind(self.network.parameters(), lr=self.config.lr, weight_decay=self.config.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: rate_factor(self.config, epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


class LandmarkTraining(Training):
    """Learns the points of labelled frames."""

    def __init__(
        self, config: UnetConfig, network: nn.Module, seed: int, examples: Sequence[Example], checks: Sequence[Example],
        contract: Contract,
    ):  # fmt: skip
        super().__init__(config, network, seed, examples, checks)
        self.contract = contract
        schema = config.schema_of_points
        self.pairs = [(schema.index(first), schema.index(second)) for first, second in schema.interchangeable]
        self.checked = checked_columns(config)

    def loss_of(self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        config, raw = self.config, network(gray).float()
        seen = inside(points, config.image_size)
        if config.head == "coordinates":
            shares = (points + 0.5) / config.image_size
            return least_over_swaps(coordinate_error, raw, shares, self.pairs, seen)
        places = (points + 0.5) / config.map_stride - 0.5
        targets = encode(places, config.map_size, config.sigma)
        count = points.shape[1]
        maps = raw[:, :count]
        if config.loss == "mse":
            maps = torch.sigmoid(maps) if config.activation == "sigmoid" else maps
            # A point that augmentation moved out of the picture has an empty map, which is right to learn.
            loss = least_over_swaps(squared_error, maps, targets, self.pairs, torch.ones_like(seen))
        else:
            loss = least_over_swaps(cross_entropy, maps, targets, self.pairs, seen)
        if config.coordinate_weight:
            loss = loss + config.coordinate_weight * position_error(maps, places, seen)
        if config.angle_weight:
            loss = loss + config.angle_weight * angle_error(maps, places, seen)
        if config.region != "none":
            region = region_of(places, config.map_size, config.region)
            loss = loss + config.region_weight * functional.binary_cross_entropy_with_logits(raw[:, count], region)
        return loss

    def validation_step(self, batch: Any, number: int) -> None:
        gray, points, indices = batch
        gray = gray.contiguous(memory_format=torch.channels_last)
        self.share("val/loss", float(self.loss_of(self.kept, gray, points)), len(gray))
        answer = cast(HeatmapNetwork | CoordinateNetwork, self.kept).answer(gray)
        for output, index in zip(answer.cpu().numpy(), indices.tolist(), strict=True):
            example, box = self.checks.examples[index], self.checks.boxes[index]
            for name, value in self.errors(output, example, box).items():
                self.share(name, value, 1, total=name == "val/missing")

    def errors(self, output: np.ndarray, example: Example, box: Any) -> dict[str, float]:
        """Errors of one frame in its own pixels; a missing one counts as its diagonal and as 180 degrees."""
        points, scores = read_output(output, self.contract)
        missing = not scores.min() >= self.contract.threshold
        radial = math.hypot(*example.pixels.shape) if missing else self._radial(box.backward(points), example.points)
        found = {"val/mre_px": radial, "val/missing": float(missing)}
        if self.config.points == "aop":
            angle = math.nan
            if not missing:
                angle = float(angle_of_progression(*box.backward(points)) - angle_of_progression(*example.points))
            found["val/aop_mae_deg"] = abs(angle) if math.isfinite(angle) else 180.0
        return found

    def _radial(self, points: np.ndarray, truth: np.ndarray) -> float:
        """Mean distance in pixels; of an interchangeable pair the assignment that fits better counts."""
        aligned = align_interchangeable(points[None], truth[None], self.config.schema_of_points)[0]
        return float(np.linalg.norm(aligned - truth, axis=1).mean())


class MaskedTraining(Training):
    """Learns to fill in hidden patches of frames without labels: masked autoencoding (He et al. 2022) by the U-Net.

    The loss is the squared error over the hidden patches alone.
    """

    checked = ("val/loss",)

    def __init__(
        self, config: UnetConfig, network: MaskedNetwork, seed: int, examples: Sequence[Example],
        checks: Sequence[Example],
    ):  # fmt: skip
        super().__init__(config, network, seed, examples, checks)

    def loss_of(self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
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


def checked_columns(config: UnetConfig) -> tuple[str, ...]:
    """What the checked frames are asked for, the deciding number first."""
    angle = ("val/aop_mae_deg",) if config.points == "aop" else ()
    return ("val/mre_px", *angle, "val/missing", "val/loss")


def network_for(config: UnetConfig, stage: str) -> nn.Module:
    """The network of a stage (``train`` or ``pretrain``), with random weights."""
    return build(config) if stage == "train" else MaskedNetwork(config)


def rate_factor(config: UnetConfig, epoch: int) -> float:
    """Learning rate of an epoch (from 0) over the first one."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    if config.schedule == "step":
        return config.step_factor ** (epoch // config.step_epochs)
    if config.schedule == "cosine":
        done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return 1.0
