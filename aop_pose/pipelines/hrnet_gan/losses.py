"""The losses of equations 8 and 11 to 17. Maps are (B, n, h, w), points (B, n, 2); each returns a scalar."""

from __future__ import annotations

import torch
from torch.nn import functional

from aop_pose.pipelines.losses import coordinate_error, soft_argmax

TEMPERATURE = 10.0
"""The authors' code takes the softmax of so many times the map."""


def shares_of(maps: torch.Tensor, rule: str) -> torch.Tensor:
    """Equation 8: points (B, n, 2) as shares of the map, 0 at its left and upper edge and 1 at the opposite ones.

    ``relu`` divides what is positive by its sum, so that a map of one Gaussian returns its centre; ``softmax10`` takes
    the softmax of ten times the map, whose tail over all the other pixels draws every point towards the middle.
    """
    if rule == "relu":
        weights = functional.relu(maps)
    else:
        weights = functional.softmax(TEMPERATURE * maps.flatten(2), dim=2).view_as(maps)
    size = torch.tensor([maps.shape[3], maps.shape[2]], dtype=maps.dtype, device=maps.device)
    return (soft_argmax(weights) + 0.5) / size


def heatmap_loss(maps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Equation 13: the squared error, mean over points and pixels."""
    return functional.mse_loss(maps, targets)


def coordinate_loss(shares: torch.Tensor, targets: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Equation 14: the squared distance, mean over the points that are ``seen`` (B, n): 0 or 1."""
    return (coordinate_error(shares, targets) * seen).sum() / seen.sum().clamp_min(1.0)


def entropy(maps: torch.Tensor) -> torch.Tensor:
    """Equations 15 and 16: Shannon entropy of the softmax of each map in nats, mean over the points."""
    logs = functional.log_softmax(maps.flatten(2), dim=2)
    return -(logs.exp() * logs).sum(dim=2).mean()


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor, kind: str) -> torch.Tensor:
    """Equation 11 (``lsgan``), or the authors' code (``bce``): half for each kind of map."""
    return (_distance(real, 1.0, kind) + _distance(fake, 0.0, kind)) / 2


def adversarial_loss(fake: torch.Tensor, kind: str) -> torch.Tensor:
    """Equation 12 (``lsgan``, with its half), or the authors' code (``bce``, without)."""
    return _distance(fake, 1.0, kind) / (2 if kind == "lsgan" else 1)


def _distance(scores: torch.Tensor, wanted: float, kind: str) -> torch.Tensor:
    target = torch.full_like(scores, wanted)
    if kind == "lsgan":
        return functional.mse_loss(scores, target)
    return functional.binary_cross_entropy_with_logits(scores, target)
