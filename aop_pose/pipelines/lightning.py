"""Lightning around a training: files of the run folder, exact resume, progress."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from aop_pose.core.schema import Schema
from aop_pose.draw.frame import colours
from aop_pose.draw.marks import Colour, put_text, text_size
from aop_pose.errors import AopPoseError
from aop_pose.evaluation.errors import align_interchangeable
from aop_pose.geometry import turn_difference
from aop_pose.inference.predictor import Contract, read_output
from aop_pose.io.files import replacing
from aop_pose.pipelines.checkpoint import write_checkpoint
from aop_pose.pipelines.config import Config, LightningConfig, Precision, precision_of
from aop_pose.pipelines.data import Example, FrameDataset
from aop_pose.pipelines.job import Job, Pace, Step, ending_together, gpus_of, interruptible
from aop_pose.pipelines.run import METRICS, WEIGHTS, RunFolder, append_row, best_row, device_facts, gpu_mb, keep_rows

COUNT = 4
SIDE = 256
LINE, LETTERS = 20, 0.4
"""Of the legend: height of a line in pixels, scale of its letters."""


def draw_examples(module: Any, file: Path) -> None:
    """Draw the first checked frames (else the first that train) into one PNG, with a legend above.

    Nothing for a stage without points.
    """
    contract = getattr(module, "contract", None)
    if contract is None:
        return
    dataset = module.checks if len(module.checks) else module.frames
    rows, paints = [], colours(contract.schema_of_points.points)
    training = module.kept.training
    module.kept.eval()
    for index in range(min(COUNT, len(dataset))):
        gray = dataset.pictures[index][None, None].float() / 255
        with torch.no_grad():
            output = module.kept.answer(gray.to(module.device))[0].cpu().numpy()
        points, _ = read_output(output, contract)
        picture = cv2.cvtColor(dataset.pictures[index].numpy(), cv2.COLOR_GRAY2BGR)
        zoom = SIDE / picture.shape[0]
        panel = cv2.resize(picture, (SIDE, SIDE))
        for colour, true, found in zip(paints, dataset.points[index].numpy(), points, strict=False):
            cv2.circle(panel, _pixel(true, zoom), 3, colour, -1)
            if np.isfinite(found).all():
                cv2.drawMarker(panel, _pixel(found, zoom), colour, cv2.MARKER_TILTED_CROSS, 11, 1)
        rows.append(np.hstack([panel, _heat(output[: len(paints)], paints)]) if contract.head == "heatmap" else panel)
    module.kept.train(training)
    file.parent.mkdir(exist_ok=True)
    with replacing(file) as part:
        picture = np.vstack([_legend(contract.schema_of_points.points, paints, rows[0].shape[1]), *rows])
        part.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _legend(names: Sequence[str], paints: Sequence[Colour], width: int) -> np.ndarray:
    """The legend of marks and colours, (height, width, 3)."""
    strip = np.zeros((2 * LINE, width, 3), np.uint8)
    maps = ["right: its maps"] if width > SIDE else []
    put_text(strip, ", ".join(["dot: label", "cross: found", *maps]), 6, LINE - 6, LETTERS, (255, 255, 255))
    left = 6
    for name, paint in zip(names, paints, strict=True):
        put_text(strip, name, left, 2 * LINE - 6, LETTERS, paint)
        left += text_size(name, LETTERS)[0] + 10
    return strip


def _heat(maps: np.ndarray, paints: Sequence[Colour]) -> np.ndarray:
    """The maps in the colours of their points, (SIDE, SIDE, 3)."""
    mixed = np.tensordot(np.clip(maps, 0, 1), np.array(paints, np.float32), axes=(0, 0))
    return cv2.resize(np.clip(mixed, 0, 255).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def _pixel(point: np.ndarray, zoom: float) -> tuple[int, int]:
    x, y = (point + 0.5) * zoom - 0.5
    return round(float(x)), round(float(y))


CHECK_BATCH = 16


def rate_factor(shape: str, epoch: int, epochs: int, warmup: int) -> float:
    """Learning rate of an epoch (from 0) over the highest: up in equal steps, then constant or a cosine to 0.01."""
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    if shape == "constant":
        return 1.0
    done = (epoch - warmup) / max(1, epochs - warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, done))) / 2


@attrs.frozen
class Schedule:
    """The schedule of a stage: how long, in which steps and on what it is trained."""

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
    workers: int = 0
    """Processes that make batches beside the one that trains."""

    @classmethod
    def of(cls, config: LightningConfig, batch: int) -> Schedule:
        """That of the settings of ``train``."""
        return cls(
            config.epochs, batch, config.averaging, config.clip, config.save_every, config.precision, config.gpus,
            config.workers,
        )  # fmt: skip


class Training(LightningModule):
    """The base of every stage: a network, the mean of its weights, one data loader an epoch."""

    method: str
    """The pipeline's name, as its checkpoints say it."""
    checked: tuple[str, ...]
    """Columns of metrics.csv that the checked frames fill; the first decides which epoch is kept."""
    memory_format: torch.memory_format = torch.channels_last
    """Of inputs and weights; ``channels_last_3d`` for volumes."""
    leaves_out: bool = False
    """True where a step may leave weights without a gradient: several GPUs have to look for them then."""
    further: tuple[str, ...] = ()
    """Further columns of metrics.csv: the means of ``parts`` over an epoch."""

    def __init__(
        self, config: Config, schedule: Schedule, network: nn.Module, seed: int, frames: FrameDataset,
        checks: FrameDataset,
    ):  # fmt: skip
        super().__init__()
        self.settings, self.schedule, self.seed = config, schedule, seed
        self.network = network.to(memory_format=self.memory_format)
        self.averaged: AveragedModel | None = None
        if schedule.averaging:
            self.averaged = AveragedModel(network, multi_avg_fn=self._average, use_buffers=True).requires_grad_(False)
        self.frames, self.checks = frames, checks
        self.pace = Pace()
        self.gpu_mb = 0.0
        """Largest memory of the GPUs of all processes together, as of the last epoch."""
        self.losses: list[float] = []
        """Of each batch of this epoch."""
        self.parts: dict[str, list[float]] = {name: [] for name in self.further}
        self.shared: dict[str, tuple[float, int]] = {}
        """Of each checked number the sum in this process, and what that is divided by; 0 where it is a sum."""

    @property
    def kept(self) -> nn.Module:
        """The network that is checked and kept."""
        return self.network if self.averaged is None else self.averaged.module

    @torch.no_grad()
    def _average(self, means: Any, values: Any, count: Any) -> None:
        # Early the mean follows closely: it would else hold on to the random start.
        decay = min(self.schedule.averaging, (1 + float(count)) / (10 + float(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(value)

    def loss_of(
        self, network: nn.Module, gray: torch.Tensor, points: torch.Tensor, trust: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scalar loss of a batch; ``trust`` (B, n) is given where some points are pseudo-labels (see ``Example``)."""
        raise AssertionError("a subclass gives it")

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch (from 0)."""
        raise AssertionError("a subclass gives it")

    def conclude(self, job: Job) -> dict[str, Any]:
        """Facts about the finished training for run.json, beside its best epoch; every checkpoint is written."""
        return {}

    def train_dataloader(self) -> DataLoader:
        self.frames.epoch = self.current_epoch
        order = self.frames.order(self.schedule.batch, self.seed, self.current_epoch, *self.processes)
        # A last batch of one frame would leave batch normalisation at 1 x 1 nothing to normalise.
        alone = len(order) % self.schedule.batch == 1 and len(order) > 1
        return self.loader(order, drop_last=alone)

    @property
    def processes(self) -> tuple[int, int]:
        """The number of this process, from 0, and how many train together."""
        return (0, 1) if self._trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def loader(self, order: Sequence[int], drop_last: bool) -> DataLoader:
        """Batches of the training images in that order; every draw follows from the image, not from who makes it."""
        return DataLoader(
            self.frames, self.schedule.batch, sampler=order, drop_last=drop_last, num_workers=self.schedule.workers,
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.checks, CHECK_BATCH, sampler=self.checked_here)

    @property
    def checked_here(self) -> list[int]:
        """The checked images of this process; where there are fewer than processes, one that does not count."""
        rank, world = self.processes
        return list(range(rank, len(self.checks), world)) or [0]

    def training_step(self, batch: Any, number: int) -> torch.Tensor | None:
        gray, points, indices = batch
        loss = self.loss_of(
            self.network, gray.contiguous(memory_format=self.memory_format), points, *self.trust(indices)
        )
        self.losses.append(float(loss.detach()))
        return loss

    def trust(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The last argument of ``loss_of``, where some points are pseudo-labels."""
        found = self.frames.trust(indices)
        return () if found is None else (found.to(self.device),)

    def demand_finite(self, loss: torch.Tensor, indices: torch.Tensor) -> None:
        """AopPoseError that names the frames of a batch whose loss is not finite: call it before the step is made."""
        value = float(loss.detach())
        if not math.isfinite(value):
            names = ", ".join(self.frames.examples[index].name for index in indices.tolist())
            raise AopPoseError(
                f"epoch {self.current_epoch + 1}: the loss is {value} on the batch {names}; earlier checkpoints "
                "are kept; look at these frames, or lower the learning rates and start again"
            )

    def on_train_batch_start(self, *_: Any) -> None:
        self.pace.come()

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        # By hand-made steps too: a batch ends with the number of its images, whatever else it holds.
        self.pace.learned(len(batch[-1]) * self.processes[1])
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def share(self, name: str, value: float, frames: int, total: bool = False) -> None:
        """Count what a batch of checked frames gives: towards the mean over frames and processes, or the sum."""
        if self.processes[0] < len(self.checks):
            summed, counted = self.shared.get(name, (0.0, 0))
            self.shared[name] = (summed + float(value) * (1 if total else frames), counted + frames * (not total))

    def checked_values(self) -> list[float]:
        """The numbers of ``checked``, of all processes together; NaN where nothing was checked."""
        nothing = (math.nan if self.processes[0] < max(1, len(self.checks)) else 0.0, 0)
        told = [self.shared.get(name, nothing) for name in self.checked]
        rows = torch.tensor([*told, (gpu_mb(), 0)], dtype=torch.float64)
        # Between GPUs only what lies on them is exchanged.
        rows = self.trainer.strategy.reduce(rows.to(self.device), reduce_op="sum")
        *found, self.gpu_mb = (rows[:, 0] / rows[:, 1].clamp(min=1)).tolist()
        return found


class PointTraining(Training):
    """Learns the points of labelled frames; checks them as the contract's artefact would be read."""

    def __init__(
        self, config: Config, schedule: Schedule, network: nn.Module, seed: int, frames: FrameDataset,
        checks: FrameDataset, contract: Contract,
    ):  # fmt: skip
        super().__init__(config, schedule, network, seed, frames, checks)
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
                angle = float(turn_difference(box.backward(points), example.points))
            found["val/aop_mae_deg"] = abs(angle) if math.isfinite(angle) else 180.0
        return found

    def _radial(self, points: np.ndarray, truth: np.ndarray) -> float:
        """Mean distance in pixels; of an interchangeable pair the assignment that fits better counts."""
        aligned = align_interchangeable(points[None], truth[None], self.schema)[0]
        return float(np.linalg.norm(aligned - truth, axis=1).mean())


def checked_columns(schema: Schema) -> tuple[str, ...]:
    """The numbers that are worked out on the checked frames, the deciding one first."""
    angle = ("val/aop_mae_deg",) if schema.name == "aop" else ()
    return ("val/mre_px", *angle, "val/missing", "val/loss")


STATE = "resume.ckpt"
SAMPLES = "samples"


class CheckpointCallback(Callback):
    """After every epoch: a row of metrics.csv, ``last.pt``, ``best.pt`` where it is one, and the whole state."""

    def __init__(self, job: Job, stage: str):
        self.job, self.stage = job, stage
        self.folder, self.table = job.out / WEIGHTS, job.out / METRICS
        self.best = math.inf
        self.begin = time.time()

    @property
    def state_key(self) -> str:
        """As the states of runs that were interrupted before it had its present name say it."""
        return "Keeper"

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.begin = time.time()
        if trainer.is_global_zero:
            keep_rows(self.table, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        for values in (module.losses, *module.parts.values(), module.shared):
            values.clear()
        module.pace.begin()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = Step(
            trainer.current_epoch + 1, module.schedule.epochs, batch_idx + 1, int(trainer.num_training_batches),
            module.losses[-1],
        )  # fmt: skip
        self.job.on_batch(step)

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        loss, *parts = [
            float(trainer.strategy.reduce(torch.tensor(values, device=module.device).mean()))
            for values in (module.losses, *module.parts.values())
        ]
        if not math.isfinite(loss):
            raise AopPoseError(f"epoch {trainer.current_epoch + 1}: the loss is {loss}; lower lr and start again")
        if not all(torch.isfinite(value).all() for value in module.kept.state_dict().values()):
            # The loss that would tell is that of the next step, when these weights had replaced the good ones.
            raise AopPoseError(
                f"epoch {trainer.current_epoch + 1}: the last step left weights that are not finite; earlier "
                "checkpoints are kept; lower the learning rates and start again"
            )
        values = dict(zip(module.checked, module.checked_values(), strict=True))
        if not trainer.is_global_zero:
            return
        row = {
            "epoch": trainer.current_epoch + 1, "seconds": round(time.time() - self.begin, 1), "train/loss": loss,
            **dict(zip(module.parts, parts, strict=True)), **values, "lr/rate": module.rate(trainer.current_epoch),
        }  # fmt: skip
        append_row(self.table, row)
        epoch, every, deciding = int(row["epoch"]), module.schedule.save_every, values[module.checked[0]]
        self._save(module, "last.pt")
        if not deciding > self.best:
            self.best = deciding if math.isfinite(deciding) else math.inf
            self._save(module, "best.pt")
        if every and epoch % every == 0:
            self._save(module, f"epoch_{epoch:03}.pt")
        if (every and epoch % every == 0) or epoch == module.schedule.epochs:
            draw_examples(module, self.job.out / SAMPLES / f"epoch_{epoch:03}.png")
        self.job.on_epoch(row)

    def _save(self, module: Training, name: str) -> None:
        write_checkpoint(self.folder / name, module.method, self.stage, module.settings, module.kept)


class ResumeCallback(Callback):
    """Lightning's own checkpoint after every epoch, for ``--resume``. Last of all, when everything else is written."""

    def __init__(self, job: Job):
        self.file = job.out / WEIGHTS / STATE

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        part = self.file.with_name(f"{STATE}.part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.file)


PRECISIONS: dict[str, Any] = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}
"""As Lightning names them; of ``16-mixed`` losses are scaled."""


def fit(module: Training, job: Job, run: RunFolder, stage: str, **facts: Any) -> dict[str, Any]:
    """Train to the end and finish the run folder; returns what run.json says.

    Args:
        module: what is trained.
        job: how, and where.
        run: the folder, opened.
        stage: of its checkpoints.
        facts: what run.json says from the beginning.

    Raises:
        AopPoseError: the run broke off.
        KeyboardInterrupt: Ctrl-C; the run can be resumed.
    """
    schedule = module.schedule
    precision = precision_of(schedule.precision, job.device)
    if precision == "fp16" and not module.automatic_optimization:
        job.say("precision: fp32; this training steps by hand, where losses in float16 are not scaled")
        precision = "fp32"
    if precision != "fp32" and schedule.precision == "auto":
        job.say(f"precision: {precision}, which is faster here; --set precision=fp32 for float32")
    parameters = sum(value.numel() for value in module.network.parameters())
    run.save(precision=precision, **device_facts(job.device, schedule.gpus), parameters=parameters, **facts)
    state = job.out / WEIGHTS / STATE
    resumed = state if job.resume and state.is_file() else None
    if resumed is None:
        (job.out / METRICS).unlink(missing_ok=True)
    trainer = _trainer(module, job, stage, precision)
    try:
        with warnings.catch_warnings(), interruptible(), ending_together(trainer.strategy.launcher):
            for said in ("does not have many workers", "smaller than the logging interval", "`isinstance.treespec"):
                # Data are in memory, and nothing is logged by step.
                warnings.filterwarnings("ignore", message=f".*{said}")
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
    except RuntimeError as error:
        raise AopPoseError(f"training broke off: {str(error).splitlines()[0]}; --resume goes on with it") from error
    if not trainer.is_global_zero:
        # A process that Lightning started for one more GPU: what follows is the work of the one that leads.
        raise SystemExit(0)
    run.took(module.gpu_mb)
    best = best_row(job.out / METRICS, module.checked)
    job.say(f"kept: epoch {best['epoch']:.0f} of {schedule.epochs}")
    # A run that is killed in the conclusion is resumed: all its epochs are there.
    run.finish(best=best, torch_threads=torch.get_num_threads(), pace=module.pace.facts, **module.conclude(job))
    # Only now: without it a run that is killed before it is finished would begin again.
    state.unlink(missing_ok=True)
    return run.record


TIME_LIMIT = timedelta(minutes=30)
"""Processes that train together wait so long for each other, the reading of the data included."""


def _trainer(module: Training, job: Job, stage: str, precision: str) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    schedule = module.schedule
    on_cpu, gpus = job.device == "cpu", gpus_of(job.device, schedule.gpus)
    return Trainer(
        accelerator="cpu" if on_cpu else "gpu",
        devices=gpus or 1,
        strategy=DDPStrategy(timeout=TIME_LIMIT, find_unused_parameters=module.leaves_out) if gpus[1:] else "auto",
        # Each process takes its part of every step by itself.
        use_distributed_sampler=False,
        precision=PRECISIONS[precision],
        max_epochs=schedule.epochs,
        callbacks=[CheckpointCallback(job, stage), ResumeCallback(job)],
        # Who steps by hand cuts by hand.
        gradient_clip_val=(schedule.clip or None) if module.automatic_optimization else None,
        # Each epoch's loader is made for that epoch: its order and draws follow from (seed, epoch).
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if len(module.checks) else 0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=job.out,
    )
