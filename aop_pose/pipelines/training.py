"""What Lightning trains in every pipeline that is written here: a network, the mean of its weights, its checks."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from aop_pose.errors import AopPoseError
from aop_pose.evaluation.metrics import align_interchangeable
from aop_pose.geometry import angle_of_progression
from aop_pose.pipelines.config import Config
from aop_pose.pipelines.examples import Example
from aop_pose.pipelines.frame_data import FrameDataset, order_of
from aop_pose.pipelines.precision import Precision
from aop_pose.runtime import Contract, read_output
from aop_pose.schemas import Schema

CHECK_BATCH = 16


def rate_factor(schedule: str, epoch: int, epochs: int, warmup: int) -> float:
    """Learning rate of an epoch (from 0) over the highest: up in equal steps, then constant or a cosine to 0.01."""
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    done = (epoch - warmup) / max(1, epochs - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2


@attrs.frozen
class Course:
    """How long and how a stage is trained."""

    epochs: int
    batch: int
    averaging: float = 0.0
    """Decay of the running mean of the weights, which is what is checked and kept; 0 = the weights themselves."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 = not cut."""
    save_every: int = 0
    """Epochs between the checkpoints that are kept beside best and last; 0 = none."""
    precision: Precision = "auto"
    gpus: int = 1


class Training(LightningModule):
    """The base of every stage: a network, the mean of its weights, one data loader an epoch."""

    method: str
    """The pipeline's name, as its checkpoints say it."""
    checked: tuple[str, ...]
    """Columns of metrics.csv that the checked frames fill; the first decides which epoch is kept."""
    memory_format: torch.memory_format = torch.channels_last
    """Of inputs and weights; ``channels_last_3d`` for volumes."""
    strategy_of_several: str = "ddp"
    """Lightning's name of how several GPUs work together."""
    further: tuple[str, ...] = ()
    """Further columns of metrics.csv: the means of ``parts`` over an epoch."""

    def __init__(
        self, config: Config, course: Course, network: nn.Module, seed: int, frames: FrameDataset, checks: FrameDataset
    ):
        super().__init__()
        self.settings, self.course, self.seed = config, course, seed
        self.network = network.to(memory_format=self.memory_format)
        self.averaged: AveragedModel | None = None
        if course.averaging:
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True).requires_grad_(False)
        self.frames, self.checks = frames, checks
        self.losses: list[float] = []
        """Of each batch of this epoch."""
        self.parts: dict[str, list[float]] = {name: [] for name in self.further}

    @property
    def kept(self) -> nn.Module:
        """The network that is checked and kept."""
        return self.network if self.averaged is None else self.averaged.module

    @torch.no_grad()
    def _average(self, means: Any, values: Any, count: Any) -> None:
        # Early the mean follows closely: it would else hold on to the random start.
        decay = min(self.course.averaging, (1 + float(count)) / (10 + float(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(value)

    def loss_of(self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Scalar loss of a batch."""
        raise AssertionError("a subclass gives it")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch (from 0)."""
        raise AssertionError("a subclass gives it")

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        order = order_of(len(self.frames), self.seed, self.current_epoch)
        # A last batch of one frame would leave batch normalisation at 1 x 1 nothing to normalise.
        alone = len(order) % self.course.batch == 1 and len(order) > 1
        return DataLoader(self.frames, self.course.batch, sampler=order, drop_last=alone)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.checks, CHECK_BATCH)

    def training_step(self, batch: Any, number: int) -> torch.Tensor | None:
        gray, points, _ = batch
        loss = self.loss_of(self.network, gray.contiguous(memory_format=self.memory_format), points)
        self.losses.append(float(loss.detach()))
        return loss

    def demand_finite(self, loss: torch.Tensor, indices: torch.Tensor) -> None:
        """AopPoseError that names the frames of a batch whose loss is not finite: call it before the step is made."""
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(self.frames.examples[index].name for index in indices.tolist())
            raise AopPoseError(
                f"epoch {self.current_epoch + 1}: the loss is {value} on the batch {names}; earlier checkpoints "
                "are kept; look at these frames, or lower the learning rates and start again"
            )

    def on_train_batch_end(self, *_: Any) -> None:
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def share(self, name: str, value: float, frames: int, total: bool = False) -> None:
        """Log what a batch of checked frames gives: the mean over frames and processes, or the sum."""
        self.log(
            name, float(value), on_epoch=True, on_step=False, batch_size=frames, sync_dist=True,
            reduce_fx="sum" if total else "mean",
        )  # fmt: skip


class PointTraining(Training):
    """Learns the points of labelled frames; checks them as the contract's artefact would be read."""

    def __init__(
        self, config: Config, course: Course, network: nn.Module, seed: int, frames: FrameDataset,
        checks: FrameDataset, contract: Contract,
    ):  # fmt: skip
        super().__init__(config, course, network, seed, frames, checks)
        self.contract, self.schema = contract, contract.schema_of_points
        self.pairs = [(self.schema.index(one), self.schema.index(other)) for one, other in self.schema.interchangeable]
        self.checked = checked_columns(self.schema)

    def validation_step(self, batch: Any, number: int) -> None:
        gray, points, indices = batch
        gray = gray.contiguous(memory_format=self.memory_format)
        self.share("val/loss", float(self.loss_of(self.kept, gray, points)), len(gray))
        answer = self.kept.answer(gray)  # type: ignore[operator]
        for output, index in zip(answer.cpu().numpy(), indices.tolist(), strict=True):
            example, box = self.checks.examples[index], self.checks.boxes[index]
            for name, value in self.errors(output, example, box).items():
                self.share(name, value, 1, total=name == "val/missing")

    def errors(self, output: np.ndarray, example: Example, box: Any) -> dict[str, float]:
        """Errors of one frame in its own pixels; a missing one counts as its diagonal and as 180 degrees."""
        points, scores = read_output(output, self.contract)
        missing = not scores.min() >= self.contract.threshold or not np.isfinite(points).all()
        radial = math.hypot(*example.pixels.shape) if missing else self._radial(box.backward(points), example.points)
        found = {"val/mre_px": radial, "val/missing": float(missing)}
        if "val/aop_mae_deg" in self.checked:
            angle = math.nan
            if not missing:
                angle = float(angle_of_progression(*box.backward(points)) - angle_of_progression(*example.points))
            found["val/aop_mae_deg"] = abs(angle) if math.isfinite(angle) else 180.0
        return found

    def _radial(self, points: np.ndarray, truth: np.ndarray) -> float:
        """Mean distance in pixels; of an interchangeable pair the assignment that fits better counts."""
        aligned = align_interchangeable(points[None], truth[None], self.schema)[0]
        return float(np.linalg.norm(aligned - truth, axis=1).mean())


def checked_columns(schema: Schema) -> tuple[str, ...]:
    """What the checked frames are asked for, the deciding number first."""
    angle = ("val/aop_mae_deg",) if schema.name == "aop" else ()
    return ("val/mre_px", *angle, "val/missing", "val/loss")
