"""Ultralytics' pose trainer on frames in memory; the kept epoch is the one with the least mean radial error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ultralytics.models.yolo.pose import PoseTrainer

from aop_pose.decode import decode_pose
from aop_pose.formats.labels import CLASSES
from aop_pose.geometry import angle_of_progression
from aop_pose.letterbox import fit
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.dataset import Example, FrameDataset
from aop_pose.pipelines.yolo.exact import ExactTraining
from aop_pose.pipelines.yolo.loss import FrameWeight, VisiblePointLoss, WeightedPoseLoss
from aop_pose.pipelines.yolo.network import TorchNetwork
from aop_pose.schemas import AOP

CHECKED = ("val/mre_px", "val/aop_mae_deg", "val/missing")


class FrameTrainer(ExactTraining, PoseTrainer):
    """Trains on ``examples`` and keeps the epoch that errs least on ``checks`` (without any, the last)."""

    checked = CHECKED
    dataset_kind = FrameDataset
    network = "{model}-pose.yaml"

    def get_dataset(self) -> dict[str, Any]:
        points, names = len(AOP.points), class_names(self.examples)
        return {
            "train": "train", "val": "val", "names": names, "nc": len(names), "channels": 3,
            "kpt_shape": [points, 2], "flip_idx": list(range(points)),
            "kpt_oks_sigmas": [self.config.oks_sigma] * points,
        }  # fmt: skip

    def make_loss(self, model: Any) -> Any:
        squared = self.config.keypoint_loss == "mse"
        if squared or any(example.weight is not None for example in self.examples):
            self.table = {example.name: frame_weight(example.weight, self.config) for example in self.examples}
            return WeightedPoseLoss(model, self.table, self.config.image_size, squared)
        criterion = super().make_loss(model)
        if self.data["nc"] > 1:
            criterion.keypoint_loss = VisiblePointLoss(criterion.keypoint_loss.sigmas)
        return criterion

    def check(self, model: torch.nn.Module) -> dict[str, float]:
        return errors(model, self.checks, self.config, self.device)


def class_names(examples: Sequence[Example]) -> dict[int, str]:
    """Class 0 has the points; where examples have auxiliary boxes, classes 1 and 2 are theirs.

    That is equation 11 of Li et al. Its alpha has no number in the paper: here the boxes of all classes share
    Ultralytics' gains, alpha = 1.
    """
    return dict(enumerate((AOP.name, *CLASSES) if any(example.classes for example in examples) else (AOP.name,)))


def frame_weight(weight: float | None, config: YoloConfig) -> FrameWeight:
    """What a frame's loss is multiplied by; ``weight`` None = labelled."""
    if weight is None:
        return FrameWeight()
    detection = {"all": weight, "points": 1.0, "points-only": 0.0}[config.weighted_terms]
    return FrameWeight(points=weight, detection=detection)


def errors(
    model: torch.nn.Module, checks: Sequence[Example], config: YoloConfig, device: torch.device
) -> dict[str, float]:
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
