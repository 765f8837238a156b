"""Ultralytics' pose trainer with this project's data, choice of epoch, and exact resume."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.utils.torch_utils import unwrap_model

from aop_pose.decode import decode_pose
from aop_pose.geometry import angle_of_progression
from aop_pose.letterbox import fit
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.dataset import Example, FrameDataset
from aop_pose.pipelines.yolo.network import TorchNetwork
from aop_pose.schemas import AOP

STATE = "resume.pt"


class FrameTrainer(PoseTrainer):
    """Trains on ``Example`` objects and keeps the epoch with the least mean radial error in pixels.

    What differs from the stock trainer: data come from memory; on a CPU the network runs channels-last; every epoch
    starts from a seed of its own, and the whole state is saved in full precision, so that an interrupted run that is
    resumed equals one that was not; fitness is minus the MRE on ``checks`` instead of mAP.
    """

    def __init__(
        self,
        config: YoloConfig,
        examples: Sequence[Example],
        checks: Sequence[Example],
        folder: Path,
        *,
        start: torch.nn.Module | None = None,
        seed: int = 0,
        device: str = "cpu",
        resume: bool = False,
        on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
        on_batch: Callable[[int, int, int, float], None] = lambda epoch, batch, batches, loss: None,
    ):
        self.config, self.examples, self.checks = config, examples, checks
        self.start, self.seed, self.wants_resume = start, seed, resume
        self.on_epoch, self.on_batch = on_epoch, on_batch
        super().__init__(overrides=ultralytics_settings(config, folder, seed, device))
        self.csv = folder / "metrics.csv"
        # Ultralytics' own copy of the settings: config.yaml says the same in this project's words.
        (folder / "args.yaml").unlink()
        self.add_callback("on_train_epoch_start", lambda trainer: trainer.seed_epoch())
        self.add_callback("on_train_batch_end", lambda trainer: trainer.report_batch())
        self.batches_done = 0

    def get_dataset(self) -> dict[str, Any]:
        sigmas = [self.config.oks_sigma] * len(AOP.points)
        names = {0: "aop"}
        return {
            "train": "train", "val": "val", "names": names, "nc": 1, "channels": 3,
            "kpt_shape": [len(AOP.points), 2], "flip_idx": list(range(len(AOP.points))), "kpt_oks_sigmas": sigmas,
        }  # fmt: skip

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> FrameDataset:
        training = mode == "train"
        examples = self.examples if training else self.checks or self.examples[:1]
        return FrameDataset(examples, self.config, data=self.data, augment=training, hyp=self.args, batch_size=batch)

    def setup_model(self) -> None:
        self.model = self.get_model(cfg=f"{self.config.model}-pose.yaml", weights=self.start, verbose=False)

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu":
            self.model = self.model.to(memory_format=torch.channels_last)
            if precision_of(self.config, "cpu") == "bf16":
                pass_in_bfloat16(self.model)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        if self.device.type == "cpu":
            batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch

    def seed_epoch(self) -> None:
        """Every draw of an epoch follows from (seed, epoch) alone."""
        value = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        self.train_loader.generator.manual_seed(value)
        self.train_loader.reset()
        self.batches_done = 0

    def report_batch(self) -> None:
        self.batches_done += 1
        self.on_batch(self.epoch, self.batches_done, len(self.train_loader), float(self.loss.detach()))

    def validate(self) -> tuple[dict[str, float], float]:
        """Mean errors on the frames that choose the epoch, in pixels of those frames; without such frames, none."""
        metrics = errors(unwrap_model(self.ema.ema), self.checks, self.config, self.device)
        fitness = -metrics["val/mre_px"] if self.checks else float(self.epoch)
        if self.best_fitness is None or self.best_fitness < fitness:
            self.best_fitness = fitness
        return metrics, fitness

    def final_eval(self) -> None:
        """Nothing more is measured at the end: the numbers of the kept epoch stand in metrics.csv."""

    def read_results_csv(self) -> dict[str, Any]:
        return {}

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        row = {"epoch": self.epoch + 1, "seconds": round(time.time() - self.train_time_start, 1)}
        row |= {key: float(value) for key, value in metrics.items()}
        row = {key: value for key, value in row.items() if not key.startswith(("metrics/", "val/") ) or key in CHECKED}
        fresh = not self.csv.exists()
        with self.csv.open("a", encoding="utf-8") as file:
            if fresh:
                file.write(",".join(row) + "\n")
            file.write(",".join(f"{value:.6g}" for value in row.values()) + "\n")
        self.on_epoch(row)

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
        }
        part = self.wdir / f"{STATE}.part"
        torch.save(state, part)
        os.replace(part, self.wdir / STATE)
        return True

    def resume_training(self, ckpt: Any) -> None:
        path = self.wdir / STATE
        if not (self.wants_resume and path.is_file()):
            self.csv.unlink(missing_ok=True)
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        unwrap_model(self.model).load_state_dict(state["model"])
        self.ema.ema.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.best_fitness = state["best_fitness"]
        self.start_epoch = state["epoch"] + 1
        keep_rows(self.csv, self.start_epoch)


CHECKED = ("val/mre_px", "val/aop_mae_deg", "val/missing")


def errors(model: torch.nn.Module, checks: Sequence[Example], config: YoloConfig, device: torch.device) -> dict[str, float]:
    """MRE (pixels of the frames), AoP MAE (degrees) and number of frames without a detection.

    A missing frame counts as an error of its diagonal and of 180 degrees.
    """
    if not checks:
        return dict.fromkeys(CHECKED, math.nan)
    network = TorchNetwork(model, device)
    radial, angular, missing = [], [], 0
    for begin in range(0, len(checks), 16):
        chunk = checks[begin : begin + 16]
        fitted = [fit(example.pixels, config.image_size) for example in chunk]
        raw = network(np.stack([pixels for pixels, _ in fitted])[:, None].astype(np.float32) / 255)
        for example, (_, box), output in zip(chunk, fitted, raw, strict=True):
            points, score = decode_pose(output, config.decode)
            if not score >= config.threshold:
                missing += 1
                radial.append(math.hypot(*example.pixels.shape))
                angular.append(180.0)
                continue
            points = box.backward(points)
            radial.append(float(np.linalg.norm(points - example.points, axis=1).mean()))
            angular.append(abs(float(angle_of_progression(*points) - angle_of_progression(*example.points))))
    return dict(zip(CHECKED, (float(np.mean(radial)), float(np.nanmean(angular)), float(missing)), strict=True))


def keep_rows(csv: Path, rows: int) -> None:
    """Cut a table back to its header and the first ``rows`` rows."""
    if csv.is_file():
        lines = csv.read_text(encoding="utf-8").splitlines(keepends=True)
        csv.write_text("".join(lines[: rows + 1]), encoding="utf-8")


def precision_of(config: YoloConfig, device: str) -> str:
    """``bf16`` where asked for, or where ``auto`` finds a processor that multiplies it natively."""
    if config.precision != "auto":
        return config.precision
    if device == "cpu":
        return "bf16" if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp32"


def pass_in_bfloat16(model: torch.nn.Module) -> None:
    """Run this instance's forward pass under autocast; the loss still sees float32. Copies are not affected."""
    plain = model.predict

    def predict(*arguments: Any, **options: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            output = plain(*arguments, **options)
        return torch.utils._pytree.tree_map(lambda value: value.float() if torch.is_tensor(value) else value, output)

    model.predict = predict


def ultralytics_settings(config: YoloConfig, folder: Path, seed: int, device: str) -> dict[str, Any]:
    """This project's settings in Ultralytics' words."""
    return {
        "model": f"{config.model}-pose.yaml", "data": "in-memory.yaml", "save_dir": str(folder.resolve()),
        "exist_ok": True, "device": device, "seed": seed, "deterministic": True, "workers": 4,
        "plots": False, "val": True, "save": True, "verbose": False, "patience": config.epochs,
        "imgsz": config.image_size, "epochs": config.epochs, "batch": config.batch, "optimizer": config.optimizer,
        "lr0": config.lr0, "lrf": config.lrf, "cos_lr": config.cosine, "momentum": config.momentum,
        "weight_decay": config.weight_decay, "warmup_epochs": config.warmup_epochs,
        # Ultralytics refuses bfloat16 on a CPU; there the forward pass is wrapped instead (pass_in_bfloat16).
        "amp": "bf16" if device != "cpu" and precision_of(config, device) == "bf16" else False, "nbs": config.batch,
        "box": config.gain_box, "cls": config.gain_class, "dfl": config.gain_dfl, "pose": config.gain_pose,
        "degrees": config.degrees, "translate": config.translate, "scale": config.scale, "shear": config.shear,
        "fliplr": config.flip, "flipud": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": config.brightness,
        "mosaic": 0.0, "mixup": 0.0, "cutmix": 0.0, "copy_paste": 0.0, "close_mosaic": 0, "erasing": 0.0,
        "pretrained": False,
    }  # fmt: skip
