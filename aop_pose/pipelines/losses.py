"""Losses of heatmaps and coordinates in torch, for every heatmap pipeline. Maps are (B, n, h, w), points (B, n, 2).

The numpy functions of ``aop_pose.inference.decode`` say what maps and positions mean; these agree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional

from aop_pose.core.stances import STANCES
from aop_pose.geometry import aop_gradient

HUBER = 6.0
"""Below that distance, in 512ths of the side, an error counts by its square: labels are not better than that."""
HUBER_DEG = 3.0
"""The same for the angle, in degrees."""
PointLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(prediction, target), both (B, n, ...) -> loss (B, n)."""


def encode(points: torch.Tensor, size: int, sigma: float | torch.Tensor) -> torch.Tensor:
    """As ``inference.decode.encode``: maps (B, n, size, size) of points (B, n, 2) in pixels of the map.

    ``sigma``: one for all maps, or (B, n), a map its own.
    """
    pixels = torch.arange(size, dtype=points.dtype, device=points.device)
    wide = sigma[..., None, None] if isinstance(sigma, torch.Tensor) else sigma
    along = torch.exp(-((pixels - points[..., None]) ** 2) / (2 * wide**2))
    return (along[..., 1, :, None] * along[..., 0, None, :]).nan_to_num(nan=0.0)


def widened(sigma: float, points: torch.Tensor, ends: torch.Tensor, per_pixel: float = 1.0) -> float | torch.Tensor:
    """Sigma (B, n) of maps whose labels are uncertain: the root of the sum of its square and that of the label's.

    Args:
        sigma: of labels that are exact, in pixels of the map.
        points: (B, n, 2) in pixels of the input.
        ends: (B, n, 2) of points one standard deviation beside them, moved and scaled as they were; (B, 0, 2) = the
            labels have none, and ``sigma`` comes back.
        per_pixel: pixels of the map per pixel of the input.
    """
    if not ends.shape[1]:
        return sigma
    return (sigma**2 + ((ends - points) ** 2).sum(dim=2) * per_pixel**2).sqrt()


def soft_argmax(maps: torch.Tensor) -> torch.Tensor:
    """As ``decode(..., "soft-argmax")``, with a gradient: points (B, n, 2) of maps that are not negative."""
    rows, columns = maps.sum(dim=3), maps.sum(dim=2)
    pixels = [torch.arange(line.shape[2], dtype=maps.dtype, device=maps.device) for line in (columns, rows)]
    total = rows.sum(dim=2).clamp_min(torch.finfo(maps.dtype).tiny)
    return torch.stack([(columns * pixels[0]).sum(dim=2), (rows * pixels[1]).sum(dim=2)], dim=2) / total[..., None]


def squared_error(maps: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of a map of the squared difference (Tang et al., equation 2), (B, n)."""
    return ((maps - targets) ** 2).flatten(2).mean(dim=2)


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-sum(q log p) over a map: p the softmax of the logits, q the target divided by its sum, (B, n).

    Where the target is empty the loss is 0.
    """
    target = targets.flatten(2)
    share = target / target.sum(dim=2, keepdim=True).clamp_min(torch.finfo(target.dtype).tiny)
    return -(share * functional.log_softmax(logits.flatten(2), dim=2)).sum(dim=2)


def coordinate_error(points: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared distance of points (B, n, 2), in the square of their unit, (B, n)."""
    return ((points - targets) ** 2).sum(dim=2)


def position_error(logits: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Distance of the mean position under the softmax of the logits from ``places``, a scalar.

    The Huber loss of each coordinate in 512ths of the map's side, the pixels of the challenges, quadratic below
    ``HUBER``; the mean over the points, weighted by ``weights`` (B, n).
    """
    unit = 512 / logits.shape[-1]
    positions = mean_position(logits)
    off = functional.smooth_l1_loss(positions * unit, places * unit, beta=HUBER, reduction="none").mean(dim=2)
    return (off * weights).sum() / weights.sum().clamp_min(1.0)


def angle_error(logits: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Turn of the angle of progression by the mean positions, to the first order, a scalar.

    The Huber loss of the degrees, quadratic below ``HUBER_DEG``; mean over the frames all of whose points are to be
    learned. ``geometry.aop_gradient`` at the true points says what each displacement costs, so that the formula of the
    angle stays there.
    """
    points = places.detach().cpu().double().numpy()
    slopes = torch.from_numpy(aop_gradient(points[:, 0], points[:, 1], points[:, 2])).nan_to_num(nan=0.0).to(places)
    degrees = ((mean_position(logits) - places) * slopes).sum(dim=(1, 2))
    off = functional.smooth_l1_loss(degrees, torch.zeros_like(degrees), beta=HUBER_DEG, reduction="none")
    whole = weights.amin(dim=1)
    return (off * whole).sum() / whole.sum().clamp_min(1.0)


def axis_error(logits: torch.Tensor, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Turn of the direction from the first to the second point by the mean positions, to the first order, a scalar.

    The Huber loss of the degrees, quadratic below ``HUBER_DEG``; mean over the frames whose two points are learned.
    """
    along = places[:, 1] - places[:, 0]
    square = (along**2).sum(dim=1).clamp_min(1.0)
    moved = mean_position(logits)[:, :2] - places[:, :2]
    gap = moved[:, 1] - moved[:, 0]
    degrees = torch.rad2deg((along[:, 0] * gap[:, 1] - along[:, 1] * gap[:, 0]) / square)
    off = functional.smooth_l1_loss(degrees, torch.zeros_like(degrees), beta=HUBER_DEG, reduction="none")
    whole = weights[:, :2].amin(dim=1)
    return (off * whole).sum() / whole.sum().clamp_min(1.0)


def outline_error(logits: torch.Tensor, shares: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy plus 1 - Dice of maps (B, n, h, w) against the shares of their pixels that are inside.

    A scalar: the mean over the maps, weighted by ``weights`` (B, n).
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none").mean(dim=(2, 3))
    told = torch.sigmoid(logits)
    both, each = (told * shares).sum(dim=(2, 3)), (told + shares).sum(dim=(2, 3))
    dice = 1 - (2 * both + 1) / (each + 1)
    return ((entropy + dice) * weights).sum() / weights.sum().clamp_min(1.0)


def inside_rings(rings: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """Shares (B, n, size / stride, size / stride) of each pixel's area within closed rings (B, n, m, 2).

    Rings are in pixels of an input of side ``size``, through the centres of the outermost pixels inside; of one that is
    not finite the map is 0.
    """
    shift = 4
    drawn = np.zeros((*rings.shape[:2], size, size), np.uint8)
    finite = torch.isfinite(rings).all(dim=(2, 3))
    fixed = (rings.nan_to_num(0.0).clamp(-size, 2 * size) * 2**shift).round().to(torch.int32).cpu().numpy()
    for frame, structure in finite.nonzero().tolist():
        cv2.fillPoly(drawn[frame, structure], [fixed[frame, structure]], 1, cv2.LINE_8, shift)
    return functional.avg_pool2d(torch.from_numpy(drawn).float(), stride).to(rings.device)


def stance_of(axes: torch.Tensor) -> torch.Tensor:
    """Index into ``STANCES`` (B,) of pictures whose middle and the places right and down of it lie at ``axes``.

    (B, 3, 2) in pixels; the nearest of the eight.
    """
    measured = (axes[:, 1:] - axes[:, :1]).transpose(1, 2)
    linear = torch.from_numpy(np.stack([stance.linear for stance in STANCES])).to(measured)
    return torch.einsum("kij,bij->bk", linear, measured).argmax(dim=1)


def mean_position(logits: torch.Tensor) -> torch.Tensor:
    """Points (B, n, 2) in pixels of the map: the mean position under the softmax of each map."""
    return soft_argmax(functional.softmax(logits.flatten(2), dim=2).view_as(logits))


def least_over_swaps(
    loss: PointLoss,
    prediction: torch.Tensor,
    target: torch.Tensor,
    pairs: Sequence[tuple[int, int]],
    weights: torch.Tensor,
) -> torch.Tensor:
    """Mean loss of a batch that does not punish a swap of interchangeable points.

    Args:
        loss: loss of each point.
        prediction, target: (B, n, ...).
        pairs: indices of points whose two names mean the same thing; of each pair, frame by frame, the assignment with
            the smaller loss counts.
        weights: (B, n), 0 for a target that is not to be learned.

    Returns:
        A scalar: the sum over what is to be learned, divided by the sum of the weights.
    """
    order = list(range(prediction.shape[1]))
    straight = loss(prediction, target) * weights
    if not pairs:
        return straight.sum() / weights.sum().clamp_min(1.0)
    for first, second in pairs:
        order[first], order[second] = second, first
    swapped = loss(prediction, target[:, order]) * weights[:, order]
    paired = [torch.minimum(straight[:, list(pair)].sum(1), swapped[:, list(pair)].sum(1)) for pair in pairs]
    alone = sorted(set(order) - {index for pair in pairs for index in pair})
    return (sum(paired) + straight[:, alone].sum(dim=1)).sum() / weights.sum().clamp_min(1.0)
