"""The network that finds points: a U-Net, run by a memory plan where it has one, its answer, and its losses.

Losses are equations 3 to 8 of FetusMapV2. What tells left from right: ``inference.volume_predictor.sides_order``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, fx, nn

from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.errors import UsageError
from aop_pose.inference.grid import PlacePrior
from aop_pose.inference.stages import FARTHEST_MM
from aop_pose.pipelines.fetusmap.config import FetusmapConfig, FinerConfig
from aop_pose.pipelines.fetusmap.network import UNet3d, in_planes
from aop_pose.pipelines.fetusmap.planner import Plan, Planned

# Head and trunk, then the sides that belong together: points 1-10, 11-13 with 14-16, 17-19 with 20-22 (section 3.2).
TRUNK = tuple(range(10))
PAIRS = (((10, 11, 12), (13, 14, 15)), ((16, 17, 18), (19, 20, 21)))


def log_probabilities(maps: Tensor, absent: bool = False) -> Tensor:
    """Logarithm of the softmax over the voxels of each map: (N, points, D, H, W) of any such maps.

    With ``absent`` there is one more place, nowhere, that is as likely as all voxels of a map of zeros together.
    """
    flat = maps.flatten(2)
    if not absent:
        return flat.log_softmax(dim=2).view_as(maps)
    nowhere = torch.full_like(flat[:, :, :1], math.log(flat.shape[2]))
    return torch.cat([flat, nowhere], dim=2).log_softmax(dim=2)[:, :, :-1].view_as(maps)


def divergence(logs: Tensor, truth: Tensor) -> Tensor:
    """K of equation 5 for each volume: cross-entropy of truth maps and predicted ones, summed over points: (N,).

    Args:
        logs: ``log_probabilities`` of the predicted maps (N, points, D, H, W).
        truth: maps of equation 2, same shape.
    """
    return -(logs * truth).flatten(1).sum(dim=1)


def pair_loss(logs_left: Tensor, logs_right: Tensor, truth_left: Tensor, truth_right: Tensor) -> Tensor:
    """L1 + L2 of equations 3, 4 and 6 for each volume: (N,). The same when the sides of either are swapped.

    Args:
        logs_left, logs_right: ``log_probabilities`` of one side's points each (N, points, D, H, W).
        truth_left, truth_right: their maps of equation 2.
    """
    straight = divergence(logs_left, truth_left) + divergence(logs_right, truth_right)
    crossed = divergence(logs_left, truth_right) + divergence(logs_right, truth_left)
    both = torch.logaddexp(logs_left, logs_right)
    return torch.minimum(straight, crossed) + divergence(both, truth_left + truth_right)


def fetus_loss(
    maps: Tensor,
    truth: Tensor,
    single: Sequence[int] = TRUNK,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]] = PAIRS,
) -> Tensor:
    """Equation 8, mean over the batch: the pair loss of each pair of sides plus K of the points without a side.

    Args:
        maps: predicted (N, points, D, H, W), before the softmax.
        truth: maps of equation 2, same shape.
        single: channels without a side; pairs: channels of the left and of the right side, in matching order.

    Raises:
        UsageError: shapes differ, or the channels are not each named once.
    """
    named = sorted([*single, *(channel for sides in pairs for side in sides for channel in side)])
    if maps.shape != truth.shape or named != list(range(maps.shape[1])):
        raise UsageError(
            f"pair loss: expected predicted and true maps of one shape with channels {named}, found "
            f"{tuple(maps.shape)} and {tuple(truth.shape)}"
        )
    logs = log_probabilities(maps)
    total = divergence(logs[:, list(single)], truth[:, list(single)])
    for left, right in pairs:
        chosen = logs[:, list(left)], logs[:, list(right)], truth[:, list(left)], truth[:, list(right)]
        total = total + pair_loss(*chosen)
    return total.mean()


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


Units = Sequence[Sequence[int]]
"""The points of each map: one, or an interchangeable pair."""


def answer(raw: Tensor, loss: str, sigma: float, units: Units = (), absent: bool = False) -> Tensor:
    """Maps that peak at 1 where the network is as sure as it was taught to be.

    Under ``mse`` they are the output itself. Under ``cross-entropy`` they are its softmax over the voxels, divided by
    the peak of equation 2: the softmax is what equation 5 compares with that map, so that its optimum is the map
    itself; the raw output is its logarithm, up to a constant, and has its highest voxel in the same place. A map of two
    points was taught half of each.
    """
    if loss == "mse":
        return raw
    maps = log_probabilities(raw, absent).exp() / peak_of(sigma)
    if all(len(unit) == 1 for unit in units):
        return maps
    return maps * maps.new_tensor([len(unit) for unit in units])[:, None, None, None]


def map_loss(
    raw: Tensor,
    points: Tensor,
    loss: str,
    sigma: float,
    sides: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
    units: Units | None = None,
    absent: bool = False,
) -> Tensor:
    """Scalar loss of a batch, the mean over its maps.

    Args:
        raw: output of the network.
        points: (B, n, 3), i, j, k in voxels of the input; NaN for a point without a label, which is not learned, and
            infinity for one that the input does not show.
        loss: ``mse`` or ``cross-entropy``.
        sides: channels of the left and of the right side of each pair that the Pair loss takes; none = no Pair loss.
        units: the points of each map; None = each point has one. A map of two shows half of each.
        absent: with ``cross-entropy``, what of a point lies beyond the input is learned as nowhere.
    """
    targets = encode(points, raw.shape[2:], sigma)
    known = ~points.isnan().any(dim=2)
    grouped = units is not None and [list(unit) for unit in units] != [[index] for index in range(points.shape[1])]
    if units is not None and grouped:
        targets = torch.stack([targets[:, list(unit)].mean(dim=1) for unit in units], dim=1)
        known = torch.stack([known[:, list(unit)].all(dim=1) for unit in units], dim=1)
    if loss == "mse":
        # Almost all voxels are empty: the mean would make the gradient vanish. This is the mean over a map's own ball.
        return (((raw - targets) ** 2).sum(dim=(2, 3, 4)) * known.to(raw.dtype)).mean() * peak_of(sigma)
    truth = targets * peak_of(sigma)
    count = raw.shape[1]
    if sides:
        paired = {channel for pair in sides for side in pair for channel in side}
        return fetus_loss(raw, truth, [one for one in range(count) if one not in paired], sides) / count
    if grouped:
        # Of a pair with one label the other half is not known.
        truth = truth * known[..., None, None, None].to(truth.dtype)
    loss_of_maps = divergence(log_probabilities(raw, absent), truth)
    if absent:
        logs = raw.flatten(2).logsumexp(dim=2)
        nowhere = math.log(raw[0, 0].numel())
        share = (1 - truth.flatten(2).sum(dim=2)).clamp(min=0) * known.to(truth.dtype)
        loss_of_maps = loss_of_maps + (share * (torch.logaddexp(logs, torch.full_like(logs, nowhere)) - nowhere)).sum(1)
    return loss_of_maps.mean() / count


@attrs.frozen
class Look:
    """The network's look of a number: what it takes and gives."""

    size: tuple[int, int, int]
    sigma: float
    units: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    stem: int

    @property
    def points(self) -> tuple[int, ...]:
        """All that it finds."""
        return tuple(index for unit in self.units for index in unit)

    def body(self) -> UNet3d:
        """A network for it, with random weights."""
        return UNet3d(1, len(self.units), self.widths, self.stem)


def looks_of(config: FetusmapConfig, schema: Schema) -> list[Look]:
    """The first look and the finer ones; ValueError where one names a point that the schema does not have."""
    looks = []
    settings: list[FetusmapConfig | FinerConfig] = [config, *config.stages]
    for one in settings:
        chosen = schema.points if one.finds is None else one.finds
        schema.indices(chosen)
        units = tuple(schema.indices(unit) for unit in schema.units if set(unit) & set(chosen))
        looks.append(Look(one.size, one.sigma, units, one.widths, one.stem))
    return looks


class FetusmapModel(FetusmapConfig):
    """A checkpoint's network: the settings, the schema its columns told, the plan it was trained by."""

    points: str
    apart_mm: tuple[float, float] = (0.0, FARTHEST_MM)
    """Least and greatest distance of the points of an interchangeable pair, as the labels have it."""
    away_mm: tuple[float, float] = (0.0, FARTHEST_MM)
    """Likewise of these points from those that their looks are around."""
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

    @property
    def looks_of_network(self) -> list[Look]:
        """The first look and the finer ones."""
        return looks_of(self, self.schema_of_points)

    def units_of(self, look: Look) -> tuple[tuple[str, ...], ...]:
        """The points of each map of a look, by name."""
        names = self.schema_of_points.points
        return tuple(tuple(names[index] for index in unit) for unit in look.units)


class LandmarkNetwork(nn.Module):
    """Volume (N, 1, I, J, K) -> its maps. ``forward`` gives what the loss takes, ``answer`` what is decoded.

    Each look has a body of its own; ``stage`` numbers them. Reversible blocks change the network, so that the first
    body is built by its plan.
    """

    def __init__(self, model: FetusmapModel) -> None:
        super().__init__()
        self.loss, self.sigma, self.absent = model.loss, model.sigma, model.absent > 0
        self.looks = model.looks_of_network
        body: nn.Module = self.looks[0].body()
        self.body = in_planes(body) if model.memory_plan is None else model.memory_plan.apply(body)
        self.finer = nn.ModuleList(in_planes(look.body()) for look in self.looks[1:])
        self.poses: Tensor | None
        # (poses, n, 3) in right-handed mm. A buffer, so that a checkpoint is whole without a further file.
        count = len(model.schema_of_points.points)
        self.register_buffer("poses", torch.zeros(model.poses, count, 3) if model.poses else None)

    def forward(self, gray: Tensor, stage: int = 0) -> Tensor:
        """Raw maps (N, maps, I, J, K) of a look."""
        return (self.finer[stage - 1] if stage else self.body)(gray).float()

    def answer(self, gray: Tensor, stage: int = 0) -> Tensor:
        """Maps that peak at 1 where the network is as sure as it was taught to be (see ``answer``)."""
        look = self.looks[stage]
        return answer(self(gray, stage), self.loss, look.sigma, look.units, self.absent)

    def exported(self, stage: int = 0) -> nn.Module:
        """The same answer in what the exporter can write."""
        return Exported(self, stage)


class Exported(nn.Module):
    """The same answer at batch 1 with instead of each normalisation by its batch one by its volume.

    ``BatchNorm3d(track_running_stats=False)`` takes mean and variance over batch and voxels of a channel. With one
    volume in the batch that is the mean and variance of the volume: an instance normalisation with the same weights.
    """

    def __init__(self, network: LandmarkNetwork, stage: int = 0) -> None:
        super().__init__()
        network = copy.deepcopy(network).eval()
        self.loss, self.look, self.absent = network.loss, network.looks[stage], network.absent
        body = network.finer[stage - 1] if stage else network.body
        # Without gradients nothing is recomputed: the plain graph of a planned network says the same.
        self.body = fx.GraphModule(body.graph.root, body.graph.graph) if isinstance(body, Planned) else body
        for module in list(self.body.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm3d):
                    setattr(module, name, _by_volume(child))

    def forward(self, gray: Tensor) -> Tensor:
        return answer(self.body(gray), self.loss, self.look.sigma, self.look.units, self.absent)


def _by_volume(norm: nn.BatchNorm3d) -> nn.InstanceNorm3d:
    made = nn.InstanceNorm3d(norm.num_features, eps=norm.eps, affine=norm.affine)
    made.load_state_dict(norm.state_dict())
    return made
