"""The losses of FetusMapV2 (equations 3-8). What tells left from right: ``inference.volume_predictor.sides_order``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aop_pose.errors import UsageError

# Head and trunk, then the sides that belong together: points 1-10, 11-13 with 14-16, 17-19 with 20-22 (section 3.2).
TRUNK = tuple(range(10))
PAIRS = (((10, 11, 12), (13, 14, 15)), ((16, 17, 18), (19, 20, 21)))


def log_probabilities(maps: Tensor) -> Tensor:
    """Logarithm of the softmax over the voxels of each map: (N, points, D, H, W) of any such maps."""
    return maps.flatten(2).log_softmax(dim=2).view_as(maps)


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
