"""How a volume enters a network: gray values, handedness, resampling, padding, windows, and points there and back.

The network's grid has cubic voxels and a fixed size. The volume lies in its middle; what it does not reach is 0. The
axes stay in the file's order, except that the third is turned over where the file counts left-handed: the grid is
always right-handed, so that a left arm looks like a left arm whatever the file. Voxel indices count from the centre of
the first voxel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from aop_pose.geometry import handedness, voxel_spacing

LOW, HIGH = 1.0, 99.5
"""Percentiles of the voxels that become 0 and 1 (see ``normalised``)."""
NORMALISATION = "percentiles 1 and 99.5 to 0 and 1"


@attrs.frozen(eq=False)
class Placement:
    """Where a volume lies in a grid: one affine map, axis by axis, the inverse of itself to rounding."""

    scale: np.ndarray
    """(3,) grid voxels per voxel of the volume; negative where an axis is turned over."""
    shift: np.ndarray
    """(3,) grid index of the volume's voxel 0, 0, 0."""
    size: tuple[int, int, int]
    """Voxels of the grid."""
    voxel_mm: float
    """Edge of a voxel of the grid."""
    shape: tuple[int, int, int]
    """Voxels of the volume."""

    def forward(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) of the volume -> indices in the grid."""
        return np.asarray(points, np.float64) * self.scale + self.shift

    def backward(self, points: np.ndarray) -> np.ndarray:
        """Indices (..., 3) in the grid -> voxel indices of the volume, exactly."""
        return (np.asarray(points, np.float64) - self.shift) / self.scale

    @property
    def extent(self) -> tuple[int, int, int]:
        """Grid voxels that the volume covers along each axis, rounded; the rest of the grid is padding."""
        i, j, k = (max(1, round(float(n * abs(scale)))) for n, scale in zip(self.shape, self.scale, strict=True))
        return i, j, k

    @property
    def covered(self) -> tuple[slice, slice, slice]:
        """The part of the grid that the volume covers: voxels whose centres lie within its edges, one at least."""
        parts = []
        for scale, shift, count, length in zip(self.scale, self.shift, self.shape, self.size, strict=True):
            ends = np.sort(np.array([-0.5, count - 0.5]) * scale + shift)
            middle = int(np.clip(np.round(ends.mean()), 0, length - 1))
            first, last = max(0, int(np.ceil(ends[0]))), min(length - 1, int(np.floor(ends[1])))
            parts.append(slice(min(first, middle), max(last, middle) + 1))
        return parts[0], parts[1], parts[2]

    def within(self, points: np.ndarray) -> np.ndarray:
        """Voxel indices (..., 3) of the volume, moved to its outer edges where they lie beyond them."""
        return np.clip(points, -0.5, np.asarray(self.shape) - 0.5)


def place(
    shape: Sequence[int],
    affine: np.ndarray,
    voxel_mm: float | None,
    size: Sequence[int] | np.ndarray,
    shrink: bool = True,
    aim: np.ndarray | None = None,
) -> Placement:
    """Put a volume into the middle of a grid.

    Args:
        shape: voxels of the volume.
        affine: (4, 4) voxel indices -> mm in patient coordinates; any right-handed ones will do.
        voxel_mm: edge of the grid's voxels; None = as small as the whole volume fits with.
        size: voxels of the grid; 0 along an axis = as many as the volume needs.
        shrink: whether a volume that would not fit gets larger voxels, so that nothing is cut off.
        aim: (3,) voxel index of the volume that comes into the middle in place of its own, to half a voxel of the grid.

    Raises:
        ValueError: ``voxel_mm`` is None and ``size`` has a 0.
    """
    spacing = voxel_spacing(affine)
    lengths = np.asarray(shape) * spacing
    given = np.asarray(size)
    if voxel_mm is None and not given.all():
        raise ValueError("a grid without voxel_mm needs a size along each axis")
    needed = max((length / n for length, n in zip(lengths, given, strict=True) if n), default=0.0)
    # A hair of room: what fits exactly must not become larger by rounding.
    edge = needed if voxel_mm is None else max(voxel_mm, needed * (1 - 1e-9)) if shrink else voxel_mm
    full = [int(n) or int(np.ceil(length / edge - 1e-9)) for n, length in zip(given, lengths, strict=True)]
    scale = spacing / edge
    if handedness(affine) < 0:
        scale[2] = -scale[2]
    shift = (np.array(full) - 1) / 2 - scale * (np.asarray(shape) - 1) / 2
    if aim is not None:
        # By whole voxels, so that every grid around a volume has its voxels in the same places.
        shift = shift - np.round(np.asarray(aim) * scale + shift - (np.array(full) - 1) / 2)
    i, j, k = full
    di, dj, dk = (int(n) for n in shape)
    return Placement(scale, shift, (i, j, k), float(edge), (di, dj, dk))


def resample(voxels: np.ndarray, placement: Placement) -> np.ndarray:
    """The volume (I, J, K) in its grid, float32; 0 beyond its outer edges.

    Linear along each axis; where the grid is coarser, by a triangle as wide as its voxels, so that nothing is skipped.
    """
    values = np.asarray(voxels, np.float32)
    for axis in range(3):
        weights = _weights(values.shape[axis], placement, axis)
        values = np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(values)


def _weights(count: int, placement: Placement, axis: int) -> np.ndarray:
    """(grid voxels, volume voxels) along an axis; rows sum to 1 within the volume and to 0 beyond it."""
    scale, shift = placement.scale[axis], placement.shift[axis]
    centres = (np.arange(placement.size[axis]) - shift) / scale
    width = max(1.0, 1 / abs(float(scale)))
    weights = np.clip(1 - np.abs(centres[:, None] - np.arange(count)) / width, 0, None)
    inside = (centres >= -0.5) & (centres <= count - 0.5)
    sums = weights.sum(axis=1, keepdims=True)
    return np.where(inside[:, None], weights / np.where(sums > 0, sums, 1), 0).astype(np.float32)


def normalised(voxels: np.ndarray) -> np.ndarray | None:
    """Gray values with percentile ``LOW`` of the voxels at 0 and ``HIGH`` at 1, cut there: float32 (I, J, K).

    Where the two are the same, the least and the greatest value take their place; None for a volume of one value.
    """
    low, high = np.percentile(voxels, [LOW, HIGH])
    if not high > low:
        low, high = float(voxels.min()), float(voxels.max())
    if not high > low:
        return None
    return np.clip((voxels.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)


def brightest(gray: np.ndarray) -> np.ndarray:
    """Mean position (3,) of gray values (I, J, K) that are not negative, in voxel indices: the middle of what is seen.

    In MRI of a pregnancy that is the uterus, whose water is bright, wherever it lies in the scan.
    """
    total = float(gray.sum(dtype=np.float64))
    sides = [gray.sum(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64) for axis in range(3)]
    return np.array([np.arange(len(side)) @ side / total for side in sides])


def windows(shape: Sequence[int], size: Sequence[int], overlap: float) -> Iterator[tuple[slice, slice, slice]]:
    """Windows of ``size`` that cover a grid of ``shape``, which is no smaller; neighbours share ``overlap`` or more."""
    starts = []
    for length, side in zip(shape, size, strict=True):
        room = length - side
        steps = int(np.ceil(room / max(1.0, side * (1 - overlap)))) if room > 0 else 0
        starts.append([round(room * step / steps) for step in range(steps + 1)] if steps else [0])
    for i in starts[0]:
        for j in starts[1]:
            for k in starts[2]:
                yield slice(i, i + size[0]), slice(j, j + size[1]), slice(k, k + size[2])


def window_weights(size: Sequence[int]) -> np.ndarray:
    """How much each voxel of a window counts where windows overlap: most in its middle, something at its edges."""
    sides = [1 - np.abs(np.arange(n) - (n - 1) / 2) / ((n + 1) / 2) for n in size]
    return np.asarray(sides[0][:, None, None] * sides[1][:, None] * sides[2], np.float32)
