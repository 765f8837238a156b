"""Detection pre-training: PS and FH boxes, from a segmenter or corrected by a person (Li et al., section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ultralytics.utils.loss import BboxLoss
from ultralytics.utils.nms import non_max_suppression

from aop_pose.formats.boxes import box_iou
from aop_pose.formats.labels import CLASSES
from aop_pose.letterbox import fit
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pipelines.yolo.dataset import BoxDataset, BoxExample
from aop_pose.pipelines.yolo.exact import ExactTraining


class BoxTrainer(ExactTraining):
    """Trains a two-class detector and keeps the epoch with the greatest mean IoU on ``checks``."""

    checked = ("val/box_iou", *(f"val/box_iou_{name.lower()}" for name in CLASSES))

    dataset_kind = BoxDataset
    network = "{model}.yaml"

    def get_dataset(self) -> dict[str, Any]:
        return {
            "train": "train", "val": "val", "names": dict(enumerate(CLASSES)), "nc": len(CLASSES), "channels": 3,
        }  # fmt: skip

    def make_loss(self, model: Any) -> Any:
        criterion = super().make_loss(model)
        if self.config.box_loss == "mse":
            criterion.bbox_loss = SquaredBoxLoss(criterion.reg_max).to(self.device)
        return criterion

    def check(self, model: torch.nn.Module) -> dict[str, float]:
        return dict(zip(self.checked, overlaps(model, self.checks, self.config, self.device), strict=True))


class SquaredBoxLoss(BboxLoss):
    """Equation 10 of the paper in place of the CIoU term: squared differences of centre and size.

    Differences are shares of the input's width and height, so that the term does not depend on the image size; it is
    weighted by the assigner's target scores, as Ultralytics weights its own term. The DFL term stays.
    """

    def forward(
        self, distances: Any, predicted: Any, anchors: Any, target: Any, scores: Any, total: Any, chosen: Any,
        imgsz: Any, stride: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        _, dfl = super().forward(distances, predicted, anchors, target, scores, total, chosen, imgsz, stride)
        share = stride / imgsz[[1, 0, 1, 0]]
        difference = ((centre_size(predicted) - centre_size(target)) * share)[chosen]
        return (difference.square().sum(-1) * scores[chosen].sum(-1)).sum() / total, dfl


def centre_size(corners: torch.Tensor) -> torch.Tensor:
    """(..., 4) left, top, right, bottom -> centre x, y, width, height."""
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def overlaps(
    model: torch.nn.Module, checks: Sequence[BoxExample], config: YoloConfig, device: torch.device
) -> list[float]:
    """Mean IoU of the best-scored box of each class with the example's box, over all and per class.

    A class that a frame has and the network does not find at a score of 0.05 counts 0; without examples all are NaN.
    """
    found: dict[int, list[float]] = {number: [] for number in range(len(CLASSES))}
    model = model.eval()
    for example in checks:
        pixels, box = fit(example.pixels, config.image_size)
        gray = torch.from_numpy(pixels).to(device)[None, None].float() / 255
        with torch.no_grad():
            output = model(gray.expand(-1, 3, -1, -1))
        output = output[0] if isinstance(output, (tuple, list)) else output
        rows = non_max_suppression(output, conf_thres=0.05, max_det=20)[0].cpu().numpy()
        for number, wanted in zip(example.classes, example.boxes, strict=True):
            candidates = rows[rows[:, 5] == number]
            if not len(candidates):
                found[number].append(0.0)
                continue
            best = candidates[np.argmax(candidates[:, 4]), :4]
            found[number].append(box_iou(box.backward(best.reshape(2, 2)).ravel(), wanted))
    everything = [value for values in found.values() for value in values]
    return [float(np.mean(values)) if values else float("nan") for values in (everything, *found.values())]
