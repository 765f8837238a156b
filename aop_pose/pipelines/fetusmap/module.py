"""What Lightning trains: the loss of a volume, its errors in mm, the optimiser and its schedule."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from aop_pose.evaluation.points3d import point_errors
from aop_pose.pipelines.fetusmap.data import VolumeDataset, order_of
from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel
from aop_pose.pipelines.fetusmap.maps import map_loss
from aop_pose.pipelines.training import Course, Training, rate_factor
from aop_pose.runtime_volume import read_maps
from aop_pose.schemas import Schema

CHECKED = ("val/error_mm", "val/exchanged", "val/missing", "val/loss")


class VolumeTraining(Training):
    """Learns the points of labelled volumes, one volume a step."""

    method = "fetusmap"
    checked = CHECKED
    memory_format = torch.channels_last_3d

    def __init__(
        self, model: FetusmapModel, network: nn.Module, seed: int, volumes: VolumeDataset, checks: VolumeDataset
    ) -> None:
        course = Course(
            epochs=model.epochs, batch=1, averaging=model.averaging, clip=model.clip, save_every=model.save_every,
            precision=model.precision, gpus=model.gpus,
        )  # fmt: skip
        # What a base of frames asks of its data sets, these have: a length, an epoch, items with their number.
        super().__init__(model, course, network, seed, cast(Any, volumes), cast(Any, checks))
        self.placements = [example.placement for example in checks.examples]
        self.model = model

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch (from 0)."""
        return self.model.lr * self._rate(epoch)

    def _rate(self, epoch: int) -> float:
        return rate_factor(self.model.schedule, epoch, self.model.epochs, self.model.warmup_epochs)

    def loss_of(self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return map_loss(network(gray), points, self.model.loss, self.model.sigma, self.model.taught_sides)

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        return DataLoader(self.frames, 1, sampler=order_of(len(self.frames), self.seed, self.current_epoch))

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.checks, 1)

    def validation_step(self, batch: Any, number: int) -> None:
        gray, points, indices = batch
        self.share("val/loss", float(self.loss_of(self.kept, gray, points)), 1)
        maps = self.kept.answer(gray)[0].cpu().numpy()  # type: ignore[operator]
        found, scores = read_maps(maps, self.model.decode)
        found[scores < self.model.threshold] = np.nan
        edge = self.placements[int(indices[0])].voxel_mm
        truth = points[0].cpu().numpy().astype(np.float64)
        schema, unsided = self.model.schema_of_points, bool(self.model.taught_sides)
        diagonal = edge * math.dist((0, 0, 0), self.model.size)
        for name, value in errors(found * edge, truth * edge, schema, unsided, diagonal).items():
            self.share(name, value, 1, total=name == "val/missing")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.model.lr, betas=(self.model.beta1, 0.999))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def errors(found: np.ndarray, truth: np.ndarray, schema: Schema, unsided: bool, diagonal: float) -> dict[str, float]:
    """Mean error in mm over the labelled points, share of pairs of sides that are exchanged, points not found.

    Args:
        found: (n, 3) in mm, NaN for a point that was not found: it counts as ``diagonal``.
        truth: (n, 3) in mm, NaN for a point without a label: it does not count.
        unsided: whether the network was not taught which side is which; then the side that fits better counts.
    """
    compared = point_errors(found[None], truth[None], np.array([diagonal]), schema)
    distances = compared.up_to_swap(schema.sides) if unsided else compared.distances
    exchanged = [compared.confused(unit)[0] for unit in schema.sides]
    return {
        "val/error_mm": float(np.nan_to_num(distances[compared.labelled], nan=diagonal).mean()),
        "val/exchanged": float(np.mean([share for share in exchanged if np.isfinite(share)] or [0.0])),
        "val/missing": float(np.isnan(compared.distances[compared.labelled]).sum()),
    }
