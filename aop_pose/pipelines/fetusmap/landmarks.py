"""The network that finds points: a U-Net, run by a memory plan where it has one, and its answer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn

from aop_pose.pipelines.fetusmap.config import FetusmapConfig
from aop_pose.pipelines.fetusmap.maps import answer
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, Planned
from aop_pose.schemas import SCHEMAS, Schema
from aop_pose.volume_prior import PlacePrior


class FetusmapModel(FetusmapConfig):
    """What a checkpoint says of its network: the settings, the schema its columns told, the plan it was trained by."""

    points: str
    memory_plan: Plan | None = None
    places: PlacePrior | None = None
    poses: int = 0
    """Of the training set, that are stored for the refinement (``refining``); 0 for a schema it does not know."""

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
        """Maps that peak at 1 where the network is as sure as it was taught to be (``maps.answer``)."""
        return answer(self(gray), self.loss, self.sigma)


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
