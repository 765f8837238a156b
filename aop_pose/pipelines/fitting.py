"""Lightning around a training: files of the run folder, exact resume, progress."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from aop_pose.errors import AopPoseError
from aop_pose.pipelines.checkpoint import write_checkpoint
from aop_pose.pipelines.job import Job, Step, gpus_of
from aop_pose.pipelines.precision import precision_of
from aop_pose.pipelines.run import METRICS, WEIGHTS, RunFolder
from aop_pose.pipelines.samples import write_samples
from aop_pose.pipelines.table import append_row, best_row, keep_rows
from aop_pose.pipelines.training import Training

STATE = "resume.ckpt"
SAMPLES = "samples"


class Keeper(Callback):
    """After every epoch: a row of metrics.csv, ``last.pt``, ``best.pt`` where it is one, and the whole state."""

    def __init__(self, job: Job, stage: str):
        self.job, self.stage = job, stage
        self.folder, self.table = job.out / WEIGHTS, job.out / METRICS
        self.best = math.inf
        self.begin = time.time()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, module: Any) -> None:
        self.begin = time.time()
        if trainer.is_global_zero:
            keep_rows(self.table, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, module: Any) -> None:
        for values in (module.losses, *module.parts.values()):
            values.clear()

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = Step(
            trainer.current_epoch + 1, module.course.epochs, batch_idx + 1, int(trainer.num_training_batches),
            module.losses[-1],
        )  # fmt: skip
        self.job.on_batch(step)

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        # Between GPUs only what lies on them is exchanged.
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
        values = {name: float(trainer.callback_metrics.get(name, math.nan)) for name in module.checked}
        if not trainer.is_global_zero:
            return
        row = {
            "epoch": trainer.current_epoch + 1, "seconds": round(time.time() - self.begin, 1), "train/loss": loss,
            **dict(zip(module.parts, parts, strict=True)), **values, "lr/rate": module.rate(trainer.current_epoch),
        }  # fmt: skip
        append_row(self.table, row)
        epoch, every, deciding = int(row["epoch"]), module.course.save_every, values[module.checked[0]]
        self._save(module, "last.pt")
        if not deciding > self.best:
            self.best = deciding if math.isfinite(deciding) else math.inf
            self._save(module, "best.pt")
        if every and epoch % every == 0:
            self._save(module, f"epoch_{epoch:03}.pt")
        if (every and epoch % every == 0) or epoch == module.course.epochs:
            write_samples(module, self.job.out / SAMPLES / f"epoch_{epoch:03}.png")
        self.job.on_epoch(row)

    def _save(self, module: Training, name: str) -> None:
        write_checkpoint(self.folder / name, module.method, self.stage, module.settings, module.kept)


class StateKeeper(Callback):
    """Lightning's own checkpoint after every epoch, for ``--resume``. Last of all, when everything else is written."""

    def __init__(self, job: Job):
        self.file = job.out / WEIGHTS / STATE

    def on_train_epoch_end(self, trainer: Trainer, module: Any) -> None:
        part = self.file.with_name(f"{STATE}.part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.file)


def carry_out(
    module: Training,
    job: Job,
    run: RunFolder,
    stage: str,
    concluding: Callable[[], Mapping[str, Any]] = dict,
    **facts: Any,
) -> dict[str, Any]:
    """Train to the end and finish the run folder; returns what run.json says.

    Args:
        module: what is trained.
        job: how, and where.
        run: the folder, opened.
        stage: of its checkpoints.
        concluding: called when every checkpoint is written, before the run counts as finished: what it gives, run.json
            says too. A run that is killed in it is resumed.
        facts: what run.json says from the beginning.
    """
    course = module.course
    precision = precision_of(course.precision, job.device)
    run.save(precision=precision, device=job.device, parameters=parameters_of(module.network), **facts)
    state = job.out / WEIGHTS / STATE
    resumed = state if job.resume and state.is_file() else None
    if resumed is None:
        (job.out / METRICS).unlink(missing_ok=True)
    trainer = _trainer(module, job, stage, precision)
    try:
        with warnings.catch_warnings():
            for said in ("does not have many workers", "smaller than the logging interval", "`isinstance.treespec"):
                # Data are in memory, and nothing is logged by step.
                warnings.filterwarnings("ignore", message=f".*{said}")
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
    except RuntimeError as error:
        raise AopPoseError(f"training broke off: {str(error).splitlines()[0]}; --resume goes on with it") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not trainer.is_global_zero:
        # A process that Lightning started for one more GPU: what follows is the work of the one that leads.
        raise SystemExit(0)
    best = best_row(job.out / METRICS, module.checked)
    job.say(f"kept: epoch {best['epoch']:.0f} of {course.epochs}")
    run.finish(best=best, torch_threads=torch.get_num_threads(), **concluding())
    # Only now: without it a run that is killed before it is finished would begin again.
    state.unlink(missing_ok=True)
    return run.record


def _trainer(module: Training, job: Job, stage: str, precision: str) -> Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    course = module.course
    on_cpu = job.device == "cpu"
    return Trainer(
        accelerator="cpu" if on_cpu else "gpu",
        devices=gpus_of(job.device, course.gpus) or 1,
        strategy=module.strategy_of_several if not on_cpu and course.gpus > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=course.epochs,
        callbacks=[Keeper(job, stage), StateKeeper(job)],
        # Who steps by hand cuts by hand.
        gradient_clip_val=(course.clip or None) if module.automatic_optimization else None,
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


def parameters_of(network: torch.nn.Module) -> int:
    """How many numbers are learned."""
    return sum(value.numel() for value in network.parameters())
