"""Volumes in space: voxels to millimetres and back, planes, the fetus's left side, and registration of point sets.

An affine (4, 4) takes a voxel's indices i, j, k to millimetres in right-handed patient coordinates, RAS as NIfTI has
them: x grows to the right, y to the front, z to the head. Its columns hold the spacing and the direction of each axis.
"""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import ArrayLike

# Points on one line have no plane; rounding leaves 1e-16 of their length across it.
_LEAST_WIDTH = 1e-9


def to_mm(affine: ArrayLike, indices: ArrayLike) -> np.ndarray:
    """Voxel indices (..., 3), i, j, k -> millimetres (..., 3), x, y, z; NaN stays NaN."""
    matrix = np.asarray(affine, np.float64)
    return np.asarray(indices, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def from_mm(affine: ArrayLike, points: ArrayLike) -> np.ndarray:
    """Millimetres (..., 3), x, y, z -> voxel indices (..., 3), i, j, k: the inverse of :func:`to_mm`."""
    matrix = np.asarray(affine, np.float64)
    return (np.asarray(points, np.float64) - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T


def voxel_spacing(affine: ArrayLike) -> np.ndarray:
    """Millimetres from voxel to voxel along i, j, k, shape (3,): the lengths of the affine's columns."""
    return np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)


def handedness(affine: ArrayLike) -> int:
    """1 where i, j, k are right-handed like the patient's axes, -1 where they are mirrored, 0 where they are flat."""
    return int(np.sign(np.linalg.det(np.asarray(affine, np.float64)[:3, :3])))


def first_is_left(
    crest: ArrayLike, nose: ArrayLike, neck: ArrayLike, first: ArrayLike, second: ArrayLike
) -> np.ndarray:
    """Equation 7 of FetusMapV2: whether ``first`` lies on the left of the fetus and ``second`` on its right.

    The sign of (V14 x V16) · V(first, second), from cranial crest (1), nasal bone (4) and hind neck (6). It holds in
    right-handed coordinates only: mirrored axes, or voxel indices in the order z, y, x, turn it over.

    Args:
        crest, nose, neck, first, second: (..., 3), x, y, z in mm, right-handed (patient coordinates).

    Returns:
        (...,): true where the product is 0 or less, as in the paper; with a missing (NaN) point false.
    """
    crest = np.asarray(crest, np.float64)
    normal = np.cross(np.asarray(nose, np.float64) - crest, np.asarray(neck, np.float64) - crest)
    across = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    return np.sum(normal * across, axis=-1) <= 0


@attrs.frozen(eq=False)
class Plane:
    """All points x with (x - point) · normal = 0; NaN where it is undefined."""

    point: np.ndarray
    """(3,), in millimetres: the mean of the points it was fitted to."""
    normal: np.ndarray
    """(3,), of length 1; which of its two directions it has is not defined."""

    def distance(self, points: ArrayLike) -> np.ndarray:
        """Signed millimetres (...,) from the plane to points (..., 3), positive where ``normal`` points."""
        return (np.asarray(points, np.float64) - self.point) @ self.normal


def fit_plane(points: ArrayLike) -> Plane:
    """The plane with the least sum of squared distances to points (n, 3); a missing (NaN) one is left aside.

    NaN throughout where fewer than three are left, or where they lie on one line.
    """
    known = np.asarray(points, np.float64).reshape(-1, 3)
    known = known[np.isfinite(known).all(axis=1)]
    nothing = Plane(np.full(3, np.nan), np.full(3, np.nan))
    if len(known) < 3:
        return nothing
    centre = known.mean(axis=0)
    _, spread, axes = np.linalg.svd(known - centre)
    return Plane(centre, axes[2]) if spread[1] > _LEAST_WIDTH * spread[0] else nothing


def plane_angle(plane: Plane, other: Plane) -> float:
    """Degrees between two planes, 0 to 90; NaN where one is undefined.

    The arc tangent of cross over dot product keeps its precision near 0, where the arc cosine loses half its digits.
    """
    across = np.linalg.norm(np.cross(plane.normal, other.normal))
    return float(np.degrees(np.arctan2(across, abs(plane.normal @ other.normal))))


def axis_angle(axis: ArrayLike, other: ArrayLike, directed: bool = True) -> np.ndarray:
    """Degrees (...) between two directions (..., 3), 0 to 180; without ``directed`` between two lines, 0 to 90.

    NaN where one is not finite or has no length.
    """
    one, two = np.asarray(axis, np.float64), np.asarray(other, np.float64)
    across, along = np.linalg.norm(np.cross(one, two), axis=-1), np.sum(one * two, axis=-1)
    angle = np.degrees(np.arctan2(across, along if directed else np.abs(along)))
    undefined = (np.linalg.norm(one, axis=-1) == 0) | (np.linalg.norm(two, axis=-1) == 0)
    return np.where(undefined, np.nan, angle)[()]


def plane_distance(plane: Plane, other: Plane, origin: ArrayLike) -> float:
    """Millimetres by which two planes differ in their distance from ``origin`` (3,); NaN where one is undefined.

    FetusMapV2 gives a distance between predicted and true plane (table 8) without saying which. Planes at an angle have
    none of their own, so it is compared where it is looked for: with ``origin`` on one plane it is the distance of that
    point from the other; in a corner of the volume it grows with the angle.
    """
    here, there = plane.distance(origin), other.distance(origin)
    return float(abs(here - there if plane.normal @ other.normal >= 0 else here + there))


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


def opposite(points: np.ndarray, index: int) -> np.ndarray:
    """The place (3,) of one of the points (n, 3) mirrored at the middle of the others."""
    return np.asarray(2 * np.delete(points, index, axis=0).mean(axis=0) - points[index])
