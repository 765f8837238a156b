"""The maps of equation 2, and what a network's raw output means under each loss. Maps are (B, n, I, J, K)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from aop_pose.pipelines.fetusmap.pair_loss import divergence, fetus_loss, log_probabilities


def peak_of(sigma: float) -> float:
    """Height of a map of equation 2 at its point: 1 / (sqrt(2 pi) sigma)^3."""
    return float((math.sqrt(2 * math.pi) * sigma) ** -3)


def encode(points: Tensor, size: Sequence[int], sigma: float) -> Tensor:
    """Maps (B, n, *size) of points (B, n, 3), i, j, k in voxels of the map, that peak at 1 where the point lies.

    Those of equation 2 divided by their peak; as ``heatmaps.encode``. A missing (NaN) point has an empty map.
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
