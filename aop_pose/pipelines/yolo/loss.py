"""The pose loss with a weight a frame: labelled loss + C x loss on pseudo-labels (Li et al., equations 11 and 13).

Nothing of Ultralytics' loss is written anew: its terms are handed targets, masks and sums that are multiplied by the
weight of their frame. What it divides by stays unweighted: the sum of target scores and the number of candidates are
those of the whole batch, a frame of weight 0 included. So the loss is linear in every weight, weight 1 everywhere is
the stock loss bit for bit, and a frame of weight 0 gives its predictions no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from ultralytics.utils.loss import BboxLoss, KeypointLoss, v8PoseLoss


@attrs.frozen
class FrameWeight:
    """The factors of the terms of a frame's loss."""

    points: float = 1.0
    """The keypoint term."""
    detection: float = 1.0
    """The box, DFL and class terms."""


class VisiblePointLoss(KeypointLoss):
    """Ultralytics' term over the candidates that have points to find.

    A candidate of an auxiliary box has none. It gives no gradient in the stock term either, but counts in its mean, so
    that boxes would weaken the points.
    """

    weights: torch.Tensor | None = None
    """(candidates,) of their frames; None = 1."""

    def forward(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        known = kpt_mask.any(dim=1)
        if not known.any():
            return pred_kpts[known].sum()
        mask = kpt_mask if self.weights is None else kpt_mask * self.weights[:, None]
        return self.term(pred_kpts[known], gt_kpts[known], mask[known], area[known])

    def term(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Ultralytics' mean over candidates and points; a mask of other values than 0 and 1 weighs its summands."""
        return super().forward(pred_kpts, gt_kpts, kpt_mask, area)


class SquaredPointLoss(VisiblePointLoss):
    """Equation 12 in place of OKS: mean of |l - l^|^2 over points and candidates, whatever their pose box.

    The paper gives no unit. Here lengths are counted in 2 sigma of the input's side: small errors have the gradient
    that OKS gives them on a pose box of half the input's area, so that the same gain serves both; large ones keep it.
    """

    area: torch.Tensor
    """(candidates, 1) of the input, in squares of each candidate's stride."""

    def forward(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        return super().forward(pred_kpts, gt_kpts, kpt_mask, self.area)

    def term(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        squares = (pred_kpts[..., :2] - gt_kpts[..., :2]).square().sum(dim=-1)
        return (squares / ((2 * self.sigmas).square() * area) * kpt_mask).mean()


class WeightedClassLoss(torch.nn.BCEWithLogitsLoss):
    """Ultralytics' class term, (frames, candidates, classes), times the weight of each frame."""

    weights: torch.Tensor

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        values = super().forward(input, target)
        return values * self.weights[:, None, None].to(values.dtype)


class WeightedBoxLoss(BboxLoss):
    """Ultralytics' CIoU and DFL terms times the weight of each frame."""

    weights: torch.Tensor

    def forward(
        self, distances: Any, predicted: Any, anchors: Any, target: Any, scores: Any, total: Any, chosen: Any,
        imgsz: Any, stride: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        scores = scores * self.weights[:, None, None].to(scores.dtype)
        return super().forward(distances, predicted, anchors, target, scores, total, chosen, imgsz, stride)


class WeightedPoseLoss(v8PoseLoss):
    """Ultralytics' pose loss in which every frame has its weights, looked up by ``batch["im_file"]``."""

    def __init__(self, model: Any, table: Mapping[str, FrameWeight], image_size: int, squared: bool = False):
        """``table``: every frame's weights by name, read at each step; ``squared``: equation 12 in place of OKS."""
        super().__init__(model)
        self.table, self.image_size = table, image_size
        self.bce: Any = WeightedClassLoss(reduction="none")
        self.bbox_loss: Any = WeightedBoxLoss(self.reg_max).to(self.device)
        self.keypoint_loss: Any = (SquaredPointLoss if squared else VisiblePointLoss)(self.keypoint_loss.sigmas)

    def loss(self, preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        found = [self.table[name] for name in batch["im_file"]]
        pairs = torch.tensor([(weight.points, weight.detection) for weight in found]).to(self.device)
        self.point_weights = pairs[:, 0]
        self.bce.weights = self.bbox_loss.weights = pairs[:, 1]
        return super().loss(preds, batch)

    def calculate_keypoints_loss(
        self, masks: torch.Tensor, target_gt_idx: Any, keypoints: Any, stride_tensor: torch.Tensor, *others: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        frame, candidate = masks.nonzero(as_tuple=True)
        self.keypoint_loss.weights = self.point_weights[frame]
        self.keypoint_loss.area = (self.image_size / stride_tensor[candidate]).square()
        return super().calculate_keypoints_loss(masks, target_gt_idx, keypoints, stride_tensor, *others)
