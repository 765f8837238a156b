"""Slices of a volume as pictures: through its voxels along the axes, and on any plane in millimetres.

A slice is drawn with its physical proportions, whatever the spacing. Of the two axes that it shows, the first in the
order i, j, k runs to the right and the other up.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

from aop_pose import geometry
from aop_pose.core.frame import Volume
from aop_pose.inference.grid import normalised

AXES = "ijk"


def gray_values(volume: Volume) -> np.ndarray:
    """uint8 (I, J, K) as the network sees them (``grid.normalised``); 0 everywhere in an empty volume."""
    values = normalised(volume.voxels)
    if values is None:
        return np.zeros(volume.shape, np.uint8)
    return np.rint(values * 255).astype(np.uint8)


@attrs.frozen(eq=False)
class Window:
    """A box of whole voxels in a volume, and how large it is drawn."""

    first: np.ndarray
    """(3,) index of the first voxel along i, j, k."""
    last: np.ndarray
    """(3,) index of the last voxel."""
    spacing: np.ndarray
    """(3,) mm."""
    pixels_per_mm: float

    @classmethod
    def about(cls, volume: Volume, points: np.ndarray, margin_mm: float, across: int, down: int) -> Window:
        """The voxels within ``margin_mm`` of the finite ``points`` (n, 3); all of them where no point is finite.

        The scale is such that the three slices fit side by side into ``across`` pixels, none of them higher than
        ``down``.
        """
        shape, spacing = np.array(volume.shape), volume.spacing
        known = points[np.isfinite(points).all(axis=1)]
        first, last = np.zeros(3, int), shape - 1
        if len(known):
            room = margin_mm / spacing
            # A point beyond the volume must not leave a window without voxels.
            first = np.clip(np.floor(known.min(axis=0) - room), 0, shape - 1).astype(int)
            last = np.clip(np.ceil(known.max(axis=0) + room), 0, shape - 1).astype(int)
        i, j, k = (last - first + 1) * spacing
        return cls(first, last, spacing, float(min(across / (j + i + i), down / max(j, k))))

    def size(self, axis: int) -> tuple[int, int]:
        """Width and height in pixels of a slice across ``axis``."""
        horizontal, vertical = _shown(axis)
        lengths = (self.last - self.first + 1) * self.spacing * self.pixels_per_mm
        return max(1, round(lengths[horizontal])), max(1, round(lengths[vertical]))

    def places(self, points: np.ndarray, axis: int) -> np.ndarray:
        """Pixels (..., 2), x right and y down, of voxel indices (..., 3) on a slice across ``axis``."""
        shown = list(_shown(axis))
        voxels = (self.last - self.first + 1)[shown]
        size = np.array(self.size(axis))
        across, up = np.moveaxis((points[..., shown] - self.first[shown] + 0.5) * size / voxels - 0.5, -1, 0)
        return np.stack([across, size[1] - 1 - up], axis=-1)

    def slice(self, gray: np.ndarray, axis: int, number: int) -> np.ndarray:
        """The slice ``number`` of ``gray`` (I, J, K) across ``axis``, uint8 BGR in the size of the picture."""
        box = [slice(first, last + 1) for first, last in zip(self.first, self.last, strict=True)]
        flat = np.take(gray, number, axis=axis)[tuple(box[other] for other in _shown(axis))]
        upright = np.ascontiguousarray(flat.T[::-1])
        return cv2.cvtColor(cv2.resize(upright, self.size(axis), interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR)


def _shown(axis: int) -> tuple[int, int]:
    """The axes that a slice across ``axis`` shows: to the right, and up."""
    first, second = (other for other in range(3) if other != axis)
    return first, second


def plane_picture(
    volume: Volume, gray: np.ndarray, corner: np.ndarray, steps: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Gray values on a plane, uint8 (rows, columns), linear between voxels; 0 beyond the outer voxels' centres.

    Args:
        gray: (I, J, K) of the volume.
        corner: (3,) mm, where the first pixel lies.
        steps: (2, 3) mm from a pixel to the next in its row, and to that of the next row.
        shape: rows, columns.
    """
    rows, columns = np.indices(shape)
    places = geometry.from_mm(volume.affine, corner + rows[..., None] * steps[1] + columns[..., None] * steps[0])
    return np.rint(sample(gray, places)).astype(np.uint8)


def sample(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Values (I, J, K) at voxel indices (..., 3) by trilinear interpolation, float64 (...); 0 where one is outside."""
    last = np.array(values.shape) - 1
    inside = np.asarray(((indices >= 0) & (indices <= last)).all(axis=-1))
    safe = np.where(inside[..., None], indices, 0)
    # The upper corner of a voxel cell must exist on the outermost plane too.
    low = np.minimum(np.floor(safe).astype(int), np.maximum(last - 1, 0))
    share = safe - low
    total = np.zeros(inside.shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner) == 1, share, 1 - share), axis=-1)
        i, j, k = np.moveaxis(np.minimum(low + corner, last), -1, 0)
        total += weight * values[i, j, k]
    return np.where(inside, total, 0)
