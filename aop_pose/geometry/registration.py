"""Registration of point sets: the rotation, shift and, if asked for, scale that bring one set nearest to another."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import ArrayLike

# The rotation is unique where this part of the larger spread is left across it. Rounding leaves 1e-16; points of which
# any lies off the line by 1/1000 of the line's length leave 1e-6.
_LEAST_SPREAD = 1e-9


@attrs.frozen(eq=False)
class Registration:
    """y = scale · rotation x + shift; NaN throughout where there is no answer. Leading axes (...) are several at once.

    Attributes:
        scale: (...,), positive; 1 where it was not asked for.
        rotation: (..., axes, axes), determinant 1.
        shift: (..., axes), in the unit of the points.
    """

    scale: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray

    def __call__(self, points: ArrayLike) -> np.ndarray:
        """Points (..., n, axes) carried over."""
        turned = np.asarray(points, np.float64) @ np.swapaxes(self.rotation, -1, -2)
        return self.scale[..., None, None] * turned + self.shift[..., None, :]


def register(
    source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None, similarity: bool = False
) -> Registration:
    """The rigid map, or similarity, with the least weighted sum of squared distances from ``source`` to ``target``.

    Kabsch 1976 with the scale of Umeyama 1991 (equations 34-43 there). A reflection is never the answer: of mirrored
    sets the best rotation is. The answer is NaN where the rotation is not unique: points that coincide or lie on one
    line in either set (in space; in a plane a line is enough), sets of which one is as near to any turn of the other,
    a missing (NaN) point of positive weight, no weight above 0. A point of weight 0 may be missing.

    Args:
        source, target: (..., n, axes), matching points in order, axes 2 or 3; leading axes broadcast.
        weights: (..., n), 0 or more; all alike if None.
        similarity: also find the scale. It is that of ``source`` to ``target``: with noise, not the inverse of the
            scale back.

    Raises:
        ValueError: shapes that do not match, or a weight below 0 or not finite.
    """
    moving, fixed = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if moving.shape[-2:] != fixed.shape[-2:] or moving.ndim < 2 or moving.shape[-1] not in (2, 3):
        raise ValueError(f"expected two sets (..., n, 2 or 3) of as many points, found {moving.shape}, {fixed.shape}")
    share = np.ones(moving.shape[-2]) if weights is None else np.asarray(weights, np.float64)
    if share.shape[-1:] != moving.shape[-2:-1] or not (np.isfinite(share) & (share >= 0)).all():
        raise ValueError(f"expected {moving.shape[-2]} weights of 0 or more, found {share.tolist()}")
    share = share[..., None]
    moving, fixed = np.where(share > 0, moving, 0.0), np.where(share > 0, fixed, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = share / share.sum(axis=-2, keepdims=True)
        centre, goal = (share * moving).sum(axis=-2), (share * fixed).sum(axis=-2)
        moving, fixed = moving - centre[..., None, :], fixed - goal[..., None, :]
        covariance = np.swapaxes(share * fixed, -1, -2) @ moving
    answered = np.isfinite(covariance).all(axis=(-1, -2))
    left, spread, right = np.linalg.svd(np.where(answered[..., None, None], covariance, 0.0))
    sign = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
    spread[..., -1] *= sign
    left[..., -1] *= sign[..., None]
    answered = answered & (spread[..., -2] + spread[..., -1] > _LEAST_SPREAD * spread[..., 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (share * moving**2).sum(axis=(-1, -2))
        scale = np.where(answered, spread.sum(axis=-1) / variance if similarity else 1.0, np.nan)
    rotation = np.where(answered[..., None, None], left @ right, np.nan)
    shift = goal - scale[..., None] * (rotation @ centre[..., None])[..., 0]
    return Registration(scale, rotation, shift)
