"""The ground of pose training and detection pre-training: data in memory, seeds, channels-last, exact resume."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from aop_pose.errors import AopPoseError
from aop_pose.inference.engine import usable_cores
from aop_pose.pipelines.config import precision_of
from aop_pose.pipelines.job import Job, Pace, Step
from aop_pose.pipelines.run import METRICS, RunFolder, append_row, best_row, device_facts, keep_rows
from aop_pose.pipelines.start import Start
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.data import MemoryDataset

STATE = "resume.pt"
_OF_STOPPER = ("best_fitness", "best_epoch", "possible_stop")
"""Of Ultralytics' early stopping, whose state stands in its checkpoints."""


class ResumableTrainer(DetectionTrainer):
    """The base of this project's trainers, also in front of others that Ultralytics derives from DetectionTrainer.

    What differs from the stock trainer: on a CPU the network runs channels-last; every epoch starts from a seed of
    its own, and the whole state is saved in full precision, so that an interrupted run that is resumed equals one
    that was not; fitness comes from ``check`` instead of mAP. A subclass gives ``checked``, ``check``, the data and
    the network.
    """

    checked: tuple[str, ...]
    """Columns of metrics.csv that ``check`` fills. The first one decides which epoch is kept: the least, except that
    a name that ends in ``iou`` is best when greatest; NaN = nothing was checked, and the last epoch is kept."""

    dataset_kind: type[MemoryDataset]
    network: str
    """Ultralytics' description of the network, with ``{model}`` in place of its size."""

    def __init__(self, config: YoloConfig, job: Job, start: Start, examples: Sequence[Any], checks: Sequence[Any]):
        self.config, self.job, self.start = config, job, start.model
        self.examples, self.checks = examples, checks
        super().__init__(overrides=ultralytics_settings(config, job))
        self.csv = job.out / METRICS
        # Ultralytics' own copy of the settings: config.yaml says the same in this project's words.
        (job.out / "args.yaml").unlink()
        self.add_callback("on_train_epoch_start", lambda trainer: trainer.seed_epoch())
        self.add_callback("on_train_batch_end", lambda trainer: trainer.report_batch())
        self.best_fitness: float | None = None
        self.model: Any
        self.batches_done = 0
        self.pace = Pace()

    def check(self, model: torch.nn.Module) -> dict[str, float]:
        """One value for each name in ``checked``."""
        raise AssertionError("a subclass gives it")

    def make_loss(self, model: Any) -> Any:
        """The loss of the network that trains: the stock one, or what a subclass puts in its place."""
        return model.init_criterion()

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> MemoryDataset:
        training = mode == "train"
        examples = self.examples if training else self.checks or self.examples[:1]
        return self.dataset_kind(
            examples, self.config, data=self.data, augment=training, hyp=self.args, batch_size=batch
        )

    def setup_model(self) -> None:
        self.model = self.get_model(cfg=self.network.format(model=self.config.model), weights=self.start, verbose=False)

    def _setup_train(self) -> None:
        super()._setup_train()
        # Ultralytics leaves one core idle, which on two cores is half of them.
        torch.set_num_threads(usable_cores())
        # Only now: a criterion given earlier would be lost, and the averaged copy must not carry it.
        model = unwrap_model(self.model)
        model.criterion = self.make_loss(model)
        if self.device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)
            if precision_of(self.config.precision, "cpu") == "bf16":
                pass_in_bfloat16(self.model)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.pace.come()
        batch = super().preprocess_batch(batch)
        if self.device.type == "cpu":
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def seed_epoch(self) -> None:
        """Every draw of an epoch follows from (seed, epoch) alone."""
        value = int(np.random.SeedSequence([self.job.seed, self.epoch]).generate_state(1)[0])
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        self.train_loader.generator.manual_seed(value)
        self.train_loader.reset()
        self.batches_done = 0
        self.pace.begin()

    def report_batch(self) -> None:
        self.batches_done += 1
        self.pace.learned(self.args.batch)
        loss = sum(float(value) for value in self.loss_items.values())
        self.job.on_batch(Step(self.epoch + 1, self.epochs, self.batches_done, len(self.train_loader), loss))

    def validate(self) -> tuple[dict[str, float], float]:
        metrics = self.check(unwrap_model(self.ema.ema))
        deciding = metrics[self.checked[0]]
        fitness = deciding if self.checked[0].endswith("iou") else -deciding
        fitness = fitness if math.isfinite(fitness) else float(self.epoch)
        if self.best_fitness is None or self.best_fitness < fitness:
            self.best_fitness = fitness
        return metrics, fitness

    def final_eval(self) -> None:
        """Nothing more is measured at the end: the numbers of the kept epoch stand in metrics.csv."""

    def read_results_csv(self) -> dict[str, Any]:
        return {}

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        row = {"epoch": self.epoch + 1, "seconds": round(time.time() - self.train_time_start, 1)}
        row |= {
            key: float(value)
            for key, value in metrics.items()
            if key in self.checked or key.startswith(("train/", "lr/", "pseudo/"))
        }
        append_row(self.csv, row)
        self.job.on_epoch(row)

    def save_model(self) -> bool:
        super().save_model()
        state = {
            "epoch": self.epoch,
            "model": unwrap_model(self.model).state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "best_fitness": self.best_fitness,
            "stopper": {name: getattr(self.stopper, name) for name in _OF_STOPPER},
            "threads": torch.get_num_threads(),
        }
        part = self.wdir / f"{STATE}.part"
        torch.save(state, part)
        os.replace(part, self.wdir / STATE)
        return True

    def saved(self, device: Any = "cpu") -> dict[str, Any] | None:
        """The state after the last saved epoch of the run that is taken up; None where one begins."""
        path = self.wdir / STATE
        if not (self.job.resume and path.is_file()):
            return None
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state

    def resume_training(self, ckpt: Any) -> None:
        state = self.saved(self.device)
        if state is None:
            self.csv.unlink(missing_ok=True)
            return
        unwrap_model(self.model).load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best_fitness = state["best_fitness"]
        for name, value in state.get("stopper", {}).items():
            setattr(self.stopper, name, value)
        self.start_epoch = state["epoch"] + 1
        keep_rows(self.csv, self.start_epoch)


def fit(trainer: ResumableTrainer, run: RunFolder, **facts: Any) -> dict[str, Any]:
    """Train to the end and finish the run folder; returns what run.json says."""
    job, config = trainer.job, trainer.config
    run.save(precision=format_of(config, job.device), **device_facts(job.device), **facts)
    # Of a run that had saved its last epoch there is none left: Ultralytics would train one more.
    saved = trainer.saved()
    ended = saved is not None and saved["epoch"] + 1 >= config.epochs
    try:
        if not ended:
            trainer.train()
    except RuntimeError as error:
        raise AopPoseError(f"training broke off: {str(error).splitlines()[0]}; --resume goes on with it") from error
    best = best_row(trainer.csv, trainer.checked)
    threads = saved.get("threads") if saved and ended else torch.get_num_threads()
    run.finish(best=best, torch_threads=threads, pace=trainer.pace.facts)
    # Only now: without it a run that is killed before it is finished would begin again.
    (trainer.wdir / STATE).unlink(missing_ok=True)
    job.say(f"kept: epoch {best['epoch']:.0f} of {config.epochs}")
    return run.record


def format_of(config: YoloConfig, device: str) -> str:
    """The number format of a training: float32 in the place of float16, which Ultralytics checks by a download."""
    found = precision_of(config.precision, device)
    return "fp32" if found == "fp16" else found


def pass_in_bfloat16(model: Any) -> None:
    """Run this instance's forward pass under autocast; the loss still sees float32. Copies are not affected."""
    plain = model.predict

    def predict(*arguments: Any, **options: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            output = plain(*arguments, **options)
        return torch.utils._pytree.tree_map(lambda value: value.float() if torch.is_tensor(value) else value, output)

    model.predict = predict


def ultralytics_settings(config: YoloConfig, job: Job) -> dict[str, Any]:
    """This project's settings in Ultralytics' words."""
    # Ultralytics refuses bfloat16 on a CPU; there the forward pass is wrapped instead (pass_in_bfloat16).
    bfloat16 = job.device != "cpu" and format_of(config, job.device) == "bf16"
    return {
        "model": f"{config.model}.yaml", "data": "in-memory.yaml", "save_dir": str(job.out.resolve()),
        "exist_ok": True, "device": job.device, "seed": job.seed, "deterministic": True, "workers": config.workers,
        "plots": False, "val": True, "save": True, "verbose": False, "patience": config.epochs,
        "imgsz": config.image_size, "epochs": config.epochs, "batch": config.batch, "optimizer": config.optimizer,
        "lr0": config.lr0, "lrf": config.lrf, "cos_lr": config.cosine, "momentum": config.momentum,
        "weight_decay": config.weight_decay, "warmup_epochs": config.warmup_epochs,
        "amp": "bf16" if bfloat16 else False, "nbs": config.batch,
        "box": config.gain_box, "cls": config.gain_class, "dfl": config.gain_dfl, "pose": config.gain_pose,
        "degrees": config.degrees, "translate": config.translate, "scale": config.scale, "shear": config.shear,
        "fliplr": config.flip, "flipud": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": config.brightness,
        "mosaic": 0.0, "mixup": 0.0, "cutmix": 0.0, "copy_paste": 0.0, "close_mosaic": 0, "erasing": 0.0,
        "pretrained": False,
    }  # fmt: skip
