"""A YOLO pose network: its loss with a weight a frame, and how ``inference`` sees it, in torch or exported to ONNX.

The loss is labelled loss + C x loss on pseudo-labels (Li et al., equations 11 and 13). Nothing of Ultralytics' loss is
written anew: its terms are handed targets, masks and sums that are multiplied by the weight of their frame. What it
divides by stays unweighted: the sum of target scores and the number of candidates are those of the whole batch, a frame
of weight 0 included. So the loss is linear in every weight, weight 1 everywhere is the stock loss bit for bit, and a
frame of weight 0 gives its predictions no gradient.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from ultralytics.nn.modules.head import Pose
from ultralytics.utils.loss import BboxLoss, KeypointLoss, v8PoseLoss

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.inference.engine import TORCH
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.export import checkpoint_of, decoded_by, run_facts, write_artefact
from aop_pose.pipelines.run import RECORD
from aop_pose.pipelines.start import Start, read_checkpoint
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.provenance import sha256_of


class GrayPose(torch.nn.Module):
    """Input (B, 1, S, S) gray in [0, 1]; output (B, 5 + 2 n, anchors), points in pixel centres of the input.

    The score is that of class 0: further classes are boxes that only training needed.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.first_class(self.model(gray.expand(-1, 3, -1, -1)))

    def first_class(self, output: Any) -> torch.Tensor:
        """Ultralytics' (B, 4 + classes + 2 n, anchors), perhaps first of a tuple, without the further classes."""
        output = output[0] if isinstance(output, (tuple, list)) else output
        classes = self.model.model[-1].nc
        return output if classes == 1 else torch.cat([output[:, :5], output[:, 4 + classes :]], dim=1)


class TorchNetwork:
    """The network as it was trained; callable as ``inference.predictor.Network``."""

    def __init__(self, model: torch.nn.Module, device: torch.device | str = "cpu"):
        self.module = GrayPose(model).eval().to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        self.module.eval()
        return self.module(torch.from_numpy(inputs).to(self.device)).float().cpu().numpy()


def load_checkpoint(path: Path) -> Any:
    """A pose checkpoint; UsageError where it is none, or not a network for the points of schema ``aop``."""
    model = read_checkpoint(path, "weights")
    head = model.model[-1]
    if not isinstance(head, Pose) or list(head.kpt_shape) != [len(AOP.points), 2]:
        found = f"keypoint shape {list(head.kpt_shape)}" if isinstance(head, Pose) else type(head).__name__
        raise UsageError(f"weights: {path}: expected a pose head with keypoint shape [3, 2], found {found}")
    return model


def export_onnx(model: Any, image_size: int, path: Path) -> None:
    """Write the fused network, first convolution folded to one gray channel, with a free batch size."""
    model = copy.deepcopy(model).float().eval()
    model.fuse(verbose=False)
    head = model.model[-1]
    head.export, head.format, head.dynamic = True, "onnx", False
    fold_gray(model)
    example = torch.zeros(2, 1, image_size, image_size)
    wrapper = FoldedPose(model).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # The newer exporter needs one more package and gives nothing more for a plain convolutional network.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Anchors are traced as constants: right, since only the batch size is free.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        wrapper(example)
        torch.onnx.export(
            wrapper,
            (example,),
            str(path),
            input_names=["gray"],
            output_names=["candidates"],
            dynamic_axes={"gray": {0: "batch"}, "candidates": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


class FoldedPose(GrayPose):
    """As ``GrayPose``, for a network whose first convolution takes one channel."""

    def forward(self, gray: torch.Tensor) -> torch.Tensor:
        return self.first_class(self.model(gray))


def fold_gray(model: torch.nn.Module) -> None:
    """Three equal channels through a convolution are one channel through the sum of its weights."""
    first = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    first.weight = torch.nn.Parameter(first.weight.sum(dim=1, keepdim=True), requires_grad=False)
    first.in_channels = 1


def transfer(start: Start, model: str, classes: int = 1) -> tuple[int, int]:
    """Number of tensors of a pose network of that size that the start fills whole, and of all that it has.

    The head differs between tasks; backbone and neck must fit whole. UsageError where they do not.
    """
    from ultralytics.nn.tasks import PoseModel

    wanted = PoseModel(f"{model}-pose.yaml", nc=classes, data_kpt_shape=[len(AOP.points), 2], verbose=False)
    if start.model is None:
        return 0, len(wanted.state_dict())
    # Ultralytics gives the head the width of the start's where only that differs, so it is asked rather than guessed.
    wanted.load(start.model, verbose=False)
    tensors, given = wanted.state_dict(), start.model.state_dict()
    fitting = {key for key, value in tensors.items() if key in given and given[key].shape == value.shape}
    body = [key for key in tensors if not key.startswith(f"model.{len(wanted.model) - 1}.")]
    if missing := [key for key in body if key not in fitting]:
        raise UsageError(
            f"--init: expected all {len(body)} backbone and neck tensors of {model}, "
            f"found {len(body) - len(missing)} in {start.words} (first that does not fit: {missing[0]})"
        )
    return len(fitting), len(tensors)


def predictor(path: Path, device: str = "cpu") -> Predictor:
    """The network of a run folder or checkpoint, decoded as its artefact will be."""
    file, contract = _contract(path)
    model = load_checkpoint(file)
    return Predictor(
        contract, TorchNetwork(model, device), f"{contract.name}@{sha256_of(file)[:8]}", engine=TORCH
    )  # fmt: skip


def export(path: Path, out: Path, threshold: float | None = None, decode: str | None = None) -> AnyPredictor:
    """See ``Pipeline.export``."""
    file, contract = _contract(path)
    named = decoded_by(contract.model_copy(update={"name": out.stem}), threshold, decode)
    model = load_checkpoint(file)
    return write_artefact(out, named, lambda part: export_onnx(model, contract.image_size, part), TorchNetwork(model))


def _contract(path: Path) -> tuple[Path, Contract]:
    """Checkpoint file and contract of a run folder, of a checkpoint within one, or of a lone checkpoint."""
    file, folder = checkpoint_of(path)
    run = run_facts(folder)
    if run is None:
        config, run = YoloConfig(), {"name": file.name, "note": "a checkpoint without its run folder"}
    else:
        config = validate(YoloConfig, run["config"], str(folder / RECORD))
    return file, Contract(
        name=folder.name if path.is_dir() else file.stem, schema=AOP.name, head="pose", image_size=config.image_size,
        threshold=config.threshold, decode=config.decode, training_run=run,
    )  # fmt: skip


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
