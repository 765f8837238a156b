"""The module that Lightning trains: the loss of a volume, its errors in mm, the optimiser and its schedule."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import volume_errors
from aop_pose.inference.grid import itself
from aop_pose.inference.stages import read_units
from aop_pose.pipelines.data import order_of
from aop_pose.pipelines.fetusmap.config import FetusmapConfig
from aop_pose.pipelines.fetusmap.data import VolumeDataset
from aop_pose.pipelines.fetusmap.landmarks import FetusmapModel, Look, looks_of, map_loss
from aop_pose.pipelines.fetusmap.planner import (
    Plan,
    dry_peak,
    free_bytes,
    give_back_large_blocks,
    max_input_size,
    plan_memory,
)
from aop_pose.pipelines.job import gpus_of
from aop_pose.pipelines.lightning import Schedule, Training, rate_factor

CHECKED = ("val/error_mm", "val/exchanged", "val/missing", "val/loss")


class VolumeTraining(Training):
    """Learns the points of labelled volumes, one volume a step."""

    method = "fetusmap"
    checked = CHECKED
    memory_format = torch.channels_last_3d

    def __init__(
        self, model: FetusmapModel, network: nn.Module, seed: int, volumes: VolumeDataset, checks: VolumeDataset
    ) -> None:
        # What a base of frames asks of its data sets, these have: a length, an epoch, items with their number.
        super().__init__(model, Schedule.of(model, batch=1), network, seed, cast(Any, volumes), cast(Any, checks))
        self.model, self.looks, self.volumes = model, model.looks_of_network, checks.examples
        self.leaves_out = model.first_every > 1

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch (from 0)."""
        return self.model.lr * self._rate(epoch)

    def _rate(self, epoch: int) -> float:
        return rate_factor(self.model.schedule, epoch, self.model.epochs, self.model.warmup_epochs)

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        loss = self.loss_of_looks(self.network, batch)
        self.losses.append(float(loss.detach()))
        return loss

    def loss_of_looks(self, network: nn.Module, batch: Any) -> torch.Tensor:
        """The sum of the losses of all looks at a volume."""
        grays, points, _ = batch
        return torch.stack(
            [
                self._loss(network(gray.contiguous(memory_format=self.memory_format), number), some, number)
                for number, (gray, some) in enumerate(zip(grays, points, strict=True))
                if gray.numel()
            ]
        ).sum()

    def _loss(self, raw: torch.Tensor, points: torch.Tensor, number: int) -> torch.Tensor:
        look, model = self.looks[number], self.model
        return map_loss(raw, points, model.loss, look.sigma, model.taught_sides, look.units, model.absent > 0)

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        order = order_of(len(self.frames), self.seed, self.current_epoch, *self.processes)
        return self.loader(order, drop_last=False)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.checks, 1, sampler=self.checked_here)

    def validation_step(self, batch: Any, number: int) -> None:
        grays, points, indices = batch
        self.share("val/loss", float(self.loss_of_looks(self.kept, batch)), 1)
        example = self.volumes[int(indices[0])]
        schema, unsided = self.model.schema_of_points, bool(self.model.taught_sides)
        truth, found = (np.full((len(schema.points), 3), np.nan) for _ in range(2))
        # Of a further look: with what is true in the middle.
        shown = zip(self.looks, (example, *example.finer), grays, points, strict=True)
        for stage, (look, one, gray, some) in enumerate(shown):
            maps = self.kept.answer(gray, stage)[0].cpu().numpy()  # type: ignore[operator]
            edge, chosen = one.placement.voxel_mm, list(look.points)
            units = self.model.units_of(look)
            grid, apart = itself(look.size, edge), self.model.apart_mm
            read = read_units(maps, units, schema.points, self.model.decode, grid, apart)
            seen = read.scores[chosen] >= self.model.threshold
            found[chosen] = np.where(seen[:, None], read.points[chosen], np.nan) * edge
            truth[chosen] = some[0].cpu().numpy()[chosen] * edge
        diagonal = example.placement.voxel_mm * math.dist((0, 0, 0), self.model.size)
        for name, value in errors(found, truth, schema, unsided, diagonal).items():
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
    compared = volume_errors(found[None], truth[None], np.array([diagonal]), schema)
    distances = compared.up_to_swap(schema.sides) if unsided else compared.distances
    exchanged = [compared.confused(unit)[0] for unit in schema.sides]
    return {
        "val/error_mm": float(np.nan_to_num(distances[compared.labelled], nan=diagonal).mean()),
        "val/exchanged": float(np.mean([share for share in exchanged if np.isfinite(share)] or [0.0])),
        "val/missing": float(np.isnan(compared.distances[compared.labelled]).sum()),
    }


ADAM_COPIES = 4
"""Tensors of the parameters' size in training: weights, gradients, Adam's two moments."""
LESS = 0.9
"""By which the search for a size that fits is narrowed: what it estimates leaves the loss out."""
MARGIN = 0.1
"""Share of the free memory that stays free: estimates are within a tenth of what allocators count."""
LIBRARIES = 0.15
"""GiB that the first step takes for good: kernels made for these shapes, code that had not been read yet."""


def plan_for(config: FetusmapConfig, schema: Schema, device: str, volumes: int = 0) -> tuple[Plan | None, int]:
    """The memory plan of a training, and the bytes that its largest moment takes, everything counted.

    Args:
        volumes: how many will be held in memory, two bytes a voxel.

    Raises:
        UsageError: the memory that is free, or ``budget_gb``, does not hold a step of that size; names one that fits.
    """
    if device == "cpu":
        give_back_large_blocks()  # else a step takes up to half as much again as is counted
    budget, found = config.budget_gb, f"{config.budget_gb} GiB"
    if budget is None:
        budget, found = usable_memory(device, config.gpus)
    budget -= 2 * volumes * (math.prod(config.size) + sum(math.prod(stage.size) for stage in config.stages)) / 2**30
    finer = bytes_of_finer(config, schema, device == "cpu")
    if finer > budget * 2**30:
        sizes = ", ".join("x".join(map(str, stage.size)) for stage in config.stages)
        raise UsageError(
            f"stages: the looks at {sizes} need {finer / 2**30:.2f} GiB in a training step, found {found}; "
            "give them a smaller size, or leave one out"
        )
    plan, needed = step_of(config, schema, device == "cpu")
    if needed > budget * 2**30:
        beside = f" beside {volumes} volumes" if volumes else ""
        raise UsageError(
            f"size: a training step at {'x'.join(map(str, config.size))} needs {needed / 2**30:.2f} GiB{beside}, found "
            f"{found}; {_advice(config, fitting_size(config, schema, budget, device == 'cpu'))}"
        )
    return plan, needed


def usable_memory(device: str, gpus: int = 1) -> tuple[float, str]:
    """GiB that a step may take, of what is free less a margin, and that in words; without end where nobody says.

    Of several GPUs that which has the least.
    """
    known = [free_bytes(where) for where in map(str, gpus_of(device, gpus) or ("cpu",))]
    free = min((one for one in known if one is not None), default=None)
    if free is None:
        return math.inf, "no limit"
    usable = max(0.0, (1 - MARGIN) * free / 2**30 - LIBRARIES)
    return usable, f"{free / 2**30:.2f} GiB free, {usable:.2f} with a margin"


def step_of(config: FetusmapConfig, schema: Schema, kernels: bool = False) -> tuple[Plan | None, int]:
    """The plan of a step where the settings ask for one, and its bytes, the loss included.

    Of float32: in bfloat16 two steps took 0.64 and 0.77 of what their tensors take in it.

    Args:
        kernels: whether what a CPU's convolutions take for themselves is counted.
    """
    first = looks_of(config, schema)[0]
    body = first.body().to("meta", memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    volume = torch.empty(1, 1, *config.size, device="meta")
    points = torch.zeros(1, len(schema.points), 3, device="meta")
    sides = schema.sides if config.pair else ()

    def loss(raw: Tensor) -> Tensor:
        return map_loss(raw, points, config.loss, config.sigma, sides, first.units, config.absent > 0)

    plan = plan_memory(body, [volume], max_slowdown=config.max_slowdown, loss=loss) if config.plan == "auto" else None
    fixed = _copies(config) * sum(parameter.nbytes for parameter in body.parameters()) + volume.nbytes
    fixed += bytes_of_finer(config, schema, kernels)
    if plan is not None and not kernels:
        return plan, fixed + plan.planned_bytes
    return plan, fixed + dry_peak(body if plan is None else plan.apply(body), [volume], loss, kernels)


def bytes_of_finer(config: FetusmapConfig, schema: Schema, kernels: bool = False) -> int:
    """Of the looks after the first in a step: they are all held until its gradients are taken."""
    total, points = 0, torch.zeros(1, len(schema.points), 3, device="meta")
    for look in looks_of(config, schema)[1:]:
        network = look.body().to("meta", memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        seen = torch.empty(1, 1, *look.size, device="meta")
        loss = partial(_loss_of, points=points, look=look, config=config)
        total += _copies(config) * sum(parameter.nbytes for parameter in network.parameters()) + seen.nbytes
        total += dry_peak(network, [seen], loss, kernels)
    return total


def _loss_of(raw: Tensor, points: Tensor, look: Look, config: FetusmapConfig) -> Tensor:
    return map_loss(raw, points, config.loss, look.sigma, (), look.units, config.absent > 0)


def fitting_size(
    config: FetusmapConfig, schema: Schema, budget_gb: float, kernels: bool = False
) -> tuple[int, int, int] | None:
    """A size of the same proportions whose step fits; None where not even a quarter of it does."""
    body = looks_of(config, schema)[0].body().to("meta", memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    method: Literal["gcp+rev", "plain"] = "gcp+rev" if config.plan == "auto" else "plain"
    tried = budget_gb - bytes_of_finer(config, schema, kernels) / 2**30
    while True:
        found = max_input_size(
            body,
            config.size,
            tried,
            config.stride,
            method=method,
            max_slowdown=config.max_slowdown,
            copies=_copies(config),
            kernels=kernels,
        )
        if found is None:
            return None
        i, j, k = found
        if step_of(config.model_copy(update={"size": (i, j, k)}), schema, kernels)[1] <= budget_gb * 2**30:
            return i, j, k
        tried *= LESS


def _copies(config: FetusmapConfig) -> int:
    # Between several GPUs gradients are exchanged in a copy.
    return ADAM_COPIES + bool(config.averaging) + (config.gpus > 1)


def _advice(config: FetusmapConfig, fitting: tuple[int, ...] | None) -> str:
    planned = "" if config.plan == "auto" else " (or try --set plan=auto)"
    if fitting is None:
        return (
            f"no size of these proportions fits{planned}; train on windows with --set mode=patch --set loss=mse "
            "--set pair=false --set voxel_mm=MM and a smaller size"
        )
    return f"what fits is --set size=[{','.join(map(str, fitting))}]{planned}"
