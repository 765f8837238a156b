"""The network that finds points: a U-Net, run by a memory plan where it has one, and its answer."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.inference.grid import PlacePrior
from aop_pose.pipelines.fetusmap.config import FetusmapConfig
from aop_pose.pipelines.fetusmap.losses import divergence, fetus_loss, log_probabilities
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, Planned


def peak_of(sigma: float) -> float:
    """Height of a map of equation 2 at its point: 1 / (sqrt(2 pi) sigma)^3."""
    return float((math.sqrt(2 * math.pi) * sigma) ** -3)


def encode(points: Tensor, size: Sequence[int], sigma: float) -> Tensor:
    """Maps (B, n, *size) of points (B, n, 3), i, j, k in voxels of the map, that peak at 1 where the point lies.

    Those of equation 2 divided by their peak; as ``inference.decode.encode``. A missing (NaN) point has an empty map.
    """
    maps = points.new_ones(1)
    for axis, count in enumerate(size):
        voxels = torch.arange(count, dtype=points.dtype, device=points.device)
        along = torch.exp(-((voxels - points[..., axis, None]) ** 2) / (2 * sigma**2))
        spread = [1, 1, 1]
        spread[axis] = count
        maps = maps * along.view(*points.shape[:2], *spread)
    return maps.nan_to_num(nan=0.0)


def answer(raw: Tensor, loss: str, sigma: float) -> Tensor:
    """Maps that peak at 1 where the network is as sure as it was taught to be.

    Under ``mse`` they are the output itself. Under ``cross-entropy`` they are its softmax over the voxels, divided by
    the peak of equation 2: the softmax is what equation 5 compares with that map, so that its optimum is the map
    itself; the raw output is its logarithm, up to a constant, and has its highest voxel in the same place.
    """
    if loss == "mse":
        return raw
    return log_probabilities(raw).exp() / peak_of(sigma)


def map_loss(
    raw: Tensor, points: Tensor, loss: str, sigma: float, sides: Sequence[tuple[Sequence[int], Sequence[int]]] = ()
) -> Tensor:
    """Scalar loss of a batch, the mean over its points.

    Args:
        raw: output of the network.
        points: (B, n, 3), i, j, k in voxels of the input; NaN for a point without a label, which is not learned.
        loss: ``mse`` or ``cross-entropy``.
        sides: channels of the left and of the right side of each pair that the Pair loss takes; none = no Pair loss.
    """
    targets = encode(points, raw.shape[2:], sigma)
    if loss == "mse":
        # Almost all voxels are empty: the mean would make the gradient vanish. This is the mean over a map's own ball.
        known = points.isfinite().all(dim=2).to(raw.dtype)
        return (((raw - targets) ** 2).sum(dim=(2, 3, 4)) * known).mean() * peak_of(sigma)
    truth = targets * peak_of(sigma)
    count = raw.shape[1]
    if sides:
        paired = {channel for pair in sides for side in pair for channel in side}
        return fetus_loss(raw, truth, [one for one in range(count) if one not in paired], sides) / count
    return divergence(log_probabilities(raw), truth).mean() / count


class FetusmapModel(FetusmapConfig):
    """A checkpoint's network: the settings, the schema its columns told, the plan it was trained by."""

    points: str
    memory_plan: Plan | None = None
    places: PlacePrior | None = None
    poses: int = 0
    """Of the training set, that are stored for the refinement (``refine``); 0 for a schema it does not know."""

    @property
    def schema_of_points(self) -> Schema:
        return SCHEMAS[self.points]

    @property
    def taught_sides(self) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
        """Channels of the left and right points of each pair that the Pair loss takes; none without it."""
        return self.schema_of_points.sides if self.pair else ()


class LandmarkNetwork(nn.Module):
    """Volume (N, 1, I, J, K) -> one map a point. ``forward`` gives what the loss takes, ``answer`` what is decoded.

    Reversible blocks change the network, so that it is built by its plan.
    """

    def __init__(self, model: FetusmapModel) -> None:
        super().__init__()
        self.loss, self.sigma = model.loss, model.sigma
        body: nn.Module = UNet3d(1, len(model.schema_of_points.points), model.widths, model.stem)
        if model.memory_plan is not None:
            body = model.memory_plan.apply(body)
        self.body = body
        self.poses: Tensor | None
        # (poses, n, 3) in right-handed mm. A buffer, so that a checkpoint is whole without a further file.
        count = len(model.schema_of_points.points)
        self.register_buffer("poses", torch.zeros(model.poses, count, 3) if model.poses else None)

    def forward(self, gray: Tensor) -> Tensor:
        """Raw maps (N, n, I, J, K)."""
        return self.body(gray).float()

    def answer(self, gray: Tensor) -> Tensor:
        """Maps that peak at 1 where the network is as sure as it was taught to be (see ``answer``)."""
        return answer(self(gray), self.loss, self.sigma)

    def exported(self) -> nn.Module:
        """The same answer in what the exporter can write."""
        return Exported(self)


class Exported(nn.Module):
    """The same answer at batch 1 with instead of each normalisation by its batch one by its volume.

    ``BatchNorm3d(track_running_stats=False)`` takes mean and variance over batch and voxels of a channel. With one
    volume in the batch that is the mean and variance of the volume: an instance normalisation with the same weights.
    """

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        network = copy.deepcopy(network).eval()
        self.loss, self.sigma = network.loss, network.sigma
        body = network.body
        # Without gradients nothing is recomputed: the plain graph of a planned network says the same.
        self.body = fx.GraphModule(body.graph.root, body.graph.graph) if isinstance(body, Planned) else body
        for module in list(self.body.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm3d):
                    setattr(module, name, _by_volume(child))

    def forward(self, gray: Tensor) -> Tensor:
        return answer(self.body(gray), self.loss, self.sigma)


def _by_volume(norm: nn.BatchNorm3d) -> nn.InstanceNorm3d:
    made = nn.InstanceNorm3d(norm.num_features, eps=norm.eps, affine=norm.affine)
    made.load_state_dict(norm.state_dict())
    return made
